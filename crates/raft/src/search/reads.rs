//! Suite D, reads: by a quorum round, and by lease with clocks that drift.

use super::mutant::Mutant;
use super::scene::{Bounds, Rules, Tick};
use super::suite::{HANDED_OVER, LEASED, LOST, RIVALS, SERVED, catches, holds, holds_deep};
use super::world::{Action, World};
use alloc::vec;
use alloc::vec::Vec;

const BOUNDS: Bounds = Bounds { term_max: 2, campaigns: 1, reads: 1, ..Bounds::NOTHING };

fn by_round(bounds: Bounds, mutant: Option<Mutant>) -> World {
    World::led(3, 0, bounds, Rules { hears: true, mutant, ..Rules::default() })
}

/// Two units of real time: a clock that is slow by half says one, a fast one three.
fn drifting() -> Vec<Tick> {
    [[1, 3, 3], [3, 1, 1]].map(|steps| (steps.to_vec(), None)).into()
}

fn by_lease(bounds: Bounds, mutant: Option<Mutant>) -> World {
    let ticks = drifting();
    World::led(3, 0, bounds, Rules { hears: true, lease: true, ticks, mutant, ..Rules::default() })
}

#[test]
fn a_read_and_an_election() {
    holds("read", &by_round(BOUNDS, None), &[SERVED, RIVALS]);
}

#[test]
fn a_lease_and_an_election_under_drifting_clocks() {
    let bounds = Bounds { ticks: 2, ..BOUNDS };
    holds("lease", &by_lease(bounds, None), &[SERVED, LEASED, RIVALS]);
}

#[test]
fn a_lease_and_a_restart() {
    let bounds = Bounds { crashes: 1, ticks: 1, reads: 0, ..BOUNDS };
    // Two steps at once: the leader's lease is over just when the others are free.
    let ticks = vec![(vec![2, 6, 6], None)];
    let rules = Rules { ticks, ..(*by_lease(bounds, None).rules).clone() };
    let world = by_lease(bounds, None).ruled(rules);
    holds("lease and restart", &world, &[LEASED, LOST]);
}

#[test]
fn a_lease_and_a_transfer() {
    let bounds = Bounds { transfers: 1, campaigns: 0, ..BOUNDS };
    holds("lease and transfer", &by_lease(bounds, None), &[SERVED, LEASED, HANDED_OVER]);
}

#[test]
fn a_lease_and_a_pause() {
    let bounds = Bounds { ticks: 1, ..BOUNDS };
    let ticks = vec![(vec![0, 6, 6], Some(0))];
    let rules = Rules { ticks, ..(*by_lease(bounds, None).rules).clone() };
    let world = by_lease(bounds, None).ruled(rules);
    holds("lease and pause", &world, &[SERVED, LEASED, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_d_two_reads_and_an_election() {
    let bounds = Bounds { reads: 2, ..BOUNDS };
    holds_deep("deep: reads", &by_round(bounds, None), &[SERVED, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_d_a_read_a_proposal_and_an_election() {
    let bounds = Bounds { reads: 1, proposals: 1, ..BOUNDS };
    holds_deep("deep: read, proposal", &by_round(bounds, None), &[SERVED, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_d_a_read_an_election_and_two_crashes() {
    let bounds = Bounds { crashes: 2, ..BOUNDS };
    holds_deep("deep: read, two crashes", &by_round(bounds, None), &[LOST, SERVED, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_d_a_lease_two_reads_an_election_and_entries_sent_later() {
    let bounds = Bounds { reads: 2, crashes: 1, ticks: 2, ..BOUNDS };
    let world = by_lease(bounds, None);
    let rules = Rules { sends: true, ..(*world.rules).clone() };
    holds_deep("deep: lease", &world.ruled(rules), &[SERVED, LEASED, LOST, RIVALS]);
}

const STALE: &str = "stale read";
const TWO: &str = "one lease";

#[test]
fn mutant_19_read_without_a_round() {
    catches(&by_round(BOUNDS, Some(Mutant::ReadsAlone)), STALE, 1_000_000);
}

#[test]
fn mutant_20_read_before_the_terms_own_entry() {
    // The leader alone knows that its second entry is committed.
    let world = by_round(Bounds { proposals: 1, ..BOUNDS }, None).after(Action::Propose(0));
    let world = world.settled_until(|world| world.members[0].value.raft.commit_index().0 > 1);
    let world = world.lost().bounded(BOUNDS).wrong(Some(Mutant::ReadsBeforeOwnTerm));
    catches(&world, STALE, 1_000_000);
}

#[test]
fn mutant_21_read_under_the_name_of_an_earlier_one() {
    let bounds = Bounds { term_max: 1, campaigns: 0, proposals: 1, reads: 2, ..BOUNDS };
    let world = by_round(bounds, Some(Mutant::ReusesReadId));
    // Two of the three are enough for that.
    let rules = Rules { links: vec![(0, 1)], ..(*world.rules).clone() };
    catches(&world.ruled(rules), STALE, 1_000_000);
}

#[test]
fn mutant_22_lease_without_drift_bound() {
    let bounds = Bounds { ticks: 2, ..BOUNDS };
    catches(&by_lease(bounds, Some(Mutant::LeaseWithoutBound)), TWO, 1_000_000);
}

#[test]
fn mutant_22_lease_kept_over_a_transfer() {
    let bounds = Bounds { transfers: 1, campaigns: 0, ..BOUNDS };
    catches(&by_lease(bounds, Some(Mutant::LeaseOverTransfer)), TWO, 1_000_000);
}

#[test]
fn mutant_22_lease_kept_over_a_pause() {
    let bounds = Bounds { ticks: 1, ..BOUNDS };
    let mutant = Some(Mutant::LeaseOverPause);
    let ticks = vec![(vec![0, 6, 6], Some(0))];
    let rules = Rules { ticks, mutant, ..(*by_lease(bounds, None).rules).clone() };
    catches(&by_lease(bounds, None).ruled(rules), TWO, 1_000_000);
}

#[test]
fn mutant_22_promise_lost_in_a_restart() {
    let bounds = Bounds { crashes: 2, ticks: 1, reads: 0, ..BOUNDS };
    catches(&by_lease(bounds, Some(Mutant::PromiseLostInRestart)), TWO, 1_000_000);
}

/// Scenes with a wrong variant each, for `story_tests`.
pub(crate) fn told() -> Vec<World> {
    let transfers = Bounds { transfers: 1, campaigns: 0, ..BOUNDS };
    let ticks = Bounds { ticks: 2, ..BOUNDS };
    vec![
        by_round(BOUNDS, Some(Mutant::ReadsAlone)),
        by_lease(transfers, Some(Mutant::LeaseOverTransfer)),
        by_lease(ticks, Some(Mutant::LeaseWithoutBound)),
    ]
}
