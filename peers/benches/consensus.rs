//! `cargo bench --manifest-path peers/Cargo.toml`: consensus alone, side by side.
//! An element is one command of 256 bytes, applied by all three members.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use driftless_peers::Cluster;
use driftless_peers::alone::Alone;
use driftless_peers::ours::Ours;
use driftless_peers::raft_rs::{Mode, RaftRs};
use std::hint::black_box;

fn consensus(criterion: &mut Criterion) {
    for count in [1, 64, 1024] {
        let mut group = criterion.benchmark_group(format!("batches of {count}"));
        group.throughput(Throughput::Elements(count));
        let mut run = |name: &str, mut cluster: Box<dyn Cluster>| {
            group.bench_function(name, |bencher| {
                bencher.iter(|| cluster.replicate(black_box(count)));
            });
        };
        run("driftless", Box::new(Alone::new()));
        run("raft-rs", Box::new(RaftRs::new(Mode::Default)));
        run("raft-rs, batch_append", Box::new(RaftRs::new(Mode::BatchAppend)));
        run("raft-rs, one proposal", Box::new(RaftRs::new(Mode::OneProposal)));
        run("driftless, the whole node", Box::new(Ours::new()));
    }
}

criterion_group!(benches, consensus);
criterion_main!(benches);
