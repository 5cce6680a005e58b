//! The client port: connections, HTTP, and what of it is gRPC.
//!
//! This is the one module that knows an HTTP library (`hyper`). It hands whole
//! messages to [`Services`] and writes what they answer, so it can be replaced
//! without anything else noticing.

mod body;
mod listen;
mod operator;
mod wire;

pub use listen::{ConnectionLimits, serve_connections};
pub use wire::Wire;

use crate::backend::Backend;
use crate::grpc::{self, CallMetadata, Kind, MessageBuffer, Method};
use crate::metrics::CallTimer;
use crate::service::{Call, Requests, Services};
use crate::status::{Code, Status};
use body::ResponseBody;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::convert::Infallible;
use tokio::sync::{mpsc, oneshot};

/// Framed messages that may wait for a slow client on a stream.
const STREAM_QUEUE: usize = 4;

/// Answers one HTTP request, of either version.
async fn handle<B: Backend>(
    services: Services<B>,
    operator_only: bool,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc || operator_only {
        return Ok(operator::handle(&services, &request).await);
    }
    let Some(method) = grpc::find_method(request.uri().path()) else {
        let text = grpc::unknown_method(request.uri().path());
        let status = Status::with(Code::Unimplemented, text);
        return Ok(refusal(&status));
    };
    if request.method() != http::Method::POST {
        return Ok(refusal(&Status::new(Code::Unimplemented, "gRPC calls are made with POST")));
    }
    let call = Call::new(CallMetadata::from_headers(request.headers()), services.limits());
    let body = request.into_body();
    Ok(match method.kind() {
        Kind::Unary => unary(&services, method, call, body).await,
        Kind::ServerStream | Kind::ClientStream | Kind::Bidirectional => {
            stream(services, method, call, body)
        }
    })
}

async fn unary<B: Backend>(
    services: &Services<B>,
    method: Method,
    call: Call,
    body: Incoming,
) -> Response<ResponseBody> {
    let mut timer = CallTimer::begin(services.metrics(), method);
    let answer = match read_unary(body).await {
        Ok(message) => services.unary(method, message, call).await,
        Err(status) => Err(status),
    };
    match answer {
        Ok(frame) => {
            timer.end(Code::Ok);
            success(ResponseBody::unary(frame))
        }
        Err(status) => {
            timer.end(status.code);
            refusal(&status)
        }
    }
}

/// The one message of a unary call.
async fn read_unary(mut body: Incoming) -> Result<Bytes, Status> {
    // The usual case is one piece that ends the stream.
    let Some(first) = next_piece(&mut body).await? else {
        return Err(Status::new(Code::Internal, "the request holds no message"));
    };
    if body.is_end_stream() {
        return grpc::unframe_unary(&first);
    }
    let mut buffer = MessageBuffer::default();
    let mut message = None;
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        buffer.push(bytes);
        while let Some(whole) = buffer.next_message()? {
            if message.replace(whole).is_some() {
                return Err(Status::new(Code::Internal, "a unary request holds one message"));
            }
        }
        piece = next_piece(&mut body).await?;
    }
    if buffer.is_mid_message() {
        return Err(Status::new(Code::Internal, "the request ended within its message"));
    }
    message.ok_or(Status::new(Code::Internal, "the request holds no message"))
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Status> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(Status::new(Code::Canceled, "context canceled")),
        }
    }
}

fn stream<B: Backend>(
    services: Services<B>,
    method: Method,
    call: Call,
    body: Incoming,
) -> Response<ResponseBody> {
    let (responses, frames) = mpsc::channel(STREAM_QUEUE);
    let (end, ended) = oneshot::channel();
    // The call outlives this function: its answers are pulled by the connection.
    tokio::spawn(async move {
        let mut timer = CallTimer::begin(services.metrics(), method);
        let requests = BodyRequests { body, buffer: MessageBuffer::default(), done: false };
        let status = match services.stream(method, requests, responses, call).await {
            Ok(()) => Status::new(Code::Ok, ""),
            Err(status) => status,
        };
        timer.end(status.code);
        let _ = end.send(status);
    });
    success(ResponseBody::stream(frames, ended))
}

struct BodyRequests {
    body: Incoming,
    buffer: MessageBuffer,
    done: bool,
}

impl Requests for BodyRequests {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.buffer.next_message()? {
                return Ok(Some(message));
            }
            if self.done {
                return Ok(None);
            }
            match next_piece(&mut self.body).await? {
                Some(piece) => self.buffer.push(piece),
                None if self.buffer.is_mid_message() => {
                    return Err(Status::new(Code::Internal, "the stream ended within a message"));
                }
                None => self.done = true,
            }
        }
    }
}

fn success(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer without a message: the status stands in the headers.
fn refusal(status: &Status) -> Response<ResponseBody> {
    let mut response = success(ResponseBody::empty());
    grpc::status_headers(status, response.headers_mut());
    response
}

/// An answer in plain HTTP.
fn plain(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text.into()));
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
