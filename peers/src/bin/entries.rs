//! A fixed number of commands through one cluster, for callgrind and perf:
//!
//!     entries driftless|whole-node|default|batch-append|one-proposal BATCH COMMANDS
//!
//! Says how long a command took. Instructions per entry are the difference of
//! two runs, so that starting up does not count; see `peers/README.md`.

use driftless_peers::alone::Alone;
use driftless_peers::ours::Ours;
use driftless_peers::raft_rs::{Mode, RaftRs};
use driftless_peers::{Cluster, PAYLOAD_BYTES};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, batch, commands] = &arguments[..] else { return usage() };
    let (Ok(batch), Ok(commands)) = (batch.parse::<u64>(), commands.parse::<u64>()) else {
        return usage();
    };
    let mut cluster: Box<dyn Cluster> = match name.as_str() {
        "driftless" => Box::new(Alone::new()),
        "whole-node" => Box::new(Ours::new()),
        "default" => Box::new(RaftRs::new(Mode::Default)),
        "batch-append" => Box::new(RaftRs::new(Mode::BatchAppend)),
        "one-proposal" => Box::new(RaftRs::new(Mode::OneProposal)),
        _ => return usage(),
    };
    let before = cluster.applied();
    let began = Instant::now();
    let batches = commands.div_ceil(batch.max(1));
    for _ in 0..batches {
        cluster.replicate(batch);
    }
    let took = began.elapsed();
    let commands = batches * batch;
    for ((before, bytes_before), (after, bytes_after)) in before.iter().zip(cluster.applied()) {
        assert_eq!(after - before, commands);
        assert_eq!(bytes_after - bytes_before, commands * PAYLOAD_BYTES as u64);
    }
    let nanos = took.as_nanos() as f64 / commands as f64;
    println!("{name}, batches of {batch}: {nanos:.0} ns a command, {:.0} a second", 1e9 / nanos);
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("entries driftless|whole-node|default|batch-append|one-proposal BATCH COMMANDS");
    ExitCode::from(2)
}
