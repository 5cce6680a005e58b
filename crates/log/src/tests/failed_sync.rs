//! A sync that fails is the end (mutation 33).

use super::basics::{GROUP, create, identity, members, open, record};
use crate::memory::MemoryDisk;
use crate::mutation::{Mutation, with};
use crate::{AppendError, Log, Options, SnapshotMeta, SnapshotStore};
use driftless_raft::{Index, Position};

/// Appends while a sync fails, then pulls the plug. The last index that was
/// acknowledged, and the last that is there afterwards.
fn acknowledged_and_kept() -> (Index, Index) {
    let disk = MemoryDisk::new();
    let options = Options::small(64 << 10);
    let groups = [(GROUP, members())];
    let mut log = Log::create(disk.clone(), &identity(), &groups, options.clone()).unwrap().log;
    let mut acknowledged = Index(0);
    for index in 1..=6 {
        if index == 4 {
            disk.fail_syncs(1);
        }
        if log.append(&[record(1, index..=index, 5_000)]).is_ok() {
            acknowledged = Index(index);
        }
    }
    drop(log);
    // Of several ways to lose what was not synced, the worst.
    let kept = (0..20).map(|seed| {
        let disk = disk.fork();
        disk.crash(seed);
        let opened = Log::open(disk, None, options.clone());
        opened.map_or(Index(0), |opened| opened.groups[0].trail.last().index)
    });
    (acknowledged, kept.min().unwrap())
}

#[test]
fn poisons_the_log() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    disk.fail_syncs(1);
    let failed = log.append(&[record(1, 1..=1, 10)]);
    assert!(matches!(failed, Err(AppendError::Io(_))), "{failed:?}");
    let after = log.append(&[record(1, 1..=1, 10)]);
    assert!(matches!(after, Err(AppendError::Poisoned)), "{after:?}");
    assert!(log.is_poisoned() && matches!(log.idle(), Err(AppendError::Poisoned)));
    assert_eq!(log.room_bytes(), 0);
    // Opening again believes what is on the disk, and nothing else.
    disk.crash(0);
    let last = open(&disk).log.span(GROUP).unwrap().1;
    assert!(last <= Index(1));
}

#[test]
fn loses_nothing_that_was_acknowledged() {
    let (acknowledged, kept) = acknowledged_and_kept();
    assert_eq!(acknowledged, Index(3));
    assert!(kept >= acknowledged, "{kept} of {acknowledged} is there");
}

#[test]
fn retried_loses_acknowledged_entries_and_that_is_noticed() {
    let (acknowledged, kept) = with(Mutation::SyncRetried, acknowledged_and_kept);
    assert_eq!(acknowledged, Index(6));
    assert!(kept < acknowledged, "a retried sync was not caught: {kept}");
}

/// The process comes back without a power cut: it reads from the page cache what
/// no later sync would write. Whatever is acknowledged on top must stand on it.
#[test]
fn what_it_left_in_the_page_cache_is_not_built_upon() {
    let mut came_back = 0;
    for seed in 0..40 {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        log.append(&[record(1, 1..=1, 3_000)]).unwrap();
        disk.fail_syncs(1);
        assert!(log.append(&[record(1, 2..=2, 3_000)]).is_err());
        drop(log);
        let mut opened = open(&disk);
        let last = opened.groups[0].trail.last().index;
        came_back += u64::from(last == Index(2));
        opened.log.append(&[record(1, last.0 + 1..=last.0 + 1, 3_000)]).unwrap();
        drop(opened);
        disk.crash(seed);
        assert_eq!(open(&disk).groups[0].trail.last().index, last.next(), "seed {seed}");
    }
    assert!(came_back > 0, "the page cache never showed what was lost");
}

#[test]
fn a_snapshot_file_is_begun_anew_after_it() {
    let disk = MemoryDisk::new();
    let store = SnapshotStore::open(disk.clone()).unwrap();
    let meta = SnapshotMeta { last: Position::new(1, 9), membership: members() };
    let mut writer = store.begin(GROUP, &meta, 7).unwrap();
    writer.write_chunk(&vec![1; 100_000]).unwrap();
    drop(writer);
    let mut writer = store.resume(GROUP, &meta, 7).unwrap().expect("it goes on");
    assert_eq!(writer.received(), 64 << 10);
    writer.write_chunk(&vec![1; 40_000]).unwrap();
    disk.fail_syncs(1);
    assert!(writer.finish().is_err());
    assert!(store.resume(GROUP, &meta, 7).unwrap().is_none());
}
