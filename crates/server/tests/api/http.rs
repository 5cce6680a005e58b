//! The operator's endpoints on the client port, and the health protocol.

use crate::support::{Server, put_request, start};
use driftless::RequestError;
use driftless_server::pb::{
    HealthCheckRequest, MemberListRequest, ServingStatus, StatusRequest, client,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

/// A plain HTTP/1.1 request; the status line's code and the body.
async fn get(server: &Server, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(server, request.as_bytes()).await
}

async fn exchange(server: &Server, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

#[tokio::test]
async fn health_is_etcds() {
    let server = start().await;
    let healthy = (200, "{\"health\":\"true\",\"reason\":\"\"}".to_owned());
    assert_eq!(get(&server, "/health").await, healthy);
    server.backend.refuse_next(RequestError::TimedOut);
    let (code, body) = get(&server, "/health").await;
    assert_eq!(code, 503);
    assert!(body.starts_with("{\"health\":\"false\",\"reason\":\"RANGE ERROR:"), "{body}");
    server.backend.refuse_next(RequestError::TimedOut);
    assert_eq!(get(&server, "/health?serializable=true").await, healthy);
    assert_eq!(get(&server, "/health").await.0, 503, "the refusal was still waiting");
    server.backend.set_leader(None);
    let no_leader = (503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}".to_owned());
    assert_eq!(get(&server, "/health").await, no_leader);
}

#[tokio::test]
async fn liveness_asks_this_member_and_readiness_the_cluster() {
    let server = start().await;
    assert_eq!(get(&server, "/livez").await, (200, "ok\n".into()));
    assert_eq!(get(&server, "/readyz").await, (200, "ok\n".into()));
    assert_eq!(
        get(&server, "/livez?verbose").await,
        (200, "[+]serializable_read ok\nlivez check passed\n".into())
    );
    server.backend.refuse_next(RequestError::NoLeader);
    assert_eq!(get(&server, "/livez").await.0, 200);
    let (code, body) = get(&server, "/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("[+]serializable_read ok\n[-]linearizable_read failed: "), "{body}");
    assert_eq!(get(&server, "/readyz/serializable_read").await, (200, "ok\n".into()));
    server.backend.refuse_next(RequestError::NoLeader);
    assert_eq!(get(&server, "/readyz?exclude=linearizable_read").await.0, 200);
    assert_eq!(get(&server, "/readyz/nothing").await.0, 404);
}

#[tokio::test]
async fn version_and_what_is_not_there() {
    let server = start().await;
    let version = "{\"etcdserver\":\"3.6.0\",\"etcdcluster\":\"3.6.0\"}".to_owned();
    assert_eq!(get(&server, "/version").await, (200, version));
    assert_eq!(get(&server, "/v2/keys").await.0, 404);
    let post =
        b"POST /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(&server, post).await.0, 405);
}

#[tokio::test]
async fn metrics_bear_etcds_names() {
    let server = start().await;
    server.put("k", "v").await;
    server.kv().put(put_request("", "")).await.unwrap_err();
    let (code, body) = get(&server, "/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_debugging_mvcc_current_revision 2",
        "etcd_debugging_mvcc_keys_total 1",
        "grpc_server_started_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\"} 2",
        "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_code=\"OK\"} 1",
        "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_code=\"InvalidArgument\"} 1",
        "etcd_disk_wal_fsync_duration_seconds_count 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
    for name in
        ["process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_open_fds "]
    {
        assert!(body.lines().any(|line| line.starts_with(name)), "{name} is missing in\n{body}");
    }
    // Every sample belongs to a family that was announced.
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let announced = ["", "_bucket", "_sum", "_count"].iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|family| body.contains(&format!("# TYPE {family} ")))
        });
        assert!(announced, "{name} has no type");
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn rubbish_on_the_port_harms_nobody() {
    let server = start().await;
    for rubbish in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"PRI",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(rubbish).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // However it ends, it ends.
        let _ = stream.read_to_end(&mut answer).await;
    }
    let mut long = b"GET /version HTTP/1.1\r\nHost: x\r\n".to_vec();
    for n in 0..10_000 {
        long.extend_from_slice(format!("X-{n}: {n}\r\n").as_bytes());
    }
    long.extend_from_slice(b"\r\n");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let _ = stream.write_all(&long).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    server.put("k", "v").await;
}

#[tokio::test]
async fn the_health_protocol_follows_the_leader() {
    let server = start().await;
    let mut health = client::HealthClient::new(server.channel.clone());
    let request = HealthCheckRequest::default();
    let check = health.check(request.clone()).await.unwrap().into_inner();
    assert_eq!(check.status(), ServingStatus::Serving);
    let unknown = HealthCheckRequest { service: "no.Such".into() };
    assert_eq!(health.check(unknown.clone()).await.unwrap_err().code(), Code::NotFound);

    let mut watch = health.watch(request.clone()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.backend.set_leader(None);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let check = health.check(request).await.unwrap().into_inner();
    assert_eq!(check.status(), ServingStatus::NotServing);
    server.backend.set_leader(Some(1));
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    let mut watch = health.watch(unknown).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn members_and_status() {
    let server = start().await;
    server.put("k", "v").await;
    let mut cluster = client::ClusterClient::new(server.channel.clone());
    let members = cluster.member_list(MemberListRequest::default()).await.unwrap().into_inner();
    assert_eq!(members.header.unwrap().revision, 0);
    assert_eq!(members.members, server.services.identity().members);

    let mut maintenance = client::MaintenanceClient::new(server.channel.clone());
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.header.unwrap().revision, 2);
    assert_eq!(status.version, "3.6.0");
    assert_eq!(status.leader, crate::support::MEMBER);
    assert_eq!((status.raft_term, status.raft_index, status.raft_applied_index), (2, 2, 2));
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);
    assert!(status.errors.is_empty());
    server.backend.set_leader(None);
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, &status.errors[..]), (0, &["etcdserver: no leader".to_owned()][..]));
}
