//! The services: what each RPC means. They take and give messages; how those
//! travel is the edge's.

mod cluster;
mod electorate;
mod health;
mod kv;
mod maintenance;
mod watch;

pub(crate) use cluster::urls_of;

use crate::backend::Backend;
use crate::grpc::{CallMetadata, Method, encode};
use crate::metrics::Metrics;
use crate::pb;
use crate::status::{Code, Status};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// [`ETCD_VERSION`] as a literal, for texts that are put together at compile time.
#[macro_export]
macro_rules! etcd_version {
    () => {
        "3.6.0"
    };
}

/// The version of etcd whose API this is.
pub const ETCD_VERSION: &str = etcd_version!();

/// `ETCD_VERSION` without its patch: the version of the cluster as etcd counts it.
pub const ETCD_CLUSTER_VERSION: &str = "3.6.0";

/// The largest request that a client may make (`--max-request-bytes`).
pub const REQUEST_BYTES_MAX: usize = 3 << 19;

/// Who serves, and in which cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// The members as this one was told of them when it started, in the order of
    /// their ids. Who they are now, the cluster knows.
    pub members: Vec<pb::Member>,
}

/// What bounds the services.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest request, in bytes.
    pub request_bytes_max: usize,
    /// The most operations at a level of a transaction.
    pub txn_ops_max: usize,
    /// How long a request may take whose caller does not say.
    pub request_timeout: Duration,
    /// How often a watcher that wants to be told is told how far it has come.
    pub progress_interval: Duration,
    /// How long a stream that requires a leader bears to be without one.
    pub leader_patience: Duration,
    /// How far the store may grow, in bytes; 0 is no bound.
    pub quota_bytes: u64,
    /// Refuse changes of members that could leave no majority of started ones.
    pub strict_reconfig_check: bool,
    /// How many members may be learners at a time.
    pub learners_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: REQUEST_BYTES_MAX,
            txn_ops_max: crate::convert::TXN_OPS_MAX,
            request_timeout: Duration::from_secs(7),
            progress_interval: Duration::from_secs(600),
            leader_patience: Duration::from_secs(3),
            quota_bytes: 2 << 30,
            strict_reconfig_check: true,
            learners_max: 1,
        }
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Answer by then.
    pub deadline: Instant,
    /// The caller's own deadline, if it set one.
    pub client_deadline: Option<Instant>,
    /// Fail rather than serve without a leader.
    pub require_leader: bool,
}

impl Call {
    /// A call that begins now.
    pub fn new(metadata: CallMetadata, limits: &Limits) -> Self {
        let now = Instant::now();
        let client_deadline = metadata.timeout.and_then(|timeout| now.checked_add(timeout));
        let deadline = now + limits.request_timeout;
        Self {
            deadline: client_deadline.map_or(deadline, |client| client.min(deadline)),
            client_deadline,
            require_leader: metadata.require_leader,
        }
    }

    /// What the caller is told when a request failed: that its own time was up
    /// rather than that ours was, where that is so.
    fn refusal(&self, error: driftless::RequestError) -> Status {
        let ran_out =
            matches!(error, driftless::RequestError::TimedOut | driftless::RequestError::NoLeader);
        match self.client_deadline {
            Some(deadline) if ran_out && Instant::now() >= deadline => Status::DEADLINE_EXCEEDED,
            _ => error.into(),
        }
    }
}

/// Messages from a client, as they arrive.
pub trait Requests: Send + 'static {
    /// The next; `None` once the client will send no more. An error says that
    /// the stream broke.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Status>> + Send;
}

/// Framed messages for a client. Sending waits while the client is slow, and
/// fails once it is gone.
pub type Responses = mpsc::Sender<Bytes>;

/// All services over one member. Clones share it.
pub struct Services<B> {
    inner: Arc<Inner<B>>,
}

impl<B> Clone for Services<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<B> {
    backend: B,
    identity: Identity,
    limits: Limits,
    metrics: Arc<Metrics>,
    watches: watch::Hub,
    stopping: tokio::sync::watch::Sender<bool>,
    /// Whether this member is meant to learn, and does: then it serves little.
    is_learner: AtomicBool,
    /// Whether this member votes and holds no data: then it serves even less.
    is_witness: AtomicBool,
}

impl<B: Backend> Services<B> {
    /// The services of a member.
    pub fn new(backend: B, identity: Identity, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let watches = watch::Hub::new(&backend, &metrics);
        let stopping = tokio::sync::watch::Sender::new(false);
        let is_learner = AtomicBool::new(false);
        let is_witness = AtomicBool::new(backend.status().is_witness);
        let inner =
            Inner { backend, identity, limits, metrics, watches, stopping, is_learner, is_witness };
        Self { inner: Arc::new(inner) }
    }

    /// The store below.
    pub fn backend(&self) -> &B {
        &self.inner.backend
    }

    /// Who serves.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// What bounds the services.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What was counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Ends all streams. New calls are still answered.
    pub fn stop(&self) {
        self.inner.stopping.send_replace(true);
    }

    /// Answers a unary call: one message in, one framed message out.
    pub async fn unary(&self, method: Method, message: Bytes, call: Call) -> Result<Bytes, Status> {
        self.check_kind(method, &message)?;
        if call.require_leader && self.backend().status().leader.is_none() {
            return Err(Status::NO_LEADER);
        }
        match method {
            Method::Range => self.range(decode(message)?, call).await.map(|m| encode(&m)),
            Method::Put => self.put(message, call).await.map(|m| encode(&m)),
            Method::DeleteRange => self.delete_range(message, call).await.map(|m| encode(&m)),
            Method::Txn => self.txn(message, call).await.map(|m| encode(&m)),
            Method::Compact => self.compact(decode(message)?, call).await.map(|m| encode(&m)),
            Method::MemberList => {
                self.member_list(decode(message)?, call).await.map(|m| encode(&m))
            }
            Method::MemberAdd => self.member_add(decode(message)?, call).await.map(|m| encode(&m)),
            Method::MemberRemove => {
                self.member_remove(decode(message)?, call).await.map(|m| encode(&m))
            }
            Method::MemberUpdate => {
                self.member_update(decode(message)?, call).await.map(|m| encode(&m))
            }
            Method::MemberPromote => {
                self.member_promote(decode(message)?, call).await.map(|m| encode(&m))
            }
            Method::MoveLeader => {
                self.move_leader(decode(message)?, call).await.map(|m| encode(&m))
            }
            Method::Status => Ok(encode(&self.member_status())),
            Method::Alarm => self.alarm(decode(message)?).map(|m| encode(&m)),
            Method::HashKv => self.hash_kv(decode(message)?).await.map(|m| encode(&m)),
            Method::HealthCheck => self.health_check(&decode(message)?).map(|m| encode(&m)),
            other => Err(unimplemented(other)),
        }
    }

    /// Answers a call that streams, until it ends; an error ends it with that
    /// status.
    pub async fn stream(
        &self,
        method: Method,
        requests: impl Requests,
        responses: Responses,
        call: Call,
    ) -> Result<(), Status> {
        self.check_kind(method, &Bytes::new())?;
        if call.require_leader && self.backend().status().leader.is_none() {
            return Err(Status::NO_LEADER);
        }
        match method {
            Method::Watch => self.watch(requests, responses, call).await,
            Method::HealthWatch => self.health_watch(requests, responses).await,
            other => Err(unimplemented(other)),
        }
    }

    /// Whether this member is meant to learn, and does.
    fn is_learner(&self) -> bool {
        self.inner.is_learner.load(Ordering::Relaxed)
    }

    /// Whether this member votes and holds no data.
    pub(crate) fn is_witness(&self) -> bool {
        self.inner.is_witness.load(Ordering::Relaxed)
    }

    /// Refuses what this kind of member does not serve.
    fn check_kind(&self, method: Method, message: &Bytes) -> Result<(), Status> {
        if self.is_witness() && !serves_as_witness(method) {
            return Err(Status::WITNESS);
        }
        if self.is_learner() && !serves_as_learner(method, message) {
            return Err(Status::LEARNER);
        }
        Ok(())
    }

    /// A header at this revision.
    fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.inner.identity.cluster_id,
            member_id: self.inner.identity.member_id,
            revision,
            raft_term: self.backend().status().term.0,
        }
    }
}

/// What a learner serves in etcd, and whether it is alive.
fn serves_as_learner(method: Method, message: &Bytes) -> bool {
    match method {
        Method::Status | Method::Snapshot | Method::HealthCheck | Method::HealthWatch => true,
        Method::Range => {
            decode::<pb::RangeRequest>(message.clone()).is_ok_and(|range| range.serializable)
        }
        _ => false,
    }
}

/// What needs no data. (Who the members are, a witness knows, but not whether that is the
/// newest: its list is its own view.)
fn serves_as_witness(method: Method) -> bool {
    matches!(
        method,
        Method::Status | Method::MemberList | Method::HealthCheck | Method::HealthWatch
    )
}

/// Returns once the server is asked to stop.
async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    // An error says that whoever could have asked is gone, which is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A message of a client, decoded.
fn decode<M: prost::Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| {
        Status::with(Code::Internal, format!("grpc: error unmarshalling request: {error}"))
    })
}

/// Does what takes long, or looks at much, where it keeps nobody waiting.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Status::STOPPED)
}

fn unimplemented(method: Method) -> Status {
    Status::with(
        Code::Unimplemented,
        format!("driftless does not serve {}/{} yet", method.service(), method.name()),
    )
}
