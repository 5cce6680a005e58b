//! What the log needs of a disk. The real one is files in a directory; the
//! simulated one remembers what was synced and what a crash may take.

use std::io;

/// A directory, flat but for names with one `/` (`snapshots/…`).
pub trait Disk: Send + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Creates a file for reading and writing; `AlreadyExists` if it is there.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// The names of the files in `directory` ("" or "snapshots"), sorted, without
    /// the directory.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Renames, replacing `to`. Durable only after `sync_directory`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after `sync_directory`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in `directory` durable.
    fn sync_directory(&self, directory: &str) -> io::Result<()>;
    /// Bytes that may still be written, as far as the disk can tell.
    fn available(&self) -> io::Result<u64>;
}

/// A file of a [`Disk`]. Reads and writes name their place; there is no cursor.
pub trait DiskFile: Send + 'static {
    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, extending the file if need be.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file's contents durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends the file.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}
