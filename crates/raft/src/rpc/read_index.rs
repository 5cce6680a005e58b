//! ReadIndex, beyond Figure 2: thesis §6.4. A linearizable read without a log
//! entry: note the commit index, make sure that this member still led after the
//! read arrived, and serve it once that index is applied.
//!
//! One round confirms every read that arrived before it was opened. Those that
//! arrive while it is under way share the next one. A round asks no more
//! followers than make a quorum; the others only if those do not answer soon.

use crate::effect::{Effect, ReadRefusal};
use crate::membership::Membership;
use crate::message::Message;
use crate::raft::{Context, Raft};
use crate::roles::{ForwardedRead, Leader, RoleState};
use crate::types::{Config, Index, NodeId, ReadId, Round, Time};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::mem;

/// Reads that a leader has taken on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadQueue {
    /// Those that wait for the round under way.
    confirming: Option<Batch>,
    /// Those that arrived since.
    waiting: Vec<Read>,
}

/// Reads that one round confirms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Batch {
    round: Round,
    /// The commit index when the round was opened.
    read_index: Index,
    /// When to ask the other voters, too, if this is not confirmed by then;
    /// `None` once that is done.
    ask_rest_at: Option<Time>,
    reads: Vec<Read>,
}

/// One read, and who asked: a follower, or the host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read {
    id: ReadId,
    asker: Option<NodeId>,
    /// Nobody waits for the answer after this.
    deadline: Time,
}

impl Read {
    fn ready(self, context: &mut Context<'_>, index: Index) {
        let Self { id, asker, .. } = self;
        match asker {
            Some(to) => context.send(to, Message::ReadReply { id, index: Some(index) }),
            None => context.effect(Effect::ReadReady { id, index }),
        }
    }

    fn refused(self, context: &mut Context<'_>, reason: ReadRefusal) {
        let Self { id, asker, .. } = self;
        match asker {
            Some(to) => context.send(to, Message::ReadReply { id, index: None }),
            None => context.effect(Effect::ReadRefused { id, reason }),
        }
    }
}

impl ReadQueue {
    /// Whether nobody wants to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.confirming.is_none()
    }

    /// Refuses all of them: this member leads no more.
    pub(crate) fn refuse(self, context: &mut Context<'_>) {
        let confirming = self.confirming.into_iter().flat_map(|batch| batch.reads);
        for read in confirming.chain(self.waiting) {
            read.refused(context, ReadRefusal::LeadershipLost);
        }
    }

    /// All times in it, for `rebase`.
    pub(crate) fn times(&mut self) -> impl Iterator<Item = &mut Time> {
        let confirming = self.confirming.iter_mut().flat_map(|batch| {
            let reads = batch.reads.iter_mut().map(|read| &mut read.deadline);
            reads.chain(&mut batch.ask_rest_at)
        });
        confirming.chain(self.waiting.iter_mut().map(|read| &mut read.deadline))
    }

    /// When the first of them is given up, or more followers are asked.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let confirming = self.confirming.iter().flat_map(|batch| &batch.reads);
        let give_up = confirming.chain(&self.waiting).map(|read| read.deadline);
        give_up.chain(self.ask_rest_at()).min()
    }

    /// When the round under way goes to the other voters as well, if ever.
    pub(crate) fn ask_rest_at(&self) -> Option<Time> {
        self.confirming.as_ref().and_then(|batch| batch.ask_rest_at)
    }

    /// Somebody who may have been asked will not answer.
    pub(crate) fn ask_rest_now(&mut self, now: Time) {
        if let Some(Batch { ask_rest_at: Some(at), .. }) = &mut self.confirming {
            *at = now;
        }
    }

    /// Refuses those whose deadline has come.
    pub(crate) fn give_up(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let mut check = |reads: &mut Vec<Read>| {
            for late in reads.extract_if(.., |read| read.deadline <= now) {
                late.refused(context, ReadRefusal::TimedOut);
            }
        };
        check(&mut self.waiting);
        if let Some(batch) = &mut self.confirming {
            check(&mut batch.reads);
        }
        self.confirming.take_if(|batch| batch.reads.is_empty());
    }
}

impl Raft {
    /// The host wants to read.
    pub(crate) fn read(&mut self, context: &mut Context<'_>, id: ReadId, deadline: Time) {
        match &mut self.role {
            RoleState::Leader(leader) => {
                leader.reads.waiting.push(Read { id, asker: None, deadline });
            }
            RoleState::Follower(follower) if follower.leader.is_some() => {
                let give_up_at = deadline.min(context.now().after(self.config.election_timeout_us));
                follower.reads.push_back(ForwardedRead { id, give_up_at });
                let leader = follower.leader.expect("it was just seen");
                context.send(leader, Message::Read { id });
            }
            _ => {
                let reason = ReadRefusal::NoLeader;
                context.effect(Effect::ReadRefused { id, reason });
            }
        }
    }

    /// A follower asks.
    pub(crate) fn on_read(&mut self, context: &mut Context<'_>, from: NodeId, id: ReadId) {
        match &mut self.role {
            RoleState::Leader(leader) => {
                // The asker gives up by its own clock no later than that.
                let deadline = context.now().after(self.config.election_timeout_us);
                leader.reads.waiting.push(Read { id, asker: Some(from), deadline });
            }
            _ => context.send(from, Message::ReadReply { id, index: None }),
        }
    }

    /// The leader answers. An answer to a question that was given up is dropped.
    pub(crate) fn on_read_reply(
        &mut self,
        context: &mut Context<'_>,
        id: ReadId,
        index: Option<Index>,
    ) {
        let RoleState::Follower(follower) = &mut self.role else { return };
        let Some(at) = follower.reads.iter().position(|read| read.id == id) else { return };
        follower.reads.remove(at);
        match index {
            Some(index) => context.effect(Effect::ReadReady { id, index }),
            None => context.effect(Effect::ReadRefused { id, reason: ReadRefusal::NoLeader }),
        }
    }

    /// Answers what is confirmed, and opens the next round if reads wait for one.
    #[inline]
    pub(crate) fn serve_reads(&mut self, context: &mut Context<'_>) {
        if let RoleState::Leader(leader) = &self.role
            && !leader.reads.is_empty()
        {
            self.confirm_reads(context);
        }
    }

    fn confirm_reads(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &self.role else { return };
        let holds_lease =
            !leader.reads.waiting.is_empty() && self.holds_lease(leader, context.now());
        let RoleState::Leader(leader) = &mut self.role else { return };
        // Before an entry of its own term is committed, a leader may not know
        // of all that was committed before it (§8).
        let commit_index = self.hard_state.commit_index;
        // Rule RI.1: wait for an entry of the own term to be committed.
        if commit_index < leader.term_start {
            return;
        }
        if holds_lease {
            for read in leader.reads.waiting.drain(..) {
                read.ready(context, commit_index);
            }
        }
        let (me, membership) = (self.config.id, self.trail.membership());
        loop {
            if leader.reads.confirming.is_none() && !leader.reads.waiting.is_empty() {
                let round = leader.open_round();
                leader.ask_quorum(me, membership);
                leader.reads.confirming = Some(Batch {
                    round,
                    read_index: commit_index,
                    ask_rest_at: Some(context.now().after(self.config.read_patience_us())),
                    reads: mem::take(&mut leader.reads.waiting),
                });
            }
            // Rule RI.2: a quorum heard a round from after the read came.
            let confirmed = leader.reads.confirming.take_if(|batch| {
                membership.is_quorum(|id| {
                    // Nobody is asked whether this member is still its own leader.
                    let known = leader.followers.get(id);
                    id == me || known.is_some_and(|known| known.round_heard >= batch.round)
                })
            });
            let Some(batch) = confirmed else { break };
            for read in batch.reads {
                read.ready(context, batch.read_index);
            }
        }
        if let Some(batch) = &mut leader.reads.confirming
            && batch.ask_rest_at.take_if(|at| *at <= context.now()).is_some()
        {
            let round = batch.round;
            leader.ask_rest(round, membership);
        }
    }
}

impl Leader {
    /// Chooses who is asked in the round just opened: one voter after the other,
    /// until with this member they are a quorum. First go those who have let no
    /// round pass for the longest time, and of them those who answered last.
    fn ask_quorum(&mut self, me: NodeId, membership: &Membership) {
        let round = self.round;
        loop {
            let is_asked = |id| {
                id == me || self.followers.get(id).is_some_and(|known| known.round_due == round)
            };
            if membership.is_quorum(is_asked) {
                return;
            }
            let others = self
                .followers
                .iter_mut()
                .filter(|(id, known)| membership.is_voter(*id) && known.round_due < round);
            let best = others
                .min_by_key(|(id, known)| (known.round_missed, Reverse(known.round_heard), *id));
            let Some((_, known)) = best else { return };
            known.round_due = round;
        }
    }

    /// Those who were asked in `round` did not all answer in time: asks the other
    /// voters as well, and remembers who was silent.
    fn ask_rest(&mut self, round: Round, membership: &Membership) {
        let newest = self.round;
        for (id, known) in self.followers.iter_mut() {
            if known.round_due >= round && known.round_heard < round {
                known.round_missed = round;
            }
            if membership.is_voter(id) {
                known.round_due = newest;
            }
        }
    }
}

impl Config {
    /// How long a round for reads waits for those who were asked: long against
    /// an answer from a member that is well, short against a heartbeat.
    fn read_patience_us(&self) -> u64 {
        self.heartbeat_interval_us.div_ceil(8)
    }
}
