//! The cache, by example and against a list of entries that knows no records.

use super::*;
use driftless_codec::{Bytes, EntryKind};

fn record(term: u64, first: u64, sizes: &[usize]) -> Entries {
    let entry = |(index, &size): (u64, &usize)| Entry {
        position: Position::new(term, index),
        kind: EntryKind::Command,
        payload: Bytes::from(vec![0; size]),
    };
    (first..).zip(sizes).map(entry).collect()
}

fn one(term: u64, index: u64) -> Entries {
    record(term, index, &[36])
}

#[test]
fn it_serves_what_it_holds_and_counts_what_is_not_applied() {
    let mut cache = EntryCache::new(250);
    cache.push(record(1, 5, &[36, 36]));
    cache.push(record(1, 7, &[]));
    for index in 7..=9 {
        cache.push(one(1, index));
    }
    let count = |cache: &EntryCache, first, last, bytes| {
        cache.range(Index(first), Index(last), bytes).map(|found| found.count())
    };
    assert_eq!(cache.unapplied_bytes(), 500);
    assert_eq!(count(&cache, 4, 9, 1000), None);
    assert_eq!(count(&cache, 6, 8, 1000), Some(3));
    assert_eq!(count(&cache, 6, 9, 1), Some(1));
    assert_eq!(count(&cache, 10, 12, 1), None);

    cache.truncate_from(Index(9));
    cache.push(one(2, 9));
    assert_eq!(cache.holds(Position::new(1, 9)), Some(false));
    assert_eq!(cache.holds(Position::new(2, 9)), Some(true));

    cache.mark_applied(Index(7));
    assert_eq!(cache.unapplied_bytes(), 200);
    cache.evict(Index(6));
    assert_eq!(count(&cache, 6, 6, 1), None);
    assert_eq!(count(&cache, 7, 7, 1), Some(1), "7 may not go yet");
    cache.truncate_from(Index(7));
    assert_eq!(cache.unapplied_bytes(), 0);
    cache.reset(Index(20));
    cache.push(one(3, 21));
    assert_eq!(cache.unapplied_bytes(), 100);
}

/// Every entry by itself.
#[derive(Default)]
struct Twin {
    entries: Vec<Entry>,
    applied: Index,
}

impl Twin {
    fn range(&self, first: u64, last: u64, bytes_max: usize) -> Vec<Position> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in &self.entries {
            let index = entry.position.index.0;
            if index < first || index > last {
                continue;
            }
            bytes += entry.payload.len() + 64;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.position);
        }
        if found.first().is_none_or(|found| found.index.0 != first) { Vec::new() } else { found }
    }

    fn unapplied(&self) -> usize {
        let waiting = self.entries.iter().filter(|entry| entry.position.index > self.applied);
        waiting.map(|entry| entry.payload.len() + 64).sum()
    }
}

#[test]
fn it_is_a_list_of_entries_whatever_the_records_were() {
    let mut state = 1_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    let (mut served, mut cut, mut evicted, mut emptied) = (0, 0, 0, 0);
    for round in 0..200 {
        // An in-memory log keeps nothing that may go.
        let bytes_max = if round % 4 == 0 { 0 } else { 2_000 };
        let mut cache = EntryCache::new(bytes_max);
        let mut twin = Twin::default();
        let (mut term, mut next) = (1, below(3) + 1);
        for _ in 0..60 {
            match below(6) {
                0 | 1 => {
                    let sizes: Vec<usize> = (0..below(6)).map(|_| below(200) as usize).collect();
                    let record = record(term, next, &sizes);
                    twin.entries.extend(record.iter().cloned());
                    cache.push(record);
                    next += sizes.len() as u64;
                }
                2 => {
                    let from = next.saturating_sub(below(5)).max(twin.applied.0 + 1);
                    cache.truncate_from(Index(from));
                    let before = twin.entries.len();
                    twin.entries.retain(|entry| entry.position.index.0 < from);
                    cut += before - twin.entries.len();
                    next = next.min(from);
                    term += 1;
                }
                3 => {
                    let through = Index(twin.applied.0 + below(4)).min(Index(next - 1));
                    cache.mark_applied(through);
                    twin.applied = twin.applied.max(through);
                }
                4 => {
                    cache.evict(twin.applied);
                    // By whole records: never what may not go, never while all fits.
                    let first = cache.blocks.front().map_or(next, |block| first_of(block).0);
                    let gone = twin.entries.iter().filter(|e| e.position.index.0 < first).count();
                    let all = cost(&twin.entries);
                    assert!(gone == 0 || (all > bytes_max && Index(first - 1) <= twin.applied));
                    twin.entries.drain(..gone);
                    evicted += gone;
                    let first = cache.blocks.front().filter(|_| cost(&twin.entries) > bytes_max);
                    assert!(first.is_none_or(|first| last_of(first) > twin.applied), "it may go");
                    emptied += usize::from(gone > 0 && twin.entries.is_empty());
                }
                _ => {}
            }
            assert_eq!(cache.bytes, cost(&twin.entries));
            assert_eq!(cache.unapplied_bytes(), twin.unapplied());
            let first = next.saturating_sub(below(12)).max(1);
            let (last, bytes_max) = (first + below(10), below(1_000));
            let expected = twin.range(first, last, bytes_max as usize);
            let found = cache.range(Index(first), Index(last), bytes_max);
            let got: Vec<Position> =
                found.iter().flat_map(Stretch::iter).map(|entry| entry.position).collect();
            assert_eq!(got, expected, "{first} to {last}, {bytes_max} bytes");
            if let Some(found) = found {
                assert_eq!(found.count(), got.len());
                assert_eq!(found.bytes(), cost(found.iter()) as u64);
                served += 1;
            }
        }
    }
    assert!(served > 1_000 && cut > 100, "{served} {cut}");
    assert!(evicted > 100 && emptied > 10, "{evicted} {emptied}");
}
