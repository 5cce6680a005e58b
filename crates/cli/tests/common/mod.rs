//! What the tests share: a cluster of `driftless up`, commands, ports, and
//! waiting for what shall be.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod cluster;
pub(crate) mod network;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes so long on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const DRIFTLESS: &str = env!("CARGO_BIN_EXE_driftless");

/// First ports for clients and peers such that those of three members are free.
/// All are below the range that the system gives to outgoing connections.
pub(crate) fn first_ports() -> (u16, u16) {
    const FIRST: u16 = 1_100;
    const COUNT: u16 = 800;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let client = FIRST + (begin + turn) % COUNT * 2;
        let peer = client + 1;
        let all =
            [client, peer].into_iter().flat_map(|first| [0, 20_000, 30_000].map(|n| first + n));
        if all.into_iter().all(is_free) {
            return (client, peer);
        }
    }
    panic!("no free ports");
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Polls until `found` says what it found.
pub(crate) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come about: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program under test to its end.
pub(crate) fn driftless<const COUNT: usize>(arguments: [&str; COUNT]) -> Output {
    command(DRIFTLESS).args(arguments).output().expect("it was built")
}

/// A command that knows nothing of the caller's clusters.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &str| {
        ["ETCD_", "ETCDCTL_", "DRIFTLESS_"].iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
}

/// A number without labels in a member's `/metrics`, if it answers.
pub(crate) fn metric(endpoint: &str, name: &str) -> Option<u64> {
    let text = get(endpoint, "/metrics").ok()?;
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next()?.trim().parse().ok()
}

/// What a member answers to a plain GET, head and all.
pub(crate) fn get(endpoint: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What comes of a change of members once all are seen to be healthy: that takes links
/// that have lasted for five seconds.
pub(crate) fn once_healthy(mut run: impl FnMut() -> Output) -> Output {
    eventually("the cluster is healthy", || {
        let output = run();
        let told = String::from_utf8_lossy(&output.stderr);
        (!told.contains("unhealthy cluster")).then_some(output)
    })
}

/// What was printed on stdout by a command that must succeed.
#[track_caller]
pub(crate) fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

/// What was printed on stderr by a command that must fail with this exit code.
#[track_caller]
pub(crate) fn failed(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// Whether a process is there and not merely waiting to be reaped.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| !rest.starts_with(" Z")))
        .unwrap_or(false)
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id is not 0");
    kill_process(pid, signal).expect("it is ours");
}

/// A child process whose lines are read as they come. Dropped, it is killed.
pub(crate) struct Story {
    child: Child,
    lines: Receiver<String>,
    /// Everything so far, for the reader of a failure.
    pub(crate) told: Vec<String>,
}

impl Story {
    pub(crate) fn begin(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let also = send.clone();
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|l| send.send(l).is_ok()));
        thread::spawn(move || stderr.lines().map_while(Result::ok).all(|l| also.send(l).is_ok()));
        Self { child, lines, told: Vec::new() }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for a line that contains `words`.
    #[track_caller]
    pub(crate) fn expect(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.told.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{words:?} was not told in time:\n{}", self.told.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{words:?} was not told before the end:\n{}", self.told.join("\n"))
                }
            }
        }
    }

    /// Waits for its end, and takes the rest of its lines.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = eventually("the process ends", || self.child.try_wait().expect("it is ours"));
        self.told.extend(self.lines.iter());
        status
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster of `driftless up` that is ready.
pub(crate) struct Up {
    pub(crate) story: Story,
    /// Of the members, n1 first.
    pub(crate) pids: Vec<i32>,
    pub(crate) endpoints: Vec<String>,
    pub(crate) leader_pid: i32,
}

impl Up {
    /// Starts a cluster of three on ports that are free.
    pub(crate) fn start(directory: &Path) -> Self {
        let (client, peer) = first_ports();
        Self::start_with(
            directory,
            &["--client-port", &client.to_string(), "--peer-port", &peer.to_string()],
        )
    }

    pub(crate) fn start_with(directory: &Path, arguments: &[&str]) -> Self {
        let mut up = command(DRIFTLESS);
        up.arg("up").arg("--dir").arg(directory).args(arguments);
        let mut story = Story::begin(up);
        story.expect("ready after");
        story.expect("MEMBER");
        let (mut pids, mut endpoints) = (Vec::new(), Vec::new());
        loop {
            let line = story.expect("");
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, endpoint, _, pid, _] = words[..] else { break };
            endpoints.push(endpoint.to_owned());
            pids.push(pid.parse().expect("all members run"));
        }
        let hint = story.expect("kill -9");
        let leader_pid = hint.split_whitespace().nth(2).and_then(|pid| pid.parse().ok());
        let leader_pid = leader_pid.expect("the hint names a process");
        Self { story, pids, endpoints, leader_pid }
    }

    /// All endpoints, as `--endpoints` takes them.
    pub(crate) fn all_endpoints(&self) -> String {
        self.endpoints.join(",")
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        signal(self.story.pid(), Signal::TERM);
        let status = self.story.ended();
        assert_eq!(status.code(), Some(0), "{}", self.story.told.join("\n"));
        assert!(self.story.told.last().is_some_and(|line| line.contains("all members have ended")));
    }
}

/// `driftless` as a client of these members.
pub(crate) struct Client {
    pub(crate) endpoints: String,
}

impl Client {
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command(DRIFTLESS);
        command.args(arguments).env("DRIFTLESS_ENDPOINTS", &self.endpoints);
        command.output().expect("it was built")
    }

    /// What it says when it succeeds, as it must.
    #[track_caller]
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        succeeded(&self.run(arguments))
    }

    /// The same of a change of members.
    #[track_caller]
    pub(crate) fn changes(&self, arguments: &[&str]) -> String {
        succeeded(&once_healthy(|| self.run(arguments)))
    }

    /// The one line of what it says with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let said = self.changes(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).expect("one line of JSON")
    }
}
