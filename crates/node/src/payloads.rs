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
    #[inline]
    pub fn offer(&mut self, entries: Entries) {
        self.offered = entries;
    }

    /// After a step: forgets what it did not take.
    #[inline]
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
    pub fn record(&mut self, persist: &Persist, applied: Index) -> Record {
        let &Persist { hard_state, truncate_from, ref runs, ref source, .. } = persist;
        if let Some(from) = truncate_from {
            self.cache.truncate_from(from);
        }
        let (snapshot, entries) = match source {
            Source::Proposal => {
                self.offered.place(runs);
                (None, self.offered.take())
            }
            Source::Append { .. } => {
                // The part that is here already comes first.
                leave_out_before(runs, &mut self.offered);
                (None, self.offered.take())
            }
            Source::Snapshot { last, membership } => {
                self.cache.reset(applied);
                let membership = (**membership).clone();
                (Some(Box::new(SnapshotMeta { last: *last, membership })), Entries::NONE)
            }
            Source::HardState | Source::Noop | Source::Membership => (None, own_entries(persist)),
        };
        self.cache.push(entries.clone());
        Record { group: self.group, hard_state, truncate_from, snapshot, entries }
    }

    /// The entries from `first` to `last`, as many as fit into `bytes_max` but
    /// at least one; `None` if `first` is not in memory.
    #[inline]
    pub fn range(&self, first: Index, last: Index, bytes_max: u64) -> Option<Stretch<'_>> {
        self.cache.range(first, last, bytes_max)
    }

    /// The machine has applied entries up to `through`.
    #[inline]
    pub fn mark_applied(&mut self, through: Index) {
        self.cache.mark_applied(through);
    }

    /// Lets the oldest entries go while there are too many bytes; none after
    /// `through`, which are not yet both durable and applied.
    #[inline]
    pub fn evict(&mut self, through: Index) {
        self.cache.evict(through);
    }

    /// What stands here and is not applied, in bytes.
    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.cache.unapplied_bytes()
    }
}

/// The entries that the algorithm appends of its own accord.
fn own_entries(persist: &Persist) -> Entries {
    let mut entries: Entries = match persist.source {
        Source::Noop => unplaced(EntryKind::Noop, Bytes::new()).into(),
        Source::Membership => persist
            .memberships
            .iter()
            .map(|entry| unplaced(EntryKind::Membership, encode_membership(&entry.membership)))
            .collect(),
        _ => Entries::NONE,
    };
    entries.place(&persist.runs);
    entries
}

/// Leaves out of entries that stand in their places what comes before `runs`.
fn leave_out_before(runs: &[Run], entries: &mut Entries) {
    let first = runs.first().map_or(Index(u64::MAX), |run| run.first);
    if entries.first().is_some_and(|entry| entry.position.index < first) {
        let before = entries.partition_point(|entry| entry.position.index < first);
        *entries = entries.part(before..entries.len());
    }
    let count: u64 = runs.iter().map(Run::count).sum();
    assert_eq!(count, entries.len() as u64, "every entry to persist has its bytes");
    debug_assert!(stand_in(runs, entries), "what arrives stands in its places");
}

fn stand_in(runs: &[Run], entries: &[Entry]) -> bool {
    let of = |run: &Run| {
        let term = run.term;
        (run.first.0..=run.last.0).map(move |index| Position { term, index: Index(index) })
    };
    entries.iter().map(|entry| entry.position).eq(runs.iter().flat_map(of))
}

/// An entry that is yet to get its place in the log.
pub(crate) fn unplaced(kind: EntryKind, payload: Bytes) -> Entry {
    Entry { position: Position::ZERO, kind, payload }
}
