//! An entry of the log: its identity, and the payload that rides on it.

use crate::membership::decode_membership;
use bytes::Bytes;
use driftless_raft::{MembershipEntry, Position};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Appended by a new leader so that its term has an entry to commit (§8).
    Noop = 0,
    /// A command (in the node's envelope) for the state machine.
    Command = 1,
    /// The node's own: opening or expiring a client session.
    Session = 2,
    /// The members from here on (see [`membership`](crate::membership)).
    Membership = 3,
    /// Where a member is reached (see [`Contact`](crate::Contact)).
    Contact = 4,
    /// Who founded the group, for those who joined later (see
    /// [`Founders`](crate::Founders)).
    Founders = 5,
    /// One of which a witness knows that it stands here, and no more.
    Bare = 6,
}

impl EntryKind {
    /// The kind that `byte` stands for, if any.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Noop),
            1 => Some(Self::Command),
            2 => Some(Self::Session),
            3 => Some(Self::Membership),
            4 => Some(Self::Contact),
            5 => Some(Self::Founders),
            6 => Some(Self::Bare),
            _ => None,
        }
    }
}

/// One entry. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its term and index.
    pub position: Position,
    /// What it is for.
    pub kind: EntryKind,
    /// The bytes, empty for `Noop`.
    pub payload: Bytes,
}

impl Entry {
    /// What a witness is sent of it: all, if it says who the others are, or where;
    /// of the data only that it stands here.
    #[must_use]
    pub fn for_witness(&self) -> Self {
        match self.kind {
            EntryKind::Command | EntryKind::Session | EntryKind::Bare => {
                Self { position: self.position, kind: EntryKind::Bare, payload: Bytes::new() }
            }
            _ => self.clone(),
        }
    }

    /// What a membership entry says; `None` for any other, and for one that does
    /// not decode, which [`PeerFrame::decode`](crate::PeerFrame::decode) refuses.
    pub fn membership(&self) -> Option<MembershipEntry> {
        if self.kind != EntryKind::Membership {
            return None;
        }
        let membership = decode_membership(&self.payload)?;
        Some(MembershipEntry { index: self.position.index, membership })
    }
}
