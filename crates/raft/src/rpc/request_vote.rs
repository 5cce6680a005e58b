//! RequestVote RPC (Figure 2).

use crate::message::Message;
use crate::note::{Note, VoteRefusal};
use crate::outbox::Promise;
use crate::raft::{Context, Raft};
use crate::roles::{Follower, RoleState};
use crate::types::{NodeId, Position, Term};

impl Raft {
    /// Receiver implementation. A later term has been adopted already.
    pub(crate) fn on_request_vote(
        &mut self,
        context: &mut Context<'_>,
        candidate: NodeId,
        term: Term,
        last_log: Position,
    ) {
        let current_term = self.hard_state.current_term;
        // Rule RV.1: refuse if term < current_term.
        if term < current_term {
            self.refuse_vote(context, candidate, VoteRefusal::StaleTerm { theirs: term });
            return;
        }
        if !self.may_vote() {
            self.refuse_vote(context, candidate, VoteRefusal::DiskReplaced);
            return;
        }
        // Rule RV.2: grant if this term's vote is free or theirs already, and
        // their log is at least as up-to-date as ours (§5.4.1).
        let free = self.hard_state.voted_for.is_none_or(|voted_for| voted_for == candidate);
        let up_to_date = last_log >= self.trail.last();
        match self.hard_state.voted_for {
            Some(voted_for) if !free => {
                self.refuse_vote(context, candidate, VoteRefusal::VoteTaken { by: voted_for });
            }
            _ if !up_to_date => {
                let (mine, theirs) = (self.trail.last(), last_log);
                self.refuse_vote(context, candidate, VoteRefusal::LogBehind { mine, theirs });
            }
            _ => self.grant_vote(context, candidate),
        }
    }

    /// The vote is written first, and said when it is durable: one forgotten in
    /// a crash could be given a second time.
    fn grant_vote(&mut self, context: &mut Context<'_>, candidate: NodeId) {
        let term = self.hard_state.current_term;
        context.note(|| Note::VoteGranted { candidate, term });
        if self.hard_state.voted_for.is_none() {
            self.hard_state.voted_for = Some(candidate);
            self.outbox.write_hard_state();
        }
        // Whoever grants a vote waits a whole timeout for what becomes of it.
        let election_deadline = self.config.draw_election_deadline(context.moment);
        if let RoleState::Follower(follower) = &mut self.role {
            follower.election_deadline = election_deadline;
        } else {
            let follower = Follower::of_nobody(election_deadline);
            self.change_role(context, RoleState::Follower(follower));
        }
        let message = Message::VoteReply { term, vote_granted: true };
        self.outbox.promise(term, Promise::Message { to: candidate, message });
    }

    /// A refusal promises nothing, and so need not wait for the disk.
    fn refuse_vote(&self, context: &mut Context<'_>, candidate: NodeId, reason: VoteRefusal) {
        let term = self.hard_state.current_term;
        context.note(|| Note::VoteRefused { candidate, reason });
        context.send(candidate, Message::VoteReply { term, vote_granted: false });
    }

    /// Refuses whatever vote is asked for, since a leader is heard.
    pub(crate) fn refuse_vote_for_leader(
        &self,
        context: &mut Context<'_>,
        candidate: NodeId,
        asked: &Message,
    ) {
        let leader = self.leader().filter(|&leader| leader != self.config.id);
        let reason = match (self.abstains_until(candidate, context.now()), &self.lease_promise) {
            (Some(_), Some(promise)) if leader.is_none() => {
                VoteRefusal::LeasePromised { to: promise.to }
            }
            _ => VoteRefusal::LeaderHeard { leader },
        };
        if matches!(asked, Message::PreVote { .. }) {
            self.refuse_pre_vote(context, candidate, reason);
        } else {
            self.refuse_vote(context, candidate, reason);
        }
    }

    /// An answer to this member's own candidacy.
    pub(crate) fn on_vote_reply(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        term: Term,
        vote_granted: bool,
    ) {
        if vote_granted && term == self.hard_state.current_term {
            self.count_vote(context, from);
        }
    }
}
