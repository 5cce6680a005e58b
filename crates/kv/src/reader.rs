//! [`Reader`]: the state, read from any thread beside the applies.

use crate::command::{KeyValue, MemberAttributes, RangeRequest, TxnRequest};
use crate::machine::{RevisionHook, Shared};
use crate::range::Scan;
use crate::reply::{RangeResponse, ReadError, TxnResponse};
use crate::store::arena::Record;
use crate::store::index::End;
use crate::store::{At, State, key_value};
use crate::watch::{self, Compacted, Event, Events, Follower};
use parking_lot::RwLockReadGuard;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What [`Reader::hash`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// A hash of all versions that can be read.
    pub hash: u64,
    /// The last revision it covers.
    pub revision: i64,
    /// The compacted revision then; -1 before the first compaction.
    pub compact_revision: i64,
}

/// What [`Reader::size`] answers: an estimate, different from member to member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes held, garbage not yet removed included.
    pub total_bytes: u64,
    /// Bytes of what can be read.
    pub in_use_bytes: u64,
}

/// A handle for reads: cheap to clone, usable from any thread. It follows the
/// store, also over a restored snapshot.
///
/// A read sees all of a transaction or nothing of it.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What members said about themselves, by their ids.
    pub fn members(&self) -> Vec<MemberAttributes> {
        self.shared.state.read().members.values().cloned().collect()
    }

    /// The members that are meant to learn and not to vote.
    pub fn declared_learners(&self) -> BTreeSet<u64> {
        self.shared.state.read().learners.clone()
    }

    /// Answers a range. One that looks at many keys lets applies go on between
    /// its steps and still answers for a single revision.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ReadError> {
        loop {
            if let Some(answer) = self.try_range(request) {
                return answer;
            }
        }
    }

    /// `None` if a snapshot was restored in the middle of it.
    fn try_range(&self, request: &RangeRequest) -> Option<Result<RangeResponse, ReadError>> {
        let mut state = self.shared.state.read();
        let now = state.revision;
        let at = match state.readable(request.revision) {
            Ok(At::Latest) => now,
            Ok(At::Revision(revision)) => revision,
            Err(error) => return Some(Err(error)),
        };
        if request.range_end.is_empty() {
            return Some(Ok(state.range_point(request, seen(&state, at), now)));
        }
        let mut scan = Scan::new(request);
        let mut pin = None;
        while scan.step(&state, seen(&state, at)).is_continue() {
            let pin = pin.get_or_insert_with(|| self.shared.pin(&state, at));
            // Unfair unlocking would have a long read starve the writer.
            RwLockReadGuard::unlocked_fair(&mut state, || scan.prune());
            if pin.is_void() {
                return None;
            }
        }
        drop(state);
        Some(Ok(scan.finish(now)))
    }

    /// Answers a transaction that only reads, from a single state; `None` if
    /// some branch of it could write, so that it must go through the log.
    pub fn txn(&self, txn: &TxnRequest) -> Option<Result<TxnResponse, ReadError>> {
        self.shared.state.read().read_txn(txn)
    }

    /// The revision of the last write. It moves at the end of a batch; a
    /// [`Reader::range`] may already see the writes of one that is being
    /// applied.
    pub fn revision(&self) -> i64 {
        self.shared.revision()
    }

    /// The oldest revision that can be read; -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        self.shared.state.read().compact_revision
    }

    /// How many keys there are.
    pub fn key_count(&self) -> u64 {
        self.shared.state.read().live_keys as u64
    }

    /// About how much memory the store takes.
    pub fn size(&self) -> Size {
        let state = self.shared.state.read();
        let (held, live) = state.versioned.arena.bytes();
        let index = state.index.bytes();
        let (histories, used) = state.versioned.histories_bytes();
        Size {
            total_bytes: (held + index + histories) as u64,
            in_use_bytes: (live + index + used) as u64,
        }
    }

    /// A hash of everything that can be read up to `revision` (0: the latest):
    /// the same on all members that have the same revision and have compacted
    /// the same, whatever was swept, and after a snapshot was restored.
    pub fn hash(&self, revision: i64) -> Result<StateHash, ReadError> {
        loop {
            if let Some(answer) = self.try_hash(revision) {
                return answer;
            }
        }
    }

    fn try_hash(&self, revision: i64) -> Option<Result<StateHash, ReadError>> {
        let mut state = self.shared.state.read();
        let revision = match state.readable(revision) {
            Ok(At::Latest) => state.revision,
            Ok(At::Revision(revision)) => revision,
            Err(error) => return Some(Err(error)),
        };
        let compact_revision = state.compact_revision;
        let pin = self.shared.pin(&state, compact_revision);
        let mut hashing = Hashing::new(compact_revision, revision);
        while hashing.step(&state).is_continue() {
            RwLockReadGuard::bump(&mut state);
            if pin.is_void() {
                return None;
            }
        }
        Some(Ok(StateHash { hash: hashing.finish(), revision, compact_revision }))
    }

    /// The events of the revisions from `from_revision` on: whole revisions,
    /// in order, at least one if there is any, else up to `revisions_max` of
    /// them or about `bytes_max` of keys and values.
    ///
    /// Nothing new costs next to nothing. One call is meant to serve all
    /// watchers that stand at the same revision: an event is cheap to clone.
    pub fn events(
        &self,
        from_revision: i64,
        revisions_max: usize,
        bytes_max: usize,
    ) -> Result<Events, Compacted> {
        if from_revision > self.shared.revision() {
            return Ok(Events { revisions: Vec::new(), next_revision: from_revision });
        }
        watch::events(&self.shared.state.read(), from_revision, revisions_max, bytes_max)
    }

    /// Follows the events from the present on, all of them.
    pub fn follow(&self) -> Follower {
        Follower::new(&self.shared)
    }

    /// What an event's key was before: read at its revision less one. `None`
    /// for the event that created the key, and if that revision is compacted.
    pub fn prev_kv(&self, event: &Event) -> Option<KeyValue> {
        if event.is_create() {
            return None;
        }
        let state = self.shared.state.read();
        let before = event.kv.mod_revision - 1;
        if before < state.compact_revision.max(1) || before > state.revision {
            return None;
        }
        state.get(&event.kv.key, At::Revision(before)).map(|record| key_value(&record))
    }

    /// As [`crate::Store::on_revision`].
    pub fn on_revision(&self, hook: RevisionHook) {
        self.shared.add_hook(hook);
    }
}

/// How a revision is read while the state may have gone on.
fn seen(state: &State, revision: i64) -> At {
    if revision == state.revision { At::Latest } else { At::Revision(revision) }
}

/// A hash being computed, some keys at a time.
struct Hashing {
    compact_revision: i64,
    revision: i64,
    next_key: Vec<u8>,
    /// How many of its versions were taken already.
    taken: usize,
    hash: u64,
}

/// A step takes about so many versions.
const STEP_VERSIONS: usize = 512;

impl Hashing {
    fn new(compact_revision: i64, revision: i64) -> Self {
        let mut hashing =
            Self { compact_revision, revision, next_key: Vec::new(), taken: 0, hash: 0 };
        hashing.word(compact_revision as u64);
        hashing.word(revision as u64);
        hashing
    }

    fn step(&mut self, state: &State) -> ControlFlow<()> {
        let from = std::mem::take(&mut self.next_key);
        let mut budget = STEP_VERSIONS;
        let mut stopped_at = None;
        state.index.visit(&state.versioned, &from, End::Open, |entries| {
            for entry in entries {
                if budget == 0 {
                    stopped_at = Some(*entry);
                    return ControlFlow::Break(());
                }
                budget -= 1;
                // A pinned state retains the same versions all the time.
                let retained =
                    state.versioned.retained(*entry, self.compact_revision, self.revision);
                for n in retained.skip(self.taken) {
                    if budget == 0 {
                        stopped_at = Some(*entry);
                        return ControlFlow::Break(());
                    }
                    budget -= 1;
                    self.taken += 1;
                    let location = state.versioned.get(*entry, n);
                    self.record(&state.versioned.arena.record(location));
                }
                self.taken = 0;
            }
            ControlFlow::Continue(())
        });
        match stopped_at {
            Some(entry) => {
                self.next_key = state.versioned.key(entry).to_vec();
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        self.word(record.main as u64);
        self.word(record.sub as u64);
        self.word(record.create_revision as u64);
        self.word(record.version as u64);
        self.word(record.lease as u64);
        self.bytes(record.key);
        self.word(u64::from(record.value.is_some()));
        self.bytes(record.value.unwrap_or_default());
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    fn finish(mut self) -> u64 {
        self.word(0);
        self.hash ^= self.hash >> 29;
        self.word(0);
        self.hash
    }
}
