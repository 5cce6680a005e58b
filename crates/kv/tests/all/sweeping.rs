//! Compaction gives the memory back, in steps that nobody notices.

use crate::random::Random;
use crate::support::{do_compact, do_delete, do_put, snapshot};
use driftless_kv::{RangeRequest, Store};
use driftless_machine::StateMachine;

/// Enough applies for any sweep of these tests to come to its end.
fn idle(store: &mut Store) {
    for _ in 0..2_000 {
        do_delete(store, "nope", "");
    }
}

#[test]
fn what_was_overwritten_is_freed() {
    let mut store = Store::with_segment_bytes(1024);
    for n in 0..5_000 {
        do_put(&mut store, &format!("key{:03}", n % 100), "a value of some length");
    }
    let reader = store.reader();
    let full = reader.size();
    let revision = reader.revision();
    do_compact(&mut store, revision).unwrap();
    let hash = reader.hash(0);
    assert!(reader.size().total_bytes > full.total_bytes / 2, "not at once");
    idle(&mut store);
    assert_eq!(reader.hash(0), hash, "nobody notices");
    let swept = reader.size();
    assert!(swept.total_bytes < full.total_bytes / 10, "{swept:?} of {full:?}");
}

#[test]
fn what_was_deleted_is_freed_to_the_last_key() {
    let mut store = Store::with_segment_bytes(1024);
    let mut random = Random(1);
    for _ in 0..3_000 {
        do_put(&mut store, &format!("key{}", random.below(2_000)), "a value of some length");
    }
    let full = store.reader().size();
    do_delete(&mut store, "key", "kez");
    let last = do_put(&mut store, "one", "left");
    do_compact(&mut store, last).unwrap();
    idle(&mut store);
    let left = store.reader().size();
    assert_eq!(store.reader().key_count(), 1);
    // What remains is the open segment, the last one, and little lists.
    assert!(left.total_bytes < full.total_bytes / 8, "{left:?} of {full:?}");
}

/// Their deletions belong to the compacted revision, whose events are kept
/// until the next compaction: then they must not be forgotten.
#[test]
fn what_was_deleted_in_the_compacted_revision_is_freed_by_the_next() {
    let mut store = Store::with_segment_bytes(1024);
    for n in 0..1_000 {
        do_put(&mut store, &format!("key{n}"), "a value of some length");
    }
    let full = store.reader().size();
    do_delete(&mut store, "key", "kez");
    let deleted_at = store.reader().revision();
    do_compact(&mut store, deleted_at).unwrap();
    idle(&mut store);
    do_put(&mut store, "one", "");
    let last = do_put(&mut store, "two", "");
    do_compact(&mut store, last).unwrap();
    idle(&mut store);
    let left = store.reader().size();
    assert!(left.total_bytes < full.total_bytes / 8, "{left:?} of {full:?}");
}

#[test]
fn a_key_with_a_long_history_is_trimmed_in_steps() {
    let mut store = Store::with_segment_bytes(4096);
    for n in 0..20_000 {
        do_put(&mut store, "hot", &n.to_string());
    }
    let reader = store.reader();
    let full = reader.size().total_bytes;
    do_compact(&mut store, 20_001).unwrap();
    idle(&mut store);
    assert!(reader.size().total_bytes < full / 20);
    let at = RangeRequest { key: "hot".into(), revision: 20_001, ..RangeRequest::default() };
    assert_eq!(reader.range(&at).unwrap().kvs[0].version, 20_000);
}

#[test]
fn a_pinned_history_stays_until_the_snapshot_was_read() {
    let mut store = Store::with_segment_bytes(1024);
    for n in 0..1_000 {
        do_put(&mut store, &format!("key{:02}", n % 50), "a value of some length");
    }
    let expected = snapshot(&mut store, 1 << 20);
    let mut frozen = store.snapshot();
    let mut bytes = Vec::new();
    frozen.read_chunk(700, &mut bytes).unwrap();
    let last = do_put(&mut store, "z", "");
    do_compact(&mut store, last).unwrap();
    idle(&mut store);
    let pinned = store.reader().size();
    loop {
        let before = bytes.len();
        frozen.read_chunk(700, &mut bytes).unwrap();
        if bytes.len() == before {
            break;
        }
    }
    assert!(bytes == expected, "the state as it was frozen");
    drop(frozen);
    idle(&mut store);
    let free = store.reader().size();
    assert!(free.total_bytes < pinned.total_bytes / 4, "{free:?} of {pinned:?}");
}
