//! HTTP/2 for servers, RFC 9113, by hand: what of it a gRPC server needs, at a
//! fraction of what a general library costs a call.
//!
//! [`connection`] is the protocol without a socket: bytes in, events out (`receive`);
//! answers in, bytes out (`answer`). [`frame`], [`hpack`], [`flow`] and [`streams`] are its
//! parts. [`session`] drives one connection on its socket, and owns its calls.

mod answer;
mod connection;
mod flow;
mod frame;
mod hpack;
mod output;
mod patience;
mod ready;
mod receive;
mod request;
mod session;
mod slot;
mod streams;
#[cfg(test)]
mod tests;

use super::{ConnectionLimits, answer as answer_work};
use crate::backend::Backend;
use crate::service::Services;
use session::{Ended, Session};
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long the peer may take to close after everything was said, and how much it may
/// say meanwhile.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 1 << 20;

/// Serves a connection until one side ends it. `stop` asks to finish what is under way
/// and leave.
pub(super) async fn serve<B: Backend, Io: AsyncRead + AsyncWrite + Unpin>(
    io: Io,
    services: Services<B>,
    limits: ConnectionLimits,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let mut session = Session::new(io, services, answer_work::<B>, limits, stop);
    if poll_fn(|context| session.poll(context)).await == Ended::Said {
        let mut io = session.into_io();
        // A socket that is closed with something unread takes back what it sent last.
        let _ = timeout(LINGER, async {
            io.shutdown().await?;
            tokio::io::copy(&mut io.take(LINGER_BYTES), &mut tokio::io::sink()).await
        })
        .await;
    }
}
