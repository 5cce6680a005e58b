//! Leaders (Figure 2, Rules for Servers), but for how entries are sent, which
//! is `replicate.rs`, and what is committed, which is `commit.rs`.

use crate::effect::{Effect, Refusal, Source};
use crate::note::Note;
use crate::progress::Progress;
use crate::raft::{Context, Raft};
use crate::roles::{Followers, RoleState, Transfer};
use crate::rpc::read_index::ReadQueue;
use crate::runs::Run;
use crate::types::{Index, NodeId, Position, Round, Time};
use alloc::collections::VecDeque;

/// State of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The first entry of its term: the empty one that it began with.
    pub(crate) term_start: Index,
    /// Every other member.
    pub(crate) followers: Followers,
    /// The newest broadcast.
    pub(crate) round: Round,
    /// The recent heartbeats, oldest first, and when they went out.
    pub(crate) heartbeats: VecDeque<(Round, Time)>,
    /// When the next one is due.
    pub(crate) heartbeat_due: Time,
    /// Leadership on its way to another member.
    pub(crate) transfer: Option<Transfer>,
    /// Only rounds from this one on count for a lease.
    pub(crate) lease_from: Round,
    /// Whether somebody was given leave to seek election in spite of this leader.
    pub(crate) lease_forfeited: bool,
    /// Reads that wait for a quorum to confirm that it leads.
    pub(crate) reads: ReadQueue,
}

impl Leader {
    /// Opens a round. Whoever is due an answer to it will be sent a message that
    /// bears it; others may be.
    pub(crate) fn open_round(&mut self) -> Round {
        self.round = Round(self.round.0 + 1);
        self.round
    }

    /// A follower answered `round` in this term.
    pub(crate) fn heard(&mut self, from: NodeId, round: Round) {
        let Some(known) = self.followers.get_mut(from) else { return };
        if round <= known.round_heard || round > self.round {
            return;
        }
        known.round_heard = round;
        // A round between two heartbeats counts from the earlier one: later
        // than it was sent is the only wrong side to err on.
        let newest = self.heartbeats.iter().rev().find(|(sent, _)| *sent <= round);
        if let Some(&(_, at)) = newest {
            known.heard_at = known.heard_at.max(at);
        }
    }
}

impl Raft {
    /// Takes office, with an empty entry: only entries of its own term let a
    /// leader learn what is committed (§8), and reads wait for that.
    pub(crate) fn become_leader(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let term = self.hard_state.current_term;
        let last = self.trail.last().index;
        let followers = self
            .trail
            .membership()
            .iter()
            .filter(|&id| id != self.config.id)
            .map(|id| (id, Progress::new(last, now)))
            .collect();
        let leader = Leader {
            term_start: last.next(),
            followers,
            round: Round(0),
            heartbeats: VecDeque::new(),
            heartbeat_due: now,
            transfer: None,
            lease_from: Round(0),
            lease_forfeited: false,
            reads: ReadQueue::default(),
        };
        self.change_role(context, RoleState::Leader(leader));
        context.note(|| Note::Elected { term });
        self.append_own(1, Source::Noop);
        // Rule SL.1: upon election, let every server hear of it at once.
        self.heartbeat(context);
    }

    /// The heartbeat is due. Opens a round, unless the leader finds that it has
    /// been talking to itself.
    pub(crate) fn heartbeat(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let now = context.now();
        let timeout = self.config.election_timeout_us;
        let heard_quorum = self.trail.membership().is_quorum(|id| {
            let known = leader.followers.get(id);
            known.is_none_or(|known| now.since(known.heard_at) < timeout)
        });
        // Rule CQ.1: without a quorum for an election timeout, step down.
        if self.config.check_quorum && !heard_quorum {
            context.note(|| Note::QuorumLost { term: self.hard_state.current_term });
            self.resign(context);
            return;
        }
        self.stop_stalled_snapshots(context);
        if self.disk_stalled {
            self.seek_heir(context);
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        // Rule SL.2: repeat during idle periods, so that nobody seeks election.
        let round = leader.open_round();
        leader.followers.iter_mut().for_each(|(_, known)| known.round_due = round);
        leader.heartbeats.push_back((round, now));
        leader.heartbeats.retain(|&(_, sent)| now.since(sent) < timeout);
        leader.heartbeat_due = now.after(self.config.heartbeat_interval_us);
    }

    /// Clients want entries appended.
    pub(crate) fn propose(&mut self, context: &mut Context<'_>, count: u64) {
        assert!(count > 0, "a proposal of nothing");
        // Rule LT.1: no commands while leadership is on its way.
        if let RoleState::Leader(Leader { transfer: Some(transfer), .. }) = &self.role {
            // Or the chosen member would never catch up (thesis §3.10).
            let reason = Refusal::Transferring { to: transfer.to };
            context.effect(Effect::Refuse { reason });
        } else if matches!(self.role, RoleState::Leader(_)) {
            // Rule SL.3: append the command to the local log; the host answers
            // the client when the entry is applied.
            let first = self.append_own(count, Source::Proposal);
            context.effect_with(|| Effect::Accept { first, count });
        } else {
            let reason = Refusal::NotLeader { leader: self.leader() };
            context.effect(Effect::Refuse { reason });
        }
    }

    /// Appends `count` entries of the current term and says where they begin.
    #[inline]
    pub(crate) fn append_own(&mut self, count: u64, source: Source) -> Position {
        let first = self.trail.last().index.next();
        let term = self.hard_state.current_term;
        let run = Run { term, first, last: Index(first.0 + count - 1) };
        self.trail.append(run);
        self.outbox.write_run(run, source);
        Position { term, index: first }
    }
}
