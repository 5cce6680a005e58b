//! Puts and reads on three members in one process, over real sockets and real
//! disks, by clients that sit on the leader's own thread as a server's
//! connections would:
//!
//!     cargo run --release -p driftless --example bench -- [CLIENTS [SECONDS [BYTES [put|read]]]]
//!
//! Says throughput, latency, and where the processor's time went by thread.

use driftless::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use driftless::{Builder, Bytes, Handle, Metrics, NodeId, Running};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::net::TcpListener;
use std::time::Duration;
use tokio::time::Instant;

/// Counts, and keeps nothing.
struct Sink(u64);

impl StateMachine for Sink {
    type Reader = ();

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        self.0 += batch.commands.len() as u64;
        batch.commands.iter().map(|_| Bytes::new()).collect()
    }

    fn reader(&self) {}

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        Box::new(io::Cursor::new(self.0.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> Result<(), RestoreError> {
        let mut count = [0; 8];
        snapshot.read_exact(&mut count)?;
        self.0 = u64::from_le_bytes(count);
        Ok(())
    }
}

const MEMBERS: u64 = 3;

#[derive(Clone, Copy, PartialEq)]
enum Load {
    Put,
    Read,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| -> Result<u64, Box<dyn Error>> {
        Ok(args.get(at).map(|arg| arg.parse()).transpose()?.unwrap_or(otherwise))
    };
    let (clients, seconds, bytes) = (number(0, 256)?, number(1, 5)?, number(2, 256)?);
    let load = if args.get(3).is_some_and(|load| load == "read") { Load::Read } else { Load::Put };

    let directory = tempfile::tempdir_in(".")?;
    let addresses: Vec<String> = (0..MEMBERS)
        .map(|_| Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string()))
        .collect::<io::Result<_>>()?;
    let mut running: Vec<Running<Sink>> = Vec::new();
    for id in (1..=MEMBERS).map(NodeId) {
        let mut builder = Builder::new(id, "bench", directory.path().join(id.to_string()), Sink(0));
        for (id, address) in (1..).map(NodeId).zip(&addresses) {
            builder = builder.member(id, address);
        }
        running.push(builder.start()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut status = running[0].handle().watch_status();
        let leader = status.wait_for(|status| status.leader.is_some()).await?.leader;
        let leader = running.iter().find(|node| Some(node.node_id()) == leader).ok_or("gone")?;
        measure(leader, load, clients, Duration::from_secs(1), bytes).await?;

        let (cpu, metrics) = (cpu_by_thread()?, leader.handle().metrics());
        let began = Instant::now();
        let mut took = measure(leader, load, clients, Duration::from_secs(seconds), bytes).await?;
        let wall = began.elapsed().as_secs_f64();
        took.sort_unstable();
        let ops = took.len();
        let at = |share: f64| took[((ops as f64 * share) as usize).min(ops - 1)];
        println!("{clients} clients, {:.0} ops/s", ops as f64 / wall);
        println!("p50 {} µs, p99 {} µs, max {} µs", at(0.5), at(0.99), at(1.0));
        let mut total = 0.0;
        for (thread, after) in cpu_by_thread()? {
            let micros = (after - cpu.get(&thread).copied().unwrap_or(0)) as f64 / 1e3;
            total += micros;
            if micros / ops as f64 > 0.05 {
                println!("{thread:>20} {:7.2} µs of processor per op", micros / ops as f64);
            }
        }
        println!("{:>20} {:7.2} µs", "together", total / ops as f64);
        tell(&metrics, &leader.handle().metrics(), ops as u64);
        Ok::<(), Box<dyn Error>>(())
    })?;
    for node in running {
        runtime.block_on(node.stop());
    }
    Ok(())
}

/// Closed-loop clients on the node's own thread; the time of each operation.
async fn measure(
    node: &Running<Sink>,
    load: Load,
    clients: u64,
    time: Duration,
    bytes: u64,
) -> Result<Vec<u32>, Box<dyn Error>> {
    let until = Instant::now() + time;
    let command = Bytes::from(vec![7; bytes as usize]);
    let client = |handle: Handle<Sink>, command: Bytes| async move {
        let mut took = Vec::new();
        loop {
            let began = Instant::now();
            if began >= until {
                return Ok::<_, driftless::RequestError>(took);
            }
            let deadline = began + Duration::from_secs(5);
            match load {
                Load::Put => drop(handle.propose(command.clone(), deadline).await?),
                Load::Read => handle.read_barrier(deadline).await?,
            }
            took.push(began.elapsed().as_micros() as u32);
        }
    };
    let tasks: Vec<_> = (0..clients)
        .map(|_| node.runtime().spawn(client(node.handle(), command.clone())))
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.append(&mut task.await??);
    }
    Ok(took)
}

/// Nanoseconds on a processor, by thread.
fn cpu_by_thread() -> io::Result<BTreeMap<String, u64>> {
    let mut cpu = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?.trim().to_owned();
        let stat = fs::read_to_string(task.join("schedstat"))?;
        let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
        *cpu.entry(name).or_default() += nanos.unwrap_or(0);
    }
    Ok(cpu)
}

fn tell(before: &Metrics, after: &Metrics, ops: u64) {
    let turns = after.messages_per_turn.count() - before.messages_per_turn.count();
    let syncs = after.fsyncs - before.fsyncs;
    let writes = after.writes_out - before.writes_out;
    let frames = after.frames_out - before.frames_out;
    println!(
        "the leader, a turn: {:.1} ops; a sync: {:.1} ops, {} µs; a write to peers: {:.1} frames",
        ops as f64 / turns as f64,
        ops as f64 / syncs as f64,
        (after.fsync_us.sum - before.fsync_us.sum).checked_div(syncs).unwrap_or(0),
        frames as f64 / writes as f64,
    );
    print!("its syncs by time:");
    let buckets = after.fsync_us.buckets.iter().zip(&before.fsync_us.buckets);
    for (power, (after, before)) in buckets.enumerate() {
        if after > before {
            print!(" {} up to {} µs,", after - before, 1_u64 << power);
        }
    }
    println!();
}
