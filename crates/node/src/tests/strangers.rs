//! Members that are not who they were, and frames that are none.

use super::cluster::{Cluster, Disk, elected, options};
use crate::envelope::OpenSession;
use crate::port::{Answer, Event, FrameFault, LinkId, Report, RequestError, StopReason};
use bytes::Bytes;
use driftless_codec::{EntryKind, PeerFrame};
use driftless_raft::{GroupId, Index, NodeId, Position};

#[test]
fn a_wiped_member_is_refused_and_stops_with_the_reason() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    cluster.kill(follower);
    let member = cluster.members.get_mut(&follower).expect("a member");
    member.disk = Disk::default();
    member.incarnation += 1;
    cluster.start(follower);
    let stopped = cluster.members[&follower].stopped.clone();
    assert!(matches!(stopped, Some(StopReason::UnknownIncarnation { .. })), "{stopped:?}");
    cluster.ask(follower, 1, "no");
    assert_eq!(cluster.answer(follower, 1), Some(&Answer::Refused(RequestError::Stopped)));
}

#[test]
fn a_frame_that_is_none_closes_its_link_and_harms_nobody() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    let (&link, &(from, to)) = cluster.links.iter().next().expect("a link");
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0; 64], &[255; 64]] {
        let frame = Bytes::copy_from_slice(bytes);
        cluster.queue.push_back((to, Event::Frame { link: LinkId(link), frame }));
        cluster.settle();
    }
    assert!(cluster.members[&to].reports.iter().any(|r| matches!(r, Report::BadFrame { .. })));
    cluster.connect(from, to);
    cluster.settle();
    cluster.ask(leader, 1, "one");
    cluster.assert_applied(leader, 1, "1");
    assert_eq!(
        cluster.members[&leader].node.as_ref().map(|n| n.applied_position().index > Index(0)),
        Some(true)
    );
    assert!(
        Position::ZERO
            < cluster.members[&leader].node.as_ref().expect("it runs").applied_position()
    );
}

#[test]
fn a_frame_of_another_group_closes_its_link() {
    let mut cluster = elected(3, options);
    let (leader, other) = (cluster.leader(), cluster.followers()[0]);
    let forward = PeerFrame::Forward { entries: Vec::new() };
    let ends = |group: u64, cluster: &mut Cluster| {
        let to_leader = |(_, ends): &(&u64, &(u64, u64))| **ends == (other, leader);
        let link = LinkId(*cluster.links.iter().find(to_leader).expect("a link").0);
        let frame = Bytes::from(forward.encode(GroupId(group)).concat());
        cluster.queue.push_back((leader, Event::Frame { link, frame }));
        cluster.settle();
        !cluster.links.contains_key(&link.0)
    };
    assert!(!ends(1, &mut cluster), "ours");
    assert!(ends(2, &mut cluster), "another's");
    let reports = &cluster.members[&leader].reports;
    let wrong = |report: &Report| {
        matches!(report, Report::BadFrame { error: FrameFault::WrongGroup(GroupId(2)), .. })
    };
    assert!(reports.iter().any(wrong), "{reports:?}");
}

/// It would be taken for one of the other's clients'.
#[test]
fn a_peer_may_open_sessions_for_itself_only() {
    let mut cluster = elected(3, options);
    let (leader, other) = (cluster.leader(), cluster.followers()[0]);
    for (node, closes) in [(other, false), (leader, true)] {
        let to_leader = |(_, ends): &(&u64, &(u64, u64))| **ends == (other, leader);
        let link = LinkId(*cluster.links.iter().find(to_leader).expect("a link").0);
        let open = OpenSession { node: NodeId(node), boot: 9 }.encode();
        let forward = PeerFrame::Forward { entries: vec![(EntryKind::Session, open)] };
        let frame = Bytes::from(forward.encode(GroupId(1)).concat());
        cluster.queue.push_back((leader, Event::Frame { link, frame }));
        cluster.settle();
        assert_eq!(!cluster.links.contains_key(&link.0), closes, "for member {node}");
    }
}
