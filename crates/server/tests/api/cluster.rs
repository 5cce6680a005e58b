//! `etcdserverpb.Cluster` and `MoveLeader` over a socket, on a group that agrees
//! with everything: what the server decides itself.

use crate::support::{CLUSTER, MEMBER, Server, put_request, range_request, start, start_with};
use driftless::RequestError;
use driftless::raft::{ChangeRefusal, NodeId, TransferRefusal};
use driftless_kv::{Command, MemberAttributes};
use driftless_server::pb::client::MaintenanceClient;
use driftless_server::pb::{self, Member};
use driftless_server::{ConnectionLimits, Limits};
use std::time::Duration;
use tonic::{Code, Response, Status};

/// As long as anybody asks for.
const LONG: Duration = Duration::from_secs(3_600);
const NEW: &str = "http://127.0.0.1:4001";

async fn add(server: &Server, url: &str, is_learner: bool) -> Result<Member, Status> {
    let peer_urls = vec![url.to_owned()];
    let request = pb::MemberAddRequest { peer_urls, is_learner, ..Default::default() };
    let answer = server.cluster().member_add(request).await?.into_inner();
    let header = answer.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.revision), (CLUSTER, MEMBER, 0));
    let member = answer.member.unwrap();
    assert!(answer.members.contains(&member), "{:?}", answer.members);
    Ok(member)
}

async fn remove(server: &Server, id: u64) -> Result<Vec<Member>, Status> {
    let answer = server.cluster().member_remove(pb::MemberRemoveRequest { id }).await?;
    Ok(answer.into_inner().members)
}

async fn promote(server: &Server, id: u64) -> Result<Vec<Member>, Status> {
    let answer = server.cluster().member_promote(pb::MemberPromoteRequest { id }).await?;
    Ok(answer.into_inner().members)
}

async fn update(server: &Server, id: u64, url: &str) -> Result<Vec<Member>, Status> {
    let peer_urls = vec![url.to_owned()];
    let answer = server.cluster().member_update(pb::MemberUpdateRequest { id, peer_urls }).await?;
    Ok(answer.into_inner().members)
}

async fn move_leader(server: &Server, target_id: u64) -> Result<pb::MoveLeaderResponse, Status> {
    let mut client = MaintenanceClient::new(server.channel.clone());
    client.move_leader(pb::MoveLeaderRequest { target_id }).await.map(Response::into_inner)
}

async fn list(server: &Server) -> Vec<Member> {
    let request = pb::MemberListRequest { linearizable: true };
    server.cluster().member_list(request).await.unwrap().into_inner().members
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.expect_err(text);
    assert_eq!((status.code(), status.message()), (code, text));
}

/// The member's kind in the group itself, which a voter to be does not share yet.
fn votes(server: &Server, id: u64) -> bool {
    use driftless_server::Backend as _;
    let kind = server.backend.members().members[&NodeId(id)].kind;
    kind == driftless::MemberKind::Voter
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it comes about");
}

#[tokio::test]
async fn a_voter_learns_first_and_votes_when_it_has_caught_up() {
    let server = start().await;
    let added = add(&server, NEW, false).await.unwrap();
    assert_eq!((added.name.as_str(), added.is_learner), ("", false));
    assert_eq!(added.peer_urls, [NEW]);
    assert!(!votes(&server, added.id));
    server.backend.catch_up(added.id);
    until(|| votes(&server, added.id)).await;
    assert_eq!(list(&server).await.len(), 2);
}

#[tokio::test]
async fn a_learner_learns_until_it_is_promoted() {
    let server = start().await;
    let added = add(&server, NEW, true).await.unwrap();
    assert!(added.is_learner);
    let too_many = "etcdserver: too many learner members in cluster";
    let second = add(&server, "http://127.0.0.1:4002", true).await;
    refused(second, Code::FailedPrecondition, too_many);
    let behind = "etcdserver: can only promote a learner member which is in sync with leader";
    refused(promote(&server, added.id).await, Code::FailedPrecondition, behind);
    server.backend.catch_up(added.id);
    let members = promote(&server, added.id).await.unwrap();
    assert!(votes(&server, added.id) && members.iter().all(|member| !member.is_learner));
    let no_learner = "etcdserver: can only promote a learner member";
    refused(promote(&server, added.id).await, Code::FailedPrecondition, no_learner);
    // It is no learner to anybody who asks later, and makes room for another.
    server.backend.reach(added.id, LONG);
    add(&server, "http://127.0.0.1:4002", true).await.unwrap();
}

/// Whoever looks after the members promotes others behind it and leaves it alone.
#[tokio::test]
async fn a_learner_is_promoted_by_nobody_else() {
    let limits = Limits { strict_reconfig_check: false, ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    let learner = add(&server, NEW, true).await.unwrap();
    server.backend.catch_up(learner.id);
    // The second is promoted after all were looked at with whom the first was.
    for url in ["http://127.0.0.1:4002", "http://127.0.0.1:4003"] {
        let voter = add(&server, url, false).await.unwrap();
        server.backend.catch_up(voter.id);
        until(|| votes(&server, voter.id)).await;
    }
    assert!(!votes(&server, learner.id));
}

#[tokio::test]
async fn a_voter_that_is_away_holds_changes_up() {
    let server = start().await;
    let added = add(&server, NEW, false).await.unwrap();
    server.backend.catch_up(added.id);
    until(|| votes(&server, added.id)).await;
    let client_urls = vec!["http://h:2".into()];
    let said = MemberAttributes { id: added.id, name: "second".into(), client_urls };
    server.backend.apply_at_once(&[Command::Publish(said)]);
    let unhealthy = "etcdserver: unhealthy cluster";
    let third = "http://127.0.0.1:4002";
    for is_learner in [false, true] {
        refused(add(&server, third, is_learner).await, Code::Unavailable, unhealthy);
    }
    server.backend.reach(added.id, Duration::from_secs(4));
    refused(add(&server, third, false).await, Code::Unavailable, unhealthy);
    // It would be missed, which is not known of one that is away.
    refused(remove(&server, MEMBER).await, Code::Unavailable, unhealthy);
    // The rest says no better what is the matter.
    server.backend.refuse_next(RequestError::NoLeader);
    refused(add(&server, third, false).await, Code::Unavailable, unhealthy);
    server.backend.reach(added.id, LONG);
    server.backend.refuse_next(RequestError::NoLeader);
    refused(add(&server, third, false).await, Code::Unavailable, "etcdserver: no leader");
    add(&server, third, false).await.unwrap();
}

#[tokio::test]
async fn changes_are_refused_with_etcds_codes_and_texts() {
    let server = start().await;
    let own = "http://localhost:2380";
    let exists = "etcdserver: Peer URLs already exists";
    refused(add(&server, own, false).await, Code::FailedPrecondition, exists);
    let bad = "etcdserver: given member URLs are invalid";
    refused(add(&server, "127.0.0.1:1", false).await, Code::InvalidArgument, bad);
    refused(update(&server, MEMBER, "nonsense").await, Code::InvalidArgument, bad);
    let unknown = "etcdserver: member not found";
    refused(remove(&server, 7).await, Code::NotFound, unknown);
    refused(promote(&server, 7).await, Code::NotFound, unknown);
    refused(update(&server, 7, NEW).await, Code::NotFound, unknown);
    let not_enough = "etcdserver: re-configuration failed due to not enough started members";
    refused(remove(&server, MEMBER).await, Code::Unknown, not_enough);

    let added = add(&server, NEW, false).await.unwrap();
    refused(add(&server, "http://h:1", false).await, Code::Unknown, not_enough);
    refused(update(&server, added.id, own).await, Code::FailedPrecondition, exists);
    let unhealthy = RequestError::Change(ChangeRefusal::QuorumUnreachable);
    // Reads are confirmed before, which this backend would refuse instead.
    server.backend.refuse_next_change(unhealthy);
    let moved = update(&server, added.id, "http://h:1").await;
    refused(moved, Code::Unavailable, "etcdserver: unhealthy cluster");
    let members = update(&server, added.id, "http://h:1").await.unwrap();
    assert!(members.iter().any(|member| member.peer_urls == ["http://h:1"]), "{members:?}");
    assert_eq!(remove(&server, added.id).await.unwrap().len(), 1);
    refused(remove(&server, added.id).await, Code::NotFound, unknown);
}

#[tokio::test]
async fn unless_it_is_told_to_be_lenient() {
    let limits = Limits { strict_reconfig_check: false, ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    add(&server, NEW, false).await.unwrap();
    add(&server, "http://127.0.0.1:4002", false).await.unwrap();
}

#[tokio::test]
async fn leadership_moves_to_a_voter() {
    let server = start().await;
    let bad = "etcdserver: bad leader transferee";
    refused(move_leader(&server, 7).await, Code::FailedPrecondition, bad);
    assert_eq!(move_leader(&server, MEMBER).await.unwrap().header, None);
    let added = add(&server, NEW, false).await.unwrap();
    refused(move_leader(&server, added.id).await, Code::FailedPrecondition, bad);
    server.backend.catch_up(added.id);
    until(|| votes(&server, added.id)).await;
    let away = RequestError::Transfer(TransferRefusal::Unreachable(NodeId(added.id)));
    server.backend.refuse_next_change(away);
    refused(move_leader(&server, added.id).await, Code::FailedPrecondition, bad);
    server.backend.refuse_next_change(RequestError::TimedOut);
    let slow = "etcdserver: request timed out, leader transfer took too long";
    refused(move_leader(&server, added.id).await, Code::Unavailable, slow);
    move_leader(&server, added.id).await.unwrap();
    let elsewhere = "etcdserver: not leader";
    refused(move_leader(&server, MEMBER).await, Code::FailedPrecondition, elsewhere);
}

#[tokio::test]
async fn a_learner_serves_what_etcds_learners_serve() {
    let server = start().await;
    server.put("k", "v").await;
    server.backend.make_learner();
    let text = "etcdserver: rpc not supported for learner";
    let mut kv = server.kv();
    let waiting = async {
        while kv.range(range_request("k", "")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it learns what it is");
    refused(kv.range(range_request("k", "")).await, Code::FailedPrecondition, text);
    refused(kv.put(put_request("k", "w")).await, Code::FailedPrecondition, text);
    refused(add(&server, NEW, false).await, Code::FailedPrecondition, text);
    let mut watch = server.watch().await;
    refused(watch.responses.message().await, Code::FailedPrecondition, text);
    let serializable = pb::RangeRequest { serializable: true, ..range_request("k", "") };
    assert_eq!(kv.range(serializable).await.unwrap().get_ref().count, 1);
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    assert!(maintenance.status(pb::StatusRequest {}).await.unwrap().get_ref().is_learner);
}

async fn add_witness(server: &Server, name: &str, url: &str) -> Result<Member, Status> {
    let request = pb::MemberAddRequest {
        peer_urls: vec![url.to_owned()],
        is_witness: true,
        name: name.to_owned(),
        ..pb::MemberAddRequest::default()
    };
    let answer = server.cluster().member_add(request).await?.into_inner();
    Ok(answer.member.unwrap())
}

#[tokio::test]
async fn a_witness_votes_at_once_and_stays_what_it_is() {
    let limits = Limits { strict_reconfig_check: false, ..Limits::default() };
    let server = start_with(limits, ConnectionLimits::default()).await;
    let second = add(&server, NEW, false).await.unwrap();
    server.backend.catch_up(second.id);
    until(|| votes(&server, second.id)).await;

    let nameless = "driftless: a witness is added with its name, for it cannot say it itself";
    let url = "http://127.0.0.1:4002";
    refused(add_witness(&server, "", url).await, Code::InvalidArgument, nameless);
    let witness = add_witness(&server, "w", url).await.unwrap();
    assert_eq!((witness.name.as_str(), witness.is_learner), ("w", false));
    assert_eq!(witness.role, pb::MemberRole::Witness as i32);
    assert!(witness.client_urls.is_empty(), "nobody is to come to it");
    let both = pb::MemberAddRequest {
        peer_urls: vec!["http://127.0.0.1:4003".to_owned()],
        is_learner: true,
        is_witness: true,
        name: "x".to_owned(),
    };
    let both = server.cluster().member_add(both).await;
    let either = "driftless: a member is added as a learner or as a witness, not as both";
    refused(both, Code::InvalidArgument, either);

    let status = promote(&server, witness.id).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("cannot become another kind"), "{status}");
    let status = move_leader(&server, witness.id).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("is a witness") && status.message().contains("cannot lead"));

    // Of four voters two may be witnesses; a third could make a majority with them, and
    // so could they if one that keeps data went.
    add_witness(&server, "v", "http://127.0.0.1:4003").await.unwrap();
    let third = add_witness(&server, "u", "http://127.0.0.1:4004").await;
    for status in [third.map(drop), remove(&server, second.id).await.map(drop)] {
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("a majority could then consist of witnesses"));
    }
    assert!(list(&server).await.iter().all(|member| member.name != "u"));
    remove(&server, witness.id).await.unwrap();
    remove(&server, second.id).await.unwrap();
}

#[tokio::test]
async fn a_witness_serves_what_needs_no_data() {
    let server = start().await;
    server.put("k", "v").await;
    assert_eq!(server.metric("driftless_is_witness"), "0");
    server.backend.make_witness();
    until(|| server.metric("driftless_is_witness") == "1").await;
    assert_eq!(server.metric("etcd_debugging_mvcc_keys_total"), "", "it has no store to tell of");
    let text = "driftless: this member is a witness, which votes and holds no data: \
                ask a member that keeps data";
    let mut kv = server.kv();
    refused(kv.range(range_request("k", "")).await, Code::Unavailable, text);
    let serializable = pb::RangeRequest { serializable: true, ..range_request("k", "") };
    refused(kv.range(serializable).await, Code::Unavailable, text);
    refused(kv.put(put_request("k", "w")).await, Code::Unavailable, text);
    refused(add(&server, NEW, false).await, Code::Unavailable, text);
    let mut watch = server.watch().await;
    refused(watch.responses.message().await, Code::Unavailable, text);
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    refused(maintenance.hash_kv(pb::HashKvRequest::default()).await, Code::Unavailable, text);

    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.role, pb::MemberRole::Witness as i32);
    assert_eq!((status.header.unwrap().revision, status.is_learner), (0, false));
    assert_eq!((status.db_size, status.db_size_in_use), (0, 0));
    assert_eq!(status.errors, ["driftless: this member is a witness: it votes, and holds no data"]);
    let request = pb::MemberListRequest { linearizable: false };
    let members = server.cluster().member_list(request).await.unwrap().into_inner().members;
    let roles: Vec<_> = members.iter().map(Member::role).collect();
    assert_eq!(roles, [pb::MemberRole::Voter, pb::MemberRole::Witness]);
}
