//! A member as a process of its own.

use super::PATIENCE;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What both programs log when they serve; tools wait for these words.
const READY: &str = "ready to serve client requests";

/// The program of etcd (`$ETCD`, or `etcd`), and the version that it says it is.
/// It is not always there; then what needs it shows nothing, and says so.
pub(crate) fn etcd() -> Option<(PathBuf, String)> {
    let program = std::env::var_os("ETCD").unwrap_or_else(|| "etcd".into());
    let said = Command::new(&program).arg("--version").output();
    let version = said.ok().and_then(|said| {
        let text = String::from_utf8(said.stdout).ok()?;
        Some(text.lines().next()?.strip_prefix("etcd Version: ")?.to_owned())
    });
    if version.is_none() {
        skipped("nothing to compare with: no etcd on this machine (Debian: etcd-server)");
    }
    version.map(|version| (program.into(), version))
}

/// Says that a test shows nothing, and why: past the test harness, which would
/// keep to itself what a test prints that does not fail.
fn skipped(why: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {why}").expect("somebody reads what tests say");
}

/// A member. Dropped, it is killed.
pub(crate) struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) name: String,
    pub(crate) client_url: String,
    pub(crate) peer_url: String,
    log: PathBuf,
    /// Its input stays open, which is what Driftless stays for.
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(
        program: PathBuf,
        arguments: Vec<String>,
        name: String,
        client_url: String,
        peer_url: String,
        log: PathBuf,
    ) -> Self {
        Self { program, arguments, name, client_url, peer_url, log, child: None }
    }

    /// Starts it, for the first time or again, with a log of its own.
    pub(crate) fn start(&mut self) {
        File::create(&self.log).unwrap();
        let log = || OpenOptions::new().append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(log()).stderr(log());
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!("cannot start {}: {error}", self.program.display()),
        }
    }

    /// Waits until it serves.
    pub(crate) fn expect_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if log.contains(READY) {
                return;
            }
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} ended with {status} before it served:\n{log}", self.name);
            }
            assert!(Instant::now() < deadline, "{} does not serve:\n{log}", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it with SIGKILL: nothing is written that was not.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // An error says that it is dead already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
