//! Taking, sending and receiving snapshots: the node's part of Figure 13.
//!
//! The leader, or a follower in its place, sends one piece at a time and the receiver
//! says how much it holds, so a transfer that broke off goes on where it was. The
//! algorithm learns of a snapshot only when the whole of it is durable.

use crate::node::Node;
use crate::port::{Action, LogJob, Report, SnapshotChunk, SnapshotDone, SnapshotJob, StopReason};
use crate::sidecar;
use crate::snapshots::{Sender, Sending};
use bytes::Bytes;
use driftless_codec::PeerFrame;
use driftless_log::SnapshotMeta;
use driftless_raft::{Index, Input, Message, Moment, NodeId, Position, SnapshotOutcome, Term};

/// A snapshot that the algorithm wants sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) leader: NodeId,
    pub(crate) least: Index,
    pub(crate) resume: Option<(Position, u64)>,
}

impl Node {
    /// A snapshot is to be sent, by the leader or in its place.
    pub(crate) fn begin_sending_snapshot(
        &mut self,
        moment: Moment,
        order: Order,
        actions: &mut Vec<Action>,
    ) {
        let Order { to, term, leader, least, resume } = order;
        let has = self.snapshots.to_send().is_some_and(|newest| newest.last.index >= least);
        // One that cannot answer yet would be waited for in vain: it hears its leader, but
        // may not have called back others that it does not know.
        if !self.links.converses_with(to) || !has && !self.can_take_snapshot(least) {
            let outcome = SnapshotOutcome::Failed;
            self.inputs.push_back(Input::SnapshotSent { to, term, outcome });
            return;
        }
        let sending = Sending { term, leader, least, heard: moment.now, waits: !has };
        self.snapshots.sending.insert(to, sending);
        if has {
            self.read_chunk(to, resume.unwrap_or_default(), actions);
        } else {
            self.snapshots.wanted = !self.snapshots.saving;
            self.pump(actions);
        }
    }

    /// Whether a snapshot can be taken, at no great cost to others, that covers as much.
    fn can_take_snapshot(&self, least: Index) -> bool {
        !self.is_witness()
            && !self.room.is_low()
            && !self.snapshots.must_load()
            && self.snapshots.again_at.is_none()
            && self.applier.applied.index >= least
    }

    /// A snapshot was taken, or was not: what waited for it begins, or fails.
    fn begin_what_waited(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        let waiting = self.snapshots.sending.iter().filter(|(_, sending)| sending.waits);
        let waiting: Vec<(NodeId, Term, Index)> =
            waiting.map(|(to, sending)| (*to, sending.term, sending.least)).collect();
        for (to, term, least) in waiting {
            if self.snapshots.to_send().is_some_and(|newest| newest.last.index >= least) {
                if let Some(sending) = self.snapshots.sending.get_mut(&to) {
                    (sending.waits, sending.heard) = (false, moment.now);
                }
                self.read_chunk(to, (Position::ZERO, 0), actions);
            } else {
                let why = "there is none that is new enough".into();
                self.sending_failed(moment, to, term, why, actions);
            }
        }
    }

    /// Goes on with a snapshot where the follower is.
    fn read_chunk(
        &self,
        to: NodeId,
        (snapshot, offset): (Position, u64),
        actions: &mut Vec<Action>,
    ) {
        let bytes_max = self.options.snapshot_chunk_bytes;
        actions.push(Action::Snapshot(SnapshotJob::ReadChunk { to, snapshot, offset, bytes_max }));
    }

    pub(crate) fn sending_failed(
        &mut self,
        moment: Moment,
        to: NodeId,
        term: Term,
        why: String,
        actions: &mut Vec<Action>,
    ) {
        let Some(sending) = self.snapshots.sending.remove(&to) else { return };
        let for_leader = self.other_than_me(sending.leader);
        actions.push(Action::Report(Report::SnapshotNotSent { to, for_leader, why }));
        let outcome = SnapshotOutcome::Failed;
        self.step(moment, Input::SnapshotSent { to, term, outcome }, actions);
    }

    fn other_than_me(&self, leader: NodeId) -> Option<NodeId> {
        Some(leader).filter(|&leader| leader != self.raft.id())
    }

    /// The follower `from` holds `received` bytes of the snapshot up to `last`.
    pub(crate) fn chunk_acknowledged(
        &mut self,
        moment: Moment,
        (from, term): (NodeId, Term),
        (last, received): (Position, u64),
        done: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(sending) = self.snapshots.sending.get_mut(&from) else { return };
        if sending.waits {
            return; // Of an earlier transfer.
        }
        let (ours, leader) = (sending.term, sending.leader);
        sending.heard = moment.now;
        if term > ours {
            let why = format!("the follower is in term {term} already");
            self.sending_failed(moment, from, ours, why, actions);
        } else if done {
            self.snapshots.sending.remove(&from);
            let for_leader = self.other_than_me(leader);
            actions.push(Action::Report(Report::SnapshotSent { to: from, for_leader }));
            let outcome = SnapshotOutcome::Delivered;
            self.step(moment, Input::SnapshotSent { to: from, term: ours, outcome }, actions);
        } else {
            self.read_chunk(from, (last, received), actions);
            let input = Input::SnapshotProgress { to: from, term: ours, snapshot: last, received };
            self.step(moment, input, actions);
        }
    }

    /// A piece of a snapshot arrived (Figure 13, receiver).
    pub(crate) fn chunk_arrived(
        &mut self,
        moment: Moment,
        sender: Sender,
        meta: SnapshotMeta,
        (maker, offset, bytes, done): (u64, u64, Bytes, bool),
        actions: &mut Vec<Action>,
    ) {
        let current_term = self.raft.term();
        if sender.term < current_term {
            // As the algorithm does for the whole (IS.1): reply at once.
            let (last, received) = (meta.last, 0);
            let ack = PeerFrame::SnapshotAck { term: current_term, last, received, done: false };
            self.links.send(sender.from, &ack, actions);
        } else if self.raft.commit_index() >= meta.last.index {
            // All that it covers is here already; the algorithm says so.
            self.snapshot_arrived(moment, sender, &meta, offset, actions);
        } else if self.snapshots.writing.is_none() && !self.snapshots.saving {
            // Rules IS.2, IS.3 and IS.5 concern the file: `SnapshotPort`.
            self.snapshots.writing = Some(sender);
            let job = SnapshotJob::WriteChunk { meta, maker, offset, bytes, done };
            actions.push(Action::Snapshot(job));
        } else if self.snapshots.saving {
            self.snapshots.not_taken = Some((sender, meta.last));
        }
    }

    /// Asks for the piece that came while our own snapshot was being written; its
    /// sender would wait for an answer until it takes us for gone.
    fn ask_for_what_was_not_taken(&mut self, actions: &mut Vec<Action>) {
        if let Some((Sender { from, term, .. }, last)) = self.snapshots.not_taken.take() {
            // From the beginning: the next answer says how much we really hold.
            let ack = PeerFrame::SnapshotAck { term, last, received: 0, done: false };
            self.links.send(from, &ack, actions);
        }
    }

    /// The whole snapshot is durable here: the algorithm decides what it replaces.
    fn snapshot_arrived(
        &mut self,
        moment: Moment,
        sender: Sender,
        meta: &SnapshotMeta,
        received: u64,
        actions: &mut Vec<Action>,
    ) {
        let Sender { from, term, leader } = sender;
        let SnapshotMeta { last, membership } = meta.clone();
        let ack = PeerFrame::SnapshotAck { term, last, received, done: true };
        self.links.send(from, &ack, actions);
        let membership = Box::new(membership);
        let message = Message::InstallSnapshot { term, leader, last, membership };
        self.step(moment, Input::Receive { from, message }, actions);
    }

    pub(crate) fn snapshot_done(
        &mut self,
        moment: Moment,
        done: SnapshotDone,
        actions: &mut Vec<Action>,
    ) {
        match done {
            SnapshotDone::Saved { result } => {
                self.saved(moment, result, actions);
                self.begin_what_waited(moment, actions);
                self.ask_for_what_was_not_taken(actions);
            }
            SnapshotDone::Loaded { result } => self.loaded(result, actions),
            SnapshotDone::Chunk { to, result } => self.chunk_read(moment, to, result, actions),
            SnapshotDone::Written { meta, received, done } => {
                let Some(sender) = self.snapshots.writing.take() else { return };
                // Rule IS.4: reply and wait for more until the last piece.
                if done {
                    self.snapshot_arrived(moment, sender, &meta, received, actions);
                } else {
                    let (last, Sender { from, term, .. }) = (meta.last, sender);
                    let ack = PeerFrame::SnapshotAck { term, last, received, done: false };
                    self.links.send(from, &ack, actions);
                }
            }
            SnapshotDone::WriteFailed { error, .. } => {
                // The sender hears nothing, and the leader tries again.
                self.snapshots.writing = None;
                actions.push(Action::Report(Report::SnapshotFailed(error)));
            }
        }
    }

    /// A piece was read: it goes to the follower, if that is still wanted.
    fn chunk_read(
        &mut self,
        moment: Moment,
        to: NodeId,
        result: Result<SnapshotChunk, String>,
        actions: &mut Vec<Action>,
    ) {
        let Some(sending) = self.snapshots.sending.get(&to).filter(|sending| !sending.waits) else {
            return;
        };
        let &Sending { term, leader, least, .. } = sending;
        match result {
            Ok(chunk) if chunk.meta.last.index < least => {
                let why = "there is none that is new enough".into();
                self.sending_failed(moment, to, term, why, actions);
            }
            Ok(chunk) => {
                let SnapshotMeta { last, membership } = chunk.meta;
                let frame = PeerFrame::SnapshotChunk {
                    term,
                    leader,
                    last,
                    membership,
                    maker: chunk.maker,
                    offset: chunk.offset,
                    done: chunk.done,
                    bytes: chunk.bytes,
                };
                self.links.send(to, &frame, actions);
            }
            Err(why) => {
                if self.snapshots.lose_newest() {
                    actions.push(Action::Report(Report::SnapshotLost(why.clone())));
                }
                self.sending_failed(moment, to, term, why, actions);
                self.pump(actions);
            }
        }
    }

    /// A snapshot of our own is durable: the log behind it may go.
    fn saved(
        &mut self,
        moment: Moment,
        result: Result<SnapshotMeta, String>,
        actions: &mut Vec<Action>,
    ) {
        let meta = match result {
            Ok(meta) => meta,
            Err(why) => {
                self.snapshots.failed(moment.now, &self.options);
                actions.push(Action::Report(Report::SnapshotFailed(why)));
                return;
            }
        };
        self.snapshots.saved();
        let before = self.snapshots.newest.as_ref().map_or(Index(0), |newest| newest.last.index);
        if before > meta.last.index {
            return; // A leader's, newer, was installed meanwhile.
        }
        actions.push(Action::Report(Report::SnapshotSaved { last: meta.last }));
        let retained = if self.room.is_low() { 0 } else { self.options.retained_entries };
        let keep_from = Index(meta.last.index.0.saturating_sub(retained));
        self.snapshots.newest = Some(meta);
        // Never from before the last snapshot: entries may be large, and what lies
        // between two snapshots is bounded in bytes. But followers that answer and are
        // not far behind would need a snapshot for want of them.
        let needed = if self.room.is_low() {
            Index(u64::MAX)
        } else {
            self.raft.log_needed_from(moment.now).previous()
        };
        self.compact(moment, keep_from.max(before).min(needed), actions);
    }

    /// Lets go of the log up to `through`, which the newest snapshot covers.
    fn compact(&mut self, moment: Moment, through: Index, actions: &mut Vec<Action>) {
        let Some(snapshot) = self.snapshots.newest.clone() else { return };
        let trail = self.raft.trail();
        let through = trail.position_at(through).unwrap_or(trail.base());
        if through > Position::ZERO {
            actions.push(Action::Log(LogJob::Compact { snapshot, through }));
            self.step(moment, Input::Compacted { through }, actions);
        }
    }

    /// What a witness has applied it need not keep.
    pub(crate) fn let_go_as_witness(&mut self, actions: &mut Vec<Action>) {
        if !self.snapshots.due(&self.options, self.room.is_low()) {
            return;
        }
        self.snapshots.begin_saving();
        self.snapshots.saved();
        let last = self.applier.applied;
        let membership = self.raft.trail().membership_at(last.index).clone();
        let snapshot = SnapshotMeta { last, membership };
        self.snapshots.newest = Some(snapshot.clone());
        actions.push(Action::Log(LogJob::Compact { snapshot, through: last }));
        self.inputs.push_back(Input::Compacted { through: last });
    }

    /// A snapshot has taken the place of a witness's log: there is nothing to load.
    pub(crate) fn witness_restored(&mut self, meta: SnapshotMeta, actions: &mut Vec<Action>) {
        self.applier.restored(meta.last);
        self.payloads.mark_applied(meta.last.index);
        self.roster.jump_to(meta.membership.clone());
        self.snapshots.newest = Some(meta);
        self.members_changed(actions);
    }

    /// The disk has become nearly full: entries kept for followers that lag may
    /// go, and others with the next snapshot, which is due sooner now.
    pub(crate) fn save_space(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        self.let_go_of_covered(moment, actions);
        self.pump(actions);
    }

    /// Lets go of all that the newest snapshot covers.
    pub(crate) fn let_go_of_covered(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        let covered = self.snapshots.to_send().map(|newest| newest.last.index);
        if let Some(covered) = covered
            && covered > self.raft.trail().base().index
            && !self.snapshots.must_load()
        {
            self.compact(moment, covered, actions);
        }
    }

    /// The machine holds a snapshot's state.
    fn loaded(&mut self, result: Result<Option<Bytes>, String>, actions: &mut Vec<Action>) {
        let Some(meta) = self.snapshots.loading.take() else { return };
        if result == Ok(None) && self.may_be_witness() {
            // Who is to store snapshots has this one on its disk before its log names it.
            // So it was sent as to a witness, and the process ended before the log said
            // that this member is one.
            self.joins_as_witness = true;
            self.witness_restored(meta, actions);
            self.pump(actions);
            return;
        }
        let own = result.and_then(|sidecar| {
            let sidecar = sidecar.ok_or("there is no such snapshot")?;
            let own = sidecar::decode(&sidecar).map_err(|error| format!("its sidecar: {error}"))?;
            own.ok_or_else(|| "its sidecar is empty".to_owned())
        });
        match own {
            Ok((sessions, roster)) => (self.sessions, self.roster) = (sessions, roster),
            Err(why) => {
                actions.push(Action::Stop(StopReason::SnapshotUnusable(why)));
                return;
            }
        }
        let last = meta.last;
        self.applier.restored(last);
        self.payloads.mark_applied(last.index);
        if !self.snapshots.covers(last.index) {
            self.snapshots.newest = Some(meta);
        }
        actions.push(Action::Report(Report::SnapshotInstalled { last }));
        remove_older_snapshots(last, actions);
        self.members_changed(actions);
        self.answer_from_sessions(actions);
        self.serve_reads(actions);
        self.pump(actions);
    }
}

/// The log builds on the snapshot at `keep`, durably: older ones may go. (A newer
/// one may be there already that the log does not name yet.)
pub(crate) fn remove_older_snapshots(keep: Position, actions: &mut Vec<Action>) {
    actions.push(Action::Snapshot(SnapshotJob::RemoveOlder { keep }));
}
