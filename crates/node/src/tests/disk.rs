//! Disks that are full or damaged.

use super::cluster::{AMPLE, Cluster, elected, options};
use crate::port::{Answer, Event, LogDone, NodeOptions, Report, RequestError, StopReason};
use crate::{Node, StartError};
use bytes::Bytes;
use driftless_log::{Identity, Recovered, Room};
use driftless_machine::{AppliedPosition, Durable};
use driftless_raft::{
    GroupId, HardState, Index, Membership, Moment, NodeId, Run, Term, Time, Trail,
};
use std::collections::BTreeMap;

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    cluster.ask(leader, 1, "one");
    for member in cluster.members.values_mut() {
        member.room = Room { low_space: true, ..AMPLE };
    }
    // The next record tells.
    cluster.ask(leader, 2, "two");
    cluster.pass(200_000);
    let refused = Some(Answer::Refused(RequestError::DiskFull));
    for id in 1..=3 {
        cluster.ask(id, 3, "three");
        assert_eq!(cluster.answer(id, 3), refused.as_ref(), "member {id}");
        cluster.read(id, 4);
        assert_eq!(cluster.answer(id, 4), Some(&Answer::ReadReady), "member {id}");
    }
    cluster.pass(5_000_000);
    assert_eq!(cluster.leader(), leader, "nobody unseats it");
    for id in 1..=3 {
        cluster.members.get_mut(&id).expect("a member").room = AMPLE;
        cluster.queue.push_back((id, Event::Log(LogDone::Room(AMPLE))));
    }
    cluster.ask(leader, 5, "five");
    cluster.assert_applied(leader, 5, "3");
    cluster.pass(200_000);
    cluster.assert_agree();
}

const FULL: Room = Room { claimed_bytes: 0, low_space: true };

fn set_room(cluster: &mut Cluster, ids: impl IntoIterator<Item = u64>, room: Room) {
    for id in ids {
        cluster.members.get_mut(&id).expect("a member").room = room;
        cluster.queue.push_back((id, Event::Log(LogDone::Room(room))));
    }
    cluster.settle();
}

/// Without a byte for entries on any disk: a leader dies, another is elected,
/// the empty entry of its term is committed in the reserve, and it serves reads.
#[test]
fn elections_and_reads_go_on_while_all_disks_are_full() {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.ask(leader, 1, "one");
    cluster.pass(200_000);
    set_room(&mut cluster, 1..=3, FULL);
    cluster.kill(leader);
    cluster.pass(5_000_000);
    let new = cluster.leader();
    for id in followers {
        cluster.read(id, 2);
        assert_eq!(cluster.answer(id, 2), Some(&Answer::ReadReady), "member {id}");
    }
    cluster.ask(new, 3, "three");
    assert_eq!(cluster.answer(new, 3), Some(&Answer::Refused(RequestError::DiskFull)));
    set_room(&mut cluster, 1..=3, AMPLE);
    cluster.ask(new, 4, "four");
    cluster.assert_applied(new, 4, "2");
    cluster.start(leader);
    cluster.pass(2_000_000);
    cluster.assert_agree();
}

/// Else it would leave out the first entries that it is sent.
#[test]
fn a_member_knows_from_its_start_what_its_log_has_room_for() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    cluster.kill(follower);
    cluster.cut.push(follower);
    cluster.start(follower);
    let node = cluster.members[&follower].node.as_ref().expect("it runs");
    assert!(node.room.free() > 0);
}

#[test]
fn a_follower_leaves_out_what_its_disk_has_no_room_for_until_it_has() {
    let mut cluster = elected(3, options);
    let (leader, full) = (cluster.leader(), cluster.followers()[0]);
    cluster.ask(leader, 1, "one");
    cluster.pass(200_000);
    set_room(&mut cluster, [full], FULL);
    for token in 2..10 {
        cluster.ask(leader, token, "more");
        cluster.assert_applied(leader, token, &token.to_string());
    }
    cluster.pass(5_000_000);
    assert_eq!(cluster.leader(), leader, "the one without room does not unseat it");
    assert_eq!(cluster.members[&full].machine.seen.len(), 1);
    set_room(&mut cluster, [full], AMPLE);
    cluster.pass(1_000_000);
    cluster.assert_agree();
}

#[test]
fn without_room_at_a_quorum_writes_are_refused_not_left_to_their_deadline() {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.ask(leader, 1, "one");
    cluster.pass(200_000);
    set_room(&mut cluster, followers.clone(), FULL);
    cluster.ask(leader, 2, "two");
    cluster.pass(500_000);
    assert_eq!(cluster.answer(leader, 2), None, "it is in a log: nobody can take it back");
    let refused = Some(Answer::Refused(RequestError::DiskFull));
    cluster.ask(leader, 3, "three");
    cluster.ask(followers[0], 4, "four");
    assert_eq!(cluster.answer(leader, 3), refused.as_ref());
    assert_eq!(cluster.answer(followers[0], 4), refused.as_ref());
    cluster.read(leader, 5);
    assert_eq!(cluster.answer(leader, 5), Some(&Answer::ReadReady));
    set_room(&mut cluster, [followers[0]], AMPLE);
    cluster.pass(1_500_000);
    cluster.assert_applied(leader, 2, "2");
    cluster.ask(leader, 6, "six");
    cluster.assert_applied(leader, 6, "3");
    set_room(&mut cluster, [followers[1]], AMPLE);
    cluster.pass(1_500_000);
    cluster.assert_agree();
}

/// Every read makes a round, and every round is answered; what the follower left
/// out must not come again with each of them.
#[test]
fn a_follower_without_room_is_not_sent_the_same_entries_for_every_read() {
    let mut cluster = elected(3, options);
    let (leader, full) = (cluster.leader(), cluster.followers()[0]);
    cluster.ask(leader, 1, "one");
    cluster.pass(200_000);
    set_room(&mut cluster, [full], FULL);
    let long = &*"long".repeat(10_000).leak();
    cluster.ask(leader, 2, long);
    let before = cluster.members[&leader].written_bytes;
    for token in 0..200 {
        cluster.read(leader, 100 + token);
        assert_eq!(cluster.answer(leader, 100 + token), Some(&Answer::ReadReady));
        cluster.pass(1_000);
    }
    let written = cluster.members[&leader].written_bytes - before;
    assert!(written < 25 * long.len(), "{written} bytes for 200 reads");
    set_room(&mut cluster, [full], AMPLE);
    cluster.pass(1_000_000);
    cluster.assert_agree();
}

/// The cluster's log refuses, by an assertion, a record that it has no room for.
#[test]
fn what_waits_is_handed_over_as_the_log_claims_room() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    cluster.ask(leader, 1, "one");
    cluster.pass(200_000);
    set_room(&mut cluster, 1..=3, Room { claimed_bytes: 900, low_space: false });
    for token in 2..40 {
        cluster.ask_later(leader, token, "command");
    }
    cluster.pass(3_000_000);
    for token in 2..40 {
        cluster.assert_applied(leader, token, &token.to_string());
    }
    // One that is larger than what is claimed: the log is asked for more.
    set_room(&mut cluster, 1..=3, Room { claimed_bytes: 10, low_space: false });
    for member in cluster.members.values_mut() {
        member.room = AMPLE;
    }
    cluster.ask(leader, 50, "fifty");
    cluster.pass(1_000_000);
    cluster.assert_applied(leader, 50, "40");
    cluster.pass(1_000_000);
    cluster.assert_agree();
}

fn caches_nothing(id: NodeId) -> NodeOptions {
    NodeOptions { cache_bytes_max: 0, ..NodeOptions::new(id) }
}

#[test]
fn a_leader_that_cannot_read_an_entry_back_stops_so_that_another_leads() {
    let mut cluster = elected(3, caches_nothing);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.kill(followers[0]);
    for token in 0..10 {
        cluster.ask(leader, token, "command");
    }
    cluster.pass(200_000);
    cluster.members.get_mut(&leader).expect("the leader").damaged = Some(Index(5));
    cluster.start(followers[0]);
    cluster.pass(1_000_000);
    let stopped = cluster.members[&leader].stopped.clone();
    assert!(matches!(stopped, Some(StopReason::EntryDamaged(_))), "{stopped:?}");
    cluster.kill(leader);
    cluster.pass(5_000_000);
    assert_eq!(cluster.members[&followers[0]].machine.seen.len(), 10);
    let new = cluster.leader();
    cluster.ask(new, 20, "after");
    cluster.assert_applied(new, 20, "11");
}

#[test]
fn a_machine_that_applied_what_the_log_does_not_hold_is_refused() {
    let mut trail = Trail::default();
    trail.append(Run::new(2, 1, 5));
    let start = |term, index| {
        let recovered = Recovered {
            group: GroupId(1),
            hard_state: HardState { current_term: Term(3), ..HardState::default() },
            trail: trail.clone(),
            membership: Membership::of([NodeId(1)]),
            snapshot: None,
            damaged: Vec::new(),
        };
        let identity = Identity::new(9, NodeId(1), 1);
        let machine =
            Durable { position: AppliedPosition { term, index }, sidecar: Bytes::default() };
        let moment = Moment { now: Time(1), random: 5 };
        let peers = BTreeMap::new();
        Node::new(options(NodeId(1)), identity, recovered, peers, &machine, moment).err()
    };
    assert_eq!(start(2, 5), None);
    assert_eq!(start(0, 0), None);
    assert!(matches!(start(2, 6), Some(StartError::Machine(_))), "beyond the end");
    assert!(matches!(start(1, 5), Some(StartError::Machine(_))), "of another term");
}

fn keeps_some_behind_a_snapshot(id: NodeId) -> NodeOptions {
    NodeOptions { snapshot_every_entries: 10, retained_entries: 9, ..caches_nothing(id) }
}

#[test]
fn a_damaged_entry_that_a_snapshot_covers_harms_nobody() {
    let mut cluster = elected(3, keeps_some_behind_a_snapshot);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    for token in 0..25 {
        cluster.ask(leader, token, "command");
    }
    cluster.pass(200_000);
    cluster.kill(follower);
    let log = |cluster: &Cluster, id: u64| {
        let entries = &cluster.members[&id].disk.entries;
        (entries[0].position.index.0, entries[entries.len() - 1].position.index.0)
    };
    let lacks = log(&cluster, follower).1 + 1;
    for token in 25..40 {
        cluster.ask(leader, token, "command");
        let disk = &cluster.members[&leader].disk;
        let covered = disk.snapshot.as_ref().map_or(0, |(meta, ..)| meta.last.index.0);
        if covered >= lacks {
            break;
        }
    }
    assert!(log(&cluster, leader).0 <= lacks, "it is still in the log");
    cluster.members.get_mut(&leader).expect("the leader").damaged = Some(Index(lacks));
    cluster.start(follower);
    cluster.pass(2_000_000);
    let member = &cluster.members[&leader];
    assert_eq!(member.stopped, None);
    let damaged = |report: &Report| matches!(report, Report::EntryDamaged(_));
    assert!(member.reports.iter().any(damaged), "{:?}", member.reports);
    assert_eq!(cluster.members[&follower].loads, 2, "at its start, and the leader's");
    cluster.assert_agree();
}
