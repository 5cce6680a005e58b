//! Events since the compaction, in whole revisions.

use crate::support::{
    all_events, apply_all, delete, do_compact, do_delete, do_put, do_txn, put, snapshot, then,
};
use driftless_kv::{Command, Compacted, CompactionRequest, EventKind, RequestOp, Store};
use driftless_machine::StateMachine;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[test]
fn a_revision_is_never_split() {
    let mut store = Store::new();
    do_put(&mut store, "z", "0");
    let puts = (0..10).map(|n| RequestOp::Put(put(&format!("k{n}"), "value"))).collect();
    do_txn(&mut store, then(puts)).unwrap();
    do_put(&mut store, "z", "1");
    let reader = store.reader();

    let one = reader.events(2, 1, usize::MAX).unwrap();
    assert_eq!((one.revisions.len(), one.next_revision), (1, 3));
    // A bound in bytes ends after the revision that passes it.
    let all_of_it = reader.events(3, usize::MAX, 1).unwrap();
    assert_eq!(all_of_it.revisions.len(), 1);
    assert_eq!(all_of_it.revisions[0].events.len(), 10);
    assert_eq!(all_of_it.next_revision, 4);
    let rest = reader.events(4, usize::MAX, usize::MAX).unwrap();
    assert_eq!((rest.revisions[0].revision, rest.next_revision), (4, 5));
    assert!(reader.events(5, 1, 1).unwrap().revisions.is_empty());
    assert_eq!(reader.events(99, 1, 1).unwrap().next_revision, 99);
}

/// A revision of several kilobytes can lie on both sides of a mark by which
/// revisions are found.
#[test]
fn a_large_revision_is_found_from_its_first_event() {
    let mut store = Store::new();
    let value = "v".repeat(1_000);
    for _ in 0..100 {
        let puts = (0..7).map(|n| RequestOp::Put(put(&format!("k{n}"), &value))).collect();
        do_txn(&mut store, then(puts)).unwrap();
    }
    let reader = store.reader();
    for from in 2..=101 {
        let found = reader.events(from, 1, usize::MAX).unwrap();
        assert_eq!(found.revisions[0].revision, from);
        assert_eq!(found.revisions[0].events.len(), 7, "of revision {from}");
    }
}

#[test]
fn a_deletion_says_key_and_revision_alone() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    do_put(&mut store, "a", "2");
    do_delete(&mut store, "a", "");
    let reader = store.reader();
    let events = all_events(&reader, 2);
    assert!(events[0].is_create());
    assert_eq!(reader.prev_kv(&events[0]), None);
    assert_eq!(reader.prev_kv(&events[1]).unwrap().value, "1");
    let deletion = &events[2];
    assert_eq!((deletion.kind, &deletion.kv.key[..]), (EventKind::Delete, &b"a"[..]));
    assert_eq!((deletion.kv.mod_revision, deletion.kv.version), (4, 0));
    assert_eq!(reader.prev_kv(deletion).unwrap().value, "2");
}

#[test]
fn events_of_the_compacted_revision_are_left_with_its_deletions() {
    // Small segments and many writes: the sweep has come by.
    let mut store = Store::with_segment_bytes(128);
    do_put(&mut store, "a", "1");
    do_put(&mut store, "b", "1");
    do_delete(&mut store, "a", "");
    do_compact(&mut store, 4).unwrap();
    for n in 0..50 {
        do_put(&mut store, "c", &n.to_string());
    }
    let reader = store.reader();
    assert_eq!(reader.events(3, 1, 1), Err(Compacted { compact_revision: 4 }));
    let events = all_events(&reader, 4);
    assert_eq!((events[0].kind, &events[0].kv.key[..]), (EventKind::Delete, &b"a"[..]));
    assert_eq!(reader.prev_kv(&events[0]), None, "that was before the compacted revision");
    assert_eq!(events.len(), 51);
}

/// Writes and a compaction of them in one batch, before anybody could read.
#[test]
fn a_compaction_does_not_overtake_a_follower() {
    let mut store = Store::with_segment_bytes(128);
    do_put(&mut store, "a", "before");
    let mut follower = store.reader().follow();
    assert_eq!(follower.next_revision(), 3);
    let mut batch: Vec<Command> =
        (3..=60).map(|n| Command::Put(put("a", &n.to_string()))).collect();
    let delete_and_put =
        vec![RequestOp::DeleteRange(delete("a", "\0")), RequestOp::Put(put("a", "61"))];
    batch.push(Command::Txn(then(delete_and_put)));
    batch.push(Command::Compact(CompactionRequest { revision: 61, physical: false }));
    apply_all(&mut store, &batch);
    // The sweep comes by, again and again.
    for _ in 0..200 {
        do_put(&mut store, "b", "");
    }
    assert_eq!(store.reader().events(60, 1, 1), Err(Compacted { compact_revision: 61 }));

    let mut seen = Vec::new();
    while follower.next_revision() <= 61 {
        let events = follower.read(7, usize::MAX).unwrap();
        assert_eq!(events.next_revision, follower.next_revision());
        seen.extend(events.revisions.iter().map(|r| (r.revision, r.events.len())));
    }
    let expected = (3..=60).map(|revision| (revision, 1)).chain([(61, 2)]);
    assert_eq!(seen[..59], expected.collect::<Vec<_>>());

    // What it has read or skipped is kept for it no longer.
    let value = "v".repeat(100);
    for _ in 0..500 {
        let revision = do_put(&mut store, "b", &value);
        follower.skip();
        assert_eq!(follower.next_revision(), revision + 1);
        do_compact(&mut store, revision).unwrap();
    }
    let held = store.reader().size().total_bytes;
    assert!(held < 20_000, "{held} bytes of history that nobody reads");
    assert!(follower.read(1, 1).unwrap().revisions.is_empty());
}

#[test]
fn a_follower_learns_that_a_snapshot_took_its_events() {
    let mut ahead = Store::new();
    for n in 2..=50 {
        do_put(&mut ahead, "a", &n.to_string());
    }
    do_compact(&mut ahead, 40).unwrap();
    let snapshot = snapshot(&mut ahead, 1 << 20);
    for (writes, gone) in [(5, true), (42, false)] {
        let mut store = Store::new();
        for _ in 0..writes {
            do_put(&mut store, "a", "");
        }
        let mut follower = store.reader().follow();
        store.restore(&mut &snapshot[..]).unwrap();
        let read = follower.read(1, 1);
        if gone {
            assert_eq!(read, Err(Compacted { compact_revision: 40 }));
            assert_eq!(follower.next_revision(), 51, "it goes on from the present");
        } else {
            assert_eq!(read.unwrap().revisions[0].revision, i64::from(writes) + 2);
        }
        do_put(&mut store, "b", "");
        while follower.next_revision() <= 51 {
            follower.read(1, 1).unwrap();
        }
    }
}

#[test]
fn a_transaction_that_deletes_and_puts_has_both_events() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    let ops = vec![RequestOp::DeleteRange(delete("a", "\0")), RequestOp::Put(put("a", "2"))];
    do_txn(&mut store, then(ops)).unwrap();
    let reader = store.reader();
    let events = all_events(&reader, 3);
    assert_eq!(events.len(), 2);
    assert_eq!(reader.prev_kv(&events[0]).unwrap().value, "1");
    assert!(events[1].is_create());
}

#[test]
fn hooks_hear_of_each_batch_that_moved_the_revision() {
    let mut store = Store::new();
    let (heard, calls) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let hook = |heard: &Arc<AtomicI64>, calls: &Arc<AtomicI64>| {
        let (heard, calls) = (Arc::clone(heard), Arc::clone(calls));
        Box::new(move |revision| {
            heard.store(revision, Ordering::SeqCst);
            calls.fetch_add(1, Ordering::SeqCst);
        })
    };
    store.on_revision(hook(&heard, &calls));
    store.reader().on_revision(hook(&heard, &calls));
    do_put(&mut store, "a", "1");
    assert_eq!((heard.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (2, 2));
    do_delete(&mut store, "nope", "");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "nothing moved");
}
