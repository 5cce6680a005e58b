//! What watchers are fed from: the events of all revisions since the
//! compaction, in order.

use crate::command::KeyValue;
use crate::machine::{Pin, Shared};
use crate::store::arena::Cursor;
use crate::store::{Copier, State};
use std::fmt;
use std::sync::Arc;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it was written; of a deletion, only `key` and `mod_revision`.
    pub kv: KeyValue,
}

impl Event {
    /// Whether the key did not exist before.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.kv.create_revision == self.kv.mod_revision
    }
}

/// All changes of one revision, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: i64,
    /// Its events, at least one.
    pub events: Vec<Event>,
}

/// What [`crate::Reader::events`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Consecutive revisions, oldest first.
    pub revisions: Vec<Arc<RevisionEvents>>,
    /// Where to read on.
    pub next_revision: i64,
}

/// The events asked for are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The oldest revision whose events are left.
    pub compact_revision: i64,
}

impl fmt::Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events before revision {} have been compacted", self.compact_revision)
    }
}

impl std::error::Error for Compacted {}

/// Reads the events of one revision after the other and is not overtaken by a
/// compaction: what it has not read stays, so it should not rest for long.
///
/// Only a snapshot that is restored can take from it what it has not read.
pub struct Follower {
    shared: Arc<Shared>,
    /// Keeps everything after the revision that was read last.
    pin: Pin,
    next_revision: i64,
}

impl Follower {
    /// Follows from the present on.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let state = shared.state.read();
        let pin = shared.pin(&state, state.revision);
        Self { shared: Arc::clone(shared), pin, next_revision: state.revision + 1 }
    }

    /// Where it reads on.
    pub fn next_revision(&self) -> i64 {
        self.next_revision
    }

    /// The next events, as [`crate::Reader::events`] has them. When they are
    /// gone, it goes on from the present.
    pub fn read(&mut self, revisions_max: usize, bytes_max: usize) -> Result<Events, Compacted> {
        if self.next_revision > self.shared.revision() {
            return Ok(Events { revisions: Vec::new(), next_revision: self.next_revision });
        }
        let state = self.shared.state.read();
        let read = if self.pin.is_void() {
            events(&state, self.next_revision, revisions_max, bytes_max)
        } else {
            Ok(events_left(&state, self.next_revision, revisions_max, bytes_max))
        };
        self.next_revision = match &read {
            Ok(events) => events.next_revision,
            Err(_) => state.revision + 1,
        };
        self.pin = self.shared.pin(&state, self.next_revision - 1);
        read
    }

    /// Goes on from the present: nobody wants what is before.
    pub fn skip(&mut self) {
        let revision = self.shared.revision();
        if revision >= self.next_revision {
            let state = self.shared.state.read();
            self.pin = self.shared.pin(&state, revision);
            self.next_revision = revision + 1;
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("next_revision", &self.next_revision)
            .finish_non_exhaustive()
    }
}

pub(crate) fn events(
    state: &State,
    from_revision: i64,
    revisions_max: usize,
    bytes_max: usize,
) -> Result<Events, Compacted> {
    if from_revision < state.compact_revision {
        return Err(Compacted { compact_revision: state.compact_revision });
    }
    Ok(events_left(state, from_revision, revisions_max, bytes_max))
}

/// The events from a revision on that is known not to have been swept.
fn events_left(
    state: &State,
    from_revision: i64,
    revisions_max: usize,
    bytes_max: usize,
) -> Events {
    // Unless something is left over.
    let mut next_revision = from_revision.max(state.revision + 1);
    let mut heads: Vec<(i64, Vec<EventKind>)> = Vec::new();
    let mut copier = Copier::default();
    let mut cursor: Cursor = state.versioned.arena.seek(from_revision);
    while let Some((_, record, next)) = state.versioned.arena.log_record(cursor) {
        cursor = next;
        let kind = if record.value.is_some() { EventKind::Put } else { EventKind::Delete };
        match heads.last_mut() {
            Some((revision, kinds)) if *revision == record.main => kinds.push(kind),
            _ => {
                if !heads.is_empty()
                    && (heads.len() >= revisions_max || copier.bytes() >= bytes_max)
                {
                    next_revision = record.main;
                    break;
                }
                heads.push((record.main, vec![kind]));
            }
        }
        copier.push(&record, true);
    }
    let mut kvs = copier.take();
    let revisions = heads
        .into_iter()
        .map(|(revision, kinds)| {
            let events = kinds.into_iter().zip(&mut kvs).map(|(kind, kv)| Event { kind, kv });
            Arc::new(RevisionEvents { revision, events: events.collect() })
        })
        .collect();
    Events { revisions, next_revision }
}
