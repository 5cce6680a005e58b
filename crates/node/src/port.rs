//! What passes between a node and the world that drives it.
//!
//! The world owns time, links, the log's thread and the state machine. It hands
//! the node [`Event`]s, carries out its [`Action`]s in order, and brings each
//! job's completion back as an event.

use bytes::Bytes;
use driftless_codec::Entry;
use driftless_codec::frame::{FrameError, HelloRefusal};
use driftless_log::{Record, SnapshotMeta};
use driftless_raft::{GroupId, Index, NodeId, Position, Role, Term, Ticket, Time};
use std::fmt;

/// One connection, as the world counts them; never reused by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names one client request until it is answered; chosen by the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

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

/// What a client asks of its node. Answered exactly once.
#[derive(Clone, Debug)]
pub enum ClientRequest {
    /// Replicate and apply a command, once.
    Propose {
        /// Names it in the answer.
        token: RequestToken,
        /// What the machine is to apply.
        command: Bytes,
        /// Answer by then, one way or another.
        deadline: Time,
    },
    /// Say when this node's machine has everything that was acknowledged,
    /// anywhere, before this request.
    Read {
        /// Names it in the answer.
        token: RequestToken,
        /// Answer by then, one way or another.
        deadline: Time,
    },
}

/// The answer to a [`ClientRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command was applied; here is the machine's reply.
    Applied {
        /// Where it stands in the log.
        position: Position,
        /// The machine's reply.
        reply: Bytes,
    },
    /// The machine of this node is fresh enough now.
    ReadReady,
    /// No.
    Refused(RequestError),
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// Too much is in flight; nothing was done; try again in a moment.
    Busy,
    /// The command is larger than this cluster takes; nothing was done.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest allowed.
        bytes_max: usize,
    },
    /// The disk of the leader is full; nothing was done; reads go on.
    DiskFull,
    /// The deadline passed and no leader was ever asked: nothing was done.
    NoLeader,
    /// The deadline passed after the command was sent: it may yet be applied,
    /// or never. For a read it only means that no confirmation came in time.
    TimedOut,
    /// The node is stopping; a command that was sent may yet be applied.
    Stopped,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many requests are in flight; try again in a moment"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "the command has {bytes} bytes, the limit is {bytes_max}")
            }
            Self::DiskFull => f.write_str("the leader's disk is full: free space; reads go on"),
            Self::NoLeader => f.write_str("no leader was found before the deadline"),
            Self::TimedOut => f.write_str("no answer before the deadline; the outcome is unknown"),
            Self::Stopped => f.write_str("the node is stopping"),
        }
    }
}

impl std::error::Error for RequestError {}

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
    /// Tell whoever is interested that [`Status`] changed in role, term or leader.
    StatusChanged,
    /// Something that an operator wants to read in the log.
    Report(Report),
    /// Stop this node: going on could break a promise, or is pointless.
    Stop(StopReason),
}

/// Work for the log's thread.
#[derive(Debug)]
pub enum LogJob {
    /// Make a record durable.
    Append {
        /// Comes back in [`LogDone::Appended`].
        ticket: Ticket,
        /// What.
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
    /// Remember a peer's incarnation, durably.
    RememberPeer {
        /// The peer.
        peer: NodeId,
        /// Its data directory's incarnation.
        incarnation: u64,
    },
}

/// The log's answers.
#[derive(Debug)]
pub enum LogDone {
    /// This ticket and all before it are durable.
    Appended {
        /// The ticket.
        ticket: Ticket,
        /// Whether the disk is nearly full: new entries should be refused.
        low_space: bool,
    },
    /// What [`LogJob::Read`] found.
    Read {
        /// The job's id.
        id: u64,
        /// Entries from `first` on, contiguous; or why not.
        entries: Result<Vec<Entry>, ReadFailure>,
    },
    /// [`LogJob::Compact`] is done.
    Compacted,
    /// [`LogJob::RememberPeer`] is done.
    PeerRemembered {
        /// The peer.
        peer: NodeId,
    },
    /// Room is back, or has gone.
    Space {
        /// Whether the disk is nearly full.
        low_space: bool,
    },
    /// The log can promise nothing more.
    Failed(String),
}

/// Why a stretch of the log could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// It was compacted or cut meanwhile.
    Gone,
    /// It stands but does not verify.
    Damaged(Position),
    /// The disk refused.
    Io,
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
    /// Read a piece of the newest snapshot's file. Ends in [`SnapshotDone::Chunk`].
    ReadChunk {
        /// For whom.
        to: NodeId,
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
        /// The sidecar that was stored with it, or why not.
        result: Result<Bytes, String>,
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

/// Why a node stops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The disk failed; restarting is safe once it is sound.
    LogFailed(String),
    /// The machine's snapshot could not be loaded.
    SnapshotUnusable(String),
    /// A committed entry does not verify on this disk.
    EntryDamaged(Position),
    /// A peer knows this member under another incarnation: its data directory
    /// was lost or replaced, and it would vote with amnesia.
    UnknownIncarnation {
        /// Who said so.
        peer: NodeId,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogFailed(why) => write!(
                f,
                "the log failed ({why}): nothing more can be promised; check the disk, then start this member again"
            ),
            Self::SnapshotUnusable(why) => write!(f, "the snapshot could not be loaded: {why}"),
            Self::EntryDamaged(position) => write!(
                f,
                "the committed entry {position} is damaged on this disk: restore the data directory"
            ),
            Self::UnknownIncarnation { peer } => write!(
                f,
                "member {:x} knows this member with another data directory: this one was lost or replaced, \
                 and voting without its memory could lose acknowledged writes; restore the old data directory, \
                 or remove this member and add it under a new name",
                peer.0
            ),
        }
    }
}

/// What an operator wants to know; its text is made for a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// This member can send to `peer` from now on.
    PeerReached {
        /// Who.
        peer: NodeId,
    },
    /// The link to or from `peer` broke.
    PeerLost {
        /// Who.
        peer: NodeId,
    },
    /// Somebody called and was refused.
    CallerRefused {
        /// Who it says it is.
        caller: NodeId,
        /// Why.
        refusal: HelloRefusal,
    },
    /// `peer` refused us.
    RefusedBy {
        /// Who.
        peer: NodeId,
        /// Why.
        refusal: HelloRefusal,
    },
    /// At `peer`'s address another member answers.
    WrongPeer {
        /// Whom we meant.
        peer: NodeId,
        /// Who answered.
        answered: NodeId,
        /// In which cluster.
        cluster_id: u64,
    },
    /// `peer` answers with another data directory than it had.
    PeerLostItsDisk {
        /// Who.
        peer: NodeId,
    },
    /// What came over a link is no frame, or none that may come there.
    BadFrame {
        /// Who sent it, if that is known.
        peer: Option<NodeId>,
        /// What is wrong.
        error: FrameFault,
    },
    /// A snapshot was taken.
    SnapshotSaved {
        /// Up to where.
        last: Position,
    },
    /// A leader's snapshot replaced this member's state.
    SnapshotInstalled {
        /// Up to where.
        last: Position,
    },
    /// A snapshot could not be taken, sent or received; it is tried again.
    SnapshotFailed(String),
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// It does not decode.
    Malformed(FrameError),
    /// It may not come at this point of a conversation.
    OutOfTurn,
    /// It is for a group that this node does not host.
    WrongGroup(GroupId),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerReached { peer } => write!(f, "reached member {:x}", peer.0),
            Self::PeerLost { peer } => write!(f, "lost the link with member {:x}", peer.0),
            Self::CallerRefused { caller, refusal } => {
                write!(f, "refused a call of member {:x}: ", caller.0)?;
                f.write_str(match refusal {
                    HelloRefusal::Cluster => {
                        "it belongs to another cluster (check its peer addresses and cluster token)"
                    }
                    HelloRefusal::NotMe => {
                        "it means to reach another member (check the peer addresses)"
                    }
                    HelloRefusal::NotAMember => "it is no member of this cluster",
                    HelloRefusal::Incarnation => {
                        "its data directory is not the one that it had (it was lost or replaced)"
                    }
                })
            }
            Self::RefusedBy { peer, refusal } => {
                write!(f, "member {:x} refuses us: ", peer.0)?;
                f.write_str(match refusal {
                    HelloRefusal::Cluster => {
                        "it belongs to another cluster (check the peer addresses and the cluster token)"
                    }
                    HelloRefusal::NotMe => "another member answers at its address",
                    HelloRefusal::NotAMember => "it does not know us as a member of its cluster",
                    HelloRefusal::Incarnation => "it knows us with another data directory",
                })
            }
            Self::WrongPeer { peer, answered, cluster_id } => write!(
                f,
                "at the address of member {:x} answers member {:x} of cluster {cluster_id:x}: check the peer addresses",
                peer.0, answered.0
            ),
            Self::PeerLostItsDisk { peer } => write!(
                f,
                "member {:x} answers with another data directory than it had: it is not talked to",
                peer.0
            ),
            Self::BadFrame { peer, error } => {
                match peer {
                    Some(peer) => write!(f, "closing a link with member {:x}: ", peer.0)?,
                    None => f.write_str("closing a link with a stranger: ")?,
                }
                match error {
                    FrameFault::Malformed(error) => error.fmt(f),
                    FrameFault::OutOfTurn => f.write_str("a frame came out of turn"),
                    FrameFault::WrongGroup(group) => {
                        write!(f, "a frame is for group {group}, which is not hosted here")
                    }
                }
            }
            Self::SnapshotSaved { last } => write!(f, "took a snapshot up to {last}"),
            Self::SnapshotInstalled { last } => write!(f, "installed a snapshot up to {last}"),
            Self::SnapshotFailed(why) => write!(f, "a snapshot failed: {why}"),
        }
    }
}

/// How a node sees itself and its group now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub node_id: NodeId,
    /// Its role.
    pub role: Role,
    /// The current term.
    pub term: Term,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The last entry of the log.
    pub last: Position,
    /// Known committed.
    pub commit_index: Index,
    /// Durable on this member.
    pub durable_index: Index,
    /// Applied by this member's machine.
    pub applied_index: Index,
    /// The newest snapshot's last entry.
    pub snapshot: Option<Position>,
    /// Whether the disk is nearly full.
    pub low_space: bool,
}

/// What a node is told at start, beside its identity.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The algorithm's settings.
    pub raft: driftless_raft::Config,
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
