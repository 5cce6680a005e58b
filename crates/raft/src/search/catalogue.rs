//! The wrong variants by number, and what each run of one says: a line for
//! `cargo xtask mutations`.

use super::mutant::Mutant;
use super::std::sync::{Mutex, PoisonError};
use super::std::{env, println};
use super::world::World;
use super::{Report, search};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

/// Number, what is wrong, and the variant; 0 has no number in the list.
const CATALOGUE: &[(Mutant, u8, &str)] = &[
    (Mutant::CommitsOldTerm, 1, "commit counts old-term entries"),
    (Mutant::VoteNotDurable, 2, "vote not persisted before reply"),
    (Mutant::TermNotDurable, 3, "term not persisted before reply"),
    (Mutant::AcknowledgesVolatile, 4, "follower acknowledges before its disk"),
    (Mutant::CountsItselfVolatile, 5, "leader counts itself before its disk"),
    (Mutant::EmptyAcknowledgesVolatile, 6, "empty append acknowledged before the disk"),
    (Mutant::CutsWithoutConflict, 7, "truncation on a stale append"),
    (Mutant::AcknowledgesOwnLast, 8, "acknowledges its own last index"),
    (Mutant::RejectionMatches, 9, "a rejection advances match"),
    (Mutant::CommitsWithoutMin, 10, "follower commits without the bound"),
    (Mutant::ComparesLengths, 11, "up-to-date by length only"),
    (Mutant::VotesTwice, 12, "two votes in a term"),
    (Mutant::JointOverUnion, 13, "joint quorum over the union"),
    (Mutant::ChangesBeforeOwnTerm, 14, "change before the own term's entry"),
    (Mutant::ChangesTwice, 15, "second change while one is open"),
    (Mutant::KeepsCutMembership, 16, "membership not reverted on truncation"),
    (Mutant::CountsLearners, 17, "learner counted"),
    (Mutant::CountsRemovedLeader, 18, "removed leader counts itself"),
    (Mutant::ReadsAlone, 19, "ReadIndex without a quorum round"),
    (Mutant::ReadsBeforeOwnTerm, 20, "ReadIndex before the own term's entry"),
    (Mutant::ReusesReadId, 21, "reused read id"),
    (Mutant::LeaseWithoutBound, 22, "lease without drift bound"),
    (Mutant::LeaseOverTransfer, 22, "lease kept over a transfer"),
    (Mutant::LeaseOverPause, 22, "lease kept over a pause"),
    (Mutant::PromiseLostInRestart, 22, "a lease's promise forgotten in a restart"),
    (Mutant::DelegateLeads, 22, "who sends a snapshot in the leader's place is promised a lease"),
    (Mutant::SnapshotOverNewer, 23, "snapshot over newer state"),
    (Mutant::PurgesEarly, 24, "purge before the snapshot is durable"),
    (Mutant::SnapshotOldMembership, 25, "snapshot with an old membership"),
    (Mutant::CompletesByIndex, 26, "completion matched by index"),
    (Mutant::CompletesOutOfOrder, 27, "out-of-order completion accepted"),
    (Mutant::KeepsOldLinks, 28, "stale acknowledgement after the log went back"),
    (Mutant::MedianUnsorted, 29, "median of unsorted indexes"),
    (Mutant::NeverSendsSnapshot, 36, "snapshot never sent past a purged log"),
    (Mutant::NeverProbesAgain, 36, "no new try after a rejection"),
    (Mutant::AsksBeforeDurable, 37, "RequestVote before its record is durable"),
    (Mutant::AppliesVolatile, 38, "apply beyond the locally durable index"),
    (Mutant::WitnessGetsUnsynced, 0, "a witness gets what the leader has not on its disk yet"),
    (Mutant::WitnessGetsLeaving, 0, "a witness gets what only a leader has that leaves"),
    (Mutant::VotesWithoutMemory, 0, "a lost disk votes as if it remembered"),
];

/// One line, its fields apart by tabs: number, what is wrong, who noticed and
/// what, within which bounds, after how much, and what the right code has there.
pub(crate) fn line(mutant: &str, noticed: &str, bounds: &str, after: &str, right: &str) {
    println!("mutation\t{mutant}\t{noticed}\t{bounds}\t{after}\t{right}");
}

/// Says that a search found the wrong variant that `world` has. Asked to by
/// `cargo xtask mutations`, exhausts the right one within the same bounds, and
/// demands that it meets `situation`, if that is what the wrong one never does.
pub(crate) fn found(world: &World, check: &str, report: &Report, situation: Option<&str>) {
    let mutant = world.rules.mutant.expect("it searches a wrong variant");
    let known = CATALOGUE.iter().find(|(it, ..)| *it == mutant);
    let &(_, number, what) = known.expect("every wrong variant is listed");
    let right = match env::var_os("DRIFTLESS_EXHAUST_UNMUTATED") {
        Some(_) => exhausted(world, situation),
        None => String::from("-"),
    };
    let after = format!("{} states, {} actions", report.states, report.depth + 1);
    let noticed = format!("search: {check}");
    line(&format!("{number}\t{what}"), &noticed, &format!("{}", world.left), &after, &right);
}

/// The right code within the same bounds: once for all that share them.
fn exhausted(world: &World, situation: Option<&str>) -> String {
    static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    const STATES_MAX: usize = 3_000_000;
    let right = world.clone().wrong(None);
    let key = format!("{:x} {situation:?} {:?}", right.fingerprint(), right.rules);
    // One that panicked while holding it has changed nothing.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(&key) {
        return known.clone();
    }
    let report = search(&right, STATES_MAX);
    let violation = report.violation.map(|violation| violation.what);
    assert!(violation.is_none(), "the right code is caught: {violation:?}");
    assert!(report.exhausted, "more than {} states within {}", report.states, world.left);
    if let Some(situation) = situation {
        assert!(report.met.get(situation).is_some_and(|&times| times > 0), "never: {situation}");
    }
    let told = format!("{} states, {} deep, exhausted", report.states, report.depth);
    known.insert(key, told.clone());
    told
}
