//! [`Trail`] against a naive twin: one term per entry in a plain vector.

use super::*;
use crate::NodeId;
use crate::testing::Dice;
use alloc::vec;

/// Term of the entry at base.index + 1 + i.
struct Twin {
    base: Position,
    terms: Vec<u64>,
}

impl Twin {
    fn term_at(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.base.index.0)? {
            0 => Some(self.base.term.0),
            offset => self.terms.get(offset as usize - 1).copied(),
        }
    }

    fn last_index(&self) -> u64 {
        self.base.index.0 + self.terms.len() as u64
    }
}

fn check(trail: &Trail, twin: &Twin) {
    let last = twin.last_index();
    assert_eq!(trail.base(), twin.base);
    assert_eq!(trail.last(), Position::new(twin.term_at(last).unwrap(), last));
    assert_eq!(trail.is_empty(), twin.terms.is_empty());
    assert_eq!(trail.first_index(), twin.base.index.next());
    for index in 0..=last + 2 {
        let term = twin.term_at(index);
        assert_eq!(trail.term_at(Index(index)), term.map(Term));
        assert_eq!(trail.position_at(Index(index)), term.map(|term| Position::new(term, index)));
        for term in 0..12 {
            let held = twin.term_at(index) == Some(term);
            assert_eq!(trail.contains(Position::new(term, index)), held);
            let back = (twin.base.index.0..=index.min(last))
                .rev()
                .find(|&at| twin.term_at(at).unwrap() <= term)
                .map_or(twin.base, |at| Position::new(twin.term_at(at).unwrap(), at));
            if index >= twin.base.index.0 {
                assert_eq!(trail.last_at_most(Term(term), Index(index)), back);
            }
        }
    }
    let mut expected: Option<Run> = None;
    let mut runs = Vec::new();
    for index in twin.base.index.0 + 1..=last {
        let term = twin.term_at(index).unwrap();
        match &mut expected {
            Some(run) if run.term.0 == term => run.last = Index(index),
            _ => runs.extend(expected.replace(Run::new(term, index, index))),
        }
    }
    runs.extend(expected);
    assert_eq!(trail.runs(), runs);
}

#[test]
fn agrees_with_one_term_per_entry() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let base = Position::new(dice.below(3), dice.below(4));
        let mut trail = Trail::new(base, Membership::default());
        let mut twin = Twin { base, terms: vec![] };
        for _ in 0..25 {
            let last = trail.last();
            match dice.below(8) {
                0..=3 => {
                    let term = last.term.0 + dice.below(3);
                    let count = 1 + dice.below(3);
                    trail.append(Run::new(term, last.index.0 + 1, last.index.0 + count));
                    twin.terms.extend((0..count).map(|_| term));
                }
                4 | 5 => {
                    let from = twin.base.index.0 + 1 + dice.below(twin.terms.len() as u64 + 2);
                    trail.truncate_from(Index(from));
                    twin.terms.truncate((from - twin.base.index.0 - 1) as usize);
                }
                6 => {
                    let gone = dice.below(twin.terms.len() as u64 + 1);
                    let index = twin.base.index.0 + gone;
                    let through = Position::new(twin.term_at(index).unwrap(), index);
                    trail.compact(through);
                    twin.terms.drain(..gone as usize);
                    twin.base = through;
                }
                _ if dice.below(5) == 0 => {
                    let base = Position::new(last.term.0 + 1, last.index.0 + 2);
                    trail.reset(base, Membership::default());
                    twin = Twin { base, terms: vec![] };
                }
                _ => {}
            }
            check(&trail, &twin);
            check_ranges(&trail, &twin, &mut dice);
        }
    }
}

fn check_ranges(trail: &Trail, twin: &Twin, dice: &mut Dice) {
    let first = dice.below(twin.last_index() + 2);
    let last = first + dice.below(6);
    let mut terms = Vec::new();
    for run in &trail.runs_between(Index(first), Index(last)) {
        assert!(run.first.0 >= first);
        assert!(run.last.0 <= last);
        terms.extend((run.first.0..=run.last.0).map(|index| (index, run.term.0)));
    }
    let expected: Vec<_> = (first.max(twin.base.index.0 + 1)..=last)
        .filter_map(|index| Some((index, twin.term_at(index)?)))
        .collect();
    assert_eq!(terms, expected);

    // What another log would offer from `first` on: ours, changed at one place.
    let changed = first + dice.below(6);
    let mut offered = Vec::new();
    let mut term = 0;
    for index in first..=last {
        let ours = twin.term_at(index).unwrap_or(term);
        term = ours.max(term) + u64::from(index == changed);
        push_run(&mut offered, Run::new(term, index, index));
    }
    let missing = offered
        .iter()
        .flat_map(|run| (run.first.0..=run.last.0).map(|index| (index, run.term.0)))
        .find(|&(index, term)| index > twin.base.index.0 && twin.term_at(index) != Some(term))
        .map(|(index, _)| Index(index));
    assert_eq!(trail.first_missing(&offered), missing);
}

#[test]
fn memberships_go_with_their_entries() {
    let of = |voters: u64| Membership::of((1..=voters).map(NodeId));
    let entry = |index, voters| MembershipEntry { index: Index(index), membership: of(voters) };
    let mut trail = Trail::of(of(1));
    trail.append(Run::new(1, 1, 9));
    for (index, voters) in [(3, 2), (5, 3), (8, 4)] {
        trail.append_membership(entry(index, voters));
    }
    assert_eq!(trail.memberships(), [entry(3, 2), entry(5, 3), entry(8, 4)]);
    for (index, voters) in [(0, 1), (2, 1), (3, 2), (4, 2), (5, 3), (7, 3), (8, 4), (9, 4)] {
        assert_eq!(*trail.membership_at(Index(index)), of(voters), "{index}");
    }
    trail.truncate_from(Index(8));
    assert_eq!(trail.memberships(), [entry(3, 2), entry(5, 3)]);
    assert_eq!((trail.membership_index(), trail.membership()), (Index(5), &of(3)));
    trail.compact(Position::new(1, 3));
    assert_eq!(trail.memberships(), [entry(5, 3)]);
    assert_eq!(*trail.membership_at(Index(3)), of(2));
    trail.truncate_from(Index(5));
    assert_eq!((trail.membership_index(), trail.membership()), (Index(3), &of(2)));
}

#[test]
#[should_panic(expected = "a gap in the log")]
fn refuses_a_gap() {
    Trail::default().append(Run::new(1, 2, 2));
}

#[test]
#[should_panic(expected = "terms fall in the log")]
fn refuses_falling_terms() {
    let mut trail = Trail::new(Position::new(2, 5), Membership::default());
    trail.append(Run::new(1, 6, 6));
}

#[test]
#[should_panic(expected = "does not stand here")]
fn refuses_to_compact_what_it_does_not_hold() {
    let mut trail = Trail::default();
    trail.append(Run::new(1, 1, 3));
    trail.compact(Position::new(2, 2));
}

/// For the search of all states and its wrong variants.
impl Trail {
    /// Puts `membership` in the place of the one in force, which it returns.
    pub(crate) fn replace_in_force(&mut self, membership: Membership) -> Membership {
        match self.memberships.last_mut() {
            Some(entry) => core::mem::replace(&mut entry.membership, membership),
            None => core::mem::replace(&mut self.base_membership, membership),
        }
    }
}
