//! What clients did and saw, in their own time: the input of the
//! [`linearizable`](crate::linearizable) checker.
//!
//! Times are nanoseconds on one clock that all clients share: the virtual clock
//! of a simulated world, or one process's monotonic clock in a test of real
//! servers.

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who did it; for the reader of a report only.
    pub client: u64,
    /// When it was sent.
    pub invoked_ns: u64,
    /// What was asked.
    pub input: I,
    /// What is known of its end.
    pub outcome: Outcome<O>,
}

/// How an operation ended, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// It was answered.
    Returned {
        /// When the answer arrived.
        at_ns: u64,
        /// The answer.
        output: O,
    },
    /// No answer: it may have taken effect, may do so later, or never.
    Unknown,
    /// It is certain that it had no effect.
    Refused,
}

/// Names an operation of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(usize);

/// A record of what clients did.
#[derive(Clone, Debug)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        Self { operations: Vec::new() }
    }
}

impl<I, O> History<I, O> {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client sends a request. Until told otherwise its outcome is unknown.
    pub fn invoke(&mut self, client: u64, input: I, at_ns: u64) -> OperationId {
        let id = OperationId(self.operations.len());
        let outcome = Outcome::Unknown;
        self.operations.push(Operation { client, invoked_ns: at_ns, input, outcome });
        id
    }

    /// The request was answered.
    pub fn respond(&mut self, id: OperationId, output: O, at_ns: u64) {
        let operation = &mut self.operations[id.0];
        assert!(at_ns >= operation.invoked_ns, "an answer came before its question");
        operation.outcome = Outcome::Returned { at_ns, output };
    }

    /// The request certainly had no effect.
    pub fn refuse(&mut self, id: OperationId) {
        self.operations[id.0].outcome = Outcome::Refused;
    }

    /// The operations, in the order of their invocation calls.
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }

    /// Joins the record of another client, taken on the same clock.
    pub fn merge(&mut self, other: Self) {
        self.operations.extend(other.operations);
    }
}
