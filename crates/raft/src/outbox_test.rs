//! What is durable when: tickets, truncation under tickets in flight, order.

use super::*;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

const ALICE: NodeId = NodeId(1);

fn ack(last: u64) -> Promise {
    let message = Message::AppendStored { term: Term(1), last: Index(last) };
    Promise::Message { to: ALICE, message }
}

/// Writes entries up to `last`, promises that they are stored, seals.
fn append(outbox: &mut Outbox, first: u64, last: u64) -> Ticket {
    outbox.write_run(Run::new(1, first, last), Source::Append { from: ALICE });
    outbox.promise(Term(1), ack(last));
    let persist = outbox.seal(HardState::default(), Index(last));
    outbox.hold_promises();
    persist.ticket
}

fn said(outbox: &mut Outbox) -> Vec<Promise> {
    core::iter::from_fn(|| outbox.take_due()).map(|waiting| waiting.promise).collect()
}

#[test]
fn a_step_that_writes_nothing_has_no_record() {
    let mut outbox = Outbox::new(Index(0));
    assert!(!outbox.has_draft());
    outbox.promise(Term(1), ack(0));
    assert!(!outbox.has_draft());
    outbox.write_hard_state();
    assert!(outbox.has_draft());
}

#[test]
fn with_nothing_in_flight_promises_need_not_wait() {
    let mut outbox = Outbox::new(Index(5));
    outbox.promise(Term(1), ack(5));
    outbox.hold_promises();
    assert_eq!(said(&mut outbox), [ack(5)]);
}

#[test]
fn a_promise_without_a_record_waits_for_the_newest_in_flight() {
    let mut outbox = Outbox::new(Index(0));
    let first = append(&mut outbox, 1, 2);
    let second = append(&mut outbox, 3, 4);
    outbox.promise(Term(1), ack(0));
    outbox.hold_promises();
    assert_eq!(said(&mut outbox), []);
    outbox.complete(first);
    assert_eq!(said(&mut outbox), [ack(2)]);
    outbox.complete(second);
    assert_eq!(said(&mut outbox), [ack(4), ack(0)]);
}

#[test]
fn a_completion_completes_all_before_it() {
    let mut outbox = Outbox::new(Index(0));
    let first = append(&mut outbox, 1, 2);
    let second = append(&mut outbox, 3, 4);
    assert!(!outbox.is_idle());
    outbox.complete(second);
    assert_eq!(said(&mut outbox), [ack(2), ack(4)]);
    assert_eq!(outbox.durable_index(), Index(4));
    assert!(outbox.is_idle());
    outbox.complete(first);
    assert_eq!(said(&mut outbox), []);
    assert_eq!(outbox.durable_index(), Index(4));
}

#[test]
fn a_cut_takes_back_what_is_durable_and_what_will_be() {
    let mut outbox = Outbox::new(Index(3));
    let first = append(&mut outbox, 4, 6);
    outbox.write_truncation(Index(3));
    outbox.write_run(Run::new(2, 3, 3), Source::Append { from: ALICE });
    let second = outbox.seal(HardState::default(), Index(3));
    assert_eq!(second.truncate_from, Some(Index(3)));
    assert_eq!(outbox.durable_index(), Index(2));
    // The first record is on disk, but what it brought is no longer the log.
    outbox.complete(first);
    assert_eq!(outbox.durable_index(), Index(2));
    outbox.complete(second.ticket);
    assert_eq!(outbox.durable_index(), Index(3));
}

#[test]
fn a_snapshot_counts_only_when_its_record_is_durable() {
    let mut outbox = Outbox::new(Index(3));
    let append = append(&mut outbox, 4, 6);
    let source = Source::Snapshot { last: Position::new(1, 5), membership: Box::default() };
    outbox.write_snapshot(source, None, Index(2));
    let snapshot = outbox.seal(HardState::default(), Index(6));
    assert_eq!(outbox.durable_index(), Index(2));
    outbox.complete(append);
    assert_eq!(outbox.durable_index(), Index(2));
    outbox.complete(snapshot.ticket);
    assert_eq!(outbox.durable_index(), Index(6));
}

#[test]
fn tickets_are_never_reused() {
    let mut outbox = Outbox::new(Index(0));
    let first = append(&mut outbox, 1, 1);
    outbox.complete(first);
    assert_eq!(append(&mut outbox, 2, 2), Ticket(first.0 + 1));
}

#[test]
#[should_panic(expected = "never given out")]
fn a_ticket_from_the_future_is_a_bug_of_the_host() {
    Outbox::new(Index(0)).complete(Ticket(1));
}

/// For the search of all states and its wrong variants.
impl Outbox {
    /// Gives the records in flight the tickets 1, 2, … and says how many they are.
    pub(crate) fn renumber(&mut self) -> usize {
        self.next_ticket = Ticket(1);
        for pending in &mut self.pending {
            pending.ticket = self.next_ticket;
            self.next_ticket = Ticket(self.next_ticket.0 + 1);
        }
        self.pending.len()
    }

    /// Forgets promises that nobody will hear, those of a term before `term`; and
    /// where what is said once may be heard for ever, those made a second time.
    pub(crate) fn forget_useless(&mut self, term: Term, stays: bool) {
        assert!(self.due == 0 && self.made == 0, "between steps, promises hang on records");
        let mut all = mem::take(&mut self.promises).into_iter();
        for pending in &mut self.pending {
            let before = self.promises.len();
            for waiting in all.by_ref().take(pending.promises) {
                let restores = matches!(waiting.promise, Promise::Restore { .. });
                let again = stays && self.promises.contains(&waiting);
                if (restores || waiting.term == term) && !again {
                    self.promises.push_back(waiting);
                }
            }
            pending.promises = self.promises.len() - before;
        }
    }

    /// How far the log is durable once each record in flight is.
    pub(crate) fn lasts(&self) -> Vec<(Ticket, Index)> {
        self.pending.iter().map(|pending| (pending.ticket, pending.last)).collect()
    }

    /// Forgets what was cut since `lasts` were taken.
    pub(crate) fn trust(&mut self, lasts: &[(Ticket, Index)], end: Index) {
        for pending in &mut self.pending {
            let before = lasts.iter().find(|(ticket, _)| *ticket == pending.ticket);
            pending.last = before.map_or(pending.last, |(_, last)| pending.last.max(*last));
        }
        self.durable_index = self.durable_index.min(end);
    }

    /// The messages that wait for the newest record in flight.
    pub(crate) fn newest_messages(&mut self) -> impl Iterator<Item = &mut Message> {
        let newest = self.pending.back().map_or(0, |newest| newest.promises);
        self.promises.iter_mut().rev().take(newest).filter_map(|waiting| {
            match &mut waiting.promise {
                Promise::Message { message, .. } => Some(message),
                _ => None,
            }
        })
    }

    /// Takes out the messages of one kind that wait.
    pub(crate) fn take_promises(&mut self, which: impl Fn(&Message) -> bool) -> Vec<Promise> {
        let (mut taken, mut at) = (Vec::new(), 0);
        for pending in &mut self.pending {
            for _ in 0..pending.promises {
                match &self.promises[at].promise {
                    Promise::Message { message, .. } if which(message) => {
                        let waiting = self.promises.remove(at).expect("it was just seen");
                        taken.push(waiting.promise);
                        pending.promises -= 1;
                    }
                    _ => at += 1,
                }
            }
        }
        taken
    }
}
