//! Suite B, membership: single changes, joint ones, learners and witnesses, the
//! leader among those that go.

use super::mutant::Mutant;
use super::scene::{ANY, Bounds, Rules, disk, nobody};
use super::suite::{CHANGED, LEFT, LOST, REMOVED, RIVALS, TRUNCATED, catches, holds, holds_deep};
use super::world::{Action, World, name};
use crate::{Change, Index, Membership, MembershipEntry, Run};
use alloc::vec;
use alloc::vec::Vec;

/// Member 1 leads so many voters; so many others may come.
fn led(voters: usize, others: usize, bounds: Bounds, changes: &[&[Change]]) -> World {
    wrong(voters, others, bounds, changes, None)
}

fn wrong(
    voters: usize,
    others: usize,
    bounds: Bounds,
    changes: &[&[Change]],
    mutant: Option<Mutant>,
) -> World {
    let changes = changes.iter().map(|changes| changes.to_vec()).collect();
    World::led(voters, others, bounds, Rules { changes, mutant, ..Rules::default() })
}

fn bounds(term_max: u64, campaigns: u8, changes: u8) -> Bounds {
    Bounds { term_max, campaigns, changes, ..Bounds::default() }
}

fn add(id: usize) -> Change {
    Change::AddVoter(name(id - 1))
}

fn remove(id: usize) -> Change {
    Change::Remove(name(id - 1))
}

#[test]
fn two_become_three() {
    holds("2 to 3", &led(2, 1, bounds(2, 1, 1), &[&[add(3)]]), &[CHANGED, RIVALS]);
}

#[test]
fn three_become_two_without_the_leader() {
    let world = led(3, 0, bounds(2, 1, 1), &[&[remove(1)]]);
    holds("3 to 2", &world, &[CHANGED, REMOVED, RIVALS, TRUNCATED]);
}

#[test]
fn two_become_one_without_the_leader_and_a_crash() {
    let world = led(2, 0, Bounds { crashes: 1, ..bounds(3, 2, 1) }, &[&[remove(1)]]);
    holds("2 to 1", &world, &[CHANGED, REMOVED, LOST]);
}

#[test]
fn three_are_two_others_through_a_joint_membership() {
    let world = led(2, 1, bounds(2, 1, 1), &[&[remove(1), add(3)]]);
    holds("joint", &world, &[CHANGED, LEFT, REMOVED]);
}

/// The same after the first of the changes is done.
fn after_first(world: &World, bounds: Bounds, changes: &[&[Change]]) -> World {
    let rules = Rules { changes: steps(changes), ..(*world.rules).clone() };
    world.after(Action::Change(0, 0)).settled().ruled(rules).bounded(bounds)
}

#[test]
fn a_learner_comes() {
    let learner = [Change::AddLearner(name(2))];
    holds("learner", &led(2, 1, bounds(2, 1, 1), &[&learner]), &[CHANGED]);
}

#[test]
fn a_learner_becomes_a_voter() {
    let begin = led(2, 1, bounds(1, 0, 1), &[&[Change::AddLearner(name(2))]]);
    let world = after_first(&begin, bounds(2, 1, 1), &[&[Change::Promote(name(2))]]);
    holds("promotion", &world, &[CHANGED, RIVALS]);
}

#[test]
fn two_and_a_witness_elect_and_lose_one() {
    let begin = led(2, 1, bounds(1, 0, 1), &[&[Change::AddWitness(name(2))]]);
    let world = after_first(&begin, bounds(2, 1, 1), &[&[remove(2)]]);
    holds("witness", &world, &[CHANGED, RIVALS]);
}

fn wide(campaigns: u8, crashes: u8, changes: u8) -> Bounds {
    Bounds { crashes, ..bounds(2, campaigns, changes) }
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_three_become_four_an_election_and_a_crash() {
    let world = led(3, 1, wide(1, 1, 1), &[&[add(4)]]);
    holds_deep("deep: 3 to 4", &world, &[CHANGED, LOST, RIVALS, TRUNCATED]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_four_become_three_any_elections_and_a_crash() {
    let begin = led(3, 1, bounds(1, 0, 1), &[&[add(4)]]);
    let world = after_first(&begin, wide(ANY, 1, 1), &[&[remove(1)]]);
    holds_deep("deep: 4 to 3", &world, &[CHANGED, LOST, REMOVED, RIVALS, TRUNCATED]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_a_learner_an_election_and_a_crash() {
    let learner = name(2);
    let changes: [&[Change]; 2] = [&[Change::AddLearner(learner)], &[Change::Promote(learner)]];
    let world = led(2, 1, wide(1, 1, 2), &changes);
    holds_deep("deep: learner, election", &world, &[CHANGED, LOST, RIVALS]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_three_become_four_and_three_and_a_crash() {
    let world = led(3, 1, wide(0, 1, 2), &[&[add(4)], &[remove(1)]]);
    holds_deep("deep: 3 to 4 to 3", &world, &[CHANGED, LOST, REMOVED]);
}

/// Those who follow are alike.
fn led_by_all(bounds: Bounds, changes: &[&[Change]], mutant: Option<Mutant>) -> World {
    World::led_by_all(3, 1, bounds, Rules { changes: steps(changes), mutant, ..Rules::default() })
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_three_become_four_and_three_and_an_election() {
    let world = led_by_all(wide(1, 0, 2), &[&[add(4)], &[remove(1)]], None);
    let met = [CHANGED, REMOVED, RIVALS, TRUNCATED];
    holds_deep("deep: 3 to 4 to 3, election", &world, &met);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_three_swap_their_leader_through_a_joint_membership_and_a_crash() {
    let world = led(3, 1, wide(0, 1, 1), &[&[remove(1), add(4)]]);
    holds_deep("deep: joint, 3 and 3", &world, &[CHANGED, LEFT, LOST, REMOVED]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_two_swap_their_leader_through_a_joint_membership_elections_and_crashes() {
    let world = led(2, 1, wide(ANY, 2, 1), &[&[remove(1), add(3)]]);
    holds_deep("deep: joint, 2 and 2", &world, &[CHANGED, LEFT, LOST, REMOVED]);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_three_swap_their_leader_through_a_joint_membership_and_an_election() {
    let world = led_by_all(wide(1, 0, 1), &[&[remove(1), add(4)]], None);
    holds_deep("deep: joint, 3 and 3, election", &world, &[CHANGED, LEFT, REMOVED, RIVALS]);
}

/// A witness joins two.
fn with_a_witness(bounds: Bounds, changes: &[&[Change]], mutant: Option<Mutant>) -> World {
    let begin = led(2, 1, self::bounds(1, 0, 1), &[&[Change::AddWitness(name(2))]]);
    let world = after_first(&begin, bounds, changes);
    let rules = Rules { witnessed: true, ..(*world.rules).clone() };
    world.ruled(rules).wrong(mutant)
}

#[test]
fn mutant_witness_gets_what_the_leader_has_not_on_its_disk() {
    let bounds = Bounds { proposals: 1, ..bounds(1, 0, 0) };
    let world = with_a_witness(bounds, &[], Some(Mutant::WitnessGetsUnsynced));
    catches(&world, "witnesses hold nothing alone", 400_000);
}

#[test]
fn mutant_witness_gets_what_only_a_leader_has_that_leaves() {
    let world = with_a_witness(bounds(1, 0, 1), &[&[remove(1)]], Some(Mutant::WitnessGetsLeaving));
    catches(&world, "witnesses hold nothing alone", 400_000);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_b_a_witness_and_entries_sent_later() {
    let world = with_a_witness(wide(ANY, 2, 1), &[&[remove(2)]], None);
    let rules = Rules { sends: true, ..(*world.rules).clone() };
    holds_deep("deep: witness", &world.ruled(rules), &[CHANGED, LOST, RIVALS, TRUNCATED]);
}

fn steps(changes: &[&[Change]]) -> Vec<Vec<Change>> {
    changes.iter().map(|changes| changes.to_vec()).collect()
}

#[test]
fn mutant_13_joint_quorum_over_the_union() {
    let rules = Rules {
        changes: steps(&[&[remove(2), remove(3), add(4), add(5)]]),
        mutant: Some(Mutant::JointOverUnion),
        // 2 and 3 are cut off from the others.
        links: vec![(0, 3), (0, 4), (1, 2)],
        ..Rules::default()
    };
    let world = World::led(3, 2, bounds(2, 1, 1), Rules { links: vec![], ..rules.clone() });
    catches(&world.ruled(rules), "committed is durable on a quorum", 400_000);
}

/// 1 led term 1, added 5 to {1 2 3 4}, and told nobody. With 5 it is on one side,
/// 2 and 3 are on the other, and 4 hears both.
fn change_untold(mutant: Option<Mutant>) -> World {
    let four = Membership::of((0..4).map(name));
    let told = disk(&four, 1, Some(1), &[Run::new(1, 1, 1)]);
    let mut leader = disk(&four, 2, None, &[Run::new(1, 1, 2)]);
    let five = Membership::of((0..5).map(name));
    leader.trail.append_membership(MembershipEntry { index: Index(2), membership: five });
    let disks = vec![leader, told.clone(), told.clone(), told, nobody()];
    let links = vec![(1, 2), (1, 3), (0, 3), (0, 4)];
    let rules = Rules { changes: steps(&[&[remove(1)]]), links, mutant, ..Rules::default() };
    World::new(disks, bounds(3, 2, 1), rules)
}

#[test]
fn mutant_14_change_before_the_terms_own_entry() {
    let mutant = Some(Mutant::ChangesBeforeOwnTerm);
    catches(&change_untold(mutant), "leader completeness", 1_500_000);
}

#[test]
fn mutant_15_second_change_while_one_is_open() {
    let mutant = Some(Mutant::ChangesTwice);
    let world = wrong(3, 0, bounds(2, 1, 2), &[&[remove(3)], &[remove(2)]], mutant);
    catches(&world, "one change at a time", 400_000);
}

#[test]
fn mutant_16_membership_not_reverted() {
    let mutant = Some(Mutant::KeepsCutMembership);
    let world = wrong(3, 0, bounds(2, 1, 1), &[&[remove(3)]], mutant);
    catches(&world, "membership in force", 400_000);
}

#[test]
fn mutant_17_learner_counted() {
    let mutant = Some(Mutant::CountsLearners);
    let world = wrong(2, 1, bounds(2, 1, 1), &[&[Change::AddLearner(name(2))]], mutant);
    catches(&world, "committed is durable on a quorum", 400_000);
}

#[test]
fn mutant_18_removed_leader_counts_itself() {
    let mutant = Some(Mutant::CountsRemovedLeader);
    let world = wrong(3, 0, bounds(2, 1, 1), &[&[remove(1)]], mutant);
    catches(&world, "committed is durable on a quorum", 400_000);
}

/// Scenes with a wrong variant each, for `story_tests`.
pub(crate) fn told() -> Vec<World> {
    let removed = Some(Mutant::CountsRemovedLeader);
    let learner = Some(Mutant::CountsLearners);
    vec![
        led_by_all(bounds(2, 1, 1), &[&[remove(1)]], removed),
        wrong(3, 0, bounds(2, 1, 1), &[&[remove(1)]], removed),
        wrong(2, 1, bounds(2, 1, 1), &[&[Change::AddLearner(name(2))]], learner),
        change_untold(Some(Mutant::ChangesBeforeOwnTerm)),
    ]
}
