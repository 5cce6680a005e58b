//! Faults strike, and are lifted.

use crate::member::Suspended;
use crate::network::Process;
use crate::plan::{Fault, Sabotage, Who};
use crate::property::Breach;
use crate::random::Random;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, Lift, Phase, ToNode, World};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{NodeId, Role};

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// A planned fault strikes.
    pub(crate) fn strike(&mut self, fault: Fault) -> Result<(), Breach> {
        if self.phase != Phase::Stormy {
            return Ok(());
        }
        self.tell(|| format!("FAULT: {fault}"));
        match fault {
            Fault::Crash { who, for_us } => self.crash(self.find(who), false, for_us),
            Fault::PowerCut { who, for_us } => self.crash(self.find(who), true, for_us),
            Fault::PowerCutInWrite { who, operations, .. } => {
                let id = self.find(who);
                self.members[&id].disk.memory.power_cut_after(operations);
            }
            Fault::PowerCutOfAll { for_us } => {
                self.count(Situation::PowerCutOfAll);
                for id in self.everybody() {
                    let spread_us = self.random.below(for_us / 2 + 1);
                    self.crash(id, true, for_us / 2 + spread_us);
                }
            }
            Fault::Pause { who, for_us } => self.pause(self.find(who), for_us),
            Fault::Suspend { who, for_us } => self.suspend(self.find(who), for_us),
            Fault::BreakLinks { one, other } => {
                let (one, other) = (NodeId(one), NodeId(other));
                for id in self.network.find(|connection| connection.is_between(one, other)) {
                    self.count(Situation::LinkBroken);
                    self.break_link(id);
                }
            }
            Fault::Isolate { who, for_us } => {
                let id = self.find(who);
                if self.leader() == Some(id) {
                    self.count(Situation::LeaderIsolated);
                }
                self.part(for_us, |one, other| one == id || other == id);
            }
            Fault::Partition { side, for_us } => {
                let in_side = |id: NodeId| side >> (id.0 - 1) & 1 == 1;
                let parted = self.part(for_us, |one, other| in_side(one) != in_side(other));
                if parted {
                    self.count(Situation::Partition);
                }
            }
            Fault::OneWay { from, to, for_us } => {
                if self.part(for_us, |one, other| (one.0, other.0) == (from, to)) {
                    self.count(Situation::OneWayCut);
                }
            }
            Fault::PairCut { one, other, for_us } => {
                let pair = [one, other].map(NodeId);
                if self.part(for_us, |from, to| pair == [from, to] || pair == [to, from]) {
                    self.count(Situation::PairCut);
                }
            }
            Fault::SlowNetwork { factor, for_us } => {
                self.count(Situation::SlowNetwork);
                self.network.slowness = factor;
                self.after(for_us, Happening::Lift(Lift::NetworkSpeed));
            }
            Fault::ClockLeap { who, by_us } => {
                self.count(Situation::ClockLeap);
                let (id, now) = (self.find(who), self.now);
                self.member(id).clock.leap(now, by_us);
                self.clock_changed(id);
            }
            Fault::ClockRate { who, rate_ppm } => {
                self.count(Situation::ClockRate);
                self.set_clock_rate(self.find(who), rate_ppm);
            }
            Fault::StallDisk { who, for_us } => {
                self.count(Situation::StalledDisk);
                let (id, until) = (self.find(who), self.now + for_us);
                let member = self.member(id);
                member.disk_stalled_until = member.disk_stalled_until.max(until);
            }
            Fault::SlowDisk { who, factor, for_us } => {
                self.count(Situation::SlowDisk);
                let id = self.find(who);
                self.member(id).disk_slowness = factor;
                self.after(for_us, Happening::Lift(Lift::DiskSpeed(id)));
            }
            Fault::FullDisk { who, for_us, spare_bytes } => {
                self.count(Situation::FullDisk);
                self.fill_disk(self.find(who), for_us, spare_bytes);
            }
            Fault::FullDiskOfAll { for_us, spare_bytes } => {
                self.count(Situation::FullDiskOfAll);
                for id in self.everybody() {
                    self.fill_disk(id, for_us, spare_bytes);
                }
            }
            Fault::FailSync { who } => {
                self.count(Situation::FailedSync);
                self.members[&self.find(who)].disk.memory.fail_syncs(1);
            }
            Fault::Rot { who, pick } => self.rot(self.find(who), pick),
            Fault::LoseWrite { who } => {
                let id = self.find(who);
                if !self.may_lose_disk(id) {
                    self.tell(|| format!("member {id} cannot be done without"));
                    return Ok(());
                }
                self.count(Situation::LostWrite);
                let member = self.member(id);
                member.is_suspect = true;
                member.disk.memory.lose_writes(1);
            }
            Fault::WipeDisk { who, told } => self.lose_disk(self.find(who), told),
            Fault::OldDisk { who } => self.keep_copy(self.find(who)),
            Fault::Change { wish, pick, cut_us } => self.operator_wishes(wish, pick, cut_us),
            Fault::LoseQuorum { pick } => return self.lose_quorum(pick),
            Fault::Transfer { pick, cut } => self.operator_transfers(pick, cut),
        }
        Ok(())
    }

    fn fill_disk(&mut self, id: NodeId, for_us: u64, spare_bytes: u64) {
        let member = self.member(id);
        member.disk_is_full = true;
        let disk = &member.disk.memory;
        disk.limit_bytes(Some(disk.used_bytes() + spare_bytes));
        self.after(for_us, Happening::Lift(Lift::Room(id)));
    }

    pub(crate) fn member(&mut self, id: NodeId) -> &mut crate::member::Member<M> {
        self.members.get_mut(&id).expect("a member of this world")
    }

    fn everybody(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// Who leads, in the highest term that anybody leads in.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let running = self.members.values().filter_map(|member| member.running.as_ref());
        let leaders = running.filter(|running| running.node.raft().role() == Role::Leader);
        leaders
            .max_by_key(|running| running.node.raft().term())
            .map(|running| running.process.member)
    }

    pub(crate) fn find(&self, who: Who) -> NodeId {
        let (number, leads) = match who {
            Who::Member(number) => (number, None),
            Who::Leader(number) => (number, self.leader()),
        };
        // By their numbers, as long as nobody came or went.
        let here: Vec<NodeId> =
            self.members.values().filter(|member| !member.is_out).map(|member| member.id).collect();
        let at = number.saturating_sub(1) as usize % here.len().max(1);
        leads.unwrap_or_else(|| here.get(at).copied().unwrap_or(NodeId(1)))
    }

    pub(crate) fn crash(&mut self, id: NodeId, power_goes: bool, for_us: u64) {
        if self.members[&id].running.is_none() {
            return;
        }
        self.count(if power_goes { Situation::PowerCut } else { Situation::Crash });
        self.end_process(id, power_goes);
        if self.members.values().all(|member| member.running.is_none()) {
            self.count(Situation::WholeClusterDown);
        }
        self.start_later(id, for_us);
    }

    pub(crate) fn start_later(&mut self, id: NodeId, in_us: u64) {
        let in_us = if self.phase == Phase::Stormy { in_us } else { in_us.min(100_000) };
        self.after(in_us, Happening::Lift(Lift::Start(id)));
    }

    fn pause(&mut self, id: NodeId, for_us: u64) {
        let Some(running) = &mut self.member(id).running else { return };
        running.paused = true;
        let process = running.process;
        self.count(Situation::Pause);
        if for_us > 5 * self.plan.election_timeout_us {
            self.count(Situation::LongPause);
        }
        self.after(for_us, Happening::Lift(Lift::Resume(process)));
    }

    /// The machine of `id` is suspended: what others send it waits with them, and
    /// some of them give up.
    fn suspend(&mut self, id: NodeId, for_us: u64) {
        let now = self.now;
        let member = self.member(id);
        let clock = member.clock.at(now);
        let Some(running) = member.running.as_mut().filter(|running| !running.paused) else {
            return;
        };
        running.paused = true;
        let timer_us = running.wake_at.map(|at| at.saturating_sub(now));
        running.suspended = Some(Suspended { clock, timer_us });
        let (process, has_lease) = (running.process, running.node.raft().has_lease(clock));
        self.count(Situation::Suspended);
        if has_lease {
            self.count(Situation::SuspendedWithLease);
        }
        self.part(for_us, |one, other| one == id || other == id);
        self.after(for_us, Happening::Lift(Lift::Resume(process)));
    }

    /// A machine wakes up. Its timers have as long to go as when it was suspended.
    pub(crate) fn wakes_up(&mut self, process: Process, suspended: Suspended) {
        let (now, id) = (self.now, process.member);
        let Suspended { clock, timer_us } = suspended;
        if self.plan.sabotage == Some(Sabotage::StopClocks) {
            self.member(id).clock.stood_still(now, clock);
        }
        let running = self.running(process);
        running.wake_at = timer_us.map(|ahead_us| now + ahead_us);
        if let Some(at) = running.wake_at {
            self.at(at, Happening::Node(process, ToNode::Wake));
        }
        let raft = self.members[&id].running.as_ref().expect("it wakes up").node.raft();
        if raft.role() == Role::Leader && self.ghosts.had_leader_after(raft.term()) {
            self.count(Situation::WokeUpDeposed);
        }
    }

    /// Cuts every direction that `cut` names, for a while. Says whether there
    /// was any.
    pub(crate) fn part(&mut self, for_us: u64, cut: impl Fn(NodeId, NodeId) -> bool) -> bool {
        let all = self.everybody();
        let ways = all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to)));
        let ways: Vec<_> = ways.filter(|(from, to)| from != to && cut(*from, *to)).collect();
        self.cut(&ways);
        let any = !ways.is_empty();
        self.after(for_us, Happening::Lift(Lift::Mend(ways)));
        any
    }

    fn set_clock_rate(&mut self, id: NodeId, rate_ppm: u64) {
        let now = self.now;
        self.member(id).clock.set_rate(now, rate_ppm);
        self.clock_changed(id);
    }

    fn clock_changed(&mut self, id: NodeId) {
        if let Some(process) = self.members[&id].process() {
            self.expect_wake_anew(process);
        }
    }

    /// A byte that means something becomes another one; mostly the member
    /// starts anew soon, and looks.
    fn rot(&mut self, id: NodeId, pick: u64) {
        if !self.may_lose_disk(id) {
            return self.tell(|| format!("member {id} cannot be done without"));
        }
        let member = self.member(id);
        let mut random = Random::new(pick);
        let disk = member.disk.memory.clone();
        let names = disk.names();
        for _ in 0..100 {
            let Some(name) = random.pick(&names) else { return };
            let contents = disk.contents(name).unwrap_or_default();
            let (offset, mask) = (random.below(contents.len() as u64), 1 << random.below(8));
            if contents.get(offset as usize).is_none_or(|byte| *byte == 0) {
                continue;
            }
            disk.flip_byte(name, offset, mask);
            member.is_suspect = true;
            self.count(Situation::Rot);
            self.tell(|| format!("byte {offset} of {name} of member {id} is not what it was"));
            if random.chance(3, 4) {
                self.crash(id, random.chance(1, 2), random.below(100_000));
            }
            return;
        }
    }

    pub(crate) fn lift(&mut self, lift: Lift) -> Result<(), Breach> {
        match lift {
            Lift::Start(id) => return self.start(id),
            Lift::Resume(process) => return self.resume(process),
            Lift::PutBack(id) => self.put_back(id),
            // When all heals these are lifted at once.
            _ if self.phase != Phase::Stormy => {}
            Lift::CutOff(id, for_us) => {
                self.part(for_us, |one, other| one == id || other == id);
            }
            Lift::Mend(ways) => {
                self.mend(&ways);
                let ways: Vec<String> =
                    ways.iter().map(|(from, to)| format!("{from} → {to}")).collect();
                self.tell(|| format!("the way is open again: {}", ways.join(", ")));
            }
            Lift::DiskSpeed(id) => self.member(id).disk_slowness = 1,
            Lift::Room(id) => {
                let member = self.member(id);
                member.disk_is_full = false;
                member.disk.memory.limit_bytes(None);
                self.tell(|| format!("member {id} has room on its disk again"));
            }
            Lift::NetworkSpeed => self.network.slowness = 1,
        }
        Ok(())
    }

    /// Faults are over: everything works again, and whoever is down comes back.
    pub(crate) fn heal(&mut self) -> Result<(), Breach> {
        self.tell(|| "all faults are over".into());
        self.phase = Phase::Calm;
        self.network.slowness = 1;
        self.mend_all();
        for id in self.everybody() {
            let member = self.member(id);
            member.disk_slowness = 1;
            member.disk_stalled_until = 0;
            member.disk_is_full = false;
            let disk = &member.disk.memory;
            disk.limit_bytes(None);
            disk.fail_syncs(0);
            disk.lose_writes(0);
            disk.power_cut_after(u64::MAX);
            self.set_clock_rate(id, 1_000_000);
            let paused: Option<Process> = self.members[&id].process();
            if let Some(process) = paused {
                self.resume(process)?;
            }
            if self.members[&id].is_suspect {
                // Whether it has noticed or not, its operator has by now.
                self.end_process(id, false);
                self.replace_disk(id);
            }
            let back_us = self.random.below(100_000);
            self.start_later(id, back_us);
        }
        self.after(2_000_000, Happening::LastCall);
        Ok(())
    }
}
