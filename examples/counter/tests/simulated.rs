//! The same counter in simulated worlds: partitions, power cuts, full and
//! rotten disks, clocks that leap, and after all of it every client's history
//! must have an order in which it makes sense.

#[path = "../src/machine.rs"]
mod machine;

use driftless::Bytes;
use driftless_sim::linearizable::Model;
use driftless_sim::node::raft::NodeId;
use driftless_sim::random::Random;
use driftless_sim::{Ask, Campaign, Request, Workload};
use machine::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a counter means: one client would see this.
struct Counting;

#[derive(Clone, Debug, PartialEq)]
enum Input {
    Increment,
    Get,
}

impl Model for Counting {
    type State = u64;
    type Input = Input;
    type Output = u64;
    type Key = ();

    fn key(&self, _: &Input) {}

    fn initial(&self, (): &()) -> u64 {
        0
    }

    fn step(&self, count: &u64, input: &Input, output: Option<&u64>) -> Option<u64> {
        let next = if *input == Input::Increment { count + 1 } else { *count };
        output.is_none_or(|output| *output == next).then_some(next)
    }

    fn reads_only(&self, input: &Input, _: Option<&u64>) -> bool {
        *input == Input::Get
    }
}

struct Clients;

impl Workload<Counter> for Clients {
    type Model = Counting;

    fn model(&self) -> Counting {
        Counting
    }

    fn machine(&mut self, _: NodeId) -> Counter {
        Counter::default()
    }

    fn next(&mut self, random: &mut Random) -> Request<Input> {
        if random.chance(3, 10) {
            Request { input: Input::Get, ask: Ask::Read }
        } else {
            Request { input: Input::Increment, ask: Ask::Command("incr".into()) }
        }
    }

    fn output(&mut self, _: &Input, reply: &Bytes) -> Result<u64, String> {
        String::from_utf8_lossy(reply).parse().map_err(|_| format!("{reply:?} is no count"))
    }

    fn read(&self, _: &Input, reader: &Arc<AtomicU64>) -> u64 {
        reader.load(Ordering::SeqCst)
    }

    fn last_reads(&self) -> Vec<Input> {
        vec![Input::Get]
    }
}

#[test]
fn sixty_worlds() {
    let verdict = Campaign::new(0, 60).run::<Counter, _>(|_| Clients, |_| {});
    assert!(verdict.is_good(), "{:#?}", verdict.failures);
}
