//! What a client may ask: the requests of etcd's KV service, field by field
//! under etcd's own names, and [`Command`], the form in which a write travels
//! through the replicated log.
//!
//! Beyond a request's own rules (see [`crate::check`]) nothing here is
//! validated: a command that decodes can be applied, and gets a reply.

use bytes::Bytes;

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision in which the key was created (after its last deletion).
    pub create_revision: i64,
    /// The revision of this version.
    pub mod_revision: i64,
    /// How many puts since the creation, this one included.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease to which the key is attached; 0 for none.
    pub lease: i64,
}

/// The order in which a range is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// As it comes: by key.
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
}

impl SortOrder {
    /// From etcd's number; `None` (the option) for one that etcd does not know
    /// (`invalid sort option`).
    pub fn from_i32(value: i32) -> Option<Self> {
        Some(match value {
            0 => Self::None,
            1 => Self::Ascend,
            2 => Self::Descend,
            _ => return None,
        })
    }
}

/// The field by which a range is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

impl SortTarget {
    /// From etcd's number; `None` for one that etcd does not know
    /// (`invalid sort option`).
    pub fn from_i32(value: i32) -> Option<Self> {
        Some(match value {
            0 => Self::Key,
            1 => Self::Version,
            2 => Self::Create,
            3 => Self::Mod,
            4 => Self::Value,
            _ => return None,
        })
    }
}

/// Reads keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeRequest {
    /// The key, or the first of a range.
    pub key: Bytes,
    /// Empty: the one key. `\0`: everything from `key` on. Otherwise the end
    /// of the range, itself outside of it.
    pub range_end: Bytes,
    /// The most keys to answer; 0 (or less) for all.
    pub limit: i64,
    /// The revision to read at; 0 (or less) for the latest.
    pub revision: i64,
    /// The order of the answer.
    pub sort_order: SortOrder,
    /// What to sort by.
    pub sort_target: SortTarget,
    /// Whether the answering member's own state is good enough. The store
    /// itself makes no difference: its host does.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Answer the count alone.
    pub count_only: bool,
    /// Leaves out what was modified earlier; 0 for no bound.
    pub min_mod_revision: i64,
    /// Leaves out what was modified later; 0 for no bound.
    pub max_mod_revision: i64,
    /// Leaves out what was created earlier; 0 for no bound.
    pub min_create_revision: i64,
    /// Leaves out what was created later; 0 for no bound.
    pub max_create_revision: i64,
}

/// Writes one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PutRequest {
    /// The key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The lease to attach it to; 0 for none.
    pub lease: i64,
    /// Answer what it was before.
    pub prev_kv: bool,
    /// Keep the value that it has.
    pub ignore_value: bool,
    /// Keep the lease that it has.
    pub ignore_lease: bool,
}

/// Deletes keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteRangeRequest {
    /// The key, or the first of a range.
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`].
    pub range_end: Bytes,
    /// Answer what was deleted.
    pub prev_kv: bool,
}

/// One operation inside of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestOp {
    /// A read.
    Range(RangeRequest),
    /// A write.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A transaction inside of the transaction.
    Txn(TxnRequest),
}

/// How the stored value must stand to the given one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CompareResult {
    /// Stored = given.
    #[default]
    Equal,
    /// Stored > given.
    Greater,
    /// Stored < given.
    Less,
    /// Stored ≠ given.
    NotEqual,
}

impl CompareResult {
    /// From etcd's number; `None` for one that etcd does not know.
    pub fn from_i32(value: i32) -> Option<Self> {
        Some(match value {
            0 => Self::Equal,
            1 => Self::Greater,
            2 => Self::Less,
            3 => Self::NotEqual,
            _ => return None,
        })
    }
}

/// What is compared, and with what: etcd's `target` and `target_union` in one.
///
/// Where a client sends a `target_union` that does not fit its `target`, etcd
/// compares with zero (or the empty value); say that here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The create revision.
    CreateRevision(i64),
    /// The mod revision.
    ModRevision(i64),
    /// The value, byte by byte.
    Value(Bytes),
    /// The lease.
    Lease(i64),
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    /// How the stored must stand to the given.
    pub result: CompareResult,
    /// What is compared with what.
    pub target: CompareTarget,
    /// The key, or the first of a range: then every key in it must comply.
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`].
    pub range_end: Bytes,
}

/// If all of `compare` hold, then `success`, else `failure`: atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TxnRequest {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// Done when all conditions hold.
    pub success: Vec<RequestOp>,
    /// Done otherwise.
    pub failure: Vec<RequestOp>,
}

impl TxnRequest {
    /// Whether neither branch, at any depth, can write. Such a transaction
    /// need not go through the log: [`crate::Reader::txn`] answers it.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            RequestOp::Range(_) => true,
            RequestOp::Put(_) | RequestOp::DeleteRange(_) => false,
            RequestOp::Txn(txn) => txn.is_read_only(),
        })
    }
}

/// Forgets what was overwritten or deleted before a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CompactionRequest {
    /// The oldest revision that can still be read.
    pub revision: i64,
    /// etcd: answer only once the space is free. Space is freed step by step
    /// here; the flag is carried and changes nothing.
    pub physical: bool,
}

/// A write, as it stands in the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Writes one key.
    Put(PutRequest),
    /// Deletes keys.
    DeleteRange(DeleteRangeRequest),
    /// Does several things at once, on conditions.
    Txn(TxnRequest),
    /// Forgets history.
    Compact(CompactionRequest),
    /// Says where a member serves clients. No revision comes of it.
    Publish(MemberAttributes),
    /// Says what a member is meant to be. No revision comes of it.
    Declare {
        /// The member.
        id: u64,
        /// What it is meant to be.
        intent: MemberIntent,
    },
}

/// What the operator means a member to be. Who really votes is the cluster's to
/// know: a voter begins as a learner, and is one again when it has lost its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberIntent {
    /// To vote, as soon as it can. So is everybody of whom nothing is said.
    Voter,
    /// To learn, until somebody promotes it.
    Learner,
    /// To be gone: what it published is forgotten.
    Gone,
}

/// What a member tells the others about itself, as etcd's members do when they
/// have started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberAttributes {
    /// The member.
    pub id: u64,
    /// Its name.
    pub name: Bytes,
    /// Where it tells clients to connect.
    pub client_urls: Vec<Bytes>,
}

/// How deep transactions may nest in an encoded command. etcd's own limit
/// follows from its 128 operations: each level takes at least one.
pub const TXN_DEPTH_MAX: usize = 128;
