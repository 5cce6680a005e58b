//! openraft's setting: three members in one process, in memory, and clients that
//! each wait for one empty command after the other, through the library's handle.
//!
//!     clients [CLIENTS [SECONDS [apart|together]]]
//!
//! `together` (the default): clients and members share one thread, as a server's
//! connections would; `apart`: clients have a thread of their own.

use driftless::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use driftless::{Bytes, Handle, LocalCluster, NodeId};
use std::error::Error;
use std::io::{self, Read};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// Does nothing.
struct Nothing;

impl StateMachine for Nothing {
    type Reader = ();

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        batch.commands.iter().map(|_| Bytes::new()).collect()
    }

    fn reader(&self) {}

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        Box::new(io::Cursor::new(Vec::new()))
    }

    fn restore(&mut self, _: &mut dyn Read) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| -> Result<u64, Box<dyn Error>> {
        Ok(arguments.get(at).map(|number| number.parse()).transpose()?.unwrap_or(otherwise))
    };
    let (clients, seconds) = (number(0, 256)?, number(1, 3)?);
    let is_apart = arguments.get(2).is_some_and(|way| way == "apart");
    let options = |id: NodeId| {
        let mut options = LocalCluster::<Nothing>::options(id);
        options.raft.election_timeout_us = 1_000_000;
        // What nobody asks for any more goes, instead of filling memory: the benchmark of
        // openraft makes a snapshot every 5,000 entries and keeps 1,000.
        options.snapshot_every_entries = 10_000;
        options.retained_entries = 5_000;
        options.cache_bytes_max = 4 << 20;
        options
    };
    let runtime = || Builder::new_current_thread().enable_time().build();
    let here: Runtime = runtime()?;
    if is_apart {
        let cluster = LocalCluster::start_with(3, options, |_| Nothing)?;
        here.block_on(measure(&cluster, clients, seconds, true))
    } else {
        here.block_on(async {
            let cluster = LocalCluster::start_on_current(3, options, |_| Nothing)?;
            measure(&cluster, clients, seconds, false).await
        })
    }
}

async fn measure(
    cluster: &LocalCluster<Nothing>,
    clients: u64,
    seconds: u64,
    is_apart: bool,
) -> Result<(), Box<dyn Error>> {
    let leader = cluster.leader().await;
    run(&leader, clients, Duration::from_millis(500)).await?;
    let (before, began, cpu) = (leader.metrics(), Instant::now(), cpu_nanos()?);
    let done = run(&leader, clients, Duration::from_secs(seconds)).await?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_nanos()? - cpu);
    let after = leader.metrics();
    let turns = after.messages_per_turn.count() - before.messages_per_turn.count();
    println!(
        "{clients} clients {}: {:.0} ops/s, {} ns of processor an op, {:.1} ops a turn of the leader",
        if is_apart { "apart" } else { "together" },
        done as f64 / took,
        cpu / done.max(1),
        done as f64 / turns.max(1) as f64,
    );
    Ok(())
}

/// Closed-loop clients on this runtime; how many commands were applied.
async fn run(
    leader: &Handle<Nothing>,
    clients: u64,
    time: Duration,
) -> Result<u64, Box<dyn Error>> {
    let until = Instant::now() + time;
    let client = |handle: Handle<Nothing>| async move {
        let mut done = 0;
        let deadline = until + Duration::from_secs(5);
        // A look at the clock now and then is enough.
        loop {
            for _ in 0..16 {
                handle.propose(Bytes::new(), deadline).await?;
                done += 1;
            }
            if Instant::now() >= until {
                return Ok::<u64, driftless::RequestError>(done);
            }
        }
    };
    let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(client(leader.clone()))).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(done)
}

/// What this process has had of the processors.
fn cpu_nanos() -> io::Result<u64> {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    }
    Ok(nanos)
}
