//! The log on a small real file system that fills up: ext4 on a loop device, or
//! else tmpfs. Needs the right to mount; says so where it is not there.

use driftless::RealDisk;
use driftless_node::log::codec::{Bytes, Entry, EntryKind};
use driftless_node::log::{
    AppendError, Identity, Log, Options, Record, SnapshotMeta, SnapshotStore, verify,
};
use driftless_node::raft::{GroupId, HardState, Index, Membership, NodeId, Position, Term};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GROUP: GroupId = GroupId(1);
const MIB: u64 = 1 << 20;

/// A file system of 16 MiB, mounted as long as this lives.
struct SmallFileSystem {
    _parent: tempfile::TempDir,
    mount_point: PathBuf,
}

impl SmallFileSystem {
    fn mount() -> Result<Self, String> {
        let parent = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount_point = parent.path().join("disk");
        fs::create_dir(&mount_point).map_err(|error| error.to_string())?;
        Self::mount_ext4(parent.path(), &mount_point).or_else(|no_ext4| {
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=16m", "none"])
                .arg(&mount_point))
            .map_err(|no_tmpfs| format!("no ext4: {no_ext4}; no tmpfs: {no_tmpfs}"))
        })?;
        Ok(Self { _parent: parent, mount_point })
    }

    fn mount_ext4(parent: &Path, mount_point: &Path) -> Result<(), String> {
        let image = parent.join("image");
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(16 * MIB).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(mount_point))
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.mount_point)) {
            eprintln!("{} stays mounted: {error}", self.mount_point.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn record(term: u64, index: u64) -> Record {
    let entry = Entry {
        position: Position::new(term, index),
        kind: EntryKind::Command,
        payload: Bytes::from(vec![index as u8; 10_000]),
    };
    Record { entries: vec![entry].into(), ..vote(term) }
}

fn vote(term: u64) -> Record {
    let hard_state =
        HardState { current_term: Term(term), voted_for: Some(NodeId(1)), commit_index: Index(0) };
    Record {
        group: GROUP,
        hard_state,
        truncate_from: None,
        snapshot: None,
        entries: Vec::new().into(),
    }
}

/// Somebody else's file takes what is left of the disk.
fn take_the_rest(ballast: &Path) {
    let mut bytes = 4 * MIB as usize;
    let mut taken = Vec::new();
    while bytes >= 4096 {
        taken.resize(taken.len() + bytes, 7u8);
        if fs::write(ballast, &taken).is_err() {
            taken.truncate(taken.len() - bytes);
            bytes /= 2;
        }
    }
}

/// Appends until the disk is full; the last index that was taken.
fn fill(log: &mut Log<RealDisk>, term: u64, from: u64) -> u64 {
    for index in from..from + 10_000 {
        match log.append(&[record(term, index)]) {
            Ok(()) => {}
            Err(AppendError::Full { .. }) => return index - 1,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never filled up");
}

#[test]
fn a_full_disk_is_lived_through() {
    let small = match SmallFileSystem::mount() {
        Ok(small) => small,
        Err(why) => {
            eprintln!("SKIPPED a_full_disk_is_lived_through: nothing could be mounted: {why}");
            return;
        }
    };
    let data = small.mount_point.join("data");
    let disk = RealDisk::open(&data).unwrap();
    let identity = Identity::new(1, NodeId(1), 99);
    let membership = Membership::of([NodeId(1)]);
    let options = Options { keep_free_bytes: MIB, low_space_bytes: 2 * MIB, ..Options::small(MIB) };
    let groups = [(GROUP, membership.clone())];
    let mut log = Log::create(disk.clone(), &identity, &groups, options.clone()).unwrap().log;

    // What was claimed fits although somebody else takes all the rest at once.
    let ballast = small.mount_point.join("ballast");
    assert!(log.claim(3 * MIB).unwrap());
    take_the_rest(&ballast);
    let claimed = log.claimed_bytes() / 11_000;
    for index in 1..=claimed {
        log.append(&[record(1, index)]).unwrap();
    }
    assert!(claimed > 250, "{claimed}");
    fs::remove_file(&ballast).unwrap();

    // Once the log has taken what it may, somebody else's file takes the rest.
    let last = fill(&mut log, 1, claimed + 1);
    assert!(log.low_space() && last > 500, "{last}");
    take_the_rest(&ballast);
    let refused = log.append(&[record(1, last + 1)]);
    assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");

    // Reads and elections go on, also over a restart, without a byte of room: votes,
    // and the empty entry that a new leader begins with.
    for term in 2..200 {
        log.append(&[vote(term)]).unwrap();
    }
    let mut begins = record(199, last + 1);
    begins.entries = Entry { payload: Bytes::new(), ..begins.entries[0].clone() }.into();
    log.append(&[begins]).unwrap();
    let last = last + 1;
    assert_eq!(log.read(GROUP, Index(1), Index(9), u64::MAX).unwrap().len(), 9);
    drop((log, disk));
    let disk = RealDisk::open(&data).unwrap();
    let opened = Log::open(disk.clone(), None, options).unwrap();
    assert_eq!(opened.groups[0].hard_state.current_term, Term(199));
    assert_eq!(opened.groups[0].trail.last().index, Index(last));
    let mut log = opened.log;

    // Room comes back, a snapshot is written into it, and the log shrinks.
    fs::remove_file(&ballast).unwrap();
    let snapshot = SnapshotMeta { last: Position::new(1, last - 1), membership };
    let store = SnapshotStore::open(disk.clone()).unwrap();
    let mut writer = store.begin(GROUP, &snapshot, 1).unwrap();
    writer.write_chunk(&vec![1; 500_000]).unwrap();
    writer.finish().unwrap();
    log.compact(GROUP, &snapshot, Index(last - 1)).unwrap();
    let after = fill(&mut log, 200, last + 1);
    assert!(after > last + 300, "{last} {after}");
    drop(log);
    let report = verify(&disk);
    assert!(report.is_whole(), "{report}");
}
