//! `driftless up`: a real cluster on this machine in one command.

mod heal;
mod home;
mod leadership;
mod story;
mod supervise;

use crate::failure::{Context, Failure};
use crate::process::{Launcher, STOP_PATIENCE};
use clap::Args;
use heal::{Data, Ward, has_data};
use home::Home;
use leadership::Leadership;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use story::{Story, tell};
use supervise::{Change, Charge, supervise};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Start a real, durable cluster on this machine
#[derive(Args)]
#[command(after_help = "\
Each member is a process of its own with its own data under --dir; what it logs
stands in DIR/NAME.log. A member that dies is started again; one whose data directory is
deleted is brought back by the others, if they are a majority. Ctrl-C (or SIGTERM) stops them all; a second Ctrl-C does so at once. The same command in the same
place goes on with the same data.

The first member serves clients at --client-port and its peers at --peer-port;
member K adds K times 10000 to both: 2379, 22379, 32379, ...

Examples:
  driftless up
  driftless up --nodes 5 --dir /var/tmp/five
  driftless up --nodes 1                 a single durable member")]
pub(crate) struct UpArguments {
    /// How many members, 1 to 6 [default: 3, or as many as there are in DIR]
    #[arg(long, value_parser = parse_nodes)]
    nodes: Option<u16>,
    /// Where the data is kept; made if it is missing
    #[arg(long, default_value = "./driftless-data")]
    dir: PathBuf,
    /// The first member's port for clients [default: 2379, or as before in DIR]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    client_port: Option<u16>,
    /// The first member's port for its peers [default: 2380, or as before in DIR]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    peer_port: Option<u16>,
    /// How often a leader shows that it is there, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    heartbeat_interval: u64,
    /// How long a member waits for a leader before it stands for election
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    election_timeout: u64,
    /// Answer reads by lease; says that clocks gain or lose no more than so many millionths
    /// (`driftless serve --help`)
    #[arg(long, value_name = "PPM", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    read_lease_drift_ppm: Option<u32>,
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(nodes @ 1..=6) => Ok(nodes),
        _ => Err("a cluster on one machine has 1 to 6 members: \
                  each needs its own ports, 10000 apart, and there are only 65535"
            .to_owned()),
    }
}

/// Runs until a signal says to stop.
pub(crate) fn run(arguments: &UpArguments) -> Result<(), Failure> {
    let home = Home::open(arguments)?;
    let launcher = Launcher {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        directory: home.directory.clone(),
        members: home.members.clone(),
        token: home.token.clone(),
        heartbeat: Duration::from_millis(arguments.heartbeat_interval),
        election_timeout: Duration::from_millis(arguments.election_timeout),
        more: more_flags(arguments),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    // `home` holds the directory's lock until all members have ended.
    runtime.block_on(keep_up(home, launcher))
}

/// What every member is told beside its place.
fn more_flags(arguments: &UpArguments) -> Vec<String> {
    // Whoever deletes a directory here means it.
    let mut flags = vec!["--readmit-lost-disks".to_owned()];
    if let Some(ppm) = arguments.read_lease_drift_ppm {
        flags.push(format!("--read-lease-drift-ppm={ppm}"));
    }
    flags
}

/// What every member has of its data before any of them runs.
fn take_stock(home: &Home, launcher: &Launcher) -> Result<Vec<Data>, Failure> {
    let has_lost = |name: &str, member| {
        home.is_removed(name) || home.has_begun(name) && !has_data(&launcher.data_dir(member))
    };
    let data: Vec<Data> = launcher
        .members
        .iter()
        .map(|member| if has_lost(&member.name, member) { Data::Gone } else { Data::Sound })
        .collect();
    if data.contains(&Data::Sound) {
        return Ok(data);
    }
    let shown = home.directory.display();
    Err(Failure::new(format!(
        "no member has its data directory in {shown} any more: all that the cluster held is gone, \
         unless you have a copy to put back. To begin anew with nothing, choose another --dir, or \
         remove {shown}."
    )))
}

async fn keep_up(mut home: Home, launcher: Launcher) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let ward = Arc::new(Ward::new(take_stock(&home, &launcher)?));
    let (stop, stopping) = watch::channel(false);
    let (changes, mut changed) = mpsc::channel(64);
    let mut supervisors = JoinSet::new();
    let mut story = Story::new(&launcher);
    for (at, member) in launcher.members.iter().enumerate() {
        if home.is_removed(&member.name) {
            story.removed(at);
            continue;
        }
        let (changes, stopping) = (changes.clone(), stopping.clone());
        tokio::spawn(leadership::poll(member.clone(), at, changes.clone()));
        let begun = home.has_begun(&member.name);
        let (launcher, ward) = (launcher.clone(), ward.clone());
        supervisors.spawn(supervise(Charge { launcher, at, begun, ward, changes, stopping }));
    }
    drop(changes);

    let mut leadership = Leadership::new(launcher.members.len());
    let mut failing = BTreeSet::new();
    let mut failure = None;
    loop {
        let change = tokio::select! {
            name = signals.next() => {
                let patience = STOP_PATIENCE.as_secs();
                tell(&format!(
                    "{name}: stopping all members; what has not stopped in {patience} s is killed"
                ));
                break;
            }
            Some(change) = changed.recv() => change,
        };
        match change {
            Change::Started { at, pid } => story.started(at, pid),
            Change::Died(death) => {
                leadership.forget(death.at);
                if death.failures_at_start >= FAILURES_AT_START_MAX {
                    failing.insert(death.at);
                }
                let rest = launcher.members.len() - failing.len();
                if !story.is_ready() && rest <= launcher.members.len() / 2 {
                    failure = Some(story.hopeless(&death));
                    break;
                }
                story.died(&death);
            }
            Change::CannotStart(reason) => {
                failure = Some(reason);
                break;
            }
            Change::Begun { at } => home.note_begun(&launcher.members[at].name)?,
            Change::Lost { at } => story.lost(at),
            Change::LostForGood { at } => story.lost_for_good(at),
            Change::Replaced { at, aside } => {
                leadership.forget(at);
                story.replaced(at, aside.as_deref());
            }
            Change::Recovered { at, recovery } => story.recovered(at, recovery),
            Change::Removed { at } => {
                leadership.forget(at);
                home.note_removed(&launcher.members[at].name)?;
                story.removed(at);
            }
            Change::Answered { at, answer } => {
                if answer.is_some() {
                    failing.remove(&at);
                }
                leadership.heard(at, answer, Instant::now());
                if let Some(news) = leadership.news(Instant::now()) {
                    story.leadership(&news);
                }
                story.maybe_ready(&leadership);
            }
        }
    }

    stop.send_replace(true);
    let all_ended = async { while supervisors.join_next().await.is_some() {} };
    tokio::select! {
        () = all_ended => {}
        // Dropping the supervisors kills what is left.
        _ = signals.next() => tell("again: killing what is left"),
    }
    supervisors.shutdown().await;
    tell("all members have ended");
    failure.map_or(Ok(()), Err)
}

/// A member that fails so often in a row will not do better; where that leaves
/// no majority, a cluster that has not served yet is given up.
const FAILURES_AT_START_MAX: u32 = 3;

/// What asks this process to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
