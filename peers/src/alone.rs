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
    Raft, Restored, Role, Term, Time,
};
use driftless_node::{LogJob, MemoryLog, Payloads};
use std::collections::VecDeque;
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

/// A message under way.
struct Letter {
    to: usize,
    /// What it is to its receiver.
    input: Input,
    /// Whether entries go with it.
    is_parcel: bool,
}

/// What is under way between members, in the order of its sending.
#[derive(Default)]
struct Post {
    letters: Vec<Letter>,
    /// The entries of those letters that have any.
    parcels: VecDeque<Entries>,
}

/// Three members and the messages between them.
pub struct Alone {
    members: Vec<Member>,
    post: Post,
    leader: usize,
    effects: Effects,
    now: u64,
    /// A buffer that turns reuse.
    arrived: Vec<Letter>,
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
            post: Post::default(),
            leader: 0,
            effects: Effects::new(),
            now: 1,
            arrived: Vec::new(),
        };
        let moment = cluster.moment();
        let Self { members, post, effects, .. } = &mut cluster;
        members[0].raft.step(moment, Input::Campaign, effects);
        members[0].carry_out(moment, effects, post);
        cluster.settle();
        assert_eq!(cluster.members[0].raft.role(), Role::Leader);
        cluster
    }

    fn moment(&self) -> Moment {
        Moment { now: Time(self.now), random: self.now.wrapping_mul(0x9e37_79b9) }
    }

    fn settle(&mut self) {
        let moment = self.moment();
        let Self { members, post, effects, arrived, .. } = self;
        while !post.letters.is_empty() {
            mem::swap(&mut post.letters, arrived);
            for Letter { to, input, is_parcel } in arrived.drain(..) {
                let member = &mut members[to];
                if is_parcel {
                    member.payloads.offer(post.parcels.pop_front().expect("it came with it"));
                }
                member.raft.step(moment, input, effects);
                member.carry_out(moment, effects, post);
                if is_parcel {
                    member.payloads.end_offer();
                }
            }
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

    /// Does what a step asks for, and takes the steps that follow from it here:
    /// disk and links answer at once.
    fn carry_out(&mut self, moment: Moment, effects: &mut Effects, post: &mut Post) {
        let from = self.raft.id();
        let mut done = 0;
        while let Some(effect) = effects.list.get_mut(done) {
            done += 1;
            match *effect {
                Effect::Persist(ref persist) => {
                    let ticket = persist.ticket;
                    let record = self.payloads.record(persist, self.applied);
                    self.log.append(record);
                    self.raft.step(moment, Input::Persisted { ticket }, effects);
                }
                Effect::Send { to, ref mut message } => {
                    // What is left behind means nothing.
                    let message = mem::replace(message, Message::TimeoutNow { term: Term(0) });
                    let input = Input::Receive { from, message };
                    post.letters.push(Letter { to: number(to), input, is_parcel: false });
                }
                Effect::SendEntries {
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
                    let found =
                        self.payloads.range(first, last_max, bytes_max).expect("it is kept");
                    let (last, bytes) = (Index(prev.index.0 + found.count() as u64), found.bytes());
                    let trail = self.raft.trail();
                    let message = Message::Append {
                        term,
                        prev_log: prev,
                        runs: trail.runs_between(first, last),
                        memberships: trail.memberships_between(first, last),
                        leader_commit,
                        round,
                    };
                    let input = Input::Receive { from, message };
                    post.letters.push(Letter { to: number(to), input, is_parcel: true });
                    post.parcels.push_back(found.to_entries());
                    self.raft.step(moment, Input::Sent { to, term, last, bytes }, effects);
                }
                Effect::Apply { through } => {
                    self.apply(through);
                    if through.0 >= self.compacted + COMPACT_EVERY {
                        let compacted = self.compact(through);
                        self.raft.step(moment, compacted, effects);
                    }
                }
                Effect::Accept { .. } | Effect::RoleChanged { .. } => {}
                ref other => panic!("member {from}: {other:?}"),
            }
        }
        effects.list.clear();
    }

    fn apply(&mut self, through: Index) {
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
        let moment = self.moment();
        let Self { members, post, effects, leader, .. } = self;
        let member = &mut members[*leader];
        member.payloads.offer(entries);
        member.raft.step(moment, Input::Propose { count }, effects);
        member.carry_out(moment, effects, post);
        member.payloads.end_offer();
        self.settle();
        assert!(self.members.iter().all(|member| member.commands == last));
    }

    fn applied(&self) -> Vec<(u64, u64)> {
        self.members.iter().map(|member| (member.commands, member.bytes)).collect()
    }
}
