//! What a leader makes of answers that are old, wrong, or about what is gone
//! (`roles/replicate.rs`).

use super::flow::{bob, in_office, to_bob};
use super::one_member::{BOB, CAROL, Member, at, leader, stored};
use driftless_raft::progress::{Delivery, Flow};
use driftless_raft::{Effect, Index, Input, Message, Round, Run, Term};

fn rejected(prev_log: u64, hint: u64) -> Message {
    let (prev_log, hint) = (at(1, prev_log), at(1, hint));
    Message::AppendRejected { term: Term(1), round: Round(1), prev_log, hint }
}

/// Entries up to 6, everything sent to Bob, who holds them up to 3.
fn six() -> Member {
    let mut me = in_office(|_| {});
    me.step(Input::Propose { count: 5 });
    me.sync();
    me.step(Input::Sent { to: BOB, term: Term(1), last: Index(6), bytes: 50 });
    me.hear(BOB, stored(1, 3));
    me
}

/// Where Bob stands: `match_index`, `next_index`.
fn standing(me: &Member) -> (u64, u64) {
    (bob(me).match_index().0, bob(me).next_index().0)
}

#[test]
fn what_was_stored_in_another_term_does_not_count() {
    let mut me = leader(4, &[Run::new(3, 1, 8)]);
    assert_eq!(me.raft.term(), Term(5));
    me.hear(BOB, stored(4, 8));
    assert_eq!((standing(&me).0, me.raft.commit_index()), (0, Index(0)));
    me.hear(BOB, stored(5, 9));
    assert_eq!((standing(&me).0, me.raft.commit_index()), (9, Index(9)));
}

#[test]
fn nobody_holds_more_than_the_leader() {
    let mut me = six();
    me.hear(BOB, stored(1, 7));
    assert_eq!((standing(&me), me.raft.commit_index()), ((3, 7), Index(3)));
}

#[test]
fn what_is_acknowledged_is_not_taken_back_by_a_late_refusal() {
    let mut me = six();
    for prev_log in [2, 3] {
        me.hear(BOB, rejected(prev_log, 1));
        assert_eq!(standing(&me), (3, 7));
        assert!(matches!(bob(&me).flow(), Flow::Replicate(_)));
    }
    // Of more than was ever sent, too.
    me.hear(BOB, rejected(7, 1));
    assert_eq!(standing(&me), (3, 7));
    // A message behind them got lost.
    me.hear(BOB, rejected(6, 5));
    assert_eq!((standing(&me), bob(&me).flow()), ((3, 6), &Flow::Probe { sent: false }));
}

#[test]
fn a_probe_is_answered_once() {
    let mut me = six();
    me.hear(BOB, rejected(6, 5));
    me.step(Input::Sent { to: BOB, term: Term(1), last: Index(6), bytes: 10 });
    // A refusal of something that was sent before the probe.
    me.hear(BOB, rejected(4, 1));
    assert_eq!((standing(&me), bob(&me).flow()), ((3, 6), &Flow::Probe { sent: true }));
    me.hear(BOB, rejected(5, 4));
    assert_eq!((standing(&me), bob(&me).flow()), ((3, 5), &Flow::Probe { sent: false }));
}

/// The same with a log that begins behind 4; Bob holds it up to `bob`, perhaps not.
fn compacted(stored_by_bob: u64) -> Member {
    let mut me = in_office(|_| {});
    me.step(Input::Propose { count: 5 });
    me.sync();
    for to in [BOB, CAROL] {
        me.step(Input::Sent { to, term: Term(1), last: Index(6), bytes: 50 });
    }
    me.hear(CAROL, stored(1, 6));
    me.hear(BOB, stored(1, stored_by_bob));
    me.step(Input::Compacted { through: at(1, 4) });
    me
}

#[test]
fn whoever_lacks_what_is_gone_needs_the_snapshot() {
    let is_sent_snapshot =
        |me: &Member| matches!(bob(me).flow(), Flow::Snapshot(Delivery::UnderWay { .. }));
    // It lacks an entry before the log's beginning.
    let mut me = compacted(1);
    me.hear(BOB, rejected(6, 3));
    assert!(is_sent_snapshot(&me));
    // It holds what the log begins behind: entries will do.
    let mut me = compacted(1);
    me.hear(BOB, rejected(6, 4));
    assert_eq!((standing(&me), bob(&me).flow()), ((1, 5), &Flow::Probe { sent: false }));
    // It acknowledged as much, whatever it hints at.
    let mut me = compacted(4);
    me.hear(BOB, rejected(6, 2));
    assert_eq!((standing(&me), bob(&me).flow()), ((4, 5), &Flow::Probe { sent: false }));
}

#[test]
fn what_cannot_be_read_is_asked_for_again_after_an_answer() {
    let mut me = in_office(|_| {});
    assert!(to_bob(&me.step(Input::Propose { count: 2 })).is_some());
    let unreadable = |term| Input::Unreadable { to: BOB, term: Term(term) };
    // An answer to a permission of another term.
    me.step(unreadable(0));
    assert!(matches!(bob(&me).flow(), Flow::Replicate(_)));
    let effects = me.step(unreadable(1));
    assert!(!effects.iter().any(|it| matches!(it, Effect::SendEntries { .. })));
    assert_eq!(*bob(&me).flow(), Flow::Probe { sent: true });
    assert!(to_bob(&me.hear(BOB, stored(1, 1))).is_some());
    // A second answer to the same permission is one too many, and no reason to stop.
    me.step(Input::Sent { to: BOB, term: Term(1), last: Index(3), bytes: 2 });
    me.step(unreadable(1));
    assert!(matches!(bob(&me).flow(), Flow::Replicate(_)));
}
