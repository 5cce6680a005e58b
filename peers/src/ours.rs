//! Three `driftless_node::Node`s: what ships, payload store, sessions and peer
//! frames included.
//!
//! Given: a log in memory that completes at once, as raft-rs's `MemStorage` does; links that deliver at once and lose nothing; a clock that
//! is a counter. Taken: frames are encoded, checksummed, decoded and verified
//! as on a socket (raft-rs hands over structures and shares their payloads);
//! every command runs through a client session, which makes it exactly once,
//! and its client is answered with the machine's reply.

use crate::{COMPACT_EVERY, Cluster, MEMBERS, PAYLOAD_BYTES};
use driftless_node::codec::Bytes;
use driftless_node::log::Identity;
use driftless_node::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use driftless_node::raft::{GroupId, Membership, Moment, NodeId, Role, Time};
use driftless_node::{
    Action, Answer, ClientRequest, Event, LinkId, MemoryLog, Node, NodeOptions, RequestToken,
    SnapshotDone, SnapshotJob, apply_inline,
};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// Counts what it sees.
#[derive(Clone, Copy, Default)]
struct Count {
    commands: u64,
    bytes: u64,
}

impl StateMachine for Count {
    type Reader = ();

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        self.commands += batch.commands.len() as u64;
        self.bytes += batch.commands.iter().map(|command| command.len() as u64).sum::<u64>();
        batch.commands.iter().map(|_| Bytes::new()).collect()
    }

    fn reader(&self) {}

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        Box::new(io::Cursor::new(Vec::new()))
    }

    fn restore(&mut self, _: &mut dyn Read) -> Result<(), RestoreError> {
        Ok(())
    }
}

struct Member {
    node: Node,
    machine: Count,
    log: MemoryLog,
    events: Vec<Event>,
}

/// Three members and the links between them.
pub struct Ours {
    members: Vec<Member>,
    /// Each link's two ends.
    links: Vec<(usize, usize)>,
    leader: usize,
    command: Bytes,
    now: u64,
    answered: u64,
    // Buffers that turns reuse.
    batch: Vec<Event>,
    actions: Vec<Action>,
}

impl Default for Ours {
    fn default() -> Self {
        Self::new()
    }
}

impl Ours {
    /// Elects a leader and opens its session.
    pub fn new() -> Self {
        let members = (1..=MEMBERS).map(|id| Member::new(NodeId(id))).collect();
        let mut cluster = Self {
            members,
            links: Vec::new(),
            leader: 0,
            command: Bytes::from(vec![7; PAYLOAD_BYTES]),
            now: 1,
            answered: 0,
            batch: Vec::new(),
            actions: Vec::new(),
        };
        for from in 0..cluster.members.len() {
            for to in 0..cluster.members.len() {
                if from != to {
                    cluster.connect(from, to);
                }
            }
        }
        let leads = |member: &Member| member.node.status().role == Role::Leader;
        cluster.leader = loop {
            cluster.now += 10_000;
            cluster.wake();
            cluster.settle();
            if let Some(leader) = cluster.members.iter().position(leads) {
                break leader;
            }
        };
        cluster.replicate(1);
        cluster
    }

    fn connect(&mut self, from: usize, to: usize) {
        let link = LinkId(self.links.len() as u64);
        self.links.push((from, to));
        let peer = NodeId(to as u64 + 1);
        self.members[from].events.push(Event::Connected { link, peer });
        self.members[to].events.push(Event::Accepted { link });
    }

    fn wake(&mut self) {
        for member in &mut self.members {
            if member.node.deadline().is_some_and(|deadline| deadline.0 <= self.now) {
                member.events.push(Event::Wake);
            }
        }
    }

    /// Turns of all members until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.members.len() {
                if !self.members[at].events.is_empty() {
                    idle = false;
                    self.turn(at);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// One member takes all that waits, as the shard of `driftless` does.
    fn turn(&mut self, at: usize) {
        let moment = Moment { now: Time(self.now), random: self.now.wrapping_mul(0x9e37_79b9) };
        let mut batch = std::mem::take(&mut self.batch);
        let mut actions = std::mem::take(&mut self.actions);
        let member = &mut self.members[at];
        std::mem::swap(&mut batch, &mut member.events);
        for event in batch.drain(..) {
            member.node.handle(moment, event, &mut actions);
        }
        member.node.flush(moment, &mut actions);
        for action in actions.drain(..) {
            self.carry_out(at, action);
        }
        (self.batch, self.actions) = (batch, actions);
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        let member = &mut self.members[at];
        match action {
            Action::Log(job) => {
                let done = member.log.run(job);
                member.events.push(Event::Log(done));
            }
            Action::Apply(job) => {
                let applied = apply_inline(&member.node, &mut member.machine, &job);
                member.events.push(applied);
            }
            Action::Snapshot(job) => member.events.extend(snapshot(job).map(Event::Snapshot)),
            Action::Write { link, frame } => {
                let (one, other) = self.links[link.0 as usize];
                let frame = match &frame.parts[..] {
                    [whole] => whole.clone(),
                    parts => parts.concat().into(),
                };
                let to = if at == one { other } else { one };
                self.members[to].events.push(Event::Frame { link, frame });
            }
            Action::Answer { answer: Answer::Applied { .. }, .. } => self.answered += 1,
            Action::StatusChanged | Action::ReachedChanged | Action::Report(_) => {}
            other => panic!("member {at}: {other:?}"),
        }
    }
}

impl Member {
    fn new(id: NodeId) -> Self {
        let log = MemoryLog::new(GroupId(1), Membership::of((1..=MEMBERS).map(NodeId)));
        let recovered = log.recovered();
        let identity = Identity::new(1, id, id.0);
        let options = NodeOptions {
            snapshot_every_entries: COMPACT_EVERY,
            retained_entries: 0,
            cache_bytes_max: 8 << 20,
            ..NodeOptions::new(id)
        };
        let moment = Moment { now: Time(1), random: id.0 << 40 };
        let machine = Durable::default();
        let node = Node::new(options, identity, recovered, BTreeMap::new(), &machine, moment);
        Self {
            node: node.expect("an empty log"),
            machine: Count::default(),
            log,
            // Its first turn.
            events: vec![Event::Wake],
        }
    }
}

/// Snapshots of a counter: only their positions matter here.
fn snapshot(job: SnapshotJob) -> Option<SnapshotDone> {
    match job {
        SnapshotJob::Save { meta, .. } => Some(SnapshotDone::Saved { result: Ok(meta) }),
        SnapshotJob::RemoveOlder { .. } => None,
        other => panic!("nobody lags: {other:?}"),
    }
}

impl Cluster for Ours {
    fn replicate(&mut self, count: u64) {
        self.now += 1;
        self.wake();
        let deadline = Time(self.now + 5_000_000);
        let answered = self.answered + count;
        let last = self.members[self.leader].machine.commands + count;
        for token in 0..count {
            let (token, command) = (RequestToken(token), self.command.clone());
            let request = ClientRequest::Propose { token, command, deadline };
            self.members[self.leader].events.push(Event::Client(request));
        }
        self.settle();
        assert_eq!(self.answered, answered);
        assert!(self.members.iter().all(|member| member.machine.commands == last));
    }

    fn applied(&self) -> Vec<(u64, u64)> {
        let machines = self.members.iter().map(|member| member.machine);
        machines.map(|machine| (machine.commands, machine.bytes)).collect()
    }
}
