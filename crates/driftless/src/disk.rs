//! The real disk: files in a directory that one process owns at a time.

use driftless_node::log::{Disk, DiskFile, OpenError};
use rustix::fs::{FlockOperation, flock, statvfs};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;

const LOCK: &str = "lock";
const SNAPSHOTS: &str = "snapshots";
/// What is stored is nobody else's to read.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A data directory, locked as long as any clone of this lives.
#[derive(Clone, Debug)]
pub struct RealDisk {
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// The kernel releases the lock with the file, also of a killed process.
    _lock: File,
}

/// A file in a data directory.
#[derive(Debug)]
pub struct RealFile {
    file: File,
}

impl RealDisk {
    /// Takes possession of the directory at `path`, which is made if need be;
    /// [`OpenError::Locked`] if another process has it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        create_directory(path)?;
        let lock_path = path.join(LOCK);
        let lock = file_options().create(true).truncate(false).open(lock_path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Locked),
            other => other.map_err(io::Error::from)?,
        }
        create_directory(&path.join(SNAPSHOTS))?;
        Ok(Self { directory: Arc::new(Directory { path: path.to_owned(), _lock: lock }) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }
}

fn file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

/// Makes a directory that survives a power cut: its parents know of it.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, name: &str) -> io::Result<RealFile> {
        Ok(RealFile { file: file_options().open(self.at(name))? })
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        Ok(RealFile { file: file_options().create_new(true).open(self.at(name))? })
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(directory))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not text is not one of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        File::open(self.at(directory))?.sync_all()
    }

    fn available(&self) -> io::Result<u64> {
        let figures = statvfs(self.path())?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
