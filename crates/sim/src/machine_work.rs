//! A member's machine and its snapshot files at work.

use crate::member::{Running, SnapshotWork};
use crate::network::Process;
use crate::plan::Sabotage;
use crate::property::{Breach, Property, hold};
use crate::random::hash_bytes;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, ToNode, World};
use bytes::Bytes;
use driftless_node::machine::{Batch, StateMachine};
use driftless_node::raft::Index;
use driftless_node::{ApplyJob, Event, SnapshotDone, SnapshotJob, applied_position, apply_inline};

impl<M: StateMachine> Running<M> {
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
            SnapshotJob::ReadChunk { to, snapshot, offset, bytes_max } => {
                Some(self.snapshots.read_chunk(to, snapshot, offset, bytes_max))
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
    pub(crate) fn apply(&mut self, process: Process) -> Result<(), Breach> {
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
        let check = self.ghosts.applied(id, applied, &commands, job.through.index);
        let count = self.heed(check, applied + commands.len())?;
        self.running(process).applied = count;
        if self.ghosts.repeated_between(after, job.through.index) > 0 {
            self.count(Situation::DuplicateSuppressed);
        }
        self.handle(process, event)
    }

    /// Spoils a snapshot that is to be saved, where a bug is planted there.
    pub(crate) fn plant_in_snapshot(&mut self, process: Process, job: SnapshotJob) -> SnapshotJob {
        let SnapshotJob::Save { mut meta, mut sidecar, maker } = job else { return job };
        match self.plan.sabotage {
            Some(Sabotage::SnapshotWithOldSidecar) => {
                sidecar = self.first_sidecar.get_or_insert(sidecar).clone();
            }
            Some(Sabotage::SnapshotWithoutMembership) => {
                meta.membership.clone_from(&self.founding);
            }
            Some(Sabotage::PurgeEarly) => {
                let done = SnapshotDone::Saved { result: Ok(meta.clone()) };
                self.after(0, Happening::Node(process, ToNode::Event(Event::Snapshot(done))));
            }
            _ => {}
        }
        SnapshotJob::Save { meta, sidecar, maker }
    }

    pub(crate) fn expect_snapshot_work(&mut self, process: Process) {
        let running = self.running(process);
        if !running.snapshot_busy && !running.snapshot_queue.is_empty() {
            running.snapshot_busy = true;
            let takes_us = self.disk_us(process.member);
            self.after(takes_us, Happening::Node(process, ToNode::SnapshotWork));
        }
    }

    /// A machine was to load its member's snapshot: it did, or its member is a witness
    /// and has none.
    fn loaded(
        &mut self,
        process: Process,
        index: Index,
        result: &Result<Option<Bytes>, String>,
    ) -> Result<(), Breach> {
        let id = process.member;
        match result {
            Err(why) => {
                let text = format!("member {id} cannot load its snapshot at {index}: {why}");
                return Err(Breach(Property::Starts, text));
            }
            Ok(None) => {
                hold!(
                    self.witnesses.contains(&id),
                    Starts,
                    "member {id} has no snapshot at {index}, and is no witness"
                );
            }
            Ok(Some(_)) => {
                let check = self.ghosts.restored(id, index);
                let count = self.heed(check, 0)?;
                let running = self.running(process);
                running.applied = count;
                running.applied_through = index;
                self.tell(|| format!("member {id} loaded the snapshot at {index}"));
            }
        }
        Ok(())
    }

    pub(crate) fn snapshot_work(&mut self, process: Process) -> Result<(), Breach> {
        if self.waits_for_disk(process, ToNode::SnapshotWork) {
            return Ok(());
        }
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
        let is_suspect = self.members[&id].is_suspect;
        if let (Some(index), Some(SnapshotDone::Loaded { result })) = (loads, &done)
            && !(is_suspect && result.is_err())
        {
            self.loaded(process, index, result)?;
        }
        self.expect_snapshot_work(process);
        let told = self.plan.sabotage == Some(Sabotage::PurgeEarly);
        match done {
            Some(SnapshotDone::Saved { .. }) if told => Ok(()),
            Some(done) => self.handle(process, Event::Snapshot(done)),
            None => Ok(()),
        }
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
