//! What is asked of a search: that it visits all there is within its bounds and
//! meets what it is there for, or that it finds what is wrong.

use super::std::println;
use super::world::World;
use super::{Report, catalogue, search, story, wide};
use alloc::format;

/// With the tests.
const STATES_MAX: usize = 3_000_000;
/// In `cargo xtask check --deep`: some ten gibibytes, and an hour.
const DEEP_STATES_MAX: usize = 300_000_000;

pub(crate) fn print(name: &str, report: &Report) {
    println!(
        "{name}: {} states ({} greatest), {} actions deep, exhausted: {}; {} renamings, at most {} wide, {} bytes a state",
        report.states,
        report.greatest,
        report.depth,
        report.exhausted,
        report.symmetry,
        report.widest,
        report.bytes / report.states.max(1),
    );
    println!("  tried: {:?}", report.actions);
    println!("  met: {:?}", report.met);
    if let Some(violation) = &report.violation {
        println!("  {} after {} actions", violation.what, violation.way.len());
    }
}

/// Searches all of it, and demands that nothing is wrong and all of this is met.
pub(crate) fn holds(name: &str, world: &World, met: &[&str]) {
    judge(name, world, met, &search(world, STATES_MAX));
}

/// The same with wider bounds, for which nobody waits: of its states, those that
/// can do all that others can.
pub(crate) fn holds_deep(name: &str, world: &World, met: &[&str]) {
    println!("{name}: {}", world.left);
    judge(name, world, met, &wide::exhaust(world, DEEP_STATES_MAX));
}

fn judge(name: &str, world: &World, met: &[&str], report: &Report) {
    print(name, report);
    if let Some(violation) = &report.violation {
        println!("{}", story::of(world, violation));
        panic!("{name}: a violation; the story above replays it");
    }
    assert!(report.exhausted, "{name}: the bounds are not exhausted");
    for situation in met {
        assert!(report.met.get(situation).is_some_and(|&times| times > 0), "never: {situation}");
    }
}

/// The fault must be found, by this check and in fewer states than these.
pub(crate) fn catches(world: &World, check: &str, states_max: usize) {
    let report = search(world, states_max);
    print(check, &report);
    let violation = report.violation.as_ref().expect("the wrong variant is not caught");
    assert!(violation.what.starts_with(check), "another check caught it: {}", violation.what);
    catalogue::found(world, check, &report, None);
}

/// Nothing bad happens, but nothing good either: with the fault, this is never
/// met, whatever happens.
pub(crate) fn never_meets(world: &World, situation: &str) {
    let report = search(world, STATES_MAX);
    print(situation, &report);
    assert!(report.violation.is_none() && report.exhausted, "it is caught in another way");
    assert_eq!(report.met.get(situation).copied().unwrap_or(0), 0, "met all the same");
    catalogue::found(world, &format!("never: {situation}"), &report, Some(situation));
}

pub(crate) const COMMITTED: &str = "an entry is committed";
pub(crate) const COMMITTED_OLD: &str = "an entry of an older term is committed";
pub(crate) const EARLY: &str = "a leader commits before its own copy is durable";
pub(crate) const LOST: &str = "a crash loses a write";
pub(crate) const PROPOSED: &str = "a proposal is accepted";
pub(crate) const REJECTED: &str = "an append is rejected";
pub(crate) const RIVALS: &str = "two leaders, of two terms";
pub(crate) const SUCCEEDED: &str = "two terms had a leader";
pub(crate) const TRUNCATED: &str = "a truncation becomes durable";
pub(crate) const CHANGED: &str = "a change is committed";
pub(crate) const LEFT: &str = "a joint membership is left";
pub(crate) const REMOVED: &str = "a leader is no voter";
pub(crate) const INSTALLED: &str = "a snapshot is installed";
pub(crate) const DELEGATED: &str = "a follower sends a snapshot";
pub(crate) const COMPACTED: &str = "a snapshot stands for the log";
pub(crate) const SERVED: &str = "a read is served";
pub(crate) const LEASED: &str = "a lease is held";
pub(crate) const HANDED_OVER: &str = "a transfer ends";
pub(crate) const IN_ORDER: &str = "the first in rank leads after another";
pub(crate) const OUT_OF_ORDER: &str = "one of a later rank leads after another";
pub(crate) const REJOINED: &str = "one that lost its disk votes again";
