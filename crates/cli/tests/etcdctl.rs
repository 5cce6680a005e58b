//! `etcdctl`, a client written by others, against a cluster of `driftless up`.

mod common;

use common::{Story, Up, command, succeeded};
use std::process::{Command, Output};

/// `etcdctl` is not always there; then this shows nothing, and says so.
fn is_there() -> bool {
    let there = Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output().is_ok();
    if !there {
        eprintln!("SKIPPED: there is no etcdctl on this machine (Debian: etcd-client)");
    }
    there
}

struct Etcdctl {
    endpoints: String,
}

impl Etcdctl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut etcdctl = command("etcdctl");
        etcdctl.env("ETCDCTL_API", "3").arg("--endpoints").arg(&self.endpoints).args(arguments);
        etcdctl
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it is there")
    }

    /// What it prints when it succeeds.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        succeeded(&self.run(arguments))
    }

    /// The revision that a key was last changed at.
    /// The same of a change of members.
    #[track_caller]
    fn changes(&self, arguments: &[&str]) -> String {
        succeeded(&common::once_healthy(|| self.run(arguments)))
    }

    fn mod_revision(&self, key: &str) -> i64 {
        let json = self.says(&["get", key, "-w", "json"]);
        let (_, behind) = json.split_once("\"mod_revision\":").expect("the key is there");
        let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a revision is a number")
    }
}

#[test]
fn etcdctl_works() {
    if !is_there() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path());
    let etcdctl = Etcdctl { endpoints: up.all_endpoints() };
    puts_and_gets(&etcdctl);
    deletes(&etcdctl);
    transactions(&etcdctl);
    history_and_compaction(&etcdctl);
    watches(&etcdctl);
    inspects(&etcdctl, &up);
    changes_members(&etcdctl, &up);
    up.stop();
}

fn puts_and_gets(etcdctl: &Etcdctl) {
    for number in 1..=4 {
        let (key, value) = (format!("fruit/{number}"), format!("v{number}"));
        assert_eq!(etcdctl.says(&["put", &key, &value]), "OK\n");
    }
    assert_eq!(etcdctl.says(&["put", "fruit/1", "v1b", "--prev-kv"]), "OK\nfruit/1\nv1\n");
    assert_eq!(etcdctl.says(&["get", "fruit/1"]), "fruit/1\nv1b\n");
    assert_eq!(etcdctl.says(&["get", "fruit/9"]), "");
    let keys = |arguments: &[&str]| {
        let said = etcdctl.says(&[&["get", "--keys-only"], arguments].concat());
        said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let all = ["fruit/1", "fruit/2", "fruit/3", "fruit/4"];
    assert_eq!(keys(&["--prefix", "fruit/"]), all);
    assert_eq!(keys(&["--prefix", "fruit/", "--limit", "2"]), all[..2]);
    assert_eq!(keys(&["fruit/2", "fruit/4"]), all[1..3], "a range has no last key");
    assert_eq!(keys(&["--from-key", "fruit/3"]), all[2..]);
    assert_eq!(
        keys(&["--prefix", "fruit/", "--order", "DESCEND"]),
        all.map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    let by_change = ["--prefix", "fruit/", "--sort-by", "MODIFY", "--order", "ASCEND"];
    assert_eq!(keys(&by_change), ["fruit/2", "fruit/3", "fruit/4", "fruit/1"]);
    assert_eq!(keys(&["--prefix", "fruit/", "--consistency", "s"]), all, "serializable");
    assert_eq!(etcdctl.says(&["get", "fruit/2", "--print-value-only"]), "v2\n");
}

fn deletes(etcdctl: &Etcdctl) {
    assert_eq!(etcdctl.says(&["del", "fruit/2", "--prev-kv"]), "1\nfruit/2\nv2\n");
    assert_eq!(etcdctl.says(&["del", "fruit/2"]), "0\n");
    assert_eq!(etcdctl.says(&["del", "--prefix", "fruit/"]), "3\n");
    assert_eq!(etcdctl.says(&["get", "--prefix", "fruit/"]), "");
}

fn transactions(etcdctl: &Etcdctl) {
    etcdctl.says(&["put", "account", "10"]);
    let txn = |script: &str| {
        let mut child = etcdctl
            .command(&["txn"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it is there");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, script.as_bytes()).expect("it reads its script");
        drop(stdin);
        succeeded(&child.wait_with_output().expect("it ends"))
    };
    let script = "value(\"account\") = \"10\"\n\nput account 20\nget account\n\nget other\n\n";
    assert_eq!(txn(script), "SUCCESS\n\nOK\n\naccount\n20\n");
    assert_eq!(txn(script), "FAILURE\n\n", "it is 20 by now, and there is no other");
    let version = "version(\"new\") = \"0\"\nmod(\"account\") > \"0\"\n\nput new 1\n\n\n";
    assert_eq!(txn(version), "SUCCESS\n\nOK\n");
    assert_eq!(etcdctl.says(&["get", "new", "--print-value-only"]), "1\n");
}

fn history_and_compaction(etcdctl: &Etcdctl) {
    etcdctl.says(&["put", "old", "first"]);
    let first = etcdctl.mod_revision("old");
    etcdctl.says(&["put", "old", "second"]);
    let second = etcdctl.mod_revision("old");
    let at = |revision: i64| etcdctl.run(&["get", "old", "--rev", &revision.to_string()]);
    assert_eq!(succeeded(&at(first)), "old\nfirst\n");
    let compacted = etcdctl.says(&["compaction", &second.to_string()]);
    assert_eq!(compacted, format!("compacted revision {second}\n"));
    assert_eq!(succeeded(&at(second)), "old\nsecond\n");
    let refused = String::from_utf8_lossy(&at(first).stderr).into_owned();
    assert!(refused.contains("required revision has been compacted"), "{refused}");
    let refused = String::from_utf8_lossy(&at(second + 1_000).stderr).into_owned();
    assert!(refused.contains("required revision is a future revision"), "{refused}");
    let again = etcdctl.run(&["compaction", &second.to_string()]);
    assert!(!again.status.success());
}

fn watches(etcdctl: &Etcdctl) {
    etcdctl.says(&["put", "watched/1", "a"]);
    let from = etcdctl.mod_revision("watched/1").to_string();
    let arguments = ["watch", "--prefix", "watched/", "--rev", &from, "--prev-kv"];
    let mut watcher = Story::begin(etcdctl.command(&arguments));
    let mut lines = |expected: &[&str]| {
        for expected in expected {
            assert_eq!(watcher.expect(""), *expected);
        }
    };
    lines(&["PUT", "watched/1", "a"]);
    etcdctl.says(&["put", "watched/1", "b"]);
    lines(&["PUT", "watched/1", "a", "watched/1", "b"]);
    etcdctl.says(&["put", "unwatched", "x"]);
    etcdctl.says(&["del", "watched/1"]);
    lines(&["DELETE", "watched/1", "b", "watched/1", ""]);
}

fn inspects(etcdctl: &Etcdctl, up: &Up) {
    let status = etcdctl.says(&["endpoint", "status"]);
    assert_eq!(status.lines().count(), 3, "{status}");
    // ENDPOINT, ID, VERSION, SIZE, IS LEADER, IS LEARNER, TERM, INDEX, APPLIED, ERRORS
    let fields: Vec<Vec<&str>> = status.lines().map(|line| line.split(", ").collect()).collect();
    let leaders = fields.iter().filter(|fields| fields[4] == "true").count();
    assert_eq!(leaders, 1, "{status}");
    for fields in &fields {
        assert!(up.endpoints.iter().any(|endpoint| endpoint == fields[0]), "{status}");
        assert!(fields[2].starts_with("3."), "{status}");
    }

    let health = etcdctl.run(&["endpoint", "health"]);
    assert!(health.status.success());
    let said = [health.stdout, health.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.matches("is healthy").count(), 3, "{said}");

    let members = etcdctl.says(&["member", "list"]);
    assert_eq!(members.lines().count(), 3, "{members}");
    for (number, endpoint) in (1..).zip(&up.endpoints) {
        let member = members.lines().find(|line| line.contains(&format!(", n{number}, ")));
        let member = member.unwrap_or_else(|| panic!("n{number} is a member: {members}"));
        assert!(member.contains("started") && member.contains(endpoint), "{members}");
    }
}

fn changes_members(etcdctl: &Etcdctl, up: &Up) {
    let members = etcdctl.says(&["member", "list"]);
    let id_of = |members: &str, words: &str| {
        let line = members.lines().find(|line| line.contains(words)).expect("it is a member");
        line.split(", ").next().expect("the id comes first").to_owned()
    };
    // No member of this cluster goes by such a name.
    let url = "http://localhost:1";
    let added = etcdctl.changes(&["member", "add", "n4", "--learner", "--peer-urls", url]);
    assert!(added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{added}");
    assert!(added.contains(&format!("n4={url}")), "{added}");
    let listed = etcdctl.says(&["member", "list"]);
    let line = listed.lines().find(|line| line.contains(url)).expect("it is listed");
    // ID, STATUS, NAME, PEER ADDRS, CLIENT ADDRS, IS LEARNER
    assert!(line.contains("unstarted") && line.ends_with("true"), "{line}");
    let id = id_of(&listed, url);
    let refused = |arguments: &[&str], why: &str| {
        let output = common::once_healthy(|| etcdctl.run(arguments));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(why), "{arguments:?}: {told}");
    };
    refused(&["member", "promote", &id], "which is in sync with leader");
    refused(&["member", "add", "n5", "--peer-urls", url], "Peer URLs already exists");
    let other = "http://localhost:2";
    refused(
        &["member", "add", "n5", "--learner", "--peer-urls", other],
        "too many learner members in cluster",
    );
    let updated = etcdctl.says(&["member", "update", &id, "--peer-urls", other]);
    assert!(updated.contains("updated"), "{updated}");
    assert!(etcdctl.says(&["member", "list"]).contains(other));
    let removed = etcdctl.changes(&["member", "remove", &id]);
    assert!(removed.contains("removed"), "{removed}");
    refused(&["member", "remove", &id], "member not found");
    assert_eq!(etcdctl.says(&["member", "list"]), members);

    let status = etcdctl.says(&["endpoint", "status"]);
    let follower = status.lines().find(|line| line.split(", ").nth(4) == Some("false"));
    let follower = follower.and_then(|line| line.split(", ").nth(1)).expect("somebody follows");
    let moved = etcdctl.says(&["move-leader", follower]);
    assert!(moved.contains(&format!("to {follower}")), "{moved}");
    refused(&["move-leader", "1"], "bad leader transferee");

    // A voter that leaves for good: its process ends, and is not started again.
    let gone = id_of(&members, &up.endpoints[2]);
    let removed = etcdctl.changes(&["member", "remove", &gone]);
    assert!(removed.contains("removed"), "{removed}");
    common::eventually("two members are left", || {
        let two = Etcdctl { endpoints: up.endpoints[..2].join(",") };
        (two.says(&["member", "list"]).lines().count() == 2).then_some(())
    });
    let pid = up.pids[2];
    common::eventually("its process ends", || (!common::is_alive(pid)).then_some(()));
}
