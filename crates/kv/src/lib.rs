//! A multi-version key-value state machine with etcd's meaning.
//!
//! Every write makes a revision; every key keeps its versions until they are
//! compacted; reads name any revision that is left. Requests and responses bear
//! etcd's names field by field, so that an etcd server is a thin edge over this
//! crate. It knows nothing of sockets, clocks or consensus: a host applies
//! [`Command`]s through [`driftless_machine::StateMachine`] to a [`Store`], and
//! anybody reads through a [`Reader`].
//!
//! ```
//! use driftless_kv::{Command, PutRequest, RangeRequest, Reply, Response, Store};
//! use driftless_machine::{AppliedPosition, Batch, StateMachine};
//!
//! let mut store = Store::new();
//! let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
//! let replies = store.apply(&Batch {
//!     through: AppliedPosition { term: 1, index: 1 },
//!     commands: &[Command::Put(put).encode()],
//!     sidecar: &|_| Default::default(),
//! });
//! let Reply(Ok(Response::Put(response))) = Reply::decode(&replies[0])? else { panic!() };
//! assert_eq!(response.revision, 2);
//!
//! let range = RangeRequest { key: "k".into(), ..RangeRequest::default() };
//! assert_eq!(store.reader().range(&range)?.kvs[0].value, "v");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A static check ([`check`]) belongs before each command that is proposed.
//! What was proposed and decodes is applied, and an error is a reply like any
//! other, the same on every member.

#![forbid(unsafe_code)]

pub mod check;
mod command;
mod command_bytes;
mod compact;
mod encoding;
mod machine;
mod range;
mod reader;
mod reply;
mod snapshot;
mod store;
mod txn;
mod watch;

pub use command::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    KeyValue, MemberAttributes, MemberIntent, PutRequest, RangeRequest, RequestOp, SortOrder,
    SortTarget, TXN_DEPTH_MAX, TxnRequest,
};
pub use encoding::DecodeError;
pub use machine::{RevisionHook, Store};
pub use reader::{Reader, Size, StateHash};
pub use reply::{
    ApplyError, CompactionResponse, DeleteRangeResponse, PutResponse, RangeResponse, ReadError,
    Reply, Response, ResponseOp, TxnResponse,
};
pub use watch::{Compacted, Event, EventKind, Events, Follower, RevisionEvents};
