//! A connection and its socket: one task reads what there is, starts every call that
//! is whole, goes on with every call that can, and writes all that came of it at once.
//!
//! Unary calls are futures that this task owns, each with a waker of its own; none of
//! them is a task. The memory of a call that has ended serves the next.

use super::connection::{Bounds, Connection, Event, Failure};
use super::frame::ErrorCode;
use super::hpack::Outgoing;
use super::ready::Ready;
use super::request::{RequestHead, Target, Verb};
use super::slot::{Alarm, Receiving, Slot, State};
use super::streams::{End, StreamKey};
use crate::backend::Backend;
use crate::edge::calls::{Outcome, StreamCall};
use crate::edge::{Answer, ConnectionLimits, Page, Work};
use crate::grpc::{self, Kind, MessageBuffer};
use crate::metrics::CallTimer;
use crate::service::{Call, Services};
use crate::status::{Code, Status};
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// What is read, or written, before others have their turn.
const TURN_BYTES: usize = 1 << 20;

/// What bodies that are not whole, or not read, may take on one connection.
const BODIES_MAX: usize = 64 << 20;

/// Calls whose memory is kept on a connection that has none.
const SLOTS_KEPT: usize = 64;

/// The numbers of what is no call.
const TIMER: usize = usize::MAX;
const STOP: usize = usize::MAX - 1;

thread_local! {
    /// What all connections of a thread read into, each in its turn.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side is gone.
    Gone,
    /// Everything is said.
    Said,
}

pub(super) struct Session<B, Io, A, F> {
    io: Io,
    services: Services<B>,
    answer: A,
    limits: ConnectionLimits,
    connection: Connection,
    /// The calls, by the keys of their streams.
    slots: Vec<Slot<F>>,
    /// What bodies take that are not whole, or not read.
    body_bytes: usize,
    /// The beginning of a frame whose end was not read yet.
    partial: Vec<u8>,
    failed: Option<Failure>,

    ready: Arc<Ready>,
    woken: Vec<usize>,
    stop: Alarm<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_stopping: bool,
    timer: Alarm<Pin<Box<Sleep>>>,
    now: Instant,
    opened: Instant,
    heard: Instant,
    pinged: Option<Instant>,
    amid_headers: Option<Instant>,
    stalled: Option<Instant>,
}

impl<B, Io, A, F> Session<B, Io, A, F>
where
    B: Backend,
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Services<B>, Work) -> F,
    F: Future<Output = Answer>,
{
    pub(super) fn new(
        io: Io,
        services: Services<B>,
        answer: A,
        limits: ConnectionLimits,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let ready = Arc::new(Ready::default());
        let now = Instant::now();
        let bounds = Bounds {
            streams_max: limits.streams_max,
            header_bytes_max: limits.header_bytes_max as usize,
        };
        let first_word = Box::pin(sleep_until(later(now, limits.first_word)));
        let stop: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(stop);
        let session = Self {
            io,
            services,
            answer,
            connection: Connection::new(bounds),
            limits,
            slots: Vec::new(),
            body_bytes: 0,
            partial: Vec::new(),
            failed: None,
            stop: Alarm::new(stop, &ready, STOP),
            is_stopping: false,
            timer: Alarm::new(first_word, &ready, TIMER),
            ready,
            woken: Vec::new(),
            now,
            opened: now,
            heard: now,
            pinged: None,
            amid_headers: None,
            stalled: None,
        };
        // Each is looked at once, and knows whom to wake.
        session.stop.ring();
        session.timer.ring();
        session
    }

    pub(super) fn into_io(self) -> Io {
        self.io
    }

    /// Goes on as far as it can.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.now = Instant::now();
        self.ready.listen(context.waker());
        if self.go_on_with_woken().is_err() {
            return Poll::Ready(Ended::Gone);
        }
        let Ok(is_more_read) = self.read(context) else { return Poll::Ready(Ended::Gone) };
        let is_held_back = !self.connection.wants_input();
        let Ok(is_more_written) = self.write(context) else { return Poll::Ready(Ended::Gone) };
        let is_free_again = is_held_back && self.connection.wants_input();
        let is_over = self.failed.is_some() || self.connection.is_done();
        if is_over && self.connection.output.len() == 0 {
            return Poll::Ready(Ended::Said);
        }
        self.set_timer();
        if self.slots.len() > SLOTS_KEPT && self.connection.streams.len() == 0 {
            self.slots.truncate(SLOTS_KEPT);
        }
        if is_more_read || is_more_written || is_free_again {
            // Others have their turn first.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// What was woken since the last time. Fails if this is no connection any more.
    fn go_on_with_woken(&mut self) -> Result<(), Ended> {
        let mut woken = std::mem::take(&mut self.woken);
        self.ready.take(&mut woken);
        for number in woken.drain(..) {
            match number {
                // Once: it may have been rung again while it was looked at.
                STOP if self.is_stopping => {}
                STOP => {
                    if self.stop.poll().is_ready() {
                        self.is_stopping = true;
                        self.connection.leave();
                    }
                }
                TIMER => self.check_time()?,
                key => self.go_on(key),
            }
        }
        self.woken = woken;
        Ok(())
    }

    /// Reads what there is and starts what is asked for; says whether there may be
    /// more at once.
    fn read(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut bytes = 0;
        while self.failed.is_none() && self.connection.wants_input() {
            if bytes >= TURN_BYTES {
                return Ok(true);
            }
            let mut scratch = SCRATCH.take();
            scratch.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(&mut scratch);
            let polled = Pin::new(&mut self.io).poll_read(context, &mut buffer);
            let length = buffer.filled().len();
            if length > 0 {
                self.take_in(&scratch[..length]);
            }
            SCRATCH.set(scratch);
            match polled {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if length == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Poll::Ready(Ok(())) => bytes += length,
            }
        }
        Ok(false)
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.heard = self.now;
        self.pinged = None;
        if self.partial.is_empty() {
            let rest = self.take_frames(bytes);
            self.partial.extend_from_slice(rest);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let rest = self.take_frames(&partial);
            self.partial.extend_from_slice(rest);
        }
        self.amid_headers = match self.amid_headers {
            _ if !self.connection.is_amid_headers() => None,
            since => since.or(Some(self.now)),
        };
    }

    /// Takes whole frames; what is left is the beginning of one.
    fn take_frames<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        loop {
            match self.connection.next(&mut bytes, self.now) {
                Ok(Some(Event::Request { key, head, is_ended })) => {
                    self.begin(key, head, is_ended);
                }
                Ok(Some(Event::Body { key, bytes, is_ended })) => {
                    self.take_body(key, bytes, is_ended);
                }
                Ok(Some(Event::Reset { key })) => self.forget(key),
                Ok(None) => return bytes,
                Err(failure) => {
                    log::debug!("a client breaks HTTP/2: {}", failure.reason);
                    self.failed = Some(failure);
                    return &[];
                }
            }
        }
    }

    fn begin(&mut self, key: StreamKey, head: RequestHead, is_ended: bool) {
        while self.slots.len() <= key {
            self.slots.push(Slot::new(&self.ready, self.slots.len()));
        }
        if !head.is_grpc || self.limits.operator_only {
            let path = match head.target {
                Target::Method(method) => format!("/{}/{}", method.service(), method.name()).into(),
                Target::Path(path) => path,
            };
            let is_head = head.verb == Verb::Head;
            let work = Work::Page { is_read: is_head || head.verb == Verb::Get, path };
            if is_ended {
                return self.run(key, is_head, work);
            }
            self.slots[key].state = State::Waiting { is_head, work: Box::new(work) };
            return;
        }
        let method = match head.target {
            Target::Method(method) => method,
            Target::Path(path) => {
                let status = Status::with(Code::Unimplemented, grpc::unknown_method(&path));
                return self.connection.refuse(key, &status);
            }
        };
        if head.verb != Verb::Post {
            let status = Status::new(Code::Unimplemented, "gRPC calls are made with POST");
            return self.connection.refuse(key, &status);
        }
        let call = Call::new(head.metadata, self.services.limits());
        match method.kind() {
            Kind::Unary => {
                let timer = CallTimer::begin(self.services.metrics(), method);
                let buffer = MessageBuffer::default();
                let receiving = Receiving { method, call, timer, buffer, message: None, bytes: 0 };
                self.slots[key].state = State::Receiving(Box::new(receiving));
                if is_ended {
                    self.take_body(key, &[], true);
                }
            }
            Kind::ServerStream | Kind::ClientStream | Kind::Bidirectional => {
                self.connection.begin_stream(key);
                let mut call = StreamCall::start(self.services.clone(), method, call);
                if is_ended {
                    call.push(&[], true);
                }
                self.slots[key].state = State::Streaming { call, unread: 0 };
                self.go_on(key);
            }
        }
    }

    fn take_body(&mut self, key: StreamKey, bytes: &[u8], is_ended: bool) {
        match &mut self.slots[key].state {
            State::Receiving(receiving) => match receiving.take(bytes, is_ended) {
                Ok(None) => {
                    receiving.bytes += bytes.len();
                    self.body_bytes += bytes.len();
                    self.connection.give_back(key, bytes.len());
                }
                Ok(Some(message)) => self.run_unary(key, message),
                Err(status) => {
                    receiving.timer.end(status.code);
                    self.forget(key);
                    self.connection.refuse(key, &status);
                }
            },
            State::Streaming { call, unread } => {
                *unread += bytes.len();
                self.body_bytes += bytes.len();
                call.push(bytes, is_ended);
            }
            // Nobody reads it.
            State::Waiting { .. } if is_ended => self.run_waiting(key),
            State::Idle | State::Waiting { .. } | State::Running { .. } => {
                self.connection.give_back(key, bytes.len());
            }
        }
        if self.body_bytes > BODIES_MAX {
            self.forget(key);
            self.connection.reset(key, ErrorCode::EnhanceYourCalm);
        }
    }

    fn run_unary(&mut self, key: StreamKey, message: Bytes) {
        let State::Receiving(receiving) =
            std::mem::replace(&mut self.slots[key].state, State::Idle)
        else {
            return;
        };
        self.body_bytes -= receiving.bytes;
        let Receiving { method, call, timer, .. } = *receiving;
        self.run(key, false, Work::Unary { method, message, call, timer });
    }

    fn run_waiting(&mut self, key: StreamKey) {
        if let State::Waiting { is_head, work } =
            std::mem::replace(&mut self.slots[key].state, State::Idle)
        {
            self.run(key, is_head, *work);
        }
    }

    fn run(&mut self, key: StreamKey, is_head: bool, work: Work) {
        let future = (self.answer)(self.services.clone(), work);
        let slot = &mut self.slots[key];
        match &mut slot.future {
            Some(place) => place.as_mut().set(Some(future)),
            none => *none = Some(Box::pin(Some(future))),
        }
        slot.state = State::Running { is_head };
        self.go_on(key);
    }

    /// Goes on with a call. One that is there no more was woken late.
    fn go_on(&mut self, key: StreamKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.bell.quiet();
        let mut context = Context::from_waker(&slot.waker);
        match &mut slot.state {
            State::Idle | State::Receiving(_) | State::Waiting { .. } => {}
            State::Running { is_head } => {
                let Some(place) = &mut slot.future else { return };
                let Some(future) = place.as_mut().as_pin_mut() else { return };
                let Poll::Ready(answer) = future.poll(&mut context) else { return };
                place.as_mut().set(None);
                let is_head = *is_head;
                slot.state = State::Idle;
                match answer {
                    Answer::Message(message) => self.connection.answer(key, message),
                    Answer::Refused(status) => self.connection.refuse(key, &status),
                    Answer::Page(page) => self.answer_page(key, is_head, page),
                }
            }
            State::Streaming { call, unread } => {
                let read_bytes = call.take_read_bytes();
                *unread -= read_bytes;
                self.body_bytes -= read_bytes;
                self.connection.give_back(key, read_bytes);
                while self.connection.is_clear(key) {
                    match call.poll_next(&mut context) {
                        Poll::Pending => return,
                        Poll::Ready(Outcome::Frame(frame)) => self.connection.send(key, frame),
                        Poll::Ready(Outcome::End(status)) => {
                            self.forget(key);
                            return self.connection.finish(key, End::Trailers(status));
                        }
                    }
                }
            }
        }
    }

    /// Drops a call.
    fn forget(&mut self, key: StreamKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(place) = &mut slot.future {
            place.as_mut().set(None);
        }
        match std::mem::replace(&mut slot.state, State::Idle) {
            State::Idle | State::Waiting { .. } | State::Running { .. } => {}
            State::Receiving(receiving) => self.body_bytes -= receiving.bytes,
            State::Streaming { unread, .. } => self.body_bytes -= unread,
        }
    }

    fn answer_page(&mut self, key: StreamKey, is_head: bool, page: Page) {
        let length = page.text.len().to_string();
        let mut fields = vec![
            Outgoing::Status(page.status),
            Outgoing::Text("content-type", page.content_type.as_bytes()),
            Outgoing::Text("content-length", length.as_bytes()),
        ];
        if let Some(allow) = page.allow {
            fields.push(Outgoing::Text("allow", allow.as_bytes()));
        }
        self.connection.begin(key, &fields);
        if !is_head {
            self.connection.send(key, page.text);
        }
        self.connection.finish(key, End::Bare);
    }

    /// Writes what there is; says whether there may be more at once.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut bytes = 0;
        loop {
            self.connection.fill();
            for key in self.connection.take_drained() {
                self.go_on(key);
            }
            let rest = self.connection.output.rest();
            if rest.is_empty() {
                self.stalled = None;
                return Ok(false);
            }
            if bytes >= TURN_BYTES {
                return Ok(true);
            }
            match Pin::new(&mut self.io).poll_write(context, rest) {
                Poll::Pending => {
                    self.stalled.get_or_insert(self.now);
                    return Ok(false);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(sent)) => {
                    bytes += sent;
                    self.stalled = None;
                    self.connection.output.advance(sent);
                }
            }
        }
    }

    /// Something may be overdue. Fails if the peer is given up.
    fn check_time(&mut self) -> Result<(), Ended> {
        if self.timer.poll().is_pending() {
            return Ok(());
        }
        let is_over = |since: Option<Instant>, bound: Duration| {
            since.is_some_and(|since| self.now.saturating_duration_since(since) >= bound)
        };
        let opening = (!self.connection.is_open()).then_some(self.opened);
        if is_over(opening, self.limits.first_word)
            || is_over(self.amid_headers, self.limits.first_word)
            || is_over(self.stalled, self.limits.write_timeout)
            || is_over(self.pinged, self.limits.ping_timeout)
        {
            return Err(Ended::Gone);
        }
        if self.pinged.is_none()
            && !self.limits.ping_interval.is_zero()
            && is_over(Some(self.heard), self.limits.ping_interval)
        {
            self.connection.ping();
            self.pinged = Some(self.now);
        }
        Ok(())
    }

    /// Sees to it that [`Self::check_time`] is called when the next thing is overdue.
    /// A timer that is early is left alone, for that costs less than to move it.
    fn set_timer(&mut self) {
        let limits = &self.limits;
        let opening = (!self.connection.is_open()).then_some(self.opened);
        let due = match self.pinged {
            Some(pinged) => later(pinged, limits.ping_timeout),
            // As in etcd, none asks for none.
            None if limits.ping_interval.is_zero() => later(self.heard, Duration::MAX),
            None => later(self.heard, limits.ping_interval),
        };
        let due = [
            opening.map(|since| later(since, limits.first_word)),
            self.amid_headers.map(|since| later(since, limits.first_word)),
            self.stalled.map(|since| later(since, limits.write_timeout)),
        ]
        .into_iter()
        .flatten()
        .fold(due, Instant::min);
        if due < self.timer.future.deadline() || self.timer.future.is_elapsed() {
            self.timer.future.as_mut().reset(due);
            // Looked at once, it knows whom to wake.
            if self.timer.poll().is_ready() {
                self.timer.ring();
            }
        }
    }
}

/// An operator may ask for any time; a year is for ever.
fn later(since: Instant, time: Duration) -> Instant {
    since + time.min(Duration::from_secs(365 * 24 * 3600))
}
