//! A cluster that changes its members while it serves: grown from one to three and
//! five, shrunk to three, and every member replaced, with leadership handed over
//! and taken away, and somebody killed, on the way.

use super::checks::expired;
use super::{Load, PATIENCE};
use crate::client::{connect, describe};
use crate::failure::Failure;
use crate::output::print;
use crate::process::{Begins, Launcher, Member, Process, describe_end};
use crate::verify;
use driftless_server::pb;
use driftless_server::pb::client::{ClusterClient, MaintenanceClient};
use driftless_sim::random::Random;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Response, Status};

/// How many members there are over time: five, and three that replace the last.
pub(crate) const MEMBERS: u16 = 8;

/// A call is given up after this, and made again.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Reshapes a cluster under load, and checks what it promised.
pub(crate) async fn reshape(clients: u32, seed: u64, launcher: Launcher) -> Result<(), Failure> {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::begin(launcher, random.split())?;
    let mut load = Load::start(vec![cluster.present[0].member.endpoint()], clients, &mut random);
    load.await_service(|| cluster.check_alive()).await?;

    for _ in 1..5 {
        cluster.grow(&load).await?;
    }
    cluster.move_leader(&load).await?;
    let leader = cluster.leader().await?;
    cluster.shrink(&load, leader).await?;
    let other = (cluster.leader().await? + 1) % cluster.present.len();
    cluster.shrink(&load, other).await?;
    // The eldest goes each time, so that nobody is left of the first.
    for _ in 0..3 {
        cluster.grow(&load).await?;
        cluster.move_leader(&load).await?;
        cluster.shrink(&load, 0).await?;
    }
    cluster.check_removed_stays_away().await?;

    let hash = load.settle().await?;
    cluster.check_alive()?;
    cluster.stop_and_verify().await?;
    load.scene.record.borrow().check_variety()?;
    print(&format!(
        "{} members added, {} killed meanwhile, {} removed, leadership handed over {} times\n{}\
         torture passed: members changed, seed {seed}, {:.0} s\n",
        cluster.added,
        cluster.killed,
        cluster.removed.len(),
        cluster.moved,
        load.summary(hash),
        load.scene.began.elapsed().as_secs_f64(),
    ))
}

/// A member that belongs to the cluster.
struct Present {
    member: Member,
    process: Process,
}

struct Cluster {
    /// Knows the present members alone.
    launcher: Launcher,
    /// Those that are yet to come; the last is next.
    to_come: Vec<Member>,
    /// The eldest first.
    present: Vec<Present>,
    removed: Vec<Member>,
    random: Random,
    added: u32,
    killed: u32,
    moved: u32,
}

impl Cluster {
    /// A cluster of one.
    fn begin(mut launcher: Launcher, random: Random) -> Result<Self, Failure> {
        let mut to_come = std::mem::take(&mut launcher.members);
        to_come.reverse();
        let first = to_come.pop().expect("there are some");
        launcher.members.push(first.clone());
        let process = launcher.start(&first)?;
        let present = vec![Present { member: first, process }];
        let removed = Vec::new();
        let (added, killed, moved) = (0, 0, 0);
        Ok(Self { launcher, to_come, present, removed, random, added, killed, moved })
    }

    /// Adds a member, and waits until it votes.
    async fn grow(&mut self, load: &Load) -> Result<(), Failure> {
        let member = self.to_come.pop().expect("there are as many as it takes");
        let began = Instant::now();
        let url = member.peer_url();
        let peer_urls = vec![url.clone()];
        let request = pb::MemberAddRequest { peer_urls, ..pb::MemberAddRequest::default() };
        let added = async |mut client: ClusterClient| {
            match client.member_add(request.clone()).await {
                // It was done the last time, and we were not told.
                Err(status) if status.message().ends_with("Peer URLs already exists") => Ok(()),
                answer => answer.map(drop),
            }
        };
        self.ask("a member cannot be added", added).await?;
        self.launcher.members.push(member.clone());
        let process = self.launcher.start_as(Begins::Joining, &member)?;
        load.scene.endpoints.borrow_mut().push(member.endpoint());
        self.present.push(Present { member, process });

        let killed = self.kill_somebody().await?;

        let deadline = Instant::now() + PATIENCE;
        let is_voter = |present: &pb::Member| {
            present.role == pb::MemberRole::Voter as i32 && present.peer_urls.contains(&url)
        };
        while !self.members().await?.iter().any(is_voter) {
            self.check_alive()?;
            expired(deadline, "a member that was added does not vote")?;
            sleep(LOOK_EVERY).await;
        }
        self.added += 1;
        self.tell(load, &format!("{} added{killed}", self.newest()), began).await
    }

    /// In the middle of a change somebody dies and comes back, where the others can
    /// do without: perhaps who leads, or who is only just coming. Says who.
    async fn kill_somebody(&mut self) -> Result<String, Failure> {
        if self.present.len() <= 3 {
            return Ok(String::new());
        }
        sleep(Duration::from_millis(self.random.below(200))).await;
        let at = self.random.below(self.present.len() as u64) as usize;
        let Present { member, process } = &mut self.present[at];
        process.kill().await;
        sleep(Duration::from_millis(self.random.below(1_000))).await;
        *process = self.launcher.start_as(Begins::Joining, member)?;
        self.killed += 1;
        Ok(format!(", while {} was killed and came back", member.name))
    }

    fn newest(&self) -> &str {
        self.present.last().map_or("nobody", |present| &present.member.name)
    }

    /// Removes a member, and waits until its process has ended by itself.
    async fn shrink(&mut self, load: &Load, at: usize) -> Result<(), Failure> {
        let began = Instant::now();
        let leads = if self.leader().await? == at { ", who led," } else { "" };
        let url = self.present[at].member.peer_url();
        let members = self.members().await?;
        let id = members.iter().find(|present| present.peer_urls.contains(&url));
        let id = id.map(|member| member.id).ok_or_else(|| Failure::new("a member is missing"))?;
        let gone = async |mut client: ClusterClient| {
            match client.member_remove(pb::MemberRemoveRequest { id }).await {
                // As above.
                Err(status) if status.code() == Code::NotFound => Ok(()),
                answer => answer.map(drop),
            }
        };
        self.ask("a member cannot be removed", gone).await?;
        let Present { member, mut process } = self.present.remove(at);
        let end = timeout(PATIENCE, process.wait()).await;
        let end = end.map_err(|_| {
            Failure::new(format!("{} was removed and does not end by itself", member.name))
        })??;
        if !end.success() {
            return Err(Failure::new(format!(
                "{} was removed and did not end in good order: {}\n{}",
                member.name,
                describe_end(end),
                process.last_lines(10).join("\n")
            )));
        }
        load.scene.endpoints.borrow_mut().retain(|endpoint| *endpoint != member.endpoint());
        self.launcher.members.retain(|present| *present != member);
        let told = format!("{}{leads} removed", member.name);
        self.removed.push(member);
        self.tell(load, &told, began).await
    }

    /// Hands leadership over to somebody else.
    async fn move_leader(&mut self, load: &Load) -> Result<(), Failure> {
        let began = Instant::now();
        let deadline = began + PATIENCE;
        loop {
            let leader = self.leader().await?;
            let step = 1 + self.random.below(self.present.len() as u64 - 1) as usize;
            let to = (leader + step) % self.present.len();
            let target_id = self.id(to).await?;
            let request = pb::MoveLeaderRequest { target_id };
            let call = async {
                let mut client = self.maintenance(leader).await?;
                timeout(CALL_PATIENCE, client.move_leader(request)).await.ok()
            };
            match call.await {
                Some(Ok(_)) => {
                    self.moved += 1;
                    let from = &self.present[leader].member.name;
                    let told = format!("{from} let {} lead", self.present[to].member.name);
                    return self.tell(load, &told, began).await;
                }
                // Somebody was elected meanwhile, or it did not come about in time.
                Some(Err(status)) => {
                    let why = format!("leadership cannot be moved: {}", describe(&status));
                    expired(deadline, &why)?;
                }
                None => expired(deadline, "leadership cannot be moved: it was not answered")?,
            }
            self.check_alive()?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// A member that was removed and is started again ends by itself.
    async fn check_removed_stays_away(&mut self) -> Result<(), Failure> {
        let Some(zombie) = self.removed.last() else { return Ok(()) };
        let mut process = self.launcher_of(zombie).start_as(Begins::Joining, zombie)?;
        let end = timeout(PATIENCE, process.wait()).await;
        let words = process.last_lines(10).join("\n");
        if !matches!(end, Ok(Ok(end)) if end.success()) {
            return Err(Failure::new(format!(
                "{} was removed, started again, and did not end by itself:\n{words}",
                zombie.name
            )));
        }
        print(&format!("{}, who was removed, came again and ended by itself\n", zombie.name))
    }

    /// Its command line names itself, too.
    fn launcher_of(&self, member: &Member) -> Launcher {
        let mut launcher = self.launcher.clone();
        launcher.members.push(member.clone());
        launcher
    }

    async fn tell(&mut self, load: &Load, told: &str, began: Instant) -> Result<(), Failure> {
        load.await_service(|| self.check_alive()).await?;
        load.next_epoch().await?;
        let (count, took) = (self.present.len(), began.elapsed().as_millis());
        print(&format!("{told}: {count} members, after {took} ms\n"))
    }

    /// Asks members, one after the other, until one does it.
    async fn ask(
        &mut self,
        what: &str,
        call: impl AsyncFn(ClusterClient) -> Result<(), Status>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut turn = self.random.below(self.present.len() as u64) as usize;
        loop {
            turn += 1;
            let member = &self.present[turn % self.present.len()].member;
            let mut why = "it was not answered".to_owned();
            if let Ok(endpoint) = member.endpoint().parse()
                && let Ok(channel) = connect(&endpoint, CALL_PATIENCE).await
                && let Ok(answer) = timeout(CALL_PATIENCE, call(ClusterClient::new(channel))).await
            {
                match answer {
                    Ok(()) => return Ok(()),
                    Err(status) => why = describe(&status),
                }
            }
            expired(deadline, &format!("{what}: {why}"))?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Who the members are, as the leader has it.
    async fn members(&self) -> Result<Vec<pb::Member>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for present in &self.present {
                let request = pb::MemberListRequest { linearizable: true };
                if let Ok(endpoint) = present.member.endpoint().parse()
                    && let Ok(channel) = connect(&endpoint, CALL_PATIENCE).await
                    && let Ok(Ok(answer)) =
                        timeout(CALL_PATIENCE, ClusterClient::new(channel).member_list(request))
                            .await
                {
                    return Ok(answer.into_inner().members);
                }
            }
            expired(deadline, "nobody says who the members are")?;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn maintenance(&self, at: usize) -> Option<MaintenanceClient> {
        let endpoint = self.present[at].member.endpoint().parse().ok()?;
        Some(MaintenanceClient::new(connect(&endpoint, CALL_PATIENCE).await.ok()?))
    }

    async fn status(&self, at: usize) -> Option<pb::StatusResponse> {
        let mut client = self.maintenance(at).await?;
        let answer = timeout(CALL_PATIENCE, client.status(pb::StatusRequest {})).await;
        answer.ok()?.ok().map(Response::into_inner)
    }

    async fn id(&self, at: usize) -> Result<u64, Failure> {
        let status = self.status(at).await;
        let header = status.and_then(|status| status.header);
        let name = &self.present[at].member.name;
        header
            .map(|header| header.member_id)
            .ok_or_else(|| Failure::new(format!("{name} is silent")))
    }

    /// The place of the member that leads, by what it says itself.
    async fn leader(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for at in 0..self.present.len() {
                let Some(status) = self.status(at).await else { continue };
                if status.leader != 0 && status.header.is_some_and(|h| h.member_id == status.leader)
                {
                    return Ok(at);
                }
            }
            expired(deadline, "nobody leads")?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nobody has ended but those that were removed.
    fn check_alive(&mut self) -> Result<(), Failure> {
        for Present { member, process } in &mut self.present {
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

    async fn stop_and_verify(&mut self) -> Result<(), Failure> {
        for Present { member, process } in &mut self.present {
            let end = process.stop().await;
            if !end.is_some_and(|end| end.success()) {
                return Err(Failure::new(format!("{} did not stop in good order", member.name)));
            }
            let report = verify::report(&self.launcher.data_dir(member))?;
            if !report.is_whole() {
                let name = &member.name;
                return Err(Failure::new(format!("the log of {name} does not verify:\n{report}")));
            }
        }
        Ok(())
    }
}
