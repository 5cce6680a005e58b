//! The Rust crate `etcd-client`, as published, uses a cluster of three.

use crate::support::{Cluster, eventually};
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions,
    GetResponse, KeyValue, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
    WatchFilterType, WatchOptions, WatchStream,
};
use tonic::Code;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

#[tokio::test]
async fn etcd_client_works() {
    let cluster = Cluster::driftless(3);
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    puts_and_gets(&mut client).await;
    options_of_get(&mut client).await;
    deletes(&mut client).await;
    transactions(&mut client).await;
    refusals(&mut client).await;
    watches(&mut client).await;
    compactions(&mut client).await;
    members_and_status(&cluster, &mut client).await;
    health(&cluster).await;
}

fn keys(response: &GetResponse) -> Vec<&str> {
    response.kvs().iter().map(|kv| kv.key_str().unwrap()).collect()
}

fn pair(kv: Option<&KeyValue>) -> Option<(&str, &str)> {
    kv.map(|kv| (kv.key_str().unwrap(), kv.value_str().unwrap()))
}

#[track_caller]
fn refused<T>(answer: Result<T, Error>) -> (Code, String) {
    match answer {
        Ok(_) => panic!("this must be refused"),
        Err(Error::GRpcStatus(status)) => (status.code(), status.message().to_owned()),
        Err(other) => panic!("this is not the server's answer: {other}"),
    }
}

async fn puts_and_gets(client: &mut Client) {
    let first = client.put("fruit/1", "apple", None).await.unwrap();
    let revision = first.header().unwrap().revision();
    assert!(first.prev_key().is_none());
    let with_previous = PutOptions::new().with_prev_key();
    let second = client.put("fruit/1", "pear", Some(with_previous)).await.unwrap();
    assert_eq!(second.header().unwrap().revision(), revision + 1);
    assert_eq!(pair(second.prev_key()), Some(("fruit/1", "apple")));
    client.put("fruit/1", "", Some(PutOptions::new().with_ignore_value())).await.unwrap();

    let got = client.get("fruit/1", None).await.unwrap();
    let kv = &got.kvs()[0];
    assert_eq!(pair(Some(kv)), Some(("fruit/1", "pear")));
    assert_eq!((kv.create_revision(), kv.mod_revision()), (revision, revision + 2));
    assert_eq!((kv.version(), kv.lease()), (3, 0));
    assert_eq!((got.count(), got.more()), (1, false));

    let then = GetOptions::new().with_revision(revision);
    let got = client.get("fruit/1", Some(then)).await.unwrap();
    assert_eq!(pair(got.kvs().first()), Some(("fruit/1", "apple")));
    assert_eq!(got.header().unwrap().revision(), revision + 2, "the header is the present's");
    assert_eq!(client.get("fruit", None).await.unwrap().count(), 0);
}

async fn options_of_get(client: &mut Client) {
    for (key, value) in [("fruit/2", "fig"), ("fruit/3", "cherry"), ("fruit/4", "date")] {
        client.put(key, value, None).await.unwrap();
    }
    client.put("fruit/2", "elder", None).await.unwrap();
    client.put("nut/1", "almond", None).await.unwrap();
    let prefix = || GetOptions::new().with_prefix();
    let mut get = async |options: GetOptions| client.get("fruit/", Some(options)).await.unwrap();

    let all = ["fruit/1", "fruit/2", "fruit/3", "fruit/4"];
    assert_eq!(keys(&get(prefix()).await), all);
    assert_eq!(keys(&get(GetOptions::new().with_range("fruit/3")).await), all[..2]);
    let from = get(GetOptions::new().with_from_key()).await;
    assert_eq!(keys(&from)[..5], [all[0], all[1], all[2], all[3], "nut/1"]);

    let limited = get(prefix().with_limit(2)).await;
    assert_eq!(keys(&limited), all[..2]);
    assert_eq!((limited.count(), limited.more()), (4, true));
    assert!(!get(prefix().with_limit(4)).await.more());

    let sorted = |target, order| prefix().with_sort(target, order);
    let descending = get(sorted(SortTarget::Key, SortOrder::Descend)).await;
    assert_eq!(keys(&descending), ["fruit/4", "fruit/3", "fruit/2", "fruit/1"]);
    let by_value = get(sorted(SortTarget::Value, SortOrder::Ascend)).await;
    assert_eq!(keys(&by_value), ["fruit/3", "fruit/4", "fruit/2", "fruit/1"]);
    let by_version = get(sorted(SortTarget::Version, SortOrder::Descend).with_limit(2)).await;
    assert_eq!(keys(&by_version), ["fruit/1", "fruit/2"]);
    let by_mod = get(sorted(SortTarget::Mod, SortOrder::Descend).with_limit(1)).await;
    assert_eq!(keys(&by_mod), ["fruit/2"]);
    let by_create = get(sorted(SortTarget::Create, SortOrder::Ascend).with_limit(1)).await;
    assert_eq!(keys(&by_create), ["fruit/1"]);

    let bare = get(prefix().with_keys_only()).await;
    assert_eq!(keys(&bare), all);
    assert!(bare.kvs().iter().all(|kv| kv.value().is_empty() && kv.mod_revision() > 0));
    let counted = get(prefix().with_count_only()).await;
    assert_eq!((counted.kvs().len(), counted.count(), counted.more()), (0, 4, false));
    let since = by_mod.kvs()[0].mod_revision();
    assert_eq!(keys(&get(prefix().with_min_mod_revision(since)).await), ["fruit/2"]);

    // Every member comes to serve it from its own copy.
    eventually("three members with the same copy", async || {
        for _ in 0..6 {
            if keys(&get(prefix().with_serializable()).await) != all {
                return None;
            }
        }
        Some(())
    })
    .await;
}

async fn deletes(client: &mut Client) {
    let before = client.put("gone/1", "a", None).await.unwrap().header().unwrap().revision();
    client.put("gone/2", "b", None).await.unwrap();
    client.put("gone/3", "c", None).await.unwrap();
    let one = client.delete("gone/1", Some(DeleteOptions::new().with_prev_key())).await.unwrap();
    assert_eq!(one.deleted(), 1);
    assert_eq!(pair(one.prev_kvs().first()), Some(("gone/1", "a")));
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let rest = client.delete("gone/", Some(options)).await.unwrap();
    assert_eq!((rest.deleted(), rest.header().unwrap().revision()), (2, before + 4));
    let values: Vec<_> = rest.prev_kvs().iter().map(|kv| kv.value_str().unwrap()).collect();
    assert_eq!(values, ["b", "c"]);
    let none = client.delete("gone/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
    assert_eq!((none.deleted(), none.header().unwrap().revision()), (0, before + 4));
}

async fn transactions(client: &mut Client) {
    let put = client.put("t/a", "1", None).await.unwrap();
    let revision = put.header().unwrap().revision();

    // Each kind of condition, fulfilled and not.
    for (compare, holds) in [
        (Compare::version("t/a", CompareOp::Equal, 1), true),
        (Compare::version("t/a", CompareOp::Greater, 1), false),
        (Compare::create_revision("t/a", CompareOp::Equal, revision), true),
        (Compare::create_revision("t/none", CompareOp::Greater, 0), false),
        (Compare::mod_revision("t/a", CompareOp::Less, revision + 1), true),
        (Compare::mod_revision("t/a", CompareOp::NotEqual, revision), false),
        (Compare::value("t/a", CompareOp::Equal, "1"), true),
        (Compare::value("t/none", CompareOp::NotEqual, "1"), false),
        (Compare::lease("t/a", CompareOp::Equal, 0), true),
        (Compare::lease("t/a", CompareOp::Greater, 0), false),
        (Compare::value("t/", CompareOp::Less, "2").with_prefix(), true),
        (Compare::version("t/", CompareOp::Greater, 1).with_prefix(), false),
    ] {
        let text = format!("{compare:?}");
        let txn = Txn::new().when([compare]);
        assert_eq!(client.txn(txn).await.unwrap().succeeded(), holds, "{text}");
    }

    // What is nested decides by the state before, and reads what was written.
    let nested = Txn::new()
        .when([Compare::version("t/b", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("t/c", "3", None), TxnOp::get("t/b", None)])
        .or_else([TxnOp::put("t/never", "", None)]);
    let txn = Txn::new()
        .when([
            Compare::mod_revision("t/a", CompareOp::Equal, revision),
            Compare::value("t/a", CompareOp::Equal, "1"),
        ])
        .and_then([
            TxnOp::put("t/b", "2", Some(PutOptions::new().with_prev_key())),
            TxnOp::txn(nested),
            TxnOp::delete("t/a", Some(DeleteOptions::new().with_prev_key())),
            TxnOp::get("t/", Some(GetOptions::new().with_prefix())),
        ])
        .or_else([TxnOp::get("t/a", None)]);
    let answer = client.txn(txn.clone()).await.unwrap();
    assert!(answer.succeeded());
    assert_eq!(answer.header().unwrap().revision(), revision + 1, "one revision for all of it");
    let ops = answer.op_responses();
    let [
        TxnOpResponse::Put(put),
        TxnOpResponse::Txn(nested),
        TxnOpResponse::Delete(deleted),
        TxnOpResponse::Get(got),
    ] = &ops[..]
    else {
        panic!("one answer for each operation, of its kind: {ops:?}")
    };
    assert!(put.prev_key().is_none());
    assert!(nested.succeeded());
    match &nested.op_responses()[..] {
        [TxnOpResponse::Put(_), TxnOpResponse::Get(got)] => assert_eq!(keys(got), ["t/b"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(pair(deleted.prev_kvs().first()), Some(("t/a", "1")));
    assert_eq!(keys(got), ["t/b", "t/c"]);
    assert!(got.kvs().iter().all(|kv| kv.mod_revision() == revision + 1));

    let again = client.txn(txn).await.unwrap();
    assert!(!again.succeeded());
    assert!(matches!(&again.op_responses()[..], [TxnOpResponse::Get(got)] if got.count() == 0));
}

async fn refusals(client: &mut Client) {
    let invalid = |text: &str| (Code::InvalidArgument, format!("etcdserver: {text}"));
    assert_eq!(refused(client.put("", "", None).await), invalid("key is not provided"));
    let ignoring = PutOptions::new().with_ignore_value();
    assert_eq!(refused(client.put("nobody", "", Some(ignoring)).await), invalid("key not found"));
    let twice = Txn::new().and_then([TxnOp::put("t/x", "", None), TxnOp::put("t/x", "", None)]);
    assert_eq!(refused(client.txn(twice).await), invalid("duplicate key given in txn request"));
    let many: Vec<_> = (0..129).map(|n| TxnOp::put(format!("t/{n}"), "", None)).collect();
    assert_eq!(
        refused(client.txn(Txn::new().and_then(many)).await),
        invalid("too many operations in txn request")
    );
    let future = GetOptions::new().with_revision(1 << 40);
    assert_eq!(
        refused(client.get("t/a", Some(future)).await),
        (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".into())
    );
    let leased = PutOptions::new().with_lease(4711);
    assert_eq!(
        refused(client.put("t/a", "", Some(leased)).await),
        (Code::NotFound, "etcdserver: requested lease not found".into())
    );
    let large = vec![0; 1_700_000];
    assert_eq!(refused(client.put("t/a", large, None).await), invalid("request is too large"));
}

/// The next events of a stream: kind, key, value and mod revision.
async fn events(stream: &mut WatchStream, count: usize) -> Vec<(EventType, String, String, i64)> {
    let mut events = Vec::new();
    while events.len() < count {
        let response = stream.message().await.unwrap().expect("the stream goes on");
        assert!(!response.canceled(), "{}", response.cancel_reason());
        events.extend(response.events().iter().map(|event| {
            let kv = event.kv().unwrap();
            let (key, value) = pair(Some(kv)).unwrap();
            (event.event_type(), key.to_owned(), value.to_owned(), kv.mod_revision())
        }));
    }
    events
}

async fn created(stream: &mut WatchStream) -> i64 {
    let response = stream.message().await.unwrap().expect("the stream goes on");
    assert!(response.created() && !response.canceled(), "{response:?}");
    response.watch_id()
}

async fn watches(client: &mut Client) {
    let event =
        |kind, key: &str, value: &str, revision| (kind, key.to_owned(), value.to_owned(), revision);
    let first = client.put("w/1", "a", None).await.unwrap().header().unwrap().revision();
    client.put("w/2", "b", None).await.unwrap();
    client.delete("w/1", None).await.unwrap();

    // From a revision of the past on, into the present.
    let history = WatchOptions::new().with_prefix().with_start_revision(first).with_prev_key();
    let mut stream = client.watch("w/", Some(history)).await.unwrap();
    assert_eq!(created(&mut stream).await, 0);
    assert_eq!(
        events(&mut stream, 3).await,
        [
            event(EventType::Put, "w/1", "a", first),
            event(EventType::Put, "w/2", "b", first + 1),
            event(EventType::Delete, "w/1", "", first + 2),
        ]
    );
    client.put("w/2", "c", None).await.unwrap();
    let response = stream.message().await.unwrap().unwrap();
    assert_eq!(response.header().unwrap().revision(), first + 3);
    assert_eq!(pair(response.events()[0].kv()), Some(("w/2", "c")));
    assert_eq!(pair(response.events()[0].prev_kv()), Some(("w/2", "b")));

    // Another watcher on the same stream, which wants no puts.
    let filtered = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    stream.watch("w/2", Some(filtered)).await.unwrap();
    assert_eq!(created(&mut stream).await, 1);
    stream.cancel(0).await.unwrap();
    let canceled = stream.message().await.unwrap().unwrap();
    assert!(canceled.canceled() && canceled.watch_id() == 0);
    client.put("w/2", "d", None).await.unwrap();
    client.delete("w/2", None).await.unwrap();
    let response = stream.message().await.unwrap().unwrap();
    assert_eq!((response.watch_id(), response.events().len()), (1, 1));
    assert_eq!(response.events()[0].event_type(), EventType::Delete);

    // How far it has come, although nothing happens.
    stream.request_progress().await.unwrap();
    let progress = stream.message().await.unwrap().unwrap();
    assert_eq!((progress.watch_id(), progress.events().len()), (-1, 0));
    assert_eq!(progress.header().unwrap().revision(), first + 5);
}

async fn compactions(client: &mut Client) {
    let mut last = 0;
    for value in ["1", "2", "3"] {
        last = client.put("c", value, None).await.unwrap().header().unwrap().revision();
    }
    let physical = CompactionOptions::new().with_physical();
    let compacted = client.compact(last - 1, Some(physical)).await.unwrap();
    assert_eq!(compacted.header().unwrap().revision(), last);

    // Each member has seen the compaction before it answers for what is older.
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    let got = client.get("c", at(last - 1)).await.unwrap();
    assert_eq!(pair(got.kvs().first()), Some(("c", "2")));
    let gone = (Code::OutOfRange, COMPACTED.to_owned());
    assert_eq!(refused(client.get("c", at(last - 2)).await), gone);
    assert_eq!(refused(client.compact(last - 1, None).await), gone);

    let old = WatchOptions::new().with_start_revision(last - 2);
    let canceled = eventually("a watch that is too late", async || {
        let mut stream = client.watch("c", Some(old.clone())).await.unwrap();
        assert_eq!(created(&mut stream).await, 0);
        let response = stream.message().await.unwrap().unwrap();
        // A member that the compaction did not reach yet still has the events.
        response.canceled().then_some(response)
    })
    .await;
    assert_eq!((canceled.watch_id(), canceled.compact_revision()), (0, last - 1));
}

async fn members_and_status(cluster: &Cluster, client: &mut Client) {
    // Where a member serves clients it says itself, once it is up.
    let listed = eventually("members that said where they serve", async || {
        let listed = client.member_list().await.unwrap();
        assert_eq!(listed.members().len(), cluster.members.len());
        listed.members().iter().all(|member| !member.client_urls().is_empty()).then_some(listed)
    })
    .await;
    for process in &cluster.members {
        let member = listed.members().iter().find(|member| member.name() == process.name);
        let member = member.expect("each is listed by its name");
        assert_eq!(member.client_urls(), std::slice::from_ref(&process.client_url));
        assert_eq!(member.peer_urls(), std::slice::from_ref(&process.peer_url));
        assert!(!member.is_learner());

        let mut alone = Client::connect([&process.client_url], None).await.unwrap();
        let status = alone.status().await.unwrap();
        assert_eq!(status.header().unwrap().member_id(), member.id());
        assert_eq!(status.header().unwrap().cluster_id(), listed.header().unwrap().cluster_id());
        assert!(status.version().starts_with("3.6."));
        assert!(listed.members().iter().any(|member| member.id() == status.leader()));
        assert!(status.raft_term() > 0 && status.raft_index() > 0);
        assert!(status.raft_applied_index() <= status.raft_index());
        assert!(status.db_size() > 0 && status.errors().is_empty());
    }
}

/// `grpc.health.v1` and `/health`, as probes ask them.
async fn health(cluster: &Cluster) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const SERVING: i32 = 1;
    for process in &cluster.members {
        let endpoint = tonic::transport::Endpoint::new(process.client_url.clone()).unwrap();
        let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        // The request's and the answer's only fields, as those types say them.
        let codec = tonic_prost::ProstCodec::<String, i32>::default();
        let path = "/grpc.health.v1.Health/Check".parse().unwrap();
        let answer = grpc.unary(tonic::Request::new(String::new()), path, codec).await.unwrap();
        assert_eq!(answer.into_inner(), SERVING);

        let address = process.client_url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("{\"health\":\"true\",\"reason\":\"\"}"), "{answer}");
    }
}
