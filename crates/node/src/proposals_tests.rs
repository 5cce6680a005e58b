//! Commands of clients on their way: asked, sent, sent again, answered.

use super::*;

fn proposals() -> Proposals {
    let mut proposals = Proposals::new(NodeId(1), 7, 1000);
    for token in 0..3 {
        let command = Bytes::from(vec![token as u8; 10]);
        assert_eq!(proposals.ask(RequestToken(token), command, Time(100 + token)), Ok(()));
    }
    proposals
}

fn open(proposals: &mut Proposals, id: u64) {
    let payload = proposals.open_session(Time(1)).expect("none is on its way");
    let open = OpenSession::decode(&payload).expect("our own");
    proposals.opened(SessionId(id), open);
}

fn sequences(taken: &[(u64, Bytes)]) -> Vec<u64> {
    taken.iter().map(|(sequence, _)| *sequence).collect()
}

#[test]
fn nothing_is_sent_before_a_session_is_open_and_it_is_asked_for_once() {
    let mut proposals = proposals();
    assert!(proposals.take(1000).is_empty());
    assert!(proposals.open_session(Time(1)).is_some());
    assert!(proposals.open_session(Time(2)).is_none());
    assert!(proposals.open_session(Time(2 + OPEN_AGAIN_US)).is_some());
    proposals.opened(SessionId(9), OpenSession { node: NodeId(2), boot: 7 });
    assert_eq!(proposals.session(), None, "somebody else's");
    proposals.opened(SessionId(10), OpenSession { node: NodeId(1), boot: 7 });
    assert_eq!(sequences(&proposals.take(1000)), [0, 1, 2]);
}

#[test]
fn an_answer_moves_the_lowest_unanswered() {
    let mut proposals = proposals();
    open(&mut proposals, 5);
    proposals.take(1000);
    assert_eq!(proposals.applied(SessionId(5), 1), Some(RequestToken(1)));
    assert_eq!(proposals.applied(SessionId(5), 1), None, "answered once");
    assert_eq!(proposals.applied(SessionId(5), 0), Some(RequestToken(0)));
    proposals.requeue_all();
    let again = proposals.take(1000);
    assert_eq!(sequences(&again), [2]);
    assert_eq!(Envelope::decode(&again[0].1).expect("our own").lowest, 2);
}

#[test]
fn a_refusal_is_final_only_for_what_was_sent_once() {
    let mut proposals = proposals();
    open(&mut proposals, 5);
    proposals.take(1000);
    let busy = Some(RequestError::Busy);
    assert_eq!(proposals.refused(&[0], busy), [(RequestToken(0), RequestError::Busy)]);
    proposals.requeue_all();
    proposals.take(1000);
    assert!(proposals.refused(&[1, 2], busy).is_empty(), "they may be in a log already");
    assert_eq!(sequences(&proposals.take(1000)), [1, 2]);
}

#[test]
fn the_deadline_tells_never_sent_from_unknown() {
    let mut proposals = proposals();
    assert_eq!(proposals.expire(Time(100)), [(RequestToken(0), RequestError::NoLeader)]);
    open(&mut proposals, 5);
    proposals.take(1000);
    assert_eq!(proposals.expire(Time(101)), [(RequestToken(1), RequestError::TimedOut)]);
    assert_eq!(proposals.unanswered(), [2]);
}

#[test]
fn a_session_that_an_earlier_boot_ended_is_opened_anew_and_all_is_sent_again() {
    let mut proposals = proposals();
    open(&mut proposals, 5);
    proposals.take(1000);
    proposals.opened(SessionId(8), OpenSession { node: NodeId(1), boot: 6 });
    assert_eq!(proposals.session(), None);
    assert_eq!(proposals.applied(SessionId(5), 0), None);
    open(&mut proposals, 9);
    assert_eq!(sequences(&proposals.take(1000)), [0, 1, 2]);
    assert_eq!(proposals.applied(SessionId(9), 0), Some(RequestToken(0)));
}

#[test]
fn what_is_in_flight_is_bounded_in_bytes() {
    let mut proposals = Proposals::new(NodeId(1), 7, 100);
    let command = Bytes::from(vec![0; 60]);
    assert_eq!(proposals.ask(RequestToken(1), command.clone(), Time(9)), Ok(()));
    assert_eq!(proposals.ask(RequestToken(2), command.clone(), Time(9)), Err(RequestError::Busy));
    assert_eq!(proposals.expire(Time(9)).len(), 1);
    assert_eq!(proposals.ask(RequestToken(3), command, Time(20)), Ok(()));
}

#[test]
fn sequence_numbers_of_two_boots_do_not_meet() {
    let first_of = |boot: u64| {
        let mut proposals = Proposals::new(NodeId(1), boot, 1000);
        let asked = proposals.ask(RequestToken(0), Bytes::from_static(b"x"), Time(9));
        assert_eq!(asked, Ok(()));
        open(&mut proposals, 5);
        sequences(&proposals.take(1000))[0]
    };
    let (one, other) = (first_of(0x1234_5678_9abc_def0), first_of(0x0fed_cba9_8765_4321));
    assert!(one.abs_diff(other) > WINDOW_MAX, "{one} {other}");
}

#[test]
fn more_than_go_together_are_taken_in_turn() {
    let count = 2 * TAKEN_MAX as u64 + 5;
    let mut proposals = Proposals::new(NodeId(1), 7, 1 << 20);
    for token in 0..count {
        let asked = proposals.ask(RequestToken(token), Bytes::from_static(b"x"), Time(9));
        assert_eq!(asked, Ok(()));
    }
    open(&mut proposals, 5);
    let taken: Vec<Vec<u64>> = (0..4).map(|_| sequences(&proposals.take(u64::MAX))).collect();
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [TAKEN_MAX, TAKEN_MAX, 5, 0]);
    assert!(taken.concat().windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order");
}
