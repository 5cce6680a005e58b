//! Suite E, leadership: pre-vote, check-quorum, transfer and priority together.

use super::scene::{ANY, Bounds, Rules};
use super::suite::{
    COMMITTED, HANDED_OVER, IN_ORDER, LOST, OUT_OF_ORDER, RIVALS, holds, holds_deep,
};
use super::world::World;
use alloc::vec;

const BOUNDS: Bounds = Bounds { term_max: 2, campaigns: 1, ticks: 1, ..Bounds::NOTHING };

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

/// The same, and each waits for its own time: 3 comes first, 2 and 1 a heartbeat
/// later each.
fn ranked(bounds: Bounds) -> World {
    let ticks = [4, 1].map(|step| (vec![step; 3], None)).into();
    let rules =
        Rules { ticks, waits: true, ranks: vec![2, 1, 0], ..(*guarded(bounds).rules).clone() };
    World::led(3, 0, bounds, rules)
}

#[test]
fn the_first_in_rank_seeks_election_first() {
    let met = [COMMITTED, RIVALS, IN_ORDER];
    holds("rank", &ranked(Bounds { campaigns: ANY, ..BOUNDS }), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_e_a_transfer_and_an_election() {
    let bounds = Bounds { transfers: 1, campaigns: 2, term_max: 3, ..BOUNDS };
    let met = [COMMITTED, HANDED_OVER, RIVALS];
    holds_deep("deep: transfer and election", &guarded(bounds), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_e_a_transfer_elections_and_a_crash() {
    let bounds = Bounds { transfers: 1, campaigns: 2, term_max: 3, crashes: 1, ..BOUNDS };
    let met = [COMMITTED, HANDED_OVER, LOST, RIVALS];
    holds_deep("deep: transfer, elections, crash", &guarded(bounds), &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_e_ranks_a_transfer_and_entries_sent_later() {
    let bounds = Bounds { transfers: 1, crashes: 1, ticks: 2, ..BOUNDS };
    let world = ranked(bounds);
    let rules = Rules { sends: true, ..(*world.rules).clone() };
    let met = [COMMITTED, HANDED_OVER, IN_ORDER, LOST, OUT_OF_ORDER, RIVALS];
    holds_deep("deep: ranks", &world.ruled(rules), &met);
}
