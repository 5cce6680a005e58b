//! `etcd-client` goes on writing while the leader is killed and comes back.

use crate::support::{Cluster, PATIENCE, eventually};
use etcd_client::{Client, ConnectOptions, Error, GetOptions};
use std::time::{Duration, Instant};
use tonic::Code;

/// Puts before the leader dies, while it is dead, and after it came back.
const PUTS: usize = 200;

#[tokio::test]
async fn puts_go_on_when_the_leader_is_killed() {
    let mut cluster = Cluster::driftless(3);
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
    let mut client = Client::connect(cluster.endpoints(), Some(options)).await.unwrap();

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
