//! The durable log of a node: many groups in one set of segment files, one sync
//! for all that waits, snapshots as files.
//!
//! Synchronous, single-owner code over a small [`Disk`] trait: the real world
//! runs it on a thread, the simulator on a simulated disk.

#![forbid(unsafe_code)]

pub mod api;
pub mod disk;

pub use api::*;
pub use disk::{Disk, DiskFile};
pub use driftless_codec as codec;
