//! What a node says about itself.

use super::LinkId;
use driftless_codec::frame::{FrameError, HelloRefusal};
use driftless_raft::{GroupId, Index, Membership, NodeId, Position, Role, Term};
use std::fmt;

/// Why a node stops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The disk failed; restarting is safe once it is sound.
    LogFailed(String),
    /// The machine's snapshot could not be loaded.
    SnapshotUnusable(String),
    /// An entry does not verify on this disk.
    EntryDamaged(Position),
    /// A peer knows this member under another incarnation: its data directory
    /// was lost or replaced, and it would vote with amnesia.
    UnknownIncarnation {
        /// Who said so.
        peer: NodeId,
    },
    /// A peer has heard of a later life of this member's data directory: this one
    /// was restored from an older copy, and has forgotten what it promised since.
    OlderDisk {
        /// Who said so.
        peer: NodeId,
    },
    /// This entry came to this member without its data, as to a witness, and it is
    /// none.
    WithoutData(Position),
    /// This member was removed from the cluster. No failure: it has nothing left
    /// to do.
    Removed,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogFailed(why) => write!(
                f,
                "the log failed ({why}): nothing more can be promised; check the disk, then start this member again"
            ),
            Self::SnapshotUnusable(why) => write!(
                f,
                "the snapshot could not be loaded ({why}): others go on without this member; \
                 restore its data directory"
            ),
            Self::EntryDamaged(position) => write!(
                f,
                "entry {position} is damaged on this disk: others go on without this member; \
                 restore its data directory"
            ),
            Self::UnknownIncarnation { peer } => write!(
                f,
                "member {:x} knows this member with another data directory: this one was lost or replaced, \
                 and voting without its memory could lose acknowledged writes; restore the old data directory, \
                 or remove this member and add it under a new name",
                peer.0
            ),
            Self::OlderDisk { peer } => write!(
                f,
                "member {:x} knows a later state of this member's data directory: it was restored from an \
                 older copy, or two processes use copies of it; voting without its memory could lose \
                 acknowledged writes; bring this member back with an empty directory as a replacement",
                peer.0
            ),
            Self::WithoutData(position) => write!(
                f,
                "of entry {position} this member has no more than a witness has, and it is none: \
                 remove it, and add another in its place"
            ),
            Self::Removed => {
                f.write_str("it was removed from the cluster; its data directory can be deleted")
            }
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
    /// It can no longer: the link broke.
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
    /// `peer` answers with an older copy of the data directory that it had.
    PeerHasAnOlderDisk {
        /// Who.
        peer: NodeId,
    },
    /// A member that came back with another disk was brought back with it.
    Readmitting {
        /// Who.
        peer: NodeId,
    },
    /// The disk does not answer, or answers again.
    Disk {
        /// Which of the two.
        is_stalled: bool,
    },
    /// The members are these from now on, as this member has applied it.
    Members(Membership),
    /// What came over a link is no frame, or none that may come there.
    BadFrame {
        /// The link, which is closed.
        link: LinkId,
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
    /// The machine holds a snapshot's state: this member's own at its start, or a
    /// leader's that took the place of what it had.
    SnapshotInstalled {
        /// Up to where.
        last: Position,
    },
    /// This entry does not verify on this disk; a snapshot that covers it takes its
    /// place.
    EntryDamaged(Position),
    /// The newest snapshot cannot be read any more; another takes its place.
    SnapshotLost(String),
    /// A snapshot could not be taken or received; it is tried again.
    SnapshotFailed(String),
    /// A member has got a snapshot from this one, durably.
    SnapshotSent {
        /// Who.
        to: NodeId,
        /// In whose place this member sent it, if it does not lead.
        for_leader: Option<NodeId>,
    },
    /// Sending a snapshot broke off; the leader decides when, and by whom, it is tried
    /// again.
    SnapshotNotSent {
        /// To whom.
        to: NodeId,
        /// In whose place this member sent it, if it does not lead.
        for_leader: Option<NodeId>,
        /// What went wrong.
        why: String,
    },
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
            Self::PeerLost { peer } => write!(f, "lost member {:x}", peer.0),
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
                    HelloRefusal::Removed => "it was removed from the cluster",
                    HelloRefusal::OlderDisk => {
                        "its data directory is an older copy of the one that it had"
                    }
                    HelloRefusal::Crowded => "too many have called that are no members",
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
                    HelloRefusal::Removed => "we were removed from the cluster",
                    HelloRefusal::OlderDisk => {
                        "it knows a later state of our data directory than this one"
                    }
                    HelloRefusal::Crowded => "too many that are no members have called it",
                })
            }
            Self::WrongPeer { peer, answered, cluster_id } => write!(
                f,
                "at the address of member {:x} answers member {:x} of cluster {cluster_id:x}: check the peer addresses",
                peer.0, answered.0
            ),
            Self::PeerLostItsDisk { peer } => write!(
                f,
                "member {:x} answers with another data directory than it had: it is not talked to; \
                 if its old one is lost for good, bring it back with an empty one as a replacement, \
                 or remove it and add another",
                peer.0
            ),
            Self::PeerHasAnOlderDisk { peer } => write!(
                f,
                "member {:x} answers with an older copy of its data directory: it is not talked to; \
                 bring it back with an empty one as a replacement, or remove it and add another",
                peer.0
            ),
            Self::Readmitting { peer } => write!(
                f,
                "member {:x} lost its disk: it is a learner from now on, and what it was before \
                 once it has caught up",
                peer.0
            ),
            Self::Disk { is_stalled: true } => f.write_str(
                "the disk does not answer: this member does not lead until it does; check the disk",
            ),
            Self::Disk { is_stalled: false } => f.write_str("the disk answers again"),
            Self::Members(membership) => {
                let is_witness = |id: &NodeId| membership.is_witness(*id);
                let voters = &membership.voters;
                list(f, "voters: ", voters.iter().filter(|id| !is_witness(id)))?;
                list(f, "; witnesses: ", voters.iter().filter(|id| is_witness(id)))?;
                list(f, "; voters until now: ", membership.outgoing.iter())?;
                list(f, "; learners: ", membership.learners.iter())
            }
            Self::BadFrame { link: _, peer, error } => {
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
            Self::SnapshotInstalled { last } => write!(f, "loaded the snapshot up to {last}"),
            Self::EntryDamaged(position) => write!(
                f,
                "entry {position} is damaged on this disk, and let go, since a snapshot covers it: \
                 check the disk"
            ),
            Self::SnapshotLost(why) => write!(
                f,
                "the newest snapshot cannot be read ({why}): another is taken; check the disk"
            ),
            Self::SnapshotFailed(why) => write!(f, "a snapshot failed: {why}"),
            Self::SnapshotSent { to, for_leader: None } => {
                write!(f, "member {:x} got a snapshot", to.0)
            }
            Self::SnapshotSent { to, for_leader: Some(leader) } => {
                write!(f, "member {:x} got a snapshot, in the place of leader {:x}", to.0, leader.0)
            }
            Self::SnapshotNotSent { to, why, .. } => {
                write!(f, "sending member {:x} a snapshot failed: {why}", to.0)
            }
        }
    }
}

/// Writes `what` before the first of `ids`, and commas between them.
fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    ids: impl Iterator<Item = &'a NodeId>,
) -> fmt::Result {
    let mut before = what;
    for id in ids {
        write!(f, "{before}{:x}", id.0)?;
        before = ", ";
    }
    Ok(())
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
    /// The first entry that the log has not let go of; one past `last` if it is empty.
    pub first_index: Index,
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
    /// Whether this member votes and holds no data.
    pub is_witness: bool,
}
