//! [`Store`], the state machine that a host drives, and what it shares with its
//! readers.
//!
//! One lock stands around the state: applies hold it for a stretch of commands
//! at most, readers for a step of bounded work. Between two steps a reader
//! relies on history: it reads on at the same revision, which is pinned.

use crate::command::Command;
use crate::reader::Reader;
use crate::reply::{ApplyError, Reply, Response};
use crate::snapshot::{FrozenState, restore};
use crate::store::State;
use crate::store::arena::SEGMENT_BYTES;
use bytes::Bytes;
use driftless_machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Readers are let in after so many commands of a batch.
const COMMANDS_PER_LOCK: usize = 64;

// How much garbage is looked at with each batch, in records: a little, and more
// than what was newly written can leave behind.
const SWEEP_PER_BATCH: u64 = 16;
const SWEEP_PER_WRITE: u64 = 4;
const SWEEP_MAX: u64 = 4096;

/// Called with the store's revision after it has moved.
pub type RevisionHook = Box<dyn Fn(i64) + Send + Sync>;

/// The key-value state machine.
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// An empty store, at revision 1.
    pub fn new() -> Self {
        Self::with_segment_bytes(SEGMENT_BYTES)
    }

    /// An empty store that keeps its records in segments of another size than
    /// usual (1 MiB, which is also the most). For tests: small ones are swept
    /// and freed more often.
    #[doc(hidden)]
    pub fn with_segment_bytes(segment_bytes: usize) -> Self {
        Self { shared: Arc::new(Shared::new(State::new(segment_bytes), segment_bytes)) }
    }

    /// Calls `hook` with the new revision after each batch (or restored
    /// snapshot) that moved it. It is called on the applying thread: it should
    /// do no more than wake somebody.
    pub fn on_revision(&self, hook: RevisionHook) {
        self.shared.hooks.write().push(hook);
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("revision", &self.shared.revision()).finish_non_exhaustive()
    }
}

impl StateMachine for Store {
    type Reader = Reader;

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        let mut replies = Vec::with_capacity(batch.commands.len());
        let mut state = self.shared.state.write();
        let written = state.written;
        for (n, bytes) in batch.commands.iter().enumerate() {
            if n > 0 && n % COMMANDS_PER_LOCK == 0 {
                RwLockWriteGuard::bump(&mut state);
            }
            replies.push(apply(&mut state, bytes).encode());
        }
        let sweep = SWEEP_PER_BATCH + (state.written - written) * SWEEP_PER_WRITE;
        state.sweep(sweep.min(SWEEP_MAX) as usize, self.shared.oldest_pin());
        let revision = state.revision;
        drop(state);
        self.shared.announce(revision);
        replies
    }

    fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        Box::new(FrozenState::new(Arc::clone(&self.shared)))
    }

    fn restore(&mut self, snapshot: &mut dyn std::io::Read) -> Result<(), RestoreError> {
        let state = restore(snapshot, self.shared.segment_bytes)?;
        let revision = state.revision;
        let old = {
            let mut current = self.shared.state.write();
            self.shared.generation.fetch_add(1, Ordering::Release);
            std::mem::replace(&mut *current, state)
        };
        // Giving back a large state takes its time; nobody waits for it here.
        drop(old);
        self.shared.announce(revision);
        Ok(())
    }
}

fn apply(state: &mut State, command: &Bytes) -> Reply {
    let Ok(command) = Command::decode(command) else {
        return Reply(Err(ApplyError::Malformed));
    };
    Reply(match command {
        Command::Put(put) => state.apply_put(&put).map(Response::Put),
        Command::DeleteRange(delete) => {
            Ok(Response::DeleteRange(state.apply_delete_range(&delete)))
        }
        Command::Txn(txn) => state.apply_txn(&txn).map(Response::Txn),
        Command::Compact(compact) => state.compact(compact.revision).map(Response::Compact),
        Command::Publish(attributes) => {
            state.members.insert(attributes.id, attributes);
            Ok(Response::Published)
        }
        Command::Declare { id, intent } => {
            state.declare(id, intent);
            Ok(Response::Published)
        }
    })
}

/// What the store and its readers have in common.
pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    segment_bytes: usize,
    /// The state's revision, once all of its batch is applied: so that asking
    /// for news costs no lock.
    revision: AtomicI64,
    /// Counts restores. Changes only under the write lock.
    generation: AtomicI64,
    /// Revisions that somebody is reading, and how many do. Added to under the
    /// read lock, so that nothing is swept in between.
    pins: Mutex<BTreeMap<i64, usize>>,
    hooks: RwLock<Vec<RevisionHook>>,
}

impl Shared {
    fn new(state: State, segment_bytes: usize) -> Self {
        Self {
            revision: AtomicI64::new(state.revision),
            state: RwLock::new(state),
            segment_bytes,
            generation: AtomicI64::new(0),
            pins: Mutex::new(BTreeMap::new()),
            hooks: RwLock::new(Vec::new()),
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    pub(crate) fn generation(&self) -> i64 {
        self.generation.load(Ordering::Acquire)
    }

    fn announce(&self, revision: i64) {
        if self.revision.swap(revision, Ordering::AcqRel) != revision {
            for hook in self.hooks.read().iter() {
                hook(revision);
            }
        }
    }

    pub(crate) fn add_hook(&self, hook: RevisionHook) {
        self.hooks.write().push(hook);
    }

    fn oldest_pin(&self) -> Option<i64> {
        self.pins.lock().keys().next().copied()
    }

    /// Keeps what is visible from `revision` on from being swept.
    pub(crate) fn pin(self: &Arc<Self>, _under: &RwLockReadGuard<'_, State>, revision: i64) -> Pin {
        *self.pins.lock().entry(revision).or_default() += 1;
        Pin { shared: Arc::clone(self), revision, generation: self.generation() }
    }
}

/// Holds a revision until dropped.
pub(crate) struct Pin {
    shared: Arc<Shared>,
    revision: i64,
    generation: i64,
}

impl Pin {
    /// Whether the state was replaced since, and the pin holds nothing.
    pub(crate) fn is_void(&self) -> bool {
        self.generation != self.shared.generation()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.shared.pins.lock();
        if let Some(count) = pins.get_mut(&self.revision) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.revision);
            }
        }
    }
}
