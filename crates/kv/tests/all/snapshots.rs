//! Snapshots: frozen at once, read while applies go on, restored as a whole.

use crate::support::{all_events, apply, do_compact, do_delete, do_put, range, snapshot};
use bytes::Bytes;
use driftless_kv::{Command, MemberAttributes, MemberIntent, RangeRequest, Response, Store};
use driftless_machine::{RestoreError, StateMachine};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_snapshot_read_beside_applies_is_the_state_at_its_start() {
    let mut store = Store::with_segment_bytes(4096);
    for n in 0..5_000 {
        do_put(&mut store, &format!("key{:04}", n * 7 % 1_000), &format!("value {n}"));
    }
    do_compact(&mut store, 3_000).unwrap();
    let expected = store.reader().hash(0).unwrap();
    let mut frozen = store.snapshot();
    let done = AtomicBool::new(false);
    let bytes = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut bytes = Vec::new();
            loop {
                let before = bytes.len();
                frozen.read_chunk(1000, &mut bytes).unwrap();
                if bytes.len() == before {
                    done.store(true, Ordering::SeqCst);
                    return bytes;
                }
            }
        });
        let mut n = 0_i64;
        while !done.load(Ordering::SeqCst) || n < 3_000 {
            let revision = do_put(&mut store, &format!("key{:04}", n * 11 % 1_500), "new");
            if n % 50 == 0 {
                do_delete(&mut store, "key0", "key00");
                do_compact(&mut store, revision - 10).unwrap();
            }
            n += 1;
        }
        reading.join().expect("the reader is done")
    });
    let mut restored = Store::new();
    restored.restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.reader().hash(0), Ok(expected));
    assert_ne!(store.reader().hash(0), Ok(expected));
}

#[test]
fn readers_follow_a_restored_snapshot() {
    let mut source = Store::new();
    for n in 0..10 {
        do_put(&mut source, "a", &n.to_string());
    }
    do_compact(&mut source, 5).unwrap();
    let bytes = snapshot(&mut source, 1 << 16);

    let mut store = Store::new();
    do_put(&mut store, "other", "");
    let reader = store.reader();
    let (sender, heard) = std::sync::mpsc::channel();
    store.on_revision(Box::new(move |revision| sender.send(revision).unwrap()));
    store.restore(&mut &bytes[..]).unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [11]);
    assert_eq!(reader.revision(), 11);
    assert_eq!(reader.compact_revision(), 5);
    assert_eq!(reader.range(&range("other", "")).unwrap().count, 0);
    let old = RangeRequest { revision: 7, ..range("a", "") };
    assert_eq!(reader.range(&old).unwrap().kvs[0].value, "5");
    assert_eq!(all_events(&reader, 5), all_events(&source.reader(), 5));
    assert_eq!(reader.hash(0), source.reader().hash(0));
}

#[test]
fn a_damaged_snapshot_leaves_the_state_as_it_was() {
    let mut source = Store::new();
    do_put(&mut source, "a", "1");
    let mut bytes = snapshot(&mut source, 1 << 16);
    let mut store = Store::new();
    do_put(&mut store, "kept", "");
    let before = store.reader().hash(0);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = store.restore(&mut &bytes[..]).unwrap_err();
    assert!(matches!(error, RestoreError::Damaged { .. }), "{error}");
    assert_eq!(store.reader().hash(0), before);
    assert_eq!(do_put(&mut store, "a", ""), 3);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = snapshot(&mut Store::new(), 1 << 16);
    bytes[8] = 2;
    let error = Store::new().restore(&mut &bytes[..]).unwrap_err();
    assert!(matches!(error, RestoreError::NewerVersion { found: 2, known: 1 }), "{error}");
}

#[test]
fn a_snapshot_of_a_state_that_was_replaced_says_so() {
    let mut store = Store::new();
    for n in 0..1_000 {
        do_put(&mut store, &n.to_string(), &"x".repeat(500));
    }
    let other = snapshot(&mut Store::new(), 1 << 16);
    let mut frozen = store.snapshot();
    let mut bytes = Vec::new();
    frozen.read_chunk(100, &mut bytes).unwrap();
    store.restore(&mut &other[..]).unwrap();
    let error = frozen.read_chunk(1 << 30, &mut bytes).unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let mut store = Store::new();
    let bytes = snapshot(&mut store, 3);
    let mut restored = Store::new();
    do_put(&mut restored, "gone", "");
    restored.restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.reader().hash(0), store.reader().hash(0));
    assert_eq!(do_put(&mut restored, "a", ""), 2);
}

#[test]
fn values_of_every_size_pass_through() {
    let mut store = Store::with_segment_bytes(1 << 19);
    for size in [0, 1, 100, 32 << 10, 64 << 10, 1 << 20, 3 << 20] {
        do_put(&mut store, &format!("of {size}"), &"v".repeat(size));
    }
    let bytes = snapshot(&mut store, 10_000);
    let mut restored = Store::new();
    restored.restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.reader().hash(0), store.reader().hash(0));
    let all = restored.reader().range(&range("o", "p")).unwrap();
    assert_eq!(
        all.kvs.iter().map(|kv| kv.value.len()).sum::<usize>(),
        101 + (96 << 10) + (4 << 20)
    );
}

#[test]
fn what_is_known_of_members_passes_through() {
    let mut store = Store::new();
    let publish = |id: u64, name: &'static str| {
        let client_urls = vec![Bytes::from_static(b"http://127.0.0.1:2379")];
        Command::Publish(MemberAttributes {
            id,
            name: Bytes::from_static(name.as_bytes()),
            client_urls,
        })
    };
    let declare = |id, intent| Command::Declare { id, intent };
    let (far, near) = (u64::MAX - 1, 2);
    for command in [
        publish(far, "far"),
        publish(near, "near"),
        publish(3, "third"),
        declare(far, MemberIntent::Learner),
        declare(near, MemberIntent::Learner),
        declare(near, MemberIntent::Voter),
        declare(3, MemberIntent::Learner),
        declare(3, MemberIntent::Gone),
    ] {
        assert_eq!(Command::decode(&command.encode()), Ok(command.clone()));
        assert_eq!(apply(&mut store, command), Ok(Response::Published));
    }
    let bytes = snapshot(&mut store, 7);
    let mut restored = Store::new();
    restored.restore(&mut &bytes[..]).unwrap();
    for reader in [store.reader(), restored.reader()] {
        let names: Vec<_> = reader.members().into_iter().map(|member| member.name).collect();
        assert_eq!(names, ["near", "far"]);
        assert_eq!(reader.declared_learners(), BTreeSet::from([far]));
        assert_eq!(reader.revision(), 1, "no revision comes of it");
    }
}
