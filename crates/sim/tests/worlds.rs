//! Whole worlds of a small machine: they end well, they repeat, and they notice
//! what is wrong.

mod support;

use driftless_sim::plan::{Fault, Planned, Sabotage, Who};
use driftless_sim::shrink::shrink;
use driftless_sim::{Campaign, Outcome, Plan, Property, Report, Situation, World};
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
    assert!(verdict.report.of(Situation::RoomClaimed) > 0, "{}", verdict.report);
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

/// Runs worlds with a planted bug until one fails, and fails so.
fn found(
    sabotage: Sabotage,
    unchecked: &[Property],
    worlds: u64,
    wanted: impl Fn(Property) -> bool,
) -> Plan {
    let mut others = Vec::new();
    for seed in 0..worlds {
        let unchecked = unchecked.to_vec();
        let mut plan = Plan { sabotage: Some(sabotage), unchecked, ..Plan::draw(seed) };
        if sabotage == Sabotage::HideWipe && plan.members > 2 {
            let fault = Fault::WipeDisk { who: Who::Member(1) };
            plan.faults.push(Planned { at_us: plan.active_us / 2, fault });
        }
        match run(plan.clone()).failure {
            Some(failure) if wanted(failure.property) => return plan,
            failure => others.extend(failure.map(|failure| failure.property)),
        }
    }
    panic!(
        "{sabotage:?} without {unchecked:?} was not found so in {worlds} worlds, only as {others:?}"
    );
}

/// The number of a planted bug in the list of mutations, and what it is there.
fn listed(sabotage: Sabotage) -> Option<(u8, &'static str)> {
    match sabotage {
        Sabotage::ForgetVote => Some((2, "vote not persisted: a restart forgets it")),
        Sabotage::ForgetTerm => Some((3, "term not persisted: a restart forgets it")),
        Sabotage::AcknowledgeEarly => Some((4, "the log says durable before it has written")),
        Sabotage::ReadWithoutBarrier => Some((19, "reads are served without asking anybody")),
        Sabotage::HideWipe => Some((28, "a wiped member comes back as it was")),
        _ => None,
    }
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
    (Sabotage::SwallowAnswer, &[Property::AnsweredOnce], 20),
    (Sabotage::HideDrift, &[Property::OneLease], 200),
    (Sabotage::HideWipe, &[Property::LeaderCompleteness, Property::CommittedIsDurable], 1_000),
];

#[test]
fn every_planted_bug_is_found() {
    for (sabotage, properties, worlds) in PLANTED {
        let plan = found(*sabotage, &[], *worlds, |property| properties.contains(&property));
        // A line for `cargo xtask mutations`.
        if let Some((number, what)) = listed(*sabotage) {
            let right = run(Plan { sabotage: None, ..plan.clone() });
            assert_eq!(right.failure, None, "without {sabotage:?}");
            let (worlds, seed) = (format!("{worlds} worlds"), plan.seed);
            println!(
                "mutation\t{number}\t{what}\tsimulator\t{worlds}\tseed {seed}\tthe same world ends well"
            );
        }
    }
}

/// What the ghosts check.
const GHOSTS: &[Property] = &[
    Property::OneLease,
    Property::OneMembershipOpen,
    Property::AppliedIsDurable,
    Property::AppliedAtMostOnce,
    Property::CommittedIsDurable,
    Property::DurableSurvives,
    Property::ElectionSafety,
    Property::HardStateMonotonic,
    Property::LeaderAppendOnly,
    Property::LeaderCompleteness,
    Property::LogMatching,
    Property::ReadIsFresh,
    Property::SameState,
    Property::StateMachineSafety,
];

/// Without the ghosts, a bug that loses writes, or that reads what is old, shows in
/// what clients saw.
#[test]
fn bugs_show_in_client_histories_alone() {
    let planted =
        [Sabotage::AcknowledgeEarly, Sabotage::HideWipe, Sabotage::SkipApply, Sabotage::HideDrift];
    for sabotage in planted {
        found(sabotage, GHOSTS, 1_000, |property| property == Property::Linearizable);
    }
}

/// With all other ghosts blind, each of these sees the bug by itself.
#[test]
fn a_bug_is_noticed_by_many_properties() {
    for noticing in [
        Property::AppliedIsDurable,
        Property::CommittedIsDurable,
        Property::LeaderCompleteness,
        Property::StateMachineSafety,
    ] {
        let blind: Vec<_> = GHOSTS.iter().copied().filter(|ghost| *ghost != noticing).collect();
        found(Sabotage::AcknowledgeEarly, &blind, 100, |property| property == noticing);
    }
}

#[test]
fn a_failing_world_shrinks() {
    let plan = found(Sabotage::DropSyncs, &[], 20, |_| true);
    let property = run(plan.clone()).failure.expect("it fails").property;
    let shrunk = shrink(&plan, |_| Clients::default()).expect("it fails");
    assert_eq!(shrunk.failure.property, property);
    assert!(shrunk.faults.len() <= 2, "{shrunk:?} of {:?}", plan.faults);
    let again = run(plan.with_faults(&shrunk.faults)).failure.expect("it still fails");
    assert_eq!(again, shrunk.failure);
}

/// All disks are full while clients write, and leader after leader dies: others
/// are elected and serve reads, writes are refused, and where a snapshot fits the
/// log makes room by itself.
#[test]
fn full_disks_are_lived_through() {
    let mut report = Report::default();
    for seed in 0..60 {
        let spare_bytes = if seed % 2 == 0 { 0 } else { 30_000 };
        let full = Fault::FullDiskOfAll { for_us: 8_000_000, spare_bytes };
        let kill = Fault::Crash { who: Who::Leader(1), for_us: 200_000 };
        let faults = [(2, full), (3, kill), (5, kill), (7, kill)];
        let faults = faults.map(|(second, fault)| Planned { at_us: second * 1_000_000, fault });
        let plan = Plan {
            members: 3,
            active_us: 10_000_000,
            election_timeout_us: 200_000,
            heartbeat_interval_us: 40_000,
            think_us_max: 20_000,
            faults: faults.to_vec(),
            ..Plan::draw(seed)
        };
        let outcome = run(plan);
        assert_eq!(outcome.failure, None, "seed {seed}");
        report.add(&outcome.report);
    }
    for (situation, times) in [
        (Situation::ElectedOnFullDisk, 150),
        (Situation::ReadOnFullDisk, 1_000),
        (Situation::RefusedDiskFull, 100),
        (Situation::RoomMade, 5),
    ] {
        assert!(report.of(situation) >= times, "{}: {report}", situation.text());
    }
}

/// Whatever byte rots, whatever write is lost: its member stays out, or it did
/// not matter.
#[test]
fn a_disk_that_lies_harms_nobody_else() {
    let mut noticed = 0;
    for seed in 0..150 {
        let mut plan = Plan::draw(seed);
        let spared = |planned: &Planned| matches!(planned.fault, Fault::WipeDisk { .. });
        if plan.members < 3 || plan.faults.iter().any(spared) {
            continue;
        }
        let who = Who::Member(1 + seed % plan.members);
        let fault = if seed % 4 == 0 {
            Fault::LoseWrite { who }
        } else {
            Fault::Rot { who, pick: seed * 0x9e37_79b9 }
        };
        plan.faults.retain(|planned| !matches!(planned.fault, Fault::Rot { .. }));
        plan.faults.retain(|planned| !matches!(planned.fault, Fault::LoseWrite { .. }));
        plan.faults.push(Planned { at_us: plan.active_us / 2, fault });
        let outcome = run(plan);
        assert_eq!(outcome.failure, None, "seed {seed}, {fault:?}");
        noticed += outcome.report.of(Situation::DamageNoticed);
    }
    assert!(noticed > 20, "only {noticed} members noticed");
}
