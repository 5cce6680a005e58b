//! [`NodeSet`] beside the standard library's set.

use super::*;
use crate::testing::Dice;
use alloc::collections::BTreeSet;
use alloc::format;

#[test]
fn it_is_a_set() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let (mut ours, mut twin) = (NodeSet::NONE, BTreeSet::<NodeId>::new());
        for _ in 0..40 {
            let id = NodeId(dice.below(12));
            match dice.below(5) {
                0 => assert_eq!(ours.remove(&id), twin.remove(&id)),
                1 if dice.below(8) == 0 => {
                    ours.retain(|other| other.0 % 2 == id.0 % 2);
                    twin.retain(|other| other.0 % 2 == id.0 % 2);
                }
                _ => assert_eq!(ours.insert(id), twin.insert(id)),
            }
            assert!(ours.iter().eq(&twin), "{ours:?} {twin:?}");
            assert_eq!(ours.contains(&id), twin.contains(&id));
            assert_eq!(format!("{ours:?}"), format!("{twin:?}"));
        }
    }
}

#[test]
fn two_of_them_are_compared_member_by_member() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let mut ids =
            || -> BTreeSet<NodeId> { (0..dice.below(9)).map(|_| NodeId(dice.below(12))).collect() };
        let (one, other) = (ids(), ids());
        // Whatever order they come in.
        let ours = |twin: &BTreeSet<NodeId>| -> NodeSet { twin.iter().rev().copied().collect() };
        let (left, right) = (ours(&one), ours(&other));
        assert!(left.iter().eq(&one) && one.iter().eq(&left));
        assert_eq!(left == right, one == other);
        assert!(left.intersection(&right).eq(one.intersection(&other)));
        assert!(left.difference(&right).eq(one.difference(&other)));
        let mut union = left;
        union.extend(right);
        assert!(union.iter().eq(one.union(&other)));
    }
}

#[test]
fn each_is_in_it_once() {
    let set: NodeSet = [3, 1, 3, 2, 1].map(NodeId).into_iter().collect();
    assert_eq!(set[..], [1, 2, 3].map(NodeId));
}
