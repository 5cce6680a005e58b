//! Recovery of last resort: a group whose quorum is lost for good goes on from
//! one survivor.

use crate::disk::RealDisk;
use crate::storage::GROUP;
use driftless_node::log::{Log, OpenError, Opened, Options};
use driftless_node::{NoSurvivor, Recovered, recovery};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why nothing was done.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecoverError {
    /// The data directory cannot be used: it is not there, or a member runs on it.
    Open {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// This member cannot be the one that goes on.
    NoSurvivor(NoSurvivor),
    /// The disk refused the new membership.
    Write(io::Error),
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { directory, error } => write!(f, "{}: {error}", directory.display()),
            Self::NoSurvivor(why) => why.fmt(f),
            Self::Write(error) => write!(f, "the log cannot be written: {error}"),
        }
    }
}

impl std::error::Error for RecoverError {}

/// Makes the member whose data is in `directory` the only one of its group, for
/// when a quorum is lost for good. No member may run on the directory; it is the
/// next start that makes it so.
///
/// This gives up what Raft promises: entries that were acknowledged by others and
/// are not in this log are lost, and entries in it that nobody acknowledged become
/// committed. So do it on *one* survivor only, the one whose log ends last (the
/// later term first, then the higher index), and start none of the others again.
/// All others are removed: add them anew, under new names and with new directories.
pub fn recover(directory: impl AsRef<Path>) -> Result<Recovered, RecoverError> {
    let directory = directory.as_ref();
    let opening = |error| RecoverError::Open { directory: directory.to_owned(), error };
    if !directory.is_dir() {
        return Err(opening(OpenError::NotFound));
    }
    let disk = RealDisk::open(directory).map_err(opening)?;
    let Opened { mut log, identity, groups } =
        Log::open(disk, None, Options::default()).map_err(opening)?;
    let group = groups.into_iter().find(|recovered| recovered.group == GROUP);
    let group = group.ok_or_else(|| opening(OpenError::NotFound))?;
    let (record, recovered) = recovery(&identity, &group).map_err(RecoverError::NoSurvivor)?;
    log.append(&[record]).map_err(|error| RecoverError::Write(io::Error::other(error)))?;
    Ok(recovered)
}
