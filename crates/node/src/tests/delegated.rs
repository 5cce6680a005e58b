//! Snapshots that a follower sends in the leader's place.

use super::cluster::{Cluster, elected};
use super::snapshots::snapshots_often;
use crate::port::{Event, NodeOptions, Report};
use driftless_raft::{NodeId, Role};

/// The leader, one that needs a snapshot and is down, and one that has it.
fn behind(options: fn(NodeId) -> NodeOptions) -> (Cluster, u64, u64, u64) {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    let (follower, other) = (followers[0], followers[1]);
    cluster.kill(follower);
    for token in 0..40 {
        cluster.ask(leader, token, "command");
    }
    (cluster, leader, follower, other)
}

/// Who sent a snapshot that arrived, and in whose place.
fn sent(cluster: &Cluster) -> Vec<(u64, Option<NodeId>)> {
    let members = cluster.members.iter();
    let reports = members.flat_map(|(id, member)| member.reports.iter().map(|it| (*id, it)));
    let sent = |(id, report): (u64, &Report)| match report {
        Report::SnapshotSent { for_leader, .. } => Some((id, *for_leader)),
        _ => None,
    };
    reports.filter_map(sent).collect()
}

/// Lets the follower come back, and goes on until it has so many bytes of a snapshot.
fn until_it_has(cluster: &mut Cluster, follower: u64, bytes: usize) {
    cluster.start(follower);
    for _ in 0..100 {
        let next = cluster
            .members
            .iter()
            .filter_map(|(id, member)| Some((member.node.as_ref()?.deadline()?.0, *id)));
        let (at, id) = next.min().expect("somebody waits for something");
        cluster.now = cluster.now.max(at);
        cluster.queue.push_back((id, Event::Wake));
        while !cluster.queue.is_empty() {
            if cluster.members[&follower].disk.partial.len() >= bytes {
                return;
            }
            cluster.deliver_one();
        }
    }
    panic!("no snapshot is sent");
}

fn assert_caught_up(cluster: &mut Cluster, follower: u64) {
    cluster.pass(20_000_000);
    assert_eq!(cluster.members[&follower].machine.seen.len(), 40);
    assert_eq!(cluster.members[&follower].loads, 1);
    cluster.assert_agree();
}

#[test]
fn a_follower_sends_in_the_leaders_place() {
    let (mut cluster, leader, follower, other) = behind(snapshots_often);
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(sent(&cluster), [(other, Some(NodeId(leader)))]);
    assert_caught_up(&mut cluster, follower);
}

#[test]
fn the_leader_sends_where_that_is_not_wanted() {
    let (mut cluster, leader, follower, _) = behind(|id| {
        let mut options = snapshots_often(id);
        options.raft.snapshots_from_followers = false;
        options
    });
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(sent(&cluster), [(leader, None)]);
    assert_caught_up(&mut cluster, follower);
}

#[test]
fn a_follower_without_a_snapshot_takes_one() {
    let (mut cluster, leader, follower, other) = behind(|id| match id {
        NodeId(2) => NodeOptions { snapshot_every_entries: 1_000, ..snapshots_often(id) },
        _ => snapshots_often(id),
    });
    assert_eq!(other, 2, "the one that took none");
    assert!(cluster.members[&other].disk.snapshot.is_none());
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(sent(&cluster), [(other, Some(NodeId(leader)))]);
    assert_caught_up(&mut cluster, follower);
}

#[test]
fn the_leader_sends_when_the_follower_cannot_read_its_own() {
    let (mut cluster, leader, follower, other) = behind(snapshots_often);
    cluster.members.get_mut(&other).expect("a member").snapshot_rots = true;
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(sent(&cluster), [(leader, None)]);
    let failed =
        |report: &&Report| matches!(report, Report::SnapshotNotSent { for_leader: Some(_), .. });
    let reports = &cluster.members[&other].reports;
    assert_eq!(reports.iter().filter(failed).count(), 1, "it is asked once: {reports:?}");
    assert_caught_up(&mut cluster, follower);
}

#[test]
fn the_leader_sends_when_the_follower_dies() {
    let (mut cluster, leader, follower, other) = behind(snapshots_often);
    until_it_has(&mut cluster, follower, 30);
    cluster.kill(other);
    cluster.pass(2_000_000);
    assert_eq!(sent(&cluster), [(leader, None)]);
    cluster.start(other);
    assert_caught_up(&mut cluster, follower);
}

/// It goes on where it was: the bytes are the same member's.
#[test]
fn a_receiver_that_restarts_goes_on_with_the_same_sender() {
    let (mut cluster, leader, follower, other) = behind(snapshots_often);
    until_it_has(&mut cluster, follower, 70);
    cluster.kill(follower);
    let had = cluster.members[&follower].disk.partial.len() as u64;
    let pieces = cluster.members[&follower].pieces.len();
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(sent(&cluster), [(other, Some(NodeId(leader)))]);
    // Of the last piece of seven bytes the leader may not have heard.
    let resumed = cluster.members[&follower].pieces[pieces];
    assert!((had - 7..=had).contains(&resumed), "at byte {resumed} of {had}");
    assert_caught_up(&mut cluster, follower);
}

/// Nobody sends in the place of one who leads no more, and the next leader begins anew.
#[test]
fn the_leader_dies_meanwhile() {
    let (mut cluster, leader, follower, other) = behind(snapshots_often);
    until_it_has(&mut cluster, follower, 30);
    cluster.kill(leader);
    let node = |cluster: &Cluster, id: u64| {
        let node = cluster.members[&id].node.as_ref().expect("it runs");
        (node.status().role, node.snapshots.sending.is_empty())
    };
    assert!(node(&cluster, other).1, "it stops with the leader's link");
    cluster.pass(10_000_000);
    assert_eq!(node(&cluster, other).0, Role::Leader, "it alone has all that is committed");
    assert_eq!(sent(&cluster), [(other, None)]);
    cluster.start(leader);
    assert_caught_up(&mut cluster, follower);
}
