//! HTTP/2 over a socket: with a client written by others, and with bytes by hand.

use crate::support::{Server, put_request, range_request, start, start_with};
use bytes::Bytes;
use driftless_server::grpc::{MESSAGE_BYTES_MAX, encode};
use driftless_server::{Backend, ConnectionLimits, Limits, pb};
use h2::client::SendRequest;
use http::{Method, Request};
use prost::Message;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
/// How many puts ended without an answer.
const CANCELED: &str = "grpc_server_handled_total{grpc_type=\"unary\",\
    grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_code=\"Canceled\"}";
const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client with these windows.
async fn connect(server: &Server, window: u32, connection_window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(connection_window)
        .handshake(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// Makes a call whose body is sent in pieces; its messages and its status.
async fn call(
    client: &SendRequest<Bytes>,
    path: &str,
    body: Bytes,
    piece: usize,
) -> Result<(Vec<u8>, String), h2::Error> {
    let request = Request::post(format!("http://x{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await?;
    let (response, mut sending) = client.send_request(request, false)?;
    let pieces: Vec<Bytes> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
    for (number, bytes) in (1..).zip(&pieces) {
        sending.send_data(bytes.clone(), number == pieces.len())?;
    }
    let (head, mut body) = response.await?.into_parts();
    assert_eq!(head.status, 200);
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?;
    let status = trailers.unwrap_or(head.headers)["grpc-status"].to_str().unwrap().to_owned();
    Ok((bytes, status))
}

fn range_response(frame: &[u8]) -> pb::RangeResponse {
    assert_eq!(frame[0], 0);
    assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - 5);
    pb::RangeResponse::decode(&frame[5..]).unwrap()
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let server = start().await;
    let client = connect(&server, 1 << 20, 1 << 20).await;
    let mut calls = JoinSet::new();
    for number in 0..1_000 {
        let client = client.clone();
        calls.spawn(async move {
            let (key, value) = (format!("key {number}"), format!("value {number}"));
            let put = encode(&put_request(&key, &value));
            assert_eq!(call(&client, PUT, put, 1 << 14).await.unwrap().1, "0");
            let range = encode(&range_request(&key, ""));
            let (frame, status) = call(&client, RANGE, range, 1 << 14).await.unwrap();
            assert_eq!(status, "0");
            let response = range_response(&frame);
            assert_eq!(response.kvs.len(), 1);
            assert_eq!(response.kvs[0].value, value.as_bytes());
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn large_answers_pass_through_small_windows_beside_each_other() {
    let server = start().await;
    for number in 0..8 {
        server.put(&format!("k{number}"), &"x".repeat(200_000)).await;
    }
    let client = connect(&server, 5_000, 70_000).await;
    let range = encode(&range_request("k", "l"));
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let (client, range) = (client.clone(), range.clone());
        calls.spawn(async move { call(&client, RANGE, range, 3).await.unwrap() });
    }
    while let Some(ended) = calls.join_next().await {
        let (frame, status) = ended.unwrap();
        assert_eq!(status, "0");
        let response = range_response(&frame);
        assert_eq!(response.kvs.len(), 8);
        assert!(response.kvs.iter().all(|kv| kv.value.len() == 200_000));
    }
}

#[tokio::test]
async fn requests_may_come_in_any_pieces_and_no_larger_than_allowed() {
    let server = start().await;
    let client = connect(&server, 1 << 20, 1 << 20).await;
    let put = encode(&put_request("large", &"v".repeat(1_500_000)));
    let (_, status) = call(&client, PUT, put, 12_345).await.unwrap();
    assert_eq!(status, "0");
    for piece in 1..8 {
        let put = encode(&put_request("small", "value"));
        assert_eq!(call(&client, PUT, put, piece).await.unwrap().1, "0");
    }
    assert_eq!(server.backend.reader().revision(), 9);

    // Refused by its prefix, before its body has come.
    let mut body = vec![0];
    body.extend((MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes());
    body.resize(100_000, 0);
    let (frame, status) = call(&client, PUT, body.into(), 1_000).await.unwrap();
    assert_eq!((frame.len(), status.as_str()), (0, "8"));
    // Two messages, half a message, none.
    let two = [&encode(&put_request("a", "b"))[..]; 2].concat();
    let half = encode(&put_request("a", "b")).slice(..7);
    for wrong in [two.into(), half, Bytes::from_static(b"\0")] {
        for piece in [4, 100] {
            let (_, status) = call(&client, PUT, Bytes::clone(&wrong), piece).await.unwrap();
            assert_eq!(status, "13", "{wrong:?} in pieces of {piece}");
        }
    }
    assert_eq!(server.backend.reader().revision(), 9);
}

#[tokio::test]
async fn pages_are_served_beside_calls() {
    let server = start().await;
    let client = connect(&server, 1 << 20, 1 << 20).await;
    let page = async |method: Method, path: &str| {
        let request =
            Request::builder().method(method).uri(format!("http://x{path}")).body(()).unwrap();
        let (response, _) = client.clone().send_request(request, true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            text.extend_from_slice(&piece.unwrap());
        }
        (head, String::from_utf8(text).unwrap())
    };
    let (head, text) = page(Method::GET, "/version").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "application/json");
    assert_eq!(head.headers["content-length"], text.len().to_string());
    assert!(text.starts_with("{\"etcdserver\":"), "{text}");
    let (head, text) = page(Method::HEAD, "/version").await;
    assert_eq!((head.status.as_u16(), text.as_str()), (200, ""));
    assert_ne!(head.headers["content-length"], "0");
    // Nobody reads it, and it is waited for.
    let request = Request::post("http://x/version").body(()).unwrap();
    let (mut answer, mut body) = client.clone().send_request(request, false).unwrap();
    for _ in 0..3 {
        body.send_data(Bytes::from(vec![0; 1_000_000]), false).unwrap();
        assert!(timeout(Duration::from_millis(20), &mut answer).await.is_err());
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 405);
    let (head, _) = page(Method::POST, "/version").await;
    assert_eq!((head.status.as_u16(), &head.headers["allow"]), (405, &"GET".parse().unwrap()));
    assert_eq!(page(Method::GET, "/livez?verbose").await.1.lines().count(), 2);
    assert_eq!(page(Method::GET, "/nothing").await.0.status, 404);
    assert_eq!(page(Method::GET, "/etcdserverpb.KV/Range").await.0.status, 404);
    assert!(page(Method::GET, "/metrics").await.1.contains("etcd_server_has_leader 1\n"));
}

#[tokio::test]
async fn a_port_for_operators_serves_no_calls() {
    let limits = ConnectionLimits { operator_only: true, ..ConnectionLimits::default() };
    let server = start_with(Limits::default(), limits).await;
    let error = server.kv().range(range_request("k", "")).await.unwrap_err();
    assert!(error.message().contains("405"), "{error:?}");
}

#[tokio::test]
async fn a_call_that_is_taken_back_leaves_nothing() {
    let server = start().await;
    let client = connect(&server, 1 << 20, 1 << 20).await;
    let begin = |path: &str| {
        let request = Request::post(format!("http://x{path}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        client.clone().send_request(request, false).unwrap()
    };
    let (answer, mut sending) = begin("/etcdserverpb.Watch/Watch");
    answer.await.unwrap();
    let (unfinished, mut half) = begin(PUT);
    half.send_data(Bytes::from_static(b"\0\0\0"), false).unwrap();
    let streams = "etcd_debugging_mvcc_watch_stream_total";
    timeout(SOON, async {
        while server.metric(streams) != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sending.send_reset(h2::Reason::CANCEL);
        half.send_reset(h2::Reason::CANCEL);
        while server.metric(streams) != "0" || server.metric(CANCELED) != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    unfinished.await.unwrap_err();
    let range = encode(&range_request("k", ""));
    assert_eq!(call(&client, RANGE, range, 100).await.unwrap().1, "0");
}

#[tokio::test]
async fn bodies_that_never_end_are_not_kept_without_bound() {
    let server = start().await;
    let client = connect(&server, 1 << 20, 1 << 20).await;
    let begun = Bytes::from([&b"\0\0\x16\0\0"[..], &vec![0; 900_000]].concat());
    let mut calls = JoinSet::new();
    let mut bodies = Vec::new();
    for _ in 0..100 {
        let request = Request::post(format!("http://x{PUT}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let (answer, mut sending) = client.clone().send_request(request, false).unwrap();
        sending.send_data(begun.clone(), false).unwrap();
        bodies.push(sending);
        calls.spawn(answer);
    }
    // 64 MiB are 74 of them.
    for _ in 0..26 {
        let ended = timeout(SOON, calls.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(ended.unwrap_err().reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    }
    let range = encode(&range_request("k", ""));
    assert_eq!(call(&client, RANGE, range, 100).await.unwrap().1, "0");
    assert!(calls.try_join_next().is_none(), "the others are waited for");
    // What the others take is theirs no more once they are taken back.
    drop(bodies);
    drop(calls);
    timeout(SOON, async {
        while server.metric(CANCELED) != "100" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let put = encode(&put_request("large", &"v".repeat(1_500_000)));
    assert_eq!(call(&client, PUT, put, 1 << 14).await.unwrap().1, "0");
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let server = start().await;
    server.put("k", "value").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let range = encode(&range_request("k", ""));
    let mut asked = PREFACE_AND_SETTINGS.to_vec();
    asked.extend(b"\0\0\x2d\x01\x04\0\0\0\x01\x83\x86\x04\x16/etcdserverpb.KV/Range");
    asked.extend(b"\x0f\x10\x10application/grpc");
    asked.extend([0, 0, range.len() as u8, 0, 1, 0, 0, 0, 1]);
    asked.extend_from_slice(&range);
    for byte in asked {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut said = Vec::new();
    let answer = b"\0\0\x0f\x01\x05\0\0\0\x01@\x0bgrpc-status\x010";
    timeout(SOON, async {
        while !said.windows(answer.len()).any(|found| found == answer) {
            assert_ne!(stream.read_buf(&mut said).await.unwrap(), 0);
        }
    })
    .await
    .unwrap();
}

/// What a socket says until it is closed; fails if it is not.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end like any other.
    let _ = timeout(SOON, stream.read_to_end(&mut said)).await.expect("it is closed");
    said
}

#[tokio::test]
async fn who_does_not_finish_what_it_begins_is_not_waited_for() {
    let limits =
        ConnectionLimits { first_word: Duration::from_millis(100), ..ConnectionLimits::default() };
    let server = start_with(Limits::default(), limits).await;
    let header_block = [PREFACE_AND_SETTINGS, b"\0\0\x01\x01\0\0\0\0\x01\x83"].concat();
    for begun in [b"", &b"PR"[..], b"PRI * HT", &PREFACE_AND_SETTINGS[..30], &header_block] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        until_closed(&mut stream).await;
    }
    // Whoever has finished may be silent.
    let client = connect(&server, 1 << 20, 1 << 20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let range = encode(&range_request("k", ""));
    assert_eq!(call(&client, RANGE, range, 100).await.unwrap().1, "0");
}

#[tokio::test]
async fn who_does_not_answer_pings_is_gone() {
    let limits = ConnectionLimits {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    };
    let server = start_with(Limits::default(), limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(PREFACE_AND_SETTINGS).await.unwrap();
    let said = until_closed(&mut stream).await;
    let ping = b"\0\0\x08\x06\0\0\0\0\0alive?\0\0";
    assert_eq!(said.windows(ping.len()).filter(|found| found == ping).count(), 1);
    // This one answers.
    let client = connect(&server, 1 << 20, 1 << 20).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let range = encode(&range_request("k", ""));
    assert_eq!(call(&client, RANGE, range, 100).await.unwrap().1, "0");
}

#[tokio::test]
async fn who_takes_nothing_is_gone_and_held_nobody_up() {
    let limits = ConnectionLimits {
        write_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    };
    let server = start_with(Limits::default(), limits).await;
    for number in 0..8 {
        server.put(&format!("k{number}"), &"x".repeat(1_000_000)).await;
    }
    // Windows without bound, and nobody who reads.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\
                      \0\0\x04\x08\0\0\0\0\0\x7f\0\0\0"
        .to_vec();
    let range = encode(&range_request("k", "l"));
    let block = b"\x83\x86\x04\x16/etcdserverpb.KV/Range\x0f\x10\x10application/grpc";
    for stream in 0..5_u32 {
        let id = (1 + 2 * stream).to_be_bytes();
        asked.extend([0, 0, block.len() as u8, 1, 4]);
        asked.extend(id);
        asked.extend(block);
        asked.extend([0, 0, range.len() as u8, 0, 1]);
        asked.extend(id);
        asked.extend_from_slice(&range);
    }
    stream.write_all(&asked).await.unwrap();
    server.put("k", "others are served meanwhile").await;
    // It is given up, which its socket says once what is in it has been read.
    timeout(SOON, async {
        while server.open_connections() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is given up");
    let said = until_closed(&mut stream).await;
    assert!(said.len() < 5 * 8_000_000, "not all of it can have been sent");
}

#[tokio::test]
async fn failures_are_told_before_the_socket_is_closed() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let ping_on_a_stream = b"\0\0\x08\x06\0\0\0\0\x01\0\0\0\0\0\0\0\0";
    stream.write_all(&[PREFACE_AND_SETTINGS, ping_on_a_stream].concat()).await.unwrap();
    stream.write_all(&vec![0; 100_000]).await.unwrap();
    let said = until_closed(&mut stream).await;
    let reason = b"PING on a stream";
    assert_eq!(&said[said.len() - reason.len()..], reason);
}
