//! Stretches of a log, by term, and the memberships in them, as records and
//! messages carry them.

use crate::trail::MembershipEntry;
use crate::types::{Index, Position, Term};
use alloc::boxed::Box;
use alloc::vec::{self, Vec};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use core::slice;

#[cfg(test)]
#[path = "runs_test.rs"]
mod tests;

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

impl Run {
    /// The entries `first ..= last` of `term`.
    pub fn new(term: u64, first: u64, last: u64) -> Self {
        Self { term: Term(term), first: Index(first), last: Index(last) }
    }

    /// How many entries there are.
    pub fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Where the last of them stands.
    pub fn end(&self) -> Position {
        Position { term: self.term, index: self.last }
    }

    /// Whether `index` is one of them.
    pub fn covers(&self, index: Index) -> bool {
        self.first <= index && index <= self.last
    }
}

/// Runs that follow on each other. Hardly ever is there more than one: that one
/// takes no allocation.
#[derive(Clone, Default)]
pub struct Runs {
    few: Few,
}

#[derive(Clone, Default)]
enum Few {
    #[default]
    None,
    One(Run),
    More(Vec<Run>),
}

impl Runs {
    /// No entries.
    pub const NONE: Self = Self { few: Few::None };

    /// Adds a run at the end, as part of the last one if the term agrees.
    #[inline]
    pub fn push(&mut self, run: Run) {
        match &mut self.few {
            Few::None => self.few = Few::One(run),
            Few::One(one) if one.term == run.term => one.last = run.last,
            Few::One(one) => self.few = Few::More([*one, run].into()),
            Few::More(more) => push_run(more, run),
        }
    }

    /// Leaves out the entries after `last`.
    pub fn cut_after(&mut self, last: Index) {
        let kept = self.iter().filter(|run| run.first <= last);
        *self = kept.map(|run| Run { last: run.last.min(last), ..*run }).collect();
    }
}

impl From<Run> for Runs {
    fn from(run: Run) -> Self {
        Self { few: Few::One(run) }
    }
}

impl Deref for Runs {
    type Target = [Run];

    fn deref(&self) -> &[Run] {
        match &self.few {
            Few::None => &[],
            Few::One(run) => slice::from_ref(run),
            Few::More(runs) => runs,
        }
    }
}

/// As they come: none is taken into another.
impl FromIterator<Run> for Runs {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut runs = runs.into_iter();
        let few = match (runs.next(), runs.next()) {
            (None, _) => Few::None,
            (Some(one), None) => Few::One(one),
            (Some(one), Some(other)) => Few::More([one, other].into_iter().chain(runs).collect()),
        };
        Self { few }
    }
}

impl<'a> IntoIterator for &'a Runs {
    type Item = &'a Run;
    type IntoIter = slice::Iter<'a, Run>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Runs {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Runs {}

impl Hash for Runs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Memberships among the entries of a stretch, in log order. Hardly ever is there
/// one, so that they are kept apart: what moves with every record and message is
/// one word.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Memberships {
    // Never empty.
    #[expect(clippy::box_collection, reason = "a vector takes three words where there is none")]
    some: Option<Box<Vec<MembershipEntry>>>,
}

impl Memberships {
    /// No memberships.
    pub const NONE: Self = Self { some: None };

    /// Adds one, which stands after the others.
    pub fn push(&mut self, entry: MembershipEntry) {
        self.some.get_or_insert_default().push(entry);
    }

    /// Leaves out those after `last`.
    pub fn cut_after(&mut self, last: Index) {
        if let Some(some) = &mut self.some {
            some.retain(|entry| entry.index <= last);
        }
        self.some.take_if(|some| some.is_empty());
    }
}

impl Deref for Memberships {
    type Target = [MembershipEntry];

    fn deref(&self) -> &[MembershipEntry] {
        self.some.as_ref().map_or(&[], |some| some)
    }
}

impl FromIterator<MembershipEntry> for Memberships {
    fn from_iter<I: IntoIterator<Item = MembershipEntry>>(entries: I) -> Self {
        let mut memberships = Self::NONE;
        entries.into_iter().for_each(|entry| memberships.push(entry));
        memberships
    }
}

impl IntoIterator for Memberships {
    type Item = MembershipEntry;
    type IntoIter = vec::IntoIter<MembershipEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.some.map(|some| *some).unwrap_or_default().into_iter()
    }
}

impl<'a> IntoIterator for &'a Memberships {
    type Item = &'a MembershipEntry;
    type IntoIter = slice::Iter<'a, MembershipEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Hash for Memberships {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Memberships {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Adds a run at the end of `runs`, as part of the last one if the term agrees.
pub(crate) fn push_run(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.term == run.term => last.last = run.last,
        _ => runs.push(run),
    }
}

/// The part of `runs` that begins at `index`.
#[inline]
pub(crate) fn runs_from(runs: &[Run], index: Index) -> impl Iterator<Item = Run> {
    runs.iter()
        .filter(move |run| run.last >= index)
        .map(move |run| Run { first: run.first.max(index), ..*run })
}
