//! From a description of a member to a running node.

use crate::address::hosts;
use crate::clock::Clock;
use crate::error::{NodeFailure, StartError};
use crate::handle::{Handle, Shared};
use crate::inbox::Inbox;
use crate::links::{Dialler, LinkLimits, LinkWorld, accept};
use crate::log_thread::LogThread;
use crate::metrics::Counters;
use crate::shard::{Shard, Shown};
use crate::snapshot_thread::SnapshotThread;
use crate::storage::{self, Beginning, Storage};
use driftless_node::log::{Options as LogOptions, Owner};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Membership, Moment, NodeId};
use driftless_node::{Node, NodeOptions};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Which cluster a member belongs to. All members of one have the same, members
/// of different ones refuse each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId(pub u64);

impl From<u64> for ClusterId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl From<&str> for ClusterId {
    /// The cluster that goes by this token (its 64-bit FNV-1a hash).
    fn from(token: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(token.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

/// Describes a member and starts it.
///
/// ```no_run
/// # use driftless::machine::StateMachine;
/// # fn start(machine: impl StateMachine) -> Result<(), driftless::StartError> {
/// use driftless::{Builder, NodeId};
///
/// let running = Builder::new(NodeId(1), "my-cluster", "./data-1", machine)
///     .member(NodeId(1), "10.0.0.1:7000")
///     .member(NodeId(2), "10.0.0.2:7000")
///     .member(NodeId(3), "10.0.0.3:7000")
///     .start()?;
/// let handle = running.handle();
/// # Ok(()) }
/// ```
pub struct Builder<M> {
    node_id: NodeId,
    cluster_id: ClusterId,
    directory: PathBuf,
    machine: M,
    members: BTreeMap<NodeId, String>,
    listen: Option<String>,
    options: NodeOptions,
    log_options: Option<LogOptions>,
    begins: Begins,
}

/// What a member with a new directory begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// A member of the group of those named.
    Founding,
    /// Nobody yet.
    Joining,
    /// A member that lost its disk.
    Replacing,
}

impl<M: StateMachine> Builder<M> {
    /// Member `node_id` of a cluster, named by a number or by a token. Its log
    /// and snapshots are kept in `directory`, which is made if it is missing
    /// and belongs to this member ever after.
    pub fn new(
        node_id: NodeId,
        cluster: impl Into<ClusterId>,
        directory: impl Into<PathBuf>,
        machine: M,
    ) -> Self {
        Self {
            node_id,
            cluster_id: cluster.into(),
            directory: directory.into(),
            machine,
            members: BTreeMap::new(),
            listen: None,
            options: NodeOptions::new(node_id),
            log_options: None,
            begins: Begins::Founding,
        }
    }

    /// Adds a member, this one included, with the `host:port` where its peers
    /// reach it (or a URL; several with commas between them). Who is a member is
    /// read once, when the directory is new. The addresses are used at every start,
    /// for those of whom the cluster itself does not know another.
    #[must_use]
    pub fn member(mut self, node_id: NodeId, address: impl Into<String>) -> Self {
        self.members.insert(node_id, address.into());
        self
    }

    /// Listens for peers here (`host:port`) rather than on this member's own
    /// address.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// With a new directory, the member waits for a running cluster to take it in:
    /// it is added there ([`Handle::add_learner`]), before or after. The others
    /// named are not its members, but where it calls. An existing directory goes on
    /// as it is.
    #[must_use]
    pub fn join(mut self) -> Self {
        self.begins = Begins::Joining;
        self
    }

    /// With a new directory, the member comes back as one that lost its disk: it
    /// says nothing that would rest on what it has forgotten until its cluster has
    /// made it a learner and then a voter again. The leader does both by itself
    /// where [`NodeOptions::readmit_lost_disks`] says so; else somebody asks for
    /// [`Change::Readmit`](crate::raft::Change::Readmit). The old disk must not come
    /// back afterwards. An existing directory goes on as it is.
    #[must_use]
    pub fn replace_lost_disk(mut self) -> Self {
        self.begins = Begins::Replacing;
        self
    }

    /// Limits and timeouts. The member's name in them is set by the builder.
    #[must_use]
    pub fn options(mut self, options: NodeOptions) -> Self {
        self.options = options;
        self.options.raft.id = self.node_id;
        self
    }

    /// Sizes and limits of the log's files.
    #[must_use]
    pub fn log_options(mut self, options: LogOptions) -> Self {
        self.log_options = Some(options);
        self
    }

    /// Starts the node on a thread of its own.
    pub fn start(self) -> Result<Running<M>, StartError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let prepared = {
            let _within = runtime.enter();
            self.prepare(runtime.handle().clone())
        };
        let (running, node) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // Dropping one waits for its threads, which a caller that is
                // itself on a runtime must not.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        std::thread::Builder::new()
            .name(format!("member-{:x}", running.node_id().0))
            // A task of the runtime is woken by others there without a system
            // call; the future that a runtime blocks on is not.
            .spawn(move || {
                let node = runtime.spawn(node);
                if let Err(error) = runtime.block_on(node)
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
            })
            .map_err(StartError::System)?;
        Ok(running)
    }

    /// Starts the node on the runtime that this is called on, which is best a
    /// `current_thread` one: then whatever else runs there, a server's
    /// connections above all, reaches the node without crossing threads.
    ///
    /// Opening the data directory blocks the calling thread.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start_on_current(self) -> Result<Running<M>, StartError> {
        let runtime = runtime::Handle::current();
        let (running, node) = self.prepare(runtime.clone())?;
        runtime.spawn(node);
        Ok(running)
    }

    /// Does all that can fail, and leaves a future that runs the node.
    fn prepare(
        mut self,
        runtime: runtime::Handle,
    ) -> Result<(Running<M>, impl Future<Output = ()> + Send + 'static), StartError> {
        let node_id = self.node_id;
        let own = self.members.get(&node_id).ok_or(StartError::NotAMember { node_id })?;
        let listener = listen(self.listen.as_deref().unwrap_or(own))?;
        let peer_address = listener.local_addr().map_err(StartError::System)?;

        let seed = getrandom::u64().map_err(|error| StartError::System(error.into()))?;
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = Clock::start();
        let counters = Arc::new(Counters::default());
        let owner = Owner { cluster_id: self.cluster_id.0, node_id };
        let named = Membership::of(self.members.keys().copied());
        let beginning = match self.begins {
            Begins::Founding => Beginning { membership: named.clone(), replacement: false },
            Begins::Joining => Beginning::default(),
            Begins::Replacing => Beginning { replacement: true, ..Beginning::default() },
        };
        let log_options = self.log_options.unwrap_or_else(|| log_options(&self.options));
        let owed_us = self.options.raft.owed_us();
        let Storage { log, identity, recovered, known_peers, snapshots } =
            storage::open(&self.directory, owner, &beginning, log_options, owed_us, &counters)?;
        if self.begins == Begins::Founding && recovered.membership != named {
            log::info!(
                "the members named at start are not the cluster's, which its log knows: {:?}",
                recovered.membership.iter().collect::<Vec<_>>()
            );
        }
        self.options.addresses = self.members;

        let durable = self.machine.open();
        let reader = self.machine.reader();
        let inbox = Arc::new(Inbox::new(self.options.pending_bytes_max));
        let moment = Moment { now: clock.now(), random: random.u64(..) };
        let node = Node::new(self.options, identity, recovered, known_peers, &durable, moment)
            .map_err(StartError::Node)?;
        let (status_out, status) = watch::channel(node.status());
        let (members_out, members) = watch::channel(node.members());
        let (reached_out, reached) = watch::channel(BTreeMap::new());

        let name = |what| format!("{what}-{:x}", node_id.0);
        let log = LogThread::start(name("log"), log, inbox.clone(), counters.clone())
            .map_err(StartError::System)?;
        let snapshots = SnapshotThread::start(name("snapshots"), snapshots, inbox.clone())
            .map_err(StartError::System)?;
        let links = LinkWorld::new(inbox.clone(), counters.clone(), LinkLimits::default());
        let links = Arc::new(links);
        let shard = Shard::new(
            node,
            self.machine,
            inbox.clone(),
            log,
            snapshots,
            clock,
            random,
            counters.clone(),
            Shown { status: status_out, members: members_out, reached: reached_out },
            Dialler::new(links.clone()),
        );
        let (ended_out, ended) = watch::channel(None);
        let shared = Shared { inbox, clock, reader, status, members, reached, counters, ended };
        let running = Running { handle: Handle::new(shared), node_id, peer_address, runtime };
        let node = async move {
            let ended = run(shard, links, listener).await;
            ended_out.send_replace(Some(ended));
        };
        Ok((running, node))
    }
}

async fn run<M: StateMachine>(
    shard: Shard<Node, M>,
    links: Arc<LinkWorld>,
    listener: tokio::net::TcpListener,
) -> Result<(), NodeFailure> {
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(links, listener));
    let ended = shard.run().await;
    // The port is free once the tasks are gone.
    tasks.shutdown().await;
    ended.map_err(NodeFailure::Stopped)
}

/// The log lets go of as many segments as a snapshot covers at once. Kept, they
/// are what it writes next; made anew, each byte would be written twice.
fn log_options(options: &NodeOptions) -> LogOptions {
    let log = LogOptions::default();
    let covered = options.snapshot_every_bytes.div_ceil(log.segment_bytes).clamp(1, 7) as usize;
    LogOptions { ready_segments_max: log.ready_segments_max.max(covered + 1), ..log }
}

fn listen(addresses: &str) -> Result<tokio::net::TcpListener, StartError> {
    let address = hosts(addresses).next().unwrap_or(addresses);
    let listen = || -> io::Result<tokio::net::TcpListener> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    listen().map_err(|error| StartError::Listen { address: address.to_owned(), error })
}

/// A running node. It goes on when this is dropped; [`Handle::stop`] ends it.
#[must_use = "its handles are the only way to the node"]
pub struct Running<M: StateMachine> {
    handle: Handle<M>,
    node_id: NodeId,
    peer_address: SocketAddr,
    runtime: runtime::Handle,
}

impl<M: StateMachine> Running<M> {
    /// A way to the node.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// This member.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Where it listens for its peers.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// The runtime that the node runs on. What is spawned there reaches the
    /// node without crossing threads, and holds it up while it computes.
    pub fn runtime(&self) -> &runtime::Handle {
        &self.runtime
    }

    /// Waits for the node's end: `Ok` if somebody stopped it, otherwise why it
    /// went down.
    pub async fn wait(&self) -> Result<(), NodeFailure> {
        self.handle.ended().await
    }

    /// Stops the node; see [`Handle::stop`].
    pub async fn stop(self) {
        self.handle.stop().await;
    }
}

impl<M: StateMachine> fmt::Debug for Running<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("handle", &self.handle)
            .field("peer_address", &self.peer_address)
            .finish_non_exhaustive()
    }
}
