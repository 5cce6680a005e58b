//! Calls as messages of the protocol, so that also those can be made that a
//! client's own types would not let through.

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbCompactionRequest, PbCompactionResponse, PbCompare,
    PbCompareTarget, PbDeleteRequest, PbDeleteResponse, PbHashKvRequest, PbHashKvResponse,
    PbMemberListRequest, PbMemberListResponse, PbPutRequest, PbPutResponse, PbRangeRequest,
    PbRangeResponse, PbResponseHeader, PbStatusRequest, PbStatusResponse, PbTargetUnion,
    PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_prost::prost::Message;

/// A call.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Range(PbRangeRequest),
    Put(PbPutRequest),
    Delete(PbDeleteRequest),
    Txn(PbTxnRequest),
    Compact(PbCompactionRequest),
    Members,
    Status,
    HashKv(i64),
    Alarms,
    /// `grpc.health.v1.Health/Check` for a service.
    Health(String),
    /// A method that does not exist.
    Nonsense(&'static str),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Range(PbRangeResponse),
    Put(PbPutResponse),
    Delete(PbDeleteResponse),
    Txn(PbTxnResponse),
    Compact(PbCompactionResponse),
    Members(PbMemberListResponse),
    Status(PbStatusResponse),
    HashKv(PbHashKvResponse),
    Alarms(PbAlarmResponse),
    Health(i32),
    Refused(Code, String),
}

impl Answer {
    /// The revision in its header.
    pub(super) fn revision(&self) -> Option<i64> {
        let header = match self {
            Self::Range(answer) => &answer.header,
            Self::Put(answer) => &answer.header,
            Self::Delete(answer) => &answer.header,
            Self::Txn(answer) => &answer.header,
            Self::Compact(answer) => &answer.header,
            Self::Members(answer) => &answer.header,
            Self::Status(answer) => &answer.header,
            Self::HashKv(answer) => &answer.header,
            Self::Alarms(answer) => &answer.header,
            Self::Health(_) | Self::Refused(..) => return None,
        };
        header.as_ref().map(|header| header.revision)
    }

    /// The text of a refusal.
    pub(super) fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused(_, text) => Some(text),
            _ => None,
        }
    }
}

/// A member that answers.
pub(super) struct Member {
    pub(super) url: String,
    channel: Channel,
}

impl Member {
    pub(super) async fn connect(url: &str) -> Self {
        let channel = Endpoint::new(url.to_owned()).unwrap().connect().await.unwrap();
        Self { url: url.to_owned(), channel }
    }

    /// What it answers, without what says who answered.
    pub(super) async fn call(&self, call: &Call) -> Answer {
        let answer = match call.clone() {
            Call::Range(request) => {
                self.unary("/etcdserverpb.KV/Range", request).await.map(Answer::Range)
            }
            Call::Put(request) => {
                self.unary("/etcdserverpb.KV/Put", request).await.map(Answer::Put)
            }
            Call::Delete(request) => {
                self.unary("/etcdserverpb.KV/DeleteRange", request).await.map(Answer::Delete)
            }
            Call::Txn(request) => {
                self.unary("/etcdserverpb.KV/Txn", request).await.map(Answer::Txn)
            }
            Call::Compact(request) => {
                self.unary("/etcdserverpb.KV/Compact", request).await.map(Answer::Compact)
            }
            Call::Members => self
                .unary("/etcdserverpb.Cluster/MemberList", PbMemberListRequest {})
                .await
                .map(Answer::Members),
            Call::Status => self
                .unary("/etcdserverpb.Maintenance/Status", PbStatusRequest {})
                .await
                .map(Answer::Status),
            Call::HashKv(revision) => self
                .unary("/etcdserverpb.Maintenance/HashKV", PbHashKvRequest { revision })
                .await
                .map(Answer::HashKv),
            Call::Alarms => self
                .unary("/etcdserverpb.Maintenance/Alarm", PbAlarmRequest::default())
                .await
                .map(Answer::Alarms),
            // The only field of each message, as those types say them.
            Call::Health(service) => {
                self.unary("/grpc.health.v1.Health/Check", service).await.map(Answer::Health)
            }
            Call::Nonsense(path) => self.unary(path, ()).await.map(Answer::Health),
        };
        let mut answer = answer.unwrap_or_else(|(code, text)| Answer::Refused(code, text));
        forget_who(&mut answer);
        answer
    }

    pub(super) async fn unary<Q, A>(
        &self,
        path: &'static str,
        request: Q,
    ) -> Result<A, (Code, String)>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.expect("it is there");
        let path = path.parse().expect("it is a path");
        let answer = grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| (status.code(), status.message().to_owned()))
    }
}

fn forget_who(answer: &mut Answer) {
    match answer {
        Answer::Range(answer) => forget(answer.header.as_mut()),
        Answer::Put(answer) => forget(answer.header.as_mut()),
        Answer::Delete(answer) => forget(answer.header.as_mut()),
        Answer::Txn(answer) => forget_in_txn(answer),
        Answer::Compact(answer) => forget(answer.header.as_mut()),
        Answer::Members(answer) => {
            forget(answer.header.as_mut());
            for member in &mut answer.members {
                member.id = member.id.min(1);
                let urls = member.peer_ur_ls.iter_mut().chain(&mut member.client_ur_ls);
                urls.for_each(forget_port);
            }
        }
        Answer::Status(answer) => {
            forget(answer.header.as_mut());
            answer.version.clear();
            answer.leader = answer.leader.min(1);
            answer.raft_term = answer.raft_term.min(1);
            // Each has its own way to elect, to publish and to compact, in
            // entries; and to keep what it holds.
            answer.raft_index = answer.raft_index.min(1);
            answer.raft_applied_index = answer.raft_applied_index.min(1);
            answer.db_size = answer.db_size.min(1);
            answer.db_size_in_use = answer.db_size_in_use.min(1);
        }
        Answer::HashKv(answer) => {
            forget(answer.header.as_mut());
            // Of what each keeps on its disk.
            answer.hash = 0;
        }
        Answer::Alarms(answer) => forget(answer.header.as_mut()),
        Answer::Health(_) | Answer::Refused(..) => {}
    }
}

fn forget_in_txn(answer: &mut PbTxnResponse) {
    forget(answer.header.as_mut());
    for response in &mut answer.responses {
        match &mut response.response {
            Some(PbTxnOpResponse::ResponseRange(answer)) => forget(answer.header.as_mut()),
            Some(PbTxnOpResponse::ResponsePut(answer)) => forget(answer.header.as_mut()),
            Some(PbTxnOpResponse::ResponseDeleteRange(answer)) => forget(answer.header.as_mut()),
            Some(PbTxnOpResponse::ResponseTxn(answer)) => forget_in_txn(answer),
            None => {}
        }
    }
}

fn forget_port(url: &mut String) {
    let end = url.rfind(':').expect("a URL has a port");
    url.truncate(end);
}

/// Who answered becomes 1, and nobody stays 0.
pub(super) fn forget(header: Option<&mut PbResponseHeader>) {
    if let Some(header) = header {
        header.cluster_id = header.cluster_id.min(1);
        header.member_id = header.member_id.min(1);
        header.raft_term = header.raft_term.min(1);
    }
}

// Requests in few words. What is not said is zero.

pub(super) fn range(key: &str, end: &str) -> PbRangeRequest {
    PbRangeRequest { key: key.into(), range_end: end.into(), ..PbRangeRequest::default() }
}

pub(super) fn put(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest { key: key.into(), value: value.into(), ..PbPutRequest::default() }
}

pub(super) fn delete(key: &str, end: &str) -> PbDeleteRequest {
    PbDeleteRequest { key: key.into(), range_end: end.into(), prev_kv: false }
}

pub(super) fn compact(revision: i64) -> Call {
    Call::Compact(PbCompactionRequest { revision, physical: false })
}

pub(super) fn txn<const C: usize, const S: usize, const F: usize>(
    compare: [PbCompare; C],
    success: [PbTxnOpRequest; S],
    failure: [PbTxnOpRequest; F],
) -> PbTxnRequest {
    PbTxnRequest {
        compare: compare.into(),
        success: success.map(op).into(),
        failure: failure.map(op).into(),
    }
}

pub(super) fn op(request: PbTxnOpRequest) -> PbTxnRequestOp {
    PbTxnRequestOp { request: Some(request) }
}

pub(super) fn compare(result: i32, key: &str, end: &str, target: PbTargetUnion) -> PbCompare {
    PbCompare {
        result,
        target: match target {
            PbTargetUnion::Version(_) => PbCompareTarget::Version,
            PbTargetUnion::CreateRevision(_) => PbCompareTarget::Create,
            PbTargetUnion::ModRevision(_) => PbCompareTarget::Mod,
            PbTargetUnion::Value(_) => PbCompareTarget::Value,
            PbTargetUnion::Lease(_) => PbCompareTarget::Lease,
        } as i32,
        key: key.into(),
        range_end: end.into(),
        target_union: Some(target),
    }
}
