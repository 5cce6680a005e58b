//! PreVote RPC, beyond Figure 2: thesis §9.6.

use crate::message::Message;
use crate::note::{Note, VoteRefusal};
use crate::raft::{Context, Raft};
use crate::roles::RoleState;
use crate::types::{NodeId, Position, Term};

impl Raft {
    /// Says whether it would grant a vote in `term`. That changes nothing here:
    /// not the term, not the vote, not when a leader was last heard.
    pub(crate) fn on_pre_vote(
        &mut self,
        context: &mut Context<'_>,
        candidate: NodeId,
        term: Term,
        last_log: Position,
    ) {
        let mine = self.trail.last();
        if !self.may_vote() {
            self.refuse_pre_vote(context, candidate, VoteRefusal::DiskReplaced);
        } else if term <= self.hard_state.current_term {
            self.refuse_pre_vote(context, candidate, VoteRefusal::StaleTerm { theirs: term });
        } else if last_log < mine {
            // Rule PV.2: only for a log that is at least as up-to-date.
            let reason = VoteRefusal::LogBehind { mine, theirs: last_log };
            self.refuse_pre_vote(context, candidate, reason);
        } else {
            context.note(|| Note::PreVoteGranted { candidate, term });
            context.send(candidate, Message::PreVoteReply { term, granted: true });
        }
    }

    /// The refusal bears our term, so that one whose term has passed learns of
    /// it: otherwise a member with the longer log and one with the later term
    /// could refuse each other for ever.
    pub(crate) fn refuse_pre_vote(
        &self,
        context: &mut Context<'_>,
        candidate: NodeId,
        reason: VoteRefusal,
    ) {
        let term = self.hard_state.current_term;
        context.note(|| Note::PreVoteRefused { candidate, reason });
        context.send(candidate, Message::PreVoteReply { term, granted: false });
    }

    /// An answer to this member's own question.
    pub(crate) fn on_pre_vote_reply(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        term: Term,
        granted: bool,
    ) {
        let asks = matches!(self.role, RoleState::PreCandidate(_));
        if granted && asks && term == self.hard_state.current_term.next() {
            self.count_supporter(context, from);
        }
    }
}
