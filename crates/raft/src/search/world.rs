//! What can happen to a small group: members, their disks, messages under way.
//!
//! - The network is a bag. A message may be overtaken by any other, and a lost
//!   one is one that is never delivered, so loss needs no action of its own.
//! - A write is durable when `Sync` says so. A crash leaves any number of the
//!   writes in flight done, and the member starts again from its disk at once.
//! - There is no time: a member campaigns, a leader beats, when it likes.
//!
//! Left out, as if they were lost: `AppendHeard`, since nothing here reads or
//! checks its quorum; and messages that their receiver ignores, now and for ever,
//! or could only refuse because their term has passed (`is_ignored`).

use super::check::{self, Ghost};
use super::mutant::{self, Mutant};
use super::std::hash::DefaultHasher;
use crate::progress::Flow;
use crate::roles::RoleState;
use crate::{
    Config, Effect, Effects, Index, Input, Membership, Message, Moment, NodeId, Persist, Position,
    Raft, Restored, Role, Run, Source, Term, Time, Trail,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

/// How much may happen in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// Nobody campaigns beyond this term.
    pub(crate) term_max: u64,
    /// Elections that are started.
    pub(crate) campaigns: u8,
    /// Entries that clients bring.
    pub(crate) proposals: u8,
    /// Heartbeats.
    pub(crate) beats: u8,
    /// Crashes.
    pub(crate) crashes: u8,
    /// Messages delivered once more than they were sent.
    pub(crate) repeats: u8,
}

/// One thing that happens. Members are numbered from 0, messages by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Campaign(usize),
    Beat(usize),
    Propose(usize),
    Sync(usize),
    /// With this many of its writes done.
    Crash(usize, usize),
    Deliver(usize),
    Repeat(usize),
}

impl Action {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Campaign(_) => "campaign",
            Self::Beat(_) => "heartbeat",
            Self::Propose(_) => "propose",
            Self::Sync(_) => "sync",
            Self::Crash(..) => "crash",
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
    hash: u64,
}

impl<T: Hash> Shared<T> {
    fn new(value: T) -> Self {
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
    network: Vec<Shared<Envelope>>,
    pub(crate) ghost: Ghost,
    left: Bounds,
    mutant: Option<Mutant>,
}

/// The fixed present (see `rebase`).
const NOW: Time = Time(2_000_000);

fn start(id: usize, disk: &Restored) -> Raft {
    let config = Config {
        pre_vote: false,
        check_quorum: false,
        message_bytes_max: 1,
        ..Config::new(name(id))
    };
    Raft::new(config, disk.clone(), Moment { now: NOW, random: 0 }).expect("a sound disk")
}

/// The member numbered `id`.
fn name(id: usize) -> NodeId {
    NodeId(id as u64 + 1)
}

fn number(id: NodeId) -> usize {
    id.0 as usize - 1
}

impl World {
    /// Members whose disks hold these terms, votes and logs. All of it must have
    /// come about lawfully, with nothing committed yet.
    pub(crate) fn new(
        disks: &[(u64, Option<u64>, &[Run])],
        bounds: Bounds,
        mutant: Option<Mutant>,
    ) -> Self {
        let membership = Membership::of((0..disks.len()).map(name));
        let mut ghost = Ghost::default();
        let mut members = Vec::new();
        for (id, (term, vote, log)) in disks.iter().enumerate() {
            let mut disk = Restored::of(membership.clone());
            disk.hard_state.current_term = Term(*term);
            disk.hard_state.voted_for = vote.map(NodeId);
            for &run in *log {
                disk.trail.append(run);
            }
            ghost.begin(id, &disk);
            members.push(Shared::new(Member {
                raft: start(id, &disk),
                disk,
                writes: VecDeque::new(),
            }));
        }
        Self { members, network: Vec::new(), ghost, left: bounds, mutant }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for member in &self.members {
            member.hash.hash(&mut hasher);
        }
        for envelope in &self.network {
            envelope.hash.hash(&mut hasher);
        }
        self.ghost.hash(&mut hasher);
        self.left.hash(&mut hasher);
        hasher.finish()
    }

    /// All that can happen next, in a fixed order.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        // Members with equal disks are alike until one campaigns: let it be the first.
        let alike = self.members.iter().all(|member| {
            member.value.disk.trail.last() == Position::ZERO && member.value.raft.term() == Term(0)
        });
        for (id, member) in self.members.iter().enumerate() {
            let Member { raft, writes, .. } = &*member.value;
            let leads = raft.role() == Role::Leader;
            let may_campaign = self.left.campaigns > 0 && raft.term().0 < self.left.term_max;
            if !leads && may_campaign && (id == 0 || !alike) {
                actions.push(Action::Campaign(id));
            }
            if leads && self.left.beats > 0 {
                actions.push(Action::Beat(id));
            }
            if leads && self.left.proposals > 0 {
                actions.push(Action::Propose(id));
            }
            if !writes.is_empty() {
                actions.push(Action::Sync(id));
            }
            if self.left.crashes > 0 {
                actions.extend((0..=writes.len()).map(|done| Action::Crash(id, done)));
            }
        }
        for (at, envelope) in self.network.iter().enumerate() {
            if at > 0 && self.network[at - 1].value == envelope.value {
                continue;
            }
            actions.push(Action::Deliver(at));
            if self.left.repeats > 0 {
                actions.push(Action::Repeat(at));
            }
        }
        actions
    }

    /// An action, in words.
    pub(crate) fn tell(&self, action: Action) -> String {
        match action {
            Action::Deliver(at) | Action::Repeat(at) => {
                let Envelope { from, to, message } = &*self.network[at].value;
                format!("{}: {from} to {to}: {message:?}", action.kind())
            }
            Action::Campaign(id) | Action::Beat(id) | Action::Propose(id) | Action::Sync(id) => {
                format!("{}: {}", action.kind(), name(id))
            }
            Action::Crash(id, done) => format!("crash: {} with {done} writes done", name(id)),
        }
    }

    /// What comes of an action, or which property it breaks.
    pub(crate) fn act(
        &self,
        action: Action,
        met: &mut BTreeMap<&'static str, u64>,
    ) -> Result<Self, String> {
        let mut world = self.clone();
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
                let mut member = (*world.members[id].value).clone();
                if let RoleState::Leader(leader) = &mut member.raft.role {
                    leader.heartbeat_due = NOW;
                }
                world.members[id] = Shared::new(member);
                world.step(id, Input::Wake, met)?;
            }
            Action::Sync(id) => {
                let ticket = world.write(id, met)?;
                world.step(id, Input::Persisted { ticket }, met)?;
            }
            Action::Crash(id, done) => {
                world.left.crashes -= 1;
                for _ in 0..done {
                    world.write(id, met)?;
                }
                let mut member = (*world.members[id].value).clone();
                if !member.writes.is_empty() {
                    *met.entry("a crash loses a write").or_default() += 1;
                }
                member.writes.clear();
                member.raft = start(id, &member.disk);
                world.ghost.restarted(id, &member)?;
                world.members[id] = Shared::new(member);
            }
            Action::Deliver(at) | Action::Repeat(at) => {
                let envelope = world.network[at].clone();
                if matches!(action, Action::Repeat(_)) {
                    world.left.repeats -= 1;
                } else {
                    world.network.remove(at);
                }
                let Envelope { from, to, message } = (*envelope.value).clone();
                world.step(number(to), Input::Receive { from, message }, met)?;
            }
        }
        let Self { members, network, .. } = &mut world;
        network.retain(|envelope| {
            !is_ignored(&envelope.value, &members[number(envelope.value.to)].value)
        });
        check::state(&world, met)?;
        Ok(world)
    }

    /// The member's oldest write becomes durable; nobody is told yet.
    fn write(
        &mut self,
        id: usize,
        met: &mut BTreeMap<&'static str, u64>,
    ) -> Result<crate::Ticket, String> {
        let mut member = (*self.members[id].value).clone();
        let persist = member.writes.pop_front().expect("a write in flight");
        let before = member.disk.hard_state;
        member.disk.hard_state = persist.hard_state;
        if let Some(from) = persist.truncate_from {
            *met.entry("a truncation becomes durable").or_default() += 1;
            member.disk.trail.truncate_from(from);
        }
        for run in persist.runs {
            member.disk.trail.append(run);
        }
        for entry in persist.memberships {
            member.disk.trail.append_membership(entry);
        }
        assert!(!matches!(persist.source, Source::Snapshot { .. }), "no snapshots here");
        check::disk(before, persist.hard_state)?;
        self.members[id] = Shared::new(member);
        Ok(persist.ticket)
    }

    /// One step of the algorithm, and its effects.
    fn step(
        &mut self,
        id: usize,
        input: Input,
        met: &mut BTreeMap<&'static str, u64>,
    ) -> Result<(), String> {
        let mut member = (*self.members[id].value).clone();
        let mut sent = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let was_leader = member.raft.role() == Role::Leader;
            let mut effects = Effects::new();
            let moment = Moment { now: NOW, random: 0 };
            mutant::step(self.mutant, &mut member.raft, moment, input, &mut effects);
            for effect in effects.list {
                match effect {
                    Effect::Persist(persist) => {
                        if self.mutant == Some(Mutant::TermNotDurable)
                            && member.writes.is_empty()
                            && mutant::writes_only_a_term(&persist, &member.disk)
                        {
                            inputs.push_back(Input::Persisted { ticket: persist.ticket });
                        } else {
                            member.writes.push_back(persist);
                        }
                    }
                    Effect::Send { to, message } => sent.push((to, message)),
                    Effect::SendEntries { to, term, prev, leader_commit, round, .. } => {
                        // One entry a message, so that they can overtake each other.
                        let last = prev.index.next();
                        let trail = member.raft.trail();
                        let (prev_log, runs) = (prev, trail.runs_between(last, last));
                        let memberships = trail.memberships_between(last, last).to_vec();
                        let message = Message::Append {
                            term,
                            prev_log,
                            runs,
                            memberships,
                            leader_commit,
                            round,
                        };
                        sent.push((to, message));
                        inputs.push_back(Input::Sent { to, term, last, bytes: 1 });
                    }
                    Effect::Accept { .. } => {
                        *met.entry("a proposal is accepted").or_default() += 1;
                    }
                    Effect::Apply { through } if through > member.disk.trail.last().index => {
                        return Err(format!("{through} is applied but not durable"));
                    }
                    _ => {}
                }
            }
            if !was_leader && member.raft.role() == Role::Leader {
                self.ghost.elected(id, &member.raft)?;
            }
        }
        member.raft.rebase(NOW);
        renumber(&mut member);
        let from = name(id);
        for (to, message) in sent {
            self.ghost.said(id, to, &message)?;
            let envelope = Envelope { from, to, message };
            let heard = matches!(envelope.message, Message::AppendHeard { .. });
            if heard {
                continue;
            }
            if let Message::AppendRejected { .. } = envelope.message {
                *met.entry("an append is rejected").or_default() += 1;
            }
            let envelope = Shared::new(envelope);
            let at = self.network.partition_point(|other| other.hash < envelope.hash);
            self.network.insert(at, envelope);
        }
        self.ghost.committed(&member.raft)?;
        self.members[id] = Shared::new(member);
        Ok(())
    }
}

/// Whether this message can change nothing at its receiver, now or ever, crash
/// or no crash (its disk has reached the message's term), or can only be refused
/// there because its term has passed. Leaving it out is as if it were lost.
fn is_ignored(envelope: &Envelope, receiver: &Member) -> bool {
    let Restored { hard_state: durable, .. } = &receiver.disk;
    let leading = match &receiver.raft.role {
        RoleState::Leader(leader) => leader.followers.get(&envelope.from),
        _ => None,
    };
    let now = receiver.raft.term();
    match envelope.message {
        Message::RequestVote { term, .. } => {
            let taken = durable.voted_for.is_some_and(|voted_for| voted_for != envelope.from);
            term < durable.current_term || term == durable.current_term && taken
        }
        Message::Append { term, .. } => term < durable.current_term,
        Message::VoteReply { term, vote_granted: false } => term <= durable.current_term,
        Message::VoteReply { term, .. } => {
            let seeks = receiver.raft.role() == Role::Candidate && now == term;
            term <= durable.current_term && !seeks
        }
        Message::AppendStored { term, last } => {
            let known = leading.filter(|_| now == term);
            let news = known.is_some_and(|known| {
                last > known.match_index() || !matches!(known.flow(), Flow::Replicate(_))
            });
            term <= durable.current_term && !news
        }
        Message::AppendRejected { term, prev_log, .. } => {
            let known = leading.filter(|_| now == term);
            let news = known.is_some_and(|known| prev_log.index > known.match_index());
            term <= durable.current_term && !news
        }
        _ => false,
    }
}

/// Tickets are names: states that differ only in them are one.
fn renumber(member: &mut Member) {
    member.raft.outbox.renumber();
    for (persist, ticket) in member.writes.iter_mut().zip(1..) {
        persist.ticket = crate::Ticket(ticket);
    }
}

/// Everything that stands in a log, entry by entry.
pub(crate) fn positions(trail: &Trail) -> impl Iterator<Item = Position> + '_ {
    trail.runs().iter().flat_map(|run| {
        (run.first.0..=run.last.0).map(|index| Position { term: run.term, index: Index(index) })
    })
}
