//! Three members over real sockets and real files.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use driftless::{Bytes, Handle, NodeId, NodeOptions, RequestError, Role, Running};
use driftless_node::raft::Index;
use std::time::Duration;
use support::{Cluster, Scroll, contents, quick, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Snapshots early and often, kept apart from what followers may still want.
fn hasty(id: NodeId) -> NodeOptions {
    NodeOptions {
        snapshot_every_entries: 40,
        retained_entries: 5,
        snapshot_chunk_bytes: 16 << 10,
        ..quick(id)
    }
}

/// The same, and nobody is waited for with the log.
fn forgetful(id: NodeId) -> NodeOptions {
    let mut options = hasty(id);
    options.raft.catch_up_entries_max = 5;
    options
}

fn commands(count: usize) -> Vec<Bytes> {
    (0..count).map(|n| Bytes::from(vec![n as u8; 1_000])).collect()
}

/// Waits until the log of `node` begins at `first` or later.
async fn lets_go_before(node: &Handle<Scroll>, first: Index) {
    let deadline = soon();
    while node.status().first_index < first {
        assert!(Instant::now() < deadline, "{:?}", node.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn any_member_takes_any_request() {
    let cluster = Cluster::new(3, quick);
    let running = cluster.start_all();
    for (n, node) in running.iter().enumerate() {
        let applied = node.handle().propose(format!("{n}").into(), soon()).await.unwrap();
        assert_eq!(applied.reply, (n + 1).to_string());
    }
    for node in &running {
        assert_eq!(contents(&node.handle()).await, ["0", "1", "2"]);
    }
    let metrics = running[0].handle().metrics();
    assert!(metrics.fsyncs > 0 && metrics.applied == 3 && metrics.bytes_in > 0, "{metrics:?}");
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_follower_that_was_away_is_caught_up_by_a_snapshot() {
    let cluster = Cluster::new(3, forgetful);
    let mut running = cluster.start_all();
    let handle = running[0].handle();
    handle.propose(commands(1).remove(0), soon()).await.unwrap();
    running.pop().unwrap().stop().await;

    let wanted = commands(300);
    for command in &wanted[1..] {
        handle.propose(command.clone(), soon()).await.unwrap();
    }
    for node in &running {
        lets_go_before(&node.handle(), Index(50)).await;
    }
    let back = cluster.start(3).unwrap();
    assert_eq!(contents(&back.handle()).await, wanted);
    assert!(back.handle().metrics().snapshots_loaded > 0, "it came by entries alone");
    running.push(back);

    // All start again from their snapshots and what follows them.
    for node in running.drain(..) {
        node.stop().await;
    }
    running = cluster.start_all();
    for node in &running {
        assert_eq!(contents(&node.handle()).await, wanted);
        assert!(node.handle().metrics().snapshots_loaded > 0);
    }
    for node in running {
        node.stop().await;
    }
}

/// A leader is what everybody waits for, and a snapshot is the largest thing that it
/// could send: another member does, if it has a link to the one that needs it by then.
#[tokio::test]
async fn a_follower_sends_the_snapshot_and_the_leader_none_of_it() {
    let cluster = Cluster::new(3, |id| {
        let mut options = forgetful(id);
        // However busy the machine, the same member leads.
        options.raft.election_timeout_us = 3_000_000;
        options
    });
    let mut running = cluster.start_all();
    running[0].handle().propose("first".into(), soon()).await.unwrap();
    let leads = |node: &Running<Scroll>| node.handle().status().role == Role::Leader;
    let at = running.iter().position(leads).expect("it took a command");
    let leader = running.remove(at);
    let mut away = running.remove(0);
    let other = running.remove(0);
    let (head, other_handle) = (leader.handle(), other.handle());
    let away_id = away.node_id().0;
    let mut wanted = vec![Bytes::from("first")];
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = head.metrics().snapshot_chunks_sent;
        away.stop().await;
        for command in commands(300) {
            head.propose(command.clone(), soon()).await.unwrap();
            wanted.push(command);
        }
        lets_go_before(&head, Index(wanted.len() as u64 - 200)).await;
        assert_eq!(contents(&other_handle).await, wanted, "it holds what a snapshot must cover");
        away = cluster.start(away_id).unwrap();
        assert_eq!(contents(&away.handle()).await, wanted);
        assert!(away.handle().metrics().snapshots_received > 0, "it came by entries alone");
        assert!(leads(&leader), "{:?}", head.status());
        if head.metrics().snapshot_chunks_sent == before {
            break;
        }
        // It met the leader before it met the other, who could not send it anything.
        assert!(Instant::now() < deadline, "{:?}", other_handle.metrics());
    }
    // It may have the last piece before the other is told so.
    while other_handle.metrics().snapshots_sent_for_leader == 0 {
        assert!(Instant::now() < deadline, "{:?}", other_handle.metrics());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for node in [leader, other, away] {
        node.stop().await;
    }
}

#[tokio::test]
async fn without_a_quorum_requests_end_at_their_deadline() {
    let cluster = Cluster::new(3, quick);
    let alone = cluster.start(1).unwrap();
    let handle = alone.handle();
    let deadline = Instant::now() + Duration::from_millis(100);
    let (write, read) =
        tokio::join!(handle.propose("x".into(), deadline), handle.read_barrier(deadline));
    assert_eq!(write, Err(RequestError::NoLeader));
    assert_eq!(read, Err(RequestError::NoLeader));
    assert!(Instant::now() >= deadline);
    alone.stop().await;
}

#[tokio::test]
async fn a_command_that_is_too_large_is_refused_by_name() {
    let cluster = Cluster::new(1, quick);
    let node = cluster.start(1).unwrap();
    let bytes_max = quick(NodeId(1)).command_bytes_max;
    let bytes = bytes_max + 1;
    let refused = node.handle().propose(vec![0; bytes].into(), soon()).await;
    assert_eq!(refused, Err(RequestError::TooLarge { bytes, bytes_max }));
    node.handle().propose(vec![0; bytes_max].into(), soon()).await.unwrap();
    node.stop().await;
}

/// On the runtime of whoever embeds it: the way a server shares the thread.
#[tokio::test]
async fn a_node_runs_on_the_callers_runtime() {
    let cluster = Cluster::new(1, quick);
    let node = cluster.builder(1).start_on_current().unwrap();
    node.handle().propose("here".into(), soon()).await.unwrap();
    assert_eq!(contents(&node.handle()).await, ["here"]);
    let waiting = tokio::spawn({
        let handle = node.handle();
        async move { handle.stop().await }
    });
    assert_eq!(node.wait().await, Ok(()));
    waiting.await.unwrap();
}

/// Whatever a stranger writes on the peer port, it is shown out and the members
/// go on.
#[tokio::test]
async fn strangers_on_the_peer_port_do_no_harm() {
    let cluster = Cluster::new(3, quick);
    let running = cluster.start_all();
    running[0].handle().propose("before".into(), soon()).await.unwrap();
    let too_long = u32::MAX.to_le_bytes().repeat(8);
    let frame_of_noise = [&64_u32.to_le_bytes()[..], &[0xa5; 60]].concat();
    let empty = 0_u32.to_le_bytes().repeat(5);
    let noises = [b"GET / HTTP/1.1\r\n\r\n".repeat(9), too_long, frame_of_noise, empty];
    for node in &running {
        for noise in &noises {
            let mut stranger = TcpStream::connect(node.peer_address()).await.unwrap();
            stranger.write_all(noise).await.unwrap();
            let mut answer = Vec::new();
            // The end of the stream, or a reset: never a wait.
            let end = stranger.read_to_end(&mut answer);
            let _ = tokio::time::timeout_at(soon(), end).await.expect("it is shown out");
        }
    }
    running[0].handle().propose("after".into(), soon()).await.unwrap();
    for node in &running {
        assert_eq!(contents(&node.handle()).await, ["before", "after"]);
    }
    for node in running {
        node.stop().await;
    }
}
