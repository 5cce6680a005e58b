//! Three real processes count while whoever leads is killed: nothing that was
//! acknowledged is lost, and nothing is counted twice.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const MEMBERS: usize = 3;
const CLIENTS_EACH: usize = 4;
const ROUNDS: usize = 5;
/// Far more than anything here takes; a wait past it is a failure.
const PATIENCE: Duration = Duration::from_secs(40);

struct Cluster {
    directory: tempfile::TempDir,
    peers: Vec<SocketAddr>,
    clients: Vec<SocketAddr>,
    processes: Vec<Option<Child>>,
}

impl Cluster {
    fn start() -> Self {
        let addresses = free_addresses(2 * MEMBERS);
        let (peers, clients) = addresses.split_at(MEMBERS);
        let mut cluster = Self {
            directory: tempfile::tempdir().unwrap(),
            peers: peers.to_vec(),
            clients: clients.to_vec(),
            processes: (0..MEMBERS).map(|_| None).collect(),
        };
        for member in 0..MEMBERS {
            cluster.start_member(member);
        }
        cluster
    }

    /// Starts a member and returns once it listens to clients.
    fn start_member(&mut self, member: usize) {
        let peers: Vec<String> = self.peers.iter().map(SocketAddr::to_string).collect();
        let directory: PathBuf = self.directory.path().join(member.to_string());
        let mut process = Command::new(env!("CARGO_BIN_EXE_counter"))
            .arg((member + 1).to_string())
            .arg(peers.join(","))
            .arg(self.clients[member].to_string())
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        self.processes[member] = Some(process);
        assert_eq!(line, "ready\n");
    }

    /// SIGKILL.
    fn kill(&mut self, member: usize) {
        let mut process = self.processes[member].take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn ask(&self, member: usize, what: &str) -> u64 {
        let answer = Connection::open(self.clients[member]).unwrap().ask(what).unwrap();
        answer.parse().unwrap_or_else(|_| panic!("{what}: {answer}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Addresses that nobody listened on a moment ago.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, what: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{what}\n").as_bytes())?;
        let mut answer = String::new();
        if self.0.read_line(&mut answer)? == 0 || !answer.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

/// What a client saw.
enum Seen {
    /// Acknowledged, with this count.
    Counted { member: usize, count: u64 },
    /// The connection broke before the answer came: counted, or not.
    Unknown { member: usize },
    /// The member refused.
    Refused { member: usize, why: String },
}

/// Counts through `member` until told to stop.
fn count(member: usize, address: SocketAddr, stop: &AtomicBool, seen: &mpsc::Sender<Seen>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(address) else {
            thread::yield_now(); // It is dead just now.
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let outcome = match connection.ask("incr") {
                Ok(answer) => match answer.parse() {
                    Ok(count) => Seen::Counted { member, count },
                    Err(_) => Seen::Refused { member, why: answer },
                },
                Err(_) => Seen::Unknown { member },
            };
            let broken = matches!(outcome, Seen::Unknown { .. });
            let _ = seen.send(outcome);
            if broken {
                break;
            }
        }
    }
}

/// All that the clients saw, judged as it comes.
#[derive(Default)]
struct Ledger {
    counts: BTreeSet<u64>,
    unknown: [usize; MEMBERS],
    kills: [usize; MEMBERS],
}

impl Ledger {
    /// Takes in what a client saw; says who acknowledged it.
    fn add(&mut self, seen: Seen) -> Option<usize> {
        match seen {
            Seen::Counted { member, count } => {
                assert!(self.counts.insert(count), "{count} was given out twice");
                Some(member)
            }
            Seen::Unknown { member } => {
                self.unknown[member] += 1;
                // Each kill cuts off a client once, and once more where it comes
                // back while the process is still dying. The others know exactly.
                let most = self.kills[member] * CLIENTS_EACH * 2;
                assert!(self.unknown[member] <= most, "member {} leaves clients alone", member + 1);
                None
            }
            Seen::Refused { member, why } => panic!("member {} refused: {why}", member + 1),
        }
    }

    /// Waits for `wanted` acknowledgements that are new and not by `dead`.
    fn wait_for(&mut self, wanted: usize, seen: &mpsc::Receiver<Seen>, dead: Option<usize>) {
        while let Ok(old) = seen.try_recv() {
            self.add(old);
        }
        let until = Instant::now() + PATIENCE;
        let mut acknowledged = 0;
        while acknowledged < wanted {
            let left = until.saturating_duration_since(Instant::now());
            let seen = seen.recv_timeout(left).expect("the others go on counting");
            if self.add(seen).is_some_and(|member| Some(member) != dead) {
                acknowledged += 1;
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_counted_twice() {
    let mut cluster = Cluster::start();
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, seen) = mpsc::channel();
    let mut clients = Vec::new();
    for member in (0..MEMBERS).flat_map(|member| [member; CLIENTS_EACH]) {
        let (address, stop, sender) = (cluster.clients[member], stop.clone(), sender.clone());
        clients.push(thread::spawn(move || count(member, address, &stop, &sender)));
    }
    drop(sender);

    let mut ledger = Ledger::default();
    let mut asked = 0;
    for _ in 0..ROUNDS {
        ledger.wait_for(100, &seen, None);
        let leader = usize::try_from(cluster.ask(asked, "leader")).unwrap() - 1;
        ledger.kills[leader] += 1;
        cluster.kill(leader);
        // The others elect one of themselves and finish what was under way.
        ledger.wait_for(100, &seen, Some(leader));
        cluster.start_member(leader);
        asked = (leader + 1) % MEMBERS;
    }
    ledger.wait_for(100, &seen, None);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    for rest in seen {
        ledger.add(rest);
    }

    let acknowledged = ledger.counts.len() as u64;
    let counted = cluster.ask(0, "get");
    for member in 1..MEMBERS {
        assert_eq!(cluster.ask(member, "get"), counted, "member {}", member + 1);
    }
    let unknown = ledger.unknown.iter().sum::<usize>() as u64;
    assert!(unknown > 0, "no client was ever cut off: the kills proved nothing");
    assert!(ledger.counts.last().is_some_and(|last| *last <= counted));
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&counted),
        "{counted} counted, {acknowledged} acknowledged, {unknown} unknown"
    );
}
