//! Compaction: at once for who asks, step by step for the memory.
//!
//! Compacting sets `compact_revision`, and from then on nothing older can be
//! seen. What became invisible is removed a little with each later apply. The
//! log of records leads the sweep: whatever is superseded before the horizon
//! was superseded by a record that stands in the log before the horizon, so the
//! work is that of the revisions compacted and not of the keys held.

use crate::reply::{ApplyError, CompactionResponse};
use crate::store::State;
use crate::store::arena::{Cursor, Kind, Record};
use crate::store::index::Packing;

/// The most versions of one key removed in one step.
const TRIM_MAX: usize = 64;
/// Giving a segment back costs as much as looking at so many records.
const FREE_COST: usize = 64;

/// Where the removal of garbage stands. No reply depends on it.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The first record of the log not swept.
    cursor: Cursor,
    /// The settled segment whose records are being moved, and the next of them.
    evacuating: Option<(u32, usize)>,
    /// Used again for each key.
    key: Vec<u8>,
}

impl State {
    /// Carries out a compaction.
    pub(crate) fn compact(&mut self, revision: i64) -> Result<CompactionResponse, ApplyError> {
        if revision <= self.compact_revision {
            return Err(ApplyError::Compacted);
        }
        if revision > self.revision {
            return Err(ApplyError::FutureRev);
        }
        self.compact_revision = revision;
        Ok(CompactionResponse { revision: self.revision })
    }

    /// Removes garbage: looks at up to about `records` records. `pinned` is the
    /// oldest revision that somebody still reads.
    pub(crate) fn sweep(&mut self, records: usize, pinned: Option<i64>) {
        let horizon = self.compact_revision.min(pinned.unwrap_or(i64::MAX));
        let mut budget = records;
        let mut cursor = self.versioned.arena.clamp(self.sweep.cursor);
        let mut key = std::mem::take(&mut self.sweep.key);
        while budget > 0
            && let Some((_, record, next)) = self.versioned.arena.log_record(cursor)
            && record.main < horizon
        {
            budget -= 1;
            key.clear();
            key.extend_from_slice(record.key);
            self.trim(&key, horizon);
            cursor = next;
        }
        self.sweep.key = key;
        self.sweep.cursor = cursor;
        self.versioned.arena.settle(horizon, cursor);
        while budget > 0 && self.evacuate(&mut budget) {}
        while budget > 0 && self.pack() {
            budget -= 1;
        }
    }

    /// Gives back one list of versions, of those not needed any more.
    fn pack(&mut self) -> bool {
        match self.versioned.pack() {
            Packing::Done => return false,
            Packing::Going => {}
            Packing::Move(key) => {
                self.index.update(&mut self.versioned, &key, |versioned, entry| {
                    (entry.map(|entry| versioned.move_history(entry)), ())
                });
            }
        }
        true
    }

    /// Removes versions of a key that nobody sees from `horizon` on.
    fn trim(&mut self, key: &[u8], horizon: i64) {
        self.index.update(&mut self.versioned, key, |versioned, entry| {
            let left = entry.and_then(|entry| {
                let garbage = versioned.retained(entry, horizon, i64::MAX).start;
                versioned.drop_oldest(entry, garbage.min(TRIM_MAX))
            });
            (left, ())
        });
    }

    /// Moves the readable records of a sparse segment, and frees it at its end.
    /// Returns whether there may be more.
    fn evacuate(&mut self, budget: &mut usize) -> bool {
        let arena = &mut self.versioned.arena;
        let Some((segment, mut offset)) =
            self.sweep.evacuating.take().or_else(|| arena.next_sparse().map(|next| (next, 0)))
        else {
            return false;
        };
        let mut key = std::mem::take(&mut self.sweep.key);
        let mut bytes = Vec::new();
        while *budget > 0 && !self.versioned.arena.is_garbage(segment) {
            let arena = &mut self.versioned.arena;
            let (location, record, next) =
                arena.record_at(segment, offset).expect("what is live was not reached yet");
            *budget -= 1;
            offset = next;
            let order = (record.main, record.sub);
            key.clear();
            key.extend_from_slice(record.key);
            self.index.update(&mut self.versioned, &key, |versioned, entry| {
                let Some(entry) = entry else { return (None, ()) };
                let n = versioned.partition_point(entry, |r| (r.main, r.sub) < order);
                if n == versioned.len(entry) || versioned.get(entry, n) != location {
                    return (Some(entry), ());
                }
                bytes.clear();
                versioned.arena.record(location).encode(&mut bytes);
                let (record, _) = Record::decode(&bytes).expect("encoded just now");
                let moved = versioned.arena.append(Kind::Settled, &record);
                versioned.arena.kill(location);
                (Some(versioned.relocate(entry, n, moved)), ())
            });
        }
        self.sweep.key = key;
        if self.versioned.arena.is_garbage(segment) {
            self.versioned.arena.free(segment);
            *budget = budget.saturating_sub(FREE_COST);
        } else {
            self.sweep.evacuating = Some((segment, offset));
        }
        true
    }
}
