//! What carries calls between a connection and the services.

use crate::backend::Backend;
use crate::grpc::{MessageBuffer, Method};
use crate::metrics::CallTimer;
use crate::service::{Call, Requests, Services};
use crate::status::{Code, Status};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::{mpsc, oneshot};

/// Framed messages that may wait for a slow client on a stream.
const STREAM_QUEUE: usize = 4;

/// A unary call.
pub(super) async fn unary<B: Backend>(
    services: &Services<B>,
    method: Method,
    message: Bytes,
    call: Call,
    mut timer: CallTimer,
) -> Result<Bytes, Status> {
    let answer = services.unary(method, message, call).await;
    timer.end(answer.as_ref().map_or_else(|status| status.code, |_| Code::Ok));
    answer
}

/// A call that streams, as its connection sees it. The call itself is a task of its
/// own; when this is dropped it learns that the client is gone.
pub(super) struct StreamCall {
    requests: Arc<Mutex<Body>>,
    frames: mpsc::Receiver<Bytes>,
    ended: oneshot::Receiver<Status>,
}

/// What a call that streams has for its client.
pub(super) enum Outcome {
    /// A framed message.
    Frame(Bytes),
    /// There will be no more.
    End(Status),
}

/// A request's body, between the connection and the call that reads it.
#[derive(Default)]
struct Body {
    unread: BytesMut,
    /// Read, and not yet told to the client, who may send as much again.
    read_bytes: usize,
    /// No more will come: it ended so, or broke.
    end: Option<BodyEnd>,
    reader: Option<Waker>,
    connection: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyEnd {
    Whole,
    Broken,
}

impl StreamCall {
    /// Starts the call.
    pub(super) fn start<B: Backend>(services: Services<B>, method: Method, call: Call) -> Self {
        let (responses, frames) = mpsc::channel(STREAM_QUEUE);
        let (end, ended) = oneshot::channel();
        let body = Arc::new(Mutex::new(Body::default()));
        let requests = BodyRequests { body: Arc::clone(&body), buffer: MessageBuffer::default() };
        tokio::spawn(async move {
            let mut timer = CallTimer::begin(services.metrics(), method);
            let status = match services.stream(method, requests, responses, call).await {
                Ok(()) => Status::new(Code::Ok, ""),
                Err(status) => status,
            };
            timer.end(status.code);
            let _ = end.send(status);
        });
        Self { requests: body, frames, ended }
    }

    /// The client has sent more of its requests, perhaps the last.
    pub(super) fn push(&mut self, bytes: &[u8], is_ended: bool) {
        let mut body = self.requests.lock();
        body.unread.extend_from_slice(bytes);
        if is_ended {
            body.end = Some(BodyEnd::Whole);
        }
        body.wake_reader();
    }

    /// How many bytes the call has read since it was last asked.
    pub(super) fn take_read_bytes(&mut self) -> usize {
        std::mem::take(&mut self.requests.lock().read_bytes)
    }

    /// What it has next. Wakes for that, and when it has read something.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        {
            let mut body = self.requests.lock();
            if !body.connection.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                body.connection = Some(context.waker().clone());
            }
        }
        if let Some(frame) = std::task::ready!(self.frames.poll_recv(context)) {
            return Poll::Ready(Outcome::Frame(frame));
        }
        let ended = std::task::ready!(std::pin::Pin::new(&mut self.ended).poll(context));
        let unsaid = Status::new(Code::Unknown, "the call ended without saying how");
        Poll::Ready(Outcome::End(ended.unwrap_or(unsaid)))
    }
}

impl Drop for StreamCall {
    fn drop(&mut self) {
        let mut body = self.requests.lock();
        body.end.get_or_insert(BodyEnd::Broken);
        body.wake_reader();
    }
}

impl Body {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Everything that is there; `None` if no more will come.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if !self.unread.is_empty() {
            let piece = self.unread.split().freeze();
            self.read_bytes += piece.len();
            if let Some(connection) = &self.connection {
                connection.wake_by_ref();
            }
            return Poll::Ready(Ok(Some(piece)));
        }
        match self.end {
            Some(BodyEnd::Whole) => Poll::Ready(Ok(None)),
            Some(BodyEnd::Broken) => {
                Poll::Ready(Err(Status::new(Code::Canceled, "context canceled")))
            }
            None => {
                self.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The messages in a body, for the call that reads them.
struct BodyRequests {
    body: Arc<Mutex<Body>>,
    buffer: MessageBuffer,
}

impl Requests for BodyRequests {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.buffer.next_message()? {
                return Ok(Some(message));
            }
            match poll_fn(|context| self.body.lock().poll_piece(context)).await? {
                Some(piece) => self.buffer.push(piece),
                None if self.buffer.is_mid_message() => {
                    return Err(Status::new(Code::Internal, "the stream ended within a message"));
                }
                None => return Ok(None),
            }
        }
    }
}
