//! Whole worlds of a small machine: they end well, they repeat, and they notice
//! what is wrong.

mod support;

use driftless_sim::plan::Sabotage;
use driftless_sim::shrink::shrink;
use driftless_sim::{Campaign, Outcome, Plan, Property, Situation, World};
use support::Clients;

fn run(plan: Plan) -> Outcome {
    World::new(plan, Clients::default()).run()
}

#[test]
fn two_hundred_worlds_end_well() {
    let verdict = Campaign::new(0, 200).run(|_| Clients::default(), |_| {});
    assert!(verdict.is_good(), "{:#?}", verdict.failures);
    assert!(verdict.report.of(Situation::SnapshotInstalled) > 0, "{}", verdict.report);
    assert!(verdict.report.of(Situation::FollowerTruncated) > 0, "{}", verdict.report);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let traces: Vec<u64> = (300..312)
        .map(|seed| {
            let (first, second) = (run(Plan::draw(seed)), run(Plan::draw(seed)));
            assert_eq!(first.trace, second.trace, "seed {seed}");
            assert_eq!(first.report, second.report, "seed {seed}");
            first.trace
        })
        .collect();
    let mut different = traces.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), traces.len(), "different seeds are different worlds");
}

#[test]
fn a_listener_changes_nothing() {
    let quiet = run(Plan::draw(5));
    let mut lines = 0;
    let count = Box::new(|_: &str| lines += 1);
    let told = World::new(Plan::draw(5), Clients::default()).narrated(count).run();
    assert_eq!(quiet.trace, told.trace);
    assert!(lines > 100, "{lines} lines");
}

/// Runs worlds with a planted bug until one fails.
fn found(sabotage: Sabotage, unchecked: &[Property], seeds: u64) -> (Plan, Property) {
    for seed in 0..seeds {
        let unchecked = unchecked.to_vec();
        let plan = Plan { sabotage: Some(sabotage), unchecked, ..Plan::draw(seed) };
        if let Some(failure) = run(plan.clone()).failure {
            return (plan, failure.property);
        }
    }
    panic!("{sabotage:?} was not found in {seeds} worlds");
}

/// Each planted bug, the checks that may find it first, and in how many worlds
/// it must be found.
const PLANTED: &[(Sabotage, &[Property], u64)] = &[
    (Sabotage::DropSyncs, &[Property::Starts, Property::DurableSurvives], 20),
    (Sabotage::ForgetVote, &[Property::HardStateMonotonic, Property::ElectionSafety], 20),
    (Sabotage::ForgetTerm, &[Property::HardStateMonotonic, Property::ElectionSafety], 20),
    (Sabotage::ReadWithoutBarrier, &[Property::Linearizable], 20),
    (Sabotage::ApplyTwice, &[Property::Linearizable, Property::SameState], 20),
    (Sabotage::SkipApply, &[Property::Linearizable, Property::SameState], 20),
    (Sabotage::AcknowledgeEarly, &[Property::CommittedIsDurable, Property::AppliedIsDurable], 20),
    (Sabotage::HideWipe, &[Property::LeaderCompleteness, Property::CommittedIsDurable], 1_000),
];

#[test]
fn every_planted_bug_is_found() {
    for (sabotage, properties, worlds) in PLANTED {
        let (plan, property) = found(*sabotage, &[], *worlds);
        let seed = plan.seed;
        assert!(properties.contains(&property), "{sabotage:?}, seed {seed}: {property:?}");
    }
}

/// Without the ghosts, a bug that loses writes shows in what clients saw.
#[test]
fn lost_writes_show_in_client_histories_alone() {
    let ghosts = [
        Property::AppliedIsDurable,
        Property::AppliedAtMostOnce,
        Property::CommittedIsDurable,
        Property::DurableSurvives,
        Property::LeaderCompleteness,
        Property::LogMatching,
        Property::SameState,
        Property::StateMachineSafety,
    ];
    for sabotage in [Sabotage::AcknowledgeEarly, Sabotage::HideWipe, Sabotage::SkipApply] {
        let (plan, property) = found(sabotage, &ghosts, 1_000);
        assert_eq!(property, Property::Linearizable, "{sabotage:?}, seed {}", plan.seed);
    }
}

/// With one ghost blind, the next one sees it, and at last the clients do.
#[test]
fn a_bug_is_noticed_by_many_properties() {
    let mut noticed = Vec::new();
    while !noticed.contains(&Property::Linearizable) {
        let (_, property) = found(Sabotage::AcknowledgeEarly, &noticed, 100);
        noticed.push(property);
    }
    for property in [
        Property::AppliedIsDurable,
        Property::CommittedIsDurable,
        Property::LeaderCompleteness,
        Property::StateMachineSafety,
    ] {
        assert!(noticed.contains(&property), "{property:?} did not notice, only {noticed:?}");
    }
}

#[test]
fn a_failing_world_shrinks() {
    let (plan, property) = found(Sabotage::DropSyncs, &[], 20);
    let shrunk = shrink(&plan, |_| Clients::default()).expect("it fails");
    assert_eq!(shrunk.failure.property, property);
    assert!(shrunk.faults.len() <= 2, "{shrunk:?} of {:?}", plan.faults);
    let again = run(plan.with_faults(&shrunk.faults)).failure.expect("it still fails");
    assert_eq!(again, shrunk.failure);
}
