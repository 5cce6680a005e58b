//! What can go wrong, in three kinds: refused, damaged, environment.

use driftless_raft::{Index, NodeId, Position};
use std::{fmt, io};

/// Why a data directory was not opened or created.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no log in it.
    NotFound,
    /// There is one already.
    Exists,
    /// It belongs to another cluster.
    AnotherCluster {
        /// The cluster that was asked for.
        expected: u64,
        /// The one that it belongs to.
        found: u64,
    },
    /// It belongs to another member of the cluster.
    AnotherMember {
        /// The member that was asked for.
        expected: NodeId,
        /// The one that it belongs to.
        found: NodeId,
    },
    /// Another process has it open.
    Locked,
    /// A newer program wrote `file`.
    NewerFormat {
        /// The file.
        file: String,
        /// The format it claims.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// What was durable does not verify. Going on could break a promise.
    Damaged(Damage),
    /// The disk refused.
    Io(io::Error),
}

/// A place that does not verify although it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte at which it begins.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the data directory holds no log"),
            Self::Exists => f.write_str("the data directory holds a log already: open it instead"),
            Self::AnotherCluster { expected, found } => write!(
                f,
                "the data directory belongs to cluster {found:x}, not {expected:x}: \
                 check the directory and the cluster token"
            ),
            Self::AnotherMember { expected, found } => write!(
                f,
                "the data directory belongs to member {found:x}, not {expected:x}: \
                 check the directory and the member's name",
                found = found.0,
                expected = expected.0,
            ),
            Self::Locked => f.write_str(
                "the data directory is in use by another process: stop it, or choose another one",
            ),
            Self::NewerFormat { file, found, known } => write!(
                f,
                "{file} has format {found}, this program reads up to {known}: use a newer program"
            ),
            Self::Damaged(damage) => write!(
                f,
                "the log is damaged: {damage}; what it acknowledged cannot be read back, so this \
                 member must not vote with it: restore the directory from a copy taken after its \
                 last vote, or remove the member and add it anew with an empty directory"
            ),
            Self::Io(error) => write!(f, "the disk refused: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// Why records were not appended.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// There is no room. Nothing of the call stands, nothing is broken: votes
    /// and terms still fit, and entries will once there is room again.
    Full {
        /// Bytes that the call needs.
        needed: u64,
        /// Bytes that there are for it.
        available: u64,
    },
    /// A record is longer than any record may be. Nothing of the call stands.
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A write or a sync failed before: nothing more can be promised. Stop the
    /// member; it may start again once the disk is sound.
    Poisoned,
    /// A write or a sync failed now. The log is poisoned.
    Io(io::Error),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed, available } => write!(
                f,
                "the disk is full: {needed} bytes are needed and {available} may be used; \
                 free space, or compact"
            ),
            Self::TooLarge { bytes } => write!(f, "a record of {bytes} bytes is above the bound"),
            Self::Poisoned => f.write_str("the log failed before and promises nothing more"),
            Self::Io(error) => write!(
                f,
                "the disk refused ({error}): stop this member, check the disk, start it again"
            ),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

/// Why entries were not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// They are gone, behind a snapshot.
    Compacted {
        /// The first that is left (or would be).
        first: Index,
    },
    /// They do not stand (yet, or any more).
    Beyond {
        /// The last that does.
        last: Index,
    },
    /// The payload of this entry does not verify.
    Damaged {
        /// The entry.
        position: Position,
    },
    /// The record does not verify any more although it did when it was opened.
    Unreadable(Damage),
    /// The disk refused.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted { first } => write!(f, "the log begins at {first} by now"),
            Self::Beyond { last } => write!(f, "the log ends at {last}"),
            Self::Damaged { position } => write!(f, "the payload of entry {position} is damaged"),
            Self::Unreadable(damage) => write!(f, "the log is damaged: {damage}"),
            Self::Io(error) => write!(f, "the disk refused: {error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether an error says that there is no room, which is lived through, rather
/// than that the device fails, which is not.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
