//! From committed entries to the machine's replies.

use crate::cache::{cost, follows};
use crate::effects::{Permission, ReadPurpose};
use crate::envelope::{Envelope, OpenSession, SessionId};
use crate::node::Node;
use crate::port::{
    Action, Answer, ApplyJob, LogDone, LogJob, ReadFailure, SnapshotJob, StopReason,
};
use crate::sessions::{Admission, Sessions};
use bytes::Bytes;
use driftless_codec::{Entry, EntryKind};
use driftless_log::SnapshotMeta;
use driftless_raft::{Index, Input, Moment, Position};

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

impl Node {
    pub(crate) fn log_done(&mut self, moment: Moment, done: LogDone, actions: &mut Vec<Action>) {
        match done {
            LogDone::Appended { ticket, room } => {
                self.room.stored(ticket);
                self.room_heard(moment, room, actions);
                self.step(moment, Input::Persisted { ticket }, actions);
                self.serve_reads(actions);
            }
            LogDone::Read { id, entries } => self.log_was_read(moment, id, entries, actions),
            LogDone::Compacted => self.remove_older_snapshots(actions),
            LogDone::PeerRemembered { peer } => {
                for change in self.links.remembered(peer, actions) {
                    self.links_changed(moment, change, actions);
                }
            }
            LogDone::Room(room) => self.room_heard(moment, room, actions),
            LogDone::Failed(error) => actions.push(Action::Stop(StopReason::LogFailed(error))),
        }
    }

    fn log_was_read(
        &mut self,
        moment: Moment,
        id: u64,
        entries: Result<Vec<Entry>, ReadFailure>,
        actions: &mut Vec<Action>,
    ) {
        match (self.log_reads.remove(&id), entries) {
            (None, _) => {}
            (Some(ReadPurpose::Send(permission)), entries) => {
                let Permission { to, term, prev, .. } = permission;
                let trail = self.raft.trail();
                let stands = |entry: &Entry| trail.contains(entry.position);
                match entries {
                    Ok(entries)
                        if trail.contains(prev)
                            && follows(prev, &entries)
                            && entries.iter().all(stands)
                            && !entries.is_empty() =>
                    {
                        self.send_read_entries(&permission, entries, actions);
                    }
                    // A leader that cannot read its own log would keep a follower
                    // waiting for ever: let a healthy member lead.
                    Err(ReadFailure::Damaged(position)) if trail.contains(position) => {
                        actions.push(Action::Stop(StopReason::EntryDamaged(position)));
                    }
                    Err(ReadFailure::Io(why)) => {
                        actions.push(Action::Stop(StopReason::LogFailed(why)));
                    }
                    Ok(_) | Err(ReadFailure::Damaged(_) | ReadFailure::Gone) => {
                        self.inputs.push_back(Input::Unreadable { to, term });
                    }
                }
                if let Some(input) = self.inputs.pop_front() {
                    self.step(moment, input, actions);
                }
            }
            (Some(ReadPurpose::Apply { first }), entries) => {
                self.applier.reading = false;
                // A snapshot may have taken the place of what was read for.
                if self.applier.applied.index.next() != first || self.snapshots.must_load() {
                    self.pump(actions);
                    return;
                }
                match entries {
                    Ok(entries) => self.apply(&entries, actions),
                    Err(ReadFailure::Damaged(position)) => {
                        actions.push(Action::Stop(StopReason::EntryDamaged(position)));
                    }
                    Err(ReadFailure::Gone) => {
                        let why = format!("entry {first} is to be applied and is not there");
                        actions.push(Action::Stop(StopReason::LogFailed(why)));
                    }
                    Err(ReadFailure::Io(why)) => {
                        actions.push(Action::Stop(StopReason::LogFailed(why)));
                    }
                }
            }
        }
    }

    /// Lets applying, loading and saving go on as far as they can now.
    pub(crate) fn pump(&mut self, actions: &mut Vec<Action>) {
        if self.applier.outstanding.is_some() || self.snapshots.loading.is_some() || !self.started {
            return;
        }
        if let Some(meta) = self.snapshots.to_load.take() {
            if meta.last.index <= self.applier.applied.index {
                self.pump(actions);
                return;
            }
            self.snapshots.loading = Some(meta.clone());
            actions.push(Action::Snapshot(SnapshotJob::Load { meta }));
            return;
        }
        if self.snapshots.due(&self.options, self.room.is_low()) {
            self.snapshots.begin_saving();
            let meta = SnapshotMeta {
                last: self.applier.applied,
                membership: self.raft.membership().clone(),
            };
            let sidecar = self.sessions.encode();
            let maker = self.incarnation;
            actions.push(Action::Snapshot(SnapshotJob::Save { meta, sidecar, maker }));
        }
        let Some((first, last)) = self.applier.next() else { return };
        if let Some(entries) = self.cache.range(first, last, BATCH_BYTES_MAX) {
            self.apply(&entries, actions);
        } else {
            self.applier.reading = true;
            let id = self.log_read(ReadPurpose::Apply { first });
            let bytes_max = BATCH_BYTES_MAX;
            actions.push(Action::Log(LogJob::Read { id, first, last, bytes_max }));
        }
    }

    fn apply(&mut self, entries: &[Entry], actions: &mut Vec<Action>) {
        let Some(through) = entries.last().map(|entry| entry.position) else { return };
        let bytes = entries.iter().map(cost).sum::<usize>() as u64;
        self.snapshots.count(entries.len() as u64, bytes);
        let Prepared { commands, planned, asides } =
            self.applier.prepare(entries, &mut self.sessions);
        for aside in asides {
            match aside {
                Aside::Opened(id, open) => self.proposals.opened(id, open),
                Aside::Duplicate(session, sequence, position, reply) => {
                    // Without a reply it is either being applied in this very
                    // batch, or was answered, or its reply was too long to keep.
                    if let Some(reply) = reply
                        && let Some(token) = self.proposals.applied(session, sequence)
                    {
                        let answer = Answer::Applied { position, reply };
                        actions.push(Action::Answer { token, answer });
                    }
                }
                Aside::Rejected(session, sequence) => self.proposals.rejected(session, sequence),
            }
        }
        self.applier.outstanding = Some((through, planned));
        actions.push(Action::Apply(ApplyJob { through, commands }));
    }

    pub(crate) fn applied(&mut self, replies: &[Bytes], actions: &mut Vec<Action>) {
        let Some((through, planned)) = self.applier.outstanding.take() else { return };
        assert_eq!(replies.len(), planned.len(), "the machine answers every command once");
        for (planned, reply) in planned.into_iter().zip(replies) {
            self.sessions.record(planned.session, planned.sequence, reply);
            if let Some(token) = self.proposals.applied(planned.session, planned.sequence) {
                let answer = Answer::Applied { position: planned.position, reply: reply.clone() };
                actions.push(Action::Answer { token, answer });
            }
        }
        self.applier.applied = through;
        self.cache.mark_applied(through.index);
        self.cache.evict(through.index.min(self.raft.durable_index()));
        self.serve_reads(actions);
        self.pump(actions);
    }

    /// After a snapshot took the place of entries: what of ours was in them?
    pub(crate) fn answer_from_sessions(&mut self, actions: &mut Vec<Action>) {
        if let Some(session) = self.proposals.session() {
            for sequence in self.proposals.unanswered() {
                if let Some(reply) = self.sessions.reply(session, sequence)
                    && let Some(token) = self.proposals.applied(session, sequence)
                {
                    let position = self.applier.applied;
                    actions.push(Action::Answer {
                        token,
                        answer: Answer::Applied { position, reply },
                    });
                }
            }
        }
        let sessions = &self.sessions;
        self.proposals.resume(|id| sessions.is_open(id));
    }
}
