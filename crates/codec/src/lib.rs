//! Bytes: what members say to each other and what stands in the log, versioned,
//! every length bounded before it is believed.

#![forbid(unsafe_code)]

pub mod entry;
pub mod frame;
pub mod membership;
mod message;
pub mod record;
pub mod wire;

pub use bytes::Bytes;
pub use driftless_raft as raft;
pub use entry::{Entry, EntryKind};
pub use frame::PeerFrame;
