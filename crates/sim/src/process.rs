//! What a process does: its node's steps, and the work that they ask for.

use crate::disaster::VOTERS_AGAIN;
use crate::member::SnapshotWork;
use crate::network::Process;
use crate::plan::Sabotage;
use crate::property::Breach;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, ToNode, World};
use driftless_node::codec::frame::HelloRefusal;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Membership, NodeId, Position, Role};
use driftless_node::{Action, Event, Report, SnapshotJob, StopReason};

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// Something for a process, or of it. What is for an earlier one is lost,
    /// what is for one that stands still waits.
    pub(crate) fn deliver(&mut self, process: Process, what: ToNode) -> Result<(), Breach> {
        if !self.is_running(process) {
            return Ok(());
        }
        let now = self.now;
        self.digest.word(process.member.0);
        let running = self.running(process);
        if running.paused {
            // A timer of a suspended machine stands still, too.
            if running.suspended.is_none() || !matches!(what, ToNode::Wake) {
                running.held.push_back(what);
            }
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

    pub(crate) fn handle(&mut self, process: Process, event: Event) -> Result<(), Breach> {
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

    fn flush(&mut self, process: Process) -> Result<(), Breach> {
        let now = self.now;
        let member = self.members.get_mut(&process.member).expect("a member of this world");
        let moment = member.moment(now);
        let Some(running) = &mut member.running else { return Ok(()) };
        let mut actions = Vec::new();
        running.node.flush(moment, &mut actions);
        self.stepped(process, actions)
    }

    /// The node took a step: is all well, and what does it want?
    fn stepped(&mut self, process: Process, actions: Vec<Action>) -> Result<(), Breach> {
        let id = process.member;
        let raft = self.members[&id].running.as_ref().expect("it took a step").node.raft();
        let (members, membership) = (&self.members, raft.membership());
        let copies = |id| members.get(&id).map_or_else(Vec::new, |peer| peer.copies(membership));
        let founded = members[&id].founded(&self.founding);
        let check = self.ghosts.stepped(id, raft, &founded, copies);
        let elected = self.heed(check, false)?;
        if std::mem::take(&mut self.ghosts.memberships_cut) > 0 {
            self.count(Situation::MembershipCut);
        }
        if let Some(membership) = self.ghosts.newly_committed() {
            self.membership_committed(membership);
        }
        self.check_leases(id, elected)?;
        let raft = self.members[&id].running.as_ref().expect("it took a step").node.raft();
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
            self.stops(process, &reason)?;
        } else {
            self.expect_wake(process);
        }
        Ok(())
    }

    /// Whoever holds a lease leads in the latest term. Only an election, or a step
    /// of the holder, can make it otherwise.
    fn check_leases(&mut self, stepped: NodeId, elected: bool) -> Result<(), Breach> {
        if self.plan.lease_drift_ppm.is_none() {
            return Ok(());
        }
        let holders: Vec<_> = self
            .members
            .values()
            .filter(|member| elected || member.id == stepped)
            .filter_map(|member| Some((member.id, member.clock, member.running.as_ref()?)))
            .filter(|(_, clock, running)| running.node.raft().has_lease(clock.at(self.now)))
            .map(|(id, _, running)| (id, running.node.raft().term()))
            .collect();
        for (id, term) in holders {
            let check = self.ghosts.holds_lease(id, term);
            self.heed(check, ())?;
        }
        Ok(())
    }

    /// A membership is committed that was not before.
    fn membership_committed(&mut self, membership: Membership) {
        let before = std::mem::replace(&mut self.committed, membership);
        let after = self.committed.clone();
        self.is_recovering = false;
        self.tell(|| format!("committed: {after:?}"));
        if after.is_joint() {
            self.count(Situation::Joint);
        }
        if self.was_recovered && before.voters.len() < VOTERS_AGAIN {
            let is_the_first = self.report.of(Situation::GrownBack) == 0;
            let is_grown = after.voters.len() >= VOTERS_AGAIN && is_the_first;
            is_grown.then(|| self.count(Situation::GrownBack));
        }
        for (id, incarnation) in &after.readmitted {
            if before.readmitted.get(id) != Some(incarnation) {
                self.count(Situation::Readmitted);
            }
            if after.voters.contains(id) && !before.voters.contains(id) {
                self.count(Situation::VotesAgain);
            }
        }
    }

    fn elected(&mut self, id: NodeId, term: u64, last: Position) {
        self.count(Situation::Election);
        if !self.open.is_empty() {
            self.count(Situation::ElectionUnderLoad);
        }
        if self.members[&id].disk_is_full {
            self.count(Situation::ElectedOnFullDisk);
        }
        if term > 1 && !self.ghosts.had_leader(driftless_node::raft::Term(term - 1)) {
            self.count(Situation::SplitTerm);
        }
        self.tell(|| format!("member {id} LEADS in term {term}, its log ends at {last}"));
    }

    fn carry_out(&mut self, process: Process, action: Action) -> Result<(), Breach> {
        let id = process.member;
        match action {
            Action::Log(job) => self.log_asked(process, job),
            Action::Apply(job) => {
                let member = &self.members[&id];
                let running = member.running.as_ref().expect("it asks, so it runs");
                let (raft, durable) = (running.node.raft(), member.durable.trail());
                let check = self.ghosts.apply_asked(id, raft, durable, job.through);
                self.heed(check, ())?;
                let running = self.running(process);
                assert!(running.apply.is_none(), "one apply is outstanding at most");
                running.apply = Some(job);
                let takes_us = self.random.below(200);
                self.after(takes_us, Happening::Node(process, ToNode::Apply));
                Ok(())
            }
            Action::Snapshot(job) => {
                let job = self.plant_in_snapshot(process, job);
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
            Action::Answer { token, answer } => {
                let swallowed = self.plan.sabotage == Some(Sabotage::SwallowAnswer)
                    && self.random.chance(1, 40);
                if swallowed { Ok(()) } else { self.answered(process, token, answer) }
            }
            Action::Dial { peer, address } => {
                self.dials(process, peer, &address);
                Ok(())
            }
            Action::HangUp { peer } => {
                self.hangs_up(process, peer);
                Ok(())
            }
            Action::MembersChanged | Action::ReachedChanged => Ok(()),
            Action::StatusChanged => {
                self.tell_status(process);
                Ok(())
            }
            Action::Report(report) => {
                match report {
                    Report::SnapshotSaved { .. } => self.count(Situation::SnapshotSaved),
                    Report::SnapshotSent { to, for_leader } => self.snapshot_sent(to, for_leader),
                    Report::PeerReached { .. } | Report::PeerLost { .. } => {}
                    Report::CallerRefused { refusal, .. } => self.count(match refusal {
                        HelloRefusal::Removed => Situation::RemovedRefused,
                        HelloRefusal::OlderDisk => Situation::OldDiskRefused,
                        _ => Situation::CallerRefused,
                    }),
                    _ => {
                        if let Report::SnapshotNotSent { to, for_leader: Some(_), .. } = report {
                            self.without_delegate.insert(to);
                        }
                        self.tell(|| format!("member {id} reports: {report}"));
                    }
                }
                Ok(())
            }
            Action::Stop(_) => unreachable!("taken out before"),
        }
    }

    /// A snapshot arrived that a follower sent in the leader's place, or that the leader
    /// sent itself, perhaps after a follower had failed to.
    fn snapshot_sent(&mut self, to: NodeId, for_leader: Option<NodeId>) {
        let had_none = self.without_delegate.remove(&to);
        if for_leader.is_some() {
            self.count(Situation::SnapshotDelegated);
        } else if had_none {
            self.count(Situation::DelegateFailed);
        }
    }

    fn tell_status(&mut self, process: Process) {
        if self.is_narrated() {
            let status = self.running(process).node.status();
            let leader = match (status.role, status.leader) {
                (Role::Leader, _) => return,
                (_, Some(leader)) => format!("follows member {leader}"),
                (Role::PreCandidate, None) => "hears no leader and asks around".to_owned(),
                (Role::Candidate, None) => "is a candidate".to_owned(),
                (_, None) => "knows no leader".to_owned(),
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

    fn stops(&mut self, process: Process, reason: &StopReason) -> Result<(), Breach> {
        let id = process.member;
        self.tell(|| format!("member {id} STOPS: {reason}"));
        let damaged =
            matches!(reason, StopReason::EntryDamaged(_) | StopReason::SnapshotUnusable(_));
        if damaged && self.members[&id].is_suspect {
            self.gets_another_disk(id, &reason.to_string());
        } else if let StopReason::Removed = reason {
            self.leaves(id)?;
        } else if let StopReason::UnknownIncarnation { .. } | StopReason::OlderDisk { .. } = reason
        {
            self.count(Situation::Refused);
            self.end_process(id, false);
            self.replace_disk(id);
        } else {
            // It is started again, with or without its machine: what a failed sync
            // left in the page cache is read again, or gone with the power.
            self.count(Situation::StoppedByLog);
            let power_goes = self.random.chance(1, 2);
            self.end_process(id, power_goes);
            self.start_later(id, 500_000);
        }
        Ok(())
    }

    pub(crate) fn resume(&mut self, process: Process) -> Result<(), Breach> {
        if !self.is_running(process) || !self.running(process).paused {
            return Ok(());
        }
        self.tell(|| format!("member {} goes on", process.member));
        let now = self.now;
        let running = self.running(process);
        running.paused = false;
        running.listens_since = now;
        let held = std::mem::take(&mut running.held);
        if let Some(suspended) = running.suspended.take() {
            self.wakes_up(process, suspended);
        }
        for what in held {
            self.deliver(process, what)?;
        }
        Ok(())
    }
}
