//! The real disk, on whatever file system temporary files live on.

use super::RealDisk;
use driftless_node::log::codec::{Bytes, Entry, EntryKind};
use driftless_node::log::{Disk, DiskFile, Identity, Log, OpenError, Options, Record};
use driftless_node::raft::{GroupId, HardState, Index, Membership, NodeId, Position, Term};
use std::os::unix::fs::PermissionsExt;

const GROUP: GroupId = GroupId(1);

fn record(index: u64, payload: &[u8]) -> Record {
    Record {
        group: GROUP,
        hard_state: HardState { current_term: Term(1), ..HardState::default() },
        truncate_from: None,
        snapshot: None,
        entries: vec![Entry {
            position: Position::new(1, index),
            kind: EntryKind::Command,
            payload: Bytes::copy_from_slice(payload),
        }]
        .into(),
    }
}

#[test]
fn a_directory_is_locked_private_and_holds_a_log() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("cluster/member");
    let disk = RealDisk::open(&path).unwrap();
    assert!(matches!(RealDisk::open(&path), Err(OpenError::Locked)));

    let identity = Identity::new(1, NodeId(1), 99);
    let groups = [(GROUP, Membership::of([NodeId(1)]))];
    let options = Options::small(64 << 10);
    let mut log = Log::create(disk.clone(), &identity, &groups, options.clone()).unwrap().log;
    for index in 1..=100 {
        log.append(&[record(index, &[index as u8; 3_000])]).unwrap();
    }
    drop((log, disk));

    let disk = RealDisk::open(&path).unwrap();
    let opened = Log::open(disk, None, options).unwrap();
    assert_eq!(opened.identity, Identity { boots: 2, ..identity });
    assert_eq!(opened.groups[0].trail.last(), Position::new(1, 100));
    let entries = opened.log.read(GROUP, Index(1), Index(100), u64::MAX).unwrap();
    assert!(entries.iter().all(|entry| {
        entry.payload.len() == 3_000 && entry.payload[0] == entry.position.index.0 as u8
    }));

    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("snapshots"))), (0o700, 0o700));
    for name in ["identity", "boots", "peers", "lock", "segment-0000000000000001"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}

#[test]
fn files_do_what_the_log_expects_of_them() {
    let parent = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(parent.path()).unwrap();
    let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(disk.open("a").map(drop)), std::io::ErrorKind::NotFound);
    let mut file = disk.create("a").unwrap();
    assert_eq!(kind(disk.create("a").map(drop)), std::io::ErrorKind::AlreadyExists);
    file.write_at(b"there", 4).unwrap();
    file.sync().unwrap();
    let mut bytes = [1; 9];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"\0\0\0\0there");
    assert_eq!(kind(file.read_at(&mut bytes, 1)), std::io::ErrorKind::UnexpectedEof);
    file.set_len(2).unwrap();
    assert_eq!(file.len().unwrap(), 2);
    disk.create("snapshots/b").unwrap();
    disk.rename("a", "c").unwrap();
    disk.sync_directory("").unwrap();
    disk.sync_directory("snapshots").unwrap();
    assert_eq!(disk.list("").unwrap(), ["c", "lock"]);
    assert_eq!(disk.list("snapshots").unwrap(), ["b"]);
    disk.remove("snapshots/b").unwrap();
    assert_eq!(kind(disk.remove("snapshots/b")), std::io::ErrorKind::NotFound);
    assert!(disk.available().unwrap() > 0);
}
