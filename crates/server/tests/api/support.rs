//! A server over one copy of the store in this process, and clients of it.

use bytes::Bytes;
use driftless::machine::{AppliedPosition, Batch, StateMachine};
use driftless::raft::{
    Change, ChangeRefusal, Index, Membership, NodeId, NodeSet, Position, Role, Term,
};
use driftless::{
    Applied, MemberChange, Members, Metrics as NodeMetrics, RequestError, Status as NodeStatus,
};
use driftless_kv::{Command, MemberIntent, PutRequest, Reader, Store};
use driftless_server::pb::{self, client};
use driftless_server::{
    Backend, ConnectionLimits, Identity, Limits, Metrics, Services, render_metrics,
    serve_connections,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tonic::transport::Channel;

pub const MEMBER: u64 = 0x8e9e_05c5_2164_694d;
pub const CLUSTER: u64 = 0xcdf8_1819_4e3a_8c32;

/// One copy of the store: what is proposed is applied at once.
#[derive(Clone)]
pub struct LocalBackend {
    store: Arc<Mutex<Store>>,
    reader: Reader,
    status: watch::Sender<NodeStatus>,
    /// What the next requests are refused with.
    refusals: Arc<Mutex<Vec<RequestError>>>,
    /// What the next changes of members or leader are refused with.
    refused_changes: Arc<Mutex<Vec<RequestError>>>,
    group: Arc<Mutex<Group>>,
    members: watch::Sender<Members>,
}

/// Who the members are: changed at once, for there is nobody to agree.
struct Group {
    membership: Membership,
    contacts: BTreeMap<NodeId, String>,
    removed: BTreeSet<NodeId>,
    /// Learners that have not caught up.
    behind: BTreeSet<NodeId>,
    /// For how long others have been reached.
    reached: BTreeMap<NodeId, Duration>,
}

impl Group {
    fn members(&self) -> Members {
        let address = |id| self.contacts.get(&id).cloned();
        Members { removed: self.removed.clone(), ..Members::of(&self.membership, address) }
    }

    fn change(&mut self, change: MemberChange) -> Result<(), RequestError> {
        for change in &change.changes {
            match *change {
                Change::Promote(id) if self.behind.contains(&id) => {
                    return Err(RequestError::Change(ChangeRefusal::NotCaughtUp(id)));
                }
                Change::AddLearner(id) => drop(self.behind.insert(id)),
                Change::Remove(id) => drop(self.removed.insert(id)),
                _ => {}
            }
        }
        if !change.changes.is_empty() {
            let changed = self.membership.changed(&change.changes).map_err(RequestError::Change)?;
            self.membership = Membership { outgoing: NodeSet::default(), ..changed };
        }
        self.contacts.extend(change.contacts);
        Ok(())
    }
}

impl LocalBackend {
    pub fn new() -> Self {
        let store = Store::new();
        let reader = store.reader();
        let status = watch::Sender::new(NodeStatus {
            node_id: NodeId(MEMBER),
            role: Role::Leader,
            term: Term(2),
            leader: Some(NodeId(MEMBER)),
            first_index: Index(1),
            last: Position::new(2, 1),
            commit_index: Index(1),
            durable_index: Index(1),
            applied_index: Index(1),
            snapshot: None,
            low_space: false,
            is_witness: false,
        });
        let group = Group {
            membership: Membership::of([NodeId(MEMBER)]),
            contacts: BTreeMap::from([(NodeId(MEMBER), "localhost:2380".to_owned())]),
            removed: BTreeSet::new(),
            behind: BTreeSet::new(),
            reached: BTreeMap::new(),
        };
        let members = watch::Sender::new(group.members());
        let group = Arc::new(Mutex::new(group));
        let (refusals, refused_changes) = (Arc::default(), Arc::default());
        let store = Arc::new(Mutex::new(store));
        Self { store, reader, status, refusals, refused_changes, group, members }
    }

    /// A learner has caught up.
    pub fn catch_up(&self, id: u64) {
        self.group.lock().unwrap().behind.remove(&NodeId(id));
    }

    /// Another member has been reached for so long.
    pub fn reach(&self, id: u64, time: Duration) {
        self.group.lock().unwrap().reached.insert(NodeId(id), time);
    }

    /// This member is made one that is meant to learn.
    pub fn make_learner(&self) {
        let declared = Command::Declare { id: MEMBER, intent: MemberIntent::Learner };
        self.apply_at_once(&[declared]);
        let mut group = self.group.lock().unwrap();
        group.membership = Membership::of([NodeId(1)]);
        group.membership.learners.insert(NodeId(MEMBER));
        self.members.send_replace(group.members());
    }

    /// This member is made a witness, beside one that keeps data and leads.
    pub fn make_witness(&self) {
        self.status.send_modify(|status| {
            status.is_witness = true;
            status.role = Role::Follower;
            status.leader = Some(NodeId(1));
        });
        let mut group = self.group.lock().unwrap();
        group.membership = Membership::of([NodeId(1), NodeId(MEMBER)]);
        group.membership.witnesses.insert(NodeId(MEMBER));
        self.members.send_replace(group.members());
    }

    pub fn set_leader(&self, leader: Option<u64>) {
        self.status.send_modify(|status| status.leader = leader.map(NodeId));
    }

    pub fn refuse_next_change(&self, error: RequestError) {
        self.refused_changes.lock().unwrap().push(error);
    }

    fn refused_change(&self) -> Result<(), RequestError> {
        self.refused_changes.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    pub fn refuse_next(&self, error: RequestError) {
        self.refusals.lock().unwrap().push(error);
    }

    /// Applies commands in one batch, so that nothing comes between them.
    pub fn apply_at_once(&self, commands: &[Command]) {
        let commands: Vec<Bytes> = commands.iter().map(Command::encode).collect();
        let through = AppliedPosition { term: 1, index: 1 };
        let batch =
            Batch { through, commands: &commands, sidecar: &|_| unreachable!("it has no disk") };
        self.store.lock().unwrap().apply(&batch);
    }

    fn refusal(&self) -> Result<(), RequestError> {
        self.refusals.lock().unwrap().pop().map_or(Ok(()), Err)
    }
}

impl Backend for LocalBackend {
    async fn propose(&self, command: Bytes, _: Instant) -> Result<Applied, RequestError> {
        self.refusal()?;
        let mut position = Position::ZERO;
        self.status.send_if_modified(|status| {
            status.last = Position::new(status.term.0, status.last.index.0 + 1);
            status.commit_index = status.last.index;
            status.durable_index = status.last.index;
            status.applied_index = status.last.index;
            position = status.last;
            false
        });
        let through = AppliedPosition { term: position.term.0, index: position.index.0 };
        let batch =
            Batch { through, commands: &[command], sidecar: &|_| unreachable!("it has no disk") };
        let reply = self.store.lock().unwrap().apply(&batch).remove(0);
        Ok(Applied { position, reply })
    }

    async fn read_barrier(&self, _: Instant) -> Result<(), RequestError> {
        self.refusal()
    }

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn status(&self) -> NodeStatus {
        self.status.borrow().clone()
    }

    fn watch_status(&self) -> watch::Receiver<NodeStatus> {
        self.status.subscribe()
    }

    fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    fn watch_members(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    fn reached_for(&self, peer: NodeId) -> Option<Duration> {
        self.group.lock().unwrap().reached.get(&peer).copied()
    }

    async fn change_members(
        &self,
        change: MemberChange,
        _: Instant,
    ) -> Result<Members, RequestError> {
        self.refused_change()?;
        let mut group = self.group.lock().unwrap();
        group.change(change)?;
        self.members.send_replace(group.members());
        Ok(group.members())
    }

    async fn transfer_leadership(&self, to: NodeId, _: Instant) -> Result<(), RequestError> {
        self.refused_change()?;
        self.set_leader(Some(to.0));
        Ok(())
    }

    fn metrics(&self) -> NodeMetrics {
        NodeMetrics::default()
    }
}

/// A running server.
pub struct Server {
    pub backend: LocalBackend,
    pub services: Services<LocalBackend>,
    pub address: SocketAddr,
    pub channel: Channel,
    pub stop: watch::Sender<bool>,
    connections_max: usize,
    slots: Arc<Semaphore>,
}

pub async fn start() -> Server {
    start_with(Limits::default(), ConnectionLimits::default()).await
}

pub async fn start_with(limits: Limits, connections: ConnectionLimits) -> Server {
    let backend = LocalBackend::new();
    let identity = Identity {
        cluster_id: CLUSTER,
        member_id: MEMBER,
        members: vec![pb::Member {
            id: MEMBER,
            name: "default".into(),
            peer_urls: vec!["http://localhost:2380".into()],
            client_urls: vec!["http://localhost:2379".into()],
            is_learner: false,
            role: pb::MemberRole::Voter as i32,
        }],
    };
    let services = Services::new(backend.clone(), identity, limits, Arc::new(Metrics::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let connections_max = connections.connections_max;
    let slots = Arc::new(Semaphore::new(connections_max));
    let serving = Arc::clone(&slots);
    let attending = services.clone();
    tokio::spawn(async move { attending.attend_members().await });
    tokio::spawn(serve_connections(listener, services.clone(), connections, serving, stopped));
    let channel =
        Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Server { backend, services, address, channel, stop, connections_max, slots }
}

impl Server {
    /// How many connections there are.
    pub fn open_connections(&self) -> usize {
        // One slot waits for the next.
        self.connections_max - self.slots.available_permits() - 1
    }

    /// The value of this metric, or nothing.
    pub fn metric(&self, name: &str) -> String {
        let text = render_metrics(&self.services);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_default().to_owned()
    }

    pub fn kv(&self) -> client::KvClient {
        client::KvClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub fn cluster(&self) -> client::ClusterClient {
        client::ClusterClient::new(self.channel.clone())
    }

    pub async fn put(&self, key: &str, value: &str) -> i64 {
        let put = put_request(key, value);
        self.kv().put(put).await.unwrap().into_inner().header.unwrap().revision
    }

    pub async fn delete(&self, key: &str, range_end: &str) -> pb::DeleteRangeResponse {
        let request = pb::DeleteRangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            range_end: Bytes::copy_from_slice(range_end.as_bytes()),
            prev_kv: false,
        };
        self.kv().delete_range(request).await.unwrap().into_inner()
    }

    pub async fn compact(&self, revision: i64) {
        let request = pb::CompactionRequest { revision, physical: false };
        self.kv().compact(request).await.unwrap();
    }

    pub async fn watch(&self) -> WatchStream {
        WatchStream::open(&self.channel, false).await.unwrap()
    }
}

/// A watch stream seen from its client.
pub struct WatchStream {
    pub requests: mpsc::Sender<pb::WatchRequest>,
    pub responses: tonic::Streaming<pb::WatchResponse>,
}

impl WatchStream {
    pub async fn open(channel: &Channel, require_leader: bool) -> Result<Self, tonic::Status> {
        let (requests, receiver) = mpsc::channel(64);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut request = tonic::Request::new(stream);
        if require_leader {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        }
        let mut client = client::WatchClient::new(channel.clone());
        let responses = client.watch(request).await?.into_inner();
        Ok(Self { requests, responses })
    }

    pub async fn send(&self, union: pb::watch_request::RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    /// Asks for a watcher; its answer is the next response.
    pub async fn create(&self, create: pb::WatchCreateRequest) {
        self.send(pb::watch_request::RequestUnion::CreateRequest(create)).await;
    }

    pub async fn cancel(&self, watch_id: i64) {
        let cancel = pb::WatchCancelRequest { watch_id };
        self.send(pb::watch_request::RequestUnion::CancelRequest(cancel)).await;
    }

    pub async fn progress(&self) {
        let progress = pb::WatchProgressRequest {};
        self.send(pb::watch_request::RequestUnion::ProgressRequest(progress)).await;
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let next =
            tokio::time::timeout(std::time::Duration::from_secs(10), self.responses.message());
        next.await.expect("a response within 10 s").unwrap().expect("the stream goes on")
    }

    /// The next response, which must hold events: (type, key, value, mod revision).
    pub async fn events(&mut self) -> Vec<(i32, String, String, i64)> {
        let response = self.next().await;
        assert!(!response.created && !response.canceled, "{response:?}");
        response
            .events
            .iter()
            .map(|event| {
                let kv = event.kv.as_ref().unwrap();
                (event.r#type, text(&kv.key), text(&kv.value), kv.mod_revision)
            })
            .collect()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn put_request(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..pb::PutRequest::default()
    }
}

pub fn put_command(key: &str, value: &str) -> Command {
    Command::Put(PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    })
}

pub fn range_request(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(range_end.as_bytes()),
        ..pb::RangeRequest::default()
    }
}

pub fn watch_request(key: &str, range_end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(range_end.as_bytes()),
        ..pb::WatchCreateRequest::default()
    }
}
