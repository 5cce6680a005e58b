//! The key-value store in the simulator: clients that put, delete, read and
//! compare a few keys, and what their answers must amount to.
//!
//! Each key is checked as a register of its own. What joins the keys, the
//! revision, is checked apart: it must grow with every write, in real time.

use bytes::Bytes;
use driftless_kv::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    KeyValue, PutRequest, RangeRequest, Reader, Reply, RequestOp, Response, ResponseOp, Store,
    TxnRequest,
};
use driftless_sim::history::{History, Outcome};
use driftless_sim::linearizable::Model;
use driftless_sim::node::raft::NodeId;
use driftless_sim::random::Random;
use driftless_sim::{Ask, Plan, Request, Workload};
use std::collections::BTreeMap;

/// What a client asks of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    key: u64,
    verb: Verb,
}

/// What it asks. Values are numbers, each written once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Put { value: u64, tells_previous: bool },
    Delete,
    /// Puts `to` if the key holds `from` (`None`: if there is no such key);
    /// otherwise reads it.
    PutIf { from: Option<u64>, to: u64 },
    /// Concerns history only, no key's latest value.
    Compact { revision: i64 },
}

/// What a client learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The store's revision.
    revision: i64,
    learnt: Learnt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learnt {
    /// That it was done.
    Done,
    /// What the key holds, or held: the value and the revision that wrote it.
    Held(Option<(u64, i64)>),
    /// Whether there was a key to delete.
    Deleted(bool),
    /// That the condition did not hold, and what the key holds instead.
    NotMet(Option<(u64, i64)>),
}

/// The meaning of the store, key by key.
pub(crate) struct KvModel;

impl Model for KvModel {
    type State = Option<u64>;
    type Input = Access;
    type Output = Answer;
    type Key = u64;

    fn key(&self, input: &Access) -> u64 {
        match input.verb {
            Verb::Compact { .. } => u64::MAX,
            _ => input.key,
        }
    }

    fn initial(&self, _key: &u64) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        input: &Access,
        output: Option<&Answer>,
    ) -> Option<Option<u64>> {
        let value = |held: Option<(u64, i64)>| held.map(|(value, _)| value);
        let learnt = output.map(|answer| answer.learnt);
        let (next, agrees) = match (&input.verb, learnt) {
            (Verb::Get, Some(Learnt::Held(held))) => (*state, value(held) == *state),
            (Verb::Put { value: to, .. }, Some(Learnt::Held(held))) => {
                (Some(*to), value(held) == *state)
            }
            (Verb::Put { value, .. }, _) => (Some(*value), true),
            (Verb::Delete, Some(Learnt::Deleted(deleted))) => (None, deleted == state.is_some()),
            (Verb::Delete, _) => (None, true),
            (Verb::PutIf { from, .. }, Some(Learnt::NotMet(held))) => {
                (*state, value(held) == *state && state != from)
            }
            (Verb::PutIf { from, to }, Some(_)) => (Some(*to), state == from),
            (Verb::PutIf { from, to }, None) if state == from => (Some(*to), true),
            (Verb::Get | Verb::PutIf { .. } | Verb::Compact { .. }, _) => (*state, true),
        };
        agrees.then_some(next)
    }

    fn reads_only(&self, input: &Access, output: Option<&Answer>) -> bool {
        let learnt = output.map(|answer| answer.learnt);
        matches!(input.verb, Verb::Get | Verb::Compact { .. })
            || matches!(learnt, Some(Learnt::NotMet(_) | Learnt::Deleted(false)))
    }

    fn overwrites(&self, input: &Access, output: Option<&Answer>) -> bool {
        let learnt = output.map(|answer| answer.learnt);
        match input.verb {
            Verb::Put { .. } => !matches!(learnt, Some(Learnt::Held(_))),
            Verb::Delete => learnt.is_none(),
            _ => false,
        }
    }
}

/// Clients of the store.
pub(crate) struct KvWorkload {
    keys: u64,
    padding_max: u64,
    last_value: u64,
    last_revision: i64,
}

impl KvWorkload {
    /// Clients for the world of `plan`.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x6b76);
        Self {
            keys: random.between(1, 5),
            padding_max: *random.pick(&[0, 40, 400]).expect("not empty"),
            last_value: 0,
            last_revision: 1,
        }
    }

    fn verb(&mut self, random: &mut Random) -> Verb {
        self.last_value += 1;
        let value = self.last_value;
        match random.below(100) {
            0..40 => Verb::Get,
            40..75 => Verb::Put { value, tells_previous: random.chance(1, 2) },
            75..83 => Verb::Delete,
            83..98 => {
                // Mostly of late, so that the condition holds now and then.
                let from = random.chance(3, 4).then(|| value.saturating_sub(random.below(12)));
                Verb::PutIf { from, to: value }
            }
            _ => Verb::Compact { revision: (self.last_revision - random.below(40) as i64).max(1) },
        }
    }

    fn command(&self, access: &Access, random: &mut Random) -> Option<Command> {
        let key = key(access.key);
        let put = |value: u64, prev_kv: bool, padding: u64| PutRequest {
            key: key.clone(),
            value: encode_value(value, padding as usize),
            prev_kv,
            ..PutRequest::default()
        };
        let padding = random.below(self.padding_max + 1);
        Some(match access.verb {
            Verb::Get => return None,
            Verb::Put { value, tells_previous } => {
                Command::Put(put(value, tells_previous, padding))
            }
            Verb::Delete => Command::DeleteRange(DeleteRangeRequest {
                key: key.clone(),
                ..DeleteRangeRequest::default()
            }),
            Verb::PutIf { from, to } => {
                let target = match from {
                    // The value's length is not known here: compare what wrote it.
                    Some(from) => CompareTarget::Value(encode_value(from, 0)),
                    None => CompareTarget::Version(0),
                };
                let result = CompareResult::Equal;
                let range_end = Bytes::new();
                let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
                Command::Txn(TxnRequest {
                    compare: vec![Compare { result, target, key: key.clone(), range_end }],
                    success: vec![RequestOp::Put(put(to, false, 0))],
                    failure: vec![RequestOp::Range(read)],
                })
            }
            Verb::Compact { revision } => {
                Command::Compact(CompactionRequest { revision, physical: random.chance(1, 2) })
            }
        })
    }
}
