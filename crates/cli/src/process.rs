//! Members of a cluster as child processes of this one.

use crate::failure::{Context, Failure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// The flag by which `serve` ends with the process that started it, told by
/// its standard input. Not for people.
pub(crate) const UNTIL_STDIN_CLOSES: &str = "--until-stdin-closes";

/// How long a member may take to stop before it is killed.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Where a member lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
}

impl Member {
    /// Where clients reach it.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Where its peers reach it.
    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }
}

/// What a member without data begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// A founder of the cluster, with all others.
    Founding,
    /// A new member of a cluster that runs, to which it was added.
    Joining,
    /// A member that lost its data.
    Replacing,
}

/// A cluster whose members are started from here.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    /// This program.
    pub(crate) program: PathBuf,
    /// Holds each member's data and log.
    pub(crate) directory: PathBuf,
    pub(crate) members: Vec<Member>,
    /// Tells this cluster from every other.
    pub(crate) token: String,
    pub(crate) heartbeat: Duration,
    pub(crate) election_timeout: Duration,
    /// More flags for `serve`.
    pub(crate) more: Vec<String>,
}

impl Launcher {
    /// The directory of a member's data.
    pub(crate) fn data_dir(&self, member: &Member) -> PathBuf {
        self.directory.join(&member.name)
    }

    /// The file that a member's output is added to.
    pub(crate) fn log_file(&self, member: &Member) -> PathBuf {
        self.directory.join(format!("{}.log", member.name))
    }

    /// All endpoints, joined with commas.
    pub(crate) fn endpoints(&self) -> String {
        let endpoints: Vec<String> = self.members.iter().map(Member::endpoint).collect();
        endpoints.join(",")
    }

    /// Starts a member that has data, or begins with all others.
    pub(crate) fn start(&self, member: &Member) -> Result<Process, Failure> {
        self.start_as(Begins::Founding, member)
    }

    /// Starts a member, which begins like this if it has no data.
    pub(crate) fn start_as(&self, begins: Begins, member: &Member) -> Result<Process, Failure> {
        let log_path = self.log_file(member);
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log_path)
            .context(format!("cannot open {}", log_path.display()))?;
        let log_from =
            log.seek(SeekFrom::End(0)).context(format!("cannot use {}", log_path.display()))?;
        let share = || log.try_clone().context(format!("cannot use {}", log_path.display()));

        let mut command = Command::new(&self.program);
        command
            .args(self.serve_arguments(begins, member))
            .stdin(Stdio::piped())
            .stdout(share()?)
            .stderr(share()?)
            // Its own group: a Ctrl-C at the terminal is for us, who pass it on.
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        let program = self.program.display();
        let mut child = command.spawn().context(format!("cannot start {program}"))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32));
        let lifeline = child.stdin.take();
        let (Some(pid), Some(lifeline)) = (pid, lifeline) else {
            return Err(Failure::new(format!("{program} ended as soon as it was started")));
        };
        Ok(Process { child, pid, _lifeline: lifeline, log_path, log_from })
    }

    fn serve_arguments(&self, begins: Begins, member: &Member) -> Vec<String> {
        let client_url = format!("http://{}", member.endpoint());
        let peer_url = member.peer_url();
        let cluster: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}={}", member.name, member.peer_url()))
            .collect();
        let state = if begins == Begins::Joining { "existing" } else { "new" };
        let flags = [
            ("--name", member.name.clone()),
            ("--data-dir", self.data_dir(member).display().to_string()),
            ("--listen-client-urls", client_url.clone()),
            ("--advertise-client-urls", client_url),
            ("--listen-peer-urls", peer_url.clone()),
            ("--initial-advertise-peer-urls", peer_url),
            ("--initial-cluster", cluster.join(",")),
            ("--initial-cluster-state", state.to_owned()),
            ("--initial-cluster-token", self.token.clone()),
            ("--heartbeat-interval", self.heartbeat.as_millis().to_string()),
            ("--election-timeout", self.election_timeout.as_millis().to_string()),
        ];
        let mut arguments = vec!["serve".to_owned(), UNTIL_STDIN_CLOSES.to_owned()];
        arguments.extend(flags.into_iter().map(|(flag, value)| format!("{flag}={value}")));
        if begins == Begins::Replacing {
            arguments.push("--replace-lost-disk".to_owned());
        }
        arguments.extend(self.more.iter().cloned());
        arguments
    }
}

/// Whether nobody listens there.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A running member. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// Closed when this process ends, in whatever way; then the member stops.
    _lifeline: ChildStdin,
    log_path: PathBuf,
    log_from: u64,
}

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        self.child.wait().await.context(format!("cannot wait for process {}", self.pid))
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // `id` is `None` once it was waited for: its number may be another's then.
        if self.child.id().is_some() {
            // It may have ended at this very moment, which `wait` will say.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().context(format!("cannot wait for process {}", self.pid))
    }

    /// Asks it to stop, and kills it if it does not. Says how it ended, if it
    /// did when it was asked.
    pub(crate) async fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        let end = timeout(STOP_PATIENCE, self.wait()).await;
        if end.is_err() {
            self.kill().await;
        }
        end.ok()?.ok()
    }

    /// Kills it, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        // Nothing outlives that signal; an error says that it was waited for.
        let _ = self.wait().await;
    }

    /// The last lines of what it printed.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let text = self.read_log().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
    }

    fn read_log(&self) -> std::io::Result<String> {
        const BYTES_MAX: u64 = 64 << 10;
        let mut file = File::open(&self.log_path)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(self.log_from.max(end.saturating_sub(BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// How a process ended, for a person.
pub(crate) fn describe_end(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let known = [
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::BUS, "SIGBUS"),
        (Signal::QUIT, "SIGQUIT"),
    ];
    let name = known.iter().find(|(known, _)| known.as_raw() == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
