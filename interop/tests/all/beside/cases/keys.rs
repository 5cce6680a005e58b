//! Ranges, puts, deletions, compactions, and what is not of the store.

use super::{COMPACTED, Case, EMPTY_KEY, FUTURE, KEY_NOT_FOUND, NO_LEASE};
use super::{at, puts, transaction, with_keys};
use crate::beside::calls::{Call, compact, delete, put, range};
use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest as Op};

pub(super) const CASES: &[Case] = &[
    // Ranges.
    ("range of no key", |_| vec![Call::Range(range("", "a"))], EMPTY_KEY),
    ("range of a missing key", |_| with_keys(Call::Range(range("x", ""))), Ok(())),
    ("range of one key", |_| with_keys(Call::Range(range("b", ""))), Ok(())),
    ("range without its last key", |_| with_keys(Call::Range(range("a", "c"))), Ok(())),
    ("range that ends before it begins", |_| with_keys(Call::Range(range("c", "a"))), Ok(())),
    ("range that ends where it begins", |_| with_keys(Call::Range(range("b", "b"))), Ok(())),
    ("range from a key on", |_| with_keys(Call::Range(range("b", "\0"))), Ok(())),
    ("range of all keys", |_| with_keys(Call::Range(range("\0", "\0"))), Ok(())),
    (
        "limit that all keys fill",
        |_| with_keys(Call::Range(PbRangeRequest { limit: 4, ..range("a", "z") })),
        Ok(()),
    ),
    (
        "limit that leaves keys over",
        |_| with_keys(Call::Range(PbRangeRequest { limit: 3, ..range("a", "z") })),
        Ok(()),
    ),
    (
        "negative limit",
        |_| with_keys(Call::Range(PbRangeRequest { limit: -2, ..range("a", "z") })),
        Ok(()),
    ),
    (
        "count only",
        |_| with_keys(Call::Range(PbRangeRequest { count_only: true, ..range("a", "z") })),
        Ok(()),
    ),
    (
        "count only, limited",
        |_| {
            let counted = PbRangeRequest { count_only: true, limit: 1, ..range("a", "z") };
            with_keys(Call::Range(counted))
        },
        Ok(()),
    ),
    (
        "count only of one key",
        |_| with_keys(Call::Range(PbRangeRequest { count_only: true, ..range("a", "") })),
        Ok(()),
    ),
    (
        "keys only",
        |_| with_keys(Call::Range(PbRangeRequest { keys_only: true, ..range("a", "z") })),
        Ok(()),
    ),
    (
        "keys only, sorted by values",
        |_| {
            let sorted = PbRangeRequest {
                keys_only: true,
                sort_target: 4,
                sort_order: 2,
                limit: 2,
                ..range("a", "z")
            };
            with_keys(Call::Range(sorted))
        },
        Ok(()),
    ),
    (
        "serializable",
        |_| with_keys(Call::Range(PbRangeRequest { serializable: true, ..range("a", "z") })),
        Ok(()),
    ),
    ("every sort", all_sorts, Ok(())),
    (
        "filters count what they hold back",
        |revision| {
            let filtered = PbRangeRequest {
                min_mod_revision: revision + 5,
                max_create_revision: revision + 2,
                limit: 1,
                ..range("a", "z")
            };
            with_keys(Call::Range(filtered))
        },
        Ok(()),
    ),
    (
        "filters that hold back everything",
        |revision| {
            let filtered =
                PbRangeRequest { min_create_revision: revision + 100, ..range("a", "z") };
            with_keys(Call::Range(filtered))
        },
        Ok(()),
    ),
    (
        "filters of one key, counted",
        |revision| {
            let filtered = PbRangeRequest { max_mod_revision: revision, ..range("a", "") };
            with_keys(Call::Range(filtered))
        },
        Ok(()),
    ),
    ("range of the past", |revision| with_keys(Call::Range(at(revision + 2))), Ok(())),
    ("range before all keys", |_| with_keys(Call::Range(at(1))), Ok(())),
    ("range of the future", |revision| with_keys(Call::Range(at(revision + 8))), FUTURE),
    ("range at a negative revision", |_| with_keys(Call::Range(at(-3))), Ok(())),
    // Puts.
    ("put of no key", |_| vec![Call::Put(put("", "v"))], EMPTY_KEY),
    ("put of nothing", |_| vec![Call::Put(put("a", ""))], Ok(())),
    (
        "put with the key before it",
        |_| with_keys(Call::Put(PbPutRequest { prev_kv: true, ..put("a", "new") })),
        Ok(()),
    ),
    (
        "put with no key before it",
        |_| vec![Call::Put(PbPutRequest { prev_kv: true, ..put("a", "new") })],
        Ok(()),
    ),
    (
        "put that keeps the value",
        |_| {
            let kept = PbPutRequest { ignore_value: true, prev_kv: true, ..put("a", "") };
            let mut calls = with_keys(Call::Put(kept));
            calls.push(Call::Range(range("a", "")));
            calls
        },
        Ok(()),
    ),
    (
        "put that keeps the value of no key",
        |_| vec![Call::Put(PbPutRequest { ignore_value: true, ..put("a", "") })],
        KEY_NOT_FOUND,
    ),
    (
        "put that keeps the value and gives one",
        |_| with_keys(Call::Put(PbPutRequest { ignore_value: true, ..put("a", "v") })),
        Err("etcdserver: value is provided"),
    ),
    (
        "put that keeps the lease",
        |_| with_keys(Call::Put(PbPutRequest { ignore_lease: true, ..put("a", "v") })),
        Ok(()),
    ),
    (
        "put that keeps the lease of no key",
        |_| vec![Call::Put(PbPutRequest { ignore_lease: true, ..put("a", "v") })],
        KEY_NOT_FOUND,
    ),
    (
        "put that keeps the lease and gives one",
        |_| with_keys(Call::Put(PbPutRequest { ignore_lease: true, lease: 7, ..put("a", "v") })),
        Err("etcdserver: lease is provided"),
    ),
    (
        "put under no lease",
        |_| vec![Call::Put(PbPutRequest { lease: 7, ..put("a", "v") })],
        NO_LEASE,
    ),
    (
        "put under no lease that keeps the value of no key",
        |_| vec![Call::Put(PbPutRequest { lease: 7, ignore_value: true, ..put("a", "") })],
        NO_LEASE,
    ),
    ("put of 1.4 MiB", |_| vec![Call::Put(put("a", &"v".repeat(1_468_000)))], Ok(())),
    (
        "put of 1.6 MiB",
        |_| vec![Call::Put(put("a", &"v".repeat(1_678_000)))],
        Err("etcdserver: request is too large"),
    ),
    (
        "put of more than 2 MiB",
        |_| vec![Call::Put(put("a", &"v".repeat(2_100_000)))],
        Err("grpc: received message larger than max (2100008 vs. 2097152)"),
    ),
    // Deletions.
    ("deletion of no key", |_| vec![Call::Delete(delete("", ""))], EMPTY_KEY),
    ("deletion of a missing key", |_| with_keys(Call::Delete(delete("x", ""))), Ok(())),
    ("deletion of one key", |_| with_keys(Call::Delete(delete("b", ""))), Ok(())),
    (
        "deletion with the keys before it",
        |_| with_keys(Call::Delete(PbDeleteRequest { prev_kv: true, ..delete("a", "c") })),
        Ok(()),
    ),
    (
        "deletion from a key on",
        |_| with_keys(Call::Delete(PbDeleteRequest { prev_kv: true, ..delete("b", "\0") })),
        Ok(()),
    ),
    ("deletion that ends before it begins", |_| with_keys(Call::Delete(delete("c", "a"))), Ok(())),
    (
        "a key that is put again begins anew",
        |_| {
            let mut calls = with_keys(Call::Delete(delete("a", "")));
            calls.extend([Call::Put(put("a", "again")), Call::Range(range("a", ""))]);
            calls
        },
        Ok(()),
    ),
    // Compaction.
    ("compaction", |revision| compacted(revision, Call::Range(range("a", "c"))), Ok(())),
    (
        "range at the compacted revision",
        |revision| compacted(revision, Call::Range(at(revision + 3))),
        Ok(()),
    ),
    (
        "range below the compacted revision",
        |revision| compacted(revision, Call::Range(at(revision + 2))),
        COMPACTED,
    ),
    (
        "transaction that reads below the compacted revision",
        |revision| compacted(revision, transaction([Op::RequestRange(at(revision + 2))])),
        COMPACTED,
    ),
    (
        "transaction that writes and reads below the compacted revision",
        |revision| {
            let ops = [Op::RequestPut(put("a", "")), Op::RequestRange(at(revision + 2))];
            compacted(revision, transaction(ops))
        },
        COMPACTED,
    ),
    (
        "transaction that reads at a negative revision",
        |revision| compacted(revision, transaction([Op::RequestRange(at(-1))])),
        COMPACTED,
    ),
    ("compaction again", |revision| compacted(revision, compact(revision + 3)), COMPACTED),
    ("compaction below", |revision| compacted(revision, compact(revision + 2)), COMPACTED),
    ("compaction at a negative revision", |_| vec![compact(-1)], COMPACTED),
    ("compaction of the present", |revision| compacted(revision, compact(revision + 5)), Ok(())),
    ("compaction of the future", |revision| compacted(revision, compact(revision + 6)), FUTURE),
    // What is not of the store.
    ("members", |_| vec![Call::Members], Ok(())),
    ("status", |_| with_keys(Call::Status), Ok(())),
    ("hash", |revision| compacted(revision, Call::HashKv(0)), Ok(())),
    ("hash of the past", |revision| compacted(revision, Call::HashKv(revision + 4)), Ok(())),
    ("hash of the future", |revision| with_keys(Call::HashKv(revision + 8)), FUTURE),
    ("hash of what is compacted", |rev| compacted(rev, Call::HashKv(rev + 2)), COMPACTED),
    ("health of the server", |_| vec![Call::Health(String::new())], Ok(())),
    ("health of nobody", |_| vec![Call::Health("nobody".into())], Err("unknown service")),
    (
        "a method that does not exist",
        |_| vec![Call::Nonsense("/etcdserverpb.KV/Nonsense")],
        Err("unknown method Nonsense for service etcdserverpb.KV"),
    ),
    (
        "a service that does not exist",
        |_| vec![Call::Nonsense("/nobody.Nothing/Nonsense")],
        Err("unknown service nobody.Nothing"),
    ),
];

fn sorted(target: i32, order: i32, limit: i64) -> Vec<Call> {
    let sorted =
        PbRangeRequest { sort_target: target, sort_order: order, limit, ..range("a", "z") };
    with_keys(Call::Range(sorted))
}

/// All sorts there are, with and without a limit, one after the other.
fn all_sorts(_: i64) -> Vec<Call> {
    let mut calls = with_keys(Call::Range(range("a", "z")));
    for target in 0..5 {
        for order in 0..3 {
            for limit in [0, 1, 2, 4] {
                calls.extend(sorted(target, order, limit).pop());
            }
        }
    }
    calls
}

/// Five revisions of a key, compacted at the third.
fn compacted(revision: i64, last: Call) -> Vec<Call> {
    let mut calls = puts(&[("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("a", "5")]);
    calls.extend([compact(revision + 3), last]);
    calls
}
