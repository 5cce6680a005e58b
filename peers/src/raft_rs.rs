//! Three `raft::RawNode`s (raft-rs 0.7) over its own `MemStorage`.
//!
//! Given: messages are handed over as structures, without being encoded, and
//! their payloads are shared; nothing is answered, and nothing is remembered of
//! clients. Driven as its documentation says: ready, persist, messages, advance.

use crate::{COMPACT_EVERY, Cluster, MEMBERS, commands};
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};
use std::collections::VecDeque;

/// How a batch is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One proposal a command, with the ordinary configuration.
    Default,
    /// One proposal a command, and `Config::batch_append`.
    BatchAppend,
    /// One proposal that carries all of them.
    OneProposal,
}

struct Member {
    node: RawNode<MemStorage>,
    /// Commands and bytes applied.
    commands: u64,
    bytes: u64,
    compacted: u64,
}

/// Three members and the messages between them.
pub struct RaftRs {
    members: Vec<Member>,
    messages: VecDeque<Message>,
    leader: usize,
    mode: Mode,
}

impl RaftRs {
    /// Elects a leader.
    pub fn new(mode: Mode) -> Self {
        let voters: Vec<u64> = (1..=MEMBERS).collect();
        let member = |&id: &u64| {
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 3,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 4096,
                max_committed_size_per_ready: u64::MAX,
                batch_append: mode == Mode::BatchAppend,
                ..Config::default()
            };
            let state = ConfState::from((voters.clone(), Vec::new()));
            let storage = MemStorage::new_with_conf_state(state);
            let node = RawNode::new(&config, storage, &Logger::root(Discard, o!()));
            Member { node: node.expect("a valid start"), commands: 0, bytes: 0, compacted: 0 }
        };
        let members = voters.iter().map(member).collect();
        let mut cluster = Self { members, messages: VecDeque::new(), leader: 0, mode };
        cluster.members[0].node.campaign().expect("it may campaign");
        cluster.settle();
        assert_eq!(cluster.members[0].node.raft.state, StateRole::Leader);
        cluster
    }

    fn settle(&mut self) {
        loop {
            while let Some(message) = self.messages.pop_front() {
                let to = message.to as usize - 1;
                self.members[to].node.step(message).expect("a message of a member");
            }
            for at in 0..self.members.len() {
                self.ready(at);
            }
            if self.messages.is_empty() {
                return;
            }
        }
    }

    fn ready(&mut self, at: usize) {
        let member = &mut self.members[at];
        if !member.node.has_ready() {
            return;
        }
        let mut ready = member.node.ready();
        self.messages.extend(ready.take_messages());
        member.apply(ready.take_committed_entries());
        let store = member.node.raft.raft_log.store.clone();
        if !ready.entries().is_empty() {
            store.wl().append(ready.entries()).expect("entries in order");
        }
        if let Some(hard_state) = ready.hs() {
            store.wl().set_hardstate(hard_state.clone());
        }
        self.messages.extend(ready.take_persisted_messages());
        let mut light = member.node.advance(ready);
        if let Some(commit) = light.commit_index() {
            store.wl().mut_hard_state().commit = commit;
        }
        self.messages.extend(light.take_messages());
        member.apply(light.take_committed_entries());
        member.node.advance_apply();
        let applied = member.node.raft.raft_log.applied;
        if applied >= member.compacted + COMPACT_EVERY {
            member.compacted = applied;
            store.wl().compact(applied).expect("what is applied may go");
        }
    }
}

impl Member {
    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if !entry.data.is_empty() && entry.get_entry_type() == EntryType::EntryNormal {
                self.commands += 1;
                self.bytes += entry.data.len() as u64;
            }
        }
    }
}

impl Cluster for RaftRs {
    fn replicate(&mut self, count: u64) {
        let last = self.members[self.leader].commands + count;
        let node = &mut self.members[self.leader].node;
        if self.mode == Mode::OneProposal {
            let mut proposal = Message::default();
            proposal.set_msg_type(MessageType::MsgPropose);
            proposal.from = node.raft.id;
            let entry = |data| Entry { data, ..Entry::default() };
            proposal.entries = commands(count).map(entry).collect::<Vec<_>>().into();
            node.step(proposal).expect("the leader takes it");
        } else {
            for command in commands(count) {
                node.propose(Vec::new(), command.to_vec()).expect("the leader takes it");
            }
        }
        self.settle();
        assert!(self.members.iter().all(|member| member.commands == last));
    }

    fn applied(&self) -> Vec<(u64, u64)> {
        self.members.iter().map(|member| (member.commands, member.bytes)).collect()
    }
}
