//! Making a failing world smaller: leaving out faults while it still fails.

use crate::plan::Plan;
use crate::property::{Failure, Property};
use crate::workload::Workload;
use crate::world::World;
use driftless_node::machine::StateMachine;

/// A world that fails with as few faults as could be found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// Which of the plan's faults are left, counted from 0.
    pub faults: Vec<usize>,
    /// How it still fails.
    pub failure: Failure,
    /// Worlds that were tried.
    pub tried: u64,
}

/// Leaves out faults, many at once and then one by one, for as long as the
/// world breaks the same property. `None` if it does not fail to begin with.
pub fn shrink<M, W>(plan: &Plan, workload: impl Fn(&Plan) -> W) -> Option<Shrunk>
where
    M: StateMachine,
    W: Workload<M>,
{
    shrink_within(plan, workload, u64::MAX)
}

/// The same, but tries no more than about `worlds_max` worlds.
pub fn shrink_within<M, W>(
    plan: &Plan,
    workload: impl Fn(&Plan) -> W,
    worlds_max: u64,
) -> Option<Shrunk>
where
    M: StateMachine,
    W: Workload<M>,
{
    let mut tried = 0;
    let mut fails = |faults: &[usize], as_before: Option<Property>| {
        if tried >= worlds_max {
            return None;
        }
        tried += 1;
        let plan = plan.with_faults(faults);
        let workload = workload(&plan);
        let failure = World::<M, W>::new(plan, workload).run().failure?;
        as_before.is_none_or(|property| property == failure.property).then_some(failure)
    };
    let mut kept: Vec<usize> = (0..plan.faults.len()).collect();
    let mut failure = fails(&kept, None)?;
    let property = Some(failure.property);
    // What strikes after the failure had no part in it.
    kept.retain(|number| plan.faults[*number].at_us <= failure.at_us);
    match fails(&kept, property) {
        Some(same) => failure = same,
        None => kept = (0..plan.faults.len()).collect(),
    }
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        let mut smaller = false;
        while from < kept.len() {
            let until = (from + size).min(kept.len());
            let without = [&kept[..from], &kept[until..]].concat();
            if let Some(still) = fails(&without, property) {
                (kept, failure, smaller) = (without, still, true);
            } else {
                from = until;
            }
        }
        if !(smaller && size == 1) {
            size /= 2;
        }
    }
    Some(Shrunk { faults: kept, failure, tried })
}
