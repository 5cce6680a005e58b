//! Range: reading keys, with all of etcd's options.
//!
//! A scan goes in steps of bounded work, so that a reader can let the writer in
//! between two of them; inside of a transaction it goes in one.

use crate::command::{KeyValue, RangeRequest, SortOrder, SortTarget};
use crate::reply::{RangeResponse, ReadError};
use crate::store::arena::Record;
use crate::store::index::End;
use crate::store::{At, Copier, State};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A step looks at about so many keys,
const STEP_KEYS: usize = 512;
/// and copies about so many bytes.
const STEP_BYTES: usize = 256 << 10;
/// Keys that are only counted, at the latest revision, cost so much less.
const COUNTED_PER_KEY: usize = 32;

impl State {
    /// The revision to read at, if it can be read. 0 or less is the latest.
    pub(crate) fn readable(&self, revision: i64) -> Result<At, ReadError> {
        if revision <= 0 {
            Ok(At::Latest)
        } else if revision > self.revision {
            Err(ReadError::FutureRev)
        } else if revision < self.compact_revision {
            Err(ReadError::Compacted)
        } else {
            Ok(At::Revision(revision))
        }
    }

    /// Answers a range in one go. `header_revision` goes into the answer.
    pub(crate) fn range(
        &self,
        request: &RangeRequest,
        header_revision: i64,
    ) -> Result<RangeResponse, ReadError> {
        let at = self.readable(request.revision)?;
        if request.range_end.is_empty() {
            return Ok(self.range_point(request, at, header_revision));
        }
        let mut scan = Scan::new(request);
        while scan.step(self, at).is_continue() {
            scan.prune();
        }
        Ok(scan.finish(header_revision))
    }

    /// Answers for one key, as most do.
    pub(crate) fn range_point(
        &self,
        request: &RangeRequest,
        at: At,
        header_revision: i64,
    ) -> RangeResponse {
        let mut response = RangeResponse { revision: header_revision, ..RangeResponse::default() };
        let Some(record) = self.get(&request.key, at) else { return response };
        response.count = 1;
        if request.count_only || !passes(request, &record) {
            return response;
        }
        let value = record.value.filter(|_| !request.keys_only).unwrap_or_default();
        response.kvs.push(KeyValue {
            key: request.key.clone(),
            create_revision: record.create_revision,
            mod_revision: record.main,
            version: record.version,
            value: Bytes::copy_from_slice(value),
            lease: record.lease,
        });
        response
    }
}

/// A range being read.
pub(crate) struct Scan<'a> {
    request: &'a RangeRequest,
    end: End<'a>,
    /// The first key not looked at; `None` before the first step.
    next_key: Option<Vec<u8>>,
    /// How many keys to collect.
    wanted: usize,
    with_values: bool,
    /// Whether what is collected must be sorted other than by key, ascending.
    sort: Option<(SortTarget, SortOrder)>,
    kvs: Vec<KeyValue>,
    copier: Copier,
    count: i64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(request: &'a RangeRequest) -> Self {
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let filtered = request.min_mod_revision != 0
            || request.max_mod_revision != 0
            || request.min_create_revision != 0
            || request.max_create_revision != 0;
        // Keys come in ascending order by themselves.
        let sort = match (request.sort_target, request.sort_order) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
            (target, SortOrder::None) => Some((target, SortOrder::Ascend)),
            (target, order) => Some((target, order)),
        };
        // Without an explicit order or a filter etcd sorts what the limit, by
        // key, has left over; otherwise it looks at everything first.
        let everything = filtered || request.sort_order != SortOrder::None;
        let wanted = if request.count_only {
            0
        } else if limit == 0 || everything && sort.is_some() {
            usize::MAX
        } else {
            limit.saturating_add(1)
        };
        let sorts_by_value = matches!(sort, Some((SortTarget::Value, _)));
        Self {
            request,
            end: End::from_range_end(&request.range_end),
            next_key: None,
            wanted,
            with_values: !request.keys_only || sorts_by_value,
            sort,
            kvs: Vec::new(),
            copier: Copier::default(),
            count: 0,
        }
    }

    /// Reads on. `Break` when it is done.
    pub(crate) fn step(&mut self, state: &State, at: At) -> ControlFlow<()> {
        let from = self.next_key.take();
        let mut budget = STEP_KEYS;
        let mut stopped_at = None;
        let from = from.as_deref().unwrap_or(&self.request.key);
        let (copier, count) = (&mut self.copier, &mut self.count);
        let collected = self.kvs.len();
        let (request, wanted, with_values) = (self.request, self.wanted, self.with_values);
        state.index.visit(&state.versioned, from, self.end, |entries| {
            for (n, entry) in entries.iter().enumerate() {
                if budget == 0 || copier.bytes() >= STEP_BYTES {
                    stopped_at = Some(*entry);
                    return ControlFlow::Break(());
                }
                if collected + copier.len() >= wanted && at == At::Latest {
                    let rest = &entries[n..];
                    *count += rest.iter().filter(|entry| !entry.is_deleted()).count() as i64;
                    budget = budget.saturating_sub(rest.len().div_ceil(COUNTED_PER_KEY));
                    return ControlFlow::Continue(());
                }
                budget -= 1;
                let Some(location) = state.visible(*entry, at) else { continue };
                *count += 1;
                if collected + copier.len() < wanted {
                    let record = state.versioned.arena.record(location);
                    if passes(request, &record) {
                        copier.push(&record, with_values);
                    }
                }
            }
            ControlFlow::Continue(())
        });
        self.next_key = stopped_at.map(|entry| state.versioned.key(entry).to_vec());
        if self.copier.len() > 0 {
            self.kvs.extend(self.copier.take());
        }
        if self.next_key.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Keeps a sorted scan from collecting what the limit will cut off: to be
    /// called between steps, without the lock.
    pub(crate) fn prune(&mut self) {
        let Ok(limit) = usize::try_from(self.request.limit) else { return };
        if limit > 0 && self.sort.is_some() && self.kvs.len() > (limit + 1).saturating_mul(2) + 512
        {
            self.sort();
            self.kvs.truncate(limit + 1);
        }
    }

    /// Sorts what was collected. What is equal stays in the order of keys.
    fn sort(&mut self) {
        let Some((target, order)) = self.sort else { return };
        let compare = |a: &KeyValue, b: &KeyValue| match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        self.kvs.sort_by(|a, b| match order {
            SortOrder::Descend => compare(b, a),
            SortOrder::None | SortOrder::Ascend => compare(a, b),
        });
    }

    pub(crate) fn finish(mut self, header_revision: i64) -> RangeResponse {
        self.sort();
        let limit = usize::try_from(self.request.limit).unwrap_or(0);
        let more = limit > 0 && self.kvs.len() > limit;
        if more {
            self.kvs.truncate(limit);
        }
        if self.request.keys_only && self.with_values {
            for kv in &mut self.kvs {
                kv.value.clear();
            }
        }
        RangeResponse { revision: header_revision, kvs: self.kvs, more, count: self.count }
    }
}

fn passes(request: &RangeRequest, record: &Record<'_>) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(record.main, request.min_mod_revision, request.max_mod_revision)
        && within(record.create_revision, request.min_create_revision, request.max_create_revision)
}
