//! The accepting side of peer links.

use super::{LinkWorld, Way, peer_address, run_link, set_up};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A pause after the system refuses to accept (out of files, say), so that the
/// node does not spin.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts links for as long as it is polled; dropping it ends them all.
pub(crate) async fn accept(world: Arc<LinkWorld>, listener: TcpListener) {
    let mut links = JoinSet::new();
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = links.join_next() => {
                full = false;
                continue;
            }
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn!("the peer port cannot accept connections: {error}");
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        if links.len() >= world.limits.accepted_max {
            // Said once each time it fills up.
            if !full {
                log::warn!(
                    "refusing connections to the peer port, from {address} first: \
                     {} are open, which is the limit",
                    links.len()
                );
            }
            full = true;
            continue;
        }
        if set_up(&stream).is_err() {
            continue; // It is gone already.
        }
        let world = world.clone();
        links.spawn(async move {
            let from = peer_address(&stream);
            let report = run_link(&world, stream, Way::Accepted).await;
            let level = if report.end.is_ordinary() { log::Level::Debug } else { log::Level::Warn };
            log::log!(level, "the link from {from} ended: {}", report.end);
        });
    }
}
