//! Transactions.

use super::{Case, DUPLICATE, EMPTY_KEY, FUTURE, KEY_NOT_FOUND, NO_LEASE, TOO_MANY};
use super::{at, puts, transaction, with_keys};
use crate::beside::calls::{Call, compare, delete, op, put, range, txn};
use etcd_client::proto::{
    PbCompare, PbPutRequest, PbRangeRequest, PbTargetUnion as Target, PbTxnOpRequest as Op,
    PbTxnRequest, PbTxnRequestOp,
};

pub(super) const CASES: &[Case] = &[
    ("transaction of nothing", |_| vec![transaction([])], Ok(())),
    (
        "transaction with an operation left out",
        |_| {
            let success = vec![PbTxnRequestOp { request: None }];
            vec![Call::Txn(PbTxnRequest { success, ..PbTxnRequest::default() })]
        },
        KEY_NOT_FOUND,
    ),
    ("transaction that reads", |_| with_keys(transaction([Op::RequestRange(at(0))])), Ok(())),
    (
        "transaction that reads the past",
        |revision| with_keys(transaction([Op::RequestRange(at(revision + 3))])),
        Ok(()),
    ),
    (
        "transaction that reads the future",
        |revision| with_keys(transaction([Op::RequestRange(at(revision + 8))])),
        FUTURE,
    ),
    (
        "transaction that reads its own revision before it is",
        |revision| {
            vec![transaction([Op::RequestPut(put("a", "1")), Op::RequestRange(at(revision + 1))])]
        },
        FUTURE,
    ),
    (
        "transaction that writes nothing if one of its reads fails",
        |revision| {
            vec![transaction([Op::RequestPut(put("a", "1")), Op::RequestRange(at(revision + 9))])]
        },
        FUTURE,
    ),
    (
        "reads between the writes of a transaction",
        |_| {
            with_keys(transaction([
                Op::RequestRange(range("a", "z")),
                Op::RequestPut(put("e", "1")),
                Op::RequestRange(range("a", "z")),
                Op::RequestDeleteRange(delete("a", "c")),
                Op::RequestRange(range("a", "z")),
                Op::RequestPut(PbPutRequest { prev_kv: true, ..put("f", "2") }),
                Op::RequestRange(PbRangeRequest { count_only: true, ..range("a", "z") }),
            ]))
        },
        Ok(()),
    ),
    (
        "a deletion of nothing in a transaction",
        |_| vec![transaction([Op::RequestDeleteRange(delete("x", "z"))])],
        Ok(()),
    ),
    (
        "a deletion of nothing between writes",
        |_| {
            vec![transaction([
                Op::RequestDeleteRange(delete("x", "")),
                Op::RequestPut(put("a", "1")),
                Op::RequestDeleteRange(delete("x", "")),
            ])]
        },
        Ok(()),
    ),
    ("every compare", all_compares, Ok(())),
    ("compare of no key", |_| when(compare(EQUAL, "", "", Target::Version(0))), EMPTY_KEY),
    (
        "compare without a value to compare with",
        |_| when(PbCompare { target_union: None, ..compare(EQUAL, "a", "", Target::Lease(0)) }),
        Ok(()),
    ),
    (
        "compare with a value of another target",
        |_| when(PbCompare { target: 2, ..compare(EQUAL, "a", "", Target::Version(3)) }),
        Ok(()),
    ),
    (
        "a key put twice",
        |_| vec![transaction([Op::RequestPut(put("a", "1")), Op::RequestPut(put("a", "2"))])],
        DUPLICATE,
    ),
    (
        "a key put and deleted",
        |_| {
            vec![transaction([
                Op::RequestPut(put("b", "1")),
                Op::RequestDeleteRange(delete("a", "c")),
            ])]
        },
        DUPLICATE,
    ),
    (
        "a key put and deleted from a key on",
        |_| {
            vec![transaction([
                Op::RequestPut(put("b", "1")),
                Op::RequestDeleteRange(delete("a", "\0")),
            ])]
        },
        Ok(()),
    ),
    (
        "a key deleted twice",
        |_| {
            with_keys(transaction([
                Op::RequestDeleteRange(delete("a", "")),
                Op::RequestDeleteRange(delete("a", "c")),
            ]))
        },
        Ok(()),
    ),
    (
        "a key put in both branches",
        |_| {
            let put = || Op::RequestPut(put("a", "1"));
            vec![Call::Txn(txn([], [put()], [put()]))]
        },
        Ok(()),
    ),
    (
        "a key put in both nested branches",
        |_| {
            let put = || Op::RequestPut(put("a", "1"));
            vec![transaction([Op::RequestTxn(txn([], [put()], [put()]))])]
        },
        Ok(()),
    ),
    (
        "a key put here and nested",
        |_| {
            let put = || Op::RequestPut(put("a", "1"));
            vec![transaction([put(), Op::RequestTxn(txn([], [], [put()]))])]
        },
        DUPLICATE,
    ),
    (
        "a key put in two nested ones",
        |_| {
            let nested = || Op::RequestTxn(txn([], [Op::RequestPut(put("a", "1"))], []));
            vec![transaction([nested(), nested()])]
        },
        DUPLICATE,
    ),
    (
        "a key put nested and deleted later",
        |_| {
            let put = Op::RequestTxn(txn([], [Op::RequestPut(put("a", "1"))], []));
            let delete = Op::RequestTxn(txn([], [Op::RequestDeleteRange(delete("a", "b"))], []));
            vec![transaction([put, delete])]
        },
        Ok(()),
    ),
    (
        "a key deleted nested and put later",
        |_| {
            let put = Op::RequestTxn(txn([], [Op::RequestPut(put("a", "1"))], []));
            let delete = Op::RequestTxn(txn([], [Op::RequestDeleteRange(delete("a", "b"))], []));
            vec![transaction([delete, put])]
        },
        DUPLICATE,
    ),
    (
        "nested compares see the state before",
        |_| {
            let missing = compare(EQUAL, "a", "", Target::Version(0));
            let read = || Op::RequestRange(range("a", "z"));
            let inner = txn([missing], [read()], [Op::RequestPut(put("wrong", ""))]);
            let ops = [Op::RequestPut(put("a", "1")), Op::RequestTxn(inner), read()];
            vec![transaction(ops)]
        },
        Ok(()),
    ),
    (
        "three levels, of which two write",
        |_| {
            let third = txn([], [Op::RequestPut(put("c", "3"))], []);
            let second = txn(
                [compare(GREATER, "x", "", Target::Version(0))],
                [],
                [Op::RequestTxn(third), Op::RequestRange(range("a", "z"))],
            );
            vec![transaction([Op::RequestPut(put("a", "1")), Op::RequestTxn(second)])]
        },
        Ok(()),
    ),
    ("128 operations", |_| vec![Call::Txn(wide(128))], Ok(())),
    ("129 operations", |_| vec![Call::Txn(wide(129))], TOO_MANY),
    ("64 operations around 64", |_| nested(wide(64), 64), Ok(())),
    ("64 operations around 65", |_| nested(wide(65), 64), TOO_MANY),
    (
        "129 compares",
        |_| {
            let compare = (0..129).map(|_| compare(EQUAL, "a", "", Target::Version(0))).collect();
            vec![Call::Txn(PbTxnRequest { compare, ..PbTxnRequest::default() })]
        },
        TOO_MANY,
    ),
    (
        "nested put of no key",
        |_| vec![transaction([Op::RequestTxn(txn([], [], [Op::RequestPut(put("", ""))]))])],
        EMPTY_KEY,
    ),
    (
        "nested range of no key",
        |_| vec![transaction([Op::RequestRange(range("", "a"))])],
        EMPTY_KEY,
    ),
    (
        "put under no lease in the branch taken",
        |_| {
            let leased = PbPutRequest { lease: 7, ..put("a", "v") };
            vec![transaction([Op::RequestPut(put("b", "")), Op::RequestPut(leased)])]
        },
        NO_LEASE,
    ),
    (
        "put under no lease in the other branch",
        |_| {
            let leased = PbPutRequest { lease: 7, ..put("a", "v") };
            vec![Call::Txn(txn([], [Op::RequestPut(put("b", ""))], [Op::RequestPut(leased)]))]
        },
        Ok(()),
    ),
    (
        "put that keeps the value of a key put in the same transaction",
        |_| {
            let kept = PbPutRequest { ignore_value: true, ..put("a", "") };
            let inner = txn([], [Op::RequestPut(kept)], []);
            vec![transaction([Op::RequestPut(put("b", "1")), Op::RequestTxn(inner)])]
        },
        KEY_NOT_FOUND,
    ),
    (
        "the refusal of two faults is that of the first",
        |revision| {
            let leased = PbPutRequest { lease: 7, ..put("a", "v") };
            vec![transaction([Op::RequestRange(at(revision + 9)), Op::RequestPut(leased)])]
        },
        NO_LEASE,
    ),
];

// Results of a compare, as the protocol numbers them.
const EQUAL: i32 = 0;
const GREATER: i32 = 1;
const LESS: i32 = 2;
const NOT_EQUAL: i32 = 3;

fn when(compare: PbCompare) -> Vec<Call> {
    let mut calls = puts(&[("a", "1"), ("b", "2"), ("b", "3")]);
    calls.push(Call::Txn(txn([compare], [Op::RequestRange(range("a", ""))], [])));
    calls
}

/// Every result with every target, on a key, a missing key, a range and an
/// empty range.
fn all_compares(revision: i64) -> Vec<Call> {
    let mut calls = puts(&[("a", "1"), ("b", "2"), ("b", "3")]);
    for (key, end) in [("a", ""), ("none", ""), ("a", "c"), ("x", "y"), ("a", "\0"), ("c", "a")] {
        for result in [EQUAL, GREATER, LESS, NOT_EQUAL] {
            let mut targets = vec![Target::Value("1".into()), Target::Value("".into())];
            for number in [0, 1, 2, revision + 1, revision + 3] {
                targets.push(Target::Version(number));
                targets.push(Target::CreateRevision(number));
                targets.push(Target::ModRevision(number));
                targets.push(Target::Lease(number));
            }
            for target in targets {
                calls.push(Call::Txn(txn([compare(result, key, end, target)], [], [])));
            }
        }
    }
    calls
}

fn wide(ops: usize) -> PbTxnRequest {
    let op = |n| op(Op::RequestPut(put(&format!("k{n}"), "")));
    PbTxnRequest { success: (0..ops).map(op).collect(), ..PbTxnRequest::default() }
}

fn nested(inner: PbTxnRequest, outer: usize) -> Vec<Call> {
    let mut txn = wide(outer - 1);
    for op in &mut txn.success {
        if let Some(Op::RequestPut(put)) = &mut op.request {
            put.key.push(b'o');
        }
    }
    txn.success.push(op(Op::RequestTxn(inner)));
    vec![Call::Txn(txn)]
}
