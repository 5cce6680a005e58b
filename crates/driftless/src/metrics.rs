//! Counters: written with relaxed atomics by the node's threads, read as plain
//! data by whoever asks.

use driftless_node::{Report, SnapshotDone};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a node has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Syncs of files of the log and of snapshots.
    pub fsyncs: u64,
    /// How long each took, in microseconds.
    pub fsync_us: Histogram,
    /// Bytes written to the disk.
    pub disk_bytes_written: u64,
    /// Records that shared one turn of the log.
    pub records_per_turn: Histogram,
    /// Messages that shared one turn of the shard.
    pub messages_per_turn: Histogram,
    /// Commands taken from clients of this node.
    pub proposals: u64,
    /// Reads taken from clients of this node.
    pub reads: u64,
    /// Those of them that it answered as leader by its lease, without asking anybody.
    pub reads_by_lease: u64,
    /// Requests answered with an error.
    pub refused: u64,
    /// Commands that the machine applied.
    pub applied: u64,
    /// Elections that this member won.
    pub elections_won: u64,
    /// Changes of leader that this member saw.
    pub leader_changes: u64,
    /// Frames written to peers.
    pub frames_out: u64,
    /// Bytes written to peers.
    pub bytes_out: u64,
    /// System calls that wrote them.
    pub writes_out: u64,
    /// Frames read from peers.
    pub frames_in: u64,
    /// Bytes read from peers.
    pub bytes_in: u64,
    /// Links that came up, either way.
    pub links_opened: u64,
    /// Snapshots begun to be written.
    pub snapshots_begun: u64,
    /// Snapshots written.
    pub snapshots_saved: u64,
    /// Snapshots that could not be written.
    pub snapshots_failed: u64,
    /// Snapshots loaded into the machine.
    pub snapshots_loaded: u64,
    /// Snapshots that peers have got from this member.
    pub snapshots_sent: u64,
    /// Those of them that it sent in the place of its leader.
    pub snapshots_sent_for_leader: u64,
    /// Pieces of snapshots sent to peers.
    pub snapshot_chunks_sent: u64,
    /// Pieces of snapshots received from peers.
    pub snapshot_chunks_received: u64,
    /// Snapshots received from peers, whole and durable.
    pub snapshots_received: u64,
}

/// Counts of values by power of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// `buckets[i]` counts the values `v` with `2^(i-1) < v <= 2^i`; the first
    /// also counts zero, the last everything above.
    pub buckets: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean, or zero without values.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }
}

const BUCKETS: usize = 24;

/// A histogram being written.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Tally {
    pub(crate) fn add(&self, value: u64) {
        let bucket = value.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    fn read(&self) -> Histogram {
        Histogram {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// The metrics being written.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fsync_us: Tally,
    pub(crate) disk_bytes_written: AtomicU64,
    pub(crate) records_per_turn: Tally,
    pub(crate) messages_per_turn: Tally,
    pub(crate) proposals: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) reads_by_lease: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) elections_won: AtomicU64,
    pub(crate) leader_changes: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) writes_out: AtomicU64,
    pub(crate) frames_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) links_opened: AtomicU64,
    pub(crate) snapshots_begun: AtomicU64,
    pub(crate) snapshots_saved: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) snapshots_loaded: AtomicU64,
    pub(crate) snapshots_sent: AtomicU64,
    pub(crate) snapshots_sent_for_leader: AtomicU64,
    pub(crate) snapshot_chunks_sent: AtomicU64,
    pub(crate) snapshot_chunks_received: AtomicU64,
    pub(crate) snapshots_received: AtomicU64,
}

impl Counters {
    /// Counts one sync.
    pub(crate) fn synced(&self, took: Duration) {
        self.fsync_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a piece of work on snapshots.
    pub(crate) fn snapshot_done(&self, done: &SnapshotDone) {
        match done {
            SnapshotDone::Saved { result: Ok(_) } => add(&self.snapshots_saved, 1),
            SnapshotDone::Saved { result: Err(_) } => add(&self.snapshots_failed, 1),
            SnapshotDone::Loaded { .. } => add(&self.snapshots_loaded, 1),
            SnapshotDone::Chunk { result: Ok(_), .. } => add(&self.snapshot_chunks_sent, 1),
            SnapshotDone::Written { done, .. } => {
                add(&self.snapshot_chunks_received, 1);
                add(&self.snapshots_received, u64::from(*done));
            }
            _ => {}
        }
    }

    /// Counts what a node reports.
    pub(crate) fn reported(&self, report: &Report) {
        if let Report::SnapshotSent { for_leader, .. } = report {
            add(&self.snapshots_sent, 1);
            add(&self.snapshots_sent_for_leader, u64::from(for_leader.is_some()));
        }
    }

    /// Everything as plain data.
    pub(crate) fn read(&self) -> Metrics {
        let fsync_us = self.fsync_us.read();
        Metrics {
            fsyncs: fsync_us.count(),
            fsync_us,
            disk_bytes_written: self.disk_bytes_written.load(Relaxed),
            records_per_turn: self.records_per_turn.read(),
            messages_per_turn: self.messages_per_turn.read(),
            proposals: self.proposals.load(Relaxed),
            reads: self.reads.load(Relaxed),
            reads_by_lease: self.reads_by_lease.load(Relaxed),
            refused: self.refused.load(Relaxed),
            applied: self.applied.load(Relaxed),
            elections_won: self.elections_won.load(Relaxed),
            leader_changes: self.leader_changes.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            writes_out: self.writes_out.load(Relaxed),
            frames_in: self.frames_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            links_opened: self.links_opened.load(Relaxed),
            snapshots_begun: self.snapshots_begun.load(Relaxed),
            snapshots_saved: self.snapshots_saved.load(Relaxed),
            snapshots_failed: self.snapshots_failed.load(Relaxed),
            snapshots_loaded: self.snapshots_loaded.load(Relaxed),
            snapshots_sent: self.snapshots_sent.load(Relaxed),
            snapshots_sent_for_leader: self.snapshots_sent_for_leader.load(Relaxed),
            snapshot_chunks_sent: self.snapshot_chunks_sent.load(Relaxed),
            snapshot_chunks_received: self.snapshot_chunks_received.load(Relaxed),
            snapshots_received: self.snapshots_received.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_powers_of_two() {
        let tally = Tally::default();
        for value in [0, 1, 2, 3, 4, 5, 8, 9, u64::from(u32::MAX)] {
            tally.add(value);
        }
        let histogram = tally.read();
        // 0 1 | 2 | 3 4 | 5 8 | 9 | ... | the rest
        assert_eq!(histogram.buckets[..5], [2, 1, 2, 2, 1]);
        assert_eq!(histogram.buckets[BUCKETS - 1], 1);
        assert_eq!(histogram.count(), 9);
    }
}
