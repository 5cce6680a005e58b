//! What can happen to a small group: members, their disks, messages under way.
//!
//! - The network is a bag. A message may be overtaken by any other, and a lost
//!   one is one that is never delivered, so loss needs no action of its own.
//! - A write is durable when `Sync` says so. A crash leaves any number of the
//!   writes in flight done, and the member starts again from its disk at once.
//! - A member campaigns, a leader beats, when it likes. Where leases or timeouts
//!   are searched, every member has a clock, and steps of real time move them on.
//! - A lost disk takes the links with it. Whoever has a new one is let in by
//!   those whose membership names that disk: this is the node's handshake.
//!
//! What a step of the algorithm does to disks and network is `host.rs`.

use super::check::{self, Ghost};
use super::host::{Deed, Memo, is_ignored};
use super::mutant::Mutant;
use super::scene::{Bounds, Rules};
use super::std::hash::DefaultHasher;
use crate::{
    Index, Input, Message, NodeId, Persist, Position, Raft, ReadId, Restored, Role, Round,
    SnapshotOutcome, Term, Time,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::hash::{Hash, Hasher};

pub(crate) type Met = BTreeMap<&'static str, u64>;

/// One thing that happens. Members are numbered from 0, messages by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Campaign(usize),
    Beat(usize),
    /// Those who were asked about a read take too long.
    AskRest(usize),
    Propose(usize),
    /// One of the changes in the rules.
    Change(usize, usize),
    Transfer(usize, usize),
    Read(usize),
    /// A snapshot of what is applied is begun.
    Snapshot(usize),
    /// It is durable.
    Store(usize),
    /// The log that it covers is let go.
    Compact(usize),
    /// One of the permissions to send entries to a follower is used.
    Send(usize, usize, usize),
    /// The next entry is applied, or a snapshot loaded.
    Apply(usize),
    Sync(usize),
    /// With this many of its writes done.
    Crash(usize, usize),
    Wipe(usize),
    /// One of the ticks in the rules.
    Tick(usize),
    Deliver(usize),
    Repeat(usize),
}

impl Action {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Campaign(_) => "campaign",
            Self::Beat(_) => "heartbeat",
            Self::AskRest(_) => "ask the rest",
            Self::Propose(_) => "propose",
            Self::Change(..) => "change",
            Self::Transfer(..) => "transfer",
            Self::Read(_) => "read",
            Self::Snapshot(_) => "snapshot",
            Self::Store(_) => "store",
            Self::Compact(_) => "compact",
            Self::Send(..) => "send entries",
            Self::Apply(_) => "apply",
            Self::Sync(_) => "sync",
            Self::Crash(..) => "crash",
            Self::Wipe(_) => "wipe",
            Self::Tick(_) => "tick",
            Self::Deliver(_) => "deliver",
            Self::Repeat(_) => "deliver twice",
        }
    }

    /// Who does it, or whom it happens to.
    pub(crate) fn whose(self) -> Option<usize> {
        match self {
            Self::Campaign(id)
            | Self::Beat(id)
            | Self::AskRest(id)
            | Self::Propose(id)
            | Self::Change(id, _)
            | Self::Transfer(id, _)
            | Self::Read(id)
            | Self::Snapshot(id)
            | Self::Store(id)
            | Self::Compact(id)
            | Self::Send(id, ..)
            | Self::Apply(id)
            | Self::Sync(id)
            | Self::Crash(id, _)
            | Self::Wipe(id) => Some(id),
            Self::Tick(_) | Self::Deliver(_) | Self::Repeat(_) => None,
        }
    }
}

/// A member and its disk.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Member {
    pub(crate) raft: Raft,
    pub(crate) disk: Restored,
    pub(crate) writes: VecDeque<Persist>,
    /// What the newest durable snapshot covers.
    pub(crate) stored: Position,
    /// What the one that is being written does.
    pub(crate) storing: Option<Position>,
    /// Permissions to send entries that were not used yet, by whom they are for.
    pub(crate) permits: BTreeMap<NodeId, Vec<Permit>>,
    /// Where entries are applied later: up to where they are, and may be.
    pub(crate) applied: Index,
    pub(crate) to_apply: Index,
    /// Whether it may still crash.
    pub(crate) mortal: bool,
}

/// A permission to send entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Permit {
    pub(crate) term: Term,
    pub(crate) prev: Position,
    pub(crate) leader_commit: Index,
    pub(crate) round: Round,
}

impl Member {
    pub(crate) fn new(raft: Raft, disk: Restored) -> Self {
        let stored = disk.trail.base();
        Self {
            raft,
            disk,
            writes: VecDeque::new(),
            stored,
            storing: None,
            permits: BTreeMap::new(),
            applied: stored.index,
            to_apply: stored.index,
            mortal: true,
        }
    }

    /// It will not crash any more: what only a restart reads is all the same.
    pub(crate) fn outlive(&mut self) {
        self.mortal = false;
        self.disk.hard_state.commit_index = Index(0);
        for persist in &mut self.writes {
            persist.hard_state.commit_index = Index(0);
        }
    }

    /// The earliest term in which it may still be elected: the one in which it seeks
    /// votes, or a later one than it knows of after a crash.
    pub(crate) fn electable_from(&self) -> Term {
        let (seeks, term) = (self.raft.role() == Role::Candidate, self.raft.term());
        let next = self.disk.hard_state.current_term.next();
        if seeks { term.min(next) } else { next }
    }

    /// What is applied, as far as the log still says which entry that was.
    pub(crate) fn applied(&self, rules: &Rules) -> Option<Position> {
        let applied = if rules.applies { self.applied } else { self.raft.last_applied() };
        self.raft.trail().position_at(applied)
    }

    /// What is applied once the next entry is, or the snapshot before it loaded.
    pub(crate) fn next_applied(&self) -> Index {
        self.applied.next().max(self.raft.trail().base().index)
    }
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

impl Envelope {
    /// What the sender's host says once it is delivered: of a snapshot, that it is.
    pub(crate) fn answer(&self) -> Option<Input> {
        match self.message {
            Message::InstallSnapshot { term, .. } => {
                let outcome = SnapshotOutcome::Delivered;
                Some(Input::SnapshotSent { to: self.to, term, outcome })
            }
            _ => None,
        }
    }
}

/// Something shared between worlds, with its hash.
#[derive(Clone, Debug)]
pub(crate) struct Shared<T> {
    pub(crate) value: Arc<T>,
    pub(crate) hash: u64,
}

impl<T: Hash> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self { value: Arc::new(value), hash: hasher.finish() }
    }
}

/// One state of everything.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) members: Vec<Shared<Member>>,
    /// In the order of their hashes.
    pub(crate) network: Vec<Shared<Envelope>>,
    pub(crate) ghost: Shared<Ghost>,
    pub(crate) left: Bounds,
    pub(crate) rules: Arc<Rules>,
    pub(crate) memo: Rc<RefCell<Memo>>,
    /// How it was set up, as the beginning of a story.
    pub(crate) told: Rc<Vec<String>>,
}

/// The member numbered `id`.
pub(crate) fn name(id: usize) -> NodeId {
    NodeId(id as u64 + 1)
}

pub(crate) fn number(id: NodeId) -> usize {
    id.0 as usize - 1
}

/// The disk that takes the place of a lost one.
pub(crate) const NEW_DISK: u64 = 7;

impl World {
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for member in &self.members {
            member.hash.hash(&mut hasher);
        }
        for envelope in &self.network {
            envelope.hash.hash(&mut hasher);
        }
        self.ghost.hash.hash(&mut hasher);
        self.left.hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn left_fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.left.hash(&mut hasher);
        hasher.finish()
    }

    /// All that can happen next, in a fixed order.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let left = &self.left;
        let alike = self.alike();
        for (id, member) in self.members.iter().enumerate() {
            let own = self.rules.actions((id, self.members.len()), &member.value, left);
            actions.extend(own.into_iter().filter(|own| match own {
                Action::Campaign(id) => left.allows(*own) && (*id == 0 || !alike),
                Action::Change(_, which) => {
                    let member = |id: usize| &*self.members[id].value;
                    left.allows(*own) && self.rules.names_disks_that_are(*which, member)
                }
                _ => left.allows(*own),
            }));
        }
        if left.ticks > 0 {
            actions.extend((0..self.rules.ticks.len()).map(Action::Tick));
        }
        for (at, envelope) in self.network.iter().enumerate() {
            let twin = at > 0 && self.network[at - 1].value == envelope.value;
            if twin || !self.is_let_in(&envelope.value) {
                continue;
            }
            actions.push(Action::Deliver(at));
            if left.repeats > 0 {
                actions.push(Action::Repeat(at));
            }
        }
        actions
    }

    /// Members with equal disks are alike until one campaigns: let it be the first.
    pub(crate) fn alike(&self) -> bool {
        self.members.iter().all(|member| {
            let Member { raft, disk, .. } = &*member.value;
            disk.trail.last() == Position::ZERO && raft.term().0 == 0
        })
    }

    fn is_let_in(&self, envelope: &Envelope) -> bool {
        self.rules.let_in(envelope, |id| &self.members[id].value)
    }

    /// What comes of an action, or which property it breaks.
    pub(crate) fn act(&self, action: Action, met: &mut Met) -> Result<Self, String> {
        let world = self.go(action, met)?;
        check::state(&world, met)?;
        Ok(world)
    }

    /// The same, without looking at the state that it leads to.
    pub(crate) fn go(&self, action: Action, met: &mut Met) -> Result<Self, String> {
        let mut world = self.clone();
        world.left.pay(action);
        let lives_on = self.rules.lives_on(&world.left);
        match action {
            Action::Read(id) => {
                let read = ReadId(if self.rules.reuses_reads() {
                    1
                } else {
                    self.ghost.value.reads_asked() + 1
                });
                world.change_ghost(|ghost| ghost.asked(read));
                world.step(id, Input::Read { id: read, deadline: Time(u64::MAX) }, met)?;
            }
            Action::Wipe(id) => {
                let gone = name(id);
                let linked = |other: &Envelope| other.from == gone || other.to == gone;
                if self.rules.mutant != Some(Mutant::KeepsOldLinks) {
                    world.network.retain(|other| !linked(&other.value));
                }
                world.alter(id, |member| {
                    member.disk = Restored { replacement: Some(NEW_DISK), ..Restored::default() };
                    *member = Member::new(self.rules.start(id, &member.disk), member.disk.clone());
                });
                world.change_ghost(|ghost| ghost.wiped(name(id)));
            }
            Action::Tick(_) => {
                for id in 0..world.members.len() {
                    world.perform(id, Deed::Own(action), met)?;
                }
            }
            Action::Deliver(at) | Action::Repeat(at) => {
                let envelope = world.network[at].clone();
                if matches!(action, Action::Deliver(_)) && !self.rules.stays {
                    world.network.remove(at);
                }
                world.deliver((*envelope.value).clone(), met)?;
            }
            _ => {
                let id = action.whose().expect("all others are of one member");
                world.perform(id, Deed::Own(action), met)?;
            }
        }
        if lives_on {
            world.outlive();
        }
        let Self { members, network, .. } = &mut world;
        network.retain(|envelope| {
            !is_ignored(&envelope.value, &members[number(envelope.value.to)].value)
        });
        world.ghost_forgets();
        Ok(world)
    }

    fn deliver(&mut self, envelope: Envelope, met: &mut Met) -> Result<(), String> {
        let (from, to) = (number(envelope.from), number(envelope.to));
        let answer = envelope.answer();
        let Envelope { from: sender, message, .. } = envelope;
        self.step(to, Input::Receive { from: sender, message }, met)?;
        answer.map_or(Ok(()), |answer| self.step(from, answer, met))
    }

    pub(crate) fn alter(&mut self, id: usize, change: impl FnOnce(&mut Member)) {
        let mut member = (*self.members[id].value).clone();
        change(&mut member);
        self.members[id] = Shared::new(member);
    }

    /// Nobody will crash any more.
    pub(crate) fn outlive(&mut self) {
        for id in 0..self.members.len() {
            if self.members[id].value.mortal {
                self.alter(id, Member::outlive);
            }
        }
    }

    /// The same, and if nobody may crash within the bounds, nobody will.
    pub(crate) fn settled_fate(mut self) -> Self {
        if self.rules.lives_on(&self.left) {
            self.outlive();
        }
        self
    }

    /// The ghost forgets who led in terms in which nobody can be elected any more.
    fn ghost_forgets(&mut self) {
        let electable = self.members.iter().map(|member| member.value.electable_from()).min();
        let until = electable.expect("there are members");
        if self.ghost.value.remembers_leaders_before(until) {
            self.change_ghost(|ghost| ghost.forget_leaders_before(until));
        }
    }

    pub(crate) fn change_ghost(&mut self, change: impl FnOnce(&mut Ghost)) {
        let mut ghost = (*self.ghost.value).clone();
        change(&mut ghost);
        self.ghost = Shared::new(ghost);
    }
}
