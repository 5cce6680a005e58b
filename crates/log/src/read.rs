//! Reading entries back, by index, verified.

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, ReadError};
use crate::group::{Group, Place, Stretch};
use crate::log::Log;
use crate::segment::segment_name;
use bytes::Bytes;
use driftless_codec::Entry;
use driftless_codec::record::{EntryHead, Head, HeadContent};
use driftless_raft::{GroupId, HardState, Index};
use std::io;

impl<D: Disk> Log<D> {
    /// The entries from `first` to `last` (inclusive), or fewer: about
    /// `bytes_max` of payload, but at least one. Entries that were read together
    /// share one buffer.
    pub fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, ReadError> {
        let held = self.groups.get(&group).ok_or(ReadError::Beyond { last: Index(0) })?;
        if first < held.first() {
            return Err(ReadError::Compacted { first: held.first() });
        }
        if last > held.last() || first > last {
            return Err(ReadError::Beyond { last: held.last() });
        }
        let mut entries = Vec::new();
        let mut bytes_left = bytes_max;
        let mut next = first;
        for stretch in held.stretches_from(first) {
            let until = last.min(stretch.last);
            match self.read_stretch(group, stretch, next, until, bytes_left, entries.is_empty()) {
                Ok(mut read) => {
                    bytes_left -= bytes_left.min(payload_bytes(&read));
                    next = Index(next.0 + read.len() as u64);
                    entries.append(&mut read);
                }
                // What was read before the damage is good; it is met again.
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
            if next <= until || next > last || bytes_left == 0 {
                break;
            }
        }
        Ok(entries)
    }

    /// The first index that [`Log::read`] may find, and the last.
    pub fn span(&self, group: GroupId) -> Option<(Index, Index)> {
        self.groups.get(&group).map(|held| (held.first(), held.last()))
    }

    /// Term, vote and commit index as they are durable.
    pub fn hard_state(&self, group: GroupId) -> Option<HardState> {
        self.groups.get(&group).map(|held: &Group| held.hard_state)
    }

    fn read_stretch(
        &self,
        group: GroupId,
        stretch: &Stretch,
        first: Index,
        last: Index,
        bytes_max: u64,
        at_least_one: bool,
    ) -> Result<Vec<Entry>, ReadError> {
        let Place { segment: id, offset, head_len } = stretch.place;
        let oldest = self.segments.front().map_or(0, |segment| segment.id);
        let segment = (id.checked_sub(oldest))
            .and_then(|at| self.segments.get(at as usize))
            .expect("a standing entry pins its segment");
        let mut head_bytes = vec![0; head_len as usize];
        segment.file.read_at(&mut head_bytes, offset)?;
        let unreadable =
            |what| ReadError::Unreadable(Damage { file: segment_name(id), offset, what });
        let head = Head::parse(&head_bytes, self.salt, id)
            .map_err(|_| unreadable("the record's head does not verify any more"))?;
        let HeadContent::State(state) = &head.content else {
            return Err(unreadable("the record is of another kind than before"));
        };
        if state.group != group {
            return Err(unreadable("the record is of another group than before"));
        }
        let mut wanted: Vec<EntryHead> = Vec::new();
        let mut bytes = 0;
        let skipped = first.0.saturating_sub(state.first.0) as usize;
        for entry in state.entries().skip(skipped) {
            bytes += entry.length as u64;
            let is_needed = at_least_one && wanted.is_empty();
            if entry.position.index > last || (bytes > bytes_max && !is_needed) {
                break;
            }
            wanted.push(entry);
        }
        let (Some(begin), Some(end)) = (wanted.first(), wanted.last()) else {
            return Ok(Vec::new());
        };
        let from = begin.offset;
        let mut payloads = vec![0; end.offset + end.length - from];
        let at = offset + head.head_len as u64 + from as u64;
        match segment.file.read_at(&mut payloads, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(unreadable("the segment ends within the record"));
            }
            other => other?,
        }
        let payloads = Bytes::from(payloads);
        let mut entries = Vec::with_capacity(wanted.len());
        for entry in wanted {
            let start = entry.offset - from;
            let payload = payloads.slice(start..start + entry.length);
            if !entry.verifies(&payload) {
                if entries.is_empty() {
                    return Err(ReadError::Damaged { position: entry.position });
                }
                break;
            }
            entries.push(Entry { position: entry.position, kind: entry.kind, payload });
        }
        Ok(entries)
    }
}

fn payload_bytes(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.payload.len() as u64).sum()
}
