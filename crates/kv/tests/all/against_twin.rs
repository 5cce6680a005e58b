//! Random histories: every reply, every read at every revision, every event
//! must be the twin's.

use crate::random::Random;
use crate::support::{all_events, apply, apply_all, snapshot};
use crate::twin::Twin;
use driftless_kv::{ApplyError, Command, RangeRequest, Reader, Store};
use driftless_machine::StateMachine;

fn check_reads(random: &mut Random, reader: &Reader, twin: &Twin, context: &str) {
    for _ in 0..4 {
        let range = random.range(twin.revision);
        let expected = twin.range(&range);
        let found = reader.range(&range).map_err(ApplyError::from);
        assert_eq!(found, expected, "{range:?}, {context}");
    }
    for revision in twin.compacted.max(1)..=twin.revision {
        let everything = RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            revision,
            ..RangeRequest::default()
        };
        let found = reader.range(&everything).expect("not compacted");
        assert_eq!(found.kvs, twin.state(revision), "at revision {revision}, {context}");
    }
}

fn check_events(reader: &Reader, twin: &Twin, context: &str) {
    for from in 0..=twin.revision + 1 {
        let Some(expected) = twin.events(from) else {
            let gone = reader.events(from, 1, 1).expect_err("compacted");
            assert_eq!(gone.compact_revision, twin.compacted, "{context}");
            continue;
        };
        assert_eq!(all_events(reader, from), expected, "events from {from}, {context}");
        for event in &expected {
            assert_eq!(reader.prev_kv(event), twin.prev_kv(event), "{event:?}, {context}");
        }
    }
}

#[test]
fn random_histories_are_the_twins() {
    let (mut applied, mut refused, mut compactions) = (0, 0, 0);
    for seed in 0..3_000 {
        let mut random = Random(seed);
        // Small segments: several hold a history, and are freed within it.
        let segment_bytes = random.pick(&[96, 256, 4096]);
        let mut store = Store::with_segment_bytes(segment_bytes);
        let mut lazy = Store::new();
        let reader = store.reader();
        let mut twin = Twin::new();
        let mut history = Vec::new();
        for step in 0..random.below(60) {
            let context = format!("seed {seed}, step {step}");
            let command = random.command(twin.revision);
            history.push(command.clone());
            let expected = twin.apply(&command);
            compactions += u64::from(matches!(command, Command::Compact(_)) && expected.is_ok());
            applied += u64::from(expected.is_ok());
            refused += u64::from(expected.is_err());
            assert_eq!(apply(&mut store, command.clone()), expected, "{command:?}, {context}");
            assert_eq!(reader.revision(), twin.revision, "{context}");
            assert_eq!(reader.compact_revision(), twin.compacted, "{context}");
            if random.one_in(8) {
                check_reads(&mut random, &reader, &twin, &context);
            }
        }
        let context = format!("seed {seed}, in the end");
        check_reads(&mut random, &reader, &twin, &context);
        check_events(&reader, &twin, &context);
        assert_eq!(reader.key_count(), twin.state(i64::MAX).len() as u64, "{context}");

        // The same in one batch, hardly swept, gives the same state; so does a
        // snapshot of it, byte by byte the same.
        apply_all(&mut lazy, &history);
        assert_eq!(lazy.reader().hash(0), reader.hash(0), "{context}");
        let bytes = snapshot(&mut store, 100);
        assert_eq!(snapshot(&mut lazy, 1 << 20), bytes, "{context}");
        let mut restored = Store::with_segment_bytes(segment_bytes);
        restored.restore(&mut &bytes[..]).expect("a whole snapshot");
        let reader = restored.reader();
        assert_eq!(reader.hash(0), lazy.reader().hash(0), "{context}");
        check_reads(&mut random, &reader, &twin, &context);
        check_events(&reader, &twin, &context);
        assert_eq!(reader.key_count(), twin.state(i64::MAX).len() as u64, "{context}");
        // And it goes on as the other would.
        for _ in 0..10 {
            let command = random.command(twin.revision);
            let expected = twin.apply(&command);
            assert_eq!(apply(&mut restored, command.clone()), expected, "{command:?}, {context}");
        }
    }
    assert!(applied > 30_000, "{applied} were carried out");
    assert!(refused > 3_000, "{refused} were refused");
    assert!(compactions > 500, "{compactions} times was compacted");
}

#[test]
fn hashes_at_older_revisions_agree() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (mut store, mut older) = (Store::with_segment_bytes(128), Store::new());
        let mut twin = Twin::new();
        for _ in 0..40 {
            let command = random.command(twin.revision);
            let _ = twin.apply(&command);
            let _ = apply(&mut store, command.clone());
            let _ = apply(&mut older, command);
        }
        let at = older.reader().hash(0).expect("the latest");
        for _ in 0..20 {
            let command = Command::Txn(random.txn(twin.revision, 1));
            let _ = apply(&mut store, command);
        }
        assert_eq!(store.reader().hash(at.revision), Ok(at), "seed {seed}");
    }
}
