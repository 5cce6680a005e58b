//! The static table (RFC 7541, appendix A) and the dynamic one (section 2.3.2).

use super::TABLE_BYTES;
use std::collections::VecDeque;

/// What an entry costs beyond its name and value, section 4.1.
pub(super) const ENTRY_OVERHEAD: usize = 32;

/// Entry 1 is the first.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field that was sent to be remembered.
#[derive(Debug)]
pub(super) struct Entry {
    /// Name and value, one behind the other.
    text: Box<[u8]>,
    name_bytes: usize,
    /// See [`super::Field::is_well_formed`].
    pub(super) is_well_formed: bool,
}

impl Entry {
    pub(super) fn new(name: &[u8], value: &[u8], is_well_formed: bool) -> Self {
        Self { text: [name, value].concat().into(), name_bytes: name.len(), is_well_formed }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.text[..self.name_bytes]
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.text[self.name_bytes..]
    }

    fn bytes(&self) -> usize {
        self.text.len() + ENTRY_OVERHEAD
    }
}

/// What the peer has sent to be remembered, the newest first; never more than the
/// peer's own bound, which is never more than ours.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES }
    }
}

impl Table {
    /// The entry at an index of the dynamic part, where 0 is the newest.
    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// Remembers an entry, for which older ones go. One larger than the table
    /// empties it and is not kept, section 4.4.
    pub(super) fn insert(&mut self, entry: Entry) {
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            self.shrink_to(0);
            return;
        }
        self.shrink_to(self.bytes_max - bytes);
        self.bytes += bytes;
        self.entries.push_front(entry);
    }

    /// The peer chooses another bound, one that was checked to be within ours.
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink_to(bytes_max);
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes -= oldest.bytes();
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
