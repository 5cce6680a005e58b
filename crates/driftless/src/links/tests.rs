//! Links over the loopback, against each other and against bare sockets.

use super::dial::dial;
use super::*;
use driftless_node::codec::frame::HEADER_BYTES;
use driftless_node::raft::NodeId;
use std::future::poll_fn;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// The shard's place: takes what links have to say.
struct Shard {
    world: Arc<LinkWorld>,
    messages: VecDeque<Message>,
}

impl Shard {
    fn new(limits: LinkLimits) -> Self {
        let inbox = Arc::new(Inbox::new(1 << 20));
        let world = Arc::new(LinkWorld::new(inbox, Arc::default(), limits));
        Self { world, messages: VecDeque::new() }
    }

    async fn next(&mut self) -> Message {
        let waiting = async {
            while self.messages.is_empty() {
                poll_fn(|context| self.world.inbox.poll_waiting(context)).await;
                let mut batch = Vec::new();
                self.world.inbox.take(&mut batch);
                self.messages.extend(batch);
            }
        };
        timeout(Duration::from_secs(20), waiting).await.expect("a link says nothing");
        self.messages.pop_front().unwrap()
    }

    async fn opened(&mut self) -> Arc<Link> {
        let Message::Opened(opened) = self.next().await else { panic!("not an opening") };
        match *opened {
            (PeerLink::Socket(link), Event::Accepted { .. } | Event::Connected { .. }) => link,
            _ => panic!("not an opening"),
        }
    }

    async fn event(&mut self) -> Event {
        match self.next().await {
            Message::Event(event) => *event,
            _ => panic!("not an event"),
        }
    }

    async fn frame(&mut self) -> Bytes {
        match self.event().await {
            Event::Frame { frame, .. } => frame,
            _ => panic!("not a frame"),
        }
    }

    async fn closed(&mut self, link: &Link) {
        match self.event().await {
            Event::Closed { link: closed } => assert_eq!(closed, link.id()),
            _ => panic!("not a closing"),
        }
    }

    /// Accepts links in the background.
    async fn listen(&self) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(accept(self.world.clone(), listener)))
    }
}

fn limits() -> LinkLimits {
    LinkLimits { redial_max: Duration::from_millis(20), ..LinkLimits::default() }
}

fn frame(body: &[u8]) -> Frame {
    let mut header = vec![0; HEADER_BYTES];
    let len = u32::try_from(HEADER_BYTES + body.len()).unwrap();
    header[..4].copy_from_slice(&len.to_le_bytes());
    Frame { parts: vec![header.into(), Bytes::copy_from_slice(body)] }
}

fn wire(body: &[u8]) -> Vec<u8> {
    frame(body).parts.concat()
}

#[tokio::test]
async fn frames_cross_in_order_many_a_system_call() {
    let mut caller = Shard::new(limits());
    let mut callee = Shard::new(limits());
    let (address, _accepting) = callee.listen().await;
    tokio::spawn(dial(caller.world.clone(), NodeId(2), address.to_string()));
    let out = caller.opened().await;
    let back = callee.opened().await;

    out.queue(frame(b"hello"));
    out.flush();
    assert_eq!(callee.frame().await, wire(b"hello"));
    back.queue(frame(b"welcome"));
    back.flush();
    assert_eq!(caller.frame().await, wire(b"welcome"));

    // More than the socket takes at once, so that the link's task has its part.
    let bodies: Vec<Vec<u8>> = (0..4_000_u32).map(|n| vec![n as u8; n as usize]).collect();
    for body in &bodies {
        out.queue(frame(body));
    }
    out.flush();
    for body in &bodies {
        assert_eq!(callee.frame().await, wire(body));
    }
    let metrics = caller.world.counters.read();
    assert_eq!(metrics.frames_out, 4_001);
    assert!(metrics.writes_out < 1_000, "{} system calls", metrics.writes_out);
    assert_eq!(callee.world.counters.read().bytes_in, metrics.bytes_out);
}

#[tokio::test]
async fn a_closed_link_first_delivers_what_was_queued() {
    let mut caller = Shard::new(limits());
    let mut callee = Shard::new(limits());
    let (address, _accepting) = callee.listen().await;
    let dialling = tokio::spawn(dial(caller.world.clone(), NodeId(2), address.to_string()));
    let out = caller.opened().await;
    let back = callee.opened().await;
    back.queue(frame(b"go away"));
    back.close();
    assert_eq!(caller.frame().await, wire(b"go away"));
    caller.closed(&out).await;
    callee.closed(&back).await;
    // It dials again, after a pause.
    caller.opened().await;
    callee.opened().await;
    dialling.abort();
}

#[tokio::test]
async fn a_lost_listener_is_dialled_until_it_is_back() {
    let mut caller = Shard::new(limits());
    let mut callee = Shard::new(limits());
    let (address, accepting) = callee.listen().await;
    tokio::spawn(dial(caller.world.clone(), NodeId(2), address.to_string()));
    let out = caller.opened().await;
    let back = callee.opened().await;
    accepting.abort();
    caller.closed(&out).await;
    callee.closed(&back).await;
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(accept(callee.world.clone(), listener));
    let out = caller.opened().await;
    callee.opened().await;
    out.queue(frame(b"again"));
    out.flush();
    assert_eq!(callee.frame().await, wire(b"again"));
}

#[tokio::test]
async fn what_is_no_frame_ends_the_link_but_not_what_came_before() {
    let mut callee = Shard::new(limits());
    let (address, _accepting) = callee.listen().await;
    let mut stranger = TcpStream::connect(address).await.unwrap();
    let link = callee.opened().await;
    let mut bytes = wire(b"good");
    bytes.extend_from_slice(&[0xff; 64]);
    stranger.write_all(&bytes).await.unwrap();
    assert_eq!(callee.frame().await, wire(b"good"));
    callee.closed(&link).await;
    let mut rest = Vec::new();
    // End of stream or a reset; either way the other side is gone.
    let _ = stranger.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn half_a_frame_is_no_frame() {
    let mut callee = Shard::new(limits());
    let (address, _accepting) = callee.listen().await;
    let mut stranger = TcpStream::connect(address).await.unwrap();
    let link = callee.opened().await;
    let bytes = wire(b"cut short");
    stranger.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    drop(stranger);
    callee.closed(&link).await;
}

#[tokio::test]
async fn who_does_not_greet_is_shown_out() {
    let mut callee =
        Shard::new(LinkLimits { handshake_max: Duration::from_millis(20), ..limits() });
    let (address, _accepting) = callee.listen().await;
    let mut stranger = TcpStream::connect(address).await.unwrap();
    let link = callee.opened().await;
    stranger.write_all(&wire(b"hello")[..7]).await.unwrap();
    callee.closed(&link).await;
}

#[tokio::test]
async fn links_beyond_the_limit_are_refused_until_one_ends() {
    let mut callee = Shard::new(LinkLimits { accepted_max: 2, ..limits() });
    let (address, _accepting) = callee.listen().await;
    let first = TcpStream::connect(address).await.unwrap();
    let one = callee.opened().await;
    let _second = TcpStream::connect(address).await.unwrap();
    callee.opened().await;
    let mut third = TcpStream::connect(address).await.unwrap();
    let refused = third.read(&mut [0; 1]).await;
    assert!(matches!(refused, Ok(0) | Err(_)), "the third is not served");
    drop(first);
    callee.closed(&one).await;
    // The place is free once the ended link's task is gone: a matter of turns.
    loop {
        let mut fourth = TcpStream::connect(address).await.unwrap();
        let mut byte = [0; 1];
        tokio::select! {
            _ = callee.opened() => break,
            end = fourth.read(&mut byte) => {
                assert!(matches!(end, Ok(0) | Err(_)), "refused, not served");
            }
        }
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_loses_its_link() {
    let stall = LinkLimits { stall_max: Duration::from_millis(50), ..limits() };
    let full = LinkLimits { queue_bytes_max: 8 << 20, ..limits() };
    for limits in [stall, full] {
        let mut callee = Shard::new(limits);
        let (address, _accepting) = callee.listen().await;
        let _stranger = TcpStream::connect(address).await.unwrap();
        let link = callee.opened().await;
        for _ in 0..32 {
            link.queue(frame(&vec![0; 1 << 20]));
            link.flush();
        }
        callee.closed(&link).await;
    }
}
