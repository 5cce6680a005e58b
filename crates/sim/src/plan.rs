//! Everything that a seed decides before a world begins: its members, its
//! settings, and which faults strike whom and when.
//!
//! The faults are a list, so that a failing run can be made smaller by leaving
//! some of them out while everything else stays as it was drawn.

pub use crate::fault::{Fault, Planned, Sabotage, Who, Wish};
use crate::property::Property;
use crate::random::Random;
use std::fmt;

/// A world, before it begins.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub struct Plan {
    /// What everything was drawn from.
    pub seed: u64,
    /// How many members there are.
    pub members: u64,
    /// How many clients.
    pub clients: u64,
    /// How long faults strike and clients ask, in virtual microseconds.
    pub active_us: u64,
    /// How long the world may take, once healed, to be whole again.
    pub settle_us: u64,
    /// How long a client thinks between two requests, at most.
    pub think_us_max: u64,
    /// How long a client waits for an answer.
    pub patience_us: u64,
    /// The algorithm's election timeout; its jitter is as long.
    pub election_timeout_us: u64,
    /// The algorithm's heartbeat.
    pub heartbeat_interval_us: u64,
    /// Whether candidates ask before they raise the term.
    pub pre_vote: bool,
    /// Whether leaders that hear no quorum step down.
    pub check_quorum: bool,
    /// By how many millionths clocks are declared to run fast or slow, where leaders
    /// answer reads by a lease; and in such a world no clock does more.
    pub lease_drift_ppm: Option<u32>,
    /// The rate at which each member's clock begins, in its microseconds to a
    /// million of the world's.
    pub clock_rates_ppm: Vec<u64>,
    /// Unacknowledged messages with entries that a follower may have in flight.
    pub inflight_messages_max: usize,
    /// Unacknowledged bytes that a follower may have in flight.
    pub inflight_bytes_max: u64,
    /// Bytes in one message with entries.
    pub message_bytes_max: u64,
    /// Bytes of commands that may wait at a node.
    pub pending_bytes_max: usize,
    /// How long a frame travels, at least.
    pub latency_us: u64,
    /// ... and how much longer, at most.
    pub latency_jitter_us: u64,
    /// How long a disk takes for one batch of jobs, at most.
    pub disk_us_max: u64,
    /// A snapshot is taken after this many entries.
    pub snapshot_every_entries: u64,
    /// Entries kept behind a snapshot.
    pub retained_entries: u64,
    /// Bytes of a snapshot in one frame.
    pub snapshot_chunk_bytes: usize,
    /// Bytes of entries that a node keeps in memory.
    pub cache_bytes_max: usize,
    /// The length of a log segment.
    pub segment_bytes: u64,
    /// What a log keeps for votes, terms and compaction: with much, it often has no
    /// room for entries that it did not claim on purpose.
    pub reserve_bytes: u64,
    /// Whether leaders take members with new disks in again by themselves; else the
    /// operator asks for it.
    pub readmits: bool,
    /// Whether disks are lost, or lie. Then no fewer than three voters are asked
    /// for, so that one lost disk leaves a quorum.
    pub loses_disks: bool,
    /// What strikes, in order of time.
    pub faults: Vec<Planned>,
    /// A bug planted on purpose, to show that it is found.
    pub sabotage: Option<Sabotage>,
    /// Properties that are not checked, to show that others find a bug too.
    pub unchecked: Vec<Property>,
}

const SECOND: u64 = 1_000_000;
const MILLI: u64 = 1_000;

/// The kinds of fault that a seed switches on or off as a whole: worlds with a
/// few kinds each reach further than worlds with a little of everything.
const KINDS: u64 = 25;

impl Plan {
    /// What `seed` stands for.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let members = *random.pick(&[3, 3, 3, 3, 3, 5, 5, 4, 2, 1]).expect("not empty");
        let election_timeout_us = random.between(150, 600) * MILLI;
        let mut plan = Self {
            seed,
            members,
            clients: random.between(2, 6),
            active_us: random.between(6, 20) * SECOND,
            settle_us: 300 * SECOND,
            think_us_max: *random.pick(&[20, 60, 200]).expect("not empty") * MILLI,
            patience_us: random.between(2, 8) * election_timeout_us,
            election_timeout_us,
            heartbeat_interval_us: election_timeout_us / random.between(4, 8),
            pre_vote: random.chance(7, 8),
            check_quorum: random.chance(7, 8),
            lease_drift_ppm: None,
            clock_rates_ppm: Vec::new(),
            inflight_messages_max: *random.pick(&[1, 3, 256]).expect("not empty"),
            inflight_bytes_max: *random.pick(&[300, 4_000, 16 << 20]).expect("not empty"),
            message_bytes_max: *random.pick(&[100, 2_000, 1 << 20]).expect("not empty"),
            pending_bytes_max: *random.pick(&[1_500, 64 << 20, 64 << 20]).expect("not empty"),
            latency_us: random.between(50, 2 * MILLI),
            latency_jitter_us: random.between(50, 10 * MILLI),
            disk_us_max: *random.pick(&[300, 2_000, 15_000]).expect("not empty"),
            snapshot_every_entries: *random.pick(&[20, 60, 200, 1_000]).expect("not empty"),
            retained_entries: *random.pick(&[0, 5, 50]).expect("not empty"),
            snapshot_chunk_bytes: *random.pick(&[64, 500, 4_096]).expect("not empty"),
            cache_bytes_max: *random.pick(&[0, 400, 4_000, 1 << 20]).expect("not empty"),
            segment_bytes: *random.pick(&[16, 32, 64]).expect("not empty") << 10,
            reserve_bytes: 0,
            readmits: random.chance(2, 3),
            loses_disks: false,
            faults: Vec::new(),
            sabotage: None,
            unchecked: Vec::new(),
        };
        let eighths = if seed.is_multiple_of(4) { 6 } else { 1 };
        plan.reserve_bytes = plan.segment_bytes / 8 * eighths;
        // One world in four relies on its clocks, some of them on poor ones.
        if random.chance(1, 4) {
            plan.lease_drift_ppm = Some(*random.pick(&[200, 20_000, 250_000]).expect("not empty"));
        }
        plan.clock_rates_ppm = (0..members).map(|_| plan.draw_clock_rate(random)).collect();
        plan.draw_faults(random);
        plan
    }

    /// A rate that this world's clocks may run at.
    fn draw_clock_rate(&self, random: &mut Random) -> u64 {
        let bound = self.lease_drift_ppm.map_or(1_000, u64::from);
        match random.below(4) {
            0 => SECOND - bound,
            1 => SECOND + bound,
            _ => SECOND - bound + random.below(2 * bound + 1),
        }
    }

    /// The same world with only these of its faults, counted from 0.
    #[must_use]
    pub fn with_faults(&self, kept: &[usize]) -> Self {
        let faults = kept.iter().filter_map(|number| self.faults.get(*number).copied()).collect();
        Self { faults, ..self.clone() }
    }

    fn draw_faults(&mut self, random: &mut Random) {
        let kinds: Vec<u64> = (0..KINDS).filter(|_| random.chance(2, 5)).collect();
        let pause_us_max = random.between(200, 3_000) * MILLI;
        let mut at_us = random.between(0, 2 * SECOND);
        while at_us < self.active_us {
            if let Some(&kind) = random.pick(&kinds) {
                let fault =
                    self.draw_fault(kind, random.between(MILLI, self.active_us / 3), random);
                self.loses_disks |= fault.loses_disk();
                self.faults.push(Planned { at_us, fault });
            }
            at_us += random.between(MILLI, pause_us_max);
        }
    }

    fn draw_fault(&self, kind: u64, for_us: u64, random: &mut Random) -> Fault {
        let member = random.between(1, self.members);
        let who = if random.chance(1, 2) { Who::Leader(member) } else { Who::Member(member) };
        let other = 1 + (member + random.below(self.members.max(2) - 1)) % self.members;
        let brief_us = random.between(1, for_us.min(3 * SECOND));
        match kind {
            0 => Fault::Crash { who, for_us: brief_us },
            1 => Fault::PowerCut { who, for_us: brief_us },
            2 | 3 => Fault::PowerCutInWrite { who, operations: random.below(12), for_us: brief_us },
            4 => Fault::PowerCutOfAll { for_us: brief_us },
            // Now and then for longer than anybody waits.
            5 if random.chance(1, 4) => Fault::Pause { who, for_us },
            5 => Fault::Pause { who, for_us: brief_us },
            6 => Fault::BreakLinks { one: member, other },
            7 => Fault::Isolate { who, for_us },
            // With a bit for each that may come yet.
            8 => Fault::Partition { side: random.below(1 << 16), for_us },
            9 => Fault::OneWay { from: member, to: other, for_us },
            10 => Fault::PairCut { one: member, other, for_us },
            11 => Fault::SlowNetwork { factor: random.between(2, 30), for_us: brief_us },
            // A clock that leases rely on keeps within what was declared.
            13 if self.lease_drift_ppm.is_some() => {
                Fault::ClockRate { who, rate_ppm: self.draw_clock_rate(random) }
            }
            // Nor does it leap: it goes on while its machine is suspended.
            12 if self.lease_drift_ppm.is_some() || for_us.is_multiple_of(2) => {
                Fault::Suspend { who, for_us: brief_us }
            }
            12 => Fault::ClockLeap { who, by_us: random.between(1, 3 * SECOND) },
            13 => Fault::ClockRate { who, rate_ppm: random.between(500_000, 2 * SECOND) },
            14 => Fault::SlowDisk { who, factor: random.between(5, 200), for_us: brief_us },
            15 => {
                let spare_bytes = [0, 4_000, 20_000, 80_000][for_us as usize % 4];
                match for_us / 4 % 3 {
                    0 => Fault::FullDiskOfAll { for_us, spare_bytes },
                    _ => Fault::FullDisk { who, for_us, spare_bytes },
                }
            }
            16 => match random.below(3) {
                0 => Fault::WipeDisk { who, told: random.chance(2, 3) },
                1 => Fault::Rot { who, pick: random.draw() },
                _ => Fault::LoseWrite { who },
            },
            17 => Fault::StallDisk { who, for_us: brief_us },
            18 => Fault::OldDisk { who },
            19 => Fault::Transfer { pick: random.draw(), cut: random.chance(1, 3) },
            20..23 => {
                let (wish, pick) = (draw_wish(who, random), random.draw());
                let cut_us = if random.chance(1, 4) { brief_us } else { 0 };
                Fault::Change { wish, pick, cut_us }
            }
            // Once in a world is enough.
            23 if random.chance(1, 6) => Fault::LoseQuorum { pick: random.draw() },
            _ => Fault::FailSync { who },
        }
    }
}

fn draw_wish(who: Who, random: &mut Random) -> Wish {
    match random.below(14) {
        0 | 1 => Wish::AddLearner,
        2 => Wish::AddVoter,
        3 => Wish::AddWitness,
        4..7 => Wish::Promote,
        7 => Wish::Demote(who),
        8 | 9 => Wish::Remove(who),
        10 | 11 => Wish::Move(who),
        _ => Wish::Several,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} members, {} clients, {} faults in {} ms; election timeout {} ms, \
             a snapshot every {} entries",
            self.seed,
            self.members,
            self.clients,
            self.faults.len(),
            self.active_us / MILLI,
            self.election_timeout_us / MILLI,
            self.snapshot_every_entries
        )
    }
}
