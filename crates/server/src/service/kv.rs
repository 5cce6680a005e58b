//! `etcdserverpb.KV`.

use super::{Call, Services, decode, off_thread};
use crate::backend::Backend;
use crate::convert;
use crate::pb;
use crate::status::{Code, Status};
use bytes::Bytes;
use driftless_kv::{Command, RangeRequest, Reply, RequestOp, Response, TxnRequest};

impl<B: Backend> Services<B> {
    pub(super) async fn range(
        &self,
        request: pb::RangeRequest,
        call: Call,
    ) -> Result<pb::RangeResponse, Status> {
        let range = convert::range(request)?;
        if !range.serializable {
            self.read_barrier(call).await?;
        }
        let reader = self.backend().reader();
        let response = if is_long(&range) {
            let reader = reader.clone();
            off_thread(move || reader.range(&range)).await??
        } else {
            reader.range(&range)?
        };
        let header = self.header(response.revision);
        Ok(convert::range_response(response, header))
    }

    pub(super) async fn put(&self, message: Bytes, call: Call) -> Result<pb::PutResponse, Status> {
        let bytes = message.len();
        let put = convert::put(decode(message)?)?;
        self.check_size(bytes)?;
        self.check_quota()?;
        match self.propose(&Command::Put(put), call).await? {
            Response::Put(response) => {
                let header = self.header(response.revision);
                Ok(convert::put_response(response, header))
            }
            other => Err(mismatched(&other)),
        }
    }

    pub(super) async fn delete_range(
        &self,
        message: Bytes,
        call: Call,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        let bytes = message.len();
        let delete = convert::delete_range(decode(message)?)?;
        self.check_size(bytes)?;
        match self.propose(&Command::DeleteRange(delete), call).await? {
            Response::DeleteRange(response) => {
                let header = self.header(response.revision);
                Ok(convert::delete_range_response(response, header))
            }
            other => Err(mismatched(&other)),
        }
    }

    pub(super) async fn txn(&self, message: Bytes, call: Call) -> Result<pb::TxnResponse, Status> {
        let bytes = message.len();
        let txn = convert::txn(decode(message)?, self.limits().txn_ops_max)?;
        let response = if txn.is_read_only() {
            if !is_serializable(&txn) {
                self.read_barrier(call).await?;
            }
            match self.backend().reader().txn(&txn) {
                Some(response) => response?,
                None => unreachable!("the store answers what is read-only"),
            }
        } else {
            self.check_size(bytes)?;
            if puts(&txn) {
                self.check_quota()?;
            }
            match self.propose(&Command::Txn(txn), call).await? {
                Response::Txn(response) => response,
                other => return Err(mismatched(&other)),
            }
        };
        let header = self.header(response.revision);
        Ok(convert::txn_response(response, header))
    }

    pub(super) async fn compact(
        &self,
        request: pb::CompactionRequest,
        call: Call,
    ) -> Result<pb::CompactionResponse, Status> {
        match self.propose(&Command::Compact(convert::compact(request)), call).await? {
            Response::Compact(response) => {
                Ok(pb::CompactionResponse { header: Some(self.header(response.revision)) })
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn propose(&self, command: &Command, call: Call) -> Result<Response, Status> {
        let applied = self
            .backend()
            .propose(command.encode(), call.deadline)
            .await
            .map_err(|error| call.refusal(error))?;
        match Reply::decode(&applied.reply) {
            Ok(Reply(reply)) => Ok(reply?),
            Err(error) => Err(Status::with(
                Code::Unknown,
                format!("the write was done, but its answer cannot be read: {error}"),
            )),
        }
    }

    pub(super) async fn read_barrier(&self, call: Call) -> Result<(), Status> {
        self.backend().read_barrier(call.deadline).await.map_err(|error| call.refusal(error))
    }

    /// Whether the store has grown to its quota. Unlike etcd's this needs no
    /// disarming: what is deleted and compacted makes room.
    fn check_quota(&self) -> Result<(), Status> {
        let quota = self.limits().quota_bytes;
        if quota != 0 && self.backend().reader().size().total_bytes >= quota {
            return Err(Status::NO_SPACE);
        }
        Ok(())
    }

    fn check_size(&self, bytes: usize) -> Result<(), Status> {
        if bytes > self.limits().request_bytes_max {
            return Err(Status::REQUEST_TOO_LARGE);
        }
        Ok(())
    }
}

/// Whether a range may look at so many keys that others should not wait for it.
/// The hop to another thread and back costs as much as some hundred keys.
fn is_long(range: &RangeRequest) -> bool {
    const SHORT_LIMIT: i64 = 1000;
    !range.range_end.is_empty() && !(1..=SHORT_LIMIT).contains(&range.limit)
}

/// Whether some branch of it may store something.
fn puts(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        RequestOp::Put(_) => true,
        RequestOp::Txn(nested) => puts(nested),
        RequestOp::Range(_) | RequestOp::DeleteRange(_) => false,
    })
}

/// Whether it asks for nothing but reads of this member's own state. One that
/// only compares asks for no such thing: in etcd it is answered so all the same,
/// and may compare with what is long gone.
fn is_serializable(txn: &TxnRequest) -> bool {
    let mut reads = reads(txn).peekable();
    reads.peek().is_some() && reads.all(|range| range.serializable)
}

/// The reads of all its branches.
fn reads(txn: &TxnRequest) -> Box<dyn Iterator<Item = &RangeRequest> + '_> {
    let ops = txn.success.iter().chain(&txn.failure);
    Box::new(ops.flat_map(|op| match op {
        RequestOp::Range(range) => Box::new(std::iter::once(range)),
        RequestOp::Txn(nested) => reads(nested),
        RequestOp::Put(_) | RequestOp::DeleteRange(_) => Box::new(std::iter::empty()),
    }))
}

/// The machine answered something else than it was asked: a defect, but no
/// reason to bring the process down.
fn mismatched(response: &Response) -> Status {
    Status::with(
        Code::Unknown,
        format!("the write was done, but its answer is of another kind: {response:?}"),
    )
}
