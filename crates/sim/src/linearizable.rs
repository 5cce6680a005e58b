//! Was this history linearizable (Herlihy and Wing, 1990)?
//!
//! The search is Lowe's just-in-time refinement of Wing and Gong's ("Testing
//! for linearizability", 2017): it walks the history in time and keeps every
//! state that the object may be in. An operation takes effect only when its
//! answer is due, after whatever open operations must come before it. Keys are
//! checked one by one, since linearizability is local. Four reductions keep
//! thousands of operations with hundreds of unknown outcomes quick; each only
//! drops a configuration that another one can do everything of:
//!
//! 1. equal configurations are kept once;
//! 2. a read that is right in the present state takes effect there and then;
//! 3. of two configurations that differ only in which operations of unknown
//!    outcome they have used up, one that used fewer of them is enough;
//! 4. equal operations of unknown outcome are used in the order they came, and
//!    none is used only to be overwritten before anybody saw it.

use crate::history::{History, Operation, Outcome};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What the object would do if it had one client: the meaning against which a
/// history is checked.
pub trait Model {
    /// The state behind one key.
    type State: Clone + Eq + Hash + Debug;
    /// A request.
    type Input: Clone + PartialEq + Debug;
    /// An answer.
    type Output: Clone + Debug;
    /// Names a part of the object that no operation shares with another; `()`
    /// where the object has no such parts.
    type Key: Ord + Clone + Debug;

    /// Which part `input` is about.
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The state behind `key` before all operations.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after `input` if its answer in `state` can be `output`; `None`
    /// if it cannot. Without an output (nobody knows it) every answer will do.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether this operation, having had this answer, changes no state
    /// whatever. Saying `false` is always right, and slower.
    fn reads_only(&self, input: &Self::Input, output: Option<&Self::Output>) -> bool {
        let _ = (input, output);
        false
    }

    /// Whether this operation, having had this answer, leaves the same state
    /// whatever it found. Saying `false` is always right, and slower.
    fn overwrites(&self, input: &Self::Input, output: Option<&Self::Output>) -> bool {
        let _ = (input, output);
        false
    }
}

/// An operation on the object of model `M`.
pub type Done<M> = Operation<<M as Model>::Input, <M as Model>::Output>;

/// What the checker found.
#[derive(Clone, Debug)]
pub enum Verdict<M: Model> {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    Violation(Violation<M>),
    /// More than the allowed number of configurations at once; nothing is known.
    Undecided {
        /// The key whose history is too entangled.
        key: M::Key,
        /// How many configurations it had when the search gave up.
        configurations: usize,
    },
}

impl<M: Model> Verdict<M> {
    /// Whether the history was found linearizable.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable)
    }
}

/// The answer that no order explains, and what stood around it.
#[derive(Clone, Debug)]
pub struct Violation<M: Model> {
    /// The key.
    pub key: M::Key,
    /// The first operation whose answer cannot be explained.
    pub operation: Done<M>,
    /// The states that the key may have been in before it.
    pub states: Vec<M::State>,
    /// What was open when its answer came, and might have taken effect before it.
    pub open: Vec<Done<M>>,
}

impl<M: Model> fmt::Display for Violation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order explains this answer about key {:?}:", self.key)?;
        writeln!(f, "  {}", Line(&self.operation))?;
        writeln!(f, "the state before it could only be one of:")?;
        for state in self.states.iter().take(LISTED_MAX) {
            writeln!(f, "  {state:?}")?;
        }
        writeln!(f, "open at that time, and perhaps done before it:")?;
        for operation in self.open.iter().take(LISTED_MAX) {
            writeln!(f, "  {}", Line(operation))?;
        }
        Ok(())
    }
}

const LISTED_MAX: usize = 20;

struct Line<'a, I, O>(&'a Operation<I, O>);

impl<I: Debug, O: Debug> fmt::Display for Line<'_, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, invoked_ns, input, outcome } = self.0;
        write!(f, "client {client}: {input:?} at {invoked_ns} ns, ")?;
        match outcome {
            Outcome::Returned { at_ns, output } => write!(f, "answered {output:?} at {at_ns} ns"),
            Outcome::Unknown => f.write_str("outcome unknown"),
            Outcome::Refused => f.write_str("refused"),
        }
    }
}

/// Configurations at once for one key, past which [`check`] gives up.
pub const CONFIGURATIONS_MAX: usize = 1_000_000;

/// Checks a history against a model, key by key.
pub fn check<M: Model>(model: &M, history: &History<M::Input, M::Output>) -> Verdict<M> {
    check_within(model, history, CONFIGURATIONS_MAX)
}

/// [`check`] with a bound of one's own.
pub fn check_within<M: Model>(
    model: &M,
    history: &History<M::Input, M::Output>,
    configurations_max: usize,
) -> Verdict<M> {
    let mut by_key: BTreeMap<M::Key, Vec<&Done<M>>> = BTreeMap::new();
    for operation in history.operations() {
        let drop = match &operation.outcome {
            Outcome::Refused => true,
            Outcome::Unknown => model.reads_only(&operation.input, None),
            Outcome::Returned { .. } => false,
        };
        if !drop {
            by_key.entry(model.key(&operation.input)).or_default().push(operation);
        }
    }
    for (key, operations) in by_key {
        match Search::new(model, operations, configurations_max).run(&key) {
            Verdict::Linearizable => {}
            verdict => return verdict,
        }
    }
    Verdict::Linearizable
}

/// One way in which things may stand at a moment of the history.
#[derive(Clone)]
struct Configuration<S> {
    state: S,
    /// Operations that have taken effect and whose answers are still to come; sorted.
    early: Vec<u32>,
    /// Operations of unknown outcome that have taken effect; sorted.
    spent: Vec<u32>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: Vec<&'a Done<M>>,
    traits: Vec<Traits>,
    configurations_max: usize,
}

/// What the search asks about an operation again and again.
#[derive(Clone, Copy)]
struct Traits {
    unknown: bool,
    reads_only: bool,
    overwrites: bool,
}

/// Operations that were sent and whose answers are still to come, in order.
#[derive(Default)]
struct Open {
    all: Vec<u32>,
    reads: Vec<u32>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: Vec<&'a Done<M>>, configurations_max: usize) -> Self {
        let traits = operations.iter().map(|operation| {
            let output = output(operation);
            Traits {
                unknown: output.is_none(),
                reads_only: model.reads_only(&operation.input, output),
                overwrites: model.overwrites(&operation.input, output),
            }
        });
        Self { model, traits: traits.collect(), operations, configurations_max }
    }

    fn run(&self, key: &M::Key) -> Verdict<M> {
        let state = self.model.initial(key);
        let mut configurations =
            vec![Configuration { state, early: Vec::new(), spent: Vec::new() }];
        let mut open = Open::default();
        for (_, is_return, operation) in self.moments() {
            let reads_only = self.traits[operation as usize].reads_only;
            if !is_return {
                open.all.push(operation);
                if reads_only {
                    open.reads.push(operation);
                    for configuration in &mut configurations {
                        self.take_reads(configuration, &[operation]);
                    }
                }
                continue;
            }
            open.all.retain(|candidate| *candidate != operation);
            open.reads.retain(|candidate| *candidate != operation);
            match self.returned(&configurations, operation, &open) {
                Err(configurations) => {
                    return Verdict::Undecided { key: key.clone(), configurations };
                }
                Ok(next) if next.is_empty() => {
                    return self.violation(key, configurations, operation, &open.all);
                }
                Ok(next) => configurations = next,
            }
        }
        Verdict::Linearizable
    }

    /// Invocations and answers in time. At one instant invocations come first:
    /// what touches counts as overlapping, so that a coarse clock accuses nobody.
    fn moments(&self) -> Vec<(u64, bool, u32)> {
        let mut moments = Vec::with_capacity(self.operations.len() * 2);
        for (number, operation) in self.operations.iter().enumerate() {
            moments.push((operation.invoked_ns, false, number as u32));
            if let Outcome::Returned { at_ns, .. } = operation.outcome {
                moments.push((at_ns, true, number as u32));
            }
        }
        moments.sort_unstable();
        moments
    }

    /// Every way in which things may stand once `due` has taken effect, if need
    /// be after some of the `open` operations.
    fn returned(
        &self,
        configurations: &[Configuration<M::State>],
        due: u32,
        open: &Open,
    ) -> Result<Vec<Configuration<M::State>>, usize> {
        let mut after = Frontier::default();
        let mut before = Frontier::default();
        let mut queue = VecDeque::new();
        for configuration in configurations {
            if let Ok(place) = configuration.early.binary_search(&due) {
                let mut done = configuration.clone();
                done.early.remove(place);
                after.insert(done);
            } else if let Some(place) = before.insert(configuration.clone()) {
                queue.push_back((place, false));
            }
        }
        while let Some((place, unseen)) = queue.pop_front() {
            let Some(configuration) = before.kept[place].clone() else { continue };
            let useless = |next: u32| unseen && self.traits[next as usize].overwrites;
            if !useless(due)
                && let Some(state) = self.step(&configuration.state, due)
            {
                let mut done = Configuration { state, ..configuration.clone() };
                self.take_reads(&mut done, &open.reads);
                after.insert(done);
            }
            for &candidate in open.all.iter().filter(|candidate| !useless(**candidate)) {
                let Some(next) = self.advance(&configuration, candidate, open) else { continue };
                let unseen = self.traits[candidate as usize].unknown
                    && next.early.len() == configuration.early.len();
                if let Some(place) = before.insert(next) {
                    queue.push_back((place, unseen));
                }
            }
            if before.kept.len() + after.kept.len() > self.configurations_max {
                return Err(before.kept.len() + after.kept.len());
            }
        }
        Ok(after.kept.into_iter().flatten().collect())
    }

    /// `configuration` after the open operation `candidate`, if that can and
    /// need come next.
    fn advance(
        &self,
        configuration: &Configuration<M::State>,
        candidate: u32,
        open: &Open,
    ) -> Option<Configuration<M::State>> {
        let unknown = self.traits[candidate as usize].unknown;
        let used = if unknown { &configuration.spent } else { &configuration.early };
        let Err(place) = used.binary_search(&candidate) else { return None };
        let state = self.step(&configuration.state, candidate)?;
        if unknown && (state == configuration.state || self.has_twin(used, candidate, &open.all)) {
            return None;
        }
        let mut next = Configuration { state, ..configuration.clone() };
        let used = if unknown { &mut next.spent } else { &mut next.early };
        used.insert(place, candidate);
        self.take_reads(&mut next, &open.reads);
        Some(next)
    }

    /// Whether an earlier, equal operation of unknown outcome is still unused.
    fn has_twin(&self, spent: &[u32], candidate: u32, open: &[u32]) -> bool {
        let input = &self.operations[candidate as usize].input;
        open.iter().take_while(|other| **other != candidate).any(|other| {
            self.traits[*other as usize].unknown
                && self.operations[*other as usize].input == *input
                && spent.binary_search(other).is_err()
        })
    }

    /// Lets those of the open `reads` that are right now take effect now.
    fn take_reads(&self, configuration: &mut Configuration<M::State>, reads: &[u32]) {
        for read in reads {
            if let Err(place) = configuration.early.binary_search(read)
                && self.step(&configuration.state, *read).is_some()
            {
                configuration.early.insert(place, *read);
            }
        }
    }

    fn step(&self, state: &M::State, operation: u32) -> Option<M::State> {
        let operation = self.operations[operation as usize];
        self.model.step(state, &operation.input, output(operation))
    }

    fn violation(
        &self,
        key: &M::Key,
        configurations: Vec<Configuration<M::State>>,
        operation: u32,
        open: &[u32],
    ) -> Verdict<M> {
        let mut states: Vec<M::State> = Vec::new();
        for configuration in configurations {
            if !states.contains(&configuration.state) {
                states.push(configuration.state);
            }
        }
        Verdict::Violation(Violation {
            key: key.clone(),
            operation: self.operations[operation as usize].clone(),
            states,
            open: open.iter().map(|number| self.operations[*number as usize].clone()).collect(),
        })
    }
}

fn output<I, O>(operation: &Operation<I, O>) -> Option<&O> {
    match &operation.outcome {
        Outcome::Returned { output, .. } => Some(output),
        Outcome::Unknown | Outcome::Refused => None,
    }
}

/// Configurations of which none can do only what another can.
struct Frontier<S> {
    kept: Vec<Option<Configuration<S>>>,
    /// Where those of one hash of state and early operations are kept.
    alike: BTreeMap<u64, Vec<usize>>,
}

impl<S> Default for Frontier<S> {
    fn default() -> Self {
        Self { kept: Vec::new(), alike: BTreeMap::new() }
    }
}

impl<S: Clone + Eq + Hash> Frontier<S> {
    /// Keeps `new` unless one that used no more unknown operations is there;
    /// says where.
    fn insert(&mut self, new: Configuration<S>) -> Option<usize> {
        let mut hasher = DefaultHasher::new();
        (&new.state, &new.early).hash(&mut hasher);
        let alike = self.alike.entry(hasher.finish()).or_default();
        let kept = &mut self.kept;
        let is_like = |old: &Configuration<S>| old.state == new.state && old.early == new.early;
        let enough = |old: &Configuration<S>| is_like(old) && is_subset(&old.spent, &new.spent);
        if alike.iter().any(|place| kept[*place].as_ref().is_some_and(enough)) {
            return None;
        }
        alike.retain(|&place| {
            let worse = |old: &Configuration<S>| is_like(old) && is_subset(&new.spent, &old.spent);
            let is_worse = kept[place].as_ref().is_some_and(worse);
            if is_worse {
                kept[place] = None;
            }
            !is_worse
        });
        alike.push(kept.len());
        kept.push(Some(new));
        Some(kept.len() - 1)
    }
}

fn is_subset(small: &[u32], large: &[u32]) -> bool {
    let mut large = large.iter();
    small.len() <= large.len() && small.iter().all(|wanted| large.any(|have| have == wanted))
}

#[cfg(test)]
mod tests;
