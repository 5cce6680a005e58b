//! Room: what the segments on disk hold, and making further ones ahead of need.

use crate::api::Room;
use crate::disk::Disk;
use crate::error::{AppendError, is_full};
use crate::log::Log;
use crate::mutation::{Mutation, on};
use crate::options::{PAGE, whole_pages};
use crate::segment::{self, Filling};
use driftless_codec::record::RECORD_BYTES_MAX;
use std::io;

impl<D: Disk> Log<D> {
    /// What may be handed over now, and whether to begin anything new.
    pub fn room(&self) -> Room {
        Room { claimed_bytes: self.claimed_bytes(), low_space: self.low_space() }
    }

    /// Records of this many bytes in all have their places on disk already: they
    /// fit whatever becomes of the rest of the disk, and leave the reserve alone.
    ///
    /// That is the largest space in one piece: records go where they fit first,
    /// so they are all written before it is used up.
    pub fn claimed_bytes(&self) -> u64 {
        if self.poisoned {
            return 0;
        }
        let reserve = |is_last: bool| if is_last { self.options.reserve_bytes } else { 0 };
        let here =
            (self.active().len - self.position()).saturating_sub(reserve(self.ready.is_empty()));
        let ready = self.ready.iter().map(|segment| segment.len - PAGE);
        let last = self.ready.len().saturating_sub(1);
        let ready = ready.enumerate().map(|(at, bytes)| bytes.saturating_sub(reserve(at == last)));
        ready.fold(here, u64::max)
    }

    /// Sees to it that there are `bytes` of [`Log::claimed_bytes`], if the disk
    /// has them; says whether there are.
    pub fn claim(&mut self, bytes: u64) -> Result<bool, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.claimed_bytes() >= bytes {
            return Ok(true);
        }
        let wanted = PAGE.saturating_add(bytes).saturating_add(self.options.reserve_bytes);
        if wanted > RECORD_BYTES_MAX as u64 {
            return Ok(false);
        }
        match self.make_segment(whole_pages(wanted).max(self.options.segment_len())) {
            Ok(()) => Ok(self.claimed_bytes() >= bytes),
            Err(AppendError::Full { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Bytes of records with payloads that would be taken now.
    pub fn room_bytes(&self) -> u64 {
        if self.poisoned {
            return 0;
        }
        let ready: u64 = self.ready.iter().map(|segment| segment.len - PAGE).sum();
        let here = self.active().len - self.position() + ready;
        let segment = self.options.segment_len();
        let may_come = self.disk_may_take() / segment * (segment - PAGE);
        (here + may_come).saturating_sub(self.options.reserve_bytes)
    }

    /// Whether there is so little room left that no new entries should be begun;
    /// those under way still fit.
    pub fn low_space(&self) -> bool {
        self.room_bytes() < self.options.low_space_bytes
    }

    /// Does a bounded piece of work towards having a segment in reserve; true
    /// if there is more to do. To be called when nothing else waits; a busy log
    /// sees to it by itself.
    pub fn prepare_spare(&mut self) -> Result<bool, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        let len = self.options.segment_len();
        if !self.ready.is_empty() || self.disk_may_take() < len {
            return Ok(false);
        }
        match self.fill_slice(len) {
            Ok(done) => Ok(!done),
            Err(AppendError::Full { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the next segment ahead, in step with the active one: it is ready
    /// when three quarters of that are used.
    pub(crate) fn fill_ahead(&mut self) -> Result<(), AppendError> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let len = self.options.segment_len();
        let (used, active) = (u128::from(self.position()), u128::from(self.active().len));
        loop {
            let written = u128::from(self.filling.as_ref().map_or(0, |filling| filling.written));
            if written * active * 3 >= used * u128::from(len) * 4 {
                return Ok(());
            }
            if !self.ready.is_empty() || !self.prepare_spare()? {
                return Ok(());
            }
        }
    }

    /// What new segments may take of the disk.
    fn disk_may_take(&self) -> u64 {
        let filled = self.filling.as_ref().map_or(0, |filling| filling.written);
        let available = self.disk.available().unwrap_or(0) + filled;
        available.saturating_sub(self.options.keep_free_bytes)
    }

    /// A further segment of `len` bytes, written in full and durable.
    pub(crate) fn make_segment(&mut self, len: u64) -> Result<(), AppendError> {
        if self.filling.as_ref().is_some_and(|filling| filling.len < len) {
            self.drop_filling();
        }
        let filled = self.filling.as_ref().map_or(0, |filling| filling.written);
        if self.disk_may_take() < len.max(filled) {
            return Err(AppendError::Full { needed: len, available: 0 });
        }
        while !self.fill_slice(len)? {}
        Ok(())
    }

    /// Writes one slice of a segment to come; true once it is ready. Without
    /// room it gives back what it took.
    fn fill_slice(&mut self, len: u64) -> Result<bool, AppendError> {
        match self.try_fill_slice(len) {
            Ok(done) => Ok(done),
            Err(error) if is_full(&error) => {
                self.drop_filling();
                Err(AppendError::Full { needed: len, available: 0 })
            }
            Err(error) => {
                self.poisoned = true;
                Err(AppendError::Io(error))
            }
        }
    }

    fn try_fill_slice(&mut self, len: u64) -> io::Result<bool> {
        if self.filling.is_none() {
            self.filling = Some(Filling::begin(&self.disk, len)?);
        }
        let filling = self.filling.as_mut().expect("begun above");
        if !filling.is_complete() {
            filling.advance()?;
        }
        if !filling.is_complete() {
            return Ok(false);
        }
        let Filling { file, len, .. } = self.filling.take().expect("begun above");
        let from = (segment::FILLING, file, len);
        let segment =
            segment::activate(&self.disk, self.identity.incarnation, from, self.next_segment)?;
        if !on(Mutation::DirectoryNotSynced) {
            self.disk.sync_directory("")?;
        }
        self.next_segment += 1;
        self.ready.push_back(segment);
        Ok(true)
    }

    fn drop_filling(&mut self) {
        if self.filling.take().is_some() {
            // What stays behind is removed when the log is opened next.
            let _ = self.disk.remove(segment::FILLING);
        }
    }
}
