//! Latency while members write snapshots, apart from the rest.

use super::{Tally, new_histogram};
use crate::client::Endpoint;
use crate::scrape::scrape;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const POLL_EVERY: Duration = Duration::from_millis(20);
const POLL_PATIENCE: Duration = Duration::from_secs(1);

/// What was answered while some member wrote a snapshot.
pub(super) struct DuringSnapshots {
    pub(super) latencies_us: Histogram<u64>,
    /// What was answered while none did.
    pub(super) otherwise_us: Histogram<u64>,
    /// How many times one was begun.
    pub(super) begun: u32,
    under_way: bool,
    /// When one was last known to be under way.
    seen: Option<Instant>,
}

impl DuringSnapshots {
    pub(super) fn new() -> Self {
        Self {
            latencies_us: new_histogram(),
            otherwise_us: new_histogram(),
            begun: 0,
            under_way: false,
            seen: None,
        }
    }

    /// Counts a request that was sent at `asked` and answered now.
    pub(super) fn count(&mut self, asked: Instant, took_us: u64) {
        let met = self.under_way || self.seen.is_some_and(|seen| seen >= asked);
        let histogram = if met { &mut self.latencies_us } else { &mut self.otherwise_us };
        histogram.saturating_record(took_us);
    }

    fn see(&mut self, under_way: bool) {
        self.begun += u32::from(under_way && !self.under_way);
        if under_way {
            self.seen = Some(Instant::now());
        }
        self.under_way = under_way;
    }
}

/// Asks all members again and again whether they are at a snapshot.
pub(super) async fn poll(endpoints: Vec<Endpoint>, tally: Rc<RefCell<Tally>>) {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    loop {
        let mut under_way = false;
        for endpoint in &endpoints {
            let metrics = scrape(endpoint, POLL_PATIENCE).await;
            under_way |= metrics.is_some_and(|m| m.get("driftless_snapshot_under_way") > 0);
        }
        if let Some(during) = &mut tally.borrow_mut().during_snapshots {
            during.see(under_way);
        }
        sleep(POLL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::DuringSnapshots;
    use std::time::Duration;
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn a_request_that_met_a_snapshot_is_counted_with_it() {
        let second = Duration::from_secs(1);
        let mut during = DuringSnapshots::new();
        during.count(Instant::now(), 1);
        let before = Instant::now();
        advance(second).await;
        during.see(true);
        during.count(Instant::now(), 2);
        advance(second).await;
        during.see(true);
        during.see(false);
        advance(second).await;
        during.count(before, 3);
        during.count(Instant::now(), 4);
        assert_eq!((during.latencies_us.min(), during.latencies_us.max()), (2, 3));
        assert_eq!((during.otherwise_us.min(), during.otherwise_us.max()), (1, 4));
        assert_eq!(during.begun, 1);
    }
}
