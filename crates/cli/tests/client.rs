//! The client for people and scripts, against a cluster of `driftless up`.

mod common;

use common::{Client, DRIFTLESS, Story, Up, command, driftless, failed, signal, succeeded};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Stdio;

#[test]
fn people_and_programs_are_served() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path());
    let client = Client { endpoints: up.all_endpoints() };
    reads_and_writes(&client);
    bytes_of_any_kind(&client);
    the_past(&client);
    the_cluster(&client);
    load(&client, &up);
    up.stop();
}

fn reads_and_writes(client: &Client) {
    assert_eq!(client.json(&["put", "a/1", "one"]), json!({ "revision": 2 }));
    assert_eq!(client.says(&["put", "a/2", "two"]), "stored, at revision 3\n");
    let answer = client.json(&["put", "a/1", "uno", "--prev-kv"]);
    assert_eq!(answer["prev_kv"]["value"], "one");
    let table = "KEY  VALUE  CREATED AT  CHANGED AT  VERSION\n\
                 a/1  uno    2           4           2\n";
    assert_eq!(client.says(&["get", "a/1"]), table);
    let expected = json!({
        "revision": 4, "count": 2, "more": true,
        "kvs": [{
            "key": "a/1", "value": "uno", "create_revision": 2, "mod_revision": 4, "version": 2
        }],
    });
    assert_eq!(client.json(&["get", "--prefix", "a/", "--limit", "1"]), expected);
    assert_eq!(client.says(&["get", "--prefix", "a/", "--keys-only"]), "a/1\na/2\n");
    assert_eq!(client.says(&["get", "--prefix", "a/", "--count"]), "2\n");
    assert_eq!(client.says(&["get", "--prefix", "z", "--count"]), "0\n");
    assert_eq!(client.says(&["get", "--prefix", "z"]), "no keys\n");
    let told = failed(&client.run(&["get", "z"]), 4);
    assert!(told.contains("no key \"z\""), "{told}");

    assert_eq!(client.says(&["del", "z"]), "0 deleted, at revision 4\n");
    let deleted = client.json(&["del", "--prefix", "a/", "--prev-kv"]);
    assert_eq!(deleted["deleted"], 2);
    assert_eq!(deleted["prev_kvs"][1]["value"], "two");
    assert_eq!(client.says(&["get", "--prefix", "", "--count"]), "0\n");
}

fn bytes_of_any_kind(client: &Client) {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut put = command(DRIFTLESS)
        .args(["put", "bytes", "-", "--endpoints", &client.endpoints])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built");
    put.stdin.take().expect("it is piped").write_all(&bytes).expect("it reads all");
    succeeded(&put.wait_with_output().expect("it ends"));
    let output = client.run(&["get", "bytes", "--value-only"]);
    assert_eq!(output.stdout, [&bytes[..], b"\n"].concat());
    let answer = client.json(&["get", "bytes"]);
    let base64 = answer["kvs"][0]["value_base64"].as_str().expect("it is no text");
    assert!(base64.starts_with("AAECAwQF"), "{base64}");
    assert!(client.says(&["get", "bytes"]).contains("\\x00\\x01"));
}

fn the_past(client: &Client) {
    let at = |answer: &Value| answer["revision"].as_i64().expect("a number").to_string();
    let first = at(&client.json(&["put", "past", "1"]));
    client.json(&["put", "past", "2"]);
    assert_eq!(client.says(&["get", "past", "--rev", &first, "--value-only"]), "1\n");
    assert_eq!(
        client.says(&["get", "past", "--serializable", "--limit", "9", "--value-only"]),
        "2\n"
    );
    let told = failed(&client.run(&["get", "past", "--rev", "100000"]), 1);
    assert!(told.contains("future revision"), "{told}");
}

fn the_cluster(client: &Client) {
    let members = client.json(&["members"]);
    let members = members["members"].as_array().expect("a list");
    let mut names: Vec<&str> =
        members.iter().filter_map(|member| member["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["n1", "n2", "n3"]);
    let status = client.json(&["status"]);
    let roles = status["members"].as_array().expect("a list").iter();
    let mut roles: Vec<&str> = roles.filter_map(|member| member["role"].as_str()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["follower", "follower", "leader"]);
    assert_eq!(client.says(&["status"]).lines().count(), 4);
    assert_eq!(client.says(&["members"]).lines().count(), 4);
}

fn load(client: &Client, up: &Up) {
    let pids: Vec<String> = up.pids.iter().map(i32::to_string).collect();
    let pids = pids.join(",");
    let arguments = ["bench", "mixed", "--load", "--keyspace", "100", "--clients", "8"];
    let shortly = ["--seconds", "0.5", "--warmup", "0.1", "--pids", &pids];
    let report = client.json(&[&arguments[..], &shortly].concat());
    assert!(report["operations"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert_eq!((&report["errors"], &report["misses"]), (&json!(0), &json!(0)), "{report}");
    let us = |name: &str| report[name].as_u64().expect("a number");
    assert!(us("p50_us") <= us("p99_us") && us("p99_us") <= us("max_us"), "{report}");
    let cpu = report["server_cpu_us_per_operation_by_pid"].as_object().expect("one a member");
    assert_eq!(cpu.len(), 3);
}

#[test]
fn a_watch_goes_on_when_its_member_dies() {
    let home = tempfile::tempdir().unwrap();
    let mut up = Up::start(home.path());
    let client = Client { endpoints: up.all_endpoints() };
    client.says(&["put", "w/1", "a"]);
    let mut watch = command(DRIFTLESS);
    watch.args(["watch", "--prefix", "w/", "--rev", "1", "--prev-kv"]);
    watch.args(["--endpoints", &client.endpoints]);
    let mut watch = Story::begin(watch);
    assert_eq!(watch.expect(""), "PUT     2  w/1  a");
    client.says(&["put", "w/1", "b"]);
    assert_eq!(watch.expect(""), "PUT     3  w/1  b  (was a)");

    // It asked the first member first.
    signal(up.pids[0], Signal::KILL);
    up.story.expect("died: killed by SIGKILL");
    common::eventually("the others serve", || {
        client.run(&["get", "w/1"]).status.success().then_some(())
    });
    client.says(&["put", "w/2", "c"]);
    client.says(&["put", "elsewhere", "x"]);
    client.says(&["del", "w/1"]);
    let after = [watch.expect("w/"), watch.expect("w/")];
    assert!(after[0].starts_with("PUT") && after[0].ends_with("w/2  c"), "{after:?}");
    assert!(after[1].starts_with("DELETE") && after[1].ends_with("w/1  (was b)"), "{after:?}");
    up.stop();
}

#[test]
fn a_member_alone_serves_what_it_has_and_says_what_it_lacks() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path());
    let client = Client { endpoints: up.all_endpoints() };
    client.says(&["put", "a", "1"]);
    // Paused, they are neither reported nor started again.
    for pid in &up.pids[1..] {
        signal(*pid, Signal::STOP);
    }
    let alone = up.endpoints[0].as_str();
    let flags = ["--endpoints", alone, "--timeout", "0.5"];
    let with = |arguments: &[&str]| client.run(&[arguments, &flags].concat());
    assert_eq!(succeeded(&with(&["get", "a", "--serializable", "--value-only"])), "1\n");
    let told = failed(&with(&["get", "a"]), 3);
    assert!(told.contains(alone), "{told}");
    let told = failed(&with(&["put", "a", "2"]), 3);
    assert!(told.contains("may or may not"), "{told}");
    let told = failed(&with(&["status"]), 1);
    assert!(told.contains("n2 does not answer") && told.contains("n3 does not answer"), "{told}");

    for pid in &up.pids[1..] {
        signal(*pid, Signal::CONT);
    }
    common::eventually("the cluster serves again", || {
        driftless(["get", "--endpoints", alone, "a"]).status.success().then_some(())
    });
    up.stop();
}
