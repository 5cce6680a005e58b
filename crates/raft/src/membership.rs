//! Who votes, and what a quorum of them is.

use crate::types::NodeId;
use alloc::collections::BTreeSet;

/// The members of a group.
///
/// Today one set of voters. Learners, witnesses and joint consensus take their
/// place beside it; every question about quorums is asked here, never by
/// counting elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Those whose votes and copies count.
    pub voters: BTreeSet<NodeId>,
}

impl Membership {
    /// A membership of these voters.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect() }
    }
}
