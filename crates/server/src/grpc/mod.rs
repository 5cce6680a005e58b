//! gRPC's own part of the edge: messages in their frames, metadata, methods.
//!
//! It knows nothing of an HTTP library beyond header maps and byte buffers, so
//! whatever carries HTTP/2 can be exchanged under it.

mod frame;
mod metadata;
mod method;

pub use frame::{MESSAGE_BYTES_MAX, MessageBuffer, encode, frame_parts, unframe_unary};
pub use metadata::{CallMetadata, parse_timeout, status_headers};
pub use method::{Kind, METHODS, Method, find as find_method, unknown as unknown_method};
