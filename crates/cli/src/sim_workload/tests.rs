//! Worlds of the key-value store, and the checks that are its own.

use super::{Access, Answer, KvWorkload, Learnt, Verb};
use driftless_sim::history::History;
use driftless_sim::plan::Sabotage;
use driftless_sim::{Campaign, Plan, Situation, World};

#[test]
fn three_hundred_worlds_end_well() {
    let verdict = Campaign::new(0, 300).run(KvWorkload::new, |_| {});
    assert!(verdict.is_good(), "{:#?}", verdict.failures);
    for situation in [
        Situation::ElectionUnderLoad,
        Situation::FollowerTruncated,
        Situation::SnapshotInstalled,
        Situation::CrashBetweenWriteAndSync,
    ] {
        assert!(verdict.report.of(situation) > 0, "{situation:?}\n{}", verdict.report);
    }
}

#[test]
fn a_world_repeats_bit_for_bit() {
    for seed in [1, 20, 300] {
        let run = || {
            let plan = Plan::draw(seed);
            let workload = KvWorkload::new(&plan);
            World::new(plan, workload).run()
        };
        let (first, second) = (run(), run());
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.report, second.report, "seed {seed}");
    }
}

#[test]
fn a_lost_write_and_a_stale_read_are_found() {
    for sabotage in [Sabotage::SkipApply, Sabotage::ReadWithoutBarrier, Sabotage::ApplyTwice] {
        let failed = (0..20).find_map(|seed| {
            let plan = Plan { sabotage: Some(sabotage), ..Plan::draw(seed) };
            let workload = KvWorkload::new(&plan);
            World::new(plan, workload).run().failure
        });
        assert!(failed.is_some(), "{sabotage:?} was not found");
    }
}

fn answered(history: &mut History<Access, Answer>, from: u64, verb: Verb, answer: (i64, Learnt)) {
    let id = history.invoke(1, Access { key: 0, verb }, from);
    let (revision, learnt) = answer;
    history.respond(id, Answer { revision, learnt }, from + 5);
}

#[test]
fn a_revision_that_does_not_grow_is_found() {
    let put = |value| Verb::Put { value, tells_previous: false };
    for (second, is_good) in [(3, true), (2, false), (1, false)] {
        let mut history = History::new();
        answered(&mut history, 10, put(1), (2, Learnt::Done));
        answered(&mut history, 20, put(2), (second, Learnt::Done));
        assert_eq!(super::revisions_grow(&history).is_ok(), is_good, "{second}");
    }
    for (seen, is_good) in [(3, true), (2, true), (1, false)] {
        let mut history = History::new();
        answered(&mut history, 10, put(1), (2, Learnt::Done));
        answered(&mut history, 20, Verb::Get, (seen, Learnt::Held(Some((1, 2)))));
        assert_eq!(super::revisions_grow(&history).is_ok(), is_good, "{seen}");
    }
}

#[test]
fn a_value_that_changes_its_revision_is_found() {
    let mut history = History::new();
    answered(&mut history, 10, Verb::Put { value: 1, tells_previous: false }, (2, Learnt::Done));
    assert!(super::values_keep_their_revisions(&history).is_ok());
    answered(&mut history, 20, Verb::Get, (3, Learnt::Held(Some((1, 3)))));
    assert!(super::values_keep_their_revisions(&history).is_err());
}
