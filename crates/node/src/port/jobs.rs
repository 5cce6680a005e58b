//! Work that the world does for a node, and what comes of it.

use bytes::Bytes;
use driftless_codec::Entry;
use driftless_log::{KnownPeer, Record, Room, SnapshotMeta};
use driftless_raft::{Index, NodeId, Position, Ticket};

/// Work for the log's thread.
#[derive(Debug)]
pub enum LogJob {
    /// Make a record durable.
    Append {
        /// Comes back in [`LogDone::Appended`].
        ticket: Ticket,
        /// What; the node keeps a share of the entries, to send and to apply from.
        record: Record,
    },
    /// Read entries back.
    Read {
        /// Comes back in [`LogDone::Read`].
        id: u64,
        /// The first.
        first: Index,
        /// The last, inclusive.
        last: Index,
        /// About this many bytes at most, but at least one entry.
        bytes_max: u64,
    },
    /// The snapshot is durable: let go of the log before `through`.
    Compact {
        /// The newest snapshot.
        snapshot: SnapshotMeta,
        /// Entries up to here may go; at or below the snapshot's last.
        through: Position,
    },
    /// See to it that records of this many bytes have room, if the disk has any.
    /// Ends in [`LogDone::Room`], whose `low_space` is true if it has not.
    Claim {
        /// How many.
        bytes: u64,
    },
    /// Remember a peer's data directory, durably.
    RememberPeer {
        /// The peer.
        peer: NodeId,
        /// What is known of it.
        known: KnownPeer,
    },
}

/// The log's answers.
#[derive(Debug)]
pub enum LogDone {
    /// This ticket and all before it are durable.
    Appended {
        /// The ticket.
        ticket: Ticket,
        /// What there is room for after it.
        room: Room,
    },
    /// What [`LogJob::Read`] found.
    Read {
        /// The job's id.
        id: u64,
        /// Entries from `first` on, contiguous; or why not.
        entries: Result<Vec<Entry>, ReadFailure>,
    },
    /// [`LogJob::Compact`] is done: the log builds on this snapshot, durably.
    Compacted {
        /// The last entry that it covers.
        snapshot: Position,
    },
    /// [`LogJob::RememberPeer`] is done.
    PeerRemembered {
        /// The peer.
        peer: NodeId,
        /// What is durably known of it.
        known: KnownPeer,
    },
    /// What there is room for now: said when it was asked for, and when it changes
    /// by itself.
    Room(Room),
    /// The log can promise nothing more.
    Failed(String),
}

/// Why a stretch of the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// It was compacted or cut meanwhile.
    Gone,
    /// It stands but does not verify.
    Damaged(Position),
    /// The disk refused, or what is there does not verify as a record at all.
    Io(String),
}

/// Commands for the machine: one batch, in log order.
#[derive(Debug)]
pub struct ApplyJob {
    /// The last log entry that the batch covers.
    pub through: Position,
    /// The commands that the machine must see (duplicates are left out).
    pub commands: Vec<Bytes>,
}

/// Work with snapshot files.
#[derive(Debug)]
pub enum SnapshotJob {
    /// Freeze the machine now (no apply is outstanding), then write the
    /// snapshot in the background. Ends in [`SnapshotDone::Saved`].
    Save {
        /// What it covers.
        meta: SnapshotMeta,
        /// The node's own state, stored with it.
        sidecar: Bytes,
        /// Names this member's data directory as the maker of the bytes.
        maker: u64,
    },
    /// Load the newest snapshot into the machine. Ends in [`SnapshotDone::Loaded`].
    Load {
        /// Which.
        meta: SnapshotMeta,
    },
    /// Read a piece of a snapshot's file. Ends in [`SnapshotDone::Chunk`].
    ReadChunk {
        /// For whom.
        to: NodeId,
        /// Of which snapshot; if it is not to be had any more, the newest from its
        /// beginning.
        snapshot: Position,
        /// From which byte.
        offset: u64,
        /// At most this many.
        bytes_max: usize,
    },
    /// Write a received piece. Ends in [`SnapshotDone::Written`].
    WriteChunk {
        /// The snapshot it belongs to; a new one starts a new file.
        meta: SnapshotMeta,
        /// Whose bytes they are; bytes of two makers never go into one file.
        maker: u64,
        /// From which byte.
        offset: u64,
        /// The piece.
        bytes: Bytes,
        /// Whether it is the last: then the file is made durable.
        done: bool,
    },
    /// Remove the snapshots before this one; nothing comes back.
    RemoveOlder {
        /// The one that the log builds on now.
        keep: Position,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum SnapshotDone {
    /// The snapshot is durable under its name.
    Saved {
        /// Which, or why not.
        result: Result<SnapshotMeta, String>,
    },
    /// The machine holds the snapshot's state.
    Loaded {
        /// The sidecar that was stored with it; `None` if there is no such snapshot; or
        /// why it cannot be loaded.
        result: Result<Option<Bytes>, String>,
    },
    /// A piece of the newest snapshot.
    Chunk {
        /// For whom.
        to: NodeId,
        /// The snapshot, the offset, the bytes and whether they are the last.
        result: Result<SnapshotChunk, String>,
    },
    /// A received piece is written (and, if it was the last, all is durable).
    Written {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Bytes held so far; what comes next starts there.
        received: u64,
        /// Whether it is whole and durable.
        done: bool,
    },
    /// A received piece could not be written.
    WriteFailed {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Why.
        error: String,
    },
}

/// A piece of a snapshot file.
#[derive(Clone, Debug)]
pub struct SnapshotChunk {
    /// Which snapshot.
    pub meta: SnapshotMeta,
    /// Whose bytes they are.
    pub maker: u64,
    /// Where the piece starts.
    pub offset: u64,
    /// The piece.
    pub bytes: Bytes,
    /// Whether the file ends here.
    pub done: bool,
}
