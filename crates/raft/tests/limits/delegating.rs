//! Snapshots that one member sends in another's place: what the sender does for its
//! leader, what the receiver makes of it, and whom a leader believes.

use super::one_member::{
    BOB, CAROL, ME, Member, TIMEOUT, append, at, candidate, elected, follower, heard_by,
    is_rejection, leader, plain, record, request, sent, started, stored,
};
use driftless_raft::{
    Config, DelegateReport, Effect, HardState, Index, Input, Membership, Message, NodeId, Position,
    Restored, Role, Run, SnapshotOutcome, Term, Trail,
};

const DAVE: NodeId = NodeId(4);

/// Carol's, in the place of `leader`.
fn snapshot_for(leader: NodeId, term: u64, last: Position) -> Message {
    let membership = Box::new(Membership::of([ME, BOB, CAROL]));
    Message::InstallSnapshot { term: Term(term), leader, last, membership }
}

fn order(to: NodeId, term: u64, least: u64) -> Message {
    let resume = (Position::ZERO, 0);
    Message::DelegateSnapshot { term: Term(term), to, least: Index(least), resume }
}

fn ended(term: u64, outcome: SnapshotOutcome) -> Message {
    let report = DelegateReport::Ended(outcome);
    Message::DelegateReport { term: Term(term), to: CAROL, report }
}

fn follower_of_bob(config: Config) -> Member {
    let mut trail = Trail::of(Membership::of([ME, BOB, CAROL]));
    trail.append(Run::new(1, 1, 3));
    let hard_state = HardState { current_term: Term(2), ..HardState::default() };
    let mut me = started(config, Restored { hard_state, trail, replacement: None });
    me.hear(BOB, append(2, at(1, 3), &[], 0));
    me
}

// The receiver.

#[test]
fn it_is_installed_and_acknowledged_to_the_leader() {
    let mut me = follower_of_bob(plain());
    me.hear(CAROL, snapshot_for(BOB, 2, at(2, 5)));
    assert_eq!(me.raft.trail().base(), at(2, 5));
    assert_eq!(sent(&me.sync()), [(BOB, stored(2, 5))]);
}

/// The leader may be long gone: nobody waits for it a moment longer.
#[test]
fn it_is_no_sign_of_the_leader() {
    let mut me = follower_of_bob(Config { snapshots_from_followers: true, ..Config::new(ME) });
    let deadline = me.raft.deadline();
    me.now = me.now.after(TIMEOUT - 1);
    me.hear(CAROL, snapshot_for(BOB, 2, at(2, 5)));
    me.sync();
    assert_eq!(me.raft.deadline(), deadline);
    me.now = me.now.after(1);
    // An election timeout after Bob was heard Carol has this vote.
    let effects = [me.hear(CAROL, request(3, at(2, 6))), me.sync()].concat();
    let vote = Message::VoteReply { term: Term(3), vote_granted: true };
    assert_eq!(sent(&effects), [(CAROL, vote)]);
}

#[test]
fn it_makes_nobody_the_leader() {
    let mut me = follower(2, &[Run::new(1, 1, 3)]);
    me.hear(CAROL, snapshot_for(BOB, 2, at(2, 5)));
    assert_eq!((me.raft.leader(), me.raft.trail().base()), (None, at(2, 5)));
    let mut me = candidate(1, &[Run::new(1, 1, 3)]);
    me.hear(CAROL, snapshot_for(BOB, 2, at(1, 5)));
    assert_eq!((me.raft.role(), me.raft.trail().base()), (Role::Candidate, at(1, 5)));
}

/// What a voter promised its leader, for a lease, it did not promise whoever sends in
/// that one's place.
#[test]
fn it_frees_nobody_from_a_promise() {
    let lease = Config { lease_drift_ppm: Some(0), ..Config::new(ME) };
    let mut trail = Trail::of(Membership::of([ME, BOB, CAROL]));
    trail.append(Run::new(1, 1, 3));
    let hard_state = HardState { current_term: Term(2), ..HardState::default() };
    // It may have promised Bob a lease just before it restarted.
    let mut me = started(lease, Restored { hard_state, trail, replacement: None });
    me.hear(CAROL, snapshot_for(BOB, 2, at(2, 5)));
    me.sync();
    me.now = me.now.after(TIMEOUT - 1);
    let effects = [me.hear(CAROL, request(3, at(2, 6))), me.sync()].concat();
    assert_eq!((sent(&effects).len(), me.raft.term()), (1, Term(2)));
    let granted = Message::VoteReply { term: Term(3), vote_granted: true };
    assert!(!sent(&effects).contains(&(CAROL, granted)), "{effects:?}");
}

#[test]
fn one_of_a_term_that_has_passed_is_refused() {
    let mut me = follower(3, &[]);
    let effects = me.hear(CAROL, snapshot_for(BOB, 2, at(2, 5)));
    assert!(is_rejection(&effects) && sent(&effects)[0].0 == CAROL);
    assert_eq!((record(&effects), me.raft.trail().base()), (None, Position::ZERO));
}

#[test]
fn one_for_another_leader_than_the_terms_is_ignored() {
    let mut me = follower_of_bob(plain());
    assert_eq!(me.hear(CAROL, snapshot_for(ME, 2, at(2, 5))), []);
    let mut me = leader(1, &[]);
    assert_eq!(me.hear(CAROL, snapshot_for(BOB, 2, at(2, 5))), []);
    assert_eq!(me.raft.trail().base(), Position::ZERO);
}

// The sender.

#[test]
fn a_follower_sends_for_its_leader_and_says_what_comes_of_it() {
    let mut me = follower_of_bob(plain());
    let (to, term, snapshot) = (CAROL, Term(2), at(1, 3));
    let resume = (snapshot, 700);
    let order = Message::DelegateSnapshot { term, to, least: Index(2), resume };
    let (leader, least, witness) = (BOB, Index(2), false);
    let wanted = Effect::SendSnapshot { to, term, leader, least, resume: Some(resume), witness };
    assert_eq!(me.hear(BOB, order), [wanted]);
    let effects = me.step(Input::SnapshotProgress { to, term, snapshot, received: 900 });
    let report = DelegateReport::Progress { snapshot, received: 900 };
    assert_eq!(sent(&effects), [(BOB, Message::DelegateReport { term, to, report })]);
    let outcome = SnapshotOutcome::Delivered;
    let over = Input::SnapshotSent { to, term, outcome };
    assert_eq!(sent(&me.step(over.clone())), [(BOB, ended(2, outcome))]);
    assert_eq!(me.step(over), [], "it is over");
}

#[test]
fn it_stops_when_it_is_told_to_and_when_it_follows_that_leader_no_more() {
    let stop = Effect::StopSnapshot { to: CAROL, term: Term(2) };
    let recall = Message::RecallSnapshot { term: Term(2), to: CAROL };
    for (from, message) in [(BOB, recall), (CAROL, request(3, at(2, 9)))] {
        let mut me = follower_of_bob(plain());
        me.hear(BOB, order(CAROL, 2, 2));
        assert!(me.hear(from, message).contains(&stop));
        let outcome = SnapshotOutcome::Failed;
        let input = Input::SnapshotSent { to: CAROL, term: Term(2), outcome };
        assert_eq!(sent(&me.step(input)), []);
    }
    let mut me = follower_of_bob(plain());
    me.hear(BOB, order(CAROL, 2, 2));
    assert!(me.step(Input::Disconnected { peer: BOB }).contains(&stop));
    // Somebody else's word, or about another, changes nothing.
    let mut me = follower_of_bob(plain());
    me.hear(BOB, order(CAROL, 2, 2));
    assert_eq!(me.hear(CAROL, Message::RecallSnapshot { term: Term(2), to: CAROL }), []);
    assert_eq!(me.hear(BOB, Message::RecallSnapshot { term: Term(2), to: BOB }), []);
    assert_eq!(me.hear(BOB, Message::RecallSnapshot { term: Term(1), to: CAROL }), []);
}

#[test]
fn it_declines_what_is_not_its_leaders_to_ask() {
    let refusal = |term| ended(term, SnapshotOutcome::Failed);
    // It follows nobody yet; or another; or leads itself; or a later term has come.
    let mut of_nobody = follower(2, &[]);
    assert_eq!(sent(&of_nobody.hear(BOB, order(CAROL, 2, 2))), [(BOB, refusal(2))]);
    let mut of_bob = follower_of_bob(plain());
    let declined = Message::DelegateReport {
        term: Term(2),
        to: BOB,
        report: DelegateReport::Ended(SnapshotOutcome::Failed),
    };
    assert_eq!(sent(&of_bob.hear(CAROL, order(BOB, 2, 2))), [(CAROL, declined)]);
    assert_eq!(sent(&of_bob.hear(BOB, order(CAROL, 1, 2))), [(BOB, refusal(2))]);
    let mut head = leader(1, &[]);
    assert_eq!(sent(&head.hear(BOB, order(CAROL, 2, 2))), [(BOB, refusal(2))]);
    // To whom? Not to itself, nor to the leader.
    for to in [ME, BOB] {
        let effects = of_bob.hear(BOB, order(to, 2, 2));
        assert!(matches!(sent(&effects)[..], [(BOB, Message::DelegateReport { .. })]));
    }
}

#[test]
fn it_sends_to_one_at_a_time() {
    let stops = |effects: &[Effect]| {
        let stop = |it: &&Effect| matches!(it, Effect::StopSnapshot { .. });
        effects.iter().find(stop).cloned()
    };
    let mut me = follower_of_bob(plain());
    me.hear(BOB, order(CAROL, 2, 2));
    // The same again: it is begun anew, by the same order.
    let again = me.hear(BOB, order(CAROL, 2, 2));
    assert_eq!(stops(&again), None);
    let sends = |it: &Effect| matches!(it, Effect::SendSnapshot { to: CAROL, resume: None, .. });
    assert!(again.iter().any(sends));
    // To another: the first is over.
    let other = me.hear(BOB, order(DAVE, 2, 2));
    assert_eq!(stops(&other), Some(Effect::StopSnapshot { to: CAROL, term: Term(2) }));
}

// The leader.

#[test]
fn nobody_is_asked_to_send_to_two() {
    let mut membership = Membership::of([ME, BOB, CAROL]);
    membership.learners.insert(DAVE);
    let config = Config { snapshots_from_followers: true, ..plain() };
    let mut me = elected(config, membership);
    me.use_permissions();
    me.hear(BOB, stored(1, 1));
    me.hear(BOB, heard_by(1, 1));
    me.step(Input::Compacted { through: at(1, 1) });
    let mut effects = next_round(&mut me, 2);
    effects.extend(me.hear(DAVE, heard_by(1, 2)));
    let of_carol = sent(&effects).contains(&(BOB, order(CAROL, 1, 1)));
    let own = |it: &Effect| matches!(it, Effect::SendSnapshot { to: DAVE, leader: ME, .. });
    assert!(of_carol && effects.iter().any(own), "{effects:?}");
}

/// Carol needs a snapshot, and Bob, who has what it covers, was asked for it.
fn asked() -> Member {
    let config = Config { snapshots_from_followers: true, ..plain() };
    let mut me = elected(config, Membership::of([ME, BOB, CAROL]));
    me.use_permissions();
    me.hear(BOB, stored(1, 1));
    me.hear(BOB, heard_by(1, 1));
    me.step(Input::Compacted { through: at(1, 1) });
    let effects = next_round(&mut me, 2);
    assert!(sent(&effects).contains(&(BOB, order(CAROL, 1, 1))), "{effects:?}");
    assert!(!sends_itself(&effects));
    me
}

/// A heartbeat, which both answer.
fn next_round(me: &mut Member, round: u64) -> Vec<Effect> {
    let heartbeat = me.wait(TIMEOUT / 10);
    [heartbeat, me.hear(BOB, heard_by(1, round)), me.hear(CAROL, heard_by(1, round))].concat()
}

fn sends_itself(effects: &[Effect]) -> bool {
    effects.iter().any(|it| matches!(it, Effect::SendSnapshot { to: CAROL, leader: ME, .. }))
}

fn asks_bob(effects: &[Effect]) -> Option<(Position, u64)> {
    sent(effects).into_iter().find_map(|(to, message)| match message {
        Message::DelegateSnapshot { resume, .. } if to == BOB => Some(resume),
        _ => None,
    })
}

fn sender(me: &Member) -> Option<NodeId> {
    me.raft.followers().find(|&(id, _)| id == CAROL).unwrap().1.snapshot_sender()
}

#[test]
fn whoever_brings_nothing_is_asked_once() {
    let mut me = asked();
    assert_eq!(sender(&me), Some(BOB));
    me.hear(BOB, ended(1, SnapshotOutcome::Failed));
    let effects = next_round(&mut me, 3);
    assert!(sends_itself(&effects) && asks_bob(&effects).is_none());
    assert_eq!(sender(&me), Some(ME));
    // And never again, until Carol has caught up.
    let (to, term, outcome) = (CAROL, Term(1), SnapshotOutcome::Failed);
    me.step(Input::SnapshotSent { to, term, outcome });
    let effects = next_round(&mut me, 4);
    assert!(sends_itself(&effects) && asks_bob(&effects).is_none());
}

#[test]
fn whoever_brought_some_goes_on_from_there() {
    let mut me = asked();
    let report = DelegateReport::Progress { snapshot: at(1, 1), received: 700 };
    me.hear(BOB, Message::DelegateReport { term: Term(1), to: CAROL, report });
    me.hear(BOB, ended(1, SnapshotOutcome::Failed));
    let effects = next_round(&mut me, 3);
    assert_eq!(asks_bob(&effects), Some((at(1, 1), 700)));
    assert!(!sends_itself(&effects));
}

/// Its bytes need not be the leader's.
#[test]
fn the_leader_begins_anew_what_another_began() {
    let mut me = asked();
    let report = DelegateReport::Progress { snapshot: at(1, 1), received: 700 };
    me.hear(BOB, Message::DelegateReport { term: Term(1), to: CAROL, report });
    me.step(Input::Disconnected { peer: BOB });
    let effects = next_round(&mut me, 3);
    let begun = effects.iter().find_map(|effect| match effect {
        Effect::SendSnapshot { resume, .. } => Some(*resume),
        _ => None,
    });
    assert_eq!(begun, Some(None), "{effects:?}");
}

#[test]
fn one_that_answers_no_more_is_recalled() {
    let mut me = asked();
    // Only Carol answers, round after round.
    let mut effects = Vec::new();
    for round in 3..=14 {
        effects.extend(me.wait(TIMEOUT / 10));
        effects.extend(me.hear(CAROL, heard_by(1, round)));
    }
    let recall = Message::RecallSnapshot { term: Term(1), to: CAROL };
    assert_eq!(sent(&effects).iter().filter(|(_, message)| *message == recall).count(), 1);
    assert!(sends_itself(&effects));
    // What it says now is of an attempt that is over.
    me.hear(BOB, ended(1, SnapshotOutcome::Failed));
    assert_eq!(sender(&me), Some(ME));
    assert!(!sends_itself(&next_round(&mut me, 15)), "its own goes on");
}

#[test]
fn a_delivery_that_brought_nothing_is_not_repeated() {
    let mut me = asked();
    me.hear(BOB, ended(1, SnapshotOutcome::Delivered));
    // Carol, it turns out, has nothing.
    let rejected = |round| Message::AppendRejected {
        term: Term(1),
        round: driftless_raft::Round(round),
        prev_log: at(1, 1),
        hint: Position::ZERO,
    };
    me.wait(TIMEOUT / 10);
    let effects = me.hear(CAROL, rejected(3));
    assert!(sends_itself(&effects) && asks_bob(&effects).is_none(), "{effects:?}");
}
