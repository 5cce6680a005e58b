//! Snapshot files: whole or not there, verified wherever they are read.

use super::basics::{GROUP, members};
use crate::memory::{MemoryDisk, SplitMix64};
use crate::{SnapshotError, SnapshotMeta, SnapshotStore};
use driftless_raft::{GroupId, NodeId, Position};
use std::io::Read;

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last: Position::new(2, index), membership: members() }
}

fn payload(length: usize) -> Vec<u8> {
    let mut random = SplitMix64::new(length as u64);
    (0..length).map(|_| random.next_u64() as u8).collect()
}

fn write(
    store: &SnapshotStore<MemoryDisk>,
    meta: &SnapshotMeta,
    payload: &[u8],
    chunk: usize,
) -> Result<(), SnapshotError> {
    let mut writer = store.begin(GROUP, meta, 1)?;
    for chunk in payload.chunks(chunk) {
        writer.write_chunk(chunk)?;
    }
    assert_eq!(writer.received(), payload.len() as u64);
    writer.finish()
}

#[test]
fn what_was_written_is_read_in_any_pieces() {
    let disk = MemoryDisk::new();
    let store = SnapshotStore::open(disk.clone()).unwrap();
    for (index, length) in [0, 1, 65_535, 65_536, 65_537, 200_000].into_iter().enumerate() {
        let (meta, payload) = (meta(index as u64 + 1), payload(length));
        write(&store, &meta, &payload, 1 + length / 7).unwrap();
        disk.crash(index as u64);
        let mut reader = store.read(GROUP, meta.last).unwrap();
        assert_eq!((reader.meta(), reader.len(), reader.maker()), (&meta, length as u64, 1));
        reader.verify().unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, payload);
        for offset in (0..=length).step_by(9_973) {
            let chunk = reader.read_chunk_at(offset as u64, 70_000).unwrap();
            assert_eq!(chunk, payload[offset..length.min(offset + 70_000)]);
        }
        assert!(reader.read_chunk_at(length as u64 + 1, 10).unwrap().is_empty());
    }
    assert_eq!(store.list(GROUP).unwrap().len(), 6);
    store.remove_older(GROUP, meta(4).last).unwrap();
    let left: Vec<u64> = store.list(GROUP).unwrap().iter().map(|last| last.index.0).collect();
    assert_eq!(left, [4, 5, 6]);
    assert!(matches!(store.read(GROUP, meta(1).last), Err(SnapshotError::NotFound)));
    assert!(store.list(GroupId(99)).unwrap().is_empty());
}

#[test]
fn one_that_broke_off_is_gone_on_with_by_its_maker_only() {
    let disk = MemoryDisk::new();
    let (meta, payload) = (meta(9), payload(300_000));
    let store = SnapshotStore::open(disk.clone()).unwrap();
    let mut writer = store.begin(GROUP, &meta, 5).unwrap();
    writer.write_chunk(&payload[..200_000]).unwrap();
    drop(writer);
    let store = SnapshotStore::open(disk.clone()).unwrap();
    assert!(store.list(GROUP).unwrap().is_empty());
    assert!(store.resume(GROUP, &meta, 6).unwrap().is_none());
    let other =
        SnapshotMeta { membership: driftless_raft::Membership::of([NodeId(9)]), ..meta.clone() };
    assert!(store.resume(GROUP, &other, 5).unwrap().is_none());
    let mut writer = store.resume(GROUP, &meta, 5).unwrap().unwrap();
    let received = writer.received() as usize;
    assert_eq!(received, 3 * 65_536);
    writer.write_chunk(&payload[received..]).unwrap();
    writer.finish().unwrap();
    let mut all = Vec::new();
    store.read(GROUP, meta.last).unwrap().read_to_end(&mut all).unwrap();
    assert!(all == payload);
    assert!(store.resume(GROUP, &meta, 5).unwrap().is_none());
}

#[test]
fn the_power_may_go_at_every_call() {
    let (old, new) = (payload(70_000), payload(150_000));
    let (mut whole, mut absent) = (0, 0);
    for operations in 0.. {
        let disk = MemoryDisk::new();
        let store = SnapshotStore::open(disk.clone()).unwrap();
        write(&store, &meta(1), &old, 50_000).unwrap();
        disk.power_cut_after(operations);
        let is_done = write(&store, &meta(2), &new, 50_000).is_ok();
        for seed in 0..10 {
            let disk = disk.fork();
            disk.crash(seed);
            let store = SnapshotStore::open(disk).unwrap();
            store.read(GROUP, meta(1).last).unwrap().verify().unwrap();
            match store.read(GROUP, meta(2).last) {
                Ok(mut reader) => {
                    whole += 1;
                    let mut all = Vec::new();
                    reader.read_to_end(&mut all).unwrap();
                    assert!(all == new, "half a snapshot bears a snapshot's name");
                }
                Err(SnapshotError::NotFound) if !is_done => {
                    absent += 1;
                    // Begun again, or gone on with, it becomes whole.
                    let writer = store.resume(GROUP, &meta(2), 1).unwrap();
                    let mut writer = match writer {
                        Some(writer) => writer,
                        None => store.begin(GROUP, &meta(2), 1).unwrap(),
                    };
                    let received = writer.received() as usize;
                    writer.write_chunk(&new[received..]).unwrap();
                    writer.finish().unwrap();
                    store.read(GROUP, meta(2).last).unwrap().verify().unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        if is_done {
            break;
        }
    }
    assert!(whole > 5 && absent > 50, "{whole} {absent}");
}

#[test]
fn every_flipped_byte_and_every_prefix_is_noticed() {
    let disk = MemoryDisk::new();
    let store = SnapshotStore::open(disk.clone()).unwrap();
    let payload = payload(700);
    write(&store, &meta(3), &payload, 100).unwrap();
    let name = disk.names().pop().unwrap();
    let contents = disk.contents(&name).unwrap();
    let reads = |disk: MemoryDisk| -> Result<(), SnapshotError> {
        let mut reader = SnapshotStore::open(disk)?.read(GROUP, meta(3).last)?;
        reader.verify()?;
        assert_eq!(reader.read_chunk_at(0, 1_000)?, payload);
        Ok(())
    };
    reads(disk.fork()).unwrap();
    for at in 0..contents.len() {
        let flipped = disk.fork();
        flipped.flip_byte(&name, at as u64, 1 << (at % 8));
        assert!(matches!(reads(flipped), Err(SnapshotError::Damaged(_))), "byte {at}");
        let shorter = disk.fork();
        shorter.put(&name, &contents[..at]);
        assert!(matches!(reads(shorter), Err(SnapshotError::Damaged(_))), "length {at}");
    }
    // Under another's name it is not believed either.
    disk.put(&name.replace("0003-", "0004-"), &contents);
    let wrong = SnapshotStore::open(disk).unwrap().read(GROUP, meta(4).last);
    assert!(matches!(wrong, Err(SnapshotError::Damaged(_))));
}
