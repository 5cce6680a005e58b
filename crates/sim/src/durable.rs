//! What a member's disk must hold: a second, naive bookkeeping beside the real
//! log, against which it is compared after every restart.

use crate::property::{Breach, Property};
use driftless_node::log::{Record, Recovered};
use driftless_node::raft::{
    HardState, Index, Membership, NodeId, Position, Run, Term, Ticket, Trail,
};
use std::collections::VecDeque;

/// A member's log as it must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    /// Acknowledged by the log: must survive anything but the loss of the disk.
    acknowledged: Held,
    /// The same without the last write: what is there if the disk lied about it.
    but_the_last: Held,
    /// Asked for and not yet acknowledged: may survive, in order.
    pending: VecDeque<(Ticket, Change)>,
    /// After all that is pending.
    asked: Held,
}

#[derive(Clone, Debug, Default)]
struct Held {
    hard_state: HardState,
    /// Positions only.
    trail: Trail,
}

/// What a record changes, less its payloads.
#[derive(Clone, Debug)]
struct Change {
    hard_state: HardState,
    truncate_from: Option<Index>,
    snapshot: Option<Position>,
    runs: Vec<Run>,
}

impl Change {
    fn of(record: &Record) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for entry in &record.entries {
            let Position { term, index } = entry.position;
            match runs.last_mut() {
                Some(run) if run.term == term => run.last = index,
                _ => runs.push(Run { term, first: index, last: index }),
            }
        }
        Self {
            hard_state: record.hard_state,
            truncate_from: record.truncate_from,
            snapshot: record.snapshot.as_ref().map(|snapshot| snapshot.last),
            runs,
        }
    }
}

impl Held {
    fn apply(&mut self, change: &Change) {
        if let Some(from) = change.truncate_from {
            if from > self.trail.base().index {
                self.trail.truncate_from(from);
            } else {
                self.trail.reset(self.trail.base(), Membership::default());
            }
        }
        if let Some(last) = change.snapshot {
            self.compact(last);
        }
        for run in &change.runs {
            self.trail.append(*run);
        }
        self.hard_state = change.hard_state;
    }

    fn compact(&mut self, through: Position) {
        if self.trail.contains(through) {
            self.trail.compact(through);
        } else if through.index > self.trail.base().index {
            self.trail.reset(through, Membership::default());
        }
    }

    /// Whether `recovered` holds the same, as far as both still know.
    fn agrees(&self, recovered: &Recovered) -> bool {
        let (mine, theirs) = (&self.trail, &recovered.trail);
        let from = mine.base().index.max(theirs.base().index);
        let last = Index(u64::MAX);
        self.hard_state == recovered.hard_state
            && mine.last() == theirs.last()
            && mine.runs_between(from.next(), last) == theirs.runs_between(from.next(), last)
    }
}

impl Durable {
    /// What is acknowledged as durable.
    pub(crate) fn trail(&self) -> &Trail {
        &self.acknowledged.trail
    }

    /// Term, vote and commit index as acknowledged as durable.
    pub(crate) fn hard_state(&self) -> HardState {
        self.acknowledged.hard_state
    }

    /// Term, vote and commit index as last asked for.
    pub(crate) fn asked_hard_state(&self) -> HardState {
        self.asked.hard_state
    }

    /// The term of the entry at `index`, after all that was asked for.
    pub(crate) fn asked_term_at(&self, index: Index) -> Option<Term> {
        self.asked.trail.term_at(index)
    }

    /// The last entry, after all that was asked for.
    pub(crate) fn asked_last(&self) -> Position {
        self.asked.trail.last()
    }

    /// The node asks its log for a record.
    pub(crate) fn ask(&mut self, ticket: Ticket, record: &Record) {
        let change = Change::of(record);
        self.asked.apply(&change);
        self.pending.push_back((ticket, change));
    }

    /// The log acknowledged `ticket` and all before it.
    pub(crate) fn acknowledge(&mut self, ticket: Ticket) {
        self.but_the_last = self.acknowledged.clone();
        while self.pending.front().is_some_and(|(first, _)| *first <= ticket) {
            let (_, change) = self.pending.pop_front().expect("it has a front");
            self.acknowledged.apply(&change);
        }
    }

    /// Somebody wrote this to the log between two processes.
    pub(crate) fn written(&mut self, record: &Record) {
        self.acknowledged.apply(&Change::of(record));
        self.asked = self.acknowledged.clone();
    }

    /// The log let go of entries behind a snapshot.
    pub(crate) fn compacted(&mut self, through: Position) {
        self.acknowledged.compact(through);
        self.asked.compact(through);
    }

    /// Whether all is there but what was written last. Nobody can tell a last
    /// write that was lost from one that was never made.
    pub(crate) fn lacks_only_the_last(&self, recovered: &Recovered) -> bool {
        self.but_the_last.agrees(recovered)
    }

    /// A new process recovered this: it must be what was acknowledged, with
    /// some of what was pending behind it. Says how many pending records are
    /// there, and how many are not.
    pub(crate) fn recover(
        &mut self,
        member: NodeId,
        recovered: &Recovered,
    ) -> Result<(usize, usize), Breach> {
        let pending = std::mem::take(&mut self.pending);
        let mut found = None;
        let mut held = self.acknowledged.clone();
        if held.agrees(recovered) {
            found = Some((0, held.clone()));
        }
        for (number, (_, change)) in pending.iter().enumerate() {
            held.apply(change);
            if held.agrees(recovered) {
                found = Some((number + 1, held.clone()));
            }
        }
        let recovered_as = Held {
            hard_state: recovered.hard_state,
            trail: found
                .as_ref()
                .map_or_else(|| recovered.trail.clone(), |(_, held)| held.trail.clone()),
        };
        self.asked = recovered_as.clone();
        let before = std::mem::replace(&mut self.acknowledged, recovered_as);
        match found {
            Some((survived, _)) => Ok((survived, pending.len() - survived)),
            None => Err(Breach(
                Property::DurableSurvives,
                format!(
                    "member {member} recovered {:?} and {:?}; acknowledged were {:?} and {:?}, \
                     then {} records were asked for",
                    recovered.hard_state,
                    recovered.trail,
                    before.hard_state,
                    before.trail,
                    pending.len()
                ),
            )),
        }
    }
}
