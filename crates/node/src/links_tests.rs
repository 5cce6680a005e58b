//! The handshake of peers, and what comes of links.

use super::*;
use crate::roster::Roster;
use driftless_codec::Contact;
use driftless_raft::{Index, Membership, Position};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const PROMISE_US: u64 = 1_000_000;

fn links(node_id: NodeId, incarnation: u64, known_peers: &[(NodeId, u64)]) -> Links {
    let identity = Identity::new(9, node_id, incarnation);
    let known =
        |&(id, incarnation): &(NodeId, u64)| (id, KnownPeer { incarnation, boots: 1, nonce: 0 });
    Links::new(identity, (0, PROMISE_US), GroupId(1), known_peers.iter().map(known).collect())
}

/// What a member of the group of A and B knows about members.
struct Group {
    in_force: Membership,
    in_force_at: Position,
    roster: Roster,
    named: BTreeMap<NodeId, String>,
}

impl Group {
    fn new() -> Self {
        let in_force = Membership::of([A, B]);
        let roster = Roster::of(in_force.clone());
        Self { in_force, in_force_at: Position::ZERO, roster, named: BTreeMap::new() }
    }

    fn who(&self, me: NodeId) -> Who<'_> {
        let Self { in_force, in_force_at, roster, named } = self;
        let committed = (roster.membership(), *in_force_at);
        Who { me, in_force, in_force_at: *in_force_at, committed, roster, named, leads: false }
    }
}

/// A calls B, with a data directory of this incarnation.
fn hello(incarnation: u64) -> Hello {
    let disk = DiskId { incarnation, boots: 1, nonce: 0, standing: Standing::First };
    let address = String::new();
    Hello { cluster_id: 9, node_id: A, disk, to: B, address, promise_us: PROMISE_US }
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
    let group = Group::new();
    let mut actions = Vec::new();
    a.connected(LinkId(1), B, group.who(A), &mut actions);
    let (hello, _) = split(&mut actions);
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &hello[0], group.who(B), &mut actions);
    let (mut reply, mut at_b) = split(&mut actions);
    if reply.is_empty() {
        let Some(Action::Log(LogJob::RememberPeer { known, .. })) = at_b.first() else {
            panic!("{at_b:?}")
        };
        b.remembered(A, *known, group.who(B), &mut actions);
        let (late, more) = split(&mut actions);
        reply = late;
        at_b.extend(more);
    }
    let mut change = a.shake(LinkId(1), &reply[0], group.who(A), &mut actions);
    if let Some(Action::Log(LogJob::RememberPeer { known, .. })) = actions.last() {
        let known = *known;
        change = a.remembered(B, known, group.who(A), &mut actions)[0];
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

/// Whom it would call itself may all be gone: then it learns it from those who call it.
#[test]
fn a_member_with_a_new_data_directory_is_told_so_by_its_callers() {
    let group = Group::new();
    let strangers = Group { in_force: Membership::of([NodeId(8), B]), ..Group::new() };
    let stop = |action: &Action| {
        matches!(action, Action::Stop(StopReason::UnknownIncarnation { peer: A }))
    };
    for (known, is_blank, stops) in [
        (&group, false, true),
        (&group, true, true),
        (&strangers, true, true),
        (&strangers, false, false),
    ] {
        let (mut a, mut b) = (links(A, 11, &[(B, 21)]), links(B, 22, &[(A, 11)]));
        let (at_a, at_b, _) = call_told(&mut a, &mut b);
        assert!(at_a.iter().any(|it| matches!(it, Action::Close { link: LinkId(1) })));
        let [PeerFrame::HelloReply(refusal)] = &at_b[..] else { panic!("{at_b:?}") };
        let mut actions = Vec::new();
        let change = b.refused_by_caller(LinkId(5), refusal, is_blank, known.who(B), &mut actions);
        assert_eq!(change, Change::Lost(A));
        assert_eq!(actions.iter().any(stop), stops, "{actions:?}");
        assert!(!b.is_open(LinkId(5)));
    }
    // A welcome is no news on a link that is open.
    let (mut b, mut actions) = (links(B, 22, &[(A, 11)]), Vec::new());
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &PeerFrame::Hello(hello(11)), group.who(B), &mut actions);
    let (mut frames, _) = split(&mut actions);
    let Some(PeerFrame::HelloReply(welcome)) = frames.pop() else { panic!("no answer") };
    let welcome = HelloReply { node_id: A, ..welcome };
    b.refused_by_caller(LinkId(5), &welcome, true, group.who(B), &mut actions);
    assert!(!actions.iter().any(|it| matches!(it, Action::Stop(_))));
    assert!(!b.is_open(LinkId(5)));
}

/// A calls B, and what A writes once it has B's answer.
fn call_told(a: &mut Links, b: &mut Links) -> (Vec<Action>, Vec<PeerFrame>, Change) {
    let (group, mut actions) = (Group::new(), Vec::new());
    a.connected(LinkId(1), B, group.who(A), &mut actions);
    let (hello, _) = split(&mut actions);
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &hello[0], group.who(B), &mut actions);
    let (reply, _) = split(&mut actions);
    let change = a.shake(LinkId(1), &reply[0], group.who(A), &mut actions);
    let (frames, rest) = split(&mut actions);
    (rest, frames, change)
}

#[test]
fn another_cluster_and_a_wrong_address_are_refused_by_name() {
    let (mut b, group) = (links(B, 22, &[]), Group::new());
    let good = hello(1);
    for (hello, refusal) in [
        (Hello { cluster_id: 8, ..good.clone() }, HelloRefusal::Cluster),
        (Hello { to: A, ..good.clone() }, HelloRefusal::NotMe),
        (Hello { node_id: B, ..good.clone() }, HelloRefusal::NotAMember),
    ] {
        let mut actions = Vec::new();
        b.accepted(LinkId(7));
        b.shake(LinkId(7), &PeerFrame::Hello(hello), group.who(B), &mut actions);
        let (frames, _) = split(&mut actions);
        assert!(
            matches!(frames[0], PeerFrame::HelloReply(HelloReply { refusal: Some(r), .. }) if r == refusal)
        );
        assert!(!b.is_open(LinkId(7)));
    }
}

#[test]
fn a_newer_link_takes_the_older_ones_place() {
    let (mut b, group) = (links(B, 22, &[(A, 11)]), Group::new());
    let hello = PeerFrame::Hello(hello(11));
    let mut actions = Vec::new();
    for link in [LinkId(5), LinkId(6)] {
        b.accepted(link);
        b.shake(link, &hello, group.who(B), &mut actions);
    }
    assert_eq!(b.sender(LinkId(5)), None, "frames of the older link are dropped");
    assert_eq!(b.sender(LinkId(6)), Some(A));
    assert_eq!(b.closed(LinkId(5), &mut actions), Change::None);
    assert_eq!(b.closed(LinkId(6), &mut actions), Change::Lost(A));
}

#[test]
fn a_frame_out_of_turn_closes_the_link() {
    let (mut b, group) = (links(B, 22, &[(A, 11)]), Group::new());
    let mut actions = Vec::new();
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &PeerFrame::Forward { entries: vec![] }, group.who(B), &mut actions);
    assert!(matches!(actions.last(), Some(Action::Close { link: LinkId(5) })));
    assert!(!b.is_open(LinkId(5)));
}

/// Also if the first one has gone before its name was written down: else the
/// second would be heard on the strength of what was written of the first.
#[test]
fn of_two_data_directories_under_one_name_the_first_has_it() {
    let (mut b, group) = (links(B, 22, &[]), Group::new());
    let hello = |incarnation| PeerFrame::Hello(hello(incarnation));
    let mut actions = Vec::new();
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &hello(11), group.who(B), &mut actions);
    b.closed(LinkId(5), &mut actions);
    b.accepted(LinkId(6));
    b.shake(LinkId(6), &hello(12), group.who(B), &mut actions);
    let first = KnownPeer { incarnation: 11, boots: 1, nonce: 0 };
    b.remembered(A, first, group.who(B), &mut actions);
    assert!(!b.is_open(LinkId(6)), "it was refused");
    b.accepted(LinkId(7));
    b.shake(LinkId(7), &hello(11), group.who(B), &mut actions);
    assert_eq!(b.sender(LinkId(7)), Some(A));
    let remembers = |action: &&Action| matches!(action, Action::Log(LogJob::RememberPeer { .. }));
    assert_eq!(actions.iter().filter(remembers).count(), 1);
}

/// A goes on elsewhere once the log says so. B lags behind the log, and was told before
/// where A was.
#[test]
fn who_was_told_an_old_address_is_called_again() {
    let (mut a, mut group) = (links(A, 11, &[(B, 22)]), Group::new());
    group.named = [(A, "a:1".into()), (B, "b:1".into())].into();
    let call = |a: &mut Links, group: &Group, link| {
        let mut actions = Vec::new();
        a.connected(link, B, group.who(A), &mut actions);
        let disk = DiskId { incarnation: 22, boots: 1, nonce: 0, standing: Standing::First };
        let reply = HelloReply { cluster_id: 9, node_id: B, disk, refusal: None };
        a.shake(link, &PeerFrame::HelloReply(reply), group.who(A), &mut actions);
        assert!(a.reaches(B));
        let frames = split(&mut actions).0;
        let [PeerFrame::Hello(hello)] = &frames[..] else { panic!("{frames:?}") };
        hello.address.clone()
    };
    let follow = |a: &mut Links, group: &Group| {
        let mut actions = Vec::new();
        let lost = a.follow(Time(0), 0, group.who(A), &mut actions);
        let closed = actions.iter().any(|it| matches!(it, Action::Close { link: LinkId(1) }));
        assert_eq!(lost, if closed { vec![Change::Lost(B)] } else { vec![] });
        closed
    };
    follow(&mut a, &group);
    assert_eq!(call(&mut a, &group, LinkId(1)), "a:1");
    assert!(!follow(&mut a, &group), "nothing is new");
    group.roster.apply_contact(Index(1), Contact { node_id: A, address: "a:2".into() });
    // One that calls has a way, for as long as it does.
    let mut actions = Vec::new();
    a.accepted(LinkId(9));
    let disk = DiskId { incarnation: 22, boots: 1, nonce: 0, standing: Standing::First };
    let hello = Hello { node_id: B, to: A, disk, ..hello(22) };
    a.shake(LinkId(9), &PeerFrame::Hello(hello), group.who(A), &mut actions);
    assert_eq!(a.sender(LinkId(9)), Some(B));
    assert!(!follow(&mut a, &group));
    a.closed(LinkId(9), &mut actions);
    assert!(follow(&mut a, &group));
    assert!(!a.reaches(B));
    assert_eq!(call(&mut a, &group, LinkId(2)), "a:1,a:2");
    assert!(!follow(&mut a, &group), "it was told");
}

/// Who leads does not call back whom it does not know as a member. When it leads no
/// more, the caller may be the leader that it is to answer.
#[test]
fn a_caller_of_a_leader_is_called_back_when_it_leads_no_more() {
    let (mut b, mut group) = (links(B, 22, &[(A, 11)]), Group::new());
    group.in_force = Membership::of([B]);
    group.roster = Roster::of(group.in_force.clone());
    let mut actions = Vec::new();
    b.accepted(LinkId(5));
    let hello = Hello { address: "a:1".into(), ..hello(11) };
    b.shake(LinkId(5), &PeerFrame::Hello(hello), group.who(B), &mut actions);
    if let Some(Action::Log(LogJob::RememberPeer { peer, known })) = actions.pop() {
        b.remembered(peer, known, group.who(B), &mut actions);
    }
    assert_eq!(b.sender(LinkId(5)), Some(A));
    let dials = |b: &mut Links, leads| {
        let mut actions = Vec::new();
        b.follow(Time(0), 0, Who { leads, ..group.who(B) }, &mut actions);
        actions.iter().any(|it| matches!(it, Action::Dial { peer: A, address } if address == "a:1"))
    };
    assert!(!dials(&mut b, true));
    assert!(dials(&mut b, false));
}

/// A copy of a data directory from before a restart, or two processes on copies of
/// one: neither knows all that its member promised.
#[test]
fn an_older_copy_of_a_data_directory_is_refused() {
    let (mut b, group) = (links(B, 22, &[]), Group::new());
    let mut call = |boots, nonce| {
        let mut actions = Vec::new();
        let mut hello = hello(11);
        (hello.disk.boots, hello.disk.nonce) = (boots, nonce);
        b.accepted(LinkId(5));
        b.shake(LinkId(5), &PeerFrame::Hello(hello), group.who(B), &mut actions);
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Log(LogJob::RememberPeer { peer, known }) => {
                    b.remembered(peer, known, group.who(B), &mut actions);
                }
                other => actions.push(other),
            }
        }
        let heard = b.sender(LinkId(5)) == Some(A);
        b.closed(LinkId(5), &mut actions);
        (heard, split(&mut actions).0)
    };
    let older = |frames: Vec<PeerFrame>| {
        let refusal = Some(HelloRefusal::OlderDisk);
        matches!(&frames[..], [PeerFrame::HelloReply(reply)] if reply.refusal == refusal)
    };
    assert!(call(4, 1).0);
    assert!(call(4, 1).0, "another link of the same process");
    assert!(call(6, 2).0, "it was restarted, and not only once");
    let (heard, frames) = call(5, 3);
    assert!(!heard && older(frames), "started once more on an older copy");
    let (heard, frames) = call(6, 4);
    assert!(!heard && older(frames), "started on a copy as old as the one that runs");
    assert!(call(6, 2).0);
}

/// Its old disk is gone, and nobody may believe the new one before the group has
/// said that it must begin anew as a learner.
#[test]
fn a_replaced_disk_is_heard_once_the_group_has_taken_it_in() {
    let (mut b, mut group) = (links(B, 22, &[(A, 11)]), Group::new());
    let call_with = |b: &mut Links, group: &Group, incarnation, standing| {
        let mut hello = hello(incarnation);
        hello.disk.standing = standing;
        let mut actions = Vec::new();
        b.accepted(LinkId(5));
        b.shake(LinkId(5), &PeerFrame::Hello(hello), group.who(B), &mut actions);
        for action in std::mem::take(&mut actions) {
            if let Action::Log(LogJob::RememberPeer { peer, known }) = action {
                b.remembered(peer, known, group.who(B), &mut actions);
            }
        }
        let heard = b.sender(LinkId(5)) == Some(A);
        b.closed(LinkId(5), &mut actions);
        heard
    };
    let call = |b: &mut Links, group: &Group, standing| call_with(b, group, 12, standing);
    let readmitted = |index| Standing::Readmitted { as_of: Position::new(1, index) };
    let readmit = |group: &mut Group, incarnation, index| {
        let readmit = driftless_raft::Change::Readmit { id: A, incarnation };
        group.in_force = group.in_force.changed(&[readmit]).unwrap();
        group.in_force_at = Position::new(1, index);
    };
    assert!(!call(&mut b, &group, Standing::Replacement));
    assert_eq!(b.acquaintance.lost(&group.in_force), [(A, 12)], "the leader may want to know");
    assert!(!call(&mut b, &group, Standing::First), "it does not even say that it is new");
    readmit(&mut group, 12, 5);
    assert!(b.acquaintance.lost(&group.in_force).is_empty());
    assert!(call(&mut b, &group, Standing::Replacement));

    // One who does not have that entry yet may have to hear of it from A itself.
    let (mut behind, mut group) = (links(B, 22, &[(A, 11)]), Group::new());
    assert!(call(&mut behind, &group, readmitted(5)));
    // Now it is the old one that is refused.
    let mut actions = Vec::new();
    behind.accepted(LinkId(6));
    behind.shake(LinkId(6), &PeerFrame::Hello(hello(11)), group.who(B), &mut actions);
    assert!(!behind.is_open(LinkId(6)));

    // It lost that disk, too, and later one more; which of them is the last is told by how
    // much of the log each knows.
    readmit(&mut group, 12, 5);
    assert!(!call_with(&mut behind, &group, 13, Standing::First));
    assert!(!call_with(&mut behind, &group, 13, readmitted(4)), "taken in before");
    assert!(call_with(&mut behind, &group, 13, readmitted(6)), "taken in after");
    readmit(&mut group, 14, 9);
    assert!(!call_with(&mut behind, &group, 13, readmitted(8)), "also who was heard before");
    assert!(call_with(&mut behind, &group, 14, readmitted(9)));
}

/// One that lags has not heard that a member was taken back, and refuses it. That is no
/// reason to stop as long as the others are a quorum.
#[test]
fn a_member_that_was_taken_back_stops_only_when_no_quorum_knows_of_it() {
    const C: NodeId = NodeId(3);
    let readmit = driftless_raft::Change::Readmit { id: A, incarnation: 12 };
    let in_force = Membership::of([A, B, C]).changed(&[readmit]).unwrap();
    let in_force = in_force.changed(&[driftless_raft::Change::Promote(A)]).unwrap();
    let roster = Roster::of(in_force.clone());
    let group = Group { in_force, roster, ..Group::new() };
    let identity = Identity { replacement: true, ..Identity::new(9, A, 12) };
    for (refusals, stops) in [
        (&[B][..], false),
        (&[B, B], false),
        (&[B, C], true),
        // C talks to us after it has heard of it.
        (&[C, B], false),
    ] {
        let mut a = Links::new(identity.clone(), (0, 0), GroupId(1), BTreeMap::new());
        let mut actions = Vec::new();
        for (at, &peer) in refusals.iter().enumerate() {
            if at > 0 && refusals[0] == C {
                a.open(LinkId(9), C, false, group.who(A), &mut actions);
            }
            let refusal = HelloRefusal::Incarnation;
            a.refused(LinkId(at as u64), (peer, 9), refusal, group.who(A), &mut actions);
        }
        let stop = |it: &Action| matches!(it, Action::Stop(StopReason::UnknownIncarnation { .. }));
        assert_eq!(actions.iter().any(stop), stops, "{refusals:?}: {actions:?}");
    }
}

#[test]
fn a_removed_member_is_told_so_and_stops() {
    let (mut a, mut b) = (links(A, 11, &[(B, 22)]), links(B, 22, &[(A, 11)]));
    let (at_a, mut at_b) = (Group::new(), Group::new());
    at_b.in_force = Membership::of([B]);
    let mut actions = Vec::new();
    a.connected(LinkId(1), B, at_a.who(A), &mut actions);
    let (hello, _) = split(&mut actions);
    b.accepted(LinkId(5));
    b.shake(LinkId(5), &hello[0], at_b.who(B), &mut actions);
    assert_eq!(b.sender(LinkId(5)), Some(A), "its removal may yet be undone");
    at_b.roster.apply_membership(Membership::of([B]));
    actions.clear();
    b.accepted(LinkId(6));
    b.shake(LinkId(6), &hello[0], at_b.who(B), &mut actions);
    let (reply, _) = split(&mut actions);
    a.shake(LinkId(1), &reply[0], at_a.who(A), &mut actions);
    assert!(matches!(actions.last(), Some(Action::Stop(StopReason::Removed))), "{actions:?}");
}

#[test]
fn somebody_who_knows_an_address_only_is_told_the_rest() {
    let (mut b, mut group) = (links(B, 22, &[]), Group::new());
    group.named = BTreeMap::from([(A, "http://a:1,http://a:2/".into()), (B, "b:1".into())]);
    for (own, expected) in [("http://a:2", Some(A)), ("b:1", Some(B)), ("c:1", None), ("", None)] {
        let mut actions = Vec::new();
        b.accepted(LinkId(5));
        let lookup = PeerFrame::Lookup { address: own.into() };
        b.shake(LinkId(5), &lookup, group.who(B), &mut actions);
        let (frames, rest) = split(&mut actions);
        let [PeerFrame::LookupReply { cluster_id: 9, member, membership, addresses }] = &frames[..]
        else {
            panic!("{frames:?}")
        };
        assert_eq!((*member, membership, addresses), (expected, &group.in_force, &group.named));
        assert!(matches!(rest[..], [Action::Close { link: LinkId(5) }]));
    }
}
