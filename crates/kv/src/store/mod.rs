//! The state itself: every key's versions, and what changes them.
//!
//! Layers, from below: [`arena`] keeps records, [`index`] leads from keys to
//! them, [`State`] gives both their meaning in revisions. Nothing here knows of
//! locks or threads.

pub(crate) mod arena;
pub(crate) mod index;

use crate::command::{KeyValue, MemberAttributes, MemberIntent};
use arena::{Kind, Location, Record};
use bytes::Bytes;
use index::{End, Entry, Index, Versioned, Versions};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Which state a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The newest, with what the running transaction has written so far.
    Latest,
    /// That of a revision which is not compacted.
    Revision(i64),
}

pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) versioned: Versioned,
    /// The revision of the last write; 1 in the beginning.
    pub(crate) revision: i64,
    /// The oldest revision that may be read; -1 before the first compaction.
    pub(crate) compact_revision: i64,
    /// How many keys there are at the latest revision.
    pub(crate) live_keys: usize,
    /// How many records were written so far, by this process.
    pub(crate) written: u64,
    /// What members said about themselves, by their ids.
    pub(crate) members: BTreeMap<u64, MemberAttributes>,
    /// Those that are meant to learn.
    pub(crate) learners: BTreeSet<u64>,
    /// How far garbage has been swept.
    pub(crate) sweep: crate::compact::Sweep,
}

/// The writes of one revision: it becomes the store's if there were any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    /// How many writes there were.
    pub(crate) subs: i64,
}

impl State {
    pub(crate) fn new(segment_bytes: usize) -> Self {
        Self {
            index: Index::new(),
            versioned: Versioned::new(segment_bytes),
            revision: 1,
            compact_revision: -1,
            live_keys: 0,
            written: 0,
            members: BTreeMap::new(),
            learners: BTreeSet::new(),
            sweep: crate::compact::Sweep::default(),
        }
    }

    /// What a member is meant to be.
    pub(crate) fn declare(&mut self, id: u64, intent: MemberIntent) {
        match intent {
            MemberIntent::Learner => {
                self.learners.insert(id);
            }
            MemberIntent::Voter => {
                self.learners.remove(&id);
            }
            MemberIntent::Gone => {
                self.learners.remove(&id);
                self.members.remove(&id);
            }
        }
    }

    pub(crate) fn begin(&self) -> Revision {
        Revision { main: self.revision + 1, subs: 0 }
    }

    /// Ends what [`State::begin`] began.
    pub(crate) fn commit(&mut self, revision: Revision) {
        if revision.subs > 0 {
            self.revision = revision.main;
        }
    }

    pub(crate) fn get(&self, key: &[u8], at: At) -> Option<Record<'_>> {
        let entry = self.index.get(&self.versioned, key)?;
        self.visible(entry, at).map(|location| self.versioned.arena.record(location))
    }

    /// The version of an entry's key that a read sees, if it was not deleted.
    #[inline]
    pub(crate) fn visible(&self, entry: Entry, at: At) -> Option<Location> {
        match at {
            At::Latest => (!entry.is_deleted()).then(|| self.versioned.newest(entry)),
            At::Revision(revision) => {
                let seen = self.versioned.partition_point(entry, |r| r.main <= revision);
                let location = self.versioned.get(entry, seen.checked_sub(1)?);
                self.versioned.arena.record(location).value.is_some().then_some(location)
            }
        }
    }

    /// Writes a version of a key. The payload is copied: what it was a slice of
    /// can go.
    pub(crate) fn put(&mut self, revision: &mut Revision, key: &[u8], value: &[u8], lease: i64) {
        let (main, sub) = (revision.main, revision.subs);
        revision.subs += 1;
        self.written += 1;
        let is_new = self.index.update(&mut self.versioned, key, |versioned, entry| {
            let previous = entry
                .filter(|entry| !entry.is_deleted())
                .map(|entry| versioned.arena.record(versioned.newest(entry)));
            let (create_revision, version) = match previous {
                Some(previous) => (previous.create_revision, previous.version + 1),
                None => (main, 1),
            };
            let is_new = previous.is_none();
            let record =
                Record { main, sub, create_revision, version, lease, key, value: Some(value) };
            let location = versioned.arena.append(Kind::Log, &record);
            let entry = match entry {
                Some(entry) => versioned.push(entry, location, false),
                None => Entry::new(key, Versions::One(location), false),
            };
            (Some(entry), is_new)
        });
        self.live_keys += usize::from(is_new);
    }

    /// Deletes the keys of a range, and hands each to `visitor` before.
    pub(crate) fn delete_range(
        &mut self,
        revision: &mut Revision,
        key: &[u8],
        end: End<'_>,
        mut visitor: impl FnMut(&Record<'_>),
    ) -> i64 {
        let mut doomed = Vec::new();
        self.index.visit(&self.versioned, key, end, |entries| {
            let live = entries.iter().filter(|entry| !entry.is_deleted());
            doomed.extend(live.map(|entry| self.versioned.newest(*entry)));
            ControlFlow::Continue(())
        });
        let mut key = Vec::new();
        for location in &doomed {
            let record = self.versioned.arena.record(*location);
            visitor(&record);
            key.clear();
            key.extend_from_slice(record.key);
            self.bury(revision, &key);
        }
        doomed.len() as i64
    }

    /// Marks one key, which exists, as deleted.
    fn bury(&mut self, revision: &mut Revision, key: &[u8]) {
        let record = Record::tombstone(revision.main, revision.subs, key);
        revision.subs += 1;
        self.written += 1;
        self.index.update(&mut self.versioned, key, |versioned, entry| {
            let location = versioned.arena.append(Kind::Log, &record);
            let entry = entry.map(|entry| versioned.push(entry, location, true));
            (entry, ())
        });
        self.live_keys -= 1;
    }

    /// Takes in a record of a snapshot: those before the compacted revision in
    /// any order, then the others in order. `false` if it fits in nowhere.
    pub(crate) fn load(&mut self, kind: Kind, record: &Record<'_>) -> bool {
        let mut born = 0_isize;
        let fits = self.index.update(&mut self.versioned, record.key, |versioned, entry| {
            let deleted = record.value.is_none();
            let was_deleted = entry.is_none_or(Entry::is_deleted);
            if let Some(entry) = entry {
                let newest = versioned.arena.record(versioned.newest(entry));
                let later = (newest.main, newest.sub) < (record.main, record.sub);
                if kind == Kind::Settled || !later {
                    return (Some(entry), false);
                }
            }
            born = isize::from(!deleted) - isize::from(!was_deleted);
            let location = versioned.arena.append(kind, record);
            let entry = match entry {
                Some(entry) => versioned.push(entry, location, deleted),
                None => Entry::new(record.key, Versions::One(location), deleted),
            };
            (Some(entry), true)
        });
        self.live_keys = self.live_keys.saturating_add_signed(born);
        fits
    }
}

/// Copies versions out of the arena, many into one allocation.
#[derive(Default)]
pub(crate) struct Copier {
    buffer: Vec<u8>,
    heads: Vec<Head>,
}

struct Head {
    main: i64,
    create_revision: i64,
    version: i64,
    lease: i64,
    key_bytes: usize,
    value_bytes: usize,
}

impl Copier {
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn push(&mut self, record: &Record<'_>, with_value: bool) {
        let value = record.value.filter(|_| with_value).unwrap_or_default();
        if self.heads.is_empty() {
            self.buffer.reserve_exact(record.key.len() + value.len());
        }
        self.buffer.extend_from_slice(record.key);
        self.buffer.extend_from_slice(value);
        self.heads.push(Head {
            main: record.main,
            create_revision: record.create_revision,
            version: record.version,
            lease: record.lease,
            key_bytes: record.key.len(),
            value_bytes: value.len(),
        });
    }

    /// Hands over what was copied, in order, and begins anew.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = KeyValue> + use<> {
        let buffer = Bytes::from(std::mem::take(&mut self.buffer));
        let mut at = 0;
        std::mem::take(&mut self.heads).into_iter().map(move |head| {
            let key = buffer.slice(at..at + head.key_bytes);
            at += head.key_bytes;
            let value = buffer.slice(at..at + head.value_bytes);
            at += head.value_bytes;
            KeyValue {
                key,
                create_revision: head.create_revision,
                mod_revision: head.main,
                version: head.version,
                value,
                lease: head.lease,
            }
        })
    }
}

/// A copy of one version.
pub(crate) fn key_value(record: &Record<'_>) -> KeyValue {
    let mut copier = Copier::default();
    copier.push(record, true);
    copier.take().next().expect("one was pushed")
}
