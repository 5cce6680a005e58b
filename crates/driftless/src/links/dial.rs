//! The dialling side of peer links.

use super::{LinkEnd, LinkWorld, Way, run_link, set_up};
use driftless_node::raft::NodeId;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A link that lived this long was a good one: the next is dialled at once.
const GOOD_LIFE: Duration = Duration::from_secs(1);

/// Keeps a link to `peer` open for as long as it is polled.
pub(crate) async fn dial(world: Arc<LinkWorld>, peer: NodeId, address: String) {
    let mut pause = Pause::new(world.limits.redial_min, world.limits.redial_max);
    // People are told of changes, not of every attempt.
    let mut told = false;
    loop {
        match connect(&world, &address).await {
            Ok(stream) => {
                log::debug!("connected to member {:x} at {address}", peer.0);
                let report = run_link(&world, stream, Way::Dialled(peer)).await;
                let good = report.greeted && report.lived >= GOOD_LIFE;
                if good || !told {
                    let level = match report.end {
                        LinkEnd::ByPeer | LinkEnd::Socket(_) | LinkEnd::ByNode => log::Level::Info,
                        _ => log::Level::Warn,
                    };
                    log::log!(
                        level,
                        "the link to member {:x} at {address}: {}",
                        peer.0,
                        report.end
                    );
                }
                told = !good;
                if good {
                    pause.reset();
                    continue;
                }
            }
            Err(error) => {
                if !told {
                    log::info!(
                        "member {:x} cannot be reached at {address}: {error}; trying on",
                        peer.0
                    );
                    told = true;
                }
            }
        }
        sleep(pause.next()).await;
    }
}

async fn connect(world: &LinkWorld, address: &str) -> io::Result<TcpStream> {
    let stream = timeout(world.limits.handshake_max, TcpStream::connect(address))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    set_up(&stream)?;
    Ok(stream)
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
