//! Reads: who is asked whether the leader still leads, and how long it is waited for.

use super::flow::in_office;
use super::one_member::{BOB, CAROL, Member, TIMEOUT, append, at, follower, heard_by, sent};
use driftless_raft::{
    Effect, Index, Input, Message, NodeId, ReadId, ReadRefusal, Round, Run, Term, Time,
};

const ID: ReadId = ReadId(9);

/// A heartbeat: an eighth of it is how long those who were asked first are waited for.
const HEARTBEAT: u64 = 100_000;

fn read(me: &mut Member, deadline: Time) -> Vec<Effect> {
    me.step(Input::Read { id: ID, deadline })
}

/// Who is asked, in which round.
fn asked(effects: &[Effect]) -> Vec<(NodeId, u64)> {
    let round = |message: &Message| match message {
        Message::Append { round, .. } => round.0,
        other => panic!("{other:?}"),
    };
    sent(effects).iter().map(|(to, message)| (*to, round(message))).collect()
}

fn refused(reason: ReadRefusal) -> Effect {
    Effect::ReadRefused { id: ID, reason }
}

fn ready(index: u64) -> Effect {
    Effect::ReadReady { id: ID, index: Index(index) }
}

/// A leader that both heard in its first round, and that knows its term is committed.
fn leader() -> Member {
    let mut me = in_office(|_| {});
    for follower in [BOB, CAROL] {
        me.hear(follower, heard_by(1, 1));
    }
    me
}

#[test]
fn no_more_are_asked_than_a_quorum_needs_and_the_rest_when_they_are_silent() {
    let mut me = leader();
    let deadline = me.now.after(TIMEOUT);
    assert_eq!(asked(&read(&mut me, deadline)), [(BOB, 2)]);
    // Nobody else, until an eighth of a heartbeat has passed.
    assert_eq!(asked(&me.wait(HEARTBEAT / 8 - 1)), []);
    assert_eq!(asked(&me.wait(1)), [(CAROL, 2)]);
    assert!(me.hear(CAROL, heard_by(1, 2)).contains(&ready(1)));
    // Bob let a round pass: Carol is asked first now, and again.
    assert_eq!(asked(&read(&mut me, deadline)), [(CAROL, 3)]);
    assert!(me.hear(CAROL, heard_by(1, 3)).contains(&ready(1)));
    assert_eq!(asked(&read(&mut me, deadline)), [(CAROL, 4)]);
}

#[test]
fn who_cannot_answer_any_more_is_not_waited_for() {
    let mut me = leader();
    let deadline = me.now.after(TIMEOUT);
    assert_eq!(asked(&read(&mut me, deadline)), [(BOB, 2)]);
    assert_eq!(asked(&me.step(Input::Disconnected { peer: BOB })), [(CAROL, 2)]);
}

#[test]
fn a_leader_gives_up_when_the_caller_does() {
    let mut me = leader();
    let (first, deadline) = (me.now, me.now.after(30_000));
    read(&mut me, deadline);
    assert_eq!(me.raft.deadline(), Some(first.after(HEARTBEAT / 8)));
    me.wait(HEARTBEAT / 8);
    assert_eq!(me.raft.deadline(), Some(deadline));
    assert!(!me.wait(17_499).contains(&refused(ReadRefusal::TimedOut)));
    assert!(me.wait(1).contains(&refused(ReadRefusal::TimedOut)));
    // An answer comes too late.
    assert_eq!(me.hear(BOB, heard_by(1, 2)), []);
}

#[test]
fn so_does_one_whose_term_has_no_committed_entry() {
    let mut me = super::one_member::leader(0, &[]);
    let deadline = me.now.after(30_000);
    assert_eq!(asked(&read(&mut me, deadline)), []);
    assert_eq!(me.raft.deadline(), Some(deadline));
    assert!(me.wait(30_000).contains(&refused(ReadRefusal::TimedOut)));
}

/// A follower of Bob.
fn of_bob() -> Member {
    let mut me = follower(1, &[Run::new(1, 1, 3)]);
    me.hear(BOB, append(1, at(1, 3), &[], 3));
    me
}

#[test]
fn a_follower_asks_its_leader_and_gives_up_when_the_caller_does() {
    let mut me = of_bob();
    let deadline = me.now.after(30_000);
    assert_eq!(sent(&read(&mut me, deadline)), [(BOB, Message::Read { id: ID })]);
    assert_eq!(me.raft.deadline(), Some(deadline));
    assert_eq!(me.wait(29_999), []);
    assert_eq!(me.wait(1), [refused(ReadRefusal::TimedOut)]);
    let reply = Message::ReadReply { id: ID, index: Some(Index(3)) };
    assert_eq!(me.hear(BOB, reply), []);
}

#[test]
fn and_after_an_election_timeout_in_any_case() {
    let mut me = of_bob();
    let deadline = me.now.after(9 * TIMEOUT);
    read(&mut me, deadline);
    assert_eq!(me.raft.deadline(), Some(me.now.after(TIMEOUT)));
    assert!(me.wait(TIMEOUT).contains(&refused(ReadRefusal::TimedOut)));
}

#[test]
fn an_answer_is_taken_for_the_question_that_it_names() {
    let mut me = of_bob();
    let deadline = me.now.after(30_000);
    read(&mut me, deadline);
    let reply = |id, index| Message::ReadReply { id: ReadId(id), index };
    assert_eq!(me.hear(BOB, reply(8, Some(Index(2)))), []);
    assert_eq!(me.hear(BOB, reply(9, Some(Index(3)))), [ready(3)]);
    read(&mut me, deadline);
    assert_eq!(me.hear(BOB, reply(9, None)), [refused(ReadRefusal::NoLeader)]);
}

#[test]
fn where_no_leader_is_known_nobody_can_be_asked() {
    let mut me = follower(1, &[]);
    let deadline = me.now.after(30_000);
    assert_eq!(read(&mut me, deadline), [refused(ReadRefusal::NoLeader)]);
    let reply = Message::ReadReply { id: ID, index: None };
    assert_eq!(sent(&me.hear(CAROL, Message::Read { id: ID })), [(CAROL, reply)]);
}

#[test]
fn reads_end_with_the_leadership_that_they_rest_on() {
    let mut me = leader();
    let deadline = me.now.after(TIMEOUT);
    read(&mut me, deadline);
    me.hear(BOB, Message::Read { id: ReadId(4) });
    let later = Message::AppendHeard { term: Term(2), round: Round(1) };
    let effects = me.hear(CAROL, later);
    assert!(effects.contains(&refused(ReadRefusal::LeadershipLost)));
    let reply = Message::ReadReply { id: ReadId(4), index: None };
    assert_eq!(sent(&effects), [(BOB, reply)]);
    // And those that were handed on, with the leader that was asked.
    let mut me = of_bob();
    read(&mut me, deadline);
    let effects = me.hear(CAROL, append(2, at(1, 3), &[], 3));
    assert!(effects.contains(&refused(ReadRefusal::NoLeader)));
}

#[test]
fn a_follower_that_asks_is_waited_for_an_election_timeout() {
    let mut me = leader();
    me.hear(CAROL, Message::Read { id: ID });
    for _ in 0..9 {
        assert!(!me.wait(HEARTBEAT).iter().any(|it| matches!(it, Effect::ReadReady { .. })));
    }
    let reply = Message::ReadReply { id: ID, index: None };
    assert!(sent(&me.wait(HEARTBEAT)).contains(&(CAROL, reply)));
}
