//! What a member's directory keeps of what its lives have promised.

use super::*;

fn open_owing(directory: &Path, owed_us: u64) -> Storage {
    let owner = Owner { cluster_id: 9, node_id: NodeId(1) };
    let membership = Membership::of([NodeId(1), NodeId(2)]);
    let beginning = Beginning { membership, replacement: false };
    let (options, counters) = (Options::small(64 << 10), Arc::default());
    open(directory, owner, &beginning, options, owed_us, &counters).unwrap()
}

fn idle(storage: &mut Storage) {
    let mut done = Vec::new();
    LogWork::idle(&mut storage.log, &mut done);
    assert!(!done.iter().any(|done| matches!(done, LogDone::Failed(_))), "{done:?}");
}

#[test]
fn a_promise_is_on_disk_before_it_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    drop(open_owing(directory, 7));
    let second = open_owing(directory, 3_600_000_000);
    assert_eq!(second.identity.owed_us, 7, "what this life keeps to is what the last one said");
    // Killed at once.
    drop(second);
    let mut third = open_owing(directory, 0);
    assert_eq!(third.identity.owed_us, 3_600_000_000);
    // Within the hour it is not over, whatever this life promises.
    idle(&mut third);
    drop(third);
    assert_eq!(open_owing(directory, 0).identity.owed_us, 3_600_000_000);
}

#[test]
fn a_promise_that_is_over_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    drop(open_owing(directory, 50));
    let mut second = open_owing(directory, 3);
    std::thread::sleep(Duration::from_millis(1));
    idle(&mut second);
    drop(second);
    let third = open_owing(directory, 3);
    assert_eq!(third.identity.owed_us, 3);
}
