//! Three members in memory on one thread, from propose to applied everywhere:
//! Driftless and raft-rs, driven alike. What each is given and takes is said in
//! its module.

#![forbid(unsafe_code)]

pub mod alone;
pub mod ours;
pub mod raft_rs;

use driftless_node::codec::Bytes;

/// Members of every cluster here.
pub const MEMBERS: u64 = 3;

/// Bytes of every command.
pub const PAYLOAD_BYTES: usize = 256;

/// The log lets its oldest entries go after this many.
pub const COMPACT_EVERY: u64 = 20_000;

/// A cluster that has a leader.
pub trait Cluster {
    /// Proposes `count` commands together, and returns once all of them are
    /// applied by all members.
    fn replicate(&mut self, count: u64);

    /// Commands and bytes that each member's machine has seen.
    fn applied(&self) -> Vec<(u64, u64)>;
}

/// A batch of commands, each a share of the one buffer in which they came.
fn commands(count: u64) -> impl Iterator<Item = Bytes> {
    let buffer = Bytes::from(vec![7; count as usize * PAYLOAD_BYTES]);
    let starts = (0..buffer.len()).step_by(PAYLOAD_BYTES);
    starts.map(move |from| buffer.slice(from..from + PAYLOAD_BYTES))
}
