//! A few members wired together, everything delivered in order, disks instant:
//! what a group does when nothing goes wrong, and when a leader goes away.
#![allow(clippy::unwrap_used, reason = "a test may")]

use driftless_raft::{
    Config, Effect, Effects, Index, Input, Membership, Message, Moment, NodeId, Raft, ReadId,
    Restored, Role, Run, Time,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

struct Cluster {
    members: BTreeMap<NodeId, Raft>,
    inbox: VecDeque<(NodeId, Input)>,
    dead: BTreeSet<NodeId>,
    now: Time,
    applied: BTreeMap<NodeId, Index>,
    reads: Vec<(NodeId, ReadId, Index)>,
    accepted: u64,
}

impl Cluster {
    fn new(size: u64) -> Self {
        let membership = Membership::of((1..=size).map(NodeId));
        let moment = |random| Moment { now: Time(0), random };
        let member = |id| {
            let restored = Restored::of(membership.clone());
            Raft::new(Config::new(NodeId(id)), restored, moment(id * 71_993)).unwrap()
        };
        Self {
            members: (1..=size).map(|id| (NodeId(id), member(id))).collect(),
            inbox: VecDeque::new(),
            dead: BTreeSet::new(),
            now: Time(0),
            applied: BTreeMap::new(),
            reads: Vec::new(),
            accepted: 0,
        }
    }

    fn feed(&mut self, id: NodeId, input: Input) {
        self.inbox.push_back((id, input));
        while let Some((id, input)) = self.inbox.pop_front() {
            if self.dead.contains(&id) {
                continue;
            }
            let mut effects = Effects::new();
            let moment = Moment { now: self.now, random: self.now.0 ^ (id.0 * 7919) };
            self.members.get_mut(&id).unwrap().step(moment, input, &mut effects);
            for effect in effects.list {
                self.carry_out(id, effect);
            }
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Persist(persist) => {
                self.inbox.push_back((id, Input::Persisted { ticket: persist.ticket }));
            }
            Effect::Send { to, message } => {
                self.inbox.push_back((to, Input::Receive { from: id, message }));
            }
            Effect::SendEntries { to, term, prev, last_max, leader_commit, round, .. } => {
                let (prev_log, first) = (prev, prev.index.next());
                let trail = self.members[&id].trail();
                let runs = trail.runs_between(first, last_max);
                let memberships = trail.memberships_between(first, last_max);
                let message =
                    Message::Append { term, prev_log, runs, memberships, leader_commit, round };
                self.inbox.push_back((to, Input::Receive { from: id, message }));
                self.inbox.push_back((id, Input::Sent { to, term, last: last_max, bytes: 100 }));
            }
            Effect::Accept { count, .. } => self.accepted += count,
            Effect::Apply { through } => {
                self.applied.insert(id, through);
            }
            Effect::ReadReady { id: read, index } => self.reads.push((id, read, index)),
            _ => {}
        }
    }

    /// Moves time to the next deadline of anybody alive.
    fn wake_next(&mut self) {
        let (at, id) = self
            .members
            .iter()
            .filter(|(id, _)| !self.dead.contains(id))
            .filter_map(|(id, member)| Some((member.deadline()?, *id)))
            .min()
            .unwrap();
        self.now = self.now.max(at);
        self.feed(id, Input::Wake);
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |&(id, member): &(&NodeId, &Raft)| {
            member.role() == Role::Leader && !self.dead.contains(id)
        };
        self.members.iter().find(leads).map(|(id, _)| *id)
    }

    fn elect(&mut self) -> NodeId {
        for _ in 0..100 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.wake_next();
        }
        panic!("nobody was elected");
    }
}

#[test]
fn elects_commits_and_reads() {
    for size in 1..=5 {
        let mut cluster = Cluster::new(size);
        let leader = cluster.elect();
        cluster.feed(leader, Input::Propose { count: 10 });
        cluster.feed(leader, Input::Propose { count: 1 });
        assert_eq!(cluster.accepted, 11);
        let log = [Run::new(1, 1, 12)];
        for (id, member) in &cluster.members {
            assert_eq!(member.trail().runs(), log);
            assert_eq!(cluster.applied[id], Index(12), "{size} members");
            assert_eq!(member.leader(), Some(leader));
        }
        for id in 1..=size {
            cluster.feed(NodeId(id), Input::Read { id: ReadId(id), deadline: Time(u64::MAX) });
        }
        let expected: Vec<_> = (1..=size).map(|id| (NodeId(id), ReadId(id), Index(12))).collect();
        assert_eq!(cluster.reads, expected);
    }
}

#[test]
fn survives_its_leader() {
    let mut cluster = Cluster::new(3);
    let first = cluster.elect();
    cluster.feed(first, Input::Propose { count: 5 });
    cluster.dead.insert(first);
    let died_at = cluster.now;
    for id in (1..=3).map(NodeId).filter(|&id| id != first) {
        cluster.feed(id, Input::Disconnected { peer: first });
    }
    let second = cluster.elect();
    assert_ne!(first, second);
    assert!(cluster.now.since(died_at) < 60_000, "a broken link shortens the wait");
    cluster.feed(second, Input::Propose { count: 5 });
    assert_eq!(cluster.applied[&second], Index(12));

    // The old leader comes back as it was, and follows.
    cluster.dead.remove(&first);
    for _ in 0..40 {
        cluster.wake_next();
    }
    assert_eq!(cluster.leader(), Some(second));
    assert_eq!(cluster.applied[&first], Index(12));
}

#[test]
fn an_idle_group_only_beats() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let before = cluster.now;
    for _ in 0..100 {
        cluster.wake_next();
    }
    assert_eq!(cluster.now.since(before), 100 * 100_000);
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn alone_it_does_not_wake() {
    let mut cluster = Cluster::new(1);
    cluster.elect();
    assert_eq!(cluster.now, Time(0), "the only voter waits for nobody");
    assert_eq!(cluster.members[&NodeId(1)].deadline(), None);
}
