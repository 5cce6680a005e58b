//! The client port: connections, HTTP, and what of it is gRPC.
//!
//! HTTP/2 is ours ([`http2`]), for it is what calls come by; HTTP/1.1, which brings
//! operators' pages alone, is `hyper`'s. Whole messages go to [`Services`], and what
//! they answer is written back, so that either can be replaced without anything else
//! noticing.

mod calls;
mod http2;
mod listen;
mod operator;
mod wire;

pub use listen::{ConnectionLimits, serve_connections};
pub use wire::Wire;

use crate::backend::Backend;
use crate::grpc::Method;
use crate::metrics::CallTimer;
use crate::service::{Call, Services};
use crate::status::Status;
use bytes::Bytes;

/// What a request asks to be done.
enum Work {
    /// A unary call whose message is there.
    Unary { method: Method, message: Bytes, call: Call, timer: CallTimer },
    /// Anything but gRPC; `is_read` where it is a GET or a HEAD.
    Page { is_read: bool, path: Box<str> },
}

/// What comes of it.
enum Answer {
    /// A framed message, and success.
    Message(Bytes),
    /// A status, and no message.
    Refused(Status),
    /// An answer in plain HTTP.
    Page(Page),
}

/// An answer in plain HTTP.
struct Page {
    status: u16,
    content_type: &'static str,
    /// Which methods there are, if the request's is none of them.
    allow: Option<&'static str>,
    text: Bytes,
}

async fn answer<B: Backend>(services: Services<B>, work: Work) -> Answer {
    match work {
        Work::Unary { method, message, call, timer } => {
            match calls::unary(&services, method, message, call, timer).await {
                Ok(frame) => Answer::Message(frame),
                Err(status) => Answer::Refused(status),
            }
        }
        // Boxed, so that calls need no room for it.
        Work::Page { is_read, path } => {
            Answer::Page(Box::pin(operator::page(&services, is_read, &path)).await)
        }
    }
}
