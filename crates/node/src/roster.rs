//! Who the members are and where they are reached, as the log says up to what is
//! applied. Part of the replicated state: every member has the same after the same
//! entry, and it travels in snapshots (in the sidecar).
//!
//! The algorithm counts by the membership that is *in force*, committed or not.
//! What is told to others, and what rests on a removal, is this one.

use bytes::{BufMut, BytesMut};
use driftless_codec::wire::{DecodeError, Reader, put_bytes, put_membership};
use driftless_codec::{Contact, Founders};
use driftless_raft::{Change, Index, Membership, NodeId};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;

/// Addresses of those who are no members (yet) are kept for so many.
const STRANGERS_MAX: usize = 64;

/// Where somebody is reached, and which entry said so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    text: String,
    said_at: Index,
}

/// The members, as applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    membership: Membership,
    /// Whether the log has said who founded the group: those who join have not
    /// been there, and would not know of a founder that it was one.
    founded: bool,
    contacts: BTreeMap<NodeId, Address>,
    /// Those who were members and are gone.
    removed: BTreeSet<NodeId>,
}

impl Roster {
    /// At the beginning: nothing is applied but that these are the members.
    pub(crate) fn of(membership: Membership) -> Self {
        Self { membership, ..Self::default() }
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn is_founded(&self) -> bool {
        self.founded
    }

    pub(crate) fn removed(&self) -> &BTreeSet<NodeId> {
        &self.removed
    }

    /// Whether `id` was a member, and is none any more, nor ever will be.
    pub(crate) fn is_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    /// Where `id` is reached, if the log has said it.
    pub(crate) fn address(&self, id: NodeId) -> Option<&str> {
        self.contacts.get(&id).map(|address| address.text.as_str())
    }

    /// The entry at `at` says who founded the group, and where they were reached. The
    /// operator may have said better before it.
    pub(crate) fn apply_founders(&mut self, at: Index, founders: Founders) {
        if std::mem::replace(&mut self.founded, true) {
            return;
        }
        let Founders { membership, contacts } = founders;
        if self.membership == Membership::default() {
            self.membership = membership;
        }
        for contact in contacts {
            if !self.contacts.contains_key(&contact.node_id) {
                self.apply_contact(at, contact);
            }
        }
    }

    /// An entry says who the members are from now on.
    pub(crate) fn apply_membership(&mut self, membership: Membership) {
        let before = std::mem::replace(&mut self.membership, membership);
        for id in before.iter().filter(|id| !self.membership.contains(*id)) {
            self.removed.insert(id);
            self.contacts.remove(&id);
        }
    }

    /// A snapshot says who the members are, and a witness has nothing of it but that.
    pub(crate) fn jump_to(&mut self, membership: Membership) {
        self.founded = true;
        self.apply_membership(membership);
    }

    /// The entry at `at` says where somebody is reached.
    pub(crate) fn apply_contact(&mut self, at: Index, contact: Contact) {
        let Contact { node_id, address } = contact;
        if self.is_removed(node_id) {
            return;
        }
        self.contacts.insert(node_id, Address { text: address, said_at: at });
        let strangers = || self.contacts.iter().filter(|(id, _)| !self.membership.contains(**id));
        if strangers().count() > STRANGERS_MAX {
            let oldest = strangers().min_by_key(|(_, address)| address.said_at);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.contacts.remove(&id);
            }
        }
    }

    /// Whether all that was wished for is so.
    pub(crate) fn satisfies(&self, changes: &[Change]) -> bool {
        let now = &self.membership;
        let is_so = |change: &Change| match *change {
            Change::AddVoter(id) => now.voters.contains(&id) && !now.is_witness(id),
            Change::AddLearner(id) => now.contains(id),
            Change::AddWitness(id) => now.is_witness(id),
            Change::Promote(id) => now.voters.contains(&id),
            Change::Demote(id) => now.learners.contains(&id),
            Change::Remove(id) => !now.contains(id),
            Change::Readmit { id, incarnation } => now.readmitted.get(&id) == Some(&incarnation),
            _ => false,
        };
        !now.is_joint() && changes.iter().all(is_so)
    }

    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_membership(out, &self.membership);
        out.put_u8(u8::from(self.founded));
        out.put_u32_le(self.contacts.len() as u32);
        for (id, address) in &self.contacts {
            out.put_u64_le(id.0);
            out.put_u64_le(address.said_at.0);
            put_bytes(out, address.text.as_bytes());
        }
        out.put_u32_le(self.removed.len() as u32);
        for id in &self.removed {
            out.put_u64_le(id.0);
        }
    }

    /// Reads what [`Roster::put`] wrote.
    pub(crate) fn take(reader: &mut Reader) -> Result<Self, DecodeError> {
        let membership = reader.membership("the members")?;
        let founded = reader.bool("whether the founders are known")?;
        let mut contacts = BTreeMap::new();
        for _ in 0..reader.count(20, "the number of addresses")? {
            let id = NodeId(reader.u64("a member")?);
            let said_at = Index(reader.u64("where its address was said")?);
            let text = reader.address("its address")?;
            contacts.insert(id, Address { text, said_at });
        }
        let mut removed = BTreeSet::new();
        for _ in 0..reader.count(8, "the number of removed members")? {
            removed.insert(NodeId(reader.u64("a removed member")?));
        }
        Ok(Self { membership, founded, contacts, removed })
    }
}
