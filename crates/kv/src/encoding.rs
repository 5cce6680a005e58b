//! The bytes of commands, replies and snapshots: little pieces, each bounded by
//! what is really there before it is believed.
//!
//! Integers are LEB128, signed ones in zigzag; byte strings carry their length.

use bytes::Bytes;
use std::fmt;

/// Why bytes could not be decoded. `offset` is where it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early, or a length in them reaches past their end.
    Truncated {
        /// Where the missing piece would begin.
        offset: usize,
    },
    /// A number is longer than it can be.
    Overlong {
        /// Behind the number.
        offset: usize,
    },
    /// Something stands there that has no meaning.
    Unknown {
        /// Behind it.
        offset: usize,
        /// What it should have said.
        what: &'static str,
    },
    /// Transactions nest too deep.
    TooDeep {
        /// Where it became too deep.
        offset: usize,
    },
    /// Something follows where nothing should.
    Trailing {
        /// Where it begins.
        offset: usize,
    },
    /// Written in a format newer than this program knows.
    NewerVersion {
        /// The version it claims.
        found: u8,
        /// The newest known here.
        known: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset } => write!(f, "the bytes end too early at {offset}"),
            Self::Overlong { offset } => write!(f, "a number before byte {offset} is too long"),
            Self::Unknown { offset, what } => write!(f, "unknown {what} before byte {offset}"),
            Self::TooDeep { offset } => write!(f, "transactions nest too deep at byte {offset}"),
            Self::Trailing { offset } => write!(f, "unexpected bytes from {offset} on"),
            Self::NewerVersion { found, known } => write!(
                f,
                "the bytes have format {found}, this program reads up to {known}: use a newer program"
            ),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends a number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number at `at` and moves past it. `None` if it ends too early or is
/// too long.
#[inline]
pub(crate) fn get_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(first.into());
    }
    let mut value = u64::from(first & 0x7f);
    for position in 1..10 {
        let byte = *bytes.get(*at + position)?;
        if position == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            *at += position + 1;
            return Some(value);
        }
    }
    None
}

pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes one message.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Eight flags in a byte, the first in its lowest bit.
    pub(crate) fn flags(&mut self, flags: [bool; 8]) {
        let byte = flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag));
        self.0.push(byte);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        put_varint(&mut self.0, zigzag(value));
    }

    pub(crate) fn count(&mut self, value: usize) {
        put_varint(&mut self.0, value as u64);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.extend_from_slice(value);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Reads one message.
pub(crate) struct Decoder<'a> {
    input: &'a Bytes,
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(input: &'a Bytes) -> Self {
        Self { input, at: 0 }
    }

    pub(crate) fn version(&mut self, known: u8) -> Result<(), DecodeError> {
        match self.u8()? {
            0 => Err(self.unknown("format")),
            found if found > known => Err(DecodeError::NewerVersion { found, known }),
            _ => Ok(()),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.input.get(self.at).ok_or(DecodeError::Truncated { offset: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.unknown("truth value")),
        }
    }

    /// Eight flags, of which only those in `known` may be set.
    pub(crate) fn flags(&mut self, known: u8) -> Result<[bool; 8], DecodeError> {
        let byte = self.u8()?;
        if byte & !known != 0 {
            return Err(self.unknown("flag"));
        }
        Ok(std::array::from_fn(|bit| byte >> bit & 1 == 1))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        get_varint(self.input, &mut self.at).ok_or_else(|| {
            if self.input.len() - self.at < 10 {
                DecodeError::Truncated { offset: self.input.len() }
            } else {
                DecodeError::Overlong { offset: self.at + 10 }
            }
        })
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.varint().map(unzigzag)
    }

    /// A byte string; it shares the message's buffer.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.varint()?;
        let rest = self.input.len() - self.at;
        if length > rest as u64 {
            return Err(DecodeError::Truncated { offset: self.input.len() });
        }
        let until = self.at + length as usize;
        let bytes = self.input.slice(self.at..until);
        self.at = until;
        Ok(bytes)
    }

    /// A count and as many items. Room is made as they come, not as promised.
    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.varint()?;
        if count > (self.input.len() - self.at) as u64 {
            return Err(DecodeError::Truncated { offset: self.input.len() });
        }
        let mut items = Vec::with_capacity((count as usize).min(64));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.at == self.input.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { offset: self.at })
        }
    }

    pub(crate) fn unknown(&self, what: &'static str) -> DecodeError {
        DecodeError::Unknown { offset: self.at, what }
    }

    pub(crate) fn too_deep(&self) -> DecodeError {
        DecodeError::TooDeep { offset: self.at }
    }
}
