//! A simulated world for a Raft node, replayable from a seed.
//!
//! The very node that ships runs here under virtual time, on simulated disks
//! and links that fail in every way they can, with its promises checked after
//! each step. It is generic over the state machine and its workload, so users
//! test theirs in it.

#![forbid(unsafe_code)]

pub mod history;
pub mod linearizable;
pub mod random;
pub mod register;
