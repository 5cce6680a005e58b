//! The handshake of peers, and what comes of links.

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn links(node_id: NodeId, incarnation: u64, known_peers: &[(NodeId, u64)]) -> Links {
    let identity = Identity::new(9, node_id, incarnation);
    let known =
        |&(id, incarnation): &(NodeId, u64)| (id, KnownPeer { incarnation, boots: 1, nonce: 0 });
    Links::new(identity, GroupId(1), vec![A, B], known_peers.iter().map(known).collect())
}

/// A calls B, with a data directory of this incarnation.
fn hello(incarnation: u64) -> Hello {
    let disk = DiskId { incarnation, boots: 1, nonce: 0, standing: Standing::First };
    Hello { cluster_id: 9, node_id: A, disk, to: B, address: String::new() }
}

/// The frames that `actions` write, decoded; the rest of the actions.
fn split(actions: &mut Vec<Action>) -> (Vec<PeerFrame>, Vec<Action>) {
    let mut frames = Vec::new();
    let mut rest = Vec::new();
    for action in actions.drain(..) {
        match action {
            Action::Write { frame, .. } => {
                let bytes = frame.parts.concat().into();
                frames.push(PeerFrame::decode(&bytes).expect("our own").1);
            }
            other => rest.push(other),
        }
    }
    (frames, rest)
}

/// A calls B over link 1 (A's count) = link 5 (B's count).
fn call(a: &mut Links, b: &mut Links) -> (Vec<Action>, Vec<Action>, Change) {
    let mut actions = Vec::new();
    a.connected(LinkId(1), B, &mut actions);
    let (hello, _) = split(&mut actions);
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &hello[0], &mut actions);
    let (mut reply, mut at_b) = split(&mut actions);
    if reply.is_empty() {
        b.remembered(A, &mut actions);
        let (late, more) = split(&mut actions);
        reply = late;
        at_b.extend(more);
    }
    let mut change = a.shake(LinkId(1), &reply[0], &mut actions);
    if let Some(Action::Log(LogJob::RememberPeer { .. })) = actions.last() {
        change = a.remembered(B, &mut actions)[0];
    }
    (actions, at_b, change)
}

#[test]
fn strangers_are_remembered_before_they_are_heard() {
    let (mut a, mut b) = (links(A, 11, &[]), links(B, 22, &[]));
    let (at_a, at_b, change) = call(&mut a, &mut b);
    assert!(
        matches!(at_a[0], Action::Log(LogJob::RememberPeer { peer: B, known }) if known.incarnation == 22)
    );
    assert!(
        matches!(at_b[0], Action::Log(LogJob::RememberPeer { peer: A, known }) if known.incarnation == 11)
    );
    assert_eq!(change, Change::Reached(B));
    assert_eq!(b.sender(LinkId(5)), Some(A));
    assert_eq!(a.sender(LinkId(1)), None, "nothing is read from a link that we dialled");
}

#[test]
fn a_member_with_a_new_data_directory_is_refused_and_stops() {
    let (mut a, mut b) = (links(A, 12, &[]), links(B, 22, &[(A, 11)]));
    let (at_a, _, change) = call(&mut a, &mut b);
    assert_eq!(change, Change::None);
    assert!(
        matches!(at_a.last(), Some(Action::Stop(StopReason::UnknownIncarnation { peer: B }))),
        "{at_a:?}"
    );
    assert_eq!(b.sender(LinkId(5)), None);
}

#[test]
fn a_peer_that_answers_with_a_new_data_directory_is_not_talked_to() {
    let (mut a, mut b) = (links(A, 11, &[(B, 21)]), links(B, 22, &[(A, 11)]));
    let (at_a, _, change) = call(&mut a, &mut b);
    assert_eq!(change, Change::None);
    assert!(
        at_a.iter().any(|action| {
            matches!(action, Action::Report(Report::PeerLostItsDisk { peer: B }))
        })
    );
    assert!(!a.reaches(B));
}

#[test]
fn another_cluster_and_a_wrong_address_are_refused_by_name() {
    let mut b = links(B, 22, &[]);
    let good = hello(1);
    for (hello, refusal) in [
        (Hello { cluster_id: 8, ..good.clone() }, HelloRefusal::Cluster),
        (Hello { to: A, ..good.clone() }, HelloRefusal::NotMe),
        (Hello { node_id: NodeId(3), ..good.clone() }, HelloRefusal::NotAMember),
        (Hello { node_id: B, ..good.clone() }, HelloRefusal::NotAMember),
    ] {
        let mut actions = Vec::new();
        b.accepted(LinkId(7));
        b.shake(LinkId(7), &PeerFrame::Hello(hello), &mut actions);
        let (frames, _) = split(&mut actions);
        assert!(
            matches!(frames[0], PeerFrame::HelloReply(HelloReply { refusal: Some(r), .. }) if r == refusal)
        );
        assert!(!b.is_open(LinkId(7)));
    }
}

#[test]
fn a_newer_link_takes_the_older_ones_place() {
    let mut b = links(B, 22, &[(A, 11)]);
    let hello = PeerFrame::Hello(hello(11));
    let mut actions = Vec::new();
    for link in [LinkId(5), LinkId(6)] {
        b.accepted(link);
        b.shake(link, &hello, &mut actions);
    }
    assert_eq!(b.sender(LinkId(5)), None, "frames of the older link are dropped");
    assert_eq!(b.sender(LinkId(6)), Some(A));
    assert_eq!(b.closed(LinkId(5), &mut actions), Change::None);
    assert_eq!(b.closed(LinkId(6), &mut actions), Change::Lost(A));
}

#[test]
fn a_frame_out_of_turn_closes_the_link() {
    let mut b = links(B, 22, &[(A, 11)]);
    let mut actions = Vec::new();
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &PeerFrame::Forward { entries: vec![] }, &mut actions);
    assert!(matches!(actions.last(), Some(Action::Close { link: LinkId(5) })));
    assert!(!b.is_open(LinkId(5)));
}

/// Also if the first one has gone before its name was written down: else the
/// second would be heard on the strength of what was written of the first.
#[test]
fn of_two_data_directories_under_one_name_the_first_has_it() {
    let mut b = links(B, 22, &[]);
    let hello = |incarnation| PeerFrame::Hello(hello(incarnation));
    let mut actions = Vec::new();
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &hello(11), &mut actions);
    b.closed(LinkId(5), &mut actions);
    b.accepted(LinkId(6));
    b.shake(LinkId(6), &hello(12), &mut actions);
    b.remembered(A, &mut actions);
    assert!(!b.is_open(LinkId(6)), "it was refused");
    b.accepted(LinkId(7));
    b.shake(LinkId(7), &hello(11), &mut actions);
    assert_eq!(b.sender(LinkId(7)), Some(A));
    let remembers = |action: &&Action| matches!(action, Action::Log(LogJob::RememberPeer { .. }));
    assert_eq!(actions.iter().filter(remembers).count(), 1);
}
