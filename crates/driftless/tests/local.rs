//! A cluster inside a process, as an application's tests use it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "support/scroll.rs"]
mod scroll;

use driftless::raft::ChangeRefusal;
use driftless::{LocalCluster, NodeId, NodeOptions, RequestError};
use scroll::{Scroll, contents, soon};
use std::time::Duration;

#[tokio::test]
async fn any_member_takes_commands_and_all_apply_them() {
    let cluster = LocalCluster::start(3, |_| Scroll::default()).unwrap();
    let leader = cluster.leader().await.status().node_id;
    for id in (1..=3).map(NodeId) {
        cluster.handle(id).propose(id.0.to_string().into(), soon()).await.unwrap();
    }
    // Larger than what frames copy: they travel in several parts.
    cluster.handle(leader).propose(vec![7; 100_000].into(), soon()).await.unwrap();
    for id in (1..=3).map(NodeId) {
        let seen = contents(&cluster.handle(id)).await;
        assert_eq!(seen[..3], ["1", "2", "3"]);
        assert_eq!(seen[3].len(), 100_000);
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_finds_again_what_it_had() {
    let mut cluster = LocalCluster::start(3, |_| Scroll::default()).unwrap();
    let first = cluster.leader().await;
    first.propose("one".into(), soon()).await.unwrap();
    for id in [1, 2, 3].map(NodeId) {
        contents(&cluster.handle(id)).await;
    }
    for id in [1, 2, 3].map(NodeId) {
        cluster.stop_member(id).await;
    }
    // None of their machines remembers anything; their logs do.
    for id in [1, 2, 3].map(NodeId) {
        cluster.start_member(id, Scroll::default()).unwrap();
    }
    for id in [1, 2, 3].map(NodeId) {
        assert_eq!(contents(&cluster.handle(id)).await, ["one"]);
    }
    cluster.stop().await;
}

fn hasty_snapshots(id: NodeId) -> NodeOptions {
    NodeOptions {
        snapshot_every_entries: 10,
        retained_entries: 0,
        ..LocalCluster::<Scroll>::options(id)
    }
}

#[tokio::test]
async fn a_member_that_was_away_gets_a_snapshot() {
    let mut cluster =
        LocalCluster::start_on_current(3, hasty_snapshots, |_| Scroll::default()).unwrap();
    let away = cluster.leader().await.status().node_id;
    cluster.stop_member(away).await;
    let leader = cluster.leader().await;
    let mut expected: Vec<String> = Vec::new();
    // A second snapshot lets go of what lies before the first.
    while leader.metrics().snapshots_saved < 2 {
        expected.push(expected.len().to_string());
        leader.propose(expected[expected.len() - 1].clone().into(), soon()).await.unwrap();
    }
    cluster.start_member(away, Scroll::default()).unwrap();
    let back = cluster.handle(away);
    assert_eq!(contents(&back).await, expected);
    assert!(back.metrics().snapshots_received > 0, "{:?}", back.metrics());
    cluster.stop().await;
}

/// One joins, votes, takes the place of another, and is there again after a restart.
#[tokio::test]
async fn members_come_and_go() {
    let mut cluster = LocalCluster::start(3, |_| Scroll::default()).unwrap();
    let new = NodeId(4);
    let leader = cluster.leader().await;
    leader.propose("before".into(), soon()).await.unwrap();
    cluster.join_member(new, Scroll::default()).unwrap();
    leader.add_learner(new, "local", soon()).await.unwrap();
    let deadline = soon();
    while let Err(error) = leader.promote(new, deadline).await {
        assert!(matches!(error, RequestError::Change(ChangeRefusal::NotCaughtUp(_))), "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Without the leader and without the new one there is no quorum of four.
    let gone = leader.status().node_id;
    cluster.stop_member(gone).await;
    assert_eq!(contents(&cluster.handle(new)).await, ["before"]);
    cluster.handle(new).remove(gone, soon()).await.unwrap();
    cluster.stop_member(new).await;
    cluster.start_member(new, Scroll::default()).unwrap();
    cluster.handle(new).propose("after".into(), soon()).await.unwrap();
    assert_eq!(contents(&cluster.handle(new)).await, ["before", "after"]);
    let members = cluster.handle(new).members();
    assert_eq!(members.members.len(), 3);
    assert!(members.removed.contains(&gone));
    cluster.stop().await;
}
