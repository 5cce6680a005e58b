//! Followers that are behind: how far the log is kept for them, and when the sending
//! of a snapshot is taken for broken off.

use super::flow::in_office;
use super::one_member::{
    BOB, CAROL, Member, TIMEOUT, append, at, follower, heard_by, record, sent, snapshot, stored,
};
use driftless_raft::progress::{Delivery, Flow};
use driftless_raft::{Effect, Index, Input, Position, Run, SnapshotOutcome, Term};

/// Nine entries, of which Bob holds all and Carol five; both just answered.
fn carol_behind(catch_up_entries_max: u64) -> Member {
    let mut me = in_office(|config| {
        config.catch_up_entries_max = catch_up_entries_max;
        config.snapshots_from_followers = false;
    });
    me.step(Input::Propose { count: 8 });
    me.sync();
    me.hear(BOB, stored(1, 9));
    me.hear(CAROL, stored(1, 5));
    answer(&mut me);
    me
}

/// A heartbeat, which both answer. (Answers to rounds that never were mean nothing.)
fn answer(me: &mut Member) -> Vec<Effect> {
    me.wait(100_000);
    let mut effects = Vec::new();
    for round in 1..20 {
        effects.extend(me.hear(BOB, heard_by(1, round)));
        effects.extend(me.hear(CAROL, heard_by(1, round)));
    }
    effects
}

fn needed(me: &Member) -> u64 {
    me.raft.log_needed_from(me.now).0
}

#[test]
fn the_log_is_kept_for_whoever_answers_and_no_further_back_than_configured() {
    assert_eq!(needed(&carol_behind(100)), 6);
    assert_eq!(needed(&carol_behind(4)), 6);
    assert_eq!(needed(&carol_behind(3)), 7);
    assert_eq!(needed(&carol_behind(0)), 10);
    // Nobody answers any more.
    let mut me = carol_behind(100);
    me.now = me.now.after(TIMEOUT);
    assert_eq!(needed(&me), 10);
    // Only leaders know who needs what.
    assert_eq!(needed(&follower(1, &[Run::new(1, 1, 4)])), 5);
}

/// Carol needs a snapshot up to `7^1`, and its sending was ordered just now.
fn sending() -> Member {
    let mut me = carol_behind(100);
    me.step(Input::Compacted { through: at(1, 7) });
    let ordered = |effect: &Effect| matches!(effect, Effect::SendSnapshot { to: CAROL, .. });
    assert!(answer(&mut me).iter().any(ordered));
    me
}

fn progress(me: &mut Member, snapshot: Position, received: u64) {
    let input = Input::SnapshotProgress { to: CAROL, term: Term(1), snapshot, received };
    me.step(input);
}

/// How much Carol has of which snapshot, as far as its leader knows.
fn received(me: &Member) -> Option<(Position, u64)> {
    me.raft.followers().find(|&(id, _)| id == CAROL).unwrap().1.snapshot_received()
}

#[test]
fn whoever_gets_a_snapshot_will_go_on_behind_it() {
    let mut me = sending();
    // Which one it gets is not known yet: from the log's beginning, to be sure.
    assert_eq!(needed(&me), 8);
    me.step(Input::Propose { count: 1 });
    progress(&mut me, at(1, 8), 10);
    assert_eq!(needed(&me), 9);
    progress(&mut me, at(1, 7), 0);
    assert_eq!(needed(&me), 8);
}

#[test]
fn only_more_of_a_snapshot_is_progress() {
    let mut me = sending();
    let (one, other) = (at(1, 7), at(1, 8));
    progress(&mut me, one, 700);
    assert_eq!(received(&me), Some((one, 700)));
    progress(&mut me, one, 600);
    assert_eq!(received(&me), Some((one, 700)));
    progress(&mut me, one, 701);
    assert_eq!(received(&me), Some((one, 701)));
    // Another one, from its beginning.
    progress(&mut me, other, 5);
    assert_eq!(received(&me), Some((other, 5)));
}

#[test]
fn a_snapshot_that_moves_no_more_is_stopped_and_ordered_anew() {
    let stall = 5_000_000;
    let mut me = sending();
    progress(&mut me, at(1, 7), 700);
    me.now = me.now.after(stall - 200_000);
    // The same again is not more.
    progress(&mut me, at(1, 7), 700);
    let stopped =
        |effects: &[Effect]| effects.contains(&Effect::StopSnapshot { to: CAROL, term: Term(1) });
    assert!(!stopped(&me.wait(100_000)));
    assert!(stopped(&me.wait(100_000)));
    let carol = |me: &Member| me.raft.followers().find(|&(id, _)| id == CAROL).unwrap().1.clone();
    assert!(matches!(carol(&me).flow(), Flow::Snapshot(Delivery::AwaitAnswerAfter(_))));
    // It is tried again when Carol answers, from where it broke off.
    let resumed = answer(&mut me).into_iter().find_map(|effect| match effect {
        Effect::SendSnapshot { to: CAROL, resume, .. } => Some(resume),
        _ => None,
    });
    assert_eq!(resumed, Some(Some((at(1, 7), 700))));
}

#[test]
fn how_a_snapshot_ended_is_believed_of_the_one_that_was_ordered() {
    let ended = |me: &mut Member, term, outcome| {
        me.step(Input::SnapshotSent { to: CAROL, term: Term(term), outcome });
        me.raft.followers().find(|&(id, _)| id == CAROL).unwrap().1.flow().clone()
    };
    let mut me = sending();
    let under_way = |flow: &Flow| matches!(flow, Flow::Snapshot(Delivery::UnderWay { .. }));
    assert!(under_way(&ended(&mut me, 0, SnapshotOutcome::Delivered)));
    // Carol has it all: what follows is entries, once it says what it holds.
    assert_eq!(ended(&mut me, 1, SnapshotOutcome::Delivered), Flow::Probe { sent: true });
    let carol = me.raft.followers().find(|&(id, _)| id == CAROL).unwrap().1.clone();
    assert_eq!((carol.next_index(), carol.match_index()), (Index(8), Index(5)));
    // That was the end of it.
    assert_eq!(ended(&mut me, 1, SnapshotOutcome::Failed), Flow::Probe { sent: true });
}

#[test]
fn an_append_that_begins_before_the_snapshot_brings_what_follows_it() {
    let mut me = follower(1, &[]);
    me.hear(BOB, snapshot(1, at(1, 5)));
    me.sync();
    let run = |first, last| Run::new(1, first, last);
    me.hear(BOB, append(1, at(1, 3), &[run(4, 8)], 0));
    assert_eq!(me.raft.last(), at(1, 8));
    assert!(sent(&me.sync()).contains(&(BOB, stored(1, 8))));
    // All of it is covered: there is nothing to write, and nothing to refuse.
    let effects = me.hear(BOB, append(1, at(1, 2), &[run(3, 4)], 0));
    assert_eq!(sent(&effects), [(BOB, stored(1, 4))]);
    assert_eq!((me.raft.last(), record(&effects)), (at(1, 8), None));
}
