//! Thousands of calls from a seed, over few keys so that they meet: what each
//! answers shows what all before it did.

use super::Pair;
use super::calls::{Call, delete, put, range};
use etcd_client::proto::{
    PbCompactionRequest, PbCompare, PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTargetUnion,
    PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
};
use std::collections::BTreeMap;

/// `INTEROP_SEED` and `INTEROP_CALLS` in the environment ask for others.
const SEED: u64 = 1;
const CALLS: u64 = 4_000;

#[tokio::test]
async fn random_calls_are_answered_as_etcd_answers_them() {
    let Some(pair) = Pair::start().await else { return };
    let (seed, calls) = (asked("INTEROP_SEED", SEED), asked("INTEROP_CALLS", CALLS));
    let mut random = Random { state: seed, latest: 1, compacted: 0 };
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..calls {
        let call = random.call();
        let answer = pair.same(&call, &format_args!("seed {seed}, call {number}")).await;
        random.latest = answer.revision().unwrap_or(random.latest);
        if let (Call::Compact(compact), None) = (&call, answer.refusal()) {
            random.compacted = compact.revision;
        }
        let kind = format!("{call:?}").split(['(', ' ']).next().unwrap().to_owned();
        let end = answer.refusal().unwrap_or("done");
        *ends.entry(format!("{kind}: {end}")).or_default() += 1;
    }
    println!("seed {seed}, {calls} calls, revision {}: {ends:#?}", random.latest);
    if calls >= CALLS {
        for expected in MUST_HAPPEN {
            assert!(ends.contains_key(*expected), "{expected:?} never happened: {ends:#?}");
        }
    }
}

/// A run without each of these would show little.
const MUST_HAPPEN: &[&str] = &[
    "Compact: done",
    "Compact: etcdserver: mvcc: required revision has been compacted",
    "Compact: etcdserver: mvcc: required revision is a future revision",
    "Delete: done",
    "Delete: etcdserver: key is not provided",
    "Put: done",
    "Put: etcdserver: key not found",
    "Put: etcdserver: lease is provided",
    "Put: etcdserver: requested lease not found",
    "Put: etcdserver: value is provided",
    "Range: done",
    "Range: etcdserver: mvcc: required revision has been compacted",
    "Range: etcdserver: mvcc: required revision is a future revision",
    "Txn: done",
    "Txn: etcdserver: duplicate key given in txn request",
    "Txn: etcdserver: key is not provided",
    "Txn: etcdserver: key not found",
    "Txn: etcdserver: mvcc: required revision has been compacted",
    "Txn: etcdserver: mvcc: required revision is a future revision",
    "Txn: etcdserver: requested lease not found",
];

fn asked(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{name}: {number} is no number")),
        Err(_) => otherwise,
    }
}

/// Random calls, which know the present revision and the compacted one.
pub(super) struct Random {
    pub(super) state: u64,
    pub(super) latest: i64,
    pub(super) compacted: i64,
}

impl Random {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn call(&mut self) -> Call {
        match self.below(100) {
            0..30 => Call::Range(self.range()),
            30..55 => Call::Put(self.put()),
            55..67 => Call::Delete(self.delete()),
            67..70 => Call::Compact(PbCompactionRequest {
                revision: self.revision(),
                physical: self.one_in(2),
            }),
            _ => Call::Txn(self.whole_txn()),
        }
    }

    /// A call that may write.
    pub(super) fn write(&mut self) -> Call {
        match self.below(10) {
            0..5 => Call::Put(self.put()),
            5..7 => Call::Delete(self.delete()),
            _ => Call::Txn(self.whole_txn()),
        }
    }

    pub(super) fn key(&mut self) -> &'static str {
        if self.one_in(80) {
            return "";
        }
        self.pick(&["a", "aa", "ab", "abc", "b", "b\0", "c", "d", "\u{7f}", "\0", "z/1", "z/2"])
    }

    pub(super) fn range_end(&mut self) -> &'static str {
        match self.below(6) {
            0 | 1 => "",
            2 => "\0",
            _ => self.key(),
        }
    }

    fn value(&mut self) -> String {
        let length = if self.one_in(30) { 3_000 } else { self.below(3) as usize };
        self.pick(&["x", "y", "z"]).repeat(length)
    }

    /// 0 mostly, or one near those that exist and are not compacted.
    fn revision(&mut self) -> i64 {
        let known = (self.latest - self.compacted + 3) as u64;
        match self.below(12) {
            0..6 => 0,
            6 => -1,
            7 => self.latest + 1,
            8 => self.compacted,
            9 => self.compacted - 1,
            _ => self.compacted + self.below(known) as i64,
        }
    }

    fn bound(&mut self) -> i64 {
        if self.one_in(6) { self.latest - self.below(20) as i64 } else { 0 }
    }

    fn range(&mut self) -> PbRangeRequest {
        let (key, range_end) = (self.key(), self.range_end());
        PbRangeRequest {
            limit: self.pick(&[0, 0, 0, 1, 2, 3, 5, -1]),
            revision: self.revision(),
            sort_order: self.below(3) as i32,
            sort_target: self.below(5) as i32,
            serializable: self.one_in(2),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
            ..range(key, range_end)
        }
    }

    fn put(&mut self) -> PbPutRequest {
        let ignore_value = self.one_in(10);
        let keeps = ignore_value && !self.one_in(4);
        let value = if keeps { String::new() } else { self.value() };
        PbPutRequest {
            lease: if self.one_in(25) { 7 } else { 0 },
            prev_kv: self.one_in(3),
            ignore_value,
            ignore_lease: self.one_in(10),
            ..put(self.key(), &value)
        }
    }

    fn put_in_txn(&mut self, keeps: bool) -> PbPutRequest {
        let put = self.put();
        PbPutRequest {
            ignore_value: put.ignore_value && keeps,
            ignore_lease: put.ignore_lease && keeps,
            ..put
        }
    }

    fn delete(&mut self) -> PbDeleteRequest {
        let (key, range_end) = (self.key(), self.range_end());
        PbDeleteRequest { prev_kv: self.one_in(2), ..delete(key, range_end) }
    }

    fn compare(&mut self) -> PbCompare {
        let near = self.latest - self.below(20) as i64;
        let number = self.pick(&[0, 1, 2, near]);
        PbCompare {
            result: self.below(4) as i32,
            // Drawn apart from what it is compared with: they may not fit.
            target: self.below(5) as i32,
            key: self.key().into(),
            range_end: if self.one_in(3) { self.range_end().into() } else { Vec::new() },
            target_union: match self.below(6) {
                0 => Some(PbTargetUnion::Version(number)),
                1 => Some(PbTargetUnion::CreateRevision(number)),
                2 => Some(PbTargetUnion::ModRevision(number)),
                3 => Some(PbTargetUnion::Value(self.value().into())),
                4 => Some(PbTargetUnion::Lease(number)),
                _ => None,
            },
        }
    }

    /// A transaction in which either puts may keep what is there, or deletions
    /// take it away: etcd dies of a put that finds gone what it is to keep.
    fn whole_txn(&mut self) -> PbTxnRequest {
        let keeps = self.one_in(2);
        self.txn(1, keeps)
    }

    fn txn(&mut self, depth: u64, keeps: bool) -> PbTxnRequest {
        PbTxnRequest {
            compare: (0..self.below(3)).map(|_| self.compare()).collect(),
            success: self.ops(depth, keeps),
            failure: self.ops(depth, keeps),
        }
    }

    fn ops(&mut self, depth: u64, keeps: bool) -> Vec<PbTxnRequestOp> {
        let op = |random: &mut Self| match random.below(8) {
            0 | 1 => PbTxnOpRequest::RequestRange(random.range_in_txn()),
            2 if !keeps => PbTxnOpRequest::RequestDeleteRange(random.delete()),
            3 | 4 if depth < 4 => PbTxnOpRequest::RequestTxn(random.txn(depth + 1, keeps)),
            _ => PbTxnOpRequest::RequestPut(random.put_in_txn(keeps)),
        };
        (0..self.below(4)).map(|_| PbTxnRequestOp { request: Some(op(self)) }).collect()
    }

    /// Mostly of the present: a transaction of many reads should not always fail.
    fn range_in_txn(&mut self) -> PbRangeRequest {
        let revision = if self.one_in(4) { self.revision() } else { 0 };
        PbRangeRequest { revision, ..self.range() }
    }
}
