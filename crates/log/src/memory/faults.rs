//! The ways in which the disk may fail, and how often each was met.

use super::MemoryDisk;
use super::state::State;
use std::io;

/// What happened on a disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that reached the disk.
    pub operations: u64,
    /// Syncs of files that succeeded.
    pub syncs: u64,
    /// Syncs that were made to fail.
    pub failed_syncs: u64,
    /// Writes that were made to fail.
    pub failed_writes: u64,
    /// Writes that were reported and never happened.
    pub lost_writes: u64,
    /// Writes that went to another place.
    pub misdirected_writes: u64,
    /// Writes refused because the disk was full.
    pub full: u64,
    /// Bytes that were flipped.
    pub flipped_bytes: u64,
    /// Power cuts that took something or left something torn.
    pub power_cuts: u64,
}

#[derive(Clone, Default)]
pub(super) struct Faults {
    pub(super) limit_bytes: Option<u64>,
    sync_failures: u64,
    write_error: Option<(io::ErrorKind, usize)>,
    lost_writes: u64,
    misdirected_by: Option<usize>,
    power_cut_after: Option<u64>,
    power: Power,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Power {
    #[default]
    On,
    /// Cut during the present call.
    JustCut,
    Off,
}

impl Faults {
    pub(super) fn take_sync_failure(&mut self, counters: &mut Counters) -> io::Result<()> {
        if self.sync_failures == 0 {
            return Ok(());
        }
        self.sync_failures -= 1;
        counters.failed_syncs += 1;
        Err(io::Error::other("input/output error (injected)"))
    }

    pub(super) fn take_write_error(
        &mut self,
        counters: &mut Counters,
    ) -> Option<(io::ErrorKind, usize)> {
        let error = self.write_error.take();
        counters.failed_writes += u64::from(error.is_some());
        error
    }

    pub(super) fn take_lost_write(&mut self, counters: &mut Counters) -> bool {
        let is_lost = self.lost_writes > 0;
        self.lost_writes -= u64::from(is_lost);
        counters.lost_writes += u64::from(is_lost);
        is_lost
    }

    pub(super) fn take_misdirected_write(&mut self, counters: &mut Counters) -> Option<usize> {
        let by = self.misdirected_by.take();
        counters.misdirected_writes += u64::from(by.is_some());
        by
    }

    pub(super) fn restore_power(&mut self) {
        self.power = Power::On;
        self.power_cut_after = None;
    }
}

impl State {
    /// Counts a call; fails it if the power is off or goes now.
    pub(super) fn begin_operation(&mut self) -> io::Result<()> {
        if self.faults.power == Power::JustCut {
            self.faults.power = Power::Off;
        }
        self.check_power()?;
        self.counters.operations += 1;
        match &mut self.faults.power_cut_after {
            Some(0) => {
                self.faults.power = Power::JustCut;
                self.check_power()
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.faults.power == Power::On {
            Ok(())
        } else {
            Err(io::Error::other("the power is off (injected)"))
        }
    }

    pub(super) fn power_just_cut(&self) -> bool {
        self.faults.power == Power::JustCut
    }
}

impl MemoryDisk {
    /// Lets the next `count` syncs, of files or directories, fail. What they
    /// should have made durable is lost in a power cut, whatever later syncs say.
    pub fn fail_syncs(&self, count: u64) {
        self.lock().faults.sync_failures = count;
    }

    /// Lets all files together grow to at most this many bytes.
    pub fn limit_bytes(&self, limit: Option<u64>) {
        self.lock().faults.limit_bytes = limit;
    }

    /// Lets the next write fail after `percent` of its bytes.
    pub fn fail_next_write(&self, kind: io::ErrorKind, percent: usize) {
        self.lock().faults.write_error = Some((kind, percent.min(100)));
    }

    /// Lets the next `count` writes be reported as done and never happen.
    pub fn lose_writes(&self, count: u64) {
        self.lock().faults.lost_writes = count;
    }

    /// Lets the next write go this many bytes too far (within the file).
    pub fn misdirect_next_write(&self, by: usize) {
        self.lock().faults.misdirected_by = Some(by);
    }

    /// Flips bits of a byte at rest. Says no if there is no such byte.
    pub fn flip_byte(&self, name: &str, offset: u64, mask: u8) -> bool {
        let mut state = self.lock();
        let Some(id) = state.live.get(name).copied() else { return false };
        let Some(file) = state.files.get_mut(&id) else { return false };
        let at = offset as usize;
        let Some(byte) = file.current.get_mut(at) else { return false };
        *byte ^= mask;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= mask;
        }
        state.counters.flipped_bytes += 1;
        true
    }

    /// Cuts the power when `operations` more calls have been made: the next one
    /// fails (a write may still be half done), and so do all that follow until
    /// [`MemoryDisk::crash`].
    pub fn power_cut_after(&self, operations: u64) {
        self.lock().faults.power_cut_after = Some(operations);
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.lock().check_power().is_err()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }
}
