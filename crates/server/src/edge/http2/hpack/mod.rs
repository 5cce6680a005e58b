//! HPACK, RFC 7541: how header fields travel.
//!
//! The decoder understands all of it. The encoder speaks little: the fields that
//! all answers share enter the peer's table once and are one byte each from then
//! on; everything else is sent as it is.

mod decode;
mod encode;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

pub(super) use decode::{Decoder, Field};
pub(super) use encode::{Encoder, Outgoing};

/// The table that each side begins with, section 6.5.2 of RFC 9113. We ask for no
/// other, and use no more than this of the peer's.
const TABLE_BYTES: usize = 4096;
