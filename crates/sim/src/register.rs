//! The commonest sequential model: independent registers, one a key, each
//! holding one value, to be written, read and compared-and-set.

use crate::linearizable::Model;
use std::fmt::Debug;
use std::hash::Hash;

/// Registers named by `K`, holding `V`. Where a key may be absent, let `V` be
/// an `Option`.
#[derive(Clone, Debug, Default)]
pub struct Registers<K, V> {
    initial: V,
    keys: std::marker::PhantomData<K>,
}

impl<K, V> Registers<K, V> {
    /// Registers that all begin with `initial`.
    pub fn new(initial: V) -> Self {
        Self { initial, keys: std::marker::PhantomData }
    }
}

/// An operation on one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access<K, V> {
    /// Which register.
    pub key: K,
    /// What to do with it.
    pub verb: Verb<V>,
}

/// What to do with a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb<V> {
    /// Answered by [`Seen::Value`].
    Read,
    /// Answered by [`Seen::Written`].
    Write(V),
    /// Writes, and is answered by the previous value, [`Seen::Value`].
    Swap(V),
    /// Writes `to` if the value is `from`; answered by [`Seen::Compared`].
    CompareAndSet {
        /// The value that it must find.
        from: V,
        /// The value that it then leaves.
        to: V,
    },
}

/// What a client saw of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<V> {
    /// The value there.
    Value(V),
    /// That its value was written.
    Written,
    /// Whether the comparison held.
    Compared(bool),
}

impl<K, V> Model for Registers<K, V>
where
    K: Ord + Clone + Debug,
    V: Clone + Eq + Hash + Debug,
{
    type State = V;
    type Input = Access<K, V>;
    type Output = Seen<V>;
    type Key = K;

    fn key(&self, input: &Self::Input) -> K {
        input.key.clone()
    }

    fn initial(&self, _key: &K) -> V {
        self.initial.clone()
    }

    fn step(&self, state: &V, input: &Self::Input, output: Option<&Seen<V>>) -> Option<V> {
        let (next, answer) = match &input.verb {
            Verb::Read => (state.clone(), Seen::Value(state.clone())),
            Verb::Write(value) => (value.clone(), Seen::Written),
            Verb::Swap(value) => (value.clone(), Seen::Value(state.clone())),
            Verb::CompareAndSet { from, to } if from == state => (to.clone(), Seen::Compared(true)),
            Verb::CompareAndSet { .. } => (state.clone(), Seen::Compared(false)),
        };
        output.is_none_or(|seen| *seen == answer).then_some(next)
    }

    fn reads_only(&self, input: &Self::Input, output: Option<&Seen<V>>) -> bool {
        matches!(input.verb, Verb::Read) || matches!(output, Some(Seen::Compared(false)))
    }

    fn overwrites(&self, input: &Self::Input, output: Option<&Seen<V>>) -> bool {
        match input.verb {
            Verb::Write(_) => true,
            Verb::Swap(_) => output.is_none(),
            Verb::Read | Verb::CompareAndSet { .. } => false,
        }
    }
}
