//! The log as the algorithm knows it: which (term, index) pairs stand in it, and
//! which of its entries say who the members are.

use crate::membership::Membership;
use crate::runs::{Memberships, Run, Runs, push_run};
use crate::types::{Index, Position, Term};
use alloc::vec::Vec;

#[cfg(test)]
#[path = "trail_test.rs"]
mod tests;

/// An entry that says who the members are from there on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembershipEntry {
    /// Its place in the log.
    pub index: Index,
    /// The membership.
    pub membership: Membership,
}

/// Runs of terms over index ranges, behind a base that a snapshot covers.
///
/// Invariants: runs are contiguous from `base.index + 1`, their terms rise
/// strictly, and none is below the base's term. Membership entries stand in
/// order, each within a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trail {
    base: Position,
    /// The end of the last run, or the base: asked for many times in every step.
    last: Position,
    /// As of the base.
    base_membership: Membership,
    runs: Vec<Run>,
    memberships: Vec<MembershipEntry>,
}

impl Trail {
    /// An empty log behind `base`, as of which `membership` is in force.
    pub fn new(base: Position, membership: Membership) -> Self {
        let (runs, memberships) = (Vec::new(), Vec::new());
        Self { base, last: base, base_membership: membership, runs, memberships }
    }

    /// The empty log of a group that begins with `membership`.
    pub fn of(membership: Membership) -> Self {
        Self::new(Position::ZERO, membership)
    }

    /// The last entry that a snapshot covers; [`Position::ZERO`] without one.
    pub fn base(&self) -> Position {
        self.base
    }

    /// The last entry, or the base if there are none after it.
    #[inline]
    pub fn last(&self) -> Position {
        self.last
    }

    /// Where the entries after the base begin, whether there are any or not.
    pub fn first_index(&self) -> Index {
        self.base.index.next()
    }

    /// Whether no entry stands after the base.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The entries after the base, oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The term of the entry at `index`; known for the base and what follows.
    #[inline(always)]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        match self.run_at(index) {
            Some(run) => Some(run.term),
            None => (index == self.base.index).then_some(self.base.term),
        }
    }

    /// The position at `index`; known for the base and what follows.
    #[inline]
    pub fn position_at(&self, index: Index) -> Option<Position> {
        self.term_at(index).map(|term| Position { term, index })
    }

    /// Whether this very entry stands in the log (or is its base). Says no for
    /// what lies before the base, because nothing is known of it.
    #[inline(always)]
    pub fn contains(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The entries `first ..= last`, cut to what stands after the base.
    #[inline]
    pub fn runs_between(&self, first: Index, last: Index) -> Runs {
        // Mostly they are all in the last one.
        if let Some(newest) = self.runs.last()
            && newest.first <= first
            && first <= last.min(newest.last)
        {
            return Runs::from(Run { first, last: last.min(newest.last), ..*newest });
        }
        let from = self.runs.partition_point(|run| run.last < first);
        self.runs[from..]
            .iter()
            .take_while(|run| run.first <= last)
            .map(|run| Run { first: run.first.max(first), last: run.last.min(last), ..*run })
            .collect()
    }

    /// The last position at or below `index` whose term is at most `term`, but
    /// not below the base: how both sides back-track over whole terms (§5.3).
    #[cold]
    pub fn last_at_most(&self, term: Term, index: Index) -> Position {
        let until = self.runs.partition_point(|run| run.term <= term && run.first <= index);
        match until.checked_sub(1) {
            Some(at) => {
                let run = self.runs[at];
                Position { term: run.term, index: run.last.min(index) }
            }
            None => self.base,
        }
    }

    /// The first entry of `runs` that does not stand here: beyond the end, or
    /// in conflict. Entries at or below the base are taken to stand, for a
    /// snapshot covers only what is committed.
    #[inline]
    pub fn first_missing(&self, runs: &[Run]) -> Option<Index> {
        // Mostly all are new.
        let first = runs.first()?.first;
        if first > self.last().index {
            return Some(first);
        }
        self.first_missing_of_some(runs)
    }

    /// The same where the log reaches into `runs`.
    #[cold]
    fn first_missing_of_some(&self, runs: &[Run]) -> Option<Index> {
        for run in runs {
            let mut next = run.first.max(self.first_index());
            while next <= run.last {
                match self.run_at(next) {
                    Some(held) if held.term == run.term => next = held.last.next(),
                    _ => return Some(next),
                }
            }
        }
        None
    }

    /// Adds entries at the end.
    #[inline]
    pub fn append(&mut self, run: Run) {
        assert!(run.first <= run.last, "an empty run");
        assert!(run.first == self.last.index.next(), "a gap in the log");
        assert!(run.term >= self.last.term, "terms fall in the log");
        push_run(&mut self.runs, run);
        self.last = run.end();
    }

    /// Says that an entry that was appended last is this membership.
    pub fn append_membership(&mut self, entry: MembershipEntry) {
        assert!(entry.index > self.membership_index(), "memberships out of order");
        assert!(self.run_at(entry.index).is_some(), "a membership without its entry");
        self.memberships.push(entry);
    }

    /// Cuts the entry at `index` and all that follow; the membership before
    /// them is in force again.
    pub fn truncate_from(&mut self, index: Index) {
        assert!(index > self.base.index, "a cut below the snapshot");
        // Rule MC.8: a membership goes with its entry.
        let keep = self.memberships.partition_point(|entry| entry.index < index);
        self.memberships.truncate(keep);
        let keep = self.runs.partition_point(|run| run.first < index);
        self.runs.truncate(keep);
        if let Some(run) = self.runs.last_mut() {
            run.last = run.last.min(index.previous());
        }
        self.last = self.runs.last().map_or(self.base, Run::end);
    }

    /// Moves the base up to `through`, which must stand here.
    pub fn compact(&mut self, through: Position) {
        assert!(self.contains(through), "compaction up to an entry that does not stand here");
        let covered = self.memberships.partition_point(|entry| entry.index <= through.index);
        if let Some(newest) = self.memberships.drain(..covered).next_back() {
            self.base_membership = newest.membership;
        }
        let gone = self.runs.partition_point(|run| run.last <= through.index);
        self.runs.drain(..gone);
        if let Some(run) = self.runs.first_mut() {
            run.first = run.first.max(through.index.next());
        }
        self.base = through;
    }

    /// Forgets everything and starts anew behind `base`.
    pub fn reset(&mut self, base: Position, membership: Membership) {
        *self = Self::new(base, membership);
    }

    /// The membership in force: the newest in the log, committed or not
    /// (thesis §4.1).
    pub fn membership(&self) -> &Membership {
        self.memberships.last().map_or(&self.base_membership, |entry| &entry.membership)
    }

    /// Where the membership in force stands; the base if it is older.
    pub fn membership_index(&self) -> Index {
        self.memberships.last().map_or(self.base.index, |entry| entry.index)
    }

    /// The membership as of the entry at `index`, which a snapshot up to there
    /// must carry.
    pub fn membership_at(&self, index: Index) -> &Membership {
        let until = self.memberships.partition_point(|entry| entry.index <= index);
        match until.checked_sub(1) {
            Some(at) => &self.memberships[at].membership,
            None => &self.base_membership,
        }
    }

    /// The memberships after the base, oldest first.
    pub fn memberships(&self) -> &[MembershipEntry] {
        &self.memberships
    }

    /// Those of them at `first ..= last`.
    #[inline]
    pub fn memberships_between(&self, first: Index, last: Index) -> Memberships {
        if self.membership_index() < first {
            return Memberships::NONE;
        }
        let between = |entry: &&MembershipEntry| first <= entry.index && entry.index <= last;
        self.memberships.iter().filter(between).cloned().collect()
    }

    #[inline(always)]
    fn run_at(&self, index: Index) -> Option<&Run> {
        // Mostly it is in the last one.
        match self.runs.last() {
            Some(last) if last.first <= index => (index <= last.last).then_some(last),
            _ => self.older_run_at(index),
        }
    }

    #[cold]
    fn older_run_at(&self, index: Index) -> Option<&Run> {
        let at = self.runs.partition_point(|run| run.last < index);
        self.runs.get(at).filter(|run| run.covers(index))
    }
}
