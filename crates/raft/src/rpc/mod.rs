//! Messages: which box of Figure 2 or 13 each belongs to, and what is true of
//! all of them.

mod append_entries;
mod delegate_snapshot;
mod install_snapshot;
pub(crate) mod lease;
mod pre_vote;
pub(crate) mod read_index;
mod request_vote;

use crate::message::{DelegateReport, Message};
use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::roles::{Follower, RoleState};
use crate::runs::Run;
use crate::trail::MembershipEntry;
use crate::types::{Index, NodeId, Position, Term, Time};

impl Raft {
    /// A message arrived.
    pub(crate) fn receive(&mut self, context: &mut Context<'_>, from: NodeId, message: &Message) {
        if from == self.config.id || !is_well_formed(message) {
            context.note(|| Note::Malformed { from });
            return;
        }
        // Neither the vote nor the term of somebody who asks for votes while a
        // leader is heard: a member that was cut off disturbs nobody (§4.2.3 of
        // the thesis).
        let asks_for_vote = matches!(
            message,
            Message::RequestVote { transfer: false, .. } | Message::PreVote { .. }
        );
        if asks_for_vote
            && (self.hears_leader_other_than(from, context.now())
                || self.abstains_until(from, context.now()).is_some())
        {
            self.refuse_vote_for_leader(context, from, message);
            return;
        }
        // Rule SA.2: a request or response of a later term makes a follower in
        // that term of anybody.
        if let Some(term) = term_claimed(message)
            && term > self.hard_state.current_term
        {
            self.adopt_term(context, term);
        }
        // Rule SF.1: respond to RPCs from candidates and leaders.
        match *message {
            Message::PreVote { term, last_log } => self.on_pre_vote(context, from, term, last_log),
            Message::PreVoteReply { term, granted } => {
                self.on_pre_vote_reply(context, from, term, granted);
            }
            Message::RequestVote { term, last_log, .. } => {
                self.on_request_vote(context, from, term, last_log);
            }
            Message::VoteReply { term, vote_granted } => {
                self.on_vote_reply(context, from, term, vote_granted);
            }
            Message::Append { term, prev_log, ref runs, ref memberships, leader_commit, round } => {
                let entries = (&**runs, &**memberships);
                self.on_append(context, from, (term, round), prev_log, entries, leader_commit);
            }
            Message::AppendHeard { term, round } => self.on_append_heard(from, term, round),
            Message::AppendStored { term, last } => {
                self.on_append_stored(context, from, term, last);
            }
            Message::AppendRejected { term, round, prev_log, hint } => {
                self.on_append_rejected(context, from, (term, round), prev_log, hint);
            }
            Message::InstallSnapshot { term, leader, last, ref membership } => {
                self.on_install_snapshot(context, (from, leader), (term, last), membership);
            }
            Message::DelegateSnapshot { term, to, least, resume } => {
                self.on_delegate_snapshot(context, from, (to, least), term, resume);
            }
            Message::RecallSnapshot { term, to } => {
                self.on_recall_snapshot(context, from, term, to);
            }
            Message::DelegateReport { term, to, report } => {
                self.on_delegate_report(context, from, (to, term), report);
            }
            Message::TimeoutNow { term } => self.on_timeout_now(context, from, term),
            Message::Read { id } => self.on_read(context, from, id),
            Message::ReadReply { id, index } => self.on_read_reply(context, id, index),
        }
    }

    /// `from` leads the current term: follow it. Says no if this term is known
    /// to have another leader, which only a broken peer can claim.
    #[inline(always)]
    fn follow(&mut self, context: &mut Context<'_>, from: NodeId) -> bool {
        let election_deadline = self.config.draw_election_deadline(context.moment);
        if let RoleState::Follower(follower) = &mut self.role
            && follower.leader == Some(from)
        {
            follower.heard_at = context.now();
            follower.election_deadline = election_deadline;
            self.promise_lease(from, context.now());
            return true;
        }
        self.follow_another(context, from, election_deadline)
    }

    /// The same if it is not known yet.
    #[cold]
    fn follow_another(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        election_deadline: Time,
    ) -> bool {
        match &mut self.role {
            RoleState::Follower(Follower { leader: Some(_), .. }) | RoleState::Leader(_) => {
                context.note(|| Note::SecondLeader { term: self.hard_state.current_term, from });
                false
            }
            // Rule SC.6: an AppendEntries from the new leader ends a candidacy.
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                context
                    .note(|| Note::Following { leader: from, term: self.hard_state.current_term });
                let follower = Follower::of(from, context.now(), election_deadline);
                self.change_role(context, RoleState::Follower(follower));
                self.promise_lease(from, context.now());
                true
            }
        }
    }

    /// Whether `leader` may lead the current term, as far as is known here.
    fn may_be_led_by(&self, context: &mut Context<'_>, leader: NodeId) -> bool {
        let may = match &self.role {
            RoleState::Follower(follower) => follower.leader.is_none_or(|known| known == leader),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => true,
            RoleState::Leader(_) => false,
        };
        if !may {
            let term = self.hard_state.current_term;
            context.note(|| Note::SecondLeader { term, from: leader });
        }
        may
    }
}

/// The term that the sender of this message claims to be in. A pre-vote is
/// about a term that nobody is in yet.
#[inline]
fn term_claimed(message: &Message) -> Option<Term> {
    match *message {
        Message::RequestVote { term, .. }
        | Message::VoteReply { term, .. }
        | Message::Append { term, .. }
        | Message::AppendHeard { term, .. }
        | Message::AppendStored { term, .. }
        | Message::AppendRejected { term, .. }
        | Message::InstallSnapshot { term, .. }
        | Message::DelegateSnapshot { term, .. }
        | Message::RecallSnapshot { term, .. }
        | Message::DelegateReport { term, .. }
        | Message::TimeoutNow { term }
        | Message::PreVoteReply { term, granted: false } => Some(term),
        Message::PreVote { .. }
        | Message::PreVoteReply { granted: true, .. }
        | Message::Read { .. }
        | Message::ReadReply { .. } => None,
    }
}

/// No honest cluster gets this far, and arithmetic stays safe below it.
const PLAUSIBLE_MAX: u64 = 1 << 62;

/// Whether a member of the same make could have said this, at any time. Peers
/// are authenticated but not believed.
#[inline]
fn is_well_formed(message: &Message) -> bool {
    let position = |at: &Position| at.term.0 < PLAUSIBLE_MAX && at.index.0 < PLAUSIBLE_MAX;
    let term = |term: &Term| term.0 < PLAUSIBLE_MAX;
    match message {
        Message::PreVote { term: claimed, last_log }
        | Message::RequestVote { term: claimed, last_log, .. } => {
            term(claimed) && position(last_log) && last_log.term < *claimed
        }
        Message::PreVoteReply { term: claimed, .. }
        | Message::VoteReply { term: claimed, .. }
        | Message::AppendHeard { term: claimed, .. }
        | Message::TimeoutNow { term: claimed }
        | Message::RecallSnapshot { term: claimed, .. }
        | Message::AppendStored { term: claimed, .. } => term(claimed),
        Message::AppendRejected { term: claimed, prev_log, hint, .. } => {
            term(claimed) && position(prev_log) && position(hint)
        }
        Message::Append { term: claimed, prev_log, runs, memberships, .. } => {
            term(claimed)
                && position(prev_log)
                && follow_on(*prev_log, runs, *claimed)
                && stand_in(runs, memberships)
        }
        Message::DelegateSnapshot { term: claimed, least, resume, .. } => {
            term(claimed) && least.0 < PLAUSIBLE_MAX && position(&resume.0)
        }
        Message::DelegateReport { term: claimed, report, .. } => {
            term(claimed)
                && match report {
                    DelegateReport::Progress { snapshot, .. } => position(snapshot),
                    DelegateReport::Ended(_) => true,
                }
        }
        Message::InstallSnapshot { term: claimed, last, membership, .. } => {
            term(claimed)
                && position(last)
                && last.term <= *claimed
                && !membership.voters.is_empty()
        }
        Message::Read { .. } | Message::ReadReply { .. } => true,
    }
}

/// Whether `runs` could follow `prev` in a log whose owner is in `term`.
#[inline]
fn follow_on(prev: Position, runs: &[Run], term: Term) -> bool {
    let mut last = prev;
    for run in runs {
        let fits = run.first == last.index.next() && run.first <= run.last;
        if !fits || run.term < last.term || run.last >= Index(PLAUSIBLE_MAX) {
            return false;
        }
        last = Position { term: run.term, index: run.last };
    }
    last.term <= term
}

/// Whether memberships stand in order among the entries of `runs`, and each has
/// somebody to vote.
#[inline]
fn stand_in(runs: &[Run], memberships: &[MembershipEntry]) -> bool {
    if memberships.is_empty() {
        return true;
    }
    let covered = |index| runs.iter().any(|run| run.covers(index));
    memberships.iter().all(|entry| covered(entry.index) && !entry.membership.voters.is_empty())
        && memberships.is_sorted_by(|one, next| one.index < next.index)
}
