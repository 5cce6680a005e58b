//! `driftless bench`: how fast is a cluster? A closed loop: each client sends
//! its next request when the last one was answered.

mod connection;
mod cpu;
mod report;
mod snapshots;

use crate::client::{Endpoint, describe};
use crate::failure::{Context, Failure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use connection::Connection;
use cpu::CpuTimes;
use driftless_server::pb;
use driftless_sim::random::Random;
use hdrhistogram::Histogram;
use report::{Progress, Report};
use snapshots::DuringSnapshots;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Status;

/// Measure how fast a cluster is
#[derive(Args)]
#[command(after_help = "\
All load comes from one thread of this process, in a closed loop; it is itself
part of what is measured, above all when it runs on the same machine. Quote the
server's CPU time per operation (--pids) beside throughput: it is the steadier
figure.

Examples:
  driftless bench put --clients 256 --connections 32 --seconds 10
  driftless bench get --load --keyspace 10000
  driftless bench mixed --read-percent 95 --pids 4711,4712,4713 --json
  driftless bench put --load --keyspace 1000000 --value-size 1024 --seconds 60 \\
    --during-snapshots                   with members that take some meanwhile: see
                                         `driftless serve --help` for --snapshot-count")]
pub(crate) struct BenchArguments {
    /// What to do all the time
    #[arg(value_enum)]
    workload: Workload,
    /// Members to talk to, HOST:PORT, with commas; connections are shared out among them
    #[arg(
        long,
        env = "DRIFTLESS_ENDPOINTS",
        value_delimiter = ',',
        value_name = "ENDPOINTS",
        default_value = "127.0.0.1:2379"
    )]
    endpoints: Vec<Endpoint>,
    /// Requests on their way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Connections [default: one for each eight clients]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// Bytes of each value
    #[arg(long, default_value_t = 256, value_name = "BYTES")]
    value_size: usize,
    /// How many keys there are; each request takes one at random
    #[arg(long, default_value_t = 100_000, value_name = "KEYS", value_parser = clap::value_parser!(u64).range(1..))]
    keyspace: u64,
    /// How long to measure
    #[arg(long, default_value = "10", value_parser = crate::client::seconds)]
    seconds: Duration,
    /// How long to run before that
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = crate::client::seconds)]
    warmup: Duration,
    /// In `mixed`: how many requests of a hundred read
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(0..=100))]
    read_percent: u8,
    /// Write every key once before all else
    #[arg(long)]
    load: bool,
    /// Processes whose CPU time to count (the servers', on this machine)
    #[arg(long, value_delimiter = ',', value_name = "PIDS")]
    pids: Vec<u32>,
    /// Tell apart what is answered while a member writes a snapshot
    #[arg(long)]
    during_snapshots: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Store values
    Put,
    /// Linearizable reads
    Get,
    /// Reads of whatever the member at the other end has
    GetSerializable,
    /// Linearizable reads and puts
    Mixed,
}

/// No request is waited for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that was refused waits before it asks again, as people do.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

/// Runs it.
pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let report = LocalSet::new().block_on(&runtime, measure(arguments))?;
    report.print(arguments.json)
}

async fn measure(arguments: &BenchArguments) -> Result<Report, Failure> {
    let connections = arguments.connections.unwrap_or_else(|| arguments.clients.div_ceil(8));
    let mut opened = Vec::new();
    for number in 0..connections as usize {
        let endpoint = &arguments.endpoints[number % arguments.endpoints.len()];
        let connection = Connection::open(endpoint, PATIENCE).await.map_err(|reason| {
            Failure::Unreachable(format!(
                "bench: {endpoint}: {reason}\n\
                 Is a cluster running? `driftless up` starts one; --endpoints says where another is."
            ))
        })?;
        opened.push(Rc::new(connection));
    }
    if arguments.load {
        load(arguments, &opened).await?;
    }

    // Reads the pids before any load, so that a wrong one is known at once.
    CpuTimes::read(&arguments.pids)?;
    let begin = Instant::now() + arguments.warmup;
    let end = begin + arguments.seconds;
    let tally = Rc::new(RefCell::new(Tally::new(begin, end)));
    let mut seeds = Random::new(u64::from(std::process::id()));
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients as usize {
        let client = Client {
            connection: opened[number % opened.len()].clone(),
            random: seeds.split(),
            workload: arguments.workload,
            read_percent: u64::from(arguments.read_percent),
            keyspace: arguments.keyspace,
            value: vec![b'x'; arguments.value_size].into(),
        };
        clients.spawn_local(client.run(tally.clone()));
    }

    if arguments.during_snapshots {
        tally.borrow_mut().during_snapshots = Some(DuringSnapshots::new());
        clients.spawn_local(snapshots::poll(arguments.endpoints.clone(), tally.clone()));
    }

    sleep_until(begin).await;
    let cpu_before = CpuTimes::read(&arguments.pids)?;
    let mut progress = Progress::new(arguments.json, arguments.seconds);
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + Duration::from_millis(200))).await;
        progress.show(begin.elapsed(), tally.borrow().latencies_us.len());
    }
    progress.clear();
    let cpu = CpuTimes::read(&arguments.pids)?.since(&cpu_before);
    clients.shutdown().await;
    let tally = tally.replace(Tally::new(begin, end));
    Ok(Report::new(arguments, connections, tally, &cpu))
}

/// What all clients have seen within the measured time.
struct Tally {
    begin: Instant,
    end: Instant,
    latencies_us: Histogram<u64>,
    reads: u64,
    /// Reads that found no key.
    misses: u64,
    errors: BTreeMap<String, u64>,
    during_snapshots: Option<DuringSnapshots>,
}

const LATENCY_US_MAX: u64 = 60_000_000;

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .expect("1 µs to 1 min to three digits is within what it can hold")
}

impl Tally {
    fn new(begin: Instant, end: Instant) -> Self {
        Self {
            begin,
            end,
            latencies_us: new_histogram(),
            reads: 0,
            misses: 0,
            errors: BTreeMap::new(),
            during_snapshots: None,
        }
    }

    fn count(&mut self, asked: Instant, answer: Result<Answer, Status>) {
        let now = Instant::now();
        if now < self.begin || now >= self.end {
            return;
        }
        match answer {
            Ok(answer) => {
                let took_us = (now - asked).as_micros().max(1) as u64;
                self.latencies_us.saturating_record(took_us);
                if let Some(during) = &mut self.during_snapshots {
                    during.count(asked, took_us);
                }
                self.reads += u64::from(answer != Answer::Stored);
                self.misses += u64::from(answer == Answer::Missed);
            }
            Err(status) => *self.errors.entry(describe(&status)).or_default() += 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Stored,
    Found,
    Missed,
}

struct Client {
    connection: Rc<Connection>,
    random: Random,
    workload: Workload,
    read_percent: u64,
    keyspace: u64,
    value: Bytes,
}

impl Client {
    async fn run(mut self, tally: Rc<RefCell<Tally>>) {
        loop {
            let asked = Instant::now();
            let answer = match timeout(PATIENCE, self.ask()).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("no answer")),
            };
            let failed = answer.is_err();
            tally.borrow_mut().count(asked, answer);
            if failed {
                sleep(PAUSE_AFTER_ERROR).await;
                self.connection.mend(PATIENCE).await;
            }
        }
    }

    async fn ask(&mut self) -> Result<Answer, Status> {
        let key = key(self.random.below(self.keyspace));
        let is_read = match self.workload {
            Workload::Put => false,
            Workload::Get | Workload::GetSerializable => true,
            Workload::Mixed => self.random.chance(self.read_percent, 100),
        };
        if !is_read {
            let value = self.value.clone();
            put(&self.connection, key, value).await?;
            return Ok(Answer::Stored);
        }
        let serializable = self.workload == Workload::GetSerializable;
        let request = pb::RangeRequest { key, serializable, ..Default::default() };
        let found: pb::RangeResponse = self.connection.call(RANGE, &request).await?;
        Ok(if found.count > 0 { Answer::Found } else { Answer::Missed })
    }
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

async fn put(connection: &Connection, key: Bytes, value: Bytes) -> Result<(), Status> {
    let request = pb::PutRequest { key, value, ..Default::default() };
    connection.call::<pb::PutResponse>(PUT, &request).await.map(drop)
}

fn key(number: u64) -> Bytes {
    format!("bench/{number:010}").into_bytes().into()
}

/// Writes all keys, as many at a time as there are clients.
async fn load(arguments: &BenchArguments, opened: &[Rc<Connection>]) -> Result<(), Failure> {
    let mut progress = Progress::new(arguments.json, Duration::ZERO);
    let value = Bytes::from(vec![b'x'; arguments.value_size]);
    let mut writes = JoinSet::new();
    for number in 0..arguments.keyspace {
        if writes.len() >= arguments.clients as usize {
            loaded(writes.join_next().await)?;
        }
        let connection = opened[number as usize % opened.len()].clone();
        let value = value.clone();
        writes.spawn_local(async move { put(&connection, key(number), value).await });
        if number % 1_000 == 0 {
            progress.show_load(number, arguments.keyspace);
        }
    }
    while !writes.is_empty() {
        loaded(writes.join_next().await)?;
    }
    progress.clear();
    Ok(())
}

fn loaded(
    written: Option<Result<Result<(), Status>, tokio::task::JoinError>>,
) -> Result<(), Failure> {
    match written {
        Some(Ok(Err(status))) => {
            Err(Failure::new(format!("bench: loading the keys: {}", describe(&status))))
        }
        Some(Err(error)) => Err(Failure::new(format!("bench: loading the keys: {error}"))),
        Some(Ok(Ok(()))) | None => Ok(()),
    }
}
