//! Accepting connections and telling HTTP/1.1 from HTTP/2.

use super::{Page, http2, operator};
use crate::backend::Backend;
use crate::service::Services;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
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
    ///
    /// On HTTP/2 this bounds everything that a client must finish once begun: its
    /// preface and settings, and each header block.
    pub first_word: Duration,
    /// How long a client may take nothing of what it asked for.
    pub write_timeout: Duration,
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
            write_timeout: Duration::from_secs(60),
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
    let stop = async move {
        // An error says that whoever could have asked is gone, which is the same.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if is_http2 {
        http2::serve(stream, services, limits, stop).await;
    } else {
        serve_http1(stream, services, &limits, stop).await;
    }
}

/// Pages for operators. How a connection ends is the client's affair: errors are not
/// reported.
async fn serve_http1<B: Backend>(
    stream: TcpStream,
    services: Services<B>,
    limits: &ConnectionLimits,
    stop: impl Future<Output = ()>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.first_word)
        .max_buf_size((limits.header_bytes_max as usize).max(8 << 10))
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| page(services.clone(), request)),
        );
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn page<B: Backend>(
    services: Services<B>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let Page { status, content_type, allow, text } = operator::page(&services, is_read, path).await;
    let mut response = Response::new(Full::new(text));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    Ok(response)
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
