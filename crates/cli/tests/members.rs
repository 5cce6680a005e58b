//! Members that come, go, are promoted, moved and replaced in clusters of real
//! processes, and a cluster that goes on from one survivor.

mod common;

use common::cluster::Cluster;
use common::{DRIFTLESS, command, driftless, eventually, failed, once_healthy, succeeded};
use serde_json::Value;
use std::path::Path;

fn voters<const COUNT: usize>(names: [&'static str; COUNT]) -> Vec<(&'static str, &'static str)> {
    names.into_iter().map(|name| (name, "voter")).collect()
}

#[test]
fn members_come_and_go() {
    let mut cluster = Cluster::of(3);
    let alone = cluster.initial_cluster(1);
    cluster.start("n1", "new", &alone, &[]);
    cluster.expect_ready("n1");
    cluster.says(&["put", "kept", "all along"]);
    a_stranger_is_told_what_to_do(&cluster);

    let url = cluster.peer_url("n2");
    let added = cluster.changes(&["member", "add", "n2", "--peer-urls", &url]);
    assert!(added.contains("votes when it has caught up"), "{added}");
    assert!(added.contains("--initial-cluster-state existing"), "{added}");
    // Nobody waits for it.
    assert_eq!(cluster.says(&["get", "kept", "--value-only"]), "all along\n");
    let all = cluster.initial_cluster(2);
    cluster.start("n2", "existing", &all, &[]);
    cluster.expect_ready("n2");
    cluster.await_kinds(&voters(["n1", "n2"]));

    // A learner stays one.
    let url = cluster.peer_url("n3");
    let added = cluster.json(&["member", "add", "n3", "--learner", "--peer-urls", &url]);
    assert_eq!(added["member"]["kind"], "learner");
    let all = added["initial_cluster"].as_str().unwrap().to_owned();
    cluster.start("n3", "existing", &all, &[]);
    cluster.expect_ready("n3");
    cluster.await_kinds(&[("n1", "voter"), ("n2", "voter"), ("n3", "learner")]);
    let at = |cluster: &Cluster, name: &str, arguments: &[&str]| {
        let endpoint = cluster.endpoint(name);
        command(DRIFTLESS).args(arguments).args(["--endpoints", &endpoint]).output().unwrap()
    };
    let told = failed(&at(&cluster, "n3", &["put", "a", "b"]), 1);
    assert!(told.contains("rpc not supported for learner"), "{told}");
    let told = failed(&cluster.run(&["move-leader", "n3"]), 1);
    assert!(told.contains("bad leader transferee"), "{told}");
    eventually("it has caught up", || {
        cluster.run(&["member", "promote", "n3"]).status.success().then_some(())
    });
    cluster.await_kinds(&voters(["n1", "n2", "n3"]));
    assert!(at(&cluster, "n3", &["put", "a", "b"]).status.success());

    // Leadership goes where it is sent, and its holder can be removed.
    let to = if cluster.leader() == "n2" { "n3" } else { "n2" };
    let told = cluster.says(&["move-leader", to]);
    assert!(told.starts_with(to) && told.contains("leads now"), "{told}");
    assert_eq!(cluster.leader(), to);
    let told = cluster.changes(&["member", "remove", to]);
    assert!(told.contains("2 members are left"), "{told}");
    cluster.expect_gone(to);
    assert_eq!(cluster.says(&["get", "kept", "--value-only"]), "all along\n");
    let told = failed(&once_healthy(|| cluster.run(&["member", "remove", to])), 1);
    assert!(told.contains("there is no member"), "{told}");
    // It learns that it is gone, also if it comes again.
    let all = cluster.initial_cluster(3);
    cluster.start(to, "existing", &all, &[]);
    cluster.expect_gone(to);
    let left = cluster.running.iter().map(|running| running.0.clone()).collect::<Vec<_>>();
    for name in left {
        cluster.stop(&name);
    }
}

/// What somebody is told who forgot to add a member, or named nobody who runs.
fn a_stranger_is_told_what_to_do(cluster: &Cluster) {
    let told = cluster.refused("n2", "existing", &cluster.initial_cluster(2));
    let url = cluster.peer_url("n2");
    assert!(told.contains(&format!("`driftless member add n2 --peer-urls {url}`")), "{told}");
    let nobody = format!("n2={url},n3={}", cluster.peer_url("n3"));
    let told = cluster.refused("n2", "existing", &nobody);
    assert!(told.contains("none of the others in --initial-cluster answers"), "{told}");
    let told = cluster.refused("n2", "existing", &format!("n2={url}"));
    assert!(told.contains("names no member besides this one"), "{told}");
    assert!(!cluster.data_dir("n2").exists(), "nothing was made for it");
}

#[test]
fn a_member_moves_to_another_address_and_whole_clusters_restart() {
    let mut cluster = Cluster::of_three();
    cluster.says(&["put", "a", "1"]);
    // A fourth, added while the others run, finds them again when all restart.
    let url = cluster.peer_url("n4");
    cluster.changes(&["member", "add", "n4", "--peer-urls", &url]);
    let all = cluster.initial_cluster(4);
    cluster.start("n4", "existing", &all, &[]);
    cluster.expect_ready("n4");
    cluster.await_kinds(&voters(["n1", "n2", "n3", "n4"]));

    // n4 moves to the place of a fifth that never came.
    cluster.stop("n4");
    let moved = cluster.peer_url("n5");
    cluster.says(&["member", "update", "n4", "--peer-urls", &moved]);
    let at = cluster.places.iter().position(|place| place.0 == "n4").unwrap();
    cluster.places[at].2 = cluster.places[4].2;
    let all = cluster.initial_cluster(4);
    cluster.start("n4", "existing", &all, &[]);
    cluster.expect_ready("n4");

    for name in ["n1", "n2", "n3", "n4"] {
        cluster.kill(name);
    }
    // The founders as they were founded, the other as it came.
    let founders = cluster.initial_cluster(3);
    for name in ["n1", "n2", "n3"] {
        cluster.start(name, "new", &founders, &[]);
    }
    cluster.start("n4", "existing", &all, &[]);
    for name in ["n1", "n2", "n3", "n4"] {
        cluster.expect_ready(name);
    }
    cluster.await_kinds(&voters(["n1", "n2", "n3", "n4"]));
    assert_eq!(cluster.says(&["get", "a", "--value-only"]), "1\n");

    // Another member's directory is not taken for one's own.
    cluster.stop("n4");
    cluster.stop("n3");
    let (own, other) = (cluster.data_dir("n4"), cluster.data_dir("n3"));
    exchange(&own, &other);
    let told = cluster.refused("n4", "existing", &all);
    assert!(told.contains("belongs to member") && told.contains("--data-dir"), "{told}");
    exchange(&own, &other);
    cluster.start("n4", "existing", &all, &[]);
    cluster.expect_ready("n4");
}

#[test]
fn a_member_that_was_added_loses_its_disk_and_comes_back() {
    let mut cluster = Cluster::of(3);
    let founders = cluster.initial_cluster(2);
    let all = cluster.initial_cluster(3);
    for name in ["n1", "n2"] {
        cluster.start(name, "new", &founders, &["--readmit-lost-disks"]);
    }
    cluster.expect_ready("n1");
    cluster.expect_ready("n2");
    let url = cluster.peer_url("n3");
    cluster.changes(&["member", "add", "n3", "--peer-urls", &url]);
    cluster.start("n3", "existing", &all, &[]);
    cluster.expect_ready("n3");
    cluster.await_kinds(&voters(["n1", "n2", "n3"]));
    cluster.says(&["put", "a", "1"]);
    cluster.stop("n3");
    let older = cluster.data_dir("older");
    copy(&cluster.data_dir("n3"), &older);
    cluster.start("n3", "existing", &all, &[]);
    cluster.expect_ready("n3");
    cluster.stop("n3");

    // An older copy of its directory, or an empty one: both have forgotten something.
    let directory = cluster.data_dir("n3");
    std::fs::remove_dir_all(&directory).unwrap();
    copy(&older, &directory);
    let told = cluster.refused("n3", "existing", &all);
    assert!(told.contains("older copy") && told.contains("--replace-lost-disk"), "{told}");
    std::fs::remove_dir_all(&directory).unwrap();
    let told = cluster.refused("n3", "existing", &all);
    assert!(told.contains("lost or replaced") && told.contains("--replace-lost-disk"), "{told}");

    std::fs::remove_dir_all(&directory).unwrap();
    cluster.start("n3", "existing", &all, &["--replace-lost-disk"]);
    cluster.expect_ready("n3");
    cluster.await_kinds(&voters(["n1", "n2", "n3"]));
    // Its vote counts: with it, another can be missed.
    cluster.kill("n1");
    assert_eq!(cluster.says(&["get", "a", "--value-only"]), "1\n");
    // Said again it means nothing.
    cluster.stop("n3");
    cluster.start("n3", "existing", &all, &["--replace-lost-disk"]);
    cluster.expect_ready("n3");
    assert_eq!(cluster.says(&["get", "a", "--value-only"]), "1\n");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("it is not there yet");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).expect("there is room");
        }
    }
}

fn exchange(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    for (from, to) in [(one, aside.as_path()), (other, one), (&aside, other)] {
        std::fs::rename(from, to).expect("both are there, and nobody uses them");
    }
}

#[test]
fn a_cluster_goes_on_from_one_survivor() {
    let mut cluster = Cluster::of_three();
    for number in 0..20 {
        cluster.says(&["put", &format!("k/{number:02}"), &format!("v{number}")]);
    }
    // The one that survives has it all.
    let serializable = ["get", "--prefix", "k/", "--count", "--endpoints", &cluster.endpoint("n1")];
    eventually("n1 has all of it", || {
        (succeeded(&driftless(serializable)) == "20\n").then_some(())
    });
    let ids: Vec<Value> = cluster.json(&["member", "list"])["members"].as_array().unwrap().clone();
    let id = |name: &str| {
        let member = ids.iter().find(|member| member["name"] == name).unwrap();
        member["id"].as_str().unwrap().to_owned()
    };
    let directory = cluster.data_dir("n1");
    let running = failed(&driftless(["recover", directory.to_str().unwrap()]), 1);
    assert!(running.contains("nothing was changed"), "{running}");
    // One disk is lost, of the other nobody knows; it will turn up later.
    cluster.kill("n1");
    cluster.kill("n2");
    cluster.kill("n3");
    std::fs::remove_dir_all(cluster.data_dir("n3")).unwrap();

    let told = succeeded(&driftless(["recover", directory.to_str().unwrap(), "--json"]));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["member"], id("n1"));
    let mut removed: Vec<&str> =
        told["removed"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    removed.sort_unstable();
    let mut expected = [id("n2"), id("n3")];
    expected.sort_unstable();
    assert_eq!(removed, expected);
    let again = failed(&driftless(["recover", directory.to_str().unwrap()]), 1);
    assert!(again.contains("only voter already"), "{again}");

    let founders = cluster.initial_cluster(3);
    cluster.start("n1", "new", &founders, &[]);
    cluster.expect_ready("n1");
    cluster.await_kinds(&voters(["n1"]));
    assert_eq!(cluster.says(&["get", "--prefix", "k/", "--count"]), "20\n");
    cluster.says(&["put", "k/20", "new"]);

    // The old n2 is told that it is out, and changes nothing.
    cluster.start("n2", "new", &founders, &[]);
    cluster.expect_gone("n2");
    assert_eq!(cluster.says(&["get", "--prefix", "k/", "--count"]), "21\n");

    // Grown back to three, at the old places and with new directories.
    std::fs::remove_dir_all(cluster.data_dir("n2")).unwrap();
    for (number, name) in [(2, "n2"), (3, "n3")] {
        let url = cluster.peer_url(name);
        cluster.changes(&["member", "add", name, "--peer-urls", &url]);
        let all = cluster.initial_cluster(number);
        cluster.start(name, "existing", &all, &[]);
        cluster.expect_ready(name);
    }
    cluster.await_kinds(&voters(["n1", "n2", "n3"]));
    cluster.kill("n1");
    assert_eq!(cluster.says(&["get", "--prefix", "k/", "--count"]), "21\n");
}

#[test]
fn a_cluster_is_grown_shrunk_and_replaced_under_load() {
    let output = command(DRIFTLESS).args(["torture", "--reshape"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    println!("{told}{wrong}");
    assert!(output.status.success(), "{wrong}");
    assert!(told.contains("7 members added, 5 killed meanwhile, 5 removed"), "{told}");
    assert!(told.contains("torture passed: members changed"), "{told}");
}
