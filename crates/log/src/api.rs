//! What goes into a log and what comes out of it.

use driftless_codec::Entries;
use driftless_raft::{GroupId, HardState, Index, Membership, NodeId, Position, Trail};

/// Who a data directory belongs to; all but `boots` and `owed_us` is written once, at
/// creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub node_id: NodeId,
    /// A random number drawn when the directory was created: a member that
    /// lost its disk comes back with another one, and its peers refuse it.
    pub incarnation: u64,
    /// How often the directory was opened, this time included: a copy of it that
    /// is older says less than its peers have heard.
    pub boots: u64,
    /// Whether the directory took the place of one that its member lost.
    pub replacement: bool,
    /// For how long, in microseconds, an earlier life of the member may have promised to
    /// help nobody into office: its next one keeps to that, however it is set up.
    pub owed_us: u64,
}

impl Identity {
    /// That of a directory that is opened for the first time, and is its member's
    /// first.
    pub fn new(cluster_id: u64, node_id: NodeId, incarnation: u64) -> Self {
        Self { cluster_id, node_id, incarnation, boots: 1, replacement: false, owed_us: 0 }
    }
}

/// What is remembered of a peer, so that it is noticed if it comes with another
/// data directory, or with an older copy of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownPeer {
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// How often that was opened.
    pub boots: u64,
    /// What its process drew when it opened it.
    pub nonce: u64,
}

/// One atomic record of one group: after a crash all of it stands or none.
/// The order within: cut, then snapshot, then entries, then hard state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The group.
    pub group: GroupId,
    /// Term, vote and commit index as of this record.
    pub hard_state: HardState,
    /// Entries from here on are cut.
    pub truncate_from: Option<Index>,
    /// This snapshot (already durable as a file) replaces everything up to its
    /// position; entries after it stay unless cut.
    pub snapshot: Option<Box<SnapshotMeta>>,
    /// Entries added, contiguous after what stands.
    pub entries: Entries,
}

/// What a log has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Records of this many bytes, all together, have their place on disk already.
    pub claimed_bytes: u64,
    /// Whether the disk is nearly full: nothing new should be begun.
    pub low_space: bool,
}

/// Whom a data directory is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub node_id: NodeId,
}

/// What names a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry that it covers.
    pub last: Position,
    /// The membership as of `last`.
    pub membership: Membership,
}

/// What a log holds of one group when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The group.
    pub group: GroupId,
    /// The newest term, vote and commit index.
    pub hard_state: HardState,
    /// Which entries stand, from behind the newest snapshot (or from 1).
    pub trail: Trail,
    /// The membership in force at the end of the log.
    pub membership: Membership,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<SnapshotMeta>,
    /// Entries of `trail` that stand but whose payloads do not verify: never
    /// to be applied, to be had from a peer.
    pub damaged: Vec<Position>,
}
