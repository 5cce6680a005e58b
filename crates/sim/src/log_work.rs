//! A member's log at work: batches take their virtual time and are carried out
//! at its end, so that a crash in between finds them half done.

use crate::member::{Begins, GROUP, Member, Running};
use crate::network::Process;
use crate::plan::Sabotage;
use crate::property::{Breach, hold};
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, ToNode, World};
use driftless_node::log::Room;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Index, Membership, NodeId, Position, Raft, Ticket};
use driftless_node::{Event, LogDone, LogJob, run_log_jobs};
use std::collections::{BTreeMap, VecDeque};

/// How often an idle log with little room looks whether there is more.
const LOOKS_FOR_ROOM_US: u64 = 200_000;

impl<M: StateMachine> Running<M> {
    /// The log does its batch. Leaves in it what must wait for room.
    pub(crate) fn log_works(&mut self, done: &mut Vec<LogDone>) {
        run_log_jobs(&mut self.log, GROUP, &mut self.log_batch, done);
    }
}

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    pub(crate) fn log_asked(&mut self, process: Process, job: LogJob) -> Result<(), Breach> {
        let id = process.member;
        let member = &self.members[&id];
        let mut early = None;
        let mut met = Vec::new();
        match &job {
            LogJob::Append { ticket, record } => {
                let raft = member.running.as_ref().map(|running| running.node.raft());
                let check = self.ghosts.record_asked(id, &member.durable, record);
                self.heed(check, ())?;
                let (old, new) = (member.durable.asked_hard_state(), record.hard_state);
                let votes = new.voted_for.is_some()
                    && (old.current_term, old.voted_for) != (new.current_term, new.voted_for);
                let check = raft.map_or(Ok(()), |raft| keeps_its_silence(member, raft, votes));
                self.heed(check, ())?;
                let member = self.members.get_mut(&id).expect("a member of this world");
                let last = member.durable.asked_last();
                if record.truncate_from.is_some_and(|from| from <= last.index) {
                    met.push(Situation::FollowerTruncated);
                }
                if record.snapshot.as_ref().is_some_and(|meta| meta.last > Position::ZERO) {
                    met.push(Situation::SnapshotInstalled);
                }
                member.durable.ask(*ticket, record);
                if self.plan.sabotage == Some(Sabotage::AcknowledgeEarly) {
                    let room = Room { claimed_bytes: u64::MAX, low_space: false };
                    early = Some(LogDone::Appended { ticket: *ticket, room });
                }
            }
            LogJob::Read { .. } => met.push(Situation::LogRead),
            LogJob::Compact { .. } => met.push(Situation::Compacted),
            LogJob::RememberPeer { .. } | LogJob::Claim { bytes: 0 } => {}
            LogJob::Claim { .. } => met.push(Situation::RoomClaimed),
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
    pub(crate) fn disk_us(&mut self, id: NodeId) -> u64 {
        let usual_us = match self.random.below(10) {
            0..8 => self.plan.disk_us_max / 10,
            _ => self.plan.disk_us_max,
        };
        let slowness = self.members[&id].disk_slowness;
        (20 + self.random.below(usual_us)) * slowness
    }

    /// Puts work off if the disk of `process` stands still.
    pub(crate) fn waits_for_disk(&mut self, process: Process, work: ToNode) -> bool {
        let until = self.members[&process.member].disk_stalled_until;
        let waits = until > self.now;
        if waits {
            self.at(until, Happening::Node(process, work));
        }
        waits
    }

    fn expect_log_work(&mut self, process: Process) {
        let running = self.running(process);
        if running.log_batch.is_empty() && !running.log_queue.is_empty() {
            running.log_batch = std::mem::take(&mut running.log_queue);
            let takes_us = self.disk_us(process.member);
            self.after(takes_us, Happening::Node(process, ToNode::LogWork));
        }
    }

    pub(crate) fn log_work(&mut self, process: Process) -> Result<(), Breach> {
        let id = process.member;
        if self.waits_for_disk(process, ToNode::LogWork) {
            return Ok(());
        }
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
        let ends = ends_of(&running.log_batch);
        running.log_works(&mut done);
        // What really is done, whatever the node is told.
        let last_ticket = done.iter().rev().find_map(|what| match what {
            LogDone::Appended { ticket, .. } => Some(*ticket),
            _ => None,
        });
        plant_in_completions(self.plan.sabotage, &ends, &running.log_queue, &mut done);
        if member.disk.memory.is_off() {
            self.power_went(id);
            return Ok(());
        }
        for what in &done {
            match what {
                LogDone::Appended { ticket, .. } => {
                    let really = last_ticket.map_or(*ticket, |last| last.min(*ticket));
                    member.durable.acknowledge(really);
                }
                LogDone::Compacted { .. } => {
                    if let Some(through) = compacted.next() {
                        member.durable.compacted(through);
                    }
                }
                _ => {}
            }
        }
        hold!(
            !running.log_batch.iter().any(|job| matches!(job, LogJob::Append { .. })),
            AppendsFit,
            "member {id} handed over what its full disk had no room for"
        );
        // What found no room waits, in front of what came meanwhile.
        let waits = !running.log_batch.is_empty();
        running.log_batch.append(&mut running.log_queue);
        running.log_queue = std::mem::take(&mut running.log_batch);
        for what in done {
            if let LogDone::PeerRemembered { peer, known } = what
                && let Some(peer) = self.members.get_mut(&peer)
            {
                peer.known_by.insert(id, known);
            }
            if let LogDone::Room(room) = &what
                && !room.low_space
                && self.is_running(process)
                && self.members[&id].disk_is_full
                && self.running(process).node.status().low_space
            {
                self.count(Situation::RoomMade);
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
    pub(crate) fn log_idle(&mut self, process: Process) -> Result<(), Breach> {
        if self.waits_for_disk(process, ToNode::LogIdle) {
            return Ok(());
        }
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
        let room = running.log.room();
        if room.low_space != running.node.status().low_space {
            self.after(LOOKS_FOR_ROOM_US, Happening::Node(process, ToNode::LogIdle));
            return self.handle(process, Event::Log(LogDone::Room(room)));
        }
        if room.low_space {
            self.after(LOOKS_FOR_ROOM_US, Happening::Node(process, ToNode::LogIdle));
        }
        Ok(())
    }

    /// A disk lost power in the middle of its work.
    pub(crate) fn power_went(&mut self, id: NodeId) {
        self.count(Situation::CrashInWrite);
        self.tell(|| format!("member {id} loses power in the middle of its disk's work"));
        self.end_process(id, true);
        let back_us = self.random.below(2_000_000);
        self.start_later(id, back_us);
    }
}

/// Each record of `jobs`, and where it ends.
fn ends_of(jobs: &VecDeque<LogJob>) -> BTreeMap<Ticket, Index> {
    let end = |job: &LogJob| match job {
        LogJob::Append { ticket, record } => Some((*ticket, record.entries.last()?.position.index)),
        _ => None,
    };
    jobs.iter().filter_map(end).collect()
}

/// Has later writes taken for done, where such a bug is planted.
fn plant_in_completions(
    sabotage: Option<Sabotage>,
    done_ends: &BTreeMap<Ticket, Index>,
    waiting: &VecDeque<LogJob>,
    done: &mut [LogDone],
) {
    for what in done.iter_mut().rev() {
        let LogDone::Appended { ticket, .. } = what else { continue };
        let end = done_ends.get(ticket).copied();
        let mut later = ends_of(waiting).into_iter();
        let taken = match sabotage {
            Some(Sabotage::CompleteAhead) => later.next(),
            Some(Sabotage::CompleteByIndex) => later.rfind(|(_, at)| Some(*at) <= end),
            _ => return,
        };
        if let Some((later, _)) = taken {
            *ticket = later;
        }
        return;
    }
}

/// A member whose disk took the place of a lost one votes only after its log has named
/// it as a voter with this very disk.
fn keeps_its_silence<M: StateMachine>(
    member: &Member<M>,
    raft: &Raft,
    votes: bool,
) -> Result<(), Breach> {
    let (id, incarnation, trail) = (member.id, member.incarnation, raft.trail());
    let named = |membership: &Membership| {
        membership.is_voter(id) && membership.readmitted.get(&id) == Some(&incarnation)
    };
    let may_vote = member.begins != Begins::Replacing
        || named(trail.membership_at(trail.base().index))
        || trail.memberships().iter().any(|entry| named(&entry.membership));
    hold!(
        may_vote || !votes,
        NoAmnesia,
        "member {id} votes, and no membership in its log names its disk {incarnation:x}: {:?}",
        trail.membership()
    );
    Ok(())
}
