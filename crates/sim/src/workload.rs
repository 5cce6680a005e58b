//! What a user brings to the simulator beside the state machine: clients.

use crate::history::History;
use crate::linearizable::Model;
use crate::machine_work::frozen_bytes;
use crate::random::{Random, hash_bytes};
use bytes::Bytes;
use driftless_node::machine::StateMachine;
use driftless_node::raft::NodeId;

/// Clients of a state machine, and the meaning against which their histories
/// are checked.
pub trait Workload<M: StateMachine> {
    /// What the machine would do if it had one client.
    type Model: Model;

    /// The meaning of the machine.
    fn model(&self) -> Self::Model;

    /// A machine for `member`, whose process starts. One in memory is new each
    /// time; one with a disk finds what it kept.
    fn machine(&mut self, member: NodeId) -> M;

    /// The disk of `member` is gone, or an older copy is in its place: a machine that
    /// kept something there has lost it.
    fn disk_lost(&mut self, member: NodeId) {
        let _ = member;
    }

    /// The next request of some client. Use few keys, so that requests meet,
    /// and let every command differ from every other, so that one that is
    /// applied twice is noticed.
    fn next(&mut self, random: &mut Random) -> Request<<Self::Model as Model>::Input>;

    /// What `reply` says in the model's words, or why it is no reply to `input`.
    fn output(
        &mut self,
        input: &<Self::Model as Model>::Input,
        reply: &Bytes,
    ) -> Result<<Self::Model as Model>::Output, String>;

    /// Answers a read from a machine that is fresh enough.
    fn read(
        &self,
        input: &<Self::Model as Model>::Input,
        reader: &M::Reader,
    ) -> <Self::Model as Model>::Output;

    /// Reads that together see the whole state; asked of every member at the end.
    fn last_reads(&self) -> Vec<<Self::Model as Model>::Input>;

    /// A hash of the machine's whole state, by which members are compared at
    /// the end: of its snapshot, unless the same state may be written down in
    /// more than one way.
    fn digest(&self, machine: &mut M) -> u64 {
        hash_bytes(&frozen_bytes(machine))
    }

    /// Examines a machine at the end, beyond what the model knows.
    fn examine(&self, reader: &M::Reader) -> Result<(), String> {
        let _ = reader;
        Ok(())
    }

    /// Examines the clients' history at the end, beyond what the model knows.
    fn examine_history(&self, history: &HistoryOf<M, Self>) -> Result<(), String> {
        let _ = history;
        Ok(())
    }
}

/// What the clients of a workload did and saw.
pub type HistoryOf<M, W> = History<
    <<W as Workload<M>>::Model as Model>::Input,
    <<W as Workload<M>>::Model as Model>::Output,
>;

/// A request of a client.
#[derive(Clone, Debug)]
pub struct Request<I> {
    /// What it is in the model's words.
    pub input: I,
    /// What the node is asked.
    pub ask: Ask,
}

/// What a node is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// To replicate and apply this.
    Command(Bytes),
    /// To say when its machine may be read; [`Workload::read`] then reads it.
    Read,
}
