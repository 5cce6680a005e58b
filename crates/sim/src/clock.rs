//! A member's own clock, which need not agree with the world's.

use driftless_node::raft::Time;

/// Virtual time of the world, in microseconds since it began.
pub(crate) type WorldTime = u64;

const MILLION: u128 = 1_000_000;

/// A monotonic clock that runs fast or slow and may leap ahead, but never goes back
/// for whoever reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When the present rate began, in the world's time and in its own.
    since: WorldTime,
    local: u64,
    /// Own microseconds in a million of the world's.
    rate_ppm: u64,
}

impl Clock {
    pub(crate) fn new(local: u64, rate_ppm: u64) -> Self {
        assert!(rate_ppm > 0, "a clock that stands still");
        Self { since: 0, local, rate_ppm }
    }

    /// What it shows.
    pub(crate) fn at(&self, now: WorldTime) -> Time {
        let passed = u128::from(now - self.since) * u128::from(self.rate_ppm) / MILLION;
        Time(self.local + passed as u64)
    }

    /// The first moment of the world at which it shows `time` or later.
    pub(crate) fn when(&self, time: Time) -> WorldTime {
        let ahead = u128::from(time.0.saturating_sub(self.local)) * MILLION;
        let wait = ahead.div_ceil(u128::from(self.rate_ppm)).min(u128::from(u64::MAX / 4));
        self.since + wait as u64
    }

    pub(crate) fn leap(&mut self, now: WorldTime, by_us: u64) {
        self.local = self.at(now).0 + by_us;
        self.since = now;
    }

    /// It stood still since it showed `time`, and nobody has read it meanwhile.
    pub(crate) fn stood_still(&mut self, now: WorldTime, time: Time) {
        self.local = time.0;
        self.since = now;
    }

    pub(crate) fn set_rate(&mut self, now: WorldTime, rate_ppm: u64) {
        assert!(rate_ppm > 0, "a clock that stands still");
        self.local = self.at(now).0;
        self.since = now;
        self.rate_ppm = rate_ppm;
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Time};

    #[test]
    fn a_deadline_is_shown_when_it_is_due_and_not_before() {
        for rate_ppm in [400_000, 999_999, 1_000_000, 1_700_003] {
            let mut clock = Clock::new(77, rate_ppm);
            clock.leap(1_000, 500);
            for deadline in [78, 900, 1_500, 1_234_567] {
                let when = clock.when(Time(deadline)).max(1_000);
                assert!(clock.at(when).0 >= deadline);
                assert!(when == 1_000 || clock.at(when - 1).0 < deadline);
            }
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = Clock::new(0, 1_000_000);
        let mut last = clock.at(0);
        for step in 1..50 {
            let now = step * 100;
            match step % 3 {
                0 => clock.set_rate(now, 300_000 + step * 40_000),
                1 => clock.leap(now, step),
                _ => {}
            }
            assert!(clock.at(now) >= last);
            last = clock.at(now);
        }
    }
}
