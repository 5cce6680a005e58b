//! Recovery of last resort: what makes one survivor the only member of a group whose
//! quorum is lost for good.

use driftless_codec::membership::encode_membership;
use driftless_codec::{Entry, EntryKind, Founders};
use driftless_log::{Identity, Record, Recovered as Found};
use driftless_raft::{HardState, Index, Membership, NodeId, Position};
use std::collections::BTreeSet;
use std::fmt;

/// What comes of a recovery.
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

/// Why a member cannot be the survivor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoSurvivor {
    /// This entry does not verify, and nobody is left to have it from.
    Damaged(Position),
    /// This is a witness: it holds no data.
    Witness(NodeId),
    /// This one is no member, as far as its log knows.
    NotAMember(NodeId),
    /// It is the only voter already, and needs no recovery.
    Alone(NodeId),
}

impl fmt::Display for NoSurvivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
        }
    }
}

impl std::error::Error for NoSurvivor {}

/// The record that makes the member with this log the only one of its group, once it is
/// durable behind everything that the log holds; and what comes of it.
///
/// It is a vote for itself in the next term and a membership that nobody has agreed to:
/// what Raft promises is given up. So only one survivor may be recovered, the one whose
/// log ends last, and none of the others come back.
pub fn recovery(identity: &Identity, found: &Found) -> Result<(Record, Recovered), NoSurvivor> {
    let me = identity.node_id;
    if let Some(&damaged) = found.damaged.first() {
        return Err(NoSurvivor::Damaged(damaged));
    }
    let before = &found.membership;
    if !before.contains(me) {
        return Err(NoSurvivor::NotAMember(me));
    }
    if before.is_witness(me) {
        return Err(NoSurvivor::Witness(me));
    }
    if before.iter().eq([me]) && before.voters.contains(&me) {
        return Err(NoSurvivor::Alone(me));
    }
    let mut membership = Membership::of([me]);
    if identity.replacement {
        // Its memory of what it promised is gone; but so is everybody it promised.
        membership.readmitted.insert(me, identity.incarnation);
    }
    let last = found.trail.last();
    let term = found.hard_state.current_term.next();
    // Who joins later learns from the first of the two that there were others.
    let entry = |after: u64, kind, payload| {
        let position = Position { term, index: Index(last.index.0 + after) };
        Entry { position, kind, payload }
    };
    let founders = Founders { membership: before.clone(), contacts: Vec::new() };
    let founders = entry(1, EntryKind::Founders, founders.encode());
    let alone = entry(2, EntryKind::Membership, encode_membership(&membership));
    let at = alone.position;
    let commit_index = found.hard_state.commit_index;
    let record = Record {
        group: found.group,
        hard_state: HardState { current_term: term, voted_for: Some(me), commit_index },
        truncate_from: None,
        snapshot: None,
        entries: vec![founders, alone].into(),
    };
    let removed = before.iter().filter(|id| *id != me).collect();
    let cluster_id = identity.cluster_id;
    Ok((record, Recovered { node_id: me, cluster_id, last, commit_index, removed, at }))
}
