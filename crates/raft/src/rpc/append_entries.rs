//! AppendEntries RPC (Figure 2), as followers receive it. How leaders send it is
//! in `roles/replicate.rs`.
//!
//! There are two kinds of answer. `AppendStored` promises something about this
//! member's disk and waits for it. `AppendHeard` leaves at once, although the
//! append may just have raised our term and that is not durable yet. That is
//! safe: a leader concludes from a quorum of `heard` that nobody was elected
//! after it *before the round was sent*. An election needs a quorum of granted
//! votes, and every grant was durable, with its term, before it was said. So
//! the two quorums share a member that knew the later term when the round came,
//! crash or no crash, and it would have rejected. Nothing rests on the hearer's
//! own memory of the earlier term.

use crate::effect::Source;
use crate::message::Message;
use crate::note::Note;
use crate::outbox::Promise;
use crate::raft::{Context, Raft};
use crate::roles::RoleState;
use crate::runs::{Run, runs_from};
use crate::trail::MembershipEntry;
use crate::types::{Index, NodeId, Position, Round, Term};

impl Raft {
    /// Receiver implementation. A later term has been adopted already.
    #[inline(always)]
    pub(crate) fn on_append(
        &mut self,
        context: &mut Context<'_>,
        leader: NodeId,
        (term, round): (Term, Round),
        prev_log: Position,
        (runs, memberships): (&[Run], &[MembershipEntry]),
        leader_commit: Index,
    ) {
        let current_term = self.hard_state.current_term;
        // Rule AE.1: refuse if term < current_term.
        if term < current_term {
            context.note(|| Note::StaleLeader { from: leader, theirs: term, mine: current_term });
            self.reject_append(context, leader, round, prev_log, Position::ZERO);
            return;
        }
        if !self.follow(context, leader) {
            return;
        }
        // Rule AE.2: refuse if the log does not contain an entry at prev_log's
        // index whose term is prev_log's. (What a snapshot covers is committed,
        // and no leader disagrees with it.)
        let covered = prev_log.index < self.trail.base().index;
        if !covered && !self.trail.contains(prev_log) {
            let hint = self.trail.last_at_most(prev_log.term, prev_log.index);
            context.note(|| Note::AppendRejected { leader, prev_log, hint });
            self.reject_append(context, leader, round, prev_log, hint);
            return;
        }
        if let Some(first_missing) = self.trail.first_missing(runs) {
            self.store(context, leader, (runs, memberships), first_missing);
        }
        // Rule AE.5: if leader_commit > commit_index, set commit_index to the
        // lesser of leader_commit and the index of the last new entry. What
        // stands after it in our log may not be the leader's.
        let last_new = runs.last().map_or(prev_log.index, |run| run.last);
        if leader_commit > self.hard_state.commit_index {
            let commit_index = leader_commit.min(last_new);
            self.commit_through(context, commit_index.max(self.hard_state.commit_index));
        }
        self.acknowledge(context, leader, round, last_new, runs.is_empty());
    }

    /// Writes the part of `runs` from `first_missing` on, which is either beyond
    /// the log or in conflict with it.
    #[inline(always)]
    fn store(
        &mut self,
        context: &mut Context<'_>,
        leader: NodeId,
        (runs, memberships): (&[Run], &[MembershipEntry]),
        first_missing: Index,
    ) {
        let in_force = self.trail.membership_index();
        // Rule AE.3: if an existing entry conflicts with a new one (same index,
        // other term), delete it and all that follow. Only then: an append that
        // was overtaken by a later one must not cut what that one brought.
        if first_missing <= self.trail.last().index {
            self.cut_from(context, first_missing);
        }
        // Rule AE.4: append any new entries not already in the log.
        for run in runs_from(runs, first_missing) {
            self.trail.append(run);
            self.outbox.write_run(run, Source::Append { from: leader });
        }
        if !memberships.is_empty() {
            self.store_memberships(memberships, first_missing);
        }
        // The newest membership in the log is in force, committed or not; one
        // that was cut is so no more (§6).
        let is_told = !memberships.is_empty() && self.trail.membership_index() > in_force;
        if is_told || in_force >= first_missing {
            self.membership_changed(context);
        }
    }

    /// Deletes the entry at `first` and all that follow.
    #[cold]
    fn cut_from(&mut self, context: &mut Context<'_>, first: Index) {
        assert!(first > self.hard_state.commit_index, "a leader cuts what is committed");
        context.note(|| Note::Truncated { from: first, last: self.trail.last() });
        self.trail.truncate_from(first);
        self.outbox.write_truncation(first);
    }

    /// Says which of the entries from `first` on, just appended, are memberships.
    #[cold]
    fn store_memberships(&mut self, memberships: &[MembershipEntry], first: Index) {
        for entry in memberships.iter().filter(|entry| entry.index >= first) {
            self.trail.append_membership(entry.clone());
            self.outbox.write_membership(entry.clone());
        }
    }

    /// Answers an append that matched. Each round is answered once: later
    /// messages of the round only bring entries, or a commit index, which needs
    /// no answer.
    #[inline(always)]
    fn acknowledge(
        &mut self,
        context: &mut Context<'_>,
        leader: NodeId,
        round: Round,
        last_new: Index,
        is_empty: bool,
    ) {
        let RoleState::Follower(follower) = &mut self.role else {
            unreachable!("whoever accepts an append follows its sender");
        };
        let term = self.hard_state.current_term;
        let new_round = round > follower.round_heard;
        if new_round {
            follower.round_heard = round;
            context.send(leader, Message::AppendHeard { term, round });
        }
        if new_round || !is_empty {
            // What matches the leader's log ends with this append: what else
            // stands in ours may be left over from another leader.
            let message = Message::AppendStored { term, last: last_new };
            self.outbox.promise(term, Promise::Message { to: leader, message });
        }
    }

    /// A rejection promises nothing, and so need not wait for the disk.
    #[cold]
    pub(crate) fn reject_append(
        &self,
        context: &mut Context<'_>,
        leader: NodeId,
        round: Round,
        prev_log: Position,
        hint: Position,
    ) {
        let term = self.hard_state.current_term;
        context.send(leader, Message::AppendRejected { term, round, prev_log, hint });
    }
}
