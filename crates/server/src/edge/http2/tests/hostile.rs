//! Bytes that no client sends: a real conversation cut off and altered anywhere, and
//! frames made up at random. Whatever comes, nothing panics, nothing is held without
//! bound, and what is sent back is HTTP/2.

use super::super::streams::End;
use super::*;
use crate::status::{Code, Status};

/// The other end answers whatever is whole, in one way or another, at once.
struct Answering {
    connection: Connection,
    decoder: Decoder,
    answered: u32,
    now: Instant,
}

impl Answering {
    fn new() -> Self {
        let connection = Connection::new(BOUNDS);
        Self { connection, decoder: Decoder::default(), answered: 0, now: Instant::now() }
    }

    /// Takes bytes in; what is left of them, unless the connection has failed.
    fn take<'a>(&mut self, mut input: &'a [u8]) -> Option<&'a [u8]> {
        loop {
            let before = input.len();
            match self.connection.next(&mut input, self.now) {
                Ok(None) => return Some(input),
                Ok(Some(event)) => {
                    assert!(input.len() < before, "an event takes something");
                    match event {
                        Event::Request { key, is_ended: true, .. }
                        | Event::Body { key, is_ended: true, .. } => self.answer(key),
                        Event::Body { key, bytes, .. } => {
                            self.connection.give_back(key, bytes.len());
                        }
                        Event::Request { .. } | Event::Reset { .. } => {}
                    }
                }
                Err(_) => return None,
            }
        }
    }

    fn answer(&mut self, key: StreamKey) {
        self.answered += 1;
        let status = Status::new(Code::Unknown, "no");
        match self.answered % 4 {
            0 => self.connection.refuse(key, &status),
            1 => {
                self.connection.begin_stream(key);
                self.connection.send(key, vec![7; 20_000].into());
                self.connection.finish(key, End::Trailers(status));
            }
            2 => self.connection.reset(key, ErrorCode::EnhanceYourCalm),
            _ => self.connection.answer(key, Bytes::from_static(b"\0\0\0\0\x01x")),
        }
    }

    /// Takes everything out; it must be whole frames.
    fn hear(&mut self) -> Vec<Heard> {
        self.connection.fill();
        let output = self.connection.output.rest().to_vec();
        assert!(output.len() < 1 << 20, "{} bytes of output", output.len());
        self.connection.output.advance(output.len());
        assert!(self.connection.streams.len() <= BOUNDS.streams_max as usize);
        take_apart(&output, &mut self.decoder)
    }
}

/// Everything that a client may say, at least once.
fn conversation() -> Vec<u8> {
    let mut pair = Pair::silent(BOUNDS);
    pair.sent.extend_from_slice(frame::PREFACE);
    frame::put_settings(
        &mut pair.sent,
        &[
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, 100),
            (setting::HEADER_TABLE_SIZE, 90),
        ],
    );
    pair.send(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]).call(1).call(3);
    pair.send(kind::SETTINGS, flag::ACK, 0, &[]).send(kind::PING, 0, 0, b"are you?");
    // As clients in Go write it: Huffman's code, and into the table.
    let block = b"\x83\x86\x45\x96\x62\x72\x96\x4f\x8d\xb6\x17\x58\x8b\xad\x3d\x32\x6b\xe3\x16\x6b\x4c\xb5\x53\x83\x2a\x5f\x41\x8a\xa0\xe4\x1d\x13\x9d\x09\xb8\xf0\x1e\x07";
    pair.send(kind::HEADERS, flag::END_HEADERS, 5, block);
    pair.send(kind::DATA, flag::PADDED, 5, b"\x03abc\0\0\0").send(kind::DATA, 0, 5, b"");
    pair.send(kind::WINDOW_UPDATE, 0, 5, &[0, 0, 1, 0]).send(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]);
    let trailing = pair.block(CALL);
    pair.send(kind::HEADERS, flag::PRIORITY, 7, &[&[0, 0, 0, 0, 1][..], &trailing[..9]].concat());
    pair.send(kind::CONTINUATION, flag::END_HEADERS, 7, &trailing[9..]);
    pair.send(kind::DATA, 0, 7, b"\0\0\0\0\x02").send(kind::DATA, 0, 7, b"mm");
    pair.head(7, flag::END_STREAM, &[("trailing", "field")]);
    pair.send(kind::PRIORITY, 0, 9, &[0; 5]).send(0x99, 0x99, 9, b"unknown");
    pair.call(9).send(kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0bye");
    pair.sent
}

#[test]
fn the_conversation_is_what_it_should_be() {
    let mut other = Answering::new();
    assert_eq!(other.take(&conversation()), Some(&[][..]));
    assert_eq!(other.answered, 4);
    let heard = other.hear();
    assert!(!heard.iter().any(|heard| matches!(heard, Heard::GoAway { .. })), "{heard:?}");
}

#[test]
fn it_may_come_in_any_pieces() {
    let whole = conversation();
    let expected = {
        let mut other = Answering::new();
        other.take(&whole);
        other.hear()
    };
    for cut in 0..=whole.len() {
        let mut other = Answering::new();
        let rest = other.take(&whole[..cut]).unwrap().to_vec();
        assert!(rest.len() < frame::HEADER_BYTES + frame::PAYLOAD_BYTES_MAX);
        let input = [&rest, &whole[cut..]].concat();
        other.take(&input).unwrap();
        assert_eq!(other.hear(), expected, "cut at {cut}");
    }
}

#[test]
fn any_byte_of_it_may_be_another() {
    let whole = conversation();
    let (mut failed, mut lived) = (0, 0);
    for at in 0..whole.len() {
        for change in 1..=255 {
            let mut altered = whole.clone();
            altered[at] ^= change;
            let mut other = Answering::new();
            if other.take(&altered).is_some() {
                lived += 1;
            } else {
                failed += 1;
                let heard = other.hear();
                let is_told = matches!(heard.last(), Some(Heard::GoAway { code: 1.., .. }));
                assert!(is_told, "{heard:?}");
            }
            other.hear();
        }
    }
    assert!(failed > 10_000 && lived > 10_000, "{failed} failed, {lived} did not");
}

#[test]
fn frames_may_be_anything() {
    let mut random = fastrand::Rng::with_seed(9113);
    let (mut answered, mut failed) = (0, 0);
    for _ in 0..3_000 {
        let mut pair = Pair::silent(BOUNDS);
        pair.sent.extend_from_slice(frame::PREFACE);
        frame::put_settings(&mut pair.sent, &[]);
        pair.head(1, 0, CALL);
        let mut next_stream = 3;
        for _ in 0..random.usize(1..60) {
            let stream = match random.u32(..500) {
                0 => random.u32(..),
                1 => 0,
                _ => 1 + 2 * random.u32(..(next_stream / 2).max(1)),
            };
            match random.u32(..12) {
                0..3 => {
                    pair.head(next_stream, random.u8(..2), CALL);
                    next_stream += 2;
                }
                3..6 => {
                    let length = random.usize(..2_000);
                    pair.send(kind::DATA, random.u8(..2), stream, &vec![0; length]);
                }
                6 => {
                    pair.send(kind::WINDOW_UPDATE, 0, stream, &random.u32(..100_000).to_be_bytes());
                }
                7 => {
                    let size = random.u32(..70_000).to_be_bytes();
                    let name = [1, 3, 4, 6, 7][random.usize(..5)];
                    pair.send(kind::SETTINGS, 0, 0, &[&[0, name][..], &size].concat());
                }
                8 => {
                    pair.send(kind::RST_STREAM, 0, stream, &[0; 4]);
                }
                9 => {
                    pair.send(kind::PING, 0, 0, &[0; 8]);
                }
                _ => {
                    let payload: Vec<u8> = (0..random.usize(..12)).map(|_| random.u8(..)).collect();
                    if random.u8(..40) == 0 {
                        pair.send(random.u8(..12), random.u8(..), stream, &payload);
                    }
                }
            }
        }
        let mut other = Answering::new();
        let sent = std::mem::take(&mut pair.sent);
        let mut rest = Vec::new();
        for piece in sent.chunks(random.usize(1..5_000)) {
            rest.extend_from_slice(piece);
            let Some(left) = other.take(&rest).map(<[u8]>::to_vec) else {
                failed += 1;
                break;
            };
            rest = left;
            other.hear();
        }
        other.hear();
        answered += other.answered;
    }
    assert!(answered > 3_000 && failed > 300, "{answered} answered, {failed} failed");
}
