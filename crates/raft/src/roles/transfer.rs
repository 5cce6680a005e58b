//! Leadership handed over, beyond Figure 2: thesis §3.10. The leader takes no
//! more commands, waits until the chosen member holds all of its log, and tells
//! it to seek election at once. Nothing of this can harm safety: what follows is
//! an ordinary election.
//!
//! Whoever is told so asks for votes with the leader's leave, and voters that
//! hear the leader grant them nevertheless (thesis §4.2.3). That leave does not
//! expire: a message may come late. So from then on the leader has no lease any
//! more in its term (`rpc/lease.rs`).

use crate::effect::{Effect, TransferOutcome, TransferRefusal};
use crate::membership::Membership;
use crate::message::Message;
use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::roles::{Follower, Leader, RoleState};
use crate::types::{Config, NodeId, Term, Time};
use core::cmp::Reverse;

/// Leadership on its way to another member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// When it has failed.
    pub(crate) deadline: Time,
    /// Whether the chosen member was told, since the last heartbeat.
    told: bool,
    /// Whether this member stops leading, whatever comes of it.
    pub(crate) resigns: bool,
}

impl Raft {
    /// The operator wants `to` to lead, by `deadline`.
    pub(crate) fn transfer_leadership(
        &mut self,
        context: &mut Context<'_>,
        to: NodeId,
        deadline: Time,
    ) {
        let refusal = self.judge_transfer(to, context.now());
        match (refusal, &mut self.role) {
            (None, RoleState::Leader(leader)) => {
                context.note(|| Note::TransferStarted { to });
                leader.transfer = Some(Transfer { to, deadline, told: false, resigns: false });
            }
            (reason, _) => {
                let reason = reason.unwrap_or(TransferRefusal::NotLeader { leader: self.leader() });
                context.note(|| Note::TransferRefused { reason });
                context.effect(Effect::RefuseTransfer { reason });
            }
        }
    }

    /// Why leadership cannot go to `to` now, if so.
    fn judge_transfer(&self, to: NodeId, now: Time) -> Option<TransferRefusal> {
        let RoleState::Leader(leader) = &self.role else {
            return Some(TransferRefusal::NotLeader { leader: self.leader() });
        };
        if let Some(transfer) = &leader.transfer {
            return Some(TransferRefusal::InProgress { to: transfer.to });
        }
        if to == self.config.id || !self.trail.membership().may_lead(to) {
            return Some(TransferRefusal::CannotLead(to));
        }
        let hears = leader.hears(to, &self.config, now);
        (!hears).then_some(TransferRefusal::Unreachable(to))
    }

    /// Tells the chosen member as soon as it holds all of the log; one that is
    /// behind could not win (§5.4.1), and the group would only lose time.
    #[inline]
    pub(crate) fn hand_over(&mut self, context: &mut Context<'_>) {
        if let RoleState::Leader(Leader { transfer: Some(_), .. }) = &self.role {
            self.hand_over_if_all_is_held(context);
        }
    }

    fn hand_over_if_all_is_held(&mut self, context: &mut Context<'_>) {
        let Self { role: RoleState::Leader(leader), trail, hard_state, .. } = self else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to;
        // Rule LT.2: not before it holds the whole log.
        let holds_all = |known: &crate::Progress| known.match_index() == trail.last().index;
        if transfer.told || !leader.followers.get(to).is_some_and(holds_all) {
            return;
        }
        transfer.told = true;
        let resigns = transfer.resigns;
        leader.lease_forfeited = true;
        context.note(|| Note::TransferHandedOver { to });
        context.send(to, Message::TimeoutNow { term: hard_state.current_term });
        if resigns {
            context.note(|| Note::Resigned { term: self.hard_state.current_term });
            self.resign(context);
        }
    }

    /// Time passes for a transfer: it is repeated with every heartbeat, as the
    /// message may be lost, and given up at its deadline.
    pub(crate) fn press_transfer(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        transfer.told &= context.now() < leader.heartbeat_due;
        // Rule LT.4: given up at its deadline, commands are taken again.
        if context.now() < transfer.deadline {
            return;
        }
        if transfer.resigns {
            context.note(|| Note::Resigned { term: self.hard_state.current_term });
            self.resign(context);
            return;
        }
        let to = transfer.to;
        leader.transfer = None;
        context.note(|| Note::TransferFailed { to });
        context.effect(Effect::TransferEnded { to, outcome: TransferOutcome::TimedOut });
    }

    /// "Seek election now": the leader of `term` wants this member to follow it.
    pub(crate) fn on_timeout_now(&mut self, context: &mut Context<'_>, from: NodeId, term: Term) {
        let follows = matches!(self.role, RoleState::Follower(_) | RoleState::PreCandidate(_));
        // Rule LT.3: start an election at once.
        if term == self.hard_state.current_term && follows && self.may_seek_election() {
            context.note(|| Note::TransferTaken { from });
            self.start_election(context, true);
        }
    }

    /// This member's disk does not answer: it could not lead even if it were
    /// elected, and must not go on leading (a leader stuck in a sync is heard,
    /// and so keeps its followers from electing another).
    pub(crate) fn disk_stalled(&mut self, context: &mut Context<'_>) {
        self.disk_stalled = true;
        match &self.role {
            RoleState::Leader(_) => self.seek_heir(context),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                context.note(|| Note::Resigned { term: self.hard_state.current_term });
                self.resign(context);
            }
            RoleState::Follower(_) => {}
        }
    }

    /// It answers again.
    pub(crate) fn disk_recovered(&mut self, context: &mut Context<'_>) {
        self.disk_stalled = false;
        let election_deadline = self.config.draw_election_deadline(context.moment);
        match &mut self.role {
            RoleState::Follower(follower) => follower.election_deadline = election_deadline,
            // No heir was found, so this member still leads, and may as well.
            RoleState::Leader(leader) => {
                leader.transfer.take_if(|transfer| transfer.resigns);
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        }
    }

    /// With a stalled disk: hands leadership to the voter that is up and has
    /// most of the log. As long as there is none, leading on harms nobody.
    pub(crate) fn seek_heir(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(transfer) = &mut leader.transfer {
            transfer.resigns = true;
            return;
        }
        let membership = self.trail.membership();
        if let Some(to) = leader.heir(membership, &self.config, now) {
            let deadline = now.after(self.config.election_timeout_us);
            context.note(|| Note::DiskStalled { heir: to });
            leader.transfer = Some(Transfer { to, deadline, told: false, resigns: true });
        }
    }

    /// What a leader does that is no voter any more: leaves at once, and lets the
    /// best of the others know, so that the group need not wait for a timeout.
    pub(crate) fn take_leave(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &self.role else { return };
        let heir = leader.heir(self.trail.membership(), &self.config, context.now());
        if let Some(to) = heir {
            context.send(to, Message::TimeoutNow { term: self.hard_state.current_term });
        }
        self.resign(context);
    }

    /// Leads or seeks to lead no longer, in the same term.
    pub(crate) fn resign(&mut self, context: &mut Context<'_>) {
        let election_deadline = self.config.draw_election_deadline(context.moment);
        let follower = Follower::of_nobody(election_deadline);
        self.change_role(context, RoleState::Follower(follower));
    }
}

impl Leader {
    /// The voter that is up, may lead, and has most of the log.
    fn heir(&self, membership: &Membership, config: &Config, now: Time) -> Option<NodeId> {
        let can = |id: NodeId| membership.voters.contains(&id) && membership.may_lead(id);
        self.followers
            .iter()
            .filter(|(id, _)| can(*id) && self.hears(*id, config, now))
            .max_by_key(|(id, known)| (known.match_index(), Reverse(*id)))
            .map(|(id, _)| id)
    }
}
