//! A disk that counts: what is synced, how long that takes, what is written.

use crate::metrics::{Counters, add};
use driftless_node::log::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// `D`, counted.
#[derive(Clone)]
pub(crate) struct Metered<D> {
    disk: D,
    counters: Arc<Counters>,
}

impl<D> Metered<D> {
    pub(crate) fn new(disk: D, counters: Arc<Counters>) -> Self {
        Self { disk, counters }
    }
}

impl<D: Disk> Disk for Metered<D> {
    type File = MeteredFile<D::File>;

    fn open(&self, name: &str) -> io::Result<Self::File> {
        Ok(MeteredFile { file: self.disk.open(name)?, counters: self.counters.clone() })
    }

    fn create(&self, name: &str) -> io::Result<Self::File> {
        Ok(MeteredFile { file: self.disk.create(name)?, counters: self.counters.clone() })
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn available(&self) -> io::Result<u64> {
        self.disk.available()
    }
}

/// A file of a [`Metered`] disk.
pub(crate) struct MeteredFile<F> {
    file: F,
    counters: Arc<Counters>,
}

impl<F: DiskFile> DiskFile for MeteredFile<F> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        add(&self.counters.disk_bytes_written, bytes.len() as u64);
        self.file.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let result = self.file.sync();
        self.counters.synced(began.elapsed());
        result
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
