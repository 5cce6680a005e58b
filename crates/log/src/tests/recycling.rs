//! Segments that are used again: their former records never come back, and a
//! crash amid the change of lives leaves a log that opens.

use super::basics::{GROUP, create, identity, members, open, options, record};
use crate::memory::MemoryDisk;
use crate::mutation::{Mutation, with};
use crate::{Log, Options, SnapshotMeta};
use driftless_raft::{Index, Position};

/// Keeps several segments for their next lives.
fn thrifty() -> (MemoryDisk, Log<MemoryDisk>) {
    let disk = MemoryDisk::new();
    let options = Options { ready_segments_max: 5, ..options() };
    let log = Log::create(disk.clone(), &identity(), &[(GROUP, members())], options).unwrap().log;
    (disk, log)
}

/// The payload of an entry whose record is a quarter of a page.
const QUARTER: usize = 1024 - 140;

/// A log whose active segment holds, behind its end, whole records of a former
/// life, at the very place where the next record would stand. How many of several
/// ends are found again where they were.
fn ends_found() -> (usize, usize) {
    let fill = |count| {
        let (disk, mut log) = thrifty();
        for index in 1..=80 {
            log.append(&[record(1, index..=index, QUARTER)]).unwrap();
        }
        let snapshot = SnapshotMeta { last: Position::new(1, 79), membership: members() };
        log.compact(GROUP, &snapshot, Index(79)).unwrap();
        for index in 81..81 + count {
            log.append(&[record(1, index..=index, QUARTER)]).unwrap();
        }
        (disk, Position::new(1, 80 + count))
    };
    let is_found = |count: &u64| {
        let (disk, last) = fill(*count);
        Log::open(disk, None, options()).is_ok_and(|opened| opened.groups[0].trail.last() == last)
    };
    ((0..70).filter(is_found).count(), 70)
}

#[test]
fn former_records_stay_gone() {
    let (found, of) = ends_found();
    assert_eq!(found, of);
}

/// Mutation 32.
#[test]
fn without_an_incarnation_they_come_back_and_that_is_noticed() {
    let (found, of) = with(Mutation::RecycledWithoutIncarnation, ends_found);
    assert!(found < of, "no former record was taken for a new one");
}

/// Fills some segments, lets go of nearly all of them, and cuts the power during
/// that at every call.
fn lost_to_cuts_in_compaction() -> u64 {
    let mut lost = 0;
    for operations in 0.. {
        let (disk, mut log) = thrifty();
        for index in 1..=30 {
            log.append(&[record(1, index..=index, 3_000)]).unwrap();
        }
        disk.power_cut_after(operations);
        let snapshot = SnapshotMeta { last: Position::new(1, 29), membership: members() };
        let outcome = log.compact(GROUP, &snapshot, Index(29));
        for seed in 0..40 {
            let disk = disk.fork();
            disk.crash(seed);
            let is_whole = Log::open(disk, None, options())
                .is_ok_and(|opened| opened.groups[0].trail.last() == Position::new(1, 30));
            lost += u64::from(!is_whole);
        }
        if outcome.is_ok() && !disk.is_off() {
            break;
        }
    }
    lost
}

#[test]
fn the_power_may_go_at_every_call_of_a_compaction() {
    assert_eq!(lost_to_cuts_in_compaction(), 0);
}

/// Mutation 34, of the names that recycled segments take.
#[test]
fn new_names_in_the_wrong_order_are_noticed() {
    let lost = with(Mutation::RecycledNamesNotSynced, lost_to_cuts_in_compaction);
    assert!(lost > 0, "names in the wrong order went unnoticed");
}

#[test]
fn a_busy_log_keeps_to_a_few_files() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let mut longest = 0;
    for index in 1..=2_000 {
        log.append(&[record(1, index..=index, 500)]).unwrap();
        if index % 10 == 0 {
            let last = Position::new(1, index);
            let snapshot = SnapshotMeta { last, membership: members() };
            log.compact(GROUP, &snapshot, Index(index)).unwrap();
        }
        longest = longest.max(disk.used_bytes());
    }
    assert!(longest < 100 << 10, "{longest} bytes");
    drop(log);
    assert_eq!(open(&disk).groups[0].trail.base(), Position::new(1, 2_000));
}
