//! Snapshots: taken, sent, loaded.

use super::cluster::{Cluster, elected, options};
use crate::Node;
use crate::envelope::OpenSession;
use crate::port::{
    Action, Answer, ClientRequest, Event, LogDone, NodeOptions, Report, RequestError, RequestToken,
    SnapshotDone, SnapshotJob,
};
use bytes::Bytes;
use driftless_codec::EntryKind;
use driftless_log::SnapshotMeta;
use driftless_raft::{NodeId, Position, Time};

pub(super) fn snapshots_often(id: NodeId) -> NodeOptions {
    let mut options = NodeOptions {
        snapshot_every_entries: 10,
        retained_entries: 2,
        snapshot_chunk_bytes: 7,
        cache_bytes_max: 500,
        ..NodeOptions::new(id)
    };
    // A follower that is behind is not waited for.
    options.raft.catch_up_entries_max = 2;
    options
}

/// One that answers and is not far behind is spared a snapshot.
#[test]
fn the_log_is_kept_for_a_follower_that_is_a_little_behind() {
    let options = |id| {
        let mut options = snapshots_often(id);
        options.raft.catch_up_entries_max = 1_000;
        options
    };
    let mut cluster = elected(3, options);
    let (leader, other) = (cluster.leader(), cluster.followers()[1]);
    let follower = cluster.followers()[0];
    cluster.ask(leader, 0, "x");
    cluster.kill(follower);
    // It answered a moment ago, as far as the leader knows.
    for token in 1..20 {
        cluster.ask(other, token, "x");
    }
    assert!(cluster.members[&leader].disk.snapshot.is_some());
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(cluster.members[&follower].loads, 0);
    cluster.assert_agree();
}

#[test]
fn a_follower_behind_the_log_is_caught_up_by_a_snapshot_in_pieces() {
    let mut cluster = elected(3, snapshots_often);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    cluster.kill(follower);
    for token in 0..40 {
        cluster.ask(leader, token, "command");
    }
    let kept = cluster.members[&leader].disk.entries.len();
    assert!(kept < 20, "{kept} entries are kept behind a snapshot");
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(cluster.members[&follower].loads, 1, "one snapshot was loaded");
    assert_eq!(cluster.members[&follower].machine.seen.len(), 40);
    // Sessions came along: a retry of what the snapshot covers changes nothing.
    cluster.ask(follower, 50, "after");
    cluster.assert_applied(follower, 50, "41");
    cluster.pass(200_000);
    cluster.assert_agree();

    cluster.kill(leader);
    cluster.start(leader);
    cluster.pass(2_000_000);
    cluster.assert_agree();
}

/// After a restart a member may be at a snapshot of its own when the leader's comes.
#[test]
fn a_piece_that_comes_while_a_snapshot_is_taken_is_asked_for_again() {
    let mut cluster = elected(3, snapshots_often);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    cluster.kill(follower);
    for token in 0..40 {
        cluster.ask(leader, token, "command");
    }
    cluster.start(follower);
    let node =
        |cluster: &mut Cluster| cluster.members.get_mut(&follower).and_then(|m| m.node.take());
    let mut at_it = node(&mut cluster).expect("it runs");
    at_it.snapshots.saving = true;
    cluster.members.get_mut(&follower).expect("a member").node = Some(at_it);
    cluster.pass(300_000);
    assert_eq!(cluster.members[&follower].loads, 0, "it is at its own");

    let mut done = node(&mut cluster).expect("it runs");
    let (moment, mut actions) = (cluster.moment(), Vec::new());
    let saved = SnapshotDone::Saved { result: Err("the disk is full".to_owned()) };
    done.handle(moment, Event::Snapshot(saved), &mut actions);
    cluster.members.get_mut(&follower).expect("a member").node = Some(done);
    cluster.carry_out(follower, actions);
    cluster.pass(300_000);
    assert_eq!(cluster.members[&follower].loads, 1, "sooner than the leader loses patience");
    cluster.assert_agree();
}

/// A follower's command is applied by the others, which take a snapshot; it did
/// not hear of that, being cut off, and installs the snapshot. `meanwhile` happens
/// at the leader after the command.
fn swallowed_by_a_snapshot(meanwhile: fn(&mut Node, NodeId)) -> (Cluster, u64) {
    let mut cluster = elected(3, snapshots_often);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    let (follower, other) = (followers[0], followers[1]);
    cluster.ask(follower, 1, "first");
    // The command reaches the leader, then the follower is cut off.
    let request = ClientRequest::Propose {
        token: RequestToken(2),
        command: Bytes::from_static(b"swallowed"),
        deadline: Time(cluster.now + 60_000_000),
    };
    let moment = cluster.moment();
    let mut actions = Vec::new();
    let node = cluster.members.get_mut(&follower).and_then(|m| m.node.as_mut()).expect("it runs");
    node.handle(moment, Event::Client(request), &mut actions);
    node.flush(moment, &mut actions);
    cluster.carry_out(follower, actions);
    let forward = cluster.queue.pop_front().expect("the forwarded command");
    cluster.cut.push(follower);
    cluster.unlink(follower);
    cluster.queue.push_front(forward);
    cluster.settle();
    let node = cluster.members.get_mut(&leader).and_then(|m| m.node.as_mut()).expect("it leads");
    meanwhile(node, NodeId(follower));
    for token in 0..40 {
        cluster.ask(other, 100 + token, "more");
    }
    assert_eq!(cluster.answer(follower, 2), None);
    cluster.cut.clear();
    for id in [leader, other] {
        cluster.connect(follower, id);
        cluster.connect(id, follower);
    }
    cluster.settle();
    cluster.pass(10_000_000);
    assert_eq!(cluster.members[&follower].loads, 1);
    cluster.assert_agree();
    (cluster, follower)
}

#[test]
fn an_answer_that_a_snapshot_swallowed_is_found_in_its_sessions() {
    let (cluster, follower) = swallowed_by_a_snapshot(|_, _| {});
    cluster.assert_applied(follower, 2, "2");
}

/// Under another session it would be applied a second time.
#[test]
fn a_command_whose_session_ended_behind_a_snapshot_is_not_sent_again() {
    let (mut cluster, follower) = swallowed_by_a_snapshot(|leader, follower| {
        // What an earlier boot of the follower had asked for comes late.
        let open = OpenSession { node: follower, boot: 99 };
        leader.forwarded.push((follower, EntryKind::Session, open.encode()));
    });
    let lost = Answer::Refused(RequestError::SessionLost);
    assert_eq!(cluster.answer(follower, 2), Some(&lost));
    cluster.ask(follower, 3, "after");
    cluster.pass(1_000_000);
    assert!(matches!(cluster.answer(follower, 3), Some(Answer::Applied { .. })));
    let seen = &cluster.members[&follower].machine.seen;
    assert_eq!(seen.iter().filter(|command| *command == "swallowed").count(), 1);
}

/// Found by the simulator: the newer snapshot's name was given to the older
/// one's state, and what followed the newer one was applied onto it.
#[test]
fn a_snapshot_that_comes_while_another_is_loaded_is_loaded_after_it() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    let moment = cluster.moment();
    let node = cluster.members.get_mut(&follower).and_then(|m| m.node.as_mut()).expect("it runs");
    let membership = node.raft().membership().clone();
    let meta =
        |index| SnapshotMeta { last: Position::new(1, index), membership: membership.clone() };
    let sidecar = crate::sidecar::encode(&node.sessions, &node.roster);
    let loads = |actions: &mut Vec<Action>| -> Vec<u64> {
        let jobs = actions.drain(..).filter_map(|action| match action {
            Action::Snapshot(SnapshotJob::Load { meta }) => Some(meta.last.index.0),
            _ => None,
        });
        jobs.collect()
    };
    let mut actions = Vec::new();
    node.snapshots.to_load = Some(meta(100));
    node.pump(&mut actions);
    node.snapshots.to_load = Some(meta(200));
    node.pump(&mut actions);
    assert_eq!(loads(&mut actions), [100]);
    for (loaded, then) in [(100, vec![200]), (200, vec![])] {
        let done = SnapshotDone::Loaded { result: Ok(Some(sidecar.clone())) };
        node.handle(moment, Event::Snapshot(done), &mut actions);
        assert_eq!(node.applied_position(), Position::new(1, loaded));
        assert_eq!(loads(&mut actions), then);
    }
}

#[test]
fn a_snapshot_that_rotted_is_replaced_and_the_follower_served() {
    let options = |id| {
        let mut options = snapshots_often(id);
        options.raft.snapshots_from_followers = false;
        options
    };
    let mut cluster = elected(3, options);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    cluster.kill(follower);
    for token in 0..40 {
        cluster.ask(leader, token, "command");
    }
    cluster.members.get_mut(&leader).expect("the leader").snapshot_rots = true;
    // Nobody writes any more: no other snapshot would be due for ever.
    cluster.start(follower);
    cluster.pass(5_000_000);
    assert_eq!(cluster.members[&follower].machine.seen.len(), 40);
    let reports = &cluster.members[&leader].reports;
    let lost = reports.iter().filter(|report| matches!(report, Report::SnapshotLost(_)));
    assert_eq!(lost.count(), 1, "it is said once: {reports:?}");
    cluster.assert_agree();
}

#[test]
fn the_log_is_let_go_only_when_the_snapshot_is_durable() {
    let mut cluster = elected(1, snapshots_often);
    let base = |cluster: &Cluster| {
        cluster.members[&1].node.as_ref().expect("it runs").raft().trail().base().index.0
    };
    cluster.members.get_mut(&1).expect("the member").snapshots_wait = true;
    for token in 0..30 {
        cluster.ask(1, token, "command");
    }
    let member = cluster.members.get_mut(&1).expect("the member");
    assert!(member.disk.entries.len() >= 30, "{}", member.disk.entries.len());
    let done = member.waiting.pop().expect("a snapshot was asked for");
    assert!(member.waiting.is_empty(), "one at a time");
    assert_eq!(base(&cluster), 0);
    cluster.queue.push_back((1, Event::Snapshot(done)));
    cluster.settle();
    assert!(base(&cluster) > 0);
    assert!(cluster.members[&1].disk.entries.len() < 30);
}

/// The log builds on the one before the newest until it says otherwise.
#[test]
fn a_snapshot_is_removed_only_when_the_log_names_a_later_one() {
    let mut cluster = elected(1, options);
    for token in 0..5 {
        cluster.ask(1, token, "command");
    }
    let moment = cluster.moment();
    let node = cluster.members.get_mut(&1).and_then(|member| member.node.as_mut());
    let node = node.expect("it runs");
    let membership = node.raft().membership().clone();
    let mut actions = Vec::new();
    let [first, second] = [3, 5].map(|index| Position::new(1, index));
    for last in [first, second] {
        let result = Ok(SnapshotMeta { last, membership: membership.clone() });
        node.handle(moment, Event::Snapshot(SnapshotDone::Saved { result }), &mut actions);
    }
    for named in [first, second] {
        actions.clear();
        let done = LogDone::Compacted { snapshot: named };
        node.handle(moment, Event::Log(done), &mut actions);
        let keeps = actions.iter().find_map(|action| match action {
            Action::Snapshot(SnapshotJob::RemoveOlder { keep }) => Some(*keep),
            _ => None,
        });
        assert_eq!(keeps, Some(named));
    }
}
