//! The disk of a simulated member: the log's own disk in memory, with an eye on
//! what is written and not yet synced, and a planted bug.

use driftless_node::log::memory::{MemoryDisk, MemoryFile};
use driftless_node::log::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module's text. Clones share the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    pub(crate) memory: MemoryDisk,
    /// Something was written that no sync has followed.
    unsynced: Arc<AtomicBool>,
    /// Syncs say yes and do nothing.
    drop_syncs: bool,
}

impl SimDisk {
    pub(crate) fn new(drop_syncs: bool) -> Self {
        Self { drop_syncs, ..Self::default() }
    }

    /// Whether the last write still waits for its sync.
    pub(crate) fn is_between_write_and_sync(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// A copy that shares nothing with this one.
    pub(crate) fn fork(&self) -> Self {
        let unsynced = Arc::new(AtomicBool::new(self.is_between_write_and_sync()));
        Self { memory: self.memory.fork(), unsynced, drop_syncs: self.drop_syncs }
    }

    /// Cuts the power and brings it back.
    pub(crate) fn power_cut(&self, seed: u64) {
        self.unsynced.store(false, Ordering::Relaxed);
        self.memory.crash(seed);
    }

    fn file(&self, inner: MemoryFile) -> SimFile {
        SimFile { inner, unsynced: Arc::clone(&self.unsynced), drop_syncs: self.drop_syncs }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str) -> io::Result<SimFile> {
        Ok(self.file(self.memory.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        Ok(self.file(self.memory.create(name)?))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.memory.list(directory)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.memory.remove(name)
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        if self.drop_syncs { Ok(()) } else { self.memory.sync_directory(directory) }
    }

    fn available(&self) -> io::Result<u64> {
        self.memory.available()
    }
}

/// A file of a [`SimDisk`].
pub(crate) struct SimFile {
    inner: MemoryFile,
    unsynced: Arc<AtomicBool>,
    drop_syncs: bool,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced.store(true, Ordering::Relaxed);
        self.inner.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.drop_syncs {
            return Ok(());
        }
        self.inner.sync()?;
        self.unsynced.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
}
