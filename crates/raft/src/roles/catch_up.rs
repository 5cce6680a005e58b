//! Followers that need what the log no longer holds (Figure 13, and beyond it
//! thesis §5.1): how far the sending of a snapshot has come, when it is begun
//! again, and how much of the log is kept for those who are behind.

use crate::effect::Effect;
use crate::input::SnapshotOutcome;
use crate::message::{DelegateReport, Message};
use crate::note::Note;
use crate::progress::{Delivery, Flow, Progress};
use crate::raft::{Context, Raft};
use crate::roles::{Leader, RoleState};
use crate::trail::Trail;
use crate::types::{Config, Index, NodeId, Position, Term, Time};
use alloc::vec::Vec;

impl Raft {
    /// Orders the snapshots that are due: of another member that has what is needed,
    /// where one does, or else of this one's host.
    pub(crate) fn order_snapshots(&mut self, context: &mut Context<'_>) {
        let Self { role: RoleState::Leader(leader), trail, config, hard_state, .. } = self else {
            return;
        };
        let (me, term, least) = (config.id, hard_state.current_term, trail.base().index);
        let due = leader.followers.iter().filter(|(_, known)| known.awaits_snapshot());
        let due: Vec<NodeId> = due.map(|(id, _)| id).collect();
        for to in due {
            let sender = leader.choose_sender(to, trail, config, context.now());
            let Some(known) = leader.followers.get_mut(to) else { continue };
            if known.snapshot_sender != Some(sender) {
                // Another's bytes need not be the same, even of the same snapshot.
                known.partial = None;
            }
            known.snapshot_sender = Some(sender);
            known.flow =
                Flow::Snapshot(Delivery::UnderWay { moved_at: context.now(), moved: false });
            let resume = known.partial.filter(|(snapshot, _)| snapshot.index >= least);
            if sender == me {
                let witness = trail.membership().is_witness(to);
                let leader = me;
                context.effect(Effect::SendSnapshot { to, term, leader, least, resume, witness });
            } else {
                context.note(|| Note::SnapshotDelegated { follower: to, sender });
                let resume = resume.unwrap_or_default();
                context.send(sender, Message::DelegateSnapshot { term, to, least, resume });
            }
        }
    }

    /// A follower has so much of a snapshot of `sender`. What it has is kept in mind:
    /// an attempt that breaks off is not begun from nothing.
    pub(crate) fn snapshot_progress(
        &mut self,
        context: &mut Context<'_>,
        sender: NodeId,
        (to, term): (NodeId, Term),
        (snapshot, received): (Position, u64),
    ) {
        if let RoleState::Follower(_) = self.role {
            let report = DelegateReport::Progress { snapshot, received };
            self.report_delegated(context, (to, term), report);
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(known) = leader.followers.get_mut(to) else { return };
        if term != self.hard_state.current_term || !known.is_sent_by(sender) {
            return;
        }
        if known.partial.is_none_or(|(of, bytes)| of != snapshot || bytes < received) {
            known.partial = Some((snapshot, received));
            let moved_at = context.now();
            known.flow = Flow::Snapshot(Delivery::UnderWay { moved_at, moved: true });
        }
    }

    /// Takes those that get nothing more of their snapshots for broken off, and those
    /// that are sent one by a member that does not answer or is none any more. They
    /// are tried again as soon as they answer, from where they are.
    pub(crate) fn stop_stalled_snapshots(&mut self, context: &mut Context<'_>) {
        let (me, now, term) = (self.config.id, context.now(), self.hard_state.current_term);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let is_stalled = |known: &Progress| {
            let Flow::Snapshot(Delivery::UnderWay { moved_at, .. }) = known.flow else {
                return false;
            };
            let gone = |sender| sender != me && !leader.hears(sender, &self.config, now);
            now.since(moved_at) >= self.config.snapshot_stall_us
                || known.snapshot_sender.is_some_and(gone)
        };
        let stalled = leader.followers.iter().filter(|(_, known)| is_stalled(known));
        let stalled: Vec<NodeId> = stalled.map(|(id, _)| id).collect();
        for to in stalled {
            let round = leader.round;
            let Some(known) = leader.followers.get_mut(to) else { continue };
            context.note(|| Note::SnapshotStalled { follower: to });
            known.need_snapshot(round);
            match known.snapshot_sender {
                Some(sender) if sender != me => {
                    known.snapshot_sender = Some(me);
                    context.send(sender, Message::RecallSnapshot { term, to });
                }
                _ => context.effect(Effect::StopSnapshot { to, term }),
            }
        }
    }

    /// The first entry that a follower which answers may still ask this leader
    /// for, but no further back than configured: how much of the log is worth
    /// keeping when a snapshot covers it. One past the end on others.
    pub fn log_needed_from(&self, now: Time) -> Index {
        let last = self.trail.last().index;
        let RoleState::Leader(leader) = &self.role else { return last.next() };
        let answers =
            leader.followers.iter().filter(|(id, _)| leader.hears(*id, &self.config, now));
        let needs = answers.map(|(_, known)| match (&known.flow, known.partial) {
            // It will go on from behind the snapshot that it is getting.
            (Flow::Snapshot(_), Some((snapshot, _))) => snapshot.index.next(),
            (Flow::Snapshot(_), None) => self.trail.base().index.next(),
            _ => known.match_index.next(),
        });
        let needed = needs.min().unwrap_or(last.next());
        needed.max(Index(last.0.saturating_sub(self.config.catch_up_entries_max)).next())
    }

    /// `sender` delivered a snapshot, or did not.
    pub(crate) fn snapshot_sent(
        &mut self,
        context: &mut Context<'_>,
        sender: NodeId,
        (to, term): (NodeId, Term),
        outcome: SnapshotOutcome,
    ) {
        if let RoleState::Follower(_) = self.role {
            self.report_delegated(context, (to, term), DelegateReport::Ended(outcome));
            return;
        }
        let me = self.config.id;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.round;
        let Some(known) = leader.followers.get_mut(to) else { return };
        if term != self.hard_state.current_term || !known.is_sent_by(sender) {
            return;
        }
        match outcome {
            SnapshotOutcome::Delivered => {
                // Its acknowledgement is on the way; a heartbeat finds out if
                // that is lost. Whatever is missing then is the leader's to send.
                known.probe_from(self.trail.base().index.max(known.match_index).next());
                known.pause();
                known.snapshot_sender = Some(me);
            }
            SnapshotOutcome::Failed => known.snapshot_failed(me, round),
        }
    }

    /// The link to `peer` broke: what it sent in this leader's place has broken off.
    pub(crate) fn delegate_lost(&mut self, peer: NodeId) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (me, round) = (self.config.id, leader.round);
        for (_, known) in leader.followers.iter_mut().filter(|(_, known)| known.is_sent_by(peer)) {
            known.snapshot_failed(me, round);
        }
    }

    /// The log up to `through` is covered by a snapshot and may go.
    pub(crate) fn compacted(&mut self, through: Position) {
        if through.index <= self.trail.base().index {
            return;
        }
        // Rule SN.1: a snapshot covers only what was applied.
        assert!(through.index <= self.last_applied, "a snapshot of what was never applied");
        self.trail.compact(through);
        let RoleState::Leader(leader) = &mut self.role else { return };
        for (_, known) in leader.followers.iter_mut() {
            let sending = matches!(known.flow, Flow::Snapshot(_));
            // Rule SN.2: who needs what the log let go is sent the snapshot.
            if !sending && known.next_index.previous() < through.index {
                known.need_snapshot(leader.round);
            }
        }
    }
}

impl Leader {
    /// Who sends `to` a snapshot: whoever began it already; or else a member that has
    /// stored what it must cover, keeps up and sends none yet, learners first, for
    /// they do nothing else; or else the leader, `config.id`.
    ///
    /// An attempt of another member that brings nothing is its last: the leader sends
    /// until the follower has caught up. So no member can keep it from that.
    fn choose_sender(&self, to: NodeId, trail: &Trail, config: &Config, now: Time) -> NodeId {
        let membership = trail.membership();
        let began = self.followers.get(to).and_then(|known| known.snapshot_sender);
        // All that a witness needs of a snapshot is to be told of it.
        if !config.snapshots_from_followers || membership.is_witness(to) {
            return config.id;
        }
        let is_free =
            |id| !self.followers.iter().any(|(other, known)| other != to && known.is_sent_by(id));
        let can = |&(id, known): &(NodeId, &Progress)| {
            id != to
                && began.is_none_or(|began| began == id)
                && !membership.is_witness(id)
                && matches!(known.flow, Flow::Replicate(_))
                && known.match_index >= trail.base().index
                && self.hears(id, config, now)
                && is_free(id)
        };
        let able = self.followers.iter().filter(can).map(|(id, _)| id);
        able.min_by_key(|&id| (membership.is_voter(id), id)).unwrap_or(config.id)
    }
}
