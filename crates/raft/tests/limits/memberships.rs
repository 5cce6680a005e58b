//! What the host is told of memberships that come with appends.

use super::one_member::{BOB, Member, at, follower};
use driftless_raft::{
    Effect, Index, Membership, MembershipEntry, Message, NodeId, Round, Run, Term,
};

/// Entries from 5 on, of which the fifth is a membership. Whether the host is told.
fn is_told(me: &mut Member, last: u64) -> bool {
    let membership = Membership::of([1, 2, 3, 4].map(NodeId));
    let entry = MembershipEntry { index: Index(5), membership };
    let effects = me.hear(
        BOB,
        Message::Append {
            term: Term(5),
            prev_log: at(5, 4),
            runs: [Run::new(5, 5, last)].into_iter().collect(),
            memberships: [entry].into_iter().collect(),
            leader_commit: Index(0),
            round: Round(1),
        },
    );
    effects.iter().any(|effect| matches!(effect, Effect::MembershipChanged { .. }))
}

#[test]
fn a_membership_that_comes_again_with_more_entries_is_told_once() {
    let mut me = follower(5, &[Run::new(5, 1, 4)]);
    assert!(is_told(&mut me, 6));
    assert!(!is_told(&mut me, 8));
    assert_eq!(me.raft.last(), at(5, 8));
}
