//! The deterministic host of a Raft member.
//!
//! [`Node`] joins the algorithm, the log, the state machine, client sessions,
//! snapshots, forwarding and the peer handshake as one event-fed state: an
//! [`Event`] in, [`Action`]s out. It has no thread, socket, clock or file of its
//! own and never waits, so the real world (`driftless`) and the simulated one
//! (`driftless-sim`) drive the very same code.

#![forbid(unsafe_code)]

pub mod port;

pub use driftless_codec as codec;
pub use driftless_log as log;
pub use driftless_machine as machine;
pub use driftless_raft as raft;
pub use port::*;
