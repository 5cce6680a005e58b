//! Tests of `runs.rs`: stretches by term, however they are held.

use super::*;
use alloc::format;
use alloc::vec;
use std::hash::DefaultHasher;

fn hash_of(runs: &Runs) -> u64 {
    let mut hasher = DefaultHasher::new();
    runs.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn neighbours_of_one_term_become_one() {
    let mut runs = Runs::NONE;
    assert_eq!(*runs, []);
    runs.push(Run::new(1, 4, 4));
    runs.push(Run::new(1, 5, 7));
    assert_eq!(*runs, [Run::new(1, 4, 7)]);
    runs.push(Run::new(2, 8, 8));
    runs.push(Run::new(2, 9, 9));
    runs.push(Run::new(4, 10, 10));
    assert_eq!(*runs, [Run::new(1, 4, 7), Run::new(2, 8, 9), Run::new(4, 10, 10)]);
}

#[test]
fn what_comes_after_a_place_is_left_out() {
    let whole: Runs = [Run::new(1, 4, 7), Run::new(2, 8, 9)].into_iter().collect();
    for (last, expected) in [
        (3, &[][..]),
        (4, &[Run::new(1, 4, 4)]),
        (7, &[Run::new(1, 4, 7)]),
        (8, &[Run::new(1, 4, 7), Run::new(2, 8, 8)]),
        (12, &[Run::new(1, 4, 7), Run::new(2, 8, 9)]),
    ] {
        let mut runs = whole.clone();
        runs.cut_after(Index(last));
        assert_eq!(*runs, *expected, "{last}");
    }
}

#[test]
fn how_they_are_kept_makes_no_difference() {
    let one: Runs = [Run::new(1, 4, 7)].into_iter().collect();
    let cut_to_one = {
        let mut runs: Runs = [Run::new(1, 4, 7), Run::new(2, 8, 9)].into_iter().collect();
        runs.cut_after(Index(7));
        runs
    };
    assert_eq!((&one, hash_of(&one)), (&cut_to_one, hash_of(&cut_to_one)));
    let other: Runs = [Run::new(1, 4, 6)].into_iter().collect();
    assert!(one != other && hash_of(&one) != hash_of(&other));
    assert_eq!(format!("{one:?}"), format!("{:?}", vec![Run::new(1, 4, 7)]));
    assert_eq!((&one).into_iter().count(), 1);
}
