//! What a leader knows about one follower ("volatile state on leaders",
//! Figure 2), and how fast it may send to it (thesis §10.2).

use crate::types::{Index, NodeId, Position, Round, Time};
use alloc::collections::VecDeque;

/// One follower, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The next entry to send to it. Above `match_index`, and at most one past
    /// the end of the leader's log.
    pub(crate) next_index: Index,
    /// The highest entry known to be durable there. Never falls in a term.
    pub(crate) match_index: Index,
    /// How it is being sent to.
    pub(crate) flow: Flow,
    /// Whether a `SendEntries` is unanswered.
    pub(crate) permission: Permission,
    /// The newest round that it is to be asked in: all heartbeats, and those rounds
    /// for reads that need its answer.
    pub(crate) round_due: Round,
    /// The newest round that went out to it.
    pub(crate) round_sent: Round,
    /// The newest round that it answered.
    pub(crate) round_heard: Round,
    /// The newest round for reads that it did not answer in time.
    pub(crate) round_missed: Round,
    /// When that round, or one just before it, went out.
    pub(crate) heard_at: Time,
    /// The highest commit index that went out to it.
    pub(crate) commit_sent: Index,
    /// How much it has of which snapshot, while it needs one.
    pub(crate) partial: Option<(Position, u64)>,
    /// Who alone may send it a snapshot: whoever began, as long as that gets on, and
    /// the leader itself after that. Anybody, if nobody began since it last kept up.
    pub(crate) snapshot_sender: Option<NodeId>,
}

/// The three ways of sending to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Where its log agrees is not known: one message at a time.
    Probe {
        /// One was sent; the next waits for an answer.
        sent: bool,
    },
    /// Its log agrees up to `next_index - 1`, unless a message got lost: many
    /// at a time.
    Replicate(Window),
    /// It needs entries that are compacted.
    Snapshot(Delivery),
}

/// What was sent to a follower and not yet acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// The last entry and the bytes of each message, oldest first.
    messages: VecDeque<(Index, u64)>,
    bytes: u64,
}

/// Where the sending of a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// To be ordered once the follower answers a round after this one: a
    /// follower that is away gets none, and one that failed is not hammered.
    AwaitAnswerAfter(Round),
    /// Ordered, of the `snapshot_sender`.
    UnderWay {
        /// When the follower last got some of it.
        moved_at: Time,
        /// Whether it got any since.
        moved: bool,
    },
}

/// Whether the host may be reading entries for this follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Permission {
    /// No `SendEntries` is unanswered.
    None,
    /// One is, for the entries from `next_index` on.
    Standing,
    /// One is, but `next_index` moved since; its answer means nothing.
    Void,
}

impl Window {
    /// Bytes sent and not acknowledged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Messages with entries sent and not acknowledged.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    #[inline]
    pub(crate) fn add(&mut self, last: Index, bytes: u64) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    #[inline]
    fn acknowledge(&mut self, through: Index) {
        while let Some(&(last, bytes)) = self.messages.front() {
            if last > through {
                break;
            }
            self.messages.pop_front();
            self.bytes -= bytes;
        }
    }
}

impl Progress {
    /// A follower of a new leader whose log ends at `last_index`. It is due a
    /// message, whatever round there is.
    pub(crate) fn new(last_index: Index, now: Time) -> Self {
        Self {
            // Rule ST.2: next_index starts after the leader's last entry,
            // match_index at zero.
            next_index: last_index.next(),
            match_index: Index(0),
            flow: Flow::Probe { sent: false },
            permission: Permission::None,
            round_due: Round(1),
            round_sent: Round(0),
            round_heard: Round(0),
            round_missed: Round(0),
            heard_at: now,
            commit_sent: Index(0),
            partial: None,
            snapshot_sender: None,
        }
    }

    /// The next entry to send to it.
    pub fn next_index(&self) -> Index {
        self.next_index
    }

    /// The highest entry known to be durable there.
    pub fn match_index(&self) -> Index {
        self.match_index
    }

    /// How it is being sent to.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// When the newest round that it answered went out, or a little before.
    pub fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// How much it has of which snapshot, if one is on its way.
    pub fn snapshot_received(&self) -> Option<(Position, u64)> {
        self.partial
    }

    /// Who sends it a snapshot, if one is on its way.
    pub fn snapshot_sender(&self) -> Option<NodeId> {
        self.snapshot_sender.filter(|_| matches!(self.flow, Flow::Snapshot(_)))
    }

    /// Everything up to `last` is durable there and agrees with our log.
    #[inline]
    pub(crate) fn stored(&mut self, last: Index) {
        // Rule SL.5: an append that succeeded moves match_index and next_index.
        self.match_index = self.match_index.max(last);
        let agrees = match &mut self.flow {
            Flow::Replicate(window) => {
                window.acknowledge(last);
                true
            }
            Flow::Probe { .. } => last.next() >= self.next_index,
            Flow::Snapshot(_) => false,
        };
        if last.next() > self.next_index {
            self.next_index = last.next();
            self.void_permission();
        }
        if agrees && !matches!(self.flow, Flow::Replicate(_)) {
            self.flow = Flow::Replicate(Window::default());
            self.snapshot_sender = None;
        }
    }

    /// Send one message from `next_index` on, then wait for its answer.
    pub(crate) fn probe_from(&mut self, next_index: Index) {
        self.next_index = next_index;
        self.flow = Flow::Probe { sent: false };
        self.partial = None;
        self.void_permission();
    }

    /// What is under way may be lost: send no entries until the follower answers
    /// a heartbeat, which tells whether it holds what precedes `next_index`.
    pub(crate) fn pause(&mut self) {
        if !matches!(self.flow, Flow::Snapshot(_)) {
            self.flow = Flow::Probe { sent: true };
        }
        self.void_permission();
    }

    /// Whether a snapshot is to be ordered for it now.
    pub(crate) fn awaits_snapshot(&self) -> bool {
        matches!(self.flow, Flow::Snapshot(Delivery::AwaitAnswerAfter(after))
            if self.round_heard > after)
    }

    /// Whether `sender` is sending it a snapshot.
    pub(crate) fn is_sent_by(&self, sender: NodeId) -> bool {
        matches!(self.flow, Flow::Snapshot(Delivery::UnderWay { .. }))
            && self.snapshot_sender == Some(sender)
    }

    /// It needs a snapshot, once it answers a round after `round`.
    pub(crate) fn need_snapshot(&mut self, round: Round) {
        self.flow = Flow::Snapshot(Delivery::AwaitAnswerAfter(round));
        self.void_permission();
    }

    /// Its snapshot has broken off. Only a sender that brought some of it goes on;
    /// any other's part falls to the leader, `me`.
    pub(crate) fn snapshot_failed(&mut self, me: NodeId, round: Round) {
        if !matches!(self.flow, Flow::Snapshot(Delivery::UnderWay { moved: true, .. })) {
            self.snapshot_sender = Some(me);
        }
        self.need_snapshot(round);
    }

    /// Whether there is nothing to say to it now: it was sent the log up to `last`, or
    /// is about to be, what of it is committed, and every round that it is due.
    #[inline]
    pub(crate) fn has_all(&self, last: Index, leader_commit: Index) -> bool {
        (self.next_index > last || self.permission != Permission::None)
            && self.commit_sent >= leader_commit
            && self.round_sent >= self.round_due
            && !matches!(self.flow, Flow::Snapshot(_))
    }

    /// How many bytes may be sent now, if any.
    #[inline]
    pub(crate) fn bytes_free(&self, inflight_bytes_max: u64, messages_max: usize) -> Option<u64> {
        if self.permission != Permission::None {
            return None;
        }
        match &self.flow {
            Flow::Probe { sent } => (!sent).then_some(inflight_bytes_max),
            Flow::Replicate(window) => {
                let free = inflight_bytes_max.saturating_sub(window.bytes);
                (free > 0 && window.messages.len() < messages_max).then_some(free)
            }
            Flow::Snapshot(_) => None,
        }
    }

    fn void_permission(&mut self) {
        if self.permission == Permission::Standing {
            self.permission = Permission::Void;
        }
    }
}
