//! Little-endian reading that checks before it believes, and writing to match.

use crate::contact::ADDRESS_BYTES_MAX;
use crate::membership::{membership_words, read_membership};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use driftless_raft::{Index, Membership, Position, Term};
use std::fmt;

/// What was read is not what the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside of `what`.
    Short {
        /// The field.
        what: &'static str,
    },
    /// `what` has a value that it cannot have.
    Invalid {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Bytes are left over behind the end.
    Trailing {
        /// How many.
        bytes: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { what } => write!(f, "it ends inside of {what}"),
            Self::Invalid { what, value } => write!(f, "{what} cannot be {value}"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes are left over behind its end"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads fields off the front of a shared buffer; byte strings share it.
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn need(&self, bytes: usize, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.len() < bytes { Err(DecodeError::Short { what }) } else { Ok(()) }
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.need(1, what)?;
        Ok(self.rest.get_u8())
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Invalid { what, value: u64::from(other) }),
        }
    }

    /// Two bytes.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.need(2, what)?;
        Ok(self.rest.get_u16_le())
    }

    /// Four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.need(4, what)?;
        Ok(self.rest.get_u32_le())
    }

    /// Eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.need(8, what)?;
        Ok(self.rest.get_u64_le())
    }

    /// A term and an index.
    pub fn position(&mut self, what: &'static str) -> Result<Position, DecodeError> {
        Ok(Position { term: Term(self.u64(what)?), index: Index(self.u64(what)?) })
    }

    /// A count of things that take at least `each` bytes: more than could
    /// follow is refused before anything is allocated.
    pub fn count(&mut self, each: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.u32(what)? as usize;
        if count.saturating_mul(each) > self.rest.len() {
            return Err(DecodeError::Invalid { what, value: count as u64 });
        }
        Ok(count)
    }

    /// Exactly `len` bytes, shared.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        self.need(len, what)?;
        Ok(self.rest.split_to(len))
    }

    /// A length and that many bytes, shared.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.u32(what)? as usize;
        self.take(len, what)
    }

    /// An address: text of bounded length.
    pub fn address(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(what)?;
        let invalid = DecodeError::Invalid { what, value: bytes.len() as u64 };
        if bytes.len() > ADDRESS_BYTES_MAX {
            return Err(invalid);
        }
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| invalid)
    }

    /// A membership.
    pub fn membership(&mut self, what: &'static str) -> Result<Membership, DecodeError> {
        let value = self.rest.len() as u64;
        let invalid = DecodeError::Invalid { what, value };
        read_membership(|| self.u64(what).ok()).ok_or(invalid)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len())
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}

/// Appends a term and an index.
pub fn put_position(out: &mut BytesMut, position: Position) {
    out.put_u64_le(position.term.0);
    out.put_u64_le(position.index.0);
}

/// Appends a membership, as [`Reader::membership`] reads it.
pub fn put_membership(out: &mut BytesMut, membership: &Membership) {
    for word in membership_words(membership) {
        out.put_u64_le(word);
    }
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}
