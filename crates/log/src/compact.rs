//! Letting go of what snapshots cover: whole segments, oldest first, used again
//! under new numbers.

use crate::api::{Record, SnapshotMeta};
use crate::disk::Disk;
use crate::error::{AppendError, OpenError, is_full};
use crate::log::{Item, Log};
use crate::mutation::{Mutation, on};
use crate::scan::segment_ids;
use crate::segment::{self, FILLING, Segment, free_name, segment_name};
use crate::twin;
use driftless_codec::Entries;
use driftless_raft::{GroupId, Index};
use std::io;

impl<D: Disk> Log<D> {
    /// The snapshot is durable: it becomes the group's base, if a record has
    /// not said so already, and entries up to `through` may go. Those behind
    /// `through` stay readable for followers that lag a little, also below the
    /// snapshot; not for ever, though, and not as part of [`Recovered::trail`].
    ///
    /// Segments that no group needs any more are used again. A group that never
    /// takes a snapshot keeps all that follow its first entry.
    ///
    /// [`Recovered::trail`]: crate::Recovered::trail
    pub fn compact(
        &mut self,
        group: GroupId,
        snapshot: &SnapshotMeta,
        through: Index,
    ) -> Result<(), AppendError> {
        let held = self.groups.get(&group).expect("compaction of a group that was never begun");
        let base = held.base().map_or(Index(0), |base| base.last.index);
        if snapshot.last.index > base {
            let record = Record {
                group,
                hard_state: held.hard_state,
                truncate_from: None,
                snapshot: Some(Box::new(snapshot.clone())),
                entries: Entries::NONE,
            };
            self.append_items(&[Item::Record(&record)])?;
        }
        let held = self.groups.get_mut(&group).expect("as above");
        let base = held.base().map_or(Index(0), |base| base.last.index);
        held.release(through.min(base));
        self.recycle()
    }

    /// Bytes of segments that hold records.
    pub fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Lets go of the segments before the oldest that somebody needs.
    fn recycle(&mut self) -> Result<(), AppendError> {
        let active = self.active().id;
        let needed = self.groups.values().filter_map(crate::group::Group::oldest_segment).min();
        let first_needed = needed.unwrap_or(active).min(active);
        if self.segments.front().is_none_or(|oldest| oldest.id >= first_needed) {
            return Ok(());
        }
        // What stands only in them is said again first, and with it where the
        // log begins: a segment that is missing later is missed.
        let carried: Vec<Record> = self
            .groups
            .iter()
            .filter(|(_, group)| group.is_stated_before(first_needed))
            .map(|(id, group)| Record {
                group: *id,
                hard_state: group.hard_state,
                truncate_from: None,
                snapshot: group.base().cloned().map(Box::new),
                entries: Entries::NONE,
            })
            .collect();
        let mut items: Vec<Item<'_>> = carried.iter().map(Item::Record).collect();
        items.push(Item::Mark);
        let before = std::mem::replace(&mut self.first_segment, first_needed);
        if let Err(error) = self.append_items(&items) {
            self.first_segment = before;
            return Err(error);
        }
        let mut released = Vec::new();
        while self.segments.front().is_some_and(|oldest| oldest.id < first_needed) {
            released.extend(self.segments.pop_front());
        }
        self.retire(released).or_else(|error| {
            // Whatever was not put away is put away when the log is next opened.
            if is_full(&error) {
                return Ok(());
            }
            self.poisoned = true;
            Err(AppendError::Io(error))
        })
    }

    /// Gives segments that are no longer part of the log a next life.
    fn retire(&mut self, released: Vec<Segment<D::File>>) -> io::Result<()> {
        // First none of them bears a segment's name any more, durably: under
        // one, nothing but an intact segment is ever found.
        for segment in &released {
            self.disk.rename(&segment_name(segment.id), &free_name(segment.id))?;
        }
        self.disk.sync_directory("")?;
        for Segment { id, file, len } in released {
            self.reuse(&free_name(id), file, len)?;
        }
        self.disk.sync_directory("")
    }

    /// Makes the file `name` the next segment, or removes it if there are enough
    /// or it has another length.
    fn reuse(&mut self, name: &str, file: D::File, len: u64) -> io::Result<()> {
        let wanted =
            self.ready.len() < self.options.ready_segments_max && len == self.options.segment_len();
        if !wanted {
            drop(file);
            return self.disk.remove(name);
        }
        let from = (name, file, len);
        let segment =
            segment::activate(&self.disk, self.identity.incarnation, from, self.next_segment)?;
        // One by one: were a later one durable without this one, opening would
        // take what comes before the gap for let go.
        if !on(Mutation::RecycledNamesNotSynced) {
            self.disk.sync_directory("")?;
        }
        self.next_segment += 1;
        self.ready.push_back(segment);
        Ok(())
    }

    /// Puts away what a crash left lying about.
    pub(crate) fn tidy(&mut self) -> Result<(), OpenError> {
        let oldest = self.segments.front().map_or(0, |segment| segment.id);
        for id in segment_ids(&self.disk)? {
            if id < oldest {
                self.disk.rename(&segment_name(id), &free_name(id))?;
            }
        }
        self.disk.sync_directory("")?;
        for name in self.disk.list("")? {
            if segment::is_free(&name) || name == FILLING || twin::is_temporary(&name) {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }
}
