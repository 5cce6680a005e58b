//! What a power cut takes.

use super::state::{ContentChange, FileState, State};
use super::{MemoryDisk, SECTOR, SplitMix64};

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy)]
enum Leaves {
    Nothing,
    Everything,
    /// Each sector by itself, with this chance in a hundred.
    Some(u64),
    /// All up to a point in time, and of what was under way then each sector by
    /// itself.
    Until(u64),
}

impl MemoryDisk {
    /// Cuts the power and brings it back: open files go stale, of what was not
    /// synced `seed` chooses what survives.
    pub fn crash(&self, seed: u64) {
        let mut random = SplitMix64::new(seed);
        let mut state = self.lock();
        let took = state.crash(&mut random);
        state.counters.power_cuts += u64::from(took);
        state.faults.restore_power();
        state.boot += 1;
    }
}

impl State {
    fn crash(&mut self, random: &mut SplitMix64) -> bool {
        let mut had_pending = !self.pending.is_empty();
        // Names.
        let leaves = Leaves::choose(random, self.pending.len() as u64);
        for (at, change) in std::mem::take(&mut self.pending).iter().enumerate() {
            if leaves.survives(random, at as u64) {
                change.carry_out(&mut self.durable);
            }
        }
        self.live = self.durable.clone();
        // Contents.
        for file in self.files.values_mut() {
            had_pending |= !file.pending.is_empty();
            let pending = std::mem::take(&mut file.pending);
            let leaves = Leaves::choose(random, pending.len() as u64);
            for (at, change) in pending.into_iter().enumerate() {
                file.survive(random, leaves, at as u64, change);
            }
            file.current = file.durable.clone();
        }
        self.forget_unreachable();
        had_pending
    }
}

impl FileState {
    fn survive(&mut self, random: &mut SplitMix64, leaves: Leaves, at: u64, change: ContentChange) {
        match change {
            ContentChange::SetLen(len) => {
                if leaves.survives(random, at) {
                    self.durable.resize(len, 0);
                }
            }
            ContentChange::Write { offset, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    let sector_end = (offset + from + 1).next_multiple_of(SECTOR) - offset;
                    let until = sector_end.min(bytes.len());
                    if leaves.survives(random, at) {
                        FileState::write(&mut self.durable, offset + from, &bytes[from..until]);
                    }
                    from = until;
                }
            }
        }
    }
}

impl Leaves {
    fn choose(random: &mut SplitMix64, changes: u64) -> Self {
        match random.below(5) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Until(random.below(changes + 1)),
            _ => Self::Some(10 + random.below(81)),
        }
    }

    fn survives(self, random: &mut SplitMix64, at: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some(percent) => random.chance(percent),
            Self::Until(until) => at < until || (at == until && random.chance(50)),
        }
    }
}
