//! One member of a group: Figure 2's state, and the one door to it.

use crate::effect::{Effect, Effects, Role};
use crate::input::Input;
use crate::membership::Membership;
use crate::message::Message;
use crate::note::Note;
use crate::outbox::{Outbox, Promise, Waiting};
use crate::progress::Progress;
use crate::roles::RoleState;
use crate::rpc::lease::LeasePromise;
use crate::trail::Trail;
use crate::types::{Config, HardState, Index, Moment, NodeId, Position, Term, Ticket, Time};
use alloc::collections::BTreeSet;
use core::iter;

/// One member of a Raft group.
///
/// Feed it every [`Input`] through [`step`](Self::step) and carry out the
/// [`Effect`]s, in order. Call it with [`Input::Wake`] when
/// [`deadline`](Self::deadline) has come. Equal members given equal inputs stay
/// equal: it can be cloned, hashed and compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(crate) config: Config,
    /// Persistent state on all servers: current_term and voted_for; with them
    /// commit_index, which is volatile in the paper and merely rides along.
    pub(crate) hard_state: HardState,
    /// Persistent state on all servers: the log.
    pub(crate) trail: Trail,
    /// Volatile state on all servers: the highest index handed out to be applied.
    pub(crate) last_applied: Index,
    pub(crate) role: RoleState,
    pub(crate) outbox: Outbox,
    /// The incarnation of the disk, if it replaces one that was lost.
    pub(crate) replacement: Option<u64>,
    /// Whether the host says that the disk does not answer.
    pub(crate) disk_stalled: bool,
    /// With leases: whom this member helps, and nobody else, for a while.
    pub(crate) lease_promise: Option<LeasePromise>,
    /// What an earlier life may have promised, by the clock here.
    pub(crate) owed_us: u64,
    /// With leases: whose promises are too short for this member's, or not made.
    pub(crate) unpromising: BTreeSet<NodeId>,
}

/// When a step happens and where its effects go.
pub(crate) struct Context<'a> {
    pub(crate) moment: Moment,
    effects: &'a mut Effects,
    /// What the member was when the step began, if that has changed since.
    was: Option<Standing>,
}

/// What `RoleChanged` tells of: role, term and leader.
pub(crate) type Standing = (Role, Term, Option<NodeId>);

impl Context<'_> {
    pub(crate) fn now(&self) -> Time {
        self.moment.now
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The same for those that come with every entry: made where it is to lie,
    /// for an effect takes many words to move.
    #[inline]
    pub(crate) fn effect_with(&mut self, effect: impl FnOnce() -> Effect) {
        self.effects.list.extend(iter::once_with(effect));
    }

    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.effect(Effect::Send { to, message });
    }

    /// Role, term or leader are about to change from this.
    pub(crate) fn leave(&mut self, standing: Standing) {
        self.was.get_or_insert(standing);
    }

    /// Records a decision, if anybody listens.
    pub(crate) fn note(&mut self, note: impl FnOnce() -> Note) {
        if let Some(notes) = &mut self.effects.notes {
            notes.push(note());
        }
    }
}

impl Raft {
    /// Takes one input and says what is to be done about it.
    ///
    /// `effects` is added to, not cleared. Nothing that a peer says makes this
    /// panic, unless it proves that safety is lost already (a leader that cuts
    /// committed entries).
    // Hosts mostly know which input it is.
    #[inline(always)]
    pub fn step(&mut self, moment: Moment, input: Input, effects: &mut Effects) {
        let context = &mut Context { moment, effects, was: None };
        match input {
            // What every entry takes.
            Input::Receive { from, ref message } => self.step_received(context, from, message),
            Input::Persisted { ticket } => self.step_persisted(context, ticket),
            Input::Sent { to, term, last, bytes } => {
                if self.sent(to, term, last, bytes) {
                    self.replicate(context);
                }
                // Nothing else follows.
            }
            input => self.step_otherwise(context, input),
        }
    }

    fn step_received(&mut self, context: &mut Context<'_>, from: NodeId, message: &Message) {
        self.receive(context, from, message);
        self.finish(context);
    }

    fn step_persisted(&mut self, context: &mut Context<'_>, ticket: Ticket) {
        self.persisted(context, ticket);
        self.finish(context);
    }

    /// Takes any other input.
    fn step_otherwise(&mut self, context: &mut Context<'_>, input: Input) {
        match input {
            Input::Propose { count } => self.propose(context, count),
            Input::Wake => self.wake(context),
            Input::ChangeMembership { changes, forced } => {
                self.change_membership(context, &changes, forced);
            }
            Input::TransferLeadership { to, deadline } => {
                self.transfer_leadership(context, to, deadline);
            }
            Input::DiskStalled => self.disk_stalled(context),
            Input::DiskRecovered => self.disk_recovered(context),
            Input::Paused => self.paused(context),
            Input::Promises { peer, promise_us } => self.promised_by(peer, promise_us),
            Input::Read { id, deadline } => self.read(context, id, deadline),
            Input::Unreadable { to, term } => self.unreadable(to, term),
            Input::SnapshotSent { to, term, outcome } => {
                self.snapshot_sent(context, self.config.id, (to, term), outcome);
            }
            Input::SnapshotProgress { to, term, snapshot, received } => {
                let me = self.config.id;
                self.snapshot_progress(context, me, (to, term), (snapshot, received));
            }
            Input::Compacted { through } => self.compacted(through),
            Input::Disconnected { peer } => self.disconnected(context, peer),
            Input::Campaign => self.campaign(context),
            Input::Receive { .. } | Input::Persisted { .. } | Input::Sent { .. } => {
                unreachable!("these were taken already")
            }
        }
        self.finish(context);
    }

    /// When to call [`step`](Self::step) with [`Input::Wake`] at the latest;
    /// never, if `None`.
    pub fn deadline(&self) -> Option<Time> {
        match &self.role {
            RoleState::Follower(follower) => {
                let election = self.may_seek_election().then_some(follower.election_deadline);
                let read = follower.reads.iter().map(|read| read.give_up_at).min();
                election.into_iter().chain(read).min()
            }
            RoleState::PreCandidate(candidacy) => Some(candidacy.election_deadline),
            RoleState::Candidate(candidacy) => Some(candidacy.election_deadline),
            RoleState::Leader(leader) => {
                let heartbeat = (!leader.followers.is_empty()).then_some(leader.heartbeat_due);
                let transfer = leader.transfer.as_ref().map(|transfer| transfer.deadline);
                heartbeat.into_iter().chain(transfer).chain(leader.reads.deadline()).min()
            }
        }
    }

    /// A deadline has come, or not yet.
    fn wake(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let election_deadline = match &mut self.role {
            RoleState::Follower(follower) => {
                follower.give_up_reads(context);
                follower.election_deadline
            }
            RoleState::PreCandidate(candidacy) => candidacy.election_deadline,
            RoleState::Candidate(candidacy) => candidacy.election_deadline,
            RoleState::Leader(leader) => {
                let heartbeat_due = leader.heartbeat_due;
                leader.reads.give_up(context);
                self.press_transfer(context);
                if now >= heartbeat_due {
                    self.heartbeat(context);
                }
                return;
            }
        };
        if now >= election_deadline {
            // Rule SF.2: a follower that neither hears the leader nor grants a
            // vote for an election timeout becomes a candidate.
            // Rule SC.7: a candidate whose election timeout passes starts anew.
            self.campaign(context);
        }
    }

    /// A record and all before it are durable: what waited for them is said now.
    #[inline]
    fn persisted(&mut self, context: &mut Context<'_>, ticket: Ticket) {
        self.outbox.complete(ticket);
        if self.outbox.is_due() {
            self.keep_promises(context);
        }
        self.advance_commit_index(context);
    }

    /// Keeps the promises whose time has come. One made in a term that has passed
    /// would still be true, but nobody has a use for it.
    #[inline(never)]
    fn keep_promises(&mut self, context: &mut Context<'_>) {
        while let Some(Waiting { term, promise }) = self.outbox.take_due() {
            match promise {
                Promise::Restore { snapshot } => context.effect(Effect::Restore { snapshot }),
                _ if term != self.hard_state.current_term => {}
                Promise::Message { to, message } => context.send(to, message),
                Promise::OwnVote => self.count_vote(context, self.config.id),
            }
        }
    }

    /// What follows from a step, whatever its input was. The order matters: the
    /// record first, then messages that need not wait for it.
    #[inline(always)]
    fn finish(&mut self, context: &mut Context<'_>) {
        if context.was.is_some() {
            self.tell_standing(context);
        }
        if self.outbox.has_draft() {
            self.write_draft(context);
        }
        // What rests on nothing in flight is said now.
        self.outbox.hold_promises();
        if self.outbox.is_due() {
            self.keep_promises(context);
        }
        if matches!(self.role, RoleState::Leader(_)) {
            self.hand_over(context);
            self.serve_reads(context);
            self.replicate(context);
        }
        self.apply_committed(context);
    }

    /// Has the step's record written.
    #[inline(never)]
    fn write_draft(&mut self, context: &mut Context<'_>) {
        let last = self.trail.last().index;
        context.effect(Effect::Persist(self.outbox.seal(self.hard_state, last)));
    }

    /// Tells role, term and leader, if the step changed any of them.
    #[cold]
    fn tell_standing(&self, context: &mut Context<'_>) {
        let (role, term, leader) = self.standing();
        if context.was.take() != Some((role, term, leader)) {
            context.effect(Effect::RoleChanged { role, term, leader });
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let (role, leader) = match &self.role {
            RoleState::Follower(follower) => (Role::Follower, follower.leader),
            RoleState::PreCandidate(_) => (Role::PreCandidate, None),
            RoleState::Candidate(_) => (Role::Candidate, None),
            RoleState::Leader(_) => (Role::Leader, Some(self.config.id)),
        };
        (role, self.hard_state.current_term, leader)
    }
}

/// What others may know.
impl Raft {
    /// This member.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// What it was told at start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it is at present.
    pub fn role(&self) -> Role {
        self.standing().0
    }

    /// The latest term that it has seen.
    pub fn term(&self) -> Term {
        self.hard_state.current_term
    }

    /// The leader of this term, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.standing().2
    }

    /// The highest index known to be committed.
    pub fn commit_index(&self) -> Index {
        self.hard_state.commit_index
    }

    /// The highest index handed out by [`Effect::Apply`] or [`Effect::Restore`]
    /// (or about to be, by a `Restore` that waits for the disk).
    pub fn last_applied(&self) -> Index {
        self.last_applied
    }

    /// The end of the log, durable or not.
    pub fn last(&self) -> Position {
        self.trail.last()
    }

    /// The log is durable up to here.
    pub fn durable_index(&self) -> Index {
        self.outbox.durable_index()
    }

    /// Whether every record that it asked for is durable.
    pub fn is_durable(&self) -> bool {
        self.outbox.is_idle()
    }

    /// The log.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The membership in force: the newest in the log, committed or not.
    pub fn membership(&self) -> &Membership {
        self.trail.membership()
    }

    /// To whom this leader is handing over, if so.
    pub fn transferring_to(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            _ => None,
        }
    }

    /// Term, vote and commit index, durable or not.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// What a leader knows about its followers, in order; empty on others.
    pub fn followers(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        let leader = match &self.role {
            RoleState::Leader(leader) => Some(leader),
            _ => None,
        };
        leader.into_iter().flat_map(|leader| leader.followers.iter())
    }
}
