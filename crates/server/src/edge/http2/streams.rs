//! The streams of a connection, RFC 9113 section 5.1.

use super::flow::{ReceiveWindow, SendWindow};
use crate::status::Status;
use bytes::Bytes;
use slab::Slab;
use std::collections::VecDeque;

/// A stream that is open, to whoever answers it. Used anew once it is closed.
pub(super) type StreamKey = usize;

/// How many streams that we reset are remembered, so that what was on its way to
/// them is ignored (section 5.1, "closed").
const RESET_REMEMBERED: usize = 1024;

/// A stream with something left to receive or to send.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// The peer may send more.
    pub(super) is_receiving: bool,
    /// What is left of a body whose length was announced.
    pub(super) body_left: Option<u64>,
    pub(super) receive_window: ReceiveWindow,
    pub(super) send_window: SendWindow,
    /// What a window, or a full buffer, keeps from being sent.
    pub(super) pending: VecDeque<Bytes>,
    /// How it ends behind that.
    pub(super) end: Option<End>,
    /// It stands in the queue of those that wait for the connection.
    pub(super) is_queued: bool,
}

/// What ends an answer.
#[derive(Debug)]
pub(super) enum End {
    /// The last of its body.
    Bare,
    /// A status in the trailers.
    Trailers(Status),
}

/// All open streams, found by key or by number.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Slab<Stream>,
    /// In the order of their numbers, which is that of their beginnings.
    by_id: VecDeque<(u32, StreamKey)>,
    /// The numbers of some that are closed.
    reset: VecDeque<u32>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a stream whose number is above all others'.
    pub(super) fn insert(&mut self, stream: Stream) -> StreamKey {
        debug_assert!(self.by_id.back().is_none_or(|(id, _)| *id < stream.id));
        let id = stream.id;
        let key = self.slots.insert(stream);
        self.by_id.push_back((id, key));
        key
    }

    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        // A body follows its head at once, as a rule.
        let newest = *self.by_id.back()?;
        if newest.0 == id {
            return Some(newest.1);
        }
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.by_id[at].1)
    }

    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key)
    }

    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream)> {
        self.slots.iter_mut()
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        let stream = self.slots.try_remove(key)?;
        if let Ok(at) = self.by_id.binary_search_by_key(&stream.id, |(id, _)| *id) {
            self.by_id.remove(at);
        }
        Some(stream)
    }

    /// Remembers that frames for this stream may still be on their way.
    pub(super) fn remember_reset(&mut self, id: u32) {
        if self.reset.len() == RESET_REMEMBERED {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
    }

    /// The peer cannot know yet that this stream is closed.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.reset.contains(&id)
    }
}
