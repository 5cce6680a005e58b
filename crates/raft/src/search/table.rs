//! What a search remembers by fingerprint.

use super::std::collections;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};
use core::mem;

/// Looked up by a fingerprint, never walked through.
#[expect(clippy::disallowed_types, reason = "its order is never looked at")]
pub(crate) type ByFingerprint<V> = collections::HashMap<u64, V, BuildHasherDefault<Itself>>;

/// A fingerprint needs no hashing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole fingerprints are looked up")
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

/// Two fingerprints as one, the order told apart.
pub(crate) fn both(one: u64, other: u64) -> u64 {
    mix(one.wrapping_mul(3) ^ mix(other ^ 0x9e37_79b9_7f4a_7c15))
}

/// Spreads what differs in a few bits over all of them (SplitMix64's finalizer).
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A set of fingerprints: open addressing, eight bytes each, at most seven of
/// eight places taken. Zero marks a free place.
pub(crate) struct Seen {
    places: Vec<u64>,
    count: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { places: vec![0; 1 << 12], count: 0 }
    }
}

impl Seen {
    /// Adds one; says whether it is new.
    pub(crate) fn insert(&mut self, fingerprint: u64) -> bool {
        if self.count >= self.places.len() / 8 * 7 {
            let doubled = vec![0; self.places.len() * 2];
            for old in mem::replace(&mut self.places, doubled) {
                if old != 0 {
                    let at = self.place(old);
                    self.places[at] = old;
                }
            }
        }
        let fingerprint = fingerprint.max(1);
        let at = self.place(fingerprint);
        if self.places[at] == fingerprint {
            return false;
        }
        self.places[at] = fingerprint;
        self.count += 1;
        true
    }

    pub(crate) fn bytes(&self) -> usize {
        self.places.len() * 8
    }

    /// Where it stands, or would.
    fn place(&self, fingerprint: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut at = fingerprint as usize & mask;
        while self.places[at] != 0 && self.places[at] != fingerprint {
            at = (at + 1) & mask;
        }
        at
    }
}
