//! Deliberately wrong variants: each shows that a check can fail. They exist in
//! this crate's own tests only, and leave the algorithm's text alone: a mutant
//! is the real step, with what goes in, what comes out or the state between
//! altered as the wrong rule would have it.

use crate::outbox::Promise;
use crate::progress::Progress;
use crate::roles::RoleState;
use crate::{
    Effect, Effects, Index, Input, Message, Moment, Persist, Position, Raft, Restored, Source, Term,
};

/// The wrong variants, by their numbers in the list of mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// 1: commit counts entries of older terms.
    CommitsOldTerm,
    /// 2: a vote is said before it is durable.
    VoteNotDurable,
    /// 3: a term is adopted, and spoken in, without being written.
    TermNotDurable,
    /// 4: a follower acknowledges entries before they are durable.
    AcknowledgesVolatile,
    /// 5: a leader counts its own copy before it is durable.
    CountsItselfVolatile,
    /// 6: an empty append is acknowledged though what precedes it is not durable.
    EmptyAcknowledgesVolatile,
    /// 7: an append cuts what it does not conflict with.
    CutsWithoutConflict,
    /// 8: a follower acknowledges its own last entry.
    AcknowledgesOwnLast,
    /// 9: a rejection moves `match_index`.
    RejectionMatches,
    /// 10: a follower commits past the last new entry.
    CommitsWithoutMin,
    /// 11: logs are compared by their length.
    ComparesLengths,
    /// 12: a member votes twice in a term.
    VotesTwice,
    /// 13: a joint quorum is counted over the union of both sets.
    JointOverUnion,
    /// 14: a change before an entry of the leader's own term is committed.
    ChangesBeforeOwnTerm,
    /// 15: a second change while one is open.
    ChangesTwice,
    /// 16: a membership whose entry was cut stays in force.
    KeepsCutMembership,
    /// 17: learners are counted.
    CountsLearners,
    /// 18: a leader that is no voter counts itself.
    CountsRemovedLeader,
    /// 19: a read is served without a quorum round.
    ReadsAlone,
    /// 20: a read before an entry of the leader's own term is committed.
    ReadsBeforeOwnTerm,
    /// 21: a read is asked for under the name of an earlier one.
    ReusesReadId,
    /// 22: a lease without allowance for drift.
    LeaseWithoutBound,
    /// 22: a lease is kept over a transfer.
    LeaseOverTransfer,
    /// 22: a lease is kept over a pause.
    LeaseOverPause,
    /// 22: a restart ends the promise that a lease rests on.
    PromiseLostInRestart,
    /// 22: whoever sends a snapshot in the leader's place is taken for a leader, and
    /// what a lease rests on is promised anew, to it.
    DelegateLeads,
    /// 23: a snapshot is installed over what is newer.
    SnapshotOverNewer,
    /// 24: a log is let go before the snapshot that covers it is durable.
    PurgesEarly,
    /// 25: a snapshot carries the membership that the group began with.
    SnapshotOldMembership,
    /// 26: a completed write vouches for an index, whatever stands there by now.
    CompletesByIndex,
    /// 27: a write is said to be done though an older one is not.
    CompletesOutOfOrder,
    /// 28: what was said over the links of a lost disk still arrives.
    KeepsOldLinks,
    /// 29: the median of unsorted indexes is taken for committed.
    MedianUnsorted,
    /// 36: no snapshot is sent past a log that is gone.
    NeverSendsSnapshot,
    /// 36: a rejection is not answered with another try.
    NeverProbesAgain,
    /// 37: RequestVote leaves before term and log are durable.
    AsksBeforeDurable,
    /// 38: what is committed is applied, durable here or not.
    AppliesVolatile,
    /// A witness is sent what only the leader has, and not on its disk yet.
    WitnessGetsUnsynced,
    /// A witness is sent what, of those who stay voters, nobody has: a leader that
    /// leaves counts itself.
    WitnessGetsLeaving,
    /// A member that lost its disk votes as if it had not.
    VotesWithoutMemory,
}

/// One step, right or wrong.
pub(crate) fn step(
    mutant: Option<Mutant>,
    raft: &mut Raft,
    moment: Moment,
    mut input: Input,
    effects: &mut Effects,
) {
    let Some(mutant) = mutant else { return raft.step(moment, input, effects) };
    let is_empty = matches!(
        &input,
        Input::Receive { message: Message::Append { runs, .. }, .. } if runs.is_empty()
    );
    let appended = match &input {
        Input::Receive { message: Message::Append { leader_commit, .. }, .. } => {
            Some(*leader_commit)
        }
        _ => None,
    };
    before(mutant, raft, &mut input);
    if super::mutant_more::step(mutant, raft, moment, &input, effects) {
        return;
    }
    raft.step(moment, input, effects);
    match mutant {
        Mutant::CommitsOldTerm => {
            let RoleState::Leader(leader) = &raft.role else { return };
            let held = raft.trail.membership().quorum_index(|id| {
                let known = leader.followers.get(id).map(Progress::match_index);
                known.unwrap_or(raft.outbox.durable_index())
            });
            raft.hard_state.commit_index = raft.hard_state.commit_index.max(held);
        }
        Mutant::CountsItselfVolatile => {
            let RoleState::Leader(leader) = &raft.role else { return };
            let held = raft.trail.membership().quorum_index(|id| {
                let known = leader.followers.get(id).map(Progress::match_index);
                known.unwrap_or(raft.trail.last().index)
            });
            if raft.trail.term_at(held) == Some(raft.hard_state.current_term) {
                raft.hard_state.commit_index = raft.hard_state.commit_index.max(held);
            }
        }
        Mutant::CommitsWithoutMin => {
            let accepted = !effects.list.iter().any(rejects) && raft.leader().is_some();
            if let Some(leader_commit) = appended.filter(|_| accepted) {
                let unbounded = leader_commit.min(raft.trail.last().index);
                raft.hard_state.commit_index = raft.hard_state.commit_index.max(unbounded);
            }
        }
        Mutant::AppliesVolatile if raft.hard_state.commit_index > raft.last_applied => {
            raft.last_applied = raft.hard_state.commit_index;
            effects.push(Effect::Apply { through: raft.last_applied });
        }
        Mutant::VoteNotDurable => {
            say_early(raft, effects, |message| matches!(message, Message::VoteReply { .. }));
        }
        Mutant::AsksBeforeDurable => {
            say_early(raft, effects, |message| matches!(message, Message::RequestVote { .. }));
        }
        Mutant::AcknowledgesVolatile if !is_empty => say_early(raft, effects, is_stored),
        Mutant::EmptyAcknowledgesVolatile if is_empty => say_early(raft, effects, is_stored),
        Mutant::AcknowledgesOwnLast => {
            let own_last = raft.trail.last().index;
            let sent = effects.list.iter_mut().filter_map(|effect| match effect {
                Effect::Send { message, .. } => Some(message),
                _ => None,
            });
            // Said now, or to be said when the newest record is durable.
            sent.chain(raft.outbox.newest_messages()).for_each(|message| {
                if let Message::AppendStored { last, .. } = message {
                    *last = own_last.max(*last);
                }
            });
        }
        _ => {}
    }
}

/// What is altered before the step.
fn before(mutant: Mutant, raft: &mut Raft, input: &mut Input) {
    let Input::Receive { from, message } = input else { return };
    match (mutant, message) {
        (Mutant::DelegateLeads, Message::InstallSnapshot { leader, .. }) => *leader = *from,
        (Mutant::VotesTwice, Message::RequestVote { term, .. })
            if *term == raft.hard_state.current_term
                && !matches!(raft.role, RoleState::Leader(_)) =>
        {
            raft.hard_state.voted_for = None;
        }
        (Mutant::ComparesLengths, Message::RequestVote { last_log, term, .. }) => {
            let longer = last_log.index >= raft.trail.last().index;
            let term = if longer { Term(term.0 - 1) } else { Term(0) };
            *last_log = Position { term, index: last_log.index };
        }
        (Mutant::CutsWithoutConflict, Message::Append { term, prev_log, runs, .. }) => {
            let last_new = runs.last().map_or(prev_log.index, |run| run.last);
            if *term >= raft.hard_state.current_term
                && raft.trail.contains(*prev_log)
                && last_new < raft.trail.last().index
                && !runs.is_empty()
            {
                raft.trail.truncate_from(last_new.next());
                raft.outbox.write_truncation(last_new.next());
            }
        }
        (Mutant::RejectionMatches, Message::AppendRejected { term, prev_log, .. }) => {
            if let RoleState::Leader(leader) = &mut raft.role
                && *term == raft.hard_state.current_term
                && let Some(known) = leader.followers.get_mut(*from)
            {
                known.match_index = known.match_index.max(Index(prev_log.index.0));
            }
        }
        _ => {}
    }
}

/// Whether a record does nothing but note a later term: the one that a member
/// with the wrong variant 3 leaves out.
pub(crate) fn writes_only_a_term(persist: &Persist, disk: &Restored) -> bool {
    persist.source == Source::HardState
        && persist.truncate_from.is_none()
        && persist.hard_state.voted_for.is_none()
        && persist.hard_state.current_term > disk.hard_state.current_term
}

fn is_stored(message: &Message) -> bool {
    matches!(message, Message::AppendStored { .. })
}

fn rejects(effect: &Effect) -> bool {
    matches!(effect, Effect::Send { message: Message::AppendRejected { .. }, .. })
}

/// Sends what waits for the disk at once.
fn say_early(raft: &mut Raft, effects: &mut Effects, which: impl Fn(&Message) -> bool) {
    for promise in raft.outbox.take_promises(which) {
        if let Promise::Message { to, message } = promise {
            effects.push(Effect::Send { to, message });
        }
    }
}
