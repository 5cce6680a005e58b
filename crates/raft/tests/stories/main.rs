//! Stories in plain text: each file beside this one tells what a few members do,
//! and what comes of it.
//!
//! A line that begins with `>` is told to the world (`world.rs` knows the
//! words); the lines below it are what the world answers. `#` begins a remark.
//! `UPDATE_STORIES=1 cargo test -p driftless-raft --test stories` writes the
//! answers anew; read the difference before you keep it.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod narrate;
mod world;

use std::fmt::Write as _;
use std::path::PathBuf;
use world::World;

fn retell(text: &str) -> String {
    let mut world = World::default();
    let mut told = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(told, "{line}").unwrap();
        if let Some(command) = line.strip_prefix("> ") {
            world.tell(command);
            for answer in world.answers.drain(..) {
                writeln!(told, "  {answer}").unwrap();
            }
        }
    }
    told
}

fn check(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stories/{name}.txt"));
    let written = std::fs::read_to_string(&path).unwrap();
    let told = retell(&written);
    if std::env::var_os("UPDATE_STORIES").is_some() {
        std::fs::write(&path, told).unwrap();
        return;
    }
    for (number, (told, written)) in told.lines().zip(written.lines()).enumerate() {
        assert_eq!(told, written, "{name}.txt, line {}", number + 1);
    }
    assert_eq!(told, written, "{name}.txt ends otherwise");
}

macro_rules! stories {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_story_is_told() {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
            let mut found: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned()))
                .collect();
            found.sort();
            let mut listed = [$(stringify!($name)),*];
            listed.sort_unstable();
            assert_eq!(found, listed);
        }
    };
}

stories! {
    election
    figure_7
    figure_8
    figure_8_e
    vote_survives_crash
    pre_vote
    stickiness
    broken_link
    partition
    backtracking
    lost_messages
    pipelining
    slow_disk
    read_index
    read_quorum
    snapshot
    restart
    alone
    membership
    joint
    learner
    witness
    witness_waits
    remove_leader
    remove_leader_of_two
    membership_reverted
    change_refused
    transfer
    transfer_refused
    transfer_fails
    transfer_lost
    election_rank
    disk_stall
    lost_disk
    lost_disk_does_not_vote
    readmit_learner
    readmit_removed
    readmit_stored
    snapshot_in_pieces
    lease
    lease_dropped
    lease_after_restart
    lease_outlives_term
    lease_promise_after_leap
    read_deadline
    delegate
    delegate_declined
    delegate_leader_lost
    found_old_term_counted
    found_removed_leader_counted
    found_late_snapshot
}
