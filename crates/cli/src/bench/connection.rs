//! A connection for many unary calls at a time, as cheap as can be: what the
//! load costs here is taken from what it measures.

use crate::client::{Endpoint, root_cause};
use bytes::{Buf as _, Bytes};
use driftless_server::Wire;
use driftless_server::grpc::{encode, unframe_unary};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Uri, header};
use prost::Message;
use std::cell::RefCell;
use std::future::poll_fn;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Code, Status};

/// Large enough that no answer of a benchmark ever waits for it.
const WINDOW_BYTES: u32 = 16 << 20;

/// One TCP connection to a member; when it breaks, calls fail until
/// [`Self::mend`] has made another. All of it lives on one thread.
pub(super) struct Connection {
    endpoint: Endpoint,
    requests: RefCell<SendRequest<Bytes>>,
}

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint, within: Duration) -> Result<Self, String> {
        let requests = RefCell::new(open(endpoint, within).await?);
        Ok(Self { endpoint: endpoint.clone(), requests })
    }

    /// Connects anew if the connection is broken.
    pub(super) async fn mend(&self, within: Duration) {
        let mut requests = self.requests.borrow().clone();
        if poll_fn(|context| requests.poll_ready(context)).await.is_ok() {
            return;
        }
        if let Ok(requests) = open(&self.endpoint, within).await {
            self.requests.replace(requests);
        }
    }

    /// Calls the method at `path` and waits for its answer.
    pub(super) async fn call<A: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<A, Status> {
        let mut requests = self.requests.borrow().clone();
        poll_fn(|context| requests.poll_ready(context)).await.map_err(broken)?;
        let uri = Uri::builder().scheme("http").authority(self.endpoint.as_str());
        let request = Request::post(uri.path_and_query(path).build().map_err(internal)?)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())
            .map_err(internal)?;
        let (response, mut body) = requests.send_request(request, false).map_err(broken)?;
        body.send_data(encode(message), true).map_err(broken)?;

        let (head, mut body) = response.await.map_err(broken)?.into_parts();
        let mut frame = Bytes::new();
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(broken)?;
            body.flow_control().release_capacity(piece.len()).map_err(broken)?;
            let length = frame.len() + piece.len();
            frame = frame.chain(piece).copy_to_bytes(length);
        }
        let trailers = body.trailers().await.map_err(broken)?;
        status(trailers.as_ref().unwrap_or(&head.headers))?;
        let message = unframe_unary(&frame).map_err(|status| internal(status.message))?;
        A::decode(frame.slice_ref(message)).map_err(internal)
    }
}

async fn open(endpoint: &Endpoint, within: Duration) -> Result<SendRequest<Bytes>, String> {
    let connecting = async {
        let stream = TcpStream::connect(endpoint.as_str()).await.map_err(|e| root_cause(&e))?;
        stream.set_nodelay(true).map_err(|error| root_cause(&error))?;
        let wire = Wire::new(stream);
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .enable_push(false)
            .handshake(wire.clone())
            .await
            .map_err(|error| root_cause(&error))?;
        // How it ends is told to each call that waits for an answer.
        tokio::task::spawn_local(async move {
            let _ = wire.drive(connection).await;
        });
        poll_fn(|context| requests.clone().poll_ready(context))
            .await
            .map_err(|e| root_cause(&e))?;
        Ok(requests)
    };
    match timeout(within, connecting).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("no connection within {} s", within.as_secs_f64())),
    }
}

/// What the trailers (or headers, if there is no message) say.
fn status(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(internal("the answer bears no gRPC status: is this an etcd endpoint?")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn broken(error: h2::Error) -> Status {
    Status::unavailable(root_cause(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn internal(reason: impl ToString) -> Status {
    Status::internal(reason.to_string())
}
