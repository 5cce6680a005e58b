//! The encoder, RFC 7541 section 6.

use super::TABLE_BYTES;
use super::table::ENTRY_OVERHEAD;

/// A field to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::http2) enum Outgoing<'a> {
    /// `:status`.
    Status(u16),
    /// `content-type: application/grpc`.
    GrpcContent,
    /// `grpc-status: 0`.
    GrpcOk,
    /// Any other; the name in lower case.
    Text(&'static str, &'a [u8]),
}

/// What enters the peer's table, once each.
const REMEMBERED: [(&str, &str); 2] = [("content-type", "application/grpc"), ("grpc-status", "0")];

/// What all of that takes there.
const REMEMBERED_BYTES: usize = {
    let [(a, b), (c, d)] = REMEMBERED;
    a.len() + b.len() + c.len() + d.len() + 2 * ENTRY_OVERHEAD
};

/// The number behind the static table.
const FIRST_DYNAMIC: usize = 62;

/// The state of one direction of a connection.
#[derive(Debug)]
pub(in crate::edge::http2) struct Encoder {
    /// What the peer allows, and we use of it.
    table_bytes: usize,
    /// That has changed, and the peer's decoder was not told yet.
    resized: bool,
    /// When each entered the table: before how many others ...
    entered: [Option<usize>; REMEMBERED.len()],
    /// ... of all that have.
    entries: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        let entered = [None; REMEMBERED.len()];
        Self { table_bytes: TABLE_BYTES, resized: false, entered, entries: 0 }
    }
}

impl Encoder {
    /// The peer's `SETTINGS_HEADER_TABLE_SIZE`.
    pub(in crate::edge::http2) fn set_table_bytes_max(&mut self, bytes: u32) {
        let bytes = usize::try_from(bytes).unwrap_or(TABLE_BYTES).min(TABLE_BYTES);
        self.resized |= bytes != self.table_bytes;
        self.table_bytes = bytes;
    }

    /// Writes a block.
    pub(in crate::edge::http2) fn encode(&mut self, fields: &[Outgoing<'_>], out: &mut Vec<u8>) {
        if std::mem::take(&mut self.resized) {
            // Section 4.2: the smallest size in between is said too. Nothing is
            // smaller than none, and what was there is forgotten with it.
            integer(out, 0x20, 5, 0);
            integer(out, 0x20, 5, self.table_bytes);
            (self.entered, self.entries) = ([None; REMEMBERED.len()], 0);
        }
        for field in fields {
            match field {
                Outgoing::Status(200) => out.push(0x88),
                Outgoing::Status(status) => {
                    integer(out, 0, 4, 8);
                    string(out, status.to_string().as_bytes());
                }
                Outgoing::GrpcContent => self.remembered(0, out),
                Outgoing::GrpcOk => self.remembered(1, out),
                Outgoing::Text(name, value) => {
                    out.push(0);
                    string(out, name.as_bytes());
                    string(out, value);
                }
            }
        }
    }

    fn remembered(&mut self, which: usize, out: &mut Vec<u8>) {
        if let Some(entered) = self.entered[which] {
            // The newest has the lowest number.
            integer(out, 0x80, 7, FIRST_DYNAMIC + self.entries - 1 - entered);
            return;
        }
        let (name, value) = REMEMBERED[which];
        if self.table_bytes >= REMEMBERED_BYTES {
            out.push(0x40);
            self.entered[which] = Some(self.entries);
            self.entries += 1;
        } else {
            out.push(0);
        }
        string(out, name.as_bytes());
        string(out, value.as_bytes());
    }
}

/// Section 5.1, behind the bits of `first` above a prefix of so many bits.
pub(super) fn integer(out: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let mask = (1_usize << prefix_bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(0x80 | rest as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Section 5.2, as it is: what is short gains nothing by Huffman's code.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}
