//! A long life on a small disk: three members with real files and sockets are
//! written to many times over what a snapshot waits for. Their directories stay
//! bounded, a restart replays only what follows the snapshot, and a member that
//! was away meanwhile is sent that snapshot, piece by piece.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use driftless::{Builder, Handle, LogOptions, NodeId, NodeOptions, RequestError, Running};
use driftless_kv::{Command, CompactionRequest, PutRequest, Store};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// So many that a snapshot is many pieces even if it was taken just after the
/// older versions were forgotten.
const KEYS: u64 = 128;
const VALUE_BYTES: usize = 1_000;
/// A member takes a snapshot after so many entries.
const SNAPSHOT_EVERY: u64 = 1_000;
const RETAINED: u64 = 100;
const CHUNK_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: u64 = 256 << 10;
const PUTS: u64 = 41_600;
/// The store forgets older versions as often.
const COMPACT_EVERY: u64 = 400;
const CLIENTS: u64 = 32;

/// What a directory may come to, whatever was written before. Two intervals of
/// the log, for what one snapshot covers is kept until the next is done and some
/// is written meanwhile; as many segments ready to be used; two snapshots of what
/// two compactions and the keys leave; all of that twice, since disks are slow at times.
const BOUND_BYTES: u64 = 2
    * (2 * SNAPSHOT_EVERY * (VALUE_BYTES as u64 + 300)
        + 4 * SEGMENT_BYTES
        + 2 * (KEYS + 2 * COMPACT_EVERY) * (VALUE_BYTES as u64 + 100));

struct Cluster {
    home: tempfile::TempDir,
    addresses: Vec<String>,
}

impl Cluster {
    fn new() -> Self {
        // Held together, so that they differ.
        let listeners: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        Self { home: tempfile::tempdir().unwrap(), addresses }
    }

    fn directory(&self, member: u64) -> std::path::PathBuf {
        self.home.path().join(member.to_string())
    }

    fn start(&self, member: u64) -> Running<Store> {
        let mut options = NodeOptions::new(NodeId(member));
        options.raft.election_timeout_us = 300_000;
        options.raft.election_jitter_us = 100_000;
        options.raft.heartbeat_interval_us = 50_000;
        options.snapshot_every_entries = SNAPSHOT_EVERY;
        options.retained_entries = RETAINED;
        options.snapshot_chunk_bytes = CHUNK_BYTES;
        let directory = self.directory(member);
        let mut builder = Builder::new(NodeId(member), "long-run", directory, Store::new());
        for (id, address) in (1..).zip(&self.addresses) {
            builder = builder.member(NodeId(id), address);
        }
        let log = LogOptions::small(SEGMENT_BYTES);
        builder.options(options).log_options(log).start().unwrap()
    }

    fn bytes(&self, member: u64) -> u64 {
        bytes_under(&self.directory(member))
    }
}

/// The bytes of all files; one that goes meanwhile counts as none.
fn bytes_under(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn put(number: u64) -> Command {
    let mut value = format!("written {number}th ").into_bytes();
    value.resize(VALUE_BYTES, b'.');
    Command::Put(PutRequest {
        key: format!("key {}", number % KEYS).into(),
        value: value.into(),
        ..PutRequest::default()
    })
}

/// Puts `from..until`, many at a time, forgetting old versions on the way. As often,
/// each of `watched` comes back to what a directory may come to: it may be over it for
/// as long as its disk is slow with a snapshot.
async fn write(
    cluster: &Cluster,
    handle: &Handle<Store>,
    (from, until): (u64, u64),
    watched: &[u64],
) {
    for begin in (from..until).step_by(COMPACT_EVERY as usize) {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let handle = handle.clone();
            clients.spawn(async move {
                for number in (begin + client..begin + COMPACT_EVERY).step_by(CLIENTS as usize) {
                    propose(&handle, &put(number)).await;
                }
            });
        }
        while let Some(end) = clients.join_next().await {
            end.unwrap();
        }
        let revision = handle.reader().revision();
        let compact = CompactionRequest { revision, physical: false };
        propose(handle, &Command::Compact(compact)).await;
        let deadline = soon();
        for member in watched {
            while cluster.bytes(*member) > BOUND_BYTES {
                let bytes = cluster.bytes(*member);
                assert!(Instant::now() < deadline, "{bytes} bytes on disk, not {BOUND_BYTES}");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn propose(handle: &Handle<Store>, command: &Command) {
    loop {
        match handle.propose(command.encode(), soon()).await {
            Ok(_) => return,
            Err(RequestError::Busy) => sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until the member stands where the others do.
async fn caught_up(node: &Running<Store>, others: &Running<Store>) {
    let (node, other) = (node.handle(), others.handle());
    node.read_barrier(soon()).await.unwrap();
    other.read_barrier(soon()).await.unwrap();
    assert_eq!(node.reader().hash(0).unwrap(), other.reader().hash(0).unwrap());
}

#[tokio::test]
async fn the_directory_stays_bounded_and_the_late_get_a_snapshot() {
    let cluster = Cluster::new();
    let mut running: Vec<Running<Store>> = (1..=3).map(|member| cluster.start(member)).collect();
    let handle = running[0].handle();

    // While all are there.
    write(&cluster, &handle, (0, PUTS / 2), &[1, 2, 3]).await;
    let written = handle.metrics().disk_bytes_written;
    println!("{written} bytes written, {BOUND_BYTES} allowed on disk");
    assert!(written > 4 * BOUND_BYTES, "only {written} bytes were written: that shows nothing");
    assert!(handle.metrics().snapshots_saved >= PUTS / 2 / SNAPSHOT_EVERY / 4);

    // While one is away: what it lacks is not kept for it.
    running.pop().unwrap().stop().await;
    write(&cluster, &handle, (PUTS / 2, PUTS), &[1, 2]).await;
    let back = cluster.start(3);
    caught_up(&back, &running[0]).await;
    let metrics = back.handle().metrics();
    assert!(metrics.snapshots_received >= 1, "{metrics:?}");
    assert!(metrics.snapshot_chunks_received > 3, "it came in pieces: {metrics:?}");
    assert!(metrics.applied < PUTS / 2 / 2, "it did not apply what it lacked: {metrics:?}");
    running.push(back);

    // A restart begins at the snapshot, not with history.
    let end = handle.status().last.index.0;
    for node in running.drain(..) {
        node.stop().await;
    }
    running.extend((1..=3).map(|member| cluster.start(member)));
    for node in &running {
        caught_up(node, &running[0]).await;
        let metrics = node.handle().metrics();
        println!("of {end} entries {} applied again", metrics.applied);
        assert_eq!(metrics.snapshots_loaded, 1, "{metrics:?}");
        // None at all where the snapshot stands at the end, as the one that
        // was just received may.
        assert!(metrics.applied <= 2 * SNAPSHOT_EVERY, "of {end} entries: {metrics:?}");
    }
    for node in running {
        node.stop().await;
    }
}
