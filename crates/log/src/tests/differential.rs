//! The log against its naive twin, over random workloads.

use super::basics::{identity, members};
use super::twin::{GROUPS, Step, Twin, random_step};
use crate::memory::{MemoryDisk, SplitMix64};
use crate::{Log, Opened, Options, verify};

fn run(seed: u64, segment_bytes: u64) -> u64 {
    let mut random = SplitMix64::new(seed);
    let disk = MemoryDisk::new();
    let options = Options::small(segment_bytes);
    let groups = GROUPS.map(|group| (group, members()));
    let mut opened = Log::create(disk.clone(), &identity(), &groups, options.clone()).unwrap();
    let mut twin = Twin::new();
    assert_eq!(Twin::of(&opened), twin);
    let mut segments_freed = 0;
    for _ in 0..150 {
        if random.chance(5) {
            drop(opened);
            if random.chance(50) {
                // Everything was acknowledged: a power cut takes nothing of it.
                disk.crash(random.next_u64());
            }
            opened = Log::open(disk.clone(), None, options.clone()).unwrap();
            assert_eq!(Twin::of(&opened), twin, "seed {seed}");
            let report = verify(&disk);
            assert!(report.problems.iter().all(|problem| problem.contains("missing")), "{report}");
            continue;
        }
        let step = random_step(&mut random, &twin);
        let used = opened.log.used_bytes();
        step.run(&mut opened.log).unwrap();
        if let Step::Compact { .. } = step {
            segments_freed += u64::from(opened.log.used_bytes() < used);
        }
        twin = step.outcomes(&twin).pop().unwrap();
    }
    let Opened { log, .. } = opened;
    drop(log);
    let opened = Log::open(disk, None, options).unwrap();
    assert_eq!(Twin::of(&opened), twin, "seed {seed}");
    segments_freed
}

#[test]
fn agrees_with_its_twin() {
    let freed: u64 = (0..300).map(|seed| run(seed, 16 << 10)).sum();
    assert!(freed > 100, "compaction was hardly ever met: {freed}");
}

#[test]
fn agrees_with_its_twin_when_records_are_longer_than_segments() {
    let freed: u64 = (1_000..1_100).map(|seed| run(seed, 8 << 10)).sum();
    assert!(freed > 50, "compaction was hardly ever met: {freed}");
}
