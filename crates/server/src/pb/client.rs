//! Clients of the services, for the command line and for tests.
//!
//! One method an RPC over a [`tonic::transport::Channel`]; clones share the
//! connection.

use super::{
    AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse, DeleteRangeRequest,
    DeleteRangeResponse, HashKvRequest, HashKvResponse, HealthCheckRequest, HealthCheckResponse,
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, MoveLeaderResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest,
    TxnResponse, WatchRequest, WatchResponse,
};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{IntoRequest, IntoStreamingRequest, Response, Status, Streaming};
use tonic_prost::ProstCodec;

macro_rules! client {
    (
        $(#[$doc:meta])* $name:ident, $service:literal:
        $( $(#[$method_doc:meta])* $method:ident = $rpc:literal ($request:ty) -> $response:ty; )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            grpc: Grpc<Channel>,
        }

        impl $name {
            /// A client over this connection.
            pub fn new(channel: Channel) -> Self {
                Self { grpc: Grpc::new(channel) }
            }

            /// Takes answers of up to `limit` bytes; 4 MiB without this.
            #[must_use]
            pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
                self.grpc = self.grpc.max_decoding_message_size(limit);
                self
            }

            async fn ready(&mut self) -> Result<(), Status> {
                self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
            }

            $(
                $(#[$method_doc])*
                pub async fn $method(
                    &mut self,
                    request: impl IntoRequest<$request>,
                ) -> Result<Response<$response>, Status> {
                    self.ready().await?;
                    let path = PathAndQuery::from_static(concat!("/", $service, "/", $rpc));
                    self.grpc.unary(request.into_request(), path, ProstCodec::default()).await
                }
            )*
        }
    };
}

client! {
    /// `etcdserverpb.KV`.
    KvClient, "etcdserverpb.KV":
    /// Reads a key or a range of keys.
    range = "Range" (RangeRequest) -> RangeResponse;
    /// Stores a value.
    put = "Put" (PutRequest) -> PutResponse;
    /// Deletes a key or a range of keys.
    delete_range = "DeleteRange" (DeleteRangeRequest) -> DeleteRangeResponse;
    /// Does several operations at one revision, chosen by conditions.
    txn = "Txn" (TxnRequest) -> TxnResponse;
    /// Lets history below a revision go.
    compact = "Compact" (CompactionRequest) -> CompactionResponse;
}

client! {
    /// `etcdserverpb.Watch`.
    WatchClient, "etcdserverpb.Watch":
}

impl WatchClient {
    /// Opens a stream of watchers.
    pub async fn watch(
        &mut self,
        requests: impl IntoStreamingRequest<Message = WatchRequest>,
    ) -> Result<Response<Streaming<WatchResponse>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        self.grpc.streaming(requests.into_streaming_request(), path, ProstCodec::default()).await
    }
}

client! {
    /// `etcdserverpb.Cluster`.
    ClusterClient, "etcdserverpb.Cluster":
    /// Lists the members.
    member_list = "MemberList" (MemberListRequest) -> MemberListResponse;
    /// Adds a member.
    member_add = "MemberAdd" (MemberAddRequest) -> MemberAddResponse;
    /// Removes a member.
    member_remove = "MemberRemove" (MemberRemoveRequest) -> MemberRemoveResponse;
    /// Says that a member is reached elsewhere.
    member_update = "MemberUpdate" (MemberUpdateRequest) -> MemberUpdateResponse;
    /// Makes a learner a voter.
    member_promote = "MemberPromote" (MemberPromoteRequest) -> MemberPromoteResponse;
}

client! {
    /// `etcdserverpb.Maintenance`.
    MaintenanceClient, "etcdserverpb.Maintenance":
    /// Says how the member is.
    status = "Status" (StatusRequest) -> StatusResponse;
    /// Hashes the keys' history.
    hash_kv = "HashKV" (HashKvRequest) -> HashKvResponse;
    /// Lists, raises or disarms alarms.
    alarm = "Alarm" (AlarmRequest) -> AlarmResponse;
    /// Lets another member lead; asked of the leader.
    move_leader = "MoveLeader" (MoveLeaderRequest) -> MoveLeaderResponse;
}

client! {
    /// `grpc.health.v1.Health`.
    HealthClient, "grpc.health.v1.Health":
    /// Says whether a service serves.
    check = "Check" (HealthCheckRequest) -> HealthCheckResponse;
}

impl HealthClient {
    /// Says whether a service serves, now and whenever it changes.
    pub async fn watch(
        &mut self,
        request: impl IntoRequest<HealthCheckRequest>,
    ) -> Result<Response<Streaming<HealthCheckResponse>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
        self.grpc.server_streaming(request.into_request(), path, ProstCodec::default()).await
    }
}
