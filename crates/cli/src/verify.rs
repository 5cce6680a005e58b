//! `driftless log verify`: reads a member's data directory offline.

use crate::failure::{Context, Failure};
use crate::output::print;
use clap::{Args, Subcommand};
use driftless_sim::node::log::{Disk, DiskFile, Report, verify};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Look into a member's log on disk
#[derive(Subcommand)]
pub(crate) enum LogCommand {
    Verify(VerifyArguments),
}

/// Check everything in a data directory, without changing anything
#[derive(Args)]
#[command(after_help = "\
Says whose directory it is, what its log holds, and what is damaged. The member
must not be running. Exit code 0 if everything verifies, 1 if not.

Example:
  driftless log verify ./driftless-data/n1")]
pub(crate) struct VerifyArguments {
    /// The data directory of one member
    dir: PathBuf,
}

/// Runs it.
pub(crate) fn run(command: &LogCommand) -> Result<(), Failure> {
    let LogCommand::Verify(VerifyArguments { dir }) = command;
    let report = report(dir)?;
    print(&format!("{}\n", report.to_string().trim_end()))?;
    if report.is_whole() {
        Ok(())
    } else {
        Err(Failure::new(format!("{} does not verify; see above", dir.display())))
    }
}

/// What a data directory holds.
pub(crate) fn report(directory: &Path) -> Result<Report, Failure> {
    Ok(verify(&ReadOnly::open(directory)?))
}

/// A data directory that is only looked at.
struct ReadOnly {
    directory: PathBuf,
    /// Keeps a member from starting meanwhile.
    _lock: Option<File>,
}

impl ReadOnly {
    fn open(directory: &Path) -> Result<Self, Failure> {
        let shown = directory.display();
        if !directory.metadata().context(format!("cannot read {shown}"))?.is_dir() {
            return Err(Failure::new(format!(
                "{shown} is not a directory: name the data directory of a member"
            )));
        }
        let lock = File::open(directory.join("lock")).ok();
        if let Some(lock) = &lock
            && let Err(error) = flock(lock, FlockOperation::NonBlockingLockShared)
        {
            return Err(Failure::new(format!(
                "{shown} cannot be locked ({error}): its member seems to be running. Stop it \
                 first; what is being written cannot be verified."
            )));
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "verifying changes nothing"))
}

impl Disk for ReadOnly {
    type File = ReadOnlyFile;

    fn open(&self, name: &str) -> io::Result<ReadOnlyFile> {
        File::open(self.directory.join(name)).map(ReadOnlyFile)
    }

    fn create(&self, _name: &str) -> io::Result<ReadOnlyFile> {
        refused()
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.directory.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Others' files may have names that ours never have.
            if let (true, Ok(name)) =
                (entry.file_type()?.is_file(), entry.file_name().into_string())
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    /// What is on disk is synced before it is believed; that changes nothing.
    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        File::open(self.directory.join(directory))?.sync_all()
    }

    fn available(&self) -> io::Result<u64> {
        Ok(0)
    }
}

struct ReadOnlyFile(File);

impl DiskFile for ReadOnlyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&mut self, _len: u64) -> io::Result<()> {
        refused()
    }
}
