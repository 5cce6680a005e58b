//! Who votes, and what a quorum of them is.

use crate::types::{Index, NodeId};
use alloc::collections::BTreeSet;

#[cfg(test)]
#[path = "membership_test.rs"]
mod tests;

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

    /// Whether `id` is a member.
    pub fn contains(&self, id: NodeId) -> bool {
        self.voters.contains(&id)
    }

    /// Every member, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied()
    }

    /// Whether those who `agree` are a quorum: more than half of the voters.
    pub fn is_quorum(&self, agree: impl Fn(NodeId) -> bool) -> bool {
        let agreeing = self.voters.iter().filter(|&&id| agree(id)).count();
        agreeing > self.voters.len() / 2
    }

    /// The highest index that a quorum holds, where `held(id)` says how far
    /// `id` has come; zero if there are no voters.
    pub fn quorum_index(&self, held: impl Fn(NodeId) -> Index) -> Index {
        self.iter()
            .map(&held)
            .filter(|&index| self.is_quorum(|id| held(id) >= index))
            .max()
            .unwrap_or_default()
    }
}
