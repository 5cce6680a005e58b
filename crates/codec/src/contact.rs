//! Where a member is reached by its peers: the payload of an entry of kind
//! [`Contact`](crate::EntryKind), and a field of frames.

use crate::wire::{DecodeError, Reader, put_bytes};
use bytes::{BufMut, Bytes, BytesMut};
use driftless_raft::NodeId;

/// An address is no longer than this.
pub const ADDRESS_BYTES_MAX: usize = 4096;

/// Where a member is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The member.
    pub node_id: NodeId,
    /// `host:port` or a URL, or several with commas between them. It means nothing
    /// to anybody but who dials it.
    pub address: String,
}

impl Contact {
    /// The payload of its entry.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(12 + self.address.len());
        self.put(&mut out);
        out.freeze()
    }

    pub(crate) fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.node_id.0);
        put_bytes(out, self.address.as_bytes());
    }

    /// Reads what [`Contact::encode`] wrote.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload.clone());
        let contact = Self::read(&mut reader)?;
        reader.end()?;
        Ok(contact)
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let node_id = NodeId(reader.u64("the member")?);
        Ok(Self { node_id, address: reader.address("its address")? })
    }
}
