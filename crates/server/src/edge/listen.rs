//! Accepting connections and telling HTTP/1.1 from HTTP/2.

use super::handle;
use super::wire::Wire;
use crate::backend::Backend;
use crate::service::Services;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What bounds connections of clients.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections at a time over all listeners; more wait to be accepted.
    pub connections_max: usize,
    /// Streams at a time on an HTTP/2 connection.
    pub streams_max: u32,
    /// The size of a request's headers, in bytes.
    pub header_bytes_max: u32,
    /// How long a new connection may take to say its first word, and an
    /// HTTP/1.1 one to send its headers.
    pub first_word: Duration,
    /// An HTTP/2 connection is asked this often whether it is still there ...
    pub ping_interval: Duration,
    /// ... and must answer within this.
    pub ping_timeout: Duration,
    /// Serve health, version and metrics alone.
    pub operator_only: bool,
    /// How long calls may go on once the server is asked to stop.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            streams_max: 4096,
            header_bytes_max: 16 << 10,
            first_word: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            operator_only: false,
            grace: Duration::from_secs(5),
        }
    }
}

/// Every HTTP/2 connection begins so; no HTTP/1.1 method does.
const HTTP2_FIRST_WORD: &[u8; 3] = b"PRI";

/// Serves clients on this listener until `stop` says `true` (or its sender is
/// gone): then no more are accepted, calls in flight are finished for as long
/// as the grace lasts, and this returns.
pub async fn serve_connections<B: Backend>(
    listener: TcpListener,
    services: Services<B>,
    limits: ConnectionLimits,
    slots: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            // Reaps the connections that have ended.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let services = services.clone();
                let limits = limits.clone();
                let stop = stop.clone();
                connections.spawn(async move {
                    serve_connection(stream, services, limits, stop).await;
                    drop(slot);
                });
            }
            // Out of file descriptors, or the connection died in the queue:
            // neither is a reason to stop serving the others.
            Err(error) => {
                log::warn!("a client's connection could not be accepted: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(limits.grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve_connection<B: Backend>(
    stream: TcpStream,
    services: Services<B>,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    // Without this, answers would wait for the client's acknowledgements.
    let _ = stream.set_nodelay(true);
    let Ok(Some(is_http2)) = timeout(limits.first_word, first_word(&stream)).await else { return };
    let operator_only = limits.operator_only;
    let service = service_fn(move |request| handle(services.clone(), operator_only, request));
    let wire = Wire::new(stream);
    let io = TokioIo::new(wire.clone());
    // How a connection ends is the client's affair: errors are not reported.
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(limits.header_bytes_max)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_send_buf_size(1 << 20)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .serve_connection(io, service);
        let connection = async {
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        };
        let _ = wire.drive(connection).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.first_word)
            .max_buf_size((limits.header_bytes_max as usize).max(8 << 10))
            .serve_connection(io, service);
        let connection = async {
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        };
        let _ = wire.drive(connection).await;
    }
}

/// Whether the client begins as an HTTP/2 client does; `None` if it has gone.
async fn first_word(stream: &TcpStream) -> Option<bool> {
    let mut word = [0; HTTP2_FIRST_WORD.len()];
    loop {
        match stream.peek(&mut word).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => {
                if word[..length] != HTTP2_FIRST_WORD[..length] {
                    return Some(false);
                }
                if length == word.len() {
                    return Some(true);
                }
                // A part of the word: the rest is on its way.
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
