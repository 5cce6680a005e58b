//! The messages of `etcdserverpb.Watch`.

use super::{Event, ResponseHeader};
use bytes::Bytes;

/// What a client sends on a watch stream.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchRequest {
    /// Which.
    #[prost(oneof = "watch_request::RequestUnion", tags = "1, 2, 3")]
    pub request_union: Option<watch_request::RequestUnion>,
}

/// What stands in a [`WatchRequest`].
pub mod watch_request {
    /// What a client sends on a watch stream.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
    pub enum RequestUnion {
        /// Begin to watch.
        #[prost(message, tag = "1")]
        CreateRequest(super::WatchCreateRequest),
        /// End a watch.
        #[prost(message, tag = "2")]
        CancelRequest(super::WatchCancelRequest),
        /// Say how far the stream has come.
        #[prost(message, tag = "3")]
        ProgressRequest(super::WatchProgressRequest),
    }
}

/// Events that a watcher does not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum FilterType {
    /// No puts.
    Noput = 0,
    /// No deletions.
    Nodelete = 1,
}

/// Begins to watch a key or a range of keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchCreateRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`](super::RangeRequest::range_end).
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// From this revision on, inclusive; 0: from now.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// Say from time to time how far the watcher has come.
    #[prost(bool, tag = "4")]
    pub progress_notify: bool,
    /// [`FilterType`]s.
    #[prost(enumeration = "FilterType", repeated, tag = "5")]
    pub filters: Vec<i32>,
    /// With each event the key before it.
    #[prost(bool, tag = "6")]
    pub prev_kv: bool,
    /// The id it shall have; 0: the server chooses.
    #[prost(int64, tag = "7")]
    pub watch_id: i64,
    /// Large revisions may come in pieces.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

/// Ends a watch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchCancelRequest {
    /// Which.
    #[prost(int64, tag = "1")]
    pub watch_id: i64,
}

/// Asks how far the stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchProgressRequest {}

/// What a server sends on a watch stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The watcher it is for; −1 for the stream.
    #[prost(int64, tag = "2")]
    pub watch_id: i64,
    /// The watcher was created.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// The watcher has ended; nothing follows.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// Where a watcher ended because its history is gone: the oldest revision left.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why it ended.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More of the same revision follows.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    /// What happened, in order.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}
