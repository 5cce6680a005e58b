//! Simulates a small machine: `cargo run -p driftless-sim --example registers -- SEED`
//! tells the story of one world, without a seed a hundred worlds are run.

#[path = "../tests/support/mod.rs"]
mod support;

use driftless_sim::{Plan, Report, World};
use std::process::ExitCode;
use support::Clients;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).flat_map(|text| text.parse()).collect();
    if let [seed] = numbers[..] {
        let tell = Box::new(|line: &str| println!("{line}"));
        let outcome = World::new(Plan::draw(seed), Clients::default()).narrated(tell).run();
        return ExitCode::from(u8::from(outcome.failure.is_some()));
    }
    let mut all = Report::default();
    let mut failed = 0;
    let (from, until) = if let [from, until] = numbers[..] { (from, until) } else { (0, 100) };
    for seed in from..until {
        let outcome = World::new(Plan::draw(seed), Clients::default()).run();
        all.add(&outcome.report);
        if let Some(failure) = outcome.failure {
            failed += 1;
            println!("seed {seed}: {failure}");
        }
    }
    println!("{all}{failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
