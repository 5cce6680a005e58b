//! A disk that says yes and does not write, or writes elsewhere: once something
//! later proves that the record was durable, opening says that it is not there.

use super::basics::{GROUP, create, identity, members, open, options, record};
use crate::memory::{Counters, MemoryDisk};
use crate::{Log, OpenError, Options, ReadError, verify};
use driftless_raft::{Index, Position};

#[test]
fn a_lost_write_is_damage_once_later_ones_prove_it() {
    let disk = MemoryDisk::new();
    let options = Options::small(64 << 10);
    let groups = [(GROUP, members())];
    let mut log = Log::create(disk.clone(), &identity(), &groups, options.clone()).unwrap().log;
    for index in 1..=5 {
        if index == 3 {
            disk.lose_writes(1);
        }
        log.append(&[record(1, index..=index, 5_000)]).unwrap();
    }
    // The log itself learns of it when it reads.
    let read = log.read(GROUP, Index(3), Index(3), 0);
    assert!(matches!(read, Err(ReadError::Unreadable(_) | ReadError::Damaged { .. })), "{read:?}");
    assert_eq!(log.read(GROUP, Index(1), Index(2), u64::MAX).unwrap().len(), 2);
    drop(log);
    let refused = Log::open(disk.clone(), None, options);
    let Err(OpenError::Damaged(damage)) = refused else { panic!("it was not noticed") };
    assert_eq!(damage.file, "segment-0000000000000001");
    assert!(!verify(&disk).is_whole());
    assert!(matches!(disk.counters(), Counters { lost_writes: 1, .. }));
}

#[test]
fn a_lost_last_write_is_noticed_if_the_log_fell_idle() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(&[record(1, 1..=1, 3_000)]).unwrap();
    disk.lose_writes(1);
    log.append(&[record(1, 2..=2, 9_000)]).unwrap();
    log.idle().unwrap();
    drop(log);
    assert!(matches!(Log::open(disk, None, options()), Err(OpenError::Damaged(_))));
}

#[test]
fn a_misdirected_write_is_damage() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(&[record(1, 1..=1, 3_000)]).unwrap();
    disk.misdirect_next_write(4096);
    log.append(&[record(1, 2..=2, 2_000)]).unwrap();
    log.idle().unwrap();
    drop(log);
    assert!(matches!(Log::open(disk, None, options()), Err(OpenError::Damaged(_))));
}

#[test]
fn an_idle_log_says_so_once() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(&[record(1, 1..=1, 10)]).unwrap();
    log.idle().unwrap();
    let operations = disk.counters().operations;
    for _ in 0..10 {
        log.idle().unwrap();
    }
    assert_eq!(disk.counters().operations, operations);
    drop(log);
    assert_eq!(open(&disk).groups[0].trail.last(), Position::new(1, 1));
}

/// All records of a call, of however many groups, cost one write and one sync.
#[test]
fn one_call_costs_one_sync() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    while log.prepare_spare().unwrap() {}
    let before = disk.counters();
    log.append(&[record(1, 1..=5, 100), record(1, 6..=9, 200), record(2, 10..=10, 50)]).unwrap();
    let after = disk.counters();
    assert_eq!((after.operations - before.operations, after.syncs - before.syncs), (2, 1));
}
