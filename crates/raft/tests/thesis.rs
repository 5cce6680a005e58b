//! One test for each numbered rule taken from the thesis (*Consensus: Bridging
//! Theory and Practice*), named after it. Each fails when the line that carries
//! out its rule is altered; `docs/paper.tsv` joins rule, code and test.
//!
//! One member is told things and watched (`one_member`).
#![allow(clippy::unwrap_used, reason = "a test may")]

mod one_member;

use driftless_raft::{
    Change, ChangeRefusal, Config, Effect, Index, Input, Membership, Message, NodeId, ReadId,
    Refusal, Restored, Role, Round, Run, Term, TransferOutcome,
};
use one_member::{
    BOB, CAROL, ME, Member, TIMEOUT, append, at, follower, granted, leader, permitted, record,
    request, sent, snapshot, started, stored,
};

const DAVE: NodeId = NodeId(4);

/// The leader of term 1, whose first entry all hold and know to be committed.
fn in_office() -> Member {
    let mut me = leader(0, &[]);
    for follower in [BOB, CAROL] {
        me.hear(follower, stored(1, 1));
        me.hear(follower, heard(1));
    }
    assert_eq!(me.raft.commit_index(), Index(1));
    me
}

/// The same, told to follow these settings.
fn in_office_with(set: impl FnOnce(&mut Config)) -> Member {
    let mut config = Config { pre_vote: false, check_quorum: false, ..Config::new(ME) };
    set(&mut config);
    let mut me = started(config, Restored::of(Membership::of([ME, BOB, CAROL])));
    // Whoever starts with leases abstains for a while.
    me.now = me.now.after(3 * TIMEOUT);
    me.step(Input::Campaign);
    me.sync();
    me.hear(BOB, granted(1));
    me.sync();
    me.use_permissions();
    for follower in [BOB, CAROL] {
        me.hear(follower, stored(1, 1));
        me.hear(follower, heard(1));
    }
    me
}

fn heard(round: u64) -> Message {
    Message::AppendHeard { term: Term(1), round: Round(round) }
}

fn hand_to_bob(me: &mut Member) -> Vec<Effect> {
    let deadline = me.now.after(TIMEOUT);
    me.step(Input::TransferLeadership { to: BOB, deadline })
}

fn change(me: &mut Member, changes: &[Change]) -> Vec<Effect> {
    me.step(Input::ChangeMembership { changes: changes.to_vec(), forced: true })
}

fn refusal(effects: &[Effect]) -> Option<ChangeRefusal> {
    effects.iter().find_map(|effect| match effect {
        Effect::RefuseChange { reason } => Some(*reason),
        _ => None,
    })
}

fn read(me: &mut Member) -> Vec<Effect> {
    let deadline = me.now.after(10 * TIMEOUT);
    me.step(Input::Read { id: ReadId(7), deadline })
}

fn is_served(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::ReadReady { .. }))
}

fn asks_to_campaign(effects: &[Effect]) -> bool {
    sent(effects).iter().any(|(_, message)| matches!(message, Message::TimeoutNow { .. }))
}

// Leadership transfer

#[test]
fn lt_1_who_hands_over_takes_no_commands() {
    let mut me = in_office();
    me.step(Input::Propose { count: 1 });
    hand_to_bob(&mut me);
    let effects = me.step(Input::Propose { count: 1 });
    let reason = Refusal::Transferring { to: BOB };
    assert!(effects.contains(&Effect::Refuse { reason }), "{effects:?}");
}

#[test]
fn lt_2_the_heir_is_told_once_it_holds_the_whole_log() {
    let mut me = in_office();
    me.step(Input::Propose { count: 1 });
    me.sync();
    me.use_permissions();
    assert!(!asks_to_campaign(&hand_to_bob(&mut me)));
    assert!(asks_to_campaign(&me.hear(BOB, stored(1, 2))));
}

#[test]
fn lt_3_who_is_told_seeks_election_at_once() {
    let mut me = follower(1, &[]);
    me.hear(BOB, append(1, at(0, 0), &[Run::new(1, 1, 1)], 0));
    me.hear(BOB, Message::TimeoutNow { term: Term(1) });
    assert_eq!((me.raft.role(), me.raft.term()), (Role::Candidate, Term(2)));
}

#[test]
fn lt_4_a_transfer_is_given_up_at_its_deadline() {
    let mut me = in_office();
    me.step(Input::Propose { count: 1 });
    hand_to_bob(&mut me);
    let effects = me.wait(TIMEOUT);
    let outcome = TransferOutcome::TimedOut;
    assert!(effects.contains(&Effect::TransferEnded { to: BOB, outcome }), "{effects:?}");
    let effects = me.step(Input::Propose { count: 1 });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Accept { .. })));
}

// Membership

#[test]
fn mc_1_a_membership_is_in_force_as_soon_as_it_is_appended() {
    let mut me = in_office();
    change(&mut me, &[Change::AddVoter(DAVE)]);
    assert_eq!(*me.raft.membership(), Membership::of([ME, BOB, CAROL, DAVE]));
}

#[test]
fn mc_2_one_change_at_a_time() {
    let mut me = in_office();
    assert_eq!(refusal(&change(&mut me, &[Change::AddVoter(DAVE)])), None);
    let open = ChangeRefusal::ChangeOpen { at: Index(2) };
    assert_eq!(refusal(&change(&mut me, &[Change::Remove(BOB)])), Some(open));
}

#[test]
fn mc_3_no_change_before_the_terms_own_entry_is_committed() {
    let mut me = leader(0, &[]);
    let effects = change(&mut me, &[Change::Remove(BOB)]);
    assert_eq!(refusal(&effects), Some(ChangeRefusal::TermNotCommitted));
}

#[test]
fn mc_4_a_leader_that_is_removed_steps_down_once_that_is_committed() {
    let mut me = in_office();
    change(&mut me, &[Change::Remove(ME)]);
    me.sync();
    me.use_permissions();
    me.hear(BOB, stored(1, 2));
    assert_eq!(me.raft.role(), Role::Leader, "the leader's own copy does not count");
    me.hear(CAROL, stored(1, 2));
    assert_eq!(me.raft.role(), Role::Follower);
}

#[test]
fn mc_5_who_hears_a_leader_heeds_no_candidate() {
    let config = Config::new(ME);
    let mut me = started(config, Restored::of(Membership::of([ME, BOB, CAROL])));
    me.hear(BOB, append(1, at(0, 0), &[], 0));
    me.sync();
    me.hear(CAROL, request(2, at(1, 9)));
    assert_eq!(me.raft.term(), Term(1), "not even its term");
    me.now = me.now.after(TIMEOUT);
    me.hear(CAROL, request(2, at(1, 9)));
    assert_eq!(me.raft.term(), Term(2), "BOB is not heard any more");
}

#[test]
fn mc_6_both_sides_of_a_joint_membership_must_agree() {
    let mut me = in_office();
    change(&mut me, &[Change::Remove(BOB), Change::AddVoter(DAVE)]);
    assert!(me.raft.membership().is_joint());
    me.sync();
    me.use_permissions();
    me.hear(DAVE, stored(1, 2));
    assert_eq!(me.raft.commit_index(), Index(1), "of 1, 2 and 3 only this one holds it");
    me.hear(BOB, stored(1, 2));
    assert_eq!(me.raft.commit_index(), Index(2));
}

#[test]
fn mc_7_a_joint_membership_is_left_once_it_is_committed() {
    let mut me = in_office();
    change(&mut me, &[Change::Remove(BOB), Change::AddVoter(DAVE)]);
    me.sync();
    me.use_permissions();
    me.hear(CAROL, stored(1, 2));
    me.hear(DAVE, stored(1, 2));
    assert_eq!(*me.raft.membership(), Membership::of([ME, CAROL, DAVE]));
    assert_eq!(me.raft.last(), at(1, 3));
}

#[test]
fn mc_8_a_membership_is_reverted_with_its_entry() {
    let mut me = in_office();
    change(&mut me, &[Change::AddVoter(DAVE)]);
    me.sync();
    me.hear(BOB, append(2, at(1, 1), &[Run::new(2, 2, 2)], 1));
    assert_eq!(*me.raft.membership(), Membership::of([ME, BOB, CAROL]));
}

// Snapshots

#[test]
#[should_panic(expected = "never applied")]
fn sn_1_a_snapshot_covers_only_what_was_applied() {
    let mut me = in_office();
    me.step(Input::Propose { count: 1 });
    me.step(Input::Compacted { through: at(1, 2) });
}

#[test]
fn sn_2_who_needs_what_was_let_go_is_sent_a_snapshot() {
    let mut me = leader(0, &[]);
    me.hear(BOB, stored(1, 1));
    me.step(Input::Compacted { through: at(1, 1) });
    // It must be known to be up.
    me.wait(TIMEOUT / 10);
    let effects = me.hear(CAROL, heard(2));
    let is_sent = |effect: &Effect| matches!(effect, Effect::SendSnapshot { to: CAROL, .. });
    assert!(effects.iter().any(is_sent), "{effects:?}");
}

#[test]
fn sn_3_a_snapshot_of_what_is_committed_here_changes_nothing() {
    let mut me = follower(1, &[Run::new(1, 1, 3)]);
    me.hear(BOB, append(1, at(1, 3), &[], 3));
    let effects = me.hear(BOB, snapshot(1, at(1, 2)));
    assert_eq!((record(&effects), me.raft.last()), (None, at(1, 3)));
}

// Reads

#[test]
fn ri_1_no_read_before_the_terms_own_entry_is_committed() {
    let mut me = leader(0, &[]);
    read(&mut me);
    let effects = [BOB, CAROL].map(|id| me.hear(id, heard(2))).concat();
    assert!(!is_served(&effects));
    // With its commitment the round begins, and it ends when it is heard.
    me.hear(BOB, stored(1, 1));
    assert!(is_served(&me.hear(BOB, heard(2))));
}

#[test]
fn ri_2_a_quorum_must_have_heard_the_leader_since() {
    let mut me = in_office();
    assert!(!is_served(&read(&mut me)));
    assert!(!is_served(&me.hear(BOB, heard(1))), "a round from before it was asked");
    assert!(is_served(&me.hear(BOB, heard(2))));
}

#[test]
fn ri_3_a_lease_ends_early_by_what_clocks_may_be_off() {
    let me = in_office_with(|config| config.lease_drift_ppm = Some(100_000));
    assert!(me.raft.has_lease(me.now));
    assert!(me.raft.has_lease(me.now.after(TIMEOUT / 10 * 9 - 1)));
    assert!(!me.raft.has_lease(me.now.after(TIMEOUT / 10 * 9)));
}

#[test]
fn ri_4_a_promise_ends_late_by_what_clocks_may_be_off() {
    let config = Config { lease_drift_ppm: Some(100_000), ..Config::new(ME) };
    let mut me = started(config, Restored::of(Membership::of([ME, BOB, CAROL])));
    me.now = me.now.after(3 * TIMEOUT);
    me.hear(BOB, append(1, at(0, 0), &[], 0));
    me.sync();
    me.now = me.now.after(TIMEOUT / 10 * 11 - 1);
    me.hear(CAROL, request(2, at(1, 9)));
    assert_eq!(me.raft.term(), Term(1));
    me.now = me.now.after(1);
    me.hear(CAROL, request(2, at(1, 9)));
    assert_eq!(me.raft.term(), Term(2));
}

#[test]
fn ri_5_who_promises_less_than_the_lease_counts_for_none() {
    let mut me = in_office_with(|config| config.lease_drift_ppm = Some(100_000));
    let promises = |peer, promise_us| Input::Promises { peer, promise_us };
    me.step(promises(BOB, 0));
    assert!(me.raft.has_lease(me.now), "Carol's answer is enough");
    me.step(promises(CAROL, TIMEOUT - 1));
    assert!(!me.raft.has_lease(me.now), "what was heard before counts no more either");
    me.step(promises(CAROL, TIMEOUT));
    assert!(me.raft.has_lease(me.now), "it has come back with other settings");
}

// Elections

#[test]
fn pv_1_who_could_not_win_does_not_raise_its_term() {
    let mut me = started(Config::new(ME), Restored::of(Membership::of([ME, BOB, CAROL])));
    let effects = me.step(Input::Campaign);
    assert_eq!((me.raft.role(), me.raft.term()), (Role::PreCandidate, Term(0)));
    assert_eq!((record(&effects), sent(&effects).len()), (None, 2));
    me.hear(BOB, Message::PreVoteReply { term: Term(0), granted: false });
    assert_eq!(me.raft.term(), Term(0));
    me.hear(BOB, Message::PreVoteReply { term: Term(1), granted: true });
    assert_eq!((me.raft.role(), me.raft.term()), (Role::Candidate, Term(1)));
}

#[test]
fn pv_2_an_old_log_gets_no_pre_vote() {
    let mut me = follower(1, &[Run::new(1, 1, 2)]);
    let reply = |granted, term| vec![(CAROL, Message::PreVoteReply { term: Term(term), granted })];
    let mut ask = |last_log| sent(&me.hear(CAROL, Message::PreVote { term: Term(2), last_log }));
    assert_eq!(ask(at(1, 1)), reply(false, 1));
    assert_eq!(ask(at(1, 2)), reply(true, 2));
}

#[test]
fn cq_1_a_leader_without_a_quorum_steps_down() {
    let mut me = in_office_with(|config| config.check_quorum = true);
    me.wait(TIMEOUT / 2);
    assert_eq!(me.raft.role(), Role::Leader);
    me.wait(TIMEOUT / 2);
    assert_eq!(me.raft.role(), Role::Follower);
}

// Writing in parallel

#[test]
fn pw_1_a_leader_sends_what_its_own_disk_does_not_hold_yet() {
    let mut me = in_office();
    let effects = me.step(Input::Propose { count: 1 });
    let both = [(BOB, at(1, 1), Index(2)), (CAROL, at(1, 1), Index(2))];
    assert_eq!(permitted(&effects), both);
    me.use_permissions();
    me.hear(BOB, stored(1, 2));
    assert_eq!(me.raft.commit_index(), Index(1));
    // Two of the followers are a majority without it.
    me.hear(CAROL, stored(1, 2));
    assert_eq!(me.raft.commit_index(), Index(2));
}

#[test]
fn pw_2_a_leader_counts_its_own_copy_once_that_is_durable() {
    let mut me = in_office();
    me.step(Input::Propose { count: 1 });
    me.use_permissions();
    me.hear(BOB, stored(1, 2));
    assert_eq!(me.raft.commit_index(), Index(1));
    me.sync();
    assert_eq!(me.raft.commit_index(), Index(2));
}
