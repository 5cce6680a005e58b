//! Followers (Figure 2, Rules for Servers): answer leaders and candidates, and
//! start an election if neither is heard. The rule itself stands where time is
//! looked at, in `Raft::wake`.

use crate::effect::{Effect, ReadRefusal};
use crate::raft::Context;
use crate::types::{NodeId, ReadId, Round, Term, Time};
use alloc::collections::VecDeque;

/// State of a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// The leader of this term, if known.
    pub(crate) leader: Option<NodeId>,
    /// When `leader` was last heard.
    pub(crate) heard_at: Time,
    /// The newest round of `leader` that was answered.
    pub(crate) round_heard: Round,
    /// When to seek election.
    pub(crate) election_deadline: Time,
    /// Reads passed on to `leader`, oldest first.
    pub(crate) reads: VecDeque<ForwardedRead>,
    /// The snapshot that this member sends in the place of `leader`.
    pub(crate) delegation: Option<Delegation>,
}

/// A snapshot to be sent in the leader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Delegation {
    pub(crate) to: NodeId,
    /// The leader's term.
    pub(crate) term: Term,
}

/// A read that the leader was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ForwardedRead {
    pub(crate) id: ReadId,
    /// Question or answer is taken to be lost after this.
    pub(crate) give_up_at: Time,
}

impl Follower {
    /// A follower that knows no leader.
    pub(crate) fn of_nobody(election_deadline: Time) -> Self {
        Self {
            leader: None,
            heard_at: Time(0),
            round_heard: Round(0),
            election_deadline,
            reads: VecDeque::new(),
            delegation: None,
        }
    }

    /// A follower of `leader`, which was heard just now.
    pub(crate) fn of(leader: NodeId, now: Time, election_deadline: Time) -> Self {
        Self { leader: Some(leader), heard_at: now, ..Self::of_nobody(election_deadline) }
    }

    /// Refuses the reads whose answer is overdue.
    pub(crate) fn give_up_reads(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        self.reads.retain(|read| {
            let waits = now < read.give_up_at;
            if !waits {
                context.effect(Effect::ReadRefused { id: read.id, reason: ReadRefusal::TimedOut });
            }
            waits
        });
    }

    /// The leader leads no more, or is gone: refuses all reads that it was asked about,
    /// and sends nothing in its place any more.
    pub(crate) fn end(self, context: &mut Context<'_>) {
        for read in self.reads {
            refuse(context, read.id);
        }
        if let Some(Delegation { to, term }) = self.delegation {
            context.effect(Effect::StopSnapshot { to, term });
        }
    }
}

fn refuse(context: &mut Context<'_>, id: ReadId) {
    context.effect(Effect::ReadRefused { id, reason: ReadRefusal::NoLeader });
}
