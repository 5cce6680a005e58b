//! A full disk is a state to live in: entries are refused whole, votes and terms
//! still fit, compaction works, and room that comes back is used.

use super::basics::{GROUP, create, members, open, options, record};
use crate::memory::MemoryDisk;
use crate::{AppendError, Log, OpenError, Record, SnapshotMeta};
use driftless_codec::Entries;
use driftless_raft::{HardState, Index, NodeId, Position, Term};
use std::io::ErrorKind;

fn vote(term: u64) -> Record {
    let hard_state =
        HardState { current_term: Term(term), voted_for: Some(NodeId(2)), commit_index: Index(0) };
    Record { hard_state, entries: Entries::NONE, ..record(term, 1..=1, 0) }
}

/// Appends until the disk is full; the last index that was taken.
fn fill(log: &mut Log<MemoryDisk>, term: u64, from: u64) -> u64 {
    for index in from.. {
        match log.append(&[record(term, index..=index, 700)]) {
            Ok(()) => {}
            Err(AppendError::Full { needed, available }) => {
                assert!(needed > available, "{needed} bytes do not fit in {available}");
                return index - 1;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(index < 1_000, "the limit has no effect");
    }
    unreachable!()
}

#[test]
fn votes_fit_when_entries_do_not_and_compaction_makes_room() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    disk.limit_bytes(Some(100 << 10));
    let last = fill(&mut log, 1, 1);
    assert!(log.low_space() && last > 50);

    // All or nothing: a vote that came with an entry did not stand either.
    let mut with_entry = record(2, last + 1..=last + 1, 2_000);
    with_entry.hard_state = vote(2).hard_state;
    let refused = log.append(&[vote(2), with_entry]);
    assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
    assert_eq!(log.hard_state(GROUP).unwrap().current_term, Term(1));

    // Elections go on, also over a restart.
    for term in 2..8 {
        log.append(&[vote(term)]).unwrap();
    }
    drop(log);
    disk.crash(3);
    let mut opened = open(&disk);
    assert_eq!(opened.groups[0].hard_state.current_term, Term(7));
    assert_eq!(opened.groups[0].trail.last().index, Index(last));
    assert!(opened.log.read(GROUP, Index(1), Index(last), u64::MAX).is_ok());

    // A snapshot lets the log shrink, and then entries are taken again.
    let snapshot = SnapshotMeta { last: Position::new(1, last - 5), membership: members() };
    opened.log.compact(GROUP, &snapshot, Index(last - 5)).unwrap();
    let after = fill(&mut opened.log, 8, last + 1);
    assert!(after > last + 30, "{last} {after}");
}

#[test]
fn room_that_comes_back_is_used() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    disk.limit_bytes(Some(60 << 10));
    let last = fill(&mut log, 1, 1);
    disk.limit_bytes(Some(120 << 10));
    assert!(!log.low_space());
    let after = fill(&mut log, 1, last + 1);
    assert!(after > last + 30);
}

#[test]
fn what_is_said_to_be_room_is_room() {
    for limit_kib in [40, 64, 77, 100] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        disk.limit_bytes(Some(limit_kib << 10));
        for index in 1.. {
            let room = log.room_bytes();
            let taken = log.append(&[record(1, index..=index, 700)]).is_ok();
            // A record may not fit in what is left of two segments.
            assert!(taken || room < 2 * 900, "{room} bytes of room, and none for a record");
            if !taken {
                break;
            }
        }
    }
}

/// The rule that keeps votes from waiting behind entries that do not fit.
#[test]
fn what_was_claimed_fits_whatever_becomes_of_the_disk() {
    for (seed, claim) in (0..40u64).flat_map(|seed| [(seed, 0), (seed, 9_000), (seed, 40_000)]) {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        let before = 1 + seed % 13;
        for index in 1..=before {
            log.append(&[record(1, index..=index, 1_100)]).unwrap();
        }
        assert!(log.claim(claim).unwrap() && log.claimed_bytes() >= claim);
        disk.limit_bytes(Some(disk.used_bytes()));
        let claimed = log.claimed_bytes();
        let (mut taken, mut index) = (0, before);
        loop {
            let length = 1 + (seed * 31 + index * 977) % 2_500;
            // What a record costs beside its payload.
            taken += length + 256;
            if taken > claimed {
                break;
            }
            index += 1;
            let one = record(1, index..=index, length as usize);
            log.append(&[one]).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if index % 7 == 0 {
                log.idle().unwrap();
            }
        }
        // Then elections: their votes, and the entry that a new leader begins with.
        for term in 2..6 {
            log.append(&[vote(term)]).unwrap();
            index += 1;
            let empty = record(term, index..=index, 0);
            log.append(&[Record { hard_state: vote(term).hard_state, ..empty }]).unwrap();
        }
        assert!(!log.claim(1 << 20).unwrap(), "there is no such room");
    }
}

/// As on file systems that never write in place.
#[test]
fn a_write_refused_for_want_of_room_leaves_nothing() {
    for percent in [0, 30, 100] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        log.append(&[record(1, 1..=1, 100)]).unwrap();
        disk.fail_next_write(ErrorKind::StorageFull, percent);
        let refused = log.append(&[record(1, 2..=2, 100), record(1, 3..=3, 5_000)]);
        assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
        // The same first record again: the second must not come back behind it.
        log.append(&[record(1, 2..=2, 100)]).unwrap();
        for seed in 0..20 {
            let disk = disk.fork();
            disk.crash(seed);
            assert_eq!(open(&disk).groups[0].trail.last(), Position::new(1, 2), "seed {seed}");
        }
    }
}

#[test]
fn a_write_that_fails_for_another_reason_is_the_end() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    disk.fail_next_write(ErrorKind::Other, 50);
    assert!(matches!(log.append(&[record(1, 1..=1, 10)]), Err(AppendError::Io(_))));
    assert!(matches!(log.append(&[record(1, 1..=1, 10)]), Err(AppendError::Poisoned)));
}

#[test]
fn creation_on_a_full_disk_is_refused_and_may_be_tried_again() {
    let disk = MemoryDisk::new();
    disk.limit_bytes(Some(10 << 10));
    let groups = [(GROUP, members())];
    let identity = super::basics::identity();
    let refused = Log::create(disk.clone(), &identity, &groups, options());
    let Err(OpenError::Io(error)) = refused else { panic!("there was no room") };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    disk.limit_bytes(None);
    Log::create(disk, &identity, &groups, options()).unwrap();
}
