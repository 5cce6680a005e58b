//! What clients ask and how they are answered.

use super::members::MemberChange;
use bytes::Bytes;
use driftless_raft::{ChangeRefusal, NodeId, Position, Time, TransferRefusal};
use std::fmt;

/// Names one client request until it is answered; chosen by the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

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
    /// Make the group's members, or where they are reached, what is wished for.
    /// Any member takes it, and has the leader do it. Done when this member has
    /// applied it, and a joint membership on the way there is left.
    Change {
        /// Names it in the answer.
        token: RequestToken,
        /// What is wished for.
        change: MemberChange,
        /// Answer by then, one way or another.
        deadline: Time,
    },
    /// Hand leadership over to `to`. Only the leader takes it.
    Transfer {
        /// Names it in the answer.
        token: RequestToken,
        /// Who is to lead.
        to: NodeId,
        /// Given up then, if it is not done.
        deadline: Time,
    },
}

impl ClientRequest {
    /// Names it in the answer.
    pub fn token(&self) -> RequestToken {
        match self {
            Self::Propose { token, .. }
            | Self::Read { token, .. }
            | Self::Change { token, .. }
            | Self::Transfer { token, .. } => *token,
        }
    }
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
    /// The members are as was wished for, as this node has applied it.
    Changed,
    /// This node knows the chosen member as leader.
    Transferred,
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
    /// The disk of the leader is full, or those of so many others that no quorum
    /// could store the command; nothing was done; reads go on.
    DiskFull,
    /// The deadline passed and no leader was ever asked: nothing was done.
    NoLeader,
    /// The deadline passed after the command was sent: it may yet be applied,
    /// or never. For a read it only means that no confirmation came in time.
    TimedOut,
    /// The command was applied, but its reply is not kept any more.
    ReplyLost,
    /// This member fell so far behind that nobody remembers what became of the
    /// command: it was applied, or never will be.
    SessionLost,
    /// The node is stopping; a command that was sent may yet be applied.
    Stopped,
    /// The change of membership was refused; nothing was done of it, but for
    /// addresses that came with it.
    Change(ChangeRefusal),
    /// A member of this name was there and is gone. Names are not used twice:
    /// what it may still say must not be taken for the new one's.
    IdRemoved(NodeId),
    /// This member is a witness: it holds no data, and takes no commands. Ask another.
    Witness,
    /// More bytes of addresses than a member may have.
    AddressTooLong(NodeId),
    /// Only the leader does this; nothing was done.
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<NodeId>,
    },
    /// Leadership was not handed over.
    Transfer(TransferRefusal),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many requests are in flight; try again in a moment"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "the command has {bytes} bytes, the limit is {bytes_max}")
            }
            Self::DiskFull => {
                f.write_str("the disks of the leader or a quorum are full: free space; reads go on")
            }
            Self::NoLeader => f.write_str("no leader was found before the deadline"),
            Self::TimedOut => f.write_str("no answer before the deadline; the outcome is unknown"),
            Self::ReplyLost => f.write_str("the command was applied; its reply is lost"),
            Self::SessionLost => {
                f.write_str("this member was too far behind; the outcome is unknown")
            }
            Self::Stopped => f.write_str("the node is stopping"),
            Self::Change(refusal) => refusal.fmt(f),
            Self::IdRemoved(id) => {
                write!(f, "member {:x} was removed from the cluster: add it under a new name", id.0)
            }
            Self::Witness => f.write_str("this member is a witness and holds no data: ask another"),
            Self::AddressTooLong(id) => {
                write!(f, "the addresses of member {:x} are too long", id.0)
            }
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "this member does not lead: ask member {:x}", leader.0)
            }
            Self::NotLeader { leader: None } => {
                f.write_str("this member does not lead, and knows of no leader")
            }
            Self::Transfer(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}
