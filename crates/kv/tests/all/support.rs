//! Short ways to say things.

use bytes::Bytes;
use driftless_kv::{
    ApplyError, Command, CompactionRequest, DeleteRangeRequest, Event, PutRequest, RangeRequest,
    Reader, Reply, RequestOp, Response, Store, TxnRequest, TxnResponse,
};
use driftless_machine::{AppliedPosition, Batch, StateMachine};

/// Applies commands as one batch.
pub fn apply_all(store: &mut Store, commands: &[Command]) -> Vec<Result<Response, ApplyError>> {
    let commands: Vec<Bytes> = commands.iter().map(Command::encode).collect();
    let replies = store.apply(&Batch {
        through: AppliedPosition { term: 1, index: 1 },
        commands: &commands,
        sidecar: &|_| Bytes::new(),
    });
    assert_eq!(replies.len(), commands.len(), "one reply each");
    replies.iter().map(|reply| Reply::decode(reply).expect("our own reply").0).collect()
}

pub fn apply(store: &mut Store, command: Command) -> Result<Response, ApplyError> {
    apply_all(store, &[command]).remove(0)
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

pub fn range(key: &str, range_end: &str) -> RangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    RangeRequest { key, range_end, ..Default::default() }
}

pub fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    DeleteRangeRequest { key, range_end, prev_kv: false }
}

/// A transaction without conditions.
pub fn then(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..Default::default() }
}

/// Writes, and returns the revision.
pub fn do_put(store: &mut Store, key: &str, value: &str) -> i64 {
    match apply(store, Command::Put(put(key, value))) {
        Ok(Response::Put(response)) => response.revision,
        other => panic!("{other:?}"),
    }
}

/// Deletes, and returns how many.
pub fn do_delete(store: &mut Store, key: &str, range_end: &str) -> i64 {
    match apply(store, Command::DeleteRange(delete(key, range_end))) {
        Ok(Response::DeleteRange(response)) => response.deleted,
        other => panic!("{other:?}"),
    }
}

pub fn do_txn(store: &mut Store, txn: TxnRequest) -> Result<TxnResponse, ApplyError> {
    match apply(store, Command::Txn(txn))? {
        Response::Txn(response) => Ok(response),
        other => panic!("{other:?}"),
    }
}

pub fn do_compact(store: &mut Store, revision: i64) -> Result<(), ApplyError> {
    let compact = CompactionRequest { revision, physical: false };
    apply(store, Command::Compact(compact)).map(|_| ())
}

/// All events from a revision on, in one list.
pub fn all_events(reader: &Reader, from: i64) -> Vec<Event> {
    let events = reader.events(from, usize::MAX, usize::MAX).expect("not compacted");
    events.revisions.iter().flat_map(|revision| revision.events.clone()).collect()
}

/// The snapshot of the present state, read in chunks of a size.
pub fn snapshot(store: &mut Store, chunk_bytes: usize) -> Vec<u8> {
    let mut snapshot = store.snapshot();
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        snapshot.read_chunk(chunk_bytes, &mut bytes).expect("the state stays");
        assert!(bytes.len() - before <= chunk_bytes, "a chunk is as large as asked for");
        if bytes.len() == before {
            return bytes;
        }
    }
}
