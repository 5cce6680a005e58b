//! Members of a cluster in one process, each on a thread and in a directory of
//! its own, over real sockets.

mod scroll;

use driftless::{Builder, NodeId, NodeOptions, Running, StartError};
pub(crate) use scroll::{Scroll, contents, soon};
use std::net::TcpListener;
use std::path::PathBuf;

/// Where three members live.
pub(crate) struct Cluster {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) addresses: Vec<String>,
    pub(crate) options: fn(NodeId) -> NodeOptions,
}

impl Cluster {
    pub(crate) fn new(members: usize, options: fn(NodeId) -> NodeOptions) -> Self {
        let listeners: Vec<TcpListener> =
            (0..members).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        Self {
            directory: tempfile::tempdir().unwrap(),
            addresses: listeners.iter().map(address).collect(),
            options,
        }
    }

    pub(crate) fn directory_of(&self, id: u64) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    pub(crate) fn builder(&self, id: u64) -> Builder<Scroll> {
        let id = NodeId(id);
        let builder = Builder::new(id, "test", self.directory_of(id.0), Scroll::default());
        (1..)
            .map(NodeId)
            .zip(&self.addresses)
            .fold(builder.options((self.options)(id)), |builder, (member, address)| {
                builder.member(member, address)
            })
    }

    pub(crate) fn start(&self, id: u64) -> Result<Running<Scroll>, StartError> {
        self.builder(id).start()
    }

    pub(crate) fn start_all(&self) -> Vec<Running<Scroll>> {
        (1..=self.addresses.len() as u64).map(|id| self.start(id).unwrap()).collect()
    }
}

/// Shorter than the ordinary timeouts, so that elections take no time.
pub(crate) fn quick(id: NodeId) -> NodeOptions {
    let mut options = NodeOptions::new(id);
    options.raft.election_timeout_us = 200_000;
    options.raft.election_jitter_us = 200_000;
    options.raft.heartbeat_interval_us = 30_000;
    options
}
