//! The durable log of a node: many groups in one set of segment files, one sync
//! for all that waits, snapshots as files.
//!
//! Synchronous, single-owner code over a small [`Disk`] trait: the real world
//! runs it on a thread, the simulator on a simulated disk.

#![forbid(unsafe_code)]

pub mod api;
mod compact;
pub mod disk;
pub mod error;
mod group;
mod identity;
mod log;
pub mod memory;
mod mutation;
mod open;
mod options;
mod peers;
mod read;
mod room;
mod scan;
mod segment;
pub mod snapshot;
mod twin;
pub mod verify;

pub use api::*;
pub use disk::{Disk, DiskFile};
pub use driftless_codec as codec;
pub use error::{AppendError, Damage, OpenError, ReadError};
pub use log::Log;
pub use open::Opened;
pub use options::Options;
pub use snapshot::{SnapshotError, SnapshotReader, SnapshotStore, SnapshotWriter};
pub use verify::{Report, verify};

#[cfg(test)]
mod tests;
