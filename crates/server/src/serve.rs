//! A member of a cluster, from its configuration to its end.

use crate::backend::Backend;
use crate::config::{ServeConfig, Url};
use crate::edge::{ConnectionLimits, serve_connections};
use crate::metrics::Metrics;
use crate::origin::{Begins, Origin, OriginError, origin};
use crate::service::{ETCD_VERSION, Limits, Services};
use driftless::{
    Builder, ClusterId, MemberKind, NodeFailure, NodeId, NodeOptions, OpenError, RequestError,
    Role, Running, StartError, StopReason,
};
use driftless_kv::{Command, MemberAttributes, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long a request may take whose caller does not say, before election
/// timeouts are added: etcd's bound.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that could not say where it serves clients tries again after this.
const PUBLISH_AGAIN: Duration = Duration::from_millis(500);

/// Why a member did not start, or ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// A client URL cannot be listened on.
    Listen {
        /// The option that names it.
        option: &'static str,
        /// The URL.
        url: Url,
        /// Why.
        error: io::Error,
    },
    /// Nobody can say who this member is.
    Origin(OriginError),
    /// The node did not start.
    Start(StartError),
    /// The node ended.
    Node(NodeFailure),
    /// The system refuses something that a process needs.
    System(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { option, url, error } => match error.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "--{option}: {url} is in use: stop the program that listens there, \
                     or choose another port"
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "--{option}: {url} is not an address of this machine: choose one that is, \
                     or 0.0.0.0 for all of them"
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "--{option}: listening on {url} is not permitted: choose a port above 1023"
                ),
                _ => write!(f, "--{option}: cannot listen on {url}: {error}"),
            },
            Self::Origin(error) => error.fmt(f),
            Self::Start(error) => start_error(error, f),
            Self::Node(failure) => {
                failure.fmt(f)?;
                match failure {
                    NodeFailure::Stopped(
                        StopReason::UnknownIncarnation { .. } | StopReason::OlderDisk { .. },
                    ) => f.write_str(
                        " (to bring it back: an empty --data-dir and --replace-lost-disk here, \
                         --readmit-lost-disks at the others; docs/recovery.md)",
                    ),
                    _ => Ok(()),
                }
            }
            Self::System(error) => write!(f, "the system refuses what a member needs: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<OriginError> for ServeError {
    fn from(error: OriginError) -> Self {
        Self::Origin(error)
    }
}

/// Names the option that is the remedy, where there is one.
fn start_error(error: &StartError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        StartError::Data { directory, error: OpenError::AnotherCluster { expected, found } } => {
            write!(
                f,
                "the data directory {} belongs to another cluster: to {found:x}, and this member \
                 is of {expected:x}, as follows from --initial-cluster and \
                 --initial-cluster-token. Give it the same as when the directory was made, or, \
                 where members came and went since, --initial-cluster-state existing, or \
                 another --data-dir",
                directory.display()
            )
        }
        StartError::Data { directory, error: OpenError::AnotherMember { expected, found } } => {
            let (expected, found) = (expected.0, found.0);
            write!(
                f,
                "the data directory {} belongs to another member of this cluster: to {found:x}, \
                 and this is {expected:x}, as follows from --name and its URL in \
                 --initial-cluster. Start this member with its own --data-dir, or that one under \
                 its own --name",
                directory.display()
            )
        }
        StartError::Data { directory, error: OpenError::Locked } => write!(
            f,
            "the data directory {} is in use by another process, perhaps this same member: stop \
             that one, or choose another --data-dir",
            directory.display()
        ),
        error => write!(f, "{error}"),
    }
}

/// Runs a member on a runtime of its own until it is asked to stop: by SIGTERM,
/// by SIGINT, or by `stopped`.
pub fn run(config: ServeConfig, stopped: impl Future<Output = ()>) -> Result<(), ServeError> {
    // One thread: a request crosses none between its socket and the node.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(ServeError::System)?;
    let result = runtime.block_on(serve(config, stopped));
    // A long read on another thread has nobody left to answer.
    runtime.shutdown_background();
    result
}

/// Runs a member on the present runtime (best a `current_thread` one) until it
/// is asked to stop: by SIGTERM, by SIGINT, or by `stopped`.
pub async fn serve(
    config: ServeConfig,
    stopped: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::System)?;
    let Origin { identity, begins, is_witness, addresses } = origin(&config).await?;
    log::info!(
        "driftless {} (etcd API {ETCD_VERSION}): this is {}, member {:x} of cluster {:x}, with its \
         data in {}",
        env!("CARGO_PKG_VERSION"),
        config.name,
        identity.member_id,
        identity.cluster_id,
        config.data_dir.display()
    );
    for (peer, address) in addresses.iter().filter(|(peer, _)| peer.0 != identity.member_id) {
        log::info!("its peer {:x} is at {address}", peer.0);
    }
    if let Some(ppm) = config.read_lease_drift_ppm {
        log::info!(
            "reads by lease: whoever runs this says that no member's clock gains or loses more \
             than {ppm} millionths"
        );
    }
    let clients = listen("listen-client-urls", &config.listen_client_urls)?;
    let operators = listen("listen-metrics-urls", &config.listen_metrics_urls)?;
    let who = (ClusterId(identity.cluster_id), NodeId(identity.member_id));
    let options = NodeOptions { witness: is_witness, ..node_options(&config, who.1) };
    let node = start_node(&config, who, begins, addresses, options).map_err(ServeError::Start)?;
    let attributes = attributes(&config, identity.member_id);
    let services =
        Services::new(node.handle(), identity, limits(&config), Arc::new(Metrics::default()));
    let (stop, stopping) = watch::channel(false);
    let mut listeners = JoinSet::new();
    let limits = connection_limits(&config);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    // Health and metrics must be had when clients take all the room.
    let operator_slots = Arc::new(Semaphore::new(64));
    for (listeners_of, slots, operator_only) in
        [(clients, slots, false), (operators, operator_slots, true)]
    {
        for listener in listeners_of {
            let limits = ConnectionLimits { operator_only, ..limits.clone() };
            let (services, slots) = (services.clone(), Arc::clone(&slots));
            let stopping = stopping.clone();
            listeners.spawn(serve_connections(listener, services, limits, slots, stopping));
        }
    }
    for url in &config.listen_client_urls {
        log::info!("serving clients on {url}");
    }
    let told = tokio::spawn(tell_changes(services.clone()));
    let published = tokio::spawn(publish(node.handle().clone(), attributes));
    let attended = tokio::spawn({
        let services = services.clone();
        async move { services.attend_members().await }
    });

    let result = tokio::select! {
        _ = terminate.recv() => {
            log::info!("SIGTERM: stopping");
            Ok(())
        }
        _ = interrupt.recv() => {
            log::info!("SIGINT: stopping");
            Ok(())
        }
        () = stopped => {
            log::info!("stopping");
            Ok(())
        }
        ended = node.wait() => match ended {
            // As in etcd this is no failure: there is nothing left to do.
            Err(NodeFailure::Stopped(StopReason::Removed)) => {
                log::warn!(
                    "this member was removed from the cluster, and ends: its data directory {} \
                     is of no more use",
                    config.data_dir.display()
                );
                Ok(())
            }
            ended => ended.map_err(ServeError::Node),
        },
    };
    told.abort();
    published.abort();
    attended.abort();
    // Streams end, calls in flight are finished, then the node goes.
    services.stop();
    stop.send_replace(true);
    while listeners.join_next().await.is_some() {}
    node.stop().await;
    if result.is_ok() {
        log::info!("stopped");
    }
    result
}

/// Tells the cluster where this member serves clients, once there is a leader;
/// not again after a restart that changed nothing. Then, as in etcd, it is ready:
/// it has applied what was acknowledged before it came.
async fn publish<B: Backend>(backend: B, attributes: MemberAttributes) {
    loop {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let barrier = backend.read_barrier(deadline).await;
        if barrier == Err(RequestError::Witness) {
            return ready_as_witness(&backend).await;
        }
        // What was said before may stand in the log and not be applied yet.
        if barrier.is_ok() {
            if backend.reader().members().contains(&attributes) {
                log::info!("ready to serve client requests");
                return;
            }
            let command = Command::Publish(attributes.clone()).encode();
            match backend.propose(command, deadline).await {
                // Seen to be there next time round.
                Ok(_) => continue,
                Err(RequestError::Stopped) => return,
                Err(error) => log::debug!("could not publish the client URLs yet: {error}"),
            }
        }
        sleep(PUBLISH_AGAIN).await;
    }
}

/// A witness tells nobody anything: it writes nothing, and others have said its name. It is
/// ready when it hears a leader, and has heard from it what it is.
async fn ready_as_witness<B: Backend>(backend: &B) {
    let own = backend.status().node_id;
    let mut status = backend.watch_status();
    let mut members = backend.watch_members();
    let is_told = |members: &driftless::Members| {
        members.members.get(&own).is_some_and(|member| member.kind == MemberKind::Witness)
    };
    // An error says that the node has ended.
    if status.wait_for(|status| status.leader.is_some()).await.is_ok()
        && members.wait_for(is_told).await.is_ok()
    {
        log::info!("ready as a witness: this member votes, and holds no data");
    }
}

/// What this member tells the others about itself.
fn attributes(config: &ServeConfig, id: u64) -> MemberAttributes {
    let urls = config.advertise_client_urls.iter().map(|url| url.to_string().into());
    MemberAttributes { id, name: config.name.clone().into(), client_urls: urls.collect() }
}

fn listen(option: &'static str, urls: &[Url]) -> Result<Vec<TcpListener>, ServeError> {
    let mut listeners = Vec::new();
    for url in urls {
        let failed = |error| ServeError::Listen { option, url: url.clone(), error };
        // `localhost` may be two addresses, of which a machine may lack one.
        let addresses = url.address().to_socket_addrs().map_err(failed)?;
        let mut refusal = None;
        let before = listeners.len();
        for address in addresses {
            match bind(address) {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(failed(error));
                }
                Err(error) => refusal = Some(error),
            }
        }
        if listeners.len() == before {
            return Err(failed(refusal.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())));
        }
    }
    Ok(listeners)
}

fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn start_node(
    config: &ServeConfig,
    (cluster_id, node_id): (ClusterId, NodeId),
    begins: Begins,
    addresses: BTreeMap<NodeId, String>,
    options: NodeOptions,
) -> Result<Running<Store>, StartError> {
    let mut builder = Builder::new(node_id, cluster_id, &config.data_dir, Store::new());
    for (member, address) in addresses {
        builder = builder.member(member, address);
    }
    builder = match begins {
        Begins::Founding => builder,
        Begins::Joining => builder.join(),
        Begins::Replacing => builder.replace_lost_disk(),
    };
    builder.listen(config.listen_peer_url.address()).options(options).start_on_current()
}

/// What the configuration says that is the node's affair.
fn node_options(config: &ServeConfig, node_id: NodeId) -> NodeOptions {
    let mut options = NodeOptions::new(node_id);
    let micros = |duration: Duration| duration.as_micros() as u64;
    options.raft.election_timeout_us = micros(config.election_timeout);
    options.raft.election_jitter_us = micros(config.election_timeout) * 3 / 10;
    options.raft.heartbeat_interval_us = micros(config.heartbeat_interval);
    options.raft.pre_vote = config.pre_vote;
    options.raft.lease_drift_ppm = config.read_lease_drift_ppm;
    options.raft.election_rank = config.election_rank;
    if let Some(count) = config.snapshot_count {
        options.snapshot_every_entries = count;
    }
    if let Some(entries) = config.snapshot_catchup_entries {
        options.retained_entries = entries;
    }
    options.readmit_lost_disks = config.readmit_lost_disks;
    options
}

fn limits(config: &ServeConfig) -> Limits {
    Limits {
        request_bytes_max: config.max_request_bytes,
        txn_ops_max: config.max_txn_ops,
        request_timeout: REQUEST_TIMEOUT + 2 * config.election_timeout,
        progress_interval: config.progress_notify_interval,
        leader_patience: 3 * config.election_timeout,
        quota_bytes: config.quota_backend_bytes.unwrap_or(0),
        strict_reconfig_check: config.strict_reconfig_check,
        learners_max: config.max_learners,
    }
}

fn connection_limits(config: &ServeConfig) -> ConnectionLimits {
    ConnectionLimits {
        streams_max: config.max_concurrent_streams,
        ping_interval: config.keepalive_interval,
        ping_timeout: config.keepalive_timeout,
        ..ConnectionLimits::default()
    }
}

/// Logs who leads, by name.
async fn tell_changes<B: Backend>(services: Services<B>) {
    let name = |id: NodeId| {
        let members = services.members();
        let member =
            members.into_iter().find(|member| member.id == id.0 && !member.name.is_empty());
        member.map_or_else(|| format!("member {:x}", id.0), |member| member.name)
    };
    let mut status = services.backend().watch_status();
    let mut last = status.borrow_and_update().clone();
    loop {
        if status.changed().await.is_err() {
            return;
        }
        let now = status.borrow_and_update().clone();
        let term = now.term;
        match now.leader {
            leader if (leader, term) == (last.leader, last.term) => {}
            Some(leader) if leader == now.node_id => log::info!("this member leads in term {term}"),
            Some(leader) => log::info!("{} leads in term {term}", name(leader)),
            None => {}
        }
        if now.leader.is_none() {
            if let Some(lost) = last.leader {
                log::warn!("there is no leader any more: {} led in term {}", name(lost), last.term);
            }
            if now.role == Role::Candidate && (last.role, last.term) != (now.role, term) {
                log::info!("this member stands for election in term {term}");
            }
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Invocation;

    fn options(arguments: &[&str]) -> NodeOptions {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        match Invocation::parse(arguments, []) {
            Ok(Invocation::Serve(config)) => node_options(&config, NodeId(1)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_algorithm_is_told_what_the_options_say() {
        let plain = options(&[]).raft;
        assert_eq!((plain.lease_drift_ppm, plain.election_rank), (None, 0));
        assert_eq!((plain.election_timeout_us, plain.heartbeat_interval_us), (1_000_000, 100_000));
        let told = options(&["--read-lease-drift-ppm=500", "--election-rank=3"]).raft;
        assert_eq!((told.lease_drift_ppm, told.election_rank), (Some(500), 3));
    }
}
