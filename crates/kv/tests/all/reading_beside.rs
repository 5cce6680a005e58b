//! Threads that read while one applies.

use crate::random::Random;
use crate::support::{apply, do_compact, do_put, do_txn, put, range, snapshot, then};
use driftless_kv::{
    Command, CompareTarget, RangeRequest, ReadError, RequestOp, ResponseOp, SortOrder, SortTarget,
    Store, TxnRequest,
};
use driftless_machine::StateMachine;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every transaction writes the same number into two keys far apart, and into
/// many between them: a read over all of them that sees two numbers has mixed
/// two revisions.
#[test]
fn a_long_range_answers_for_one_revision() {
    const KEYS: usize = 3_000;
    const GROUP: usize = 100;
    let mut store = Store::with_segment_bytes(16 << 10);
    for n in 0..KEYS {
        do_put(&mut store, &format!("k{n:05}"), "0");
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..2 {
            let reader = store.reader();
            let done = &done;
            threads.push(scope.spawn(move || {
                let mut reads = 0;
                while !done.load(Ordering::SeqCst) || reads < 20 {
                    let mut request = range("k", "l");
                    if thread == 1 {
                        request.sort_order = SortOrder::Descend;
                        request.sort_target = SortTarget::Mod;
                    }
                    let response = reader.range(&request).unwrap();
                    assert_eq!((response.count, response.kvs.len()), (KEYS as i64, KEYS));
                    let marked = response.kvs.iter().filter(|kv| kv.key.ends_with(b"00"));
                    let mut values: Vec<_> = marked.map(|kv| kv.value.clone()).collect();
                    values.dedup();
                    assert_eq!(values.len(), 1, "all of one transaction");
                    reads += 1;
                }
                reads
            }));
        }
        let mut random = Random(1);
        for n in 1..400 {
            let value = n.to_string();
            let marked = (0..KEYS / GROUP)
                .map(|k| RequestOp::Put(put(&format!("k{:05}", k * GROUP), &value)));
            let revision = do_txn(&mut store, then(marked.collect())).unwrap().revision;
            let other = 1 + random.below(98) + 100 * random.below(30);
            do_put(&mut store, &format!("k{other:05}"), &value);
            if n % 3 == 0 {
                do_compact(&mut store, revision).unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
        for thread in threads {
            assert!(thread.join().expect("no reader failed") >= 20);
        }
    });
}

/// A restore in the middle of a long read has it begin anew.
#[test]
fn a_long_range_survives_a_restore() {
    let fill = |value: &str| {
        let mut store = Store::new();
        for n in 0..3_000 {
            do_put(&mut store, &format!("k{n:05}"), value);
        }
        snapshot(&mut store, 1 << 16)
    };
    let states = [fill("one"), fill("two")];
    let mut store = Store::new();
    store.restore(&mut &states[0][..]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = store.reader();
        let done = &done;
        let reading = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let mut values: Vec<_> = reader.range(&range("k", "l")).unwrap().kvs;
                assert_eq!(values.len(), 3_000);
                values.dedup_by(|a, b| a.value == b.value);
                assert_eq!(values.len(), 1, "all of one state");
            }
        });
        for n in 0..60 {
            store.restore(&mut &states[n % 2][..]).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reading.join().expect("the reader did not fail");
    });
}

#[test]
fn a_read_only_transaction_needs_no_log() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    let reads = then(vec![
        RequestOp::Range(range("a", "")),
        RequestOp::Txn(then(vec![RequestOp::Range(range("b", ""))])),
    ]);
    let answer = store.reader().txn(&reads).unwrap().unwrap();
    assert_eq!(answer, do_txn(&mut store, reads).unwrap());
    let ResponseOp::Range(read) = &answer.responses[0] else { panic!() };
    assert_eq!(read.kvs[0].value, "1");
    // One that might write does, even where this branch would not.
    let writes =
        TxnRequest { failure: vec![RequestOp::Put(put("a", ""))], ..TxnRequest::default() };
    assert_eq!(store.reader().txn(&writes), None);
    let future = RangeRequest { revision: 3, ..range("a", "") };
    let refused = store.reader().txn(&then(vec![RequestOp::Range(future)]));
    assert_eq!(refused, Some(Err(ReadError::FutureRev)));
}

#[test]
fn read_only_transactions_answer_as_if_applied() {
    let mut compared = 0;
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let mut store = Store::new();
        for _ in 0..10 {
            let _ = apply(&mut store, random.command(10));
        }
        let mut txn = random.txn(10, 1);
        make_read_only(&mut txn, &mut random);
        let read = store.reader().txn(&txn).expect("it only reads");
        let before = store.reader().hash(0);
        let applied = apply(&mut store, Command::Txn(txn));
        assert_eq!(store.reader().hash(0), before, "seed {seed}");
        match (read, applied) {
            (Ok(read), Ok(driftless_kv::Response::Txn(applied))) => {
                assert_eq!(read, applied, "seed {seed}");
                compared += 1;
            }
            (Err(read), Err(applied)) => assert_eq!(driftless_kv::ApplyError::from(read), applied),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(compared > 500, "{compared} were answered");
}

fn make_read_only(txn: &mut TxnRequest, random: &mut Random) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            RequestOp::Txn(nested) => make_read_only(nested, random),
            RequestOp::Range(_) => {}
            RequestOp::Put(_) | RequestOp::DeleteRange(_) => {
                *op = RequestOp::Range(random.range(10));
            }
        }
    }
    for compare in &mut txn.compare {
        if random.one_in(2) {
            compare.target = CompareTarget::Version(0);
        }
    }
}
