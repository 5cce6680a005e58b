//! The messages of `etcdserverpb.Cluster`, as far as it is served.

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
    /// Whether it only learns and has no vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
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
