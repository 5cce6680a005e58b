//! A naive twin of the log, and random workloads for both.

use super::basics::{entry, members};
use crate::memory::{MemoryDisk, SplitMix64};
use crate::{AppendError, Log, Opened, Record, SnapshotMeta};
use driftless_codec::Entry;
use driftless_raft::{GroupId, HardState, Index, NodeId, Position, Term};
use std::collections::BTreeMap;

pub(super) const GROUPS: [GroupId; 3] = [GroupId(0), GroupId(5), GroupId(1 << 40)];

/// One group as anybody would write it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TwinGroup {
    pub(super) hard_state: HardState,
    pub(super) base: SnapshotMeta,
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Twin {
    pub(super) groups: BTreeMap<GroupId, TwinGroup>,
}

impl TwinGroup {
    pub(super) fn last(&self) -> Position {
        self.entries.last().map_or(self.base.last, |entry| entry.position)
    }

    fn position_at(&self, index: u64) -> Position {
        if index == self.base.last.index.0 {
            return self.base.last;
        }
        self.entries[(index - self.base.last.index.0 - 1) as usize].position
    }

    fn set_base(&mut self, meta: &SnapshotMeta) {
        if meta.last.index < self.base.last.index {
            return;
        }
        if self.last().index < meta.last.index {
            self.entries.clear();
        }
        self.entries.retain(|entry| entry.position.index > meta.last.index);
        self.base = meta.clone();
    }
}

impl Twin {
    pub(super) fn new() -> Self {
        let base = SnapshotMeta { last: Position::ZERO, membership: members() };
        let group = TwinGroup { hard_state: HardState::default(), base, entries: Vec::new() };
        Self { groups: GROUPS.map(|id| (id, group.clone())).into() }
    }

    pub(super) fn append(&mut self, record: &Record) {
        let group = self.groups.get_mut(&record.group).unwrap();
        if let Some(from) = record.truncate_from {
            group.entries.retain(|entry| entry.position.index < from);
        }
        if let Some(meta) = &record.snapshot {
            group.set_base(meta);
        }
        group.entries.extend(record.entries.iter().cloned());
        group.hard_state = record.hard_state;
    }

    /// What an opened log holds, in the twin's words. Panics where the log
    /// contradicts itself.
    pub(super) fn of(opened: &Opened<MemoryDisk>) -> Self {
        let mut groups = BTreeMap::new();
        for recovered in &opened.groups {
            assert_eq!(recovered.damaged, [], "nothing was damaged");
            let base = recovered.snapshot.clone().unwrap_or(SnapshotMeta {
                last: Position::ZERO,
                membership: recovered.membership.clone(),
            });
            assert_eq!(recovered.trail.base(), base.last);
            let (first, last) = (recovered.trail.first_index(), recovered.trail.last().index);
            let entries = read_all(&opened.log, recovered.group, first, last);
            for entry in &entries {
                assert!(recovered.trail.contains(entry.position), "{}", entry.position);
            }
            let group = TwinGroup { hard_state: recovered.hard_state, base, entries };
            groups.insert(recovered.group, group);
        }
        Self { groups }
    }
}

pub(super) fn read_all(
    log: &Log<MemoryDisk>,
    group: GroupId,
    first: Index,
    last: Index,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = first;
    while next <= last {
        let read = log.read(group, next, last, 700).unwrap();
        assert!(!read.is_empty());
        next = Index(next.0 + read.len() as u64);
        entries.extend(read);
    }
    entries
}

/// One call of a workload.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Vec<Record>),
    Compact { group: GroupId, snapshot: SnapshotMeta, through: Index },
    Idle,
    PrepareSpare,
}

impl Step {
    pub(super) fn run(&self, log: &mut Log<MemoryDisk>) -> Result<(), AppendError> {
        match self {
            Self::Append(records) => log.append(records),
            Self::Compact { group, snapshot, through } => log.compact(*group, snapshot, *through),
            Self::Idle => log.idle(),
            Self::PrepareSpare => log.prepare_spare().map(drop),
        }
    }

    /// The states that may stand if the call is interrupted, the last being
    /// that of the call done.
    pub(super) fn outcomes(&self, before: &Twin) -> Vec<Twin> {
        let mut states = vec![before.clone()];
        match self {
            Self::Append(records) => {
                for record in records {
                    let mut after = states.last().unwrap().clone();
                    after.append(record);
                    states.push(after);
                }
            }
            Self::Compact { group, snapshot, .. } => {
                let mut after = before.clone();
                let group = after.groups.get_mut(group).unwrap();
                if snapshot.last.index > group.base.last.index {
                    group.set_base(snapshot);
                }
                states.push(after);
            }
            Self::Idle | Self::PrepareSpare => {}
        }
        states
    }
}

/// A step that fits `twin`.
pub(super) fn random_step(random: &mut SplitMix64, twin: &Twin) -> Step {
    match random.below(100) {
        0..70 => {
            let mut after = twin.clone();
            let records = (0..=random.below(4)).map(|_| {
                let record = random_record(random, &after);
                after.append(&record);
                record
            });
            Step::Append(records.collect())
        }
        70..86 => {
            let group = GROUPS[random.below(3) as usize];
            let held = &twin.groups[&group];
            let (base, last) = (held.base.last.index.0, held.last().index.0);
            let last = held.position_at(base + random.below(last - base + 1));
            let snapshot = if last.index.0 == base {
                held.base.clone()
            } else {
                SnapshotMeta { last, membership: membership_at(last) }
            };
            let through = Index(last.index.0.saturating_sub(random.below(8)));
            Step::Compact { group, snapshot, through }
        }
        86..94 => Step::Idle,
        _ => Step::PrepareSpare,
    }
}

fn membership_at(last: Position) -> driftless_raft::Membership {
    let mut membership = members();
    membership.voters.insert(NodeId(10 + last.index.0 % 4));
    membership
}

fn random_record(random: &mut SplitMix64, twin: &Twin) -> Record {
    let group = GROUPS[random.below(3) as usize];
    let held = &twin.groups[&group];
    let mut hard_state = held.hard_state;
    let (base, last) = (held.base.last.index.0, held.last().index.0);
    let (mut truncate_from, mut snapshot, mut next) = (None, None, last + 1);
    let mut count = 1 + random.below(5);
    match random.below(100) {
        0..55 => {}
        55..70 => {
            raise_term(random, &mut hard_state);
            let floor = base.max(hard_state.commit_index.0);
            if floor < last {
                next = floor + 1 + random.below(last - floor);
                truncate_from = Some(Index(next));
            }
            count = random.below(4);
        }
        70..85 => {
            raise_term(random, &mut hard_state);
            count = 0;
        }
        85..95 => {
            let at = held.position_at(base + random.below(last - base + 1));
            if at.index.0 > base {
                snapshot = Some(SnapshotMeta { last: at, membership: membership_at(at) });
            }
            count = random.below(2);
        }
        _ => {
            raise_term(random, &mut hard_state);
            let at = Position { term: hard_state.current_term, index: Index(last + 7) };
            if base < last && random.chance(50) {
                truncate_from = Some(Index(base + 1));
            }
            snapshot = Some(SnapshotMeta { last: at, membership: membership_at(at) });
            hard_state.commit_index = at.index;
            next = at.index.0 + 1;
            count = random.below(3);
        }
    }
    let length = if random.chance(5) { 6_000 } else { random.below(300) as usize };
    let term = hard_state.current_term.0.max(1);
    hard_state.current_term = Term(term);
    let entries: Vec<Entry> = (next..next + count).map(|at| entry(term, at, length)).collect();
    if random.chance(50) {
        let last = entries.last().map_or(next - 1, |entry| entry.position.index.0);
        hard_state.commit_index = Index(random.below(last + 1)).max(hard_state.commit_index);
    }
    Record {
        group,
        hard_state,
        truncate_from,
        snapshot: snapshot.map(Box::new),
        entries: entries.into(),
    }
}

fn raise_term(random: &mut SplitMix64, hard_state: &mut HardState) {
    hard_state.current_term = hard_state.current_term.next();
    hard_state.voted_for = random.chance(50).then(|| NodeId(1 + random.below(3)));
}
