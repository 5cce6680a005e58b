//! The messages of `etcdserverpb.Cluster`.

use super::ResponseHeader;

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Member {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where its peers reach it.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// Whether it is meant to learn only, and to have no vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
    /// What it is now, a [`MemberRole`]. etcd has no such field: there a voter votes
    /// from the beginning, and one that lost its disk does not come back.
    #[prost(enumeration = "MemberRole", tag = "1001")]
    pub role: i32,
}

/// What a member is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MemberRole {
    /// It is not said; etcd never says it.
    Unknown = 0,
    /// It votes.
    Voter = 1,
    /// It learns: as it is meant to, or until it has caught up and votes.
    Learner = 2,
    /// It votes, and holds no data.
    Witness = 3,
}

/// Asks for the members.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct MemberListRequest {
    /// The cluster's view rather than this member's.
    #[prost(bool, tag = "1")]
    pub linearizable: bool,
}

/// The answer to a [`MemberListRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberListResponse {
    /// See [`ResponseHeader`]; its revision is 0.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The members.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

/// Asks for a new member.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct MemberAddRequest {
    /// Where its peers will reach it.
    #[prost(string, repeated, tag = "1")]
    pub peer_urls: Vec<String>,
    /// Whether it is to learn, and not to vote until it is promoted.
    #[prost(bool, tag = "2")]
    pub is_learner: bool,
    /// Whether it is to vote and hold no data. etcd has no such field, and none of this
    /// number; it would add a voter.
    #[prost(bool, tag = "1001")]
    pub is_witness: bool,
    /// The name of a witness, which cannot say it itself: it writes nothing. Not in etcd
    /// either, where members say their names when they start.
    #[prost(string, tag = "1002")]
    pub name: String,
}

/// The answer to a [`MemberAddRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberAddResponse {
    /// See [`ResponseHeader`]; its revision is 0.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The new one, with the id that it was given.
    #[prost(message, optional, tag = "2")]
    pub member: Option<Member>,
    /// All members, after the change.
    #[prost(message, repeated, tag = "3")]
    pub members: Vec<Member>,
}

/// Asks that a member go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct MemberRemoveRequest {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// The answer to a [`MemberRemoveRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberRemoveResponse {
    /// See [`ResponseHeader`]; its revision is 0.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// All members, after the change.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

/// Says that a member is reached elsewhere.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct MemberUpdateRequest {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Where its peers will reach it.
    #[prost(string, repeated, tag = "2")]
    pub peer_urls: Vec<String>,
}

/// The answer to a [`MemberUpdateRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberUpdateResponse {
    /// See [`ResponseHeader`]; its revision is 0.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// All members, after the change.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

/// Asks that a learner vote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct MemberPromoteRequest {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// The answer to a [`MemberPromoteRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberPromoteResponse {
    /// See [`ResponseHeader`]; its revision is 0.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// All members, after the change.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}
