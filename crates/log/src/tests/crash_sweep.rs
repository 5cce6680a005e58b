//! The power goes at every single call to the disk, with several ways of losing
//! what was not synced: what was acknowledged stands, a record stands whole or
//! not at all, and nothing is there that nobody wrote.

use super::basics::{identity, members};
use super::twin::{GROUPS, Step, Twin, random_step};
use crate::memory::{MemoryDisk, SplitMix64};
use crate::mutation::{Mutation, with};
use crate::{Log, OpenError, Opened, Options, verify};

const SEGMENT_BYTES: u64 = 12 << 10;

fn options() -> Options {
    Options::small(SEGMENT_BYTES)
}

fn create(disk: &MemoryDisk) -> Result<Opened<MemoryDisk>, OpenError> {
    let groups = GROUPS.map(|group| (group, members()));
    Log::create(disk.clone(), &identity(), &groups, options())
}

fn open(disk: &MemoryDisk) -> Result<Opened<MemoryDisk>, OpenError> {
    Log::open(disk.clone(), None, options())
}

/// A workload, and the twin before each of its steps.
fn script(seed: u64, steps: usize) -> Vec<(Step, Twin)> {
    let mut random = SplitMix64::new(seed);
    let mut twin = Twin::new();
    let step = |_| {
        let step = random_step(&mut random, &twin);
        let after = step.outcomes(&twin).pop().unwrap();
        let before = std::mem::replace(&mut twin, after);
        (step, before)
    };
    (0..steps).map(step).collect()
}

/// Runs the script until the power goes. The states that may be found after.
fn run_until_cut(log: &mut Log<MemoryDisk>, script: &[(Step, Twin)]) -> Vec<Twin> {
    for (step, before) in script {
        if step.run(log).is_err() {
            return step.outcomes(before);
        }
    }
    let (step, before) = script.last().unwrap();
    vec![step.outcomes(before).pop().unwrap()]
}

/// What a sweep met.
#[derive(Debug, Default)]
struct Met {
    cuts: u64,
    /// A call that was never answered stands, in whole or in part.
    unanswered_stands: u64,
    /// It left nothing.
    unanswered_gone: u64,
    torn: u64,
    cut_again: u64,
    failures: Vec<String>,
}

/// Crashes a copy of the disk in the way of `seed` and opens it; the power may go
/// again while it is being opened.
fn crash_and_open(disk: &MemoryDisk, seed: u64, allowed: &[Twin], met: &mut Met) {
    let disk = disk.fork();
    let mut random = SplitMix64::new(seed);
    disk.crash(random.next_u64());
    met.torn += u64::from(verify(&disk).end.is_some_and(|end| end.is_torn));
    while random.chance(40) {
        disk.power_cut_after(random.below(40));
        if open(&disk).is_err() {
            met.cut_again += 1;
        }
        disk.crash(random.next_u64());
    }
    let mut opened = match open(&disk) {
        Ok(opened) => opened,
        Err(error) => {
            met.failures.push(format!("refused: {error}"));
            return;
        }
    };
    let found = Twin::of(&opened);
    match allowed.iter().position(|twin| *twin == found) {
        None => {
            met.failures.push("what is there is not what was written".to_owned());
            return;
        }
        Some(0) => met.unanswered_gone += u64::from(allowed.len() > 1),
        Some(_) => met.unanswered_stands += 1,
    }
    // It goes on from here, and that stands too.
    let step = loop {
        let step = random_step(&mut random, &found);
        if matches!(step, Step::Append(_)) {
            break step;
        }
    };
    step.run(&mut opened.log).unwrap();
    drop(opened);
    disk.crash(random.next_u64());
    let expected = step.outcomes(&found).pop().unwrap();
    match open(&disk) {
        Ok(opened) if Twin::of(&opened) == expected => {}
        Ok(_) => met.failures.push("what was acknowledged after a crash is gone".to_owned()),
        Err(error) => met.failures.push(format!("refused the second time: {error}")),
    }
}

fn sweep(script_seed: u64, steps: usize, crashes: u64) -> Met {
    let script = script(script_seed, steps);
    let mut met = Met::default();
    let fresh = MemoryDisk::new();
    drop(create(&fresh).unwrap());
    for operations in 0.. {
        let disk = fresh.fork();
        let mut log = open(&disk).unwrap().log;
        disk.power_cut_after(operations);
        let allowed = run_until_cut(&mut log, &script);
        let is_cut = disk.is_off();
        drop(log);
        for seed in 0..crashes {
            met.cuts += 1;
            crash_and_open(&disk, operations << 8 | seed, &allowed, &mut met);
        }
        if !is_cut {
            break;
        }
    }
    met
}

#[test]
fn every_call_in_a_workload() {
    let mut all = Met::default();
    for script_seed in 0..12 {
        let met = sweep(script_seed, 40, 4);
        assert!(met.failures.is_empty(), "script {script_seed}: {:?}", met.failures);
        all.cuts += met.cuts;
        all.unanswered_stands += met.unanswered_stands;
        all.unanswered_gone += met.unanswered_gone;
        all.torn += met.torn;
        all.cut_again += met.cut_again;
    }
    println!("{all:?}");
    assert!(all.cuts > 5_000);
    let least = all.unanswered_stands.min(all.unanswered_gone).min(all.torn).min(all.cut_again);
    assert!(least > 100, "{all:?}");
}

#[test]
fn every_call_of_creation() {
    let (mut absent, mut present) = (0, 0);
    for operations in 0.. {
        let disk = MemoryDisk::new();
        disk.power_cut_after(operations);
        let is_done = create(&disk).is_ok() && !disk.is_off();
        for seed in 0..8 {
            let disk = disk.fork();
            disk.crash(seed);
            let opened = if Log::exists(&disk).unwrap() {
                present += 1;
                open(&disk)
            } else {
                absent += 1;
                assert!(!is_done, "an acknowledged creation is gone");
                assert!(matches!(open(&disk), Err(OpenError::NotFound)));
                create(&disk)
            };
            assert_eq!(Twin::of(&opened.unwrap()), Twin::new());
        }
        if is_done {
            break;
        }
    }
    assert!(absent > 20 && present > 5, "{absent} {present}");
}

/// Mutation 34.
#[test]
fn a_directory_that_is_not_synced_is_noticed() {
    let met = with(Mutation::DirectoryNotSynced, || sweep(0, 40, 4));
    assert!(!met.failures.is_empty(), "{met:?}");
}
