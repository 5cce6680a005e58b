//! The host of a member: carries out what a step asks for, on its disk and on the
//! network, and looks at what the step says.
//!
//! Left out, as if they were lost: `AppendHeard` where nothing rests on it, and
//! messages that their receiver ignores, now and for ever, or could only refuse
//! because their term has passed (`is_ignored`).

use super::check;
use super::mutant::{self, Mutant};
use super::world::{Envelope, Member, Met, Shared, World, name, number};
use crate::progress::Flow;
use crate::roles::RoleState;
use crate::{Effect, Effects, Input, Message, Moment, NodeId, Restored, Role, Source, Ticket};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

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
                    trail.reset(last, membership);
                }
            }
            (_, Some(from)) => trail.truncate_from(from),
            (_, None) => {}
        }
        for run in persist.runs {
            trail.append(run);
        }
        for entry in persist.memberships {
            trail.append_membership(entry);
        }
        self.members[id] = Shared::new(member);
        Ok(persist.ticket)
    }

    /// One step of the algorithm, and its effects.
    pub(crate) fn step(&mut self, id: usize, input: Input, met: &mut Met) -> Result<(), String> {
        let mut member = (*self.members[id].value).clone();
        let mut ghost = (*self.ghost.value).clone();
        let mut sent = Vec::new();
        let mut inputs = VecDeque::from([input]);
        let moment = Moment { now: self.rules.now(), random: 0 };
        while let Some(input) = inputs.pop_front() {
            let was_leader = member.raft.role() == Role::Leader;
            let committed = member.raft.commit_index();
            let mut effects = Effects::new();
            mutant::step(self.rules.mutant, &mut member.raft, moment, input, &mut effects);
            if !was_leader && member.raft.role() == Role::Leader {
                ghost.elected(id, &member.raft)?;
            }
            for effect in effects.list {
                self.carry_out((&mut member, &mut ghost), effect, &mut sent, &mut inputs, met)?;
            }
            if was_leader && member.raft.commit_index() > committed {
                check::counted(self, &member, committed)?;
            }
        }
        member.raft.rebase(moment.now);
        renumber(&mut member);
        let from = name(id);
        for (to, message) in sent {
            ghost.said(id, to, &message)?;
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
                *met.entry("an append is rejected").or_default() += 1;
            }
            let envelope = Shared::new(envelope);
            let at = self.network.partition_point(|other| other.hash < envelope.hash);
            self.network.insert(at, envelope);
        }
        ghost.committed(&member.raft)?;
        self.members[id] = Shared::new(member);
        self.ghost = Shared::new(ghost);
        Ok(())
    }

    fn carry_out(
        &self,
        (member, ghost): (&mut Member, &mut check::Ghost),
        effect: Effect,
        sent: &mut Vec<(NodeId, Message)>,
        inputs: &mut VecDeque<Input>,
        met: &mut Met,
    ) -> Result<(), String> {
        let mut meet = |what| *met.entry(what).or_default() += 1;
        match effect {
            Effect::Persist(persist) => {
                ghost.appended(&member.raft, &persist)?;
                if self.rules.mutant == Some(Mutant::TermNotDurable)
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
                let (last, trail) = (prev.index.next(), member.raft.trail());
                let runs = trail.runs_between(last, last);
                let memberships = trail.memberships_between(last, last).to_vec();
                sent.push((
                    to,
                    Message::Append {
                        term,
                        prev_log: prev,
                        runs,
                        memberships,
                        leader_commit,
                        round,
                    },
                ));
                inputs.push_back(Input::Sent { to, term, last, bytes: 1 });
            }
            Effect::SendSnapshot { to, term, .. } => {
                meet("a snapshot is sent");
                if self.rules.mutant == Some(Mutant::NeverSendsSnapshot) {
                    return Ok(());
                }
                let last = member.disk.trail.base();
                let mut membership = member.raft.trail().membership_at(last.index).clone();
                if self.rules.mutant == Some(Mutant::SnapshotOldMembership) {
                    membership = ghost.first_membership();
                }
                sent.push((to, Message::InstallSnapshot { term, last, membership }));
            }
            Effect::Accept { .. } => meet("a proposal is accepted"),
            Effect::AcceptChange { membership, .. } => meet(if membership.is_joint() {
                "a joint membership is entered"
            } else {
                "a change is accepted"
            }),
            Effect::RefuseChange { .. } => meet("a change is refused"),
            Effect::RefuseTransfer { .. } => meet("a transfer is refused"),
            Effect::TransferEnded { .. } => meet("a transfer ends"),
            Effect::ReadReady { id, index } => {
                meet("a read is served");
                ghost.served(&member.raft, id, index)?;
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

/// Whether this message can change nothing at its receiver, now or ever, crash
/// or no crash (its disk has reached the message's term), or can only be refused
/// there because its term has passed. Leaving it out is as if it were lost.
pub(crate) fn is_ignored(envelope: &Envelope, receiver: &Member) -> bool {
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
        Message::Append { term, .. }
        | Message::InstallSnapshot { term, .. }
        | Message::TimeoutNow { term } => term < durable.current_term,
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
    member.raft.outbox.renumber();
    for (persist, ticket) in member.writes.iter_mut().zip(1..) {
        persist.ticket = Ticket(ticket);
    }
}
