//! The messages of `etcdserverpb.Maintenance`, as far as it is served.

use super::ResponseHeader;

/// Asks a member how it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct StatusRequest {}

/// The answer to a [`StatusRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The version of etcd that this API is equal to.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Bytes that the store occupies.
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    /// The leader's id; 0 is none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// The index that is known committed.
    #[prost(uint64, tag = "5")]
    pub raft_index: u64,
    /// The term.
    #[prost(uint64, tag = "6")]
    pub raft_term: u64,
    /// The index that is applied.
    #[prost(uint64, tag = "7")]
    pub raft_applied_index: u64,
    /// What is wrong.
    #[prost(string, repeated, tag = "8")]
    pub errors: Vec<String>,
    /// Bytes that the store's data need.
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    /// Whether the member only learns and has no vote.
    #[prost(bool, tag = "10")]
    pub is_learner: bool,
    /// The version of etcd whose store this is equal to.
    #[prost(string, tag = "11")]
    pub storage_version: String,
    /// How far the store may grow.
    #[prost(int64, tag = "12")]
    pub db_size_quota: i64,
    /// Whether a downgrade is under way.
    #[prost(message, optional, tag = "13")]
    pub downgrade_info: Option<DowngradeInfo>,
    /// What the member is now, a [`MemberRole`](super::MemberRole). etcd has no such field.
    #[prost(enumeration = "super::MemberRole", tag = "1001")]
    pub role: i32,
}

/// Whether a downgrade is under way.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DowngradeInfo {
    /// It is.
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    /// To this version.
    #[prost(string, tag = "2")]
    pub target_version: String,
}

/// Asks for a hash of the keys' history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct HashKvRequest {
    /// Up to this revision; 0: all.
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// The answer to a [`HashKvRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HashKvResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The hash: equal on members that hold the same.
    #[prost(uint32, tag = "2")]
    pub hash: u32,
    /// The store was compacted at this revision.
    #[prost(int64, tag = "3")]
    pub compact_revision: i64,
    /// The hash goes up to this revision.
    #[prost(int64, tag = "4")]
    pub hash_revision: i64,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    /// Nothing; all of them, in a question.
    None = 0,
    /// The store has reached its quota.
    Nospace = 1,
    /// Members do not hold the same.
    Corrupt = 2,
}

/// What to do with alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmAction {
    /// List them.
    Get = 0,
    /// Raise one.
    Activate = 1,
    /// Disarm one.
    Deactivate = 2,
}

/// Asks for alarms, raises or disarms one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct AlarmRequest {
    /// An [`AlarmAction`].
    #[prost(enumeration = "AlarmAction", tag = "1")]
    pub action: i32,
    /// Whose; 0 is everyone's.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// An [`AlarmType`].
    #[prost(enumeration = "AlarmType", tag = "3")]
    pub alarm: i32,
}

/// An alarm that is raised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct AlarmMember {
    /// By this member.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// An [`AlarmType`].
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// The answer to an [`AlarmRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AlarmResponse {
    /// See [`ResponseHeader`].
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The alarms.
    #[prost(message, repeated, tag = "2")]
    pub alarms: Vec<AlarmMember>,
}

/// Asks the leader to let another member lead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct MoveLeaderRequest {
    /// The member that is to lead.
    #[prost(uint64, tag = "1")]
    pub target_id: u64,
}

/// The answer to a [`MoveLeaderRequest`], once that one leads.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MoveLeaderResponse {
    /// etcd leaves it out here.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}
