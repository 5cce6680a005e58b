//! Linearizable reads of this member's clients (thesis §6.4): which index each
//! must see, and whether this member's machine has come that far.

use crate::port::{RequestError, RequestToken};
use driftless_raft::{Index, ReadId, Time};
use std::collections::VecDeque;

/// A batch whose confirmation does not come is asked for again after this long.
const ASK_AGAIN_US: u64 = 500_000;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    token: RequestToken,
    deadline: Time,
}

/// Reads go in batches: while one is being confirmed, those that come wait and
/// form the next.
#[derive(Debug)]
pub(crate) struct Reads {
    next_id: u64,
    waiting: Vec<Waiting>,
    asked: Option<(ReadId, Time, Vec<Waiting>)>,
    /// Confirmed, and waiting for the machine to reach the index.
    confirmed: VecDeque<(Index, Vec<Waiting>)>,
    /// Nothing is asked before this time: the last try was refused.
    paused_until: Option<Time>,
    /// How many were confirmed by a lease, without asking anybody.
    pub(crate) by_lease: u64,
    /// The batch that was confirmed last, and how many were in it.
    confirmed_last: Option<(ReadId, u64)>,
}

impl Reads {
    /// `first_id` is random, so that no id of an earlier boot comes again.
    pub(crate) fn new(first_id: u64) -> Self {
        Self {
            next_id: first_id,
            waiting: Vec::new(),
            asked: None,
            confirmed: VecDeque::new(),
            paused_until: None,
            by_lease: 0,
            confirmed_last: None,
        }
    }

    pub(crate) fn ask(&mut self, token: RequestToken, deadline: Time) {
        self.waiting.push(Waiting { token, deadline });
    }

    /// The batch to ask the algorithm about now, if any.
    pub(crate) fn next_batch(&mut self, now: Time) -> Option<ReadId> {
        let paused = self.paused_until.is_some_and(|until| now < until);
        if self.waiting.is_empty() || self.asked.is_some() || paused {
            return None;
        }
        self.paused_until = None;
        let id = ReadId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.asked = Some((id, now, std::mem::take(&mut self.waiting)));
        Some(id)
    }

    /// When the last caller of the batch that was asked about stops waiting.
    pub(crate) fn asked_until(&self) -> Time {
        let asked = self.asked.iter().flat_map(|(_, _, batch)| batch);
        asked.map(|waiting| waiting.deadline).max().unwrap_or_default()
    }

    /// The batch must see `index`.
    pub(crate) fn confirmed(&mut self, id: ReadId, index: Index) {
        if let Some((_, _, batch)) = self.asked.take_if(|(asked, _, _)| *asked == id) {
            self.confirmed_last = Some((id, batch.len() as u64));
            self.confirmed.push_back((index, batch));
        }
    }

    /// The algorithm held a lease when it was asked about this batch: if it has
    /// confirmed it at once, that was why.
    pub(crate) fn count_by_lease(&mut self, id: ReadId) {
        if let Some((_, reads)) = self.confirmed_last.take_if(|(last, _)| *last == id) {
            self.by_lease += reads;
        }
    }

    /// The batch was not confirmed; it is asked for again, a little later.
    pub(crate) fn refused(&mut self, id: ReadId, again_at: Time) {
        if self.asked.as_ref().is_some_and(|(asked, _, _)| *asked == id) {
            self.abandon();
            self.paused_until = Some(again_at);
        }
    }

    /// The leader or the link changed: what was asked may never be answered.
    pub(crate) fn abandon(&mut self) {
        if let Some((_, _, batch)) = self.asked.take() {
            self.waiting.splice(0..0, batch);
        }
        self.paused_until = None;
    }

    /// Those that the machine, having applied `applied`, may serve.
    pub(crate) fn ready(&mut self, applied: Index) -> Vec<RequestToken> {
        let mut ready = Vec::new();
        if self.confirmed.is_empty() {
            return ready;
        }
        self.confirmed.retain_mut(|(index, batch)| {
            let serve = *index <= applied;
            if serve {
                ready.extend(batch.iter().map(|waiting| waiting.token));
            }
            !serve
        });
        ready
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_none() && self.confirmed.is_empty()
    }

    /// Those whose deadline has come; gives up on a batch that nobody answers.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        error: RequestError,
    ) -> Vec<(RequestToken, RequestError)> {
        if self.asked.as_ref().is_some_and(|(_, at, _)| now.since(*at) >= ASK_AGAIN_US) {
            self.abandon();
        }
        let mut answers = Vec::new();
        let mut check = |batch: &mut Vec<Waiting>| {
            batch.retain(|waiting| {
                let late = waiting.deadline <= now;
                if late {
                    answers.push((waiting.token, error));
                }
                !late
            });
        };
        check(&mut self.waiting);
        if let Some((_, _, batch)) = &mut self.asked {
            check(batch);
        }
        for (_, batch) in &mut self.confirmed {
            check(batch);
        }
        answers
    }

    /// Answers everything with `error`, at the end.
    pub(crate) fn stop(&mut self, error: RequestError) -> Vec<(RequestToken, RequestError)> {
        self.expire(Time(u64::MAX), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_waits_for_its_confirmation_and_then_for_the_machine() {
        let mut reads = Reads::new(u64::MAX);
        reads.ask(RequestToken(1), Time(50));
        reads.ask(RequestToken(2), Time(90));
        let first = reads.next_batch(Time(0)).expect("two wait");
        reads.ask(RequestToken(3), Time(90));
        assert_eq!(reads.next_batch(Time(1)), None, "one at a time");
        reads.confirmed(ReadId(12345), Index(1));
        assert!(reads.ready(Index(9)).is_empty(), "a stranger's confirmation counts for nothing");
        reads.confirmed(first, Index(7));
        assert!(reads.ready(Index(6)).is_empty());
        assert_eq!(reads.expire(Time(50), RequestError::TimedOut).len(), 1);
        assert_eq!(reads.ready(Index(7)), [RequestToken(2)]);

        let second = reads.next_batch(Time(51)).expect("one waits");
        assert_ne!(first, second);
        reads.refused(second, Time(60));
        assert_eq!(reads.next_batch(Time(59)), None);
        let third = reads.next_batch(Time(60)).expect("asked again");
        assert_ne!(second, third, "an id is used once");
        reads.confirmed(second, Index(1));
        assert!(reads.ready(Index(9)).is_empty(), "an old confirmation is no confirmation");
        reads.count_by_lease(third);
        assert_eq!(reads.by_lease, 0, "it is not confirmed yet");
        reads.confirmed(third, Index(9));
        reads.count_by_lease(third);
        assert_eq!(reads.by_lease, 1);
        assert_eq!(reads.ready(Index(9)), [RequestToken(3)]);
        assert!(reads.is_idle());
    }
}
