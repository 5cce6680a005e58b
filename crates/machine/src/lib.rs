//! What a user implements: a deterministic state machine.
//!
//! The trait is shaped for machines on disk from the first day. A machine in
//! memory answers `Durable::default()` from [`StateMachine::open`] and is
//! brought up to date from the newest snapshot and the log after it.

#![forbid(unsafe_code)]

use bytes::Bytes;
use std::fmt;

/// How far a machine has come: the term and index of an entry of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppliedPosition {
    /// The entry's term.
    pub term: u64,
    /// The entry's index; 0 is before the first.
    pub index: u64,
}

/// What a machine found on its own disk.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// The last entry whose effect is there.
    pub position: AppliedPosition,
    /// The host's own state as of that position, as last handed to
    /// [`StateMachine::apply`]; empty for a machine without a disk.
    pub sidecar: Bytes,
}

/// Commands to apply together: a stretch of the log, in order, without gaps in
/// what the machine is meant to see.
pub struct Batch<'a> {
    /// The last log entry that this batch covers.
    pub through: AppliedPosition,
    /// The commands, oldest first.
    pub commands: &'a [Bytes],
    /// The host's own state as of `through`, given the replies to `commands`
    /// (it remembers them so that a retry is answered alike). A machine on disk
    /// stores it in the same atomic write as the batch; one in memory never
    /// calls this, and then it costs nothing.
    pub sidecar: &'a dyn Fn(&[Bytes]) -> Bytes,
}

/// Where a snapshot is written to or read from failed or was damaged.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are not a snapshot of this machine; says at which byte.
    Damaged {
        /// How many bytes were read before it showed.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a newer version of this machine.
    NewerVersion {
        /// The version it claims.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// Reading failed.
    Io(std::io::Error),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { offset, what } => {
                write!(f, "the snapshot is damaged at byte {offset}: {what}")
            }
            Self::NewerVersion { found, known } => write!(
                f,
                "the snapshot has format {found}, this program reads up to {known}: use a newer program"
            ),
            Self::Io(error) => write!(f, "the snapshot could not be read: {error}"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<std::io::Error> for RestoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// A snapshot being written: a frozen state, read in chunks from any thread
/// while the machine goes on applying.
pub trait Snapshot: Send {
    /// Appends the next bytes, about `bytes_max` of them, to `out`; appends
    /// nothing once everything was read.
    fn read_chunk(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> std::io::Result<()>;
}

/// A state that is small enough to be encoded in one go.
impl Snapshot for std::io::Cursor<Vec<u8>> {
    fn read_chunk(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        use std::io::Read;
        self.take(bytes_max as u64).read_to_end(out).map(drop)
    }
}

/// A deterministic state machine: the same commands in the same order give the
/// same state and the same replies on every member.
///
/// Nothing but the commands may influence it: no clock, no randomness, no
/// iteration in hash order.
pub trait StateMachine: Send + 'static {
    /// Reads the state beside applies, from any thread.
    type Reader: Clone + Send + Sync + 'static;

    /// Says what the machine already holds. Called once, first.
    fn open(&mut self) -> Durable;

    /// Applies the commands and returns one reply each, in order. Where the
    /// machine has a disk, the batch and its sidecar become durable together or
    /// not at all, and in order.
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes>;

    /// The last position that would survive a power cut now. The log is kept
    /// from there on. `None` for a machine without a disk: snapshots alone let
    /// the log go.
    fn durable_position(&self) -> Option<AppliedPosition> {
        None
    }

    /// Makes everything applied durable, where the machine has a disk.
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// A handle for reads.
    fn reader(&self) -> Self::Reader;

    /// Freezes the present state in O(1). It is read later, elsewhere, while
    /// applies go on.
    fn snapshot(&mut self) -> Box<dyn Snapshot>;

    /// Replaces the state by a snapshot's: all or nothing, also over a crash.
    fn restore(&mut self, snapshot: &mut dyn std::io::Read) -> Result<(), RestoreError>;
}
