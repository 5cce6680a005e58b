//! A member that cannot start says why, and what to do about it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use driftless::{NodeFailure, NodeId, StartError, StopReason};
use std::fs;
use std::net::TcpListener;
use support::{Cluster, Scroll, contents, quick, soon};

/// The error's text; it must not name internals.
fn refusal(result: Result<driftless::Running<Scroll>, StartError>) -> String {
    let text = result.expect_err("it must not start").to_string();
    assert!(!text.contains("Error {"), "{text}");
    text
}

#[tokio::test]
async fn a_port_in_use() {
    let mut cluster = Cluster::new(1, quick);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    cluster.addresses[0] = taken.local_addr().unwrap().to_string();
    let text = refusal(cluster.start(1));
    assert!(text.contains(&cluster.addresses[0]) && text.contains("is in use"), "{text}");
    assert!(!cluster.directory_of(1).exists(), "nothing is made for a member that cannot start");
}

#[tokio::test]
async fn an_address_that_is_none() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:port", "192.0.2.1:7000"] {
        let text = refusal(Cluster::new(1, quick).builder(1).listen(address).start());
        assert!(text.contains(address), "{text}");
    }
}

#[tokio::test]
async fn members_that_do_not_add_up() {
    let cluster = Cluster::new(1, quick);
    let text = refusal(cluster.start(2));
    assert!(text.contains("member 2 is not among the members"), "{text}");
}

#[tokio::test]
async fn a_directory_that_is_in_use() {
    let cluster = Cluster::new(1, quick);
    let running = cluster.start(1).unwrap();
    let text = refusal(cluster.builder(1).listen("127.0.0.1:0").start());
    assert!(text.contains("in use by another process"), "{text}");
    running.handle().propose("kept".into(), soon()).await.unwrap();
    running.stop().await;
    let again = cluster.start(1).unwrap();
    assert_eq!(contents(&again.handle()).await, ["kept"]);
    again.stop().await;
}

#[tokio::test]
async fn a_directory_of_somebody_else() {
    let cluster = Cluster::new(2, quick);
    cluster.start(1).unwrap().stop().await;
    let directory = cluster.directory_of(1);
    let member = |id, token| {
        driftless::Builder::new(NodeId(id), token, &directory, Scroll::default())
            .member(NodeId(1), &cluster.addresses[0])
            .member(NodeId(2), &cluster.addresses[1])
            .start()
    };
    let text = refusal(member(1, "another"));
    assert!(text.contains("belongs to cluster") && text.contains("token"), "{text}");
    let text = refusal(member(2, "test"));
    assert!(text.contains("belongs to member 1, not 2"), "{text}");
    member(1, "test").unwrap().stop().await;
}

#[tokio::test]
async fn a_directory_that_is_damaged() {
    let cluster = Cluster::new(1, quick);
    cluster.start(1).unwrap().stop().await;
    let identity = cluster.directory_of(1).join("identity");
    let mut bytes = fs::read(&identity).unwrap();
    bytes.fill(0xff);
    fs::write(&identity, bytes).unwrap();
    let text = refusal(cluster.start(1));
    assert!(text.contains("identity"), "{text}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made() {
    let cluster = Cluster::new(1, quick);
    fs::write(cluster.directory_of(1), "a file").unwrap();
    let text = refusal(cluster.start(1));
    assert!(text.contains(&cluster.directory_of(1).display().to_string()), "{text}");
}

/// A member whose directory was lost would vote with amnesia: its peers refuse
/// it, it learns of that and stops, and the others go on.
#[tokio::test]
async fn a_member_that_lost_its_directory() {
    let cluster = Cluster::new(3, quick);
    let mut running = cluster.start_all();
    let handle = running[0].handle();
    handle.propose("before".into(), soon()).await.unwrap();
    // All have met: each follows the same leader.
    for node in &running {
        contents(&node.handle()).await;
    }
    running.pop().unwrap().stop().await;
    fs::remove_dir_all(cluster.directory_of(3)).unwrap();

    let wiped = cluster.start(3).unwrap();
    let NodeFailure::Stopped(reason) = wiped.wait().await.unwrap_err() else { panic!("panicked") };
    assert!(matches!(reason, StopReason::UnknownIncarnation { .. }), "{reason}");
    assert!(reason.to_string().contains("restore the old data directory"), "{reason}");
    handle.propose("after".into(), soon()).await.unwrap();
    assert_eq!(contents(&running[1].handle()).await, ["before", "after"]);
    for node in running {
        node.stop().await;
    }
}
