//! What the checks of `torture` catch: each is shown a plant.

use super::{Ledger, Line, check_history, check_ledger, check_watcher};
use crate::failure::Failure;
use crate::torture::clients::{ledger_key, ledger_value};
use crate::torture::record::Record;
use bytes::Bytes;
use driftless_server::pb;
use driftless_sim::register::{Access, Seen, Verb};
use std::cell::RefCell;
use std::collections::BTreeMap;
use tonic::Status;

type Lines = BTreeMap<Bytes, Line>;

/// Client 1 put three keys: two were acknowledged, of one nobody knows.
fn record() -> Record {
    let mut record = Record::default();
    for number in 1..=3 {
        record.ledger_put(1, number);
    }
    record.ledger_returned(1, 1, 10, Ok(5));
    record.ledger_returned(1, 2, 20, Ok(6));
    record.ledger_returned(1, 3, 30, Err(Status::unavailable("gone")));
    record
}

fn line(number: u32, mod_revision: i64) -> (Bytes, Line) {
    (ledger_key(1, number), Line { value: ledger_value(1, number), mod_revision, version: 1 })
}

fn complaint(result: Result<(), Failure>) -> String {
    match result {
        Err(Failure::Failed(message)) => message,
        other => panic!("expected a complaint, not {other:?}"),
    }
}

fn ledger_complaint(lines: &Lines) -> String {
    complaint(check_ledger(&record(), lines))
}

#[test]
fn a_ledger_with_or_without_the_unknown_put_is_right() {
    let mut lines = Lines::from([line(1, 5), line(2, 6)]);
    assert!(check_ledger(&record(), &lines).is_ok());
    lines.extend([line(3, 7)]);
    assert!(check_ledger(&record(), &lines).is_ok());
}

#[test]
fn a_lost_write_is_caught() {
    assert!(ledger_complaint(&Lines::from([line(2, 6)])).starts_with("LOST"));
}

#[test]
fn a_write_done_twice_is_caught() {
    let mut lines = Lines::from([line(1, 5), line(2, 6)]);
    lines.values_mut().next().unwrap().version = 2;
    assert!(ledger_complaint(&lines).contains("done 2 times"));
}

#[test]
fn a_write_at_another_revision_is_caught() {
    assert!(ledger_complaint(&Lines::from([line(1, 5), line(2, 7)])).contains("stands at 7"));
}

#[test]
fn what_nobody_wrote_is_caught() {
    let stranger = Lines::from([line(1, 5), line(2, 6), line(9, 7)]);
    assert!(ledger_complaint(&stranger).contains("nobody put"));
    let mut wrong_value = Lines::from([line(1, 5), line(2, 6)]);
    wrong_value.values_mut().next().unwrap().value = Bytes::from_static(b"other");
    assert!(ledger_complaint(&wrong_value).contains("nobody wrote"));
}

fn told(revision: i64, number: u32) -> pb::WatchResponse {
    let kv =
        pb::KeyValue { key: ledger_key(1, number), mod_revision: revision, ..Default::default() };
    let event = pb::Event { kv: Some(kv), ..Default::default() };
    pb::WatchResponse { events: vec![event], ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_is_told_all_in_order_is_content() {
    let lines = Lines::from([line(1, 5), line(2, 6)]);
    let ledger = RefCell::new(Ledger::default());
    ledger.borrow_mut().hear(&told(5, 1));
    ledger.borrow_mut().hear(&told(6, 2));
    assert!(check_watcher(&ledger, &lines).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_event_is_caught() {
    let lines = Lines::from([line(1, 5), line(2, 6), line(3, 7)]);
    let ledger = RefCell::new(Ledger::default());
    ledger.borrow_mut().hear(&told(5, 1));
    ledger.borrow_mut().hear(&told(7, 3));
    ledger.borrow_mut().hear(&told(8, 4));
    assert!(complaint(check_watcher(&ledger, &lines).await).contains("instead of"));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_event_is_caught() {
    let lines = Lines::from([line(1, 5), line(2, 6)]);
    let ledger = RefCell::new(Ledger::default());
    ledger.borrow_mut().hear(&told(5, 1));
    ledger.borrow_mut().hear(&told(5, 1));
    assert!(complaint(check_watcher(&ledger, &lines).await).contains("after revision 5"));
}

#[tokio::test]
async fn a_stale_read_is_caught() {
    let key = (0, 0);
    let mut record = Record::default();
    let write = record.invoke(1, Access { key, verb: Verb::Write(Some(7)) }, 10);
    record.returned(write, Ok(Seen::Written), 20);
    let read = record.invoke(2, Access { key, verb: Verb::Read }, 30);
    record.returned(read, Ok(Seen::Value(None)), 40);
    let history = record.take_past(1).pop().expect("one epoch is over");
    assert!(complaint(check_history(history).await).contains("not linearizable"));
}
