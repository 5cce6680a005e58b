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

mod check;
mod elections;
mod host;
mod leadership;
mod members;
mod mutant;
mod mutant_more;
mod reads;
mod rejoin;
mod scene;
mod seen;
mod snapshots;
mod suite;
mod world;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use seen::Seen;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Action, World};

/// What a search found.
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
}

/// A property that does not hold.
pub(crate) struct Violation {
    /// Which, and why.
    pub(crate) what: String,
    /// The actions that lead there.
    pub(crate) way: Vec<String>,
}

/// Visits every state that `start` leads to, or `states_max` of them.
pub(crate) fn search(start: &World, states_max: usize) -> Report {
    let mut report = Report {
        states: 1,
        depth: 0,
        actions: BTreeMap::new(),
        met: BTreeMap::new(),
        violation: None,
        exhausted: false,
    };
    let mut seen = Seen::default();
    seen.insert(start.fingerprint());
    // Where each state came from: its predecessor, and which of its actions.
    let mut ways: Vec<(u32, u16)> = alloc::vec![(0, 0)];
    let mut frontier = alloc::vec![(0_u32, start.clone())];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (number, world) in &frontier {
            for (choice, action) in world.actions().into_iter().enumerate() {
                *report.actions.entry(action.kind()).or_default() += 1;
                match attempt(world, action, &mut report.met) {
                    Err(what) => {
                        let mut way = retrace(start, &ways, *number);
                        way.push(format!("{action:?}"));
                        report.violation = Some(Violation { what, way });
                        return report;
                    }
                    Ok(reached) => {
                        if seen.insert(reached.fingerprint()) {
                            next.push((report.states as u32, reached));
                            ways.push((*number, choice as u16));
                            report.states += 1;
                        }
                    }
                }
            }
            if report.states >= states_max {
                return report;
            }
        }
        report.depth += usize::from(!next.is_empty());
        frontier = next;
    }
    report.exhausted = true;
    report
}

/// One action. A failed assertion of the algorithm is a violation as well.
fn attempt(
    world: &World,
    action: Action,
    met: &mut BTreeMap<&'static str, u64>,
) -> Result<World, String> {
    catch_unwind(AssertUnwindSafe(|| world.act(action, met))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("assertion: {}", text.unwrap_or_default()))
    })
}

/// The actions that lead to a state, told in full.
fn retrace(start: &World, ways: &[(u32, u16)], mut number: u32) -> Vec<String> {
    let mut choices = Vec::new();
    while number != 0 {
        let (from, choice) = ways[number as usize];
        choices.push(choice);
        number = from;
    }
    let mut world = start.clone();
    let mut told = Vec::new();
    for choice in choices.into_iter().rev() {
        let action = world.actions()[usize::from(choice)];
        told.push(world.tell(action));
        world = attempt(&world, action, &mut BTreeMap::new()).expect("it went well before");
    }
    told
}
