//! Recovery of last resort: a group whose quorum is lost for good goes on from
//! one survivor.

use crate::disk::RealDisk;
use crate::storage::GROUP;
use driftless_node::codec::membership::encode_membership;
use driftless_node::codec::{Entry, EntryKind};
use driftless_node::log::{Log, OpenError, Opened, Options, Record};
use driftless_node::raft::{HardState, Index, Membership, NodeId, Position};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// What [`recover`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The survivor: the only member from now on.
    pub node_id: NodeId,
    /// Its cluster.
    pub cluster_id: u64,
    /// The last entry that it had. Whatever was acknowledged and stands behind it
    /// in the logs of others is lost.
    pub last: Position,
    /// It knew that entries up to here were committed. Those behind, up to `last`,
    /// become committed now, whether they were acknowledged or not.
    pub commit_index: Index,
    /// The members that it had, and has no more. Their names cannot be used again;
    /// any that still runs is refused, and must not be brought back.
    pub removed: BTreeSet<NodeId>,
    /// Where the new membership stands in the log.
    pub at: Position,
}

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
    /// This entry does not verify, and nobody is left to have it from.
    Damaged(Position),
    /// This is a witness: it holds no data.
    Witness(NodeId),
    /// This one is no member, as far as its log knows.
    NotAMember(NodeId),
    /// It is the only voter already, and needs no recovery.
    Alone(NodeId),
    /// The disk refused the new membership.
    Write(io::Error),
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { directory, error } => write!(f, "{}: {error}", directory.display()),
            Self::Damaged(position) => {
                write!(f, "entry {position} is damaged on this disk: recover from another survivor")
            }
            Self::Witness(id) => write!(
                f,
                "member {:x} is a witness and holds no data: recover from another survivor",
                id.0
            ),
            Self::NotAMember(id) => {
                write!(f, "member {:x} is no member of its group: recover from one that is", id.0)
            }
            Self::Alone(id) => {
                write!(f, "member {:x} is the only voter already: just start it", id.0)
            }
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
    let me = identity.node_id;
    if let Some(&damaged) = group.damaged.first() {
        return Err(RecoverError::Damaged(damaged));
    }
    let before = &group.membership;
    if !before.contains(me) {
        return Err(RecoverError::NotAMember(me));
    }
    if before.is_witness(me) {
        return Err(RecoverError::Witness(me));
    }
    if before.iter().eq([me]) && before.voters.contains(&me) {
        return Err(RecoverError::Alone(me));
    }
    let mut membership = Membership::of([me]);
    if identity.replacement {
        // Its memory of what it promised is gone; but so is everybody it promised.
        membership.readmitted.insert(me, identity.incarnation);
    }
    let last = group.trail.last();
    let term = group.hard_state.current_term.next();
    // Who joins later learns from the first of the two that there were others.
    let entry = |after: u64, kind, payload| {
        let position = Position { term, index: Index(last.index.0 + after) };
        Entry { position, kind, payload }
    };
    let founders = entry(1, EntryKind::Founders, encode_membership(before));
    let alone = entry(2, EntryKind::Membership, encode_membership(&membership));
    let at = alone.position;
    let commit_index = group.hard_state.commit_index;
    let record = Record {
        group: GROUP,
        hard_state: HardState { current_term: term, voted_for: Some(me), commit_index },
        truncate_from: None,
        snapshot: None,
        entries: vec![founders, alone].into(),
    };
    log.append(&[record]).map_err(|error| RecoverError::Write(io::Error::other(error)))?;
    let removed = before.iter().filter(|id| *id != me).collect();
    let cluster_id = identity.cluster_id;
    Ok(Recovered { node_id: me, cluster_id, last, commit_index, removed, at })
}
