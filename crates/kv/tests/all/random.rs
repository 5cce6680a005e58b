//! Seeded randomness, and random requests over few keys so that they meet.

use bytes::Bytes;
use driftless_kv::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget, TxnRequest,
};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    pub fn key(&mut self) -> Bytes {
        const KEYS: [&[u8]; 12] = [
            b"a",
            b"aa",
            b"ab",
            b"abc",
            b"b",
            b"b\0",
            b"b\xff",
            b"c",
            b"d",
            b"\0",
            b"\xff",
            b"zzzzzzzz/zzzzzzzz/1",
        ];
        Bytes::from_static(self.pick(&KEYS))
    }

    pub fn value(&mut self) -> Bytes {
        if self.one_in(30) {
            // Large enough for a segment of its own where segments are small.
            return Bytes::from(vec![self.below(256) as u8; 200]);
        }
        let length = self.below(4) as usize;
        Bytes::from(vec![b'0' + self.below(3) as u8; length])
    }

    pub fn range_end(&mut self) -> Bytes {
        match self.below(6) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    /// A revision near those that exist.
    fn revision(&mut self, latest: i64) -> i64 {
        match self.below(8) {
            0..=3 => 0,
            4 => -1,
            5 => latest + 1,
            _ => self.below(latest as u64 + 1) as i64,
        }
    }

    fn bound(&mut self, latest: i64) -> i64 {
        if self.one_in(6) { self.below(latest as u64 + 2) as i64 } else { 0 }
    }

    pub fn range(&mut self, latest: i64) -> RangeRequest {
        let orders = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
        let targets = [
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ];
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: self.pick(&[0, 0, 0, 1, 2, 3, 5, -1]),
            revision: self.revision(latest),
            sort_order: self.pick(&orders),
            sort_target: self.pick(&targets),
            serializable: self.one_in(2),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(latest),
            max_mod_revision: self.bound(latest),
            min_create_revision: self.bound(latest),
            max_create_revision: self.bound(latest),
        }
    }

    pub fn put(&mut self) -> PutRequest {
        PutRequest {
            key: self.key(),
            value: self.value(),
            lease: if self.one_in(25) { 7 } else { 0 },
            prev_kv: self.one_in(3),
            ignore_value: self.one_in(10),
            ignore_lease: self.one_in(10),
        }
    }

    pub fn delete_range(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest { key: self.key(), range_end: self.range_end(), prev_kv: self.one_in(2) }
    }

    pub fn compare(&mut self, latest: i64) -> Compare {
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        let small = self.below(4) as i64;
        let target = match self.below(5) {
            0 => CompareTarget::Version(small),
            1 => CompareTarget::CreateRevision(self.bound(latest)),
            2 => CompareTarget::ModRevision(self.bound(latest)),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(small.min(1)),
        };
        let range_end = if self.one_in(3) { self.range_end() } else { Bytes::new() };
        Compare { result: self.pick(&results), target, key: self.key(), range_end }
    }

    pub fn txn(&mut self, latest: i64, depth: u64) -> TxnRequest {
        let compares = self.below(3);
        let compare = (0..compares).map(|_| self.compare(latest)).collect();
        let (success, failure) = (self.ops(latest, depth), self.ops(latest, depth));
        TxnRequest { compare, success, failure }
    }

    fn ops(&mut self, latest: i64, depth: u64) -> Vec<RequestOp> {
        (0..self.below(4))
            .map(|_| match self.below(8) {
                0..=2 => RequestOp::Put(self.put()),
                3 | 4 => RequestOp::Range(self.range(latest)),
                5 => RequestOp::DeleteRange(self.delete_range()),
                _ if depth < 3 => RequestOp::Txn(self.txn(latest, depth + 1)),
                _ => RequestOp::Put(self.put()),
            })
            .collect()
    }

    pub fn command(&mut self, latest: i64) -> Command {
        match self.below(20) {
            0..=8 => Command::Put(self.put()),
            9..=11 => Command::DeleteRange(self.delete_range()),
            12 if self.one_in(2) => Command::Compact(CompactionRequest {
                revision: self.below(latest as u64 + 2) as i64,
                physical: self.one_in(2),
            }),
            _ => Command::Txn(self.txn(latest, 1)),
        }
    }
}
