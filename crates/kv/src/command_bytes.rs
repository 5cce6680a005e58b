//! How a [`Command`] is written in the replicated log, and read from it: a version, a kind,
//! and the fields of the request in their order.

use crate::command::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    MemberAttributes, MemberIntent, PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget,
    TXN_DEPTH_MAX, TxnRequest,
};
use crate::encoding::{DecodeError, Decoder, Encoder};
use bytes::Bytes;

/// The newest format of encoded commands.
const VERSION: u8 = 1;

// The first byte after the version. Numbers are never used again for anything
// else; 16 to 31 are kept for leases.
const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const PUBLISH: u8 = 32;
const DECLARE: u8 = 33;
/// Only inside of transactions.
const RANGE: u8 = 5;

impl Command {
    /// The command as bytes for the log.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(self.size_hint());
        out.u8(VERSION);
        match self {
            Self::Put(put) => encode_put(&mut out, put),
            Self::DeleteRange(delete) => encode_delete_range(&mut out, delete),
            Self::Txn(txn) => {
                out.u8(TXN);
                encode_txn(&mut out, txn);
            }
            Self::Compact(compact) => {
                out.u8(COMPACT);
                out.flags([compact.physical, false, false, false, false, false, false, false]);
                out.i64(compact.revision);
            }
            Self::Publish(attributes) => {
                out.u8(PUBLISH);
                attributes.encode(&mut out);
            }
            Self::Declare { id, intent } => {
                out.u8(DECLARE);
                out.i64(id.cast_signed());
                out.u8(match intent {
                    MemberIntent::Voter => 1,
                    MemberIntent::Learner => 2,
                    MemberIntent::Gone => 3,
                });
            }
        }
        out.finish()
    }

    /// The command in `bytes`. Keys and values share the buffer: nothing is
    /// copied.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(VERSION)?;
        let command = match input.u8()? {
            PUT => Self::Put(decode_put(&mut input)?),
            DELETE_RANGE => Self::DeleteRange(decode_delete_range(&mut input)?),
            TXN => Self::Txn(decode_txn(&mut input, 1)?),
            COMPACT => {
                let [physical, ..] = input.flags(0b1)?;
                Self::Compact(CompactionRequest { revision: input.i64()?, physical })
            }
            PUBLISH => Self::Publish(MemberAttributes::decode(&mut input)?),
            DECLARE => {
                let id = input.i64()?.cast_unsigned();
                let intent = match input.u8()? {
                    1 => MemberIntent::Voter,
                    2 => MemberIntent::Learner,
                    3 => MemberIntent::Gone,
                    _ => return Err(input.unknown("intent")),
                };
                Self::Declare { id, intent }
            }
            _ => return Err(input.unknown("kind of command")),
        };
        input.end()?;
        Ok(command)
    }

    fn size_hint(&self) -> usize {
        match self {
            Self::Put(put) => put_size_hint(put),
            Self::DeleteRange(delete) => delete.key.len() + delete.range_end.len() + 16,
            Self::Txn(txn) => txn_size_hint(txn),
            Self::Compact(_) | Self::Declare { .. } => 16,
            Self::Publish(_) => 128,
        }
    }
}

fn put_size_hint(put: &PutRequest) -> usize {
    put.key.len() + put.value.len() + 24
}

fn txn_size_hint(txn: &TxnRequest) -> usize {
    let compares: usize = txn.compare.iter().map(|c| c.key.len() + 32).sum();
    let ops: usize = txn
        .success
        .iter()
        .chain(&txn.failure)
        .map(|op| match op {
            RequestOp::Put(put) => put_size_hint(put),
            RequestOp::Range(range) => range.key.len() + range.range_end.len() + 32,
            RequestOp::DeleteRange(delete) => delete.key.len() + delete.range_end.len() + 16,
            RequestOp::Txn(_) => 64,
        })
        .sum();
    compares + ops + 16
}

fn encode_put(out: &mut Encoder, put: &PutRequest) {
    out.u8(PUT);
    let leased = put.lease != 0;
    out.flags([
        put.prev_kv,
        put.ignore_value,
        put.ignore_lease,
        leased,
        false,
        false,
        false,
        false,
    ]);
    if leased {
        out.i64(put.lease);
    }
    out.bytes(&put.key);
    out.bytes(&put.value);
}

fn decode_put(input: &mut Decoder<'_>) -> Result<PutRequest, DecodeError> {
    let [prev_kv, ignore_value, ignore_lease, leased, ..] = input.flags(0b1111)?;
    Ok(PutRequest {
        prev_kv,
        ignore_value,
        ignore_lease,
        lease: if leased { input.i64()? } else { 0 },
        key: input.bytes()?,
        value: input.bytes()?,
    })
}

fn encode_delete_range(out: &mut Encoder, delete: &DeleteRangeRequest) {
    out.u8(DELETE_RANGE);
    out.flags([delete.prev_kv, false, false, false, false, false, false, false]);
    out.bytes(&delete.key);
    out.bytes(&delete.range_end);
}

fn decode_delete_range(input: &mut Decoder<'_>) -> Result<DeleteRangeRequest, DecodeError> {
    let [prev_kv, ..] = input.flags(0b1)?;
    Ok(DeleteRangeRequest { prev_kv, key: input.bytes()?, range_end: input.bytes()? })
}

fn encode_range(out: &mut Encoder, range: &RangeRequest) {
    out.u8(RANGE);
    let bounded = range.min_mod_revision != 0
        || range.max_mod_revision != 0
        || range.min_create_revision != 0
        || range.max_create_revision != 0;
    let sorted = range.sort_order != SortOrder::None || range.sort_target != SortTarget::Key;
    out.flags([
        range.serializable,
        range.keys_only,
        range.count_only,
        range.limit != 0,
        range.revision != 0,
        sorted,
        bounded,
        false,
    ]);
    out.bytes(&range.key);
    out.bytes(&range.range_end);
    if range.limit != 0 {
        out.i64(range.limit);
    }
    if range.revision != 0 {
        out.i64(range.revision);
    }
    if sorted {
        out.u8(range.sort_order as u8);
        out.u8(range.sort_target as u8);
    }
    if bounded {
        out.i64(range.min_mod_revision);
        out.i64(range.max_mod_revision);
        out.i64(range.min_create_revision);
        out.i64(range.max_create_revision);
    }
}

fn decode_range(input: &mut Decoder<'_>) -> Result<RangeRequest, DecodeError> {
    let [serializable, keys_only, count_only, limited, at_revision, sorted, bounded, _] =
        input.flags(0b111_1111)?;
    let mut range = RangeRequest {
        serializable,
        keys_only,
        count_only,
        key: input.bytes()?,
        range_end: input.bytes()?,
        ..RangeRequest::default()
    };
    if limited {
        range.limit = input.i64()?;
    }
    if at_revision {
        range.revision = input.i64()?;
    }
    if sorted {
        range.sort_order =
            SortOrder::from_i32(input.u8()?.into()).ok_or_else(|| input.unknown("sort order"))?;
        range.sort_target =
            SortTarget::from_i32(input.u8()?.into()).ok_or_else(|| input.unknown("sort target"))?;
    }
    if bounded {
        range.min_mod_revision = input.i64()?;
        range.max_mod_revision = input.i64()?;
        range.min_create_revision = input.i64()?;
        range.max_create_revision = input.i64()?;
    }
    Ok(range)
}

fn encode_txn(out: &mut Encoder, txn: &TxnRequest) {
    out.count(txn.compare.len());
    for compare in &txn.compare {
        encode_compare(out, compare);
    }
    for branch in [&txn.success, &txn.failure] {
        out.count(branch.len());
        for op in branch {
            match op {
                RequestOp::Range(range) => encode_range(out, range),
                RequestOp::Put(put) => encode_put(out, put),
                RequestOp::DeleteRange(delete) => encode_delete_range(out, delete),
                RequestOp::Txn(txn) => {
                    out.u8(TXN);
                    encode_txn(out, txn);
                }
            }
        }
    }
}

fn decode_txn(input: &mut Decoder<'_>, depth: usize) -> Result<TxnRequest, DecodeError> {
    if depth > TXN_DEPTH_MAX {
        return Err(input.too_deep());
    }
    let compare = input.list(decode_compare)?;
    let success = input.list(|input| decode_op(input, depth))?;
    let failure = input.list(|input| decode_op(input, depth))?;
    Ok(TxnRequest { compare, success, failure })
}

fn decode_op(input: &mut Decoder<'_>, depth: usize) -> Result<RequestOp, DecodeError> {
    Ok(match input.u8()? {
        RANGE => RequestOp::Range(decode_range(input)?),
        PUT => RequestOp::Put(decode_put(input)?),
        DELETE_RANGE => RequestOp::DeleteRange(decode_delete_range(input)?),
        TXN => RequestOp::Txn(decode_txn(input, depth + 1)?),
        _ => return Err(input.unknown("kind of operation")),
    })
}

fn encode_compare(out: &mut Encoder, compare: &Compare) {
    out.u8(compare.result as u8);
    out.bytes(&compare.key);
    out.bytes(&compare.range_end);
    match &compare.target {
        CompareTarget::Version(version) => {
            out.u8(0);
            out.i64(*version);
        }
        CompareTarget::CreateRevision(revision) => {
            out.u8(1);
            out.i64(*revision);
        }
        CompareTarget::ModRevision(revision) => {
            out.u8(2);
            out.i64(*revision);
        }
        CompareTarget::Value(value) => {
            out.u8(3);
            out.bytes(value);
        }
        CompareTarget::Lease(lease) => {
            out.u8(4);
            out.i64(*lease);
        }
    }
}

fn decode_compare(input: &mut Decoder<'_>) -> Result<Compare, DecodeError> {
    let result =
        CompareResult::from_i32(input.u8()?.into()).ok_or_else(|| input.unknown("comparison"))?;
    let key = input.bytes()?;
    let range_end = input.bytes()?;
    let target = match input.u8()? {
        0 => CompareTarget::Version(input.i64()?),
        1 => CompareTarget::CreateRevision(input.i64()?),
        2 => CompareTarget::ModRevision(input.i64()?),
        3 => CompareTarget::Value(input.bytes()?),
        4 => CompareTarget::Lease(input.i64()?),
        _ => return Err(input.unknown("target of a comparison")),
    };
    Ok(Compare { result, target, key, range_end })
}

impl MemberAttributes {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.i64(self.id.cast_signed());
        out.bytes(&self.name);
        out.count(self.client_urls.len());
        for url in &self.client_urls {
            out.bytes(url);
        }
    }

    pub(crate) fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        // Copies: what stays in the state must not keep its buffer alive.
        let owned = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let id = input.i64()?.cast_unsigned();
        let name = owned(input.bytes()?);
        let client_urls = input.list(|input| input.bytes().map(owned))?;
        Ok(Self { id, name, client_urls })
    }
}
