//! Entries kept in memory: all that are not yet durable or applied, and as many
//! older ones as fit, for followers.
//!
//! They are kept as they came, record by record, shared with the log's jobs:
//! what is done once a record costs nothing an entry. They lie in a row that
//! turns round, so that what comes takes the place of what went.

use driftless_codec::{Entries, Entry};
use driftless_raft::{Index, Position};
use std::collections::VecDeque;
use std::iter;

/// What one entry costs beside its payload.
const OVERHEAD_BYTES: usize = 64;

/// Where no block begins and ends.
const NO_BLOCK: (Index, Index) = (Index(1), Index(0));

/// A contiguous stretch at the end of the log.
#[derive(Debug)]
pub(crate) struct EntryCache {
    blocks: VecDeque<Block>,
    /// Where the newest block begins and ends; it is what is mostly asked for.
    newest: (Index, Index),
    bytes: usize,
    bytes_max: usize,
    /// Bytes of the entries behind `applied`: what proposals have put in flight.
    unapplied_bytes: usize,
    applied: Index,
}

/// The entries of one record, or those of them that were not cut: never none.
type Block = Entries;

fn first_of(block: &Block) -> Index {
    block[0].position.index
}

fn last_of(block: &Block) -> Index {
    block[block.len() - 1].position.index
}

/// How many of its entries are at or before `index`.
fn count_through(block: &Block, index: Index) -> usize {
    block.len().min((index.0 + 1).saturating_sub(first_of(block).0) as usize)
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
    #[inline]
    pub fn to_entries(&self) -> Entries {
        let Self { cache, block, from, count, .. } = *self;
        let block = &cache.blocks[block];
        if count == 1 {
            return block[from].clone().into();
        }
        if from + count <= block.len() {
            return block.part(from..from + count);
        }
        self.iter().cloned().collect()
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = &'a Entry> + Clone + use<'a> {
        self.slices().flatten()
    }

    /// The entries, as they lie together.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = &'a [Entry]> + Clone + use<'a> {
        let &Self { cache, mut block, mut from, mut count, .. } = self;
        iter::from_fn(move || {
            if count == 0 {
                return None;
            }
            let entries = &cache.blocks[block][from..];
            let entries = &entries[..entries.len().min(count)];
            (block, from, count) = (block + 1, 0, count - entries.len());
            Some(entries)
        })
    }
}

impl EntryCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            newest: NO_BLOCK,
            bytes: 0,
            bytes_max,
            unapplied_bytes: 0,
            applied: Index(0),
        }
    }

    /// The first block that ends at or after `index`. Mostly it is one of the last.
    fn block_at(&self, index: Index) -> usize {
        let near = self.blocks.len().saturating_sub(4);
        for (back, block) in self.blocks.range(near..).rev().enumerate() {
            if first_of(block) <= index {
                return self.blocks.len() - back - usize::from(index <= last_of(block));
            }
        }
        self.blocks.partition_point(|block| last_of(block) < index)
    }

    /// Adds the entries of a record, which come next.
    pub(crate) fn push(&mut self, entries: Entries) {
        let all = &*entries;
        let [first, ..] = all else { return };
        let first = first.position.index;
        let last = Index(first.0 + all.len() as u64 - 1);
        let follows = self.newest == NO_BLOCK || self.newest.1.next() == first;
        assert!(follows, "entries reach the cache in log order");
        let bytes = block_bytes(&entries);
        self.newest = (first, last);
        self.bytes += bytes;
        self.unapplied_bytes += if first > self.applied {
            bytes
        } else {
            cost(&all[count_through(&entries, self.applied)..])
        };
        self.blocks.push_back(entries);
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate_from(&mut self, from: Index) {
        while let Some(block) = self.blocks.back_mut()
            && last_of(block) >= from
        {
            let kept = count_through(block, Index(from.0.saturating_sub(1)));
            let applied = count_through(block, self.applied).max(kept);
            self.unapplied_bytes -= cost(&block[applied..]);
            self.bytes -= cost(&block[kept..]);
            if kept == 0 {
                self.blocks.pop_back();
            } else {
                *block = block.part(0..kept);
            }
        }
        self.newest =
            self.blocks.back().map_or(NO_BLOCK, |block| (first_of(block), last_of(block)));
    }

    /// Notes that entries up to `through` are applied.
    #[inline]
    pub(crate) fn mark_applied(&mut self, through: Index) {
        if through == self.newest.1 {
            self.unapplied_bytes = 0;
            self.applied = self.applied.max(through);
        } else {
            self.mark_applied_of_blocks(through);
        }
    }

    fn mark_applied_of_blocks(&mut self, through: Index) {
        let mut at = self.block_at(self.applied.next());
        while let Some(block) = self.blocks.get(at)
            && first_of(block) <= through
        {
            let applied = count_through(block, self.applied);
            let now = count_through(block, through);
            self.unapplied_bytes -= match (applied, now) {
                (0, all) if all == block.len() => block_bytes(block),
                _ => cost(&block[applied..now.max(applied)]),
            };
            at += 1;
        }
        self.applied = self.applied.max(through);
    }

    /// Lets the oldest entries go while there are too many bytes; none after
    /// `through`, which are not yet both durable and applied.
    #[inline]
    pub(crate) fn evict(&mut self, through: Index) {
        if self.bytes > self.bytes_max {
            self.evict_blocks(through);
        }
    }

    fn evict_blocks(&mut self, through: Index) {
        if self.bytes_max == 0 && self.newest.1 <= through {
            self.clear();
            return;
        }
        while self.bytes > self.bytes_max
            && let Some(block) = self.blocks.front()
            && last_of(block) <= through
        {
            self.bytes -= block_bytes(block);
            self.blocks.pop_front();
        }
        if self.blocks.is_empty() {
            self.newest = NO_BLOCK;
        }
    }

    fn clear(&mut self) {
        self.blocks.clear();
        self.newest = NO_BLOCK;
        self.bytes = 0;
    }

    /// Forgets everything: a snapshot up to `applied` replaced the log.
    pub(crate) fn reset(&mut self, applied: Index) {
        self.clear();
        self.unapplied_bytes = 0;
        self.applied = applied;
    }

    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// The entries from `first` to `last`, as many as fit into `bytes_max` but
    /// at least one; `None` if `first` is not cached.
    #[inline]
    pub(crate) fn range(&self, first: Index, last: Index, bytes_max: u64) -> Option<Stretch<'_>> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        if (first, last) == self.newest
            && let Some(newest) = self.blocks.back()
            && block_bytes(newest) <= bytes_max
        {
            let (block, count, bytes) = (self.blocks.len() - 1, newest.len(), block_bytes(newest));
            return Some(Stretch { cache: self, block, from: 0, count, bytes });
        }
        self.range_of_blocks(first, last, bytes_max)
    }

    fn range_of_blocks(&self, first: Index, last: Index, bytes_max: usize) -> Option<Stretch<'_>> {
        let at = self.block_at(first);
        let start = self.blocks.get(at)?;
        if first < first_of(start) || first > last {
            return None;
        }
        let from = count_through(start, Index(first.0 - 1));
        let mut stretch = Stretch { cache: self, block: at, from, count: 0, bytes: 0 };
        let (mut block, mut at, mut skipped) = (start, at, from);
        loop {
            let until = count_through(block, last);
            let whole = (skipped, until) == (0, block.len());
            let entries = &block[skipped..until.max(skipped)];
            let bytes = if whole { block_bytes(block) } else { cost(entries) };
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
                Some(next) if first_of(next) <= last => (block, skipped) = (next, 0),
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

/// What those of a block count for.
fn block_bytes(block: &Block) -> usize {
    block.payload_bytes() + block.len() * OVERHEAD_BYTES
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
