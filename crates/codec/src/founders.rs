//! Who founded the group, and where they were reached then: the payload of an entry
//! of kind [`Founders`](crate::EntryKind).
//!
//! The words of the membership, and behind them, one after the other, the addresses
//! as in a [`Contact`].

use crate::contact::Contact;
use crate::wire::{DecodeError, Reader, put_membership};
use bytes::{Bytes, BytesMut};
use driftless_raft::Membership;

#[cfg(test)]
#[path = "founders_tests.rs"]
mod tests;

/// The first members, for those who join later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founders {
    /// Who they were.
    pub membership: Membership,
    /// Where they were reached, as whoever wrote this was told at its start. What an
    /// entry of kind [`Contact`](crate::EntryKind) says goes before it.
    pub contacts: Vec<Contact>,
}

impl Founders {
    /// The payload of its entry.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_membership(&mut out, &self.membership);
        for contact in &self.contacts {
            contact.put(&mut out);
        }
        out.freeze()
    }

    /// Reads what [`Founders::encode`] wrote.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload.clone());
        let membership = reader.membership("the founders")?;
        let mut contacts = Vec::new();
        while reader.remaining() > 0 {
            contacts.push(Contact::read(&mut reader)?);
        }
        Ok(Self { membership, contacts })
    }
}
