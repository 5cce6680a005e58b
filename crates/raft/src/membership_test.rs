//! [`Membership`] against a naive twin: sort the indexes and take the median.

use super::*;
use crate::testing::Dice;
use alloc::vec::Vec;

#[test]
fn quorum_index_is_the_median() {
    for seed in 0..2000 {
        let mut dice = Dice::new(seed);
        let held: Vec<u64> = (0..=dice.below(7)).map(|_| dice.below(6)).collect();
        let membership = Membership::of((0..held.len() as u64).map(NodeId));
        let mut sorted = held.clone();
        sorted.sort_unstable();
        let median = sorted[(held.len() - 1) / 2];
        assert_eq!(membership.quorum_index(|id| Index(held[id.0 as usize])), Index(median));
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
