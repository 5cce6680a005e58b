//! Numbers for the parts of states, for the search for wide bounds (`wide.rs`).

use super::symmetry::Symmetry;
use super::table::{ByFingerprint, both, mix};
use super::world::Shared;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::hash::Hash;

/// All distinct parts of one kind, and their fingerprints under each renaming.
pub(crate) struct Pool<T> {
    pub(crate) parts: Vec<Shared<T>>,
    numbers: ByFingerprint<u32>,
    pub(crate) under: Vec<u64>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), numbers: ByFingerprint::default(), under: Vec::new() }
    }
}

impl<T: Clone + Debug + Hash> Pool<T> {
    /// The number of a part, and whether it is a new one.
    pub(crate) fn number(
        &mut self,
        part: &Shared<T>,
        symmetry: &mut Symmetry,
        kind: u64,
    ) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(&part.hash) {
            return (number, false);
        }
        let number = self.parts.len() as u32;
        self.parts.push(part.clone());
        self.numbers.insert(part.hash, number);
        self.under.extend(symmetry.under(part, kind));
        (number, true)
    }
}

/// Sets of numbers, each kept once, in order.
#[derive(Default)]
pub(crate) struct Sets {
    pub(crate) sets: Vec<Box<[u32]>>,
    numbers: ByFingerprint<u32>,
}

impl Sets {
    pub(crate) fn number(&mut self, set: Vec<u32>) -> u32 {
        let key = of_row(&set);
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        self.sets.push(set.into());
        let number = self.sets.len() as u32 - 1;
        self.numbers.insert(key, number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> &[u32] {
        &self.sets[number as usize]
    }

    /// Whether one set is part of another.
    pub(crate) fn is_within(&self, one: u32, other: u32) -> bool {
        if one == other {
            return true;
        }
        let (one, other) = (self.get(one), self.get(other));
        let mut rest = other.iter();
        one.len() <= other.len() && one.iter().all(|has| rest.any(|other| other == has))
    }
}

/// Of numbers in their order.
pub(crate) fn of_row(numbers: &[u32]) -> u64 {
    let one = |key, &number: &u32| both(key, u64::from(number));
    numbers.iter().fold(mix(!(numbers.len() as u64)), one)
}

/// Two numbers as one key, spread.
pub(crate) fn pair(one: u32, other: u32) -> u64 {
    mix(u64::from(one) << 32 | u64::from(other))
}
