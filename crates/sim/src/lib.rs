//! A simulated world for a Raft node, replayable from a seed.
//!
//! The very node that ships runs here under virtual time, on simulated disks
//! and links that fail in every way they can, with its promises checked after
//! each step. It is generic over the state machine and its workload, so users
//! test theirs in it.

#![forbid(unsafe_code)]

pub mod campaign;
mod clients;
mod clock;
mod disk;
mod durable;
mod ending;
mod faults;
pub mod history;
pub mod invariants;
pub mod linearizable;
mod links;
mod log_work;
mod machine_work;
mod member;
mod narration;
mod network;
pub mod plan;
mod process;
pub mod random;
pub mod register;
pub mod report;
pub mod shrink;
pub mod workload;
pub mod world;

pub use campaign::{Campaign, Progress};
pub use driftless_node as node;
pub use invariants::{Failure, Property};
pub use plan::Plan;
pub use report::{Report, Situation};
pub use workload::{Ask, Request, Workload};
pub use world::{Outcome, World};
