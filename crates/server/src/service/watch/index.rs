//! Which watchers a key concerns, however many there are.
//!
//! Nearly all watch a key, a prefix or everything, which is the empty prefix:
//! those are found by the key, and by each length of its prefixes that somebody
//! watches. Only the other ranges are looked at one by one.

use super::event::Range;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Watchers, known by `K`, by what they watch.
pub(super) struct Index<K> {
    points: BTreeMap<Bytes, Vec<K>>,
    prefixes: BTreeMap<Bytes, Vec<K>>,
    /// How many different prefixes of each length there are.
    prefix_lengths: BTreeMap<usize, usize>,
    others: BTreeMap<K, Range>,
}

impl<K: Copy + Ord> Index<K> {
    pub(super) fn new() -> Self {
        Self {
            points: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            prefix_lengths: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    /// Adds a watcher that is not there.
    pub(super) fn insert(&mut self, watcher: K, range: &Range) {
        if let Some(point) = range.point() {
            self.points.entry(point.clone()).or_default().push(watcher);
        } else if let Some(prefix) = range.prefix() {
            let watchers = self.prefixes.entry(prefix.clone()).or_default();
            if watchers.is_empty() {
                *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
            }
            watchers.push(watcher);
        } else {
            self.others.insert(watcher, range.clone());
        }
    }

    /// Removes a watcher that was inserted with this range.
    pub(super) fn remove(&mut self, watcher: K, range: &Range) {
        if let Some(point) = range.point() {
            take_out(&mut self.points, point, watcher);
        } else if let Some(prefix) = range.prefix() {
            if take_out(&mut self.prefixes, &prefix, watcher)
                && let Some(count) = self.prefix_lengths.get_mut(&prefix.len())
            {
                *count -= 1;
                if *count == 0 {
                    self.prefix_lengths.remove(&prefix.len());
                }
            }
        } else {
            self.others.remove(&watcher);
        }
    }

    /// Hands over each watcher of this key, once.
    pub(super) fn visit(&self, key: &[u8], mut visitor: impl FnMut(K)) {
        if let Some(watchers) = self.points.get(key) {
            watchers.iter().copied().for_each(&mut visitor);
        }
        for length in self.prefix_lengths.keys() {
            let Some(prefix) = key.get(..*length) else { break };
            if let Some(watchers) = self.prefixes.get(prefix) {
                watchers.iter().copied().for_each(&mut visitor);
            }
        }
        for (watcher, range) in &self.others {
            if range.contains(key) {
                visitor(*watcher);
            }
        }
    }
}

/// Whether the watcher was the last of its key.
fn take_out<K: Copy + Ord>(map: &mut BTreeMap<Bytes, Vec<K>>, key: &Bytes, watcher: K) -> bool {
    let Some(watchers) = map.get_mut(key) else { return false };
    watchers.retain(|other| *other != watcher);
    if watchers.is_empty() {
        map.remove(key);
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All keys of up to three of these bytes: the first, the last and two that
    /// follow each other.
    fn keys() -> Vec<Bytes> {
        const BYTES: [u8; 4] = [0, b'a', b'b', 0xff];
        let mut keys = vec![Vec::new()];
        for begin in [0, 1, 5] {
            for n in begin..keys.len() {
                keys.extend(BYTES.map(|byte| [&keys[n][..], &[byte]].concat()));
            }
        }
        keys.sort();
        keys.dedup();
        keys.into_iter().map(Bytes::from).collect()
    }

    /// Every range between two keys of a small world, and which keys are in it.
    #[test]
    fn finds_what_looking_at_each_would_find() {
        let keys = keys();
        assert_eq!(keys.len(), 85);
        let mut ranges = Vec::new();
        for key in &keys {
            ranges.extend(keys.iter().filter_map(|end| Range::new(key.clone(), end.clone())));
        }
        let prefixes = ranges.iter().filter(|range| range.prefix().is_some()).count();
        assert!(prefixes > 20, "only {prefixes} prefixes");
        let mut index = Index::new();
        for (watcher, range) in ranges.iter().enumerate() {
            index.insert(watcher, range);
        }
        // All of them, then half of them, then none.
        for left in [|_: usize| true, |watcher| watcher % 2 == 0, |_| false] {
            for (watcher, range) in ranges.iter().enumerate().filter(|(watcher, _)| !left(*watcher))
            {
                index.remove(watcher, range);
            }
            for key in keys.iter().filter(|key| !key.is_empty()) {
                let mut found = Vec::new();
                index.visit(key, |watcher| found.push(watcher));
                found.sort_unstable();
                let expected: Vec<usize> = (0..ranges.len())
                    .filter(|watcher| left(*watcher) && ranges[*watcher].contains(key))
                    .collect();
                assert_eq!(found, expected, "{key:?}");
            }
        }
        assert!(index.points.is_empty() && index.prefixes.is_empty() && index.others.is_empty());
        assert!(index.prefix_lengths.is_empty());
    }
}
