//! Peers are authenticated but not believed: what no member of the same make could
//! have said is ignored, and noted.

use super::one_member::{BOB, CAROL, ME, at, follower};
use driftless_raft::{
    DelegateReport, Effects, Index, Input, Membership, Message, Moment, NodeId, Note, Position,
    Round, Run, Term,
};

/// Terms and indices from here on are taken for nonsense.
const NONSENSE: u64 = 1 << 62;

/// Whether a follower in term 5 with four entries takes it for malformed. If so it
/// does nothing at all.
fn is_ignored(from: NodeId, message: Message) -> bool {
    let mut me = follower(5, &[Run::new(5, 1, 4)]);
    let before = me.raft.clone();
    let mut effects = Effects::with_notes();
    let moment = Moment { now: me.now, random: 7 };
    me.raft.step(moment, Input::Receive { from, message }, &mut effects);
    let ignored = effects.notes.unwrap() == [Note::Malformed { from }];
    assert!(!ignored || (effects.list.is_empty() && me.raft == before));
    ignored
}

fn append(term: u64, prev_log: Position, runs: &[Run], memberships: &[(u64, &[u64])]) -> Message {
    let memberships = memberships.iter().map(|&(index, voters)| {
        let membership = Membership::of(voters.iter().copied().map(NodeId));
        driftless_raft::MembershipEntry { index: Index(index), membership }
    });
    Message::Append {
        term: Term(term),
        prev_log,
        runs: runs.iter().copied().collect(),
        memberships: memberships.collect(),
        leader_commit: Index(0),
        round: Round(1),
    }
}

#[test]
fn nobody_talks_to_itself() {
    let honest = append(5, at(5, 4), &[], &[]);
    assert!(is_ignored(ME, honest.clone()));
    assert!(!is_ignored(BOB, honest));
}

#[test]
fn terms_and_indices_stay_far_from_overflow() {
    type Said = fn(Term, Position) -> Message;
    let bears_a_term: [Said; 9] = [
        |term, _| Message::PreVote { term, last_log: at(1, 1) },
        |term, _| Message::RequestVote { term, last_log: at(1, 1), transfer: false },
        |term, _| Message::PreVoteReply { term, granted: false },
        |term, _| Message::VoteReply { term, vote_granted: true },
        |term, _| Message::AppendHeard { term, round: Round(1) },
        |term, _| Message::AppendStored { term, last: Index(1) },
        |term, _| Message::TimeoutNow { term },
        |term, _| append(term.0, at(5, 4), &[], &[]),
        |term, place| rejected(term, place, place),
    ];
    for (number, said) in bears_a_term.iter().enumerate() {
        assert!(is_ignored(BOB, said(Term(NONSENSE), at(1, 1))), "{number}");
        assert!(!is_ignored(BOB, said(Term(NONSENSE - 1), at(1, 1))), "{number}");
    }
    let bears_a_place: [Said; 5] = [
        |term, last_log| Message::PreVote { term, last_log },
        |term, last_log| Message::RequestVote { term, last_log, transfer: true },
        |term, place| append(term.0, place, &[], &[]),
        |term, place| rejected(term, place, at(1, 1)),
        |term, place| rejected(term, at(1, 1), place),
    ];
    for (number, said) in bears_a_place.iter().enumerate() {
        for place in [at(1, NONSENSE), at(NONSENSE, 1)] {
            assert!(is_ignored(BOB, said(Term(NONSENSE - 1), place)), "{number}");
        }
        let place = at(NONSENSE - 2, NONSENSE - 1);
        assert!(!is_ignored(BOB, said(Term(NONSENSE - 1), place)), "{number}");
    }
}

fn rejected(term: Term, prev_log: Position, hint: Position) -> Message {
    Message::AppendRejected { term, round: Round(1), prev_log, hint }
}

#[test]
fn a_candidate_has_no_entry_of_the_term_that_it_asks_for() {
    for pre in [false, true] {
        let ask = |term, last_log| {
            let (term, transfer) = (Term(term), false);
            if pre {
                Message::PreVote { term, last_log }
            } else {
                Message::RequestVote { term, last_log, transfer }
            }
        };
        assert!(is_ignored(BOB, ask(6, at(6, 9))));
        assert!(!is_ignored(BOB, ask(6, at(5, 9))));
    }
}

#[test]
fn entries_follow_what_they_follow_in_terms_that_do_not_fall() {
    let after = at(5, 4);
    let good: [&[Run]; 3] = [
        &[Run::new(5, 5, 5)],
        &[Run::new(5, 5, 6), Run::new(7, 7, 9)],
        &[Run::new(5, 5, NONSENSE - 1)],
    ];
    for runs in good {
        assert!(!is_ignored(BOB, append(7, after, runs, &[])), "{runs:?}");
    }
    let bad: [&[Run]; 7] = [
        &[Run::new(5, 6, 6)],
        &[Run::new(5, 4, 6)],
        &[Run::new(5, 5, 4)],
        &[Run::new(4, 5, 5)],
        &[Run::new(6, 5, 6), Run::new(5, 7, 7)],
        &[Run::new(8, 5, 5)],
        &[Run::new(5, 5, NONSENSE)],
    ];
    for runs in bad {
        assert!(is_ignored(BOB, append(7, after, runs, &[])), "{runs:?}");
    }
    assert!(is_ignored(BOB, append(5, at(6, 4), &[], &[])), "an entry of a later term");
}

#[test]
fn memberships_stand_among_the_entries_in_order_and_name_voters() {
    let said =
        |memberships: &[(u64, &[u64])]| append(5, at(5, 4), &[Run::new(5, 5, 7)], memberships);
    assert!(!is_ignored(BOB, said(&[(5, &[1, 2]), (7, &[1, 2, 3])])));
    for memberships in [
        &[(4, &[1, 2][..])][..],
        &[(8, &[1, 2])],
        &[(5, &[])],
        &[(6, &[1, 2]), (5, &[1, 2])],
        &[(6, &[1, 2]), (6, &[1, 2, 3])],
    ] {
        assert!(is_ignored(BOB, said(memberships)), "{memberships:?}");
    }
    let without_entries = append(5, at(5, 4), &[], &[(5, &[1, 2])]);
    assert!(is_ignored(BOB, without_entries));
}

#[test]
fn a_snapshot_is_of_a_group_and_of_no_later_term() {
    let said = |term, last, voters: &[NodeId]| {
        let membership = Box::new(Membership::of(voters.iter().copied()));
        Message::InstallSnapshot { term: Term(term), leader: BOB, last, membership }
    };
    let all = [ME, BOB, CAROL];
    assert!(!is_ignored(BOB, said(6, at(6, 9), &all)));
    assert!(!is_ignored(BOB, said(6, at(5, NONSENSE - 1), &all)));
    assert!(is_ignored(BOB, said(6, at(7, 9), &all)));
    assert!(is_ignored(BOB, said(6, at(6, 9), &[])));
    assert!(is_ignored(BOB, said(6, at(6, NONSENSE), &all)));
    assert!(is_ignored(BOB, said(NONSENSE, at(6, 9), &all)));
}

#[test]
fn what_concerns_snapshots_in_anothers_place_is_of_plausible_terms_and_places() {
    let order = |term, least, last| Message::DelegateSnapshot {
        term: Term(term),
        to: CAROL,
        least: Index(least),
        resume: (last, u64::MAX),
    };
    assert!(!is_ignored(BOB, order(6, NONSENSE - 1, at(5, 9))));
    assert!(is_ignored(BOB, order(NONSENSE, 4, at(5, 9))));
    assert!(is_ignored(BOB, order(6, NONSENSE, at(5, 9))));
    assert!(is_ignored(BOB, order(6, 4, at(5, NONSENSE))));
    let recall = |term| Message::RecallSnapshot { term: Term(term), to: CAROL };
    assert!(!is_ignored(BOB, recall(6)));
    assert!(is_ignored(BOB, recall(NONSENSE)));
    let report = |term, snapshot| {
        let report = DelegateReport::Progress { snapshot, received: u64::MAX };
        Message::DelegateReport { term: Term(term), to: CAROL, report }
    };
    assert!(!is_ignored(BOB, report(6, at(5, 9))));
    assert!(is_ignored(BOB, report(NONSENSE, at(5, 9))));
    assert!(is_ignored(BOB, report(6, at(NONSENSE, 9))));
}
