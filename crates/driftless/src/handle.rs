//! How an application speaks with its node.

use crate::clock::Clock;
use crate::error::NodeFailure;
use crate::inbox::{Inbox, Message};
use crate::metrics::{Counters, Metrics};
use bytes::Bytes;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Position, Time};
use driftless_node::{Answer, RequestError, Status};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// A way to a running node: cheap to clone, usable from any thread and any
/// runtime.
///
/// Any member takes any request. It finds the leader, tries again through
/// changes of leader until the deadline, and a command is applied at most once
/// however often it was tried.
pub struct Handle<M: StateMachine> {
    shared: Arc<Shared<M::Reader>>,
}

/// What handles of one node share.
pub(crate) struct Shared<R> {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) clock: Clock,
    pub(crate) reader: R,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) counters: Arc<Counters>,
    /// Empty while the node runs; gone without a word if it panicked.
    pub(crate) ended: watch::Receiver<Option<Result<(), NodeFailure>>>,
}

/// An applied command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where it stands in the log.
    pub position: Position,
    /// What the machine replied.
    pub reply: Bytes,
}

impl<M: StateMachine> Handle<M> {
    pub(crate) fn new(shared: Shared<M::Reader>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Replicates `command` and applies it, once, and returns the machine's
    /// reply. By `deadline` it is done or an error says how far it came:
    /// after [`RequestError::TimedOut`] or [`RequestError::Stopped`] it may
    /// yet be applied, after any other it is not.
    ///
    /// Dropping the future abandons the answer, not the command.
    pub async fn propose(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, RequestError> {
        let (answer, answered) = oneshot::channel();
        let bytes = command.len();
        let deadline = self.time(deadline);
        self.shared.inbox.push_request(bytes, Message::Propose { command, deadline, answer })?;
        match answered.await {
            Ok(Answer::Applied { position, reply }) => Ok(Applied { position, reply }),
            Ok(Answer::Refused(error)) => Err(error),
            Ok(Answer::ReadReady) => unreachable!("a proposal is not answered as a read"),
            Err(_) => Err(RequestError::Stopped),
        }
    }

    /// Waits until this node's machine has everything that was acknowledged,
    /// by any member, before this call: after `Ok` the [`reader`](Self::reader)
    /// shows it, and reads there are linearizable.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        let deadline = self.time(deadline);
        self.shared.inbox.push_request(0, Message::Read { deadline, answer })?;
        match answered.await {
            Ok(Answer::ReadReady) => Ok(()),
            Ok(Answer::Refused(error)) => Err(error),
            Ok(Answer::Applied { .. }) => unreachable!("a read is not answered as a proposal"),
            Err(_) => Err(RequestError::Stopped),
        }
    }

    /// Reads the machine beside its applies. Without a
    /// [`read_barrier`](Self::read_barrier) it may lag behind.
    pub fn reader(&self) -> &M::Reader {
        &self.shared.reader
    }

    /// How the node saw itself and its group at the end of its last turn.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Wakes at every change of role, term or leader. The positions in it move
    /// without waking anybody.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// What the node has done since it started.
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.read()
    }

    /// Stops the node and waits until its files and ports are free. Requests
    /// that wait are told [`RequestError::Stopped`].
    pub async fn stop(self) {
        self.shared.inbox.push(Message::Stop);
        let _ = self.ended().await;
    }

    pub(crate) async fn ended(&self) -> Result<(), NodeFailure> {
        let mut ended = self.shared.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().expect("waited for"),
            Err(_) => Err(NodeFailure::Panicked),
        }
    }

    fn time(&self, instant: Instant) -> Time {
        self.shared.clock.at(instant.into_std())
    }
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<M: StateMachine> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("status", &*self.shared.status.borrow()).finish()
    }
}
