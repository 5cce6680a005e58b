//! What a process does: its node's steps, and the work that they ask for.

use crate::invariants::{Breach, Property};
use crate::member::{GROUP, Running, SnapshotWork};
use crate::network::Process;
use crate::plan::Sabotage;
use crate::random::hash_bytes;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, ToNode, World};
use bytes::Bytes;
use driftless_node::machine::{Batch, StateMachine};
use driftless_node::raft::{NodeId, Position, Role};
use driftless_node::{
    Action, ApplyJob, Event, LogDone, LogJob, Report, SnapshotDone, SnapshotJob, StopReason,
    applied_position, apply_inline, run_log_jobs,
};

/// How often an idle log with little room looks whether there is more.
const LOOKS_FOR_ROOM_US: u64 = 200_000;

/// Where an action or a job may lead.
type Done = Result<(), Breach>;

impl<M: StateMachine> Running<M> {
    /// The log does its batch. Leaves in it what must wait for room.
    pub(crate) fn log_works(&mut self, done: &mut Vec<LogDone>) {
        run_log_jobs(&mut self.log, GROUP, &mut self.log_batch, done);
    }

    /// Does the snapshot work that comes first. What it answers, if anything.
    pub(crate) fn snapshot_works(&mut self) -> Option<SnapshotDone> {
        if !std::mem::take(&mut self.snapshot_busy) {
            return None;
        }
        let job = match self.snapshot_queue.pop_front()? {
            SnapshotWork::Save { meta, sidecar, maker, mut frozen } => {
                return Some(self.snapshots.save(&meta, &sidecar, maker, frozen.as_mut()));
            }
            SnapshotWork::Other(job) => job,
        };
        match job {
            SnapshotJob::Save { .. } => unreachable!("it was frozen when it was asked for"),
            SnapshotJob::Load { meta } => Some(self.snapshots.load(&meta, &mut self.machine)),
            SnapshotJob::ReadChunk { to, offset, bytes_max } => {
                Some(self.snapshots.read_chunk(to, offset, bytes_max))
            }
            SnapshotJob::WriteChunk { meta, maker, offset, bytes, done } => {
                Some(self.snapshots.write_chunk(meta, maker, offset, &bytes, done))
            }
            SnapshotJob::RemoveOlder { keep } => {
                // What stays is removed with the next one.
                let _ = self.snapshots.remove_older(keep);
                None
            }
        }
    }
}

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// Something for a process, or of it. What is for an earlier one is lost,
    /// what is for one that stands still waits.
    pub(crate) fn deliver(&mut self, process: Process, what: ToNode) -> Done {
        if !self.is_running(process) {
            return Ok(());
        }
        let now = self.now;
        self.digest.word(process.member.0);
        let running = self.running(process);
        if running.paused {
            running.held.push_back(what);
            return Ok(());
        }
        match what {
            ToNode::Event(Event::Client(request)) => {
                if self.request_arrives(&request)? {
                    self.handle(process, Event::Client(request))?;
                }
                Ok(())
            }
            ToNode::Event(event) => self.handle(process, event),
            ToNode::Wake => {
                running.wake_at = None;
                let deadline = running.node.deadline();
                let clock = self.members[&process.member].clock;
                match deadline {
                    Some(deadline) if clock.at(now) >= deadline => {
                        self.handle(process, Event::Wake)
                    }
                    _ => {
                        self.expect_wake(process);
                        Ok(())
                    }
                }
            }
            ToNode::Flush => {
                running.flush_scheduled = false;
                self.flush(process)
            }
            ToNode::LogWork => self.log_work(process),
            ToNode::LogIdle => self.log_idle(process),
            ToNode::Apply => self.apply(process),
            ToNode::SnapshotWork => self.snapshot_work(process),
        }
    }

    fn handle(&mut self, process: Process, event: Event) -> Done {
        let now = self.now;
        let member = self.members.get_mut(&process.member).expect("a member of this world");
        let moment = member.moment(now);
        let Some(running) = &mut member.running else { return Ok(()) };
        let mut actions = Vec::new();
        running.node.handle(moment, event, &mut actions);
        self.stepped(process, actions)?;
        // Mostly the batch is this one event; sometimes more come together.
        if !self.is_running(process) || self.running(process).flush_scheduled {
            return Ok(());
        }
        if self.random.chance(2, 3) {
            return self.flush(process);
        }
        self.running(process).flush_scheduled = true;
        let delay_us = self.random.below(300);
        self.after(delay_us, Happening::Node(process, ToNode::Flush));
        Ok(())
    }

    fn flush(&mut self, process: Process) -> Done {
        let now = self.now;
        let member = self.members.get_mut(&process.member).expect("a member of this world");
        let moment = member.moment(now);
        let Some(running) = &mut member.running else { return Ok(()) };
        let mut actions = Vec::new();
        running.node.flush(moment, &mut actions);
        self.stepped(process, actions)
    }

    /// The node took a step: is all well, and what does it want?
    fn stepped(&mut self, process: Process, actions: Vec<Action>) -> Done {
        let id = process.member;
        let raft = self.members[&id].running.as_ref().expect("it took a step").node.raft();
        let copies = self.members.values().map(super::member::Member::copies);
        let elected = self.ghosts.stepped(id, raft, copies)?;
        if elected {
            let (term, last) = (raft.term(), raft.last());
            self.elected(id, term.0, last);
        }
        let mut stops = None;
        for action in actions {
            match action {
                Action::Stop(reason) => stops = Some(reason),
                action => self.carry_out(process, action)?,
            }
        }
        if let Some(reason) = stops {
            self.stops(process, &reason);
        } else {
            self.expect_wake(process);
        }
        Ok(())
    }

    fn elected(&mut self, id: NodeId, term: u64, last: Position) {
        self.count(Situation::Election);
        if !self.open.is_empty() {
            self.count(Situation::ElectionUnderLoad);
        }
        if term > 1 && !self.ghosts.had_leader(driftless_node::raft::Term(term - 1)) {
            self.count(Situation::SplitTerm);
        }
        self.tell(|| format!("member {id} LEADS in term {term}, its log ends at {last}"));
    }

    fn carry_out(&mut self, process: Process, action: Action) -> Done {
        let id = process.member;
        match action {
            Action::Log(job) => self.log_asked(process, job),
            Action::Apply(job) => {
                let member = &self.members[&id];
                let running = member.running.as_ref().expect("it asks, so it runs");
                let (raft, durable) = (running.node.raft(), member.durable.trail());
                self.ghosts.apply_asked(id, raft, durable, job.through)?;
                let running = self.running(process);
                assert!(running.apply.is_none(), "one apply is outstanding at most");
                running.apply = Some(job);
                let takes_us = self.random.below(200);
                self.after(takes_us, Happening::Node(process, ToNode::Apply));
                Ok(())
            }
            Action::Snapshot(job) => {
                let running = self.running(process);
                let work = match job {
                    SnapshotJob::Save { meta, sidecar, maker } => {
                        let frozen = running.machine.snapshot();
                        SnapshotWork::Save { meta, sidecar, maker, frozen }
                    }
                    job => SnapshotWork::Other(job),
                };
                running.snapshot_queue.push_back(work);
                self.expect_snapshot_work(process);
                Ok(())
            }
            Action::Write { link, frame } => self.write(process, link, &frame),
            Action::Close { link } => {
                self.close(process, link);
                Ok(())
            }
            Action::Answer { token, answer } => self.answered(process, token, answer),
            Action::StatusChanged => {
                self.tell_status(process);
                Ok(())
            }
            Action::Report(report) => {
                match report {
                    Report::SnapshotSaved { .. } => self.count(Situation::SnapshotSaved),
                    Report::PeerReached { .. } | Report::PeerLost { .. } => {}
                    _ => self.tell(|| format!("member {id} reports: {report}")),
                }
                Ok(())
            }
            Action::Stop(_) => unreachable!("taken out before"),
        }
    }

    fn tell_status(&mut self, process: Process) {
        if self.is_narrated() {
            let status = self.running(process).node.status();
            let leader = match (status.role, status.leader) {
                (Role::Leader, _) => return,
                (_, Some(leader)) => format!("follows member {leader}"),
                (role, None) => format!("is {role:?} without a leader"),
            };
            let text = format!("member {} {leader} in term {}", process.member, status.term);
            self.tell(|| text);
        }
    }

    /// Sees to it that the node is woken in time.
    fn expect_wake(&mut self, process: Process) {
        let now = self.now;
        let member = self.members.get_mut(&process.member).expect("a member of this world");
        let Some(running) = &mut member.running else { return };
        let Some(deadline) = running.node.deadline() else { return };
        let at = member.clock.when(deadline).max(now);
        if running.wake_at.is_none_or(|earlier| earlier > at) {
            running.wake_at = Some(at);
            self.at(at, Happening::Node(process, ToNode::Wake));
        }
    }

    /// A clock changed: deadlines fall at other times now.
    pub(crate) fn expect_wake_anew(&mut self, process: Process) {
        self.running(process).wake_at = None;
        self.expect_wake(process);
    }

    fn stops(&mut self, process: Process, reason: &StopReason) {
        let id = process.member;
        self.tell(|| format!("member {id} STOPS: {reason}"));
        if let StopReason::UnknownIncarnation { .. } = reason {
            self.count(Situation::Refused);
            self.end_process(id, false);
            self.members.get_mut(&id).expect("a member of this world").is_out = true;
        } else {
            // Its operator replaces the cable and starts it again; what a failed
            // sync left in the page cache is gone with the power.
            self.count(Situation::StoppedByLog);
            self.end_process(id, true);
            self.start_later(id, 500_000);
        }
    }
}

/// The log's thread.
impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    fn log_asked(&mut self, process: Process, job: LogJob) -> Done {
        let id = process.member;
        let member = self.members.get_mut(&id).expect("a member of this world");
        let mut early = None;
        let mut met = Vec::new();
        match &job {
            LogJob::Append { ticket, record } => {
                self.ghosts.record_asked(id, &member.durable, record)?;
                let last = member.durable.asked_last();
                if record.truncate_from.is_some_and(|from| from <= last.index) {
                    met.push(Situation::FollowerTruncated);
                }
                if record.snapshot.as_ref().is_some_and(|meta| meta.last > Position::ZERO) {
                    met.push(Situation::SnapshotInstalled);
                }
                member.durable.ask(*ticket, record);
                if self.plan.sabotage == Some(Sabotage::AcknowledgeEarly) {
                    early = Some(LogDone::Appended { ticket: *ticket, low_space: false });
                }
            }
            LogJob::Read { .. } => met.push(Situation::LogRead),
            LogJob::Compact { .. } => met.push(Situation::Compacted),
            LogJob::RememberPeer { .. } => {}
        }
        for situation in met {
            self.count(situation);
            self.tell(|| format!("member {id}: {}", situation.text()));
        }
        self.running(process).log_queue.push_back(job);
        self.expect_log_work(process);
        if let Some(done) = early {
            self.after(0, Happening::Node(process, ToNode::Event(Event::Log(done))));
        }
        Ok(())
    }

    /// How long the disk takes for a batch.
    fn disk_us(&mut self, id: NodeId) -> u64 {
        let usual_us = match self.random.below(10) {
            0..8 => self.plan.disk_us_max / 10,
            _ => self.plan.disk_us_max,
        };
        let slowness = self.members[&id].disk_slowness;
        (20 + self.random.below(usual_us)) * slowness
    }

    fn expect_log_work(&mut self, process: Process) {
        let running = self.running(process);
        if running.log_batch.is_empty() && !running.log_queue.is_empty() {
            running.log_batch = std::mem::take(&mut running.log_queue);
            let takes_us = self.disk_us(process.member);
            self.after(takes_us, Happening::Node(process, ToNode::LogWork));
        }
    }

    fn log_work(&mut self, process: Process) -> Done {
        let id = process.member;
        let member = self.members.get_mut(&id).expect("a member of this world");
        let Some(running) = &mut member.running else { return Ok(()) };
        let is_append = |job: &&LogJob| matches!(job, LogJob::Append { .. });
        if running.log_batch.iter().filter(is_append).count() > 1 {
            self.report.count(Situation::GroupCommit);
        }
        let mut compacted = running
            .log_batch
            .iter()
            .filter_map(|job| match job {
                LogJob::Compact { through, .. } => Some(*through),
                _ => None,
            })
            .collect::<Vec<_>>()
            .into_iter();
        let mut done = Vec::new();
        running.log_works(&mut done);
        if member.disk.memory.is_off() {
            self.power_went(id);
            return Ok(());
        }
        for what in &done {
            match what {
                LogDone::Appended { ticket, .. } => member.durable.acknowledge(*ticket),
                LogDone::Compacted => {
                    if let Some(through) = compacted.next() {
                        member.durable.compacted(through);
                    }
                }
                _ => {}
            }
        }
        // What found no room waits, in front of what came meanwhile.
        let waits = !running.log_batch.is_empty();
        running.log_batch.append(&mut running.log_queue);
        running.log_queue = std::mem::take(&mut running.log_batch);
        for what in done {
            if let LogDone::PeerRemembered { peer } = what {
                self.members.get_mut(&peer).expect("a member of this world").known_by.insert(id);
            }
            let told = self.plan.sabotage == Some(Sabotage::AcknowledgeEarly)
                && matches!(what, LogDone::Appended { .. });
            if !told && self.is_running(process) {
                self.handle(process, Event::Log(what))?;
            }
        }
        if !self.is_running(process) {
            return Ok(());
        }
        if waits {
            let running = self.running(process);
            if running.log_batch.is_empty() {
                running.log_batch = std::mem::take(&mut running.log_queue);
                let again_us = self.random.between(5_000, 100_000);
                self.after(again_us, Happening::Node(process, ToNode::LogWork));
            }
        } else if self.running(process).log_queue.is_empty() {
            let idle_us = self.random.below(5_000);
            self.after(idle_us, Happening::Node(process, ToNode::LogIdle));
        } else {
            self.expect_log_work(process);
        }
        Ok(())
    }

    /// Nothing waits for the log: it marks what is durable and prepares a segment.
    fn log_idle(&mut self, process: Process) -> Done {
        let running = self.running(process);
        if !running.log_batch.is_empty() || !running.log_queue.is_empty() {
            return Ok(());
        }
        let failed = match running.log.idle().and_then(|()| running.log.prepare_spare()) {
            Ok(more) => {
                if more {
                    let again_us = self.random.below(2_000);
                    self.after(again_us, Happening::Node(process, ToNode::LogIdle));
                }
                None
            }
            Err(_) if !running.log.is_poisoned() => None,
            Err(error) => Some(LogDone::Failed(error.to_string())),
        };
        if self.members[&process.member].disk.memory.is_off() {
            self.power_went(process.member);
            return Ok(());
        }
        if let Some(done) = failed {
            return self.handle(process, Event::Log(done));
        }
        let running = self.running(process);
        let low_space = running.log.low_space();
        if low_space != running.node.status().low_space {
            let done = LogDone::Space { low_space };
            self.after(LOOKS_FOR_ROOM_US, Happening::Node(process, ToNode::LogIdle));
            return self.handle(process, Event::Log(done));
        }
        if low_space {
            self.after(LOOKS_FOR_ROOM_US, Happening::Node(process, ToNode::LogIdle));
        }
        Ok(())
    }

    /// A disk lost power in the middle of its work.
    fn power_went(&mut self, id: NodeId) {
        self.count(Situation::CrashInWrite);
        self.tell(|| format!("member {id} loses power in the middle of its disk's work"));
        self.end_process(id, true);
        let back_us = self.random.below(2_000_000);
        self.start_later(id, back_us);
    }
}

/// The machine, and its snapshots.
impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    fn apply(&mut self, process: Process) -> Done {
        let id = process.member;
        let sabotage = self.plan.sabotage.filter(|_| self.random.chance(1, 40));
        let running = self.running(process);
        let Some(job) = running.apply.take() else { return Ok(()) };
        let (applied, after) = (running.applied, running.applied_through);
        let event = match sabotage {
            Some(Sabotage::ApplyTwice) if !job.commands.is_empty() => {
                apply_unasked(&mut running.machine, &job);
                apply_inline(&running.node, &mut running.machine, &job)
            }
            Some(Sabotage::SkipApply) if !job.commands.is_empty() => {
                let before = frozen_bytes(&mut running.machine);
                let event = apply_inline(&running.node, &mut running.machine, &job);
                running
                    .machine
                    .restore(&mut before.as_slice())
                    .expect("it was a snapshot of this machine");
                event
            }
            _ => apply_inline(&running.node, &mut running.machine, &job),
        };
        running.applied_through = job.through.index;
        let commands: Vec<u64> = job.commands.iter().map(|command| hash_bytes(command)).collect();
        for command in &commands {
            self.digest.word(*command);
        }
        let count = self.ghosts.applied(id, applied, &commands, job.through.index)?;
        self.running(process).applied = count;
        if self.ghosts.repeated_between(after, job.through.index) > 0 {
            self.count(Situation::DuplicateSuppressed);
        }
        self.handle(process, event)
    }

    fn expect_snapshot_work(&mut self, process: Process) {
        let running = self.running(process);
        if !running.snapshot_busy && !running.snapshot_queue.is_empty() {
            running.snapshot_busy = true;
            let takes_us = self.disk_us(process.member);
            self.after(takes_us, Happening::Node(process, ToNode::SnapshotWork));
        }
    }

    fn snapshot_work(&mut self, process: Process) -> Done {
        let id = process.member;
        let running = self.running(process);
        let loads = match running.snapshot_queue.front() {
            Some(SnapshotWork::Other(SnapshotJob::Load { meta })) => Some(meta.last.index),
            _ => None,
        };
        let done = running.snapshot_works();
        if self.members[&id].disk.memory.is_off() {
            self.power_went(id);
            return Ok(());
        }
        if let (Some(index), Some(SnapshotDone::Loaded { result })) = (loads, &done) {
            if let Err(why) = result {
                let text = format!("member {id} cannot load its snapshot at {index}: {why}");
                return Err(Breach(Property::Starts, text));
            }
            let count = self.ghosts.restored(id, index)?;
            let running = self.running(process);
            running.applied = count;
            running.applied_through = index;
            self.tell(|| format!("member {id} loaded the snapshot at {index}"));
        }
        self.expect_snapshot_work(process);
        match done {
            Some(done) => self.handle(process, Event::Snapshot(done)),
            None => Ok(()),
        }
    }

    pub(crate) fn resume(&mut self, process: Process) -> Done {
        if !self.is_running(process) || !self.running(process).paused {
            return Ok(());
        }
        self.tell(|| format!("member {} goes on", process.member));
        let running = self.running(process);
        running.paused = false;
        for what in std::mem::take(&mut running.held) {
            self.deliver(process, what)?;
        }
        Ok(())
    }
}

fn apply_unasked<M: StateMachine>(machine: &mut M, job: &ApplyJob) {
    machine.apply(&Batch {
        through: applied_position(job.through),
        commands: &job.commands[..1],
        sidecar: &|_| Bytes::new(),
    });
}

/// All of a machine's state, as its snapshot says.
pub(crate) fn frozen_bytes<M: StateMachine>(machine: &mut M) -> Vec<u8> {
    let mut frozen = machine.snapshot();
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        frozen.read_chunk(64 << 10, &mut bytes).expect("a snapshot in memory");
        if bytes.len() == before {
            return bytes;
        }
    }
}
