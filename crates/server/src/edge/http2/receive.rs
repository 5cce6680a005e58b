//! The receiving half of a connection: what each kind of frame does to it.
//!
//! Sections are those of RFC 9113. Each length is checked where it is used.

use super::connection::{
    Block, Connection, Event, Failure, Leaving, PING_DRAINED, Phase, Received, STREAM_WINDOW, fail,
};
use super::flow::{ReceiveWindow, SendWindow, WINDOW_MAX};
use super::frame::{self, ErrorCode, FrameHeader, flag, kind, setting};
use super::hpack::Outgoing;
use super::request::{HeadBuilder, NoRequest, may_trail};
use super::streams::{Stream, StreamKey};
use std::collections::VecDeque;
use tokio::time::Instant;

/// We send frames up to this, where the peer takes such.
const SENT_PAYLOAD_MAX: u32 = 64 << 10;

/// A header block comes in at most so many frames.
const CONTINUATIONS_MAX: u32 = 64;

impl Connection {
    /// Does what a frame asks for.
    pub(super) fn frame<'a>(
        &mut self,
        header: FrameHeader,
        payload: &'a [u8],
        now: Instant,
    ) -> Received<'a> {
        if self.phase == Phase::Settings && (header.kind != kind::SETTINGS || header.has(flag::ACK))
        {
            return fail(ErrorCode::ProtocolError, "the first frame must be SETTINGS");
        }
        match &self.block {
            Some(block) if header.kind != kind::CONTINUATION || header.stream != block.stream => {
                return fail(ErrorCode::ProtocolError, "a frame within a header block");
            }
            None if header.kind == kind::CONTINUATION => {
                return fail(ErrorCode::ProtocolError, "CONTINUATION of nothing");
            }
            _ => {}
        }
        match header.kind {
            kind::DATA => self.data(header, payload, now),
            kind::HEADERS => self.headers(header, payload, now),
            kind::CONTINUATION => self.continuation(header, payload, now),
            kind::RST_STREAM => self.peer_resets(header, payload, now),
            kind::WINDOW_UPDATE => self.window_update(header, payload, now),
            kind::SETTINGS => self.settings(header, payload, now).map(|()| None),
            kind::PING => self.pinged(header, payload, now).map(|()| None),
            kind::GOAWAY => self.go_away(header, payload).map(|()| None),
            kind::PRIORITY => self.priority(header, payload, now).map(|()| None),
            kind::PUSH_PROMISE => fail(ErrorCode::ProtocolError, "clients do not push"),
            // Section 4.1: unknown kinds are ignored.
            _ => Ok(self.idle_frames.spend(now).map(|()| None)?),
        }
    }

    /// Section 6.1.
    fn data<'a>(&mut self, header: FrameHeader, payload: &'a [u8], now: Instant) -> Received<'a> {
        self.must_not_be_idle(header.stream)?;
        let overrun = Failure { code: ErrorCode::FlowControlError, reason: "window overrun" };
        self.receive_window.take(payload.len()).map_err(|_| overrun)?;
        let Some(bytes) = frame::without_padding(header, payload) else {
            return fail(ErrorCode::ProtocolError, "padding longer than its frame");
        };
        // What bodies may take together is bounded where they are kept.
        if let Some(increment) = self.receive_window.done_with(payload.len()) {
            frame::put_window_update(self.output.buffer(), 0, increment);
        }
        let is_ended = header.has(flag::END_STREAM);
        if bytes.is_empty() && !is_ended {
            self.idle_frames.spend(now)?;
        } else {
            self.idle_frames.renew();
        }
        let Some(key) = self.streams.find(header.stream) else {
            if !self.streams.was_reset(header.stream) {
                self.idle_frames.spend(now)?;
                self.put_reset(header.stream, ErrorCode::StreamClosed, true);
            }
            return Ok(None);
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if !stream.is_receiving {
            return self.stream_error(key, ErrorCode::StreamClosed, now);
        }
        if stream.receive_window.take(payload.len()).is_err() {
            return self.stream_error(key, ErrorCode::FlowControlError, now);
        }
        if let Some(left) = stream.body_left {
            match left.checked_sub(bytes.len() as u64) {
                Some(left) if left == 0 || !is_ended => stream.body_left = Some(left),
                _ => return self.stream_error(key, ErrorCode::ProtocolError, now),
            }
        }
        stream.is_receiving = !is_ended;
        self.give_back(key, payload.len() - bytes.len());
        Ok(Some(Event::Body { key, bytes, is_ended }))
    }

    /// Section 6.2.
    fn headers<'a>(&mut self, header: FrameHeader, payload: &[u8], now: Instant) -> Received<'a> {
        // Clients' streams are odd, section 5.1.1.
        if header.stream.is_multiple_of(2) {
            return fail(ErrorCode::ProtocolError, "HEADERS on a stream that is not a client's");
        }
        let Some(mut fragment) = frame::without_padding(header, payload) else {
            return fail(ErrorCode::ProtocolError, "padding longer than its frame");
        };
        if header.has(flag::PRIORITY) {
            let Some((_, rest)) = fragment.split_first_chunk::<5>() else {
                return fail(ErrorCode::FrameSizeError, "HEADERS too short for its priority");
            };
            fragment = rest;
        }
        let ends_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.header_block(header.stream, ends_stream, fragment, now);
        }
        let bytes = fragment.to_vec();
        self.block = Some(Block { stream: header.stream, ends_stream, bytes, continuations: 0 });
        self.check_block()
    }

    /// Section 6.10.
    fn continuation<'a>(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Received<'a> {
        let Some(block) = &mut self.block else { return Ok(None) };
        block.continuations += 1;
        block.bytes.extend_from_slice(payload);
        self.check_block()?;
        if !header.has(flag::END_HEADERS) {
            return Ok(None);
        }
        let Some(block) = self.block.take() else { return Ok(None) };
        self.header_block(block.stream, block.ends_stream, &block.bytes, now)
    }

    /// A block is bounded while it comes. One that is somewhat too large is still read,
    /// for the tables' sake; for one that is far too large the connection goes.
    fn check_block<'a>(&self) -> Received<'a> {
        match &self.block {
            Some(block)
                if block.bytes.len() / 4 > self.bounds.header_bytes_max
                    || block.continuations > CONTINUATIONS_MAX =>
            {
                fail(ErrorCode::EnhanceYourCalm, "a header block without end")
            }
            _ => Ok(None),
        }
    }

    fn header_block<'a>(
        &mut self,
        id: u32,
        is_ended: bool,
        block: &[u8],
        now: Instant,
    ) -> Received<'a> {
        const BROKEN: Failure =
            Failure { code: ErrorCode::CompressionError, reason: "a header block is broken" };
        if id <= self.last_stream {
            let mut may_be = true;
            self.decoder.decode(block, |field| may_be &= may_trail(field)).map_err(|_| BROKEN)?;
            return self.trailers(id, is_ended && may_be, now);
        }
        let bytes_max = self.bounds.header_bytes_max;
        let mut head = HeadBuilder::default();
        self.decoder.decode(block, |field| head.take(field, bytes_max)).map_err(|_| BROKEN)?;
        self.last_stream = id;
        self.idle_frames.renew();
        if self.leaving == Leaving::Final {
            // The peer was told so, and asks elsewhere.
            self.streams.remember_reset(id);
            return Ok(None);
        }
        if self.streams.len() >= self.bounds.streams_max as usize {
            self.resets.spend(now)?;
            self.put_reset(id, ErrorCode::RefusedStream, !is_ended);
            return Ok(None);
        }
        let head = match head.finish(bytes_max) {
            Ok(head) if !is_ended || head.content_length.is_none_or(|length| length == 0) => head,
            Err(NoRequest::TooLarge) => {
                self.resets.spend(now)?;
                self.put_headers(id, &[Outgoing::Status(431)], true);
                if !is_ended {
                    self.put_reset(id, ErrorCode::NoError, true);
                }
                return Ok(None);
            }
            Ok(_) | Err(NoRequest::Malformed) => {
                self.resets.spend(now)?;
                self.put_reset(id, ErrorCode::ProtocolError, !is_ended);
                return Ok(None);
            }
        };
        let key = self.streams.insert(Stream {
            id,
            is_receiving: !is_ended,
            body_left: head.content_length,
            receive_window: ReceiveWindow::new(STREAM_WINDOW),
            send_window: SendWindow::new(self.first_send_window),
            pending: VecDeque::new(),
            end: None,
            is_queued: false,
        });
        Ok(Some(Event::Request { key, head, is_ended }))
    }

    /// Section 8.1: a second header block ends the stream.
    fn trailers<'a>(&mut self, id: u32, may_be: bool, now: Instant) -> Received<'a> {
        let Some(key) = self.streams.find(id) else {
            if self.streams.was_reset(id) {
                self.idle_frames.spend(now)?;
                return Ok(None);
            }
            return fail(ErrorCode::StreamClosed, "HEADERS on a closed stream");
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if !stream.is_receiving {
            return self.stream_error(key, ErrorCode::StreamClosed, now);
        }
        if !may_be || stream.body_left.is_some_and(|left| left > 0) {
            return self.stream_error(key, ErrorCode::ProtocolError, now);
        }
        stream.is_receiving = false;
        Ok(Some(Event::Body { key, bytes: &[], is_ended: true }))
    }

    /// Section 6.4.
    fn peer_resets<'a>(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Received<'a> {
        self.must_not_be_idle(header.stream)?;
        if payload.len() != 4 {
            return fail(ErrorCode::FrameSizeError, "RST_STREAM has four bytes");
        }
        let Some(key) = self.streams.find(header.stream) else {
            self.idle_frames.spend(now)?;
            return Ok(None);
        };
        // Asked for and taken back: work for us alone (CVE-2023-44487).
        self.resets.spend(now)?;
        self.remove(key);
        Ok(Some(Event::Reset { key }))
    }

    /// Section 6.9.
    fn window_update<'a>(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Received<'a> {
        let Some(increment) = frame::number(payload) else {
            return fail(ErrorCode::FrameSizeError, "WINDOW_UPDATE has four bytes");
        };
        let increment = increment & WINDOW_MAX;
        self.idle_frames.spend(now)?;
        if header.stream == 0 {
            if increment == 0 {
                return fail(ErrorCode::ProtocolError, "a window opened by nothing");
            }
            return match self.send_window.add(i64::from(increment)) {
                Ok(()) => Ok(None),
                Err(_) => fail(ErrorCode::FlowControlError, "a window without bound"),
            };
        }
        self.must_not_be_idle(header.stream)?;
        let Some(key) = self.streams.find(header.stream) else { return Ok(None) };
        if increment == 0 {
            return self.stream_error(key, ErrorCode::ProtocolError, now);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if stream.send_window.add(i64::from(increment)).is_err() {
            return self.stream_error(key, ErrorCode::FlowControlError, now);
        }
        self.queue_if_pending(key);
        Ok(None)
    }

    /// Section 6.5.
    fn settings(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        if header.stream != 0 {
            return fail(ErrorCode::ProtocolError, "SETTINGS on a stream");
        }
        if header.has(flag::ACK) {
            if !payload.is_empty() {
                return fail(ErrorCode::FrameSizeError, "an acknowledgement of SETTINGS is empty");
            }
            return Ok(self.idle_frames.spend(now)?);
        }
        if !payload.len().is_multiple_of(6) {
            return fail(ErrorCode::FrameSizeError, "SETTINGS come in six bytes each");
        }
        self.idle_frames.spend(now)?;
        let before = self.first_send_window;
        for (name, value) in frame::settings(payload) {
            match name {
                setting::HEADER_TABLE_SIZE => self.encoder.set_table_bytes_max(value),
                setting::ENABLE_PUSH if value > 1 => {
                    return fail(ErrorCode::ProtocolError, "ENABLE_PUSH is 0 or 1");
                }
                setting::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                    return fail(ErrorCode::FlowControlError, "a window without bound");
                }
                setting::INITIAL_WINDOW_SIZE => self.first_send_window = value,
                setting::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return fail(ErrorCode::ProtocolError, "MAX_FRAME_SIZE is out of bounds");
                }
                setting::MAX_FRAME_SIZE => {
                    self.sent_payload_max = value.min(SENT_PAYLOAD_MAX) as usize;
                }
                // We push nothing, open no streams and send few headers.
                _ => {}
            }
        }
        self.resize_windows(i64::from(self.first_send_window) - i64::from(before))?;
        frame::put_settings_ack(self.output.buffer());
        self.phase = Phase::Anything;
        Ok(())
    }

    /// Section 6.9.2: streams that are open change with what they began with.
    fn resize_windows(&mut self, change: i64) -> Result<(), Failure> {
        if change == 0 {
            return Ok(());
        }
        let mut grown = Vec::new();
        for (key, stream) in self.streams.iter_mut() {
            if stream.send_window.add(change).is_err() {
                return fail(ErrorCode::FlowControlError, "a window without bound");
            }
            grown.push(key);
        }
        for key in grown {
            self.queue_if_pending(key);
        }
        Ok(())
    }

    /// Section 6.7.
    fn pinged(&mut self, header: FrameHeader, payload: &[u8], now: Instant) -> Result<(), Failure> {
        if header.stream != 0 {
            return fail(ErrorCode::ProtocolError, "PING on a stream");
        }
        let Ok(payload) = payload.try_into() else {
            return fail(ErrorCode::FrameSizeError, "PING has eight bytes");
        };
        self.idle_frames.spend(now)?;
        if !header.has(flag::ACK) {
            frame::put_ping(self.output.buffer(), flag::ACK, payload);
        } else if payload == PING_DRAINED && self.leaving == Leaving::Warned {
            // Whatever it asked for before it heard has come by now.
            self.leaving = Leaving::Final;
            let out = self.output.buffer();
            frame::put_go_away(out, self.last_stream, ErrorCode::NoError, "");
        }
        Ok(())
    }

    /// Section 6.8.
    fn go_away(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Failure> {
        if header.stream != 0 {
            return fail(ErrorCode::ProtocolError, "GOAWAY on a stream");
        }
        if payload.len() < 8 {
            return fail(ErrorCode::FrameSizeError, "GOAWAY has eight bytes or more");
        }
        self.peer_leaves = true;
        Ok(())
    }

    /// Section 6.3: deprecated, checked, ignored.
    fn priority(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        if header.stream == 0 {
            return fail(ErrorCode::ProtocolError, "PRIORITY of no stream");
        }
        if payload.len() != 5 {
            return fail(ErrorCode::FrameSizeError, "PRIORITY has five bytes");
        }
        Ok(self.idle_frames.spend(now)?)
    }

    /// Section 5.1: on a stream that was never opened most frames are an error.
    fn must_not_be_idle(&self, id: u32) -> Result<(), Failure> {
        if id == 0 || id.is_multiple_of(2) || id > self.last_stream {
            return fail(ErrorCode::ProtocolError, "a frame on a stream that is not open");
        }
        Ok(())
    }

    /// Section 5.4.2.
    fn stream_error<'a>(&mut self, key: StreamKey, code: ErrorCode, now: Instant) -> Received<'a> {
        self.resets.spend(now)?;
        self.reset(key, code);
        Ok(Some(Event::Reset { key }))
    }
}
