//! Named cases, each on keys of its own making: what etcd does where one might
//! think otherwise, and each of its refusals.

mod keys;
mod txns;

use super::Pair;
use super::calls::{Call, compare, delete, put, range, txn};
use etcd_client::proto::{PbRangeRequest, PbTargetUnion as Target, PbTxnOpRequest as Op};

/// A case: its name, its calls given the revision before them, and how the last
/// of them ends.
type Case = (&'static str, fn(i64) -> Vec<Call>, End);

/// Well, or refused with this text.
type End = Result<(), &'static str>;

const EMPTY_KEY: End = Err("etcdserver: key is not provided");
const KEY_NOT_FOUND: End = Err("etcdserver: key not found");
const DUPLICATE: End = Err("etcdserver: duplicate key given in txn request");
const TOO_MANY: End = Err("etcdserver: too many operations in txn request");
const NO_LEASE: End = Err("etcdserver: requested lease not found");
const COMPACTED: End = Err("etcdserver: mvcc: required revision has been compacted");
const FUTURE: End = Err("etcdserver: mvcc: required revision is a future revision");

#[tokio::test]
async fn named_cases_are_answered_as_etcd_answers_them() {
    let Some(pair) = Pair::start().await else { return };
    let fresh = pair.same(&Call::Range(range("k", "")), &"a fresh store").await;
    assert_eq!(fresh.revision(), Some(1));
    let mut made = 1;
    for (name, calls, end) in keys::CASES.iter().chain(txns::CASES) {
        let swept = pair.same(&Call::Delete(delete("\0", "\0")), name).await;
        let calls = calls(swept.revision().expect("a deletion cannot fail"));
        let (last, before) = calls.split_last().expect("a case has calls");
        for call in before {
            let answer = pair.same(call, name).await;
            assert_eq!(answer.refusal(), None, "{name}: {call:#?}");
        }
        let answer = pair.same(last, name).await;
        assert_eq!(answer.refusal(), end.err(), "{name}: {answer:#?}");
        made += 1 + calls.len();
    }
    println!("{} cases, {made} calls", keys::CASES.len() + txns::CASES.len());
}

/// A call that etcd answers otherwise than we do.
struct Difference {
    name: &'static str,
    /// Why we do not answer as it does.
    why: &'static str,
    /// Whether this version of etcd, major and minor, still does.
    differs: fn((u32, u32)) -> bool,
    call: fn() -> Call,
    ours: End,
    theirs: End,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "a sort order that does not exist",
        why: "etcd 3.6 refuses it; 3.4.23 and 3.5.1 take it for none",
        differs: |version| version < (3, 6),
        call: || Call::Range(PbRangeRequest { sort_order: 7, ..range("a", "b") }),
        ours: Err("etcdserver: invalid sort option"),
        theirs: Ok(()),
    },
    Difference {
        name: "a compare whose result does not exist",
        why: "etcd takes it for fulfilled; we do not write on what nobody understood",
        differs: |_| true,
        call: || Call::Txn(txn([compare(9, "a", "", Target::Version(5))], [], [])),
        ours: Err("etcdserver: unknown result or target of a compare in txn request"),
        theirs: Ok(()),
    },
];

/// So that a difference that is gone does not stay in the list.
#[tokio::test]
async fn known_differences_are_still_these() {
    let Some(pair) = Pair::start().await else { return };
    let version = major_and_minor(&pair.etcd_version);
    for Difference { name, why, differs, call, ours, theirs } in DIFFERENCES {
        if !differs(version) {
            let answer = pair.same(&call(), name).await;
            assert_eq!(answer.refusal(), ours.err(), "{name}");
            continue;
        }
        let (our_answer, their_answer) = pair.call(&call()).await;
        assert_eq!(our_answer.refusal(), ours.err(), "{name}: ours");
        assert_eq!(their_answer.refusal(), theirs.err(), "{name}: etcd's; {why}");
    }
    let (ours, theirs) = pair.call(&Call::Alarms).await;
    assert_eq!(ours.revision(), Some(1));
    let header_since = (3, 5);
    assert_eq!(theirs.revision(), ours.revision().filter(|_| version >= header_since));
    pair.same(&Call::Range(range("\0", "\0")), &"no harm was done").await;
}

fn major_and_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().expect("it is a number"));
    (numbers.next().expect("a major"), numbers.next().expect("a minor"))
}

fn puts(pairs: &[(&str, &str)]) -> Vec<Call> {
    pairs.iter().map(|(key, value)| Call::Put(put(key, value))).collect()
}

/// Keys whose orders by each of their fields differ; then one more call.
fn with_keys(last: Call) -> Vec<Call> {
    let mut calls =
        puts(&[("a", "3"), ("b", "1"), ("c", "2"), ("b", "1"), ("a", "3"), ("b", "1"), ("d", "2")]);
    calls.push(last);
    calls
}

fn at(revision: i64) -> PbRangeRequest {
    PbRangeRequest { revision, ..range("a", "c") }
}

fn transaction<const S: usize>(ops: [Op; S]) -> Call {
    Call::Txn(txn([], ops, []))
}
