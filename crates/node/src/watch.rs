//! What a node can tell of its own disk and clock from the times of its events:
//! whether the disk answers, and whether the process stood still.

use driftless_raft::{Input, Ticket, Time};
use std::collections::VecDeque;

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

/// A disk that does not answer within this part of an election timeout has stalled:
/// a leader has time left to hand over before the others would miss it.
const STALLED_AFTER: u64 = 2;
/// A deadline that is kept later than this part of an election timeout was slept
/// through.
const PAUSED_AFTER: u64 = 4;

#[derive(Debug)]
pub(crate) struct Watch {
    election_timeout_us: u64,
    /// Records handed to the log and not durable yet, and when.
    unanswered: VecDeque<(Ticket, Time)>,
    is_stalled: bool,
    last_event: Option<Time>,
}

impl Watch {
    pub(crate) fn new(election_timeout_us: u64) -> Self {
        Self {
            election_timeout_us,
            unanswered: VecDeque::new(),
            is_stalled: false,
            last_event: None,
        }
    }

    /// A record was handed to the log.
    pub(crate) fn asked(&mut self, ticket: Ticket, now: Time) {
        self.unanswered.push_back((ticket, now));
    }

    /// It and all before it are durable.
    pub(crate) fn answered(&mut self, ticket: Ticket) {
        while self.unanswered.front().is_some_and(|(asked, _)| *asked <= ticket) {
            self.unanswered.pop_front();
        }
    }

    /// When the disk will have stalled, if it does not answer until then.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let (_, asked) = self.unanswered.front().filter(|_| !self.is_stalled)?;
        Some(asked.after(self.election_timeout_us / STALLED_AFTER))
    }

    /// What the algorithm is to be told of the disk, if that is news.
    pub(crate) fn disk(&mut self, now: Time) -> Option<Input> {
        let after = self.election_timeout_us / STALLED_AFTER;
        let is_stalled = self.unanswered.front().is_some_and(|(_, at)| now.since(*at) >= after);
        let is_news = std::mem::replace(&mut self.is_stalled, is_stalled) != is_stalled;
        let input = if is_stalled { Input::DiskStalled } else { Input::DiskRecovered };
        is_news.then_some(input)
    }

    /// An event has come at `now`, and before it the node wanted to be woken at
    /// `deadline`: whether the process stood still in between.
    pub(crate) fn stood_still(
        &mut self,
        now: Time,
        deadline: impl FnOnce() -> Option<Time>,
    ) -> bool {
        let after = self.election_timeout_us / PAUSED_AFTER;
        let last_event = self.last_event.replace(now);
        // Mostly there was one a moment ago.
        let was_silent = last_event.is_some_and(|last| now.since(last) > after);
        was_silent && deadline().is_some_and(|deadline| now.since(deadline) > after)
    }
}
