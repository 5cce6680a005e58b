//! The commands of this member's own clients, from asked to answered.
//!
//! A command waits in `queue` until it is proposed here or forwarded to the
//! leader. It is answered when *this* member applies it, wherever it was
//! proposed. Whenever it may have been lost (another leader, a broken link, a
//! refusal) it goes back to the queue and is sent again: its session and
//! sequence number make that safe.

use crate::envelope::{ENVELOPE_BYTES, Envelope, OPEN_SESSION_BYTES, OpenSession, SessionId};
use crate::port::{RequestError, RequestToken};
use crate::room;
use crate::sessions::WINDOW_MAX;
use bytes::{Bytes, BytesMut};
use driftless_raft::{NodeId, Time};
use std::collections::VecDeque;

/// An opening of the session is asked for again after this long.
const OPEN_AGAIN_US: u64 = 300_000;

/// So many commands are taken at a time. A proposal's costs are shared well among
/// fewer, and what is made for each stretch of more, in every member, would be so large
/// that the allocator maps it anew and the kernel clears it each time.
pub(crate) const TAKEN_MAX: usize = 1024;

#[derive(Debug)]
struct Pending {
    token: RequestToken,
    command: Bytes,
    deadline: Time,
    /// The session of the envelope that was last sent.
    session: Option<SessionId>,
    /// How often it was sent, to a leader or into our own log.
    sent: u32,
    queued: bool,
}

impl Pending {
    fn entry_bytes(&self) -> u64 {
        room::entry_bytes(self.command.len() + ENVELOPE_BYTES)
    }
}

#[derive(Debug)]
pub(crate) struct Proposals {
    node: NodeId,
    boot: u64,
    session: Option<SessionId>,
    open_asked: Option<Time>,
    /// Unanswered requests; the first has sequence number `lowest`.
    pending: VecDeque<Option<Pending>>,
    lowest: u64,
    queue: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
    /// Nothing is sent before this time: somebody asked us to wait.
    pub(crate) paused_until: Option<Time>,
}

impl Proposals {
    pub(crate) fn new(node: NodeId, boot: u64, bytes_max: usize) -> Self {
        Self {
            node,
            boot,
            session: None,
            open_asked: None,
            pending: VecDeque::new(),
            // Sequence numbers of two boots do not meet: what a leader says of the
            // one is not taken to be about the other.
            lowest: boot >> 8,
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
            paused_until: None,
        }
    }

    /// Takes a client's command, or says why not.
    pub(crate) fn ask(
        &mut self,
        token: RequestToken,
        command: Bytes,
        deadline: Time,
    ) -> Result<(), RequestError> {
        let bytes = command.len() + ENVELOPE_BYTES;
        if self.bytes + bytes > self.bytes_max || self.pending.len() as u64 >= WINDOW_MAX {
            return Err(RequestError::Busy);
        }
        self.bytes += bytes;
        let sequence = self.lowest + self.pending.len() as u64;
        self.pending.push_back(Some(Pending {
            token,
            command,
            deadline,
            session: None,
            sent: 0,
            queued: true,
        }));
        self.queue.push_back(sequence);
        Ok(())
    }

    /// The request to open a session, where one is needed and none is on its way.
    pub(crate) fn open_session(&mut self, now: Time) -> Option<Bytes> {
        let asked_lately = self.open_asked.is_some_and(|asked| now.since(asked) < OPEN_AGAIN_US);
        if self.session.is_some() || asked_lately {
            return None;
        }
        self.open_asked = Some(now);
        Some(OpenSession { node: self.node, boot: self.boot }.encode())
    }

    /// A session of this member was opened by the log.
    pub(crate) fn opened(&mut self, id: SessionId, open: OpenSession) {
        if open.node != self.node {
            return;
        }
        if open.boot == self.boot {
            self.session = Some(id);
        } else if self.session.is_some_and(|ours| ours < id) {
            // An earlier boot's request, come late, has ended our session.
            self.reopen();
        }
    }

    /// Our session is gone: what was in flight under it can no longer be
    /// applied, and is sent again under another.
    fn reopen(&mut self) {
        self.boot = self.boot.wrapping_add(1);
        self.session = None;
        self.open_asked = None;
        self.requeue_all();
    }

    /// Our session is gone, and nobody knows what was applied under it: what was
    /// never sent waits for another session, what was may have been applied.
    pub(crate) fn session_lost(&mut self) -> Vec<(RequestToken, RequestError)> {
        let mut answers = Vec::new();
        for sequence in self.unanswered() {
            if let Some(pending) = self.pending_mut(sequence)
                && pending.sent > 0
            {
                answers.push((pending.token, RequestError::SessionLost));
                self.remove(sequence);
            }
        }
        self.reopen();
        answers
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether there may be something to send: a command, or the opening of a session.
    pub(crate) fn is_waiting(&self) -> bool {
        self.session.is_none() || !self.queue.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes what waits, oldest first, as payloads: [`TAKEN_MAX`] entries, of
    /// `bytes_max`, at most.
    pub(crate) fn take(&mut self, bytes_max: u64) -> Vec<(u64, Bytes)> {
        let Some(session) = self.session else { return Vec::new() };
        let mut sequences = Vec::with_capacity(self.queue.len().min(TAKEN_MAX));
        let (mut bytes, mut bytes_left) = (0, bytes_max);
        while sequences.len() < TAKEN_MAX
            && let Some(sequence) = self.queue.pop_front()
        {
            let Some(pending) = self.pending_mut(sequence) else { continue };
            let entry_bytes = pending.entry_bytes();
            if entry_bytes > bytes_left {
                self.queue.push_front(sequence);
                break;
            }
            bytes_left -= entry_bytes;
            bytes += ENVELOPE_BYTES + pending.command.len();
            sequences.push(sequence);
        }
        // All of them in one buffer: they live and go together.
        let lowest = self.lowest;
        let mut out = BytesMut::with_capacity(bytes);
        for &sequence in &sequences {
            let pending = self.pending_mut(sequence).expect("it was just seen");
            pending.queued = false;
            pending.sent += 1;
            pending.session = Some(session);
            Envelope::put(session, sequence, lowest, &pending.command, &mut out);
        }
        let mut rest = out.freeze();
        let mut payload = |sequence| {
            let pending = self.pending_mut(sequence).expect("it was just seen");
            (sequence, rest.split_to(ENVELOPE_BYTES + pending.command.len()))
        };
        sequences.into_iter().map(&mut payload).collect()
    }

    /// What comes next, if something waits, takes as an entry: the opening of the
    /// session, or else the command that [`Proposals::take`] would give first.
    pub(crate) fn next_bytes(&mut self) -> Option<u64> {
        if self.session.is_none() {
            return Some(room::entry_bytes(OPEN_SESSION_BYTES));
        }
        while let Some(&sequence) = self.queue.front() {
            if let Some(pending) = self.pending_mut(sequence) {
                return Some(pending.entry_bytes());
            }
            self.queue.pop_front();
        }
        None
    }

    /// Puts back what [`Proposals::take`] gave and nobody saw.
    pub(crate) fn put_back(&mut self, sequences: impl DoubleEndedIterator<Item = u64>) {
        for sequence in sequences.rev() {
            if let Some(pending) = self.pending_mut(sequence) {
                pending.sent -= 1;
                pending.queued = true;
                self.queue.push_front(sequence);
            }
        }
    }

    /// Whatever is unanswered and not queued may have been lost: send it again.
    pub(crate) fn requeue_all(&mut self) {
        self.queue.clear();
        self.open_asked = None;
        self.paused_until = None;
        for (at, pending) in self.pending.iter_mut().enumerate() {
            if let Some(pending) = pending {
                pending.queued = true;
                self.queue.push_back(self.lowest + at as u64);
            }
        }
    }

    /// The leader refused these. A refusal is final (`Some(error)`) only for a
    /// command that was never sent before: others may be in some log already.
    pub(crate) fn refused(
        &mut self,
        sequences: &[u64],
        error: Option<RequestError>,
    ) -> Vec<(RequestToken, RequestError)> {
        let mut answers = Vec::new();
        for &sequence in sequences {
            let Some(pending) = self.pending_mut(sequence) else { continue };
            match error {
                Some(error) if pending.sent == 1 => {
                    answers.push((pending.token, error));
                    self.remove(sequence);
                }
                _ if !pending.queued => {
                    pending.queued = true;
                    self.queue.push_back(sequence);
                }
                _ => {}
            }
        }
        answers
    }

    /// Everything that waits and was never sent is refused with `error`.
    pub(crate) fn refuse_unsent(
        &mut self,
        error: RequestError,
    ) -> Vec<(RequestToken, RequestError)> {
        let mut answers = Vec::new();
        for sequence in std::mem::take(&mut self.queue) {
            let Some(pending) = self.pending_mut(sequence) else { continue };
            if pending.sent == 0 {
                answers.push((pending.token, error));
                self.remove(sequence);
            } else {
                self.queue.push_back(sequence);
            }
        }
        answers
    }

    /// This member applied a command of ours: whom to answer, if nobody was yet.
    pub(crate) fn applied(&mut self, session: SessionId, sequence: u64) -> Option<RequestToken> {
        if self.session != Some(session) {
            return None;
        }
        let token = self.pending_mut(sequence)?.token;
        self.remove(sequence);
        Some(token)
    }

    /// The log holds a command of ours that was not applied, its session being
    /// closed: it never will be, so it is safe under a new one.
    pub(crate) fn rejected(&mut self, session: SessionId, sequence: u64) {
        let Some(pending) = self.pending_mut(sequence) else { return };
        if pending.session == Some(session) && !pending.queued {
            pending.queued = true;
            self.queue.push_back(sequence);
        }
    }

    /// The sequence numbers that are unanswered now.
    pub(crate) fn unanswered(&self) -> Vec<u64> {
        let numbered = self.pending.iter().zip(self.lowest..);
        numbered.filter_map(|(pending, sequence)| pending.as_ref().map(|_| sequence)).collect()
    }

    /// Those whose deadline has come.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<(RequestToken, RequestError)> {
        let mut answers = Vec::new();
        for sequence in self.unanswered() {
            let Some(pending) = self.pending_mut(sequence) else { continue };
            if pending.deadline <= now {
                let never_sent = pending.sent == 0;
                let error =
                    if never_sent { RequestError::NoLeader } else { RequestError::TimedOut };
                answers.push((pending.token, error));
                self.remove(sequence);
            }
        }
        answers
    }

    /// Answers everything with `error`, at the end.
    pub(crate) fn stop(&mut self, error: RequestError) -> Vec<(RequestToken, RequestError)> {
        self.queue.clear();
        self.bytes = 0;
        self.lowest += self.pending.len() as u64;
        self.pending.drain(..).flatten().map(|pending| (pending.token, error)).collect()
    }

    fn pending_mut(&mut self, sequence: u64) -> Option<&mut Pending> {
        let at = sequence.checked_sub(self.lowest)?;
        self.pending.get_mut(at as usize)?.as_mut()
    }

    fn remove(&mut self, sequence: u64) {
        let Some(at) = sequence.checked_sub(self.lowest) else { return };
        if let Some(slot) = self.pending.get_mut(at as usize)
            && let Some(pending) = slot.take()
        {
            self.bytes -= pending.command.len() + ENVELOPE_BYTES;
        }
        while self.pending.front().is_some_and(Option::is_none) {
            self.pending.pop_front();
            self.lowest += 1;
        }
    }
}

#[cfg(test)]
#[path = "proposals_tests.rs"]
mod tests;
