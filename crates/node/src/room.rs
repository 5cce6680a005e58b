//! What may be handed to the log: only what has its place on disk already.
//!
//! The log does its jobs in order, so votes would wait behind an entry that
//! does not fit. Therefore none is handed over that may not: the log says how
//! much room it has claimed, which no other user of the disk can take from it,
//! and what is under way is kept within that. What the log keeps beside it, its
//! reserve, takes votes, terms and the empty entries of new leaders, so that
//! elections and reads go on where nothing else does.

use crate::node::Node;
use crate::port::{Action, LogJob};
use driftless_codec::frame::ForwardRefusal;
use driftless_codec::{Entry, PeerFrame};
use driftless_log::{Record, Room};
use driftless_raft::{Index, Message, Moment, NodeId, Ticket, Time};
use std::collections::{BTreeMap, VecDeque};

/// What a record takes on disk beside its entries, at most.
pub(crate) const RECORD_BYTES: u64 = 512;
/// What an entry takes beside its payload, at most.
const ENTRY_BYTES: u64 = 64;

/// A follower that said that it has no room is taken at its word for this long: it
/// says so again whenever it leaves something out.
const WORD_HOLDS_US: u64 = 1_000_000;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct LogRoom {
    /// As the log said last.
    said: Room,
    /// Records that it has not answered for, and their sizes.
    under_way: VecDeque<(Ticket, u64)>,
    under_way_bytes: u64,
    /// It was asked to claim more.
    is_asked: bool,
    /// Followers that have no room, and when they said so last.
    without: BTreeMap<NodeId, Time>,
}

impl LogRoom {
    /// Whether the disk is nearly full.
    pub(crate) fn is_low(&self) -> bool {
        self.said.low_space
    }

    /// Bytes of entries that may be handed over now, in one record.
    pub(crate) fn free(&self) -> u64 {
        self.said.claimed_bytes.saturating_sub(self.under_way_bytes + RECORD_BYTES)
    }

    /// A record goes to the log.
    pub(crate) fn hand_over(&mut self, ticket: Ticket, record: &Record) {
        let entries = &record.entries;
        let bytes =
            RECORD_BYTES + entries.payload_bytes() as u64 + entries.len() as u64 * ENTRY_BYTES;
        self.under_way.push_back((ticket, bytes));
        self.under_way_bytes += bytes;
    }

    /// All up to `ticket` is on disk.
    pub(crate) fn stored(&mut self, ticket: Ticket) {
        while let Some(&(earlier, bytes)) = self.under_way.front()
            && earlier <= ticket
        {
            self.under_way.pop_front();
            self.under_way_bytes -= bytes;
        }
    }

    /// The log says what it has room for, beside what was stored. Whether the
    /// disk has just become nearly full.
    pub(crate) fn heard(&mut self, room: Room) -> bool {
        let was_low = self.is_low();
        self.said = room;
        self.is_asked = false;
        self.is_low() && !was_low
    }

    /// Entries of `bytes` found no room: what to ask the log for, if anything.
    /// While it is at work, the end of that is waited for: it claims by itself,
    /// in step with what it writes.
    pub(crate) fn ask_for(&mut self, bytes: u64) -> Option<LogJob> {
        let waits = self.is_asked || self.is_low() || !self.under_way.is_empty();
        if waits || bytes <= self.free() {
            return None;
        }
        self.is_asked = true;
        Some(LogJob::Claim { bytes: bytes + RECORD_BYTES })
    }
}

impl Node {
    pub(crate) fn room_heard(&mut self, moment: Moment, room: Room, actions: &mut Vec<Action>) {
        if self.room.heard(room) {
            self.save_space(moment, actions);
        }
    }

    /// A follower left out entries of ours.
    pub(crate) fn follower_lacks_room(&mut self, now: Time, follower: NodeId) {
        self.room.without.insert(follower, now);
    }

    /// Whether new commands would only wait: this member's disk is nearly full, or
    /// so many others' are that no quorum could store them.
    pub(crate) fn has_no_room(&self, now: Time) -> bool {
        let lacks = |id: NodeId| {
            let said = self.room.without.get(&id);
            said.is_some_and(|said| now.since(*said) < WORD_HOLDS_US)
        };
        self.room.is_low() || !self.raft.membership().is_quorum(|id| !lacks(id))
    }

    /// Leaves out of an append that arrived what this member's log has no room for,
    /// and says so; without entries it is heard as a heartbeat. So the leader keeps
    /// its quorum of ears, and what is left out comes again when it learns that it
    /// is missing.
    pub(crate) fn leave_out(
        &mut self,
        from: NodeId,
        message: &mut Message,
        entries: &mut Vec<Entry>,
        actions: &mut Vec<Action>,
    ) {
        let Message::Append { prev_log, runs, memberships, leader_commit, .. } = message else {
            return;
        };
        let Some(first_missing) = self.raft.trail().first_missing(runs) else { return };
        let here = (first_missing.0 - prev_log.index.0 - 1) as usize;
        let fitting = here + fitting(&entries[here..], self.room.free());
        let Some(unfitting) = entries.get(fitting) else { return };
        if let Some(job) = self.room.ask_for(entry_bytes(unfitting.payload.len())) {
            actions.push(Action::Log(job));
        }
        if self.room.is_low() {
            // None of its commands, but what it wants stored.
            let (refusal, sequences) = (ForwardRefusal::DiskFull, Vec::new());
            let refused = PeerFrame::ForwardRefused { refusal, sequences };
            self.links.send(from, &refused, actions);
        }
        entries.truncate(fitting);
        let last = Index(prev_log.index.0 + fitting as u64);
        runs.cut_after(last);
        memberships.cut_after(last);
        *leader_commit = (*leader_commit).min(last);
    }
}

/// What an entry with a payload of this length takes, at most.
pub(crate) fn entry_bytes(payload: usize) -> u64 {
    payload as u64 + ENTRY_BYTES
}

/// How many of `entries`, from the first on, there is room for. Empty ones are
/// what the reserve is for.
fn fitting(entries: &[Entry], mut free: u64) -> usize {
    let fits = |entry: &&Entry| {
        let bytes = if entry.payload.is_empty() { 0 } else { entry_bytes(entry.payload.len()) };
        let fits = bytes <= free;
        free = free.saturating_sub(bytes);
        fits
    };
    entries.iter().take_while(fits).count()
}
