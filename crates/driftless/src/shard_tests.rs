//! The shard's turns, with a node in its place that does as it is told.

use super::*;
use crate::error::NodeFailure;
use crate::handle::{Handle, Shared};
use crate::log_thread::{LogThread, LogWork};
use crate::snapshot_thread::{SnapshotFiles, SnapshotOutcome};
use bytes::Bytes;
use driftless_node::log::{Record, Room, SnapshotMeta};
use driftless_node::machine::{
    AppliedPosition, Batch, Durable, RestoreError, Snapshot, StateMachine,
};
use driftless_node::raft::{
    GroupId, HardState, Index, Membership, NodeId, Position, Role, Term, Ticket,
};
use driftless_node::{ApplyJob, LogDone};
use std::sync::atomic::{AtomicU64, Ordering};

/// A cluster of one without an algorithm: what is proposed is logged, then
/// applied, then answered. Some commands are orders to the node itself.
#[derive(Default)]
struct Obedient {
    queued: Vec<(RequestToken, Bytes)>,
    logging: VecDeque<(RequestToken, Bytes)>,
    applying: Vec<RequestToken>,
    ready: VecDeque<(RequestToken, Bytes)>,
    wake_at: Option<Time>,
    woken: Arc<AtomicU64>,
    next: u64,
}

impl Host for Obedient {
    fn handle(&mut self, moment: Moment, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Client(ClientRequest::Propose { token, command, deadline }) => {
                match &command[..] {
                    b"stop" => actions.push(Action::Stop(StopReason::LogFailed("told".into()))),
                    b"panic" => panic!("as told"),
                    b"load" => {
                        let meta = SnapshotMeta {
                            last: Position::ZERO,
                            membership: Membership::default(),
                        };
                        actions.push(Action::Snapshot(SnapshotJob::Load { meta }));
                        self.ready.push_back((token, command));
                    }
                    b"wake" => {
                        self.wake_at = Some(deadline);
                        assert!(moment.now < deadline);
                        self.ready.push_back((token, command));
                    }
                    _ => self.queued.push((token, command)),
                }
            }
            Event::Client(ClientRequest::Read { token, .. }) => {
                actions.push(Action::Answer { token, answer: Answer::ReadReady });
            }
            Event::Log(LogDone::Appended { ticket, .. }) => {
                assert_eq!(ticket.0, self.next);
                self.ready.append(&mut self.logging);
            }
            Event::Applied { replies } => {
                for (token, reply) in self.applying.drain(..).zip(replies) {
                    let position = Position::new(1, 1);
                    let answer = Answer::Applied { position, reply };
                    actions.push(Action::Answer { token, answer });
                }
            }
            Event::Snapshot(SnapshotDone::Loaded { result }) => {
                assert!(result.is_ok());
            }
            Event::Wake => {
                assert!(self.wake_at.take().is_some_and(|at| at <= moment.now));
                self.woken.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("unexpected"),
        }
        let loading = actions.iter().any(|action| matches!(action, Action::Snapshot(_)));
        if self.wake_at.is_none() && !loading && self.applying.is_empty() && !self.ready.is_empty()
        {
            let commands = self.ready.iter().map(|(_, command)| command.clone()).collect();
            self.applying.extend(self.ready.drain(..).map(|(token, _)| token));
            actions.push(Action::Apply(ApplyJob { through: Position::ZERO, commands }));
        }
    }

    fn flush(&mut self, _: Moment, actions: &mut Vec<Action>) {
        if self.queued.is_empty() || !self.logging.is_empty() {
            return;
        }
        self.logging.extend(self.queued.drain(..));
        self.next += 1;
        let record = Record {
            group: GroupId(1),
            hard_state: HardState::default(),
            truncate_from: None,
            snapshot: None,
            entries: Vec::new().into(),
        };
        actions.push(Action::Log(LogJob::Append { ticket: Ticket(self.next), record }));
    }

    fn deadline(&self) -> Option<Time> {
        self.wake_at
    }

    fn status(&self) -> Status {
        status()
    }

    fn members(&self) -> Members {
        Members::default()
    }

    fn reached(&self) -> BTreeMap<NodeId, Time> {
        BTreeMap::new()
    }

    fn reads_by_lease(&self) -> u64 {
        0
    }

    fn apply<M: StateMachine>(&self, machine: &mut M, job: &ApplyJob) -> Event {
        let batch = Batch {
            through: AppliedPosition::default(),
            commands: &job.commands,
            sidecar: &|_| Bytes::new(),
        };
        Event::Applied { replies: machine.apply(&batch) }
    }
}

fn status() -> Status {
    Status {
        node_id: NodeId(1),
        role: Role::Leader,
        term: Term(1),
        leader: Some(NodeId(1)),
        first_index: Index(1),
        last: Position::ZERO,
        commit_index: Index(0),
        durable_index: Index(0),
        applied_index: Index(0),
        snapshot: None,
        low_space: false,
        is_witness: false,
    }
}

/// Replies with each command, and with how many came before.
#[derive(Default)]
struct Echo(u64);

impl StateMachine for Echo {
    type Reader = ();

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        let reply = |command: &Bytes| {
            self.0 += 1;
            format!("{} {}", self.0, String::from_utf8_lossy(command)).into()
        };
        batch.commands.iter().map(reply).collect()
    }

    fn reader(&self) {}

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        unreachable!("not told to")
    }

    fn restore(&mut self, _: &mut dyn std::io::Read) -> Result<(), RestoreError> {
        self.0 = 1_000;
        Ok(())
    }
}

/// A disk that takes its time: each turn waits until the test lets it go.
struct SlowLog(std::sync::mpsc::Receiver<()>);

impl LogWork for SlowLog {
    fn run(&mut self, jobs: &mut VecDeque<LogJob>, done: &mut Vec<LogDone>) -> Option<Duration> {
        if self.0.recv().is_err() {
            jobs.clear();
            return None;
        }
        for job in jobs.drain(..) {
            let LogJob::Append { ticket, .. } = job else { panic!("unexpected") };
            done.push(LogDone::Appended { ticket, room: Room::default() });
        }
        None
    }

    fn idle(&mut self, _: &mut Vec<LogDone>) -> Duration {
        Duration::from_secs(60)
    }
}

struct Files;

impl SnapshotFiles<Echo> for Files {
    fn run(&mut self, work: SnapshotWork<Echo>) -> SnapshotOutcome<Echo> {
        let SnapshotWork::Load { mut machine, .. } = work else { panic!("unexpected") };
        machine.restore(&mut std::io::empty()).unwrap();
        let done = Some(SnapshotDone::Loaded { result: Ok(Some(Bytes::new())) });
        SnapshotOutcome { done, machine: Some(machine) }
    }
}

struct World {
    handle: Handle<Echo>,
    disk: std::sync::mpsc::Sender<()>,
    woken: Arc<AtomicU64>,
}

fn start(client_bytes_max: usize) -> World {
    let inbox = Arc::new(Inbox::new(client_bytes_max));
    let counters = Arc::<Counters>::default();
    let clock = Clock::start();
    let (disk, slow) = std::sync::mpsc::channel();
    let log = LogThread::start("log".into(), SlowLog(slow), inbox.clone(), counters.clone());
    let snapshots = SnapshotThread::start("snapshots".into(), Files, inbox.clone());
    let (status_out, status_in) = watch::channel(status());
    let (members_out, members) = watch::channel(Members::default());
    let (reached_out, reached) = watch::channel(BTreeMap::new());
    let (ended_out, ended_in) = watch::channel(None);
    let host = Obedient::default();
    let woken = host.woken.clone();
    let shard = Shard::new(
        host,
        Echo::default(),
        inbox.clone(),
        log.unwrap(),
        snapshots.unwrap(),
        clock,
        fastrand::Rng::with_seed(1),
        counters.clone(),
        Shown { status: status_out, members: members_out, reached: reached_out },
        Dialler::of_nobody(),
    );
    tokio::spawn(async move {
        let ended = shard.run().await.map_err(NodeFailure::Stopped);
        ended_out.send_replace(Some(ended));
    });
    let (status, ended) = (status_in, ended_in);
    let shared = Shared { inbox, clock, reader: (), status, members, reached, counters, ended };
    World { handle: Handle::new(shared), disk, woken }
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn what_gathers_while_the_disk_works_is_one_batch() {
    let world = start(1 << 20);
    let propose = |n: u32| {
        let handle = world.handle.clone();
        tokio::spawn(async move { handle.propose(n.to_string().into(), soon()).await })
    };
    let first = propose(0);
    while world.handle.metrics().proposals < 1 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (1..=100).map(propose).collect();
    while world.handle.metrics().proposals < 101 {
        tokio::task::yield_now().await;
    }
    world.disk.send(()).unwrap();
    world.disk.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap().reply, "1 0");
    for (n, other) in (1..).zip(others) {
        assert_eq!(other.await.unwrap().unwrap().reply, format!("{} {n}", n + 1));
    }
    let metrics = world.handle.metrics();
    assert_eq!(metrics.records_per_turn.count(), 2, "one write for the first, one for the rest");
    assert_eq!(metrics.applied, 101);
    world.handle.read_barrier(soon()).await.unwrap();
    assert_eq!(world.handle.metrics().reads, 1);
}

#[tokio::test]
async fn handles_work_from_other_threads_and_runtimes() {
    let world = start(1 << 20);
    for _ in 0..100 {
        world.disk.send(()).unwrap();
    }
    let handle = world.handle.clone();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for n in 1..=100 {
                let reply = handle.propose("x".into(), soon()).await.unwrap().reply;
                assert_eq!(reply, format!("{n} x"));
            }
        });
    });
    while !other.is_finished() {
        tokio::task::yield_now().await;
    }
    other.join().unwrap();
}

#[tokio::test]
async fn the_machine_is_away_while_it_loads_and_comes_back_changed() {
    let world = start(1 << 20);
    let reply = world.handle.propose("load".into(), soon()).await.unwrap().reply;
    assert_eq!(reply, "1001 load");
    assert_eq!(world.handle.metrics().snapshots_loaded, 1);
}

#[tokio::test]
async fn the_node_is_woken_at_its_deadline() {
    let world = start(1 << 20);
    let at = tokio::time::Instant::now() + Duration::from_millis(30);
    world.handle.propose("wake".into(), at).await.unwrap();
    assert!(tokio::time::Instant::now() >= at);
    assert_eq!(world.woken.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn too_much_at_once_is_refused_at_the_door() {
    let world = start(10_000);
    let big = || world.handle.propose(vec![0; 6_000].into(), soon());
    // The first has been pushed, and the shard has had no turn since.
    let mut one = Box::pin(big());
    assert!(poll_fn(|context| Poll::Ready(one.as_mut().poll(context))).await.is_pending());
    let two = big().await;
    world.disk.send(()).unwrap();
    let one = one.await;
    assert!(one.is_ok());
    assert_eq!(two, Err(RequestError::Busy));
    world.disk.send(()).unwrap();
    assert!(big().await.is_ok(), "there is room again");
}

#[tokio::test]
async fn stopping_answers_everybody() {
    let world = start(1 << 20);
    let handle = world.handle.clone();
    let waiting = tokio::spawn(async move { handle.propose("slow".into(), soon()).await });
    while world.handle.metrics().proposals < 1 {
        tokio::task::yield_now().await;
    }
    drop(world.disk);
    let handle = world.handle.clone();
    world.handle.stop().await;
    assert_eq!(waiting.await.unwrap(), Err(RequestError::Stopped));
    assert_eq!(handle.propose("late".into(), soon()).await, Err(RequestError::Stopped));
    assert_eq!(handle.ended().await, Ok(()));
}

#[tokio::test]
async fn a_node_that_stops_by_itself_says_why() {
    let world = start(1 << 20);
    let handle = world.handle.clone();
    assert_eq!(handle.propose("stop".into(), soon()).await, Err(RequestError::Stopped));
    let why = NodeFailure::Stopped(StopReason::LogFailed("told".into()));
    assert_eq!(handle.ended().await, Err(why));
}

#[tokio::test]
async fn a_node_that_panics_leaves_nobody_waiting() {
    let world = start(1 << 20);
    let handle = world.handle.clone();
    let waiting = tokio::spawn(async move { handle.propose("slow".into(), soon()).await });
    while world.handle.metrics().proposals < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.handle.propose("panic".into(), soon()).await, Err(RequestError::Stopped));
    assert_eq!(waiting.await.unwrap(), Err(RequestError::Stopped));
    assert_eq!(world.handle.ended().await, Err(NodeFailure::Panicked));
}
