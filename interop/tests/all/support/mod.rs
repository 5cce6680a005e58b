//! What the tests share: members as processes, and free ports for them.

mod process;

pub(crate) use process::{Process, etcd};

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing that is waited for takes so long on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of processes, each with a directory of its own. Dropped, they are
/// killed and their data is gone.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Process>,
    _home: TempDir,
}

impl Cluster {
    /// Starts as many members of Driftless, and waits until they serve.
    pub(crate) fn driftless(members: usize) -> Self {
        Self::start(&driftless(), &["serve", "--until-stdin-closes"], members)
    }

    /// As many of etcd; see [`etcd`] for its program.
    pub(crate) fn etcd(program: &Path, members: usize) -> Self {
        Self::start(program, &[], members)
    }

    fn start(program: &Path, first: &[&str], members: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ports: Vec<(u16, u16)> = (0..members).map(|_| (free_port(), free_port())).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peers: Vec<String> =
            (1..).zip(&ports).map(|(n, (_, peer))| format!("m{n}={}", url(*peer))).collect();
        let members = (1..).zip(&ports).map(|(n, (client, peer))| {
            let name = format!("m{n}");
            let flags = [
                ("name", name.clone()),
                ("data-dir", home.path().join(&name).display().to_string()),
                ("listen-client-urls", url(*client)),
                ("advertise-client-urls", url(*client)),
                ("listen-peer-urls", url(*peer)),
                ("initial-advertise-peer-urls", url(*peer)),
                ("initial-cluster", peers.join(",")),
                ("initial-cluster-state", "new".to_owned()),
                ("initial-cluster-token", home.path().display().to_string()),
                ("heartbeat-interval", "50".to_owned()),
                ("election-timeout", "500".to_owned()),
            ];
            let mut arguments: Vec<String> = first.iter().map(|&word| word.to_owned()).collect();
            arguments.extend(flags.iter().map(|(flag, value)| format!("--{flag}={value}")));
            let log = home.path().join(format!("{name}.log"));
            Process::new(program.to_path_buf(), arguments, name, url(*client), url(*peer), log)
        });
        let mut members: Vec<Process> = members.collect();
        members.iter_mut().for_each(Process::start);
        members.iter_mut().for_each(Process::expect_ready);
        Self { members, _home: home }
    }

    /// Where clients reach the members.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client_url.clone()).collect()
    }
}

/// The program under test, which is built before these tests are:
/// `$DRIFTLESS`, or where `cargo build --bins` leaves it.
fn driftless() -> PathBuf {
    if let Some(program) = std::env::var_os("DRIFTLESS") {
        return program.into();
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // What is relative is so to the directory that cargo was called in, which
    // is the root where the documents say how.
    let program = root.join(target).join("debug/driftless");
    assert!(
        program.exists(),
        "there is no {}: first `cargo build --bins`, or say where it is in $DRIFTLESS",
        program.display()
    );
    program
}

/// A port that nobody has, below those that the system gives to outgoing
/// connections.
fn free_port() -> u16 {
    const FIRST: u16 = 24_000;
    const COUNT: u16 = 6_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port is free")
}

/// Asks again until `found` says what it found.
pub(crate) async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come about: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
