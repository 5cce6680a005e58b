//! [`Membership`] against a naive twin: try every index.

use super::*;
use crate::testing::Dice;
use alloc::vec::Vec;

/// What is meant: the highest index of any voter that a quorum has come to.
fn naive_quorum_index(membership: &Membership, held: impl Fn(NodeId) -> Index) -> Index {
    let indexes = membership.every_voter().map(&held);
    let agreed = indexes.filter(|&index| membership.is_quorum(|id| held(id) >= index));
    agreed.max().unwrap_or_default()
}

#[test]
fn quorum_index_is_what_both_sets_agree_on() {
    for seed in 0..4000 {
        let mut dice = Dice::new(seed);
        let mut ids = |bound: u64| -> Vec<NodeId> {
            let count = dice.below(bound);
            (0..count).map(|_| NodeId(dice.below(16))).collect()
        };
        let mut membership = Membership::of(ids(13));
        if !membership.voters.is_empty() && seed % 2 == 0 {
            membership.outgoing = ids(13).into_iter().collect();
        }
        let held: Vec<Index> = (0..16).map(|_| Index(dice.below(6))).collect();
        let held = |id: NodeId| held[id.0 as usize];
        assert_eq!(membership.quorum_index(held), naive_quorum_index(&membership, held));
    }
}

#[test]
fn any_two_quorums_share_a_member() {
    for count in 1..8_u32 {
        let membership = Membership::of((0..u64::from(count)).map(NodeId));
        let is_quorum = |set: u32| membership.is_quorum(|id| set >> id.0 & 1 == 1);
        for one in (0..1 << count).filter(|&set| is_quorum(set)) {
            assert!(!is_quorum(!one & ((1 << count) - 1)), "{count} members, {one:b}");
        }
        assert!(is_quorum((1 << count) - 1));
    }
}

#[test]
fn outsiders_do_not_count() {
    let membership = Membership::of([NodeId(1), NodeId(2), NodeId(3)]);
    assert!(!membership.is_quorum(|id| id == NodeId(1) || id > NodeId(3)));
}

#[test]
fn nobody_is_no_quorum() {
    assert!(!Membership::default().is_quorum(|_| true));
    assert_eq!(Membership::default().quorum_index(|_| Index(7)), Index(0));
}
