//! The roles of Figure 4, each with only the state that it has, and the one
//! function that changes between them.
//!
//! "Rules for Servers" (Figure 2) stand in the file of the role they are for.

mod candidate;
mod catch_up;
mod follower;
mod followers;
mod leader;
mod membership;
mod pre_candidate;
mod replicate;
mod transfer;

pub(crate) use candidate::Candidate;
pub(crate) use follower::{Delegation, Follower, ForwardedRead};
pub(crate) use followers::Followers;
pub(crate) use leader::Leader;
pub(crate) use pre_candidate::PreCandidate;
pub(crate) use transfer::Transfer;

use crate::effect::{Effect, TransferOutcome};
use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::types::{Config, Moment, NodeId, Term, Time};
use core::mem;

/// What a member is, with the state that goes with it. It is asked for many times
/// in every step, which a tag of its own makes cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum RoleState {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Leader),
}

impl Raft {
    /// Takes on another role, or the same one anew. Reads that the old role had
    /// taken on are refused: nobody is left to confirm them.
    pub(crate) fn change_role(&mut self, context: &mut Context<'_>, role: RoleState) {
        context.leave(self.standing());
        match mem::replace(&mut self.role, role) {
            RoleState::Follower(follower) => follower.end(context),
            RoleState::Leader(leader) => {
                leader.reads.refuse(context);
                if let Some(Transfer { to, .. }) = leader.transfer {
                    let outcome = TransferOutcome::SteppedDown;
                    context.effect(Effect::TransferEnded { to, outcome });
                }
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        }
    }

    /// Enters a later term, as a follower that knows no leader yet.
    pub(crate) fn adopt_term(&mut self, context: &mut Context<'_>, term: Term) {
        assert!(term > self.hard_state.current_term, "current_term went back");
        context.note(|| Note::TermAdopted { from: self.hard_state.current_term, to: term });
        context.leave(self.standing());
        self.hard_state.current_term = term;
        self.hard_state.voted_for = None;
        self.outbox.write_hard_state();
        // Only the current leader's messages and a granted vote put off the
        // election, not a later term as such.
        let election_deadline = match &self.role {
            RoleState::Follower(follower) => follower.election_deadline,
            _ => self.config.draw_election_deadline(context.moment),
        };
        self.change_role(context, RoleState::Follower(Follower::of_nobody(election_deadline)));
    }

    /// Seeks election: asks first whether it could win, if so configured.
    pub(crate) fn campaign(&mut self, context: &mut Context<'_>) {
        if matches!(self.role, RoleState::Leader(_)) || !self.may_seek_election() {
            return;
        }
        if let Some(until) = self.abstains_until(self.config.id, context.now()) {
            self.postpone_election(context, until);
            return;
        }
        // Rule PV.1: ask before raising the term.
        if self.config.pre_vote {
            self.start_pre_vote(context);
        } else {
            self.start_election(context, false);
        }
    }

    /// The own vote is a vote, too: none as long as a lease may rest on it.
    fn postpone_election(&mut self, context: &mut Context<'_>, until: Time) {
        context.note(|| Note::ElectionPostponed);
        match &mut self.role {
            RoleState::Follower(follower) => follower.election_deadline = until,
            RoleState::PreCandidate(candidacy) => candidacy.election_deadline = until,
            RoleState::Candidate(candidacy) => candidacy.election_deadline = until,
            RoleState::Leader(_) => {}
        }
    }

    /// Whether this member has heard from a leader within the minimum election
    /// timeout (a leader hears itself), and so owes nobody else a vote: thesis
    /// §4.2.3. If it is the leader itself that asks, it leads no more.
    pub(crate) fn hears_leader_other_than(&self, asker: NodeId, now: Time) -> bool {
        self.config.check_quorum
            && match &self.role {
                RoleState::Follower(follower) => {
                    // Rule MC.5: no candidate is heeded while a leader is heard.
                    follower.leader.is_some_and(|leader| leader != asker)
                        && now.since(follower.heard_at) < self.config.election_timeout_us
                }
                RoleState::Leader(_) => true,
                RoleState::PreCandidate(_) | RoleState::Candidate(_) => false,
            }
    }

    /// The link to `peer` broke; most often because its process ended.
    pub(crate) fn disconnected(&mut self, context: &mut Context<'_>, peer: NodeId) {
        match &mut self.role {
            RoleState::Follower(follower) if follower.leader == Some(peer) => {
                let mut election_deadline = follower.election_deadline;
                // Both guards make a false alarm harmless: nobody's term rises
                // before a quorum has lost its leader too.
                if self.config.pre_vote && self.config.check_quorum {
                    let hasty = self.config.draw_hasty_deadline(context.moment);
                    election_deadline = election_deadline.min(hasty);
                }
                context.note(|| Note::LeaderLost { leader: peer });
                self.change_role(
                    context,
                    RoleState::Follower(Follower::of_nobody(election_deadline)),
                );
            }
            RoleState::Leader(leader) => {
                if let Some(known) = leader.followers.get_mut(peer) {
                    known.pause();
                    leader.reads.ask_rest_now(context.now());
                }
                self.delegate_lost(peer);
            }
            _ => {}
        }
    }
}

impl Config {
    /// When to seek election if nothing is heard from now on: spread at random,
    /// so that rarely two members do so at once (§5.2).
    #[inline(always)]
    pub(crate) fn draw_election_deadline(&self, moment: Moment) -> Time {
        let jitter = moment.random % self.election_jitter_us.saturating_add(1);
        // Whoever comes later in rank waits out those before it.
        let span = self.election_jitter_us.saturating_add(self.heartbeat_interval_us);
        let yields = match self.election_rank {
            0 => 0,
            rank => span.saturating_mul(u64::from(rank)),
        };
        moment.now.after(self.abstention_us()).after(jitter).after(yields)
    }

    /// The same for a member whose leader is known to be gone: long enough for
    /// one of several to be first, short against the election timeout.
    fn draw_hasty_deadline(&self, moment: Moment) -> Time {
        let jitter = moment.random % (self.election_timeout_us / 20 + 1);
        let yields = (self.election_timeout_us / 16).saturating_mul(u64::from(self.election_rank));
        moment.now.after(self.election_timeout_us / 200).after(jitter).after(yields)
    }
}
