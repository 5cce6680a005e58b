//! The store from outside: held against a naive twin, against etcd's quirks,
//! against damage, and read while it is written.

// A test is a crate of its own: nothing in it can be reached from elsewhere.
#![allow(unreachable_pub)]

mod against_twin;
mod bytes_from_outside;
mod quirks;
mod random;
mod reading_beside;
mod snapshots;
mod support;
mod sweeping;
mod twin;
mod watching;
