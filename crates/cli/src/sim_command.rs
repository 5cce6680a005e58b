//! `driftless sim`: the store in simulated worlds, one told line by line or a
//! thousand counted.

use crate::sim_workload::KvWorkload;
use clap::Args;
use driftless_sim::shrink::{shrink, shrink_within};
use driftless_sim::{Campaign, Plan, Progress, World};
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Simulate whole clusters: real nodes, logs and stores under virtual time, on
/// networks, clocks and disks that fail.
///
/// Everything follows from one number, the seed. Without --seed many worlds are
/// run, and what they met is counted.
#[derive(Args, Debug)]
pub(crate) struct SimArguments {
    /// Run the one world of this seed and tell what happens in it.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Run this many worlds and count what they met. A thousand or more fail
    /// also if something that they should meet never happened.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, conflicts_with = "seed")]
    seeds: u64,

    /// The first seed of many.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "seed")]
    from: u64,

    /// How many worlds to run at once [default: one a core].
    #[arg(long, value_name = "COUNT", conflicts_with = "seed")]
    jobs: Option<NonZeroUsize>,

    /// Leave out faults for as long as the world still fails, then tell what
    /// happens in the smallest that was found.
    #[arg(long, requires = "seed")]
    shrink: bool,

    /// Keep only these of the world's faults (their numbers, as --shrink says).
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "seed")]
    faults: Option<Vec<usize>>,
}

/// Runs the command.
pub(crate) fn run(arguments: &SimArguments) -> ExitCode {
    let is_good = match arguments.seed {
        Some(seed) => one(seed, arguments.faults.as_deref(), arguments.shrink),
        None => many(arguments),
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, faults: Option<&[usize]>, smaller: bool) -> bool {
    let mut plan = Plan::draw(seed);
    if let Some(faults) = faults {
        plan = plan.with_faults(faults);
    } else if smaller {
        match shrink(&plan, KvWorkload::new) {
            Some(shrunk) => {
                println!(
                    "{} of {} faults are enough ({} worlds tried); again with:\n  \
                     driftless sim --seed {seed} --faults {}\n",
                    shrunk.faults.len(),
                    plan.faults.len(),
                    shrunk.tried,
                    numbers(&shrunk.faults)
                );
                plan = plan.with_faults(&shrunk.faults);
            }
            None => println!("the world of seed {seed} does not fail\n"),
        }
    }
    let workload = KvWorkload::new(&plan);
    let mut out = std::io::stdout().lock();
    // Somebody who reads only the first lines (`| head`) has read enough.
    let tell = Box::new(move |line: &str| drop(writeln!(out, "{line}")));
    let outcome = World::new(plan, workload).narrated(tell).run();
    println!("\n{:#}trace {:016x}", outcome.report, outcome.trace);
    match &outcome.failure {
        Some(failure) => println!("\nFAILED: {failure}"),
        None => println!("\nall is well"),
    }
    outcome.failure.is_none()
}

fn many(arguments: &SimArguments) -> bool {
    let mut campaign = Campaign::new(arguments.from, arguments.seeds);
    if let Some(jobs) = arguments.jobs {
        campaign.threads = jobs;
    }
    let began = Instant::now();
    let bar = Mutex::new(Bar { drawn: None, is_shown: std::io::stderr().is_terminal() });
    let verdict = campaign.run(KvWorkload::new, |progress| {
        if let Ok(mut bar) = bar.lock() {
            bar.draw(progress, began.elapsed());
        }
    });
    print!("{}", verdict.report);
    for (number, (seed, failure)) in verdict.failures.iter().enumerate() {
        println!("\nseed {seed}: {failure}");
        println!("  again:   driftless sim --seed {seed}");
        if number < SHRUNK_MAX {
            smaller(*seed);
        } else {
            println!("  smaller: driftless sim --seed {seed} --shrink");
        }
    }
    for situation in &verdict.missing {
        println!("\nnever happened: {}", situation.text());
    }
    let failed = verdict.failures.len();
    println!(
        "\n{} worlds in {:.1} s: {}",
        arguments.seeds,
        began.elapsed().as_secs_f64(),
        match (failed, verdict.missing.len()) {
            (0, 0) => "all is well".to_owned(),
            (0, missing) => format!("{missing} situations never came up"),
            (failed, _) => format!("{failed} failed"),
        }
    );
    verdict.is_good()
}

/// So many failures of a campaign are made smaller by themselves ...
const SHRUNK_MAX: usize = 3;
/// ... by trying so many worlds each.
const TRIED_MAX: u64 = 100;

/// Leaves out what the failure of `seed` does not need, and says how to see it.
fn smaller(seed: u64) {
    let plan = Plan::draw(seed);
    let Some(shrunk) = shrink_within(&plan, KvWorkload::new, TRIED_MAX) else { return };
    println!(
        "  smaller: driftless sim --seed {seed} --faults {}   ({} of {} faults)",
        numbers(&shrunk.faults),
        shrunk.faults.len(),
        plan.faults.len()
    );
}

fn numbers(faults: &[usize]) -> String {
    // A list of none must still be one.
    let none = faults.is_empty().then(|| usize::MAX.to_string());
    let numbers = faults.iter().map(usize::to_string).chain(none);
    numbers.collect::<Vec<_>>().join(",")
}

/// A progress bar on the terminal, where there is one.
struct Bar {
    drawn: Option<Instant>,
    is_shown: bool,
}

/// How often the bar is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// How wide it is.
const WIDTH: u64 = 40;

impl Bar {
    fn draw(&mut self, progress: Progress, took: Duration) {
        let Progress { done, of, failed } = progress;
        let is_last = done == of;
        let is_early = self.drawn.is_some_and(|drawn| drawn.elapsed() < DRAWN_EVERY);
        if !self.is_shown || (is_early && !is_last) {
            return;
        }
        self.drawn = Some(Instant::now());
        let full = (done * WIDTH / of.max(1)) as usize;
        let left = took.mul_f64((of - done) as f64 / done.max(1) as f64).as_secs();
        let mut err = std::io::stderr().lock();
        let (done_bar, rest) = ("█".repeat(full), "·".repeat(WIDTH as usize - full));
        let end = if is_last { "\n" } else { "" };
        let _ = write!(
            err,
            "\r{done_bar}{rest} {done}/{of} worlds, {failed} failed, {left} s left \x1b[K{end}"
        );
    }
}
