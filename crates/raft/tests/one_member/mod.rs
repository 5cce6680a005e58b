//! One member, 1 of {1, 2, 3}, is told things and watched.
#![allow(dead_code, reason = "each file of tests uses a part")]

use driftless_raft::{
    Config, Effect, Effects, HardState, Index, Input, Membership, Memberships, Message, Moment,
    NodeId, Persist, Position, Raft, Restored, Round, Run, Term, Ticket, Time, Trail,
};

pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const BOB: NodeId = NodeId(2);
pub(crate) const CAROL: NodeId = NodeId(3);
pub(crate) const TIMEOUT: u64 = 1_000_000;

pub(crate) struct Member {
    pub(crate) raft: Raft,
    pub(crate) now: Time,
    pub(crate) ticket: Ticket,
}

/// A follower in `term` with this log, everything durable, nothing applied.
/// Pre-vote and check-quorum are off, and nobody sends snapshots in another's place:
/// these tests are about the paper's rules.
pub(crate) fn follower(term: u64, log: &[Run]) -> Member {
    let mut trail = Trail::of(Membership::of([ME, BOB, CAROL]));
    for &run in log {
        trail.append(run);
    }
    let hard_state = HardState { current_term: Term(term), ..HardState::default() };
    let restored = Restored { hard_state, trail, replacement: None };
    started(plain(), restored)
}

pub(crate) fn plain() -> Config {
    Config {
        pre_vote: false,
        check_quorum: false,
        snapshots_from_followers: false,
        ..Config::new(ME)
    }
}

/// A member that starts so.
pub(crate) fn started(config: Config, restored: Restored) -> Member {
    let now = Time(0);
    let raft = Raft::new(config, restored, Moment { now, random: 0 }).unwrap();
    Member { raft, now, ticket: Ticket(0) }
}

/// A candidate in `term + 1`, its term and vote durable.
pub(crate) fn candidate(term: u64, log: &[Run]) -> Member {
    let mut me = follower(term, log);
    me.step(Input::Campaign);
    me.sync();
    me
}

/// The leader of `term + 1`, its empty entry durable, every permission used.
pub(crate) fn leader(term: u64, log: &[Run]) -> Member {
    let mut me = candidate(term, log);
    me.hear(BOB, granted(term + 1));
    me.sync();
    me.use_permissions();
    me
}

/// The leader of term 1 of this membership, by Bob's vote; what it wrote is durable.
pub(crate) fn elected(config: Config, membership: Membership) -> Member {
    let mut me = started(config, Restored::of(membership));
    // Whoever starts with leases abstains for a while.
    me.now = me.now.after(2 * TIMEOUT);
    me.step(Input::Campaign);
    me.sync();
    me.hear(BOB, granted(1));
    me.sync();
    me
}

impl Member {
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Effects::new();
        self.raft.step(Moment { now: self.now, random: 7 }, input, &mut effects);
        if let Some(persist) = record(&effects.list) {
            self.ticket = persist.ticket;
        }
        effects.list
    }

    pub(crate) fn hear(&mut self, from: NodeId, message: Message) -> Vec<Effect> {
        self.step(Input::Receive { from, message })
    }

    /// Everything written becomes durable.
    pub(crate) fn sync(&mut self) -> Vec<Effect> {
        self.step(Input::Persisted { ticket: self.ticket })
    }

    pub(crate) fn wait(&mut self, micros: u64) -> Vec<Effect> {
        self.now = self.now.after(micros);
        self.step(Input::Wake)
    }

    /// As if everything that may be sent had been sent.
    pub(crate) fn use_permissions(&mut self) -> Vec<Effect> {
        let (term, last) = (self.raft.term(), self.raft.last().index);
        let mut effects = self.step(Input::Sent { to: BOB, term, last, bytes: 1 });
        effects.extend(self.step(Input::Sent { to: CAROL, term, last, bytes: 1 }));
        effects
    }
}

pub(crate) fn at(term: u64, index: u64) -> Position {
    Position::new(term, index)
}

pub(crate) fn append(term: u64, prev_log: Position, runs: &[Run], leader_commit: u64) -> Message {
    let (runs, leader_commit) = (runs.iter().copied().collect(), Index(leader_commit));
    let (term, round, memberships) = (Term(term), Round(1), Memberships::NONE);
    Message::Append { term, prev_log, runs, memberships, leader_commit, round }
}

pub(crate) fn stored(term: u64, last: u64) -> Message {
    Message::AppendStored { term: Term(term), last: Index(last) }
}

pub(crate) fn heard_by(term: u64, round: u64) -> Message {
    Message::AppendHeard { term: Term(term), round: Round(round) }
}

pub(crate) fn granted(term: u64) -> Message {
    Message::VoteReply { term: Term(term), vote_granted: true }
}

pub(crate) fn refused(term: u64) -> Message {
    Message::VoteReply { term: Term(term), vote_granted: false }
}

pub(crate) fn request(term: u64, last_log: Position) -> Message {
    Message::RequestVote { term: Term(term), last_log, transfer: false }
}

/// A snapshot of Bob's, who leads.
pub(crate) fn snapshot(term: u64, last: Position) -> Message {
    let membership = Box::new(Membership::of([ME, BOB, CAROL]));
    Message::InstallSnapshot { term: Term(term), leader: BOB, last, membership }
}

pub(crate) fn sent(effects: &[Effect]) -> Vec<(NodeId, Message)> {
    let message = |effect: &Effect| match effect {
        Effect::Send { to, message } => Some((*to, message.clone())),
        _ => None,
    };
    effects.iter().filter_map(message).collect()
}

pub(crate) fn record(effects: &[Effect]) -> Option<Persist> {
    effects.iter().find_map(|effect| match effect {
        Effect::Persist(persist) => Some(persist.clone()),
        _ => None,
    })
}

/// Where entries may be sent from, to whom.
pub(crate) fn permitted(effects: &[Effect]) -> Vec<(NodeId, Position, Index)> {
    let permission = |effect: &Effect| match *effect {
        Effect::SendEntries { to, prev, last_max, .. } => Some((to, prev, last_max)),
        _ => None,
    };
    effects.iter().filter_map(permission).collect()
}

pub(crate) fn is_rejection(effects: &[Effect]) -> bool {
    matches!(sent(effects)[..], [(_, Message::AppendRejected { .. })])
}
