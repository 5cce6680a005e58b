//! The dialling side of peer links.

use super::{LinkWorld, Way, run_link, set_up};
use crate::address::hosts;
use driftless_node::raft::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// A link that lived this long was a good one: the next is dialled at once.
const GOOD_LIFE: Duration = Duration::from_secs(1);

/// The links that this node dials, one task each.
pub(crate) struct Dialler {
    /// Nothing is dialled without one.
    world: Option<Arc<LinkWorld>>,
    dialled: BTreeMap<NodeId, JoinHandle<()>>,
}

impl Dialler {
    pub(crate) fn new(world: Arc<LinkWorld>) -> Self {
        Self { world: Some(world), dialled: BTreeMap::new() }
    }

    /// For members that are linked by somebody else.
    pub(crate) fn of_nobody() -> Self {
        Self { world: None, dialled: BTreeMap::new() }
    }

    /// Keeps a link to `peer` open, at this address only.
    pub(crate) fn dial(&mut self, peer: NodeId, address: String) {
        let Some(world) = &self.world else { return };
        let task = tokio::spawn(dial(world.clone(), peer, address));
        if let Some(elsewhere) = self.dialled.insert(peer, task) {
            elsewhere.abort();
        }
    }

    /// Ends the link to `peer`.
    pub(crate) fn hang_up(&mut self, peer: NodeId) {
        if let Some(task) = self.dialled.remove(&peer) {
            task.abort();
        }
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        self.dialled.values().for_each(JoinHandle::abort);
    }
}

/// Keeps a link to `peer` open for as long as it is polled.
pub(super) async fn dial(world: Arc<LinkWorld>, peer: NodeId, address: String) {
    let mut pause = Pause::new(world.limits.redial_min, world.limits.redial_max);
    // People are told of changes, not of every attempt.
    let (mut told_unreachable, mut told_end) = (false, false);
    let mut reached_before = false;
    let id = peer.0;
    // Of several addresses, one where somebody else answers is not tried for ever.
    let mut first = 0;
    loop {
        match connect(&world, &address, first).await {
            Ok((at, stream)) => {
                log::debug!("connected to member {id:x} at {address}");
                told_unreachable = false;
                let report = run_link(&world, stream, Way::Dialled(peer)).await;
                // That a member is lost is the node's to say: it knows whether it
                // was there at all.
                let is_news = !told_end && !report.end.is_ordinary();
                let level = if is_news { log::Level::Warn } else { log::Level::Debug };
                log::log!(level, "the link to member {id:x} at {address} ended: {}", report.end);
                let good = report.greeted && report.lived >= GOOD_LIFE;
                told_end = (told_end || is_news) && !good;
                reached_before |= report.greeted;
                if good {
                    pause.reset();
                    continue;
                }
                first = at + 1;
            }
            Err(error) => {
                let level = if told_unreachable { log::Level::Debug } else { log::Level::Info };
                let yet = if reached_before { "" } else { " yet" };
                log::log!(
                    level,
                    "cannot reach member {id:x} at {address}{yet} ({error}); trying until it answers"
                );
                told_unreachable = true;
            }
        }
        sleep(pause.next()).await;
    }
}

/// Connects to one of several addresses, beginning with the `first`, and says to which.
async fn connect(world: &LinkWorld, address: &str, first: usize) -> io::Result<(usize, TcpStream)> {
    let mut refused = io::Error::from(io::ErrorKind::InvalidInput);
    let hosts: Vec<&str> = hosts(address).collect();
    for at in 0..hosts.len() {
        let at = (first + at) % hosts.len();
        match timeout(world.limits.handshake_max, TcpStream::connect(hosts[at])).await {
            Ok(Ok(stream)) => {
                set_up(&stream)?;
                return Ok((at, stream));
            }
            Ok(Err(error)) => refused = error,
            Err(_) => refused = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(refused)
}

/// Pauses that double up to a bound, each cut short at random so that members
/// do not dial in step.
struct Pause {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Pause {
    fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_anew() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(500));
        let mut pause = Pause::new(min, max);
        for full in [10, 20, 40, 80, 160, 320, 500, 500] {
            let full = Duration::from_millis(full);
            let got = pause.next();
            assert!(full / 2 <= got && got <= full, "{got:?} of {full:?}");
        }
        pause.reset();
        assert!(pause.next() <= min);
    }
}
