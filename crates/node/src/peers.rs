//! What peers send, sorted to those whom it concerns.

use crate::dialling::Who;
use crate::envelope::{ENVELOPE_BYTES, OpenSession};
use crate::links::Change;
use crate::node::Node;
use crate::port::{Action, FrameFault, LinkId};
use crate::snapshots::Sender;
use bytes::Bytes;
use driftless_codec::frame::ForwardRefusal;
use driftless_codec::{Contact, Entry, EntryKind, PeerFrame};
use driftless_log::SnapshotMeta;
use driftless_raft::{Input, Message, Moment, NodeId, Position, Role};

impl Node {
    pub(crate) fn frame(
        &mut self,
        moment: Moment,
        link: LinkId,
        frame: &Bytes,
        actions: &mut Vec<Action>,
    ) {
        if !self.links.is_open(link) {
            return;
        }
        let change = match PeerFrame::decode(frame) {
            Ok((group, _)) if group != self.group => {
                self.links.close(link, FrameFault::WrongGroup(group), actions)
            }
            Ok((_, frame)) => {
                if let Some(peer) = self.links.sender(link) {
                    self.peer_frame(moment, link, peer, frame, actions);
                    return;
                }
                // A hello may be of somebody who is to be brought back.
                self.changes.due = true;
                let who = Who::of(&self.raft, &self.roster, &self.options);
                self.links.shake(link, &frame, who, actions)
            }
            Err(error) => self.links.close(link, FrameFault::Malformed(error), actions),
        };
        self.links_changed(moment, change, actions);
    }

    fn peer_frame(
        &mut self,
        moment: Moment,
        link: LinkId,
        peer: NodeId,
        frame: PeerFrame,
        actions: &mut Vec<Action>,
    ) {
        let other = match frame.into_message() {
            Ok((Message::InstallSnapshot { .. }, _)) if !self.may_be_witness() => {
                // Its pieces would have to come first.
                let change = self.links.close(link, FrameFault::OutOfTurn, actions);
                self.links_changed(moment, change, actions);
                return;
            }
            Ok((message, entries)) => {
                self.joins_as_witness |= matches!(message, Message::InstallSnapshot { .. });
                self.receive(moment, peer, message, entries, actions);
                return;
            }
            Err(other) => other,
        };
        match other {
            PeerFrame::Forward { entries } => {
                if !entries.iter().all(|(kind, payload)| may_forward(peer, *kind, payload)) {
                    let change = self.links.close(link, FrameFault::OutOfTurn, actions);
                    self.links_changed(moment, change, actions);
                    return;
                }
                let entries = entries.into_iter();
                self.forwarded.extend(entries.map(|(kind, payload)| (peer, kind, payload)));
                if self.raft.role() != Role::Leader {
                    self.refuse_forwarded(ForwardRefusal::NotLeader, actions);
                }
            }
            PeerFrame::ForwardRefused { refusal: ForwardRefusal::DiskFull, sequences }
                if sequences.is_empty() =>
            {
                self.follower_lacks_room(moment.now, peer);
            }
            PeerFrame::ForwardRefused { refusal, sequences } => {
                self.forward_refused(moment, refusal, &sequences, actions);
            }
            PeerFrame::SnapshotChunk {
                term,
                leader,
                last,
                membership,
                maker,
                offset,
                done,
                bytes,
            } => {
                let meta = SnapshotMeta { last, membership };
                let (sender, piece) =
                    (Sender { from: peer, term, leader }, (maker, offset, bytes, done));
                self.chunk_arrived(moment, sender, meta, piece, actions);
            }
            PeerFrame::SnapshotAck { term, last, received, done } => {
                self.chunk_acknowledged(moment, (peer, term), (last, received), done, actions);
            }
            PeerFrame::AskChange { request, changes, forced } => {
                self.change_asked(moment, (peer, request), changes, forced, actions);
            }
            PeerFrame::ChangeAnswer { request, answer } => {
                self.change_answered(moment, request, answer, actions);
            }
            PeerFrame::HelloReply(reply) => {
                let is_blank = self.raft.last() == Position::ZERO;
                let who = Who::of(&self.raft, &self.roster, &self.options);
                let change = self.links.refused_by_caller(link, &reply, is_blank, who, actions);
                self.links_changed(moment, change, actions);
            }
            _ => {
                let change = self.links.close(link, FrameFault::OutOfTurn, actions);
                self.links_changed(moment, change, actions);
            }
        }
    }

    fn receive(
        &mut self,
        moment: Moment,
        from: NodeId,
        mut message: Message,
        mut entries: Vec<Entry>,
        actions: &mut Vec<Action>,
    ) {
        self.leave_out(from, &mut message, &mut entries, actions);
        self.payloads.offer(entries.into());
        self.step(moment, Input::Receive { from, message }, actions);
        self.payloads.end_offer();
        self.serve_reads(actions);
    }

    /// Whether this member is a witness, or may be for all it knows.
    pub(crate) fn may_be_witness(&self) -> bool {
        self.is_witness() || !self.raft.membership().contains(self.raft.id())
    }

    pub(crate) fn links_changed(
        &mut self,
        moment: Moment,
        change: Change,
        actions: &mut Vec<Action>,
    ) {
        match change {
            Change::None => {}
            Change::Called(peer) => {
                self.links_due = true;
                if self.options.raft.lease_drift_ppm.is_some() {
                    let promise_us = self.links.promise_of(peer);
                    self.step(moment, Input::Promises { peer, promise_us }, actions);
                }
            }
            Change::Reached(peer) => {
                self.reached.insert(peer, moment.now);
                actions.push(Action::ReachedChanged);
                self.changes.due = true;
                self.links_due = true;
                self.last_sent.remove(&peer);
                if self.raft.leader() == Some(peer) {
                    self.proposals.requeue_all();
                    self.reads.abandon();
                }
            }
            Change::Lost(peer) => {
                if !self.links.reaches(peer) && self.reached.remove(&peer).is_some() {
                    actions.push(Action::ReachedChanged);
                }
                self.links_due = true;
                if let Some(term) = self.snapshots.sending.get(&peer).map(|sending| sending.term) {
                    let why = "the link broke".into();
                    self.sending_failed(moment, peer, term, why, actions);
                }
                self.step(moment, Input::Disconnected { peer }, actions);
                self.serve_reads(actions);
            }
        }
    }
}

/// What a peer may ask to have appended: commands, sessions of its own, and where
/// members are.
fn may_forward(peer: NodeId, kind: EntryKind, payload: &Bytes) -> bool {
    match kind {
        EntryKind::Noop | EntryKind::Membership | EntryKind::Founders | EntryKind::Bare => false,
        EntryKind::Contact => Contact::decode(payload).is_ok(),
        EntryKind::Command => payload.len() >= ENVELOPE_BYTES,
        EntryKind::Session => OpenSession::decode(payload).is_ok_and(|open| open.node == peer),
    }
}
