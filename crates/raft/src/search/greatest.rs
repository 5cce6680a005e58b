//! The greatest states that a search for wide bounds has found (see `wide.rs`).

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

/// What tells states of the same members and ghost apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// All that is under way.
    pub(crate) net: u32,
    /// What is left of the bounds, and above that which kinds of messages there are.
    rest: u32,
}

/// Messages are of so many kinds, by their numbers.
pub(crate) const KINDS: u32 = 24;

impl Place {
    /// `kinds` has a bit for each kind that is under way.
    pub(crate) fn new(net: u32, left: u32, kinds: u32) -> Self {
        assert!(left < 1 << (u32::BITS - KINDS), "there are few bounds");
        Self { net, rest: kinds << (u32::BITS - KINDS) | left }
    }

    pub(crate) fn left(self) -> u32 {
        self.rest & ((1 << (u32::BITS - KINDS)) - 1)
    }

    /// Whether all that is under way here may be so there: most that is not is told by
    /// the kinds alone.
    pub(crate) fn may_be_within(self, other: Self) -> bool {
        let kinds = |place: Self| place.rest >> (u32::BITS - KINDS);
        kinds(self) & !kinds(other) == 0
    }
}

/// What came of adding a state.
pub(crate) enum Added {
    /// A greater one was there.
    Not,
    /// Its members and ghost are new.
    First,
    /// They are not, but it was not reached by a greater one.
    Beside,
}

/// The greatest states: a set of fingerprints of members and ghosts, with what is
/// under way and left beside each. Open addressing in shards, so that growing one
/// costs little; at most five of eight places taken, for those of one fingerprint stand in
/// a row that others have to pass. A fingerprint of zero is free.
pub(crate) struct Greatest {
    shards: Vec<Vec<(u64, Place)>>,
    taken: Vec<usize>,
    pub(crate) count: usize,
}

const SHARDS: usize = 256;
const FREE: (u64, Place) = (0, Place { net: 0, rest: 0 });

impl Default for Greatest {
    fn default() -> Self {
        Self { shards: vec![vec![FREE; 64]; SHARDS], taken: vec![0; SHARDS], count: 0 }
    }
}

impl Greatest {
    /// Adds a state if none is greater, in place of one that is lesser.
    pub(crate) fn add(
        &mut self,
        fingerprint: u64,
        place: Place,
        is_within: impl Fn(Place, Place) -> bool,
    ) -> Added {
        let (fingerprint, shard) = Self::shard(fingerprint);
        let places = &mut self.shards[shard];
        let mut at = Self::home(fingerprint, places.len());
        let (mut lesser, mut is_known) = (None, false);
        while places[at].0 != 0 {
            if places[at].0 == fingerprint {
                is_known = true;
                let other = places[at].1;
                if other == place || is_within(place, other) {
                    return Added::Not;
                }
                if lesser.is_none() && is_within(other, place) {
                    lesser = Some(at);
                }
            }
            at += 1;
            if at == places.len() {
                at = 0;
            }
        }
        places[lesser.unwrap_or(at)] = (fingerprint, place);
        if lesser.is_none() {
            self.count += 1;
            self.taken[shard] += 1;
            if self.taken[shard] > places.len() / 8 * 5 {
                self.grow(shard);
            }
        }
        if is_known { Added::Beside } else { Added::First }
    }

    /// Whether this very state is (still) among the greatest.
    pub(crate) fn has(&self, fingerprint: u64, place: Place) -> bool {
        let (fingerprint, shard) = Self::shard(fingerprint);
        let places = &self.shards[shard];
        let mut at = Self::home(fingerprint, places.len());
        while places[at].0 != 0 {
            if places[at] == (fingerprint, place) {
                return true;
            }
            at += 1;
            if at == places.len() {
                at = 0;
            }
        }
        false
    }

    /// All fingerprints in it.
    pub(crate) fn names(self) -> BTreeSet<u64> {
        let places = self.shards.into_iter().flatten();
        places.map(|(fingerprint, _)| fingerprint).filter(|&name| name != 0).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.len() * size_of::<(u64, Place)>()).sum()
    }

    fn grow(&mut self, shard: usize) {
        let larger = vec![FREE; self.shards[shard].len() / 2 * 3 + 8];
        for taken in mem::replace(&mut self.shards[shard], larger) {
            if taken.0 != 0 {
                let places = &mut self.shards[shard];
                let mut at = Self::home(taken.0, places.len());
                while places[at].0 != 0 {
                    at = (at + 1) % places.len();
                }
                places[at] = taken;
            }
        }
    }

    fn shard(fingerprint: u64) -> (u64, usize) {
        (fingerprint.max(1), (fingerprint >> 56) as usize % SHARDS)
    }

    /// Where a fingerprint stands if nothing is in its way.
    fn home(fingerprint: u64, places: usize) -> usize {
        (((fingerprint & 0xffff_ffff) * (places as u64)) >> 32) as usize
    }
}
