//! Three `driftless_raft::Raft`s, each with the payload store and the in-memory
//! log of `driftless-node`: consensus alone.
//!
//! Given, as raft-rs is: messages are handed over as structures, without being
//! encoded, and their payloads are shared; nothing is answered, and nothing is
//! remembered of clients. Driven as a node drives them: a permission to send is
//! used at once, entries are looked up by position, every record goes through
//! the log before its ticket completes.

use crate::{COMPACT_EVERY, Cluster, MEMBERS, commands};
use driftless_node::codec::{Entries, Entry, EntryKind};
use driftless_node::log::SnapshotMeta;
use driftless_node::raft::{
    Config, Effect, Effects, GroupId, Index, Input, Membership, Message, Moment, NodeId, Position,
    Raft, Restored, Role, Time,
};
use driftless_node::{LogJob, MemoryLog, Payloads};
use std::mem;

const GROUP: GroupId = GroupId(1);

struct Member {
    raft: Raft,
    payloads: Payloads,
    log: MemoryLog,
    applied: Index,
    /// Commands and bytes applied.
    commands: u64,
    bytes: u64,
    compacted: u64,
}

/// A message under way, and its entries.
struct Letter {
    to: usize,
    /// What it is to its receiver.
    input: Input,
    entries: Entries,
}

/// Three members and the messages between them.
pub struct Alone {
    members: Vec<Member>,
    letters: Vec<Letter>,
    /// A buffer that turns reuse.
    spare: Vec<Letter>,
    leader: usize,
    effects: Effects,
    now: u64,
}

impl Default for Alone {
    fn default() -> Self {
        Self::new()
    }
}

impl Alone {
    /// Elects a leader.
    pub fn new() -> Self {
        let mut cluster = Self {
            members: (1..=MEMBERS).map(|id| Member::new(NodeId(id))).collect(),
            letters: Vec::new(),
            spare: Vec::new(),
            leader: 0,
            effects: Effects::new(),
            now: 1,
        };
        cluster.step(0, Input::Campaign, Entries::NONE);
        cluster.settle();
        assert_eq!(cluster.members[0].raft.role(), Role::Leader);
        cluster
    }

    fn settle(&mut self) {
        while !self.letters.is_empty() {
            let mut letters = mem::replace(&mut self.letters, mem::take(&mut self.spare));
            for Letter { to, input, entries } in letters.drain(..) {
                self.step(to, input, entries);
            }
            self.spare = letters;
        }
    }

    /// A step of one member about `entries`, and those that follow from it there:
    /// disk and links answer at once.
    fn step(&mut self, at: usize, input: Input, entries: Entries) {
        let moment = Moment { now: Time(self.now), random: self.now.wrapping_mul(0x9e37_79b9) };
        let Self { members, letters, effects, .. } = self;
        let member = &mut members[at];
        let brings_entries = !entries.is_empty();
        if brings_entries {
            member.payloads.offer(entries);
        }
        member.raft.step(moment, input, effects);
        let mut done = 0;
        while let Some(effect) = effects.list.get(done) {
            if let Some(answer) = member.carry_out(effect, letters) {
                member.raft.step(moment, answer, effects);
            }
            done += 1;
        }
        effects.list.clear();
        if brings_entries {
            member.payloads.end_offer();
        }
    }
}

impl Member {
    fn new(id: NodeId) -> Self {
        let membership = Membership::of((1..=MEMBERS).map(NodeId));
        let restored = Restored::of(membership.clone());
        let moment = Moment { now: Time(1), random: id.0 };
        Self {
            raft: Raft::new(Config::new(id), restored, moment).expect("an empty log"),
            payloads: Payloads::new(GROUP, 8 << 20),
            log: MemoryLog::new(GROUP, membership),
            applied: Index(0),
            commands: 0,
            bytes: 0,
            compacted: 0,
        }
    }

    /// Does what is asked, and says what came of it.
    fn carry_out(&mut self, effect: &Effect, letters: &mut Vec<Letter>) -> Option<Input> {
        let from = self.raft.id();
        match effect {
            Effect::Persist(persist) => {
                let record = self.payloads.record(persist, self.applied);
                self.log.append(&record);
                Some(Input::Persisted { ticket: persist.ticket })
            }
            Effect::Send { to, message } => {
                let input = Input::Receive { from, message: message.clone() };
                letters.push(Letter { to: number(*to), input, entries: Entries::NONE });
                None
            }
            &Effect::SendEntries {
                to,
                term,
                prev,
                last_max,
                bytes_max,
                leader_commit,
                round,
                ..
            } => {
                let first = prev.index.next();
                let found = self.payloads.range(first, last_max, bytes_max).expect("it is kept");
                let (last, bytes) = (Index(prev.index.0 + found.count() as u64), found.bytes());
                let entries = found.to_entries();
                let message = Message::Append {
                    term,
                    prev_log: prev,
                    runs: self.raft.trail().runs_between(first, last),
                    memberships: self.raft.trail().memberships_between(first, last),
                    leader_commit,
                    round,
                };
                let input = Input::Receive { from, message };
                letters.push(Letter { to: number(to), input, entries });
                Some(Input::Sent { to, term, last, bytes })
            }
            Effect::Apply { through } => self.apply(*through),
            Effect::Accept { .. } | Effect::RoleChanged { .. } => None,
            other => panic!("member {from}: {other:?}"),
        }
    }

    fn apply(&mut self, through: Index) -> Option<Input> {
        while self.applied < through {
            let first = self.applied.next();
            let found = self.payloads.range(first, through, 4 << 20).expect("it is kept");
            for entries in found.slices() {
                for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Command) {
                    self.commands += 1;
                    self.bytes += entry.payload.len() as u64;
                }
            }
            self.applied = Index(self.applied.0 + found.count() as u64);
        }
        self.payloads.mark_applied(through);
        self.payloads.evict(through);
        (through.0 >= self.compacted + COMPACT_EVERY).then(|| self.compact(through))
    }

    fn compact(&mut self, through: Index) -> Input {
        self.compacted = through.0;
        let last = self.raft.trail().position_at(through).expect("it was just applied");
        let membership = self.raft.trail().membership_at(through).clone();
        let snapshot = SnapshotMeta { last, membership };
        self.log.run(LogJob::Compact { snapshot, through: last });
        Input::Compacted { through: last }
    }
}

fn number(id: NodeId) -> usize {
    id.0 as usize - 1
}

impl Cluster for Alone {
    fn replicate(&mut self, count: u64) {
        self.now += 1;
        let last = self.members[self.leader].commands + count;
        let entry = |payload| Entry { position: Position::ZERO, kind: EntryKind::Command, payload };
        let entries = commands(count).map(entry).collect();
        self.step(self.leader, Input::Propose { count }, entries);
        self.settle();
        assert!(self.members.iter().all(|member| member.commands == last));
    }

    fn applied(&self) -> Vec<(u64, u64)> {
        self.members.iter().map(|member| (member.commands, member.bytes)).collect()
    }
}
