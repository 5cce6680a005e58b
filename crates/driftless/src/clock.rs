//! The node's clock: microseconds since this process opened it.

use driftless_node::raft::Time;
use std::time::{Duration, Instant};

/// Turns instants into the node's [`Time`] and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// The time at `instant`; zero if it lies before the start.
    pub(crate) fn at(&self, instant: Instant) -> Time {
        let micros = instant.saturating_duration_since(self.origin).as_micros();
        Time(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The instant of `time`, or a far one if it cannot be told.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        self.origin + Duration::from_micros(time.0).min(FAR)
    }
}
