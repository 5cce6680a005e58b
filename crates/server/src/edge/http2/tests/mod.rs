//! The protocol without a socket: what a peer sends, and what it hears.

mod answers;
mod hostile;
mod rules;

use super::connection::{Bounds, Connection, Event};
use super::frame::{self, ErrorCode, FrameHeader, flag, kind, setting};
use super::hpack::{Decoder, Encoder, Outgoing};
use super::request::Target;
use super::streams::StreamKey;
use bytes::Bytes;
use tokio::time::Instant;

const BOUNDS: Bounds = Bounds { streams_max: 8, header_bytes_max: 4096 };

/// What the peer heard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Headers { stream: u32, fields: String, is_end: bool },
    Data { stream: u32, bytes: Vec<u8>, is_end: bool },
    Reset { stream: u32, code: u32 },
    GoAway { last_stream: u32, code: u32 },
    Ping { is_ack: bool, payload: Vec<u8> },
    Window { stream: u32, increment: u32 },
    Settings { is_ack: bool },
}

/// A connection, and the peer at its other end.
struct Pair {
    connection: Connection,
    now: Instant,
    encoder: Encoder,
    decoder: Decoder,
    /// What is on its way to the connection.
    sent: Vec<u8>,
    /// What happened there: requests as `+key`, bodies as `key:bytes`, with `.` for
    /// the end, resets as `-key`.
    events: Vec<String>,
}

impl Pair {
    fn new() -> Self {
        Self::with(BOUNDS, &[])
    }

    /// A connection whose peer has these settings.
    fn with(bounds: Bounds, settings: &[(u16, u32)]) -> Self {
        let mut pair = Self::silent(bounds);
        pair.sent.extend_from_slice(frame::PREFACE);
        frame::put_settings(&mut pair.sent, settings);
        let heard = pair.heard();
        assert_eq!(heard.last(), Some(&Heard::Settings { is_ack: true }), "{heard:?}");
        pair
    }

    /// One whose peer has said nothing.
    fn silent(bounds: Bounds) -> Self {
        Self {
            connection: Connection::new(bounds),
            now: Instant::now(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.sent.extend(frame_of(kind, flags, stream, payload));
        self
    }

    /// A request's headers.
    fn head(&mut self, stream: u32, flags: u8, fields: &[(&'static str, &str)]) -> &mut Self {
        let block = self.block(fields);
        self.send(kind::HEADERS, flag::END_HEADERS | flags, stream, &block)
    }

    fn block(&mut self, fields: &[(&'static str, &str)]) -> Vec<u8> {
        let fields: Vec<Outgoing<'_>> =
            fields.iter().map(|(name, value)| Outgoing::Text(name, value.as_bytes())).collect();
        let mut block = Vec::new();
        self.encoder.encode(&fields, &mut block);
        block
    }

    /// A call of one message, whole.
    fn call(&mut self, stream: u32) -> &mut Self {
        self.head(stream, 0, CALL);
        self.send(kind::DATA, flag::END_STREAM, stream, b"\0\0\0\0\x01m")
    }

    /// Lets everything that was sent arrive.
    fn arrive(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        let mut input = &sent[..];
        while let Ok(Some(event)) = self.connection.next(&mut input, self.now) {
            self.events.push(match event {
                Event::Request { key, head, is_ended } => {
                    assert_eq!(head.is_grpc, matches!(head.target, Target::Method(_)));
                    format!("+{key}{}", if is_ended { "." } else { "" })
                }
                Event::Body { key, bytes, is_ended } => {
                    format!("{key}:{}{}", bytes.len(), if is_ended { "." } else { "" })
                }
                Event::Reset { key } => format!("-{key}"),
            });
        }
    }

    /// What has happened since the last time.
    fn events(&mut self) -> String {
        self.arrive();
        std::mem::take(&mut self.events).join(" ")
    }

    /// What the peer hears of all that.
    fn heard(&mut self) -> Vec<Heard> {
        self.arrive();
        let mut heard = Vec::new();
        loop {
            self.connection.fill();
            let output = self.connection.output.rest().to_vec();
            if output.is_empty() {
                return heard;
            }
            self.connection.output.advance(output.len());
            heard.extend(take_apart(&output, &mut self.decoder));
        }
    }
}

const CALL: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Range"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_header(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// Whole frames of ours, which must be as the protocol has them.
fn take_apart(mut output: &[u8], decoder: &mut Decoder) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let Some((header, rest)) = output.split_first_chunk() {
        let header = FrameHeader::parse(header);
        let (payload, rest) = rest.split_at(header.length);
        output = rest;
        let stream = header.stream;
        let is_end = header.has(flag::END_STREAM);
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        heard.push(match header.kind {
            kind::HEADERS => {
                assert!(header.has(flag::END_HEADERS));
                let mut fields = Vec::new();
                let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
                let decoded = decoder.decode(payload, |field| {
                    assert!(field.is_well_formed);
                    fields.push(format!("{}={}", text(field.name), text(field.value)));
                });
                decoded.unwrap();
                Heard::Headers { stream, fields: fields.join(" "), is_end }
            }
            kind::DATA => Heard::Data { stream, bytes: payload.to_vec(), is_end },
            kind::RST_STREAM => Heard::Reset { stream, code: number(0) },
            kind::GOAWAY => Heard::GoAway { last_stream: number(0), code: number(4) },
            kind::PING => Heard::Ping { is_ack: is_end, payload: payload.to_vec() },
            kind::WINDOW_UPDATE => Heard::Window { stream, increment: number(0) },
            kind::SETTINGS => Heard::Settings { is_ack: is_end },
            other => panic!("a frame of kind {other} was sent"),
        });
    }
    assert!(output.is_empty(), "a frame without its end was sent");
    heard
}

fn headers(stream: u32, fields: &str, is_end: bool) -> Heard {
    Heard::Headers { stream, fields: fields.into(), is_end }
}

fn reset(stream: u32, code: ErrorCode) -> Heard {
    Heard::Reset { stream, code: code as u32 }
}
