//! Which data directory is behind each peer's name, and whether the one that
//! speaks now may. A member that lost its disk, or has an older copy of it, does
//! not know what it promised; it is told so, and does not get a word in.

use driftless_codec::frame::{DiskId, HelloRefusal, Standing};
use driftless_log::KnownPeer;
use driftless_raft::{Membership, NodeId, Position};
use std::collections::BTreeMap;

/// Those who are no members that are remembered at most.
pub(crate) const STRANGERS_MAX: usize = 64;

/// The peers met so far.
#[derive(Debug)]
pub(crate) struct Acquaintance {
    known: BTreeMap<NodeId, KnownPeer>,
    /// Those of them of whom what is known is not on disk yet.
    unwritten: BTreeMap<NodeId, KnownPeer>,
    /// Members that came back with another disk, and which.
    lost: BTreeMap<NodeId, u64>,
}

/// What is behind a name, as it is remembered.
fn known(disk: DiskId) -> KnownPeer {
    let DiskId { incarnation, boots, nonce, .. } = disk;
    KnownPeer { incarnation, boots, nonce }
}

impl Acquaintance {
    pub(crate) fn new(known: BTreeMap<NodeId, KnownPeer>) -> Self {
        Self { known, unwritten: BTreeMap::new(), lost: BTreeMap::new() }
    }

    /// Why what is behind `id` now is not to be heard, if so.
    pub(crate) fn judge(
        &mut self,
        id: NodeId,
        disk: DiskId,
        (in_force, in_force_at): (&Membership, Position),
    ) -> Option<HelloRefusal> {
        let taken_in = in_force.readmitted.get(&id);
        let is_taken_in = taken_in == Some(&disk.incarnation);
        let is_member = in_force.contains(id);
        if disk.standing == Standing::Replacement && is_member && !is_taken_in {
            self.lost.insert(id, disk.incarnation);
            return Some(HelloRefusal::Incarnation);
        }
        // The group has taken it in, by an entry that we may not have yet. If the group took
        // in another one as well, that was before or after: who tells of more of the one log
        // knows which.
        let is_ahead = match disk.standing {
            Standing::Readmitted { as_of } => taken_in.is_none() || as_of > in_force_at,
            Standing::First | Standing::Replacement => false,
        };
        let is_outdated = taken_in.is_some() && !is_taken_in && !is_ahead;
        if is_outdated {
            return Some(HelloRefusal::Incarnation);
        }
        let Some(known) = self.known.get(&id) else {
            let is_stranger = |id: &&NodeId| !in_force.contains(**id);
            let strangers = self.known.keys().filter(is_stranger).count();
            let crowded = !is_member && strangers >= STRANGERS_MAX;
            return crowded.then_some(HelloRefusal::Crowded);
        };
        if known.incarnation == disk.incarnation {
            let is_older =
                disk.boots < known.boots || disk.boots == known.boots && disk.nonce != known.nonce;
            return is_older.then_some(HelloRefusal::OlderDisk);
        }
        (!is_taken_in && !is_ahead).then_some(HelloRefusal::Incarnation)
    }

    /// Remembers who spoke. What is to be written down for it, if it is news.
    pub(crate) fn meet(&mut self, id: NodeId, disk: DiskId) -> Option<KnownPeer> {
        let now = known(disk);
        self.lost.remove(&id);
        if self.known.insert(id, now) == Some(now) {
            return None;
        }
        self.unwritten.insert(id, now);
        Some(now)
    }

    /// Whether what is known of `id` is not on disk yet.
    pub(crate) fn is_unwritten(&self, id: NodeId) -> bool {
        self.unwritten.contains_key(&id)
    }

    /// This is on disk now. Whether that is all that is known of `id`.
    pub(crate) fn written(&mut self, id: NodeId, what: KnownPeer) -> bool {
        if self.unwritten.get(&id) == Some(&what) {
            self.unwritten.remove(&id);
        }
        !self.is_unwritten(id)
    }

    /// Members that came back with another disk and wait to be taken in with it.
    pub(crate) fn lost(&mut self, in_force: &Membership) -> Vec<(NodeId, u64)> {
        let waits = |id: &NodeId, incarnation: &mut u64| {
            in_force.contains(*id) && in_force.readmitted.get(id) != Some(incarnation)
        };
        self.lost.retain(waits);
        self.lost.iter().map(|(id, incarnation)| (*id, *incarnation)).collect()
    }

    /// One of them was taken in, or cannot be.
    pub(crate) fn forget_lost(&mut self, id: NodeId) {
        self.lost.remove(&id);
    }
}
