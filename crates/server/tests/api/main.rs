//! The server over a socket, with one copy of the store in this process below it.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cluster;
mod http;
mod http2;
mod kv;
mod support;
mod watch;
mod watch_races;
