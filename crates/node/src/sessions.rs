//! Client sessions: what makes "applied at most once" true (thesis §6.3).
//!
//! Part of the replicated state: every member holds the same table after the
//! same entry, and it travels in snapshots (as the sidecar). A session has a
//! window of sequence numbers; what is below `lowest` was answered and is never
//! applied again, what is in the window is remembered with its reply. A session
//! ends when its member opens another: by an entry, never by a clock.
//!
//! Replies are bounded in bytes. Past the bound those of the session that holds
//! most are let go, oldest first; that such a command was applied is remembered,
//! so it is not applied again. Entries reach the machine in batches that differ
//! from member to member, and a batch is judged before its replies are known. So
//! that the table does not differ, everything that moves it is done in log order
//! once they are (see [`Sessions::settle`]), but for the opening of a session,
//! which begins a batch.

use crate::envelope::{Envelope, OpenSession, SessionId};
use bytes::{BufMut, Bytes, BytesMut};
use driftless_codec::wire::{DecodeError, Reader, put_bytes};
use driftless_raft::{NodeId, Position};
use std::collections::{BTreeMap, VecDeque};

/// How far a sequence number may be ahead of the lowest unanswered one.
pub(crate) const WINDOW_MAX: u64 = 1 << 17;
/// A reply longer than this is not kept: a retry after it was applied learns
/// that it was applied, not what the reply was.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// All replies together, in bytes. Past it so many are let go that an eighth is
/// free. Members must agree on it: it is part of the replicated state.
const REPLIES_BYTES_MAX: usize = 32 << 20;

/// What is known of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    /// Never seen.
    Empty,
    /// Applied, with this reply.
    Done(Bytes),
    /// Applied; the reply was too long to keep, or was let go.
    DoneUnkept,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    node: NodeId,
    boot: u64,
    lowest: u64,
    /// As `lowest` will be once the batch under way is settled.
    lowest_judged: u64,
    /// What is fresh in the batch under way, ascending.
    applying: Vec<u64>,
    /// The slots of `lowest`, `lowest + 1`, …
    window: VecDeque<Slot>,
    /// Of the replies in `window`.
    reply_bytes: usize,
}

/// A command that the log holds, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) position: Position,
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    /// Its sender's lowest unanswered request.
    lowest: u64,
    /// Whether the machine applies it, and makes a reply.
    pub(crate) is_fresh: bool,
}

/// What to do with a command that the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new: apply it.
    Fresh(Judged),
    /// It was applied before, or is being applied, or was answered.
    Duplicate(Judged),
    /// Its session is not (or no longer) open: it must not be applied.
    NoSession,
}

/// What the table knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not applied.
    NotApplied,
    /// It was, and this is the reply.
    Reply(Bytes),
    /// It was; the reply was not kept.
    ReplyLost,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    table: BTreeMap<SessionId, Session>,
    /// Of all replies.
    reply_bytes: usize,
}

impl Sessions {
    /// The entry at `index` opens a session. Answers its id, or the id of the
    /// one that the same request opened before.
    pub(crate) fn open(&mut self, index: u64, open: OpenSession) -> SessionId {
        let same = |session: &Session| session.node == open.node && session.boot == open.boot;
        if let Some((id, _)) = self.table.iter().find(|(_, session)| same(session)) {
            return *id;
        }
        self.table.retain(|_, session| session.node != open.node);
        self.reply_bytes = self.table.values().map(|session| session.reply_bytes).sum();
        let id = SessionId(index);
        self.table.insert(id, Session::new(open.node, open.boot, 0));
        id
    }

    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.table.contains_key(&id)
    }

    /// Judges the next command of the log.
    pub(crate) fn admit(&mut self, position: Position, envelope: &Envelope) -> Admission {
        let &Envelope { session: id, sequence, lowest, .. } = envelope;
        let Some(session) = self.table.get_mut(&id) else { return Admission::NoSession };
        session.lowest_judged = session.lowest_judged.max(lowest);
        if sequence >= session.lowest_judged.saturating_add(WINDOW_MAX) {
            return Admission::NoSession;
        }
        let is_fresh = session.meet(sequence);
        let judged = Judged { position, session: id, sequence, lowest, is_fresh };
        if is_fresh { Admission::Fresh(judged) } else { Admission::Duplicate(judged) }
    }

    /// Takes in what came of a batch: a reply for each command that was fresh.
    pub(crate) fn settle(&mut self, batch: &[Judged], replies: &[Bytes]) {
        let mut replies = replies.iter();
        // Mostly one session after another has a stretch of the batch.
        let mut batch = batch.iter().peekable();
        while let Some(first) = batch.next() {
            let Some(session) = self.table.get_mut(&first.session) else {
                if first.is_fresh {
                    replies.next();
                }
                continue;
            };
            let elsewhere = self.reply_bytes - session.reply_bytes;
            let mut next = Some(first);
            while let Some(judged) = next {
                session.advance(judged.lowest);
                if judged.is_fresh
                    && let Some(reply) = replies.next()
                {
                    session.record(judged.sequence, reply);
                }
                self.reply_bytes = elsewhere + session.reply_bytes;
                let is_full = self.reply_bytes > REPLIES_BYTES_MAX;
                next = batch.next_if(|next| !is_full && next.session == first.session);
            }
            if self.reply_bytes > REPLIES_BYTES_MAX {
                self.let_go();
            }
        }
        for session in self.table.values_mut() {
            session.applying.clear();
        }
    }

    /// There are too many bytes of replies.
    fn let_go(&mut self) {
        let bytes_max = REPLIES_BYTES_MAX - REPLIES_BYTES_MAX / 8;
        while self.reply_bytes > bytes_max {
            let held = |session: &Session| session.reply_bytes;
            let most = self.table.values().map(held).max().unwrap_or(0);
            let Some(session) = self.table.values_mut().find(|session| held(session) == most)
            else {
                return;
            };
            self.reply_bytes -= session.let_go(self.reply_bytes - bytes_max);
        }
    }

    /// What became of a request of an open session.
    pub(crate) fn outcome(&self, id: SessionId, sequence: u64) -> Outcome {
        let slot = self.table.get(&id).and_then(|session| {
            let at = sequence.checked_sub(session.lowest)?;
            session.window.get(at as usize)
        });
        match slot {
            None | Some(Slot::Empty) => Outcome::NotApplied,
            Some(Slot::Done(reply)) => Outcome::Reply(reply.clone()),
            Some(Slot::DoneUnkept) => Outcome::ReplyLost,
        }
    }

    /// The table as bytes.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.table.len() as u32);
        for (id, session) in &self.table {
            out.put_u64_le(id.0);
            out.put_u64_le(session.node.0);
            out.put_u64_le(session.boot);
            out.put_u64_le(session.lowest);
            out.put_u32_le(session.window.len() as u32);
            for slot in &session.window {
                match slot {
                    Slot::Empty => out.put_u8(0),
                    Slot::DoneUnkept => out.put_u8(1),
                    Slot::Done(reply) => {
                        out.put_u8(2);
                        put_bytes(out, reply);
                    }
                }
            }
        }
    }

    /// Reads what [`Sessions::put`] wrote.
    pub(crate) fn take(reader: &mut Reader) -> Result<Self, DecodeError> {
        let (mut table, mut reply_bytes) = (BTreeMap::new(), 0);
        for _ in 0..reader.count(36, "the number of sessions")? {
            let id = SessionId(reader.u64("a session")?);
            let node = NodeId(reader.u64("a session's member")?);
            let boot = reader.u64("a session's boot")?;
            let lowest = reader.u64("a session's lowest unanswered")?;
            let count = reader.count(1, "the number of replies")?;
            let mut session = Session::new(node, boot, lowest);
            session.window.reserve(count);
            for _ in 0..count {
                let slot = match reader.u8("a reply's kind")? {
                    0 => Slot::Empty,
                    1 => Slot::DoneUnkept,
                    2 => {
                        // Not a slice of the sidecar, which would keep it all alive.
                        Slot::Done(Bytes::copy_from_slice(&reader.bytes("a reply")?))
                    }
                    other => {
                        return Err(DecodeError::Invalid {
                            what: "a reply's kind",
                            value: u64::from(other),
                        });
                    }
                };
                session.reply_bytes += slot.reply_bytes();
                session.window.push_back(slot);
            }
            reply_bytes += session.reply_bytes;
            table.insert(id, session);
        }
        Ok(Self { table, reply_bytes })
    }
}

impl Slot {
    fn reply_bytes(&self) -> usize {
        if let Self::Done(reply) = self { reply.len() } else { 0 }
    }
}

impl Session {
    fn new(node: NodeId, boot: u64, lowest: u64) -> Self {
        let (applying, window) = (Vec::new(), VecDeque::new());
        Self { node, boot, lowest, lowest_judged: lowest, applying, window, reply_bytes: 0 }
    }

    /// Whether the log holds a request for the first time: it was not answered, not
    /// applied, and is not being applied.
    fn meet(&mut self, sequence: u64) -> bool {
        if sequence < self.lowest_judged {
            return false;
        }
        let slot = self.window.get((sequence - self.lowest) as usize);
        if slot.is_some_and(|slot| !matches!(slot, Slot::Empty)) {
            return false;
        }
        // Mostly they come in order.
        if self.applying.last().is_none_or(|last| *last < sequence) {
            self.applying.push(sequence);
            return true;
        }
        let Err(at) = self.applying.binary_search(&sequence) else { return false };
        self.applying.insert(at, sequence);
        true
    }

    /// What is below `lowest` was answered.
    fn advance(&mut self, lowest: u64) {
        while self.lowest < lowest {
            match self.window.pop_front() {
                Some(slot) => {
                    self.reply_bytes -= slot.reply_bytes();
                    self.lowest += 1;
                }
                None => self.lowest = lowest,
            }
        }
    }

    fn record(&mut self, sequence: u64, reply: &Bytes) {
        let Some(at) = sequence.checked_sub(self.lowest) else { return };
        let at = at as usize;
        let is_kept = reply.len() <= REPLY_BYTES_MAX;
        let slot = if is_kept { Slot::Done(reply.clone()) } else { Slot::DoneUnkept };
        self.reply_bytes += slot.reply_bytes();
        if self.window.len() < at {
            self.window.resize(at, Slot::Empty);
        }
        match self.window.get_mut(at) {
            Some(here) => *here = slot,
            None => self.window.push_back(slot),
        }
    }

    /// Lets go of replies, oldest first, of `bytes` or a little more; says of how
    /// many.
    fn let_go(&mut self, bytes: usize) -> usize {
        let mut gone = 0;
        for slot in &mut self.window {
            if gone >= bytes {
                break;
            }
            let reply_bytes = slot.reply_bytes();
            if reply_bytes > 0 {
                *slot = Slot::DoneUnkept;
                gone += reply_bytes;
            }
        }
        self.reply_bytes -= gone;
        gone
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
