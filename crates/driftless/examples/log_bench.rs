//! What the durable log costs on a real disk:
//!
//!     cargo run --release -p driftless --example log_bench -- [DIRECTORY [SECONDS]]
//!
//! Appends entries of 300 bytes in calls of 1, 64 and 1,024, each call one write
//! and one sync; then the processor's time for an entry without any disk.

use driftless::RealDisk;
use driftless_node::log::codec::record::{Content, Salt, Stamp, State, encode};
use driftless_node::log::codec::{Bytes, Entry, EntryKind};
use driftless_node::log::{Identity, Log, Options, Record, SnapshotMeta};
use driftless_node::raft::{GroupId, HardState, Index, Membership, NodeId, Position, Term};
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const GROUP: GroupId = GroupId(1);
const PAYLOAD_BYTES: usize = 300;
/// A snapshot is pretended this often, so that segments are used again.
const COMPACT_EVERY_BYTES: u64 = 32 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(3), |seconds| seconds.parse())?;
    println!("entries a call   calls/s   entries/s   call p50/p99 µs   CPU µs an entry");
    for batch in [1, 64, 1024] {
        let directory = parent.join(format!("driftless-log-bench-{}", std::process::id()));
        let outcome = appends(&directory, batch, Duration::from_secs(seconds));
        fs::remove_dir_all(&directory)?;
        outcome?;
    }
    encoding();
    Ok(())
}

fn entries(first: u64, count: u64, payload: &Bytes) -> Vec<Entry> {
    let entry = |index| Entry {
        position: Position::new(1, index),
        kind: EntryKind::Command,
        payload: payload.clone(),
    };
    (first..first + count).map(entry).collect()
}

fn appends(directory: &std::path::Path, batch: u64, span: Duration) -> Result<(), Box<dyn Error>> {
    let disk = RealDisk::open(directory)?;
    let identity = Identity::new(1, NodeId(1), 1);
    let membership = Membership::of([NodeId(1)]);
    let groups = [(GROUP, membership.clone())];
    let mut log = Log::create(disk, &identity, &groups, Options::default())?.log;
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let hard_state = HardState { current_term: Term(1), ..HardState::default() };
    let mut next = 1;
    let mut append = |log: &mut Log<RealDisk>| -> Result<Duration, Box<dyn Error>> {
        let entries = entries(next, batch, &payload);
        next += batch;
        let record = Record {
            group: GROUP,
            hard_state,
            truncate_from: None,
            snapshot: None,
            entries: entries.into(),
        };
        let begun = Instant::now();
        log.append(&[record])?;
        if next * PAYLOAD_BYTES as u64 % COMPACT_EVERY_BYTES < batch * PAYLOAD_BYTES as u64 {
            let last = Position::new(1, next - 1);
            let snapshot = SnapshotMeta { last, membership: membership.clone() };
            log.compact(GROUP, &snapshot, Index(next - 1))?;
        }
        Ok(begun.elapsed())
    };
    // Until segments are used again: a long run knows nothing else.
    let warm_up = Instant::now();
    while warm_up.elapsed() < span / 3 {
        append(&mut log)?;
    }
    let (begun, cpu_begun) = (Instant::now(), cpu());
    let mut calls: Vec<Duration> = Vec::new();
    while begun.elapsed() < span {
        calls.push(append(&mut log)?);
    }
    let (elapsed, used) = (begun.elapsed(), cpu().saturating_sub(cpu_begun));
    calls.sort_unstable();
    let at = |percent: usize| calls[(calls.len() - 1) * percent / 100].as_micros();
    let calls_a_second = calls.len() as f64 / elapsed.as_secs_f64();
    println!(
        "{batch:>14} {calls_a_second:>9.0} {:>11.0} {:>10} / {:<6} {:>12.3}",
        calls_a_second * batch as f64,
        at(50),
        at(99),
        used.as_secs_f64() * 1e6 / (calls.len() as f64 * batch as f64),
    );
    Ok(())
}

/// Time that this thread spent on a processor, kernel included.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn encoding() {
    const BATCH: u64 = 64;
    const ROUNDS: u64 = 20_000;
    // Payloads of their own, as they come from the network.
    let mut entries = entries(1, BATCH, &Bytes::new());
    for (at, entry) in entries.iter_mut().enumerate() {
        entry.payload = Bytes::from(vec![at as u8; PAYLOAD_BYTES]);
    }
    let hard_state = HardState { current_term: Term(1), ..HardState::default() };
    let state =
        State { group: GROUP, truncate_from: None, snapshot: None, entries: &entries, hard_state };
    let mut buffer = Vec::new();
    let mut previous = 0;
    let begun = cpu();
    for sequence in 0..ROUNDS {
        buffer.clear();
        let stamp = Stamp { segment: 1, sequence, synced_through: sequence, previous };
        previous = encode(&mut buffer, Salt::of(1), &stamp, &Content::State(state));
    }
    let nanos = cpu().saturating_sub(begun).as_nanos() as f64 / (ROUNDS * BATCH) as f64;
    println!("encoding and checksums, {BATCH} a record: {nanos:.0} ns an entry");
}
