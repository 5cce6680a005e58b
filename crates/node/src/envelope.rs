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
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(ENVELOPE_BYTES + self.command.len());
        out.put_u64_le(self.session.0);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.lowest);
        out.put_slice(&self.command);
        out.freeze()
    }

    pub(crate) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload.clone());
        Ok(Self {
            session: SessionId(reader.u64("the session")?),
            sequence: reader.u64("the sequence number")?,
            lowest: reader.u64("the lowest unanswered")?,
            command: reader.rest(),
        })
    }
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
