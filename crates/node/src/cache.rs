//! Entries kept in memory: all that are not yet durable or applied, and as many
//! older ones as fit, for followers.
//!
//! They are kept as they came, record by record, shared with the log's jobs:
//! what is done once a record costs nothing an entry.

use driftless_codec::{Entries, Entry};
use driftless_log::Record;
use driftless_raft::{Index, Position};
use std::collections::VecDeque;
use std::sync::Arc;

/// What one entry costs beside its payload.
const OVERHEAD_BYTES: usize = 64;

/// A contiguous stretch at the end of the log.
#[derive(Debug)]
pub(crate) struct EntryCache {
    blocks: VecDeque<Block>,
    bytes: usize,
    bytes_max: usize,
    /// Bytes of the entries behind `applied`: what proposals have put in flight.
    unapplied_bytes: usize,
    applied: Index,
}

/// The entries of one record, or those of them that were not cut.
#[derive(Debug)]
struct Block {
    record: Arc<Record>,
    first: Index,
    /// How many of the record's entries stand; never none.
    count: usize,
    /// Of those.
    bytes: usize,
}

impl Block {
    fn entries(&self) -> &[Entry] {
        &self.record.entries[..self.count]
    }

    fn last(&self) -> Index {
        Index(self.first.0 + self.count as u64 - 1)
    }

    /// How many of its entries are at or before `index`.
    fn count_through(&self, index: Index) -> usize {
        self.count.min((index.0 + 1).saturating_sub(self.first.0) as usize)
    }
}

/// Neighbouring entries of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    cache: &'a EntryCache,
    block: usize,
    /// From this entry of that block on.
    from: usize,
    count: usize,
    bytes: usize,
}

impl<'a> Stretch<'a> {
    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What they count for, all together.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The entries, to go elsewhere.
    pub fn to_entries(&self) -> Entries {
        if let Self { count: 1, cache, block, from, .. } = *self {
            return cache.blocks[block].record.entries[from].clone().into();
        }
        self.iter().cloned().collect()
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = &'a Entry> + Clone + use<'a> {
        self.slices().flatten()
    }

    /// The entries, as they lie together.
    pub fn slices(&self) -> impl Iterator<Item = &'a [Entry]> + Clone + use<'a> {
        let &Self { cache, block, mut from, mut count, .. } = self;
        cache.blocks.range(block..).map_while(move |block| {
            let entries = &block.entries()[from..];
            let entries = &entries[..entries.len().min(count)];
            from = 0;
            count -= entries.len();
            (!entries.is_empty()).then_some(entries)
        })
    }
}

impl EntryCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, bytes_max, unapplied_bytes: 0, applied: Index(0) }
    }

    /// The first block that ends at or after `index`. Mostly it is one of the last.
    fn block_at(&self, index: Index) -> usize {
        let near = self.blocks.len().saturating_sub(4);
        for (back, block) in self.blocks.range(near..).rev().enumerate() {
            if block.first <= index {
                return self.blocks.len() - back - usize::from(index <= block.last());
            }
        }
        self.blocks.partition_point(|block| block.last() < index)
    }

    /// The newest block, if it is just these entries: mostly they are asked for as
    /// they came.
    fn newest_block(&self, first: Index, last: Index) -> Option<&Block> {
        self.blocks.back().filter(|block| block.first == first && block.last() == last)
    }

    /// Adds the entries of a record, which come next.
    pub(crate) fn push(&mut self, record: &Arc<Record>) {
        let Some(first) = record.entries.first() else { return };
        let first = first.position.index;
        if let Some(last) = self.blocks.back() {
            assert_eq!(last.last().next(), first, "entries reach the cache in log order");
        }
        let count = record.entries.len();
        let block = Block { record: record.clone(), first, count, bytes: cost(&record.entries) };
        self.bytes += block.bytes;
        self.unapplied_bytes += if first > self.applied {
            block.bytes
        } else {
            cost(&block.entries()[block.count_through(self.applied)..])
        };
        self.blocks.push_back(block);
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate_from(&mut self, from: Index) {
        while let Some(block) = self.blocks.back_mut()
            && block.last() >= from
        {
            let kept = block.count_through(Index(from.0.saturating_sub(1)));
            let applied = block.count_through(self.applied).max(kept);
            let bytes = cost(&block.entries()[kept..]);
            self.unapplied_bytes -= cost(&block.entries()[applied..]);
            self.bytes -= bytes;
            block.bytes -= bytes;
            block.count = kept;
            if kept == 0 {
                self.blocks.pop_back();
            }
        }
    }

    /// Notes that entries up to `through` are applied.
    pub(crate) fn mark_applied(&mut self, through: Index) {
        if let Some(block) = self.newest_block(self.applied.next(), through) {
            self.unapplied_bytes -= block.bytes;
            self.applied = through;
            return;
        }
        let mut at = self.block_at(self.applied.next());
        while let Some(block) = self.blocks.get(at)
            && block.first <= through
        {
            let applied = block.count_through(self.applied);
            let now = block.count_through(through);
            self.unapplied_bytes -= match (applied, now) {
                (0, all) if all == block.count => block.bytes,
                _ => cost(&block.entries()[applied..now.max(applied)]),
            };
            at += 1;
        }
        self.applied = self.applied.max(through);
    }

    /// Lets the oldest entries go while there are too many bytes; none after
    /// `through`, which are not yet both durable and applied.
    pub(crate) fn evict(&mut self, through: Index) {
        while self.bytes > self.bytes_max
            && let Some(block) = self.blocks.front()
            && block.last() <= through
        {
            self.bytes -= block.bytes;
            self.blocks.pop_front();
        }
    }

    /// Forgets everything: a snapshot up to `applied` replaced the log.
    pub(crate) fn reset(&mut self, applied: Index) {
        self.blocks.clear();
        self.bytes = 0;
        self.unapplied_bytes = 0;
        self.applied = applied;
    }

    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// The entries from `first` to `last`, as many as fit into `bytes_max` but
    /// at least one; `None` if `first` is not cached.
    pub(crate) fn range(&self, first: Index, last: Index, bytes_max: u64) -> Option<Stretch<'_>> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        if let Some(newest) = self.newest_block(first, last)
            && newest.bytes <= bytes_max
        {
            let (block, count, bytes) = (self.blocks.len() - 1, newest.count, newest.bytes);
            return Some(Stretch { cache: self, block, from: 0, count, bytes });
        }
        let at = self.block_at(first);
        let start = self.blocks.get(at)?;
        if first < start.first || first > last {
            return None;
        }
        let from = start.count_through(Index(first.0 - 1));
        let mut stretch = Stretch { cache: self, block: at, from, count: 0, bytes: 0 };
        let (mut block, mut at, mut skipped) = (start, at, from);
        loop {
            let until = block.count_through(last);
            let whole = (skipped, until) == (0, block.count);
            let entries = &block.entries()[skipped..until.max(skipped)];
            let bytes = if whole { block.bytes } else { cost(entries) };
            if stretch.bytes + bytes <= bytes_max {
                stretch.bytes += bytes;
                stretch.count += entries.len();
            } else {
                // Not all of them.
                for entry in entries {
                    let bytes = entry_cost(entry);
                    if stretch.bytes + bytes > bytes_max && stretch.count > 0 {
                        return Some(stretch);
                    }
                    stretch.bytes += bytes;
                    stretch.count += 1;
                }
            }
            at += 1;
            match self.blocks.get(at) {
                Some(next) if next.first <= last => (block, skipped) = (next, 0),
                _ => return Some(stretch),
            }
        }
    }

    /// Whether `position` stands here (`None` if its index is not cached).
    #[cfg(test)]
    pub(crate) fn holds(&self, position: Position) -> Option<bool> {
        let found = self.range(position.index, position.index, 0)?;
        found.iter().next().map(|entry| entry.position == position)
    }
}

/// What an entry counts for, in memory and towards limits in bytes.
pub(crate) fn entry_cost(entry: &Entry) -> usize {
    entry.payload.len() + OVERHEAD_BYTES
}

/// What entries count for, all together.
pub(crate) fn cost<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> usize {
    entries.into_iter().map(entry_cost).sum()
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
#[path = "cache_tests.rs"]
mod tests;
