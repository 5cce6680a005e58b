//! One test for each numbered rule of Figures 2 and 13, named after it. Each
//! fails when the line that carries out its rule is altered; `docs/paper.tsv`
//! joins rule, code and test, and `cargo xtask paper --mutate` shows it.
//!
//! One member is told things and watched (`one_member`).
#![allow(clippy::unwrap_used, reason = "a test may")]

mod one_member;

use driftless_raft::{
    Config, Effect, HardState, Index, Input, Membership, Message, Position, Refusal, Role, Round,
    Run, Source, Term,
};
use one_member::{
    BOB, CAROL, ME, Member, TIMEOUT, append, at, candidate, follower, granted, is_rejection,
    leader, permitted, record, refused, request, sent, snapshot, stored,
};

// State

#[test]
fn st_1_nothing_is_answered_before_it_is_durable() {
    let mut me = follower(1, &[]);
    let effects = me.hear(BOB, request(2, at(0, 0)));
    let expected = HardState { current_term: Term(2), voted_for: Some(BOB), ..Default::default() };
    assert_eq!(record(&effects).unwrap().hard_state, expected);
    assert_eq!(sent(&effects), []);
    assert_eq!(sent(&me.sync()), [(BOB, granted(2))]);
}

#[test]
fn st_2_a_leader_takes_followers_to_hold_its_log_and_knows_of_nothing() {
    let mut me = candidate(1, &[Run::new(1, 1, 4)]);
    let effects = me.hear(BOB, granted(2));
    let beginning = at(1, 4);
    assert_eq!(permitted(&effects), [(BOB, beginning, Index(5)), (CAROL, beginning, Index(5))]);
    for (_, known) in me.raft.followers() {
        assert_eq!((known.next_index(), known.match_index()), (Index(5), Index(0)));
    }
}

// Rules for all servers

#[test]
fn sa_1_what_is_committed_is_applied() {
    let mut me = follower(1, &[Run::new(1, 1, 3)]);
    let effects = me.hear(BOB, append(1, at(1, 3), &[], 2));
    assert!(effects.contains(&Effect::Apply { through: Index(2) }));
    assert_eq!(me.raft.last_applied(), Index(2));
    // Once only.
    let effects = me.hear(BOB, append(1, at(1, 3), &[], 2));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Apply { .. })));
}

#[test]
fn sa_2_a_later_term_makes_a_follower_of_anybody() {
    for number in 0..4 {
        for mut me in [follower(1, &[]), candidate(1, &[]), leader(1, &[])] {
            let later = me.raft.term().next();
            let answer = Message::AppendHeard { term: later, round: Round(1) };
            let said = [
                request(later.0, at(0, 0)),
                refused(later.0),
                append(later.0, at(0, 0), &[], 0),
                answer,
            ];
            me.hear(CAROL, said[number].clone());
            assert_eq!((me.raft.role(), me.raft.term()), (Role::Follower, later));
        }
    }
}

// Rules for followers

#[test]
fn sf_1_a_follower_answers_candidates_and_leaders() {
    let mut me = follower(1, &[]);
    me.hear(BOB, request(1, at(0, 0)));
    assert_eq!(sent(&me.sync()), [(BOB, granted(1))]);
    let heard = Message::AppendHeard { term: Term(1), round: Round(1) };
    let effects = me.hear(BOB, append(1, at(0, 0), &[], 0));
    assert_eq!(sent(&effects), [(BOB, heard), (BOB, stored(1, 0))]);
}

#[test]
fn sf_2_a_follower_that_hears_nobody_becomes_candidate() {
    let mut me = follower(1, &[]);
    me.wait(TIMEOUT - 1);
    assert_eq!(me.raft.role(), Role::Follower);
    // The leader puts it off, and so does a vote that is granted.
    me.hear(BOB, append(1, at(0, 0), &[], 0));
    me.wait(TIMEOUT - 1);
    assert_eq!(me.raft.role(), Role::Follower);
    me.hear(CAROL, request(2, at(0, 0)));
    me.wait(TIMEOUT - 1);
    assert_eq!(me.raft.role(), Role::Follower);
    me.wait(1_000);
    assert_eq!(me.raft.role(), Role::Candidate);
}

// Rules for candidates

#[test]
fn sc_1_a_candidate_enters_the_next_term() {
    let mut me = follower(4, &[]);
    let effects = me.step(Input::Campaign);
    assert_eq!(record(&effects).unwrap().hard_state.current_term, Term(5));
}

#[test]
fn sc_2_a_candidate_votes_for_itself() {
    let mut me = follower(4, &[]);
    let effects = me.step(Input::Campaign);
    assert_eq!(record(&effects).unwrap().hard_state.voted_for, Some(ME));
    assert_eq!(sent(&me.hear(CAROL, request(5, at(4, 9)))), [(CAROL, refused(5))]);
    // That vote counts, once it is durable.
    me.hear(BOB, granted(5));
    assert_eq!(me.raft.role(), Role::Candidate);
    me.sync();
    assert_eq!(me.raft.role(), Role::Leader);
}

#[test]
fn sc_3_a_candidate_waits_a_whole_timeout() {
    let mut me = follower(1, &[]);
    me.wait(TIMEOUT * 2);
    let began = me.now;
    assert_eq!(me.raft.role(), Role::Candidate);
    assert!(me.raft.deadline().unwrap().since(began) >= TIMEOUT);
}

#[test]
fn sc_4_a_candidate_asks_everybody_once_its_claim_is_durable() {
    let mut me = follower(1, &[Run::new(1, 1, 2)]);
    assert_eq!(sent(&me.step(Input::Campaign)), []);
    let expected = request(2, at(1, 2));
    assert_eq!(sent(&me.sync()), [(BOB, expected.clone()), (CAROL, expected)]);
}

#[test]
fn sc_5_votes_from_a_majority_make_a_leader() {
    let mut me = candidate(1, &[]);
    assert_eq!(me.raft.role(), Role::Candidate, "its own vote is not a majority");
    me.hear(BOB, refused(2));
    me.hear(BOB, granted(1));
    assert_eq!(me.raft.role(), Role::Candidate);
    me.hear(BOB, granted(2));
    assert_eq!(me.raft.role(), Role::Leader);
}

#[test]
fn sc_6_a_candidate_yields_to_the_leader_of_its_term() {
    let mut me = candidate(1, &[]);
    me.hear(CAROL, append(2, at(0, 0), &[], 0));
    assert_eq!((me.raft.role(), me.raft.leader()), (Role::Follower, Some(CAROL)));
}

#[test]
fn sc_7_a_candidate_that_is_not_elected_in_time_tries_again() {
    let mut me = candidate(1, &[]);
    me.wait(TIMEOUT - 1);
    assert_eq!(me.raft.term(), Term(2));
    me.wait(1_000);
    assert_eq!((me.raft.role(), me.raft.term()), (Role::Candidate, Term(3)));
}

// Rules for leaders

#[test]
fn sl_1_a_new_leader_is_heard_at_once() {
    let mut me = candidate(1, &[]);
    let effects = me.hear(BOB, granted(2));
    let told: Vec<_> = permitted(&effects).into_iter().map(|(to, ..)| to).collect();
    assert_eq!(told, [BOB, CAROL]);
    let rounds = effects.iter().filter_map(|effect| match effect {
        Effect::SendEntries { round, .. } => Some(*round),
        _ => None,
    });
    assert_eq!(rounds.collect::<Vec<_>>(), [Round(1), Round(1)]);
}

#[test]
fn sl_2_an_idle_leader_repeats_itself() {
    let mut me = leader(1, &[]);
    for round in 2..5 {
        let effects = me.wait(Config::new(ME).heartbeat_interval_us);
        let beat = |message: &Message| match message {
            Message::Append { runs, round: sent, .. } => runs.is_empty() && *sent == Round(round),
            _ => false,
        };
        let beats = sent(&effects);
        assert_eq!(beats.len(), 2);
        assert!(beats.iter().all(|(_, message)| beat(message)));
    }
}

#[test]
fn sl_3_a_leader_appends_what_clients_want() {
    let mut me = leader(1, &[]);
    let effects = me.step(Input::Propose { count: 3 });
    assert_eq!(effects[0], Effect::Accept { first: at(2, 2), count: 3 });
    let persist = record(&effects).unwrap();
    assert_eq!((&*persist.runs, persist.source), (&[Run::new(2, 2, 4)][..], Source::Proposal));
    assert_eq!(me.raft.trail().runs(), [Run::new(2, 1, 4)]);
    // Nobody else does.
    let effects = follower(1, &[]).step(Input::Propose { count: 3 });
    assert_eq!(effects, [Effect::Refuse { reason: Refusal::NotLeader { leader: None } }]);
}

#[test]
fn sl_4_a_leader_sends_what_the_follower_lacks() {
    let mut me = leader(1, &[]);
    me.hear(BOB, stored(2, 1));
    let effects = me.step(Input::Propose { count: 3 });
    assert_eq!(permitted(&effects), [(BOB, at(2, 1), Index(4))]);
    assert_eq!(permitted(&me.use_permissions()), []);
}

#[test]
fn sl_5_an_acknowledgement_moves_match_and_next() {
    let mut me = leader(1, &[Run::new(1, 1, 4)]);
    me.hear(BOB, stored(2, 5));
    let known = |me: &Member| {
        let (_, known) = me.raft.followers().next().unwrap();
        (known.match_index(), known.next_index())
    };
    assert_eq!(known(&me), (Index(5), Index(6)));
    // One that was overtaken moves nothing back.
    me.hear(BOB, stored(2, 3));
    assert_eq!(known(&me), (Index(5), Index(6)));
}

#[test]
fn sl_6_a_rejection_moves_next_back() {
    let mut me = leader(3, &[Run::new(1, 1, 4), Run::new(2, 5, 6), Run::new(3, 7, 9)]);
    let reject =
        |prev_log, hint| Message::AppendRejected { term: Term(4), round: Round(1), prev_log, hint };
    // Bob's log ends in term 2, at 8: nothing of our term 3 can be there.
    let effects = me.hear(BOB, reject(at(3, 9), at(2, 8)));
    assert_eq!(permitted(&effects), [(BOB, at(2, 6), Index(10))]);
    let (_, known) = me.raft.followers().next().unwrap();
    assert_eq!(known.match_index(), Index(0), "a rejection says nothing of what matches");
}

#[test]
fn sl_7_only_an_entry_of_its_own_term_commits_by_count() {
    let mut me = candidate(3, &[Run::new(1, 1, 1), Run::new(2, 2, 2)]);
    me.hear(BOB, granted(4));
    me.sync();
    // A majority holds 2^2, and yet it may still be overwritten (Figure 8).
    me.hear(BOB, stored(4, 2));
    assert_eq!(me.raft.commit_index(), Index(0));
    // What nobody else holds yet does not come along.
    me.step(Input::Propose { count: 2 });
    me.sync();
    me.hear(BOB, stored(4, 3));
    assert_eq!(me.raft.commit_index(), Index(3));
}

// AppendEntries RPC

#[test]
fn ae_1_a_leader_of_the_past_is_refused() {
    let mut me = follower(3, &[]);
    let effects = me.hear(BOB, append(2, at(0, 0), &[Run::new(2, 1, 1)], 0));
    assert!(is_rejection(&effects));
    assert!(me.raft.trail().is_empty());
    assert_eq!(me.raft.leader(), None);
}

#[test]
fn ae_2_an_append_after_a_gap_or_another_term_is_refused() {
    for prev_log in [at(1, 4), at(2, 3), at(2, 9)] {
        let mut me = follower(2, &[Run::new(1, 1, 3)]);
        let next = prev_log.index.0 + 1;
        let effects = me.hear(BOB, append(2, prev_log, &[Run::new(2, next, next)], 0));
        assert!(is_rejection(&effects), "{prev_log}");
        assert_eq!(me.raft.last(), at(1, 3));
    }
}

#[test]
fn ae_3_a_conflicting_entry_is_cut_with_all_that_follow() {
    let log = [Run::new(1, 1, 2), Run::new(2, 3, 6)];
    let mut me = follower(3, &log);
    let effects = me.hear(BOB, append(3, at(1, 2), &[Run::new(3, 3, 3)], 0));
    assert_eq!(me.raft.trail().runs(), [Run::new(1, 1, 2), Run::new(3, 3, 3)]);
    assert_eq!(record(&effects).unwrap().truncate_from, Some(Index(3)));
    // Without conflict nothing is cut, though the append ends before our log.
    let mut me = follower(3, &log);
    let effects = me.hear(BOB, append(3, at(1, 1), &[Run::new(1, 2, 2), Run::new(2, 3, 4)], 0));
    assert_eq!(record(&effects), None);
    assert_eq!(me.raft.trail().runs(), log);
}

#[test]
fn ae_4_entries_not_yet_in_the_log_are_appended() {
    let mut me = follower(2, &[Run::new(1, 1, 2)]);
    let runs = [Run::new(1, 2, 3), Run::new(2, 4, 5)];
    let effects = me.hear(BOB, append(2, at(1, 1), &runs, 0));
    let persist = record(&effects).unwrap();
    assert_eq!(*persist.runs, [Run::new(1, 3, 3), Run::new(2, 4, 5)]);
    assert_eq!(persist.source, Source::Append { from: BOB });
    assert_eq!(me.raft.trail().runs(), [Run::new(1, 1, 3), Run::new(2, 4, 5)]);
    assert!(sent(&me.sync()).contains(&(BOB, stored(2, 5))));
}

#[test]
fn ae_5_a_follower_commits_what_it_shares_with_the_leader() {
    let mut me = follower(2, &[Run::new(1, 1, 6)]);
    // Only up to 4 is our log known to be the leader's.
    me.hear(BOB, append(2, at(1, 2), &[Run::new(1, 3, 4)], 5));
    assert_eq!(me.raft.commit_index(), Index(4));
    me.hear(BOB, append(2, at(1, 6), &[], 5));
    assert_eq!(me.raft.commit_index(), Index(5));
}

// RequestVote RPC

#[test]
fn rv_1_a_candidate_of_the_past_is_refused() {
    let mut me = follower(3, &[]);
    assert_eq!(sent(&me.hear(BOB, request(2, at(1, 9)))), [(BOB, refused(3))]);
    assert_eq!(me.raft.hard_state().voted_for, None);
}

#[test]
fn rv_2_one_vote_a_term_and_only_for_a_log_as_good_as_ours() {
    let ours = [Run::new(1, 1, 1), Run::new(3, 2, 4)];
    for worse in [at(3, 3), at(2, 9), at(0, 0)] {
        assert_eq!(sent(&follower(4, &ours).hear(BOB, request(4, worse))), [(BOB, refused(4))]);
    }
    for as_good in [at(3, 4), at(3, 5), at(4, 1)] {
        let mut me = follower(5, &ours);
        assert_eq!(sent(&me.hear(BOB, request(5, as_good))), []);
        assert_eq!(sent(&me.sync()), [(BOB, granted(5))]);
        assert_eq!(sent(&me.hear(CAROL, request(5, as_good))), [(CAROL, refused(5))]);
        // The answer may have been lost.
        assert_eq!(sent(&me.hear(BOB, request(5, as_good))), [(BOB, granted(5))]);
    }
}

// InstallSnapshot RPC; chunks (IS.2 to IS.5) are the host's.

fn install(term: Term, last: Position, membership: &Membership) -> Message {
    let membership = Box::new(membership.clone());
    Message::InstallSnapshot { term, leader: BOB, last, membership }
}

#[test]
fn is_1_a_snapshot_from_a_leader_of_the_past_is_refused() {
    let mut me = follower(3, &[]);
    let effects = me.hear(BOB, snapshot(2, at(2, 5)));
    assert!(is_rejection(&effects));
    assert_eq!(record(&effects), None);
    assert_eq!(me.raft.trail().base(), Position::ZERO);
}

#[test]
fn is_6_the_log_after_the_snapshot_is_retained() {
    let mut me = follower(2, &[Run::new(1, 1, 3), Run::new(2, 4, 9)]);
    let effects = me.hear(BOB, snapshot(2, at(2, 5)));
    assert_eq!(me.raft.trail().base(), at(2, 5));
    assert_eq!(me.raft.trail().runs(), [Run::new(2, 6, 9)]);
    assert_eq!(record(&effects).unwrap().truncate_from, None);
    assert_eq!(sent(&effects), []);
    assert_eq!(sent(&me.sync()), [(BOB, stored(2, 5))]);
}

#[test]
fn is_7_a_log_that_lacks_the_snapshots_last_entry_is_discarded() {
    for log in [[Run::new(1, 1, 3)], [Run::new(1, 1, 9)]] {
        let mut me = follower(2, &log);
        let (term, last, membership) = (Term(2), at(2, 5), Box::new(Membership::of([ME, BOB])));
        let message = install(term, last, &membership);
        let effects = me.hear(BOB, message);
        assert_eq!(me.raft.trail().base(), at(2, 5));
        assert!(me.raft.trail().is_empty());
        assert_eq!(me.raft.membership(), &*membership);
        assert_eq!(record(&effects).unwrap().truncate_from, Some(Index(1)));
    }
}

#[test]
fn is_8_the_state_machine_is_reset_once_the_log_is() {
    let mut me = follower(2, &[Run::new(1, 1, 3)]);
    me.hear(BOB, append(2, at(1, 3), &[], 3));
    let restore = Effect::Restore { snapshot: at(2, 5) };
    let (term, last, membership) = (Term(2), at(2, 5), Box::new(Membership::of([ME, BOB])));
    let message = install(term, last, &membership);
    let effects = me.hear(BOB, message);
    assert!(!effects.contains(&restore), "the log that begins behind it is not durable yet");
    assert_eq!(me.raft.membership(), &*membership);
    let persist = record(&effects).unwrap();
    assert_eq!(persist.source, Source::Snapshot { last: at(2, 5), membership });
    assert_eq!(persist.hard_state.commit_index, Index(5));
    assert!(me.sync().contains(&restore));
    assert_eq!((me.raft.last_applied(), me.raft.commit_index()), (Index(5), Index(5)));
    // One that brings nothing new changes nothing, and is acknowledged.
    let effects = me.hear(BOB, snapshot(2, at(2, 4)));
    assert_eq!(effects, [Effect::Send { to: BOB, message: stored(2, 5) }]);
}
