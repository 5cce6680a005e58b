//! A multi-version key-value state machine with etcd's meaning.
//!
//! Every write makes a revision; every key keeps its versions until they are
//! compacted; reads name any revision that is left. Requests and responses bear
//! etcd's names field by field, so that an etcd server is a thin edge over this
//! crate. It knows nothing of sockets, clocks or consensus: a host applies
//! [`Command`]s through [`driftless_machine::StateMachine`].

#![forbid(unsafe_code)]

pub mod check;
mod command;
mod encoding;
mod reply;

pub use command::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    KeyValue, PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget, TXN_DEPTH_MAX,
    TxnRequest,
};
pub use encoding::DecodeError;
pub use reply::{
    ApplyError, CompactionResponse, DeleteRangeResponse, PutResponse, RangeResponse, ReadError,
    Reply, Response, ResponseOp, TxnResponse,
};
