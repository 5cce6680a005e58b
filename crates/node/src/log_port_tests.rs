//! The log on a disk that fills up, as its thread drives it.

use super::run_log_jobs;
use crate::port::{LogDone, LogJob};
use bytes::Bytes;
use driftless_codec::{Entries, Entry, EntryKind};
use driftless_log::memory::MemoryDisk;
use driftless_log::{Identity, KnownPeer, Log, Options, Record, SnapshotMeta};
use driftless_raft::{GroupId, HardState, Membership, NodeId, Position, Term, Ticket};
use std::collections::VecDeque;

const GROUP: GroupId = GroupId(1);

fn membership() -> Membership {
    Membership::of([1, 2, 3].map(NodeId))
}

fn create(disk: &MemoryDisk) -> Log<MemoryDisk> {
    let identity = Identity::new(1, NodeId(1), 5);
    let groups = [(GROUP, membership())];
    Log::create(disk.clone(), &identity, &groups, Options::small(16 << 10)).expect("a log").log
}

fn append(ticket: u64, index: u64, bytes: usize) -> LogJob {
    let entry = Entry {
        position: Position::new(1, index),
        kind: EntryKind::Command,
        payload: Bytes::from(vec![7; bytes]),
    };
    let record = Record { entries: entry.into(), ..claim(1) };
    LogJob::Append { ticket: Ticket(ticket), record }
}

fn vote(ticket: u64, term: u64) -> LogJob {
    LogJob::Append { ticket: Ticket(ticket), record: claim(term) }
}

fn claim(term: u64) -> Record {
    let hard_state = HardState { current_term: Term(term), ..HardState::default() };
    Record { group: GROUP, hard_state, truncate_from: None, snapshot: None, entries: Entries::NONE }
}

/// The tickets that are durable.
fn stored(done: &[LogDone]) -> Vec<u64> {
    let ticket = |done: &LogDone| match done {
        LogDone::Appended { ticket, .. } => Some(ticket.0),
        _ => None,
    };
    done.iter().filter_map(ticket).collect()
}

/// A log with entries up to the returned index, on a disk without another byte.
fn full(disk: &MemoryDisk) -> (Log<MemoryDisk>, u64) {
    let mut log = create(disk);
    for index in 1..=60 {
        let (mut jobs, mut done) = (VecDeque::from([append(index, index, 700)]), Vec::new());
        assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
        assert_eq!(stored(&done), [index]);
    }
    disk.limit_bytes(Some(disk.used_bytes()));
    (log, 60)
}

#[test]
fn compaction_is_reached_behind_an_append_that_does_not_fit_and_makes_room_for_it() {
    let disk = MemoryDisk::new();
    let (mut log, last) = full(&disk);
    let snapshot = SnapshotMeta { last: Position::new(1, last - 5), membership: membership() };
    let compact = LogJob::Compact { snapshot: snapshot.clone(), through: snapshot.last };
    // Nobody but a broken node hands this over: no room was claimed for it.
    let too_much = append(last + 1, last + 1, 12_000);
    let behind = vote(last + 2, 9);

    let (mut jobs, mut done) = (VecDeque::from([too_much, behind]), Vec::new());
    assert!(run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert_eq!((stored(&done), jobs.len()), (vec![], 2), "tickets are kept in order");

    jobs.push_back(compact);
    assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert_eq!(stored(&done), [last + 2], "both, together");
    assert!(done.iter().any(|done| matches!(done, LogDone::Compacted { .. })));
    assert_eq!(log.hard_state(GROUP).map(|state| state.current_term), Some(Term(9)));
    drop(log);
    disk.crash(1);
    let opened = Log::open(disk, None, Options::small(16 << 10)).expect("it opens");
    assert_eq!(opened.groups[0].trail.last(), Position::new(1, last + 1));
}

#[test]
fn a_claim_says_whether_there_is_room_and_an_append_within_it_never_waits() {
    let disk = MemoryDisk::new();
    let (mut log, last) = full(&disk);
    let mut done = Vec::new();
    let mut jobs = VecDeque::from([LogJob::Claim { bytes: 12_000 }]);
    assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert!(matches!(done[..], [LogDone::Room(room)] if room.low_space), "{done:?}");

    disk.limit_bytes(None);
    done.clear();
    let mut jobs = VecDeque::from([LogJob::Claim { bytes: 12_000 }]);
    assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    let claimed = |done: &LogDone| matches!(done, LogDone::Room(room) if room.claimed_bytes >= 12_000 && !room.low_space);
    assert!(claimed(&done[0]), "{done:?}");
    disk.limit_bytes(Some(disk.used_bytes()));
    let mut jobs = VecDeque::from([append(61, last + 1, 11_000), vote(62, 2)]);
    assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert_eq!(stored(&done), [62]);
}

#[test]
fn a_peer_that_cannot_be_remembered_on_a_full_disk_is_later() {
    let disk = MemoryDisk::new();
    let (mut log, _) = full(&disk);
    let known = KnownPeer { incarnation: 8, ..KnownPeer::default() };
    let mut done = Vec::new();
    let mut jobs = VecDeque::from([LogJob::RememberPeer { peer: NodeId(2), known }, vote(61, 2)]);
    assert!(run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert_eq!((stored(&done), jobs.len()), (vec![61], 1));
    disk.limit_bytes(None);
    assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert!(matches!(done.last(), Some(LogDone::PeerRemembered { peer: NodeId(2), .. })));
    assert_eq!(log.known_peers().get(&NodeId(2)), Some(&known));
}

#[test]
fn a_snapshot_that_the_log_has_no_room_to_name_does_not_replace_the_one_before() {
    let disk = MemoryDisk::new();
    let (mut log, last) = full(&disk);
    let mut done = Vec::new();
    // Elections take up the reserve.
    let mut term = 2;
    loop {
        let mut jobs = VecDeque::from([vote(100 + term, term)]);
        if run_log_jobs(&mut log, GROUP, &mut jobs, &mut done) {
            break;
        }
        term += 1;
    }
    let snapshot = SnapshotMeta { last: Position::new(1, last), membership: membership() };
    let compact = LogJob::Compact { through: snapshot.last, snapshot };
    let (mut jobs, mut done) = (VecDeque::from([compact]), Vec::new());
    assert!(run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert!(done.is_empty(), "older snapshots would be removed: {done:?}");
    disk.limit_bytes(None);
    assert!(!run_log_jobs(&mut log, GROUP, &mut jobs, &mut done));
    assert!(matches!(done[0], LogDone::Compacted { snapshot } if snapshot.index.0 == last));
}
