//! What the services need of a replicated store.
//!
//! The real one is a member of a cluster: [`driftless::Handle`]. Tests of the
//! services also use one copy of the store in the same process.

use bytes::Bytes;
use driftless::{Applied, Handle, MemberChange, Members, NodeId, RequestError, Status};
use driftless_kv::{Reader, Store};
use std::future::Future;
use std::time::Duration;
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

    /// Who the members are, as this member has applied it.
    fn members(&self) -> Members;

    /// The same, to be told of changes.
    fn watch_members(&self) -> watch::Receiver<Members>;

    /// For how long this member has had a link to another, if it has one.
    fn reached_for(&self, peer: NodeId) -> Option<Duration>;

    /// Changes who the members are, or where they are reached.
    fn change_members(
        &self,
        change: MemberChange,
        deadline: Instant,
    ) -> impl Future<Output = Result<Members, RequestError>> + Send;

    /// Lets another member lead; asked of the leader.
    fn transfer_leadership(
        &self,
        to: NodeId,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), RequestError>> + Send;

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

    fn members(&self) -> Members {
        Self::members(self)
    }

    fn watch_members(&self) -> watch::Receiver<Members> {
        Self::watch_members(self)
    }

    fn reached_for(&self, peer: NodeId) -> Option<Duration> {
        Self::reached_for(self, peer)
    }

    async fn change_members(
        &self,
        change: MemberChange,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        Self::change_members(self, change, deadline).await
    }

    async fn transfer_leadership(&self, to: NodeId, deadline: Instant) -> Result<(), RequestError> {
        Self::transfer_leadership(self, to, deadline).await
    }

    fn metrics(&self) -> driftless::Metrics {
        Self::metrics(self)
    }
}
