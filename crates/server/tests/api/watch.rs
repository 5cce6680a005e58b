//! `etcdserverpb.Watch`: etcd's rules, one by one.

use crate::support::{
    MEMBER, Server, WatchStream, put_command, put_request, start, start_with, watch_request,
};
use driftless_kv::{Command, CompactionRequest};
use driftless_server::pb::{self, FilterType, WatchCreateRequest, request_op::Request as Op};
use driftless_server::{ConnectionLimits, Limits};
use std::time::Duration;
use tonic::Code;

const PUT: i32 = pb::EventType::Put as i32;
const DELETE: i32 = pb::EventType::Delete as i32;

fn event(kind: i32, key: &str, value: &str, revision: i64) -> (i32, String, String, i64) {
    (kind, key.to_owned(), value.to_owned(), revision)
}

/// Creates a watcher and takes the answer.
async fn create(stream: &mut WatchStream, create: WatchCreateRequest) -> i64 {
    stream.create(create).await;
    let created = stream.next().await;
    assert!(created.created && !created.canceled, "{created:?}");
    created.watch_id
}

#[tokio::test]
async fn ids_count_from_zero_and_events_come_after_created() {
    let server = start().await;
    server.put("k", "before").await;
    let mut stream = server.watch().await;
    stream.create(watch_request("k", "")).await;
    let created = stream.next().await;
    assert_eq!((created.watch_id, created.created), (0, true));
    let header = created.header.unwrap();
    assert_eq!((header.revision, header.member_id), (2, MEMBER));
    assert_eq!(create(&mut stream, watch_request("l", "")).await, 1);

    server.put("k", "v").await;
    let response = stream.next().await;
    assert_eq!((response.watch_id, response.header.unwrap().revision), (0, 3));
    assert_eq!(response.events.len(), 1);
    let kv = response.events[0].kv.as_ref().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    assert!(response.events[0].prev_kv.is_none());
    server.delete("k", "").await;
    assert_eq!(stream.events().await, [event(DELETE, "k", "", 4)]);
}

#[tokio::test]
async fn history_is_read_from_any_revision_that_is_left() {
    let server = start().await;
    for n in 2..=9 {
        server.put("k", &n.to_string()).await;
    }
    let mut stream = server.watch().await;
    create(&mut stream, WatchCreateRequest { start_revision: 7, ..watch_request("k", "") }).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(stream.events().await);
    }
    server.put("k", "10").await;
    seen.extend(stream.events().await);
    let expected: Vec<_> = (7..=10).map(|n| event(PUT, "k", &n.to_string(), n)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watcher_of_the_future_waits_for_it() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, WatchCreateRequest { start_revision: 4, ..watch_request("k", "") }).await;
    for n in 2..=4 {
        server.put("k", &n.to_string()).await;
    }
    assert_eq!(stream.events().await, [event(PUT, "k", "4", 4)]);
}

#[tokio::test]
async fn a_compacted_start_is_created_then_cancelled() {
    let server = start().await;
    for n in 2..=6 {
        server.put("k", &n.to_string()).await;
    }
    server.compact(5).await;
    let mut stream = server.watch().await;
    create(&mut stream, WatchCreateRequest { start_revision: 3, ..watch_request("k", "") }).await;
    let canceled = stream.next().await;
    assert!(canceled.canceled && !canceled.created);
    assert_eq!((canceled.watch_id, canceled.compact_revision), (0, 5));
    // The compacted revision itself is left.
    create(&mut stream, WatchCreateRequest { start_revision: 5, ..watch_request("k", "") }).await;
    assert_eq!(stream.events().await, [event(PUT, "k", "5", 5), event(PUT, "k", "6", 6)]);
    // A negative start is before all history.
    stream.create(WatchCreateRequest { start_revision: -1, ..watch_request("k", "") }).await;
    let refused = stream.next().await;
    assert!(refused.created && refused.canceled);
    assert_eq!(refused.watch_id, -1);
    assert_eq!(refused.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test]
async fn bad_watchers_are_created_and_cancelled_with_id_minus_one() {
    let server = start().await;
    let mut stream = server.watch().await;
    let id = create(&mut stream, WatchCreateRequest { watch_id: 7, ..watch_request("a", "") });
    assert_eq!(id.await, 7);
    for (bad, reason) in [
        (
            WatchCreateRequest { watch_id: 7, ..watch_request("b", "") },
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
        (watch_request("b", "a"), "mvcc: watcher range is empty"),
        (watch_request("b", "b"), "mvcc: watcher range is empty"),
    ] {
        stream.create(bad).await;
        let refused = stream.next().await;
        assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
        assert_eq!(refused.cancel_reason, reason);
    }
    // Ids that the server chooses step over those that clients chose.
    for id in [0, 1, 2, 3, 4, 5, 6, 8] {
        assert_eq!(create(&mut stream, watch_request("c", "")).await, id);
    }
}

#[tokio::test]
async fn a_cancelled_watcher_is_silent_and_the_others_go_on() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("a", "")).await;
    create(&mut stream, watch_request("a", "b")).await;
    stream.cancel(0).await;
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled, canceled.created), (0, true, false));
    assert_eq!((canceled.compact_revision, &*canceled.cancel_reason), (0, ""));
    // Nobody answers for a watcher that is not there.
    stream.cancel(0).await;
    server.put("a", "1").await;
    let response = stream.next().await;
    assert_eq!((response.watch_id, response.events.len()), (1, 1));
}

#[tokio::test]
async fn an_id_can_be_given_again_once_its_watcher_is_gone() {
    let server = start().await;
    let mut stream = server.watch().await;
    for key in ["a", "b"] {
        let request = WatchCreateRequest { watch_id: 7, ..watch_request(key, "") };
        assert_eq!(create(&mut stream, request).await, 7);
        server.put("a", "1").await;
        server.put("b", "2").await;
        let response = stream.next().await;
        assert_eq!((response.watch_id, response.events.len()), (7, 1));
        assert_eq!(response.events[0].kv.as_ref().unwrap().key, key);
        stream.cancel(7).await;
        assert!(stream.next().await.canceled);
    }
}

#[tokio::test]
async fn filters_hold_back_and_a_batch_without_the_rest_is_not_sent() {
    let server = start().await;
    let mut stream = server.watch().await;
    let filtered = |filter: FilterType| WatchCreateRequest {
        filters: vec![filter as i32],
        ..watch_request("k", "")
    };
    create(&mut stream, filtered(FilterType::Noput)).await;
    create(&mut stream, filtered(FilterType::Nodelete)).await;
    server.put("k", "1").await;
    server.delete("k", "").await;
    server.put("k", "2").await;
    server.delete("k", "").await;
    let mut seen = [Vec::new(), Vec::new()];
    while seen[0].len() < 2 || seen[1].len() < 2 {
        let response = stream.next().await;
        assert!(!response.events.is_empty(), "nothing but filtered events is not sent");
        for event in &response.events {
            seen[response.watch_id as usize]
                .push((event.r#type, event.kv.as_ref().unwrap().mod_revision));
        }
    }
    assert_eq!(seen, [vec![(DELETE, 3), (DELETE, 5)], vec![(PUT, 2), (PUT, 4)]]);
}

#[tokio::test]
async fn prev_kv_is_what_was_there_before() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, WatchCreateRequest { prev_kv: true, ..watch_request("k", "") }).await;
    server.put("k", "1").await;
    server.put("k", "2").await;
    server.delete("k", "").await;
    server.put("k", "3").await;
    let mut previous = Vec::new();
    while previous.len() < 4 {
        for event in stream.next().await.events {
            previous.push(event.prev_kv.map(|kv| (kv.value, kv.mod_revision)));
        }
    }
    assert_eq!(previous, [None, Some(("1".into(), 2)), Some(("2".into(), 3)), None]);
}

#[tokio::test]
async fn a_revision_comes_whole_and_in_order() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("\0", "\0")).await;
    let put = |key: &str| pb::RequestOp { request: Some(Op::RequestPut(put_request(key, "v"))) };
    let txn = pb::TxnRequest {
        success: ["c", "a", "b"].iter().map(|key| put(key)).collect(),
        ..pb::TxnRequest::default()
    };
    server.kv().txn(txn).await.unwrap();
    let expected = ["c", "a", "b"].map(|key| event(PUT, key, "v", 2));
    assert_eq!(stream.events().await, expected);
    server.delete("a", "c").await;
    assert_eq!(stream.events().await, [event(DELETE, "a", "", 3), event(DELETE, "b", "", 3)]);
}

#[tokio::test]
async fn manual_progress_is_answered_once_all_are_up_to_date() {
    let server = start().await;
    for n in 2..=200 {
        server.put("k", &n.to_string()).await;
    }
    let mut stream = server.watch().await;
    create(&mut stream, WatchCreateRequest { start_revision: 2, ..watch_request("k", "") }).await;
    stream.create(watch_request("k", "")).await;
    stream.progress().await;
    stream.progress().await;
    let mut last = 1;
    let progress = loop {
        let response = stream.next().await;
        if response.created {
            continue;
        }
        if response.events.is_empty() {
            break response;
        }
        last = response.events.last().unwrap().kv.as_ref().unwrap().mod_revision;
    };
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 200));
    assert_eq!(last, 200, "everything up to the progress came before it");
    server.put("k", "201").await;
    // The second request may have found its own answer or shared the first.
    let mut next = stream.next().await;
    if next.events.is_empty() {
        assert_eq!((next.watch_id, next.header.unwrap().revision), (-1, 200));
        next = stream.next().await;
    }
    assert_eq!(next.events[0].kv.as_ref().unwrap().mod_revision, 201);
}

#[tokio::test]
async fn periodic_progress_comes_to_those_who_asked_and_heard_nothing() {
    let limits = Limits { progress_interval: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    server.put("other", "1").await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "")).await;
    let notify = WatchCreateRequest { progress_notify: true, ..watch_request("k", "") };
    create(&mut stream, notify).await;
    let progress = stream.next().await;
    assert_eq!((progress.watch_id, progress.events.len()), (1, 0));
    assert_eq!(progress.header.unwrap().revision, 2);
    server.put("other", "2").await;
    assert_eq!(stream.next().await.header.unwrap().revision, 3);
}

#[tokio::test]
async fn half_closing_keeps_the_stream_open() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "")).await;
    let WatchStream { requests, responses } = stream;
    drop(requests);
    // The answer to another call comes after the server saw the half-close.
    server.put("warm", "up").await;
    server.put("k", "v").await;
    let (requests, _) = tokio::sync::mpsc::channel(1);
    let mut stream = WatchStream { requests, responses };
    assert_eq!(stream.events().await, [event(PUT, "k", "v", 3)]);
}

/// Writes more than all queues between hub and client hold, reads none of it,
/// then finds every event in its place.
#[tokio::test]
async fn a_slow_client_loses_nothing() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "l")).await;
    let value = "v".repeat(64 << 10);
    let count = 400;
    for n in 0..count {
        server.put(&format!("k{n}"), &value).await;
    }
    let metrics = driftless_server::render_metrics(&server.services);
    let slow = metrics.lines().find(|line| line.starts_with("etcd_debugging_mvcc_slow_watcher"));
    assert_eq!(
        slow,
        Some("etcd_debugging_mvcc_slow_watcher_total 1"),
        "25 MiB must not fit between hub and client"
    );
    let mut next = 2;
    while next < count + 2 {
        for event in stream.next().await.events {
            assert_eq!(event.kv.unwrap().mod_revision, next);
            next += 1;
        }
    }
    server.put("k", "last").await;
    assert_eq!(stream.events().await, [event(PUT, "k", "last", count + 2)]);
}

#[tokio::test]
async fn a_slow_client_is_told_when_its_history_is_compacted() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "l")).await;
    let value = "v".repeat(64 << 10);
    for n in 0..400 {
        server.put(&format!("k{n}"), &value).await;
    }
    server.compact(401).await;
    let mut next = 2;
    let canceled = loop {
        let response = stream.next().await;
        if response.canceled {
            break response;
        }
        for event in response.events {
            assert_eq!(event.kv.unwrap().mod_revision, next);
            next += 1;
        }
    };
    assert_eq!((canceled.watch_id, canceled.compact_revision), (0, 401));
    assert!(next < 401, "it was cancelled because something was gone");
}

/// Who reads at once what is sent to it is not slow, however late we send it.
#[tokio::test]
async fn a_compaction_does_not_cancel_who_is_up_to_date() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "")).await;
    let mut batch: Vec<Command> = (2..=100).map(|n| put_command("k", &n.to_string())).collect();
    batch.push(Command::Compact(CompactionRequest { revision: 100, physical: true }));
    server.backend.apply_at_once(&batch);
    for n in 101..=300 {
        server.put("other", &n.to_string()).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 99 {
        seen.extend(stream.events().await);
    }
    let expected: Vec<_> = (2..=100).map(|n| event(PUT, "k", &n.to_string(), n)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn who_waits_for_the_future_is_not_told_of_the_past() {
    let limits = Limits { progress_interval: Duration::from_millis(50), ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    let mut stream = server.watch().await;
    let notify = WatchCreateRequest { progress_notify: true, ..watch_request("k", "") };
    let future = WatchCreateRequest { start_revision: 4, ..notify.clone() };
    create(&mut stream, future).await;
    create(&mut stream, notify).await;
    for put in 2..=3 {
        for _round in 0..2 {
            let progress = stream.next().await;
            assert_eq!((progress.watch_id, progress.events.len()), (1, 0));
        }
        server.put("other", &put.to_string()).await;
    }
    server.put("other", "4").await;
    let mut told = stream.next().await;
    while told.watch_id == 1 {
        told = stream.next().await;
    }
    assert_eq!((told.watch_id, told.header.unwrap().revision), (0, 4));

    // Nor is the stream, when it asks.
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "")).await;
    create(&mut stream, WatchCreateRequest { start_revision: 6, ..watch_request("k", "") }).await;
    stream.progress().await;
    stream.cancel(1).await;
    let canceled = stream.next().await;
    assert!(canceled.canceled, "nothing was answered before: {canceled:?}");
    let progress = stream.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 4));
}

#[tokio::test]
async fn large_revisions_are_fragmented_where_that_is_wanted() {
    let server = start().await;
    // Five writes of one transaction with 300 KiB each, twice: with the previous
    // values that is 3 MiB of events in one revision.
    let txn = |fill: &str| pb::TxnRequest {
        success: (0..5)
            .map(|n| {
                let put = put_request(&format!("k{n}"), &fill.repeat(300 << 10));
                pb::RequestOp { request: Some(Op::RequestPut(put)) }
            })
            .collect(),
        ..pb::TxnRequest::default()
    };
    server.kv().txn(txn("a")).await.unwrap();
    server.kv().txn(txn("b")).await.unwrap();
    let mut stream = server.watch().await;
    let request = WatchCreateRequest {
        start_revision: 3,
        prev_kv: true,
        fragment: true,
        ..watch_request("k", "l")
    };
    create(&mut stream, request).await;
    let mut pieces = Vec::new();
    loop {
        let response = stream.next().await;
        pieces.push((response.events.len(), response.fragment));
        if !response.fragment {
            break;
        }
    }
    assert!(pieces.len() > 1, "{pieces:?}");
    assert_eq!(pieces.iter().map(|piece| piece.0).sum::<usize>(), 5);
}

#[tokio::test]
async fn a_stream_that_requires_a_leader_ends_without_one() {
    let limits = Limits { leader_patience: Duration::from_millis(50), ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    let mut demanding = WatchStream::open(&server.channel, true).await.unwrap();
    create(&mut demanding, watch_request("k", "")).await;
    let mut content = server.watch().await;
    create(&mut content, watch_request("k", "")).await;

    server.backend.set_leader(None);
    let status = demanding.responses.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    let status = match WatchStream::open(&server.channel, true).await {
        Err(status) => status,
        Ok(mut stream) => stream.responses.message().await.unwrap_err(),
    };
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    server.put("k", "v").await;
    assert_eq!(content.events().await, [event(PUT, "k", "v", 2)]);
}

#[tokio::test]
async fn stopping_ends_streams_and_lets_calls_finish() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "")).await;
    server.put("k", "v").await;
    server.services.stop();
    server.stop.send_replace(true);
    // What was written before the end is still delivered, or the end comes first.
    let mut last = stream.responses.message().await;
    while matches!(last, Ok(Some(_))) {
        last = stream.responses.message().await;
    }
    let status = last.unwrap_err();
    assert_eq!(status.message(), "etcdserver: server stopped");
    assert!(new_connection(&server).await.is_err(), "nobody is let in any more");
}

async fn new_connection(server: &Server) -> std::io::Result<tokio::net::TcpStream> {
    // The listener is closed by a task of this runtime: let it come to it.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::net::TcpStream::connect(server.address).await
}

#[tokio::test]
async fn watchers_and_streams_are_counted_and_forgotten() {
    let server = start().await;
    let mut stream = server.watch().await;
    create(&mut stream, watch_request("k", "")).await;
    create(&mut stream, watch_request("k", "l")).await;
    let metrics = driftless_server::render_metrics(&server.services);
    assert!(metrics.contains("\netcd_debugging_mvcc_watcher_total 2\n"), "{metrics}");
    assert!(metrics.contains("\netcd_debugging_mvcc_watch_stream_total 1\n"), "{metrics}");
    drop(stream);
    for _ in 0..1000 {
        let metrics = driftless_server::render_metrics(&server.services);
        if metrics.contains("\netcd_debugging_mvcc_watcher_total 0\n") {
            assert!(metrics.contains("\netcd_debugging_mvcc_watch_stream_total 0\n"));
            return;
        }
        // Each call crosses the same connection as the reset of the stream.
        server.put("k", "v").await;
    }
    panic!("a stream that its client left was not forgotten");
}
