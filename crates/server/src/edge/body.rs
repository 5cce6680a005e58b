//! What an answer's body can be.

use crate::grpc::status_headers;
use crate::status::{Code, Status};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

/// The body of an answer.
pub(super) struct ResponseBody(Kind);

enum Kind {
    /// Nothing (more).
    Empty,
    /// A text.
    Full(Bytes),
    /// A framed message, then `grpc-status: 0`.
    Unary(Bytes),
    /// The trailers of a call that went well.
    OkTrailers,
    /// Framed messages as they come, then the status.
    Stream { frames: mpsc::Receiver<Bytes>, ended: oneshot::Receiver<Status> },
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(super) fn full(text: Bytes) -> Self {
        Self(Kind::Full(text))
    }

    pub(super) fn unary(frame: Bytes) -> Self {
        Self(Kind::Unary(frame))
    }

    pub(super) fn stream(frames: mpsc::Receiver<Bytes>, ended: oneshot::Receiver<Status>) -> Self {
        Self(Kind::Stream { frames, ended })
    }
}

fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    trailers
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(text) => {
                let text = std::mem::take(text);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Kind::Unary(frame) => {
                let frame = std::mem::take(frame);
                self.0 = Kind::OkTrailers;
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            Kind::OkTrailers => {
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::trailers(ok_trailers()))))
            }
            Kind::Stream { frames, ended } => {
                if let Some(frame) = std::task::ready!(frames.poll_recv(context)) {
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                let status = std::task::ready!(Pin::new(ended).poll(context))
                    .unwrap_or(Status::new(Code::Unknown, "the call ended without saying how"));
                self.0 = Kind::Empty;
                let mut trailers = HeaderMap::with_capacity(2);
                status_headers(&status, &mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(text) => SizeHint::with_exact(text.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
