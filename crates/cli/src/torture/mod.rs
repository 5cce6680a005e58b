//! `driftless torture`: real processes on real disks, killed and paused at
//! random while clients read and write; then everything they were told is held
//! against what is there.

mod checks;
mod clients;
mod nemesis;
mod record;
mod reshape;

use crate::failure::{Context, Failure};
use crate::output::print;
use crate::process::{Launcher, Member, is_free};
use checks::Ledger;
use clap::Args;
use clients::Scene;
use driftless_sim::random::Random;
use nemesis::Nemesis;
use record::Record;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep};

/// Kill and pause the members of a real cluster, and check what it promised
#[derive(Args)]
#[command(after_help = "\
In each round some members, the leader above all, are killed (SIGKILL) or paused
(SIGSTOP) for a while and then brought back, while clients write, read, swap,
compare-and-set and delete. In every tenth round one is away until the others have
compacted their logs beyond what it holds, so that it must be sent a snapshot. In
the end:
  - every write that was acknowledged is there, once, at the revision it was told;
  - what the clients saw is linearizable; answers that never came count as unknown;
  - a watcher that was there all the time was told all of it, in order, once;
  - all members have the same hash of their state, and their logs verify on disk.

The seed decides what is done to whom and for how long. How the operating system
schedules the processes is not in its power: a run is repeated in kind, not bit
for bit. `driftless sim` does that.

With --reshape the cluster grows from one member to three and five, shrinks to three,
and then has every member replaced by a new one, with the leader moved and removed and
now and then somebody killed on the way, under the same load and the same checks.

Examples:
  driftless torture --rounds 1000
  driftless torture --reshape")]
pub(crate) struct TortureArguments {
    /// How many times to strike
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Add, remove and replace members instead of striking them
    #[arg(long, conflicts_with_all = ["rounds", "nodes"])]
    reshape: bool,
    /// What decides who is struck and how; drawn if it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// How many members
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// How many clients
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=200))]
    clients: u32,
    /// Where the members' data goes [default: a new directory for temporary files,
    /// removed if all went well]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How long a member waits for a leader before it stands for election
    #[arg(long, value_name = "MS", default_value_t = 500)]
    election_timeout: u64,
    /// A member takes a snapshot after so many entries: few, so that logs are
    /// compacted and members that were away are sent snapshots; 0 leaves it to
    /// `serve`
    #[arg(long, value_name = "ENTRIES", default_value_t = 1000)]
    snapshot_count: u64,
    /// A flag for `serve`, more than once if need be
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    serve_flag: Vec<String>,
}

/// How many rounds share one set of keys. Each set is checked when clients have
/// moved on to the next, so that a long run needs no more memory than a short one.
const ROUNDS_PER_EPOCH: u32 = 5;

/// In every so many rounds a member is away until it needs a snapshot.
const ROUNDS_PER_ABSENCE: u32 = 10;

/// Entries that members keep behind a snapshot.
const CATCHUP_ENTRIES: u64 = 100;

/// How long a cluster with all members in place may take to serve again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it.
pub(crate) fn run(arguments: &TortureArguments) -> Result<(), Failure> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32().context("cannot draw a seed")?),
    };
    let (directory, is_temporary) = directory(arguments, seed)?;
    let plan = if arguments.reshape {
        "members come and go".to_owned()
    } else {
        format!("{} rounds, {} members", arguments.rounds, arguments.nodes)
    };
    print(&format!(
        "torture: seed {seed}, {plan}, {} clients, in {}\n",
        arguments.clients,
        directory.display()
    ))?;
    let nodes = if arguments.reshape { reshape::MEMBERS } else { arguments.nodes };
    let launcher = Launcher {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        members: members(nodes, seed)?,
        token: format!("torture-{seed}"),
        heartbeat: Duration::from_millis((arguments.election_timeout / 10).max(1)),
        election_timeout: Duration::from_millis(arguments.election_timeout),
        more: Vec::new(),
        directory: directory.clone(),
    };
    let launcher = Launcher { more: serve_flags(arguments), ..launcher };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        if arguments.reshape {
            reshape::reshape(arguments.clients, seed, launcher).await
        } else {
            torture(arguments, seed, launcher).await
        }
    });
    match outcome {
        Ok(()) if is_temporary => std::fs::remove_dir_all(&directory)
            .context(format!("all went well, but cannot remove {}", directory.display())),
        Ok(()) => Ok(()),
        Err(Failure::Failed(message)) => Err(Failure::new(format!(
            "torture FAILED with seed {seed}: {message}\n\
             The members' data and logs are in {}.",
            directory.display()
        ))),
        Err(failure) => Err(failure),
    }
}

fn serve_flags(arguments: &TortureArguments) -> Vec<String> {
    let mut flags = Vec::new();
    if arguments.snapshot_count > 0 {
        flags.push(format!("--snapshot-count={}", arguments.snapshot_count));
        flags.push(format!("--snapshot-catchup-entries={CATCHUP_ENTRIES}"));
    }
    // The last of two flags counts.
    flags.extend(arguments.serve_flag.iter().cloned());
    flags
}

/// Clients and a watcher at work, and what they were told.
struct Load {
    scene: Rc<Scene>,
    clients: JoinSet<()>,
    watcher: JoinSet<()>,
    ledger: Rc<RefCell<Ledger>>,
}

impl Load {
    fn start(endpoints: Vec<String>, clients: u32, random: &mut Random) -> Self {
        let scene = Rc::new(Scene {
            endpoints: RefCell::new(endpoints),
            began: Instant::now(),
            epoch: Cell::new(0),
            record: RefCell::new(Record::default()),
        });
        let mut tasks = JoinSet::new();
        for number in 1..=clients {
            tasks.spawn_local(clients::client(scene.clone(), number, random.split()));
        }
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        let mut watcher = JoinSet::new();
        watcher.spawn_local(checks::watch_all(scene.clone(), ledger.clone()));
        Self { scene, clients: tasks, watcher, ledger }
    }

    /// Waits until a write that was sent after now is acknowledged, while all
    /// members are `alive`.
    async fn await_service(
        &self,
        mut alive: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let since = self.scene.now_ns();
        let deadline = Instant::now() + PATIENCE;
        while self.scene.record.borrow().latest_acknowledged_invocation_ns() < since {
            alive()?;
            self.scene.record.borrow().check_unexpected()?;
            checks::expired(deadline, "no write was acknowledged")?;
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Clients go on with other registers, and what they saw of the last ones is
    /// checked.
    async fn next_epoch(&self) -> Result<(), Failure> {
        let scene = &self.scene;
        scene.epoch.set(scene.epoch.get() + 1);
        checks::compact(scene, &self.ledger).await;
        checks::check_past_epochs(scene).await
    }

    /// Stops the clients and holds what they were told against what is there; the
    /// hash that all members have.
    async fn settle(&mut self) -> Result<u32, Failure> {
        print("all members are in place: checking what they promised\n")?;
        let scene = &self.scene;
        self.clients.shutdown().await;
        scene.record.borrow_mut().abandon();
        scene.epoch.set(scene.epoch.get() + 1);
        checks::check_past_epochs(scene).await?;
        let ledger_state = checks::read_ledger(scene).await?;
        checks::check_ledger(&scene.record.borrow(), &ledger_state)?;
        checks::check_watcher(&self.ledger, &ledger_state).await?;
        self.watcher.shutdown().await;
        checks::check_hashes(scene).await
    }

    fn summary(&self, hash: u32) -> String {
        let (record, ledger) = (self.scene.record.borrow(), self.ledger.borrow());
        format!(
            "{}\n{} acknowledged writes are all there, once; a watcher was told each of {} \
             changes\nthe history is linearizable; all members have the hash {hash:08x}; their \
             logs verify\n",
            record.summary(),
            record.ledger_acknowledged(),
            ledger.told(),
        )
    }
}

async fn torture(
    arguments: &TortureArguments,
    seed: u64,
    launcher: Launcher,
) -> Result<(), Failure> {
    let mut random = Random::new(seed);
    let endpoints = launcher.members.iter().map(Member::endpoint).collect();
    let mut nemesis = Nemesis::start(launcher, random.split())?;
    let mut load = Load::start(endpoints, arguments.clients, &mut random);
    load.await_service(|| nemesis.check_alive()).await?;

    for round in 1..=arguments.rounds {
        let is_absence =
            round % ROUNDS_PER_ABSENCE == 0 && arguments.snapshot_count > 0 && arguments.nodes > 2;
        let told = if is_absence { nemesis.absence().await? } else { nemesis.strike().await? };
        let healed = Instant::now();
        load.await_service(|| nemesis.check_alive()).await?;
        if is_absence {
            nemesis.await_snapshot().await?;
        }
        let took = healed.elapsed().as_millis();
        let rounds = arguments.rounds;
        print(&format!("round {round}/{rounds}: {told}; serving again {took} ms later\n"))?;
        nemesis.rest().await;
        if round % ROUNDS_PER_EPOCH == 0 {
            load.next_epoch().await?;
        }
    }

    let hash = load.settle().await?;
    nemesis.check_alive()?;
    nemesis.note_snapshots().await;
    nemesis.stop_and_verify().await?;
    nemesis.check_variety(arguments.rounds, arguments.snapshot_count > 0)?;
    load.scene.record.borrow().check_variety()?;
    print(&format!(
        "{}\n{}torture passed: {} rounds, seed {seed}, {:.0} s\n",
        nemesis.summary(),
        load.summary(hash),
        arguments.rounds,
        load.scene.began.elapsed().as_secs_f64(),
    ))
}

fn directory(arguments: &TortureArguments, seed: u64) -> Result<(PathBuf, bool), Failure> {
    if let Some(directory) = &arguments.dir {
        let shown = directory.display();
        let is_empty =
            std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            return Err(Failure::new(format!("{shown} is not empty: name a new directory")));
        }
        std::fs::create_dir_all(directory).context(format!("cannot make {shown}"))?;
        return Ok((directory.clone(), false));
    }
    let name = format!("driftless-torture-{seed}-{}", std::process::id());
    let directory = Path::new(&std::env::temp_dir()).join(name);
    let shown = directory.display();
    std::fs::create_dir(&directory).context(format!("cannot make {shown}"))?;
    Ok((directory, true))
}

/// Members on ports that are free, below those that the system gives to
/// outgoing connections: one of these could take a dead member's port.
fn members(nodes: u16, seed: u64) -> Result<Vec<Member>, Failure> {
    const LOWEST: u64 = 10_000;
    const HIGHEST: u64 = 32_000;
    let mut random = Random::new(seed ^ u64::from(std::process::id()));
    for _ in 0..1_000 {
        let first = random.between(LOWEST, HIGHEST) as u16;
        if (first..first + 2 * nodes).all(is_free) {
            let member = |number: u16| Member {
                name: format!("n{}", number + 1),
                client_port: first + 2 * number,
                peer_port: first + 2 * number + 1,
            };
            return Ok((0..nodes).map(member).collect());
        }
    }
    Err(Failure::new(format!(
        "no {} neighbouring free ports between {LOWEST} and {HIGHEST}: what uses them all?",
        2 * nodes
    )))
}
