//! Bugs that are planted on purpose, and the checks that must find them, each in so
//! many worlds at most. Each that is a mutation of the list in `docs/mutations.md` is
//! told to `cargo xtask mutations` by a line.

mod support;

use driftless_sim::plan::{Fault, Planned, Sabotage, Who};
use driftless_sim::shrink::shrink;
use driftless_sim::{Plan, Property, World};
use support::Clients;

/// The world of `seed` with a bug in it, and what the bug needs to show.
fn plan(sabotage: Sabotage, seed: u64) -> Plan {
    // Nobody waits long for a world that does not recover from its bug.
    let settle_us = 20_000_000;
    let mut plan = Plan { sabotage: Some(sabotage), settle_us, ..Plan::draw(seed) };
    match sabotage {
        Sabotage::HideWipe if plan.members > 2 => {
            let fault = Fault::WipeDisk { who: Who::Member(1), told: false };
            plan.faults.push(Planned { at_us: plan.active_us / 2, fault });
            plan.loses_disks = true;
        }
        Sabotage::StopClocks => suspend_leaders(&mut plan),
        Sabotage::CompleteByIndex => lose_leaders(&mut plan, 60),
        // Without pre-votes there are rivals.
        Sabotage::Misroute => {
            plan.pre_vote = false;
            lose_leaders(&mut plan, 1);
        }
        _ => {}
    }
    plan
}

/// Elects leader after leader, the last one's writes still under way where disks are
/// slow.
fn lose_leaders(plan: &mut Plan, slowness: u64) {
    plan.think_us_max = 20_000;
    plan.disk_us_max = 15_000;
    plan.election_timeout_us = 150_000;
    plan.heartbeat_interval_us = 30_000;
    for second in 1..plan.active_us / 1_000_000 {
        let at_us = second * 1_000_000;
        let who = Who::Leader(1);
        let fault = Fault::Isolate { who, for_us: 500_000 };
        plan.faults.push(Planned { at_us, fault });
        for who in (1..=plan.members).map(Who::Member) {
            let fault = Fault::SlowDisk { who, factor: slowness, for_us: 1_000_000 };
            plan.faults.push(Planned { at_us, fault });
        }
    }
}

/// Suspends leaders that hold a lease for as long as it takes to elect others.
fn suspend_leaders(plan: &mut Plan) {
    plan.lease_drift_ppm = Some(200);
    plan.clock_rates_ppm.fill(1_000_000);
    let is_of_clocks = |planned: &Planned| matches!(planned.fault, Fault::ClockRate { .. });
    plan.faults.retain(|planned| !is_of_clocks(planned));
    for second in (1..plan.active_us / 1_000_000).step_by(3) {
        let fault = Fault::Suspend { who: Who::Leader(1), for_us: 2_000_000 };
        plan.faults.push(Planned { at_us: second * 1_000_000, fault });
    }
}

/// Runs worlds with a planted bug until one fails, and fails so. Says in which.
fn found(
    sabotage: Sabotage,
    unchecked: &[Property],
    worlds: u64,
    wanted: impl Fn(Property) -> bool,
) -> (Plan, Property) {
    let mut others = Vec::new();
    for seed in 0..worlds {
        let plan = Plan { unchecked: unchecked.to_vec(), ..plan(sabotage, seed) };
        match World::new(plan.clone(), Clients::default()).run().failure {
            Some(failure) if wanted(failure.property) => return (plan, failure.property),
            failure => others.extend(failure.map(|failure| failure.property)),
        }
    }
    panic!(
        "{sabotage:?} without {unchecked:?} was not found so in {worlds} worlds, only as {others:?}"
    );
}

/// A planted bug, and what is to come of it.
struct Planted {
    bug: Sabotage,
    /// Its numbers in the list of mutations, and what it is there.
    mutations: &'static [(u8, &'static str)],
    /// The checks that may find it first.
    finders: &'static [Property],
    /// In how many worlds it must be found.
    worlds: u64,
}

const fn planted(
    bug: Sabotage,
    mutations: &'static [(u8, &'static str)],
    finders: &'static [Property],
    worlds: u64,
) -> Planted {
    Planted { bug, mutations, finders, worlds }
}

const ACKNOWLEDGES_EARLY: &[(u8, &str)] = &[
    (4, "the log says durable before it has written, and a follower acknowledges"),
    (5, "the log says durable before it has written, and a leader counts itself"),
    (38, "the log says durable before it has written, and it is applied"),
];

const PLANTED: &[Planted] = &[
    planted(Sabotage::DropSyncs, &[], &[Property::Starts, Property::DurableSurvives], 20),
    planted(
        Sabotage::ForgetVote,
        &[(2, "vote not persisted: a restart forgets it")],
        &[Property::HardStateMonotonic, Property::ElectionSafety],
        20,
    ),
    planted(
        Sabotage::ForgetTerm,
        &[(3, "term not persisted: a restart forgets it")],
        &[Property::HardStateMonotonic, Property::ElectionSafety],
        20,
    ),
    planted(
        Sabotage::ReadWithoutBarrier,
        &[(19, "reads are served without asking anybody")],
        &[Property::Linearizable],
        20,
    ),
    planted(Sabotage::ApplyTwice, &[], &[Property::Linearizable, Property::SameState], 20),
    planted(Sabotage::SkipApply, &[], &[Property::Linearizable, Property::SameState], 20),
    planted(
        Sabotage::AcknowledgeEarly,
        ACKNOWLEDGES_EARLY,
        &[Property::CommittedIsDurable, Property::AppliedIsDurable],
        20,
    ),
    planted(Sabotage::SwallowAnswer, &[], &[Property::AnsweredOnce], 20),
    planted(
        Sabotage::HideDrift,
        &[(22, "lease without drift bound: a clock runs four times slower than the others")],
        &[Property::OneLease],
        200,
    ),
    planted(
        Sabotage::StopClocks,
        &[(22, "lease kept over a pause: clocks stand still in suspend")],
        &[Property::OneLease],
        100,
    ),
    planted(
        Sabotage::HideWipe,
        &[(28, "a wiped member comes back as it was")],
        &[Property::LeaderCompleteness, Property::CommittedIsDurable],
        1_000,
    ),
    planted(
        Sabotage::PurgeEarly,
        &[(24, "purge before the snapshot is durable: power goes in between")],
        &[Property::Starts, Property::DurableSurvives],
        100,
    ),
    planted(
        Sabotage::SnapshotWithOldSidecar,
        &[(25, "snapshot without the newest sessions and members")],
        &[Property::StateMachineSafety, Property::AppliedAtMostOnce],
        20,
    ),
    planted(
        Sabotage::SnapshotWithoutMembership,
        &[(25, "snapshot with the membership that founded the group")],
        &[Property::MembershipInForce],
        100,
    ),
    planted(
        Sabotage::CompleteByIndex,
        &[(26, "completion matched by index, by the log")],
        &[Property::CommittedIsDurable, Property::AppliedIsDurable],
        400,
    ),
    planted(
        Sabotage::CompleteAhead,
        &[(27, "a write is taken for complete with the one before")],
        &[Property::CommittedIsDurable, Property::AppliedIsDurable],
        20,
    ),
    planted(
        Sabotage::Misroute,
        &[(35, "votes reach others too than they were meant for")],
        &[Property::ElectionSafety],
        100,
    ),
    planted(
        Sabotage::ForgetMembership,
        &[(16, "a restart goes back to the membership that founded the group")],
        &[Property::MembershipInForce],
        100,
    ),
];

#[test]
fn every_planted_bug_is_found() {
    for Planted { bug, mutations, finders, worlds } in PLANTED {
        let (plan, property) = found(*bug, &[], *worlds, |property| finders.contains(&property));
        let seed = plan.seed;
        println!("{bug:?} is found by {property:?} in world {seed}, of {worlds} at most");
        if mutations.is_empty() {
            continue;
        }
        let settle_us = Plan::draw(seed).settle_us;
        let right = Plan { sabotage: None, settle_us, ..plan };
        let right = World::new(right, Clients::default()).run();
        assert_eq!(right.failure, None, "without {bug:?}");
        for (number, what) in *mutations {
            println!(
                "mutation\t{number}\t{what}\tsimulator: {property:?}\t{worlds} worlds\t\
                 seed {seed}\tthe same world ends well"
            );
        }
    }
}

/// What the ghosts check.
const GHOSTS: &[Property] = &[
    Property::AppliedIsDurable,
    Property::AppliedAtMostOnce,
    Property::CommittedIsDurable,
    Property::DurableSurvives,
    Property::ElectionSafety,
    Property::HardStateMonotonic,
    Property::LeaderAppendOnly,
    Property::LeaderCompleteness,
    Property::LogMatching,
    Property::MembershipInForce,
    Property::OneLease,
    Property::OneMembershipOpen,
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
    let (plan, property) = found(Sabotage::DropSyncs, &[], 20, |_| true);
    let shrunk = shrink(&plan, |_| Clients::default()).expect("it fails");
    assert_eq!(shrunk.failure.property, property);
    assert!(shrunk.faults.len() <= 2, "{shrunk:?} of {:?}", plan.faults);
    let plan = plan.with_faults(&shrunk.faults);
    let again = World::new(plan, Clients::default()).run().failure.expect("it still fails");
    assert_eq!(again, shrunk.failure);
}
