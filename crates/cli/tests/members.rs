//! Members that come, go, are promoted, moved and replaced in clusters of real
//! processes, and a cluster that goes on from one survivor.

mod common;

use common::{
    Client, DRIFTLESS, Story, command, driftless, eventually, failed, first_ports, succeeded,
};
use common::{is_free, once_healthy, signal};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// Members that are started one by one, with ports of their own.
struct Cluster {
    home: TempDir,
    /// Name, client port, peer port; in the order of their coming.
    places: Vec<(String, u16, u16)>,
    running: Vec<(String, Story)>,
}

impl Cluster {
    /// Places for members `n1`, `n2`, ...; none of them runs.
    fn of(members: usize) -> Self {
        let home = tempfile::tempdir().expect("there is room for one");
        let mut places = Vec::new();
        while places.len() < members {
            let (client, peer) = first_ports();
            for step in [0, 20_000, 30_000, 40_000] {
                let (client, peer) = (client + step, peer + step);
                let name = format!("n{}", places.len() + 1);
                if places.len() < members && is_free(client) && is_free(peer) {
                    places.push((name, client, peer));
                }
            }
        }
        Self { home, places, running: Vec::new() }
    }

    /// Three members that run.
    fn of_three() -> Self {
        let mut cluster = Self::of(5);
        let all = cluster.initial_cluster(3);
        for name in ["n1", "n2", "n3"] {
            cluster.start(name, "new", &all, &[]);
        }
        for name in ["n1", "n2", "n3"] {
            cluster.expect_ready(name);
        }
        cluster
    }

    fn place(&self, name: &str) -> &(String, u16, u16) {
        self.places.iter().find(|place| place.0 == name).expect("it has a place")
    }

    fn peer_url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.place(name).2)
    }

    fn endpoint(&self, name: &str) -> String {
        format!("127.0.0.1:{}", self.place(name).1)
    }

    fn data_dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `--initial-cluster` of the first members.
    fn initial_cluster(&self, members: usize) -> String {
        let all = self.places[..members].iter();
        let all = all.map(|place| format!("{}={}", place.0, self.peer_url(&place.0)));
        all.collect::<Vec<_>>().join(",")
    }

    fn command(&self, name: &str, state: &str, all: &str, more: &[&str]) -> std::process::Command {
        let (client, peer) = (format!("http://{}", self.endpoint(name)), self.peer_url(name));
        let mut serve = command(DRIFTLESS);
        serve.args(["serve", "--name", name, "--initial-cluster-token", "members"]);
        serve.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        serve.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        serve.args(["--initial-cluster", all, "--initial-cluster-state", state]);
        serve.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        serve.arg("--data-dir").arg(self.data_dir(name)).args(more);
        serve
    }

    fn start(&mut self, name: &str, state: &str, all: &str, more: &[&str]) {
        let serve = self.command(name, state, all, more);
        self.running.push((name.to_owned(), Story::begin(serve)));
    }

    fn story(&mut self, name: &str) -> &mut Story {
        let running = self.running.iter_mut().find(|running| running.0 == name);
        &mut running.expect("it runs").1
    }

    #[track_caller]
    fn expect_ready(&mut self, name: &str) {
        self.story(name).expect("ready to serve client requests");
    }

    /// What a member says that is started and cannot be.
    #[track_caller]
    fn refused(&self, name: &str, state: &str, all: &str) -> String {
        let output = self.command(name, state, all, &[]).output().expect("it was built");
        failed(&output, 1)
    }

    fn stop(&mut self, name: &str) {
        signal(self.story(name).pid(), Signal::TERM);
        assert!(self.story(name).ended().success());
        self.running.retain(|running| running.0 != name);
    }

    fn kill(&mut self, name: &str) {
        self.story(name).kill();
        self.running.retain(|running| running.0 != name);
    }

    /// Waits until a member has ended by itself, in good order.
    #[track_caller]
    fn expect_gone(&mut self, name: &str) {
        let story = self.story(name);
        let status = story.ended();
        let told = story.told.join("\n");
        assert_eq!(status.code(), Some(0), "{told}");
        assert!(told.contains("was removed from the cluster"), "{told}");
        self.running.retain(|running| running.0 != name);
    }

    /// The client of those that run.
    fn client(&self) -> Client {
        let endpoints = self.running.iter().map(|running| self.endpoint(&running.0));
        Client { endpoints: endpoints.collect::<Vec<_>>().join(",") }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.client().run(arguments)
    }

    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        self.client().says(arguments)
    }

    #[track_caller]
    fn changes(&self, arguments: &[&str]) -> String {
        self.client().changes(arguments)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        self.client().json(arguments)
    }

    /// What each member is, by its name.
    fn kinds(&self) -> Vec<(String, String)> {
        let said = self.json(&["member", "list"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = said["members"].as_array().expect("a list").iter();
        members.map(|member| (text(&member["name"]), text(&member["kind"]))).collect()
    }

    #[track_caller]
    fn await_kinds(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
        let mut last = Vec::new();
        eventually(&format!("the members are {expected:?}"), || {
            last = self.kinds();
            (last == expected).then_some(())
        });
    }

    fn leader(&self) -> String {
        eventually("somebody leads", || {
            let output = self.run(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            let members = status["members"].as_array()?.iter();
            let leader = members.clone().find(|member| member["role"] == "leader")?;
            Some(leader["name"].as_str()?.to_owned())
        })
    }
}

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
