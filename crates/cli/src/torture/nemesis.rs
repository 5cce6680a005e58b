//! Who strikes, whom, and how.

use super::CATCHUP_ENTRIES;
use crate::failure::Failure;
use crate::process::{Launcher, Process, describe_end};
use crate::scrape::{Metrics, scrape};
use crate::verify;
use driftless_server::pb;
use driftless_server::pb::client::MaintenanceClient;
use driftless_sim::random::Random;
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    Pause,
}

/// What members have counted of snapshots.
#[derive(Clone, Copy, Debug, Default)]
struct Snapshots {
    taken: u64,
    loaded: u64,
    received: u64,
    pieces: u64,
}

impl Snapshots {
    fn of(metrics: &Metrics) -> Self {
        Self {
            taken: metrics.get("driftless_snapshots_saved_total"),
            loaded: metrics.get("driftless_snapshots_loaded_total"),
            received: metrics.get("driftless_snapshots_received_total"),
            pieces: metrics.get("driftless_snapshot_chunks_received_total"),
        }
    }

    fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.loaded += other.loaded;
        self.received += other.received;
        self.pieces += other.pieces;
    }
}

/// The entries that a member's log begins and ends with.
const RAFT_FIRST: &str = "driftless_raft_first_index";
const RAFT_LAST: &str = "driftless_raft_last_index";

/// How long a member may take to say what it has counted.
const SCRAPE_PATIENCE: Duration = Duration::from_millis(500);

/// A cluster and what is done to it.
pub(crate) struct Nemesis {
    launcher: Launcher,
    random: Random,
    processes: Vec<Process>,
    kills: u32,
    pauses: u32,
    leaders: u32,
    majorities: u32,
    absences: u32,
    /// What each member has counted since it was started, when it was last asked.
    counted: Vec<Snapshots>,
    /// What members had counted when they were killed.
    counted_before: Snapshots,
    /// Who was away for so long that it needs a snapshot.
    absent: Option<usize>,
}

impl Nemesis {
    /// Starts all members.
    pub(crate) fn start(launcher: Launcher, random: Random) -> Result<Self, Failure> {
        let start = |member| launcher.start(member);
        let processes = launcher.members.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            launcher,
            random,
            counted: vec![Snapshots::default(); processes.len()],
            processes,
            kills: 0,
            pauses: 0,
            leaders: 0,
            majorities: 0,
            absences: 0,
            counted_before: Snapshots::default(),
            absent: None,
        })
    }

    /// Strikes some members, waits a while, and brings them back. Says what was
    /// done.
    pub(crate) async fn strike(&mut self) -> Result<String, Failure> {
        self.check_alive()?;
        self.note_snapshots().await;
        let leader = self.leader().await;
        let victims = self.choose(leader);
        let mut told = Vec::new();
        let mut blows = Vec::new();
        for &victim in &victims {
            let blow = if self.random.chance(3, 5) { Blow::Kill } else { Blow::Pause };
            match blow {
                Blow::Kill => self.kill(victim).await,
                Blow::Pause => {
                    self.processes[victim].signal(Signal::STOP);
                    self.pauses += 1;
                }
            }
            let name = &self.launcher.members[victim].name;
            let leads = if leader == Some(victim) { ", who led," } else { "" };
            let done = if blow == Blow::Kill { "killed" } else { "paused" };
            told.push(format!("{name}{leads} {done}"));
            blows.push((victim, blow));
        }
        self.leaders += u32::from(leader.is_some_and(|leader| victims.contains(&leader)));
        self.majorities += u32::from(victims.len() * 2 >= self.processes.len());

        let pause = self.pause();
        sleep(pause).await;
        for (victim, blow) in blows {
            match blow {
                Blow::Kill => {
                    let member = &self.launcher.members[victim];
                    self.processes[victim] = self.launcher.start(member)?;
                }
                Blow::Pause => self.processes[victim].signal(Signal::CONT),
            }
        }
        Ok(format!("{} for {} ms", told.join(" and "), pause.as_millis()))
    }

    async fn kill(&mut self, victim: usize) {
        self.processes[victim].kill().await;
        self.kills += 1;
        self.counted_before.add(std::mem::take(&mut self.counted[victim]));
    }

    /// Kills a member and brings it back when the logs of all others begin behind
    /// what it can hold. Says what was done.
    pub(crate) async fn absence(&mut self) -> Result<String, Failure> {
        self.check_alive()?;
        self.note_snapshots().await;
        let victim = self.random.below(self.processes.len() as u64) as usize;
        let began = Instant::now();
        self.kill(victim).await;
        let others: Vec<usize> = (0..self.processes.len()).filter(|at| *at != victim).collect();
        let deadline = began + super::PATIENCE;
        let mut last = 0;
        for &at in &others {
            last = last.max(self.await_metric(victim, (at, RAFT_LAST), 1, deadline).await?);
        }
        // What was on its way when the victim died may come on top of that.
        let first = last + CATCHUP_ENTRIES;
        for &at in &others {
            self.await_metric(victim, (at, RAFT_FIRST), first, deadline).await?;
        }
        let member = &self.launcher.members[victim];
        self.processes[victim] = self.launcher.start(member)?;
        self.absences += 1;
        self.absent = Some(victim);
        Ok(format!("{} killed for {} ms", member.name, began.elapsed().as_millis()))
    }

    /// Waits, while the member `killed` is dead, until another tells of a number that
    /// is no less than `least`.
    async fn await_metric(
        &mut self,
        killed: usize,
        (at, name): (usize, &str),
        least: u64,
        deadline: Instant,
    ) -> Result<u64, Failure> {
        loop {
            let value = self.metrics(at).await.map(|metrics| metrics.get(name));
            if let Some(value) = value.filter(|value| *value >= least) {
                return Ok(value);
            }
            self.check_others(killed)?;
            let member = &self.launcher.members[at].name;
            let told = format!("{member} told of no {name} of {least} or more, but {value:?},");
            super::checks::expired(deadline, &told)?;
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the member that was away has been sent a snapshot.
    pub(crate) async fn await_snapshot(&mut self) -> Result<(), Failure> {
        let Some(absent) = self.absent.take() else { return Ok(()) };
        let deadline = Instant::now() + super::PATIENCE;
        while self.metrics(absent).await.is_none_or(|m| Snapshots::of(&m).received == 0) {
            self.check_alive()?;
            let name = &self.launcher.members[absent].name;
            super::checks::expired(deadline, &format!("{name} was sent no snapshot"))?;
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn metrics(&self, at: usize) -> Option<Metrics> {
        scrape(&self.launcher.members[at].endpoint(), SCRAPE_PATIENCE).await
    }

    /// Asks all members what they have counted; what they count between this and
    /// their death is left out.
    pub(crate) async fn note_snapshots(&mut self) {
        for at in 0..self.processes.len() {
            if let Some(metrics) = self.metrics(at).await {
                self.counted[at] = Snapshots::of(&metrics);
            }
        }
    }

    fn snapshots(&self) -> Snapshots {
        let mut all = self.counted_before;
        self.counted.iter().for_each(|counted| all.add(*counted));
        all
    }

    /// Mostly the leader, alone or with others; at times all.
    fn choose(&mut self, leader: Option<usize>) -> Vec<usize> {
        let count = self.processes.len();
        let anybody = self.random.below(count as u64) as usize;
        let first = match leader {
            Some(leader) if self.random.chance(4, 5) => leader,
            _ => anybody,
        };
        match self.random.below(20) {
            0 => (0..count).collect(),
            1..5 if count > 1 => {
                let step = 1 + self.random.below(count as u64 - 1) as usize;
                vec![first, (first + step) % count]
            }
            _ => vec![first],
        }
    }

    /// From too short to be noticed to several elections long.
    fn pause(&mut self) -> Duration {
        let election_ms = self.launcher.election_timeout.as_millis() as u64;
        let longest_ms = if self.random.chance(1, 5) { 4 * election_ms } else { election_ms };
        Duration::from_millis(self.random.between(10, longest_ms.max(10)))
    }

    /// A moment of peace, often none.
    pub(crate) async fn rest(&mut self) {
        if self.random.chance(1, 2) {
            sleep(Duration::from_millis(self.random.below(300))).await;
        }
    }

    /// Who leads by what the members say; `None` if they do not know.
    async fn leader(&self) -> Option<usize> {
        let mut latest: Option<pb::StatusResponse> = None;
        let mut ids = Vec::new();
        for (at, member) in self.launcher.members.iter().enumerate() {
            let Some(status) = status(&member.endpoint()).await else { continue };
            ids.push((status.header.map_or(0, |header| header.member_id), at));
            let is_later = |latest: &pb::StatusResponse| status.raft_term > latest.raft_term;
            if status.leader != 0 && latest.as_ref().is_none_or(is_later) {
                latest = Some(status);
            }
        }
        let leader = latest?.leader;
        ids.iter().find(|(id, _)| *id == leader).map(|(_, at)| *at)
    }

    /// Nobody has died but by our hand.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        self.check_others(usize::MAX)
    }

    /// As [`Self::check_alive`], while the member `killed` is dead.
    fn check_others(&mut self, killed: usize) -> Result<(), Failure> {
        let members = self.processes.iter_mut().zip(&self.launcher.members);
        for (_, (process, member)) in members.enumerate().filter(|(at, _)| *at != killed) {
            if let Some(end) = process.has_ended()? {
                return Err(Failure::new(format!(
                    "{} ended by itself: {}\n{}",
                    member.name,
                    describe_end(end),
                    process.last_lines(10).join("\n")
                )));
            }
        }
        Ok(())
    }

    /// Stops all members, which must end in good order, and reads their logs.
    pub(crate) async fn stop_and_verify(&mut self) -> Result<(), Failure> {
        for (process, member) in self.processes.iter_mut().zip(&self.launcher.members) {
            let name = &member.name;
            let Some(end) = process.stop().await else {
                return Err(Failure::new(format!("{name} did not stop when it was asked to")));
            };
            if !end.success() {
                let end = describe_end(end);
                return Err(Failure::new(format!("{name} did not stop in good order: {end}")));
            }
            let directory = self.launcher.data_dir(member);
            let report = verify::report(&directory)?;
            if !report.is_whole() {
                return Err(Failure::new(format!("the log of {name} does not verify:\n{report}")));
            }
        }
        Ok(())
    }

    /// A run without some kind of blow shows nothing about it.
    pub(crate) fn check_variety(&self, rounds: u32, snapshots: bool) -> Result<(), Failure> {
        let Self { kills, pauses, leaders, majorities, .. } = self;
        // With so many rounds the chance that a kind never comes up is negligible.
        if rounds >= 50
            && [kills, pauses, leaders, majorities].iter().any(|count| **count < rounds / 25)
        {
            return Err(Failure::new(format!("too little happened: {}", self.summary())));
        }
        let Snapshots { taken, received, .. } = self.snapshots();
        let sent_none = received == 0 && self.processes.len() > 2;
        if rounds >= 50 && snapshots && (taken == 0 || sent_none) {
            let summary = self.summary();
            return Err(Failure::new(format!("snapshots were not tried: {summary}")));
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> String {
        let Self { kills, pauses, leaders, majorities, absences, .. } = self;
        let Snapshots { taken, loaded, received, pieces } = self.snapshots();
        format!(
            "{kills} times a member was killed and {pauses} times paused; {leaders} times the \
             leader was among them, {majorities} times at least half of the members; {absences} \
             times one was away until it needed a snapshot\n\
             {taken} snapshots taken, {loaded} loaded, {received} of them received from a leader \
             in {pieces} pieces (at least: what a member counts just before it is killed is lost)"
        )
    }
}

/// What a member says of itself, if it answers soon.
async fn status(endpoint: &str) -> Option<pb::StatusResponse> {
    const PATIENCE: Duration = Duration::from_millis(300);
    let deadline = Instant::now() + PATIENCE;
    let channel = crate::client::connect(&endpoint.parse().ok()?, PATIENCE).await.ok()?;
    let mut client = MaintenanceClient::new(channel);
    let answer = timeout(deadline - Instant::now(), client.status(pb::StatusRequest {})).await;
    answer.ok()?.ok().map(tonic::Response::into_inner)
}
