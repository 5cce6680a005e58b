//! A leader's followers and what it knows about each: "for each server"
//! (Figure 2, volatile state on leaders). They are few and gone through in every
//! step, so they stand in a row, in order of their names.

use crate::progress::Progress;
use crate::types::NodeId;
use alloc::vec::Vec;

/// Every other member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Followers {
    row: Vec<(NodeId, Progress)>,
}

impl FromIterator<(NodeId, Progress)> for Followers {
    fn from_iter<I: IntoIterator<Item = (NodeId, Progress)>>(followers: I) -> Self {
        let mut row: Vec<_> = followers.into_iter().collect();
        row.sort_unstable_by_key(|&(id, _)| id);
        Self { row }
    }
}

impl Followers {
    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Progress> {
        self.row.iter().find(|follower| follower.0 == id).map(|(_, known)| known)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.row.iter_mut().find(|follower| follower.0 == id).map(|(_, known)| known)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.row.iter().map(|(id, known)| (*id, known))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.row.iter_mut().map(|(id, known)| (*id, known))
    }

    /// Takes up with those of `members` that are new, by what `known` says, and
    /// forgets those that are none of them or of which `stays` says no.
    pub(crate) fn meet(
        &mut self,
        members: impl Iterator<Item = NodeId> + Clone,
        stays: impl Fn(NodeId) -> bool,
        known: impl Fn() -> Progress,
    ) {
        self.row.retain(|&(id, _)| members.clone().any(|member| member == id) && stays(id));
        for id in members {
            if let Err(at) = self.row.binary_search_by_key(&id, |&(id, _)| id) {
                self.row.insert(at, (id, known()));
            }
        }
    }
}
