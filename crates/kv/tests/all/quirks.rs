//! etcd's meaning where one would not guess it. Each of these was seen in a
//! live etcd 3.4.23 by the same calls.

use crate::support::{apply, delete, do_compact, do_delete, do_put, do_txn, put, range, then};
use driftless_kv::check::{
    CheckError, TXN_OPS_MAX_DEFAULT, check_delete_range, check_put, check_range, check_txn,
};
use driftless_kv::{
    ApplyError, Command, Compare, CompareResult, CompareTarget, PutRequest, RangeRequest,
    RangeResponse, ReadError, RequestOp, Response, ResponseOp, SortOrder, SortTarget, Store,
    TxnRequest,
};
use driftless_machine::StateMachine;

fn keys(response: &RangeResponse) -> Vec<&str> {
    response.kvs.iter().map(|kv| std::str::from_utf8(&kv.key).expect("text")).collect()
}

fn op_put(key: &str) -> RequestOp {
    RequestOp::Put(put(key, "v"))
}

fn op_delete(key: &str, range_end: &str) -> RequestOp {
    RequestOp::DeleteRange(delete(key, range_end))
}

fn op_txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    RequestOp::Txn(TxnRequest { compare: Vec::new(), success, failure })
}

fn op_range_at(key: &str, revision: i64) -> RequestOp {
    RequestOp::Range(RangeRequest { revision, ..range(key, "") })
}

fn compare(key: &str, range_end: &str, result: CompareResult, target: CompareTarget) -> Compare {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    Compare { result, target, key, range_end }
}

fn checked(success: Vec<RequestOp>) -> Result<(), CheckError> {
    check_txn(&then(success), TXN_OPS_MAX_DEFAULT)
}

// Revisions.

#[test]
fn a_fresh_store_is_at_revision_1() {
    let mut store = Store::new();
    assert_eq!(store.reader().revision(), 1);
    assert_eq!(store.reader().range(&range("a", "")).unwrap().revision, 1);
    assert_eq!(do_put(&mut store, "a", "1"), 2);
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    assert_eq!(do_delete(&mut store, "nope", ""), 0);
    let response = do_txn(&mut store, then(vec![op_delete("nope", "")])).unwrap();
    assert_eq!(response.revision, 2);
    assert_eq!(do_txn(&mut store, TxnRequest::default()).unwrap().revision, 2);
    assert_eq!(store.reader().revision(), 2);
}

#[test]
fn a_transaction_is_one_revision_and_its_nested_ones_have_none() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    let range_a = || RequestOp::Range(range("a", ""));
    let nested = op_txn(vec![range_a(), op_put("n")], vec![]);
    let txn = then(vec![range_a(), op_put("a"), range_a(), nested, op_delete("zz", "")]);
    let response = do_txn(&mut store, txn).unwrap();
    assert_eq!(response.revision, 3);
    let [
        ResponseOp::Range(before),
        ResponseOp::Put(put),
        ResponseOp::Range(after),
        ResponseOp::Txn(nested),
        ResponseOp::DeleteRange(nothing),
    ] = &response.responses[..]
    else {
        panic!("{response:?}")
    };
    assert_eq!((before.revision, before.kvs[0].mod_revision), (2, 2));
    assert_eq!(put.revision, 3);
    assert_eq!((after.revision, after.kvs[0].mod_revision, after.kvs[0].version), (3, 3, 2));
    assert_eq!(nested.revision, 0);
    assert_eq!((nothing.revision, nothing.deleted), (3, 0));
    assert_eq!(store.reader().range(&range("n", "")).unwrap().kvs[0].mod_revision, 3);
}

#[test]
fn a_deletion_that_deletes_nothing_before_any_write_answers_the_old_revision() {
    let mut store = Store::new();
    do_put(&mut store, "x", "1");
    let txn = then(vec![op_delete("c", "a"), op_put("b")]);
    let response = do_txn(&mut store, txn).unwrap();
    let ResponseOp::DeleteRange(nothing) = &response.responses[0] else { panic!() };
    assert_eq!((response.revision, nothing.revision), (3, 2));
}

#[test]
fn a_key_put_after_its_deletion_begins_anew() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    do_put(&mut store, "a", "2");
    assert_eq!(do_delete(&mut store, "a", ""), 1);
    do_put(&mut store, "a", "3");
    let kv = &store.reader().range(&range("a", "")).unwrap().kvs[0];
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

// Range.

/// Six keys whose values stand in the opposite order, with some versions.
fn six() -> Store {
    let mut store = Store::new();
    for n in [0, 1, 2, 3, 4, 5, 0, 0, 3] {
        do_put(&mut store, &format!("s{n}"), &format!("v{}", 9 - n));
    }
    store
}

fn of_six(change: impl FnOnce(&mut RangeRequest)) -> (Vec<String>, bool, i64) {
    let store = six();
    let mut request = range("s", "t");
    change(&mut request);
    let response = store.reader().range(&request).expect("the latest");
    let keys = keys(&response).into_iter().map(str::to_owned).collect();
    (keys, response.more, response.count)
}

#[test]
fn more_is_false_when_the_limit_equals_the_count() {
    assert_eq!(of_six(|r| r.limit = 6), (s("s0 s1 s2 s3 s4 s5"), false, 6));
    assert_eq!(of_six(|r| r.limit = 5), (s("s0 s1 s2 s3 s4"), true, 6));
    assert_eq!(of_six(|r| r.limit = -1), (s("s0 s1 s2 s3 s4 s5"), false, 6));
}

fn s(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_target_without_an_order_sorts_only_what_the_limit_left() {
    let by_value = |r: &mut RangeRequest| {
        r.limit = 2;
        r.sort_target = SortTarget::Value;
    };
    // s0, s1, s2 are the first three by key; s2 and s1 have the least values.
    assert_eq!(of_six(by_value), (s("s2 s1"), true, 6));
    let ascending = |r: &mut RangeRequest| {
        by_value(r);
        r.sort_order = SortOrder::Ascend;
    };
    assert_eq!(of_six(ascending), (s("s5 s4"), true, 6));
    // So it is with a filter that lets everything through.
    let filtered = |r: &mut RangeRequest| {
        by_value(r);
        r.min_mod_revision = 1;
    };
    assert_eq!(of_six(filtered), (s("s5 s4"), true, 6));
    let descending = |r: &mut RangeRequest| {
        r.limit = 2;
        r.sort_order = SortOrder::Descend;
    };
    assert_eq!(of_six(descending), (s("s5 s4"), true, 6));
}

#[test]
fn what_sorts_equal_stays_in_the_order_of_keys() {
    let version = |r: &mut RangeRequest| r.sort_target = SortTarget::Version;
    assert_eq!(of_six(version).0, s("s1 s2 s4 s5 s3 s0"));
    let descending = |r: &mut RangeRequest| {
        version(r);
        r.sort_order = SortOrder::Descend;
    };
    assert_eq!(of_six(descending).0, s("s0 s3 s1 s2 s4 s5"));
}

#[test]
fn keys_only_still_sorts_by_the_value() {
    let store = six();
    let request = RangeRequest {
        keys_only: true,
        sort_target: SortTarget::Value,
        sort_order: SortOrder::Ascend,
        limit: 2,
        ..range("s", "t")
    };
    let response = store.reader().range(&request).unwrap();
    assert_eq!(keys(&response), ["s5", "s4"]);
    assert!(response.kvs.iter().all(|kv| kv.value.is_empty()));
}

#[test]
fn the_count_ignores_limit_and_filters_and_count_only_never_sets_more() {
    let count_only = |r: &mut RangeRequest| {
        r.count_only = true;
        r.limit = 2;
    };
    assert_eq!(of_six(count_only), (vec![], false, 6));
    assert_eq!(of_six(|r| r.min_mod_revision = 99), (vec![], false, 6));
}

#[test]
fn range_end_zero_is_from_the_key_on_and_an_end_below_is_empty() {
    let mut store = six();
    do_put(&mut store, "zz", "");
    let reader = store.reader();
    assert_eq!(keys(&reader.range(&range("s5", "\0")).unwrap()), ["s5", "zz"]);
    for end in ["a", "s", "s0"] {
        let response = reader.range(&range("s0", end)).unwrap();
        assert_eq!((response.kvs.len(), response.count, response.more), (0, 0, false));
    }
    assert_eq!(do_delete(&mut store, "s5", "a"), 0);
    assert_eq!(do_delete(&mut store, "s5", "\0"), 2);
}

#[test]
fn a_negative_revision_is_the_latest_but_in_a_transaction_it_is_compared() {
    let mut store = Store::new();
    for n in 0..5 {
        do_put(&mut store, "a", &n.to_string());
    }
    let latest = RangeRequest { revision: -1, ..range("a", "") };
    assert_eq!(store.reader().range(&latest).unwrap().kvs[0].value, "4");
    // Nothing is compacted: -1 passes, -2 does not.
    assert!(do_txn(&mut store, then(vec![op_range_at("a", -1)])).is_ok());
    let compacted = Err(ApplyError::Compacted);
    assert_eq!(do_txn(&mut store, then(vec![op_range_at("a", -2)])), compacted);
    do_compact(&mut store, 3).unwrap();
    assert_eq!(store.reader().range(&latest).unwrap().kvs[0].value, "4");
    assert_eq!(do_txn(&mut store, then(vec![op_range_at("a", -1)])), compacted);
    let read_only = store.reader().txn(&then(vec![op_range_at("a", -1)]));
    assert_eq!(read_only, Some(Err(ReadError::Compacted)));
}

#[test]
fn the_header_says_the_latest_revision_whatever_was_read() {
    let store = six();
    let old = RangeRequest { revision: 2, ..range("s", "t") };
    let response = store.reader().range(&old).unwrap();
    assert_eq!((response.revision, response.count), (10, 1));
}

// Compaction.

#[test]
fn the_compacted_revision_itself_can_be_read() {
    let mut store = Store::new();
    for n in 2..=6 {
        assert_eq!(do_put(&mut store, "a", &n.to_string()), n);
    }
    do_compact(&mut store, 4).unwrap();
    let at = |revision| store.reader().range(&RangeRequest { revision, ..range("a", "") });
    assert_eq!(at(4).unwrap().kvs[0].value, "4");
    assert_eq!(at(3), Err(ReadError::Compacted));
    assert_eq!(at(7), Err(ReadError::FutureRev));
}

#[test]
fn compacting_again_is_compacted_and_beyond_the_present_is_the_future() {
    let mut store = Store::new();
    for _ in 0..5 {
        do_put(&mut store, "a", "");
    }
    assert_eq!(do_compact(&mut store, -1), Err(ApplyError::Compacted));
    assert_eq!(do_compact(&mut store, 0), Ok(()));
    assert_eq!(do_compact(&mut store, 0), Err(ApplyError::Compacted));
    assert_eq!(do_compact(&mut store, 3), Ok(()));
    assert_eq!(do_compact(&mut store, 3), Err(ApplyError::Compacted));
    assert_eq!(do_compact(&mut store, 2), Err(ApplyError::Compacted));
    assert_eq!(do_compact(&mut store, 7), Err(ApplyError::FutureRev));
    assert_eq!(do_compact(&mut store, 6), Ok(()));
}

// Puts.

#[test]
fn leases_do_not_exist_and_a_put_looks_at_them_first_a_transaction_last() {
    let mut store = Store::new();
    let leased = PutRequest { lease: 99, ..put("m", "") };
    assert_eq!(apply(&mut store, Command::Put(leased.clone())), Err(ApplyError::LeaseNotFound));
    let both = PutRequest { ignore_value: true, ..leased };
    assert_eq!(apply(&mut store, Command::Put(both.clone())), Err(ApplyError::LeaseNotFound));
    let txn = then(vec![RequestOp::Put(both)]);
    assert_eq!(do_txn(&mut store, txn), Err(ApplyError::KeyNotFound));
    assert_eq!(store.reader().revision(), 1);
}

#[test]
fn ignore_value_keeps_the_value_and_needs_the_key() {
    let mut store = Store::new();
    let touch = PutRequest { ignore_value: true, prev_kv: true, ..put("a", "") };
    let command = Command::Put(touch);
    assert_eq!(apply(&mut store, command.clone()), Err(ApplyError::KeyNotFound));
    do_put(&mut store, "a", "kept");
    let Ok(Response::Put(response)) = apply(&mut store, command.clone()) else { panic!() };
    assert_eq!(response.prev_kv.unwrap().version, 1);
    let kv = &store.reader().range(&range("a", "")).unwrap().kvs[0];
    assert_eq!((&kv.value[..], kv.version), (&b"kept"[..], 2));
    do_delete(&mut store, "a", "");
    assert_eq!(apply(&mut store, command), Err(ApplyError::KeyNotFound));
}

// Transactions.

#[test]
fn a_refused_transaction_writes_nothing() {
    let mut store = Store::new();
    do_put(&mut store, "a", "1");
    let before = store.reader().hash(0);
    let future = then(vec![op_put("b"), op_range_at("a", 99)]);
    assert_eq!(do_txn(&mut store, future), Err(ApplyError::FutureRev));
    let missing = PutRequest { ignore_lease: true, ..put("c", "") };
    let nested = vec![op_put("b"), op_txn(vec![RequestOp::Put(missing.clone())], vec![])];
    assert_eq!(do_txn(&mut store, then(nested)), Err(ApplyError::KeyNotFound));
    // Puts are checked before ranges, wherever they stand.
    let both = vec![op_range_at("a", 99), RequestOp::Put(missing.clone())];
    assert_eq!(do_txn(&mut store, then(both)), Err(ApplyError::KeyNotFound));
    assert_eq!(store.reader().hash(0), before);
    // The branch that is not taken is not looked at.
    let failure = vec![RequestOp::Put(missing), op_range_at("a", 99)];
    let txn = TxnRequest { failure, success: vec![op_put("b")], ..TxnRequest::default() };
    assert_eq!(do_txn(&mut store, txn).unwrap().revision, 3);
}

#[test]
fn a_transaction_cannot_read_at_its_own_revision() {
    let mut store = Store::new();
    let txn = then(vec![op_put("a"), op_range_at("a", 2)]);
    assert_eq!(do_txn(&mut store, txn), Err(ApplyError::FutureRev));
    // Nor does one that reads at a revision see what it wrote.
    do_put(&mut store, "a", "old");
    let txn = then(vec![op_put("a"), op_range_at("a", 2)]);
    let response = do_txn(&mut store, txn).unwrap();
    let ResponseOp::Range(read) = &response.responses[1] else { panic!() };
    assert_eq!((&read.kvs[0].value[..], read.revision), (&b"old"[..], 3));
}

#[test]
fn nested_conditions_see_the_state_before_the_transaction() {
    let mut store = Store::new();
    let exists = compare("new", "", CompareResult::Greater, CompareTarget::Version(0));
    let nested = TxnRequest {
        compare: vec![exists],
        success: vec![op_put("yes")],
        failure: vec![op_put("no")],
    };
    let response = do_txn(&mut store, then(vec![op_put("new"), RequestOp::Txn(nested)])).unwrap();
    let ResponseOp::Txn(nested) = &response.responses[1] else { panic!() };
    assert!(!nested.succeeded);
    assert_eq!(keys(&store.reader().range(&range("a", "\0")).unwrap()), ["new", "no"]);
}

#[test]
fn a_missing_key_has_zeros_but_no_value() {
    let mut store = Store::new();
    let results = [
        CompareResult::Equal,
        CompareResult::NotEqual,
        CompareResult::Greater,
        CompareResult::Less,
    ];
    for result in results {
        for (target, expected) in [
            (CompareTarget::Value("".into()), false),
            (CompareTarget::Version(0), result == CompareResult::Equal),
            (CompareTarget::CreateRevision(0), result == CompareResult::Equal),
            (CompareTarget::ModRevision(0), result == CompareResult::Equal),
            (CompareTarget::Lease(0), result == CompareResult::Equal),
        ] {
            for range_end in ["", "nopf"] {
                let compare = vec![compare("nope", range_end, result, target.clone())];
                let txn = TxnRequest { compare, ..TxnRequest::default() };
                let response = do_txn(&mut store, txn).unwrap();
                assert_eq!(response.succeeded, expected, "{result:?} {target:?} {range_end}");
            }
        }
    }
}

#[test]
fn a_condition_on_a_range_must_hold_for_every_key_in_it() {
    let mut store = six();
    let mut holds = |result, version| {
        let compare = vec![compare("s", "t", result, CompareTarget::Version(version))];
        do_txn(&mut store, TxnRequest { compare, ..TxnRequest::default() }).unwrap().succeeded
    };
    assert!(holds(CompareResult::Greater, 0));
    assert!(!holds(CompareResult::Equal, 1));
    assert!(holds(CompareResult::Less, 4));
    assert!(!holds(CompareResult::Less, 3));
}

#[test]
fn a_key_can_be_put_and_deleted_in_one_revision() {
    let mut store = Store::new();
    let both = vec![op_txn(vec![op_put("a")], vec![]), op_txn(vec![op_delete("a", "")], vec![])];
    assert_eq!(checked(both.clone()), Ok(()));
    assert_eq!(do_txn(&mut store, then(both)).unwrap().revision, 2);
    assert_eq!(store.reader().range(&range("a", "")).unwrap().count, 0);
    assert_eq!(crate::support::all_events(&store.reader(), 2).len(), 2);
}

// What is refused before it is proposed.

#[test]
fn requests_that_contradict_themselves_are_refused() {
    assert_eq!(check_range(&range("", "x")), Err(CheckError::KeyNotProvided));
    assert_eq!(check_put(&put("", "x")), Err(CheckError::KeyNotProvided));
    assert_eq!(check_delete_range(&delete("", "")), Err(CheckError::KeyNotProvided));
    let value = PutRequest { ignore_value: true, ..put("a", "x") };
    assert_eq!(check_put(&value), Err(CheckError::ValueProvided));
    let lease = PutRequest { ignore_lease: true, lease: 4, ..put("a", "") };
    assert_eq!(check_put(&lease), Err(CheckError::LeaseProvided));
    let keyless = compare("", "", CompareResult::Equal, CompareTarget::Version(0));
    let txn = TxnRequest { compare: vec![keyless], ..TxnRequest::default() };
    assert_eq!(check_txn(&txn, 128), Err(CheckError::KeyNotProvided));
    // The operations one by one come before the look at duplicates.
    assert_eq!(
        checked(vec![op_put("a"), op_put("a"), op_put("")]),
        Err(CheckError::KeyNotProvided)
    );
    assert_eq!(checked(vec![op_put("a"), RequestOp::Put(value)]), Err(CheckError::ValueProvided));
}

#[test]
fn each_level_may_use_what_the_levels_above_left_of_128_operations() {
    let puts = |level: usize, count: usize| -> Vec<RequestOp> {
        (0..count).map(|n| op_put(&format!("{level}/{n}"))).collect()
    };
    assert_eq!(checked(puts(0, 128)), Ok(()));
    assert_eq!(checked(puts(0, 129)), Err(CheckError::TooManyOps));
    let nested = |outer: usize, inner: usize| {
        let mut ops = puts(0, outer - 1);
        ops.push(op_txn(puts(1, inner), vec![]));
        checked(ops)
    };
    assert_eq!(nested(64, 64), Ok(()));
    assert_eq!(nested(65, 64), Err(CheckError::TooManyOps));
    let deep =
        |levels: usize| (1..levels).fold(vec![op_put("x")], |inner, _| vec![op_txn(inner, vec![])]);
    assert_eq!(checked(deep(128)), Ok(()));
    assert_eq!(checked(deep(129)), Err(CheckError::TooManyOps));
    // The deepest that is let through also passes the log.
    let command = Command::Txn(then(deep(128)));
    assert_eq!(Command::decode(&command.encode()), Ok(command));
}

#[test]
fn no_key_is_written_twice_in_what_can_happen_together() {
    let duplicate = Err(CheckError::DuplicateKey);
    let both = |then: Vec<RequestOp>, otherwise: Vec<RequestOp>| op_txn(then, otherwise);
    let put_a = || op_put("a");
    let delete_a = || op_delete("a", "");
    for (ops, expected) in [
        (vec![put_a(), put_a()], duplicate),
        (vec![put_a(), delete_a()], duplicate),
        (vec![put_a(), op_delete("\0", "b")], duplicate),
        (vec![put_a(), op_delete("b", "c")], Ok(())),
        (vec![op_delete("a", "b"), delete_a(), both(vec![delete_a()], vec![])], Ok(())),
        // One key in both branches: only one is taken.
        (vec![both(vec![put_a()], vec![put_a()])], Ok(())),
        (vec![both(vec![put_a()], vec![delete_a()])], Ok(())),
        (vec![both(vec![], vec![put_a()]), both(vec![], vec![put_a()])], duplicate),
        (vec![both(vec![put_a()], vec![]), both(vec![], vec![put_a()])], duplicate),
        (vec![op_delete("a", "b"), both(vec![op_put("aa")], vec![])], duplicate),
        (vec![op_put("aa"), both(vec![op_delete("a", "b")], vec![])], duplicate),
        // An elder sibling's deletion counts, a younger one's does not.
        (vec![both(vec![delete_a()], vec![]), both(vec![put_a()], vec![])], duplicate),
        (vec![both(vec![put_a()], vec![]), both(vec![delete_a()], vec![])], Ok(())),
        // "From the key on" is taken for an end below every key.
        (vec![op_delete("a", "\0"), op_put("b")], Ok(())),
        (vec![op_delete("a", "\0"), put_a()], Ok(())),
        (vec![op_delete("c", "a"), op_put("b"), op_put("c")], Ok(())),
    ] {
        assert_eq!(checked(ops.clone()), expected, "{ops:?}");
    }
    let branches = TxnRequest {
        compare: vec![],
        success: vec![put_a()],
        failure: vec![op_delete("a", "b"), op_put("c")],
    };
    assert_eq!(check_txn(&branches, 128), Ok(()));
}

// Errors.

#[test]
fn errors_have_etcds_words() {
    for (error, text) in [
        (ApplyError::Compacted, "mvcc: required revision has been compacted"),
        (ApplyError::FutureRev, "mvcc: required revision is a future revision"),
        (ApplyError::LeaseNotFound, "requested lease not found"),
        (ApplyError::KeyNotFound, "key not found"),
    ] {
        assert_eq!(error.to_string(), text);
    }
    for (error, text) in [
        (CheckError::KeyNotProvided, "key is not provided"),
        (CheckError::ValueProvided, "value is provided"),
        (CheckError::LeaseProvided, "lease is provided"),
        (CheckError::TooManyOps, "too many operations in txn request"),
        (CheckError::DuplicateKey, "duplicate key given in txn request"),
        (CheckError::InvalidSortOption, "invalid sort option"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
