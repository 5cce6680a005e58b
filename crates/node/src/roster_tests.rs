//! What entries make of the roster.

use super::*;

fn ids(ids: impl IntoIterator<Item = u64>) -> Membership {
    Membership::of(ids.into_iter().map(NodeId))
}

fn founders(contacts: &[Contact]) -> Founders {
    Founders { membership: ids([1, 2, 3]), contacts: contacts.to_vec() }
}

fn contact(id: u64, address: &str) -> Contact {
    Contact { node_id: NodeId(id), address: address.to_owned() }
}

fn coded(roster: &Roster) -> Roster {
    let mut out = BytesMut::new();
    roster.put(&mut out);
    let mut reader = Reader::new(out.freeze());
    let back = Roster::take(&mut reader).unwrap();
    reader.end().unwrap();
    back
}

#[test]
fn who_leaves_is_remembered_and_its_address_forgotten() {
    let mut roster = Roster::of(ids([1, 2, 3]));
    for id in 1..=4 {
        roster.apply_contact(Index(id), contact(id, "a:1"));
    }
    let mut joint = ids([1, 2, 4]);
    joint.outgoing = ids([1, 2, 3]).voters;
    roster.apply_membership(joint);
    assert!(!roster.is_removed(NodeId(3)), "it is a member still");
    assert!(!roster.satisfies(&[Change::AddVoter(NodeId(4))]), "the change is open still");
    roster.apply_membership(ids([1, 2, 4]));
    assert!(roster.is_removed(NodeId(3)));
    assert!(roster.satisfies(&[Change::AddVoter(NodeId(4)), Change::Remove(NodeId(3))]));
    assert_eq!(roster.address(NodeId(3)), None);
    roster.apply_contact(Index(9), contact(3, "late:1"));
    assert_eq!(roster.address(NodeId(3)), None, "a late entry does not bring it back");
    assert_eq!(roster.address(NodeId(4)), Some("a:1"));
    assert_eq!(coded(&roster), roster);
}

#[test]
fn of_strangers_the_newest_are_known() {
    let mut roster = Roster::of(ids([1]));
    roster.apply_contact(Index(1), contact(1, "member:1"));
    let strangers = 2..2 + STRANGERS_MAX as u64;
    for id in strangers.clone() {
        // The highest id comes first: it is age that counts.
        roster.apply_contact(Index(1000 - id), contact(id, "x:1"));
    }
    let highest = NodeId(strangers.end - 1);
    assert!(roster.address(highest).is_some());
    roster.apply_contact(Index(1001), contact(1_000, "new:1"));
    assert_eq!(roster.address(highest), None);
    assert_eq!(roster.address(NodeId(1_000)), Some("new:1"));
    assert_eq!(roster.address(NodeId(1)), Some("member:1"));
    assert_eq!(coded(&roster), roster);
}

/// One who joins begins with an empty membership. Were it not told who founded the
/// group, it would not see the first of them go.
#[test]
fn who_joins_learns_the_founders() {
    let (mut founder, mut joiner) = (Roster::of(ids([1, 2, 3])), Roster::default());
    for roster in [&mut founder, &mut joiner] {
        roster.apply_founders(Index(1), founders(&[]));
        roster.apply_membership(ids([1, 2]));
        roster.apply_founders(Index(3), founders(&[]));
    }
    assert!(joiner.is_removed(NodeId(3)));
    assert_eq!(founder, joiner);
}

/// Who publishes the founders goes by what it was told at its start. A member may have
/// moved since, and the operator have told the group.
#[test]
fn what_the_operator_said_of_a_founder_stays() {
    let mut roster = Roster::of(ids([1, 2, 3]));
    roster.apply_contact(Index(1), contact(2, "moved:2"));
    roster.apply_founders(Index(2), founders(&[contact(1, "told:1"), contact(2, "told:2")]));
    assert_eq!(roster.address(NodeId(1)), Some("told:1"));
    assert_eq!(roster.address(NodeId(2)), Some("moved:2"));
    roster.apply_contact(Index(3), contact(1, "moved:1"));
    // Another leader did not know that it had been done.
    roster.apply_founders(Index(4), founders(&[contact(1, "told:1"), contact(3, "told:3")]));
    assert_eq!(roster.address(NodeId(1)), Some("moved:1"));
    assert_eq!(roster.address(NodeId(3)), None);
}
