//! Entries kept in memory: all that are not yet durable or applied, and as many
//! older ones as fit, for followers.

use driftless_codec::Entry;
use driftless_raft::{Index, Position};
use std::collections::VecDeque;

/// What one entry costs beside its payload.
const OVERHEAD_BYTES: usize = 64;

/// A contiguous stretch at the end of the log.
#[derive(Debug)]
pub(crate) struct EntryCache {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// Bytes of the entries behind `applied`: what proposals have put in flight.
    unapplied_bytes: usize,
    applied: Index,
}

impl EntryCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            unapplied_bytes: 0,
            applied: Index(0),
        }
    }

    fn first(&self) -> Option<Index> {
        self.entries.front().map(|entry| entry.position.index)
    }

    /// Appends the next entry. A gap means that what was cached is of no use.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(last) = self.entries.back() {
            assert_eq!(
                last.position.index.next(),
                entry.position.index,
                "entries reach the cache in log order"
            );
        }
        let bytes = cost(&entry);
        self.bytes += bytes;
        if entry.position.index > self.applied {
            self.unapplied_bytes += bytes;
        }
        self.entries.push_back(entry);
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate_from(&mut self, from: Index) {
        while self.entries.back().is_some_and(|entry| entry.position.index >= from) {
            let entry = self.entries.pop_back().expect("there is a last entry");
            let bytes = cost(&entry);
            self.bytes -= bytes;
            if entry.position.index > self.applied {
                self.unapplied_bytes -= bytes;
            }
        }
    }

    /// Notes that entries up to `through` are applied.
    pub(crate) fn mark_applied(&mut self, through: Index) {
        if let Some(first) = self.first() {
            let from = self.applied.next().max(first);
            for index in from.0..=through.0 {
                let Some(entry) = self.entries.get((index - first.0) as usize) else { break };
                self.unapplied_bytes -= cost(entry);
            }
        }
        self.applied = self.applied.max(through);
    }

    /// Lets the oldest entries go while there are too many bytes; none after
    /// `through`, which are not yet both durable and applied.
    pub(crate) fn evict(&mut self, through: Index) {
        while self.bytes > self.bytes_max
            && self.entries.front().is_some_and(|entry| entry.position.index <= through)
        {
            let entry = self.entries.pop_front().expect("there is a first entry");
            self.bytes -= cost(&entry);
        }
    }

    /// Forgets everything: a snapshot up to `applied` replaced the log.
    pub(crate) fn reset(&mut self, applied: Index) {
        self.entries.clear();
        self.bytes = 0;
        self.unapplied_bytes = 0;
        self.applied = applied;
    }

    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// The entries from `first` to `last`, as many as fit into `bytes_max` but
    /// at least one; `None` if `first` is not cached.
    pub(crate) fn range(&self, first: Index, last: Index, bytes_max: u64) -> Option<Vec<Entry>> {
        let start = first.0.checked_sub(self.first()?.0)? as usize;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range(start.min(self.entries.len())..) {
            bytes += cost(entry) as u64;
            if entry.position.index > last || (bytes > bytes_max && !entries.is_empty()) {
                break;
            }
            entries.push(entry.clone());
        }
        if entries.is_empty() { None } else { Some(entries) }
    }

    /// Whether `position` stands here (`None` if its index is not cached).
    #[cfg(test)]
    pub(crate) fn holds(&self, position: Position) -> Option<bool> {
        let at = position.index.0.checked_sub(self.first()?.0)? as usize;
        self.entries.get(at).map(|entry| entry.position == position)
    }
}

/// What an entry counts for, in memory and towards limits in bytes.
pub(crate) fn cost(entry: &Entry) -> usize {
    entry.payload.len() + OVERHEAD_BYTES
}

/// Whether `entries` follow `prev` without a gap.
pub(crate) fn follows(prev: Position, entries: &[Entry]) -> bool {
    let mut index = prev.index;
    entries.iter().all(|entry| {
        index = index.next();
        entry.position.index == index
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftless_codec::{Bytes, EntryKind};

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            position: Position::new(term, index),
            kind: EntryKind::Command,
            payload: Bytes::from(vec![0; 36]),
        }
    }

    #[test]
    fn it_serves_what_it_holds_and_counts_what_is_not_applied() {
        let mut cache = EntryCache::new(250);
        for index in 5..=9 {
            cache.push(entry(1, index));
        }
        assert_eq!(cache.unapplied_bytes(), 500);
        assert!(cache.range(Index(4), Index(9), 1000).is_none());
        assert_eq!(cache.range(Index(6), Index(8), 1000).map(|e| e.len()), Some(3));
        assert_eq!(cache.range(Index(6), Index(9), 1).map(|e| e.len()), Some(1));
        assert!(cache.range(Index(10), Index(12), 1).is_none());

        cache.truncate_from(Index(9));
        cache.push(entry(2, 9));
        assert_eq!(cache.holds(Position::new(1, 9)), Some(false));
        assert_eq!(cache.holds(Position::new(2, 9)), Some(true));

        cache.mark_applied(Index(7));
        assert_eq!(cache.unapplied_bytes(), 200);
        cache.evict(Index(6));
        assert!(cache.range(Index(6), Index(6), 1).is_none());
        assert!(cache.range(Index(7), Index(7), 1).is_some(), "7 may not go yet");
        cache.truncate_from(Index(7));
        assert_eq!(cache.unapplied_bytes(), 0);
        cache.reset(Index(20));
        cache.push(entry(3, 21));
        assert_eq!(cache.unapplied_bytes(), 100);
    }
}
