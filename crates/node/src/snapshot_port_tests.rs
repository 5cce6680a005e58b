//! What the receiver of Figure 13 does with the file, on a disk in memory.

use super::SnapshotPort;
use crate::port::SnapshotDone;
use driftless_log::memory::MemoryDisk;
use driftless_log::{Disk, SnapshotMeta, SnapshotStore};
use driftless_machine::Snapshot;
use driftless_raft::{GroupId, Membership, NodeId, Position};
use std::io;

const GROUP: GroupId = GroupId(1);
const MAKER: u64 = 7;

struct Receiver {
    disk: MemoryDisk,
    port: SnapshotPort<MemoryDisk>,
}

impl Receiver {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let store = SnapshotStore::open(disk.clone()).unwrap();
        Self { disk, port: SnapshotPort::new(store, GROUP) }
    }

    /// A piece of the snapshot at `index` arrives. How many bytes are held then,
    /// and whether that is all.
    fn write(&mut self, index: u64, offset: u64, bytes: &[u8], done: bool) -> (u64, bool) {
        let membership = Membership::of([NodeId(1)]);
        let meta = SnapshotMeta { last: Position::new(1, index), membership };
        match self.port.write_chunk(meta, MAKER, offset, bytes, done) {
            SnapshotDone::Written { received, done, .. } => (received, done),
            other => panic!("{other:?}"),
        }
    }

    fn saved(&self, index: u64) -> Vec<u8> {
        let store = SnapshotStore::open(self.disk.clone()).unwrap();
        let mut reader = store.read(GROUP, Position::new(1, index)).unwrap();
        reader.verify().unwrap();
        reader.read_chunk_at(0, 1024).unwrap()
    }

    fn files(&self) -> usize {
        self.disk.list("snapshots").unwrap().len()
    }
}

#[test]
fn is_2_the_first_chunk_begins_a_snapshot() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.write(5, 0, b"half of one", false), (11, false));
    assert_eq!(receiver.write(6, 0, b"all of another", true), (14, true));
    assert_eq!(receiver.saved(6), b"all of another");
}

#[test]
fn is_3_a_chunk_is_written_at_its_offset() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.write(5, 0, b"abc", false), (3, false));
    assert_eq!(receiver.write(5, 0, b"abc", false), (3, false), "a repetition adds nothing");
    assert_eq!(receiver.write(5, 9, b"xyz", true), (3, false), "a gap is not bridged");
    assert_eq!(receiver.write(5, 3, b"def", true), (6, true));
    assert_eq!(receiver.saved(5), b"abcdef");
}

#[test]
fn is_5_the_newest_snapshot_takes_the_place_of_older_ones() {
    let mut receiver = Receiver::new();
    receiver.write(5, 0, b"five", true);
    receiver.write(6, 0, b"half of si", false);
    receiver.write(7, 0, b"seven", true);
    assert_eq!(receiver.files(), 2, "what was half received is given up");
    assert_eq!(receiver.saved(7), b"seven");
    receiver.port.remove_older(Position::new(1, 7)).unwrap();
    assert_eq!(receiver.files(), 1);
    assert_eq!(receiver.saved(7), b"seven");
}

struct Frozen(usize);

impl Snapshot for Frozen {
    fn read_chunk(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.0.min(bytes_max);
        self.0 -= bytes;
        out.resize(out.len() + bytes, 7);
        Ok(())
    }
}

#[test]
fn one_that_a_full_disk_has_no_room_for_leaves_nothing_behind() {
    let mut receiver = Receiver::new();
    let meta = SnapshotMeta { last: Position::new(1, 9), membership: Membership::of([NodeId(1)]) };
    receiver.disk.limit_bytes(Some(200 << 10));
    let done = receiver.port.save(&meta, b"sidecar", MAKER, &mut Frozen(1 << 20));
    assert!(matches!(done, SnapshotDone::Saved { result: Err(_) }), "{done:?}");
    assert_eq!(receiver.files(), 0);
    receiver.disk.limit_bytes(None);
    let done = receiver.port.save(&meta, b"sidecar", MAKER, &mut Frozen(1 << 20));
    assert!(matches!(done, SnapshotDone::Saved { result: Ok(_) }), "{done:?}");
}
