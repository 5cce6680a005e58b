//! What changes lead to, and that neighbours' quorums always meet.

use super::*;
use crate::testing::Dice;
use alloc::vec::Vec;

fn ids(ids: impl IntoIterator<Item = u64>) -> NodeSet {
    ids.into_iter().map(NodeId).collect()
}

fn three() -> Membership {
    Membership::of([1, 2, 3].map(NodeId))
}

fn changed(from: &Membership, changes: &[Change]) -> Membership {
    from.changed(changes).expect("a change that can be made")
}

#[test]
fn one_voter_more_or_less_is_not_joint() {
    let four = changed(&three(), &[Change::AddVoter(NodeId(4))]);
    assert_eq!(four, Membership::of([1, 2, 3, 4].map(NodeId)));
    let two = changed(&three(), &[Change::Remove(NodeId(2))]);
    assert_eq!(two, Membership::of([1, 3].map(NodeId)));
    let learner = changed(&three(), &[Change::AddLearner(NodeId(9))]);
    assert_eq!((learner.voters.clone(), learner.learners.clone()), (ids([1, 2, 3]), ids([9])));
    let promoted = changed(&learner, &[Change::Promote(NodeId(9))]);
    assert_eq!(promoted, Membership::of([1, 2, 3, 9].map(NodeId)));
    let demoted = changed(&promoted, &[Change::Demote(NodeId(9))]);
    assert_eq!(demoted, learner);
}

#[test]
fn any_set_becomes_any_other_through_both() {
    let replace = [Change::AddVoter(NodeId(4)), Change::Remove(NodeId(1))];
    let joint = changed(&three(), &replace);
    assert_eq!((joint.voters.clone(), joint.outgoing.clone()), (ids([2, 3, 4]), ids([1, 2, 3])));
    assert!(joint.is_joint());
    assert_eq!(joint.left(), Membership::of([2, 3, 4].map(NodeId)));
    // One that is demoted votes on the old side until the joint one is left.
    let demote = [Change::Demote(NodeId(1)), Change::AddVoter(NodeId(4))];
    let joint = changed(&three(), &demote);
    assert!(joint.is_voter(NodeId(1)));
    assert_eq!(joint.left().learners, ids([1]));
    assert_eq!(joint.iter().count(), 4, "nobody is listed twice");
}

#[test]
fn a_witness_never_leads_and_is_never_a_majority() {
    let with = changed(&three(), &[Change::Remove(NodeId(3)), Change::AddWitness(NodeId(4))]);
    let left = with.left();
    assert!(left.is_voter(NodeId(4)) && !left.may_lead(NodeId(4)) && left.may_lead(NodeId(1)));
    let more = [Change::AddWitness(NodeId(5)), Change::Remove(NodeId(1))];
    assert_eq!(left.changed(&more), Err(ChangeRefusal::TooManyWitnesses));
    let alone = Membership::of([NodeId(1)]);
    let swap = [Change::AddWitness(NodeId(5)), Change::Remove(NodeId(1))];
    assert_eq!(alone.changed(&swap), Err(ChangeRefusal::TooManyWitnesses));
    let gone = changed(&left, &[Change::Remove(NodeId(4))]);
    assert!(gone.witnesses.is_empty(), "one that is gone is forgotten");
}

#[test]
fn a_witness_on_its_way_out_stays_one() {
    let with = changed(&three(), &[Change::AddWitness(NodeId(4))]);
    let joint = changed(&with, &[Change::Remove(NodeId(4)), Change::AddVoter(NodeId(5))]);
    assert!(joint.is_voter(NodeId(4)) && joint.is_witness(NodeId(4)));
    assert!(!joint.left().is_witness(NodeId(4)));
}

#[test]
fn one_that_lost_its_disk_is_a_learner_until_promoted() {
    let lost = Change::Readmit { id: NodeId(3), incarnation: 77 };
    let without = changed(&three(), &[lost]);
    assert_eq!((without.voters.clone(), without.learners.clone()), (ids([1, 2]), ids([3])));
    let again = changed(&without, &[Change::Promote(NodeId(3))]);
    assert_eq!(again.voters, ids([1, 2, 3]));
    assert_eq!(again.readmitted.get(&NodeId(3)), Some(&77), "the entry says which disk votes");
    let others = [Change::Readmit { id: NodeId(2), incarnation: 9 }, Change::Remove(NodeId(1))];
    assert_eq!(again.changed(&others), Err(ChangeRefusal::ReadmitAlone(NodeId(2))));
    let second = changed(&again, &[Change::Readmit { id: NodeId(3), incarnation: 78 }]);
    assert_eq!(second.readmitted.get(&NodeId(3)), Some(&78));
}

#[test]
fn who_voted_when_its_disk_was_lost_is_to_vote_again() {
    let (three, four) = (NodeId(3), NodeId(4));
    let lost = |id, incarnation| [Change::Readmit { id, incarnation }];
    let without = changed(&self::three(), &lost(three, 77));
    assert_eq!(without.returning, ids([3]));
    let twice = changed(&without, &lost(three, 78));
    assert_eq!(twice.returning, ids([3]), "another disk was lost on the way");
    assert!(changed(&twice, &[Change::Promote(three)]).returning.is_empty());
    assert!(changed(&twice, &[Change::Remove(three)]).returning.is_empty());
    let learner = changed(&self::three(), &[Change::AddLearner(four)]);
    assert!(changed(&learner, &lost(four, 5)).returning.is_empty());
    let witness = changed(&self::three(), &[Change::AddWitness(four)]);
    let witness = changed(&witness, &lost(four, 5));
    assert!(witness.returning.contains(&four) && witness.is_witness(four));
}

#[test]
fn what_cannot_be_is_refused() {
    let four = NodeId(4);
    let refused = |changes: &[Change]| three().changed(changes).expect_err("refused");
    assert_eq!(refused(&[]), ChangeRefusal::NoChange);
    assert_eq!(refused(&[Change::AddVoter(NodeId(1))]), ChangeRefusal::AlreadyMember(NodeId(1)));
    assert_eq!(refused(&[Change::Promote(NodeId(1))]), ChangeRefusal::NotLearner(NodeId(1)));
    assert_eq!(refused(&[Change::Demote(four)]), ChangeRefusal::NotVoter(four));
    assert_eq!(refused(&[Change::Remove(four)]), ChangeRefusal::NotMember(four));
    let readmit = Change::Readmit { id: four, incarnation: 1 };
    assert_eq!(refused(&[readmit]), ChangeRefusal::NotMember(four));
    let everybody = [1, 2, 3].map(|id| Change::Remove(NodeId(id)));
    assert_eq!(refused(&everybody), ChangeRefusal::NoVoters);
    let again = [Change::Remove(NodeId(1)), Change::AddWitness(NodeId(1))];
    assert_eq!(refused(&again), ChangeRefusal::AlreadyMember(NodeId(1)));
}

/// Whatever may follow a membership: no quorum of the one misses every quorum of
/// the other. That is what makes it safe that members count by what stands in
/// their own log, committed or not.
#[test]
fn quorums_of_neighbours_always_meet() {
    const MEMBERS: u64 = 6;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let voters: Vec<NodeId> = (0..MEMBERS).filter(|_| dice.below(2) == 0).map(NodeId).collect();
        if voters.is_empty() {
            continue;
        }
        let mut membership = Membership::of(voters);
        for _ in 0..4 {
            let changes: Vec<Change> = (0..=dice.below(3))
                .map(|_| {
                    let id = NodeId(dice.below(MEMBERS));
                    match dice.below(7) {
                        0 => Change::AddVoter(id),
                        1 => Change::AddLearner(id),
                        2 => Change::AddWitness(id),
                        3 => Change::Promote(id),
                        4 => Change::Demote(id),
                        5 => Change::Readmit { id, incarnation: seed },
                        _ => Change::Remove(id),
                    }
                })
                .collect();
            let Ok(next) = membership.changed(&changes) else { continue };
            quorums_meet(&membership, &next, MEMBERS);
            quorums_meet(&next, &next.left(), MEMBERS);
            membership = next.left();
            assert!(membership.voters.iter().any(|&id| membership.may_lead(id)));
        }
    }
}

fn quorums_meet(one: &Membership, next: &Membership, members: u64) {
    let quorum =
        |membership: &Membership, set: u64| membership.is_quorum(|id| set >> id.0 & 1 == 1);
    let all = (1 << members) - 1;
    for set in (0..=all).filter(|&set| quorum(one, set)) {
        assert!(!quorum(next, all & !set), "{one:?} and {next:?} decide apart");
        let data = one.voters.iter().any(|id| set >> id.0 & 1 == 1 && !one.is_witness(*id));
        assert!(data, "witnesses alone decide in {one:?}");
    }
}
