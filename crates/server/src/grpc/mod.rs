//! gRPC's own part of the edge: messages in their frames, metadata, methods.
//!
//! It knows nothing of HTTP/2 beyond header fields and byte buffers, so
//! whatever carries it can be exchanged underneath.

mod frame;
mod metadata;
mod method;

pub use frame::{MESSAGE_BYTES_MAX, MessageBuffer, encode, frame_parts, unframe_unary};
pub use metadata::{CallMetadata, parse_timeout, percent_encode};
pub use method::{Kind, METHODS, Method, find as find_method, unknown as unknown_method};
