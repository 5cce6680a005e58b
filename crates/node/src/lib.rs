//! The deterministic host of a Raft member.
//!
//! [`Node`] joins the algorithm, the log, the state machine, client sessions,
//! snapshots, forwarding and the peer handshake as one event-fed state: an
//! [`Event`] in, [`Action`]s out. It has no thread, socket, clock or file of its
//! own and never waits, so the real world (`driftless`) and the simulated one
//! (`driftless-sim`) drive the very same code.

#![forbid(unsafe_code)]

mod acquaintance;
mod apply;
mod cache;
mod changes;
mod clients;
mod dialling;
mod effects;
mod envelope;
mod links;
mod log_port;
mod machine_port;
mod memory_log;
pub mod node;
mod payloads;
mod peers;
pub mod port;
mod proposals;
mod reads;
mod recovery;
mod room;
mod roster;
mod sessions;
mod sidecar;
mod snapshot_port;
mod snapshots;
mod transfer;
mod watch;

pub use cache::Stretch;
pub use driftless_codec as codec;
pub use driftless_log as log;
pub use driftless_machine as machine;
pub use driftless_raft as raft;
pub use log_port::run_log_jobs;
pub use machine_port::{applied_position, apply_inline};
pub use memory_log::MemoryLog;
pub use node::{Node, StartError};
pub use payloads::Payloads;
pub use port::*;
pub use recovery::{NoSurvivor, Recovered, recovery};
pub use snapshot_port::SnapshotPort;

#[cfg(test)]
mod tests;
