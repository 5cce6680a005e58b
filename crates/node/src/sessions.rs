//! Client sessions: what makes "applied at most once" true (thesis §6.3).
//!
//! Part of the replicated state: every member holds the same table after the
//! same entry, and it travels in snapshots (as the sidecar). A session has a
//! window of sequence numbers; what is below `lowest` was answered and is never
//! applied again, what is in the window is remembered with its reply. A session
//! ends when its member opens another: by an entry, never by a clock.

use crate::envelope::{Envelope, OpenSession, SessionId};
use bytes::{BufMut, Bytes, BytesMut};
use driftless_codec::wire::{DecodeError, Reader, put_bytes};
use driftless_raft::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// How far a sequence number may be ahead of the lowest unanswered one.
pub(crate) const WINDOW_MAX: u64 = 1 << 17;
/// A reply longer than this is not kept: a retry after it was applied learns
/// that it was applied, not what the reply was.
const REPLY_BYTES_MAX: usize = 64 << 10;
const SIDECAR_VERSION: u8 = 1;

/// What is known of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    /// Never seen.
    Empty,
    /// Handed to the machine; the reply is on its way.
    Applying,
    /// Applied, with this reply.
    Done(Bytes),
    /// Applied, with a reply too long to keep.
    DoneUnkept,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    node: NodeId,
    boot: u64,
    lowest: u64,
    /// The slots of `lowest`, `lowest + 1`, …
    window: VecDeque<Slot>,
}

/// What to do with a command that the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new: apply it, then call [`Sessions::record`].
    Fresh,
    /// It was applied before; the reply, if it is there and was kept.
    Duplicate(Option<Bytes>),
    /// Its session is not (or no longer) open: it must not be applied.
    NoSession,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    table: BTreeMap<SessionId, Session>,
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
        let id = SessionId(index);
        self.table.insert(
            id,
            Session { node: open.node, boot: open.boot, lowest: 0, window: VecDeque::new() },
        );
        id
    }

    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.table.contains_key(&id)
    }

    /// Judges the next command of the log.
    pub(crate) fn admit(&mut self, envelope: &Envelope) -> Admission {
        let Some(session) = self.table.get_mut(&envelope.session) else {
            return Admission::NoSession;
        };
        while session.lowest < envelope.lowest {
            if session.window.pop_front().is_none() {
                session.lowest = envelope.lowest;
            } else {
                session.lowest += 1;
            }
        }
        let Some(at) = envelope.sequence.checked_sub(session.lowest) else {
            return Admission::Duplicate(None);
        };
        if at >= WINDOW_MAX {
            return Admission::NoSession;
        }
        let at = at as usize;
        if session.window.len() <= at {
            session.window.resize(at + 1, Slot::Empty);
        }
        match &session.window[at] {
            Slot::Empty => {
                session.window[at] = Slot::Applying;
                Admission::Fresh
            }
            Slot::Applying | Slot::DoneUnkept => Admission::Duplicate(None),
            Slot::Done(reply) => Admission::Duplicate(Some(reply.clone())),
        }
    }

    /// The machine's reply to a command that was `Fresh`.
    pub(crate) fn record(&mut self, id: SessionId, sequence: u64, reply: &Bytes) {
        let Some(session) = self.table.get_mut(&id) else { return };
        let Some(at) = sequence.checked_sub(session.lowest) else { return };
        if let Some(slot) = session.window.get_mut(at as usize) {
            *slot = if reply.len() <= REPLY_BYTES_MAX {
                Slot::Done(reply.clone())
            } else {
                Slot::DoneUnkept
            };
        }
    }

    /// The reply to a request that was applied, if it was kept.
    pub(crate) fn reply(&self, id: SessionId, sequence: u64) -> Option<Bytes> {
        let session = self.table.get(&id)?;
        let at = sequence.checked_sub(session.lowest)?;
        match session.window.get(at as usize)? {
            Slot::Empty | Slot::Applying | Slot::DoneUnkept => None,
            Slot::Done(reply) => Some(reply.clone()),
        }
    }

    /// The table as bytes, for a snapshot. No apply may be under way.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(SIDECAR_VERSION);
        out.put_u32_le(self.table.len() as u32);
        for (id, session) in &self.table {
            out.put_u64_le(id.0);
            out.put_u64_le(session.node.0);
            out.put_u64_le(session.boot);
            out.put_u64_le(session.lowest);
            out.put_u32_le(session.window.len() as u32);
            for slot in &session.window {
                match slot {
                    Slot::Empty | Slot::Applying => out.put_u8(0),
                    Slot::DoneUnkept => out.put_u8(1),
                    Slot::Done(reply) => {
                        out.put_u8(2);
                        put_bytes(&mut out, reply);
                    }
                }
            }
        }
        out.freeze()
    }

    /// Reads what [`Sessions::encode`] wrote; nothing at all is an empty table.
    pub(crate) fn decode(sidecar: &Bytes) -> Result<Self, DecodeError> {
        let mut table = BTreeMap::new();
        if sidecar.is_empty() {
            return Ok(Self { table });
        }
        let mut reader = Reader::new(sidecar.clone());
        let version = reader.u8("the version of the session table")?;
        if version != SIDECAR_VERSION {
            return Err(DecodeError::Invalid {
                what: "the version of the session table",
                value: u64::from(version),
            });
        }
        for _ in 0..reader.count(36, "the number of sessions")? {
            let id = SessionId(reader.u64("a session")?);
            let node = NodeId(reader.u64("a session's member")?);
            let boot = reader.u64("a session's boot")?;
            let lowest = reader.u64("a session's lowest unanswered")?;
            let count = reader.count(1, "the number of replies")?;
            let mut window = VecDeque::with_capacity(count);
            for _ in 0..count {
                window.push_back(match reader.u8("a reply's kind")? {
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
                });
            }
            table.insert(id, Session { node, boot, lowest, window });
        }
        reader.end()?;
        Ok(Self { table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(session: SessionId, sequence: u64, lowest: u64) -> Envelope {
        Envelope { session, sequence, lowest, command: Bytes::new() }
    }

    #[test]
    fn a_command_is_fresh_once_and_its_reply_is_kept_until_answered() {
        let mut sessions = Sessions::default();
        let id = sessions.open(10, OpenSession { node: NodeId(1), boot: 7 });
        let reply = Bytes::from_static(b"ok");
        assert_eq!(sessions.admit(&envelope(id, 3, 0)), Admission::Fresh);
        assert_eq!(sessions.admit(&envelope(id, 3, 0)), Admission::Duplicate(None), "applying");
        assert_eq!(sessions.reply(id, 3), None);
        sessions.record(id, 3, &reply);
        assert_eq!(sessions.admit(&envelope(id, 3, 0)), Admission::Duplicate(Some(reply.clone())));
        assert_eq!(sessions.admit(&envelope(id, 1, 0)), Admission::Fresh, "out of order");
        assert_eq!(sessions.reply(id, 3), Some(reply));

        assert_eq!(sessions.admit(&envelope(id, 9, 4)), Admission::Fresh);
        assert_eq!(sessions.admit(&envelope(id, 3, 0)), Admission::Duplicate(None), "answered");
        assert_eq!(sessions.admit(&envelope(id, 4 + WINDOW_MAX, 4)), Admission::NoSession);
    }

    #[test]
    fn a_new_boot_ends_the_old_session_and_an_echo_of_it_does_nothing() {
        let mut sessions = Sessions::default();
        let first = OpenSession { node: NodeId(1), boot: 7 };
        let old = sessions.open(10, first);
        assert_eq!(sessions.open(11, first), old, "the same request, twice in the log");
        let other = sessions.open(12, OpenSession { node: NodeId(2), boot: 7 });
        let new = sessions.open(13, OpenSession { node: NodeId(1), boot: 8 });
        assert_eq!(sessions.admit(&envelope(old, 0, 0)), Admission::NoSession);
        assert_eq!(sessions.admit(&envelope(new, 0, 0)), Admission::Fresh);
        assert_eq!(sessions.admit(&envelope(other, 0, 0)), Admission::Fresh);
    }

    #[test]
    fn the_table_travels_and_every_cut_or_changed_byte_is_an_error_or_a_table() {
        let mut sessions = Sessions::default();
        let id = sessions.open(10, OpenSession { node: NodeId(1), boot: 7 });
        for (sequence, size) in [(2, 3), (4, REPLY_BYTES_MAX + 1), (5, 0)] {
            assert_eq!(sessions.admit(&envelope(id, sequence, 1)), Admission::Fresh);
            sessions.record(id, sequence, &Bytes::from(vec![1; size]));
        }
        let bytes = sessions.encode();
        assert_eq!(Sessions::decode(&bytes), Ok(sessions));
        for length in 1..bytes.len() {
            assert!(Sessions::decode(&bytes.slice(..length)).is_err());
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0xff;
            drop(Sessions::decode(&Bytes::from(bad)));
        }
        assert_eq!(Sessions::decode(&Bytes::new()), Ok(Sessions::default()));
    }
}
