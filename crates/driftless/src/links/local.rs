//! Links between members of one process: a frame goes from one shard's turn into
//! the other's queue, encoded as on a socket, without a task or a system call.

use crate::inbox::{Inbox, Message};
use crate::links::PeerLink;
use driftless_node::raft::NodeId;
use driftless_node::{Event, Frame, LinkId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One end of a link.
pub(crate) struct LocalLink {
    id: LinkId,
    here: Arc<Inbox>,
    there: Arc<Inbox>,
    /// Either end may end it.
    is_closed: Arc<AtomicBool>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    frames: Vec<Event>,
    bytes: usize,
}

/// Links `from` with `to`, which is member `peer`'s: `from` is the one that dials.
pub(crate) fn connect(id: LinkId, from: &Arc<Inbox>, to: &Arc<Inbox>, peer: NodeId) {
    let is_closed = Arc::new(AtomicBool::new(false));
    let end = |here: &Arc<Inbox>, there: &Arc<Inbox>| {
        let (here, there, is_closed) = (here.clone(), there.clone(), is_closed.clone());
        PeerLink::Local(LocalLink { id, here, there, is_closed, queue: Mutex::default() })
    };
    // First the end that waits: the other greets at once.
    to.push(Message::opened(end(to, from), Event::Accepted { link: id }));
    from.push(Message::opened(end(from, to), Event::Connected { link: id, peer }));
}

impl LocalLink {
    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    pub(crate) fn queue(&self, frame: Frame) {
        let mut parts = frame.parts;
        let frame = match &mut parts[..] {
            [whole] => std::mem::take(whole),
            parts => parts.concat().into(),
        };
        let mut queue = self.queue.lock();
        queue.bytes += frame.len();
        queue.frames.push(Event::Frame { link: self.id, frame });
    }

    pub(crate) fn flush(&self) {
        let mut queue = self.queue.lock();
        let bytes = std::mem::take(&mut queue.bytes);
        if !self.is_closed.load(Ordering::Relaxed) {
            self.there.push_frames(queue.frames.drain(..), bytes);
        }
    }

    pub(crate) fn close(&self) {
        self.flush();
        if !self.is_closed.swap(true, Ordering::Relaxed) {
            for end in [&self.here, &self.there] {
                end.push(Message::event(Event::Closed { link: self.id }));
            }
        }
    }
}
