//! Suite C, snapshots: logs that are let go, and snapshots that arrive over
//! overlapping, diverged and newer logs.

use super::mutant::Mutant;
use super::scene::{ANY, Bounds, Rules};
use super::suite::{
    COMMITTED, COMPACTED, INSTALLED, LOST, PROPOSED, RIVALS, catches, holds, holds_deep,
    never_meets,
};
use super::world::{Action, Envelope, Shared, World, name};
use crate::{Change, Message};
use alloc::vec;
use alloc::vec::Vec;

const BOUNDS: Bounds = Bounds { term_max: 1, beats: 1, ..Bounds::NOTHING };

/// Member 3 heard nothing of entries 2 and 3, which are committed and let go.
fn behind(bounds: Bounds, mutant: Option<Mutant>) -> World {
    behind_by(bounds, Rules { mutant, ..Rules::default() })
}

fn behind_by(bounds: Bounds, rules: Rules) -> World {
    let changes = vec![vec![Change::AddLearner(name(3))]];
    let mutant = rules.mutant;
    let rules = Rules { changes, mutant: None, ..rules };
    let during = Bounds { proposals: 1, changes: 1, compactions: 1, ..BOUNDS };
    let world = World::led(3, 1, during, rules.clone());
    let world = world.ruled(Rules { links: vec![(0, 1)], ..rules.clone() });
    let world = world.after(Action::Change(0, 0)).settled().after(Action::Propose(0)).settled();
    let world = world.after(Action::Snapshot(0)).after(Action::Store(0));
    let world = world.after(Action::Compact(0)).ruled(Rules { mutant, ..rules });
    world.bounded(bounds)
}

#[test]
fn one_behind_gets_a_snapshot() {
    let bounds = Bounds { repeats: 1, ..BOUNDS };
    holds("snapshot", &behind(bounds, None), &[COMMITTED, INSTALLED]);
}

#[test]
fn one_behind_gets_a_snapshot_and_crashes() {
    let bounds = Bounds { beats: 1, crashes: 1, ..BOUNDS };
    holds("snapshot and crash", &behind(bounds, None), &[INSTALLED, LOST]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_c_one_behind_gets_a_snapshot_amid_two_crashes() {
    let world = behind(Bounds { beats: 2, crashes: 2, ..BOUNDS }, None);
    holds_deep("deep: snapshot, two crashes", &world, &[INSTALLED, LOST]);
}

/// The same of three voters, and nobody else.
fn voter_behind(bounds: Bounds) -> World {
    let during = Bounds { proposals: 1, compactions: 1, ..BOUNDS };
    let rules = Rules::default();
    let world = World::led(3, 0, during, rules.clone());
    let world = world.ruled(Rules { links: vec![(0, 1)], ..rules.clone() });
    let world = world.after(Action::Propose(0)).settled();
    let world = world.after(Action::Snapshot(0)).after(Action::Store(0));
    world.after(Action::Compact(0)).ruled(rules).bounded(bounds)
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_c_one_behind_gets_a_snapshot_amid_elections_and_crashes() {
    let world = voter_behind(Bounds { term_max: 2, campaigns: ANY, crashes: 2, ..BOUNDS });
    holds_deep("deep: snapshot, elections", &world, &[COMMITTED, INSTALLED, LOST, RIVALS]);
}

/// Entries are applied later than they may be.
fn late_hosts() -> Rules {
    Rules { applies: true, ..Rules::default() }
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_c_a_snapshot_is_taken_amid_an_election_and_a_crash() {
    let bounds = Bounds { campaigns: 1, term_max: 2, compactions: 1, crashes: 1, ..BOUNDS };
    let bounds = Bounds { beats: 0, proposals: 1, ..bounds };
    let world = World::led(3, 0, bounds, late_hosts());
    holds_deep("deep: snapshot taken, crash", &world, &[COMMITTED, COMPACTED, LOST, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_c_a_snapshot_is_taken_and_entries_are_sent_later() {
    let bounds = Bounds { beats: 0, proposals: 1, compactions: 1, crashes: 1, ..BOUNDS };
    let world = World::led(3, 0, bounds, Rules { sends: true, ..late_hosts() });
    holds_deep("deep: snapshot and sending", &world, &[COMMITTED, COMPACTED, LOST, PROPOSED]);
}

/// Member 3 got its snapshot, and what came after; the snapshot comes once more.
fn late(mutant: Option<Mutant>) -> World {
    let is_snapshot =
        |other: &Shared<Envelope>| matches!(other.value.message, Message::InstallSnapshot { .. });
    let mut world = behind(BOUNDS, None).after(Action::Beat(0));
    while !world.network.iter().any(is_snapshot) {
        let next = world.actions().into_iter();
        let mut next = next.filter(|next| matches!(next, Action::Deliver(_) | Action::Sync(_)));
        world = world.after(next.next().expect("the snapshot is on its way"));
    }
    let at = world.network.iter().position(is_snapshot).expect("it was just seen");
    let snapshot = world.network[at].clone();
    let more = Bounds { proposals: 1, beats: 1, ..BOUNDS };
    let mut world = world.settled().bounded(more).after(Action::Propose(0)).settled();
    world = world.after(Action::Beat(0)).settled();
    world = world.again(snapshot);
    let rules = Rules { mutant, ..(*world.rules).clone() };
    world.ruled(rules).bounded(Bounds { crashes: 1, repeats: 1, ..BOUNDS })
}

#[test]
fn a_snapshot_comes_late() {
    holds("late snapshot", &late(None), &[COMMITTED]);
}

#[test]
fn mutant_23_snapshot_over_newer_state() {
    catches(&late(Some(Mutant::SnapshotOverNewer)), "acknowledgements are true", 400_000);
}

#[test]
fn a_snapshot_is_taken_amid_crashes() {
    let bounds = Bounds { compactions: 1, proposals: 1, crashes: 1, beats: 0, ..BOUNDS };
    let world = World::led(3, 0, bounds, Rules::default());
    holds("snapshot taken", &world, &[COMMITTED, COMPACTED, LOST]);
}

#[test]
fn mutant_24_log_let_go_before_its_snapshot_is_durable() {
    let mutant = Some(Mutant::PurgesEarly);
    let bounds = Bounds { compactions: 1, proposals: 0, beats: 0, crashes: 1, ..BOUNDS };
    let world = World::led(3, 0, bounds, Rules { mutant, ..Rules::default() });
    catches(&world, "a snapshot stands for what was let go", 400_000);
}

#[test]
fn mutant_25_snapshot_without_membership() {
    let world = behind(BOUNDS, Some(Mutant::SnapshotOldMembership));
    catches(&world, "membership in force", 400_000);
}

#[test]
fn mutant_36_snapshot_never_sent() {
    never_meets(&behind(BOUNDS, Some(Mutant::NeverSendsSnapshot)), INSTALLED);
}

#[test]
fn mutant_36_rejection_without_another_try() {
    never_meets(&behind(BOUNDS, Some(Mutant::NeverProbesAgain)), INSTALLED);
}

/// Scenes with a wrong variant each, for `story_tests`.
pub(crate) fn told() -> Vec<World> {
    vec![late(Some(Mutant::SnapshotOverNewer)), behind(BOUNDS, Some(Mutant::SnapshotOldMembership))]
}
