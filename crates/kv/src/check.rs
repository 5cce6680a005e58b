//! What can be refused without looking at the state: done by the server before
//! it proposes, so that a bad request never enters the log. The order in which
//! the rules are tried is etcd's, since a request may break several.

use crate::command::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use std::collections::BTreeSet;
use std::fmt;

/// etcd's default for `--max-txn-ops`.
pub const TXN_OPS_MAX_DEFAULT: usize = 128;

/// Why a request is refused. Displays as etcd's text (after `etcdserver: `).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckError {
    /// The key is empty.
    KeyNotProvided,
    /// A value together with `ignore_value`.
    ValueProvided,
    /// A lease together with `ignore_lease`.
    LeaseProvided,
    /// More operations than allowed.
    TooManyOps,
    /// A transaction that would write a key twice, or write and delete it.
    DuplicateKey,
    /// A sort order or target that does not exist. Never given by the checks
    /// here, whose types admit no such thing: it is for who maps the numbers.
    InvalidSortOption,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyNotProvided => "key is not provided",
            Self::ValueProvided => "value is provided",
            Self::LeaseProvided => "lease is provided",
            Self::TooManyOps => "too many operations in txn request",
            Self::DuplicateKey => "duplicate key given in txn request",
            Self::InvalidSortOption => "invalid sort option",
        })
    }
}

impl std::error::Error for CheckError {}

/// Checks a range.
pub fn check_range(range: &RangeRequest) -> Result<(), CheckError> {
    check_key(&range.key)
}

/// Checks a put.
pub fn check_put(put: &PutRequest) -> Result<(), CheckError> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(CheckError::ValueProvided);
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(CheckError::LeaseProvided);
    }
    Ok(())
}

/// Checks a deletion.
pub fn check_delete_range(delete: &DeleteRangeRequest) -> Result<(), CheckError> {
    check_key(&delete.key)
}

/// Checks a transaction and all in it. `ops_max` is `--max-txn-ops`, usually
/// [`TXN_OPS_MAX_DEFAULT`].
pub fn check_txn(txn: &TxnRequest, ops_max: usize) -> Result<(), CheckError> {
    check_ops(txn, ops_max, 1)?;
    written(&txn.success)?;
    written(&txn.failure)?;
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), CheckError> {
    if key.is_empty() { Err(CheckError::KeyNotProvided) } else { Ok(()) }
}

/// Each level may use what the levels above it left: its own use is the largest
/// of its three lists.
fn check_ops(txn: &TxnRequest, ops_max: usize, depth: usize) -> Result<(), CheckError> {
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if ops > ops_max || depth > crate::command::TXN_DEPTH_MAX {
        return Err(CheckError::TooManyOps);
    }
    for compare in &txn.compare {
        check_key(&compare.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            RequestOp::Range(range) => check_range(range)?,
            RequestOp::Put(put) => check_put(put)?,
            RequestOp::DeleteRange(delete) => check_delete_range(delete)?,
            RequestOp::Txn(nested) => check_ops(nested, ops_max - ops, depth + 1)?,
        }
    }
    Ok(())
}

/// What a list of operations may put and delete, at any depth.
#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    /// Half-open, by first key; overlapping ones are not joined.
    deletes: Vec<(&'a [u8], End<'a>)>,
}

/// Where a deletion ends.
#[derive(Clone, Copy)]
enum End<'a> {
    /// With its first key.
    Point,
    /// Before this one.
    Before(&'a [u8]),
}

impl Written<'_> {
    /// Whether something here deletes `key`.
    ///
    /// etcd takes the end `\0` literally here, so that a deletion "from a key
    /// on" collides with no put. So do we.
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|(from, end)| match end {
            End::Point => *from == key,
            End::Before(end) => *from <= key && key < *end,
        })
    }
}

/// etcd's `checkIntervals`: no key twice among what can happen together.
///
/// A nested transaction's puts are held against the deletions of this level and
/// of its elder siblings, not against those of the younger: so it is in etcd.
fn written(ops: &[RequestOp]) -> Result<Written<'_>, CheckError> {
    let mut all = Written::default();
    for op in ops {
        if let RequestOp::DeleteRange(delete) = op {
            let end = if delete.range_end.is_empty() {
                End::Point
            } else {
                End::Before(&delete.range_end)
            };
            all.deletes.push((&delete.key, end));
        }
    }
    for op in ops {
        let RequestOp::Txn(nested) = op else { continue };
        let then = written(&nested.success)?;
        let otherwise = written(&nested.failure)?;
        for key in &then.puts {
            if all.deletes(key) || !all.puts.insert(key) {
                return Err(CheckError::DuplicateKey);
            }
        }
        for key in &otherwise.puts {
            // Only one of the two branches will be taken.
            let doubled = !all.puts.insert(key) && !then.puts.contains(key);
            if doubled || all.deletes(key) {
                return Err(CheckError::DuplicateKey);
            }
        }
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let RequestOp::Put(put) = op
            && (all.deletes(&put.key) || !all.puts.insert(&put.key))
        {
            return Err(CheckError::DuplicateKey);
        }
    }
    Ok(all)
}
