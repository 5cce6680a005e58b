//! The host of a member: carries out what a step asks for, on its disk and on the
//! network, and looks at what the step says.
//!
//! Left out, as if they were lost: `AppendHeard` where nothing rests on it, and
//! messages that their receiver ignores, now and for ever, or could only refuse
//! because their term has passed (`is_ignored`).

use super::check::{self, Ghost, holds};
use super::mutant::{self, Mutant};
use super::std::hash::DefaultHasher;
use super::table::{ByFingerprint, both};
use super::world::{Envelope, Member, Met, Shared, World, name, number};
use crate::progress::Flow;
use crate::roles::RoleState;
use crate::{
    Effect, Effects, Index, Input, Membership, MembershipEntry, Message, Moment, NodeId, Position,
    Raft, ReadId, Restored, Role, SnapshotOutcome, Source, Ticket,
};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

impl World {
    /// The member's oldest write becomes durable; nobody is told yet.
    pub(crate) fn write(&mut self, id: usize, met: &mut Met) -> Result<Ticket, String> {
        let mut member = (*self.members[id].value).clone();
        let persist = member.writes.pop_front().expect("a write in flight");
        let Restored { hard_state, trail, .. } = &mut member.disk;
        check::disk(*hard_state, persist.hard_state)?;
        *hard_state = persist.hard_state;
        if persist.truncate_from.is_some() {
            *met.entry("a truncation becomes durable").or_default() += 1;
        }
        match (persist.source, persist.truncate_from) {
            (Source::Snapshot { last, membership }, cut) => {
                *met.entry("a snapshot is installed").or_default() += 1;
                if cut.is_none() && trail.contains(last) {
                    trail.compact(last);
                } else {
                    trail.reset(last, *membership);
                }
            }
            (_, Some(from)) => trail.truncate_from(from),
            (_, None) => {}
        }
        for &run in &persist.runs {
            trail.append(run);
        }
        for entry in persist.memberships {
            trail.append_membership(entry);
        }
        self.members[id] = Shared::new(member);
        Ok(persist.ticket)
    }

    /// One step of the algorithm, and its effects. What a member does depends on
    /// nothing but its own state and the input, so it is worked out once.
    pub(crate) fn step(&mut self, id: usize, input: Input, met: &mut Met) -> Result<(), String> {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let key = both(self.members[id].hash, hasher.finish());
        let known = self.memo.borrow().steps.get(&key).cloned();
        let stepped = if let Some(stepped) = known {
            stepped
        } else {
            let stepped = Rc::new(self.work_out(id, input)?);
            self.memo.borrow_mut().steps.insert(key, stepped.clone());
            stepped
        };
        for what in &stepped.met {
            *met.entry(what).or_default() += 1;
        }
        for seen in &stepped.seen {
            if let Witnessed::Counted { leader, before } = seen {
                check::counted(self, leader, *before)?;
            }
        }
        self.look_on(key, id, &stepped)?;
        for envelope in &stepped.sent {
            let at = self.network.partition_point(|other| other.hash < envelope.hash);
            self.network.insert(at, envelope.clone());
        }
        self.members[id] = stepped.member.clone();
        Ok(())
    }

    /// The ghost sees the step.
    fn look_on(&mut self, key: u64, id: usize, stepped: &Stepped) -> Result<(), String> {
        let key = both(self.ghost.hash, key);
        if let Some(ghost) = self.memo.borrow().ghosts.get(&key) {
            self.ghost = ghost.clone();
            return Ok(());
        }
        let mut ghost = (*self.ghost.value).clone();
        for seen in &stepped.seen {
            match seen {
                Witnessed::Appended(memberships) => ghost.appended(memberships)?,
                Witnessed::Elected(raft) => ghost.elected(raft)?,
                Witnessed::Served(read, index) => ghost.served(name(id), *read, *index)?,
                Witnessed::Said(to, message) => ghost.said(name(id), *to, message)?,
                Witnessed::Counted { .. } => {}
            }
        }
        ghost.committed(&stepped.member.value.raft)?;
        self.ghost = Shared::new(ghost);
        self.memo.borrow_mut().ghosts.insert(key, self.ghost.clone());
        Ok(())
    }

    /// What a member does with an input.
    fn work_out(&self, id: usize, input: Input) -> Result<Stepped, String> {
        let mut member = (*self.members[id].value).clone();
        let mut now = Now::default();
        let mut inputs = VecDeque::from([input]);
        let moment = Moment { now: self.rules.now(), random: 0 };
        while let Some(input) = inputs.pop_front() {
            let was_leader = member.raft.role() == Role::Leader;
            let committed = member.raft.commit_index();
            let mut effects = Effects::new();
            mutant::step(self.rules.mutant, &mut member.raft, moment, input, &mut effects);
            if !was_leader && member.raft.role() == Role::Leader {
                now.seen.push(Witnessed::Elected(Box::new(member.raft.clone())));
            }
            for effect in effects.list {
                self.carry_out(&mut member, effect, &mut now, &mut inputs)?;
            }
            if was_leader && member.raft.commit_index() > committed {
                let leader = Box::new(member.clone());
                now.seen.push(Witnessed::Counted { leader, before: committed });
            }
        }
        member.raft.rebase(moment.now);
        renumber(&mut member);
        let from = name(id);
        let mut sent = Vec::new();
        for (to, message) in now.sent {
            now.seen.push(Witnessed::Said(to, message.clone()));
            let envelope = Envelope { from, to, message };
            let heard = matches!(envelope.message, Message::AppendHeard { .. });
            let links = &self.rules.links;
            let (one, other) = (id, number(to));
            let linked =
                links.is_empty() || links.contains(&(one, other)) || links.contains(&(other, one));
            if heard && !self.rules.hears || !linked {
                continue;
            }
            if let Message::AppendRejected { .. } = envelope.message {
                now.met.push("an append is rejected");
            }
            sent.push(Shared::new(envelope));
        }
        Ok(Stepped { member: Shared::new(member), seen: now.seen, sent, met: now.met })
    }

    fn carry_out(
        &self,
        member: &mut Member,
        effect: Effect,
        now: &mut Now,
        inputs: &mut VecDeque<Input>,
    ) -> Result<(), String> {
        match effect {
            Effect::Persist(persist) => {
                let stands = |entry: &MembershipEntry| {
                    let position = member.raft.trail().position_at(entry.index);
                    (position.expect("it was appended"), entry.membership.clone())
                };
                if !persist.memberships.is_empty() {
                    now.seen.push(Witnessed::Appended(
                        persist.memberships.iter().map(stands).collect(),
                    ));
                }
                if self.rules.mutant == Some(Mutant::TermNotDurable)
                    && member.writes.is_empty()
                    && mutant::writes_only_a_term(&persist, &member.disk)
                {
                    inputs.push_back(Input::Persisted { ticket: persist.ticket });
                } else {
                    member.writes.push_back(persist);
                }
            }
            Effect::Send { to, message } => now.sent.push((to, message)),
            Effect::SendEntries { to, term, prev, leader_commit, round, .. } => {
                // One entry a message, so that they can overtake each other.
                let (last, trail) = (prev.index.next(), member.raft.trail());
                let runs = trail.runs_between(last, last);
                let memberships = trail.memberships_between(last, last);
                let prev_log = prev;
                let message =
                    Message::Append { term, prev_log, runs, memberships, leader_commit, round };
                now.sent.push((to, message));
                inputs.push_back(Input::Sent { to, term, last, bytes: 1 });
            }
            Effect::SendSnapshot { to, term, leader, least, .. } => {
                now.met.push("a snapshot is sent");
                if self.rules.mutant == Some(Mutant::NeverSendsSnapshot) {
                    return Ok(());
                }
                let last = member.disk.trail.base();
                if last.index < least || !holds(member.raft.trail(), last) {
                    let outcome = SnapshotOutcome::Failed;
                    inputs.push_back(Input::SnapshotSent { to, term, outcome });
                    return Ok(());
                }
                if leader != member.raft.id() {
                    now.met.push("a follower sends a snapshot");
                }
                let mut membership = member.raft.trail().membership_at(last.index).clone();
                if self.rules.mutant == Some(Mutant::SnapshotOldMembership) {
                    membership = self.ghost.value.first_membership();
                }
                let membership = Box::new(membership);
                let message = Message::InstallSnapshot { term, leader, last, membership };
                now.sent.push((to, message));
            }
            Effect::Accept { .. } => now.met.push("a proposal is accepted"),
            Effect::AcceptChange { membership, .. } => now.met.push(if membership.is_joint() {
                "a joint membership is entered"
            } else {
                "a change is accepted"
            }),
            Effect::RefuseChange { .. } => now.met.push("a change is refused"),
            Effect::RefuseTransfer { .. } => now.met.push("a transfer is refused"),
            Effect::TransferEnded { .. } => now.met.push("a transfer ends"),
            Effect::ReadReady { id, index } => {
                now.met.push("a read is served");
                now.seen.push(Witnessed::Served(id, index));
            }
            Effect::Apply { through } => {
                let applied = member.raft.trail().position_at(through);
                if applied.is_none_or(|applied| !check::holds(&member.disk.trail, applied)) {
                    return Err(format!("applied is durable: {through} is not"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a member did with an input.
#[derive(Debug)]
pub(crate) struct Stepped {
    member: Shared<Member>,
    /// What the checks must hear of, in order.
    seen: Vec<Witnessed>,
    sent: Vec<Shared<Envelope>>,
    met: Vec<&'static str>,
}

/// Something that the checks must hear of.
#[derive(Debug)]
enum Witnessed {
    Elected(Box<Raft>),
    Appended(Vec<(Position, Membership)>),
    Served(ReadId, Index),
    Said(NodeId, Message),
    Counted { leader: Box<Member>, before: Index },
}

/// What a step has done so far.
#[derive(Default)]
struct Now {
    seen: Vec<Witnessed>,
    sent: Vec<(NodeId, Message)>,
    met: Vec<&'static str>,
}

/// What was worked out before; all of it can be again.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    steps: ByFingerprint<Rc<Stepped>>,
    ghosts: ByFingerprint<Shared<Ghost>>,
}

impl Memo {
    /// Forgets all, if it is too much.
    pub(crate) fn forget_beyond(&mut self, parts_max: usize) {
        if self.steps.len() + self.ghosts.len() > parts_max {
            *self = Self::default();
        }
    }
}

/// Whether this message can change nothing at its receiver, now or ever, crash
/// or no crash (its disk has reached the message's term), or can only be refused
/// there because its term has passed. Leaving it out is as if it were lost.
pub(crate) fn is_ignored(envelope: &Envelope, receiver: &Member) -> bool {
    let Restored { hard_state: durable, .. } = &receiver.disk;
    let leading = match &receiver.raft.role {
        RoleState::Leader(leader) => leader.followers.get(envelope.from),
        _ => None,
    };
    let now = receiver.raft.term();
    match envelope.message {
        Message::RequestVote { term, .. } => {
            let taken = durable.voted_for.is_some_and(|voted_for| voted_for != envelope.from);
            term < durable.current_term || term == durable.current_term && taken
        }
        Message::Append { term, .. }
        | Message::InstallSnapshot { term, .. }
        | Message::DelegateSnapshot { term, .. }
        | Message::RecallSnapshot { term, .. }
        | Message::TimeoutNow { term } => term < durable.current_term,
        Message::DelegateReport { term, to, .. } => {
            let known = match &receiver.raft.role {
                RoleState::Leader(leader) if now == term => leader.followers.get(to),
                _ => None,
            };
            let news = known.is_some_and(|known| known.is_sent_by(envelope.from));
            term <= durable.current_term && !news
        }
        Message::PreVote { term, .. }
        | Message::PreVoteReply { term, .. }
        | Message::VoteReply { term, vote_granted: false } => term <= durable.current_term,
        Message::VoteReply { term, .. } => {
            let seeks = receiver.raft.role() == Role::Candidate && now == term;
            term <= durable.current_term && !seeks
        }
        Message::AppendHeard { term, round } => {
            let known = leading.filter(|_| now == term);
            term <= durable.current_term && known.is_none_or(|known| round <= known.round_heard)
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
        Message::Read { .. } | Message::ReadReply { .. } => false,
    }
}

/// Tickets are names: states that differ only in them are one.
fn renumber(member: &mut Member) {
    let in_flight = member.raft.outbox.renumber();
    // There are others only where a wrong variant said that they are done.
    let told = member.writes.len() - in_flight;
    for (at, persist) in member.writes.iter_mut().enumerate() {
        persist.ticket = Ticket((at + 1).saturating_sub(told) as u64);
    }
}
