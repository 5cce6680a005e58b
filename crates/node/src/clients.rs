//! What clients of this member ask, and what becomes of it: proposed here as
//! leader, forwarded to the leader, confirmed as reads, and answered in time.

use crate::envelope::{ENVELOPE_BYTES, Envelope, OPEN_SESSION_BYTES};
use crate::node::{HOUSEKEEPING_US, Node};
use crate::payloads::unplaced;
use crate::port::{Action, Answer, ClientRequest, Report, RequestError, RequestToken};
use crate::proposals::TAKEN_MAX;
use crate::room::entry_bytes;
use bytes::Bytes;
use driftless_codec::frame::ForwardRefusal;
use driftless_codec::{Entry, EntryKind, PeerFrame};
use driftless_raft::{Input, Moment, NodeId, Role};
use std::collections::BTreeMap;

/// Commands in one forwarding frame, about.
const FORWARD_BYTES_MAX: u64 = 1 << 20;

impl Node {
    pub(crate) fn ask(
        &mut self,
        moment: Moment,
        request: ClientRequest,
        actions: &mut Vec<Action>,
    ) {
        match request {
            ClientRequest::Propose { token, .. } | ClientRequest::Read { token, .. }
                if self.is_witness() =>
            {
                refuse(token, RequestError::Witness, actions);
            }
            ClientRequest::Propose { token, command, deadline } => {
                let bytes = command.len();
                // One that can never wait here would be told to come again for ever.
                let may_wait = self.options.pending_bytes_max.saturating_sub(ENVELOPE_BYTES);
                let bytes_max = self.options.command_bytes_max.min(may_wait);
                let taken = if bytes > bytes_max {
                    Err(RequestError::TooLarge { bytes, bytes_max })
                } else if self.room.is_low() && self.raft.role() == Role::Leader {
                    Err(RequestError::DiskFull)
                } else {
                    self.proposals.ask(token, command, deadline)
                };
                if let Err(error) = taken {
                    refuse(token, error, actions);
                }
            }
            ClientRequest::Read { token, deadline } => self.reads.ask(token, deadline),
            ClientRequest::Change { token, change, deadline } => {
                if let Err(error) = self.ask_change(token, change, deadline) {
                    refuse(token, error, actions);
                }
            }
            ClientRequest::Transfer { token, to, deadline } => {
                if let Err(error) = self.ask_transfer(moment, token, to, deadline, actions) {
                    refuse(token, error, actions);
                }
            }
        }
    }

    /// As leader: everything that waits is proposed, as far as the log has room for
    /// it now.
    pub(crate) fn propose(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        while self.propose_some(moment, actions) {}
    }

    /// Makes one proposal of what waits; says whether it came to be as large as one
    /// should be, so that more may wait.
    fn propose_some(&mut self, moment: Moment, actions: &mut Vec<Action>) -> bool {
        if self.forwarded.is_empty() && !self.proposals.is_waiting() {
            return false;
        }
        if self.has_no_room(moment.now) {
            let answers = self.proposals.refuse_unsent(RequestError::DiskFull);
            refuse_all(answers, actions);
            self.refuse_forwarded(ForwardRefusal::DiskFull, actions);
            return false;
        }
        if self.payloads.unapplied_bytes() > self.options.pending_bytes_max {
            self.refuse_forwarded(ForwardRefusal::Busy, actions);
            return false;
        }
        let mut free = self.room.free();
        let mut entries: Vec<Entry> = Vec::new();
        if free >= entry_bytes(OPEN_SESSION_BYTES)
            && let Some(open) = self.proposals.open_session(moment.now)
        {
            free -= entry_bytes(open.len());
            entries.push(unplaced(EntryKind::Session, open));
        }
        let forwarded = self.take_forwarded(&mut free);
        entries.extend(forwarded.iter().map(|(_, kind, payload)| unplaced(*kind, payload.clone())));
        let own = self.proposals.take(free);
        let is_full = own.len() == TAKEN_MAX;
        let sequences: Vec<u64> = own.iter().map(|(sequence, _)| *sequence).collect();
        entries.extend(own.into_iter().map(|(_, payload)| unplaced(EntryKind::Command, payload)));
        self.ask_for_room(actions);
        if entries.is_empty() {
            return false;
        }
        let count = entries.len() as u64;
        self.payloads.offer(entries.into());
        self.refused = false;
        self.step(moment, Input::Propose { count }, actions);
        if self.refused {
            self.payloads.end_offer();
            self.proposals.put_back(sequences.into_iter());
            self.forwarded.splice(0..0, forwarded);
            self.refuse_forwarded(ForwardRefusal::NotLeader, actions);
        }
        is_full && !self.refused
    }

    /// What followers forwarded, as far as its entries fit in `free` bytes.
    fn take_forwarded(&mut self, free: &mut u64) -> Vec<(NodeId, EntryKind, Bytes)> {
        if self.forwarded.is_empty() {
            return Vec::new();
        }
        let fits = |(_, _, payload): &&(NodeId, EntryKind, Bytes)| {
            let bytes = entry_bytes(payload.len());
            let fits = bytes <= *free;
            *free = free.saturating_sub(bytes);
            fits
        };
        let fitting = self.forwarded.iter().take_while(fits).count();
        let waiting = self.forwarded.split_off(fitting);
        std::mem::replace(&mut self.forwarded, waiting)
    }

    /// What still waits found no room, if anything does.
    fn ask_for_room(&mut self, actions: &mut Vec<Action>) {
        let unfitting = match self.forwarded.first() {
            Some((_, _, payload)) => Some(entry_bytes(payload.len())),
            None => self.proposals.next_bytes(),
        };
        if let Some(job) = unfitting.and_then(|bytes| self.room.ask_for(bytes)) {
            actions.push(Action::Log(job));
        }
        let waiting: usize = self.forwarded.iter().map(|(_, _, payload)| payload.len()).sum();
        if waiting > self.options.pending_bytes_max {
            self.refuse_forwarded(ForwardRefusal::Busy, actions);
        }
    }

    /// As follower: everything that waits goes to the leader.
    pub(crate) fn forward(&mut self, moment: Moment, leader: NodeId, actions: &mut Vec<Action>) {
        let paused = self.proposals.paused_until.is_some_and(|until| moment.now < until);
        if !self.links.reaches(leader) || paused {
            return;
        }
        self.proposals.paused_until = None;
        if !self.is_witness()
            && let Some(open) = self.proposals.open_session(moment.now)
        {
            let frame = PeerFrame::Forward { entries: vec![(EntryKind::Session, open)] };
            self.links.send(leader, &frame, actions);
        }
        while let Some(bytes) = self.proposals.next_bytes() {
            let own = self.proposals.take(FORWARD_BYTES_MAX.max(bytes));
            if own.is_empty() {
                break;
            }
            let entries = own.into_iter().map(|(_, payload)| (EntryKind::Command, payload));
            self.links.send(leader, &PeerFrame::Forward { entries: entries.collect() }, actions);
        }
    }

    /// A follower's commands are not taken; it is told which.
    pub(crate) fn refuse_forwarded(&mut self, refusal: ForwardRefusal, actions: &mut Vec<Action>) {
        if self.forwarded.is_empty() {
            return;
        }
        let mut by_peer: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for (peer, kind, payload) in self.forwarded.drain(..) {
            if kind == EntryKind::Command
                && let Ok(envelope) = Envelope::decode(&payload)
            {
                by_peer.entry(peer).or_default().push(envelope.sequence);
            }
        }
        for (peer, sequences) in by_peer {
            self.links.send(peer, &PeerFrame::ForwardRefused { refusal, sequences }, actions);
        }
    }

    pub(crate) fn forward_refused(
        &mut self,
        moment: Moment,
        refusal: ForwardRefusal,
        sequences: &[u64],
        actions: &mut Vec<Action>,
    ) {
        let error = match refusal {
            ForwardRefusal::NotLeader => None,
            ForwardRefusal::Busy => Some(RequestError::Busy),
            ForwardRefusal::DiskFull => Some(RequestError::DiskFull),
        };
        refuse_all(self.proposals.refused(sequences, error), actions);
        self.proposals.paused_until = Some(moment.now.after(HOUSEKEEPING_US));
    }

    pub(crate) fn serve_reads(&mut self, actions: &mut Vec<Action>) {
        for token in self.reads.ready(self.applier.applied.index) {
            actions.push(Action::Answer { token, answer: Answer::ReadReady });
        }
    }

    pub(crate) fn wake(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if self.raft.deadline().is_some_and(|deadline| deadline <= moment.now) {
            self.step(moment, Input::Wake, actions);
            self.serve_reads(actions);
        }
        self.watch_disk(moment, actions);
        if self.housekeeping_at.is_some_and(|at| at <= moment.now) {
            self.housekeeping_at = None;
            self.changes.due = true;
            self.links_due = true;
            let no_answer = match self.raft.leader() {
                Some(_) => RequestError::TimedOut,
                None => RequestError::NoLeader,
            };
            refuse_all(self.proposals.expire(moment.now), actions);
            refuse_all(self.reads.expire(moment.now, no_answer), actions);
            if self.snapshots.again_at.is_some_and(|at| at <= moment.now) {
                self.snapshots.again_at = None;
                self.pump(actions);
            }
            for (to, term) in self.snapshots.silent(moment.now) {
                self.sending_failed(moment, to, term, "the follower fell silent".into(), actions);
            }
        }
    }
}

impl Node {
    /// Tells the algorithm if the disk has stopped to answer, or answers again.
    pub(crate) fn watch_disk(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if let Some(input) = self.watch.disk(moment.now) {
            let is_stalled = input == Input::DiskStalled;
            actions.push(Action::Report(Report::Disk { is_stalled }));
            self.step(moment, input, actions);
        }
    }
}

pub(crate) fn refuse(token: RequestToken, error: RequestError, actions: &mut Vec<Action>) {
    actions.push(Action::Answer { token, answer: Answer::Refused(error) });
}

pub(crate) fn refuse_all(answers: Vec<(RequestToken, RequestError)>, actions: &mut Vec<Action>) {
    for (token, error) in answers {
        refuse(token, error, actions);
    }
}
