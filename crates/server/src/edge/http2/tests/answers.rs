//! Answers: as they should be, and under windows as small as they come.

use super::super::streams::End;
use super::*;
use crate::status::{Code, Status};

const HEAD: &str = ":status=200 content-type=application/grpc";

fn message(bytes: usize) -> Bytes {
    let mut frame = vec![0];
    frame.extend((bytes as u32).to_be_bytes());
    frame.extend((0..bytes).map(|at| at as u8));
    frame.into()
}

/// The bodies in what was heard, put together, and whether each has ended.
fn bodies(heard: &[Heard]) -> Vec<(u32, Vec<u8>, bool)> {
    let mut bodies: Vec<(u32, Vec<u8>, bool)> = Vec::new();
    for heard in heard {
        match heard {
            Heard::Headers { stream, is_end: false, .. } => {
                bodies.push((*stream, Vec::new(), false));
            }
            Heard::Data { stream, bytes, is_end } => {
                let body = bodies.iter_mut().find(|body| body.0 == *stream).unwrap();
                assert!(!body.2);
                body.1.extend(bytes);
                body.2 = *is_end;
            }
            Heard::Headers { stream, .. } => {
                bodies.iter_mut().find(|body| body.0 == *stream).unwrap().2 = true;
            }
            _ => {}
        }
    }
    bodies
}

#[test]
fn a_call_and_its_answer() {
    let mut pair = Pair::new();
    pair.call(1);
    assert_eq!(pair.events(), "+0 0:6.");
    pair.connection.answer(0, message(3));
    let expected = [
        headers(1, HEAD, false),
        Heard::Data { stream: 1, bytes: message(3).to_vec(), is_end: false },
        headers(1, "grpc-status=0", true),
    ];
    assert_eq!(pair.heard(), expected);
    // From now on an answer's headers are three bytes.
    pair.call(3).arrive();
    pair.connection.answer(0, message(0));
    pair.connection.fill();
    assert_eq!(pair.connection.output.len(), 3 * frame::HEADER_BYTES + 5 + 3);
}

#[test]
fn a_refusal_says_why_in_one_frame() {
    let mut pair = Pair::new();
    pair.call(1).head(3, 0, CALL).events();
    let status = Status::new(Code::NotFound, "50% of it");
    pair.connection.refuse(0, &status);
    pair.connection.refuse(1, &status);
    let fields = format!("{HEAD} grpc-status=5 grpc-message=50%25 of it");
    assert_eq!(
        pair.heard(),
        [
            headers(1, &fields, true),
            headers(3, &fields, true),
            // Its request has not ended, and need not.
            reset(3, ErrorCode::NoError),
        ]
    );
    pair.call(5);
    assert_eq!(pair.events(), "+1 1:6.");
    pair.connection.refuse(1, &Status::with(Code::Unknown, "\u{1f9ea}".repeat(50_000)));
    let heard = pair.heard();
    assert!(
        matches!(&heard[..], [Heard::Headers { fields, is_end: true, .. }] if fields.len() > 4096)
    );
}

#[test]
fn a_stream_goes_both_ways_and_ends_with_its_status() {
    let mut pair = Pair::new();
    pair.head(1, 0, CALL).send(kind::DATA, 0, 1, b"first").send(kind::DATA, 0, 1, b"second");
    assert_eq!(pair.events(), "+0 0:5 0:6");
    pair.connection.begin_stream(0);
    pair.connection.send(0, message(1));
    assert!(pair.connection.is_clear(0));
    pair.send(kind::DATA, flag::END_STREAM, 1, b"");
    assert_eq!(pair.events(), "0:0.", "half closed, and still open");
    pair.connection.send(0, message(2));
    pair.connection.finish(0, End::Trailers(Status::new(Code::Unavailable, "later")));
    let heard = pair.heard();
    assert_eq!(heard.last(), Some(&headers(1, "grpc-status=14 grpc-message=later", true)));
    let expected = [message(1), message(2)].concat();
    assert_eq!(bodies(&heard), [(1, expected, true)]);
    assert_eq!(pair.connection.streams.len(), 0);
}

#[test]
fn a_reset_ends_it_for_both() {
    let mut pair = Pair::new();
    pair.head(1, 0, CALL).send(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    assert_eq!(pair.events(), "+0 -0");
    pair.connection.answer(0, message(9));
    assert_eq!(pair.heard(), [], "there is nobody to answer");
    pair.call(3).arrive();
    pair.connection.reset(0, ErrorCode::EnhanceYourCalm);
    assert_eq!(pair.heard(), [reset(3, ErrorCode::EnhanceYourCalm)]);
}

#[test]
fn windows_of_one_byte_are_kept_to() {
    let mut pair = Pair::with(BOUNDS, &[(setting::INITIAL_WINDOW_SIZE, 1)]);
    pair.call(1).call(3).arrive();
    pair.connection.answer(0, message(20));
    pair.connection.begin_stream(1);
    pair.connection.send(1, message(5));
    assert!(!pair.connection.is_clear(1));
    let mut all = pair.heard();
    let lengths = |heard: &[Heard]| -> Vec<usize> {
        bodies(heard).iter().map(|(_, bytes, _)| bytes.len()).collect()
    };
    assert_eq!(lengths(&all), [1, 1]);
    for more in 1..10 {
        for stream in [1, 3] {
            pair.send(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]);
        }
        all.extend(pair.heard());
        assert_eq!(lengths(&all), [1 + more, 1 + more]);
    }
    assert_eq!(pair.connection.take_drained(), [1]);
    pair.connection.finish(1, End::Trailers(Status::new(Code::Ok, "")));
    // A larger first window opens those that are there already.
    pair.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]);
    all.extend(pair.heard());
    let expected = [(1, message(20).to_vec(), true), (3, message(5).to_vec(), true)];
    assert_eq!(bodies(&all), expected);
}

#[test]
fn a_window_below_zero_opens_only_once_it_is_above() {
    let mut pair = Pair::with(BOUNDS, &[(setting::INITIAL_WINDOW_SIZE, 10)]);
    pair.call(1).arrive();
    pair.connection.answer(0, message(20));
    let mut all = pair.heard();
    pair.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    pair.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 10]);
    all.extend(pair.heard());
    assert_eq!(bodies(&all)[0].1.len(), 10);
    pair.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 15]);
    all.extend(pair.heard());
    assert_eq!(bodies(&all), [(1, message(20).to_vec(), true)]);
}

#[test]
fn the_connections_window_is_shared_in_turns() {
    let large = (setting::INITIAL_WINDOW_SIZE, 1 << 30);
    let mut pair = Pair::with(BOUNDS, &[large]);
    pair.call(1).call(3).call(5).arrive();
    for key in 0..3 {
        pair.connection.answer(key, message(100_000));
    }
    let mut all = pair.heard();
    let total = |all: &[Heard]| bodies(all).iter().map(|body| body.1.len()).sum::<usize>();
    assert_eq!(total(&all), 65_535);
    while total(&all) < 3 * 100_005 {
        pair.send(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0xc0, 0]);
        let heard = pair.heard();
        assert!(!heard.is_empty());
        all.extend(heard);
        let lengths: Vec<usize> = bodies(&all)[1..].iter().map(|body| body.1.len()).collect();
        assert!(lengths[0].abs_diff(lengths[1]) <= 16_384, "{lengths:?}");
    }
    let expected = message(100_000).to_vec();
    assert_eq!(
        bodies(&all),
        [(1, expected.clone(), true), (3, expected.clone(), true), (5, expected, true)]
    );
}

#[test]
fn a_peer_that_does_not_read_is_not_read_either() {
    let windows = (setting::INITIAL_WINDOW_SIZE, 1 << 30);
    let mut pair = Pair::with(BOUNDS, &[windows]);
    pair.send(kind::WINDOW_UPDATE, 0, 0, &[0x40, 0, 0, 0]).call(1).arrive();
    pair.connection.answer(0, message(10 << 20));
    pair.connection.fill();
    assert!(pair.connection.output.len() < 100 << 10, "the body waits where it is");
    assert!(pair.connection.wants_input());
    let mut pings = 0;
    while pair.connection.wants_input() {
        pair.send(kind::PING, 0, 0, &[0; 8]).arrive();
        pings += 1;
    }
    assert!(pings < 20_000);
    assert!(pair.connection.output.len() < 300 << 10);
    let heard = pair.heard();
    assert_eq!(bodies(&heard), [(1, message(10 << 20).to_vec(), true)]);
    assert!(pair.connection.wants_input());
}

#[test]
fn what_was_dealt_with_may_be_sent_again() {
    let mut pair = Pair::new();
    pair.head(1, 0, CALL).arrive();
    // Ten times what the windows hold.
    for _ in 0..640 {
        pair.send(kind::DATA, flag::PADDED, 1, &[&[99][..], &[0; 16_383]].concat()).arrive();
        pair.connection.give_back(0, 16_384 - 100);
    }
    let windows: u64 = pair
        .heard()
        .iter()
        .map(|heard| match heard {
            Heard::Window { stream: 1, increment } => u64::from(*increment),
            Heard::Window { .. } => 0,
            other => panic!("{other:?}"),
        })
        .sum();
    assert!(windows > 640 * 16_384 - (1 << 20), "{windows}");
    // A body that nobody deals with stops where its window ends.
    pair.head(3, 0, CALL).events();
    for _ in 0..64 {
        pair.send(kind::DATA, 0, 3, &[0; 16_384]);
    }
    assert!(!pair.heard().iter().any(|heard| matches!(heard, Heard::Window { stream: 3, .. })));
}

#[test]
fn leaving_takes_two_steps_and_waits_for_what_is_under_way() {
    let mut pair = Pair::new();
    pair.call(1).arrive();
    pair.connection.leave();
    pair.connection.leave();
    let ping = pair.heard();
    let [Heard::GoAway { last_stream, code: 0 }, Heard::Ping { is_ack: false, payload }] =
        &ping[..]
    else {
        panic!("{ping:?}")
    };
    assert_eq!(*last_stream, frame::STREAM_MAX);
    // This was under way when the peer was warned.
    pair.call(3).send(kind::PING, flag::ACK, 0, payload);
    assert_eq!(pair.heard(), [Heard::GoAway { last_stream: 3, code: 0 }]);
    pair.events();
    // And this it should not have sent.
    pair.call(5);
    assert_eq!(pair.events(), "");
    assert_eq!(pair.heard(), []);
    assert!(!pair.connection.is_done());
    pair.connection.answer(0, message(1));
    pair.connection.answer(1, message(2));
    assert_eq!(bodies(&pair.heard()).len(), 2);
    assert!(pair.connection.is_done());
}

#[test]
fn a_peer_that_leaves_hears_what_it_asked_for() {
    let mut pair = Pair::new();
    pair.call(1).send(kind::GOAWAY, 0, 0, &[0; 8]).arrive();
    assert!(!pair.connection.is_done());
    pair.connection.answer(0, message(1));
    assert!(pair.connection.is_done());
    assert_eq!(bodies(&pair.heard()).len(), 1);
}
