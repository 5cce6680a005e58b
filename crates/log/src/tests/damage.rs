//! Every byte of a small log flipped, every prefix of its files, random rubbish:
//! it opens as it was, opens and says which payloads are damaged, or refuses and
//! says where. It never panics, invents nothing, and never loses in silence what
//! the log itself proves to have been durable.

use super::basics::{identity, members};
use super::twin::{GROUPS, Step, Twin, random_step};
use crate::memory::{MemoryDisk, SplitMix64};
use crate::mutation::{Mutation, with};
use crate::{Log, OpenError, Opened, Options, ReadError, Recovered, verify};
use driftless_codec::Entry;

/// What became of a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// As it was before the step with this number, all else unharmed.
    Stands(usize),
    /// So do all identities, and some payloads are reported.
    Reported(usize),
    Refused,
    /// A state that never was.
    Invented,
}

struct SmallLog {
    disk: MemoryDisk,
    options: Options,
    /// The states before each record, and the last.
    history: Vec<Twin>,
    /// The last of them of which the log itself says that it was durable.
    confirmed: usize,
}

impl SmallLog {
    fn new(seed: u64, steps: usize, segment_bytes: u64, ends_idle: bool) -> Self {
        let mut random = SplitMix64::new(seed);
        let disk = MemoryDisk::new();
        let options = Options::small(segment_bytes);
        let groups = GROUPS.map(|group| (group, members()));
        let mut log = Log::create(disk.clone(), &identity(), &groups, options.clone()).unwrap().log;
        let mut history = vec![Twin::new()];
        let mut confirmed = 0;
        let mut done = 0;
        while done < steps {
            let step = random_step(&mut random, history.last().unwrap());
            let is_append = matches!(step, Step::Append(_));
            if done + 1 == steps && !is_append {
                continue;
            }
            if is_append {
                confirmed = history.len() - 1;
            }
            step.run(&mut log).unwrap();
            history.extend(step.outcomes(history.last().unwrap()).into_iter().skip(1));
            done += 1;
        }
        if ends_idle {
            Step::Idle.run(&mut log).unwrap();
            confirmed = history.len() - 1;
        }
        Self { disk, options, history, confirmed }
    }

    fn last(&self) -> usize {
        self.history.len() - 1
    }

    /// Opens a damaged copy and sees what became of it.
    fn fate(&self, disk: &MemoryDisk) -> Fate {
        let report = verify(disk);
        let opened = match Log::open(disk.clone(), None, self.options.clone()) {
            Ok(opened) => opened,
            Err(OpenError::Damaged(_) | OpenError::NotFound) => {
                assert!(!report.is_whole(), "only the check says that it is whole");
                return Fate::Refused;
            }
            Err(error) => panic!("refused for the wrong reason: {error}"),
        };
        if opened.groups.iter().any(|group| !group.damaged.is_empty()) {
            assert!(!report.is_whole());
            return self.reported(&opened).map_or(Fate::Invented, Fate::Reported);
        }
        if opened.groups.len() < GROUPS.len() {
            return Fate::Invented;
        }
        let found = Twin::of(&opened);
        let at = self.history.iter().rposition(|twin| *twin == found);
        at.map_or(Fate::Invented, Fate::Stands)
    }

    /// The state whose identities stand, if what reads reads right and the rest
    /// is named.
    fn reported(&self, opened: &Opened<MemoryDisk>) -> Option<usize> {
        self.history.iter().rposition(|twin| {
            opened.groups.iter().all(|group| {
                let expected = &twin.groups[&group.group];
                group.hard_state == expected.hard_state
                    && group.trail.base() == expected.base.last
                    && group.trail.last() == expected.last()
                    && expected.entries.iter().all(|entry| {
                        group.trail.contains(entry.position)
                            && Self::is_read_or_named(opened, group, entry)
                    })
            })
        })
    }

    fn is_read_or_named(opened: &Opened<MemoryDisk>, group: &Recovered, entry: &Entry) -> bool {
        let index = entry.position.index;
        match opened.log.read(group.group, index, index, 0) {
            Ok(read) => read == std::slice::from_ref(entry),
            Err(ReadError::Damaged { position }) => {
                position == entry.position && group.damaged.contains(&position)
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// How often each fate was met: as it was, something lost, reported, refused.
#[derive(Debug, Default)]
struct Tally {
    whole: u64,
    shorter: u64,
    reported: u64,
    refused: u64,
    invented: u64,
}

impl Tally {
    fn count(&mut self, fate: Fate, log: &SmallLog) {
        match fate {
            Fate::Stands(at) if at == log.last() => self.whole += 1,
            Fate::Reported(at) if at == log.last() => self.reported += 1,
            Fate::Stands(_) | Fate::Reported(_) => self.shorter += 1,
            Fate::Refused => self.refused += 1,
            Fate::Invented => self.invented += 1,
        }
    }
}

fn flip_every_byte(log: &SmallLog) -> Tally {
    let mut tally = Tally::default();
    for name in log.disk.names() {
        for offset in 0..log.disk.contents(&name).unwrap().len() as u64 {
            let disk = log.disk.fork();
            assert!(disk.flip_byte(&name, offset, 1 << (offset % 8)));
            tally.count(log.fate(&disk), log);
        }
    }
    tally
}

#[test]
fn every_flipped_byte() {
    for (seed, segment_bytes) in [(1, 16 << 10), (2, 8 << 10), (5, 8 << 10)] {
        let tally = flip_every_byte(&SmallLog::new(seed, 8, segment_bytes, true));
        println!("{tally:?}");
        // The end was confirmed: nothing may go.
        assert_eq!(tally.shorter + tally.invented, 0, "seed {seed}: {tally:?}");
        let least = tally.whole.min(tally.reported).min(tally.refused);
        assert!(least > 100, "seed {seed}: {tally:?}");
    }
}

#[test]
fn every_flipped_byte_of_a_log_whose_end_was_not_confirmed() {
    let log = SmallLog::new(1, 8, 16 << 10, false);
    let mut tally = Tally::default();
    for name in log.disk.names() {
        for offset in 0..log.disk.contents(&name).unwrap().len() as u64 {
            let disk = log.disk.fork();
            disk.flip_byte(&name, offset, 0x80);
            let fate = log.fate(&disk);
            assert!(fate != Fate::Invented, "byte {offset} of {name}");
            if let Fate::Stands(at) | Fate::Reported(at) = fate {
                assert!(at >= log.confirmed, "byte {offset} of {name} cost what was confirmed");
            }
            tally.count(fate, &log);
        }
    }
    println!("{tally:?}");
    assert!(tally.shorter.min(tally.refused) > 50, "{tally:?}");
}

#[test]
fn every_prefix_of_every_file() {
    let log = SmallLog::new(1, 8, 16 << 10, true);
    let mut tally = Tally::default();
    for name in log.disk.names() {
        let contents = log.disk.contents(&name).unwrap();
        for length in 0..contents.len() {
            let disk = log.disk.fork();
            disk.put(&name, &contents[..length]);
            tally.count(log.fate(&disk), &log);
        }
    }
    println!("{tally:?}");
    assert_eq!(tally.shorter + tally.invented, 0, "{tally:?}");
    assert!(tally.refused > 16 << 10, "{tally:?}");
}

#[test]
fn every_missing_file_but_the_newest() {
    let log = SmallLog::new(3, 60, 8 << 10, true);
    let end = verify(&log.disk).end.unwrap().file;
    let mut refused = 0;
    for name in log.disk.names().iter().filter(|name| **name < end) {
        let disk = log.disk.fork();
        crate::Disk::remove(&disk, name).unwrap();
        assert_eq!(log.fate(&disk), Fate::Refused, "{name}");
        refused += 1;
    }
    assert!(refused >= 4, "too few files");
}

#[test]
fn random_rubbish() {
    let mut random = SplitMix64::new(9);
    let mut tally = Tally::default();
    for seed in 0..20 {
        let log = SmallLog::new(100 + seed, 20, 8 << 10, seed % 2 == 0);
        let names = log.disk.names();
        for _ in 0..60 {
            let disk = log.disk.fork();
            let name = &names[random.below(names.len() as u64) as usize];
            let mut contents = disk.contents(name).unwrap();
            let from = random.below(contents.len() as u64) as usize;
            let length = 1 + random.below(600) as usize;
            let kind = random.below(3);
            for byte in contents.iter_mut().skip(from).take(length) {
                *byte = match kind {
                    0 => random.next_u64() as u8,
                    1 => 0,
                    _ => 0xff,
                };
            }
            disk.put(name, &contents);
            tally.count(log.fate(&disk), &log);
        }
    }
    println!("{tally:?}");
    assert_eq!(tally.invented, 0, "{tally:?}");
    assert!(tally.whole.min(tally.refused) > 100, "{tally:?}");
}

/// Mutation 30.
#[test]
fn the_torn_tail_rule_applied_in_mid_log_is_noticed() {
    let log = SmallLog::new(1, 8, 16 << 10, true);
    let tally = with(Mutation::EveryDamageIsATornTail, || flip_every_byte(&log));
    assert!(tally.shorter > 100, "{tally:?}");
}
