//! The payload store: the bytes behind the positions that the algorithm speaks
//! of. Beside a step it holds the entries that the step is about; what the step
//! wants written becomes a record, shared by the log and by everybody who sends
//! or applies from memory.

use crate::cache::{EntryCache, Stretch};
use bytes::Bytes;
use driftless_codec::membership::encode_membership;
use driftless_codec::{Entries, Entry, EntryKind};
use driftless_log::{Record, SnapshotMeta};
use driftless_raft::{GroupId, Index, Persist, Position, Run, Source};
use std::sync::Arc;

/// The payloads of one member's log, as far as they are in memory.
#[derive(Debug)]
pub struct Payloads {
    group: GroupId,
    cache: EntryCache,
    /// What the step in progress is about: a proposal's entries, or those that
    /// came with an append.
    offered: Entries,
}

impl Payloads {
    /// A store for a group whose machine has applied nothing yet. Beside what is
    /// not yet durable or applied it keeps as many older entries as fit into
    /// `bytes_max`, for followers.
    pub fn new(group: GroupId, bytes_max: usize) -> Self {
        Self { group, cache: EntryCache::new(bytes_max), offered: Entries::NONE }
    }

    /// Before a step: the entries that it proposes (their positions do not
    /// matter yet), or those of the append that it receives.
    pub fn offer(&mut self, entries: Entries) {
        self.offered = entries;
    }

    /// After a step: forgets what it did not take.
    pub fn end_offer(&mut self) {
        self.offered = Entries::NONE;
    }

    /// How many entries are offered.
    pub(crate) fn offered(&self) -> usize {
        self.offered.len()
    }

    /// What the step wants written, with the bytes of its entries. They are to be
    /// read here from now on. `applied` is what the machine has come to.
    ///
    /// # Panics
    ///
    /// If the step is about other entries than were offered.
    pub fn record(&mut self, persist: &Persist, applied: Index) -> Arc<Record> {
        let &Persist { hard_state, truncate_from, ref runs, ref memberships, ref source, .. } =
            persist;
        if let Some(from) = truncate_from {
            self.cache.truncate_from(from);
        }
        let mut snapshot = None;
        let mut entries: Entries = match source {
            Source::HardState => Entries::NONE,
            Source::Noop => unplaced(EntryKind::Noop, Bytes::new()).into(),
            Source::Membership => memberships
                .iter()
                .map(|entry| unplaced(EntryKind::Membership, encode_membership(&entry.membership)))
                .collect(),
            Source::Proposal => self.offered.take(),
            Source::Append { .. } => {
                let mut arriving = self.offered.take();
                let first = runs.first().map_or(Index(u64::MAX), |run| run.first);
                // The part that is here already comes first.
                let here = arriving.partition_point(|entry| entry.position.index < first);
                arriving.skip(here);
                arriving
            }
            Source::Snapshot { last, membership } => {
                self.cache.reset(applied);
                snapshot = Some(Box::new(SnapshotMeta {
                    last: *last,
                    membership: (**membership).clone(),
                }));
                Entries::NONE
            }
        };
        place(runs, &mut entries);
        let group = self.group;
        let record = Arc::new(Record { group, hard_state, truncate_from, snapshot, entries });
        self.cache.push(&record);
        record
    }

    /// The entries from `first` to `last`, as many as fit into `bytes_max` but
    /// at least one; `None` if `first` is not in memory.
    pub fn range(&self, first: Index, last: Index, bytes_max: u64) -> Option<Stretch<'_>> {
        self.cache.range(first, last, bytes_max)
    }

    /// The machine has applied entries up to `through`.
    pub fn mark_applied(&mut self, through: Index) {
        self.cache.mark_applied(through);
    }

    /// Lets the oldest entries go while there are too many bytes; none after
    /// `through`, which are not yet both durable and applied.
    pub fn evict(&mut self, through: Index) {
        self.cache.evict(through);
    }

    /// What stands here and is not applied, in bytes.
    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.cache.unapplied_bytes()
    }
}

/// Gives `entries` their places in the log.
fn place(runs: &[Run], entries: &mut [Entry]) {
    if let ([run], [entry]) = (runs, &mut *entries)
        && run.first == run.last
    {
        entry.position = Position { term: run.term, index: run.first };
        return;
    }
    let wanted: u64 = runs.iter().map(Run::count).sum();
    assert_eq!(wanted, entries.len() as u64, "every entry to persist has its bytes");
    let mut rest = entries;
    for run in runs {
        let (entries, after) = rest.split_at_mut(run.count() as usize);
        for (entry, index) in entries.iter_mut().zip(run.first.0..) {
            entry.position = Position { term: run.term, index: Index(index) };
        }
        rest = after;
    }
}

/// An entry that is yet to get its place in the log.
pub(crate) fn unplaced(kind: EntryKind, payload: Bytes) -> Entry {
    Entry { position: Position::ZERO, kind, payload }
}
