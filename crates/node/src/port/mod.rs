//! What passes between a node and the world that drives it.
//!
//! The world owns time, links, the log's thread and the state machine. It hands
//! the node [`Event`]s, carries out its [`Action`]s in order, and brings each
//! job's completion back as an event.

mod client;
mod jobs;
mod members;
mod report;

pub use client::{Answer, ClientRequest, RequestError, RequestToken};
pub use jobs::{ApplyJob, LogDone, LogJob, ReadFailure, SnapshotChunk, SnapshotDone, SnapshotJob};
pub use members::{Member, MemberChange, MemberKind, Members};
pub use report::{FrameFault, Report, Status, StopReason};

use bytes::Bytes;
use driftless_raft::NodeId;
use std::collections::BTreeMap;

/// One connection, as the world counts them; never reused by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Bytes to write to a link in one go: shared buffers, never copied together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The parts, in order.
    pub parts: Vec<Bytes>,
}

impl Frame {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// [`Node::deadline`](crate::Node) has come.
    Wake,
    /// A client of this node asks for something.
    Client(ClientRequest),
    /// A peer connected to us; its first frame must be a hello.
    Accepted {
        /// The new link. We only read from it, but for the answer to the hello.
        link: LinkId,
    },
    /// We connected to `peer`. We only write to it, but for the answer to our hello.
    Connected {
        /// The new link.
        link: LinkId,
        /// Whom the world meant to reach.
        peer: NodeId,
    },
    /// A whole frame arrived (header included, as `codec::frame` cuts the stream).
    Frame {
        /// Where.
        link: LinkId,
        /// What.
        frame: Bytes,
    },
    /// A link ended, whoever ended it.
    Closed {
        /// Which.
        link: LinkId,
    },
    /// The log did something.
    Log(LogDone),
    /// The machine applied the batch of the one outstanding [`ApplyJob`].
    Applied {
        /// One reply a command, in order.
        replies: Vec<Bytes>,
    },
    /// Snapshot work got somewhere.
    Snapshot(SnapshotDone),
}

/// Something to be done, in order.
#[derive(Debug)]
pub enum Action {
    /// Queue this for the log. Jobs are carried out in order; appends that wait
    /// together share one write and one sync (see [`crate::run_log_jobs`]).
    Log(LogJob),
    /// Let the machine apply, then say [`Event::Applied`]. One is outstanding
    /// at most.
    Apply(ApplyJob),
    /// Do this with snapshots.
    Snapshot(SnapshotJob),
    /// Write a frame to a link. Frames of one link keep their order.
    Write {
        /// The link.
        link: LinkId,
        /// The bytes.
        frame: Frame,
    },
    /// Close a link (after what was written to it).
    Close {
        /// The link.
        link: LinkId,
    },
    /// Answer a client.
    Answer {
        /// Whose request.
        token: RequestToken,
        /// The answer.
        answer: Answer,
    },
    /// Keep a link to `peer` open at this address (several with commas between
    /// them: whichever answers), in place of the address that was said before.
    Dial {
        /// Whom.
        peer: NodeId,
        /// Where.
        address: String,
    },
    /// Dial it no more, and close the link that was dialled.
    HangUp {
        /// Whom.
        peer: NodeId,
    },
    /// Tell whoever is interested that [`Status`] changed in role, term or leader.
    StatusChanged,
    /// The same of [`Node::members`](crate::Node::members).
    MembersChanged,
    /// The same of [`Node::reached`](crate::Node::reached).
    ReachedChanged,
    /// Something that an operator wants to read in the log.
    Report(Report),
    /// Stop this node: going on could break a promise, or is pointless.
    Stop(StopReason),
}

/// What a node is told at start, beside its identity.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The algorithm's settings.
    pub raft: driftless_raft::Config,
    /// Where members are reached, this one included, as far as is known from the
    /// start. What the group says of a member goes before.
    pub addresses: BTreeMap<NodeId, String>,
    /// Bring a member that comes back with a new disk in again without being
    /// asked: as a learner first, and as the voter that it was once it has caught
    /// up. Whoever decides this says that the old disk will not come back.
    pub readmit_lost_disks: bool,
    /// This member is a witness, or is to become one. Once the log says so, it
    /// need not be said here.
    pub witness: bool,
    /// The largest command, in bytes.
    pub command_bytes_max: usize,
    /// Commands of clients that may wait at this node, in bytes.
    pub pending_bytes_max: usize,
    /// Entries kept in memory for followers and for applying, in bytes.
    pub cache_bytes_max: usize,
    /// Take a snapshot after this many bytes of entries were applied since the last.
    pub snapshot_every_bytes: u64,
    /// ... or after this many entries.
    pub snapshot_every_entries: u64,
    /// Entries kept behind a snapshot for followers that lag a little.
    pub retained_entries: u64,
    /// Bytes of a snapshot in one frame.
    pub snapshot_chunk_bytes: usize,
}

impl NodeOptions {
    /// The ordinary settings.
    pub fn new(id: NodeId) -> Self {
        Self {
            raft: driftless_raft::Config::new(id),
            addresses: BTreeMap::new(),
            readmit_lost_disks: false,
            witness: false,
            command_bytes_max: 2 << 20,
            pending_bytes_max: 64 << 20,
            cache_bytes_max: 64 << 20,
            snapshot_every_bytes: 256 << 20,
            snapshot_every_entries: 1_000_000,
            retained_entries: 10_000,
            snapshot_chunk_bytes: 256 << 10,
        }
    }
}
