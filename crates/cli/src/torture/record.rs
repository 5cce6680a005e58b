//! What the clients asked, and what they were told.

use crate::failure::Failure;
use driftless_sim::history::{History, OperationId};
use driftless_sim::register::{Access, Seen};
use std::collections::BTreeMap;
use tonic::{Code, Status};

/// A register: its epoch and its number in it.
pub(crate) type Register = (u32, u32);

/// An operation on a register; `None` is a key that is not there.
pub(crate) type RegisterAccess = Access<Register, Option<u64>>;

/// What a client saw of a register.
pub(crate) type RegisterSeen = Seen<Option<u64>>;

/// The history of one epoch.
pub(crate) type RegisterHistory = History<RegisterAccess, RegisterSeen>;

/// What became of the one put of a key of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedgerOutcome {
    /// It stands there, at this revision.
    Acknowledged(i64),
    /// Nobody knows.
    Unknown,
}

/// An operation that has been sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    epoch: u32,
    id: OperationId,
    invoked_ns: u64,
    changes: bool,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Record {
    epochs: BTreeMap<u32, Epoch>,
    /// Keys that are each put once: (client, number).
    ledger: BTreeMap<(u32, u32), LedgerOutcome>,
    latest_acknowledged_invocation_ns: u64,
    reads: u64,
    changes: u64,
    refused: u64,
    unknown: u64,
    unexpected: Option<String>,
}

#[derive(Default)]
struct Epoch {
    history: RegisterHistory,
    underway: usize,
}

/// What an error means for the operation that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It was certainly not done.
    Refused,
    /// It may have been done, or may be later.
    Unknown,
    /// No such request should ever have this answer.
    Unexpected,
}

fn meaning(status: &Status) -> Meaning {
    match status.code() {
        Code::ResourceExhausted => Meaning::Refused,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Meaning::Unknown,
        // How etcd says that too much is in flight; nothing was proposed.
        Code::Unknown if status.message().ends_with("too many requests") => Meaning::Refused,
        // A connection that broke, as the transport below tells it.
        _ if std::error::Error::source(status).is_some() => Meaning::Unknown,
        _ => Meaning::Unexpected,
    }
}

impl Record {
    /// An operation on a register is sent.
    pub(crate) fn invoke(&mut self, client: u32, input: RegisterAccess, now_ns: u64) -> Sent {
        let epoch = input.key.0;
        let changes = !matches!(input.verb, driftless_sim::register::Verb::Read);
        let in_epoch = self.epochs.entry(epoch).or_default();
        in_epoch.underway += 1;
        let id = in_epoch.history.invoke(u64::from(client), input, now_ns);
        Sent { epoch, id, invoked_ns: now_ns, changes }
    }

    /// It was answered, or not.
    pub(crate) fn returned(
        &mut self,
        sent: Sent,
        answer: Result<RegisterSeen, Status>,
        now_ns: u64,
    ) {
        let Some(epoch) = self.epochs.get_mut(&sent.epoch) else { return };
        epoch.underway -= 1;
        match answer {
            Ok(seen) => {
                epoch.history.respond(sent.id, seen, now_ns);
                if sent.changes {
                    self.acknowledged(sent.invoked_ns);
                } else {
                    self.reads += 1;
                }
            }
            Err(status) => {
                if meaning(&status) == Meaning::Refused {
                    epoch.history.refuse(sent.id);
                }
                self.failed(&status);
            }
        }
    }

    /// The put of a key of the ledger is sent.
    pub(crate) fn ledger_put(&mut self, client: u32, number: u32) {
        let before = self.ledger.insert((client, number), LedgerOutcome::Unknown);
        assert!(before.is_none(), "a key of the ledger is put once");
    }

    /// It was answered with a revision, or not.
    pub(crate) fn ledger_returned(
        &mut self,
        client: u32,
        number: u32,
        invoked_ns: u64,
        answer: Result<i64, Status>,
    ) {
        match answer {
            Ok(revision) => {
                self.ledger.insert((client, number), LedgerOutcome::Acknowledged(revision));
                self.acknowledged(invoked_ns);
            }
            Err(status) => {
                if meaning(&status) == Meaning::Refused {
                    self.ledger.remove(&(client, number));
                }
                self.failed(&status);
            }
        }
    }

    fn acknowledged(&mut self, invoked_ns: u64) {
        self.changes += 1;
        self.latest_acknowledged_invocation_ns =
            self.latest_acknowledged_invocation_ns.max(invoked_ns);
    }

    fn failed(&mut self, status: &Status) {
        match meaning(status) {
            Meaning::Refused => self.refused += 1,
            Meaning::Unknown => self.unknown += 1,
            Meaning::Unexpected => {
                self.unexpected.get_or_insert(format!(
                    "a client was told {:?}: {}",
                    status.code(),
                    status.message()
                ));
            }
        }
    }

    /// When the latest of all acknowledged changes was sent.
    pub(crate) fn latest_acknowledged_invocation_ns(&self) -> u64 {
        self.latest_acknowledged_invocation_ns
    }

    /// Takes the histories of epochs before `present` in which nothing is open.
    pub(crate) fn take_past(&mut self, present: u32) -> Vec<RegisterHistory> {
        let is_past = |number: u32, epoch: &Epoch| number < present && epoch.underway == 0;
        let past: Vec<u32> = self
            .epochs
            .iter()
            .filter(|(number, epoch)| is_past(**number, epoch))
            .map(|(number, _)| *number)
            .collect();
        let taken = past.iter().filter_map(|number| self.epochs.remove(number));
        taken.map(|epoch| epoch.history).collect()
    }

    /// Gives up on operations whose clients are gone.
    pub(crate) fn abandon(&mut self) {
        for epoch in self.epochs.values_mut() {
            epoch.underway = 0;
        }
    }

    /// The ledger as its writers know it.
    pub(crate) fn ledger(&self) -> &BTreeMap<(u32, u32), LedgerOutcome> {
        &self.ledger
    }

    /// How many of its puts were acknowledged.
    pub(crate) fn ledger_acknowledged(&self) -> usize {
        let acknowledged = |outcome: &&LedgerOutcome| **outcome != LedgerOutcome::Unknown;
        self.ledger.values().filter(acknowledged).count()
    }

    /// No client was ever told what it should not be.
    pub(crate) fn check_unexpected(&self) -> Result<(), Failure> {
        self.unexpected.clone().map_or(Ok(()), |unexpected| Err(Failure::new(unexpected)))
    }

    /// A run in which hardly anything happened shows nothing.
    pub(crate) fn check_variety(&self) -> Result<(), Failure> {
        for (what, count) in [("reads", self.reads), ("writes", self.changes)] {
            if count < 100 {
                return Err(Failure::new(format!("only {count} {what}: that shows nothing")));
            }
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> String {
        let Self { reads, changes, refused, unknown, .. } = self;
        format!(
            "{changes} changes and {reads} reads answered, {refused} refused, {unknown} of unknown \
             outcome"
        )
    }
}
