//! `mvccpb` and the messages of `etcdserverpb.KV`.

use bytes::Bytes;

/// What every answer begins with.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ResponseHeader {
    /// The cluster that answers.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// The member that answers.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// The store's revision when the request was applied; 0 where it does not matter.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// The term when the request was applied.
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// A key with its value and history.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The revision that created it.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// The revision that last changed it.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Changes since it was created, from 1.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    /// The lease it is attached to; 0 is none.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// A value was stored.
    Put = 0,
    /// A key was deleted.
    Delete = 1,
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Event {
    /// An [`EventType`].
    #[prost(enumeration = "EventType", tag = "1")]
    pub r#type: i32,
    /// The key after the change; of a deletion only key and `mod_revision`.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
    /// The key before the change, where it was asked for.
    #[prost(message, optional, tag = "3")]
    pub prev_kv: Option<KeyValue>,
}

/// How a range's answer is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SortOrder {
    /// By key, as it comes.
    None = 0,
    /// Lowest first.
    Ascend = 1,
    /// Highest first.
    Descend = 2,
}

/// What a range's answer is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SortTarget {
    /// The key.
    Key = 0,
    /// The version.
    Version = 1,
    /// The create revision.
    Create = 2,
    /// The mod revision.
    Mod = 3,
    /// The value.
    Value = 4,
}

/// Reads a key or a range of keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RangeRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The key after the last; empty: only `key`; a single zero byte: no end.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// At most this many keys; 0: all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// As of this revision; 0 or less: now.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// A [`SortOrder`].
    #[prost(enumeration = "SortOrder", tag = "5")]
    pub sort_order: i32,
    /// A [`SortTarget`].
    #[prost(enumeration = "SortTarget", tag = "6")]
    pub sort_target: i32,
    /// This member's state, however old, rather than the cluster's latest.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
    /// Leave the values out.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    /// Only count.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
    /// Leave out keys changed last before this.
    #[prost(int64, tag = "10")]
    pub min_mod_revision: i64,
    /// Leave out keys changed last after this.
    #[prost(int64, tag = "11")]
    pub max_mod_revision: i64,
    /// Leave out keys created before this.
    #[prost(int64, tag = "12")]
    pub min_create_revision: i64,
    /// Leave out keys created after this.
    #[prost(int64, tag = "13")]
    pub max_create_revision: i64,
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What was found.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` left something out.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// Keys in the range, whatever limit and filters say.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// Stores a value.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The lease to attach it to; 0 is none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Answer with what was there before.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keep the value, change the lease.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keep the lease, change the value.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

/// The answer to a [`PutRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What was there before, where it was asked for.
    #[prost(message, optional, tag = "2")]
    pub prev_kv: Option<KeyValue>,
}

/// Deletes a key or a range of keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DeleteRangeRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`].
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Answer with what was deleted.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

/// The answer to a [`DeleteRangeRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// How many keys were deleted.
    #[prost(int64, tag = "2")]
    pub deleted: i64,
    /// What was deleted, where it was asked for.
    #[prost(message, repeated, tag = "3")]
    pub prev_kvs: Vec<KeyValue>,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequestOp {
    /// Which.
    #[prost(oneof = "request_op::Request", tags = "1, 2, 3, 4")]
    pub request: Option<request_op::Request>,
}

/// What stands in a [`RequestOp`].
pub mod request_op {
    /// One operation of a transaction.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
    pub enum Request {
        /// Read.
        #[prost(message, tag = "1")]
        RequestRange(super::RangeRequest),
        /// Store.
        #[prost(message, tag = "2")]
        RequestPut(super::PutRequest),
        /// Delete.
        #[prost(message, tag = "3")]
        RequestDeleteRange(super::DeleteRangeRequest),
        /// A transaction in the transaction.
        #[prost(message, tag = "4")]
        RequestTxn(super::TxnRequest),
    }
}

/// The answer to one operation of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResponseOp {
    /// Which.
    #[prost(oneof = "response_op::Response", tags = "1, 2, 3, 4")]
    pub response: Option<response_op::Response>,
}

/// What stands in a [`ResponseOp`].
pub mod response_op {
    /// The answer to one operation of a transaction.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Response {
        /// To a read.
        #[prost(message, tag = "1")]
        ResponseRange(super::RangeResponse),
        /// To a put.
        #[prost(message, tag = "2")]
        ResponsePut(super::PutResponse),
        /// To a deletion.
        #[prost(message, tag = "3")]
        ResponseDeleteRange(super::DeleteRangeResponse),
        /// To a nested transaction.
        #[prost(message, tag = "4")]
        ResponseTxn(super::TxnResponse),
    }
}

/// How a [`Compare`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    /// Equal.
    Equal = 0,
    /// The key's is greater.
    Greater = 1,
    /// The key's is less.
    Less = 2,
    /// Not equal.
    NotEqual = 3,
}

/// What a [`Compare`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    /// The version.
    Version = 0,
    /// The create revision.
    Create = 1,
    /// The mod revision.
    Mod = 2,
    /// The value.
    Value = 3,
    /// The lease.
    Lease = 4,
}

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Compare {
    /// A [`CompareResult`].
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    /// A [`CompareTarget`].
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    /// The key.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// What to compare with.
    #[prost(oneof = "compare::TargetUnion", tags = "4, 5, 6, 7, 8")]
    pub target_union: Option<compare::TargetUnion>,
    /// As in [`RangeRequest::range_end`]: every key in the range must match.
    #[prost(bytes = "bytes", tag = "64")]
    pub range_end: Bytes,
}

/// What stands in a [`Compare`].
pub mod compare {
    use bytes::Bytes;

    /// What to compare with.
    #[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
    pub enum TargetUnion {
        /// A version.
        #[prost(int64, tag = "4")]
        Version(i64),
        /// A create revision.
        #[prost(int64, tag = "5")]
        CreateRevision(i64),
        /// A mod revision.
        #[prost(int64, tag = "6")]
        ModRevision(i64),
        /// A value.
        #[prost(bytes = "bytes", tag = "7")]
        Value(Bytes),
        /// A lease.
        #[prost(int64, tag = "8")]
        Lease(i64),
    }
}

/// Several operations at one revision, chosen by conditions.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct TxnRequest {
    /// The conditions, all of which must hold.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Done if they hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Done if they do not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// The answer to a [`TxnRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether the conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// One answer an operation that was done.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// Lets history below a revision go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct CompactionRequest {
    /// The revision that remains readable.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Answer only when the space is free.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}

/// The answer to a [`CompactionRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CompactionResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}
