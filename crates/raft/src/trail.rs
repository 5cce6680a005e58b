//! The log as the algorithm knows it: which (term, index) pairs stand in it.

use crate::types::{Index, Position, Term};
use alloc::vec::Vec;

/// Neighbouring entries of one term: `first ..= last`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Their term.
    pub term: Term,
    /// The first of them.
    pub first: Index,
    /// The last of them, inclusive.
    pub last: Index,
}

/// Runs of terms over index ranges, behind a base that a snapshot covers.
///
/// Invariants: runs are contiguous from `base.index + 1`, their terms rise
/// strictly, and none is below the base's term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trail {
    base: Position,
    runs: Vec<Run>,
}
