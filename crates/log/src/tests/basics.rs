//! What a log does when nothing goes wrong.

use crate::memory::MemoryDisk;
use crate::{
    Identity, KnownPeer, Log, OpenError, Opened, Options, Owner, ReadError, Record, SnapshotMeta,
};
use bytes::Bytes;
use driftless_codec::{Entry, EntryKind};
use driftless_raft::{GroupId, HardState, Index, Membership, NodeId, Position, Run, Term};

pub(super) const GROUP: GroupId = GroupId(7);

pub(super) fn identity() -> Identity {
    Identity::new(0xc1, NodeId(1), 0x1234_5678)
}

pub(super) fn members() -> Membership {
    Membership::of([1, 2, 3].map(NodeId))
}

pub(super) fn options() -> Options {
    Options::small(16 << 10)
}

pub(super) fn create(disk: &MemoryDisk) -> Log<MemoryDisk> {
    Log::create(disk.clone(), &identity(), &[(GROUP, members())], options()).unwrap().log
}

pub(super) fn open(disk: &MemoryDisk) -> Opened<MemoryDisk> {
    Log::open(disk.clone(), None, options()).unwrap()
}

pub(super) fn entry(term: u64, index: u64, length: usize) -> Entry {
    let fill = (term * 31 + index * 7) as u8;
    let payload = (0..length).map(|at| fill.wrapping_add(at as u8)).collect::<Vec<u8>>();
    Entry {
        position: Position::new(term, index),
        kind: EntryKind::Command,
        payload: Bytes::from(payload),
    }
}

pub(super) fn record(term: u64, indexes: std::ops::RangeInclusive<u64>, length: usize) -> Record {
    Record {
        group: GROUP,
        hard_state: HardState { current_term: Term(term), ..HardState::default() },
        truncate_from: None,
        snapshot: None,
        entries: indexes.map(|index| entry(term, index, length)).collect(),
    }
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(&[record(1, 1..=3, 100), record(2, 4..=4, 9_000)]).unwrap();
    let mut cut = record(3, 3..=5, 50);
    cut.truncate_from = Some(Index(3));
    cut.hard_state.voted_for = Some(NodeId(2));
    log.append(&[cut.clone()]).unwrap();
    let expected = [entry(1, 1, 100), entry(1, 2, 100), entry(3, 3, 50), entry(3, 4, 50)];
    assert_eq!(log.read(GROUP, Index(1), Index(4), u64::MAX).unwrap(), expected);

    let Opened { log, identity: found, groups } = open(&disk);
    assert_eq!(found, Identity { boots: 2, ..identity() });
    let [group] = groups.as_slice() else { panic!("one group") };
    assert_eq!(group.hard_state, cut.hard_state);
    assert_eq!(group.trail.runs(), [Run::new(1, 1, 2), Run::new(3, 3, 5)]);
    assert_eq!((group.membership.clone(), group.snapshot.clone()), (members(), None));
    assert_eq!(log.read(GROUP, Index(1), Index(4), u64::MAX).unwrap(), expected);
    assert_eq!(log.read(GROUP, Index(2), Index(5), 120).unwrap(), expected[1..2]);
    assert_eq!(log.read(GROUP, Index(4), Index(4), 0).unwrap(), expected[3..]);
    let beyond = log.read(GROUP, Index(5), Index(6), 1);
    assert!(matches!(beyond, Err(ReadError::Beyond { last: Index(5) })), "{beyond:?}");
}

#[test]
fn a_snapshot_lets_segments_go_and_they_are_used_again() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    for index in 1..=400 {
        log.append(&[record(1, index..=index, 300)]).unwrap();
        if index % 50 == 0 {
            let last = Position::new(1, index - 10);
            let snapshot = SnapshotMeta { last, membership: members() };
            log.compact(GROUP, &snapshot, Index(index - 20)).unwrap();
        }
    }
    let names = disk.names();
    assert!(names.iter().filter(|name| name.starts_with("segment-")).count() <= 5, "{names:?}");
    let gone = log.read(GROUP, Index(1), Index(1), 1);
    assert!(matches!(gone, Err(ReadError::Compacted { .. })), "{gone:?}");
    assert_eq!(log.read(GROUP, Index(381), Index(400), u64::MAX).unwrap().len(), 20);
    drop(log);
    let Opened { log, groups, .. } = open(&disk);
    assert_eq!(groups[0].trail.base(), Position::new(1, 390));
    assert_eq!(groups[0].trail.last(), Position::new(1, 400));
    assert_eq!(log.read(GROUP, Index(391), Index(400), u64::MAX).unwrap().len(), 10);
}

#[test]
fn a_directory_is_refused_to_others() {
    let disk = MemoryDisk::new();
    let none = Log::open(disk.clone(), None, options());
    assert!(matches!(none, Err(OpenError::NotFound)));
    drop(create(&disk));
    let again = Log::create(disk.clone(), &identity(), &[], options());
    assert!(matches!(again, Err(OpenError::Exists)));
    let owner = Owner { cluster_id: 0xc2, node_id: NodeId(1) };
    let other = Log::open(disk.clone(), Some(owner), options());
    assert!(matches!(other, Err(OpenError::AnotherCluster { expected: 0xc2, found: 0xc1 })));
    let owner = Owner { cluster_id: 0xc1, node_id: NodeId(2) };
    let other = Log::open(disk, Some(owner), options());
    assert!(matches!(other, Err(OpenError::AnotherMember { .. })));
}

#[test]
fn peers_are_remembered() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let known = |incarnation| KnownPeer { incarnation, boots: 4, nonce: 5 };
    log.remember_peer(NodeId(2), known(22)).unwrap();
    log.remember_peer(NodeId(3), known(33)).unwrap();
    log.remember_peer(NodeId(2), known(222)).unwrap();
    disk.crash(1);
    let peers = open(&disk).log.known_peers().clone();
    assert_eq!(
        peers.into_iter().collect::<Vec<_>>(),
        [(NodeId(2), known(222)), (NodeId(3), known(33))]
    );
}

/// What a member promised is known to its next lives, however they are set up, and
/// also if the disk was full when it promised.
#[test]
fn promises_outlive_the_process() {
    let disk = MemoryDisk::new();
    assert_eq!(create(&disk).identity.owed_us, 0);
    for owed_us in [1_000_500, 9_000_000, 0, 7] {
        let mut log = open(&disk).log;
        disk.limit_bytes(Some(disk.used_bytes()));
        log.owe(owed_us).unwrap();
        disk.limit_bytes(None);
        drop(log);
        disk.crash(owed_us);
        for _ in 0..2 {
            assert_eq!(open(&disk).identity.owed_us, owed_us);
        }
    }
}

/// An older copy of a directory is told by its count, so each start must count,
/// also one that the disk has no room for, and none may count twice the same.
#[test]
fn every_start_counts() {
    let disk = MemoryDisk::new();
    let replacement = Identity { replacement: true, ..identity() };
    drop(Log::create(disk.clone(), &replacement, &[(GROUP, members())], options()).unwrap());
    for boots in 2..6 {
        disk.limit_bytes((boots % 2 == 0).then(|| disk.used_bytes()));
        let opened = open(&disk);
        assert_eq!(opened.identity, Identity { boots, ..replacement.clone() });
        drop(opened);
        disk.crash(boots);
    }
    // Power may go at each of its writes.
    let mut highest = 5;
    for writes in 0..60 {
        disk.power_cut_after(writes);
        if let Ok(opened) = Log::open(disk.clone(), None, options()) {
            assert!(opened.identity.boots > highest, "{}", opened.identity.boots);
            highest = opened.identity.boots;
        }
        disk.crash(writes);
    }
    assert!(highest > 6);
}

/// Were a used log taken for an attempt at creation that was cut short, creating
/// again would wipe it.
#[test]
fn a_lost_identity_is_not_an_empty_directory() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(&[record(1, 1..=1, 10)]).unwrap();
    drop(log);
    crate::Disk::remove(&disk, "identity").unwrap();
    for outcome in [
        Log::open(disk.clone(), None, options()),
        Log::create(disk.clone(), &identity(), &[(GROUP, members())], options()),
    ] {
        let Err(OpenError::Damaged(damage)) = outcome else { panic!("it was not noticed") };
        assert_eq!(damage.file, "identity");
    }
    assert!(disk.names().contains(&"segment-0000000000000001".to_owned()));
}
