//! The log: one owner, one chain of records over all segments, one sync for all
//! records of a call.

use crate::api::{Identity, KnownPeer, Record, SnapshotMeta};
use crate::disk::{Disk, DiskFile};
use crate::error::{AppendError, is_full};
use crate::group::{Change, Group, Place};
use crate::mutation::{Mutation, on};
use crate::options::{Options, PAGE, whole_pages};
use crate::segment::{Filling, Segment};
use driftless_codec::record::{
    self, Content, MARK_BYTES, RECORD_BYTES_MAX, Salt, Stamp, State, encode, encoded_len,
};
use driftless_codec::{Entries, Entry};
use driftless_raft::{GroupId, NodeId, Run};
use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// The durable log of a node. See the crate's documentation and
/// `docs/log-format.md`.
pub struct Log<D: Disk> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) salt: Salt,
    pub(crate) peers: BTreeMap<NodeId, KnownPeer>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Those with records, oldest first; the last is being written. Never empty.
    pub(crate) segments: VecDeque<Segment<D::File>>,
    /// Those that follow: durable under their names, without a record.
    pub(crate) ready: VecDeque<Segment<D::File>>,
    pub(crate) filling: Option<Filling<D::File>>,
    pub(crate) next_segment: u64,
    pub(crate) first_segment: u64,
    /// The segment being written, from `page_start` to where the next record goes.
    pub(crate) buffer: Vec<u8>,
    pub(crate) page_start: u64,
    /// Whether the buffer holds what the segment does not.
    pub(crate) unwritten: bool,
    /// Of the last record.
    pub(crate) sequence: u64,
    /// Of the last record.
    pub(crate) previous: u32,
    pub(crate) synced_through: u64,
    /// Of the last mark.
    pub(crate) marked_through: u64,
    /// What follows must differ from whatever a failed write or a former life
    /// may have left beyond the end: a mark goes first.
    pub(crate) mark_due: bool,
    pub(crate) poisoned: bool,
    pub(crate) calls: u64,
    pub(crate) places: Vec<Place>,
}

/// What [`Log::append_items`] writes.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    Mark,
    Record(&'a Record),
}

impl<D: Disk> Log<D> {
    /// Appends records, in order, with one sync. When it returns `Ok`, all of
    /// them are durable; after `Full` and `TooLarge` none of them stands.
    ///
    /// A record whose snapshot stands at position zero adds a group with that
    /// membership. Records without payloads fit when others no longer do.
    pub fn append<R: Borrow<Record>>(&mut self, records: &[R]) -> Result<(), AppendError> {
        if records.is_empty() {
            return if self.poisoned { Err(AppendError::Poisoned) } else { Ok(()) };
        }
        let items: Vec<Item<'_>> =
            records.iter().map(|record| Item::Record(record.borrow())).collect();
        self.append_items(&items)?;
        self.fill_ahead()
    }

    /// To be called when nothing waits: writes once more how far everything is
    /// durable, so that damage to the last records is not taken for a torn tail.
    /// Costs nothing if that stands already.
    pub fn idle(&mut self) -> Result<(), AppendError> {
        if self.sequence == self.marked_through && !self.mark_due {
            return Ok(());
        }
        let items = if self.mark_due { &[][..] } else { &[Item::Mark][..] };
        match self.append_items(items) {
            // Without room there is no mark, and nothing is lost by that.
            Err(AppendError::Full { .. }) => Ok(()),
            other => other,
        }
    }

    /// Whether a write or sync has failed, so that nothing more is promised.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Whom the directory belongs to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn active(&self) -> &Segment<D::File> {
        self.segments.back().expect("there is always a segment being written")
    }

    /// Where in the active segment the next record goes.
    pub(crate) fn position(&self) -> u64 {
        self.page_start + self.buffer.len() as u64
    }

    pub(crate) fn append_items(&mut self, items: &[Item<'_>]) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        self.draft(items);
        let written = self.make_room(items).and_then(|()| self.write_or_take_back(items));
        if written.is_err() {
            // A group that was to begin has not.
            self.groups.retain(|_, group| group.base().is_some());
            return written;
        }
        self.synced_through = self.sequence;
        self.take_in(items);
        Ok(())
    }

    fn write_or_take_back(&mut self, items: &[Item<'_>]) -> Result<(), AppendError> {
        let standing = self.buffer.len();
        let (sequence, previous, marked_through) =
            (self.sequence, self.previous, self.marked_through);
        let segments = self.segments.len();
        let Err(error) = self.write(items) else { return Ok(()) };
        if !is_full(&error) || self.poisoned || segments != self.segments.len() {
            self.poisoned = true;
            return Err(AppendError::Io(error));
        }
        // A disk that copies on write may be full even for blocks that are
        // there. What this left beyond the end cannot be taken for what stands
        // later, since a mark comes between.
        self.buffer.truncate(standing);
        self.unwritten = false;
        (self.sequence, self.previous, self.marked_through) = (sequence, previous, marked_through);
        self.mark_due = true;
        Err(AppendError::Full { needed: self.needed(items), available: 0 })
    }

    /// Checks all records before anything is written.
    fn draft(&mut self, items: &[Item<'_>]) {
        self.calls += 1;
        for item in items {
            let Item::Record(record) = item else { continue };
            let begins = record.snapshot.as_ref().is_some_and(|meta| meta.last.index.0 == 0);
            assert!(
                begins || self.groups.contains_key(&record.group),
                "a record of a group that was never begun"
            );
            self.groups.entry(record.group).or_default().draft_record(
                self.calls,
                &record.hard_state,
                record.truncate_from,
                record.snapshot.as_deref(),
                &record.entries,
            );
        }
    }

    /// What a record must leave of the last segment. Votes, terms, compaction and
    /// the empty entry of a new leader leave nothing: they are what the reserve is
    /// for. The others keep away from half of it, so that what was claimed for
    /// them still fits if some of those came in between.
    fn kept_from(&self, item: Item<'_>) -> u64 {
        match item {
            Item::Record(record) if record.entries.iter().any(|e| !e.payload.is_empty()) => {
                self.options.reserve_bytes / 2
            }
            _ => 0,
        }
    }

    fn needed(&self, items: &[Item<'_>]) -> u64 {
        let mark = if self.mark_due { MARK_BYTES as u64 } else { 0 };
        mark + items.iter().map(|item| encoded_len(&self.content(*item)) as u64).sum::<u64>()
    }

    /// Sees to it that every record of the call has a place before the first
    /// byte is written, by making segments where need be.
    fn make_room(&mut self, items: &[Item<'_>]) -> Result<(), AppendError> {
        let mark = self.mark_due.then_some(&Item::Mark);
        let mut ready_at = 0;
        let mut position = self.position();
        let mut len = self.active().len;
        for item in mark.into_iter().chain(items) {
            let bytes = encoded_len(&self.content(*item));
            if bytes > RECORD_BYTES_MAX {
                return Err(AppendError::TooLarge { bytes });
            }
            let bytes = bytes as u64;
            loop {
                let is_last = ready_at == self.ready.len();
                let reserve = if is_last { self.kept_from(*item) } else { 0 };
                if position + bytes + reserve <= len {
                    position += bytes;
                    break;
                }
                if is_last {
                    let wanted = PAGE + bytes + self.options.reserve_bytes;
                    let wanted = whole_pages(wanted).max(self.options.segment_len());
                    if let Err(error) = self.make_segment(wanted) {
                        return match error {
                            AppendError::Full { .. } => Err(AppendError::Full {
                                needed: self.needed(items),
                                available: (len - position).saturating_sub(reserve),
                            }),
                            other => Err(other),
                        };
                    }
                }
                len = self.ready[ready_at].len;
                position = PAGE;
                ready_at += 1;
            }
        }
        Ok(())
    }

    /// Encodes and writes; syncs at the end and at every border between segments.
    fn write(&mut self, items: &[Item<'_>]) -> io::Result<()> {
        self.places.clear();
        if self.mark_due {
            self.put(Item::Mark)?;
            self.places.clear();
        }
        for item in items {
            self.put(*item)?;
        }
        self.flush()?;
        self.mark_due = false;
        Ok(())
    }

    fn put(&mut self, item: Item<'_>) -> io::Result<()> {
        // A record moves on exactly where it did when places were drawn up.
        let content = self.content(item);
        let bytes = encoded_len(&content) as u64;
        while {
            let reserve = if self.ready.is_empty() { self.kept_from(item) } else { 0 };
            self.position() + bytes + reserve > self.active().len
        } {
            // What stands in a segment is durable before the next one is begun.
            if self.unwritten {
                self.flush()?;
            }
            let next = self.ready.pop_front().expect("room was made for every record");
            self.segments.push_back(next);
            self.buffer.clear();
            self.page_start = PAGE;
        }
        let offset = self.position();
        let sequence = self.sequence + 1;
        let stamp = Stamp {
            segment: self.active().id,
            sequence,
            synced_through: self.synced_through,
            previous: self.previous,
        };
        let head_len = record::head_len(&content) as u32;
        self.places.push(Place { segment: stamp.segment, offset, head_len });
        self.previous = encode(&mut self.buffer, self.salt, &stamp, &content);
        self.sequence = sequence;
        self.unwritten = true;
        if matches!(item, Item::Mark) {
            self.marked_through = sequence;
        }
        Ok(())
    }

    fn content<'a>(&self, item: Item<'a>) -> Content<'a> {
        match item {
            Item::Mark => Content::Mark { first_segment: self.first_segment },
            Item::Record(record) => Content::State(State {
                group: record.group,
                truncate_from: record.truncate_from,
                snapshot: record.snapshot.as_ref().map(|meta| (meta.last, &meta.membership)),
                entries: &record.entries,
                hard_state: record.hard_state,
            }),
        }
    }

    /// Writes the buffer as whole pages and syncs; keeps its last, unfinished page.
    fn flush(&mut self) -> io::Result<()> {
        let end = self.buffer.len();
        self.buffer.resize(end.next_multiple_of(PAGE as usize), 0);
        let (buffer, offset) = (&self.buffer, self.page_start);
        let active = self.segments.back_mut().expect("there is always a segment being written");
        let written = active.file.write_at(buffer, offset);
        self.buffer.truncate(end);
        written?;
        if let Err(error) = active.file.sync()
            && !(on(Mutation::SyncRetried) && active.file.sync().is_ok())
        {
            // The kernel may have marked the pages clean: a second sync would
            // say yes and mean nothing.
            self.poisoned = true;
            return Err(error);
        }
        let whole = end - end % PAGE as usize;
        self.buffer.copy_within(whole.., 0);
        self.buffer.truncate(end - whole);
        self.page_start += whole as u64;
        self.unwritten = false;
        Ok(())
    }

    /// What was written becomes what is read.
    fn take_in(&mut self, items: &[Item<'_>]) {
        for (item, place) in items.iter().zip(&self.places) {
            let Item::Record(record) = item else { continue };
            let group = self.groups.get_mut(&record.group).expect("drafted");
            let follows = group.apply(Change {
                truncate_from: record.truncate_from,
                snapshot: record.snapshot.as_deref().cloned(),
                runs: runs(&record.entries),
                memberships: record.entries.iter().filter_map(Entry::membership).collect(),
                hard_state: record.hard_state,
                place: *place,
            });
            assert!(follows, "drafted entries follow");
        }
    }
}

/// The terms of contiguous entries.
pub(crate) fn runs(entries: &[Entry]) -> impl Iterator<Item = Run> {
    entries.chunk_by(|a, b| a.position.term == b.position.term).map(|run| {
        let (first, last) = (run[0].position, run[run.len() - 1].position);
        Run { term: first.term, first: first.index, last: last.index }
    })
}

/// The record that begins a group: position zero, with its first membership.
pub(crate) fn beginning(group: GroupId, genesis: SnapshotMeta) -> Record {
    Record {
        group,
        hard_state: driftless_raft::HardState::default(),
        truncate_from: None,
        snapshot: Some(Box::new(genesis)),
        entries: Entries::NONE,
    }
}
