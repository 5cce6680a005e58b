//! A simulated world for a Raft node, replayable from a seed.
//!
//! The very node that ships runs here under virtual time: real log files on
//! disks in memory, real frames on links between members. Everything that may
//! go wrong does: power cuts at every boundary of disk operations, kills,
//! pauses, partitions of all shapes, links that break with what is in flight,
//! clocks that leap and drift, disks that are slow, stall, are full, rotten, wiped or
//! older than they were, that fail to sync or lie about a write; and an operator has
//! members come and go meanwhile. Everything follows from one number, the seed, so
//! whatever goes wrong can be seen again, bit for bit.
//!
//! After each step the world checks what must never happen ([`Property`]); at
//! the end it heals and must become whole again: all members up, alike, their
//! directories verified, and what clients saw [`linearizable`].
//!
//! # Testing a state machine of one's own
//!
//! Implement [`Workload`] beside the machine: what clients ask, what its replies
//! mean, and the sequential [`Model`](linearizable::Model) that the history is
//! checked against ([`register::Registers`] serves many). Then
//!
//! ```no_run
//! # #[path = "../tests/support/mod.rs"] mod mine;
//! # use mine::{Clients, Machine};
//! use driftless_sim::{Campaign, Plan, World};
//!
//! // Two hundred worlds, on all cores.
//! let verdict = Campaign::new(0, 200).run::<Machine, _>(|_plan| Clients::default(), |_| {});
//! assert!(verdict.is_good(), "{:#?}", verdict.failures);
//!
//! // One of them, told line by line.
//! let tell = Box::new(|line: &str| println!("{line}"));
//! World::new(Plan::draw(7), Clients::default()).narrated(tell).run();
//! ```
//!
//! `examples/registers.rs` is a whole one in little more than a hundred lines.
//!
//! # How it is built
//!
//! A [`Plan`] is all that a seed decides beforehand, its faults a list that
//! [`shrink`](shrink::shrink) can shorten. A [`World`] takes the next thing from
//! one list of things to come, hands it to whom it concerns, and carries out
//! what that one's node asks for. Disk work is carried out at the end of its
//! virtual time, so a crash in between finds it half done. A [`Report`] counts
//! what came up; a [`Campaign`] of a thousand worlds fails if something that
//! must come up did not. [`Sabotage`](plan::Sabotage) plants bugs, to show that
//! they are found.

#![forbid(unsafe_code)]

pub mod campaign;
mod clients;
mod clock;
mod disaster;
mod disk;
mod durable;
mod ending;
mod fault;
mod faults;
pub mod history;
mod invariants;
pub mod linearizable;
mod links;
mod log_work;
mod lost_disks;
mod machine_work;
mod member;
mod memberships;
mod moves;
mod narration;
mod network;
mod operator;
pub mod plan;
mod process;
pub mod property;
pub mod random;
pub mod register;
pub mod report;
pub mod shrink;
pub mod workload;
pub mod world;

pub use campaign::{Campaign, Progress};
pub use driftless_node as node;
pub use plan::Plan;
pub use property::{Failure, Property};
pub use report::{Report, Situation};
pub use workload::{Ask, Request, Workload};
pub use world::{Outcome, World};
