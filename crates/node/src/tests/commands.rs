//! Commands and reads, from asked to answered.

use super::cluster::{Cluster, elected, options};
use crate::envelope::OpenSession;
use crate::port::{Answer, ClientRequest, Event, LogDone, NodeOptions, RequestError, RequestToken};
use bytes::Bytes;
use driftless_codec::EntryKind;
use driftless_raft::{NodeId, Time};

#[test]
fn a_command_is_answered_where_it_was_asked_and_all_members_agree() {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.ask(leader, 1, "one");
    cluster.ask(followers[0], 2, "two");
    cluster.ask(followers[1], 3, "three");
    cluster.pass(200_000);
    cluster.assert_applied(leader, 1, "1");
    cluster.assert_applied(followers[0], 2, "2");
    cluster.assert_applied(followers[1], 3, "3");
    cluster.assert_agree();
}

#[test]
fn a_single_member_serves_at_once() {
    let mut cluster = Cluster::new(1, options);
    cluster.pass(1);
    cluster.ask(1, 1, "one");
    cluster.assert_applied(1, 1, "1");
    cluster.read(1, 2);
    assert_eq!(cluster.answer(1, 2), Some(&Answer::ReadReady));
}

#[test]
fn every_member_serves_reads_that_see_what_was_acknowledged() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    cluster.ask(leader, 1, "one");
    for id in 1..=3 {
        cluster.read(id, 10);
        assert_eq!(cluster.answer(id, 10), Some(&Answer::ReadReady), "member {id}");
        assert_eq!(cluster.members[&id].machine.seen.len(), 1, "member {id}");
    }
}

#[test]
fn a_restart_applies_the_log_again_and_goes_on() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    for token in 0..20 {
        cluster.ask(follower, token, "more");
    }
    cluster.kill(follower);
    cluster.start(follower);
    cluster.pass(500_000);
    assert_eq!(cluster.members[&follower].machine.seen.len(), 20);
    cluster.ask(follower, 100, "after");
    cluster.assert_applied(follower, 100, "21");
    cluster.assert_agree();
}

#[test]
fn a_command_caught_by_a_change_of_leader_is_sent_again_and_applied_once() {
    let mut cluster = elected(3, options);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    cluster.ask(follower, 1, "before");
    cluster.assert_applied(follower, 1, "1");
    // The leader dies with the command on its way.
    cluster.members.get_mut(&leader).expect("the leader").node = None;
    cluster.ask(follower, 2, "caught");
    assert_eq!(cluster.answer(follower, 2), None);
    cluster.kill(leader);
    cluster.pass(3_000_000);
    cluster.assert_applied(follower, 2, "2");
    cluster.start(leader);
    cluster.pass(1_000_000);
    assert_eq!(cluster.members[&leader].machine.seen, ["before", "caught"]);
}

#[test]
fn without_a_quorum_the_deadline_answers() {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.kill(followers[0]);
    cluster.kill(followers[1]);
    cluster.ask(leader, 1, "lost");
    cluster.read(leader, 2);
    cluster.pass(3_000_000);
    cluster.ask(leader, 3, "never sent");
    cluster.read(leader, 4);
    cluster.pass(6_000_000);
    let refused = |error| Some(Answer::Refused(error));
    assert_eq!(cluster.answer(leader, 1), refused(RequestError::TimedOut).as_ref());
    assert_eq!(cluster.answer(leader, 2), refused(RequestError::NoLeader).as_ref());
    assert_eq!(cluster.answer(leader, 3), refused(RequestError::NoLeader).as_ref());
    assert_eq!(cluster.answer(leader, 4), refused(RequestError::NoLeader).as_ref());
}

#[test]
fn too_large_a_command_is_refused_with_the_limit() {
    fn small(id: NodeId) -> NodeOptions {
        NodeOptions { command_bytes_max: 3, ..NodeOptions::new(id) }
    }
    let mut cluster = elected(1, small);
    cluster.ask(1, 1, "four");
    let error = RequestError::TooLarge { bytes: 4, bytes_max: 3 };
    assert_eq!(cluster.answer(1, 1), Some(&Answer::Refused(error)));
    cluster.ask(1, 2, "two");
    cluster.assert_applied(1, 2, "1");
}

#[test]
fn a_command_that_could_never_wait_here_is_too_large_not_busy() {
    fn narrow(id: NodeId) -> NodeOptions {
        NodeOptions { pending_bytes_max: 30, ..NodeOptions::new(id) }
    }
    let mut cluster = elected(1, narrow);
    cluster.ask(1, 1, "more than six");
    let error = RequestError::TooLarge { bytes: 13, bytes_max: 6 };
    assert_eq!(cluster.answer(1, 1), Some(&Answer::Refused(error)));
    cluster.ask(1, 2, "sixsix");
    cluster.assert_applied(1, 2, "1");
}

/// Taken together, the command would be under way still when its session ends, and
/// be sent again under the next.
#[test]
fn a_command_is_applied_once_though_its_session_ends_right_behind_it() {
    let mut cluster = elected(1, options);
    cluster.ask(1, 1, "one");
    let request = ClientRequest::Propose {
        token: RequestToken(2),
        command: Bytes::from_static(b"two"),
        deadline: Time(cluster.now + 5_000_000),
    };
    let moment = cluster.moment();
    let mut actions = Vec::new();
    let node = cluster.members.get_mut(&1).and_then(|member| member.node.as_mut());
    let node = node.expect("it runs");
    node.handle(moment, Event::Client(request), &mut actions);
    node.flush(moment, &mut actions);
    // An earlier boot's session, asked for long ago.
    let open = OpenSession { node: NodeId(1), boot: 99 };
    node.forwarded.push((NodeId(1), EntryKind::Session, open.encode()));
    node.flush(moment, &mut actions);
    cluster.carry_out(1, actions);
    // One sync made both durable.
    let first = cluster.queue.pop_front();
    assert!(matches!(first, Some((1, Event::Log(LogDone::Appended { .. })))), "{first:?}");
    cluster.settle();
    cluster.pass(1_000_000);
    cluster.assert_applied(1, 2, "2");
    assert_eq!(cluster.members[&1].machine.seen, ["one", "two"]);
}
