//! Flow control by bytes and messages (thesis §10.2).

use super::one_member::{BOB, CAROL, ME, Member, at, elected, permitted, stored};
use driftless_raft::progress::{Flow, Progress};
use driftless_raft::{Config, Effect, Index, Input, Membership, Message, NodeId, Round, Term};

/// The leader of term 1 with these settings; Bob and Carol hold its first entry.
pub(crate) fn in_office(set: impl FnOnce(&mut Config)) -> Member {
    let mut config = Config { pre_vote: false, check_quorum: false, ..Config::new(ME) };
    set(&mut config);
    let mut me = elected(config, Membership::of([ME, BOB, CAROL]));
    me.use_permissions();
    me.hear(BOB, stored(1, 1));
    me.hear(CAROL, stored(1, 1));
    me
}

/// At most 100 bytes and 3 messages on the way to a follower, 80 bytes in one.
fn small(config: &mut Config) {
    (config.inflight_bytes_max, config.inflight_messages_max) = (100, 3);
    config.message_bytes_max = 80;
}

/// What may be sent to Bob: from where, and how many bytes.
pub(crate) fn to_bob(effects: &[Effect]) -> Option<(u64, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::SendEntries { to: BOB, prev, bytes_max, .. } => Some((prev.index.0, *bytes_max)),
        _ => None,
    })
}

fn sent_to_bob(me: &mut Member, last: u64, bytes: u64) -> Option<(u64, u64)> {
    to_bob(&me.step(Input::Sent { to: BOB, term: Term(1), last: Index(last), bytes }))
}

pub(crate) fn bob(me: &Member) -> &Progress {
    me.raft.followers().find(|&(id, _)| id == BOB).unwrap().1
}

/// Bytes and messages on the way to Bob.
fn in_flight(me: &Member) -> (u64, usize) {
    match bob(me).flow() {
        Flow::Replicate(window) => (window.bytes(), window.messages()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_on_the_way_are_bounded_and_an_answer_frees_whole_messages() {
    let mut me = in_office(small);
    assert_eq!(to_bob(&me.step(Input::Propose { count: 5 })), Some((1, 80)));
    assert_eq!(sent_to_bob(&mut me, 3, 60), Some((3, 40)));
    assert_eq!(in_flight(&me), (60, 1));
    assert_eq!(sent_to_bob(&mut me, 4, 40), None);
    assert_eq!(in_flight(&me), (100, 2));
    // Half of the first message.
    assert_eq!(to_bob(&me.hear(BOB, stored(1, 2))), None);
    assert_eq!(in_flight(&me), (100, 2));
    // All of it.
    assert_eq!(to_bob(&me.hear(BOB, stored(1, 3))), Some((4, 60)));
    assert_eq!(in_flight(&me), (40, 1));
    // One entry is always sent, however large: the bound is then overdrawn.
    assert_eq!(sent_to_bob(&mut me, 5, 90), None);
    assert_eq!(in_flight(&me), (130, 2));
    assert_eq!(to_bob(&me.hear(BOB, stored(1, 4))), Some((5, 10)));
    assert_eq!(in_flight(&me), (90, 1));
}

#[test]
fn messages_on_the_way_are_bounded() {
    let mut me = in_office(small);
    me.step(Input::Propose { count: 5 });
    assert_eq!(sent_to_bob(&mut me, 2, 1), Some((2, 80)));
    assert_eq!(sent_to_bob(&mut me, 3, 1), Some((3, 80)));
    assert_eq!(sent_to_bob(&mut me, 4, 1), None);
    assert_eq!(in_flight(&me), (3, 3));
    assert_eq!(to_bob(&me.hear(BOB, stored(1, 2))), Some((4, 80)));
}

#[test]
fn an_answer_does_not_void_a_permission_that_begins_behind_it() {
    let mut me = in_office(small);
    me.step(Input::Propose { count: 4 });
    sent_to_bob(&mut me, 3, 10);
    // Permitted from 4 on; and now everything before is acknowledged.
    me.hear(BOB, stored(1, 3));
    sent_to_bob(&mut me, 5, 10);
    assert_eq!((bob(&me).next_index(), in_flight(&me)), (Index(6), (10, 1)));
}

#[test]
fn a_permission_from_before_a_step_back_is_void() {
    let mut me = in_office(small);
    me.step(Input::Propose { count: 4 });
    sent_to_bob(&mut me, 3, 10);
    // Permitted from 4 on. But Bob lacks 3, so it is to go on from 2.
    let (prev_log, hint) = (at(1, 3), at(1, 1));
    let rejected = Message::AppendRejected { term: Term(1), round: Round(1), prev_log, hint };
    assert_eq!(to_bob(&me.hear(BOB, rejected)), None);
    // What was sent by the old permission says nothing about the new place.
    assert_eq!(sent_to_bob(&mut me, 5, 10), Some((1, 80)));
    assert_eq!(*bob(&me).flow(), Flow::Probe { sent: false });
}

#[test]
fn a_follower_whose_log_is_not_known_to_agree_is_sent_one_message() {
    let mut me = in_office(small);
    me.step(Input::Disconnected { peer: BOB });
    assert_eq!(to_bob(&me.step(Input::Propose { count: 2 })), None);
    // It answers a heartbeat, and holds what the leader takes it to hold.
    assert_eq!(to_bob(&me.hear(BOB, stored(1, 1))), Some((1, 80)));
    assert_eq!(sent_to_bob(&mut me, 2, 1), Some((2, 80)));
}

#[test]
fn everybody_has_a_window_of_its_own() {
    let mut me = in_office(small);
    me.step(Input::Propose { count: 2 });
    sent_to_bob(&mut me, 3, 100);
    let (term, last) = (Term(1), Index(2));
    let effects = me.step(Input::Sent { to: CAROL, term, last, bytes: 10 });
    let carol: Vec<(NodeId, _, _)> = permitted(&effects);
    assert_eq!(carol, [(CAROL, at(1, 2), Index(3))]);
}
