//! `etcdserverpb.KV` over a socket: what the store decides is tested in
//! `driftless-kv`; here it is what the server adds.

use crate::support::{CLUSTER, MEMBER, put_request, range_request, start, start_with, text};
use bytes::Bytes;
use driftless::RequestError;
use driftless_server::pb::{self, request_op::Request as Op};
use driftless_server::{ConnectionLimits, Limits};
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn headers_say_who_answers_and_at_which_revision() {
    let server = start().await;
    let put = server.kv().put(put_request("k", "v")).await.unwrap().into_inner();
    let header = put.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id), (CLUSTER, MEMBER));
    assert_eq!((header.revision, header.raft_term), (2, 2));

    let range = server.kv().range(range_request("k", "")).await.unwrap().into_inner();
    assert_eq!(range.header.unwrap().revision, 2);
    assert_eq!((range.count, range.more, range.kvs.len()), (1, false, 1));
    let kv = &range.kvs[0];
    assert_eq!((text(&kv.key), text(&kv.value)), ("k".into(), "v".into()));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (2, 2, 1, 0));
}

#[tokio::test]
async fn nested_headers_carry_the_revision_alone() {
    let server = start().await;
    let txn = pb::TxnRequest {
        success: vec![
            op(Op::RequestPut(put_request("a", "1"))),
            op(Op::RequestRange(range_request("a", ""))),
            op(Op::RequestTxn(pb::TxnRequest {
                success: vec![op(Op::RequestPut(put_request("b", "2")))],
                ..pb::TxnRequest::default()
            })),
        ],
        ..pb::TxnRequest::default()
    };
    let response = server.kv().txn(txn).await.unwrap().into_inner();
    assert!(response.succeeded);
    assert_eq!(response.header.unwrap().revision, 2);
    let headers: Vec<pb::ResponseHeader> = response
        .responses
        .iter()
        .map(|op| match op.response.as_ref().unwrap() {
            pb::response_op::Response::ResponsePut(r) => r.header.unwrap(),
            pb::response_op::Response::ResponseRange(r) => r.header.unwrap(),
            pb::response_op::Response::ResponseDeleteRange(r) => r.header.unwrap(),
            pb::response_op::Response::ResponseTxn(r) => r.header.unwrap(),
        })
        .collect();
    for header in &headers {
        assert_eq!((header.cluster_id, header.member_id, header.raft_term), (0, 0, 0));
    }
    assert_eq!(headers[0].revision, 2);
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// Each refused request with etcd's code and text, none of which may reach the log.
#[tokio::test]
async fn requests_are_refused_with_etcds_codes_and_texts() {
    let server = start().await;
    let mut kv = server.kv();
    let refused = |result: Result<(), tonic::Status>, code, text: &str| {
        let status = result.expect_err(text);
        assert_eq!((status.code(), status.message()), (code, text));
    };
    let invalid = Code::InvalidArgument;

    let empty = kv.put(put_request("", "v")).await.map(drop);
    refused(empty, invalid, "etcdserver: key is not provided");
    let empty = kv.range(range_request("", "")).await.map(drop);
    refused(empty, invalid, "etcdserver: key is not provided");
    let empty = kv.delete_range(pb::DeleteRangeRequest::default()).await.map(drop);
    refused(empty, invalid, "etcdserver: key is not provided");
    let value = pb::PutRequest { ignore_value: true, ..put_request("k", "v") };
    refused(kv.put(value).await.map(drop), invalid, "etcdserver: value is provided");
    let lease = pb::PutRequest { ignore_lease: true, lease: 7, ..put_request("k", "v") };
    refused(kv.put(lease).await.map(drop), invalid, "etcdserver: lease is provided");
    let missing = pb::PutRequest { ignore_value: true, ..put_request("missing", "") };
    refused(kv.put(missing).await.map(drop), invalid, "etcdserver: key not found");
    let lease = pb::PutRequest { lease: 7, ..put_request("k", "v") };
    let not_found = "etcdserver: requested lease not found";
    refused(kv.put(lease).await.map(drop), Code::NotFound, not_found);
    for (order, target) in [(3, 0), (0, 5), (-1, 0)] {
        let sort =
            pb::RangeRequest { sort_order: order, sort_target: target, ..range_request("k", "") };
        refused(kv.range(sort).await.map(drop), invalid, "etcdserver: invalid sort option");
    }

    let many = pb::TxnRequest {
        success: (0..129).map(|n| op(Op::RequestPut(put_request(&format!("{n}"), "")))).collect(),
        ..pb::TxnRequest::default()
    };
    let text = "etcdserver: too many operations in txn request";
    refused(kv.txn(many).await.map(drop), invalid, text);
    let twice = pb::TxnRequest {
        success: vec![
            op(Op::RequestPut(put_request("k", "1"))),
            op(Op::RequestPut(put_request("k", "2"))),
        ],
        ..pb::TxnRequest::default()
    };
    let text = "etcdserver: duplicate key given in txn request";
    refused(kv.txn(twice).await.map(drop), invalid, text);
    let nothing =
        pb::TxnRequest { success: vec![pb::RequestOp::default()], ..pb::TxnRequest::default() };
    refused(kv.txn(nothing).await.map(drop), invalid, "etcdserver: key not found");
    let keyless =
        pb::TxnRequest { compare: vec![pb::Compare::default()], ..pb::TxnRequest::default() };
    refused(kv.txn(keyless).await.map(drop), invalid, "etcdserver: key is not provided");

    server.put("k", "1").await;
    server.put("k", "2").await;
    let future = "etcdserver: mvcc: required revision is a future revision";
    let at = |revision| pb::RangeRequest { revision, ..range_request("k", "") };
    refused(kv.range(at(9)).await.map(drop), Code::OutOfRange, future);
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    refused(kv.compact(compact(9)).await.map(drop), Code::OutOfRange, future);
    kv.compact(compact(3)).await.unwrap();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused(kv.range(at(2)).await.map(drop), Code::OutOfRange, compacted);
    refused(kv.compact(compact(3)).await.map(drop), Code::OutOfRange, compacted);
    kv.range(at(3)).await.expect("the compacted revision itself can be read");
}

#[tokio::test]
async fn large_requests_are_refused_by_size() {
    let server = start().await;
    let value = |bytes| pb::PutRequest {
        key: Bytes::from_static(b"k"),
        value: vec![b'v'; bytes].into(),
        ..pb::PutRequest::default()
    };
    server.kv().put(value(1 << 20)).await.expect("1 MiB is allowed");
    let status = server.kv().put(value(3 << 19)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "etcdserver: request is too large");
    let status = server.kv().put(value(2 << 20)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("grpc: received message larger than max"), "{status:?}");
    server.kv().put(value(1)).await.expect("the connection has survived");
}

#[tokio::test]
async fn the_clusters_refusals_bear_etcds_texts() {
    let server = start().await;
    for (error, code, text) in [
        (RequestError::Busy, Code::Unknown, "etcdserver: too many requests"),
        (
            RequestError::TooLarge { bytes: 2, bytes_max: 1 },
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ),
        (
            RequestError::DiskFull,
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        ),
        (RequestError::NoLeader, Code::Unavailable, "etcdserver: no leader"),
        (RequestError::TimedOut, Code::Unavailable, "etcdserver: request timed out"),
        (RequestError::Stopped, Code::Unavailable, "etcdserver: server stopped"),
    ] {
        server.backend.refuse_next(error);
        let status = server.kv().put(put_request("k", "v")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text));
        server.backend.refuse_next(error);
        let status = server.kv().range(range_request("k", "")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text));
    }
}

#[tokio::test]
async fn a_serializable_read_asks_nobody() {
    let server = start().await;
    server.put("k", "v").await;
    server.backend.refuse_next(RequestError::NoLeader);
    let read = pb::RangeRequest { serializable: true, ..range_request("k", "") };
    assert_eq!(server.kv().range(read.clone()).await.unwrap().into_inner().kvs.len(), 1);
    let txn =
        pb::TxnRequest { success: vec![op(Op::RequestRange(read))], ..pb::TxnRequest::default() };
    assert!(server.kv().txn(txn).await.unwrap().into_inner().succeeded);
    let status = server.kv().range(range_request("k", "")).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: no leader", "the refusal was still waiting");
}

/// Nothing in it says that it is content with a state that may be old.
#[tokio::test]
async fn a_transaction_that_only_compares_is_linearizable() {
    let server = start().await;
    for nested in [false, true] {
        let mut txn = pb::TxnRequest {
            compare: vec![pb::Compare { key: "k".into(), ..pb::Compare::default() }],
            ..pb::TxnRequest::default()
        };
        if nested {
            let success = vec![op(Op::RequestTxn(txn))];
            txn = pb::TxnRequest { success, ..pb::TxnRequest::default() };
        }
        server.backend.refuse_next(RequestError::NoLeader);
        let status = server.kv().txn(txn.clone()).await.unwrap_err();
        assert_eq!(status.message(), "etcdserver: no leader");
        assert!(server.kv().txn(txn).await.unwrap().into_inner().succeeded);
    }
}

#[tokio::test]
async fn a_read_only_transaction_stays_out_of_the_log() {
    let server = start().await;
    server.put("k", "v").await;
    let before = driftless_server::Backend::status(&server.backend).last;
    let txn = pb::TxnRequest {
        compare: vec![pb::Compare {
            key: Bytes::from_static(b"k"),
            target: pb::CompareTarget::Version as i32,
            target_union: Some(pb::compare::TargetUnion::Version(1)),
            ..pb::Compare::default()
        }],
        success: vec![op(Op::RequestRange(range_request("k", "")))],
        ..pb::TxnRequest::default()
    };
    let response = server.kv().txn(txn).await.unwrap().into_inner();
    assert!(response.succeeded);
    assert_eq!(response.header.unwrap().revision, 2);
    assert_eq!(driftless_server::Backend::status(&server.backend).last, before);
}

#[tokio::test]
async fn hasleader_fails_at_once_without_a_leader() {
    let server = start().await;
    server.backend.set_leader(None);
    let mut request = tonic::Request::new(range_request("k", ""));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let status = server.kv().range(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    server.kv().range(range_request("k", "")).await.expect("nobody else is held to it");
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let server = start().await;
    for (path, text) in [
        (
            "/etcdserverpb.Lease/LeaseGrant",
            "driftless does not serve etcdserverpb.Lease/LeaseGrant yet",
        ),
        (
            "/etcdserverpb.Auth/Authenticate",
            "driftless does not serve etcdserverpb.Auth/Authenticate yet",
        ),
        ("/v3lockpb.Lock/Lock", "driftless does not serve v3lockpb.Lock/Lock yet"),
        (
            "/etcdserverpb.Maintenance/Snapshot",
            "driftless does not serve etcdserverpb.Maintenance/Snapshot yet",
        ),
        ("/no.Such/Method", "unknown service no.Such"),
    ] {
        let mut grpc = tonic::client::Grpc::new(server.channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<pb::StatusRequest, pb::StatusRequest>::default();
        let request = tonic::Request::new(pb::StatusRequest {});
        let status = grpc.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, text));
    }
}

#[tokio::test]
async fn broken_messages_are_refused_and_harm_nobody() {
    let server = start().await;
    // Field 1 of a put with a length that reaches past the end.
    for bytes in [&b"\x0a\xff\x01"[..], b"\x0a", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let mut grpc = tonic::client::Grpc::new(server.channel.clone());
        grpc.ready().await.unwrap();
        let status = grpc
            .unary(
                tonic::Request::new(Bytes::copy_from_slice(bytes)),
                "/etcdserverpb.KV/Put".parse().unwrap(),
                RawCodec,
            )
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
    }
    server.put("k", "v").await;
}

/// Transactions nested as deep as a message can be made refuse politely.
#[tokio::test]
async fn endless_nesting_is_refused() {
    let server = start().await;
    let mut message: Vec<u8> = Vec::new();
    for _ in 0..10_000 {
        // success[0].request_txn = the message so far
        let mut op = vec![0x22];
        varint(&mut op, message.len());
        op.extend_from_slice(&message);
        let mut txn = vec![0x12];
        varint(&mut txn, op.len());
        txn.extend_from_slice(&op);
        message = txn;
    }
    let mut grpc = tonic::client::Grpc::new(server.channel.clone());
    grpc.ready().await.unwrap();
    let request = tonic::Request::new(Bytes::from(message));
    let path = "/etcdserverpb.KV/Txn".parse().unwrap();
    let status = grpc.unary(request, path, RawCodec).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    server.put("k", "v").await;
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[tokio::test]
async fn a_callers_deadline_is_its_own() {
    let server = start().await;
    let mut request = tonic::Request::new(put_request("k", "v"));
    request.set_timeout(Duration::from_nanos(1));
    server.backend.refuse_next(RequestError::TimedOut);
    let status = server.kv().put(request).await.unwrap_err();
    // The client's own clock may have cut it off before our answer came.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
}

#[tokio::test]
async fn a_store_at_its_quota_takes_deletions_only() {
    let limits = Limits { quota_bytes: 1 << 20, ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    let value = "v".repeat(300 << 10);
    let mut stored = 0;
    let status = loop {
        match server.kv().put(put_request(&format!("k{stored}"), &value)).await {
            Ok(_) => stored += 1,
            Err(status) => break status,
        }
        assert!(stored < 10, "the quota was never reached");
    };
    let full = "etcdserver: mvcc: database space exceeded";
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, full));
    let txn = |request| pb::TxnRequest { success: vec![op(request)], ..pb::TxnRequest::default() };
    let status = server.kv().txn(txn(Op::RequestPut(put_request("k", "")))).await.unwrap_err();
    assert_eq!(status.message(), full);
    server.kv().range(range_request("k0", "")).await.unwrap();
    let delete = pb::DeleteRangeRequest {
        key: Bytes::from_static(b"k"),
        range_end: Bytes::from_static(b"l"),
        prev_kv: false,
    };
    server.kv().txn(txn(Op::RequestDeleteRange(delete))).await.unwrap();
    server.compact(stored + 2).await;
    // Room comes back by itself, step by step, as the store goes on working.
    for _ in 0..100 {
        server.delete("nothing", "").await;
    }
    server.put("k", "v").await;
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(
        &mut self,
        item: Bytes,
        out: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), tonic::Status> {
        bytes::BufMut::put(out, item);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(
        &mut self,
        input: &mut tonic::codec::DecodeBuf<'_>,
    ) -> Result<Option<Bytes>, tonic::Status> {
        let length = bytes::Buf::remaining(input);
        Ok(Some(bytes::Buf::copy_to_bytes(input, length)))
    }
}
