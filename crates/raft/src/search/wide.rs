//! The search for wide bounds: the same members, steps and checks as in `search`,
//! but states are rows of numbers, and of two states of which one can do all that
//! the other can, only the greater is gone on from.
//!
//! **Greater.** Of two states with the same members and ghost, one is greater if
//! all that is under way in the other is under way in it as well, and as much is
//! left of everything that the bounds allow. A message may be lost, so more of them
//! only allow for more; so does more of what is left. Whatever can happen in the
//! lesser state can happen in the greater one, and leads from it to one that is
//! greater again: nothing becomes possible because a message is *not* there or
//! something is used up. No check looks at either. So if anything is wrong behind
//! the lesser of the two, the same is wrong behind the greater.
//!
//! Each distinct member, message, ghost and set of messages has a number. What a
//! member makes of a message, or does by itself, is worked out once, by the very
//! code of `world.rs` and `host.rs`, and looked up after that.

use super::check::{self, Ghost};
use super::host::{Deed, Stepped, Witnessed, is_ignored};
use super::scene::Bounds;
use super::symmetry::Symmetry;
use super::table::{ByFingerprint, both, mix};
use super::world::{Action, Envelope, Member, Shared, World, number};
use super::{Report, Violation, attempt};
use crate::{Input, ReadId, Time};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::hash::Hash;
use core::mem;

/// So many members at most.
const MEMBERS_MAX: usize = 4;

/// A search that goes beyond so many states says how far it is, level by level.
const PROGRESS_FROM: usize = 2_000_000;

/// Visits the greatest of all states that `start` leads to, until there are
/// `states_max` of them.
pub(crate) fn exhaust(start: &World, states_max: usize) -> Report {
    Wide::new(&start.clone().settled_fate()).run(states_max)
}

/// A state: numbers of its parts.
#[derive(Clone, Copy)]
struct State {
    members: [u32; MEMBERS_MAX],
    /// The messages under way to each.
    inboxes: [u32; MEMBERS_MAX],
    ghost: u32,
    left: u32,
    /// Which of the states that were reached it is.
    number: u32,
}

/// What happens next, as a number: whose, of which kind, and which.
#[derive(Clone, Copy)]
struct Step(u32);

const DELIVER: u32 = 0;
const OWN: u32 = 1;
const TICK: u32 = 2;
const READ: u32 = 3;
/// At the sender of a message: what its host says when that is delivered.
const ANSWER: u32 = 4;

impl Step {
    fn new(id: usize, kind: u32, which: u32) -> Self {
        assert!(which < 1 << 26, "numbers of messages stay small");
        Self((id as u32) << 29 | kind << 26 | which)
    }

    fn id(self) -> usize {
        (self.0 >> 29) as usize
    }

    fn kind(self) -> u32 {
        self.0 >> 26 & 7
    }

    fn which(self) -> usize {
        (self.0 & ((1 << 26) - 1)) as usize
    }
}

/// What comes of a step for the member that takes it.
#[derive(Clone, Copy)]
struct Outcome {
    member: u32,
    /// Which of `Wide::sent`.
    sent: (u32, u32),
    /// Which of `Wide::news` the ghost must see, if any.
    news: u32,
    /// Which situations were met, bit by bit.
    met: u32,
}

const NOTHING: u32 = u32::MAX;

/// All distinct parts of one kind, and their fingerprints under each renaming.
struct Pool<T> {
    parts: Vec<Shared<T>>,
    numbers: ByFingerprint<u32>,
    under: Vec<u64>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), numbers: ByFingerprint::default(), under: Vec::new() }
    }
}

impl<T: Clone + Debug + Hash> Pool<T> {
    /// The number of a part, and whether it is a new one.
    fn number(&mut self, part: &Shared<T>, symmetry: &mut Symmetry, kind: u64) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(&part.hash) {
            return (number, false);
        }
        let number = self.parts.len() as u32;
        self.parts.push(part.clone());
        self.numbers.insert(part.hash, number);
        self.under.extend(symmetry.under(part, kind));
        (number, true)
    }
}

/// Sets of numbers, each kept once, in order.
#[derive(Default)]
struct Sets {
    sets: Vec<Box<[u32]>>,
    numbers: ByFingerprint<u32>,
}

impl Sets {
    fn number(&mut self, set: Vec<u32>) -> u32 {
        let key = of_row(&set);
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        self.sets.push(set.into());
        let number = self.sets.len() as u32 - 1;
        self.numbers.insert(key, number);
        number
    }

    fn get(&self, number: u32) -> &[u32] {
        &self.sets[number as usize]
    }

    /// Whether one set is part of another.
    fn is_within(&self, one: u32, other: u32) -> bool {
        if one == other {
            return true;
        }
        let (one, other) = (self.get(one), self.get(other));
        let mut rest = other.iter();
        one.len() <= other.len() && one.iter().all(|has| rest.any(|other| other == has))
    }
}

/// Of numbers in their order.
fn of_row(numbers: &[u32]) -> u64 {
    let one = |key, &number: &u32| both(key, u64::from(number));
    numbers.iter().fold(mix(!(numbers.len() as u64)), one)
}

/// Two numbers as one key, spread.
fn pair(one: u32, other: u32) -> u64 {
    mix(u64::from(one) << 32 | u64::from(other))
}

struct Wide<'a> {
    start: &'a World,
    size: usize,
    symmetry: Symmetry,
    report: Report,

    members: Pool<Member>,
    /// What each member may do by itself.
    own: Vec<Box<[Action]>>,
    messages: Pool<Envelope>,
    /// Each message's number under each renaming.
    renamed_messages: Vec<u32>,
    by_renamed: ByFingerprint<u32>,
    ghosts: Pool<Ghost>,
    left: Vec<Bounds>,

    inboxes: Sets,
    /// Each inbox's number among `renamed` under each renaming, where it is known.
    renamed_inboxes: Vec<u32>,
    renamed: Sets,
    /// All messages under way, as inboxes in the order of members, renamed.
    nets: Vec<[u32; MEMBERS_MAX]>,
    net_numbers: ByFingerprint<u32>,

    steps: ByFingerprint<u32>,
    outcomes: Vec<Outcome>,
    sent: Vec<u32>,
    news: Vec<Rc<Stepped>>,
    situations: Vec<&'static str>,
    ghost_after: ByFingerprint<u32>,
    inbox_with: ByFingerprint<u32>,
    inbox_less: ByFingerprint<u32>,
    inbox_without: ByFingerprint<u32>,
    ignored: ByFingerprint<bool>,

    greatest: Greatest,
    /// How often each kind of action was tried.
    counts: Vec<(&'static str, u64)>,
    /// Where each state was reached from, and by which step.
    ways: Vec<(u32, Step)>,
}

/// What a state is told from others by.
struct Name {
    fingerprint: u64,
    net: u32,
}

impl<'a> Wide<'a> {
    fn new(start: &'a World) -> Self {
        assert!(start.members.len() <= MEMBERS_MAX, "so many members do not fit");
        let mut symmetry = Symmetry::of(start);
        let report = Report { symmetry: symmetry.size(), ..Report::default() };
        let mut ghosts = Pool::default();
        ghosts.number(&start.ghost, &mut symmetry, 3);
        let mut wide = Self {
            start,
            size: start.members.len(),
            symmetry,
            report,
            members: Pool::default(),
            own: Vec::new(),
            messages: Pool::default(),
            renamed_messages: Vec::new(),
            by_renamed: ByFingerprint::default(),
            ghosts,
            left: vec![start.left],
            inboxes: Sets::default(),
            renamed_inboxes: Vec::new(),
            renamed: Sets::default(),
            nets: Vec::new(),
            net_numbers: ByFingerprint::default(),
            steps: ByFingerprint::default(),
            outcomes: Vec::new(),
            sent: Vec::new(),
            news: Vec::new(),
            situations: Vec::new(),
            ghost_after: ByFingerprint::default(),
            inbox_with: ByFingerprint::default(),
            inbox_less: ByFingerprint::default(),
            inbox_without: ByFingerprint::default(),
            ignored: ByFingerprint::default(),
            greatest: Greatest::default(),
            counts: Vec::new(),
            ways: Vec::new(),
        };
        wide.inboxes.number(Vec::new());
        wide
    }

    /// The state that the search begins with.
    fn first(&mut self) -> State {
        let mut state = State {
            members: [0; MEMBERS_MAX],
            inboxes: [0; MEMBERS_MAX],
            ghost: 0,
            left: 0,
            number: 0,
        };
        for (id, member) in self.start.members.iter().enumerate() {
            state.members[id] = self.number_member(member);
        }
        for envelope in &self.start.network {
            let message = self.number_message(envelope);
            let to = number(envelope.value.to);
            state.inboxes[to] = self.with(state.inboxes[to], message);
        }
        state
    }

    fn run(mut self, states_max: usize) -> Report {
        self.visit(states_max);
        for &(kind, count) in &self.counts {
            *self.report.actions.entry(kind).or_default() += count;
        }
        self.report.greatest = self.greatest.count;
        self.report
    }

    fn visit(&mut self, states_max: usize) {
        let first = self.first();
        let name = self.name(&first);
        self.greatest.add(name.fingerprint, Place { net: name.net, left: 0 }, |_, _| false);
        self.ways.push((0, Step(0)));
        let mut frontier = vec![first];
        while !frontier.is_empty() {
            let mut next = Vec::new();
            for state in &frontier {
                if let Err((what, step)) = self.expand(state, &mut next) {
                    let mut way = self.retrace(state.number);
                    let world = self.world(state);
                    let action = self.action(&world, step);
                    way.push((world, action));
                    self.report.violation = Some(Violation { what, way });
                    return;
                }
                if self.report.states >= states_max {
                    return;
                }
            }
            self.report.depth += usize::from(!next.is_empty());
            self.report.widest = self.report.widest.max(next.len());
            let levels = (next.len() + frontier.len()) * size_of::<State>();
            let bytes = levels + self.greatest.bytes() + self.ways.len() * 8;
            self.report.bytes = self.report.bytes.max(bytes);
            if self.ways.len() > PROGRESS_FROM {
                self.progress(next.len());
            }
            frontier = next;
        }
        self.report.exhausted = true;
    }

    fn progress(&self, next: usize) {
        std::eprintln!(
            "  {} deep: {} states, {next} to go on from, {} greatest, {} MB; {} members, \
             {} messages, {} inboxes, {} nets, {} ghosts, {} outcomes",
            self.report.depth,
            self.report.states,
            self.greatest.count,
            self.report.bytes >> 20,
            self.members.parts.len(),
            self.messages.parts.len(),
            self.inboxes.sets.len(),
            self.nets.len(),
            self.ghosts.parts.len(),
            self.outcomes.len(),
        );
    }

    /// Goes everywhere from a state, unless a greater one was found since.
    fn expand(&mut self, state: &State, next: &mut Vec<State>) -> Result<(), (String, Step)> {
        let name = self.name(state);
        let place = Place { net: name.net, left: state.left };
        if !self.greatest.has(name.fingerprint, place) {
            return Ok(());
        }
        self.report.states += 1;
        for id in 0..self.size {
            let member = state.members[id] as usize;
            for at in 0..self.own[member].len() {
                let action = self.own[member][at];
                if !self.left[state.left as usize].allows(action) {
                    continue;
                }
                let step = match action {
                    Action::Read(_) => Step::new(id, READ, self.next_read(state.ghost)),
                    _ => Step::new(id, OWN, at as u32),
                };
                self.take(state, step, action, next).map_err(|what| (what, step))?;
            }
            for at in 0..self.inboxes.get(state.inboxes[id]).len() {
                let inbox = self.inboxes.get(state.inboxes[id]);
                let message = inbox[at];
                let twin = at > 0 && inbox[at - 1] == message;
                if !twin && self.is_let_in(state, message) {
                    let step = Step::new(id, DELIVER, message);
                    let action = Action::Deliver(0);
                    self.take(state, step, action, next).map_err(|what| (what, step))?;
                }
            }
        }
        if self.left[state.left as usize].ticks > 0 {
            for which in 0..self.start.rules.ticks.len() {
                let step = Step::new(0, TICK, which as u32);
                let action = Action::Tick(which);
                self.take(state, step, action, next).map_err(|what| (what, step))?;
            }
        }
        Ok(())
    }

    fn next_read(&self, ghost: u32) -> u32 {
        let reuses = self.start.rules.reuses_reads();
        if reuses { 1 } else { self.ghosts.parts[ghost as usize].value.reads_asked() as u32 + 1 }
    }

    fn is_let_in(&self, state: &State, message: u32) -> bool {
        let rules = &self.start.rules;
        let envelope = &self.messages.parts[message as usize].value;
        let member = |id: usize| &*self.members.parts[state.members[id] as usize].value;
        rules.let_in(envelope, member)
    }

    /// Takes one step, and keeps what it leads to if nothing greater is known.
    fn take(
        &mut self,
        state: &State,
        step: Step,
        action: Action,
        next: &mut Vec<State>,
    ) -> Result<(), String> {
        self.count(action);
        let Some(reached) = self.reach(state, step, action)? else { return Ok(()) };
        let mut reached = reached;
        let name = self.name(&reached);
        let place = Place { net: name.net, left: reached.left };
        let Self { greatest, renamed, nets, left, size, .. } = self;
        let is_within = |one: Place, other: Place| {
            let (ours, theirs) = (&nets[one.net as usize], &nets[other.net as usize]);
            (one.left == other.left
                || left[one.left as usize].is_within(&left[other.left as usize]))
                && (one.net == other.net
                    || (0..*size).all(|id| renamed.is_within(ours[id], theirs[id])))
        };
        match greatest.add(name.fingerprint, place, is_within) {
            Added::Not => return Ok(()),
            Added::First => {
                let world = self.without_messages(&reached);
                let met = &mut self.report.met;
                attempt(|| check::state(&world, met))?;
            }
            Added::Beside => {}
        }
        reached.number = self.ways.len() as u32;
        self.ways.push((state.number, step));
        next.push(reached);
        Ok(())
    }

    fn count(&mut self, action: Action) {
        let kind = action.kind();
        // One of a few, and always the same text.
        let known = self.counts.iter_mut().find(|(known, _)| core::ptr::eq(*known, kind));
        match known {
            Some((_, count)) => *count += 1,
            None => self.counts.push((kind, 1)),
        }
    }

    /// Where a step leads; nowhere, if nothing comes of it.
    fn reach(
        &mut self,
        state: &State,
        step: Step,
        action: Action,
    ) -> Result<Option<State>, String> {
        let left = self.left_after(state.left, action);
        let mut reached = State { left, ..*state };
        let mut sent = Vec::new();
        if let Action::Wipe(_) = action {
            return self.reach_slowly(state, left, action).map(Some);
        }
        if step.kind() == READ {
            reached.ghost = self.asked(state.ghost, step.which() as u32);
        }
        if step.kind() == TICK {
            for id in 0..self.size {
                let step = Step::new(id, TICK, step.which() as u32);
                self.follow(&mut reached, step, &mut sent)?;
            }
        } else {
            let is_nothing = !self.follow(&mut reached, step, &mut sent)?;
            if is_nothing && step.kind() == DELIVER {
                return Ok(None);
            }
        }
        if step.kind() == DELIVER {
            if !self.start.rules.stays {
                let (id, message) = (step.id(), step.which() as u32);
                reached.inboxes[id] = self.without(reached.inboxes[id], message);
            }
            let envelope = &self.messages.parts[step.which()].value;
            if envelope.answer().is_some() {
                let step = Step::new(number(envelope.from), ANSWER, step.which() as u32);
                self.follow(&mut reached, step, &mut sent)?;
            }
        }
        if self.start.rules.lives_on(&self.left[left as usize]) {
            for id in 0..self.size {
                reached.members[id] = self.outliving(reached.members[id]);
            }
        }
        for id in 0..self.size {
            if reached.members[id] != state.members[id] {
                reached.inboxes[id] =
                    self.without_ignored(reached.inboxes[id], reached.members[id]);
            }
        }
        for message in sent {
            let to = number(self.messages.parts[message as usize].value.to);
            if !self.is_ignored(message, reached.members[to]) {
                reached.inboxes[to] = self.with(reached.inboxes[to], message);
            }
        }
        self.ghost_forgets(&mut reached);
        Ok(Some(reached))
    }

    /// One member takes a step; says whether anything comes of it.
    fn follow(
        &mut self,
        reached: &mut State,
        step: Step,
        sent: &mut Vec<u32>,
    ) -> Result<bool, String> {
        let id = step.id();
        let Outcome { member, sent: (from, until), news, met } = self.outcome(reached, step)?;
        if news != NOTHING {
            self.look_on(reached, id, news)?;
        }
        let mut rest = met;
        while rest != 0 {
            let situation = self.situations[rest.trailing_zeros() as usize];
            *self.report.met.entry(situation).or_default() += 1;
            rest &= rest - 1;
        }
        sent.extend(&self.sent[from as usize..until as usize]);
        let is_same = reached.members[id] == member;
        reached.members[id] = member;
        Ok(!is_same || from != until || news != NOTHING)
    }

    /// The ghost sees what a member did.
    fn look_on(&mut self, reached: &mut State, id: usize, news: u32) -> Result<(), String> {
        let stepped = self.news[news as usize].clone();
        for seen in &stepped.seen {
            if let Witnessed::Counted { leader, before } = seen {
                let ghost = &self.ghosts.parts[reached.ghost as usize].value;
                let member = |id: usize| &*self.members.parts[reached.members[id] as usize].value;
                check::counted(ghost, leader, *before, member)?;
            }
        }
        let key = pair(reached.ghost, news);
        if let Some(&ghost) = self.ghost_after.get(&key) {
            reached.ghost = ghost;
            return Ok(());
        }
        let mut ghost = (*self.ghosts.parts[reached.ghost as usize].value).clone();
        stepped.show(id, &mut ghost)?;
        reached.ghost = self.number_ghost(ghost);
        self.ghost_after.insert(key, reached.ghost);
        Ok(())
    }

    fn asked(&mut self, ghost: u32, read: u32) -> u32 {
        let mut ghost = (*self.ghosts.parts[ghost as usize].value).clone();
        ghost.asked(ReadId(u64::from(read)));
        self.number_ghost(ghost)
    }

    /// The ghost forgets who led where nobody can be elected any more.
    fn ghost_forgets(&mut self, reached: &mut State) {
        let members = reached.members[..self.size].iter();
        let electable =
            members.map(|&member| self.members.parts[member as usize].value.electable_from());
        let until = electable.min().expect("there are members");
        let ghost = &self.ghosts.parts[reached.ghost as usize].value;
        if ghost.remembers_leaders_before(until) {
            let key = pair(reached.ghost, !(until.0 as u32));
            if let Some(&ghost) = self.ghost_after.get(&key) {
                reached.ghost = ghost;
                return;
            }
            let mut ghost = (**ghost).clone();
            ghost.forget_leaders_before(until);
            reached.ghost = self.number_ghost(ghost);
            self.ghost_after.insert(key, reached.ghost);
        }
    }

    /// What comes of a step for its member, worked out once.
    fn outcome(&mut self, state: &State, step: Step) -> Result<Outcome, String> {
        let before = state.members[step.id()];
        let key = pair(before, step.0);
        if let Some(&outcome) = self.steps.get(&key) {
            return Ok(self.outcomes[outcome as usize]);
        }
        let world = self.without_messages(state);
        let deed = self.deed(before, step);
        let stepped = attempt(|| world.work_out(step.id(), deed))?;
        let from = self.sent.len() as u32;
        for envelope in &stepped.sent {
            let message = self.number_message(envelope);
            self.sent.push(message);
        }
        let member = self.number_member(&stepped.member);
        let mut met = 0;
        for what in &stepped.met {
            let known = self.situations.iter().position(|known| known == what);
            met |= 1
                << known.unwrap_or_else(|| {
                    self.situations.push(what);
                    self.situations.len() - 1
                });
        }
        let mut news = NOTHING;
        if stepped.is_news(&self.members.parts[before as usize].value) {
            news = self.news.len() as u32;
            self.news.push(Rc::new(stepped));
        }
        let outcome = Outcome { member, sent: (from, self.sent.len() as u32), news, met };
        self.steps.insert(key, self.outcomes.len() as u32);
        self.outcomes.push(outcome);
        Ok(outcome)
    }

    fn deed(&self, member: u32, step: Step) -> Deed {
        let message = || (*self.messages.parts[step.which()].value).clone();
        match step.kind() {
            DELIVER => {
                let Envelope { from, message, .. } = message();
                Deed::Told(Input::Receive { from, message })
            }
            OWN => Deed::Own(self.own[member as usize][step.which()]),
            TICK => Deed::Own(Action::Tick(step.which())),
            READ => {
                let id = ReadId(step.which() as u64);
                Deed::Told(Input::Read { id, deadline: Time(u64::MAX) })
            }
            _ => Deed::Told(message().answer().expect("it has one")),
        }
    }

    /// A member that will not crash any more.
    fn outliving(&mut self, member: u32) -> u32 {
        let known = &self.members.parts[member as usize].value;
        if !known.mortal {
            return member;
        }
        let key = pair(member, NOTHING);
        if let Some(&member) = self.steps.get(&key) {
            return member;
        }
        let mut outliving = (**known).clone();
        outliving.outlive();
        let outliving = self.number_member(&Shared::new(outliving));
        self.steps.insert(key, outliving);
        outliving
    }

    /// By way of the world itself, for what is rare.
    fn reach_slowly(&mut self, state: &State, left: u32, action: Action) -> Result<State, String> {
        let world = self.world(state);
        let met = &mut self.report.met;
        let after = attempt(|| world.go(action, met))?;
        let mut reached = State { inboxes: [0; MEMBERS_MAX], left, ..*state };
        for (id, member) in after.members.iter().enumerate() {
            reached.members[id] = self.number_member(member);
        }
        for envelope in &after.network {
            let message = self.number_message(envelope);
            let to = number(envelope.value.to);
            reached.inboxes[to] = self.with(reached.inboxes[to], message);
        }
        reached.ghost = self.ghosts.number(&after.ghost, &mut self.symmetry, 3).0;
        Ok(reached)
    }

    fn number_member(&mut self, member: &Shared<Member>) -> u32 {
        let (number, is_new) = self.members.number(member, &mut self.symmetry, 1);
        if is_new {
            let rules = &self.start.rules;
            let id = self::number(member.value.raft.id());
            let mut own = rules.actions((id, self.size), &member.value, &self.start.left);
            own.retain(|&action| self.start.left.allows(action));
            self.own.push(own.into());
        }
        number
    }

    fn number_message(&mut self, envelope: &Shared<Envelope>) -> u32 {
        let (number, is_new) = self.messages.number(envelope, &mut self.symmetry, 2);
        if is_new {
            let renamings = self.symmetry.size();
            for under in &self.messages.under[number as usize * renamings..] {
                let next = self.by_renamed.len() as u32;
                let renamed = *self.by_renamed.entry(*under).or_insert(next);
                self.renamed_messages.push(renamed);
            }
        }
        number
    }

    fn number_ghost(&mut self, ghost: Ghost) -> u32 {
        self.ghosts.number(&Shared::new(ghost), &mut self.symmetry, 3).0
    }

    fn left_after(&mut self, left: u32, action: Action) -> u32 {
        let mut after = self.left[left as usize];
        if !after.pay(action) {
            return left;
        }
        let known = self.left.iter().position(|known| *known == after);
        let number = known.unwrap_or_else(|| {
            self.left.push(after);
            self.left.len() - 1
        });
        number as u32
    }

    /// An inbox with one message more.
    fn with(&mut self, inbox: u32, message: u32) -> u32 {
        let key = pair(inbox, message);
        if let Some(&inbox) = self.inbox_with.get(&key) {
            return inbox;
        }
        let mut set = self.inboxes.get(inbox).to_vec();
        let at = set.partition_point(|other| *other < message);
        if !self.start.rules.stays || set.get(at) != Some(&message) {
            set.insert(at, message);
        }
        let inbox = self.inboxes.number(set);
        self.inbox_with.insert(key, inbox);
        inbox
    }

    /// An inbox without one message.
    fn without(&mut self, inbox: u32, message: u32) -> u32 {
        let key = pair(inbox, message);
        if let Some(&inbox) = self.inbox_less.get(&key) {
            return inbox;
        }
        let mut set = self.inboxes.get(inbox).to_vec();
        let at = set.partition_point(|other| *other < message);
        set.remove(at);
        let inbox = self.inboxes.number(set);
        self.inbox_less.insert(key, inbox);
        inbox
    }

    /// An inbox without what this member ignores for ever.
    fn without_ignored(&mut self, inbox: u32, member: u32) -> u32 {
        let key = pair(inbox, member);
        if let Some(&inbox) = self.inbox_without.get(&key) {
            return inbox;
        }
        let mut set = self.inboxes.get(inbox).to_vec();
        set.retain(|&message| !self.is_ignored(message, member));
        let inbox = self.inboxes.number(set);
        self.inbox_without.insert(key, inbox);
        inbox
    }

    fn is_ignored(&mut self, message: u32, member: u32) -> bool {
        let envelope = &self.messages.parts[message as usize].value;
        let receiver = &self.members.parts[member as usize].value;
        *self.ignored.entry(pair(message, member)).or_insert_with(|| is_ignored(envelope, receiver))
    }

    /// The least of a state's names under all renamings.
    fn name(&mut self, state: &State) -> Name {
        let renamings = self.symmetry.size();
        let mut least = (u64::MAX, 0);
        let mut is_tie = false;
        for at in 0..renamings {
            let under = |pool: &[u64], part: u32| pool[part as usize * renamings + at];
            let mut sum = under(&self.ghosts.under, state.ghost);
            for &member in &state.members[..self.size] {
                sum = sum.wrapping_add(under(&self.members.under, member));
            }
            let sum = mix(sum);
            is_tie = sum == least.0 || is_tie && sum > least.0;
            least = least.min((sum, at));
        }
        let (fingerprint, at) = least;
        let mut net = self.net(state, at);
        if is_tie {
            // Members that are alike so far are told apart by what is under way.
            for at in at + 1..renamings {
                let under = |pool: &[u64], part: u32| pool[part as usize * renamings + at];
                let members = state.members[..self.size].iter();
                let sum = members
                    .map(|&member| under(&self.members.under, member))
                    .fold(under(&self.ghosts.under, state.ghost), u64::wrapping_add);
                if mix(sum) == fingerprint {
                    net = net.min(self.net(state, at));
                }
            }
        }
        let next = self.nets.len() as u32;
        let key = of_row(&net);
        let net = *self.net_numbers.entry(key).or_insert_with(|| {
            self.nets.push(net);
            next
        });
        Name { fingerprint, net }
    }

    /// All that is under way, renamed.
    fn net(&mut self, state: &State, renaming: usize) -> [u32; MEMBERS_MAX] {
        let mut net = [0; MEMBERS_MAX];
        for id in 0..self.size {
            let place = self.symmetry.renamings()[renaming][id];
            net[place] = self.renamed_inbox(state.inboxes[id], renaming);
        }
        net
    }

    fn renamed_inbox(&mut self, inbox: u32, renaming: usize) -> u32 {
        let renamings = self.symmetry.size();
        let known = self.inboxes.sets.len() * renamings;
        if self.renamed_inboxes.len() < known {
            self.renamed_inboxes.resize(known, NOTHING);
        }
        let at = inbox as usize * renamings + renaming;
        if self.renamed_inboxes[at] == NOTHING {
            let messages = self.inboxes.get(inbox).iter();
            let renamed =
                |&message: &u32| self.renamed_messages[message as usize * renamings + renaming];
            let mut set: Vec<u32> = messages.map(renamed).collect();
            set.sort_unstable();
            self.renamed_inboxes[at] = self.renamed.number(set);
        }
        self.renamed_inboxes[at]
    }

    /// A state as a world, without what is under way.
    fn without_messages(&self, state: &State) -> World {
        let members = state.members[..self.size].iter();
        World {
            members: members.map(|&at| self.members.parts[at as usize].clone()).collect(),
            network: Vec::new(),
            ghost: self.ghosts.parts[state.ghost as usize].clone(),
            left: self.left[state.left as usize],
            rules: self.start.rules.clone(),
            memo: self.start.memo.clone(),
            told: self.start.told.clone(),
        }
    }

    fn world(&self, state: &State) -> World {
        let mut world = self.without_messages(state);
        for &inbox in &state.inboxes[..self.size] {
            let messages = self.inboxes.get(inbox).iter();
            world.network.extend(messages.map(|&at| self.messages.parts[at as usize].clone()));
        }
        world.network.sort_by_key(|envelope| envelope.hash);
        world
    }

    /// A step as the world's own action.
    fn action(&self, world: &World, step: Step) -> Action {
        match step.kind() {
            DELIVER => {
                let message = &self.messages.parts[step.which()].value;
                let at = world.network.iter().position(|other| other.value == *message);
                Action::Deliver(at.expect("it is under way"))
            }
            OWN => {
                let member = &world.members[step.id()].value;
                let whose = (step.id(), self.size);
                let mut own = self.start.rules.actions(whose, member, &self.start.left);
                own.retain(|&action| self.start.left.allows(action));
                own[step.which()]
            }
            TICK => Action::Tick(step.which()),
            _ => Action::Read(step.id()),
        }
    }

    /// The actions that lead to a state, and where each was taken.
    fn retrace(&self, mut number: u32) -> Vec<(World, Action)> {
        let mut steps = Vec::new();
        while number != 0 {
            let (from, step) = self.ways[number as usize];
            steps.push(step);
            number = from;
        }
        let mut world = self.start.clone();
        let mut way = Vec::new();
        for step in steps.into_iter().rev() {
            let action = self.action(&world, step);
            let reached = world.go(action, &mut BTreeMap::new()).expect("it went well before");
            way.push((mem::replace(&mut world, reached), action));
        }
        way
    }
}

/// What tells states of the same members and ghost apart.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    net: u32,
    left: u32,
}

/// What came of adding a state.
enum Added {
    /// A greater one was there.
    Not,
    /// Its members and ghost are new.
    First,
    /// They are not, but it was not reached by a greater one.
    Beside,
}

/// The greatest states: a set of fingerprints of members and ghosts, with what is
/// under way and left beside each. Open addressing in shards, so that growing one
/// costs little; at most seven of eight places taken, a fingerprint of zero is free.
struct Greatest {
    shards: Vec<Vec<(u64, Place)>>,
    taken: Vec<usize>,
    count: usize,
}

const SHARDS: usize = 256;
const FREE: (u64, Place) = (0, Place { net: 0, left: 0 });

impl Default for Greatest {
    fn default() -> Self {
        Self { shards: vec![vec![FREE; 64]; SHARDS], taken: vec![0; SHARDS], count: 0 }
    }
}

impl Greatest {
    /// Adds a state if none is greater, in place of one that is lesser.
    fn add(
        &mut self,
        fingerprint: u64,
        place: Place,
        is_within: impl Fn(Place, Place) -> bool,
    ) -> Added {
        let (fingerprint, shard) = Self::shard(fingerprint);
        let places = &mut self.shards[shard];
        let mut at = Self::home(fingerprint, places.len());
        let (mut lesser, mut is_known) = (None, false);
        while places[at].0 != 0 {
            if places[at].0 == fingerprint {
                is_known = true;
                let other = places[at].1;
                if other == place || is_within(place, other) {
                    return Added::Not;
                }
                if lesser.is_none() && is_within(other, place) {
                    lesser = Some(at);
                }
            }
            at += 1;
            if at == places.len() {
                at = 0;
            }
        }
        places[lesser.unwrap_or(at)] = (fingerprint, place);
        if lesser.is_none() {
            self.count += 1;
            self.taken[shard] += 1;
            if self.taken[shard] > places.len() / 8 * 7 {
                self.grow(shard);
            }
        }
        if is_known { Added::Beside } else { Added::First }
    }

    /// Whether this very state is (still) among the greatest.
    fn has(&self, fingerprint: u64, place: Place) -> bool {
        let (fingerprint, shard) = Self::shard(fingerprint);
        let places = &self.shards[shard];
        let mut at = Self::home(fingerprint, places.len());
        while places[at].0 != 0 {
            if places[at] == (fingerprint, place) {
                return true;
            }
            at += 1;
            if at == places.len() {
                at = 0;
            }
        }
        false
    }

    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.len() * size_of::<(u64, Place)>()).sum()
    }

    fn grow(&mut self, shard: usize) {
        let larger = vec![FREE; self.shards[shard].len() / 4 * 5 + 8];
        for taken in mem::replace(&mut self.shards[shard], larger) {
            if taken.0 != 0 {
                let places = &mut self.shards[shard];
                let mut at = Self::home(taken.0, places.len());
                while places[at].0 != 0 {
                    at = (at + 1) % places.len();
                }
                places[at] = taken;
            }
        }
    }

    fn shard(fingerprint: u64) -> (u64, usize) {
        (fingerprint.max(1), (fingerprint >> 56) as usize % SHARDS)
    }

    /// Where a fingerprint stands if nothing is in its way.
    fn home(fingerprint: u64, places: usize) -> usize {
        (((fingerprint & 0xffff_ffff) * (places as u64)) >> 32) as usize
    }
}
