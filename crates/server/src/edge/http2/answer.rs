//! The sending half of a connection: answers in, frames out.

use super::connection::Connection;
use super::frame::{self, ErrorCode, flag, kind};
use super::hpack::Outgoing;
use super::streams::{End, StreamKey};
use crate::grpc::percent_encode;
use crate::status::{Code, Status};
use bytes::{Buf, Bytes};

/// With this much output waiting, bodies wait where they are.
const OUTPUT_ENOUGH: usize = 64 << 10;

/// The longest text in a status. Encoded, it fits a frame.
const MESSAGE_MAX: usize = 4096;

/// Where a frame's length stands that was written before its payload.
const LENGTH_BYTES: usize = 3;

impl Connection {
    /// Answers a call with one framed message and success.
    pub(super) fn answer(&mut self, key: StreamKey, message: Bytes) {
        self.begin_stream(key);
        let Some(stream) = self.streams.get_mut(key) else { return };
        let room = self.sent_payload_max.min(self.send_window.left());
        let fits = message.len() <= room.min(stream.send_window.left());
        if fits && self.queue.is_empty() && self.output.len() < OUTPUT_ENOUGH {
            // As a rule nothing keeps it.
            let out = self.output.buffer();
            frame::put_header(out, message.len(), kind::DATA, 0, stream.id);
            out.extend_from_slice(&message);
            self.send_window.take(message.len());
        } else {
            stream.pending.push_back(message);
            self.queue_if_pending(key);
        }
        self.finish(key, End::Trailers(Status::new(Code::Ok, "")));
    }

    /// Answers a call with a status alone.
    pub(super) fn refuse(&mut self, key: StreamKey, status: &Status) {
        let Some(stream) = self.streams.get(key) else { return };
        let id = stream.id;
        self.put_status(id, true, status);
        self.close(key);
    }

    /// Begins the answer of a call that streams.
    pub(super) fn begin_stream(&mut self, key: StreamKey) {
        self.begin(key, &[Outgoing::Status(200), Outgoing::GrpcContent]);
    }

    /// Begins an answer with these fields.
    pub(super) fn begin(&mut self, key: StreamKey, fields: &[Outgoing<'_>]) {
        if let Some(stream) = self.streams.get(key) {
            let id = stream.id;
            self.put_headers(id, fields, false);
        }
    }

    /// Sends more of an answer's body, or keeps it until it can be sent.
    pub(super) fn send(&mut self, key: StreamKey, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.pending.push_back(bytes);
        // Nobody overtakes those that wait for the connection.
        if self.queue.is_empty() {
            self.pump(key, usize::MAX);
        }
        self.queue_if_pending(key);
    }

    /// Ends an answer behind what was sent.
    pub(super) fn finish(&mut self, key: StreamKey, end: End) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.end = Some(end);
        if stream.pending.is_empty() {
            self.put_end(key);
        }
    }

    /// Whether nothing of this stream waits: it may send more. Otherwise it is
    /// [drained](Self::take_drained) when that is so.
    pub(super) fn is_clear(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.pending.is_empty())
    }

    /// Writes as much of what waits as there is room for, each stream in turn.
    pub(super) fn fill(&mut self) {
        while self.output.len() < OUTPUT_ENOUGH && self.send_window.left() > 0 {
            let Some(key) = self.queue.pop_front() else { return };
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_queued = false;
                self.pump(key, 1);
                if self.is_clear(key) {
                    self.drained.push(key);
                }
                self.queue_if_pending(key);
            }
        }
    }

    /// Streams that had to wait and are clear now.
    pub(super) fn take_drained(&mut self) -> Vec<StreamKey> {
        std::mem::take(&mut self.drained)
    }

    /// Queues a stream that waits for the connection, or may do so now.
    pub(super) fn queue_if_pending(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.pending.is_empty() && stream.send_window.left() > 0 && !stream.is_queued {
            stream.is_queued = true;
            self.queue.push_back(key);
        }
    }

    /// Sends up to so many frames of what a stream has pending, as far as windows and
    /// the output allow, and its end if that comes to be next.
    fn pump(&mut self, key: StreamKey, frames_max: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let mut frames = 0;
        while let Some(front) = stream.pending.front() {
            let room = self.sent_payload_max.min(self.send_window.left());
            let bytes = front.len().min(room).min(stream.send_window.left());
            if bytes == 0 || frames == frames_max || self.output.len() >= OUTPUT_ENOUGH {
                return;
            }
            frames += 1;
            let is_last = bytes == front.len() && stream.pending.len() == 1;
            let ends = is_last && matches!(stream.end, Some(End::Bare));
            let flags = if ends { flag::END_STREAM } else { 0 };
            let out = self.output.buffer();
            frame::put_header(out, bytes, kind::DATA, flags, stream.id);
            out.extend_from_slice(&front[..bytes]);
            if bytes == front.len() {
                stream.pending.pop_front();
            } else {
                stream.pending[0].advance(bytes);
            }
            stream.send_window.take(bytes);
            self.send_window.take(bytes);
            self.has_answered = true;
            if ends {
                return self.close(key);
            }
        }
        if stream.end.is_some() {
            self.put_end(key);
        }
    }

    fn put_end(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let id = stream.id;
        match stream.end.take() {
            Some(End::Trailers(status)) => self.put_status(id, false, &status),
            Some(End::Bare) => {
                frame::put_header(self.output.buffer(), 0, kind::DATA, flag::END_STREAM, id);
            }
            None => return,
        }
        self.close(key);
    }

    /// A status in trailers, or in headers where nothing was sent before it.
    fn put_status(&mut self, id: u32, is_alone: bool, status: &Status) {
        use Outgoing::{GrpcContent, GrpcOk, Status as Http, Text};
        if status.code == Code::Ok {
            let fields = [Http(200), GrpcContent, GrpcOk];
            return self.put_headers(id, if is_alone { &fields } else { &fields[2..] }, true);
        }
        let code = (status.code as u8).to_string();
        // Ours are short; what a client is told of its own words need not be long.
        let mut length = status.message.len().min(MESSAGE_MAX);
        while !status.message.is_char_boundary(length) {
            length -= 1;
        }
        let message = percent_encode(&status.message[..length]);
        let (code, message) =
            (Text("grpc-status", code.as_bytes()), Text("grpc-message", &message));
        let fields = [Http(200), GrpcContent, code, message];
        self.put_headers(id, if is_alone { &fields } else { &fields[2..] }, true);
    }

    /// A header block, in one frame: what we send is short.
    pub(super) fn put_headers(&mut self, id: u32, fields: &[Outgoing<'_>], ends_stream: bool) {
        self.has_answered = true;
        let out = self.output.buffer();
        let begin = out.len();
        let end = if ends_stream { flag::END_STREAM } else { 0 };
        frame::put_header(out, 0, kind::HEADERS, flag::END_HEADERS | end, id);
        self.encoder.encode(fields, out);
        let length = out.len() - begin - frame::HEADER_BYTES;
        let [_, length @ ..] = (length as u32).to_be_bytes();
        out[begin..begin + LENGTH_BYTES].copy_from_slice(&length);
    }

    /// We have sent the end of a stream.
    fn close(&mut self, key: StreamKey) {
        self.answered();
        if let Some(stream) = self.remove(key)
            && stream.is_receiving
        {
            // Section 8.1: the rest of the request is not needed.
            self.put_reset(stream.id, ErrorCode::NoError, true);
        }
    }
}
