//! The twin: the same meaning without any cleverness. It keeps every change
//! ever made in a list and finds out everything by going through it.

use bytes::Bytes;
use driftless_kv::{
    ApplyError, Command, CompactionRequest, CompactionResponse, Compare, CompareResult,
    CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind, KeyValue, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RequestOp, Response, ResponseOp, SortOrder,
    SortTarget, TxnRequest, TxnResponse,
};
use std::cmp::Ordering;

pub struct Twin {
    /// Revision, key, and the version made, or none for a deletion.
    changes: Vec<(i64, Bytes, Option<KeyValue>)>,
    pub revision: i64,
    pub compacted: i64,
}

impl Twin {
    pub fn new() -> Self {
        Self { changes: Vec::new(), revision: 1, compacted: -1 }
    }

    pub fn apply(&mut self, command: &Command) -> Result<Response, ApplyError> {
        match command {
            Command::Put(put) => {
                if put.lease != 0 {
                    return Err(ApplyError::LeaseNotFound);
                }
                self.check_put(put)?;
                let response = self.put(put);
                self.end();
                Ok(Response::Put(response))
            }
            Command::DeleteRange(delete) => {
                let response = self.delete(delete);
                self.end();
                Ok(Response::DeleteRange(response))
            }
            Command::Txn(txn) => {
                let taken = self.decide(txn);
                self.check(&taken, &|twin, op| match op {
                    RequestOp::Put(put) => twin.check_put(put),
                    _ => Ok(()),
                })?;
                self.check(&taken, &|twin, op| match op {
                    RequestOp::Range(range) => twin.check_range(range),
                    _ => Ok(()),
                })?;
                let mut response = self.run(&taken);
                self.end();
                response.revision = self.revision;
                Ok(Response::Txn(response))
            }
            Command::Compact(CompactionRequest { revision, .. }) => {
                if *revision <= self.compacted {
                    return Err(ApplyError::Compacted);
                }
                if *revision > self.revision {
                    return Err(ApplyError::FutureRev);
                }
                self.compacted = *revision;
                Ok(Response::Compact(CompactionResponse { revision: self.revision }))
            }
            _ => unreachable!(),
        }
    }

    pub fn range(&self, range: &RangeRequest) -> Result<RangeResponse, ApplyError> {
        if range.revision > self.revision {
            return Err(ApplyError::FutureRev);
        }
        if range.revision > 0 && range.revision < self.compacted {
            return Err(ApplyError::Compacted);
        }
        let at = if range.revision > 0 { range.revision } else { i64::MAX };
        let mut kvs = self.state(at);
        kvs.retain(|kv| within(&kv.key, &range.key, &range.range_end));
        let mut response = RangeResponse {
            revision: self.now(),
            count: kvs.len() as i64,
            ..RangeResponse::default()
        };
        if range.count_only {
            return Ok(response);
        }
        let bounds = [
            range.min_mod_revision,
            range.max_mod_revision,
            range.min_create_revision,
            range.max_create_revision,
        ];
        let looks_at_all = range.sort_order != SortOrder::None || bounds != [0; 4];
        if range.limit > 0 && !looks_at_all {
            kvs.truncate(range.limit as usize + 1);
        }
        kvs.retain(|kv| {
            !(range.min_mod_revision != 0 && kv.mod_revision < range.min_mod_revision
                || range.max_mod_revision != 0 && kv.mod_revision > range.max_mod_revision
                || range.min_create_revision != 0 && kv.create_revision < range.min_create_revision
                || range.max_create_revision != 0 && kv.create_revision > range.max_create_revision)
        });
        let by = |a: &KeyValue, b: &KeyValue| match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if range.sort_order == SortOrder::Descend {
            kvs.sort_by(|a, b| by(b, a));
        } else {
            kvs.sort_by(by);
        }
        if range.limit > 0 && kvs.len() > range.limit as usize {
            kvs.truncate(range.limit as usize);
            response.more = true;
        }
        if range.keys_only {
            for kv in &mut kvs {
                kv.value.clear();
            }
        }
        response.kvs = kvs;
        Ok(response)
    }

    /// All events from a revision on; `None` if it is compacted.
    pub fn events(&self, from: i64) -> Option<Vec<Event>> {
        if from < self.compacted {
            return None;
        }
        let new = self.changes.iter().filter(|change| change.0 >= from);
        Some(
            new.map(|(revision, key, kv)| {
                let deleted = || KeyValue {
                    key: key.clone(),
                    mod_revision: *revision,
                    ..KeyValue::default()
                };
                Event {
                    kind: if kv.is_some() { EventKind::Put } else { EventKind::Delete },
                    kv: kv.clone().unwrap_or_else(deleted),
                }
            })
            .collect(),
        )
    }

    pub fn prev_kv(&self, event: &Event) -> Option<KeyValue> {
        let before = event.kv.mod_revision - 1;
        if before < self.compacted || event.is_create() {
            return None;
        }
        self.state(before).into_iter().find(|kv| kv.key == event.kv.key)
    }

    /// All keys at a revision, in order.
    pub fn state(&self, at: i64) -> Vec<KeyValue> {
        let mut kvs: Vec<KeyValue> = Vec::new();
        for (_, key, kv) in self.changes.iter().take_while(|change| change.0 <= at) {
            kvs.retain(|old| old.key != key);
            kvs.extend(kv.clone());
        }
        kvs.sort_by(|a, b| a.key.cmp(&b.key));
        kvs
    }

    /// The revision as a running transaction sees it.
    fn now(&self) -> i64 {
        self.changes.last().map_or(1, |change| change.0).max(self.revision)
    }

    fn end(&mut self) {
        self.revision = self.now();
    }

    fn get(&self, key: &Bytes) -> Option<KeyValue> {
        self.state(i64::MAX).into_iter().find(|kv| kv.key == key)
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), ApplyError> {
        if (put.ignore_value || put.ignore_lease) && self.get(&put.key).is_none() {
            return Err(ApplyError::KeyNotFound);
        }
        if put.lease == 0 { Ok(()) } else { Err(ApplyError::LeaseNotFound) }
    }

    fn check_range(&self, range: &RangeRequest) -> Result<(), ApplyError> {
        if range.revision == 0 {
            Ok(())
        } else if range.revision > self.revision {
            Err(ApplyError::FutureRev)
        } else if range.revision < self.compacted {
            Err(ApplyError::Compacted)
        } else {
            Ok(())
        }
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let old = self.get(&put.key);
        let main = self.revision + 1;
        let mut kv = KeyValue {
            key: put.key.clone(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: put.value.clone(),
            lease: put.lease,
        };
        if let Some(old) = &old {
            kv.create_revision = old.create_revision;
            kv.version = old.version + 1;
            if put.ignore_value {
                kv.value = old.value.clone();
            }
        }
        self.changes.push((main, put.key.clone(), Some(kv)));
        PutResponse { revision: main, prev_kv: old.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let mut gone = self.state(i64::MAX);
        gone.retain(|kv| within(&kv.key, &delete.key, &delete.range_end));
        for kv in &gone {
            self.changes.push((self.revision + 1, kv.key.clone(), None));
        }
        let deleted = gone.len() as i64;
        let prev_kvs = if delete.prev_kv { gone } else { Vec::new() };
        DeleteRangeResponse { revision: self.now(), deleted, prev_kvs }
    }

    /// The branch taken, with all branches inside of it.
    fn decide<'t>(&self, txn: &'t TxnRequest) -> Taken<'t> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let ops = ops.iter().map(|op| match op {
            RequestOp::Txn(nested) => Step::Txn(self.decide(nested)),
            op => Step::Op(op),
        });
        Taken { succeeded, ops: ops.collect() }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let mut kvs = self.state(i64::MAX);
        kvs.retain(|kv| within(&kv.key, &compare.key, &compare.range_end));
        if kvs.is_empty() {
            if matches!(compare.target, CompareTarget::Value(_)) {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        kvs.iter().all(|kv| {
            let order = match &compare.target {
                CompareTarget::Version(version) => kv.version.cmp(version),
                CompareTarget::CreateRevision(revision) => kv.create_revision.cmp(revision),
                CompareTarget::ModRevision(revision) => kv.mod_revision.cmp(revision),
                CompareTarget::Value(value) => kv.value.cmp(value),
                CompareTarget::Lease(lease) => kv.lease.cmp(lease),
            };
            match compare.result {
                CompareResult::Equal => order == Ordering::Equal,
                CompareResult::NotEqual => order != Ordering::Equal,
                CompareResult::Greater => order == Ordering::Greater,
                CompareResult::Less => order == Ordering::Less,
            }
        })
    }

    fn check(
        &self,
        taken: &Taken<'_>,
        rule: &dyn Fn(&Self, &RequestOp) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        taken.ops.iter().try_for_each(|step| match step {
            Step::Txn(nested) => self.check(nested, rule),
            Step::Op(op) => rule(self, op),
        })
    }

    fn run(&mut self, taken: &Taken<'_>) -> TxnResponse {
        let mut responses = Vec::new();
        for step in &taken.ops {
            responses.push(match step {
                Step::Txn(nested) => ResponseOp::Txn(self.run(nested)),
                Step::Op(RequestOp::Put(put)) => ResponseOp::Put(self.put(put)),
                Step::Op(RequestOp::DeleteRange(delete)) => {
                    ResponseOp::DeleteRange(self.delete(delete))
                }
                Step::Op(RequestOp::Range(range)) => {
                    ResponseOp::Range(self.range(range).expect("checked before"))
                }
                Step::Op(RequestOp::Txn(_)) => unreachable!(),
            });
        }
        TxnResponse { revision: 0, succeeded: taken.succeeded, responses }
    }
}

struct Taken<'t> {
    succeeded: bool,
    ops: Vec<Step<'t>>,
}

enum Step<'t> {
    Op(&'t RequestOp),
    Txn(Taken<'t>),
}

fn within(key: &Bytes, from: &Bytes, range_end: &Bytes) -> bool {
    match &range_end[..] {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && **key < *end,
    }
}
