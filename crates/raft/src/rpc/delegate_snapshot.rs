//! Snapshots that another member sends in the leader's place, beyond Figures 2 and
//! 13: a leader is what its group waits for, and a snapshot is the largest thing that
//! it ever sends. Whom the leader asks, and what it makes of the answers, is in
//! `roles/catch_up.rs`; this is the asked member's side.
//!
//! The leader's order stands as long as the asked member follows that very leader. It
//! is part of that role's state and ends with it: with the term, with the leader's
//! link, with an election. So a snapshot that bears a term was chosen in that term,
//! and what it covers was committed by then (see `rpc/install_snapshot.rs`).

use crate::effect::Effect;
use crate::input::SnapshotOutcome;
use crate::message::{DelegateReport, Message};
use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::roles::{Delegation, RoleState};
use crate::types::{Index, NodeId, Position, Term};

impl Raft {
    /// The leader wants `to` to be sent a snapshot from here. A later term has been
    /// adopted already.
    pub(crate) fn on_delegate_snapshot(
        &mut self,
        context: &mut Context<'_>,
        leader: NodeId,
        (to, least): (NodeId, Index),
        term: Term,
        resume: (Position, u64),
    ) {
        let current_term = self.hard_state.current_term;
        let is_other = to != leader && to != self.config.id;
        let is_witness = self.trail.membership().is_witness(self.config.id);
        match &mut self.role {
            RoleState::Follower(follower)
                if term == current_term
                    && follower.leader == Some(leader)
                    && is_other
                    && !is_witness =>
            {
                // One at a time: the leader knows which.
                let before = follower.delegation.replace(Delegation { to, term });
                if let Some(Delegation { to, term }) = before.filter(|before| before.to != to) {
                    context.effect(Effect::StopSnapshot { to, term });
                }
                let resume = Some(resume).filter(|resume| resume.1 > 0);
                let witness = false;
                context.effect(Effect::SendSnapshot { to, term, leader, least, resume, witness });
            }
            _ => {
                context.note(|| Note::DelegationDeclined { leader, follower: to });
                let (term, report) = (current_term, DelegateReport::Ended(SnapshotOutcome::Failed));
                context.send(leader, Message::DelegateReport { term, to, report });
            }
        }
    }

    /// The leader wants no more to be sent to `to`.
    pub(crate) fn on_recall_snapshot(
        &mut self,
        context: &mut Context<'_>,
        leader: NodeId,
        term: Term,
        to: NodeId,
    ) {
        let RoleState::Follower(follower) = &mut self.role else { return };
        if follower.leader != Some(leader) {
            return;
        }
        let recalled = Delegation { to, term };
        if follower.delegation.take_if(|delegation| *delegation == recalled).is_some() {
            context.effect(Effect::StopSnapshot { to, term });
        }
    }

    /// What has come of the snapshot that this member sends in the leader's place.
    pub(crate) fn report_delegated(
        &mut self,
        context: &mut Context<'_>,
        (to, term): (NodeId, Term),
        report: DelegateReport,
    ) {
        let RoleState::Follower(follower) = &mut self.role else { return };
        let Some(leader) = follower.leader else { return };
        if follower.delegation != Some(Delegation { to, term }) {
            return;
        }
        if let DelegateReport::Ended(_) = report {
            follower.delegation = None;
        }
        context.send(leader, Message::DelegateReport { term, to, report });
    }

    /// A member that was asked to send a snapshot says what has come of it.
    pub(crate) fn on_delegate_report(
        &mut self,
        context: &mut Context<'_>,
        sender: NodeId,
        (to, term): (NodeId, Term),
        report: DelegateReport,
    ) {
        // A follower's own host speaks of delegations; from a peer it means nothing.
        let RoleState::Leader(_) = self.role else { return };
        match report {
            DelegateReport::Progress { snapshot, received } => {
                self.snapshot_progress(context, sender, (to, term), (snapshot, received));
            }
            DelegateReport::Ended(outcome) => {
                self.snapshot_sent(context, sender, (to, term), outcome);
            }
        }
    }
}
