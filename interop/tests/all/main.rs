//! Programs written by others against Driftless: a foreign client that uses a
//! cluster of it, and etcd itself, which must answer the same calls the same.

mod beside;
mod etcd_client;
mod leader_killed;
mod support;
