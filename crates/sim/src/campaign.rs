//! Many worlds, on all cores.

use crate::plan::Plan;
use crate::property::Failure;
use crate::report::{Report, Situation};
use crate::workload::Workload;
use crate::world::World;
use driftless_node::machine::StateMachine;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Worlds from which on a campaign must have met everything.
pub const WORLDS_TO_MEET_ALL: u64 = 1_000;

/// Which worlds to run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// On how many threads.
    pub threads: NonZeroUsize,
}

/// How far a campaign has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Worlds that have ended.
    pub done: u64,
    /// Worlds in all.
    pub of: u64,
    /// Those of them that failed.
    pub failed: u64,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What all its worlds met.
    pub report: Report,
    /// Each seed that failed, and how; in order.
    pub failures: Vec<(u64, Failure)>,
    /// What a campaign of this size must have met and did not.
    pub missing: Vec<Situation>,
}

impl Verdict {
    /// Whether all is well.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.missing.is_empty()
    }
}

impl Campaign {
    /// The worlds of `seeds` seeds from `from` on, on all cores.
    pub fn new(from: u64, seeds: u64) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { from, seeds, threads }
    }

    /// Runs them, each with a workload made for its plan. `tell` hears of each
    /// world that ends. What comes out does not depend on the threads.
    pub fn run<M, W>(
        &self,
        workload: impl Fn(&Plan) -> W + Sync,
        tell: impl Fn(Progress) + Sync,
    ) -> Verdict
    where
        M: StateMachine,
        W: Workload<M>,
    {
        let next = AtomicU64::new(0);
        let ended = Mutex::new((0, Verdict::default()));
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.seeds {
                    return;
                }
                let plan = Plan::draw(self.from + number);
                let seed = plan.seed;
                let workload = workload(&plan);
                let outcome = World::<M, W>::new(plan, workload).run();
                let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                let (done, verdict) = &mut *ended;
                *done += 1;
                verdict.report.add(&outcome.report);
                verdict.failures.extend(outcome.failure.map(|failure| (seed, failure)));
                let failed = verdict.failures.len() as u64;
                tell(Progress { done: *done, of: self.seeds, failed });
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.get() {
                scope.spawn(work);
            }
            work();
        });
        let (_, mut verdict) = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        verdict.failures.sort_by_key(|(seed, _)| *seed);
        if self.seeds >= WORLDS_TO_MEET_ALL {
            verdict.missing = verdict.report.missing();
        }
        verdict
    }
}
