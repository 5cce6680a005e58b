//! Links to peers: one TCP stream per peer and direction.
//!
//! Each node dials every other and writes its frames on that stream; the one
//! who accepts only reads, but for its answer to the greeting. Frames are
//! opaque here: the handshake is the node's, this is plumbing with limits.
//!
//! The shard queues frames with [`Link::queue`] and writes them at the end of
//! its turn with [`Link::flush`], many a system call, without a task switch; a
//! task per link reads, and takes over writing while the socket is full.

mod accept;
mod cut;
mod dial;
mod local;

pub(crate) use accept::accept;
pub(crate) use dial::Dialler;
pub(crate) use local::{LocalLink, connect};

use crate::inbox::{Inbox, Message};
use crate::metrics::{Counters, add};
use bytes::{Buf, Bytes};
use cut::Cutter;
use driftless_node::{Event, Frame, LinkId};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// A link as the shard has it: over a socket, or to another member in this
/// process.
pub(crate) enum PeerLink {
    Socket(Arc<Link>),
    Local(LocalLink),
}

impl PeerLink {
    pub(crate) fn id(&self) -> LinkId {
        match self {
            Self::Socket(link) => link.id(),
            Self::Local(link) => link.id(),
        }
    }

    /// The name of its other end, for people.
    pub(crate) fn other_end(&self) -> String {
        match self {
            Self::Socket(link) => link.other_end(),
            Self::Local(_) => "this process".to_owned(),
        }
    }

    /// Queues a frame.
    pub(crate) fn queue(&self, frame: Frame) {
        match self {
            Self::Socket(link) => link.queue(frame),
            Self::Local(link) => link.queue(frame),
        }
    }

    /// Sends what was queued.
    pub(crate) fn flush(&self) {
        match self {
            Self::Socket(link) => link.flush(),
            Self::Local(link) => link.flush(),
        }
    }

    /// Ends the link once what was queued is sent.
    pub(crate) fn close(&self) {
        match self {
            Self::Socket(link) => link.close(),
            Self::Local(link) => link.close(),
        }
    }
}

/// What all links of a node share.
pub(crate) struct LinkWorld {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: LinkLimits,
    next_id: AtomicU64,
}

/// Bounds on what a peer, or somebody who claims to be one, can take.
#[derive(Clone, Debug)]
pub(crate) struct LinkLimits {
    /// Bytes that may wait to be written to one link.
    pub(crate) queue_bytes_max: usize,
    /// A link that takes nothing for this long is given up.
    pub(crate) stall_max: Duration,
    /// A connection must be made, and greeted, within this.
    pub(crate) handshake_max: Duration,
    /// Links that others may have open to this node.
    pub(crate) accepted_max: usize,
    /// The first pause before dialling again.
    pub(crate) redial_min: Duration,
    /// The longest pause before dialling again.
    pub(crate) redial_max: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            queue_bytes_max: 64 << 20,
            stall_max: Duration::from_secs(5),
            handshake_max: Duration::from_secs(5),
            accepted_max: 256,
            redial_min: Duration::from_millis(10),
            redial_max: Duration::from_millis(500),
        }
    }
}

impl LinkWorld {
    pub(crate) fn new(inbox: Arc<Inbox>, counters: Arc<Counters>, limits: LinkLimits) -> Self {
        Self { inbox, counters, limits, next_id: AtomicU64::new(1) }
    }
}

/// One open stream, as the shard sees it.
pub(crate) struct Link {
    id: LinkId,
    write: OwnedWriteHalf,
    outbound: Mutex<Outbound>,
    /// Tells the link's task that the socket is full or the link shall end.
    changed: Notify,
    queue_bytes_max: usize,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Outbound {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Ends once the queue is empty.
    closing: bool,
    ended: Option<LinkEnd>,
}

/// Why a link ended.
#[derive(Clone, Debug)]
enum LinkEnd {
    /// The other side closed it.
    ByPeer,
    /// The node closed it.
    ByNode,
    /// The socket failed.
    Socket(io::ErrorKind),
    /// What came is not a stream of frames.
    Malformed(String),
    /// No first frame came in time.
    NoGreeting,
    /// Nothing could be written for too long.
    Stalled,
    /// More waits to be written than may.
    QueueFull(usize),
}

impl LinkEnd {
    /// Whether links end so when members come and go, of which the node tells.
    fn is_ordinary(&self) -> bool {
        matches!(self, Self::ByPeer | Self::ByNode | Self::Socket(_))
    }
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByPeer => f.write_str("the other side closed it"),
            Self::ByNode => f.write_str("closed by this node"),
            Self::Socket(kind) => write!(f, "the connection failed: {kind}"),
            Self::Malformed(why) => write!(f, "what came is no peer frame: {why}"),
            Self::NoGreeting => f.write_str("no greeting came in time"),
            Self::Stalled => f.write_str("the other side takes nothing any more"),
            Self::QueueFull(bytes) => write!(f, "{bytes} bytes wait to be written, too many"),
        }
    }
}

/// How a link fared, for whoever dialled it.
struct LinkReport {
    end: LinkEnd,
    /// Whether a first frame came back.
    greeted: bool,
    lived: Duration,
}

/// Slices in one vectored write.
const SLICES_MAX: usize = 64;

impl Link {
    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// The address of its other end, for people.
    pub(crate) fn other_end(&self) -> String {
        peer_address(self.write.as_ref())
    }

    /// Queues a frame. Over the bound the link ends: a peer that far behind is
    /// better served anew.
    pub(crate) fn queue(&self, frame: Frame) {
        let mut outbound = self.outbound.lock();
        if outbound.ended.is_some() || outbound.closing {
            return;
        }
        outbound.bytes += frame.len();
        if outbound.bytes > self.queue_bytes_max {
            let bytes = outbound.bytes;
            self.end(&mut outbound, LinkEnd::QueueFull(bytes));
            return;
        }
        add(&self.counters.frames_out, 1);
        outbound.queue.extend(frame.parts.into_iter().filter(|part| !part.is_empty()));
    }

    /// Ends the link once what was queued is written.
    pub(crate) fn close(&self) {
        let mut outbound = self.outbound.lock();
        outbound.closing = true;
        if outbound.queue.is_empty() {
            self.end(&mut outbound, LinkEnd::ByNode);
        } else {
            self.changed.notify_one();
        }
    }

    /// Writes as much as the socket takes now; the link's task writes the rest
    /// when it can.
    pub(crate) fn flush(&self) {
        if self.write_some() {
            self.changed.notify_one();
        }
    }

    /// Writes until the queue is empty (false) or the socket is full (true).
    fn write_some(&self) -> bool {
        let mut outbound = self.outbound.lock();
        while !outbound.queue.is_empty() && outbound.ended.is_none() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, part) in slices.iter_mut().zip(&outbound.queue) {
                *slice = IoSlice::new(part);
                count += 1;
            }
            match self.write.try_write_vectored(&slices[..count]) {
                Ok(written) => {
                    add(&self.counters.writes_out, 1);
                    add(&self.counters.bytes_out, written as u64);
                    outbound.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end(&mut outbound, LinkEnd::Socket(error.kind())),
            }
        }
        if outbound.closing {
            self.end(&mut outbound, LinkEnd::ByNode);
        }
        false
    }

    fn end(&self, outbound: &mut Outbound, end: LinkEnd) {
        if outbound.ended.is_none() {
            outbound.ended = Some(end);
            outbound.queue.clear();
            // What the kernel holds is still sent; reading ends at once.
            let socket = socket2::SockRef::from(self.write.as_ref());
            let _ = socket.shutdown(Shutdown::Both);
            self.changed.notify_one();
        }
    }

    /// Writes what the shard could not, until the link ends.
    async fn write_when_full(&self, stall_max: Duration) -> LinkEnd {
        loop {
            self.changed.notified().await;
            while self.write_some() {
                match timeout(stall_max, self.write.writable()).await {
                    Err(_) => return LinkEnd::Stalled,
                    Ok(Err(error)) => return LinkEnd::Socket(error.kind()),
                    Ok(Ok(())) => {}
                }
            }
            if self.outbound.lock().ended.is_some() {
                return LinkEnd::ByNode; // The cause stands beside it.
            }
        }
    }
}

impl Outbound {
    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let front = self.queue.front_mut().expect("no more is written than was queued");
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }
}

/// Which way a link was opened.
#[derive(Clone, Copy)]
enum Way {
    Accepted,
    Dialled(driftless_node::raft::NodeId),
}

/// Runs a link from its opening to its end, telling the shard of both.
async fn run_link(world: &LinkWorld, stream: TcpStream, way: Way) -> LinkReport {
    let opened = Instant::now();
    let (mut read, write) = stream.into_split();
    let id = LinkId(world.next_id.fetch_add(1, Ordering::Relaxed));
    let link = Arc::new(Link {
        id,
        write,
        outbound: Mutex::default(),
        changed: Notify::new(),
        queue_bytes_max: world.limits.queue_bytes_max,
        counters: world.counters.clone(),
    });
    add(&world.counters.links_opened, 1);
    let event = match way {
        Way::Accepted => Event::Accepted { link: id },
        Way::Dialled(peer) => Event::Connected { link: id, peer },
    };
    // The shard hears of the end however this future ends.
    let closing = Closing { world, link: link.clone() };
    world.inbox.push(Message::opened(PeerLink::Socket(link.clone()), event));
    let mut greeted = false;
    let end = tokio::select! {
        biased;
        end = read_frames(world, &mut read, id, &mut greeted, opened) => end,
        end = link.write_when_full(world.limits.stall_max) => end,
    };
    // The first cause counts: ending a link also makes its reader see the end.
    let end = {
        let mut outbound = link.outbound.lock();
        link.end(&mut outbound, end);
        outbound.ended.clone().expect("it has just ended")
    };
    drop(closing);
    LinkReport { end, greeted, lived: opened.elapsed() }
}

struct Closing<'a> {
    world: &'a LinkWorld,
    link: Arc<Link>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.link.end(&mut self.link.outbound.lock(), LinkEnd::ByNode);
        self.world.inbox.push(Message::event(Event::Closed { link: self.link.id }));
    }
}

async fn read_frames(
    world: &LinkWorld,
    read: &mut OwnedReadHalf,
    link: LinkId,
    greeted: &mut bool,
    opened: Instant,
) -> LinkEnd {
    let mut cutter = Cutter::default();
    let mut frames = Vec::new();
    let greeting_until = opened + world.limits.handshake_max;
    loop {
        let room = cutter.room();
        let outcome = if *greeted {
            read.read_buf(room).await
        } else {
            match timeout_at(greeting_until, read.read_buf(room)).await {
                Ok(outcome) => outcome,
                Err(_) => return LinkEnd::NoGreeting,
            }
        };
        let bytes = match outcome {
            Ok(0) => return LinkEnd::ByPeer,
            Ok(bytes) => bytes,
            Err(error) => return LinkEnd::Socket(error.kind()),
        };
        let malformed = loop {
            match cutter.next() {
                Ok(Some(frame)) => frames.push(Event::Frame { link, frame }),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if !frames.is_empty() {
            *greeted = true;
            add(&world.counters.frames_in, frames.len() as u64);
        }
        add(&world.counters.bytes_in, bytes as u64);
        // What came before the fault is still good.
        world.inbox.push_frames(frames.drain(..), bytes);
        if let Some(error) = malformed {
            return LinkEnd::Malformed(error.to_string());
        }
        while world.inbox.is_full_of_frames() {
            tokio::task::yield_now().await;
        }
    }
}

/// Sets a fresh stream up: small writes leave at once, and a peer whose machine
/// died is noticed.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5));
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The address of the other end, for people.
fn peer_address(stream: &TcpStream) -> String {
    stream.peer_addr().as_ref().map_or_else(|_| "?".to_owned(), SocketAddr::to_string)
}

#[cfg(test)]
mod tests;
