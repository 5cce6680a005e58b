//! What is wrong is refused with a clear word and the remedy, by exit code, and
//! without harm to what is there.

mod common;

use common::{DRIFTLESS, Story, Up, command, driftless, failed, first_ports, succeeded};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `driftless serve` for the only member of a cluster, called `solo`, or for one
/// of several.
#[derive(Clone, Copy)]
struct Solo<'a> {
    data: &'a Path,
    name: &'a str,
    token: &'a str,
    ports: (u16, u16),
    /// `--initial-cluster`, if it is not of one.
    cluster: Option<&'a str>,
}

impl<'a> Solo<'a> {
    fn new(data: &'a Path) -> Self {
        Self { data, name: "solo", token: "t", ports: first_ports(), cluster: None }
    }

    fn command(&self) -> Command {
        let (client, peer) = self.ports;
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let of_one = format!("{}={peer}", self.name);
        let cluster = self.cluster.unwrap_or(&of_one);
        let mut serve = command(DRIFTLESS);
        serve
            .args(["serve", "--name", self.name, "--data-dir"])
            .arg(self.data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", cluster])
            .args(["--initial-cluster-token", self.token, "--initial-cluster-state", "new"]);
        serve
    }

    /// Runs it until it is ready.
    fn ready(&self) -> Story {
        let mut story = Story::begin(self.command());
        story.expect("ready to serve client requests");
        story
    }

    /// It must refuse to start, with exit code 1; says what it says.
    #[track_caller]
    fn refused(&self) -> String {
        let mut story = Story::begin(self.command());
        let status = story.ended();
        let told = story.told.join("\n");
        assert_eq!(status.code(), Some(1), "{told}");
        assert!(!told.contains("panicked"), "{told}");
        told
    }
}

#[track_caller]
fn assert_says(told: &str, words: &[&str]) {
    for words in words {
        assert!(told.contains(words), "it should say {words:?}:\n{told}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().to_str().unwrap();
    let (client, peer) = first_ports();
    let (client_flag, peer_flag) = (client.to_string(), peer.to_string());
    let arguments =
        ["up", "--dir", directory, "--client-port", &client_flag, "--peer-port", &peer_flag];

    let taken = TcpListener::bind(("127.0.0.1", client)).unwrap();
    let told = failed(&driftless(arguments), 1);
    assert_says(&told, &[&format!("port {client} "), "in use", "--client-port"]);
    drop(taken);

    let third = peer + 30_000;
    let _taken = TcpListener::bind(("127.0.0.1", third)).unwrap();
    let told = failed(&driftless(arguments), 1);
    assert_says(&told, &[&format!("port {third} "), "n3", "in use", "--peer-port"]);
}

#[test]
fn serve_names_a_port_in_use() {
    let home = tempfile::tempdir().unwrap();
    let solo = Solo::new(home.path());
    let (client, peer) = solo.ports;
    for port in [client, peer] {
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert_says(&solo.refused(), &[&format!("127.0.0.1:{port}"), "in use"]);
    }
    solo.ready();
}

#[test]
fn unknown_flags_and_values_are_wrong_usage() {
    let wrong: [&[&str]; 9] = [
        &["up", "--knots", "3"],
        &["up", "--nodes", "0"],
        &["up", "--nodes", "7"],
        &["up", "--client-port", "70000"],
        &["get"],
        &["put", "key"],
        &["get", "key", "--endpoints", "nowhere"],
        &["bench", "push"],
        &["fetch"],
    ];
    for arguments in wrong {
        let output = command(DRIFTLESS).args(arguments).output().unwrap();
        let told = failed(&output, 2);
        assert_says(&told, &["error:"]);
    }
    let told = failed(&driftless(["up", "--nodes", "7"]), 2);
    assert_says(&told, &["1 to 6"]);
    let output = command(DRIFTLESS).args(["serve", "--name", "a", "--no-such-flag=1"]).output();
    assert_says(&failed(&output.unwrap(), 2), &["no-such-flag"]);
}

#[test]
fn a_directory_in_use_is_refused_and_unharmed() {
    let home = tempfile::tempdir().unwrap();
    let solo = Solo::new(home.path());
    let endpoint = format!("127.0.0.1:{}", solo.ports.0);
    let _running = solo.ready();
    succeeded(&driftless(["put", "--endpoints", &endpoint, "a", "1"]));

    let other = Solo { ports: first_ports(), ..solo };
    assert_says(&other.refused(), &[home.path().to_str().unwrap(), "another process"]);
    let verify = driftless(["log", "verify", home.path().to_str().unwrap()]);
    assert_says(&failed(&verify, 1), &["running"]);
    let answer = driftless(["get", "--endpoints", &endpoint, "--value-only", "a"]);
    assert_eq!(succeeded(&answer), "1\n");
}

#[test]
fn a_directory_of_another_cluster_is_refused_and_unharmed() {
    let home = tempfile::tempdir().unwrap();
    let solo = Solo::new(home.path());
    let endpoint = format!("127.0.0.1:{}", solo.ports.0);
    let running = solo.ready();
    succeeded(&driftless(["put", "--endpoints", &endpoint, "a", "1"]));
    drop(running);

    let told = Solo { token: "another", ..solo }.refused();
    let directory = home.path().to_str().unwrap();
    assert_says(&told, &[directory, "another cluster", "--initial-cluster-token", "--data-dir"]);

    let _running = solo.ready();
    let answer = driftless(["get", "--endpoints", &endpoint, "--value-only", "a"]);
    assert_eq!(succeeded(&answer), "1\n");
}

#[test]
fn a_directory_of_another_member_is_refused_and_unharmed() {
    let (first_home, second_home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first_ports, second_ports) = (first_ports(), first_ports());
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let cluster = format!("first={},second={}", url(first_ports.1), url(second_ports.1));
    let first = Solo {
        name: "first",
        ports: first_ports,
        cluster: Some(&cluster),
        ..Solo::new(first_home.path())
    };
    let second = Solo { name: "second", ports: second_ports, data: second_home.path(), ..first };
    // Alone it is not ready, but its directory is made.
    Story::begin(first.command()).expect("serving clients on");

    let told = Solo { data: first_home.path(), ..second }.refused();
    let directory = first_home.path().to_str().unwrap();
    assert_says(&told, &[directory, "another member", "--name", "--data-dir"]);

    let mut first = Story::begin(first.command());
    let _second = second.ready();
    first.expect("ready to serve client requests");
    let endpoint = format!("127.0.0.1:{}", first_ports.0);
    succeeded(&driftless(["put", "--endpoints", &endpoint, "a", "1"]));
}

#[test]
fn a_broken_config_file_is_refused_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("etcd.yaml");
    let serve = |content: &str| {
        std::fs::write(&file, content).unwrap();
        let output = command(DRIFTLESS).args(["serve", "--config-file"]).arg(&file).output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}: {told}", output.status);
        assert!(!told.contains("panicked"), "{told}");
        assert_says(&told, &["etcd.yaml"]);
        told
    };
    serve("name: [broken\n");
    assert_says(&serve("name: a\nno-such-setting: 1\n"), &["no-such-setting"]);
    assert_says(&serve("election-timeout: soon\n"), &["election-timeout"]);
    assert_says(&serve("nam: a\n"), &["`nam`", "did you mean `name`?"]);
    std::fs::remove_file(&file).unwrap();
    let missing = command(DRIFTLESS).args(["serve", "--config-file"]).arg(&file).output().unwrap();
    assert_says(&String::from_utf8_lossy(&missing.stderr), &["etcd.yaml"]);
    assert!(!missing.status.success());
}

#[test]
fn what_up_remembers_may_be_broken() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cluster.json");
    let directory = home.path().to_str().unwrap();
    for broken in ["", "{", "{\"format\": 1}", "[]", "\u{0}"] {
        std::fs::write(&file, broken).unwrap();
        let told = failed(&driftless(["up", "--dir", directory]), 1);
        assert_says(&told, &["cluster.json", "--dir"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), broken, "it is left as it is");
    }
    let newer =
        "{\"format\": 99, \"nodes\": 3, \"client_port\": 1, \"peer_port\": 2, \"token\": \"t\"}";
    std::fs::write(&file, newer).unwrap();
    assert_says(&failed(&driftless(["up", "--dir", directory]), 1), &["format 99"]);
}

#[test]
fn nobody_there_is_told_apart() {
    let (client, _) = first_ports();
    let endpoint = format!("127.0.0.1:{client}");
    let told = failed(&driftless(["get", "--endpoints", &endpoint, "a"]), 3);
    assert_says(&told, &[&endpoint, "refused", "driftless up"]);
    failed(&driftless(["put", "--endpoints", &endpoint, "a", "1"]), 3);
    failed(&driftless(["status", "--endpoints", &endpoint]), 3);
    failed(&driftless(["watch", "--endpoints", &endpoint, "a"]), 3);
    failed(&driftless(["bench", "put", "--endpoints", &endpoint]), 3);
    // One that listens and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = mute.local_addr().unwrap().to_string();
    let told = failed(&driftless(["get", "--endpoints", &endpoint, "--timeout", "0.2", "a"]), 3);
    assert_says(&told, &[&endpoint, "0.2 s"]);
}

/// Sends bytes to a port and reads until it is closed or silent.
fn send(endpoint: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(endpoint).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("it is not zero");
    // It may be closed before all is written: that is an answer, too.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.take(1 << 20).read_to_end(&mut answer);
}

#[test]
fn garbage_and_giants_leave_a_cluster_well() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path());
    let endpoints = up.all_endpoints();
    succeeded(&driftless(["put", "--endpoints", &endpoints, "a", "1"]));

    // To a peer: one of the right length that is none, and one far too long.
    let mut no_frame = vec![0x5a; 64];
    no_frame[..4].copy_from_slice(&64_u32.to_le_bytes());
    let mut giant = vec![0x5a; 64];
    giant[..4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let garbage: [&[u8]; 8] = [
        &no_frame,
        &giant,
        b"GET / HTTP/1.1\r\nHost: somebody\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0xff; 4096],
        &[0; 4096],
        b"\x00\x00\x00\x00",
        b"",
    ];
    for client in &up.endpoints {
        let (host, port) = client.split_once(':').unwrap();
        // The peer port of `first_ports` is the next one.
        let peer = format!("{host}:{}", port.parse::<u16>().unwrap() + 1);
        for bytes in garbage {
            send(client, bytes);
            send(&peer, bytes);
        }
    }

    for member in ["n1", "n2", "n3"] {
        let log = std::fs::read_to_string(home.path().join(member).with_extension("log")).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        // One line for each stream that brought no frame; what was cut short is
        // nobody's fault.
        let complaints = log.lines().filter(|line| line.contains("no peer frame"));
        let complaints: Vec<&str> = complaints.collect();
        assert_eq!(complaints.len(), 5, "{log}");
        assert!(complaints.iter().all(|line| line.contains("from 127.0.0.1:")), "{complaints:?}");
        assert!(log.contains("checksum does not match (from 127.0.0.1:"), "{log}");
    }

    for (bytes, words) in [(2_000_000, "request is too large"), (5_000_000, "driftless:")] {
        let mut put = command(DRIFTLESS)
            .args(["put", "--endpoints", &endpoints, "giant", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        put.stdin.take().unwrap().write_all(&vec![b'x'; bytes]).unwrap();
        let output = put.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{bytes} bytes are too many");
        assert_says(&told, &[words]);
    }

    let answer = driftless(["get", "--endpoints", &endpoints, "--prefix", "", "--json"]);
    let answer = succeeded(&answer);
    assert_says(&answer, &["\"count\":1", "\"value\":\"1\""]);
    succeeded(&driftless(["status", "--endpoints", &endpoints]));
    assert!(!up.story.told.iter().any(|line| line.contains("died")), "{:?}", up.story.told);
    up.stop();
}

#[test]
fn whoever_stops_reading_is_left_in_peace() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path());
    let endpoints = up.all_endpoints();
    let value = "v".repeat(100_000);
    for key in ["a", "b", "c", "d"] {
        succeeded(&driftless(["put", "--endpoints", &endpoints, key, &value]));
    }
    let mut get = command(DRIFTLESS)
        .args(["get", "--endpoints", &endpoints, "--prefix", ""])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(get.stdout.take());
    let output = get.wait_with_output().unwrap();
    assert_eq!(failed(&output, 0), "");
    up.stop();
}
