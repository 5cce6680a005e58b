//! Followers that need what the log no longer holds (Figure 13, and beyond it
//! thesis §5.1): how far the sending of a snapshot has come, when it is begun
//! again, and how much of the log is kept for those who are behind.

use crate::effect::Effect;
use crate::input::SnapshotOutcome;
use crate::note::Note;
use crate::progress::{Delivery, Flow};
use crate::raft::{Context, Raft};
use crate::roles::RoleState;
use crate::types::{Index, NodeId, Position, Term, Time};

impl Raft {
    /// A follower has so much of a snapshot. What it has is kept in mind: an
    /// attempt that breaks off is not begun from nothing.
    pub(crate) fn snapshot_progress(
        &mut self,
        now: Time,
        to: NodeId,
        term: Term,
        snapshot: Position,
        received: u64,
    ) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if term != self.hard_state.current_term {
            return;
        }
        let Some(known) = leader.followers.get_mut(to) else { return };
        let Flow::Snapshot(Delivery::UnderWay { moved_at }) = &mut known.flow else { return };
        if known.partial.is_none_or(|(of, bytes)| of != snapshot || bytes < received) {
            known.partial = Some((snapshot, received));
            *moved_at = now;
        }
    }

    /// Takes those that get nothing more of their snapshots for broken off. They
    /// are tried again as soon as they answer, from where they are.
    pub(crate) fn stop_stalled_snapshots(&mut self, context: &mut Context<'_>) {
        let term = self.hard_state.current_term;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.round;
        for (to, known) in leader.followers.iter_mut() {
            if let Flow::Snapshot(Delivery::UnderWay { moved_at }) = known.flow
                && context.now().since(moved_at) >= self.config.snapshot_stall_us
            {
                known.need_snapshot(round);
                context.note(|| Note::SnapshotStalled { follower: to });
                context.effect(Effect::StopSnapshot { to, term });
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

    /// A snapshot was delivered, or was not.
    pub(crate) fn snapshot_sent(&mut self, to: NodeId, term: Term, outcome: SnapshotOutcome) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.round;
        let Some(known) = leader.followers.get_mut(to) else { return };
        let ordered = matches!(known.flow, Flow::Snapshot(Delivery::UnderWay { .. }));
        if term != self.hard_state.current_term || !ordered {
            return;
        }
        match outcome {
            SnapshotOutcome::Delivered => {
                // Its acknowledgement is on the way; a heartbeat finds out if
                // that is lost.
                known.probe_from(self.trail.base().index.max(known.match_index).next());
                known.pause();
            }
            SnapshotOutcome::Failed => known.need_snapshot(round),
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
