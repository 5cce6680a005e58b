//! Members that are not who they were, and frames that are none.

use super::cluster::{Disk, elected, options};
use crate::port::{Answer, Event, LinkId, Report, RequestError, StopReason};
use bytes::Bytes;
use driftless_raft::{Index, Position};

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
