//! A set of fingerprints: open addressing, eight bytes each.

use alloc::vec;
use alloc::vec::Vec;
use core::mem;

/// Fingerprints met so far. Zero marks a free place.
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
        if self.count * 2 > self.places.len() {
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
