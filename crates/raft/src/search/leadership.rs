//! Suite E, leadership: pre-vote, check-quorum and transfer together.

use super::scene::{Bounds, Rules};
use super::suite::{COMMITTED, HANDED_OVER, RIVALS, holds, holds_deep};
use super::world::World;
use alloc::vec;

const BOUNDS: Bounds = Bounds {
    term_max: 2,
    campaigns: 1,
    proposals: 0,
    beats: 0,
    crashes: 0,
    repeats: 0,
    changes: 0,
    compactions: 0,
    reads: 0,
    transfers: 0,
    ticks: 1,
    wipes: 0,
};

/// Guarded by both; in one step of the clocks everybody's leader falls silent.
fn guarded(bounds: Bounds) -> World {
    let ticks = vec![(vec![8; 3], None)];
    let rules =
        Rules { pre_vote: true, check_quorum: true, hears: true, ticks, ..Rules::default() };
    World::led(3, 0, bounds, rules)
}

#[test]
fn an_election_with_pre_vote_and_check_quorum() {
    holds("pre-vote", &guarded(Bounds { beats: 1, ..BOUNDS }), &[COMMITTED, RIVALS]);
}

#[test]
fn a_transfer_past_those_who_hear_the_leader() {
    let bounds = Bounds { transfers: 1, campaigns: 0, ticks: 0, ..BOUNDS };
    holds("transfer", &guarded(bounds), &[COMMITTED, HANDED_OVER, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_a_transfer_and_an_election() {
    let bounds = Bounds { transfers: 1, term_max: 3, ..BOUNDS };
    holds_deep("deep: transfer and election", &guarded(bounds), &[COMMITTED, HANDED_OVER, RIVALS]);
}
