//! Members of a cluster in one process, each on a thread and in a directory of
//! its own, over real sockets.

use driftless::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use driftless::{Builder, Bytes, Handle, NodeId, NodeOptions, Running, StartError};
use std::io::{self, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Keeps every command, one behind the other; replies with how many there are.
#[derive(Default)]
pub(crate) struct Scroll {
    commands: Arc<Mutex<Vec<Bytes>>>,
}

impl StateMachine for Scroll {
    type Reader = Arc<Mutex<Vec<Bytes>>>;

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        let mut commands = self.commands.lock().unwrap();
        let mut keep = |command: &Bytes| {
            commands.push(command.clone());
            commands.len().to_string().into()
        };
        batch.commands.iter().map(&mut keep).collect()
    }

    fn reader(&self) -> Self::Reader {
        self.commands.clone()
    }

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        let mut all = Vec::new();
        for command in self.commands.lock().unwrap().iter() {
            all.extend_from_slice(&(command.len() as u32).to_le_bytes());
            all.extend_from_slice(command);
        }
        Box::new(io::Cursor::new(all))
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> Result<(), RestoreError> {
        let mut all = Vec::new();
        snapshot.read_to_end(&mut all)?;
        let mut all = Bytes::from(all);
        let mut commands = Vec::new();
        while !all.is_empty() {
            let len = all.split_to(4);
            let len = u32::from_le_bytes(len[..].try_into().expect("four bytes"));
            commands.push(all.split_to(len as usize));
        }
        *self.commands.lock().unwrap() = commands;
        Ok(())
    }
}

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

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// What the machine of this member holds once it has all that was acknowledged.
pub(crate) async fn contents(handle: &Handle<Scroll>) -> Vec<Bytes> {
    handle.read_barrier(soon()).await.unwrap();
    handle.reader().lock().unwrap().clone()
}
