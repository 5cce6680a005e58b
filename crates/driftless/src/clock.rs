//! The node's clock: microseconds since this process opened it, those included for which
//! the machine was suspended.
//!
//! `Instant` leaves them out, and so do timers. A leader whose clock stood still while
//! others elected another would go on to believe in its lease (thesis §6.4.1). By this
//! clock all that was promised until then has run out when the machine wakes, and nobody
//! has to notice that it slept. (What stops a virtual machine from outside may stop all its
//! clocks; that, nobody inside can tell.)

use driftless_node::raft::Time;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// The one that goes on while the machine is suspended. Outside of Linux the monotonic
/// clock of `clock_gettime` does, where there is such a thing at all.
#[cfg(any(target_os = "linux", target_os = "android"))]
const GOES_ON: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const GOES_ON: ClockId = ClockId::Monotonic;

/// Tells the node's [`Time`], and turns instants into it and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { origin: reading() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Time {
        let micros = reading().saturating_sub(self.origin).as_micros();
        Time(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Both clocks, as they stand now.
    pub(crate) fn read(&self) -> Reading {
        // In this order: rather too late than too early.
        let instant = Instant::now();
        Reading { instant, time: self.now() }
    }

    /// The time at `instant`, as far as can be told now; the present for one that has
    /// passed.
    pub(crate) fn at(&self, instant: Instant) -> Time {
        self.read().at(instant)
    }

    /// The instant of `time`, unless the machine is suspended until then; a far one if it
    /// cannot be told.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let ahead = Duration::from_micros(time.since(self.now()));
        Instant::now() + ahead.min(FAR)
    }
}

/// What both clocks said at one moment: reading them takes as long as much of the work
/// that is done for a request, so it is done once for all that came together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    instant: Instant,
    pub(crate) time: Time,
}

impl Reading {
    /// The time at `instant`, as far as could be told then; that moment for one that has
    /// passed.
    pub(crate) fn at(&self, instant: Instant) -> Time {
        let ahead = instant.saturating_duration_since(self.instant).as_micros();
        self.time.after(u64::try_from(ahead).unwrap_or(u64::MAX))
    }
}

fn reading() -> Duration {
    let reading = clock_gettime(GOES_ON);
    let secs = u64::try_from(reading.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(reading.tv_nsec).unwrap_or_default();
    Duration::new(secs, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_becomes_a_time_and_an_instant_again() {
        let clock = Clock::start();
        for ahead in [Duration::from_millis(1), Duration::from_secs(5), Duration::from_secs(9_000)]
        {
            let (before, instant) = (clock.now(), Instant::now() + ahead);
            let time = clock.at(instant);
            // But for what is cut off below a microsecond.
            assert!(time.since(before) + 2 >= ahead.as_micros() as u64, "too early");
            assert!(clock.instant(time) + Duration::from_micros(4) >= instant, "too early");
        }
        let passed = Instant::now();
        let time = clock.at(passed);
        assert!(time <= clock.now(), "what has passed is due");
    }

    /// The kernel's uptime goes on in suspend, too. (On a machine that was suspended since
    /// it was started, any other clock is far from it.)
    #[cfg(target_os = "linux")]
    #[test]
    fn it_is_the_clock_that_goes_on_in_suspend() {
        let before = reading();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let after = reading();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        // It is told in hundredths, cut off.
        let (from, until) = (before.as_secs_f64() - 0.011, after.as_secs_f64() + 0.001);
        assert!((from..until).contains(&uptime), "{uptime} is not in {from} to {until}");
    }
}
