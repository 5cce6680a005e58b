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
use super::host::{Memo, is_ignored};
use super::mutant::Mutant;
use super::scene::{Bounds, Rules};
use super::std::hash::DefaultHasher;
use crate::roles::RoleState;
use crate::{
    Change, Input, Message, NodeId, Persist, Position, Raft, ReadId, Restored, Role,
    SnapshotOutcome, Ticket, Time,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Self::Sync(_) => "sync",
            Self::Crash(..) => "crash",
            Self::Wipe(_) => "wipe",
            Self::Tick(_) => "tick",
            Self::Deliver(_) => "deliver",
            Self::Repeat(_) => "deliver twice",
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
}

impl Member {
    pub(crate) fn new(raft: Raft, disk: Restored) -> Self {
        let stored = disk.trail.base();
        Self { raft, disk, writes: VecDeque::new(), stored, storing: None }
    }
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
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
        // Members with equal disks are alike until one campaigns: let it be the first.
        let alike = self.members.iter().all(|member| {
            let Member { raft, disk, .. } = &*member.value;
            disk.trail.last() == Position::ZERO && raft.term().0 == 0
        });
        for (id, member) in self.members.iter().enumerate() {
            let Member { raft, disk, writes, stored, storing } = &*member.value;
            let leads = raft.role() == Role::Leader;
            let may_campaign =
                left.campaigns > 0 && raft.term().0 < left.term_max && raft.may_seek_election();
            if !leads && may_campaign && (id == 0 || !alike) {
                actions.push(Action::Campaign(id));
            }
            if leads && left.beats > 0 {
                actions.push(Action::Beat(id));
            }
            if let RoleState::Leader(leader) = &raft.role
                && leader.reads.ask_rest_at().is_some()
                && leader.heartbeat_due > self.rules.now()
            {
                actions.push(Action::AskRest(id));
            }
            if leads && left.proposals > 0 {
                actions.push(Action::Propose(id));
            }
            if leads && left.changes > 0 {
                let changes = self.rules.changes.iter().enumerate();
                let possible = changes.filter(|(_, changes)| self.names_disks_that_are(changes));
                actions.extend(possible.map(|(which, _)| Action::Change(id, which)));
            }
            if leads && left.transfers > 0 {
                let others = (0..self.members.len()).filter(|&to| to != id);
                actions.extend(others.map(|to| Action::Transfer(id, to)));
            }
            if left.reads > 0 && raft.leader().is_some() {
                actions.push(Action::Read(id));
            }
            let covered = raft.trail().position_at(raft.last_applied());
            let covers_more =
                covered.is_some_and(|covered| covered > *stored && disk.trail.contains(covered));
            if left.compactions > 0 && storing.is_none() && covers_more {
                actions.push(Action::Snapshot(id));
            }
            if storing.is_some() {
                actions.push(Action::Store(id));
            }
            if self.purgeable(id).is_some() {
                actions.push(Action::Compact(id));
            }
            if !writes.is_empty() {
                actions.push(Action::Sync(id));
            }
            if left.crashes > 0 {
                actions.extend((0..=writes.len()).map(|done| Action::Crash(id, done)));
            }
            if left.wipes > 0 {
                actions.push(Action::Wipe(id));
            }
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

    /// Nobody can ask for a disk before there is one.
    fn names_disks_that_are(&self, changes: &[Change]) -> bool {
        changes.iter().all(|change| match change {
            Change::Readmit { id, incarnation } => {
                self.members[number(*id)].value.disk.replacement == Some(*incarnation)
            }
            _ => true,
        })
    }

    /// Up to where a member's log may go: what a durable snapshot covers.
    pub(crate) fn purgeable(&self, id: usize) -> Option<Position> {
        let Member { raft, disk, stored, storing, .. } = &*self.members[id].value;
        let early = storing.filter(|_| self.rules.mutant == Some(Mutant::PurgesEarly));
        let covered = early.unwrap_or(*stored);
        let is_new = covered > disk.trail.base() && disk.trail.contains(covered);
        (is_new && covered.index <= raft.last_applied()).then_some(covered)
    }

    /// Whether both ends take each other for members with the disks that they have.
    fn is_let_in(&self, envelope: &Envelope) -> bool {
        if let Some(Mutant::VotesWithoutMemory) = self.rules.mutant {
            return true;
        }
        let (from, to) = (number(envelope.from), number(envelope.to));
        let knows = |knower: usize, other: usize| {
            let membership = self.members[knower].value.raft.membership();
            let disk = self.members[other].value.disk.replacement;
            disk.is_none() || membership.readmitted.get(&name(other)) == disk.as_ref()
        };
        // The one with the new disk learns from the other that it is let in.
        let linked = self.members[to].value.disk.replacement.is_some() || knows(to, from);
        linked && (self.members[from].value.disk.replacement.is_some() || knows(from, to))
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
        let now = self.rules.now();
        match action {
            Action::Campaign(id) => {
                world.left.campaigns -= 1;
                world.step(id, Input::Campaign, met)?;
            }
            Action::Propose(id) => {
                world.left.proposals -= 1;
                world.step(id, Input::Propose { count: 1 }, met)?;
            }
            Action::Beat(id) => {
                world.left.beats -= 1;
                world.alter(id, |member| {
                    if let RoleState::Leader(leader) = &mut member.raft.role {
                        leader.heartbeat_due = now;
                    }
                });
                world.step(id, Input::Wake, met)?;
            }
            Action::AskRest(id) => {
                world.alter(id, |member| {
                    if let RoleState::Leader(leader) = &mut member.raft.role {
                        leader.reads.ask_rest_now(now);
                    }
                });
                world.step(id, Input::Wake, met)?;
            }
            Action::Change(id, which) => {
                world.left.changes -= 1;
                let changes = self.rules.changes[which].clone();
                world.step(id, Input::ChangeMembership { changes, forced: true }, met)?;
            }
            Action::Transfer(id, to) => {
                world.left.transfers -= 1;
                let deadline = Time(u64::MAX);
                world.step(id, Input::TransferLeadership { to: name(to), deadline }, met)?;
            }
            Action::Read(id) => {
                world.left.reads -= 1;
                let reused = self.rules.mutant == Some(Mutant::ReusesReadId);
                let read = ReadId(if reused { 1 } else { self.ghost.value.reads_asked() + 1 });
                world.change_ghost(|ghost| ghost.asked(read));
                world.step(id, Input::Read { id: read, deadline: Time(u64::MAX) }, met)?;
            }
            Action::Snapshot(id) => {
                world.left.compactions -= 1;
                let raft = &self.members[id].value.raft;
                let covered = raft.trail().position_at(raft.last_applied()).expect("it stands");
                world.alter(id, |member| member.storing = Some(covered));
            }
            Action::Store(id) => world.alter(id, |member| {
                let covered = member.storing.take().expect("one is being written");
                member.stored = member.stored.max(covered);
            }),
            Action::Compact(id) => {
                let through = self.purgeable(id).expect("it may go");
                world.alter(id, |member| member.disk.trail.compact(through));
                world.step(id, Input::Compacted { through }, met)?;
            }
            Action::Sync(id) => {
                let ticket = match self.overtaking(id) {
                    Some(ticket) => ticket,
                    None => world.write(id, met)?,
                };
                world.step(id, Input::Persisted { ticket }, met)?;
            }
            Action::Crash(id, done) => {
                world.left.crashes -= 1;
                for _ in 0..done {
                    world.write(id, met)?;
                }
                if !world.members[id].value.writes.is_empty() {
                    *met.entry("a crash loses a write").or_default() += 1;
                }
                world.begin_again(id, |_| {});
                world.ghost.value.restarted(name(id), &world.members[id].value)?;
            }
            Action::Wipe(id) => {
                world.left.wipes -= 1;
                let gone = name(id);
                let linked = |other: &Envelope| other.from == gone || other.to == gone;
                if self.rules.mutant != Some(Mutant::KeepsOldLinks) {
                    world.network.retain(|other| !linked(&other.value));
                }
                world.begin_again(id, |member| {
                    member.stored = Position::ZERO;
                    member.disk = Restored { replacement: Some(NEW_DISK), ..Restored::default() };
                });
                world.change_ghost(|ghost| ghost.wiped(name(id)));
            }
            Action::Tick(which) => {
                world.left.ticks -= 1;
                let (steps, paused) = &self.rules.ticks[which];
                for (id, step) in steps.iter().enumerate() {
                    world.alter(id, |member| {
                        member.raft.rebase(now.after(*step));
                    });
                }
                if let Some(id) = *paused {
                    world.step(id, Input::Paused, met)?;
                }
            }
            Action::Deliver(at) | Action::Repeat(at) => {
                let envelope = world.network[at].clone();
                if matches!(action, Action::Repeat(_)) {
                    world.left.repeats -= 1;
                } else {
                    world.network.remove(at);
                }
                world.deliver((*envelope.value).clone(), met)?;
            }
        }
        let Self { members, network, .. } = &mut world;
        network.retain(|envelope| {
            !is_ignored(&envelope.value, &members[number(envelope.value.to)].value)
        });
        Ok(world)
    }

    fn deliver(&mut self, envelope: Envelope, met: &mut Met) -> Result<(), String> {
        let Envelope { from, to, message } = envelope;
        let delivered = match message {
            Message::InstallSnapshot { term, last, .. } => {
                // Its pieces are durable before the algorithm is told of it.
                self.alter(number(to), |member| member.stored = member.stored.max(last));
                Some(term)
            }
            _ => None,
        };
        self.step(number(to), Input::Receive { from, message }, met)?;
        if let Some(term) = delivered {
            let outcome = SnapshotOutcome::Delivered;
            self.step(number(from), Input::SnapshotSent { to, term, outcome }, met)?;
        }
        Ok(())
    }

    /// With the wrong variant 27: the ticket of a member's newest write, which is
    /// said to be done though older ones are not.
    fn overtaking(&self, id: usize) -> Option<Ticket> {
        let Member { raft, writes, .. } = &*self.members[id].value;
        let overtakes = self.rules.mutant == Some(Mutant::CompletesOutOfOrder)
            && writes.len() > 1
            && !raft.is_durable();
        writes.back().filter(|_| overtakes).map(|newest| newest.ticket)
    }

    fn begin_again(&mut self, id: usize, change: impl FnOnce(&mut Member)) {
        let rules = self.rules.clone();
        self.alter(id, |member| {
            member.writes.clear();
            member.storing = None;
            change(member);
            member.raft = rules.start(id, &member.disk);
        });
    }

    pub(crate) fn alter(&mut self, id: usize, change: impl FnOnce(&mut Member)) {
        let mut member = (*self.members[id].value).clone();
        change(&mut member);
        self.members[id] = Shared::new(member);
    }

    pub(crate) fn change_ghost(&mut self, change: impl FnOnce(&mut Ghost)) {
        let mut ghost = (*self.ghost.value).clone();
        change(&mut ghost);
        self.ghost = Shared::new(ghost);
    }
}
