//! The etcd v3 API and the operator's endpoints, over `driftless-kv` on
//! `driftless`.
//!
//! From the socket inwards: `edge` (connections, HTTP), [`grpc`] (frames,
//! metadata, methods), [`service`] (what each RPC means), [`convert`] (between
//! the wire's messages and the store's requests), [`Backend`] (the replicated
//! store).

#![forbid(unsafe_code)]

mod backend;
mod command;
pub mod config;
pub mod convert;
mod edge;
pub mod grpc;
mod logger;
mod metrics;
mod origin;
pub mod pb;
mod serve;
pub mod service;
mod status;

pub use backend::Backend;
pub use command::serve_command;
pub use driftless::{RecoverError, Recovered, recover};
pub use edge::{ConnectionLimits, Wire, serve_connections};
pub use metrics::{Metrics, render as render_metrics};
pub use origin::OriginError;
pub use serve::{ServeError, run, serve};
pub use service::{ETCD_VERSION, Identity, Limits, Services};
pub use status::{Code, Status};
