//! Reads by lease, in clusters of real processes: what a lease saves, who counts for one, and
//! that a leader that slept through its own knows nothing.

mod common;

use common::cluster::Cluster;
use common::network::Network;
use common::{DRIFTLESS, command, driftless, eventually, metric, signal, succeeded};
use rustix::process::Signal;
use std::net::TcpListener;
use std::process::{Child, Stdio};

/// Ample on one machine, where all go by one clock.
const LEASES: &str = "--read-lease-drift-ppm=500";

/// Three members, of which those named have leases.
fn cluster(with_leases: &[&str]) -> Cluster {
    let mut cluster = Cluster::of(3);
    let all = cluster.initial_cluster(3);
    for name in ["n1", "n2", "n3"] {
        let more = if with_leases.contains(&name) { &[LEASES][..] } else { &[] };
        cluster.start(name, "new", &all, more);
    }
    for name in ["n1", "n2", "n3"] {
        cluster.expect_ready(name);
    }
    cluster
}

/// Linearizable reads that this member has been asked for, and those of them that it
/// answered by its lease.
fn reads(cluster: &Cluster, name: &str) -> (u64, u64) {
    let of = |what| metric(&cluster.endpoint(name), what).expect("it is counted");
    (of("driftless_reads_total"), of("driftless_reads_by_lease_total"))
}

fn read_at(cluster: &Cluster, name: &str, key: &str) -> String {
    succeeded(&driftless(["get", key, "--value-only", "--endpoints", &cluster.endpoint(name)]))
}

/// Reads once at this member; whether that was by its lease.
fn reads_by_lease(cluster: &Cluster, name: &str) -> bool {
    let before = reads(cluster, name);
    assert_eq!(read_at(cluster, name, "a"), "1\n");
    let after = reads(cluster, name);
    assert!(after.0 > before.0);
    after.1 > before.1
}

#[test]
fn a_leader_with_a_lease_asks_nobody() {
    let cluster = cluster(&["n1", "n2", "n3"]);
    cluster.says(&["put", "a", "1"]);
    let leader = cluster.leader();
    eventually("a read is answered by lease", || reads_by_lease(&cluster, &leader).then_some(()));
    // A follower asks the leader: its answers are nobody's lease here.
    let follower = if leader == "n1" { "n2" } else { "n1" };
    assert!(!reads_by_lease(&cluster, follower));
}

/// A member that was not told of leases votes whenever it likes, so what it has heard
/// counts for none. It counts as soon as it is started with them, and no longer than that.
#[test]
fn who_has_no_leases_counts_for_none() {
    let mut cluster = cluster(&["n1"]);
    cluster.says(&["put", "a", "1"]);
    let lead = |cluster: &Cluster| {
        eventually("n1 leads", || {
            cluster.run(&["move-leader", "n1"]);
            (cluster.leader() == "n1").then_some(())
        });
    };
    lead(&cluster);
    for _ in 0..20 {
        assert!(!reads_by_lease(&cluster, "n1"), "it rests on nothing");
    }
    let all = cluster.initial_cluster(3);
    let restart = |cluster: &mut Cluster, more: &[&str]| {
        cluster.stop("n2");
        cluster.start("n2", "new", &all, more);
        cluster.expect_ready("n2");
        lead(cluster);
    };
    restart(&mut cluster, &[LEASES]);
    eventually("n2 makes it a lease", || reads_by_lease(&cluster, "n1").then_some(()));
    restart(&mut cluster, &[]);
    // That n2 is ready says that n1 has heard it in its new life.
    for _ in 0..20 {
        assert!(!reads_by_lease(&cluster, "n1"), "n2 has taken it back");
    }
}

/// The leader is cut off from the others while it holds a lease, and in every other round
/// stopped as well; another is elected and a write is acknowledged. Then it is asked, and
/// when it was stopped goes on with that before it. Nobody can tell it what has happened: what
/// keeps it from answering with what it had is that its lease is over, and that a leader
/// which nobody hears steps down.
#[test]
fn a_leader_that_was_cut_off_or_slept_serves_nothing_old() {
    let (mut cluster, network) = (Cluster::of(3), Network::default());
    let all = cluster.initial_cluster(3);
    let names = ["n1", "n2", "n3"];
    let listen = names.map(|_| free_port());
    for (name, port) in names.iter().zip(listen) {
        let own = format!("http://127.0.0.1:{port}");
        cluster.start(name, "new", &all, &[LEASES, "--listen-peer-urls", &own]);
    }
    let ids = names.map(|name| {
        let line = cluster.story(name).expect("this is ");
        let id = line.split("member ").nth(1).and_then(|rest| rest.split(' ').next());
        id.and_then(|id| u64::from_str_radix(id, 16).ok()).expect("it says who it is")
    });
    for ((name, id), port) in names.iter().zip(ids).zip(listen) {
        network.lead_to(id, cluster.place(name).2, port);
    }
    for name in names {
        cluster.expect_ready(name);
    }
    cluster.says(&["put", "a", "1"]);
    for round in 0..4 {
        let (old, new) = (format!("{round} before"), format!("{round} after"));
        let lonely = cluster.leader();
        cluster.says(&["put", "k", &old]);
        eventually("it holds a lease", || reads_by_lease(&cluster, &lonely).then_some(()));
        let sleeper = (round % 2 == 1).then(|| pid_of(&cluster, &lonely));
        let at = names.iter().position(|name| **name == *lonely).expect("it is one of them");
        network.cut(ids[at]);
        if let Some(pid) = sleeper {
            signal(pid, Signal::STOP);
        }
        let others = names.into_iter().filter(|name| *name != lonely);
        let others: Vec<_> = others.map(|name| cluster.endpoint(name)).collect();
        eventually("a write is acknowledged", || {
            let put = driftless(["put", "k", &new, "--endpoints", &others.join(",")]);
            put.status.success().then_some(())
        });
        // Where it sleeps, these wait in its sockets: the first that it sees when it wakes.
        let waiting: Vec<Child> = (0..3).map(|_| begin_reading(&cluster, &lonely)).collect();
        if let Some(pid) = sleeper {
            signal(pid, Signal::CONT);
        }
        for reader in waiting {
            let output = reader.wait_with_output().expect("it is ours");
            let read = String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && read.is_empty(), "{read:?} in round {round}");
        }
        network.heal();
        eventually("it reads again", || {
            let read = at_once(&cluster, &lonely);
            assert_ne!(read, format!("{old}\n"), "in round {round}");
            (read == format!("{new}\n")).then_some(())
        });
    }
}

/// A port that nobody has.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is one");
    listener.local_addr().expect("it is bound").port()
}

/// What a read at this member brings, be it nothing.
fn at_once(cluster: &Cluster, name: &str) -> String {
    let reader = begin_reading(cluster, name).wait_with_output().expect("it is ours");
    String::from_utf8_lossy(&reader.stdout).into_owned()
}

fn pid_of(cluster: &Cluster, name: &str) -> i32 {
    cluster.running.iter().find(|running| running.0 == name).expect("it runs").1.pid()
}

fn begin_reading(cluster: &Cluster, name: &str) -> Child {
    let mut get = command(DRIFTLESS);
    get.args(["get", "k", "--value-only", "--timeout", "2"]);
    get.args(["--endpoints", &cluster.endpoint(name)]);
    get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built")
}
