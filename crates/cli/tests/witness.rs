//! Two members that keep data and a witness, as real processes: any one of them may go.

mod common;

use common::cluster::Cluster;
use common::{DRIFTLESS, command, eventually, failed, get, metric, succeeded};
use std::process::Output;

/// `n1` and `n2` keep data, `n3` is their witness.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(3);
    let founders = cluster.initial_cluster(2);
    for name in ["n1", "n2"] {
        cluster.start(name, "new", &founders, &["--readmit-lost-disks"]);
    }
    for name in ["n1", "n2"] {
        cluster.expect_ready(name);
    }
    let url = cluster.peer_url("n3");
    let added = cluster.json(&["member", "add", "n3", "--witness", "--peer-urls", &url]);
    assert_eq!(added["member"]["kind"], "witness");
    assert_eq!(added["member"]["name"], "n3");
    start_witness(&mut cluster, &[]);
    cluster.await_kinds(&[("n1", "voter"), ("n2", "voter"), ("n3", "witness")]);
    cluster
}

fn start_witness(cluster: &mut Cluster, more: &[&str]) {
    let all = cluster.initial_cluster(3);
    cluster.start("n3", "existing", &all, more);
    cluster.story("n3").expect("ready as a witness");
}

fn start_again(cluster: &mut Cluster, name: &str) {
    let founders = cluster.initial_cluster(2);
    cluster.start(name, "new", &founders, &[]);
}

/// Asks one member only.
fn at(cluster: &Cluster, name: &str, arguments: &[&str]) -> Output {
    let endpoint = cluster.endpoint(name);
    command(DRIFTLESS).args(arguments).args(["--endpoints", &endpoint]).output().expect("it runs")
}

fn count(cluster: &Cluster, name: &str, more: &[&str]) -> String {
    let output = at(cluster, name, &[&["get", "--prefix", "k/", "--count"], more].concat());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Writes numbered keys, each until it is acknowledged by whoever is there.
fn write(cluster: &Cluster, from: u32, until: u32) {
    for number in from..until {
        let key = format!("k/{number:03}");
        eventually("it is acknowledged", || {
            cluster.run(&["put", &key, "secret"]).status.success().then_some(())
        });
    }
}

#[test]
fn a_witness_says_what_it_is_and_holds_nothing() {
    let mut cluster = cluster();
    write(&cluster, 0, 5);
    let remedy = "ask a member that keeps data";
    for asked in [
        &["get", "k/000"][..],
        &["get", "k/000", "--serializable"],
        &["put", "k/000", "x"],
        &["watch", "k/000"],
    ] {
        let output = at(&cluster, "n3", asked);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{asked:?}");
        assert!(told.contains("is a witness") && told.contains(remedy), "{asked:?}: {told}");
    }
    let told = failed(&cluster.run(&["move-leader", "n3"]), 1);
    assert!(told.contains("is a witness") && told.contains("cannot lead"), "{told}");
    let told = failed(&cluster.run(&["member", "promote", "n3"]), 1);
    assert!(told.contains("cannot become another kind"), "{told}");

    let endpoint = cluster.endpoint("n3");
    assert_eq!(metric(&endpoint, "driftless_is_witness"), Some(1));
    assert_eq!(metric(&cluster.endpoint("n1"), "driftless_is_witness"), Some(0));
    let health = get(&endpoint, "/health").expect("it answers");
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("witness"), "{health}");
    let ready = get(&endpoint, "/readyz").expect("it answers");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("witness"), "{ready}");
    let status = succeeded(&cluster.run(&["status"]));
    let row = status.lines().find(|line| line.starts_with("n3")).expect("it is listed");
    assert!(row.contains("witness"), "{status}");
    // Its own view of who the members are.
    let list = succeeded(&at(&cluster, "n3", &["member", "list"]));
    assert!(["n1", "n2", "n3"].iter().all(|name| list.contains(name)), "{list}");
    // It need not be told again what it is.
    cluster.kill("n3");
    start_witness(&mut cluster, &[]);
    assert!(!at(&cluster, "n3", &["get", "k/000"]).status.success());
    cluster.kill("n3");
    assert_holds(&cluster, "n3", false);
    assert_holds(&cluster, "n1", true);
}

/// Whether what was written stands anywhere in this member's files.
fn assert_holds(cluster: &Cluster, name: &str, expected: bool) {
    let text = b"secret";
    let files = std::fs::read_dir(cluster.data_dir(name)).expect("it is there");
    let holds = files.map(|file| file.expect("it can be read").path()).any(|path| {
        path.is_file() && {
            let bytes = std::fs::read(&path).expect("it can be read");
            bytes.windows(text.len()).any(|window| window == text)
        }
    });
    assert_eq!(holds, expected, "{name}");
}

/// Whichever of the two that keep data is killed, writes go on, and the one that comes back
/// gets them; so that it can then do without the other.
#[test]
fn either_place_may_be_lost() {
    let mut cluster = cluster();
    write(&cluster, 0, 10);
    let mut written = 10;
    for round in 0..4 {
        // The leader, or the other, in turn.
        let leader = cluster.leader();
        let other = if leader == "n1" { "n2" } else { "n1" }.to_owned();
        let (lost, left) = if round % 2 == 0 { (leader, other) } else { (other, leader) };
        cluster.kill(&lost);
        write(&cluster, written, written + 10);
        written += 10;
        assert_eq!(count(&cluster, &left, &[]), written.to_string(), "round {round}");
        start_again(&mut cluster, &lost);
        cluster.expect_ready(&lost);
        eventually("it has what it missed", || {
            (count(&cluster, &lost, &["--serializable"]) == written.to_string()).then_some(())
        });
    }
    // Without the witness the two go on, and with it after it has been away.
    cluster.kill("n3");
    write(&cluster, written, written + 5);
    start_witness(&mut cluster, &[]);
    cluster.kill("n1");
    write(&cluster, written + 5, written + 10);
    assert_eq!(count(&cluster, "n2", &[]), (written + 10).to_string());
}

/// What it promised is gone with its disk; it comes back like any other, and as what it was.
#[test]
fn a_witness_that_lost_its_disk_comes_back_as_one() {
    let mut cluster = cluster();
    write(&cluster, 0, 5);
    cluster.kill("n3");
    std::fs::remove_dir_all(cluster.data_dir("n3")).expect("it is there");
    start_witness(&mut cluster, &["--replace-lost-disk"]);
    // Without a vote first, and then with one.
    cluster.story("n1").expect("learners: ");
    cluster.story("n1").expect("witnesses: ");
    cluster.await_kinds(&[("n1", "voter"), ("n2", "voter"), ("n3", "witness")]);
    assert!(!at(&cluster, "n3", &["get", "k/000"]).status.success());
    // Its vote counts again: without it the one that is left could do nothing.
    let leader = cluster.leader();
    cluster.kill(&leader);
    write(&cluster, 5, 10);
}

/// One that keeps data has written with the witness alone, and is lost: the other, which
/// has not got these writes, must not go on without them, however long it waits.
#[test]
fn a_witness_elects_nobody_who_lacks_what_was_acknowledged() {
    let mut cluster = cluster();
    write(&cluster, 0, 3);
    cluster.kill("n2");
    write(&cluster, 3, 6);
    cluster.kill("n1");
    start_again(&mut cluster, "n2");
    // It asks for votes, and n3 answers every time.
    eventually("n2 has been answered several times", || {
        let frames = metric(&cluster.endpoint("n2"), "driftless_peer_frames_received_total")?;
        assert_eq!(metric(&cluster.endpoint("n2"), "etcd_server_has_leader"), Some(0));
        (frames >= 8).then_some(())
    });
    start_again(&mut cluster, "n1");
    cluster.expect_ready("n1");
    cluster.expect_ready("n2");
    assert_eq!(count(&cluster, "n2", &[]), "6");
}

/// `etcdctl`, where it is installed, sees a voter.
#[test]
fn etcdctl_lists_it() {
    if command("etcdctl").arg("version").output().is_err() {
        return;
    }
    let cluster = cluster();
    let endpoints = [cluster.endpoint("n1"), cluster.endpoint("n3")];
    for endpoint in endpoints {
        let mut list = command("etcdctl");
        list.env("ETCDCTL_API", "3").args(["member", "list", "--endpoints", &endpoint]);
        let told = succeeded(&list.output().expect("it was there"));
        let row = told.lines().find(|line| line.contains(&cluster.peer_url("n3")));
        let row = row.expect("it is listed");
        assert!(row.contains("started") && row.contains("n3") && row.ends_with("false"), "{told}");
    }
}
