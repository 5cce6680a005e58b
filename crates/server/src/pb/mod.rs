//! The messages of the etcd v3 API as they stand on the wire.
//!
//! Package, service, message and field numbers are etcd's public ones
//! (`etcdserverpb`, `mvccpb`) and those of `grpc.health.v1`. They are written
//! here by hand rather than generated; `docs/adr/server-0001-messages-by-hand.md`
//! says why. Byte fields are [`bytes::Bytes`]: decoding a request borrows from
//! the buffer that it arrived in.

mod cluster;
mod health;
mod kv;
mod maintenance;
mod watch;

pub mod client;

pub use cluster::*;
pub use health::*;
pub use kv::*;
pub use maintenance::*;
pub use watch::*;
