//! Every membership comes back as it was, and nothing else passes for one.

use super::*;

fn ids(ids: impl IntoIterator<Item = u64>) -> NodeSet {
    ids.into_iter().map(NodeId).collect()
}

fn full() -> Membership {
    Membership {
        voters: ids([1, 2, 7]),
        outgoing: ids([1, 3, 4]),
        learners: ids([3, 9]),
        witnesses: ids([2]),
        readmitted: [(NodeId(3), 77), (NodeId(9), 5)].into(),
        returning: ids([9]),
    }
}

#[test]
fn every_kind_comes_back_as_it_was() {
    let memberships = [
        Membership::default(),
        Membership::of([NodeId(4)]),
        Membership { outgoing: NodeSet::NONE, ..full() },
        Membership { returning: ids([3, 9]), ..full() },
        Membership { returning: ids([]), ..full() },
        Membership { learners: ids([3]), readmitted: [].into(), returning: ids([]), ..full() },
        full(),
    ];
    for membership in memberships {
        assert_eq!(decode_membership(&encode_membership(&membership)), Some(membership));
    }
    let plain = Membership::of([NodeId(4), NodeId(5)]);
    assert_eq!(membership_words(&plain), [2, 4, 5], "as it always was");
}

#[test]
fn what_is_no_membership_is_refused() {
    let words = membership_words(&full());
    for len in 0..words.len() {
        let mut rest = words[..len].iter().copied();
        assert_eq!(read_membership(|| rest.next()), None, "cut after {len} words");
    }
    let bad: [&[u64]; 9] = [
        // A returning member that is no learner, none at all, too many, or alone.
        &[MORE_ROWS | RETURNING_ROW | 1, 1, 0, 1, 2, 0, 0, 1, 1],
        &[MORE_ROWS | RETURNING_ROW | 1, 1, 0, 1, 2, 0, 0, 0],
        &[MORE_ROWS | RETURNING_ROW | 1, 1, 0, 1, 2, 0, 0, 1 << 40],
        &[RETURNING_ROW | 1, 1, 1, 2],
        &[2, 5, 4],
        &[u64::MAX >> 1],
        &[MORE_ROWS | 1, 1, 0, 0, 1, 2, 0],
        &[MORE_ROWS | 1, 1, 0, 1, 2, 0, 2, 2, 7, 1, 7],
        &[MORE_ROWS | 1, 1, 0, 0, 0, 1 << 40],
    ];
    for words in bad {
        let mut rest = words.iter().copied();
        assert_eq!(read_membership(|| rest.next()), None, "{words:?}");
    }
    let mut bytes = encode_membership(&full()).to_vec();
    bytes.push(0);
    assert_eq!(decode_membership(&bytes), None, "something is left over");
}
