//! The decoder, RFC 7541 sections 3, 5 and 6.

use super::TABLE_BYTES;
use super::huffman;
use super::table::{ENTRY_OVERHEAD, Entry, STATIC, Table};

/// A header block that cannot be understood. The tables of the two sides no longer
/// agree then, and the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::http2) struct Broken;

/// A field of a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::http2) struct Field<'a> {
    pub(in crate::edge::http2) name: &'a [u8],
    pub(in crate::edge::http2) value: &'a [u8],
    /// Whether only characters stand in it that may, RFC 9113 section 8.2.1. Blanks
    /// around the value are let pass: gRPC has its peers strip them.
    pub(in crate::edge::http2) is_well_formed: bool,
}

impl Field<'_> {
    /// What it counts against the bound of a header list, RFC 9113 section 6.5.2.
    pub(in crate::edge::http2) fn bytes(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// The state of one direction of a connection.
#[derive(Debug, Default)]
pub(in crate::edge::http2) struct Decoder {
    table: Table,
    // Strings that were Huffman code.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// A literal field's name: from a table, or in the block.
const IN_BLOCK: usize = 0;

impl Decoder {
    /// Takes a whole block apart. However it is made, no more memory is used than
    /// the block's size and the table's, a few times over.
    pub(in crate::edge::http2) fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(Field<'_>),
    ) -> Result<(), Broken> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(&first) = rest.first() {
            if first & 0xe0 == 0x20 {
                self.resize(integer(&mut rest, 5)?, may_resize)?;
                continue;
            }
            may_resize = false;
            if first & 0x80 != 0 {
                take(self.indexed(integer(&mut rest, 7)?)?);
            } else if first & 0x40 != 0 {
                let name = integer(&mut rest, 6)?;
                let entry = {
                    let field = self.literal(name, &mut rest)?;
                    Entry::new(field.name, field.value, field.is_well_formed)
                };
                take(field_of(&entry));
                self.table.insert(entry);
            } else {
                // Without indexing or never indexed: the same to whom it ends with.
                let name = integer(&mut rest, 4)?;
                take(self.literal(name, &mut rest)?);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Section 6.3: only before the first field, and within what we allow.
    fn resize(&mut self, bytes: usize, may_resize: bool) -> Result<(), Broken> {
        if !may_resize || bytes > TABLE_BYTES {
            return Err(Broken);
        }
        self.table.set_bytes_max(bytes);
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<Field<'_>, Broken> {
        let index = index.checked_sub(1).ok_or(Broken)?;
        if let Some((name, value)) = STATIC.get(index) {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            return Ok(Field { name, value, is_well_formed: true });
        }
        self.table.get(index - STATIC.len()).map(field_of).ok_or(Broken)
    }

    fn literal<'a, 'b: 'a>(
        &'a mut self,
        name: usize,
        rest: &mut &'b [u8],
    ) -> Result<Field<'a>, Broken> {
        self.name.clear();
        self.value.clear();
        if name == IN_BLOCK {
            let name = string(rest, &mut self.name)?;
            let value = string(rest, &mut self.value)?;
            let is_well_formed = is_name(name) && is_value(value);
            return Ok(Field { name, value, is_well_formed });
        }
        let value = string(rest, &mut self.value)?;
        let named = match STATIC.get(name - 1) {
            Some((name, _)) => Field { name: name.as_bytes(), value, is_well_formed: true },
            None => self.table.get(name - 1 - STATIC.len()).map(field_of).ok_or(Broken)?,
        };
        let is_well_formed = named.is_well_formed && is_value(value);
        Ok(Field { name: named.name, value, is_well_formed })
    }
}

fn field_of(entry: &Entry) -> Field<'_> {
    Field { name: entry.name(), value: entry.value(), is_well_formed: entry.is_well_formed }
}

/// Section 5.1, in a prefix of so many bits. Nothing here needs more than 28 bits;
/// what is longer is refused.
fn integer(rest: &mut &[u8], prefix_bits: u32) -> Result<usize, Broken> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(next(rest)?) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(next(rest)?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken)
}

fn next(rest: &mut &[u8]) -> Result<u8, Broken> {
    let (first, others) = rest.split_first().ok_or(Broken)?;
    *rest = others;
    Ok(*first)
}

/// Section 5.2: as it stands in the block, or decoded into `decoded`.
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], decoded: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    let is_huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, others) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = others;
    if !is_huffman {
        return Ok(text);
    }
    huffman::decode(text, decoded).map_err(|_| Broken)?;
    Ok(decoded)
}

/// Whether a name may be sent: a token in lower case, or a pseudo-header's.
fn is_name(name: &[u8]) -> bool {
    let token = name.strip_prefix(b":").unwrap_or(name);
    !token.is_empty()
        && token.iter().all(|byte| {
            matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-'
                | b'.' | b'^'..=b'`' | b'|' | b'~')
        })
}

fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}
