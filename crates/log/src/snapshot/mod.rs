//! Snapshots as files, beside the log and usable from other threads.
//!
//! A snapshot is written under a `.part` name, made durable, and only then given
//! its own: a file under its own name is whole. It becomes part of the group's
//! history only by a record of the log that names it, so the one before must
//! stay until that record is durable.

mod format;
mod reader;
mod writer;

pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

use crate::api::SnapshotMeta;
use crate::disk::Disk;
use crate::error::Damage;
use driftless_raft::{GroupId, Position};
use std::{fmt, io};

pub(crate) const DIRECTORY: &str = "snapshots";

/// The snapshots of all groups of a node.
#[derive(Clone, Debug)]
pub struct SnapshotStore<D> {
    disk: D,
}

/// Why a snapshot was not read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no such snapshot.
    NotFound,
    /// It does not verify.
    Damaged(Damage),
    /// A newer program wrote it.
    NewerFormat {
        /// The format it claims.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// The disk refused.
    Io(io::Error),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such snapshot"),
            Self::Damaged(damage) => write!(f, "the snapshot is damaged: {damage}"),
            Self::NewerFormat { found, known } => write!(
                f,
                "the snapshot has format {found}, this program reads up to {known}: \
                 use a newer program"
            ),
            Self::Io(error) => write!(f, "the disk refused: {error}"),
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::NotFound } else { Self::Io(error) }
    }
}

impl From<Damage> for SnapshotError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl<D: Disk + Clone> SnapshotStore<D> {
    /// The snapshots on `disk`. What a crash left half written stays, to be
    /// resumed, unless a whole one of the same group is as new.
    pub fn open(disk: D) -> io::Result<Self> {
        disk.sync_directory(DIRECTORY)?;
        let store = Self { disk };
        let mut removed = false;
        let files = store.files()?;
        for file in files.iter().filter(|file| file.is_part) {
            let is_stale = files.iter().any(|whole| {
                !whole.is_part && whole.group == file.group && whole.last >= file.last
            });
            if is_stale {
                store.disk.remove(&file.name())?;
                removed = true;
            }
        }
        if removed {
            store.disk.sync_directory(DIRECTORY)?;
        }
        Ok(store)
    }

    /// Begins to write a snapshot of `group`, whose length need not be known.
    /// `maker` names whose bytes they are: two makers may write down the same
    /// state differently, so only bytes of the same maker go into one file. What
    /// was half written of the group before is given up.
    pub fn begin(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        maker: u64,
    ) -> Result<SnapshotWriter<D>, SnapshotError> {
        for file in self.files()?.iter().filter(|file| file.is_part && file.group == group) {
            self.disk.remove(&file.name())?;
        }
        let name = FileName { group, last: meta.last, is_part: true };
        SnapshotWriter::begin(self.disk.clone(), name, meta, maker)
    }

    /// Goes on with a snapshot that was half written, from
    /// [`SnapshotWriter::received`] on. `None` if there is nothing to go on with.
    pub fn resume(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        maker: u64,
    ) -> Result<Option<SnapshotWriter<D>>, SnapshotError> {
        let name = FileName { group, last: meta.last, is_part: true };
        SnapshotWriter::resume(self.disk.clone(), name, meta, maker)
    }

    /// Opens the snapshot of `group` at `last`.
    pub fn read(
        &self,
        group: GroupId,
        last: Position,
    ) -> Result<SnapshotReader<D::File>, SnapshotError> {
        SnapshotReader::open(&self.disk, FileName { group, last, is_part: false })
    }

    /// The whole snapshots of `group`, oldest first.
    pub fn list(&self, group: GroupId) -> io::Result<Vec<Position>> {
        let files = self.files()?;
        let whole = files.iter().filter(|file| file.group == group && !file.is_part);
        let mut positions: Vec<Position> = whole.map(|file| file.last).collect();
        positions.sort_unstable();
        Ok(positions)
    }

    /// Removes the snapshots of `group` before `keep`: once a record that names
    /// `keep` is durable, and nobody reads them.
    pub fn remove_older(&self, group: GroupId, keep: Position) -> io::Result<()> {
        let mut removed = false;
        for file in self.files()? {
            if file.group == group && file.last < keep {
                self.disk.remove(&file.name())?;
                removed = true;
            }
        }
        if removed { self.disk.sync_directory(DIRECTORY) } else { Ok(()) }
    }

    fn files(&self) -> io::Result<Vec<FileName>> {
        Ok(self.disk.list(DIRECTORY)?.iter().filter_map(|name| FileName::parse(name)).collect())
    }
}

/// A snapshot's file name: what it is of, and whether it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    pub(crate) group: GroupId,
    pub(crate) last: Position,
    pub(crate) is_part: bool,
}

impl FileName {
    /// The name that is valid for the disk.
    pub(crate) fn name(&self) -> String {
        let Self { group, last, is_part } = self;
        let part = if *is_part { ".part" } else { "" };
        format!("{DIRECTORY}/{:016x}-{:016x}-{:016x}{part}", group.0, last.index.0, last.term.0)
    }

    /// Reads a name as the directory lists it, with or without the directory.
    pub(crate) fn parse(listed: &str) -> Option<Self> {
        let name = listed.strip_prefix("snapshots/").unwrap_or(listed);
        let (stem, is_part) = match name.strip_suffix(".part") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let mut words = stem.split('-').map(|digits| u64::from_str_radix(digits, 16));
        let mut next = || words.next()?.ok();
        let (group, index, term) = (next()?, next()?, next()?);
        let parsed = Self { group: GroupId(group), last: Position::new(term, index), is_part };
        (parsed.name().strip_prefix("snapshots/") == Some(name)).then_some(parsed)
    }
}
