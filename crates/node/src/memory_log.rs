//! A log that keeps everything in memory and is done at once: for clusters that
//! live and die with their process. What was appended survives its node, so that
//! a member can be stopped and started again, but not the process.

use crate::cache::EntryCache;
use crate::port::{LogDone, LogJob, ReadFailure};
use driftless_log::{KnownPeer, Record, Recovered, Room, SnapshotMeta};
use driftless_raft::{GroupId, HardState, Index, Membership, NodeId, Run, Trail};
use std::collections::BTreeMap;

/// There is always room.
const ROOM: Room = Room { claimed_bytes: u64::MAX / 4, low_space: false };

/// The log of one group.
#[derive(Debug)]
pub struct MemoryLog {
    group: GroupId,
    /// At the beginning.
    membership: Membership,
    hard_state: HardState,
    snapshot: Option<SnapshotMeta>,
    entries: EntryCache,
    last: Index,
    peers: BTreeMap<NodeId, KnownPeer>,
}

impl MemoryLog {
    /// An empty log of a group with this membership.
    pub fn new(group: GroupId, membership: Membership) -> Self {
        Self {
            group,
            membership,
            hard_state: HardState::default(),
            snapshot: None,
            entries: EntryCache::new(0),
            last: Index(0),
            peers: BTreeMap::new(),
        }
    }

    /// Appends a record, which is as durable as it will be at once.
    pub fn append(&mut self, record: Record) {
        if let Some(from) = record.truncate_from {
            self.entries.truncate_from(from);
            self.last = self.last.min(from.previous());
        }
        if let Some(meta) = &record.snapshot {
            self.begin_after(meta);
        }
        if let Some(last) = record.entries.last() {
            self.last = last.position.index;
        }
        self.entries.push(record.entries);
        self.hard_state = record.hard_state;
    }

    /// Carries out one job.
    pub fn run(&mut self, job: LogJob) -> LogDone {
        match job {
            LogJob::Append { ticket, record } => {
                self.append(record);
                LogDone::Appended { ticket, room: ROOM }
            }
            LogJob::Read { id, first, last, bytes_max } => {
                let found = self.entries.range(first, last, bytes_max);
                let found = found.map(|found| found.iter().cloned().collect());
                LogDone::Read { id, entries: found.ok_or(ReadFailure::Gone) }
            }
            LogJob::Compact { snapshot, through } => {
                self.entries.evict(through.index);
                let last = snapshot.last;
                // A leader's, newer, may have been installed meanwhile.
                if self.snapshot.as_ref().is_none_or(|newest| newest.last < last) {
                    self.snapshot = Some(snapshot);
                }
                LogDone::Compacted { snapshot: last }
            }
            LogJob::Claim { .. } => LogDone::Room(ROOM),
            LogJob::RememberPeer { peer, known } => {
                self.peers.insert(peer, known);
                LogDone::PeerRemembered { peer, known }
            }
        }
    }

    /// A snapshot takes the place of everything up to its last entry.
    fn begin_after(&mut self, snapshot: &SnapshotMeta) {
        if self.last <= snapshot.last.index {
            self.entries.reset(Index(0));
            self.last = snapshot.last.index;
        } else {
            self.entries.evict(snapshot.last.index);
        }
        self.snapshot = Some(snapshot.clone());
    }

    /// What a node begins with.
    pub fn recovered(&self) -> Recovered {
        let base = self.snapshot.as_ref().map(|snapshot| snapshot.last).unwrap_or_default();
        let newest = self.snapshot.as_ref();
        let membership = newest.map_or(&self.membership, |newest| &newest.membership);
        let mut trail = Trail::new(base, membership.clone());
        if let Some(entries) = self.entries.range(base.index.next(), self.last, u64::MAX) {
            for entry in entries.iter() {
                let (term, index) = (entry.position.term, entry.position.index);
                trail.append(Run { term, first: index, last: index });
                if let Some(membership) = entry.membership() {
                    trail.append_membership(membership);
                }
            }
        }
        Recovered {
            group: self.group,
            hard_state: self.hard_state,
            membership: trail.membership().clone(),
            trail,
            snapshot: self.snapshot.clone(),
            damaged: Vec::new(),
        }
    }

    /// The peers that it was told to remember.
    pub fn known_peers(&self) -> &BTreeMap<NodeId, KnownPeer> {
        &self.peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftless_codec::{Bytes, Entries, Entry, EntryKind};
    use driftless_raft::{Position, Term, Ticket};

    const GROUP: GroupId = GroupId(1);
    const KNOWN: KnownPeer = KnownPeer { incarnation: 9, boots: 2, nonce: 3 };

    fn membership() -> Membership {
        Membership::of([1, 2, 3].map(NodeId))
    }

    fn append(log: &mut MemoryLog, truncate_from: Option<u64>, entries: &[(u64, u64)]) {
        let entry = |&(term, index): &(u64, u64)| Entry {
            position: Position::new(term, index),
            kind: EntryKind::Command,
            payload: Bytes::from(vec![index as u8; 10]),
        };
        let term = entries.last().map_or(0, |last| last.0);
        let record = Record {
            group: GROUP,
            hard_state: HardState { current_term: Term(term), ..HardState::default() },
            truncate_from: truncate_from.map(Index),
            snapshot: None,
            entries: entries.iter().map(entry).collect(),
        };
        let done = log.run(LogJob::Append { ticket: Ticket(1), record });
        assert!(matches!(done, LogDone::Appended { ticket: Ticket(1), .. }));
    }

    fn read(log: &mut MemoryLog, first: u64, last: u64) -> Option<Vec<Position>> {
        let job =
            LogJob::Read { id: 7, first: Index(first), last: Index(last), bytes_max: 1 << 20 };
        match log.run(job) {
            LogDone::Read { id: 7, entries: Ok(entries) } => {
                Some(entries.iter().map(|entry| entry.position).collect())
            }
            LogDone::Read { id: 7, entries: Err(ReadFailure::Gone) } => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_finds_again_what_it_appended() {
        let mut log = MemoryLog::new(GROUP, membership());
        append(&mut log, None, &[(1, 1), (1, 2), (1, 3)]);
        append(&mut log, Some(3), &[(2, 3), (2, 4)]);
        log.run(LogJob::RememberPeer { peer: NodeId(2), known: KNOWN });
        let recovered = log.recovered();
        assert_eq!(recovered.trail.runs(), [Run::new(1, 1, 2), Run::new(2, 3, 4)]);
        assert_eq!(recovered.hard_state.current_term, Term(2));
        assert_eq!(recovered.membership, membership());
        assert_eq!(log.known_peers()[&NodeId(2)], KNOWN);
        let expected = [(1, 2), (2, 3)].map(|(term, index)| Position::new(term, index));
        assert_eq!(read(&mut log, 2, 3).as_deref(), Some(&expected[..]));
        assert_eq!(read(&mut log, 5, 5), None);
    }

    #[test]
    fn a_snapshot_takes_the_place_of_entries() {
        let mut log = MemoryLog::new(GROUP, membership());
        append(&mut log, None, &[(1, 1), (1, 2)]);
        append(&mut log, None, &[(1, 3)]);
        let snapshot = SnapshotMeta { last: Position::new(1, 2), membership: membership() };
        let through = snapshot.last;
        log.run(LogJob::Compact { snapshot: snapshot.clone(), through });
        assert_eq!(read(&mut log, 2, 2), None);
        assert_eq!(log.recovered().trail.runs(), [Run::new(1, 3, 3)]);
        assert_eq!(log.recovered().snapshot, Some(snapshot));

        // A leader's, from beyond the end: nothing of the log stays.
        let installed = SnapshotMeta { last: Position::new(2, 9), membership: membership() };
        let record = Record {
            group: GROUP,
            hard_state: HardState::default(),
            truncate_from: None,
            snapshot: Some(Box::new(installed.clone())),
            entries: Entries::NONE,
        };
        log.run(LogJob::Append { ticket: Ticket(2), record });
        assert!(log.recovered().trail.is_empty());
        append(&mut log, None, &[(2, 10)]);
        assert_eq!(log.recovered().trail.last(), Position::new(2, 10));
        assert_eq!(log.recovered().trail.base(), installed.last);
    }
}
