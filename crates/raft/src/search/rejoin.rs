//! Suite F, amnesia: a member loses its disk, and comes back with another.

use super::mutant::Mutant;
use super::scene::{Bounds, Rules};
use super::suite::{
    CHANGED, LOST, PROPOSED, REJOINED, RIVALS, SUCCEEDED, catches, holds, holds_deep,
};
use super::world::{Action, NEW_DISK, World, name};
use crate::Change;
use alloc::vec;
use alloc::vec::Vec;

const BOUNDS: Bounds =
    Bounds { term_max: 2, campaigns: 1, changes: 2, wipes: 1, ..Bounds::NOTHING };

fn losing(bounds: Bounds, mutant: Option<Mutant>) -> World {
    let readmit = Change::Readmit { id: name(2), incarnation: NEW_DISK };
    let changes = vec![vec![readmit], vec![Change::Promote(name(2))]];
    World::led(3, 0, bounds, Rules { changes, mutant, ..Rules::default() })
}

#[test]
fn one_loses_its_disk_and_is_let_in() {
    let world = losing(BOUNDS, None).after(Action::Wipe(2));
    let bounds = Bounds { changes: 1, wipes: 0, ..BOUNDS };
    holds("lost disk", &world.bounded(bounds), &[CHANGED]);
}

#[test]
fn one_that_lost_its_disk_votes_again() {
    let world = losing(BOUNDS, None).after(Action::Wipe(2)).after(Action::Change(0, 0)).settled();
    let bounds = Bounds { changes: 1, wipes: 0, ..BOUNDS };
    holds("voter again", &world.bounded(bounds), &[CHANGED, REJOINED, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_f_a_disk_is_lost_at_any_time_and_entries_are_sent_later() {
    let world = losing(Bounds { changes: 1, crashes: 1, ..BOUNDS }, None);
    let rules = Rules { sends: true, ..(*world.rules).clone() };
    holds_deep("deep: lost disk", &world.ruled(rules), &[CHANGED, LOST, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_f_a_lost_disk_a_proposal_and_a_crash() {
    let bounds = Bounds { term_max: 1, campaigns: 0, changes: 1, proposals: 1, ..BOUNDS };
    let world = losing(Bounds { crashes: 1, ..bounds }, None);
    holds_deep("deep: lost disk, proposal, crash", &world, &[CHANGED, LOST, PROPOSED]);
}

/// Messages that were delivered may be again: without that, their number has no
/// bound, for each answer may call for more than one other.
fn again_and_again(world: World) -> World {
    let rules = Rules { stays: true, ..(*world.rules).clone() };
    world.ruled(rules)
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_f_a_lost_disk_votes_again_amid_an_election() {
    let world = again_and_again(losing(BOUNDS, None));
    holds_deep("deep: lost disk, voter again", &world, &[CHANGED, REJOINED, RIVALS]);
}

/// Two and a witness, and it is a voter with data that may be let in again.
fn beside_a_witness(bounds: Bounds) -> World {
    let begin = Bounds { term_max: 1, changes: 1, ..Bounds::NOTHING };
    let changes = vec![vec![Change::AddWitness(name(2))]];
    let begin = World::led(2, 1, begin, Rules { changes, ..Rules::default() });
    let readmit = Change::Readmit { id: name(1), incarnation: NEW_DISK };
    let changes = vec![vec![readmit], vec![Change::Promote(name(1))]];
    let world = begin.after(Action::Change(0, 0)).settled();
    let rules = Rules { changes, ..(*world.rules).clone() };
    world.ruled(rules).bounded(bounds)
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_f_a_lost_disk_beside_a_witness_and_entries_are_sent_later() {
    let world = beside_a_witness(Bounds { changes: 1, ..BOUNDS });
    let rules = Rules { sends: true, ..(*world.rules).clone() };
    holds_deep("deep: lost disk, witness", &world.ruled(rules), &[CHANGED, SUCCEEDED]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_f_a_lost_disk_beside_a_witness_an_election_and_a_crash() {
    let bounds = Bounds { changes: 1, crashes: 1, ..BOUNDS };
    let world = again_and_again(beside_a_witness(bounds));
    holds_deep("deep: lost disk, witness, crash", &world, &[CHANGED, LOST, SUCCEEDED]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_f_a_lost_disk_beside_a_witness_votes_again() {
    let world = again_and_again(beside_a_witness(Bounds { term_max: 1, campaigns: 0, ..BOUNDS }));
    holds_deep("deep: lost disk, witness, voter again", &world, &[CHANGED, REJOINED]);
}

/// Neither the handshake nor the member itself minds that it remembers nothing.
#[test]
fn mutant_votes_without_memory() {
    let bounds = Bounds { proposals: 1, changes: 0, ..BOUNDS };
    catches(&losing(bounds, Some(Mutant::VotesWithoutMemory)), "leader completeness", 1_000_000);
}

/// An acknowledgement of the disk that is gone arrives when the new one is let in.
#[test]
fn mutant_28_stale_acknowledgement_after_a_disk_was_lost() {
    let bounds = Bounds { term_max: 1, campaigns: 0, proposals: 1, changes: 1, ..BOUNDS };
    let world = losing(bounds, Some(Mutant::KeepsOldLinks));
    catches(&world, "acknowledgements are true", 1_000_000);
}

/// A small scene in which messages stay, for `wide_tests`.
pub(crate) fn staying() -> World {
    let bounds = Bounds { term_max: 1, campaigns: 0, changes: 1, ..BOUNDS };
    again_and_again(losing(bounds, None))
}

/// Scenes with a wrong variant each, for `story_tests`.
pub(crate) fn told() -> Vec<World> {
    let bounds = Bounds { term_max: 1, campaigns: 0, proposals: 1, changes: 1, ..BOUNDS };
    vec![losing(bounds, Some(Mutant::KeepsOldLinks))]
}
