//! Disks that are lost, or found again as they were once, and what their members come
//! back as.

use crate::disk::SimDisk;
use crate::member::{Begins, Copied, Lost, Member};
use crate::operator::Why;
use crate::plan::Sabotage;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, Lift, Phase, World};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Change, Membership, NodeId, NodeSet};

/// How often the operator looks after a member that lost its disk.
const CARES_EVERY_US: u64 = 400_000;

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// Those whose disk was lost, or lies, and who are not yet what they were.
    pub(crate) fn losses(&self) -> usize {
        let membership = self.ghosts.membership(&self.founding);
        let is_whole = |member: &Member<M>, lost: Lost| {
            let is_back = membership.readmitted.get(&member.id) == Some(&member.incarnation);
            let (id, in_office) = (&member.id, &membership.voters);
            // It votes only once it has that on its disk.
            let knows = member.durable.trail().last().index >= self.ghosts.membership_index();
            let votes = in_office.contains(id) && knows;
            !membership.contains(*id) || is_back && (votes || !lost.was_voter)
        };
        let is_lost = |member: &&Member<M>| {
            let is_missed = member.lost.is_some_and(|lost| !is_whole(member, lost));
            !member.is_out && (is_missed || member.is_suspect)
        };
        self.members.values().filter(is_lost).count()
    }

    /// Whether `id` may lose its disk: whatever membership counts, a quorum of it
    /// remembers all, and what was committed is held by somebody else too.
    pub(crate) fn may_lose_disk(&self, id: NodeId) -> bool {
        self.phase == Phase::Stormy
            && !self.members[&id].is_out
            && self.losses() == 0
            && self.does_without_one()
    }

    /// Whether any membership that counts, or may yet, does without a member.
    fn does_without_one(&self) -> bool {
        let survives = |membership: Membership| {
            let Membership { voters, outgoing, witnesses, .. } = &membership;
            let survives =
                |set: &NodeSet| survives_a_loss(set.len(), set.intersection(witnesses).count());
            survives(voters) && (outgoing.is_empty() || survives(outgoing))
        };
        // One that was recovered makes another, which nobody has seen yet.
        !self.is_recovering && self.ghosts.memberships_possible(&self.founding).all(survives)
    }

    /// Marks `id` as one that has lost what it knew.
    pub(crate) fn loses(&mut self, id: NodeId) {
        let membership = self.newest_membership();
        let was_voter = membership.is_voter(id);
        let member = self.members.get_mut(&id).expect("a member of this world");
        member.lost = Some(Lost { was_voter });
    }

    /// A disk cannot be used any more: its member gets an empty one, soon.
    pub(crate) fn gets_another_disk(&mut self, id: NodeId, why: &str) {
        self.tell(|| format!("member {id} needs another disk: {why}"));
        self.count(Situation::DamageNoticed);
        self.end_process(id, false);
        self.replace_disk(id);
    }

    /// An empty disk in place of the one that was; its process was ended before.
    pub(crate) fn replace_disk(&mut self, id: NodeId) {
        self.loses(id);
        self.wipe(id, Begins::Replacing);
        let told = self.addresses();
        let member = self.members.get_mut(&id).expect("a member of this world");
        member.told = told;
        self.count(Situation::Replaced);
        let after_us = self.random.between(10_000, 1_000_000);
        self.start_later(id, after_us);
        self.after(after_us, Happening::Care(id));
    }

    /// Where leaders do not do it by themselves: has a member that lost its disk
    /// taken in again, step by step.
    pub(crate) fn care(&mut self, id: NodeId) {
        let Some(member) = self.members.get(&id) else { return };
        let Some(lost) = member.lost.filter(|_| !self.plan.readmits && !member.is_out) else {
            return;
        };
        let membership = self.ghosts.membership(&self.founding);
        let incarnation = member.incarnation;
        let is_back = membership.readmitted.get(&id) == Some(&incarnation);
        let change = if !membership.contains(id) {
            return;
        } else if !is_back {
            Change::Readmit { id, incarnation }
        } else if lost.was_voter && !membership.voters.contains(&id) {
            Change::Promote(id)
        } else {
            return;
        };
        let pick = self.random.draw();
        if let Some(asked) = self.somebody(pick, &[id]) {
            self.wish(asked, vec![change], Why::Care, false);
        }
        self.after(CARES_EVERY_US, Happening::Care(id));
    }

    /// Wipes a disk. If its member is not told that it comes back as another, its
    /// peers must have met it: one that nobody knows is new, and may be.
    pub(crate) fn lose_disk(&mut self, id: NodeId, told: bool) {
        let member = &self.members[&id];
        let begins = member.begins;
        let knows = |peer: &crate::member::Member<M>| member.known_by.contains_key(&peer.id);
        let mut others = self.members.values().filter(|peer| peer.id != id && !peer.is_out);
        if !self.may_lose_disk(id) || !told && !others.all(knows) {
            self.tell(|| format!("member {id} keeps its disk, or would do harm"));
            return;
        }
        self.count(Situation::WipedDisk);
        self.end_process(id, true);
        if told || begins == Begins::Replacing {
            self.replace_disk(id);
        } else {
            self.loses(id);
            self.wipe(id, begins);
            self.start_later(id, 10_000);
        }
    }

    /// Takes a copy of a disk, to be put back once that does harm.
    pub(crate) fn keep_copy(&mut self, id: NodeId) {
        // A copy in which nobody else is needed for a quorum goes on by itself. And one
        // of an empty disk is no copy: a disk that begins has an incarnation of its own.
        let member = &self.members[&id];
        let is_empty = member.boots == 0;
        if is_empty || member.is_suspect || member.is_out || !self.does_without_one() {
            return;
        }
        self.copy_disk(id);
        self.crash(id, false, 10_000);
        self.after(100_000, Happening::Lift(Lift::PutBack(id)));
    }

    /// Puts a copy back as soon as its member's peers can tell.
    pub(crate) fn put_back(&mut self, id: NodeId) {
        if self.members[&id].copy.is_none() || self.phase != Phase::Stormy {
            return;
        }
        if !self.may_lose_disk(id) || !self.copy_is_known_to_be_old(id) {
            self.after(100_000, Happening::Lift(Lift::PutBack(id)));
            return;
        }
        self.count(Situation::OldDisk);
        self.tell(|| format!("member {id} gets an older copy of its disk"));
        self.end_process(id, true);
        self.loses(id);
        self.put_copy_back(id);
        self.start_later(id, 10_000);
    }

    /// Its disk is gone, and with it what it knew; its process was ended before.
    pub(crate) fn wipe(&mut self, id: NodeId, begins: Begins) {
        let hide = self.plan.sabotage == Some(Sabotage::HideWipe);
        let member = self.members.get_mut(&id).expect("a member of this world");
        assert!(member.running.is_none(), "a disk is wiped under a process");
        member.disk = SimDisk::new(false);
        let durable = std::mem::take(&mut member.durable);
        member.wiped.push((member.incarnation, durable.trail().clone()));
        member.copy = None;
        member.is_suspect = false;
        if !hide {
            member.begins = begins;
            member.incarnation = member.random.draw();
            member.boots = 0;
        }
        self.forgets_peers(id);
        self.workload.disk_lost(id);
    }

    /// A copy of its disk is kept.
    pub(crate) fn copy_disk(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).expect("a member of this world");
        let (durable, disk) = (member.durable.clone(), member.disk.fork());
        let (incarnation, boots) = (member.incarnation, member.boots);
        member.copy = Some(Copied { disk, durable, incarnation, boots });
    }

    /// Whether every other member would notice if the copy came back: it knows
    /// that the disk was opened since, and so does not take it for the present one.
    pub(crate) fn copy_is_known_to_be_old(&self, id: NodeId) -> bool {
        let member = &self.members[&id];
        let Some(copy) = &member.copy else { return false };
        let knows = |peer: &NodeId| {
            let known = member.known_by.get(peer);
            known.is_some_and(|known| {
                known.incarnation == copy.incarnation && known.boots > copy.boots
            })
        };
        member.incarnation == copy.incarnation
            && self.members.values().all(|peer| peer.id == id || peer.is_out || knows(&peer.id))
    }

    /// The copy takes the place of the disk; its process was ended before.
    pub(crate) fn put_copy_back(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).expect("a member of this world");
        assert!(member.running.is_none(), "a disk is changed under a process");
        let Some(copy) = member.copy.take() else { return };
        member.disk = copy.disk;
        let durable = std::mem::replace(&mut member.durable, copy.durable);
        member.wiped.push((member.incarnation, durable.trail().clone()));
        self.forgets_peers(id);
        self.workload.disk_lost(id);
    }

    /// What `id` knew of its peers is gone.
    fn forgets_peers(&mut self, id: NodeId) {
        for member in self.members.values_mut() {
            member.known_by.remove(&id);
        }
    }
}

/// Whether so many voters can do without one: a quorum is left, and without the
/// witnesses. For one of these may hold the end of a log that nobody else holds, and
/// then neither leads nor helps another to.
pub(crate) fn survives_a_loss(voters: usize, witnesses: usize) -> bool {
    let quorum = voters / 2 + 1;
    voters > quorum + witnesses
}
