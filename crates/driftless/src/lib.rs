//! Raft for applications: a state machine becomes a replicated, durable,
//! linearizable service.
//!
//! This crate is the real world for a [`driftless_node::Node`]: threads,
//! sockets, files and a clock, and nothing that decides. Implement
//! [`StateMachine`](machine::StateMachine), describe each member with a
//! [`Builder`], and speak to the cluster through any member's [`Handle`].
//!
//! ```no_run
//! # use driftless::machine::StateMachine;
//! # async fn example(machine: impl StateMachine) -> Result<(), Box<dyn std::error::Error>> {
//! use driftless::{Builder, NodeId};
//! use std::time::Duration;
//!
//! let running = Builder::new(NodeId(1), "my-cluster", "./data-1", machine)
//!     .member(NodeId(1), "10.0.0.1:7000")
//!     .member(NodeId(2), "10.0.0.2:7000")
//!     .member(NodeId(3), "10.0.0.3:7000")
//!     .start()?;
//! let handle = running.handle();
//! let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
//! let applied = handle.propose("a command".into(), deadline).await?;
//! handle.read_barrier(deadline).await?;
//! let _fresh = handle.reader();
//! # Ok(()) }
//! ```
//!
//! # Threads
//!
//! Each node has a *shard* (a task on one tokio thread that owns the node, its
//! machine and its links), a thread for the log and one for snapshot files.
//! What waits for any of them is taken at once: batches form by themselves
//! where something is slow, and nobody waits for one to fill.
//!
//! [`LocalCluster`] is a whole cluster inside a process, in memory: for your tests.
//!
//! Messages for people go to the [`log`](https://docs.rs/log) facade; who leads goes
//! to the target [`LEADERSHIP_LOG_TARGET`], for those who say that in their own words.

#![forbid(unsafe_code)]

mod address;
mod builder;
mod clock;
mod disk;
mod error;
mod handle;
mod host;
mod inbox;
mod links;
mod local;
mod log_thread;
mod log_worker;
mod lookup;
mod metered;
mod metrics;
mod recover;
mod shard;
mod snapshot_thread;
mod storage;
mod tell;

pub use builder::{Builder, ClusterId, Running};
pub use bytes::Bytes;
pub use disk::{RealDisk, RealFile};
pub use driftless_node::log::{OpenError, Options as LogOptions};
pub use driftless_node::raft::{NodeId, Position, Role};
pub use driftless_node::{
    Member, MemberChange, MemberKind, Members, NoSurvivor, NodeOptions, Recovered, RequestError,
    Status, StopReason, machine, raft,
};
pub use error::{NodeFailure, StartError};
pub use handle::{Applied, Handle};
pub use local::LocalCluster;
pub use lookup::{Found, LookupError, lookup};
pub use metrics::{Histogram, Metrics};
pub use recover::{RecoverError, recover};
pub use storage::owner_of;

/// The target of log messages about who leads.
pub const LEADERSHIP_LOG_TARGET: &str = "driftless::leadership";
