//! One connection as RFC 9113 has it, without a socket: bytes in, events out,
//! answers in, bytes out. Its state stands here; `receive.rs` has what frames do to it,
//! `answer.rs` sends.
//!
//! Nothing of a frame is believed before it is bounded, and nothing that a peer
//! sends can panic. What is held for it is bounded: one frame, one header block,
//! the streams we said it may open, the windows we gave it, and an output beyond
//! which no more is read ([`Connection::wants_input`]).

use super::flow::{ReceiveWindow, SendWindow, WINDOW_AT_FIRST};
use super::frame::{self, ErrorCode, FrameHeader, setting};
use super::hpack::{Decoder, Encoder};
use super::output::Output;
use super::patience::{Exhausted, Patience};
use super::request::RequestHead;
use super::streams::{Stream, StreamKey, Streams};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// What the peer may send on a stream, and on all, before we have taken it.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// With this much output waiting no more is read.
const OUTPUT_MAX: usize = 256 << 10;

/// So many frames a second, without a request, a body or an answer between them,
/// are an attack.
const IDLE_FRAMES_MAX: u32 = 10_000;

/// Streams in ten seconds that end for nothing, beyond twice those that may be open.
const RESETS_MAX: u32 = 1_000;

/// Our pings say what they are for.
const PING_ALIVE: [u8; 8] = *b"alive?\0\0";
pub(super) const PING_DRAINED: [u8; 8] = *b"drained?";

/// What bounds a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) streams_max: u32,
    pub(super) header_bytes_max: usize,
}

/// What a peer did that somebody has to answer.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A request begins; if it has ended too, it has no body.
    Request { key: StreamKey, head: RequestHead, is_ended: bool },
    /// A piece of its body, perhaps an empty one; perhaps the last. To be given
    /// back ([`Connection::give_back`]) when it has been dealt with.
    Body { key: StreamKey, bytes: &'a [u8], is_ended: bool },
    /// The stream is gone: nobody waits for its answer.
    Reset { key: StreamKey },
}

/// The connection has failed; the peer is told so by the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) reason: &'static str,
}

/// What has to come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Preface,
    Settings,
    Anything,
}

/// How far we are in leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The peer was warned; its new requests are still served.
    Warned,
    /// No more are.
    Final,
}

/// A header block whose end has not come.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) continuations: u32,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) bounds: Bounds,
    pub(super) phase: Phase,
    pub(super) leaving: Leaving,
    pub(super) peer_leaves: bool,
    pub(super) block: Option<Block>,
    pub(super) decoder: Decoder,
    /// The highest number a stream of the peer has had.
    pub(super) last_stream: u32,
    pub(super) receive_window: ReceiveWindow,
    pub(super) idle_frames: Patience,
    pub(super) resets: Patience,

    pub(super) streams: Streams,
    pub(super) output: Output,
    pub(super) encoder: Encoder,
    pub(super) send_window: SendWindow,
    /// What streams begin with.
    pub(super) first_send_window: u32,
    pub(super) sent_payload_max: usize,
    /// Streams that wait for the connection's window, or for the output to shrink.
    pub(super) queue: VecDeque<StreamKey>,
    /// Streams that had to wait and need not any more.
    pub(super) drained: Vec<StreamKey>,
    /// Something was sent since the last frame: that one led somewhere.
    pub(super) has_answered: bool,
}

pub(super) type Received<'a> = Result<Option<Event<'a>>, Failure>;

pub(super) fn fail<T>(code: ErrorCode, reason: &'static str) -> Result<T, Failure> {
    Err(Failure { code, reason })
}

impl From<Exhausted> for Failure {
    fn from(_: Exhausted) -> Self {
        Self { code: ErrorCode::EnhanceYourCalm, reason: "too much that leads nowhere" }
    }
}

impl Connection {
    pub(super) fn new(bounds: Bounds) -> Self {
        let mut output = Output::default();
        frame::put_settings(
            output.buffer(),
            &[
                (setting::MAX_CONCURRENT_STREAMS, bounds.streams_max),
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (setting::MAX_HEADER_LIST_SIZE, bounds.header_bytes_max as u32),
            ],
        );
        frame::put_window_update(output.buffer(), 0, CONNECTION_WINDOW - WINDOW_AT_FIRST);
        let resets_max = bounds.streams_max.saturating_mul(2).saturating_add(RESETS_MAX);
        Self {
            bounds,
            phase: Phase::Preface,
            leaving: Leaving::No,
            peer_leaves: false,
            block: None,
            decoder: Decoder::default(),
            last_stream: 0,
            receive_window: ReceiveWindow::new(CONNECTION_WINDOW),
            idle_frames: Patience::new(IDLE_FRAMES_MAX, Duration::from_secs(1)),
            resets: Patience::new(resets_max, Duration::from_secs(10)),
            streams: Streams::default(),
            output,
            encoder: Encoder::default(),
            send_window: SendWindow::new(WINDOW_AT_FIRST),
            first_send_window: WINDOW_AT_FIRST,
            sent_payload_max: frame::PAYLOAD_BYTES_MAX,
            queue: VecDeque::new(),
            drained: Vec::new(),
            has_answered: false,
        }
    }

    /// Takes frames from the front of `input` until one of them is an event; `None`
    /// if what is left is no whole frame. After a failure the connection takes no
    /// more.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8], now: Instant) -> Received<'a> {
        let received = self.next_event(input, now);
        if let Err(Failure { code, reason }) = received {
            frame::put_go_away(self.output.buffer(), self.last_stream, code, reason);
        }
        received
    }

    fn next_event<'a>(&mut self, input: &mut &'a [u8], now: Instant) -> Received<'a> {
        if std::mem::take(&mut self.has_answered) {
            self.idle_frames.renew();
        }
        if self.phase == Phase::Preface {
            let length = input.len().min(frame::PREFACE.len());
            if input[..length] != frame::PREFACE[..length] {
                return fail(ErrorCode::ProtocolError, "not the preface of HTTP/2");
            }
            if length < frame::PREFACE.len() {
                return Ok(None);
            }
            *input = &input[length..];
            self.phase = Phase::Settings;
        }
        loop {
            let Some((header, rest)) = input.split_first_chunk() else { return Ok(None) };
            let header = FrameHeader::parse(header);
            if header.length > frame::PAYLOAD_BYTES_MAX {
                return fail(ErrorCode::FrameSizeError, "a frame larger than announced");
            }
            let Some((payload, rest)) = rest.split_at_checked(header.length) else {
                return Ok(None);
            };
            *input = rest;
            if let Some(event) = self.frame(header, payload, now)? {
                return Ok(Some(event));
            }
        }
    }

    /// Whether the peer has said what every client must.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Anything
    }

    /// Whether a header block has begun and not ended.
    pub(super) fn is_amid_headers(&self) -> bool {
        self.block.is_some()
    }

    /// Whether so little waits to be sent that more may be read.
    pub(super) fn wants_input(&self) -> bool {
        self.output.len() < OUTPUT_MAX
    }

    /// Asks the peer whether it is there.
    pub(super) fn ping(&mut self) {
        frame::put_ping(self.output.buffer(), 0, PING_ALIVE);
    }

    /// Begins to leave: the peer is warned, and when it has heard so no more of its
    /// requests are served (section 6.8).
    pub(super) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Warned;
            let out = self.output.buffer();
            frame::put_go_away(out, frame::STREAM_MAX, ErrorCode::NoError, "");
            frame::put_ping(out, 0, PING_DRAINED);
        }
    }

    /// Whether one side has left and nothing is under way any more. A peer that has not
    /// opened the connection yet needs no warning.
    pub(super) fn is_done(&self) -> bool {
        let has_left = match self.leaving {
            Leaving::No => self.peer_leaves,
            Leaving::Warned => self.peer_leaves || !self.is_open(),
            Leaving::Final => true,
        };
        has_left && self.streams.len() == 0
    }

    /// So much of a stream's body has been dealt with.
    pub(super) fn give_back(&mut self, key: StreamKey, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.is_receiving
            && let Some(increment) = stream.receive_window.done_with(bytes)
        {
            frame::put_window_update(self.output.buffer(), stream.id, increment);
        }
    }

    /// Ends a stream without an answer.
    pub(super) fn reset(&mut self, key: StreamKey, code: ErrorCode) {
        if let Some(stream) = self.remove(key) {
            self.put_reset(stream.id, code, stream.is_receiving);
        }
    }

    pub(super) fn put_reset(&mut self, id: u32, code: ErrorCode, is_receiving: bool) {
        frame::put_reset(self.output.buffer(), id, code);
        if is_receiving {
            self.streams.remember_reset(id);
        }
    }

    /// Takes a stream out of everything.
    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        let stream = self.streams.remove(key)?;
        if stream.is_queued {
            self.queue.retain(|queued| *queued != key);
        }
        self.drained.retain(|drained| *drained != key);
        Some(stream)
    }

    /// An answer is out, whole.
    pub(super) fn answered(&mut self) {
        self.resets.regain();
    }
}
