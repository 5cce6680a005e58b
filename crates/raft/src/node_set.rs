//! Some of the members of a group. They are few, and asked for in every step: they
//! stand in a row, in order.

use crate::types::NodeId;
use alloc::vec::{self, Vec};
use core::fmt;
use core::ops::Deref;
use core::slice;

#[cfg(test)]
#[path = "node_set_test.rs"]
mod tests;

/// Names of members, each once, in order.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct NodeSet {
    row: Vec<NodeId>,
}

impl NodeSet {
    /// Nobody.
    pub const NONE: Self = Self { row: Vec::new() };

    /// Whether `id` is in it.
    pub fn contains(&self, id: &NodeId) -> bool {
        // A few are gone through faster than divided.
        if self.row.len() <= 8 {
            return self.row.iter().any(|other| other == id);
        }
        self.row.binary_search(id).is_ok()
    }

    /// Adds `id`. Says whether it was not in it.
    pub fn insert(&mut self, id: NodeId) -> bool {
        // Whoever adds many does so in order.
        let at = if self.row.last().is_none_or(|last| *last < id) {
            Err(self.row.len())
        } else {
            self.row.binary_search(&id)
        };
        at.map_err(|at| self.row.insert(at, id)).is_err()
    }

    /// Takes `id` out. Says whether it was in it.
    pub fn remove(&mut self, id: &NodeId) -> bool {
        self.row.binary_search(id).map(|at| self.row.remove(at)).is_ok()
    }

    /// Keeps only those of whom `stays` says so.
    pub fn retain(&mut self, stays: impl FnMut(&NodeId) -> bool) {
        self.row.retain(stays);
    }

    /// Those who are in both.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a NodeId> {
        self.row.iter().filter(|id| other.contains(id))
    }

    /// Those who are in it and not in `other`.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a NodeId> {
        self.row.iter().filter(|id| !other.contains(id))
    }
}

impl Deref for NodeSet {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        &self.row
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(ids: I) -> Self {
        let mut row: Vec<NodeId> = ids.into_iter().collect();
        row.sort_unstable();
        row.dedup();
        Self { row }
    }
}

impl Extend<NodeId> for NodeSet {
    fn extend<I: IntoIterator<Item = NodeId>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl IntoIterator for NodeSet {
    type Item = NodeId;
    type IntoIter = vec::IntoIter<NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.row.into_iter()
    }
}

impl<'a> IntoIterator for &'a NodeSet {
    type Item = &'a NodeId;
    type IntoIter = slice::Iter<'a, NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.row.iter()
    }
}

/// As a set, whose order means nothing.
impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.row).finish()
    }
}
