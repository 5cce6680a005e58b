//! From committed entries to the machine's replies.

use crate::cache::{entry_cost, follows};
use crate::clients::refuse_all;
use crate::dialling::Who;
use crate::effects::{Permission, ReadPurpose};
use crate::envelope::{Envelope, OpenSession, SessionId};
use crate::node::Node;
use crate::port::{
    Action, Answer, ApplyJob, LogDone, LogJob, ReadFailure, Report, RequestError, SnapshotJob,
    StopReason,
};
use crate::roster::Roster;
use crate::sessions::{Admission, Judged, Outcome, Sessions};
use crate::sidecar;
use crate::transfer::remove_older_snapshots;
use bytes::Bytes;
use driftless_codec::frame::AppendHead;
use driftless_codec::{Contact, Entry, EntryKind, Founders};
use driftless_log::SnapshotMeta;
use driftless_raft::{Index, Input, Moment, Position};

/// Entries handed to the machine at once, at most.
pub(crate) const BATCH_BYTES_MAX: u64 = 4 << 20;

/// What an entry came to without the machine having to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// A session was opened.
    Opened(SessionId, OpenSession),
    /// The command was applied before, or stands earlier in the same batch.
    Duplicate(Judged),
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
    pub(crate) outstanding: Option<(Position, Vec<Judged>)>,
    /// Whether entries are being read back from the log.
    pub(crate) reading: bool,
}

/// A stretch of the log, made ready for the machine.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The last entry of it.
    pub(crate) through: Position,
    /// How many there are, and their bytes.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) commands: Vec<Bytes>,
    pub(crate) judged: Vec<Judged>,
    pub(crate) asides: Vec<Aside>,
    /// Whether who the members are, or where, is another.
    pub(crate) members: bool,
    /// The first entry of which only a witness need know no more than its position.
    pub(crate) bare: Option<Position>,
}

/// An entry about members. Whether it changed anything. (What does not decode was
/// never written by a node; it has no effect.)
fn tell_roster(entry: &Entry, roster: &mut Roster) -> bool {
    let before = roster.clone();
    match entry.kind {
        EntryKind::Membership => {
            if let Some(entry) = entry.membership() {
                roster.apply_membership(entry.membership);
            }
        }
        EntryKind::Founders => {
            if let Ok(founders) = Founders::decode(&entry.payload) {
                roster.apply_founders(entry.position.index, founders);
            }
        }
        _ => {
            if let Ok(contact) = Contact::decode(&entry.payload) {
                roster.apply_contact(entry.position.index, contact);
            }
        }
    }
    *roster != before
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

    /// Judges `entries`, `count` of them, which follow what is applied, against the
    /// sessions.
    pub(crate) fn prepare<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        count: usize,
        sessions: &mut Sessions,
        roster: &mut Roster,
    ) -> Prepared {
        let mut prepared = Prepared {
            through: self.applied,
            commands: Vec::with_capacity(count),
            judged: Vec::with_capacity(count),
            ..Prepared::default()
        };
        for entry in entries {
            // The opening of a session begins a batch: see `sessions.rs`.
            if entry.kind == EntryKind::Session && prepared.entries > 0 {
                break;
            }
            let next = prepared.through.index.next();
            assert_eq!(entry.position.index, next, "entries are applied in log order");
            prepared.through = entry.position;
            prepared.entries += 1;
            prepared.bytes += entry_cost(entry) as u64;
            match entry.kind {
                EntryKind::Noop => {}
                EntryKind::Bare => prepared.bare = prepared.bare.or(Some(entry.position)),
                EntryKind::Membership | EntryKind::Contact | EntryKind::Founders => {
                    prepared.members |= tell_roster(entry, roster);
                }
                EntryKind::Session => {
                    // What does not decode was never written by a node; it has no effect.
                    if let Ok(open) = OpenSession::decode(&entry.payload) {
                        let id = sessions.open(entry.position.index.0, open);
                        prepared.asides.push(Aside::Opened(id, open));
                    }
                }
                EntryKind::Command => {
                    let Ok(envelope) = Envelope::decode(&entry.payload) else { continue };
                    match sessions.admit(entry.position, &envelope) {
                        Admission::Fresh(judged) => {
                            prepared.commands.push(envelope.command);
                            prepared.judged.push(judged);
                        }
                        Admission::Duplicate(judged) => {
                            prepared.judged.push(judged);
                            prepared.asides.push(Aside::Duplicate(judged));
                        }
                        Admission::NoSession => {
                            let Envelope { session, sequence, .. } = envelope;
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
                self.watch.answered(ticket);
                self.watch_disk(moment, actions);
                self.room_heard(moment, room, actions);
                self.step(moment, Input::Persisted { ticket }, actions);
                self.serve_reads(actions);
            }
            LogDone::Read { id, entries } => self.log_was_read(moment, id, entries, actions),
            LogDone::Compacted { snapshot } => remove_older_snapshots(snapshot, actions),
            LogDone::PeerRemembered { peer, known } => {
                let who = Who::of(&self.raft, &self.roster, &self.options);
                for change in self.links.remembered(peer, known, who, actions) {
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
                let Permission { to, head: AppendHead { term, prev_log: prev, .. }, .. } =
                    permission;
                let trail = self.raft.trail();
                let stands = |entry: &Entry| trail.contains(entry.position);
                match entries {
                    Ok(entries)
                        if trail.contains(prev)
                            && follows(prev, &entries)
                            && entries.iter().all(stands)
                            && !entries.is_empty() =>
                    {
                        self.send_read_entries(&permission, &entries, actions);
                    }
                    Err(ReadFailure::Damaged(position)) if trail.contains(position) => {
                        if self.snapshots.to_send().is_some()
                            && self.snapshots.covers(position.index)
                        {
                            // The follower gets the snapshot instead.
                            actions.push(Action::Report(Report::EntryDamaged(position)));
                            self.inputs.push_back(Input::Unreadable { to, term });
                            self.let_go_of_covered(moment, actions);
                        } else {
                            // It would be kept waiting for ever by a leader that cannot
                            // read its own log: let a healthy member lead.
                            actions.push(Action::Stop(StopReason::EntryDamaged(position)));
                        }
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
                    Ok(entries) => {
                        let (count, entries) = (entries.len(), entries.iter());
                        let prepared = self.applier.prepare(
                            entries,
                            count,
                            &mut self.sessions,
                            &mut self.roster,
                        );
                        self.apply(prepared, actions);
                    }
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
        if self.is_witness() {
            self.let_go_as_witness(actions);
        } else if self.snapshots.due(&self.options, self.room.is_low()) {
            self.snapshots.begin_saving();
            let last = self.applier.applied;
            let membership = self.raft.trail().membership_at(last.index).clone();
            let meta = SnapshotMeta { last, membership };
            let sidecar = sidecar::encode(&self.sessions, &self.roster);
            let maker = self.incarnation;
            actions.push(Action::Snapshot(SnapshotJob::Save { meta, sidecar, maker }));
        }
        let Some((first, last)) = self.applier.next() else { return };
        if let Some(entries) = self.payloads.range(first, last, BATCH_BYTES_MAX) {
            let (count, entries) = (entries.count(), entries.iter());
            let prepared =
                self.applier.prepare(entries, count, &mut self.sessions, &mut self.roster);
            self.apply(prepared, actions);
        } else {
            self.applier.reading = true;
            let id = self.log_read(ReadPurpose::Apply { first });
            let bytes_max = BATCH_BYTES_MAX;
            actions.push(Action::Log(LogJob::Read { id, first, last, bytes_max }));
        }
    }

    fn apply(&mut self, prepared: Prepared, actions: &mut Vec<Action>) {
        let Prepared { through, entries, bytes, commands, judged, asides, members, bare } =
            prepared;
        if entries == 0 {
            return;
        }
        // Only a witness is sent such, perhaps before it knows that it is one.
        self.joins_as_witness |= bare.is_some() && self.may_be_witness();
        if let Some(bare) = bare
            && !self.is_witness()
        {
            actions.push(Action::Stop(StopReason::WithoutData(bare)));
            return;
        }
        if members {
            self.members_changed(actions);
        }
        self.snapshots.count(entries, bytes);
        for aside in asides {
            match aside {
                Aside::Opened(id, open) => self.proposals.opened(id, open),
                Aside::Duplicate(Judged { position, session, sequence, .. }) => {
                    self.answer_from_table(session, sequence, position, actions);
                }
                Aside::Rejected(session, sequence) => self.proposals.rejected(session, sequence),
            }
        }
        if self.is_witness() {
            // Its machine is never asked.
            self.applied_through(through, actions);
            return;
        }
        self.applier.outstanding = Some((through, judged));
        actions.push(Action::Apply(ApplyJob { through, commands }));
    }

    /// The log, or a snapshot, says something else of the members than before.
    pub(crate) fn members_changed(&mut self, actions: &mut Vec<Action>) {
        self.links_due = true;
        self.changes.due = true;
        let now = self.roster.membership();
        if self.told_members != *now {
            self.told_members.clone_from(now);
            actions.push(Action::Report(Report::Members(now.clone())));
        }
        actions.push(Action::MembersChanged);
    }

    pub(crate) fn applied(&mut self, replies: &[Bytes], actions: &mut Vec<Action>) {
        let Some((through, judged)) = self.applier.outstanding.take() else { return };
        self.sessions.settle(&judged, replies);
        let mut fresh = judged.iter().filter(|judged| judged.is_fresh);
        for (judged, reply) in fresh.by_ref().zip(replies) {
            if let Some(token) = self.proposals.applied(judged.session, judged.sequence) {
                let answer = Answer::Applied { position: judged.position, reply: reply.clone() };
                actions.push(Action::Answer { token, answer });
            }
        }
        self.applied_through(through, actions);
    }

    fn applied_through(&mut self, through: Position, actions: &mut Vec<Action>) {
        self.applier.applied = through;
        self.changes.due |= !self.changes.is_idle();
        self.payloads.mark_applied(through.index);
        self.payloads.evict(through.index.min(self.raft.durable_index()));
        self.serve_reads(actions);
        self.pump(actions);
    }

    /// After a snapshot took the place of entries: what of ours was in them?
    pub(crate) fn answer_from_sessions(&mut self, actions: &mut Vec<Action>) {
        let Some(session) = self.proposals.session() else { return };
        let position = self.applier.applied;
        if self.sessions.is_open(session) {
            for sequence in self.proposals.unanswered() {
                self.answer_from_table(session, sequence, position, actions);
            }
            self.proposals.requeue_all();
        } else {
            // It was closed in what the snapshot covers, and with it went what it
            // knew. Under another session, what it had applied would be applied again.
            let unknown = self.proposals.session_lost();
            refuse_all(unknown, actions);
        }
    }

    /// Answers a request of ours if the table says that it was applied.
    fn answer_from_table(
        &mut self,
        session: SessionId,
        sequence: u64,
        position: Position,
        actions: &mut Vec<Action>,
    ) {
        let answer = match self.sessions.outcome(session, sequence) {
            Outcome::NotApplied => return,
            Outcome::Reply(reply) => Answer::Applied { position, reply },
            Outcome::ReplyLost => Answer::Refused(RequestError::ReplyLost),
        };
        if let Some(token) = self.proposals.applied(session, sequence) {
            actions.push(Action::Answer { token, answer });
        }
    }
}
