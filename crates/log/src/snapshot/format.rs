//! A snapshot file: a header, blocks of equal length (but the last), an end.
//! Every part bears a checksum that begins with the header's, and a block's with
//! its number too: parts of different snapshots do not verify together.

use super::{FileName, SnapshotError};
use crate::api::SnapshotMeta;
use crate::error::Damage;
use driftless_codec::membership::{membership_words, read_membership};
use driftless_raft::{GroupId, Position};

const MAGIC: &[u8; 8] = b"DRIFTsnp";
const END_MAGIC: &[u8; 8] = b"DRIFTend";
const FORMAT: u32 = 1;
/// Bytes of payload in a block.
pub(super) const BLOCK: usize = 64 << 10;
/// What comes before them: checksum and length.
pub(super) const BLOCK_HEAD: usize = 8;
const FIXED: usize = 8 + 4 + 4 + 4 * 8;
pub(super) const END_BYTES: usize = 8 + 8 + 4;

/// Of whom a snapshot file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) group: GroupId,
    pub(super) maker: u64,
    pub(super) meta: SnapshotMeta,
    /// Filled in by [`Header::encode`] and [`Header::parse`].
    pub(super) checksum: u32,
    pub(super) len: usize,
}

impl Header {
    pub(super) fn encode(group: GroupId, meta: &SnapshotMeta, maker: u64) -> (Self, Vec<u8>) {
        let members = membership_words(&meta.membership);
        let mut bytes = Vec::with_capacity(FIXED + 8 * members.len() + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(BLOCK as u32).to_le_bytes());
        let words = [group.0, maker, meta.last.term.0, meta.last.index.0];
        for word in words.into_iter().chain(members) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let header = Self { group, maker, meta: meta.clone(), checksum, len: bytes.len() };
        (header, bytes)
    }

    /// Reads the header at the start of `bytes`, all of the file or its beginning.
    pub(super) fn parse(bytes: &[u8], name: &FileName) -> Result<Self, SnapshotError> {
        let damage = || Damage { file: name.name(), offset: 0, what: "its header does not verify" };
        let word = |at: usize| {
            let word = bytes.get(at..at + 8).ok_or_else(damage)?;
            Ok::<u64, Damage>(u64::from_le_bytes(word.try_into().expect("eight bytes")))
        };
        if bytes.get(..8) != Some(MAGIC) {
            return Err(damage().into());
        }
        let (format, block) = (word(8)? as u32, (word(8)? >> 32) as usize);
        let mut end = FIXED;
        let membership = read_membership(|| {
            end += 8;
            word(end - 8).ok()
        });
        let membership = membership.ok_or_else(damage)?;
        let claimed = bytes.get(end..end + 4).ok_or_else(damage)?;
        let checksum = crc32c::crc32c(&bytes[..end]);
        if claimed != checksum.to_le_bytes() {
            return Err(damage().into());
        }
        if format > FORMAT || block != BLOCK {
            return Err(SnapshotError::NewerFormat { found: format, known: FORMAT });
        }
        let last = Position::new(word(32)?, word(40)?);
        let header = Self {
            group: GroupId(word(16)?),
            maker: word(24)?,
            meta: SnapshotMeta { last, membership },
            checksum,
            len: end + 4,
        };
        if header.group != name.group || last != name.last {
            let what = "it is another snapshot under this name";
            return Err(Damage { file: name.name(), offset: 0, what }.into());
        }
        Ok(header)
    }

    /// Where block `number` begins in the file.
    pub(super) fn block_offset(&self, number: u64) -> u64 {
        self.len as u64 + number * (BLOCK_HEAD + BLOCK) as u64
    }

    pub(super) fn block_checksum(&self, number: u64, payload: &[u8]) -> u32 {
        let mut seed = [0; 20];
        seed[..4].copy_from_slice(&self.checksum.to_le_bytes());
        seed[4..12].copy_from_slice(&number.to_le_bytes());
        seed[12..].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&seed), payload)
    }

    pub(super) fn encode_end(&self, total: u64) -> [u8; END_BYTES] {
        let mut end = [0; END_BYTES];
        end[..8].copy_from_slice(END_MAGIC);
        end[8..16].copy_from_slice(&total.to_le_bytes());
        let checksum = crc32c::crc32c_append(self.checksum, &end[..16]);
        end[16..].copy_from_slice(&checksum.to_le_bytes());
        end
    }

    /// The total length of the payload, if `end` is the end of this snapshot.
    pub(super) fn parse_end(&self, end: &[u8; END_BYTES]) -> Option<u64> {
        let total = u64::from_le_bytes(end[8..16].try_into().expect("eight bytes"));
        (self.encode_end(total) == *end).then_some(total)
    }

    /// Where the end begins in the file of a snapshot of `total` bytes.
    pub(super) fn end_offset(&self, total: u64) -> Option<u64> {
        let blocks = total.div_ceil(BLOCK as u64);
        total.checked_add(blocks.checked_mul(BLOCK_HEAD as u64)?)?.checked_add(self.len as u64)
    }
}

/// Splits a block's head into checksum and length.
pub(super) fn parse_block_head(head: [u8; BLOCK_HEAD]) -> (u32, usize) {
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    (word(0), word(4) as usize)
}
