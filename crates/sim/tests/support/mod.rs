//! The smallest machine worth simulating: a few registers in memory, to be set,
//! swapped and compared-and-set, and the clients that use them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use driftless_sim::node::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use driftless_sim::node::raft::NodeId;
use driftless_sim::random::Random;
use driftless_sim::register::{Access, Registers, Seen, Verb};
use driftless_sim::{Ask, Request, Workload};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

/// How many registers there are.
pub(crate) const KEYS: usize = 3;

/// The registers; 0 until written.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    values: Arc<Mutex<[u64; KEYS]>>,
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, [u64; KEYS]> {
        self.values.lock().expect("nobody panics while holding it")
    }
}

struct Frozen(Option<[u64; KEYS]>);

impl Snapshot for Frozen {
    fn read_chunk(&mut self, _bytes_max: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        for value in self.0.take().into_iter().flatten() {
            out.put_u64_le(value);
        }
        Ok(())
    }
}

impl StateMachine for Machine {
    type Reader = Self;

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        let mut values = self.lock();
        let apply = |command: &Bytes| {
            let mut command = command.clone();
            let (verb, key) = (command.get_u8(), usize::from(command.get_u8()));
            let (from, to) = (command.get_u64_le(), command.get_u64_le());
            let before = values[key];
            if verb != COMPARE || before == from {
                values[key] = to;
            }
            let mut reply = BytesMut::new();
            reply.put_u64_le(before);
            reply.freeze()
        };
        batch.commands.iter().map(apply).collect()
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        Box::new(Frozen(Some(*self.lock())))
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> Result<(), RestoreError> {
        let mut bytes = Vec::new();
        snapshot.read_to_end(&mut bytes)?;
        let mut values = self.lock();
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *value = u64::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

const WRITE: u8 = 0;
const SWAP: u8 = 1;
const COMPARE: u8 = 2;

/// Clients of the registers. Every value that they write is a new one.
#[derive(Default)]
pub(crate) struct Clients {
    last_value: u64,
}

impl Workload<Machine> for Clients {
    type Model = Registers<usize, u64>;

    fn model(&self) -> Self::Model {
        Registers::new(0)
    }

    fn machine(&mut self, _member: NodeId) -> Machine {
        Machine::default()
    }

    fn next(&mut self, random: &mut Random) -> Request<Access<usize, u64>> {
        let key = random.below(KEYS as u64) as usize;
        self.last_value += 1;
        let value = self.last_value;
        let (verb, number, from) = match random.below(6) {
            0..2 => {
                let input = Access { key, verb: Verb::Read };
                return Request { input, ask: Ask::Read };
            }
            2..4 => (Verb::Write(value), WRITE, 0),
            4 => (Verb::Swap(value), SWAP, 0),
            _ => {
                let from = value.saturating_sub(random.between(1, 8));
                (Verb::CompareAndSet { from, to: value }, COMPARE, from)
            }
        };
        let mut command = BytesMut::new();
        command.put_u8(number);
        command.put_u8(key as u8);
        command.put_u64_le(from);
        command.put_u64_le(value);
        Request { input: Access { key, verb }, ask: Ask::Command(command.freeze()) }
    }

    fn output(&mut self, input: &Access<usize, u64>, reply: &Bytes) -> Result<Seen<u64>, String> {
        let before = reply.as_ref().try_into().map_err(|_| "eight bytes were due")?;
        let before = u64::from_le_bytes(before);
        Ok(match &input.verb {
            Verb::Write(_) => Seen::Written,
            Verb::CompareAndSet { from, .. } => Seen::Compared(*from == before),
            Verb::Swap(_) | Verb::Read => Seen::Value(before),
        })
    }

    fn read(&self, input: &Access<usize, u64>, reader: &Machine) -> Seen<u64> {
        Seen::Value(reader.lock()[input.key])
    }

    fn last_reads(&self) -> Vec<Access<usize, u64>> {
        (0..KEYS).map(|key| Access { key, verb: Verb::Read }).collect()
    }
}
