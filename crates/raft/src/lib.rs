//! The Raft algorithm, and nothing else.
//!
//! One state machine, [`Raft`], with one door: [`Raft::step`] takes an
//! [`Input`] at a [`Moment`] and answers with [`Effect`]s. It has no clock, no
//! randomness of its own, no I/O, and never sees a payload byte: safety in Raft
//! depends only on which (term, index) pairs stand in a log, so it reasons
//! about a [`Trail`] of them and the host moves the bytes beside it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;
// The stories speak of this crate by its name, also where the search reads them.
#[cfg(test)]
extern crate self as driftless_raft;

pub mod change;
mod commit;
pub mod effect;
pub mod input;
pub mod membership;
pub mod message;
pub mod note;
mod outbox;
pub mod progress;
mod raft;
mod rebase;
pub mod restart;
mod roles;
mod rpc;
pub mod runs;
#[cfg(test)]
mod search;
#[cfg(test)]
mod testing;
pub mod trail;
pub mod types;

pub use change::{Change, ChangeRefusal};
pub use effect::{
    Effect, Effects, Persist, ReadRefusal, Refusal, Role, Source, TransferOutcome, TransferRefusal,
};
pub use input::{Input, SnapshotOutcome};
pub use membership::Membership;
pub use message::Message;
pub use note::{Note, VoteRefusal};
pub use progress::Progress;
pub use raft::Raft;
pub use restart::{RestartError, Restored};
pub use runs::{Run, Runs};
pub use trail::{MembershipEntry, Trail};
pub use types::{
    Config, GroupId, HardState, Index, Moment, NodeId, Position, Promotion, ReadId, Round, Term,
    Ticket, Time,
};
