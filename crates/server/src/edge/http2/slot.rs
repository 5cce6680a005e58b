//! The place of a call on its connection, and what it is doing there.

use super::ready::{Bell, Ready};
use crate::edge::Work;
use crate::edge::calls::StreamCall;
use crate::grpc::{self, MessageBuffer, Method};
use crate::metrics::CallTimer;
use crate::service::Call;
use crate::status::{Code, Status};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A future that is looked at when it was woken, not at every turn.
pub(super) struct Alarm<T> {
    pub(super) future: T,
    bell: Arc<Bell>,
    waker: Waker,
}

/// The place of a call.
pub(super) struct Slot<F> {
    pub(super) state: State,
    /// Kept for the next call when it is done.
    pub(super) future: Option<Pin<Box<Option<F>>>>,
    pub(super) bell: Arc<Bell>,
    pub(super) waker: Waker,
}

pub(super) enum State {
    /// None, or one whose answer needs nothing more from here.
    Idle,
    /// Its request is not whole.
    Receiving(Box<Receiving>),
    /// It needs no body, and begins once that has ended: some clients do not bear to be
    /// answered before.
    Waiting { is_head: bool, work: Box<Work> },
    /// Its future goes on.
    Running { is_head: bool },
    /// It streams; so much of its body is unread.
    Streaming { call: StreamCall, unread: usize },
}

/// A unary call whose message is not whole.
pub(super) struct Receiving {
    pub(super) method: Method,
    pub(super) call: Call,
    pub(super) timer: CallTimer,
    pub(super) buffer: MessageBuffer,
    pub(super) message: Option<Bytes>,
    pub(super) bytes: usize,
}

impl<T> Alarm<T> {
    pub(super) fn new(future: T, ready: &Arc<Ready>, number: usize) -> Self {
        let bell = Bell::new(ready, number);
        Self { future, waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<T: Future + Unpin> Alarm<T> {
    /// Has it looked at as soon as can be.
    pub(super) fn ring(&self) {
        self.waker.wake_by_ref();
    }

    /// Looks at it; it rings when that is worth it again.
    pub(super) fn poll(&mut self) -> Poll<T::Output> {
        self.bell.quiet();
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&self.waker))
    }
}

impl<F> Slot<F> {
    pub(super) fn new(ready: &Arc<Ready>, number: usize) -> Self {
        let bell = Bell::new(ready, number);
        let waker = Waker::from(Arc::clone(&bell));
        Self { state: State::Idle, future: None, bell, waker }
    }
}

impl Receiving {
    /// Takes a piece of the body; the message, once the body has ended.
    pub(super) fn take(&mut self, bytes: &[u8], is_ended: bool) -> Result<Option<Bytes>, Status> {
        const SEVERAL: Status = Status::new(Code::Internal, "a unary request holds one message");
        if self.bytes == 0 && is_ended {
            if bytes.is_empty() {
                return Err(Status::new(Code::Internal, "the request holds no message"));
            }
            // The usual case: one piece, copied out of what all connections read into.
            return grpc::unframe_unary(bytes).map(|message| Some(Bytes::copy_from_slice(message)));
        }
        if !bytes.is_empty() {
            self.buffer.push(Bytes::copy_from_slice(bytes));
        }
        while let Some(whole) = self.buffer.next_message()? {
            if self.message.replace(whole).is_some() {
                return Err(SEVERAL);
            }
        }
        if !is_ended {
            return Ok(None);
        }
        if self.buffer.is_mid_message() {
            return Err(Status::new(Code::Internal, "the request ended within its message"));
        }
        let none = Status::new(Code::Internal, "the request holds no message");
        self.message.take().map(Some).ok_or(none)
    }
}
