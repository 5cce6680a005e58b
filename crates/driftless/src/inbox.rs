//! What waits for the node: one queue, filled from tasks and threads, emptied in
//! one go by the shard.
//!
//! Whatever has gathered is one batch; nobody waits for a batch to fill. Only
//! the first message into an empty queue wakes the shard, so a burst costs one
//! wake-up.

use crate::links::PeerLink;
use bytes::Bytes;
use driftless_node::{Answer, ClientRequest, Event, RequestError, RequestToken};
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::sync::oneshot;

/// One thing for the shard.
pub(crate) enum Message {
    /// Something happened. (Requests are many more, and are kept small.)
    Event(Box<Event>),
    /// A link came up; the event says which way.
    Opened(Box<(PeerLink, Event)>),
    /// A client wants a command applied.
    Propose { command: Bytes, deadline: Instant, answer: oneshot::Sender<Answer> },
    /// A client wants to read.
    Read { deadline: Instant, answer: oneshot::Sender<Answer> },
    /// A client wants something that is wanted seldom.
    Ask { request: MakeRequest, answer: oneshot::Sender<Answer> },
    /// Stop in order.
    Stop,
    /// A thread of this node panicked, and going on is not safe.
    Panicked(&'static str),
}

impl Message {
    /// That `event` happened.
    pub(crate) fn event(event: Event) -> Self {
        Self::Event(Box::new(event))
    }

    /// That `link` came up, as `event` says.
    pub(crate) fn opened(link: PeerLink, event: Event) -> Self {
        Self::Opened(Box::new((link, event)))
    }
}

/// Makes a request of the name that the shard gives it.
pub(crate) type MakeRequest = Box<dyn FnOnce(RequestToken) -> ClientRequest + Send>;

/// The queue.
pub(crate) struct Inbox {
    state: Mutex<State>,
    client_bytes_max: usize,
}

struct State {
    messages: Vec<Message>,
    /// Bytes of commands in `messages`, each request counted with its overhead.
    client_bytes: usize,
    /// Bytes of peers' frames in `messages`.
    link_bytes: usize,
    /// The sleeping shard.
    shard: Option<Waker>,
    closed: bool,
}

/// What a request costs in memory beside its command.
const REQUEST_OVERHEAD_BYTES: usize = 256;

/// Frames that may wait here before the links stop reading.
const LINK_BYTES_MAX: usize = 32 << 20;

impl Inbox {
    /// An empty queue that takes `client_bytes_max` of requests between two
    /// turns of the shard.
    pub(crate) fn new(client_bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                messages: Vec::new(),
                client_bytes: 0,
                link_bytes: 0,
                shard: None,
                closed: false,
            }),
            client_bytes_max,
        }
    }

    /// Queues one message. After [`Inbox::close`] it is dropped, and with it
    /// whoever waits for its answer is told.
    pub(crate) fn push(&self, message: Message) {
        self.change(|state| {
            if !state.closed {
                state.messages.push(message);
            }
        });
    }

    /// Queues events that come together, with one wake-up.
    pub(crate) fn push_events(&self, events: impl Iterator<Item = Event>) {
        self.change(|state| {
            if !state.closed {
                state.messages.extend(events.map(Message::event));
            }
        });
    }

    /// Queues frames of a link, `bytes` in all; they are accounted for.
    pub(crate) fn push_frames(&self, frames: impl Iterator<Item = Event>, bytes: usize) {
        self.change(|state| {
            if !state.closed {
                state.link_bytes += bytes;
                state.messages.extend(frames.map(Message::event));
            }
        });
    }

    /// Queues a client's request of `bytes`, unless too much waits already.
    pub(crate) fn push_request(&self, bytes: usize, message: Message) -> Result<(), RequestError> {
        self.change(|state| {
            if state.closed {
                return Err(RequestError::Stopped);
            }
            // One that is larger than the whole queue gets in when it is empty:
            // the node has the better answer.
            if state.client_bytes > 0 && state.client_bytes + bytes > self.client_bytes_max {
                return Err(RequestError::Busy);
            }
            state.client_bytes += bytes + REQUEST_OVERHEAD_BYTES;
            state.messages.push(message);
            Ok(())
        })
    }

    /// Whether links should stop reading for a moment.
    pub(crate) fn is_full_of_frames(&self) -> bool {
        self.state.lock().link_bytes > LINK_BYTES_MAX
    }

    /// Ready when something waits; otherwise `context` is woken once it does.
    pub(crate) fn poll_waiting(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.messages.is_empty() {
            return Poll::Ready(());
        }
        match &mut state.shard {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Moves all that waits into `batch`, which is empty.
    pub(crate) fn take(&self, batch: &mut Vec<Message>) {
        debug_assert!(batch.is_empty());
        let mut state = self.state.lock();
        std::mem::swap(&mut state.messages, batch);
        state.client_bytes = 0;
        state.link_bytes = 0;
    }

    /// Takes nothing more; what waits is dropped.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.messages)
        };
        drop(dropped);
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, shard) = {
            let mut state = self.state.lock();
            let result = change(&mut state);
            let shard = if state.messages.is_empty() { None } else { state.shard.take() };
            (result, shard)
        };
        if let Some(shard) = shard {
            shard.wake();
        }
        result
    }
}

/// Tells the shard if the thread that holds it panics.
pub(crate) struct Alarm {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) thread: &'static str,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inbox.push(Message::Panicked(self.thread));
        }
    }
}
