//! How long a follower waits before it seeks election, and what cuts it short.

use super::one_member::{BOB, CAROL, ME, Member, TIMEOUT, append, at, follower, request, started};
use driftless_raft::{
    Config, Effects, Input, Membership, Message, Moment, Raft, Restored, Run, Time,
};

/// A follower of Bob in term 1, with these settings.
fn of_bob(set: impl FnOnce(&mut Config)) -> Member {
    let mut config = Config::new(ME);
    set(&mut config);
    let mut me = started(config, Restored::of(Membership::of([ME, BOB, CAROL])));
    me.hear(BOB, append(1, at(0, 0), &[], 0));
    assert_eq!(me.raft.leader(), Some(BOB));
    me
}

/// When it seeks election once the link to Bob broke, by this random number.
fn without_bob(me: &mut Member, random: u64) -> Time {
    let moment = Moment { now: me.now, random };
    me.raft.step(moment, Input::Disconnected { peer: BOB }, &mut Effects::new());
    me.raft.deadline().unwrap()
}

#[test]
fn the_timeout_is_spread_at_random() {
    let restored = Restored::of(Membership::of([ME, BOB, CAROL]));
    let deadline = |rank, random| {
        let config = Config { election_rank: rank, ..Config::new(ME) };
        let moment = Moment { now: Time(0), random };
        Raft::new(config, restored.clone(), moment).unwrap().deadline().unwrap()
    };
    // From one second to 1.3.
    assert_eq!(deadline(0, 0), Time(1_000_000));
    assert_eq!(deadline(0, 300_000), Time(1_300_000));
    assert_eq!(deadline(0, 300_001), Time(1_000_000));
    // A later rank waits out an earlier one, and a heartbeat.
    assert_eq!(deadline(2, 0), Time(1_800_000));
}

#[test]
fn who_knows_the_leader_to_be_gone_does_not_wait_for_long() {
    // From a 200th of a timeout on, spread over a 20th.
    assert_eq!(without_bob(&mut of_bob(|_| {}), 0), Time(5_000));
    assert_eq!(without_bob(&mut of_bob(|_| {}), 50_000), Time(55_000));
    assert_eq!(without_bob(&mut of_bob(|_| {}), 50_001), Time(5_000));
    // Who comes later in rank lets the others go first here, too.
    assert_eq!(without_bob(&mut of_bob(|config| config.election_rank = 2), 0), Time(130_000));
}

#[test]
fn but_it_does_where_nothing_guards_against_a_false_alarm() {
    for (pre_vote, check_quorum) in [(false, true), (true, false), (false, false)] {
        let mut me = of_bob(|config| {
            (config.pre_vote, config.check_quorum) = (pre_vote, check_quorum);
        });
        let before = me.raft.deadline().unwrap();
        assert_eq!(without_bob(&mut me, 0), before);
        assert_eq!(me.raft.leader(), None);
    }
}

#[test]
fn a_link_to_somebody_else_means_nothing() {
    let mut me = of_bob(|_| {});
    let before = me.raft.clone();
    me.step(Input::Disconnected { peer: CAROL });
    assert_eq!(me.raft, before);
}

#[test]
fn a_later_term_as_such_does_not_put_the_election_off() {
    let mut me = follower(1, &[Run::new(1, 1, 3)]);
    let before = me.raft.deadline();
    me.now = me.now.after(TIMEOUT / 2);
    // Its log is too short for a vote.
    me.hear(CAROL, request(2, at(1, 1)));
    assert_eq!((me.raft.term().0, me.raft.deadline()), (2, before));
}

#[test]
fn who_differs_only_in_when_it_is_becomes_the_same() {
    let present = Time(2 * TIMEOUT);
    let follower_at = |start: u64| {
        let mut me = of_bob(|_| {});
        me.now = Time(start);
        me.hear(BOB, append(1, at(0, 0), &[], 0));
        me
    };
    let rebased = |mut me: Member, age: u64| {
        let now = me.now.after(age);
        assert_eq!(me.raft.rebase(now), present);
        me.raft
    };
    let (early, late) = (follower_at(4 * TIMEOUT), follower_at(9 * TIMEOUT + 3));
    let ahead = early.raft.deadline().unwrap().since(early.now);
    assert_ne!(early.raft, late.raft);
    let (early, late) = (rebased(early, 0), rebased(late, 0));
    assert_eq!(early.deadline(), Some(present.after(ahead)));
    assert_eq!(early, late);
    // What is long past is past: both heard Bob more than two timeouts ago.
    let ages = [4 * TIMEOUT, 5 * TIMEOUT].map(|age| rebased(follower_at(TIMEOUT), age));
    assert_eq!(ages[0], ages[1]);
    // What is not, is not.
    let ages = [TIMEOUT / 2, TIMEOUT].map(|age| rebased(follower_at(TIMEOUT), age));
    assert_ne!(ages[0], ages[1]);
}

#[test]
fn heartbeats_must_be_more_frequent_than_timeouts() {
    for heartbeat in [0, TIMEOUT, TIMEOUT + 1] {
        let config = Config { heartbeat_interval_us: heartbeat, ..Config::new(ME) };
        let restored = Restored::of(Membership::of([ME, BOB, CAROL]));
        let moment = Moment { now: Time(0), random: 0 };
        let refused = Raft::new(config, restored, moment).unwrap_err().to_string();
        let named = format!("the heartbeat interval ({heartbeat} us) must be above zero");
        assert!(refused.starts_with(&named), "{refused}");
    }
}

#[test]
fn only_who_asks_for_votes_is_turned_away_while_a_leader_is_heard() {
    let mut me = started(Config::new(ME), Restored::of(Membership::of([ME, BOB, CAROL])));
    me.now = me.now.after(5 * TIMEOUT);
    me.hear(BOB, append(1, at(0, 0), &[], 0));
    let before = me.raft.clone();
    me.hear(CAROL, request(7, at(0, 0)));
    assert_eq!(me.raft, before);
    me.hear(CAROL, Message::VoteReply { term: driftless_raft::Term(7), vote_granted: false });
    assert_eq!(me.raft.term().0, 7);
}
