//! What the services need of a replicated store.
//!
//! The real one is a member of a cluster: [`driftless::Handle`]. Tests of the
//! services also use one copy of the store in the same process.

use bytes::Bytes;
use driftless::{Applied, Handle, RequestError, Status};
use driftless_kv::{Reader, Store};
use std::future::Future;
use tokio::sync::watch;
use tokio::time::Instant;

/// A replicated key-value store, seen from one of its members.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Replicates and applies a command, once.
    fn propose(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> impl Future<Output = Result<Applied, RequestError>> + Send;

    /// Returns when [`Self::reader`] sees everything that was acknowledged,
    /// anywhere, before the call.
    fn read_barrier(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), RequestError>> + Send;

    /// This member's copy.
    fn reader(&self) -> &Reader;

    /// How this member sees itself and its cluster.
    fn status(&self) -> Status;

    /// The same, to be told of changes of role, term or leader.
    fn watch_status(&self) -> watch::Receiver<Status>;

    /// What this member has done since it started.
    fn metrics(&self) -> driftless::Metrics;
}

impl Backend for Handle<Store> {
    async fn propose(&self, command: Bytes, deadline: Instant) -> Result<Applied, RequestError> {
        Self::propose(self, command, deadline).await
    }

    async fn read_barrier(&self, deadline: Instant) -> Result<(), RequestError> {
        Self::read_barrier(self, deadline).await
    }

    fn reader(&self) -> &Reader {
        Self::reader(self)
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn watch_status(&self) -> watch::Receiver<Status> {
        Self::watch_status(self)
    }

    fn metrics(&self) -> driftless::Metrics {
        Self::metrics(self)
    }
}
