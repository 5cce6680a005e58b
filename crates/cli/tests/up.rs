//! `driftless up`: a cluster that outlives its members, ends with its parent,
//! and goes on where it stopped.

mod common;

use common::{Story, Up, driftless, eventually, failed, is_alive, signal, succeeded};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_cluster_outlives_its_leader_and_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("data");
    let mut up = Up::start(&directory);
    let endpoints = up.all_endpoints();
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "what is stored is nobody else's to read");

    succeeded(&driftless(["put", "--endpoints", &endpoints, "greeting", "hello"]));
    let answer = driftless(["get", "--endpoints", &endpoints, "--value-only", "greeting"]);
    assert_eq!(succeeded(&answer), "hello\n");

    let leader = up.leader_pid;
    signal(leader, Signal::KILL);
    let died = up.story.expect("died: killed by SIGKILL");
    assert!(died.contains(&format!("pid {leader}")), "{died}");
    let name = died.split_whitespace().nth(1).unwrap().to_owned();
    // Whichever comes first: the next election, or the dead member's return.
    let (mut leads, mut returned) = (false, false);
    while !(leads && returned) {
        let line = up.story.expect("");
        leads |= line.contains("leads, in term");
        returned |= line.contains("is started again") && line.contains(&name);
    }
    let put = driftless(["put", "--endpoints", &endpoints, "--json", "second", "write"]);
    assert!(succeeded(&put).contains("revision"));
    eventually("all three are well", || {
        let mut members = endpoints.split(',');
        let has_it = |one: &str| driftless(["get", "--endpoints", one, "second"]).status.success();
        members.all(has_it).then_some(())
    });
    let pids = up.pids.clone();
    up.stop();
    assert!(!pids.into_iter().any(is_alive));

    // Neither ports nor size need to be said again.
    let up = Up::start_with(&directory, &[]);
    assert_eq!(up.all_endpoints(), endpoints);
    let answer = driftless(["get", "--endpoints", &endpoints, "--prefix", "", "--value-only"]);
    assert_eq!(succeeded(&answer), "hello\nwrite\n");
    up.stop();
}

#[test]
fn members_end_with_the_process_that_started_them() {
    let home = tempfile::tempdir().unwrap();
    let mut up = Up::start(home.path());
    assert_eq!(up.pids.len(), 3);
    up.story.kill();
    for pid in up.pids {
        eventually("the member is gone", || (!is_alive(pid)).then_some(()));
    }
}

#[test]
fn one_member_is_a_cluster() {
    let home = tempfile::tempdir().unwrap();
    let (client, peer) = common::first_ports();
    let (client, peer) = (client.to_string(), peer.to_string());
    let arguments = ["--nodes", "1", "--client-port", &client, "--peer-port", &peer];
    let up = Up::start_with(home.path(), &arguments);
    let endpoints = up.all_endpoints();
    assert_eq!(endpoints, format!("127.0.0.1:{client}"));
    succeeded(&driftless(["put", "--endpoints", &endpoints, "a", "1"]));
    let count = driftless(["get", "--endpoints", &endpoints, "--prefix", "", "--count"]);
    assert_eq!(succeeded(&count), "1\n");
    up.stop();
}

#[test]
fn a_member_that_cannot_start_is_given_up_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let (client, peer) = common::first_ports();
    std::fs::write(home.path().join("n1"), "where its directory should be").unwrap();
    let told = failed(
        &driftless([
            "up",
            "--nodes",
            "1",
            "--dir",
            home.path().to_str().unwrap(),
            "--client-port",
            &client.to_string(),
            "--peer-port",
            &peer.to_string(),
        ]),
        1,
    );
    assert!(told.contains("n1 died 3 times in a row at its start"), "{told}");
    assert!(told.contains("its last words, from") && told.contains("n1.log"), "{told}");
}

#[test]
fn a_member_that_lost_its_disk_while_nothing_ran_is_brought_back() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path());
    let endpoints = up.all_endpoints();
    succeeded(&driftless(["put", "--endpoints", &endpoints, "a", "1"]));
    up.stop();

    std::fs::remove_dir_all(home.path().join("n2")).unwrap();
    let mut again = common::command(common::DRIFTLESS);
    again.arg("up").arg("--dir").arg(home.path());
    let mut story = Story::begin(again);
    expect_healed(&mut story, "n2");
    // Its vote counts again: with it, any other can be missed.
    let status = succeeded(&driftless(["status", "--endpoints", &endpoints]));
    assert_eq!(
        status.matches("follower").count() + status.matches("leader").count(),
        3,
        "{status}"
    );
    let answer = driftless(["get", "--endpoints", &endpoints, "--value-only", "a"]);
    assert_eq!(succeeded(&answer), "1\n");
    signal(story.pid(), Signal::TERM);
    assert_eq!(story.ended().code(), Some(0));
}

/// Waits until the story of a member's return has been told, step by step.
fn expect_healed(story: &mut Story, name: &str) {
    for step in [
        "has lost its data directory",
        "begins anew with an empty directory",
        "was taken back as a learner",
        "has caught up and votes again",
    ] {
        while !story.expect(step).contains(name) {}
    }
}

#[test]
fn directories_may_be_deleted_under_running_members() {
    let home = tempfile::tempdir().unwrap();
    let mut up = Up::start(home.path());
    let endpoints = up.all_endpoints();
    let done = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let key = format!("k/{number:05}");
                let put = driftless(["put", "--endpoints", &endpoints, &key, "v"]);
                if put.status.success() {
                    acknowledged.push(key);
                }
                if done.load(Ordering::Relaxed) {
                    return acknowledged;
                }
            }
            unreachable!("there are more numbers than that")
        });
        // Whatever comes of this, the writer is not waited for in vain.
        let healed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Each of them once, the leader among them.
            for name in ["n1", "n2", "n3"] {
                std::fs::remove_dir_all(home.path().join(name)).unwrap();
                expect_healed(&mut up.story, name);
            }
        }));
        done.store(true, Ordering::Relaxed);
        let acknowledged = writer.join().unwrap();
        healed.unwrap();
        acknowledged
    });
    assert!(acknowledged.len() > 20, "{} writes show nothing", acknowledged.len());
    for endpoint in &up.endpoints {
        let keys = driftless(["get", "--endpoints", endpoint, "--prefix", "k/", "--keys-only"]);
        let keys = succeeded(&keys);
        let keys: BTreeSet<&str> = keys.lines().collect();
        let lost = acknowledged.iter().find(|key| !keys.contains(key.as_str()));
        assert_eq!(lost, None, "at {endpoint}");
    }
    up.stop();
    // What they have on their new disks is theirs.
    let up = Up::start_with(home.path(), &[]);
    assert_eq!(up.all_endpoints(), endpoints);
    up.stop();
}

#[test]
fn what_nobody_has_any_more_is_not_made_up() {
    let home = tempfile::tempdir().unwrap();
    let mut up = Up::start(home.path());
    let endpoints = up.all_endpoints();
    succeeded(&driftless(["put", "--endpoints", &endpoints, "a", "1"]));
    // The two of them cannot be missed: they go on with the files that they have.
    for name in ["n1", "n2"] {
        std::fs::remove_dir_all(home.path().join(name)).unwrap();
    }
    up.story.expect("the others are no majority without it");
    up.story.expect("the others are no majority without it");
    let answer = driftless(["get", "--endpoints", &endpoints, "--value-only", "a"]);
    assert_eq!(succeeded(&answer), "1\n");
    up.stop();
    let mut again = common::command(common::DRIFTLESS);
    again.arg("up").arg("--dir").arg(home.path());
    let mut story = Story::begin(again);
    story.expect("cannot bring n");
    story.expect("cannot bring n");
    story.expect("nobody leads: 1 of 3");
    signal(story.pid(), Signal::TERM);
    assert_eq!(story.ended().code(), Some(0));
    assert!(!home.path().join("n1").exists());

    std::fs::remove_dir_all(home.path().join("n3")).unwrap();
    let told = failed(&driftless(["up", "--dir", home.path().to_str().unwrap()]), 1);
    assert!(told.contains("all that the cluster held is gone"), "{told}");
}

#[test]
fn a_second_cluster_in_the_same_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().to_str().unwrap();
    let up = Up::start(home.path());
    let refused = failed(&driftless(["up", "--dir", directory]), 1);
    assert!(refused.contains("another `driftless up`"), "{refused}");
    assert!(refused.contains(&up.story.pid().to_string()), "{refused}");
    assert!(refused.contains("--dir"), "{refused}");
    up.stop();

    let refused = failed(&driftless(["up", "--dir", directory, "--nodes", "5"]), 1);
    assert!(refused.contains("a cluster of 3, not of 5"), "{refused}");
}
