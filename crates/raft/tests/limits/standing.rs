//! What a member says about itself, and why it cannot begin.

use super::one_member::{
    BOB, CAROL, ME, at, follower, heard_by, leader, request, snapshot, stored,
};
use driftless_raft::{
    Config, Effects, HardState, Index, Input, Membership, Moment, Note, Position, Raft, Restored,
    Run, SnapshotOutcome, Term, Time, Trail,
};

#[test]
fn a_member_knows_who_it_is_and_what_it_wrote() {
    let mut me = follower(3, &[Run::new(2, 1, 4)]);
    assert_eq!((me.raft.id(), me.raft.config().id), (ME, ME));
    assert!(me.raft.is_durable());
    me.hear(CAROL, request(4, at(2, 4)));
    assert!(!me.raft.is_durable());
    me.sync();
    assert!(me.raft.is_durable());
    let vote = HardState { current_term: Term(4), voted_for: Some(CAROL), commit_index: Index(0) };
    assert_eq!(me.raft.hard_state(), vote);
}

#[test]
fn a_leader_says_to_whom_it_hands_over() {
    let mut me = leader(0, &[]);
    me.hear(BOB, stored(1, 1));
    me.hear(CAROL, stored(1, 1));
    assert_eq!(me.raft.transferring_to(), None);
    me.hear(BOB, heard_by(1, 1));
    // Bob has something to catch up on first.
    me.step(Input::Propose { count: 1 });
    let deadline = me.now.after(1_000);
    me.step(Input::TransferLeadership { to: BOB, deadline });
    assert_eq!(me.raft.transferring_to(), Some(BOB));
    me.wait(1_000);
    assert_eq!(me.raft.transferring_to(), None);
    assert_eq!(follower(1, &[]).raft.transferring_to(), None);
}

#[test]
fn a_leader_says_whom_it_heard_and_how_far_a_snapshot_has_come() {
    let mut me = leader(0, &[]);
    me.hear(BOB, stored(1, 1));
    me.sync();
    me.now = me.now.after(100_000);
    me.step(Input::Wake);
    me.hear(CAROL, heard_by(1, 2));
    let known = |me: &Raft, id| me.followers().find(|&(of, _)| of == id).unwrap().1.clone();
    assert_eq!(known(&me.raft, CAROL).heard_at(), me.now);
    assert_eq!(known(&me.raft, BOB).heard_at(), Time(0));
    // What Carol needs is gone; she answers, and is sent it.
    me.step(Input::Compacted { through: at(1, 1) });
    assert_eq!(known(&me.raft, CAROL).snapshot_received(), None);
    me.wait(100_000);
    me.hear(CAROL, heard_by(1, 3));
    let (term, snapshot) = (Term(1), at(1, 1));
    me.step(Input::SnapshotProgress { to: CAROL, term, snapshot, received: 700 });
    assert_eq!(known(&me.raft, CAROL).snapshot_received(), Some((snapshot, 700)));
    me.step(Input::SnapshotSent { to: CAROL, term, outcome: SnapshotOutcome::Delivered });
    assert_eq!(known(&me.raft, CAROL).snapshot_received(), None);
}

#[test]
fn a_decision_names_its_rule() {
    for (log, rule) in [(Run::new(1, 1, 9), "IS.6"), (Run::new(1, 1, 5), "IS.7")] {
        let mut me = follower(1, &[log]);
        let mut effects = Effects::with_notes();
        let input = Input::Receive { from: BOB, message: snapshot(1, at(1, 7)) };
        me.raft.step(Moment { now: me.now, random: 0 }, input, &mut effects);
        let installed = |note: &Note| matches!(note, Note::SnapshotInstalled { .. });
        let notes = effects.notes.unwrap();
        let rules: Vec<_> = notes.iter().filter(|it| installed(it)).map(Note::rule).collect();
        assert_eq!(rules, [Some(rule)]);
    }
}

#[test]
fn a_disk_that_lost_something_is_refused_with_the_remedy() {
    let begin = |term, commit_index, last: Position| {
        let mut trail = Trail::of(Membership::of([ME, BOB, CAROL]));
        trail.append(Run::new(last.term.0, 1, last.index.0));
        let commit_index = Index(commit_index);
        let hard_state = HardState { current_term: Term(term), voted_for: None, commit_index };
        let restored = Restored { hard_state, trail, replacement: None };
        Raft::new(Config::new(ME), restored, Moment { now: Time(0), random: 0 })
    };
    assert!(begin(4, 9, at(4, 9)).is_ok());
    let lost = begin(3, 0, at(4, 9)).unwrap_err().to_string();
    assert!(lost.contains("term 4") && lost.contains("term is 3"), "{lost}");
    assert!(lost.contains("remove it and add it anew"), "{lost}");
    let lost = begin(4, 10, at(4, 9)).unwrap_err().to_string();
    assert!(lost.contains("up to 10") && lost.contains("ends at 9"), "{lost}");
    assert!(lost.contains("remove it and add it anew"), "{lost}");
}
