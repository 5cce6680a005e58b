//! Whole worlds of a small machine.

mod support;

use driftless_sim::{Outcome, Plan, World};
use support::Clients;

fn run(seed: u64) -> Outcome {
    World::new(Plan::draw(seed), Clients::default()).run()
}

#[test]
fn a_few_worlds_end_well() {
    for seed in 0..20 {
        let outcome = run(seed);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
}
