//! Frames: how members' messages travel on a stream.
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | length of the whole frame, header included |
//! | 4 | 4 | CRC32C of everything from offset 8 |
//! | 8 | 1 | format version, [`FRAME_VERSION`] |
//! | 9 | 1 | kind |
//! | 10 | 2 | zero |
//! | 12 | 8 | group |
//! | 20 | | the body, by kind |
//!
//! All numbers are little-endian. A length is checked before a byte of the body
//! is read, a count before anything is allocated for it.

pub use crate::append::AppendHead;
pub use crate::hello::{DiskId, Hello, HelloRefusal, HelloReply, Standing};

use crate::append::{APPEND_KIND, HEAD_BYTES, decode_append, kind_of, runs_of};
use crate::change::{answer, changes, put_answer, put_changes};
use crate::entry::{Entry, EntryKind};
use crate::hello::{decode_lookup, decode_lookup_reply, encode_lookup, encode_lookup_reply};
use crate::message::{decode_message, encode_message};
use crate::wire::{DecodeError, Reader, put_membership, put_position};
use bytes::{BufMut, Bytes, BytesMut};
use driftless_raft::{
    Change, ChangeRefusal, GroupId, Index, Membership, Message, NodeId, Position, Round, Term,
};
use std::collections::BTreeMap;
use std::fmt;

/// The version of the frames that this program speaks.
pub const FRAME_VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 20;
/// The longest frame that is believed.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Payloads from this size on are shared with the frame rather than copied.
pub(crate) const SHARE_FROM_BYTES: usize = 4 << 10;
/// Room for the body of an ordinary frame.
const BODY_BYTES: usize = 96;

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The claimed length is below the header's or above [`FRAME_BYTES_MAX`].
    Length(usize),
    /// The checksum does not match: damaged on its way, or not a frame.
    Checksum,
    /// Another version of the format.
    Version(u8),
    /// The body is not what its kind says.
    Body(DecodeError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(
                f,
                "a frame claims {length} bytes (allowed: {HEADER_BYTES} to {FRAME_BYTES_MAX}); is this a peer's port?"
            ),
            Self::Checksum => f.write_str("a frame's checksum does not match"),
            Self::Version(version) => write!(
                f,
                "a frame has format version {version}, this program speaks {FRAME_VERSION}: run matching versions"
            ),
            Self::Body(error) => write!(f, "a frame's body is malformed: {error}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

/// How long the frame is that starts with `header`, at least [`HEADER_BYTES`] long.
pub fn frame_len(header: &[u8]) -> Result<usize, FrameError> {
    let Some(length) = header.first_chunk::<4>() else { return Err(FrameError::Length(0)) };
    let length = u32::from_le_bytes(*length) as usize;
    if (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        Ok(length)
    } else {
        Err(FrameError::Length(length))
    }
}

/// Why a forwarded command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ForwardRefusal {
    /// The receiver does not lead.
    NotLeader = 1,
    /// The receiver has too much in flight.
    Busy = 2,
    /// The receiver's disk is full, or those of a quorum are.
    DiskFull = 3,
}

impl ForwardRefusal {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::NotLeader,
            2 => Self::Busy,
            3 => Self::DiskFull,
            _ => return None,
        })
    }
}

/// One frame's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFrame {
    /// The first on every connection.
    Hello(Hello),
    /// Its answer.
    HelloReply(HelloReply),
    /// A message of the algorithm without entries.
    Raft(Message),
    /// [`Message::Append`] with its entries.
    Append {
        /// The leader's term.
        term: Term,
        /// The position before the first entry.
        prev_log: Position,
        /// The leader's commit index.
        leader_commit: Index,
        /// The broadcast.
        round: Round,
        /// The entries, contiguous from `prev_log.index + 1`.
        entries: Vec<Entry>,
    },
    /// Entries that a follower's clients want appended.
    Forward {
        /// Kind and payload of each.
        entries: Vec<(EntryKind, Bytes)>,
    },
    /// They were not taken, none of them.
    ForwardRefused {
        /// Why.
        refusal: ForwardRefusal,
        /// The sequence numbers of the commands refused. With none and a full disk: a
        /// follower left out entries that the receiver sent it.
        sequences: Vec<u64>,
    },
    /// A piece of a snapshot.
    SnapshotChunk {
        /// The leader's term.
        term: Term,
        /// The leader: the sender, or in whose place it sends.
        leader: NodeId,
        /// The last entry that the snapshot covers.
        last: Position,
        /// The membership as of `last`.
        membership: Membership,
        /// Whose bytes they are: two members may write one state differently.
        maker: u64,
        /// Where the piece starts.
        offset: u64,
        /// Whether it is the last.
        done: bool,
        /// The piece.
        bytes: Bytes,
    },
    /// How much of a snapshot is here.
    SnapshotAck {
        /// The receiver's term.
        term: Term,
        /// Which snapshot.
        last: Position,
        /// Bytes held; the next piece starts there.
        received: u64,
        /// Whether all is here, durably.
        done: bool,
    },
    /// A member has the leader change the members.
    AskChange {
        /// Names it in the answer.
        request: u64,
        /// What is wished for.
        changes: Vec<Change>,
        /// Whether no heed is to be paid to who is up.
        forced: bool,
    },
    /// What came of it.
    ChangeAnswer {
        /// Which.
        request: u64,
        /// Where the entry stands, or why there is none.
        answer: Result<Index, ChangeRefusal>,
    },
    /// In place of a hello: which cluster is this, and who in it goes by this address?
    Lookup {
        /// The asker's own address.
        address: String,
    },
    /// The answer, which ends the link.
    LookupReply {
        /// The cluster.
        cluster_id: u64,
        /// Who goes by the address.
        member: Option<NodeId>,
        /// The members, as the answerer has applied it.
        membership: Membership,
        /// Where they are reached.
        addresses: BTreeMap<NodeId, String>,
    },
}

impl PeerFrame {
    /// The algorithm's message in this frame, with its entries beside it.
    #[expect(clippy::result_large_err, reason = "it is the frame itself, which goes on as it is")]
    pub fn into_message(self) -> Result<(Message, Vec<Entry>), Self> {
        match self {
            Self::Raft(message) => Ok((message, Vec::new())),
            Self::Append { term, prev_log, leader_commit, round, entries } => {
                let runs = runs_of(prev_log, entries.iter());
                let memberships = entries.iter().filter_map(Entry::membership).collect();
                let message =
                    Message::Append { term, prev_log, runs, memberships, leader_commit, round };
                Ok((message, entries))
            }
            other => Err(other),
        }
    }

    /// Encodes the frame as parts to be written in order. Small payloads are
    /// copied into one buffer, large ones are shared.
    pub fn encode(&self, group: GroupId) -> Vec<Bytes> {
        if let &Self::Append { term, prev_log, leader_commit, round, ref entries } = self {
            let head = AppendHead { term, prev_log, leader_commit, round };
            return head.encode(group, entries.iter());
        }
        let mut out = Parts::new(self.copied_bytes());
        let kind = self.encode_body(&mut out);
        out.finish(kind, group)
    }

    /// How long the body is, about, without what is shared.
    fn copied_bytes(&self) -> usize {
        match self {
            Self::Forward { entries } => {
                let lengths = entries.iter().map(|(_, payload)| payload.len());
                let copied = lengths.filter(|length| *length < SHARE_FROM_BYTES).sum::<usize>();
                BODY_BYTES + entries.len() * HEAD_BYTES + copied
            }
            Self::ForwardRefused { sequences, .. } => BODY_BYTES + sequences.len() * 8,
            Self::SnapshotChunk { membership, bytes, .. } => {
                BODY_BYTES + membership.voters.len() * 8 + bytes.len().min(SHARE_FROM_BYTES)
            }
            _ => BODY_BYTES,
        }
    }

    fn encode_body(&self, parts: &mut Parts) -> u8 {
        let out = &mut parts.open;
        match self {
            Self::Hello(hello) => {
                hello.encode(out);
                1
            }
            Self::HelloReply(reply) => {
                reply.encode(out);
                2
            }
            Self::Raft(message) => {
                encode_message(message, out);
                3
            }
            Self::Append { .. } => unreachable!("encoded by its head"),
            Self::Forward { entries } => {
                out.put_u32_le(entries.len() as u32);
                for (kind, payload) in entries {
                    parts.open.put_u8(*kind as u8);
                    parts.open.put_u32_le(payload.len() as u32);
                    parts.payload(payload);
                }
                5
            }
            Self::ForwardRefused { refusal, sequences } => {
                out.put_u8(*refusal as u8);
                out.put_u32_le(sequences.len() as u32);
                for sequence in sequences {
                    out.put_u64_le(*sequence);
                }
                6
            }
            Self::SnapshotChunk { term, leader, last, membership, maker, offset, done, bytes } => {
                out.put_u64_le(term.0);
                out.put_u64_le(leader.0);
                put_position(out, *last);
                put_membership(out, membership);
                out.put_u64_le(*maker);
                out.put_u64_le(*offset);
                out.put_u8(u8::from(*done));
                out.put_u32_le(bytes.len() as u32);
                parts.payload(bytes);
                7
            }
            Self::SnapshotAck { term, last, received, done } => {
                out.put_u64_le(term.0);
                put_position(out, *last);
                out.put_u64_le(*received);
                out.put_u8(u8::from(*done));
                8
            }
            Self::AskChange { request, changes, forced } => {
                out.put_u64_le(*request);
                put_changes(out, changes);
                out.put_u8(u8::from(*forced));
                9
            }
            Self::ChangeAnswer { request, answer } => {
                out.put_u64_le(*request);
                put_answer(out, *answer);
                10
            }
            Self::Lookup { address } => {
                encode_lookup(out, address);
                11
            }
            Self::LookupReply { cluster_id, member, membership, addresses } => {
                encode_lookup_reply(out, *cluster_id, *member, membership, addresses);
                12
            }
        }
    }

    /// Decodes a whole frame, header included.
    pub fn decode(frame: &Bytes) -> Result<(GroupId, Self), FrameError> {
        let length = frame_len(frame)?;
        if length != frame.len() || frame.len() < HEADER_BYTES {
            return Err(FrameError::Length(frame.len()));
        }
        let mut reader = Reader::new(frame.slice(4..));
        let checksum = reader.u32("the checksum")?;
        if crc32c::crc32c(&frame[8..]) != checksum {
            return Err(FrameError::Checksum);
        }
        let version = reader.u8("the version")?;
        if version != FRAME_VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = reader.u8("the kind")?;
        reader.u16("the reserved field")?;
        let group = GroupId(reader.u64("the group")?);
        let frame = Self::decode_body(kind, &mut reader)?;
        reader.end()?;
        Ok((group, frame))
    }

    fn decode_body(kind: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Hello(Hello::decode(reader)?),
            2 => Self::HelloReply(HelloReply::decode(reader)?),
            3 => Self::Raft(decode_message(reader)?),
            APPEND_KIND => decode_append(reader)?,
            5 => {
                let count = reader.count(5, "the number of commands")?;
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    let kind = entry_kind(reader)?;
                    entries.push((kind, reader.bytes("a command")?));
                }
                Self::Forward { entries }
            }
            6 => {
                let byte = reader.u8("the refusal")?;
                let refusal = ForwardRefusal::from_byte(byte)
                    .ok_or(DecodeError::Invalid { what: "the refusal", value: u64::from(byte) })?;
                let count = reader.count(8, "the number of sequence numbers")?;
                let sequences = (0..count)
                    .map(|_| reader.u64("a sequence number"))
                    .collect::<Result<_, _>>()?;
                Self::ForwardRefused { refusal, sequences }
            }
            7 => Self::SnapshotChunk {
                term: Term(reader.u64("the term")?),
                leader: NodeId(reader.u64("the leader")?),
                last: reader.position("the snapshot's last entry")?,
                membership: reader.membership("the membership")?,
                maker: reader.u64("the maker")?,
                offset: reader.u64("the offset")?,
                done: reader.bool("the end mark")?,
                bytes: reader.bytes("the piece")?,
            },
            8 => Self::SnapshotAck {
                term: Term(reader.u64("the term")?),
                last: reader.position("the snapshot's last entry")?,
                received: reader.u64("the bytes received")?,
                done: reader.bool("the end mark")?,
            },
            9 => Self::AskChange {
                request: reader.u64("the request")?,
                changes: changes(reader)?,
                forced: reader.bool("whether it is forced")?,
            },
            10 => {
                Self::ChangeAnswer { request: reader.u64("the request")?, answer: answer(reader)? }
            }
            11 => decode_lookup(reader)?,
            12 => decode_lookup_reply(reader)?,
            other => {
                return Err(DecodeError::Invalid { what: "the kind", value: u64::from(other) });
            }
        })
    }
}

fn entry_kind(reader: &mut Reader) -> Result<EntryKind, DecodeError> {
    kind_of(reader.u8("an entry's kind")?)
}

/// A frame being put together.
pub(crate) struct Parts {
    done: Vec<Bytes>,
    pub(crate) open: BytesMut,
}

impl Parts {
    /// With room for `body_bytes` that are not shared.
    pub(crate) fn new(body_bytes: usize) -> Self {
        let mut open = BytesMut::with_capacity(HEADER_BYTES + body_bytes);
        open.put_bytes(0, HEADER_BYTES);
        Self { done: Vec::new(), open }
    }

    pub(crate) fn payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARE_FROM_BYTES {
            self.open.put_slice(payload);
        } else {
            if !self.open.is_empty() {
                self.done.push(self.open.split().freeze());
            }
            self.done.push(payload.clone());
        }
    }

    pub(crate) fn finish(mut self, kind: u8, group: GroupId) -> Vec<Bytes> {
        if self.done.is_empty() {
            let mut frame = self.open;
            let length = frame.len();
            write_header(&mut frame[..HEADER_BYTES], length, kind, group);
            let checksum = crc32c::crc32c(&frame[8..]);
            frame[4..8].copy_from_slice(&checksum.to_le_bytes());
            return vec![frame.freeze()];
        }
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        let length = self.done.iter().map(Bytes::len).sum();
        // The first part holds the header and nobody else shares it yet.
        let mut head = BytesMut::from(&self.done[0][..]);
        write_header(&mut head[..HEADER_BYTES], length, kind, group);
        let checksum = self.done[1..]
            .iter()
            .fold(crc32c::crc32c(&head[8..]), |sum, part| crc32c::crc32c_append(sum, part));
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        self.done[0] = head.freeze();
        self.done
    }
}

fn write_header(header: &mut [u8], length: usize, kind: u8, group: GroupId) {
    assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes: its maker must cut before");
    header[0..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[8] = FRAME_VERSION;
    header[9] = kind;
    header[12..20].copy_from_slice(&group.0.to_le_bytes());
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
