//! Suite C, snapshots that another member sends in the leader's place: amid crashes
//! and elections, and where a lease rests on what their receiver promised.

use super::mutant::Mutant;
use super::scene::{Bounds, Rules};
use super::suite::{
    COMMITTED, DELEGATED, INSTALLED, LEASED, LOST, RIVALS, SUCCEEDED, catches, holds, holds_deep,
};
use super::world::{Action, Envelope, Shared, World, name};
use crate::{Change, Message};
use alloc::vec;

const BOUNDS: Bounds = Bounds { term_max: 1, beats: 1, ..Bounds::NOTHING };

/// So much happens before a scene.
const BEFORE: Bounds = Bounds { proposals: 1, beats: 2, changes: 1, compactions: 2, ..BOUNDS };

/// Members 1 and 2 hold what is committed, let go of it, and have snapshots of it; the
/// last one heard nothing of it.
fn behind(world: World) -> World {
    let rules = (*world.rules).clone();
    let world = world.ruled(Rules { links: vec![(0, 1)], ..rules.clone() });
    let world = if rules.changes.is_empty() { world } else { world.after(Action::Change(0, 0)) };
    let mut world = world.settled().after(Action::Propose(0)).settled();
    for id in [0, 1] {
        world = world.after(Action::Snapshot(id)).after(Action::Store(id));
        world = world.after(Action::Compact(id));
    }
    world.ruled(rules)
}

/// Member 3 is a learner that needs a snapshot, and 2 can send one.
fn learner_behind(bounds: Bounds) -> World {
    let changes = vec![vec![Change::AddLearner(name(2))]];
    let rules = Rules { changes, hears: true, delegates: true, ..Rules::default() };
    behind(World::led(2, 1, BEFORE, rules)).bounded(bounds)
}

#[test]
fn a_follower_sends_in_the_leaders_place() {
    let bounds = Bounds { beats: 2, repeats: 1, ..BOUNDS };
    holds("delegated snapshot", &learner_behind(bounds), &[COMMITTED, DELEGATED, INSTALLED]);
}

#[test]
fn a_follower_sends_and_somebody_crashes() {
    let bounds = Bounds { beats: 1, crashes: 1, ..BOUNDS };
    holds("delegated snapshot and crash", &learner_behind(bounds), &[DELEGATED, INSTALLED, LOST]);
}

#[test]
fn a_follower_sends_amid_an_election() {
    let bounds = Bounds { campaigns: 1, term_max: 2, ..BOUNDS };
    let met = &[DELEGATED, INSTALLED, SUCCEEDED];
    holds("delegated snapshot and election", &learner_behind(bounds), met);
}

/// The same of a voter, so that the leader may be left behind.
fn voter_behind(bounds: Bounds) -> World {
    let rules = Rules { hears: true, delegates: true, ..Rules::default() };
    behind(World::led(3, 0, BEFORE, rules)).bounded(bounds)
}

#[test]
fn a_follower_sends_to_a_voter_amid_an_election() {
    let bounds = Bounds { campaigns: 1, term_max: 2, ..BOUNDS };
    let met = &[DELEGATED, INSTALLED, RIVALS];
    holds("delegated snapshot to a voter, and election", &voter_behind(bounds), met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_c_a_follower_sends_to_a_voter_amid_an_election_and_two_crashes() {
    let bounds = Bounds { campaigns: 1, term_max: 2, crashes: 2, ..BOUNDS };
    let met = &[DELEGATED, INSTALLED, RIVALS, LOST];
    holds_deep("deep: delegated snapshot to a voter", &voter_behind(bounds), met);
}

/// A snapshot of member 2 is on its way to member 3, which has just answered its
/// leader. What 2 promised that leader is about to end.
fn leased(mutant: Option<Mutant>) -> World {
    let ticks = vec![(vec![1, 3, 3], None)];
    let rules = Rules { hears: true, delegates: true, lease: true, ticks, ..Rules::default() };
    let before = Bounds { ticks: 1, ..BEFORE };
    let is_snapshot =
        |other: &Shared<Envelope>| matches!(other.value.message, Message::InstallSnapshot { .. });
    let world = behind(World::led(3, 0, before, rules.clone())).after(Action::Beat(0));
    let world = world.settled_until(|world| world.network.iter().any(is_snapshot));
    let at = world.network.iter().position(is_snapshot).expect("it was just seen");
    let snapshot = world.network[at].clone();
    assert_eq!((snapshot.value.from, snapshot.value.to), (name(1), name(2)));
    let world = world.lost().after(Action::Tick(0));
    let world = world.ruled(Rules { links: vec![(0, 2)], ..rules.clone() });
    let world = world.after(Action::Beat(0)).settled().ruled(rules).again(snapshot);
    let bounds = Bounds { term_max: 2, campaigns: 1, beats: 0, crashes: 1, ticks: 1, ..BOUNDS };
    world.bounded(bounds).wrong(mutant)
}

#[test]
fn it_frees_nobody_from_what_a_lease_rests_on() {
    holds("delegated snapshot and lease", &leased(None), &[LEASED, INSTALLED, LOST]);
}

#[test]
fn mutant_22_a_snapshot_in_the_leaders_place_is_heard_as_a_leader() {
    catches(&leased(Some(Mutant::DelegateLeads)), "one lease", 1_000_000);
}
