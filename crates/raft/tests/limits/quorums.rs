//! Who counts, and until when: answers that are too old, and a disk that is not the
//! one which promised something.

use super::flow::in_office;
use super::one_member::{
    BOB, CAROL, ME, Member, TIMEOUT, append, at, candidate, elected, granted, heard_by, request,
    sent, started, stored,
};
use driftless_raft::{
    Change, Config, Effect, Index, Input, Membership, Message, NodeId, Restored, Role, Term, Time,
    TransferRefusal,
};

/// A leader that checks its quorum, which both answered in the first round.
fn heard() -> Member {
    let mut me = in_office(|config| config.check_quorum = true);
    me.hear(BOB, heard_by(1, 1));
    me.hear(CAROL, heard_by(1, 1));
    me
}

#[test]
fn a_leader_without_a_quorum_for_an_election_timeout_steps_down() {
    let mut me = heard();
    me.wait(TIMEOUT - 1);
    assert_eq!(me.raft.role(), Role::Leader);
    let mut me = heard();
    me.wait(TIMEOUT);
    assert_eq!(me.raft.role(), Role::Follower);
}

fn transfer_refused(me: &mut Member) -> Option<TransferRefusal> {
    let deadline = me.now.after(TIMEOUT);
    let effects = me.step(Input::TransferLeadership { to: BOB, deadline });
    effects.iter().find_map(|effect| match effect {
        Effect::RefuseTransfer { reason } => Some(*reason),
        _ => None,
    })
}

#[test]
fn leadership_goes_to_nobody_who_was_not_heard_of_late() {
    let unreachable = Some(TransferRefusal::Unreachable(BOB));
    // Never in this term, although it was just elected.
    assert_eq!(transfer_refused(&mut in_office(|_| {})), unreachable);
    let after = |micros| {
        let mut me = in_office(|_| {});
        me.hear(BOB, heard_by(1, 1));
        me.now = me.now.after(micros);
        transfer_refused(&mut me)
    };
    assert_eq!(after(0), None);
    assert_eq!(after(TIMEOUT - 1), None);
    assert_eq!(after(TIMEOUT), unreachable);
}

#[test]
fn the_chosen_one_is_told_with_every_heartbeat_and_not_more_often() {
    let mut me = in_office(|_| {});
    me.hear(BOB, heard_by(1, 1));
    let told = |effects: &[Effect]| {
        let term = Term(1);
        sent(effects).contains(&(BOB, Message::TimeoutNow { term }))
    };
    let deadline = me.now.after(TIMEOUT);
    assert!(told(&me.step(Input::TransferLeadership { to: BOB, deadline })));
    assert!(!told(&me.wait(1)));
    assert!(told(&me.wait(99_999)));
    assert!(!told(&me.wait(1)));
}

#[test]
fn only_a_follower_that_may_lead_takes_over_and_only_in_that_term() {
    let takes_over = |mut me: Member, term| {
        let before = me.raft.term();
        me.hear(BOB, Message::TimeoutNow { term: Term(term) });
        (me.raft.role(), me.raft.term()) == (Role::Candidate, before.next())
    };
    let follower = || super::one_member::follower(3, &[]);
    assert!(takes_over(follower(), 3));
    assert!(!takes_over(follower(), 2));
    // It is a candidate already, and asks for votes of this term.
    assert!(!takes_over(candidate(2, &[]), 3));
    let mut learner = Membership::of([BOB, CAROL]);
    learner.learners.insert(ME);
    let mut me = started(Config::new(ME), Restored::of(learner));
    me.hear(BOB, append(3, at(0, 0), &[], 0));
    assert!(!takes_over(me, 3));
    // A disk that does not answer.
    let mut me = follower();
    me.step(Input::DiskStalled);
    assert!(!takes_over(me, 3));
    let mut me = follower();
    me.step(Input::DiskStalled);
    me.step(Input::DiskRecovered);
    assert!(takes_over(me, 3));
}

#[test]
fn an_election_is_no_lease() {
    // Clocks are off by a tenth at most.
    let mut me = in_office(|config| config.lease_drift_ppm = Some(100_000));
    assert!(!me.raft.has_lease(me.now));
    me.hear(BOB, heard_by(1, 1));
    assert!(me.raft.has_lease(me.now));
}

#[test]
fn only_answers_to_the_own_question_support_a_candidate() {
    let reply = |term, granted| Message::PreVoteReply { term: Term(term), granted };
    let asking = || {
        let mut me = started(Config::new(ME), Restored::of(Membership::of([ME, BOB, CAROL])));
        me.wait(2 * TIMEOUT);
        assert_eq!(me.raft.role(), Role::PreCandidate);
        me
    };
    let role_after = |mut me: Member, message| {
        me.hear(BOB, message);
        (me.raft.role(), me.raft.term())
    };
    assert_eq!(role_after(asking(), reply(1, true)), (Role::Candidate, Term(1)));
    assert_eq!(role_after(asking(), reply(2, true)), (Role::PreCandidate, Term(0)));
    assert_eq!(role_after(asking(), reply(0, false)), (Role::PreCandidate, Term(0)));
    assert_eq!(role_after(asking(), reply(1, false)), (Role::Follower, Term(1)));
    let follower = super::one_member::follower(0, &[]);
    assert_eq!(role_after(follower, reply(1, true)), (Role::Follower, Term(0)));
}

const DAVE: NodeId = NodeId(4);

/// A leader whose first entry is committed, with Dave for a learner.
fn with_learner() -> Member {
    let mut membership = Membership::of([ME, BOB, CAROL]);
    membership.learners.insert(DAVE);
    let config = Config { pre_vote: false, check_quorum: false, ..Config::new(ME) };
    let mut me = elected(config, membership);
    me.use_permissions();
    me.hear(BOB, stored(1, 1));
    me.hear(BOB, heard_by(1, 1));
    assert_eq!(me.raft.commit_index(), Index(1));
    me
}

fn is_promoted(mut me: Member) -> bool {
    let changes = vec![Change::Promote(DAVE)];
    let effects = me.step(Input::ChangeMembership { changes, forced: false });
    effects.iter().any(|it| matches!(it, Effect::AcceptChange { .. }))
}

#[test]
fn a_learner_is_promoted_that_is_up_and_was_sent_what_is_committed() {
    let mut me = with_learner();
    me.hear(DAVE, heard_by(1, 1));
    me.hear(DAVE, stored(1, 1));
    assert!(is_promoted(me));
    // Nobody knows whether it is up.
    let mut me = with_learner();
    me.hear(DAVE, stored(1, 1));
    assert!(!is_promoted(me));
    // It is up, and nobody knows what it holds.
    let mut me = with_learner();
    me.hear(DAVE, heard_by(1, 1));
    assert!(!is_promoted(me));
    // Its link broke: what was on the way may be lost.
    let mut me = with_learner();
    me.hear(DAVE, heard_by(1, 1));
    me.hear(DAVE, stored(1, 1));
    me.step(Input::Disconnected { peer: DAVE });
    assert!(!is_promoted(me));
    // Something was committed meanwhile that it was not sent.
    let mut me = with_learner();
    me.hear(DAVE, heard_by(1, 1));
    me.hear(DAVE, stored(1, 1));
    me.step(Input::Propose { count: 1 });
    me.sync();
    me.hear(BOB, stored(1, 2));
    assert_eq!(me.raft.commit_index(), Index(2));
    assert!(!is_promoted(me));
}

/// To whom a leader hands over whose disk does not answer. Bob holds two entries of
/// three, Carol one; they were heard so many microseconds ago, or never.
fn heir(carol_is_witness: bool, heard: [Option<u64>; 2]) -> Option<NodeId> {
    let mut membership = Membership::of([ME, BOB, CAROL]);
    membership.witnesses.extend(carol_is_witness.then_some(CAROL));
    let config = Config { pre_vote: false, check_quorum: false, ..Config::new(ME) };
    let mut me = elected(config, membership);
    me.step(Input::Propose { count: 2 });
    me.sync();
    let now = me.now.after(2 * TIMEOUT);
    for (id, last, ago) in [(BOB, 2, heard[0]), (CAROL, 1, heard[1])] {
        me.hear(id, stored(1, last));
        me.now = now;
        if let Some(ago) = ago {
            me.now = Time(now.0 - ago);
            me.step(Input::Wake);
            for round in 1..20 {
                me.hear(id, heard_by(1, round));
            }
        }
    }
    me.now = now;
    me.step(Input::DiskStalled);
    me.raft.transferring_to()
}

#[test]
fn who_takes_over_for_a_stalled_disk_is_up_and_may_lead() {
    assert_eq!(heir(false, [Some(0), Some(0)]), Some(BOB));
    // Bob has more of the log, but nobody knows whether he is up.
    assert_eq!(heir(false, [None, Some(0)]), Some(CAROL));
    assert_eq!(heir(false, [Some(TIMEOUT), Some(0)]), Some(CAROL));
    // A witness never leads.
    assert_eq!(heir(true, [None, Some(0)]), None);
}

/// Whether a member whose disk, number 5, replaces a lost one votes for Bob and can
/// be elected, by what the membership says of it.
fn votes_and_runs(is_voter: bool, readmitted: Option<u64>) -> [bool; 2] {
    let mut membership = Membership::of([ME, BOB, CAROL]);
    if !is_voter {
        membership.voters.remove(&ME);
        membership.learners.insert(ME);
    }
    membership.readmitted.extend(readmitted.map(|incarnation| (ME, incarnation)));
    let start = || {
        let config = Config { pre_vote: false, check_quorum: false, ..Config::new(ME) };
        let restored = Restored { replacement: Some(5), ..Restored::of(membership.clone()) };
        started(config, restored)
    };
    let mut voter = start();
    voter.hear(BOB, request(1, at(0, 0)));
    let votes = sent(&voter.sync()) == [(BOB, granted(1))];
    let mut candidate = start();
    candidate.step(Input::Campaign);
    [votes, candidate.raft.role() == Role::Candidate]
}

#[test]
fn whoever_lost_its_disk_votes_when_the_group_says_so_of_the_new_one() {
    assert_eq!(votes_and_runs(true, Some(5)), [true; 2]);
    // The group knows nothing of the loss yet, or of another disk.
    assert_eq!(votes_and_runs(true, None), [false; 2]);
    assert_eq!(votes_and_runs(true, Some(4)), [false; 2]);
    // It knows, and does not trust it yet.
    assert_eq!(votes_and_runs(false, Some(5)), [false; 2]);
}

#[test]
fn a_message_of_a_round_that_was_answered_is_not_answered_again() {
    let mut me = super::one_member::follower(1, &[]);
    let answers = |effects: &[Effect]| sent(effects).into_iter().map(|(_, it)| it).collect();
    let first: Vec<Message> = answers(&me.hear(BOB, append(1, at(0, 0), &[], 0)));
    assert_eq!(first, [heard_by(1, 1), super::one_member::stored(1, 0)]);
    let again: Vec<Message> = answers(&me.hear(BOB, append(1, at(0, 0), &[], 0)));
    assert_eq!(again, []);
}
