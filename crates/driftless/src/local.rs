//! A whole cluster inside a process: for an application's own tests, and where
//! nothing shall outlive the process.

use crate::clock::Clock;
use crate::error::{NodeFailure, StartError};
use crate::handle::{Handle, Shared};
use crate::inbox::Inbox;
use crate::links::{Dialler, connect};
use crate::log_worker::LogWorker;
use crate::metrics::Counters;
use crate::shard::{Shard, Shown};
use crate::snapshot_thread::SnapshotThread;
use crate::storage::{GROUP, Snapshots};
use driftless_node::log::Identity;
use driftless_node::log::memory::MemoryDisk;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Membership, Moment, NodeId};
use driftless_node::{LinkId, MemoryLog, Node, NodeOptions};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::runtime;
use tokio::sync::{oneshot, watch};

/// Members of one cluster in this process, on one thread, with their logs and
/// snapshots in memory and no sockets between them.
///
/// They run what real members run: elections, replication, sessions, snapshots,
/// encoded frames. Only threads, sockets and disks are missing, so nothing of it
/// survives the process; a member that is stopped keeps what it had written, and
/// can be started again.
///
/// ```
/// # use driftless::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
/// # use std::io::{Cursor, Read};
/// # #[derive(Default)]
/// # struct Counter(u64);
/// # impl StateMachine for Counter {
/// #     type Reader = ();
/// #     fn open(&mut self) -> Durable { Durable::default() }
/// #     fn apply(&mut self, batch: &Batch<'_>) -> Vec<driftless::Bytes> {
/// #         let mut next = || { self.0 += 1; self.0.to_string().into() };
/// #         batch.commands.iter().map(|_| next()).collect()
/// #     }
/// #     fn reader(&self) {}
/// #     fn snapshot(&mut self) -> Box<dyn Snapshot> {
/// #         Box::new(Cursor::new(self.0.to_le_bytes().to_vec()))
/// #     }
/// #     fn restore(&mut self, snapshot: &mut dyn Read) -> Result<(), RestoreError> {
/// #         let mut bytes = [0; 8];
/// #         snapshot.read_exact(&mut bytes)?;
/// #         self.0 = u64::from_le_bytes(bytes);
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::{LocalCluster, NodeId};
/// use std::time::Duration;
///
/// let mut cluster = LocalCluster::start(3, |_| Counter::default())?;
/// let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
/// let leader = cluster.leader().await;
/// assert_eq!(leader.propose("up".into(), deadline).await?.reply, "1");
///
/// // The others go on without it, and it catches up when it is back.
/// let id = leader.status().node_id;
/// cluster.stop_member(id).await;
/// let other = cluster.leader().await;
/// assert_eq!(other.propose("up".into(), deadline).await?.reply, "2");
/// cluster.start_member(id, Counter::default())?;
/// # Ok(()) }
/// ```
pub struct LocalCluster<M: StateMachine> {
    members: BTreeMap<NodeId, Member<M>>,
    options: Box<dyn Fn(NodeId) -> NodeOptions + Send>,
    runtime: runtime::Handle,
    links: u64,
    /// Dropped, it ends the thread.
    _thread: Option<oneshot::Sender<()>>,
}

/// A member, running or not, and what it has written.
struct Member<M: StateMachine> {
    identity: Identity,
    log: Arc<Mutex<MemoryLog>>,
    snapshots: MemoryDisk,
    running: Option<(Handle<M>, Arc<Inbox>)>,
}

impl<M: StateMachine> Member<M> {
    fn new(id: NodeId, membership: Membership) -> Self {
        Self {
            identity: Identity::new(0, id, id.0),
            log: Arc::new(Mutex::new(MemoryLog::new(GROUP, membership))),
            snapshots: MemoryDisk::new(),
            running: None,
        }
    }
}

impl<M: StateMachine> LocalCluster<M> {
    /// Starts members 1 to `members` on a thread of their own, each with the machine
    /// that `machine` makes for it.
    pub fn start(members: u64, machine: impl FnMut(NodeId) -> M) -> Result<Self, StartError> {
        Self::start_with(members, Self::options, machine)
    }

    /// The same with other settings than [`LocalCluster::options`].
    pub fn start_with(
        members: u64,
        options: impl Fn(NodeId) -> NodeOptions + Send + 'static,
        machine: impl FnMut(NodeId) -> M,
    ) -> Result<Self, StartError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StartError::System)?;
        let handle = runtime.handle().clone();
        let (ending, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("local-cluster".into())
            // Ends with an error, once the cluster is dropped.
            .spawn(move || drop(runtime.block_on(ended)))
            .map_err(StartError::System)?;
        Self::on(handle, Some(ending), members, options, machine)
    }

    /// The same on the runtime that this is called on: whatever else runs there reaches them without crossing threads.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn start_on_current(
        members: u64,
        options: impl Fn(NodeId) -> NodeOptions + Send + 'static,
        machine: impl FnMut(NodeId) -> M,
    ) -> Result<Self, StartError> {
        Self::on(runtime::Handle::current(), None, members, options, machine)
    }

    /// The ordinary settings, but for timeouts: in one process nobody is far away,
    /// and a test should not wait for an election.
    pub fn options(id: NodeId) -> NodeOptions {
        let mut options = NodeOptions::new(id);
        options.raft.election_timeout_us = 200_000;
        options.raft.election_jitter_us = 100_000;
        options.raft.heartbeat_interval_us = 30_000;
        options
    }

    fn on(
        runtime: runtime::Handle,
        thread: Option<oneshot::Sender<()>>,
        members: u64,
        options: impl Fn(NodeId) -> NodeOptions + Send + 'static,
        mut machine: impl FnMut(NodeId) -> M,
    ) -> Result<Self, StartError> {
        let ids = || (1..=members).map(NodeId);
        let mut cluster = Self {
            members: ids().map(|id| (id, Member::new(id, Membership::of(ids())))).collect(),
            options: Box::new(options),
            runtime,
            links: 0,
            _thread: thread,
        };
        for id in ids() {
            cluster.start_member(id, machine(id))?;
        }
        Ok(cluster)
    }

    /// Starts one that is no member yet. It is linked with all that run, and waits until
    /// one of them [takes it in](Handle::add_learner); any text will do for its address.
    ///
    /// # Panics
    /// If there is one of that name already.
    pub fn join_member(&mut self, id: NodeId, machine: M) -> Result<(), StartError> {
        assert!(!self.members.contains_key(&id), "there is a member {:x} already", id.0);
        self.members.insert(id, Member::new(id, Membership::default()));
        self.start_member(id, machine)
    }

    /// Starts a member that was stopped, with an empty machine. It finds what it
    /// had written.
    ///
    /// # Panics
    /// If there is no such member, or it runs.
    pub fn start_member(&mut self, id: NodeId, mut machine: M) -> Result<(), StartError> {
        let member = self.members.get_mut(&id).expect("a member of this cluster");
        assert!(member.running.is_none(), "member {:x} runs already", id.0);
        member.identity.boots += 1;
        let mut options = (self.options)(id);
        options.raft.id = id;
        let seed = getrandom::u64().map_err(|error| StartError::System(error.into()))?;
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = Clock::start();
        let counters = Arc::new(Counters::default());
        let inbox = Arc::new(Inbox::new(options.pending_bytes_max));
        let durable = machine.open();
        let reader = machine.reader();
        let moment = Moment { now: clock.now(), random: random.u64(..) };
        let (recovered, known_peers) = {
            let log = member.log.lock();
            (log.recovered(), log.known_peers().clone())
        };
        let identity = member.identity.clone();
        let node = Node::new(options, identity, recovered, known_peers, &durable, moment)
            .map_err(StartError::Node)?;
        let snapshots = Snapshots::open(member.snapshots.clone()).map_err(StartError::System)?;
        let name = format!("snapshots-{:x}", id.0);
        let snapshots = SnapshotThread::start(name, snapshots, inbox.clone());
        let (status_out, status) = watch::channel(node.status());
        let (members_out, members) = watch::channel(node.members());
        let (reached_out, reached) = watch::channel(BTreeMap::new());
        let shard = Shard::new(
            node,
            machine,
            inbox.clone(),
            LogWorker::Memory(member.log.clone()),
            snapshots.map_err(StartError::System)?,
            clock,
            random,
            counters.clone(),
            Shown { status: status_out, members: members_out, reached: reached_out },
            Dialler::of_nobody(),
        );
        let (ended_out, ended) = watch::channel(None);
        self.runtime.spawn(async move {
            let ended = shard.run().await.map_err(NodeFailure::Stopped);
            ended_out.send_replace(Some(ended));
        });
        let shared = Shared {
            inbox: inbox.clone(),
            clock,
            reader,
            status,
            members,
            reached,
            counters,
            ended,
        };
        for (&peer, other) in &self.members {
            if let Some((_, there)) = &other.running {
                connect(LinkId(self.links + 1), &inbox, there, peer);
                connect(LinkId(self.links + 2), there, &inbox, id);
                self.links += 2;
            }
        }
        let running = Some((Handle::new(shared), inbox));
        self.members.get_mut(&id).expect("it was just seen").running = running;
        Ok(())
    }

    /// Stops a member, in order. What it has written stays for
    /// [`start_member`](Self::start_member).
    ///
    /// # Panics
    /// If there is no such member, or it does not run.
    pub async fn stop_member(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).expect("a member of this cluster");
        let (handle, _) = member.running.take().expect("it runs");
        handle.stop().await;
    }

    /// A way to a member.
    ///
    /// # Panics
    /// If there is no such member, or it does not run.
    pub fn handle(&self, id: NodeId) -> Handle<M> {
        let running = self.members.get(&id).and_then(|member| member.running.as_ref());
        running.expect("a member that runs").0.clone()
    }

    /// The leader, once there is one. Waits for ever if too few members run.
    ///
    /// # Panics
    /// If no member runs.
    pub async fn leader(&self) -> Handle<M> {
        let mut running = self.members.values().filter_map(|member| member.running.as_ref());
        let mut status = running.next().expect("a member that runs").0.watch_status();
        let leader = |leader: Option<NodeId>| {
            self.members.get(&leader?)?.running.as_ref().map(|(handle, _)| handle)
        };
        let led = status.wait_for(|status| leader(status.leader).is_some()).await;
        let status = led.expect("the member that was asked runs");
        leader(status.leader).expect("waited for").clone()
    }

    /// Stops all members.
    pub async fn stop(mut self) {
        let ids: Vec<NodeId> = self.members.keys().copied().collect();
        for id in ids {
            if self.members[&id].running.is_some() {
                self.stop_member(id).await;
            }
        }
    }
}

impl<M: StateMachine> fmt::Debug for LocalCluster<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.members.iter().filter_map(|(id, member)| {
            member.running.as_ref().map(|(handle, _)| (id, handle.status().role))
        });
        f.debug_map().entries(running).finish()
    }
}
