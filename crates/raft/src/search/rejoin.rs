//! Suite F, amnesia: a member loses its disk, and comes back with another.

use super::mutant::Mutant;
use super::scene::{Bounds, Rules};
use super::suite::{CHANGED, REJOINED, catches, holds};
use super::world::{NEW_DISK, World, name};
use crate::Change;
use alloc::vec;

const BOUNDS: Bounds = Bounds {
    term_max: 2,
    campaigns: 1,
    proposals: 0,
    beats: 0,
    crashes: 0,
    repeats: 0,
    changes: 2,
    compactions: 0,
    reads: 0,
    transfers: 0,
    ticks: 0,
    wipes: 1,
};

fn losing(bounds: Bounds, mutant: Option<Mutant>) -> World {
    let readmit = Change::Readmit { id: name(2), incarnation: NEW_DISK };
    let changes = vec![vec![readmit], vec![Change::Promote(name(2))]];
    World::led(3, 0, bounds, Rules { changes, mutant, ..Rules::default() })
}

#[test]
fn one_loses_its_disk_and_comes_back() {
    holds("lost disk", &losing(BOUNDS, None), &[CHANGED, REJOINED]);
}

#[test]
fn mutant_votes_without_memory() {
    let bounds = Bounds { term_max: 3, campaigns: 2, changes: 1, ..BOUNDS };
    catches(&losing(bounds, Some(Mutant::VotesWithoutMemory)), "", 1_000_000);
}
