//! The node itself: events in, actions out, one owner of all its state.

use crate::apply::Applier;
use crate::changes::Changes;
use crate::clients::{refuse, refuse_all};
use crate::dialling::Who;
use crate::effects::{Encoded, ReadPurpose};
use crate::links::Links;
use crate::payloads::Payloads;
use crate::port::{
    Action, Answer, Event, LogJob, Members, NodeOptions, RequestError, Status, StopReason,
};
use crate::proposals::Proposals;
use crate::reads::Reads;
use crate::room::LogRoom;
use crate::roster::Roster;
use crate::sessions::Sessions;
use crate::sidecar;
use crate::snapshots::Snapshots;
use crate::watch::Watch;
use bytes::Bytes;
use driftless_codec::EntryKind;
use driftless_codec::frame::ForwardRefusal;
use driftless_log::{Identity, KnownPeer, Recovered};
use driftless_machine::Durable;
use driftless_raft::{
    Effects, GroupId, Index, Input, Membership, Moment, NodeId, Position, Promotion, Raft,
    RestartError, Restored, Term, Time,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Deadlines and retries are looked at this often while there are any.
pub(crate) const HOUSEKEEPING_US: u64 = 50_000;

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
    /// An entry that the log held durably does not verify any more.
    EntryDamaged(Position),
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
            Self::EntryDamaged(position) => write!(
                f,
                "entry {position} is damaged on this disk: restore this member's data directory; \
                 others go on without it"
            ),
            Self::Machine(what) => write!(f, "the state machine cannot be used: {what}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The deterministic host of one member of one group.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub struct Node {
    pub(crate) options: NodeOptions,
    pub(crate) group: GroupId,
    pub(crate) incarnation: u64,
    pub(crate) raft: Raft,
    pub(crate) links: Links,
    /// Since when this member has had a link to each peer that it has one to.
    pub(crate) reached: BTreeMap<NodeId, Time>,
    pub(crate) payloads: Payloads,
    pub(crate) proposals: Proposals,
    pub(crate) reads: Reads,
    pub(crate) sessions: Sessions,
    pub(crate) roster: Roster,
    /// The members that people were told of last.
    pub(crate) told_members: Membership,
    pub(crate) changes: Changes,
    pub(crate) applier: Applier,
    pub(crate) snapshots: Snapshots,
    /// Commands that followers forwarded and that wait for the next flush.
    pub(crate) forwarded: Vec<(NodeId, EntryKind, Bytes)>,
    /// Where the last message with entries to each follower began, and when it went.
    pub(crate) last_sent: BTreeMap<NodeId, (Term, Index, Time)>,
    pub(crate) log_reads: BTreeMap<u64, ReadPurpose>,
    pub(crate) next_log_read: u64,
    pub(crate) room: LogRoom,
    pub(crate) watch: Watch,
    pub(crate) housekeeping_at: Option<Time>,
    /// Whether links may have to follow a change of members or addresses.
    pub(crate) links_due: bool,
    /// This member was removed, and stops then.
    pub(crate) leaves_at: Option<Time>,
    /// This member was sent what only a witness is, before it knew that it is one.
    pub(crate) joins_as_witness: bool,
    pub(crate) started: bool,
    pub(crate) stopped: bool,
    pub(crate) encoded: Option<Encoded>,
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
        known_peers: BTreeMap<NodeId, KnownPeer>,
        machine: &Durable,
        moment: Moment,
    ) -> Result<Self, StartError> {
        if options.raft.id != identity.node_id {
            return Err(StartError::AnotherMember {
                options: options.raft.id,
                directory: identity.node_id,
            });
        }
        let Identity { node_id, incarnation, replacement, owed_us, .. } = identity;
        let Recovered { group, hard_state, trail, membership: _, snapshot, damaged } = recovered;
        if let Some(position) = damaged.first() {
            return Err(StartError::EntryDamaged(*position));
        }
        let is_witness = options.witness || trail.membership().is_witness(node_id);
        let snapshot = snapshot.filter(|snapshot| snapshot.last > Position::ZERO);
        let in_machine = Position::new(machine.position.term, machine.position.index);
        // What lies behind the log's base is committed, and the machine's own concern.
        if in_machine.index >= trail.base().index && !trail.contains(in_machine) {
            return Err(StartError::Machine("it has applied entries that the log does not hold"));
        }
        let own = sidecar::decode(&machine.sidecar)
            .map_err(|_| StartError::Machine("its sidecar does not decode"))?;
        let at_base = || Roster::of(trail.membership_at(trail.base().index).clone());
        let (sessions, roster) = own.unwrap_or_else(|| (Sessions::default(), at_base()));
        let at_snapshot = snapshot.as_ref().map_or(Position::ZERO, |snapshot| snapshot.last);
        let applied = if is_witness { in_machine.max(at_snapshot) } else { in_machine };
        let mut snapshots = Snapshots::new(snapshot);
        if let Some(newest) = &snapshots.newest
            && newest.last.index > in_machine.index
            && !is_witness
        {
            snapshots.to_load = Some(newest.clone());
        }
        let mut hard_state = hard_state;
        if let Some(newest) = &snapshots.newest {
            hard_state.commit_index = hard_state.commit_index.max(newest.last.index);
        }
        let nonce = moment.random.rotate_left(16);
        let promise_us = options.raft.promise_us();
        let links = Links::new(identity, (nonce, promise_us), group, known_peers);
        let replacement = replacement.then_some(incarnation);
        let restored = Restored { hard_state, trail, replacement };
        let mut config = options.raft.clone();
        if options.readmit_lost_disks && config.promotion == Promotion::ByHand {
            config.promotion = Promotion::Readmitted;
        }
        let mut raft = Raft::new(config, restored, moment).map_err(StartError::Restart)?;
        raft.owe(owed_us, moment.now);
        Ok(Self {
            group,
            incarnation,
            links,
            reached: BTreeMap::new(),
            payloads: Payloads::new(group, options.cache_bytes_max),
            proposals: Proposals::new(node_id, moment.random, options.pending_bytes_max),
            reads: Reads::new(moment.random.rotate_left(32)),
            sessions,
            told_members: roster.membership().clone(),
            roster,
            changes: Changes::new(moment.random.rotate_left(48)),
            applier: Applier::new(applied),
            snapshots,
            forwarded: Vec::new(),
            last_sent: BTreeMap::new(),
            log_reads: BTreeMap::new(),
            next_log_read: 0,
            room: LogRoom::default(),
            watch: Watch::new(options.raft.election_timeout_us),
            housekeeping_at: None,
            links_due: true,
            leaves_at: None,
            joins_as_witness: false,
            started: false,
            stopped: false,
            encoded: None,
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
            if let Event::Client(request) = event {
                refuse(request.token(), RequestError::Stopped, actions);
            }
            return;
        }
        let from = actions.len();
        let (raft, watch, housekeeping) = (&self.raft, &mut self.watch, self.housekeeping_at);
        let deadline = || raft.deadline().into_iter().chain(housekeeping).min();
        if self.started && watch.stood_still(moment.now, deadline) {
            self.step(moment, Input::Paused, actions);
        }
        match event {
            Event::Wake => self.wake(moment, actions),
            Event::Client(request) => self.ask(moment, request, actions),
            Event::Accepted { link } => self.links.accepted(link),
            Event::Connected { link, peer } => {
                let who = Who::of(&self.raft, &self.roster, &self.options);
                self.links.connected(link, peer, who, actions);
            }
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
            // Until the log has said what it has room for, nothing is handed to it.
            actions.push(Action::Log(LogJob::Claim { bytes: 0 }));
            self.step(moment, Input::Wake, actions);
            self.pump(actions);
        }
        self.drive_changes(moment, actions);
        self.follow_members(moment, actions);
        if self.is_witness() {
            // It may have learnt that it is one with requests waiting.
            refuse_all(self.proposals.refuse_unsent(RequestError::Witness), actions);
            refuse_all(self.reads.stop(RequestError::Witness), actions);
        }
        match self.raft.leader() {
            Some(leader) if leader == self.raft.id() => self.propose(moment, actions),
            leader => {
                self.refuse_forwarded(ForwardRefusal::NotLeader, actions);
                if let Some(leader) = leader {
                    self.forward(moment, leader, actions);
                }
            }
        }
        if let Some(id) = self.reads.next_batch(moment.now) {
            let deadline = self.reads.asked_until();
            // With it, the step that takes a read answers it.
            let has_lease = self.raft.has_lease(moment.now);
            self.step(moment, Input::Read { id, deadline }, actions);
            if has_lease {
                self.reads.count_by_lease(id);
            }
            self.serve_reads(actions);
        }
        let idle = self.proposals.is_idle()
            && self.reads.is_idle()
            && self.changes.is_idle()
            && self.links.is_idle()
            && self.leaves_at.is_none()
            && self.snapshots.sending.is_empty()
            && self.snapshots.again_at.is_none()
            && (self.proposals.session().is_some() || self.is_witness());
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
        let own = self.housekeeping_at.into_iter().chain(self.watch.deadline());
        self.raft.deadline().into_iter().chain(own).min()
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        Status {
            node_id: self.raft.id(),
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            first_index: self.raft.trail().base().index.next(),
            last: self.raft.last(),
            commit_index: self.raft.commit_index(),
            durable_index: self.raft.durable_index(),
            applied_index: self.applier.applied.index,
            snapshot: self.snapshots.newest.as_ref().map(|newest| newest.last),
            low_space: self.room.is_low(),
            is_witness: self.is_witness(),
        }
    }

    /// Who the members are, as this member has applied it.
    pub fn members(&self) -> Members {
        let who = Who::of(&self.raft, &self.roster, &self.options);
        let address = |id| who.address(id).map(str::to_owned);
        let removed = self.roster.removed().clone();
        Members { removed, ..Members::of(self.roster.membership(), address) }
    }

    /// The peers to whom this member has a link at present, and since when.
    pub fn reached(&self) -> &BTreeMap<NodeId, Time> {
        &self.reached
    }

    /// How many reads of its clients this member has answered, as leader, by its lease.
    pub fn reads_by_lease(&self) -> u64 {
        self.reads.by_lease
    }

    /// Whether this member votes and holds no data.
    pub(crate) fn is_witness(&self) -> bool {
        let says_so = self.options.witness || self.joins_as_witness;
        says_so || self.raft.membership().is_witness(self.raft.id())
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
        if let Some((_, judged)) = &self.applier.outstanding {
            sessions.settle(judged, replies);
        }
        sidecar::encode(&sessions, &self.roster)
    }

    /// Links follow the members and their addresses, and a member that was removed
    /// goes, once the others have had time to hear the last of it.
    fn follow_members(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        let now = moment.now;
        if std::mem::take(&mut self.links_due) {
            let grace_us = self.options.raft.election_timeout_us;
            let who = Who::of(&self.raft, &self.roster, &self.options);
            let me_gone = who.is_gone(who.me);
            for change in self.links.follow(now, grace_us, who, actions) {
                self.links_changed(moment, change, actions);
            }
            if me_gone {
                self.leaves_at.get_or_insert(now.after(grace_us));
            } else {
                self.leaves_at = None;
            }
        }
        if self.leaves_at.is_some_and(|at| at <= now) {
            actions.push(Action::Stop(StopReason::Removed));
            self.stop(actions);
        }
    }

    /// Nothing more can be done: everybody is told.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.stopped = true;
        let removed = |action: &Action| matches!(action, Action::Stop(StopReason::Removed));
        if actions.iter().any(removed) {
            let answer = |token| Action::Answer { token, answer: Answer::Changed };
            actions.extend(self.changes.removed(self.raft.id()).into_iter().map(answer));
        }
        refuse_all(self.proposals.stop(RequestError::Stopped), actions);
        refuse_all(self.reads.stop(RequestError::Stopped), actions);
        refuse_all(self.changes.stop(RequestError::Stopped), actions);
    }
}
