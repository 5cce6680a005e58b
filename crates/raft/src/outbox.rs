//! "Updated on stable storage before responding to RPCs" (Figure 2, persistent
//! state): what one step writes, and the promises that wait for it.
//!
//! A step drafts at most one record. When the step ends the draft is sealed
//! under a ticket, and every promise made in the step waits for that ticket and
//! all before it. A step that writes nothing still may rest on what earlier
//! steps wrote, so its promises wait for the newest ticket that is out.

use crate::effect::{Persist, Source};
use crate::message::Message;
use crate::runs::{Memberships, Run, Runs};
use crate::trail::MembershipEntry;
use crate::types::{HardState, Index, NodeId, Position, Term, Ticket};
use alloc::collections::VecDeque;

#[cfg(test)]
#[path = "outbox_test.rs"]
mod tests;

/// What may be said or done once everything before it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Promise {
    /// A message that claims something about this member's disk.
    Message { to: NodeId, message: Message },
    /// The candidate's vote for itself.
    OwnVote,
    /// The snapshot that replaced the log may be loaded.
    Restore { snapshot: Position },
}

/// A promise, and the term in which it was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    pub(crate) term: Term,
    pub(crate) promise: Promise,
}

/// A record that is being written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    ticket: Ticket,
    /// How much of the log *as it stands now* is durable once this record is.
    last: Index,
    /// How many promises wait for it and for no later one.
    promises: usize,
}

/// What the present step wants written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Draft {
    truncate_from: Option<Index>,
    runs: Runs,
    memberships: Memberships,
    source: Source,
}

impl Draft {
    const NOTHING: Self = Self {
        truncate_from: None,
        runs: Runs::NONE,
        memberships: Memberships::NONE,
        source: Source::HardState,
    };
}

/// Records in flight, and the promises behind them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outbox {
    next_ticket: Ticket,
    /// The log is durable up to here.
    durable_index: Index,
    pending: VecDeque<Pending>,
    draft: Option<Draft>,
    /// All promises, oldest first: those that need wait no longer, those that hang
    /// on each record in flight, those that the present step made.
    promises: VecDeque<Waiting>,
    due: usize,
    made: usize,
}

impl Outbox {
    /// Nothing in flight; the log is durable up to `durable_index`.
    pub(crate) fn new(durable_index: Index) -> Self {
        Self {
            next_ticket: Ticket(1),
            durable_index,
            pending: VecDeque::new(),
            draft: None,
            promises: VecDeque::new(),
            due: 0,
            made: 0,
        }
    }

    pub(crate) fn durable_index(&self) -> Index {
        self.durable_index
    }

    /// Term or vote changed: they go into this step's record.
    pub(crate) fn write_hard_state(&mut self) {
        self.draft();
    }

    /// Entries are cut from `index` on.
    pub(crate) fn write_truncation(&mut self, index: Index) {
        self.draft().truncate_from = Some(index);
        self.distrust_after(index.previous());
    }

    /// Entries are added at the end.
    #[inline]
    pub(crate) fn write_run(&mut self, run: Run, source: Source) {
        match &mut self.draft {
            Some(draft) => {
                draft.runs.push(run);
                draft.source = source;
            }
            None => self.draft = Some(Draft { runs: Runs::from(run), source, ..Draft::NOTHING }),
        }
    }

    /// One of the entries added is a membership.
    pub(crate) fn write_membership(&mut self, entry: MembershipEntry) {
        self.draft().memberships.push(entry);
    }

    /// A snapshot replaces the log up to it, or (`discarded_from`) all of it.
    /// Only entries up to `commit_index` surely agree with it; nothing after
    /// them counts as durable before the exchange is.
    pub(crate) fn write_snapshot(
        &mut self,
        source: Source,
        discarded_from: Option<Index>,
        commit_index: Index,
    ) {
        let draft = self.draft();
        draft.truncate_from = discarded_from;
        draft.source = source;
        self.distrust_after(commit_index);
    }

    /// Holds a promise back until all that was written so far is durable.
    #[inline]
    pub(crate) fn promise(&mut self, term: Term, promise: Promise) {
        self.promises.push_back(Waiting { term, promise });
        self.made += 1;
    }

    /// Whether the step wants something written.
    pub(crate) fn has_draft(&self) -> bool {
        self.draft.is_some()
    }

    /// Ends the step's writing: the record.
    #[inline]
    pub(crate) fn seal(&mut self, hard_state: HardState, last: Index) -> Persist {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        self.pending.push_back(Pending { ticket, last, promises: 0 });
        let Draft { truncate_from, runs, memberships, source } =
            self.draft.take().expect("whoever seals has seen a draft");
        Persist { ticket, hard_state, truncate_from, runs, memberships, source }
    }

    /// Hangs the step's promises on the newest record in flight. Those that need
    /// not wait, because nothing is in flight, are due.
    #[inline]
    pub(crate) fn hold_promises(&mut self) {
        assert!(self.draft.is_none(), "promises are held before their record has a ticket");
        // Rule ST.1: update term, vote and log on stable storage before
        // responding to RPCs.
        match self.pending.back_mut() {
            Some(newest) => newest.promises += self.made,
            None => self.due += self.made,
        }
        self.made = 0;
    }

    /// Everything up to and including `ticket` is durable: the promises that
    /// waited for it are due.
    #[inline]
    pub(crate) fn complete(&mut self, ticket: Ticket) {
        assert!(ticket < self.next_ticket, "a ticket completes that was never given out");
        while self.pending.front().is_some_and(|pending| pending.ticket <= ticket) {
            let pending = self.pending.pop_front().expect("the front was just seen");
            assert!(pending.last >= self.durable_index, "what is durable became less");
            self.durable_index = pending.last;
            self.due += pending.promises;
        }
    }

    /// Whether some promise need wait no longer.
    pub(crate) fn is_due(&self) -> bool {
        self.due > 0
    }

    /// The oldest promise that need wait no longer.
    #[must_use]
    #[inline]
    pub(crate) fn take_due(&mut self) -> Option<Waiting> {
        self.due = self.due.checked_sub(1)?;
        self.promises.pop_front()
    }

    /// Whether nothing waits for the disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Entries after `index` are not (any longer) those that the records in
    /// flight carry.
    fn distrust_after(&mut self, index: Index) {
        self.durable_index = self.durable_index.min(index);
        for pending in &mut self.pending {
            pending.last = pending.last.min(index);
        }
    }

    #[inline]
    fn draft(&mut self) -> &mut Draft {
        self.draft.get_or_insert(Draft::NOTHING)
    }
}
