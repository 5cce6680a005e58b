//! From committed entries to the machine's replies.

use crate::cache::follows;
use crate::envelope::{Envelope, OpenSession, SessionId};
use crate::sessions::{Admission, Sessions};
use bytes::Bytes;
use driftless_codec::{Entry, EntryKind};
use driftless_raft::{Index, Position};

/// Entries handed to the machine at once, at most.
pub(crate) const BATCH_BYTES_MAX: u64 = 4 << 20;

/// One command of the batch that the machine is applying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) position: Position,
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
}

/// What an entry came to without the machine having to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// A session was opened.
    Opened(SessionId, OpenSession),
    /// The command was applied before; the reply, if it was kept.
    Duplicate(SessionId, u64, Position, Option<Bytes>),
    /// The command's session is closed: it will never be applied.
    Rejected(SessionId, u64),
}

/// Where applying stands.
#[derive(Debug)]
pub(crate) struct Applier {
    /// Applied by the machine.
    pub(crate) applied: Position,
    /// May be applied, as the algorithm says.
    pub(crate) target: Index,
    /// The batch that the machine is at.
    pub(crate) outstanding: Option<(Position, Vec<Planned>)>,
    /// Whether entries are being read back from the log.
    pub(crate) reading: bool,
}

/// A stretch of the log, made ready for the machine.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) commands: Vec<Bytes>,
    pub(crate) planned: Vec<Planned>,
    pub(crate) asides: Vec<Aside>,
}

impl Applier {
    pub(crate) fn new(applied: Position) -> Self {
        Self { applied, target: applied.index, outstanding: None, reading: false }
    }

    /// The entries that come next, unless there are none or they must wait.
    pub(crate) fn next(&self) -> Option<(Index, Index)> {
        let waits = self.outstanding.is_some() || self.reading || self.target <= self.applied.index;
        if waits { None } else { Some((self.applied.index.next(), self.target)) }
    }

    /// The machine now stands at `last`, by a snapshot.
    pub(crate) fn restored(&mut self, last: Position) {
        self.applied = last;
        self.target = self.target.max(last.index);
    }

    /// Judges `entries`, which follow what is applied, against the sessions.
    pub(crate) fn prepare(&self, entries: &[Entry], sessions: &mut Sessions) -> Prepared {
        assert!(follows(self.applied, entries), "entries are applied in log order");
        let mut prepared = Prepared::default();
        for entry in entries {
            match entry.kind {
                EntryKind::Noop => {}
                EntryKind::Session => {
                    // What does not decode was never written by a node; it has no effect.
                    if let Ok(open) = OpenSession::decode(&entry.payload) {
                        let id = sessions.open(entry.position.index.0, open);
                        prepared.asides.push(Aside::Opened(id, open));
                    }
                }
                EntryKind::Command => {
                    let Ok(envelope) = Envelope::decode(&entry.payload) else { continue };
                    let (session, sequence) = (envelope.session, envelope.sequence);
                    let position = entry.position;
                    match sessions.admit(&envelope) {
                        Admission::Fresh => {
                            prepared.commands.push(envelope.command);
                            prepared.planned.push(Planned { position, session, sequence });
                        }
                        Admission::Duplicate(reply) => prepared
                            .asides
                            .push(Aside::Duplicate(session, sequence, position, reply)),
                        Admission::NoSession => {
                            prepared.asides.push(Aside::Rejected(session, sequence));
                        }
                    }
                }
            }
        }
        prepared
    }
}
