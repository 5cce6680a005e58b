//! Who votes, and what a quorum of them is: §6 of the paper, chapter 4 of the
//! thesis. How one membership follows another is in `change.rs`.

use crate::node_set::NodeSet;
use crate::types::{Index, NodeId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

#[cfg(test)]
#[path = "membership_test.rs"]
mod tests;

/// The members of a group, and what each is.
///
/// Every question about quorums is asked here, never by counting elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Those whose votes and copies count; in a joint membership C_new.
    pub voters: NodeSet,
    /// In a joint membership C_old, whose majority is needed as well (§6);
    /// empty otherwise.
    pub outgoing: NodeSet,
    /// Those that are sent the log and do not count (thesis §4.2.1). One that is
    /// in `outgoing` too becomes a learner when the joint membership is left.
    pub learners: NodeSet,
    /// Which of all these store positions and no payloads. They vote and
    /// acknowledge, but never lead (thesis §11.7.2).
    pub witnesses: NodeSet,
    /// Members that lost their disk and were brought back, and the incarnation
    /// of the disk that they came back with. See [`Change::Readmit`].
    ///
    /// [`Change::Readmit`]: crate::Change::Readmit
    pub readmitted: BTreeMap<NodeId, u64>,
    /// Those learners that voted when they lost their disk, and are to vote again.
    pub returning: NodeSet,
}

impl Membership {
    /// A membership of these voters.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether `id` is a member of any kind.
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Every member once: voters, then those on their way out, then learners.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + Clone + '_ {
        let learners = self.learners.iter().copied().filter(|&id| !self.is_voter(id));
        self.every_voter().chain(learners)
    }

    /// Every voter once, of both sides.
    pub fn every_voter(&self) -> impl Iterator<Item = NodeId> + Clone + '_ {
        let outgoing = self.outgoing.iter().filter(|&id| !self.voters.contains(id));
        self.voters.iter().chain(outgoing).copied()
    }

    /// Whether the vote of `id` counts, on either side.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` is a witness.
    pub fn is_witness(&self, id: NodeId) -> bool {
        self.witnesses.contains(&id)
    }

    /// Whether `id` may lead: a voter that holds the payloads.
    pub fn may_lead(&self, id: NodeId) -> bool {
        self.is_voter(id) && !self.is_witness(id)
    }

    /// Whether two sets of voters must agree separately (§6: "C_old,new").
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether those who `agree` are a quorum: more than half of the voters, and
    /// in a joint membership more than half of the outgoing ones as well.
    pub fn is_quorum(&self, agree: impl Fn(NodeId) -> bool) -> bool {
        let majority = |set: &[NodeId]| {
            let agreeing = set.iter().filter(|&&id| agree(id)).count();
            agreeing > set.len() / 2
        };
        majority(&self.voters) && (self.outgoing.is_empty() || majority(&self.outgoing))
    }

    /// The highest index that a quorum holds, where `held(id)` says how far
    /// `id` has come; zero if there are no voters.
    pub fn quorum_index(&self, held: impl Fn(NodeId) -> Index) -> Index {
        let index = majority_index(&self.voters, &held);
        // Rule MC.6: separate majorities of the old and of the new voters.
        if self.is_joint() { index.min(majority_index(&self.outgoing, &held)) } else { index }
    }
}

/// The highest index that more than half of `set` hold: sorted, the middle one.
fn majority_index(set: &[NodeId], held: &impl Fn(NodeId) -> Index) -> Index {
    // Mostly there are three.
    if let &[one, two, three] = set {
        let (one, two, three) = (held(one), held(two), held(three));
        return one.min(two).max(one.max(two).min(three));
    }
    // More than these would be unusual; they take an allocation.
    let mut few = [Index(0); 9];
    let mut many = Vec::new();
    let indexes = if let Some(few) = few.get_mut(..set.len()) {
        few
    } else {
        many.resize(set.len(), Index(0));
        &mut many[..]
    };
    for (index, &id) in indexes.iter_mut().zip(set) {
        *index = held(id);
    }
    indexes.sort_unstable();
    indexes.get(set.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
