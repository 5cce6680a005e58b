//! The etcd v3 API and the operator's endpoints, over `driftless-kv` on
//! `driftless`.
//!
//! From the socket inwards: `edge` (connections, HTTP), [`grpc`] (frames,
//! metadata, methods), [`service`] (what each RPC means), [`convert`] (between
//! the wire's messages and the store's requests), [`Backend`] (the replicated
//! store).

#![forbid(unsafe_code)]

mod backend;
pub mod convert;
mod edge;
pub mod grpc;
mod metrics;
pub mod pb;
pub mod service;
mod status;

pub use backend::Backend;
pub use edge::{ConnectionLimits, serve_connections};
pub use metrics::{Metrics, render as render_metrics};
pub use service::{ETCD_VERSION, Identity, Limits, Services};
pub use status::{Code, Status};
