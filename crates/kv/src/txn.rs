//! Applying writes: put, delete, and transactions of them.
//!
//! A transaction is decided before it writes: its conditions, and those of the
//! transactions inside of the branches taken, look at the state before it; then
//! whatever can fail is checked; only then it is carried out, all of it. Its
//! reads see its own earlier writes.

use crate::command::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest,
};
use crate::reply::{
    ApplyError, DeleteRangeResponse, PutResponse, ReadError, ResponseOp, TxnResponse,
};
use crate::store::arena::Record;
use crate::store::index::End;
use crate::store::{At, Copier, Revision, State, key_value};
use std::cmp::Ordering;
use std::ops::ControlFlow;

impl State {
    /// Applies a put.
    pub(crate) fn apply_put(&mut self, put: &PutRequest) -> Result<PutResponse, ApplyError> {
        // In etcd the lease is looked at first here, and last in transactions.
        check_lease(put)?;
        self.check_ignored(put)?;
        let mut revision = self.begin();
        let response = self.run_put(&mut revision, put);
        self.commit(revision);
        Ok(response)
    }

    /// Applies a deletion.
    pub(crate) fn apply_delete_range(
        &mut self,
        delete: &DeleteRangeRequest,
    ) -> DeleteRangeResponse {
        let mut revision = self.begin();
        let response = self.run_delete_range(&mut revision, delete);
        self.commit(revision);
        response
    }

    /// Applies a transaction.
    pub(crate) fn apply_txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, ApplyError> {
        let mut path = Vec::new();
        self.decide(txn, &mut path);
        self.check_puts(txn, &mut path.iter())?;
        self.check_ranges(txn, &mut path.iter())?;
        let mut revision = self.begin();
        let mut response = self.run_txn(&mut revision, txn, &mut path.iter())?;
        self.commit(revision);
        response.revision = self.revision;
        Ok(response)
    }

    /// Answers a transaction that only reads; `None` if it could write.
    pub(crate) fn read_txn(&self, txn: &TxnRequest) -> Option<Result<TxnResponse, ReadError>> {
        if !txn.is_read_only() {
            return None;
        }
        let mut path = Vec::new();
        self.decide(txn, &mut path);
        Some(self.check_ranges(txn, &mut path.iter()).and_then(|()| {
            let mut response = self.run_reads(txn, &mut path.iter())?;
            response.revision = self.revision;
            Ok(response)
        }))
    }

    /// Which branch the transaction takes, and, in the order in which they
    /// stand there, each transaction inside of it.
    fn decide(&self, txn: &TxnRequest, path: &mut Vec<bool>) {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        path.push(succeeded);
        for op in branch(txn, succeeded) {
            if let RequestOp::Txn(nested) = op {
                self.decide(nested, path);
            }
        }
    }

    /// Whether a condition holds: for every key of its range.
    fn holds(&self, compare: &Compare) -> bool {
        let mut empty = true;
        let mut holds = true;
        let end = End::from_range_end(&compare.range_end);
        self.index.visit(&self.versioned, &compare.key, end, |entries| {
            for entry in entries {
                if let Some(location) = self.visible(*entry, At::Latest) {
                    empty = false;
                    if !complies(compare, &self.versioned.arena.record(location)) {
                        holds = false;
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        });
        if empty {
            // What does not exist has zeros, but no value at all.
            let nothing = Record::tombstone(0, 0, &[]);
            return !matches!(compare.target, CompareTarget::Value(_))
                && complies(compare, &nothing);
        }
        holds
    }

    fn check_puts<'p>(
        &self,
        txn: &TxnRequest,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> Result<(), ApplyError> {
        for op in branch(txn, next(path)) {
            match op {
                RequestOp::Put(put) => {
                    self.check_ignored(put)?;
                    check_lease(put)?;
                }
                RequestOp::Txn(nested) => self.check_puts(nested, path)?,
                RequestOp::Range(_) | RequestOp::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    /// Unlike a range of its own, one in a transaction with a negative revision
    /// is held against the compacted one. So it is in etcd.
    fn check_ranges<'p>(
        &self,
        txn: &TxnRequest,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> Result<(), ReadError> {
        for op in branch(txn, next(path)) {
            match op {
                RequestOp::Range(range) if range.revision == 0 => {}
                RequestOp::Range(range) if range.revision > self.revision => {
                    return Err(ReadError::FutureRev);
                }
                RequestOp::Range(range) if range.revision < self.compact_revision => {
                    return Err(ReadError::Compacted);
                }
                RequestOp::Txn(nested) => self.check_ranges(nested, path)?,
                RequestOp::Range(_) | RequestOp::Put(_) | RequestOp::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    /// A put that keeps something must find it.
    fn check_ignored(&self, put: &PutRequest) -> Result<(), ApplyError> {
        if (put.ignore_value || put.ignore_lease) && self.get(&put.key, At::Latest).is_none() {
            return Err(ApplyError::KeyNotFound);
        }
        Ok(())
    }

    fn run_txn<'p>(
        &mut self,
        revision: &mut Revision,
        txn: &TxnRequest,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> Result<TxnResponse, ApplyError> {
        let succeeded = next(path);
        let ops = branch(txn, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                RequestOp::Range(range) => {
                    let now = self.revision + i64::from(revision.subs > 0);
                    ResponseOp::Range(self.range(range, now)?)
                }
                RequestOp::Put(put) => ResponseOp::Put(self.run_put(revision, put)),
                RequestOp::DeleteRange(delete) => {
                    ResponseOp::DeleteRange(self.run_delete_range(revision, delete))
                }
                RequestOp::Txn(nested) => ResponseOp::Txn(self.run_txn(revision, nested, path)?),
            });
        }
        Ok(TxnResponse { revision: 0, succeeded, responses })
    }

    fn run_reads<'p>(
        &self,
        txn: &TxnRequest,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> Result<TxnResponse, ReadError> {
        let succeeded = next(path);
        let mut responses = Vec::new();
        for op in branch(txn, succeeded) {
            match op {
                RequestOp::Range(range) => {
                    responses.push(ResponseOp::Range(self.range(range, self.revision)?));
                }
                RequestOp::Txn(nested) => {
                    responses.push(ResponseOp::Txn(self.run_reads(nested, path)?));
                }
                RequestOp::Put(_) | RequestOp::DeleteRange(_) => {
                    unreachable!("the transaction is read-only")
                }
            }
        }
        Ok(TxnResponse { revision: 0, succeeded, responses })
    }

    fn run_put(&mut self, revision: &mut Revision, put: &PutRequest) -> PutResponse {
        let mut prev_kv = None;
        let mut lease = put.lease;
        let mut kept = None;
        if (put.prev_kv || put.ignore_value || put.ignore_lease)
            && let Some(previous) = self.get(&put.key, At::Latest)
        {
            if put.ignore_lease {
                lease = previous.lease;
            }
            if put.ignore_value {
                kept = previous.value.map(<[u8]>::to_vec);
            }
            prev_kv = put.prev_kv.then(|| key_value(&previous));
        }
        self.put(revision, &put.key, kept.as_deref().unwrap_or(&put.value), lease);
        PutResponse { revision: revision.main, prev_kv }
    }

    fn run_delete_range(
        &mut self,
        revision: &mut Revision,
        delete: &DeleteRangeRequest,
    ) -> DeleteRangeResponse {
        let mut copier = Copier::default();
        let end = End::from_range_end(&delete.range_end);
        let deleted = self.delete_range(revision, &delete.key, end, |record| {
            if delete.prev_kv {
                copier.push(record, true);
            }
        });
        let prev_kvs = copier.take().collect();
        let revision = self.revision + i64::from(revision.subs > 0);
        DeleteRangeResponse { revision, deleted, prev_kvs }
    }
}

/// There are no leases in this version.
fn check_lease(put: &PutRequest) -> Result<(), ApplyError> {
    if put.lease == 0 { Ok(()) } else { Err(ApplyError::LeaseNotFound) }
}

fn branch(txn: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn next<'p>(path: &mut impl Iterator<Item = &'p bool>) -> bool {
    *path.next().expect("the path was made by the same walk")
}

fn complies(compare: &Compare, stored: &Record<'_>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(given) => stored.version.cmp(given),
        CompareTarget::CreateRevision(given) => stored.create_revision.cmp(given),
        CompareTarget::ModRevision(given) => stored.main.cmp(given),
        CompareTarget::Value(given) => stored.value.unwrap_or_default().cmp(given),
        CompareTarget::Lease(given) => stored.lease.cmp(given),
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    }
}
