//! What a member keeps to: how much a leader sends before it is answered, how long
//! a follower waits, and what it believes of what it is told.
//!
//! One member is told things and watched (`one_member`).
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../one_member/mod.rs"]
mod one_member;

mod answers;
mod catching_up;
mod delegating;
mod flow;
mod malformed;
mod memberships;
mod promises;
mod quorums;
mod reading;
mod standing;
mod timeouts;
