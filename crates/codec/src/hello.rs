//! The first words between two members: who calls, and whether it may go on; and
//! the question of somebody who knows no more than an address.

use crate::frame::PeerFrame;
use crate::wire::{DecodeError, Reader, put_bytes, put_membership, put_position};
use bytes::{BufMut, BytesMut};
use driftless_raft::{Membership, NodeId, Position};
use std::collections::BTreeMap;

/// "DRFT": opens every hello, so that a stranger's connection is told at once.
const MAGIC: u32 = 0x5446_5244;

/// What is behind a member's name: which data directory, and which life of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskId {
    /// The incarnation of the data directory.
    pub incarnation: u64,
    /// How often it was opened.
    pub boots: u64,
    /// What the process drew when it opened it.
    pub nonce: u64,
    /// Whether it took the place of a lost one.
    pub standing: Standing,
}

/// Whether a data directory is its member's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is, as far as it knows.
    #[default]
    First,
    /// It took the place of a lost one, and waits for the group to take it in.
    Replacement,
    /// It took the place of a lost one, and the group has taken it in.
    Readmitted {
        /// The member knows that the log is committed up to here, and that as of here
        /// no other disk was taken in after its own.
        as_of: Position,
    },
}

/// Who is calling, and whom it means to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The caller's cluster.
    pub cluster_id: u64,
    /// The caller.
    pub node_id: NodeId,
    /// What is behind its name.
    pub disk: DiskId,
    /// Whom it wants to talk to.
    pub to: NodeId,
    /// Where the caller is reached, if it knows.
    pub address: String,
    /// For how long the caller helps nobody else into office when it hears a leader, in
    /// microseconds of true time: what a leader's lease rests on. 0: it does not promise.
    pub promise_us: u64,
}

/// Why a hello was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HelloRefusal {
    /// Another cluster.
    Cluster = 1,
    /// The caller reached somebody else than it meant to.
    NotMe = 2,
    /// The caller is no member.
    NotAMember = 3,
    /// The caller is known with another data directory.
    Incarnation = 4,
    /// The caller was a member, and was removed.
    Removed = 5,
    /// The caller's data directory is an older copy of the one that it had.
    OlderDisk = 6,
    /// Too many that are no members have called already.
    Crowded = 7,
}

impl HelloRefusal {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Cluster,
            2 => Self::NotMe,
            3 => Self::NotAMember,
            4 => Self::Incarnation,
            5 => Self::Removed,
            6 => Self::OlderDisk,
            7 => Self::Crowded,
            _ => return None,
        })
    }
}

/// The answer to a [`Hello`]: who answers, and whether the caller may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloReply {
    /// The answerer's cluster.
    pub cluster_id: u64,
    /// The answerer.
    pub node_id: NodeId,
    /// What is behind its name.
    pub disk: DiskId,
    /// `None`: welcome.
    pub refusal: Option<HelloRefusal>,
}

impl Hello {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(MAGIC);
        out.put_u64_le(self.cluster_id);
        out.put_u64_le(self.node_id.0);
        put_disk(out, &self.disk);
        out.put_u64_le(self.to.0);
        put_bytes(out, self.address.as_bytes());
        out.put_u64_le(self.promise_us);
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        check_magic(reader)?;
        Ok(Self {
            cluster_id: reader.u64("the cluster")?,
            node_id: NodeId(reader.u64("the caller")?),
            disk: disk(reader)?,
            to: NodeId(reader.u64("the callee")?),
            address: reader.address("the caller's address")?,
            promise_us: reader.u64("the caller's promise")?,
        })
    }
}

impl HelloReply {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(MAGIC);
        out.put_u64_le(self.cluster_id);
        out.put_u64_le(self.node_id.0);
        put_disk(out, &self.disk);
        out.put_u8(self.refusal.map_or(0, |refusal| refusal as u8));
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        check_magic(reader)?;
        Ok(Self {
            cluster_id: reader.u64("the cluster")?,
            node_id: NodeId(reader.u64("the answerer")?),
            disk: disk(reader)?,
            refusal: match reader.u8("the refusal")? {
                0 => None,
                byte => {
                    Some(HelloRefusal::from_byte(byte).ok_or(DecodeError::Invalid {
                        what: "the refusal",
                        value: u64::from(byte),
                    })?)
                }
            },
        })
    }
}

pub(crate) fn encode_lookup(out: &mut BytesMut, address: &str) {
    out.put_u32_le(MAGIC);
    put_bytes(out, address.as_bytes());
}

pub(crate) fn decode_lookup(reader: &mut Reader) -> Result<PeerFrame, DecodeError> {
    check_magic(reader)?;
    Ok(PeerFrame::Lookup { address: reader.address("the asker's address")? })
}

pub(crate) fn encode_lookup_reply(
    out: &mut BytesMut,
    cluster_id: u64,
    member: Option<NodeId>,
    membership: &Membership,
    addresses: &BTreeMap<NodeId, String>,
) {
    out.put_u32_le(MAGIC);
    out.put_u64_le(cluster_id);
    out.put_u8(u8::from(member.is_some()));
    out.put_u64_le(member.unwrap_or_default().0);
    put_membership(out, membership);
    out.put_u32_le(addresses.len() as u32);
    for (id, address) in addresses {
        out.put_u64_le(id.0);
        put_bytes(out, address.as_bytes());
    }
}

pub(crate) fn decode_lookup_reply(reader: &mut Reader) -> Result<PeerFrame, DecodeError> {
    check_magic(reader)?;
    let cluster_id = reader.u64("the cluster")?;
    let is_known = reader.bool("whether the asker is known")?;
    let member = Some(NodeId(reader.u64("the member")?)).filter(|_| is_known);
    let membership = reader.membership("the membership")?;
    let mut addresses = BTreeMap::new();
    for _ in 0..reader.count(12, "the number of addresses")? {
        let id = NodeId(reader.u64("a member")?);
        addresses.insert(id, reader.address("a member's address")?);
    }
    Ok(PeerFrame::LookupReply { cluster_id, member, membership, addresses })
}

fn put_disk(out: &mut BytesMut, disk: &DiskId) {
    out.put_u64_le(disk.incarnation);
    out.put_u64_le(disk.boots);
    out.put_u64_le(disk.nonce);
    match disk.standing {
        Standing::First => out.put_u8(0),
        Standing::Replacement => out.put_u8(1),
        Standing::Readmitted { as_of } => {
            out.put_u8(2);
            put_position(out, as_of);
        }
    }
}

fn disk(reader: &mut Reader) -> Result<DiskId, DecodeError> {
    let incarnation = reader.u64("the incarnation")?;
    let (boots, nonce) = (reader.u64("the boots")?, reader.u64("the nonce")?);
    let standing = match reader.u8("the disk's standing")? {
        0 => Standing::First,
        1 => Standing::Replacement,
        2 => Standing::Readmitted { as_of: reader.position("as of where it was taken in")? },
        other => {
            let value = u64::from(other);
            return Err(DecodeError::Invalid { what: "the disk's standing", value });
        }
    };
    Ok(DiskId { incarnation, boots, nonce, standing })
}

fn check_magic(reader: &mut Reader) -> Result<(), DecodeError> {
    match reader.u32("the magic number")? {
        MAGIC => Ok(()),
        other => Err(DecodeError::Invalid { what: "the magic number", value: u64::from(other) }),
    }
}
