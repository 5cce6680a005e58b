//! How fast the store is, and how much memory it takes.
//!
//! `cargo run --release -p driftless-kv --example measure [KEYS]`: puts of
//! 256-byte values into so many keys (100,000 if not said), reads, compaction,
//! a snapshot, puts while one is read, a restore. With 4,000,000 keys the
//! snapshot has more than 1 GiB.

// Measuring is what clocks are for.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;
use driftless_kv::{Command, CompactionRequest, PutRequest, RangeRequest, Store};
use driftless_machine::{AppliedPosition, Batch, StateMachine};
use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 256;
/// Commands come in batches, as from a busy log.
const BATCH: usize = 64;

fn main() {
    let keys: u64 =
        std::env::args().nth(1).map_or(100_000, |keys| keys.parse().expect("the number of keys"));
    println!("{keys} keys, values of {VALUE_BYTES} bytes, batches of {BATCH}");
    let at_start = resident_bytes();
    let mut store = Store::new();

    let took = put_all(&mut store, keys, 1);
    report("put, new keys in random order", took, keys);
    let resident = resident_bytes() - at_start;
    let size = store.reader().size();
    println!(
        "  resident {:.1} MB: {:.1} bytes a key over key and value; estimate {:.1} MB",
        resident as f64 / 1e6,
        resident as f64 / keys as f64 - (VALUE_BYTES + key(0).len()) as f64,
        size.total_bytes as f64 / 1e6,
    );
    read(&store, keys);
    snapshot(&mut store);
    beside_a_snapshot(&mut store, keys);

    let took = put_all(&mut store, keys, 2);
    report("put, over existing keys", took, keys);
    let revision = store.reader().revision();
    println!("  resident {:.1} MB", (resident_bytes() - at_start) as f64 / 1e6);
    let compact = CompactionRequest { revision, physical: false };
    let took = timed(|| apply(&mut store, &[Command::Compact(compact).encode()]));
    println!("compaction: {took:?} until it counts");
    let mut worst = Duration::ZERO;
    let took = timed(|| {
        for n in 0..keys / BATCH as u64 {
            let commands = batch(n * BATCH as u64, BATCH as u64, keys, 3);
            worst = worst.max(timed(|| apply(&mut store, &commands)));
        }
    });
    report("put, while compacted history is swept", took, keys);
    println!("  the slowest batch took {worst:?}");
    println!("  resident {:.1} MB", (resident_bytes() - at_start) as f64 / 1e6);
    snapshot(&mut store);
}

fn read(store: &Store, keys: u64) {
    let reader = store.reader();
    let requests: Vec<_> = (0..keys.min(200_000))
        .map(|n| RangeRequest { key: key(n * 7919 % keys), ..RangeRequest::default() })
        .collect();
    let took = timed(|| {
        for request in &requests {
            let response = reader.range(request).expect("the latest revision");
            assert_eq!(response.kvs.len(), 1);
        }
    });
    report("range of one key", took, requests.len() as u64);

    let page = RangeRequest {
        key: "key".into(),
        range_end: "kez".into(),
        limit: 500,
        ..RangeRequest::default()
    };
    let took = timed(|| assert_eq!(reader.range(&page).expect("latest").count, keys as i64));
    println!("range of 500 of all keys, counted: {took:?}");
    let count = RangeRequest { count_only: true, ..page };
    let took = timed(|| assert_eq!(reader.range(&count).expect("latest").count, keys as i64));
    println!("count of all keys: {took:?}");

    let revision = reader.revision();
    let took = timed(|| {
        for _ in 0..100_000 {
            assert_eq!(reader.events(revision, 10, 1 << 20).expect("recent").revisions.len(), 1);
        }
    });
    report("events of the newest revision", took, 100_000);
    let took = timed(|| {
        for _ in 0..1_000_000 {
            assert!(reader.events(revision + 1, 10, 1 << 20).expect("none").revisions.is_empty());
        }
    });
    report("events, when there is nothing new", took, 1_000_000);
    let took = timed(|| reader.hash(0));
    println!("hash of everything: {took:?}");
}

fn snapshot(store: &mut Store) {
    let mut frozen = None;
    let took = timed(|| frozen = Some(store.snapshot()));
    println!("snapshot: frozen in {took:?}");
    let mut frozen = frozen.expect("frozen just now");
    let mut bytes = Vec::new();
    let took = timed(|| {
        loop {
            let before = bytes.len();
            frozen.read_chunk(1 << 20, &mut bytes).expect("the state stays");
            if bytes.len() == before {
                break;
            }
        }
    });
    println!("  {:.1} MB read in {took:?}", bytes.len() as f64 / 1e6);
    let mut restored = Store::new();
    let took = timed(|| restored.restore(&mut &bytes[..]).expect("a whole snapshot"));
    println!("  restored in {took:?}");
    assert_eq!(restored.reader().hash(0), store.reader().hash(0));
}

/// How long batches take alone, and while another thread reads a snapshot.
fn beside_a_snapshot(store: &mut Store, keys: u64) {
    let mut number = 0;
    let mut next = |store: &mut Store| {
        let commands = batch(number * BATCH as u64, BATCH as u64, keys, 4);
        number += 1;
        timed(|| apply(store, &commands))
    };
    let alone: Vec<Duration> = (0..20_000).map(|_| next(store)).collect();
    let mut frozen = store.snapshot();
    let reader = std::thread::spawn(move || {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        loop {
            chunk.clear();
            frozen.read_chunk(256 << 10, &mut chunk).expect("the state stays");
            bytes += chunk.len();
            if chunk.is_empty() {
                return bytes;
            }
        }
    });
    let mut beside = Vec::new();
    let took = timed(|| {
        while !reader.is_finished() {
            beside.push(next(store));
        }
    });
    let bytes = reader.join().expect("it does not panic");
    println!(
        "batches of {BATCH} puts while {:.1} MB of snapshot are read, {took:?}",
        bytes as f64 / 1e6
    );
    for (what, mut times) in [("alone", alone), ("beside", beside)] {
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).or(times.last());
        if let (Some(half), Some(most), Some(worst)) = (at(0.5), at(0.99), times.last()) {
            println!("  {what}: p50 {half:?}, p99 {most:?}, worst {worst:?} of {}", times.len());
        }
    }
}

fn put_all(store: &mut Store, keys: u64, round: u64) -> Duration {
    let mut took = Duration::ZERO;
    for n in 0..keys.div_ceil(BATCH as u64) {
        let first = n * BATCH as u64;
        let commands = batch(first, (keys - first).min(BATCH as u64), keys, round);
        took += timed(|| apply(store, &commands));
    }
    took
}

/// Puts of some keys in an order that looks random and meets each key once.
fn batch(first: u64, count: u64, keys: u64, round: u64) -> Vec<Bytes> {
    (first..first + count)
        .map(|n| {
            let mut value = vec![0; VALUE_BYTES];
            for (at, byte) in value.iter_mut().enumerate() {
                *byte = (n * 31 + at as u64 * 7 + round) as u8;
            }
            // A prime far from any number of keys given in round figures.
            let put = PutRequest {
                key: key(n * 7_368_787 % keys),
                value: value.into(),
                ..PutRequest::default()
            };
            Command::Put(put).encode()
        })
        .collect()
}

fn key(n: u64) -> Bytes {
    format!("key{n:09}").into()
}

fn apply(store: &mut Store, commands: &[Bytes]) -> Vec<Bytes> {
    let through = AppliedPosition::default();
    store.apply(&Batch { through, commands, sidecar: &|_| Bytes::new() })
}

fn timed<R>(work: impl FnOnce() -> R) -> Duration {
    let start = Instant::now();
    let _ = work();
    start.elapsed()
}

fn report(what: &str, took: Duration, count: u64) {
    println!("{what}: {:.0} ns each", took.as_nanos() as f64 / count as f64);
}

/// What the process holds in memory; 0 where that cannot be asked.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
