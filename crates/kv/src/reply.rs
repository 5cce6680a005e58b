//! What comes back from an applied command, and its compact encoding.
//!
//! `revision` in each response is etcd's `header.revision`: the other fields of
//! the header (cluster, member, term) are the server's to fill.

use crate::command::KeyValue;
use crate::encoding::{DecodeError, Decoder, Encoder};
use bytes::Bytes;
use std::fmt;

/// The answer to a [`crate::RangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's revision when it answered (not the one asked for).
    pub revision: i64,
    /// The keys, as ordered and limited.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut something off.
    pub more: bool,
    /// How many keys the range holds, whatever limit and filters say.
    pub count: i64,
}

/// The answer to a [`crate::PutRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// The revision that the put made.
    pub revision: i64,
    /// What the key was before, if asked for and there.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a [`crate::DeleteRangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// The revision after it: a new one only if something was deleted.
    pub revision: i64,
    /// How many keys were deleted.
    pub deleted: i64,
    /// What they were, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseOp {
    /// To a read.
    Range(RangeResponse),
    /// To a write.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a nested transaction.
    Txn(TxnResponse),
}

/// The answer to a [`crate::TxnRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// The revision after it; 0 in a nested transaction, as in etcd.
    pub revision: i64,
    /// Whether all conditions held.
    pub succeeded: bool,
    /// One for each operation of the branch taken.
    pub responses: Vec<ResponseOp>,
}

/// The answer to a [`crate::CompactionRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactionResponse {
    /// The store's revision.
    pub revision: i64,
}

/// The answer to a [`crate::Command`] that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// To [`crate::Command::Put`].
    Put(PutResponse),
    /// To [`crate::Command::DeleteRange`].
    DeleteRange(DeleteRangeResponse),
    /// To [`crate::Command::Txn`].
    Txn(TxnResponse),
    /// To [`crate::Command::Compact`].
    Compact(CompactionResponse),
    /// To [`crate::Command::Publish`] and [`crate::Command::Declare`].
    Published,
}

/// Why a command changed nothing. The same on every member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApplyError {
    /// A revision older than the compacted one was asked for, or compaction
    /// behind it. etcd: `mvcc: required revision has been compacted`.
    Compacted,
    /// A revision that does not exist yet was asked for. etcd: `mvcc: required
    /// revision is a future revision`.
    FutureRev,
    /// There is no such lease. etcd: `requested lease not found`.
    LeaseNotFound,
    /// `ignore_value` or `ignore_lease` on a key that does not exist. etcd:
    /// `key not found`.
    KeyNotFound,
    /// The command could not be decoded: it was written by a newer version, or
    /// by none.
    Malformed,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compacted => "mvcc: required revision has been compacted",
            Self::FutureRev => "mvcc: required revision is a future revision",
            Self::LeaseNotFound => "requested lease not found",
            Self::KeyNotFound => "key not found",
            Self::Malformed => "the command is malformed or from a newer version",
        })
    }
}

impl std::error::Error for ApplyError {}

/// Why a read was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadError {
    /// The revision is older than the compacted one.
    Compacted,
    /// The revision does not exist yet.
    FutureRev,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ApplyError::from(*self).fmt(f)
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for ApplyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted => Self::Compacted,
            ReadError::FutureRev => Self::FutureRev,
        }
    }
}

/// What the machine answers to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(pub Result<Response, ApplyError>);

/// The newest format of encoded replies.
const VERSION: u8 = 1;

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const PUBLISHED: u8 = 32;
/// Only inside of transactions.
const RANGE: u8 = 5;
const ERROR: u8 = 255;

impl Reply {
    /// The reply as bytes. That of a put without `prev_kv` is a few.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(self.size_hint());
        out.u8(VERSION);
        match &self.0 {
            Ok(Response::Put(put)) => encode_put(&mut out, put),
            Ok(Response::DeleteRange(delete)) => encode_delete_range(&mut out, delete),
            Ok(Response::Txn(txn)) => encode_txn(&mut out, txn),
            Ok(Response::Compact(compact)) => {
                out.u8(COMPACT);
                out.i64(compact.revision);
            }
            Ok(Response::Published) => out.u8(PUBLISHED),
            Err(error) => {
                out.u8(ERROR);
                out.u8(match error {
                    ApplyError::Compacted => 1,
                    ApplyError::FutureRev => 2,
                    ApplyError::LeaseNotFound => 3,
                    ApplyError::KeyNotFound => 4,
                    ApplyError::Malformed => 5,
                });
            }
        }
        out.finish()
    }

    /// The reply in `bytes`. Keys and values share the buffer.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(VERSION)?;
        let reply = match input.u8()? {
            PUT => Ok(Response::Put(decode_put(&mut input)?)),
            DELETE_RANGE => Ok(Response::DeleteRange(decode_delete_range(&mut input)?)),
            TXN => Ok(Response::Txn(decode_txn(&mut input, 1)?)),
            COMPACT => Ok(Response::Compact(CompactionResponse { revision: input.i64()? })),
            PUBLISHED => Ok(Response::Published),
            ERROR => Err(match input.u8()? {
                1 => ApplyError::Compacted,
                2 => ApplyError::FutureRev,
                3 => ApplyError::LeaseNotFound,
                4 => ApplyError::KeyNotFound,
                5 => ApplyError::Malformed,
                _ => return Err(input.unknown("error")),
            }),
            _ => return Err(input.unknown("kind of reply")),
        };
        input.end()?;
        Ok(Self(reply))
    }

    fn size_hint(&self) -> usize {
        match &self.0 {
            Ok(Response::Put(PutResponse { prev_kv: Some(kv), .. })) => 16 + kv_size_hint(kv),
            Ok(Response::DeleteRange(delete)) => {
                24 + delete.prev_kvs.iter().map(kv_size_hint).sum::<usize>()
            }
            Ok(Response::Txn(txn)) => txn_size_hint(txn),
            _ => 12,
        }
    }
}

fn kv_size_hint(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + 32
}

fn txn_size_hint(txn: &TxnResponse) -> usize {
    let ops = txn.responses.iter().map(|response| match response {
        ResponseOp::Range(range) => 24 + range.kvs.iter().map(kv_size_hint).sum::<usize>(),
        ResponseOp::Put(put) => 16 + put.prev_kv.as_ref().map_or(0, kv_size_hint),
        ResponseOp::DeleteRange(delete) => {
            24 + delete.prev_kvs.iter().map(kv_size_hint).sum::<usize>()
        }
        ResponseOp::Txn(txn) => txn_size_hint(txn),
    });
    24 + ops.sum::<usize>()
}

fn encode_kv(out: &mut Encoder, kv: &KeyValue) {
    out.bytes(&kv.key);
    out.i64(kv.create_revision);
    out.i64(kv.mod_revision);
    out.i64(kv.version);
    out.i64(kv.lease);
    out.bytes(&kv.value);
}

fn decode_kv(input: &mut Decoder<'_>) -> Result<KeyValue, DecodeError> {
    Ok(KeyValue {
        key: input.bytes()?,
        create_revision: input.i64()?,
        mod_revision: input.i64()?,
        version: input.i64()?,
        lease: input.i64()?,
        value: input.bytes()?,
    })
}

fn encode_kvs(out: &mut Encoder, kvs: &[KeyValue]) {
    out.count(kvs.len());
    for kv in kvs {
        encode_kv(out, kv);
    }
}

fn encode_put(out: &mut Encoder, put: &PutResponse) {
    out.u8(PUT);
    out.i64(put.revision);
    encode_kvs(out, put.prev_kv.as_slice());
}

fn decode_put(input: &mut Decoder<'_>) -> Result<PutResponse, DecodeError> {
    let revision = input.i64()?;
    let mut prev_kv = input.list(decode_kv)?;
    if prev_kv.len() > 1 {
        return Err(input.unknown("second previous value"));
    }
    Ok(PutResponse { revision, prev_kv: prev_kv.pop() })
}

fn encode_delete_range(out: &mut Encoder, delete: &DeleteRangeResponse) {
    out.u8(DELETE_RANGE);
    out.i64(delete.revision);
    out.i64(delete.deleted);
    encode_kvs(out, &delete.prev_kvs);
}

fn decode_delete_range(input: &mut Decoder<'_>) -> Result<DeleteRangeResponse, DecodeError> {
    Ok(DeleteRangeResponse {
        revision: input.i64()?,
        deleted: input.i64()?,
        prev_kvs: input.list(decode_kv)?,
    })
}

fn encode_range(out: &mut Encoder, range: &RangeResponse) {
    out.u8(RANGE);
    out.i64(range.revision);
    out.u8(u8::from(range.more));
    out.i64(range.count);
    encode_kvs(out, &range.kvs);
}

fn decode_range(input: &mut Decoder<'_>) -> Result<RangeResponse, DecodeError> {
    Ok(RangeResponse {
        revision: input.i64()?,
        more: input.bool()?,
        count: input.i64()?,
        kvs: input.list(decode_kv)?,
    })
}

fn encode_txn(out: &mut Encoder, txn: &TxnResponse) {
    out.u8(TXN);
    out.i64(txn.revision);
    out.u8(u8::from(txn.succeeded));
    out.count(txn.responses.len());
    for response in &txn.responses {
        match response {
            ResponseOp::Range(range) => encode_range(out, range),
            ResponseOp::Put(put) => encode_put(out, put),
            ResponseOp::DeleteRange(delete) => encode_delete_range(out, delete),
            ResponseOp::Txn(txn) => encode_txn(out, txn),
        }
    }
}

fn decode_txn(input: &mut Decoder<'_>, depth: usize) -> Result<TxnResponse, DecodeError> {
    if depth > crate::command::TXN_DEPTH_MAX {
        return Err(input.too_deep());
    }
    Ok(TxnResponse {
        revision: input.i64()?,
        succeeded: input.bool()?,
        responses: input.list(|input| {
            Ok(match input.u8()? {
                RANGE => ResponseOp::Range(decode_range(input)?),
                PUT => ResponseOp::Put(decode_put(input)?),
                DELETE_RANGE => ResponseOp::DeleteRange(decode_delete_range(input)?),
                TXN => ResponseOp::Txn(decode_txn(input, depth + 1)?),
                _ => return Err(input.unknown("kind of response")),
            })
        })?,
    })
}
