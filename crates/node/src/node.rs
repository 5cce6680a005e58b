//! The node itself: events in, actions out, one owner of all its state.

use crate::apply::{Applier, Aside, BATCH_BYTES_MAX, Prepared};
use crate::cache::{EntryCache, cost};
use crate::envelope::{ENVELOPE_BYTES, Envelope};
use crate::links::{Change, Links};
use crate::port::{
    Action, Answer, ApplyJob, ClientRequest, Event, FrameFault, LinkId, LogDone, LogJob,
    NodeOptions, ReadFailure, RequestError, RequestToken, SnapshotJob, Status, StopReason,
};
use crate::proposals::Proposals;
use crate::reads::Reads;
use crate::sessions::Sessions;
use crate::snapshots::Snapshots;
use bytes::Bytes;
use driftless_codec::frame::ForwardRefusal;
use driftless_codec::{Entry, EntryKind, PeerFrame};
use driftless_log::{Identity, Record, Recovered, SnapshotMeta};
use driftless_machine::Durable;
use driftless_raft::{
    Effect, Effects, GroupId, Index, Input, Message, Moment, NodeId, Persist, Position, Raft,
    RestartError, Restored, Role, Round, Source, Term, Time,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Deadlines and retries are looked at this often while there are any.
const HOUSEKEEPING_US: u64 = 50_000;
/// Commands in one forwarding frame, about.
const FORWARD_BYTES_MAX: usize = 1 << 20;

/// Why a node does not start.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The options are for another member than the data directory.
    AnotherMember {
        /// As the options say.
        options: NodeId,
        /// As the data directory says.
        directory: NodeId,
    },
    /// What was recovered contradicts itself.
    Restart(RestartError),
    /// The machine's sidecar does not decode, or it is ahead of the log.
    Machine(&'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherMember { options, directory } => write!(
                f,
                "the data directory belongs to member {:x}, not {:x}: check the directory",
                directory.0, options.0
            ),
            Self::Restart(error) => error.fmt(f),
            Self::Machine(what) => write!(f, "the state machine cannot be used: {what}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Headers of a permission to send entries, kept while they are read from disk.
#[derive(Debug)]
pub(crate) struct Permission {
    to: NodeId,
    term: Term,
    prev: Position,
    leader_commit: Index,
    round: Round,
}

/// What entries are being read back for.
#[derive(Debug)]
pub(crate) enum ReadPurpose {
    Send(Permission),
    Apply { first: Index },
}

/// The deterministic host of one member of one group.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub struct Node {
    pub(crate) options: NodeOptions,
    pub(crate) group: GroupId,
    pub(crate) incarnation: u64,
    pub(crate) raft: Raft,
    pub(crate) links: Links,
    pub(crate) cache: EntryCache,
    pub(crate) proposals: Proposals,
    pub(crate) reads: Reads,
    pub(crate) sessions: Sessions,
    pub(crate) applier: Applier,
    pub(crate) snapshots: Snapshots,
    /// Commands that followers forwarded and that wait for the next flush.
    pub(crate) forwarded: Vec<(NodeId, EntryKind, Bytes)>,
    pub(crate) log_reads: BTreeMap<u64, ReadPurpose>,
    pub(crate) next_log_read: u64,
    pub(crate) low_space: bool,
    pub(crate) housekeeping_at: Option<Time>,
    pub(crate) started: bool,
    pub(crate) stopped: bool,
    // Beside the step in progress: the bytes of the entries that it is about.
    pub(crate) accepting: Vec<(EntryKind, Bytes)>,
    pub(crate) arriving: Vec<Entry>,
    pub(crate) refused: bool,
    pub(crate) effects: Effects,
    pub(crate) inputs: VecDeque<Input>,
}

impl Node {
    /// A node that begins with what its log and its machine hold. `known_peers`
    /// are the incarnations that the log remembers. Call [`Node::flush`] at once.
    pub fn new(
        options: NodeOptions,
        identity: Identity,
        recovered: Recovered,
        known_peers: BTreeMap<NodeId, u64>,
        machine: &Durable,
        moment: Moment,
    ) -> Result<Self, StartError> {
        if options.raft.id != identity.node_id {
            return Err(StartError::AnotherMember {
                options: options.raft.id,
                directory: identity.node_id,
            });
        }
        let Identity { node_id, incarnation, .. } = identity;
        let Recovered { group, hard_state, trail, membership, snapshot, .. } = recovered;
        let snapshot = snapshot.filter(|snapshot| snapshot.last > Position::ZERO);
        let in_machine = Position::new(machine.position.term, machine.position.index);
        if in_machine.index > trail.last().index {
            return Err(StartError::Machine("it has applied entries that the log does not hold"));
        }
        let sessions = Sessions::decode(&machine.sidecar)
            .map_err(|_| StartError::Machine("its sidecar does not decode"))?;
        let mut snapshots = Snapshots::new(snapshot);
        if let Some(newest) = &snapshots.newest
            && newest.last.index > in_machine.index
        {
            snapshots.to_load = Some(newest.clone());
        }
        let mut hard_state = hard_state;
        if let Some(newest) = &snapshots.newest {
            hard_state.commit_index = hard_state.commit_index.max(newest.last.index);
        }
        let links =
            Links::new(identity, group, membership.voters.iter().copied().collect(), known_peers);
        let restored = Restored { hard_state, trail, membership };
        let raft =
            Raft::new(options.raft.clone(), restored, moment).map_err(StartError::Restart)?;
        Ok(Self {
            group,
            incarnation,
            links,
            cache: EntryCache::new(options.cache_bytes_max),
            proposals: Proposals::new(node_id, moment.random, options.pending_bytes_max),
            reads: Reads::new(moment.random.rotate_left(32)),
            sessions,
            applier: Applier::new(in_machine),
            snapshots,
            forwarded: Vec::new(),
            log_reads: BTreeMap::new(),
            next_log_read: 0,
            low_space: false,
            housekeeping_at: None,
            started: false,
            stopped: false,
            accepting: Vec::new(),
            arriving: Vec::new(),
            refused: false,
            effects: Effects::new(),
            inputs: VecDeque::new(),
            options,
            raft,
        })
    }

    /// Takes one event. Actions are added to `actions`, to be carried out in order.
    pub fn handle(&mut self, moment: Moment, event: Event, actions: &mut Vec<Action>) {
        if self.stopped {
            if let Event::Client(
                ClientRequest::Propose { token, .. } | ClientRequest::Read { token, .. },
            ) = event
            {
                refuse(token, RequestError::Stopped, actions);
            }
            return;
        }
        let from = actions.len();
        match event {
            Event::Wake => self.wake(moment, actions),
            Event::Client(request) => self.ask(request, actions),
            Event::Accepted { link } => self.links.accepted(link),
            Event::Connected { link, peer } => self.links.connected(link, peer, actions),
            Event::Frame { link, frame } => self.frame(moment, link, &frame, actions),
            Event::Closed { link } => {
                let change = self.links.closed(link, actions);
                self.links_changed(moment, change, actions);
            }
            Event::Log(done) => self.log_done(moment, done, actions),
            Event::Applied { replies } => self.applied(&replies, actions),
            Event::Snapshot(done) => self.snapshot_done(moment, done, actions),
        }
        if actions[from..].iter().any(|action| matches!(action, Action::Stop(_))) {
            self.stop(actions);
        }
    }

    /// After everything that had queued up was handled: proposes, forwards and
    /// confirms as one batch each what came together.
    pub fn flush(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if self.stopped {
            return;
        }
        if !self.started {
            self.started = true;
            self.step(moment, Input::Wake, actions);
            self.pump(actions);
        }
        match self.raft.leader() {
            Some(leader) if leader == self.raft.id() => self.propose(moment, actions),
            Some(leader) => self.forward(moment, leader, actions),
            None => {}
        }
        if let Some(id) = self.reads.next_batch(moment.now) {
            self.step(moment, Input::Read { id }, actions);
            self.serve_reads(actions);
        }
        let idle = self.proposals.is_idle()
            && self.reads.is_idle()
            && self.snapshots.sending.is_empty()
            && self.proposals.session().is_some();
        if idle {
            self.housekeeping_at = None;
        } else if self.housekeeping_at.is_none() {
            self.housekeeping_at = Some(moment.now.after(HOUSEKEEPING_US));
        }
    }

    /// When to send [`Event::Wake`] at the latest; never, if `None`.
    pub fn deadline(&self) -> Option<Time> {
        if self.stopped {
            return None;
        }
        self.raft.deadline().into_iter().chain(self.housekeeping_at).min()
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        Status {
            node_id: self.raft.id(),
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            last: self.raft.last(),
            commit_index: self.raft.commit_index(),
            durable_index: self.raft.durable_index(),
            applied_index: self.applier.applied.index,
            snapshot: self.snapshots.newest.as_ref().map(|newest| newest.last),
            low_space: self.low_space,
        }
    }

    /// The algorithm's state, to look at.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// What the machine has applied.
    pub fn applied_position(&self) -> Position {
        self.applier.applied
    }

    /// The batch that the machine is about to apply ends here; for [`crate::apply_inline`].
    pub(crate) fn sidecar_after(&self, replies: &[Bytes]) -> Bytes {
        let mut sessions = self.sessions.clone();
        if let Some((_, planned)) = &self.applier.outstanding {
            for (planned, reply) in planned.iter().zip(replies) {
                sessions.record(planned.session, planned.sequence, reply);
            }
        }
        sessions.encode()
    }
}

/// The algorithm's effects.
impl Node {
    /// Steps the algorithm and carries out its effects, until nothing follows.
    pub(crate) fn step(&mut self, moment: Moment, input: Input, actions: &mut Vec<Action>) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let mut effects = std::mem::take(&mut self.effects);
            self.raft.step(moment, input, &mut effects);
            for effect in effects.list.drain(..) {
                self.carry_out(moment, effect, actions);
            }
            self.effects = effects;
        }
    }

    fn carry_out(&mut self, moment: Moment, effect: Effect, actions: &mut Vec<Action>) {
        match effect {
            Effect::Persist(persist) => self.persist(persist, actions),
            Effect::Send { to, message } => {
                self.links.send(to, &PeerFrame::Raft(message), actions);
            }
            Effect::SendEntries { to, term, prev, last_max, bytes_max, leader_commit, round } => {
                let permission = Permission { to, term, prev, leader_commit, round };
                self.send_entries(permission, last_max, bytes_max, actions);
            }
            Effect::SendSnapshot { to, term } => {
                self.begin_sending_snapshot(moment, to, term, actions);
            }
            Effect::Accept { count, .. } => {
                assert_eq!(count, self.accepting.len() as u64, "accepted as proposed");
            }
            Effect::Refuse { .. } => self.refused = true,
            Effect::Apply { through } => {
                self.applier.target = self.applier.target.max(through);
                self.pump(actions);
            }
            Effect::Restore { snapshot } => {
                let membership = self.raft.membership().clone();
                self.snapshots.to_load = Some(SnapshotMeta { last: snapshot, membership });
                self.pump(actions);
            }
            Effect::ReadReady { id, index } => self.reads.confirmed(id, index),
            Effect::ReadRefused { id, .. } => {
                self.reads.refused(id, moment.now.after(HOUSEKEEPING_US));
            }
            Effect::RoleChanged { leader, .. } => {
                if leader.is_some() {
                    self.proposals.requeue_all();
                    self.reads.abandon();
                }
                actions.push(Action::StatusChanged);
            }
        }
    }

    fn persist(&mut self, persist: Persist, actions: &mut Vec<Action>) {
        let Persist { ticket, hard_state, truncate_from, runs, source } = persist;
        if let Some(from) = truncate_from {
            self.cache.truncate_from(from);
        }
        let positions = runs.iter().flat_map(|run| {
            (run.first.0..=run.last.0).map(|index| Position { term: run.term, index: Index(index) })
        });
        let mut snapshot = None;
        let entries: Vec<Entry> = match source {
            Source::HardState => Vec::new(),
            Source::Noop => positions
                .map(|position| Entry { position, kind: EntryKind::Noop, payload: Bytes::new() })
                .collect(),
            Source::Proposal => positions
                .zip(self.accepting.drain(..))
                .map(|(position, (kind, payload))| Entry { position, kind, payload })
                .collect(),
            Source::Append { .. } => {
                let arriving = std::mem::take(&mut self.arriving);
                let first = runs.first().map_or(Index(u64::MAX), |run| run.first);
                arriving.into_iter().filter(|entry| entry.position.index >= first).collect()
            }
            Source::Snapshot { last, membership } => {
                self.cache.reset(self.applier.applied.index);
                snapshot = Some(SnapshotMeta { last, membership });
                Vec::new()
            }
        };
        let wanted: u64 = runs.iter().map(driftless_raft::Run::count).sum();
        assert_eq!(wanted, entries.len() as u64, "every entry to persist has its bytes");
        for entry in &entries {
            self.cache.push(entry.clone());
        }
        let record = Record { group: self.group, hard_state, truncate_from, snapshot, entries };
        actions.push(Action::Log(LogJob::Append { ticket, record }));
    }

    fn send_entries(
        &mut self,
        permission: Permission,
        last_max: Index,
        bytes_max: u64,
        actions: &mut Vec<Action>,
    ) {
        let first = permission.prev.index.next();
        let reaches = self.links.reaches(permission.to);
        if !reaches {
            // Nobody would hear it; the algorithm waits for a sign of life.
            let Permission { to, term, .. } = permission;
            self.inputs.push_back(Input::Unreadable { to, term });
        } else if let Some(entries) = self.cache.range(first, last_max, bytes_max) {
            self.send_read_entries(&permission, entries, actions);
        } else {
            let id = self.log_read(ReadPurpose::Send(permission));
            actions.push(Action::Log(LogJob::Read { id, first, last: last_max, bytes_max }));
        }
    }

    fn send_read_entries(
        &mut self,
        permission: &Permission,
        entries: Vec<Entry>,
        actions: &mut Vec<Action>,
    ) {
        let &Permission { to, term, prev, leader_commit, round } = permission;
        let last = entries.last().map_or(prev.index, |entry| entry.position.index);
        let bytes = entries.iter().map(cost).sum::<usize>() as u64;
        let frame = PeerFrame::Append { term, prev_log: prev, leader_commit, round, entries };
        self.links.send(to, &frame, actions);
        self.inputs.push_back(Input::Sent { to, term, last, bytes });
    }

    fn log_read(&mut self, purpose: ReadPurpose) -> u64 {
        self.next_log_read += 1;
        self.log_reads.insert(self.next_log_read, purpose);
        self.next_log_read
    }
}

/// Clients.
impl Node {
    fn ask(&mut self, request: ClientRequest, actions: &mut Vec<Action>) {
        match request {
            ClientRequest::Propose { token, command, deadline } => {
                let (bytes, bytes_max) = (command.len(), self.options.command_bytes_max);
                let taken = if bytes > bytes_max {
                    Err(RequestError::TooLarge { bytes, bytes_max })
                } else if self.low_space && self.raft.role() == Role::Leader {
                    Err(RequestError::DiskFull)
                } else {
                    self.proposals.ask(token, command, deadline)
                };
                if let Err(error) = taken {
                    refuse(token, error, actions);
                }
            }
            ClientRequest::Read { token, deadline } => self.reads.ask(token, deadline),
        }
    }

    /// As leader: everything that waits becomes one proposal.
    fn propose(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if self.low_space {
            let answers = self.proposals.refuse_unsent(RequestError::DiskFull);
            refuse_all(answers, actions);
            self.refuse_forwarded(ForwardRefusal::DiskFull, actions);
            return;
        }
        if self.cache.unapplied_bytes() > self.options.pending_bytes_max {
            self.refuse_forwarded(ForwardRefusal::Busy, actions);
            return;
        }
        let mut entries: Vec<(EntryKind, Bytes)> = Vec::new();
        if let Some(open) = self.proposals.open_session(moment.now) {
            entries.push((EntryKind::Session, open));
        }
        let forwarded = std::mem::take(&mut self.forwarded);
        entries.extend(forwarded.iter().map(|(_, kind, payload)| (*kind, payload.clone())));
        let own = self.proposals.take(self.options.pending_bytes_max);
        let sequences: Vec<u64> = own.iter().map(|(sequence, _)| *sequence).collect();
        entries.extend(own.into_iter().map(|(_, payload)| (EntryKind::Command, payload)));
        if entries.is_empty() {
            return;
        }
        let count = entries.len() as u64;
        self.accepting = entries;
        self.refused = false;
        self.step(moment, Input::Propose { count }, actions);
        if self.refused {
            self.accepting.clear();
            self.proposals.put_back(sequences.into_iter());
            self.forwarded = forwarded;
            self.refuse_forwarded(ForwardRefusal::NotLeader, actions);
        }
    }

    /// As follower: everything that waits goes to the leader.
    fn forward(&mut self, moment: Moment, leader: NodeId, actions: &mut Vec<Action>) {
        let paused = self.proposals.paused_until.is_some_and(|until| moment.now < until);
        if !self.links.reaches(leader) || paused {
            return;
        }
        self.proposals.paused_until = None;
        if let Some(open) = self.proposals.open_session(moment.now) {
            let frame = PeerFrame::Forward { entries: vec![(EntryKind::Session, open)] };
            self.links.send(leader, &frame, actions);
        }
        while self.proposals.is_waiting() {
            let own = self.proposals.take(FORWARD_BYTES_MAX);
            if own.is_empty() {
                break;
            }
            let entries = own.into_iter().map(|(_, payload)| (EntryKind::Command, payload));
            self.links.send(leader, &PeerFrame::Forward { entries: entries.collect() }, actions);
        }
    }

    /// A follower's commands are not taken; it is told which.
    fn refuse_forwarded(&mut self, refusal: ForwardRefusal, actions: &mut Vec<Action>) {
        let mut by_peer: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for (peer, kind, payload) in self.forwarded.drain(..) {
            if kind == EntryKind::Command
                && let Ok(envelope) = Envelope::decode(&payload)
            {
                by_peer.entry(peer).or_default().push(envelope.sequence);
            }
        }
        for (peer, sequences) in by_peer {
            self.links.send(peer, &PeerFrame::ForwardRefused { refusal, sequences }, actions);
        }
    }

    fn forward_refused(
        &mut self,
        moment: Moment,
        refusal: ForwardRefusal,
        sequences: &[u64],
        actions: &mut Vec<Action>,
    ) {
        let error = match refusal {
            ForwardRefusal::NotLeader => None,
            ForwardRefusal::Busy => Some(RequestError::Busy),
            ForwardRefusal::DiskFull => Some(RequestError::DiskFull),
        };
        refuse_all(self.proposals.refused(sequences, error), actions);
        self.proposals.paused_until = Some(moment.now.after(HOUSEKEEPING_US));
    }

    pub(crate) fn serve_reads(&mut self, actions: &mut Vec<Action>) {
        for token in self.reads.ready(self.applier.applied.index) {
            actions.push(Action::Answer { token, answer: Answer::ReadReady });
        }
    }

    fn wake(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        if self.raft.deadline().is_some_and(|deadline| deadline <= moment.now) {
            self.step(moment, Input::Wake, actions);
            self.serve_reads(actions);
        }
        if self.housekeeping_at.is_some_and(|at| at <= moment.now) {
            self.housekeeping_at = None;
            let no_answer = match self.raft.leader() {
                Some(_) => RequestError::TimedOut,
                None => RequestError::NoLeader,
            };
            refuse_all(self.proposals.expire(moment.now), actions);
            refuse_all(self.reads.expire(moment.now, no_answer), actions);
            for (to, term) in self.snapshots.silent(moment.now) {
                self.sending_failed(moment, to, term, "the follower fell silent".into(), actions);
            }
        }
    }

    /// Nothing more can be done: everybody is told.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.stopped = true;
        refuse_all(self.proposals.stop(RequestError::Stopped), actions);
        refuse_all(self.reads.stop(RequestError::Stopped), actions);
    }
}

/// Peers.
impl Node {
    fn frame(&mut self, moment: Moment, link: LinkId, frame: &Bytes, actions: &mut Vec<Action>) {
        if !self.links.is_open(link) {
            return;
        }
        let change = match PeerFrame::decode(frame) {
            Ok((group, _)) if group != self.group => {
                self.links.close(link, FrameFault::WrongGroup(group), actions)
            }
            Ok((_, frame)) => {
                if let Some(peer) = self.links.sender(link) {
                    self.peer_frame(moment, link, peer, frame, actions);
                    return;
                }
                self.links.shake(link, &frame, actions)
            }
            Err(error) => self.links.close(link, FrameFault::Malformed(error), actions),
        };
        self.links_changed(moment, change, actions);
    }

    fn peer_frame(
        &mut self,
        moment: Moment,
        link: LinkId,
        peer: NodeId,
        frame: PeerFrame,
        actions: &mut Vec<Action>,
    ) {
        let other = match frame.into_message() {
            Ok((message, entries)) => {
                self.receive(moment, peer, message, entries, actions);
                return;
            }
            Err(other) => other,
        };
        match other {
            PeerFrame::Forward { entries } => {
                if entries.iter().any(|(kind, payload)| !may_forward(*kind, payload)) {
                    let change = self.links.close(link, FrameFault::OutOfTurn, actions);
                    self.links_changed(moment, change, actions);
                    return;
                }
                let entries = entries.into_iter();
                self.forwarded.extend(entries.map(|(kind, payload)| (peer, kind, payload)));
                if self.raft.role() != Role::Leader {
                    self.refuse_forwarded(ForwardRefusal::NotLeader, actions);
                }
            }
            PeerFrame::ForwardRefused { refusal, sequences } => {
                self.forward_refused(moment, refusal, &sequences, actions);
            }
            PeerFrame::SnapshotChunk { term, last, membership, maker, offset, done, bytes } => {
                let meta = SnapshotMeta { last, membership };
                let piece = (maker, offset, bytes, done);
                self.chunk_arrived(moment, (peer, term), meta, piece, actions);
            }
            PeerFrame::SnapshotAck { term, received, done, .. } => {
                self.chunk_acknowledged(moment, (peer, term), received, done, actions);
            }
            _ => {
                let change = self.links.close(link, FrameFault::OutOfTurn, actions);
                self.links_changed(moment, change, actions);
            }
        }
    }

    fn receive(
        &mut self,
        moment: Moment,
        from: NodeId,
        mut message: Message,
        entries: Vec<Entry>,
        actions: &mut Vec<Action>,
    ) {
        self.arriving = entries;
        if self.low_space
            && let Message::Append { runs, leader_commit, prev_log, .. } = &mut message
            && !runs.is_empty()
        {
            // No room for entries. Heard as a heartbeat: the leader keeps its
            // quorum of ears, and its entries wait until there is room again.
            runs.clear();
            *leader_commit = (*leader_commit).min(prev_log.index);
            self.arriving.clear();
        }
        self.step(moment, Input::Receive { from, message }, actions);
        self.arriving.clear();
        self.serve_reads(actions);
    }

    fn links_changed(&mut self, moment: Moment, change: Change, actions: &mut Vec<Action>) {
        match change {
            Change::None => {}
            Change::Reached(peer) => {
                if self.raft.leader() == Some(peer) {
                    self.proposals.requeue_all();
                    self.reads.abandon();
                }
            }
            Change::Lost(peer) => {
                if let Some(sending) = self.snapshots.sending.remove(&peer) {
                    let why = "the link broke".into();
                    self.sending_failed(moment, peer, sending.term, why, actions);
                }
                self.step(moment, Input::Disconnected { peer }, actions);
                self.serve_reads(actions);
            }
        }
    }
}

/// The log and the machine.
impl Node {
    fn log_done(&mut self, moment: Moment, done: LogDone, actions: &mut Vec<Action>) {
        match done {
            LogDone::Appended { ticket, low_space } => {
                self.low_space = low_space;
                self.step(moment, Input::Persisted { ticket }, actions);
                self.serve_reads(actions);
            }
            LogDone::Read { id, entries } => self.log_was_read(moment, id, entries, actions),
            LogDone::Compacted => self.remove_older_snapshots(actions),
            LogDone::PeerRemembered { peer } => {
                for change in self.links.remembered(peer, actions) {
                    self.links_changed(moment, change, actions);
                }
            }
            LogDone::Space { low_space } => self.low_space = low_space,
            LogDone::Failed(error) => actions.push(Action::Stop(StopReason::LogFailed(error))),
        }
    }

    fn log_was_read(
        &mut self,
        moment: Moment,
        id: u64,
        entries: Result<Vec<Entry>, ReadFailure>,
        actions: &mut Vec<Action>,
    ) {
        match (self.log_reads.remove(&id), entries) {
            (None, _) => {}
            (Some(ReadPurpose::Send(permission)), entries) => {
                let Permission { to, term, prev, .. } = permission;
                let trail = self.raft.trail();
                let stands = |entry: &Entry| trail.contains(entry.position);
                match entries {
                    Ok(entries)
                        if trail.contains(prev)
                            && crate::cache::follows(prev, &entries)
                            && entries.iter().all(stands)
                            && !entries.is_empty() =>
                    {
                        self.send_read_entries(&permission, entries, actions);
                    }
                    _ => self.inputs.push_back(Input::Unreadable { to, term }),
                }
                if let Some(input) = self.inputs.pop_front() {
                    self.step(moment, input, actions);
                }
            }
            (Some(ReadPurpose::Apply { first }), entries) => {
                self.applier.reading = false;
                // A snapshot may have taken the place of what was read for.
                if self.applier.applied.index.next() != first || self.snapshots.to_load.is_some() {
                    self.pump(actions);
                    return;
                }
                match entries {
                    Ok(entries) => self.apply(&entries, actions),
                    Err(ReadFailure::Damaged(position)) => {
                        actions.push(Action::Stop(StopReason::EntryDamaged(position)));
                    }
                    Err(ReadFailure::Gone | ReadFailure::Io) => {
                        let why = format!("entry {first} could not be read back");
                        actions.push(Action::Stop(StopReason::LogFailed(why)));
                    }
                }
            }
        }
    }

    /// Lets applying, loading and saving go on as far as they can now.
    pub(crate) fn pump(&mut self, actions: &mut Vec<Action>) {
        if self.applier.outstanding.is_some() || self.snapshots.loading || !self.started {
            return;
        }
        if let Some(meta) = self.snapshots.to_load.take() {
            if meta.last.index <= self.applier.applied.index {
                self.pump(actions);
                return;
            }
            self.snapshots.loading = true;
            self.snapshots.to_load = Some(meta.clone());
            actions.push(Action::Snapshot(SnapshotJob::Load { meta }));
            return;
        }
        if self.snapshots.due(&self.options) {
            self.snapshots.begin_saving();
            let meta = SnapshotMeta {
                last: self.applier.applied,
                membership: self.raft.membership().clone(),
            };
            let sidecar = self.sessions.encode();
            let maker = self.incarnation;
            actions.push(Action::Snapshot(SnapshotJob::Save { meta, sidecar, maker }));
        }
        let Some((first, last)) = self.applier.next() else { return };
        if let Some(entries) = self.cache.range(first, last, BATCH_BYTES_MAX) {
            self.apply(&entries, actions);
        } else {
            self.applier.reading = true;
            let id = self.log_read(ReadPurpose::Apply { first });
            let bytes_max = BATCH_BYTES_MAX;
            actions.push(Action::Log(LogJob::Read { id, first, last, bytes_max }));
        }
    }

    fn apply(&mut self, entries: &[Entry], actions: &mut Vec<Action>) {
        let Some(through) = entries.last().map(|entry| entry.position) else { return };
        let bytes = entries.iter().map(cost).sum::<usize>() as u64;
        self.snapshots.count(entries.len() as u64, bytes);
        let Prepared { commands, planned, asides } =
            self.applier.prepare(entries, &mut self.sessions);
        for aside in asides {
            match aside {
                Aside::Opened(id, open) => self.proposals.opened(id, open),
                Aside::Duplicate(session, sequence, position, reply) => {
                    // Without a reply it is either being applied in this very
                    // batch, or was answered, or its reply was too long to keep.
                    if let Some(reply) = reply
                        && let Some(token) = self.proposals.applied(session, sequence)
                    {
                        let answer = Answer::Applied { position, reply };
                        actions.push(Action::Answer { token, answer });
                    }
                }
                Aside::Rejected(session, sequence) => self.proposals.rejected(session, sequence),
            }
        }
        self.applier.outstanding = Some((through, planned));
        actions.push(Action::Apply(ApplyJob { through, commands }));
    }

    fn applied(&mut self, replies: &[Bytes], actions: &mut Vec<Action>) {
        let Some((through, planned)) = self.applier.outstanding.take() else { return };
        assert_eq!(replies.len(), planned.len(), "the machine answers every command once");
        for (planned, reply) in planned.into_iter().zip(replies) {
            self.sessions.record(planned.session, planned.sequence, reply);
            if let Some(token) = self.proposals.applied(planned.session, planned.sequence) {
                let answer = Answer::Applied { position: planned.position, reply: reply.clone() };
                actions.push(Action::Answer { token, answer });
            }
        }
        self.applier.applied = through;
        self.cache.mark_applied(through.index);
        self.cache.evict(through.index.min(self.raft.durable_index()));
        self.serve_reads(actions);
        self.pump(actions);
    }

    /// After a snapshot took the place of entries: what of ours was in them?
    pub(crate) fn answer_from_sessions(&mut self, actions: &mut Vec<Action>) {
        if let Some(session) = self.proposals.session() {
            for sequence in self.proposals.unanswered() {
                if let Some(reply) = self.sessions.reply(session, sequence)
                    && let Some(token) = self.proposals.applied(session, sequence)
                {
                    let position = self.applier.applied;
                    actions.push(Action::Answer {
                        token,
                        answer: Answer::Applied { position, reply },
                    });
                }
            }
        }
        let sessions = &self.sessions;
        self.proposals.resume(|id| sessions.is_open(id));
    }
}

/// What a peer may ask to have appended.
fn may_forward(kind: EntryKind, payload: &Bytes) -> bool {
    match kind {
        EntryKind::Noop => false,
        EntryKind::Command => payload.len() >= ENVELOPE_BYTES,
        EntryKind::Session => crate::envelope::OpenSession::decode(payload).is_ok(),
    }
}

fn refuse(token: RequestToken, error: RequestError, actions: &mut Vec<Action>) {
    actions.push(Action::Answer { token, answer: Answer::Refused(error) });
}

fn refuse_all(answers: Vec<(RequestToken, RequestError)>, actions: &mut Vec<Action>) {
    for (token, error) in answers {
        refuse(token, error, actions);
    }
}
