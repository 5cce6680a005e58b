//! What the node writes around a command, so that it is applied once.

use bytes::{BufMut, Bytes, BytesMut};
use driftless_codec::wire::{DecodeError, Reader};
use driftless_raft::NodeId;

/// Names a session: the index of the entry that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// A command as it stands in the log (thesis §6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Who asks.
    pub(crate) session: SessionId,
    /// Which of its requests this is; rises by one each.
    pub(crate) sequence: u64,
    /// Its lowest request that is not yet answered: older replies may go.
    pub(crate) lowest: u64,
    /// What the machine is to apply.
    pub(crate) command: Bytes,
}

/// Bytes that the envelope adds to a command.
pub(crate) const ENVELOPE_BYTES: usize = 24;

impl Envelope {
    /// Appends an envelope with its command to `out`.
    pub(crate) fn put(
        session: SessionId,
        sequence: u64,
        lowest: u64,
        command: &[u8],
        out: &mut BytesMut,
    ) {
        out.put_u64_le(session.0);
        out.put_u64_le(sequence);
        out.put_u64_le(lowest);
        out.put_slice(command);
    }

    /// Its command shares `payload`.
    pub(crate) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let (&session, rest) = first_u64(payload, "the session")?;
        let (&sequence, rest) = first_u64(rest, "the sequence number")?;
        let (&lowest, _) = first_u64(rest, "the lowest unanswered")?;
        Ok(Self {
            session: SessionId(u64::from_le_bytes(session)),
            sequence: u64::from_le_bytes(sequence),
            lowest: u64::from_le_bytes(lowest),
            command: payload.slice(ENVELOPE_BYTES..),
        })
    }
}

/// The next eight bytes, and what follows.
fn first_u64<'a>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(&'a [u8; 8], &'a [u8]), DecodeError> {
    bytes.split_first_chunk().ok_or(DecodeError::Short { what })
}

/// The entry that opens a session: it replaces its member's older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenSession {
    /// Whose session it is.
    pub(crate) node: NodeId,
    /// A number drawn anew for each session, to tell one's own from an earlier boot's.
    pub(crate) boot: u64,
}

/// Its length in bytes.
pub(crate) const OPEN_SESSION_BYTES: usize = 16;

impl OpenSession {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(OPEN_SESSION_BYTES);
        out.put_u64_le(self.node.0);
        out.put_u64_le(self.boot);
        out.freeze()
    }

    pub(crate) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload.clone());
        let open = Self { node: NodeId(reader.u64("the member")?), boot: reader.u64("the boot")? };
        reader.end()?;
        Ok(open)
    }
}
