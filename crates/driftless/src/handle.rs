//! How an application speaks with its node.

use crate::clock::Clock;
use crate::error::NodeFailure;
use crate::inbox::{Inbox, Message};
use crate::metrics::{Counters, Metrics};
use bytes::Bytes;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Change, NodeId, Position, Time};
use driftless_node::{
    Answer, ClientRequest, MemberChange, Members, RequestError, RequestToken, Status,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
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
    pub(crate) members: watch::Receiver<Members>,
    pub(crate) reached: watch::Receiver<BTreeMap<NodeId, Time>>,
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
        let (bytes, deadline) = (command.len(), deadline.into_std());
        self.shared.inbox.push_request(bytes, Message::Propose { command, deadline, answer })?;
        match answered.await {
            Ok(Answer::Applied { position, reply }) => Ok(Applied { position, reply }),
            Ok(Answer::Refused(error)) => Err(error),
            Ok(_) => unreachable!("a proposal is answered as one"),
            Err(_) => Err(RequestError::Stopped),
        }
    }

    /// Waits until this node's machine has everything that was acknowledged,
    /// by any member, before this call: after `Ok` the [`reader`](Self::reader)
    /// shows it, and reads there are linearizable.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        let deadline = deadline.into_std();
        self.shared.inbox.push_request(0, Message::Read { deadline, answer })?;
        match answered.await {
            Ok(Answer::ReadReady) => Ok(()),
            Ok(Answer::Refused(error)) => Err(error),
            Ok(_) => unreachable!("a read is answered as one"),
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

    /// Who the members are, as this node has applied it. After a
    /// [`read_barrier`](Self::read_barrier) it shows every change that was done before.
    pub fn members(&self) -> Members {
        self.shared.members.borrow().clone()
    }

    /// Wakes whenever [`members`](Self::members) change.
    pub fn watch_members(&self) -> watch::Receiver<Members> {
        self.shared.members.clone()
    }

    /// For how long this node has had a link to another member without a break;
    /// `None` if it has none now.
    pub fn reached_for(&self, peer: NodeId) -> Option<Duration> {
        let since = *self.shared.reached.borrow().get(&peer)?;
        Some(Duration::from_micros(self.shared.clock.now().since(since)))
    }

    /// Changes who the members are, or where they are reached. All of it is one
    /// change: any set of voters can become any other, by a joint membership if it
    /// takes one. Returns the members once this node has applied them.
    ///
    /// After [`RequestError::TimedOut`] it may yet be done; after any other error
    /// nothing of it is, but for addresses that came with it.
    pub async fn change_members(
        &self,
        change: MemberChange,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        let deadline = self.time(deadline);
        let bytes = change.contacts.values().map(String::len).sum();
        let request = move |token| ClientRequest::Change { token, change, deadline };
        match self.ask(bytes, request).await? {
            Answer::Changed => Ok(self.members()),
            answer => unreachable!("a change of members is answered as one, not {answer:?}"),
        }
    }

    /// Adds a learner: it is sent everything, and counts for nothing. Once it has
    /// caught up it can be [promoted](Self::promote).
    pub async fn add_learner(
        &self,
        id: NodeId,
        address: impl Into<String>,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        self.add(Change::AddLearner(id), id, address.into(), deadline).await
    }

    /// Adds a voter, which counts at once although it has nothing of the log yet.
    /// Refused while the voters that are up would not be a quorum with it.
    pub async fn add_voter(
        &self,
        id: NodeId,
        address: impl Into<String>,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        self.add(Change::AddVoter(id), id, address.into(), deadline).await
    }

    /// Adds a witness: it votes, and holds no data.
    pub async fn add_witness(
        &self,
        id: NodeId,
        address: impl Into<String>,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        self.add(Change::AddWitness(id), id, address.into(), deadline).await
    }

    async fn add(
        &self,
        change: Change,
        id: NodeId,
        address: String,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        let contacts = BTreeMap::from([(id, address)]);
        let change = MemberChange { contacts, ..MemberChange::from(change) };
        self.change_members(change, deadline).await
    }

    /// Makes a voter of a learner that has caught up.
    pub async fn promote(&self, id: NodeId, deadline: Instant) -> Result<Members, RequestError> {
        self.change_members(Change::Promote(id).into(), deadline).await
    }

    /// Makes a learner of a voter.
    pub async fn demote(&self, id: NodeId, deadline: Instant) -> Result<Members, RequestError> {
        self.change_members(Change::Demote(id).into(), deadline).await
    }

    /// Removes a member. It stops by itself when it learns of it.
    pub async fn remove(&self, id: NodeId, deadline: Instant) -> Result<Members, RequestError> {
        self.change_members(Change::Remove(id).into(), deadline).await
    }

    /// Says where a member's peers reach it from now on.
    pub async fn update_address(
        &self,
        id: NodeId,
        address: impl Into<String>,
        deadline: Instant,
    ) -> Result<Members, RequestError> {
        let contacts = BTreeMap::from([(id, address.into())]);
        let change = MemberChange { contacts, ..MemberChange::default() };
        self.change_members(change, deadline).await
    }

    /// Hands leadership over to `to`; asked of the leader. Returns once this node
    /// knows `to` as leader. Commands wait meanwhile, and are not refused.
    pub async fn transfer_leadership(
        &self,
        to: NodeId,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let deadline = self.time(deadline);
        let request = move |token| ClientRequest::Transfer { token, to, deadline };
        match self.ask(0, request).await? {
            Answer::Transferred => Ok(()),
            answer => unreachable!("a transfer is answered as one, not {answer:?}"),
        }
    }

    /// Asks the node something that is asked seldom.
    async fn ask(
        &self,
        bytes: usize,
        request: impl FnOnce(RequestToken) -> ClientRequest + Send + 'static,
    ) -> Result<Answer, RequestError> {
        let (answer, answered) = oneshot::channel();
        let request = Box::new(request);
        self.shared.inbox.push_request(bytes, Message::Ask { request, answer })?;
        match answered.await {
            Ok(Answer::Refused(error)) => Err(error),
            Ok(answer) => Ok(answer),
            Err(_) => Err(RequestError::Stopped),
        }
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
