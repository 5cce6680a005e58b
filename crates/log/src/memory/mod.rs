//! A disk in memory that remembers what was synced and what a power cut may
//! take, and that fails in the ways disks fail. Simulations and tests run the
//! real log on it; everything it does follows from the calls and the seeds given.
//!
//! What a power cut may do: of each file, any subset of the 512-byte sectors
//! written since its last sync survives (a sector is never torn: disks promise
//! that much); of each directory, any subset of the creations, renames and
//! removals since its last sync.

mod crash;
mod faults;
mod random;
mod state;

pub use faults::Counters;
pub use random::SplitMix64;

use crate::disk::{Disk, DiskFile};
use state::{FileId, State};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writes survive a power cut in units of this many bytes.
pub const SECTOR: usize = 512;

/// A handle to a disk in memory. Clones share the disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryDisk").field("names", &state.live).finish_non_exhaustive()
    }
}

/// An open file of a [`MemoryDisk`]. It goes stale in a power cut.
pub struct MemoryFile {
    state: Arc<Mutex<State>>,
    id: FileId,
    boot: u64,
}

impl MemoryDisk {
    /// An empty disk without bounds.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy that shares nothing with this one: the disk as it is now, also in
    /// what it has not synced yet.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.lock().clone();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The contents of a file as a process would read them now.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let id = state.live.get(name)?;
        state.files.get(id).map(|file| file.current.clone())
    }

    /// Replaces a file from outside, durably, as an administrator would.
    pub fn put(&self, name: &str, contents: &[u8]) {
        self.lock().put(name, contents);
    }

    /// All names, sorted, directories included (`snapshots/…`).
    pub fn names(&self) -> Vec<String> {
        self.lock().live.keys().cloned().collect()
    }

    /// Bytes held by all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.lock();
        state.begin_operation()?;
        let id = *state.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(MemoryFile { state: Arc::clone(&self.state), id, boot: state.boot })
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.lock();
        state.begin_operation()?;
        let id = state.create(name)?;
        Ok(MemoryFile { state: Arc::clone(&self.state), id, boot: state.boot })
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.begin_operation()?;
        Ok(state.list(directory))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_operation()?;
        state.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_operation()?;
        state.remove(name)
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_operation()?;
        state.sync_directory(directory)
    }

    fn available(&self) -> io::Result<u64> {
        let state = self.lock();
        state.check_power()?;
        Ok(state
            .faults
            .limit_bytes
            .map_or(u64::MAX / 2, |limit| limit.saturating_sub(state.used_bytes())))
    }
}

impl MemoryFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.boot == self.boot {
            Ok(state)
        } else {
            Err(io::Error::other("the file was opened before a power cut"))
        }
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        state.begin_operation()?;
        state.read(self.id, buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let cut = state.begin_operation();
        // Power may go in the middle of a write: some of it may be there.
        if cut.is_err() && !state.power_just_cut() {
            return cut;
        }
        let written = state.write(self.id, bytes, offset);
        cut.and(written)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.lock()?;
        state.begin_operation()?;
        state.sync(self.id)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.lock()?;
        state.begin_operation()?;
        Ok(state.file(self.id)?.current.len() as u64)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        state.begin_operation()?;
        state.set_len(self.id, len)
    }
}
