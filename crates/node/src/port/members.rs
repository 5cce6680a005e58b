//! Who the members are, as clients see and change them.

use driftless_raft::{Change, Membership, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What is wished for about the members, taken as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberChange {
    /// Who comes, goes or becomes something else; empty to change addresses only.
    pub changes: Vec<Change>,
    /// Where members are reached by their peers: `host:port` or a URL, several with
    /// commas between them. A member that is added should have its own here.
    pub contacts: BTreeMap<NodeId, String>,
    /// Do it even if the voters that would be and are known to be up are no quorum,
    /// or if one that is promoted has not caught up.
    pub forced: bool,
}

impl From<Change> for MemberChange {
    fn from(change: Change) -> Self {
        Self { changes: vec![change], ..Self::default() }
    }
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKind {
    /// It votes, holds everything and may lead.
    Voter,
    /// It is sent everything and does not vote.
    Learner,
    /// It votes, and holds no data.
    Witness,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub kind: MemberKind,
    /// Where its peers reach it: as the log says, else as this member was told at its
    /// start, which others need not know.
    pub address: Option<String>,
}

/// The members, as a node has applied them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Each member, by its name.
    pub members: BTreeMap<NodeId, Member>,
    /// Whether a change is under way that is left by itself.
    pub joint: bool,
    /// Those that were members and are gone: their names are not used again.
    pub removed: BTreeSet<NodeId>,
}

impl Members {
    /// Those of `membership`, where `address` says how each is reached.
    pub fn of(membership: &Membership, address: impl Fn(NodeId) -> Option<String>) -> Self {
        let kind = |id| match () {
            () if membership.is_witness(id) => MemberKind::Witness,
            () if membership.is_voter(id) => MemberKind::Voter,
            () => MemberKind::Learner,
        };
        let member = |id| (id, Member { kind: kind(id), address: address(id) });
        Self {
            members: membership.iter().map(member).collect(),
            joint: membership.is_joint(),
            removed: BTreeSet::new(),
        }
    }
}
