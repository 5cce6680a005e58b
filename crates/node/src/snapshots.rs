//! Snapshots: when one is taken, and how one travels (Figure 13, chunk by chunk).

use crate::port::NodeOptions;
use driftless_log::SnapshotMeta;
use driftless_raft::{Index, NodeId, Position, Term, Time};
use std::collections::BTreeMap;

/// A transfer of which nothing is heard for this long has failed.
const SILENCE_MAX_US: u64 = 5_000_000;
/// A snapshot that could not be taken is tried again after this long, and twice
/// as long after each further failure, up to six times.
const AGAIN_US: u64 = 1_000_000;
/// On a disk that is nearly full, a snapshot is taken after this part of what
/// it usually takes: it is what lets the log shrink.
const SOONER: u64 = 16;

/// A snapshot on its way to a follower: one piece at a time.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) term: Term,
    /// The leader of that term: this member, or in whose place it sends.
    pub(crate) leader: NodeId,
    /// What it must cover at least.
    pub(crate) least: Index,
    pub(crate) heard: Time,
    /// It begins when the snapshot is there that is being taken.
    pub(crate) waits: bool,
}

/// Who sends the pieces that arrive, and in whose term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    /// The leader of that term: the sender, or in whose place it sends.
    pub(crate) leader: NodeId,
}

/// Where snapshots stand.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// The newest durable one.
    pub(crate) newest: Option<SnapshotMeta>,
    /// One is being written.
    pub(crate) saving: bool,
    /// This one must be loaded into the machine before anything else.
    pub(crate) to_load: Option<SnapshotMeta>,
    /// The machine is loading this one; a newer one may be waiting by now.
    pub(crate) loading: Option<SnapshotMeta>,
    pub(crate) sending: BTreeMap<NodeId, Sending>,
    /// A received piece of this sender is being written.
    pub(crate) writing: Option<Sender>,
    /// A piece that came while one of our own was being written, and was not
    /// taken: from whom, of which snapshot.
    pub(crate) not_taken: Option<(Sender, Position)>,
    /// A follower needs one that is newer than the newest.
    pub(crate) wanted: bool,
    /// The newest one cannot be read: another is to take its place.
    newest_is_lost: bool,
    /// None is taken before this time: the last try failed.
    pub(crate) again_at: Option<Time>,
    failures: u32,
    bytes_since: u64,
    entries_since: u64,
}

impl Snapshots {
    pub(crate) fn new(newest: Option<SnapshotMeta>) -> Self {
        Self {
            newest,
            saving: false,
            to_load: None,
            loading: None,
            sending: BTreeMap::new(),
            writing: None,
            not_taken: None,
            wanted: false,
            newest_is_lost: false,
            again_at: None,
            failures: 0,
            bytes_since: 0,
            entries_since: 0,
        }
    }

    /// Whether a snapshot is to take the place of the machine's state.
    pub(crate) fn must_load(&self) -> bool {
        self.to_load.is_some() || self.loading.is_some()
    }

    /// Entries were applied.
    pub(crate) fn count(&mut self, entries: u64, bytes: u64) {
        self.entries_since += entries;
        self.bytes_since += bytes;
    }

    /// Whether it is time to take another.
    pub(crate) fn due(&self, options: &NodeOptions, low_space: bool) -> bool {
        let part = if low_space { SOONER } else { 1 };
        // A transfer under way reads the present one; on the way it would have to
        // wait for the next, or begin with that from the start.
        let patience = if self.sending.is_empty() { 1 } else { 2 };
        let is_reached =
            |since: u64, every: u64| since.saturating_mul(part) >= every.saturating_mul(patience);
        let enough = is_reached(self.bytes_since, options.snapshot_every_bytes)
            || is_reached(self.entries_since, options.snapshot_every_entries);
        let may = !self.saving && !self.must_load() && self.again_at.is_none();
        may && (enough || self.newest_is_lost || self.wanted)
    }

    pub(crate) fn begin_saving(&mut self) {
        self.saving = true;
        self.bytes_since = 0;
        self.entries_since = 0;
    }

    pub(crate) fn saved(&mut self) {
        self.saving = false;
        self.wanted = false;
        self.newest_is_lost = false;
        self.failures = 0;
    }

    /// The one begun last could not be saved. What it would have covered is not
    /// counted anew: another is due at once, but for the pause.
    pub(crate) fn failed(&mut self, now: Time, options: &NodeOptions) {
        self.saving = false;
        self.wanted = false;
        self.again_at = Some(now.after(AGAIN_US << self.failures.min(6)));
        self.failures += 1;
        self.entries_since = self.entries_since.max(options.snapshot_every_entries);
    }

    /// The newest does not verify, or is not there. Whether that is news.
    pub(crate) fn lose_newest(&mut self) -> bool {
        !std::mem::replace(&mut self.newest_is_lost, true)
    }

    /// The newest, unless it cannot be read.
    pub(crate) fn to_send(&self) -> Option<&SnapshotMeta> {
        self.newest.as_ref().filter(|_| !self.newest_is_lost)
    }

    /// Whether `index` is already behind the newest durable snapshot.
    pub(crate) fn covers(&self, index: Index) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.last.index >= index)
    }

    /// Transfers of which nothing was heard for too long.
    pub(crate) fn silent(&self, now: Time) -> Vec<(NodeId, Term)> {
        let silent = |sending: &Sending| now.since(sending.heard) >= SILENCE_MAX_US;
        let silent = self.sending.iter().filter(|(_, sending)| silent(sending));
        silent.map(|(to, sending)| (*to, sending.term)).collect()
    }
}
