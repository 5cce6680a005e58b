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
use std::fmt;

/// What a client asks of one key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Access {
    key: u64,
    verb: Verb,
}

/// What it asks. Values are numbers, each written once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Put {
        value: u64,
        tells_previous: bool,
    },
    Delete,
    /// Puts `to` if the key holds `from` (`None`: if there is no such key);
    /// otherwise reads it.
    PutIf {
        from: Option<u64>,
        to: u64,
    },
    /// Concerns history only, no key's latest value.
    Compact {
        revision: i64,
    },
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        match &self.verb {
            Verb::Get => write!(f, "get key/{key}"),
            Verb::Put { value, tells_previous: false } => write!(f, "put key/{key} {value}"),
            Verb::Put { value, .. } => write!(f, "put key/{key} {value}, tell what it held"),
            Verb::Delete => write!(f, "delete key/{key}"),
            Verb::PutIf { from: Some(from), to } => {
                write!(f, "put key/{key} {to} if it holds {from}")
            }
            Verb::PutIf { from: None, to } => write!(f, "put key/{key} {to} if it is not there"),
            Verb::Compact { revision } => write!(f, "compact through revision {revision}"),
        }
    }
}

/// What a client learns.
#[derive(Clone, Copy, PartialEq, Eq)]
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

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = |held: Option<(u64, i64)>| match held {
            Some((value, revision)) => format!("{value} (of revision {revision})"),
            None => "nothing".to_owned(),
        };
        match self.learnt {
            Learnt::Done => write!(f, "done")?,
            Learnt::Held(found) => write!(f, "{}", held(found))?,
            Learnt::Deleted(true) => write!(f, "deleted")?,
            Learnt::Deleted(false) => write!(f, "nothing to delete")?,
            Learnt::NotMet(found) => write!(f, "no, it holds {}", held(found))?,
        }
        write!(f, ", revision {}", self.revision)
    }
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
                // Of late, so that the condition holds now and then.
                let late = random.between(1, 12);
                let from = random.chance(3, 4).then(|| value.saturating_sub(late));
                Verb::PutIf { from, to: value }
            }
            _ => Verb::Compact { revision: (self.last_revision - random.below(40) as i64).max(1) },
        }
    }

    fn command(&self, access: &Access, random: &mut Random) -> Option<Command> {
        let key = key(access.key);
        let put = |value: u64, prev_kv: bool| PutRequest {
            key: key.clone(),
            value: self.encode(value),
            prev_kv,
            ..PutRequest::default()
        };
        Some(match access.verb {
            Verb::Get => return None,
            Verb::Put { value, tells_previous } => Command::Put(put(value, tells_previous)),
            Verb::Delete => Command::DeleteRange(DeleteRangeRequest {
                key: key.clone(),
                ..DeleteRangeRequest::default()
            }),
            Verb::PutIf { from, to } => {
                let target = match from {
                    Some(from) => CompareTarget::Value(self.encode(from)),
                    None => CompareTarget::Version(0),
                };
                let condition = Compare {
                    result: CompareResult::Equal,
                    target,
                    key: key.clone(),
                    range_end: Bytes::new(),
                };
                Command::Txn(TxnRequest {
                    compare: vec![condition],
                    success: vec![RequestOp::Put(put(to, false))],
                    failure: vec![RequestOp::Range(read(access.key))],
                })
            }
            Verb::Compact { revision } => {
                Command::Compact(CompactionRequest { revision, physical: random.chance(1, 2) })
            }
        })
    }

    /// A value as bytes: its number, and as much padding as belongs to it.
    fn encode(&self, value: u64) -> Bytes {
        let padding = Random::new(value).below(self.padding_max + 1);
        let mut bytes = value.to_be_bytes().to_vec();
        bytes.resize(8 + padding as usize, b'.');
        bytes.into()
    }

    fn learn(&self, input: &Access, response: Response) -> Result<Answer, String> {
        let (revision, learnt) = match (&input.verb, response) {
            (Verb::Put { tells_previous, .. }, Response::Put(put)) => {
                let learnt = if *tells_previous {
                    Learnt::Held(self.held(put.prev_kv.as_ref())?)
                } else {
                    Learnt::Done
                };
                (put.revision, learnt)
            }
            (Verb::Delete, Response::DeleteRange(deleted)) => {
                (deleted.revision, Learnt::Deleted(deleted.deleted == 1))
            }
            (Verb::PutIf { .. }, Response::Txn(txn)) => {
                let learnt = match txn.responses.as_slice() {
                    [ResponseOp::Put(_)] if txn.succeeded => Learnt::Done,
                    [ResponseOp::Range(range)] if !txn.succeeded => {
                        Learnt::NotMet(self.held(range.kvs.first())?)
                    }
                    other => return Err(format!("a transaction answered {other:?}")),
                };
                (txn.revision, learnt)
            }
            (Verb::Compact { .. }, Response::Compact(compact)) => (compact.revision, Learnt::Done),
            (_, other) => return Err(format!("it answered {other:?}")),
        };
        Ok(Answer { revision, learnt })
    }

    fn held(&self, found: Option<&KeyValue>) -> Result<Option<(u64, i64)>, String> {
        let Some(found) = found else { return Ok(None) };
        let number = found.value.first_chunk().map(|number| u64::from_be_bytes(*number));
        match number {
            Some(number) if self.encode(number) == found.value => {
                Ok(Some((number, found.mod_revision)))
            }
            _ => Err(format!("nobody ever wrote {found:?}")),
        }
    }
}

impl Workload<Store> for KvWorkload {
    type Model = KvModel;

    fn model(&self) -> KvModel {
        KvModel
    }

    fn machine(&mut self, _member: NodeId) -> Store {
        Store::with_segment_bytes(4 << 10)
    }

    fn next(&mut self, random: &mut Random) -> Request<Access> {
        let input = Access { key: random.below(self.keys), verb: self.verb(random) };
        let ask = match self.command(&input, random) {
            Some(command) => Ask::Command(command.encode()),
            None => Ask::Read,
        };
        Request { input, ask }
    }

    fn output(&mut self, input: &Access, reply: &Bytes) -> Result<Answer, String> {
        let Reply(reply) = Reply::decode(reply).map_err(|error| error.to_string())?;
        let answer = match (reply, &input.verb) {
            (Ok(response), _) => self.learn(input, response)?,
            // What is compacted already cannot be once more.
            (Err(_), Verb::Compact { .. }) => {
                Answer { revision: self.last_revision, learnt: Learnt::Done }
            }
            (Err(error), _) => return Err(format!("it answered {error}")),
        };
        self.last_revision = self.last_revision.max(answer.revision);
        Ok(answer)
    }

    fn read(&self, input: &Access, reader: &Reader) -> Answer {
        let range = reader.range(&read(input.key)).expect("the latest revision is always there");
        let held = self.held(range.kvs.first()).expect("replies are checked before reads");
        Answer { revision: range.revision, learnt: Learnt::Held(held) }
    }

    fn last_reads(&self) -> Vec<Access> {
        (0..self.keys).map(|key| Access { key, verb: Verb::Get }).collect()
    }

    /// Members may write the same state down differently; what can be read of
    /// it must be the same.
    fn digest(&self, machine: &mut Store) -> u64 {
        use driftless_sim::node::machine::StateMachine as _;
        let hash = machine.reader().hash(0).expect("the latest revision is always there");
        hash.hash ^ (hash.revision as u64).rotate_left(32) ^ hash.compact_revision as u64
    }

    fn examine_history(&self, history: &History<Access, Answer>) -> Result<(), String> {
        revisions_grow(history)?;
        values_keep_their_revisions(history)
    }
}

fn key(number: u64) -> Bytes {
    format!("key/{number}").into()
}

fn read(key_number: u64) -> RangeRequest {
    RangeRequest { key: key(key_number), ..RangeRequest::default() }
}

/// Whether the operation made a revision of its own.
fn writes(input: &Access, answer: &Answer) -> bool {
    match input.verb {
        Verb::Put { .. } => true,
        Verb::Delete => answer.learnt == Learnt::Deleted(true),
        Verb::PutIf { .. } => answer.learnt == Learnt::Done,
        Verb::Get | Verb::Compact { .. } => false,
    }
}

/// What is asked after an answer came sees at least its revision, and what
/// writes makes a greater one. No two writes share one.
fn revisions_grow(history: &History<Access, Answer>) -> Result<(), String> {
    let mut moments = Vec::new();
    let mut written_by = BTreeMap::new();
    for operation in history.operations() {
        let Outcome::Returned { at_ns, output } = &operation.outcome else { continue };
        if matches!(operation.input.verb, Verb::Compact { .. }) {
            continue;
        }
        moments.push((operation.invoked_ns, false, operation, output));
        moments.push((*at_ns, true, operation, output));
        if writes(&operation.input, output)
            && let Some(other) = written_by.insert(output.revision, operation)
        {
            return Err(format!("two writes share a revision: {operation:?} and {other:?}"));
        }
    }
    // At one instant questions come before answers: they overlap.
    moments.sort_by_key(|(at_ns, answers, ..)| (*at_ns, *answers));
    let mut answered = 0;
    let mut least: BTreeMap<*const _, i64> = BTreeMap::new();
    for (_, answers, operation, output) in moments {
        let name = std::ptr::from_ref(operation);
        if !answers {
            least.insert(name, answered);
            continue;
        }
        let least = least.get(&name).copied().unwrap_or_default();
        let grows = output.revision > least
            || (output.revision == least && !writes(&operation.input, output));
        if !grows {
            return Err(format!(
                "revision {least} was answered before it was asked: {operation:?}"
            ));
        }
        answered = answered.max(output.revision);
    }
    Ok(())
}

/// A value is read with the revision that its writer was told.
fn values_keep_their_revisions(history: &History<Access, Answer>) -> Result<(), String> {
    let mut revisions: BTreeMap<u64, i64> = BTreeMap::new();
    let mut see = |value: u64, revision: i64| match revisions.insert(value, revision) {
        Some(other) if other != revision => {
            Err(format!("value {value} was written in revision {revision} and in {other}"))
        }
        _ => Ok(()),
    };
    for operation in history.operations() {
        let Outcome::Returned { output, .. } = &operation.outcome else { continue };
        match (&operation.input.verb, output.learnt) {
            (Verb::Put { value, .. }, _) | (Verb::PutIf { to: value, .. }, Learnt::Done) => {
                see(*value, output.revision)?;
            }
            _ => {}
        }
        if let Learnt::Held(Some((value, revision))) | Learnt::NotMet(Some((value, revision))) =
            output.learnt
        {
            see(value, revision)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
