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

mod names;
mod steps;

use super::check::{self, Ghost};
use super::greatest::{Added, Greatest, KINDS, Place};
use super::host::Stepped;
use super::numbers::{Pool, Sets};
use super::scene::Bounds;
use super::symmetry::Symmetry;
use super::table::ByFingerprint;
use super::world::{Action, Envelope, Member, Shared, World, number};
use super::{Report, Violation, attempt};
use crate::Term;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

/// So many members at most.
pub(crate) const MEMBERS_MAX: usize = 4;

/// A search that goes beyond so many states says how far it is, level by level.
const PROGRESS_FROM: usize = 2_000_000;

/// Visits the greatest of all states that `start` leads to, until there are
/// `states_max` of them.
pub(crate) fn exhaust(start: &World, states_max: usize) -> Report {
    Wide::new(&start.clone().settled_fate()).run(states_max)
}

/// What the states that are visited are called, but for what is under way and left.
pub(crate) fn names(start: &World) -> BTreeSet<u64> {
    let start = start.clone().settled_fate();
    let mut wide = Wide::new(&start);
    wide.visit(usize::MAX);
    wide.greatest.names()
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

/// States that wait. What was taken out takes no room any more.
#[derive(Default)]
struct Level {
    chunks: VecDeque<Vec<State>>,
    len: usize,
}

impl Level {
    const CHUNK: usize = 1 << 16;

    fn push(&mut self, state: State) {
        if self.len.is_multiple_of(Self::CHUNK) {
            self.chunks.push_back(Vec::with_capacity(Self::CHUNK));
        }
        self.chunks.back_mut().expect("one was added").push(state);
        self.len += 1;
    }
}

/// What is looked at again and again of a member.
#[derive(Clone, Copy)]
struct Traits {
    mortal: bool,
    /// See `Member::electable_from`.
    electable_from: Term,
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
/// A message is delivered, and stays under way.
const REPEAT: u32 = 5;

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

struct Wide<'a> {
    start: &'a World,
    size: usize,
    /// Whether anybody has, or may get, another disk than its first.
    replaces: bool,
    symmetry: Symmetry,
    report: Report,

    members: Pool<Member>,
    traits: Vec<Traits>,
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
    /// The kinds of messages in each.
    kinds: Vec<u32>,
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
    place: Place,
}

impl<'a> Wide<'a> {
    fn new(start: &'a World) -> Self {
        assert!(start.members.len() <= MEMBERS_MAX, "so many members do not fit");
        let has_new_disk = |member: &Shared<Member>| member.value.disk.replacement.is_some();
        let mut symmetry = Symmetry::of(start);
        let report = Report { symmetry: symmetry.size(), ..Report::default() };
        let mut ghosts = Pool::default();
        ghosts.number(&start.ghost, &mut symmetry, 3);
        let mut wide = Self {
            start,
            size: start.members.len(),
            replaces: start.left.wipes > 0 || start.members.iter().any(has_new_disk),
            symmetry,
            report,
            members: Pool::default(),
            traits: Vec::new(),
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
            kinds: Vec::new(),
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
        self.greatest.add(name.fingerprint, name.place, |_, _| false);
        self.ways.push((0, Step(0)));
        let mut frontier = Level::default();
        frontier.push(first);
        while frontier.len > 0 {
            let mut next = Level::default();
            let waiting = frontier.chunks.into_iter().flatten();
            for state in waiting {
                let state = &state;
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
            self.report.depth += usize::from(next.len > 0);
            self.report.widest = self.report.widest.max(next.len);
            let bytes = next.len.max(frontier.len) * size_of::<State>()
                + self.greatest.bytes()
                + self.ways.len() * 8;
            self.report.bytes = self.report.bytes.max(bytes);
            if self.ways.len() > PROGRESS_FROM {
                self.progress(next.len);
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
    fn expand(&mut self, state: &State, next: &mut Level) -> Result<(), (String, Step)> {
        let name = self.name(state);
        if !self.greatest.has(name.fingerprint, name.place) {
            return Ok(());
        }
        self.report.states += 1;
        for id in 0..self.size {
            let member = state.members[id] as usize;
            for at in 0..self.own[member].len() {
                let action = self.own[member][at];
                if !self.left[state.left as usize].allows(action) || !self.can_be(state, action) {
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
                    let again = Action::Repeat(0);
                    if self.left[state.left as usize].allows(again) {
                        let step = Step::new(id, REPEAT, message);
                        self.take(state, step, again, next).map_err(|what| (what, step))?;
                    }
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

    /// Nobody can ask for a disk before there is one.
    fn can_be(&self, state: &State, action: Action) -> bool {
        let Action::Change(_, which) = action else { return true };
        let member = |id: usize| &*self.members.parts[state.members[id] as usize].value;
        self.start.rules.names_disks_that_are(which, member)
    }

    fn is_let_in(&self, state: &State, message: u32) -> bool {
        let rules = &self.start.rules;
        if !self.replaces {
            return true;
        }
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
        next: &mut Level,
    ) -> Result<(), String> {
        self.count(action);
        let Some(reached) = self.reach(state, step, action)? else { return Ok(()) };
        let mut reached = reached;
        let name = self.name(&reached);
        let Self { greatest, renamed, nets, left, size, .. } = self;
        let is_within = |one: Place, other: Place| {
            if !one.may_be_within(other) {
                return false;
            }
            let (ours, theirs) = (&nets[one.net as usize], &nets[other.net as usize]);
            let (one_left, other_left) = (one.left() as usize, other.left() as usize);
            (one_left == other_left || left[one_left].is_within(&left[other_left]))
                && (one.net == other.net
                    || (0..*size).all(|id| renamed.is_within(ours[id], theirs[id])))
        };
        match greatest.add(name.fingerprint, name.place, is_within) {
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
            let is_delivered = matches!(step.kind(), DELIVER | REPEAT);
            let taken = Step::new(
                step.id(),
                if is_delivered { DELIVER } else { step.kind() },
                step.which() as u32,
            );
            let is_nothing = !self.follow(&mut reached, taken, &mut sent)?;
            if is_nothing && is_delivered {
                return Ok(None);
            }
        }
        if step.kind() == DELIVER && !self.start.rules.stays {
            let (id, message) = (step.id(), step.which() as u32);
            reached.inboxes[id] = self.without(reached.inboxes[id], message);
        }
        if matches!(step.kind(), DELIVER | REPEAT) {
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
            kind @ (DELIVER | REPEAT) => {
                let message = &self.messages.parts[step.which()].value;
                let at = world.network.iter().position(|other| other.value == *message);
                let at = at.expect("it is under way");
                if kind == DELIVER { Action::Deliver(at) } else { Action::Repeat(at) }
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
