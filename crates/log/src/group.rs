//! What the log keeps in memory of one group: hard state, base, and where on
//! disk the records with its entries stand. One small item a record, none an
//! entry.

use crate::api::{Recovered, SnapshotMeta};
use driftless_codec::Entry;
use driftless_raft::{
    GroupId, HardState, Index, Membership, MembershipEntry, Position, Run, Trail,
};
use std::collections::VecDeque;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) head_len: u32,
}

/// A record and those of its entries that stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) first: Index,
    pub(crate) last: Index,
    pub(crate) place: Place,
}

/// What a record changes, as it comes from a caller or from disk.
pub(crate) struct Change<R> {
    pub(crate) truncate_from: Option<Index>,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) runs: R,
    pub(crate) memberships: Vec<MembershipEntry>,
    pub(crate) hard_state: HardState,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
struct Base {
    meta: SnapshotMeta,
    segment: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) hard_state: HardState,
    hard_state_segment: u64,
    /// The newest snapshot, or position zero with the initial membership. Only
    /// while a log whose beginning was recycled is being read is there none.
    base: Option<Base>,
    /// Contiguous; the first may reach below the base.
    stretches: VecDeque<Stretch>,
    /// The terms of what `stretches` covers.
    runs: Vec<Run>,
    /// Those of the entries that are memberships; some may be below the base.
    memberships: Vec<MembershipEntry>,
    /// Standing entries whose payloads did not verify when the log was opened.
    damaged: Vec<Position>,
    /// How the group would stand behind the records of the call under way.
    draft: Draft,
}

/// See [`Group::draft_record`].
#[derive(Clone, Copy, Debug, Default)]
struct Draft {
    call: u64,
    base: Index,
    last: Index,
    hard_state: HardState,
}

impl Group {
    /// The last entry, or the base's if none stands after it.
    pub(crate) fn last(&self) -> Index {
        let last = self.stretches.back().map_or(Index(0), |stretch| stretch.last);
        last.max(self.base_index())
    }

    /// The first entry that can be read.
    pub(crate) fn first(&self) -> Index {
        self.stretches.front().map_or(self.base_index().next(), |stretch| stretch.first)
    }

    pub(crate) fn base(&self) -> Option<&SnapshotMeta> {
        self.base.as_ref().map(|base| &base.meta)
    }

    fn base_index(&self) -> Index {
        self.base.as_ref().map_or(Index(0), |base| base.meta.last.index)
    }

    /// The stretches that hold `first ..= last`.
    pub(crate) fn stretches_from(&self, first: Index) -> impl Iterator<Item = &Stretch> {
        let from = self.stretches.partition_point(|stretch| stretch.last < first);
        self.stretches.range(from..)
    }

    /// The oldest segment with an entry that stands.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.stretches.front().map(|stretch| stretch.place.segment)
    }

    /// Whether hard state or base stand only in a segment before `segment`.
    pub(crate) fn is_stated_before(&self, segment: u64) -> bool {
        self.hard_state_segment < segment
            || self.base.as_ref().is_some_and(|base| base.segment < segment)
    }

    /// Checks what only a broken caller gets wrong, before anything is written.
    /// `call` names the call, so that its records build upon each other.
    pub(crate) fn draft_record(
        &mut self,
        call: u64,
        hard_state: &HardState,
        truncate_from: Option<Index>,
        snapshot: Option<&SnapshotMeta>,
        entries: &[Entry],
    ) {
        if self.draft.call != call {
            self.draft = Draft {
                call,
                base: self.base_index(),
                last: self.last(),
                hard_state: self.hard_state,
            };
        }
        let draft = &mut self.draft;
        let before = draft.hard_state;
        assert!(hard_state.current_term >= before.current_term, "the term goes back");
        assert!(hard_state.commit_index >= before.commit_index, "the commit index goes back");
        if hard_state.current_term == before.current_term && before.voted_for.is_some() {
            assert!(hard_state.voted_for == before.voted_for, "a second vote in one term");
        }
        draft.hard_state = *hard_state;
        if let Some(from) = truncate_from {
            let replaced = snapshot.is_some_and(|snapshot| snapshot.last.index >= from);
            assert!(from > draft.base || replaced, "a cut below the snapshot");
            draft.last = draft.last.min(from.previous()).max(draft.base);
        }
        if let Some(snapshot) = snapshot {
            draft.base = draft.base.max(snapshot.last.index);
            draft.last = draft.last.max(draft.base);
        }
        if let Some(first) = entries.first() {
            assert!(first.position.index == draft.last.next(), "a gap in the log");
            for pair in entries.windows(2) {
                let (before, after) = (pair[0].position, pair[1].position);
                assert!(after.index == before.index.next(), "a gap in a record");
                assert!(after.term >= before.term, "terms fall in a record");
            }
            draft.last = Index(first.position.index.0 + entries.len() as u64 - 1);
        }
    }

    /// Takes in a record that stands at `change.place`. Says no if its entries
    /// do not follow those before: never so for one that was drafted.
    pub(crate) fn apply(&mut self, change: Change<impl Iterator<Item = Run>>) -> bool {
        if let Some(from) = change.truncate_from {
            self.cut(from.max(self.base_index().next()));
        }
        if let Some(meta) = change.snapshot
            && meta.last.index >= self.base_index()
        {
            if self.last() < meta.last.index {
                self.stretches.clear();
                self.runs.clear();
                self.memberships.clear();
                self.damaged.clear();
            }
            self.base = Some(Base { meta, segment: change.place.segment });
        }
        for run in change.runs {
            match self.stretches.back_mut() {
                Some(last) if last.last.next() != run.first => return false,
                Some(last) if last.place == change.place => last.last = run.last,
                _ => {
                    let (first, last) = (run.first, run.last);
                    self.stretches.push_back(Stretch { first, last, place: change.place });
                }
            }
            match self.runs.last_mut() {
                Some(last) if last.term == run.term => last.last = run.last,
                Some(last) if last.term > run.term => return false,
                _ => self.runs.push(run),
            }
        }
        self.memberships.extend(change.memberships);
        self.hard_state = change.hard_state;
        self.hard_state_segment = change.place.segment;
        true
    }

    fn cut(&mut self, from: Index) {
        while self.stretches.back().is_some_and(|stretch| stretch.first >= from) {
            self.stretches.pop_back();
        }
        if let Some(last) = self.stretches.back_mut() {
            last.last = last.last.min(from.previous());
        }
        let keep = self.runs.partition_point(|run| run.first < from);
        self.runs.truncate(keep);
        if let Some(last) = self.runs.last_mut() {
            last.last = last.last.min(from.previous());
        }
        self.memberships.retain(|entry| entry.index < from);
        self.damaged.retain(|position| position.index < from);
    }

    /// Lets go of records that hold nothing after `through`.
    pub(crate) fn release(&mut self, through: Index) {
        while self.stretches.front().is_some_and(|stretch| stretch.last <= through) {
            self.stretches.pop_front();
        }
        let first = self.first();
        let gone = self.runs.partition_point(|run| run.last < first);
        self.runs.drain(..gone);
        let base = self.base_index();
        self.memberships.retain(|entry| entry.index > base);
    }

    pub(crate) fn note_damage(&mut self, position: Position) {
        self.damaged.push(position);
    }

    /// What the node is told. `None` if the group is not whole: what its base
    /// and its entries say does not join.
    pub(crate) fn recovered(&self, group: GroupId) -> Option<Recovered> {
        let base = &self.base.as_ref()?.meta;
        let begins = base.last.index.next();
        if !self.stretches.is_empty() && (self.first() > begins || self.last() < base.last.index) {
            return None;
        }
        let mut trail = Trail::new(base.last, base.membership.clone());
        for run in self.runs.iter().filter(|run| run.last >= begins) {
            if run.term < trail.last().term {
                return None;
            }
            trail.append(Run { first: run.first.max(begins), ..*run });
        }
        for entry in self.memberships.iter().filter(|entry| entry.index >= begins) {
            trail.append_membership(entry.clone());
        }
        let damaged =
            self.damaged.iter().copied().filter(|damaged| damaged.index >= begins).collect();
        Some(Recovered {
            group,
            hard_state: self.hard_state,
            membership: trail.membership().clone(),
            trail,
            snapshot: (base.last != Position::ZERO).then(|| base.clone()),
            damaged,
        })
    }

    /// A group as it is before anything was said of it.
    pub(crate) fn genesis(membership: &Membership) -> SnapshotMeta {
        SnapshotMeta { last: Position::ZERO, membership: membership.clone() }
    }
}
