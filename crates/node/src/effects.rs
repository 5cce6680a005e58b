//! Carrying out what the algorithm asks for.

use crate::cache::cost;
use crate::node::{HOUSEKEEPING_US, Node};
use crate::port::Frame;
use crate::port::{Action, LogJob, StopReason};
use crate::transfer::Order;
use bytes::Bytes;
use driftless_codec::frame::AppendHead;
use driftless_codec::{Entry, PeerFrame};
use driftless_log::SnapshotMeta;
use driftless_raft::{
    Effect, GroupId, Index, Input, Message, Moment, NodeId, Persist, SnapshotOutcome, Term, Time,
};

/// The same entries are not sent to the same follower again before this.
const SEND_AGAIN_US: u64 = 20_000;

/// Headers of a permission to send entries, kept while they are read from disk.
#[derive(Debug)]
pub(crate) struct Permission {
    pub(crate) to: NodeId,
    pub(crate) head: AppendHead,
    /// Whether it is sent entries without their payloads.
    pub(crate) witness: bool,
}

/// The frame that was encoded last: followers that keep up are sent the same.
#[derive(Debug)]
pub(crate) struct Encoded {
    head: AppendHead,
    last: Index,
    witness: bool,
    frame: Frame,
}

/// What entries are being read back for.
#[derive(Debug)]
pub(crate) enum ReadPurpose {
    Send(Permission),
    Apply { first: Index },
}

impl Node {
    /// Steps the algorithm and carries out its effects, until nothing follows.
    pub(crate) fn step(&mut self, moment: Moment, input: Input, actions: &mut Vec<Action>) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let mut effects = std::mem::take(&mut self.effects);
            self.raft.step(moment, input, &mut effects);
            for effect in effects.list.drain(..) {
                self.carry_out(moment, effect, actions);
            }
            self.effects = effects;
        }
        self.encoded = None;
    }

    fn carry_out(&mut self, moment: Moment, effect: Effect, actions: &mut Vec<Action>) {
        match effect {
            Effect::Persist(persist) => self.persist(moment.now, &persist, actions),
            Effect::Send { to, message } => {
                self.links.send(to, &PeerFrame::Raft(message), actions);
            }
            Effect::SendEntries {
                to,
                term,
                prev,
                last_max,
                bytes_max,
                leader_commit,
                round,
                witness,
            } => {
                let head = AppendHead { term, prev_log: prev, leader_commit, round };
                let permission = Permission { to, head, witness };
                self.send_entries(moment, permission, last_max, bytes_max, actions);
            }
            Effect::SendSnapshot { to, term, witness: true, .. } => {
                self.send_snapshot_to_witness(to, term, actions);
            }
            Effect::SendSnapshot { to, term, leader, least, resume, witness: false } => {
                let order = Order { to, term, leader, least, resume };
                self.begin_sending_snapshot(moment, order, actions);
            }
            Effect::Accept { count, .. } => {
                assert_eq!(count, self.payloads.offered() as u64, "accepted as proposed");
            }
            Effect::Refuse { .. } => self.refused = true,
            Effect::StopSnapshot { to, .. } => {
                self.snapshots.sending.remove(&to);
            }
            Effect::AcceptChange { at, .. } => self.changes.judged = Some(Ok(at.index)),
            Effect::RefuseChange { reason } => self.changes.judged = Some(Err(reason)),
            Effect::MembershipChanged { membership } => {
                let me = self.raft.id();
                if self.joins_as_witness && membership.contains(me) && !membership.is_witness(me) {
                    // It was sent no data, or has lost it: it cannot be what it is to be.
                    let at = self.applier.applied;
                    actions.push(Action::Stop(StopReason::WithoutData(at)));
                }
                self.links_due = true;
                self.changes.due = true;
            }
            Effect::RefuseTransfer { reason } => self.changes.transfer_refused = Some(reason),
            Effect::TransferEnded { .. } => self.changes.due = true,
            Effect::Apply { through } => {
                self.applier.target = self.applier.target.max(through);
                self.pump(actions);
            }
            Effect::Restore { snapshot } => {
                let membership = self.raft.trail().membership_at(snapshot.index).clone();
                let meta = SnapshotMeta { last: snapshot, membership };
                if self.is_witness() {
                    self.witness_restored(meta, actions);
                } else {
                    self.snapshots.to_load = Some(meta);
                    self.pump(actions);
                }
            }
            Effect::ReadReady { id, index } => self.reads.confirmed(id, index),
            Effect::ReadRefused { id, .. } => {
                self.reads.refused(id, moment.now.after(HOUSEKEEPING_US));
            }
            Effect::RoleChanged { leader, .. } => {
                if leader.is_some() {
                    self.proposals.requeue_all();
                    self.reads.abandon();
                }
                self.changes.due = true;
                self.links_due = true;
                actions.push(Action::StatusChanged);
            }
        }
    }

    fn persist(&mut self, now: Time, persist: &Persist, actions: &mut Vec<Action>) {
        let ticket = persist.ticket;
        self.watch.asked(ticket, now);
        let record = self.payloads.record(persist, self.applier.applied.index);
        self.room.hand_over(ticket, &record);
        actions.push(Action::Log(LogJob::Append { ticket, record }));
    }

    fn send_entries(
        &mut self,
        moment: Moment,
        permission: Permission,
        last_max: Index,
        bytes_max: u64,
        actions: &mut Vec<Action>,
    ) {
        let Permission { to, head, witness } = permission;
        let (term, first) = (head.term, head.prev_log.index.next());
        // A follower that does not take what it gets, having no room for it, answers
        // every round all the same, and there is one for every read.
        let too_soon = self.last_sent.get(&to).is_some_and(|(of, from, at)| {
            (*of, *from) == (term, first) && moment.now.since(*at) < SEND_AGAIN_US
        });
        if too_soon || !self.links.reaches(to) {
            // The algorithm waits for a sign of life, and tries again.
            self.inputs.push_back(Input::Unreadable { to, term });
            return;
        }
        self.last_sent.insert(to, (term, first, moment.now));
        if let Some(entries) = self.payloads.range(first, last_max, bytes_max) {
            let last = Index(head.prev_log.index.0 + entries.count() as u64);
            let bytes = entries.bytes();
            let frame = match &self.encoded {
                Some(same) if (same.head, same.last, same.witness) == (head, last, witness) => {
                    same.frame.clone()
                }
                _ => Frame { parts: encode(self.group, head, entries.iter(), witness) },
            };
            self.encoded = Some(Encoded { head, last, witness, frame: frame.clone() });
            self.links.send_frame(to, frame, actions);
            self.inputs.push_back(Input::Sent { to, term, last, bytes });
        } else {
            let id = self.log_read(ReadPurpose::Send(permission));
            actions.push(Action::Log(LogJob::Read { id, first, last: last_max, bytes_max }));
        }
    }

    /// Sends what was read back from the log.
    pub(crate) fn send_read_entries(
        &mut self,
        permission: &Permission,
        entries: &[Entry],
        actions: &mut Vec<Action>,
    ) {
        let &Permission { to, head, witness } = permission;
        let last = Index(head.prev_log.index.0 + entries.len() as u64);
        let bytes = cost(entries) as u64;
        let frame = Frame { parts: encode(self.group, head, entries.iter(), witness) };
        self.links.send_frame(to, frame, actions);
        self.inputs.push_back(Input::Sent { to, term: head.term, last, bytes });
    }

    /// To a witness, that there is a snapshot is all of it.
    fn send_snapshot_to_witness(&mut self, to: NodeId, term: Term, actions: &mut Vec<Action>) {
        let newest = self.snapshots.newest.clone().filter(|_| self.links.reaches(to));
        let outcome = match newest {
            Some(SnapshotMeta { last, membership }) => {
                let (leader, membership) = (self.raft.id(), Box::new(membership));
                let message = Message::InstallSnapshot { term, leader, last, membership };
                self.links.send(to, &PeerFrame::Raft(message), actions);
                SnapshotOutcome::Delivered
            }
            None => SnapshotOutcome::Failed,
        };
        self.inputs.push_back(Input::SnapshotSent { to, term, outcome });
    }

    pub(crate) fn log_read(&mut self, purpose: ReadPurpose) -> u64 {
        self.next_log_read += 1;
        self.log_reads.insert(self.next_log_read, purpose);
        self.next_log_read
    }
}

/// One message with entries; to a witness, of most of them only their positions.
fn encode<'a>(
    group: GroupId,
    head: AppendHead,
    entries: impl Iterator<Item = &'a Entry> + Clone,
    witness: bool,
) -> Vec<Bytes> {
    if !witness {
        return head.encode(group, entries);
    }
    let bare: Vec<Entry> = entries.map(Entry::for_witness).collect();
    head.encode(group, bare.iter())
}
