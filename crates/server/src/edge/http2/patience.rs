//! How much a peer may ask for that brings nobody any further.

use std::time::Duration;
use tokio::time::Instant;

/// Counts what is cheap to send and leads nowhere. What leads somewhere makes up for
/// it, and so does time.
#[derive(Debug)]
pub(super) struct Patience {
    max: u32,
    renewed_every: Duration,
    spent: u32,
    since: Option<Instant>,
}

/// The peer has used it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Patience {
    /// Bears `max` such things within a time.
    pub(super) fn new(max: u32, renewed_every: Duration) -> Self {
        Self { max, renewed_every, spent: 0, since: None }
    }

    /// One more.
    pub(super) fn spend(&mut self, now: Instant) -> Result<(), Exhausted> {
        let is_over = |since| now.saturating_duration_since(since) > self.renewed_every;
        if self.since.is_none_or(is_over) {
            (self.since, self.spent) = (Some(now), 0);
        }
        self.spent = self.spent.saturating_add(1);
        if self.spent > self.max { Err(Exhausted) } else { Ok(()) }
    }

    /// Something was done that was worth one.
    pub(super) fn regain(&mut self) {
        self.spent = self.spent.saturating_sub(1);
    }

    /// Something was done that was worth all.
    pub(super) fn renew(&mut self) {
        self.spent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_and_comes_back_with_work_and_with_time() {
        let start = Instant::now();
        let mut patience = Patience::new(2, Duration::from_secs(1));
        assert_eq!(patience.spend(start), Ok(()));
        assert_eq!(patience.spend(start), Ok(()));
        patience.regain();
        assert_eq!(patience.spend(start), Ok(()));
        assert_eq!(patience.spend(start), Err(Exhausted));
        patience.renew();
        assert_eq!(patience.spend(start), Ok(()));
        assert_eq!(patience.spend(start), Ok(()));
        assert_eq!(patience.spend(start + Duration::from_secs(1)), Err(Exhausted));
        assert_eq!(patience.spend(start + Duration::from_millis(1_001)), Ok(()));
    }
}
