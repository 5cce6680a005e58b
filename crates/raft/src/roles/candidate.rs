//! Candidates (Figure 2, Rules for Servers).

use crate::message::Message;
use crate::note::Note;
use crate::outbox::Promise;
use crate::raft::{Context, Raft};
use crate::roles::RoleState;
use crate::types::{NodeId, Time};
use alloc::collections::BTreeSet;

/// State of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    /// Who voted for it in this term, itself included once its vote is durable.
    pub(crate) votes: BTreeSet<NodeId>,
    /// When to start a new election.
    pub(crate) election_deadline: Time,
}

impl Raft {
    /// On conversion to candidate, start election; with the leader's leave, if it
    /// asked for this one.
    pub(crate) fn start_election(&mut self, context: &mut Context<'_>, transfer: bool) {
        let id = self.config.id;
        context.leave(self.standing());
        // Rule SC.1: increment current_term.
        let term = self.hard_state.current_term.next();
        self.hard_state.current_term = term;
        // Rule SC.2: vote for self.
        self.hard_state.voted_for = Some(id);
        self.outbox.promise(term, Promise::OwnVote);
        self.outbox.write_hard_state();
        // Rule SC.3: reset the election timer.
        let election_deadline = self.config.draw_election_deadline(context.moment);
        let votes = BTreeSet::new();
        self.change_role(context, RoleState::Candidate(Candidate { votes, election_deadline }));
        let last_log = self.trail.last();
        context.note(|| Note::ElectionStarted { term, last_log });
        // Rule SC.4: send RequestVote to all other servers. Not before term and
        // log are durable: a candidate that forgets in a crash what it claimed
        // here could be elected by a late grant, and lack a committed entry.
        for to in self.trail.membership().every_voter().filter(|&to| to != id) {
            let message = Message::RequestVote { term, last_log, transfer };
            self.outbox.promise(term, Promise::Message { to, message });
        }
    }

    /// `from` voted for this member in the current term.
    pub(crate) fn count_vote(&mut self, context: &mut Context<'_>, from: NodeId) {
        let RoleState::Candidate(candidacy) = &mut self.role else { return };
        candidacy.votes.insert(from);
        // Rule SC.5: votes from a majority make a leader.
        if self.trail.membership().is_quorum(|id| candidacy.votes.contains(&id)) {
            self.become_leader(context);
        }
    }
}
