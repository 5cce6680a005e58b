//! Whole worlds of a small machine: they end well, they repeat, and they notice
//! what is wrong.

mod support;

use driftless_sim::plan::{Fault, Planned, Who};
use driftless_sim::{Campaign, Outcome, Plan, Report, Situation, World};
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

/// Whatever byte rots, whatever write is lost: its member gets another disk and is
/// taken in again, or it did not matter.
#[test]
fn a_disk_that_lies_harms_nobody_else() {
    let mut report = Report::default();
    for seed in 0..150 {
        let mut plan = Plan { loses_disks: true, ..Plan::draw(seed) };
        if plan.members < 3 {
            continue;
        }
        let who = Who::Member(1 + seed % plan.members);
        let fault = if seed % 4 == 0 {
            Fault::LoseWrite { who }
        } else {
            Fault::Rot { who, pick: seed * 0x9e37_79b9 }
        };
        let lies = |planned: &Planned| {
            matches!(planned.fault, Fault::Rot { .. } | Fault::LoseWrite { .. })
        };
        plan.faults.retain(|planned| !lies(planned));
        plan.faults.push(Planned { at_us: plan.active_us / 2, fault });
        let outcome = run(plan);
        assert_eq!(outcome.failure, None, "seed {seed}, {fault:?}");
        report.add(&outcome.report);
    }
    for situation in [Situation::DamageNoticed, Situation::Replaced, Situation::VotesAgain] {
        assert!(report.of(situation) >= 20, "{}: {report}", situation.text());
    }
}
