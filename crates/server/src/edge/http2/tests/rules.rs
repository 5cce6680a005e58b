//! What RFC 9113 says of what a peer may not send, rule by rule.

use super::*;
use std::time::Duration;

/// What a rule asks for.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// GOAWAY with this code.
    Connection(ErrorCode),
    /// RST_STREAM with this code; the connection goes on.
    Stream(u32, ErrorCode),
    /// Nothing: it is let pass.
    Fine,
}
use ErrorCode::{
    CompressionError, EnhanceYourCalm, FlowControlError, FrameSizeError, ProtocolError,
    RefusedStream, StreamClosed,
};
use Verdict::{Connection as Fatal, Fine, Stream};

/// Sends something to an open connection and checks what comes of it, and whether the
/// next call is served after it.
#[track_caller]
fn check(section: &str, verdict: &Verdict, send: impl FnOnce(&mut Pair)) {
    let mut pair = Pair::new();
    send(&mut pair);
    let heard = pair.heard();
    let code = |found: &Heard| match found {
        Heard::GoAway { code, .. } => Some((0, *code)),
        Heard::Reset { stream, code } => Some((*stream, *code)),
        _ => None,
    };
    let found: Vec<(u32, u32)> = heard.iter().filter_map(code).collect();
    let expected = match verdict {
        Fatal(code) => vec![(0, *code as u32)],
        Stream(stream, code) => vec![(*stream, *code as u32)],
        Fine => vec![],
    };
    assert_eq!(found, expected, "{section}");
    if !matches!(verdict, Fatal(_)) {
        pair.events();
        pair.call(1_001);
        let events = pair.events();
        assert!(events.ends_with(":6."), "{section}: {events}");
    }
}

const POST: [(&str, &str); 3] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/etcdserverpb.KV/Range")];

#[test]
fn section_3_4_the_preface() {
    for wrong in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/2.1"] {
        let mut pair = Pair::silent(BOUNDS);
        pair.sent.extend_from_slice(wrong.as_bytes());
        let heard = pair.heard();
        let code = ProtocolError as u32;
        assert_eq!(heard.last(), Some(&Heard::GoAway { last_stream: 0, code }), "{wrong}");
    }
    let mut pair = Pair::silent(BOUNDS);
    pair.sent.extend_from_slice(frame::PREFACE);
    pair.send(kind::PING, 0, 0, &[0; 8]);
    let code = ProtocolError as u32;
    assert_eq!(pair.heard().last(), Some(&Heard::GoAway { last_stream: 0, code }));
}

#[test]
fn section_4_frames_and_header_blocks() {
    check("4.1 unknown kinds are ignored", &Fine, |pair| {
        pair.send(0x16, 0xff, 0, b"whatever").send(0xff, 0, 77, b"");
    });
    check("4.1 unknown flags and the reserved bit are ignored", &Fine, |pair| {
        pair.send(kind::PING, 0xf2, 1 << 31, &[0; 8]);
    });
    check("4.2 a frame beyond SETTINGS_MAX_FRAME_SIZE", &Fatal(FrameSizeError), |pair| {
        pair.call(1).send(kind::DATA, 0, 1, &vec![0; 16_385]);
    });
    check("4.2 of an unknown kind too", &Fatal(FrameSizeError), |pair| {
        pair.send(0x16, 0, 0, &vec![0; 16_385]);
    });
    check("4.3 a header block that cannot be decoded", &Fatal(CompressionError), |pair| {
        pair.send(kind::HEADERS, flag::END_HEADERS, 1, &[0x80]);
    });
    check("4.3 trailers that cannot be decoded", &Fatal(CompressionError), |pair| {
        pair.head(1, 0, CALL).send(kind::HEADERS, flag::END_HEADERS | 1, 1, &[0xff, 0xff]);
    });
    for (kind, stream) in [(kind::DATA, 1), (kind::PING, 0), (0x16, 1), (kind::HEADERS, 3)] {
        check("4.3 nothing comes within a header block", &Fatal(ProtocolError), |pair| {
            pair.send(kind::HEADERS, 0, 1, &[0x83]).send(kind, 0, stream, &[0; 8]);
        });
    }
}

#[test]
fn section_5_1_the_states_of_streams() {
    for kind in [kind::DATA, kind::RST_STREAM, kind::WINDOW_UPDATE] {
        check("idle: HEADERS and PRIORITY alone", &Fatal(ProtocolError), |pair| {
            pair.send(kind, 0, 1, &[0, 0, 0, 1]);
        });
    }
    check("idle: PRIORITY", &Fine, |pair| {
        pair.send(kind::PRIORITY, 0, 5, &[0; 5]);
    });
    check("half closed (remote): DATA", &Stream(1, StreamClosed), |pair| {
        pair.call(1).send(kind::DATA, 0, 1, b"more");
    });
    check("half closed (remote): HEADERS", &Stream(1, StreamClosed), |pair| {
        pair.call(1).head(1, flag::END_STREAM, &[]);
    });
    check("half closed (remote): WINDOW_UPDATE, PRIORITY, RST_STREAM", &Fine, |pair| {
        pair.call(1)
            .send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
            .send(kind::PRIORITY, 0, 1, &[0; 5])
            .send(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    });
    check("closed by the peer: DATA", &Stream(1, StreamClosed), |pair| {
        pair.call(1).send(kind::RST_STREAM, 0, 1, &[0; 4]).send(kind::DATA, 0, 1, b"more");
    });
    check("closed by the peer: HEADERS", &Fatal(StreamClosed), |pair| {
        pair.call(1).send(kind::RST_STREAM, 0, 1, &[0; 4]).head(1, 1, &[]);
    });
    check("closed by us: what was on its way is ignored", &Stream(1, ProtocolError), |pair| {
        pair.head(1, 0, &[(":method", "POST")])
            .send(kind::DATA, 0, 1, b"late")
            .send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
            .send(kind::RST_STREAM, 0, 1, &[0; 4])
            .head(1, flag::END_STREAM, &[("late", "too")]);
    });
    check("5.1.1 clients' streams are odd", &Fatal(ProtocolError), |pair| {
        pair.head(2, 0, CALL);
    });
    check("5.1.1 and not the connection", &Fatal(ProtocolError), |pair| {
        pair.head(0, 0, CALL);
    });
    check("5.1.1 numbers only grow", &Fatal(StreamClosed), |pair| {
        pair.call(5).call(3);
    });
    check("5.1.1 and may leave some out", &Fine, |pair| {
        pair.call(5).call(77);
    });
    check(
        "5.1.2 streams beyond SETTINGS_MAX_CONCURRENT_STREAMS",
        &Stream(17, RefusedStream),
        |p| {
            for stream in 0..9 {
                p.call(1 + 2 * stream);
            }
            p.send(kind::RST_STREAM, 0, 1, &[0; 4]);
        },
    );
}

#[test]
fn section_6_1_to_6_4() {
    check("6.1 DATA on the connection", &Fatal(ProtocolError), |pair| {
        pair.send(kind::DATA, 0, 0, b"");
    });
    check("6.1 padding longer than its frame", &Fatal(ProtocolError), |pair| {
        pair.head(1, 0, CALL).send(kind::DATA, flag::PADDED, 1, &[3, 0, 0]);
    });
    check("6.1 padding", &Fine, |pair| {
        pair.head(1, 0, CALL).send(kind::DATA, flag::PADDED | 1, 1, &[2, b'm', 0, 0]);
    });
    check("6.2 padding longer than its frame", &Fatal(ProtocolError), |pair| {
        pair.send(kind::HEADERS, flag::PADDED | flag::END_HEADERS, 1, &[9, 0x82]);
    });
    check("6.2 too short for its priority", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::HEADERS, flag::PRIORITY | flag::END_HEADERS, 1, &[0; 4]);
    });
    check("6.2 padding and priority", &Fine, |pair| {
        let block = [&[2, 0, 0, 0, 0, 16][..], &pair.block(CALL), &[0, 0]].concat();
        pair.send(kind::HEADERS, flag::PADDED | flag::PRIORITY | flag::END_HEADERS, 1, &block);
    });
    check("6.3 PRIORITY of the connection", &Fatal(ProtocolError), |pair| {
        pair.send(kind::PRIORITY, 0, 0, &[0; 5]);
    });
    check("6.3 PRIORITY has five bytes", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::PRIORITY, 0, 1, &[0; 4]);
    });
    check("6.4 RST_STREAM of the connection", &Fatal(ProtocolError), |pair| {
        pair.send(kind::RST_STREAM, 0, 0, &[0; 4]);
    });
    check("6.4 RST_STREAM has four bytes", &Fatal(FrameSizeError), |pair| {
        pair.call(1).send(kind::RST_STREAM, 0, 1, &[0; 3]);
    });
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_settings(&mut out, settings);
    out.split_off(frame::HEADER_BYTES)
}

#[test]
fn section_6_5_settings() {
    check("on a stream", &Fatal(ProtocolError), |pair| {
        pair.send(kind::SETTINGS, 0, 1, &[]);
    });
    check("an acknowledgement with a payload", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::SETTINGS, flag::ACK, 0, &[0; 6]);
    });
    check("not a multiple of six", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::SETTINGS, 0, 0, &[0; 5]);
    });
    for (name, value, verdict) in [
        (setting::ENABLE_PUSH, 2, Fatal(ProtocolError)),
        (setting::ENABLE_PUSH, 1, Fine),
        (setting::INITIAL_WINDOW_SIZE, 1 << 31, Fatal(FlowControlError)),
        (setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1, Fine),
        (setting::MAX_FRAME_SIZE, 16_383, Fatal(ProtocolError)),
        (setting::MAX_FRAME_SIZE, 1 << 24, Fatal(ProtocolError)),
        (setting::MAX_FRAME_SIZE, (1 << 24) - 1, Fine),
        (setting::HEADER_TABLE_SIZE, u32::MAX, Fine),
        (0x4444, u32::MAX, Fine),
    ] {
        check(&format!("setting {name} to {value}"), &verdict, |pair| {
            pair.send(kind::SETTINGS, 0, 0, &settings(&[(name, value)]));
        });
    }
    check("6.9.2 windows of open streams beyond their bound", &Fatal(FlowControlError), |pair| {
        pair.call(1).send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).send(
            kind::SETTINGS,
            0,
            0,
            &settings(&[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]),
        );
    });
}

#[test]
fn section_6_6_to_6_10() {
    check("6.6 clients do not push", &Fatal(ProtocolError), |pair| {
        pair.call(1).send(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2]);
    });
    check("6.7 PING on a stream", &Fatal(ProtocolError), |pair| {
        pair.send(kind::PING, 0, 1, &[0; 8]);
    });
    check("6.7 PING has eight bytes", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::PING, 0, 0, &[0; 7]);
    });
    check("6.8 GOAWAY on a stream", &Fatal(ProtocolError), |pair| {
        pair.send(kind::GOAWAY, 0, 1, &[0; 8]);
    });
    check("6.8 GOAWAY has eight bytes or more", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::GOAWAY, 0, 0, &[0; 7]);
    });
    check("6.9 WINDOW_UPDATE has four bytes", &Fatal(FrameSizeError), |pair| {
        pair.send(kind::WINDOW_UPDATE, 0, 0, &[0; 3]);
    });
    check("6.9 by nothing, on the connection", &Fatal(ProtocolError), |pair| {
        pair.send(kind::WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 0]);
    });
    check("6.9 by nothing, on a stream", &Stream(1, ProtocolError), |pair| {
        pair.call(1).send(kind::WINDOW_UPDATE, 0, 1, &[0; 4]);
    });
    check("6.9.1 beyond the bound, on the connection", &Fatal(FlowControlError), |pair| {
        pair.send(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]);
    });
    check("6.9.1 beyond the bound, on a stream", &Stream(1, FlowControlError), |pair| {
        pair.call(1).send(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]);
    });
    check("6.10 CONTINUATION of nothing", &Fatal(ProtocolError), |pair| {
        pair.call(1).send(kind::CONTINUATION, flag::END_HEADERS, 1, &[]);
    });
    check("6.10 CONTINUATION of another", &Fatal(ProtocolError), |pair| {
        pair.send(kind::HEADERS, 0, 1, &[0x83]).send(kind::CONTINUATION, 4, 3, &[]);
    });
    check("6.10 a block in pieces", &Fine, |pair| {
        let block = pair.block(CALL);
        pair.send(kind::HEADERS, 0, 1, &block[..1]).send(kind::CONTINUATION, 0, 1, &[]);
        pair.send(kind::CONTINUATION, flag::END_HEADERS, 1, &block[1..]);
    });
}

#[test]
fn section_6_9_windows_that_are_overrun() {
    check("that of a stream", &Stream(1, FlowControlError), |pair| {
        pair.head(1, 0, CALL);
        for _ in 0..65 {
            pair.send(kind::DATA, 0, 1, &[0; 16_384]);
        }
    });
}

#[test]
fn section_8_malformed_requests() {
    let malformed: &[(&str, &[(&str, &str)])] = &[
        ("8.2 upper case", &[("Te", "trailers")]),
        ("8.2.1 a line end", &[("a", "b\r\nc: d")]),
        ("8.2.2 connection", &[("connection", "close")]),
        ("8.2.2 transfer-encoding", &[("transfer-encoding", "chunked")]),
        ("8.2.2 upgrade", &[("upgrade", "h2c")]),
        ("8.2.2 keep-alive", &[("keep-alive", "1")]),
        ("8.2.2 te", &[("te", "gzip")]),
        ("8.3 unknown", &[(":protocol", "websocket")]),
        ("8.3 of an answer", &[(":status", "200")]),
        ("8.3 behind a regular field", &[("a", "b"), (":authority", "c")]),
        ("8.3 twice", &[(":path", "/")]),
        ("8.6 no number", &[("content-length", "+1")]),
        ("8.6 two numbers", &[("content-length", "1"), ("content-length", "2")]),
    ];
    for (section, fields) in malformed {
        check(section, &Stream(1, ProtocolError), |pair| {
            pair.head(1, 0, &[&POST[..], *fields].concat());
        });
    }
    for missing in 0..3 {
        check("8.3.1 one is missing", &Stream(1, ProtocolError), |pair| {
            let mut fields = POST.to_vec();
            fields.remove(missing);
            pair.head(1, flag::END_STREAM, &fields);
        });
    }
    for path in ["", "no/slash", "\u{7f}"] {
        check("8.3.1 a path", &Stream(1, ProtocolError), |pair| {
            pair.head(1, 0, &[(":method", "GET"), (":scheme", "http"), (":path", path)]);
        });
    }
    check("8.1.1 shorter than announced", &Stream(1, ProtocolError), |pair| {
        pair.head(1, 0, &[CALL, &[("content-length", "3")]].concat());
        pair.send(kind::DATA, flag::END_STREAM, 1, b"12");
    });
    check("8.1.1 longer than announced", &Stream(1, ProtocolError), |pair| {
        pair.head(1, 0, &[CALL, &[("content-length", "3")]].concat());
        pair.send(kind::DATA, 0, 1, b"12").send(kind::DATA, 0, 1, b"34");
    });
    check("8.1.1 announced, and none", &Stream(1, ProtocolError), |pair| {
        pair.head(1, flag::END_STREAM, &[CALL, &[("content-length", "3")]].concat());
    });
    check("8.1.1 as long as announced", &Fine, |pair| {
        pair.head(1, 0, &[CALL, &[("content-length", "3"), ("content-length", "3")]].concat());
        pair.send(kind::DATA, 0, 1, b"12").send(kind::DATA, flag::END_STREAM, 1, b"3");
    });
    check("8.1 trailers", &Fine, |pair| {
        pair.head(1, 0, CALL).head(1, flag::END_STREAM, &[("checksum", "0")]);
    });
    check("8.1 trailers that end nothing", &Stream(1, ProtocolError), |pair| {
        pair.head(1, 0, CALL).head(1, 0, &[("checksum", "0")]);
    });
    check("8.1 trailers with a pseudo-header", &Stream(1, ProtocolError), |pair| {
        pair.head(1, 0, CALL).head(1, flag::END_STREAM, &[(":path", "/")]);
    });
}

#[test]
fn headers_that_are_too_large_are_answered_so_and_those_without_end_are_not_waited_for() {
    let mut pair = Pair::new();
    let long = "x".repeat(BOUNDS.header_bytes_max);
    pair.head(1, 0, &[CALL, &[("long", &long)]].concat());
    assert_eq!(pair.heard(), [headers(1, ":status=431", true), reset(1, ErrorCode::NoError)]);
    pair.call(3);
    assert_eq!(pair.events(), "+0 0:6.", "the connection goes on");
    // Where a field in the table is named again and again, it counts each time.
    let long = "y".repeat(3000);
    let mut block = pair.block(&CALL[..4]);
    block.extend(b"\x40\x01y\x7f\xb9\x16");
    block.extend(long.as_bytes());
    block.extend([0xbe; 1000]);
    pair.send(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 5, &block);
    assert_eq!(pair.heard(), [headers(5, ":status=431", true)]);

    check("without end, in bytes", &Fatal(EnhanceYourCalm), |pair| {
        pair.send(kind::HEADERS, 0, 1, &[0x83]);
        for _ in 0..3 {
            pair.send(kind::CONTINUATION, 0, 1, &[0; 8_000]);
        }
    });
    check("without end, in frames", &Fatal(EnhanceYourCalm), |pair| {
        pair.send(kind::HEADERS, 0, 1, &[0x83]);
        for _ in 0..100 {
            pair.send(kind::CONTINUATION, 0, 1, &[]);
        }
    });
}

/// Repeats something; how often it was borne, up to `max`.
fn borne(max: u32, mut once: impl FnMut(&mut Pair, u32)) -> u32 {
    let mut pair = Pair::new();
    for count in 0..max {
        once(&mut pair, count);
        let heard = pair.heard();
        if let Some(Heard::GoAway { code, .. }) = heard.last() {
            assert_eq!(*code, EnhanceYourCalm as u32);
            return count;
        }
    }
    max
}

#[test]
fn what_leads_nowhere_is_borne_for_a_while() {
    type Send = fn(&mut Pair, u32);
    let idle: [(&str, Send); 6] = [
        ("pings", |pair, _| {
            pair.send(kind::PING, 0, 0, &[0; 8]);
        }),
        ("settings", |pair, _| {
            pair.send(kind::SETTINGS, 0, 0, &settings(&[(setting::INITIAL_WINDOW_SIZE, 7)]));
        }),
        ("priorities", |pair, count| {
            pair.send(kind::PRIORITY, 0, 1 + 2 * count, &[0; 5]);
        }),
        ("unknown", |pair, _| {
            pair.send(0x77, 0, 0, &[]);
        }),
        ("windows", |pair, _| {
            pair.send(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        }),
        ("empty bodies", |pair, count| {
            if count == 0 {
                pair.head(1, 0, CALL);
            }
            pair.send(kind::DATA, 0, 1, &[]);
        }),
    ];
    for (name, send) in idle {
        let count = borne(20_000, send);
        assert!((9_990..10_010).contains(&count), "{name}: {count}");
        // Slowly, they are no attack.
        let slowly = borne(20_000, |pair, count| {
            pair.now += Duration::from_micros(150);
            send(pair, count);
        });
        assert_eq!(slowly, 20_000, "{name}");
    }
}

#[test]
fn calls_that_are_taken_back_are_borne_for_a_while() {
    let rapid = |pair: &mut Pair, count: u32| {
        let stream = 1 + 2 * count;
        pair.call(stream).send(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    };
    let count = borne(5_000, rapid);
    assert_eq!(count, 2 * BOUNDS.streams_max + 1_000);
    let slowly = borne(5_000, |pair, count| {
        pair.now += Duration::from_millis(10);
        rapid(pair, count);
    });
    assert_eq!(slowly, 5_000);
    let malformed = borne(5_000, |pair, count| {
        pair.head(1 + 2 * count, 0, &[(":method", "POST")]);
    });
    assert_eq!(malformed, 2 * BOUNDS.streams_max + 1_000);
    let answered = borne(5_000, |pair, count| {
        rapid(pair, 2 * count);
        pair.call(3 + 4 * count).arrive();
        pair.connection.answer(0, Bytes::from_static(b"\0\0\0\0\0"));
    });
    assert_eq!(answered, 5_000, "every other was waited for");
}
