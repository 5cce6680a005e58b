//! Pre-candidates, beyond Figure 2: thesis §9.6. A member that could not win
//! does not raise its term, and so disturbs nobody when it comes back.

use crate::message::Message;
use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::roles::RoleState;
use crate::types::{NodeId, Time};
use alloc::collections::BTreeSet;

/// State of a member that asks whether it could win.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PreCandidate {
    /// Who would vote for it.
    pub(crate) supporters: BTreeSet<NodeId>,
    /// When to ask again.
    pub(crate) election_deadline: Time,
}

impl Raft {
    /// Asks everybody. Nothing changes and nothing is written.
    pub(crate) fn start_pre_vote(&mut self, context: &mut Context<'_>) {
        let election_deadline = self.config.draw_election_deadline(context.moment);
        let supporters = BTreeSet::new();
        self.change_role(
            context,
            RoleState::PreCandidate(PreCandidate { supporters, election_deadline }),
        );
        let term = self.hard_state.current_term.next();
        let last_log = self.trail.last();
        context.note(|| Note::PreVoteStarted { term, last_log });
        for to in self.trail.membership().every_voter().filter(|&id| id != self.config.id) {
            context.send(to, Message::PreVote { term, last_log });
        }
        self.count_supporter(context, self.config.id);
    }

    /// `from` would vote for this member.
    pub(crate) fn count_supporter(&mut self, context: &mut Context<'_>, from: NodeId) {
        let RoleState::PreCandidate(candidacy) = &mut self.role else { return };
        candidacy.supporters.insert(from);
        if self.trail.membership().is_quorum(|id| candidacy.supporters.contains(&id)) {
            self.start_election(context, false);
        }
    }
}
