//! Every state that a small group can reach, within stated bounds, and what must
//! hold in each: a breadth-first search of the very code that ships.
//!
//! Three members. Messages are delivered in any order, or never, some of them
//! twice; a write becomes durable when it likes; a member crashes at any moment
//! with any number of its writes done. `world.rs` says what can happen,
//! `check.rs` what must hold, `mutant.rs` holds the wrong variants that show
//! that the checks can fail, and `tests.rs` the scenes and their bounds.
//!
//! Visited states are kept as 64-bit fingerprints: among three million of them the
//! odds that two share one, and a state was missed, are below 1 in a million.

extern crate std;

mod catalogue;
mod check;
mod deeds;
mod delegates;
mod elections;
mod greatest;
mod host;
mod leadership;
mod members;
mod mutant;
mod mutant_more;
#[path = "../../tests/stories/narrate.rs"]
#[allow(dead_code, reason = "the stories use the rest of it")]
mod narrate;
mod numbers;
mod packed;
mod partitions;
mod reads;
mod rejoin;
mod scene;
mod snapshots;
mod story;
mod story_tests;
mod suite;
mod symmetry;
mod table;
mod walks;
mod wide;
mod wide_tests;
mod world;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use packed::Frontier;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use symmetry::Symmetry;
use table::Seen;
use world::{Action, World};

/// What a search found.
#[derive(Default)]
pub(crate) struct Report {
    /// Distinct states.
    pub(crate) states: usize,
    /// Actions from the beginning to the farthest of them.
    pub(crate) depth: usize,
    /// How often each kind of action was tried.
    pub(crate) actions: BTreeMap<&'static str, u64>,
    /// Situations met at least once.
    pub(crate) met: BTreeMap<&'static str, u64>,
    /// The first violation, and the shortest way to it.
    pub(crate) violation: Option<Violation>,
    /// Whether every state within the bounds was visited.
    pub(crate) exhausted: bool,
    /// How many renamings of the members leave the beginning as it is.
    pub(crate) symmetry: usize,
    /// How many of them nothing is greater than, where such are left out.
    pub(crate) greatest: usize,
    /// States in the widest level.
    pub(crate) widest: usize,
    /// What states cost: fingerprints, ways and two levels, but not their parts.
    pub(crate) bytes: usize,
}

/// A property that does not hold.
pub(crate) struct Violation {
    /// Which, and why.
    pub(crate) what: String,
    /// The actions that lead there, and where each was taken.
    pub(crate) way: Vec<(World, Action)>,
}

/// A search that goes beyond so many states says how far it is, level by level.
const PROGRESS_FROM: usize = 10_000_000;

/// What was worked out is forgotten where it is more than this.
const PARTS_MAX: usize = 3_000_000;

/// Visits every state that `start` leads to, or `states_max` of them. Of states
/// that differ only in who is who, one is visited.
pub(crate) fn search(start: &World, states_max: usize) -> Report {
    let mut report = Report::default();
    let start = &start.clone().settled_fate();
    let mut symmetry = Symmetry::of(start);
    report.symmetry = symmetry.size();
    let mut seen = Seen::default();
    seen.insert(symmetry.fingerprint(start));
    // Where each state came from: its predecessor, and which of its actions.
    let mut ways = Ways::default();
    ways.push(0, 0);
    let mut frontier = Frontier::default();
    frontier.push(0, start);
    while !frontier.is_empty() {
        let mut next = Frontier::default();
        let mut at = 0;
        while let Some((number, world, behind)) = frontier.unpack(at, start) {
            at = behind;
            for (choice, action) in world.actions().into_iter().enumerate() {
                *report.actions.entry(action.kind()).or_default() += 1;
                let reached = attempt(|| world.go(action, &mut report.met));
                let reached = reached.and_then(|reached| {
                    let is_new = seen.insert(symmetry.fingerprint(&reached));
                    if is_new {
                        attempt(|| check::state(&reached, &mut report.met))?;
                    }
                    Ok(is_new.then_some(reached))
                });
                match reached {
                    Err(what) => {
                        let mut way = retrace(start, &ways, number);
                        way.push((world, action));
                        report.violation = Some(Violation { what, way });
                        return report;
                    }
                    Ok(None) => {}
                    Ok(Some(reached)) => {
                        next.push(ways.len() as u32, &reached);
                        ways.push(number, choice as u16);
                    }
                }
            }
            report.states = ways.len();
            if report.states >= states_max {
                return report;
            }
        }
        report.depth += usize::from(!next.is_empty());
        report.widest = report.widest.max(next.len());
        report.bytes =
            report.bytes.max(next.bytes() + frontier.bytes() + seen.bytes() + ways.bytes());
        if report.states > PROGRESS_FROM {
            std::eprintln!(
                "  {} deep: {} states, {} of them new, {} MB",
                report.depth,
                report.states,
                next.len(),
                report.bytes >> 20
            );
        }
        frontier = next;
        symmetry.forget_beyond(PARTS_MAX);
        start.memo.borrow_mut().forget_beyond(PARTS_MAX);
    }
    report.exhausted = true;
    report
}

/// For each state, the one that it was first reached from, and by which action.
#[derive(Default)]
struct Ways {
    from: Vec<u32>,
    choices: Vec<u16>,
}

impl Ways {
    fn push(&mut self, from: u32, choice: u16) {
        self.from.push(from);
        self.choices.push(choice);
    }

    fn len(&self) -> usize {
        self.from.len()
    }

    fn bytes(&self) -> usize {
        self.from.len() * (size_of::<u32>() + size_of::<u16>())
    }
}

/// A failed assertion of the algorithm is a violation as well.
fn attempt<T>(action: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("assertion: {}", text.unwrap_or_default()))
    })
}

/// The actions that lead to a state, and where each was taken.
fn retrace(start: &World, ways: &Ways, mut number: u32) -> Vec<(World, Action)> {
    let mut choices = Vec::new();
    while number != 0 {
        choices.push(ways.choices[number as usize]);
        number = ways.from[number as usize];
    }
    let mut world = start.clone();
    let mut way = Vec::new();
    for choice in choices.into_iter().rev() {
        let action = world.actions()[usize::from(choice)];
        let reached = world.go(action, &mut BTreeMap::new()).expect("it went well before");
        way.push((mem::replace(&mut world, reached), action));
    }
    way
}
