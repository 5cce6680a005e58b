//! Between the messages of the wire and the requests of the store.
//!
//! Both bear etcd's names, so this is field by field; byte strings are shared,
//! never copied. What the store's types cannot say (a sort order that does not
//! exist, an operation left out) is refused here, with etcd's error and in
//! etcd's order of checks.

use crate::pb;
use crate::status::{Code, Status};
use driftless_kv as kv;
use driftless_kv::check::TXN_OPS_MAX_DEFAULT;

/// A range as the store takes it, checked.
pub fn range(request: pb::RangeRequest) -> Result<kv::RangeRequest, Status> {
    if request.key.is_empty() {
        return Err(Status::EMPTY_KEY);
    }
    range_unchecked(request)
}

fn range_unchecked(request: pb::RangeRequest) -> Result<kv::RangeRequest, Status> {
    let (Some(sort_order), Some(sort_target)) = (
        kv::SortOrder::from_i32(request.sort_order),
        kv::SortTarget::from_i32(request.sort_target),
    ) else {
        return Err(Status::INVALID_SORT_OPTION);
    };
    Ok(kv::RangeRequest {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order,
        sort_target,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

/// A put as the store takes it, checked.
pub fn put(request: pb::PutRequest) -> Result<kv::PutRequest, Status> {
    let put = put_unchecked(request);
    kv::check::check_put(&put)?;
    Ok(put)
}

fn put_unchecked(request: pb::PutRequest) -> kv::PutRequest {
    kv::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A deletion as the store takes it, checked.
pub fn delete_range(request: pb::DeleteRangeRequest) -> Result<kv::DeleteRangeRequest, Status> {
    let delete = delete_range_unchecked(request);
    kv::check::check_delete_range(&delete)?;
    Ok(delete)
}

fn delete_range_unchecked(request: pb::DeleteRangeRequest) -> kv::DeleteRangeRequest {
    kv::DeleteRangeRequest {
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    }
}

/// A compaction as the store takes it.
pub fn compact(request: pb::CompactionRequest) -> kv::CompactionRequest {
    kv::CompactionRequest { revision: request.revision, physical: request.physical }
}

/// A transaction as the store takes it, checked through all its levels.
pub fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<kv::TxnRequest, Status> {
    // Checked on the message first: etcd's order of errors runs through faults
    // that the store's types cannot express.
    check_txn(&request, ops_max)?;
    let txn = txn_unchecked(request)?;
    kv::check::check_txn(&txn, ops_max)?;
    Ok(txn)
}

/// The checks of a transaction that need no second look, in etcd's order: the
/// count of a level, its compares' keys, its operations one by one.
fn check_txn(txn: &pb::TxnRequest, ops_max: usize) -> Result<(), Status> {
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if ops > ops_max {
        return Err(Status::TOO_MANY_OPS);
    }
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Status::EMPTY_KEY);
    }
    for op in txn.success.iter().chain(&txn.failure) {
        use pb::request_op::Request;
        match &op.request {
            None => return Err(Status::KEY_NOT_FOUND),
            Some(Request::RequestRange(range)) => {
                if range.key.is_empty() {
                    return Err(Status::EMPTY_KEY);
                }
                if kv::SortOrder::from_i32(range.sort_order).is_none()
                    || kv::SortTarget::from_i32(range.sort_target).is_none()
                {
                    return Err(Status::INVALID_SORT_OPTION);
                }
            }
            Some(Request::RequestPut(put)) => {
                if put.key.is_empty() {
                    return Err(Status::EMPTY_KEY);
                }
                if put.ignore_value && !put.value.is_empty() {
                    return Err(Status::VALUE_PROVIDED);
                }
                if put.ignore_lease && put.lease != 0 {
                    return Err(Status::LEASE_PROVIDED);
                }
            }
            Some(Request::RequestDeleteRange(delete)) => {
                if delete.key.is_empty() {
                    return Err(Status::EMPTY_KEY);
                }
            }
            Some(Request::RequestTxn(nested)) => check_txn(nested, ops_max - ops)?,
        }
    }
    Ok(())
}

fn txn_unchecked(request: pb::TxnRequest) -> Result<kv::TxnRequest, Status> {
    Ok(kv::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: request.success.into_iter().map(request_op).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(request_op).collect::<Result<_, _>>()?,
    })
}

fn request_op(op: pb::RequestOp) -> Result<kv::RequestOp, Status> {
    use pb::request_op::Request;
    Ok(match op.request {
        None => return Err(Status::KEY_NOT_FOUND),
        Some(Request::RequestRange(request)) => kv::RequestOp::Range(range_unchecked(request)?),
        Some(Request::RequestPut(request)) => kv::RequestOp::Put(put_unchecked(request)),
        Some(Request::RequestDeleteRange(request)) => {
            kv::RequestOp::DeleteRange(delete_range_unchecked(request))
        }
        Some(Request::RequestTxn(request)) => kv::RequestOp::Txn(txn_unchecked(request)?),
    })
}

/// etcd takes a result that it does not know for fulfilled, and a target that
/// it does not know for equal. No client sends either; we refuse rather than
/// write on a condition that nobody understood.
fn compare(compare: pb::Compare) -> Result<kv::Compare, Status> {
    use pb::compare::TargetUnion;
    const UNKNOWN: Status = Status::new(
        Code::InvalidArgument,
        "etcdserver: unknown result or target of a compare in txn request",
    );
    let result = kv::CompareResult::from_i32(compare.result).ok_or(UNKNOWN)?;
    let target = pb::CompareTarget::try_from(compare.target).map_err(|_| UNKNOWN)?;
    // A union that does not fit its target counts as zero.
    let union = compare.target_union;
    let target = match target {
        pb::CompareTarget::Version => kv::CompareTarget::Version(match union {
            Some(TargetUnion::Version(version)) => version,
            _ => 0,
        }),
        pb::CompareTarget::Create => kv::CompareTarget::CreateRevision(match union {
            Some(TargetUnion::CreateRevision(revision)) => revision,
            _ => 0,
        }),
        pb::CompareTarget::Mod => kv::CompareTarget::ModRevision(match union {
            Some(TargetUnion::ModRevision(revision)) => revision,
            _ => 0,
        }),
        pb::CompareTarget::Value => kv::CompareTarget::Value(match union {
            Some(TargetUnion::Value(value)) => value,
            _ => bytes::Bytes::new(),
        }),
        pb::CompareTarget::Lease => kv::CompareTarget::Lease(match union {
            Some(TargetUnion::Lease(lease)) => lease,
            _ => 0,
        }),
    };
    Ok(kv::Compare { result, target, key: compare.key, range_end: compare.range_end })
}

/// The limit that `--max-txn-ops` sets, unless it does.
pub const TXN_OPS_MAX: usize = TXN_OPS_MAX_DEFAULT;

/// A key and its history for the wire.
pub fn key_value(kv: kv::KeyValue) -> pb::KeyValue {
    pb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// The header inside of a transaction: the revision alone.
fn nested_header(revision: i64) -> pb::ResponseHeader {
    pb::ResponseHeader { revision, ..pb::ResponseHeader::default() }
}

/// A range's answer for the wire, under the given header.
pub fn range_response(
    response: kv::RangeResponse,
    header: pb::ResponseHeader,
) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// A put's answer for the wire, under the given header.
pub fn put_response(response: kv::PutResponse, header: pb::ResponseHeader) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: response.prev_kv.map(key_value) }
}

/// A deletion's answer for the wire, under the given header.
pub fn delete_range_response(
    response: kv::DeleteRangeResponse,
    header: pb::ResponseHeader,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// A transaction's answer for the wire, under the given header.
pub fn txn_response(response: kv::TxnResponse, header: pb::ResponseHeader) -> pb::TxnResponse {
    pb::TxnResponse {
        header: Some(header),
        succeeded: response.succeeded,
        responses: response.responses.into_iter().map(response_op).collect(),
    }
}

fn response_op(response: kv::ResponseOp) -> pb::ResponseOp {
    use pb::response_op::Response;
    let response = match response {
        kv::ResponseOp::Range(response) => {
            let header = nested_header(response.revision);
            Response::ResponseRange(range_response(response, header))
        }
        kv::ResponseOp::Put(response) => {
            let header = nested_header(response.revision);
            Response::ResponsePut(put_response(response, header))
        }
        kv::ResponseOp::DeleteRange(response) => {
            let header = nested_header(response.revision);
            Response::ResponseDeleteRange(delete_range_response(response, header))
        }
        kv::ResponseOp::Txn(response) => {
            let header = nested_header(response.revision);
            Response::ResponseTxn(txn_response(response, header))
        }
    };
    pb::ResponseOp { response: Some(response) }
}
