//! `etcd-client` goes on writing and watching while the leader is killed and
//! comes back.

use crate::support::{Cluster, PATIENCE, eventually};
use etcd_client::{Client, ConnectOptions, Error, GetOptions, WatchOptions};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tonic::Code;

/// Puts before the leader dies, while it is dead, and after it came back.
const PUTS: usize = 200;

#[tokio::test]
async fn puts_go_on_when_the_leader_is_killed() {
    let mut cluster = Cluster::driftless(3);
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
    let mut client = Client::connect(cluster.endpoints(), Some(options)).await.unwrap();

    let watchers: Vec<_> = cluster.endpoints().into_iter().map(watch_to_end).collect();
    let watchers: Vec<_> = watchers.into_iter().map(tokio::spawn).collect();
    put_all(&mut client, 0..PUTS).await;
    let (leader, old_term) = leader(&cluster, &mut client).await;
    cluster.members[leader].kill();
    put_all(&mut client, PUTS..2 * PUTS).await;
    let mut living: Vec<usize> = (0..3).collect();
    living.remove(leader);
    for member in living {
        let mut alone = connect(&cluster, member).await;
        let status = alone.status().await.unwrap();
        assert!(status.raft_term() > old_term, "somebody was elected in its place");
        expect_all(&mut alone, 2 * PUTS, GetOptions::new()).await;
    }

    cluster.members[leader].start();
    cluster.members[leader].expect_ready();
    put_all(&mut client, 2 * PUTS..3 * PUTS).await;
    // It reads what it missed from its own copy: that is what came back to it.
    let mut returned = connect(&cluster, leader).await;
    eventually("the killed member has everything", async || {
        let options = GetOptions::new().with_prefix().with_count_only().with_serializable();
        let got = returned.get("k/", Some(options)).await.ok()?;
        (got.count() == 3 * PUTS as i64).then_some(())
    })
    .await;
    expect_all(&mut returned, 3 * PUTS, GetOptions::new().with_serializable()).await;
    for member in 0..3 {
        expect_all(&mut connect(&cluster, member).await, 3 * PUTS, GetOptions::new()).await;
    }

    // Who watched all along was told what history tells: nothing is missing,
    // nothing comes twice.
    client.put(END, "", None).await.unwrap();
    let history = watch_to_end(cluster.members[leader].client_url.clone()).await;
    let keys: BTreeSet<&String> = history.told.iter().map(|event| &event.key).collect();
    assert_eq!(keys.len(), 3 * PUTS + 1);
    for (member, watcher) in watchers.into_iter().enumerate() {
        let watched = watcher.await.unwrap();
        assert_eq!(watched.told, history.told, "at member {member}");
        assert_eq!(watched.interrupted, member == leader, "only its stream broke");
    }
}

/// Put when all is done.
const END: &str = "k/~";

#[derive(Debug, PartialEq)]
struct Told {
    key: String,
    value: String,
    mod_revision: i64,
}

struct Watched {
    told: Vec<Told>,
    interrupted: bool,
}

/// Watches at one member until the end. When the stream breaks, which it does
/// when the member is killed, it goes on behind what it was told last.
async fn watch_to_end(endpoint: String) -> Watched {
    let mut watched = Watched { told: Vec::new(), interrupted: false };
    while !matches!(watch_on(&endpoint, &mut watched).await, Ok(true)) {
        watched.interrupted = true;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watched
}

/// Whether it came to the end, or the stream ended before.
async fn watch_on(endpoint: &str, watched: &mut Watched) -> Result<bool, Error> {
    let next = watched.told.last().map_or(1, |event| event.mod_revision + 1);
    let options = WatchOptions::new().with_prefix().with_start_revision(next);
    let mut client = Client::connect([endpoint], None).await?;
    let mut stream = client.watch("k/", Some(options)).await?;
    while let Some(response) = stream.message().await? {
        assert!(!response.canceled(), "{}", response.cancel_reason());
        for kv in response.events().iter().filter_map(|event| event.kv()) {
            watched.told.push(Told {
                key: kv.key_str().unwrap().to_owned(),
                value: kv.value_str().unwrap().to_owned(),
                mod_revision: kv.mod_revision(),
            });
        }
        if watched.told.last().is_some_and(|event| event.key == END) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn connect(cluster: &Cluster, member: usize) -> Client {
    Client::connect([&cluster.members[member].client_url], None).await.unwrap()
}

/// Which member leads, and in which term.
async fn leader(cluster: &Cluster, client: &mut Client) -> (usize, u64) {
    let status = client.status().await.unwrap();
    let listed = client.member_list().await.unwrap();
    let member = listed.members().iter().find(|member| member.id() == status.leader());
    let name = member.expect("there is a leader").name();
    let place = cluster.members.iter().position(|process| process.name == name);
    (place.expect("it is one of ours"), status.raft_term())
}

/// Puts a key for each number. Unavailable and its like mean that nobody knows
/// whether it was done; to do it again does no harm to keys of one value.
async fn put_all(client: &mut Client, numbers: std::ops::Range<usize>) {
    let deadline = Instant::now() + PATIENCE;
    for number in numbers {
        loop {
            match client.put(format!("k/{number:05}"), number.to_string(), None).await {
                Ok(_) => break,
                Err(Error::GRpcStatus(status)) if may_retry(status.code()) => {}
                Err(error) => panic!("put {number}: {error}"),
            }
            assert!(Instant::now() < deadline, "put {number} is not done");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn may_retry(code: Code) -> bool {
    // `Unknown` and `Cancelled` are the client library's own, of a connection
    // that was lost or a time that ran out.
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

async fn expect_all(client: &mut Client, count: usize, options: GetOptions) {
    let got = client.get("k/", Some(options.with_prefix())).await.unwrap();
    let expected: Vec<(String, String)> =
        (0..count).map(|number| (format!("k/{number:05}"), number.to_string())).collect();
    let found: Vec<(String, String)> = got
        .kvs()
        .iter()
        .map(|kv| (kv.key_str().unwrap().to_owned(), kv.value_str().unwrap().to_owned()))
        .collect();
    assert_eq!(found, expected, "what was acknowledged is there");
}
