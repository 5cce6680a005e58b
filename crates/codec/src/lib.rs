//! Bytes: what members say to each other and what stands in the log, versioned,
//! every length bounded before it is believed.

#![forbid(unsafe_code)]

mod append;
mod change;
mod contact;
pub mod entries;
pub mod entry;
mod founders;
pub mod frame;
mod hello;
pub mod membership;
mod message;
pub mod record;
pub mod wire;

pub use bytes::Bytes;
pub use contact::{ADDRESS_BYTES_MAX, Contact};
pub use driftless_raft as raft;
pub use entries::Entries;
pub use entry::{Entry, EntryKind};
pub use founders::Founders;
pub use frame::PeerFrame;
