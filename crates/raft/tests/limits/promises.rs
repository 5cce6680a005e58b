//! What a member owes from an earlier life that was set up differently: a promise to help
//! nobody but its leader is kept over a restart, whatever it is told then.

use super::one_member::{BOB, CAROL, ME, Member, TIMEOUT, append, at, request, started};
use driftless_raft::{Config, HardState, Input, Membership, Restored, Term};

/// A member without leases that comes back in term 1, and owes this.
fn indebted(owed_us: u64) -> Member {
    let mut disk = Restored::of(Membership::of([ME, BOB, CAROL]));
    disk.hard_state = HardState { current_term: Term(1), ..HardState::default() };
    let mut me = started(Config { check_quorum: false, ..Config::new(ME) }, disk);
    me.raft.owe(owed_us, me.now);
    me
}

fn term_after_request(me: &mut Member) -> Term {
    me.hear(CAROL, request(2, at(1, 9)));
    me.raft.term()
}

#[test]
fn what_an_earlier_life_promised_is_kept() {
    assert_eq!(term_after_request(&mut indebted(0)), Term(2));
    let mut me = indebted(3 * TIMEOUT);
    me.wait(3 * TIMEOUT - 1);
    assert_eq!(term_after_request(&mut me), Term(1));
    me.step(Input::Campaign);
    assert_eq!(me.raft.term(), Term(1), "its own vote is one, too");
    me.wait(1);
    assert_eq!(term_after_request(&mut me), Term(2));
}

/// It may have been the same leader, who counts on all of it.
#[test]
fn a_shorter_promise_does_not_take_its_place() {
    let mut disk = Restored::of(Membership::of([ME, BOB, CAROL]));
    disk.hard_state = HardState { current_term: Term(1), ..HardState::default() };
    let config = Config { lease_drift_ppm: Some(100), check_quorum: false, ..Config::new(ME) };
    let mut me = started(config, disk);
    me.raft.owe(9 * TIMEOUT, me.now);
    for _ in 0..2 {
        me.hear(BOB, append(1, at(0, 0), &[], 0));
    }
    me.wait(9 * TIMEOUT - 1);
    assert_eq!(term_after_request(&mut me), Term(1));
    me.wait(1);
    assert_eq!(term_after_request(&mut me), Term(2));
}

/// Whether the clock leapt or stood still, nobody knows how much of it is over.
#[test]
fn after_a_pause_all_of_it_is_owed_again() {
    let mut me = indebted(3 * TIMEOUT);
    me.wait(2 * TIMEOUT);
    me.step(Input::Paused);
    me.wait(3 * TIMEOUT - 1);
    assert_eq!(term_after_request(&mut me), Term(1));
    me.wait(1);
    assert_eq!(term_after_request(&mut me), Term(2));
}

/// Nobody else can be elected without the only voter.
#[test]
fn a_member_alone_owes_nothing() {
    let mut disk = Restored::of(Membership::of([ME]));
    disk.hard_state = HardState { current_term: Term(1), ..HardState::default() };
    let mut me = started(Config::new(ME), disk);
    me.raft.owe(9 * TIMEOUT, me.now);
    me.step(Input::Wake);
    assert_eq!(me.raft.term(), Term(2));
}

/// What peers and later lives are told: nothing without leases; with them an election
/// timeout of true time, and that by a clock which may be off.
#[test]
fn what_is_promised_and_what_is_owed() {
    let promises = |lease_drift_ppm| {
        let config =
            Config { lease_drift_ppm, election_timeout_us: 2 * TIMEOUT, ..Config::new(ME) };
        (config.promise_us(), config.owed_us())
    };
    assert_eq!(promises(None), (0, 0));
    assert_eq!(promises(Some(0)), (2 * TIMEOUT, 2 * TIMEOUT));
    assert_eq!(promises(Some(50_000)), (2 * TIMEOUT, 2 * TIMEOUT + TIMEOUT / 10));
}
