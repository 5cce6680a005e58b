//! What must hold in the end.

use super::PATIENCE;
use super::clients::{
    LEDGER_PREFIX, REGISTER_PREFIX, Scene, connect_to_any, ledger_key, ledger_value, registers,
    use_register, within_patience,
};
use super::record::{LedgerOutcome, Record, RegisterHistory};
use crate::client::{connect, describe, range_end_of_prefix};
use crate::failure::Failure;
use bytes::Bytes;
use driftless_server::pb;
use driftless_server::pb::client::{MaintenanceClient, WatchClient};
use driftless_server::pb::watch_request::RequestUnion;
use driftless_sim::linearizable::{Verdict, check};
use driftless_sim::register::{Access, Registers, Verb};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt as _;

/// The client that looks at the end.
const EXAMINER: u32 = 0;

/// Checks the registers of every epoch that is over, after a last look at each.
pub(crate) async fn check_past_epochs(scene: &Scene) -> Result<(), Failure> {
    let present = scene.epoch.get();
    let Some(last) = present.checked_sub(1) else { return Ok(()) };
    for register in registers(last) {
        let mut turn = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut kv = connect_to_any(scene, &mut turn).await;
            let access = Access { key: register, verb: Verb::Read };
            if use_register(scene, &mut kv, EXAMINER, access).await.is_some() {
                break;
            }
            expired(deadline, "no member answers a read")?;
        }
    }
    let past = scene.record.borrow_mut().take_past(present);
    for history in past {
        check_history(history).await?;
    }
    scene.record.borrow().check_unexpected()
}

/// Beside the clients: a check may take seconds.
async fn check_history(history: RegisterHistory) -> Result<(), Failure> {
    let checked =
        tokio::task::spawn_blocking(move || match check(&Registers::new(None), &history) {
            Verdict::Linearizable => Ok(()),
            Verdict::Violation(violation) => {
                Err(Failure::new(format!("the history is not linearizable: {violation}")))
            }
            Verdict::Undecided { key, configurations } => Err(Failure::new(format!(
                "the history of register {key:?} is too entangled to be checked ({configurations} \
             configurations at once)"
            ))),
        });
    checked.await.map_err(|error| Failure::new(format!("the checker failed: {error}")))?
}

/// Fails if it is too late; `what` says what has not come about.
pub(crate) fn expired(deadline: Instant, what: &str) -> Result<(), Failure> {
    if Instant::now() < deadline {
        return Ok(());
    }
    let patience = PATIENCE.as_secs();
    Err(Failure::new(format!("{what} within {patience} s although the members were left in peace")))
}

/// A key of the ledger as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    value: Bytes,
    mod_revision: i64,
    version: i64,
}

/// The whole ledger, as of one revision that is no older than this call.
pub(crate) async fn read_ledger(scene: &Scene) -> Result<BTreeMap<Bytes, Line>, Failure> {
    const PAGE: i64 = 1_000;
    let mut lines = BTreeMap::new();
    let mut request = pb::RangeRequest {
        key: Bytes::from_static(LEDGER_PREFIX.as_bytes()),
        range_end: range_end_of_prefix(LEDGER_PREFIX.as_bytes()),
        limit: PAGE,
        ..Default::default()
    };
    let deadline = Instant::now() + PATIENCE;
    let mut turn = 0;
    let mut kv = connect_to_any(scene, &mut turn).await;
    loop {
        let page = match within_patience(kv.range(request.clone())).await {
            Ok(page) => page.into_inner(),
            Err(status) => {
                expired(deadline, &format!("the ledger cannot be read: {}", describe(&status)))?;
                kv = connect_to_any(scene, &mut turn).await;
                continue;
            }
        };
        // Every page as of the revision of the first: a header bears the present
        // one, which a put that nobody waits for any more may still move.
        if request.revision == 0 {
            request.revision = page.header.map_or(0, |header| header.revision);
        }
        if let Some(last) = page.kvs.last() {
            let mut next = last.key.to_vec();
            next.push(0);
            request.key = next.into();
        }
        let is_last = !page.more;
        lines.extend(page.kvs.into_iter().map(|kv| {
            let pb::KeyValue { value, mod_revision, version, .. } = kv;
            (kv.key, Line { value, mod_revision, version })
        }));
        if is_last {
            return Ok(lines);
        }
    }
}

/// Every acknowledged put is there, once and where it was told; nothing is there
/// that nobody put.
pub(crate) fn check_ledger(record: &Record, lines: &BTreeMap<Bytes, Line>) -> Result<(), Failure> {
    let mut known = 0;
    for (&(client, number), outcome) in record.ledger() {
        let key = ledger_key(client, number);
        let line = match (lines.get(&key), outcome) {
            (Some(line), _) => line,
            (None, LedgerOutcome::Unknown) => continue,
            (None, LedgerOutcome::Acknowledged(revision)) => {
                return Err(Failure::new(format!(
                    "LOST: {key:?} was acknowledged at revision {revision} and is not there"
                )));
            }
        };
        known += 1;
        if line.version != 1 {
            return Err(Failure::new(format!(
                "{key:?} was put once and done {} times",
                line.version
            )));
        }
        if line.value != ledger_value(client, number) {
            return Err(Failure::new(format!("{key:?} has a value that nobody wrote: {line:?}")));
        }
        if let LedgerOutcome::Acknowledged(revision) = outcome
            && *revision != line.mod_revision
        {
            return Err(Failure::new(format!(
                "{key:?} was acknowledged at revision {revision} and stands at {}",
                line.mod_revision
            )));
        }
    }
    if known != lines.len() {
        return Err(Failure::new(format!(
            "{} keys are there that nobody put, or whose puts were refused",
            lines.len() - known
        )));
    }
    Ok(())
}

/// What a watcher of the ledger was told.
#[derive(Default)]
pub(crate) struct Ledger {
    told: Vec<(i64, Bytes)>,
    wrong: Option<String>,
}

impl Ledger {
    /// How many changes.
    pub(crate) fn told(&self) -> usize {
        self.told.len()
    }

    fn last_revision(&self) -> i64 {
        self.told.last().map_or(0, |(revision, _)| *revision)
    }

    fn hear(&mut self, response: &pb::WatchResponse) {
        if response.canceled {
            self.wrong.get_or_insert(format!(
                "the watcher was cancelled: {} (compacted: {})",
                response.cancel_reason, response.compact_revision
            ));
        }
        for event in &response.events {
            let Some(kv) = &event.kv else { continue };
            let is_put = event.r#type == pb::EventType::Put as i32;
            if !is_put || kv.mod_revision <= self.last_revision() {
                self.wrong.get_or_insert(format!(
                    "the watcher was told of {:?} at revision {} after revision {}",
                    kv.key,
                    kv.mod_revision,
                    self.last_revision()
                ));
            }
            self.told.push((kv.mod_revision, kv.key.clone()));
        }
    }
}

/// Watches the ledger, from its beginning and through all blows.
pub(crate) async fn watch_all(scene: Rc<Scene>, ledger: Rc<RefCell<Ledger>>) {
    let mut turn = 0;
    loop {
        turn += 1;
        let from = ledger.borrow().last_revision() + 1;
        if let Ok(endpoint) = scene.endpoint(turn).parse()
            && let Ok(channel) = connect(&endpoint, PATIENCE).await
        {
            // However it ends, another one goes on.
            let _ = listen(WatchClient::new(channel), from, &ledger).await;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn listen(
    client: WatchClient,
    start_revision: i64,
    ledger: &RefCell<Ledger>,
) -> Result<(), tonic::Status> {
    let create = pb::WatchCreateRequest {
        key: Bytes::from_static(LEDGER_PREFIX.as_bytes()),
        range_end: range_end_of_prefix(LEDGER_PREFIX.as_bytes()),
        start_revision,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut client = client.max_decoding_message_size(usize::MAX);
    let mut responses = client.watch(requests).await?.into_inner();
    while let Some(response) = responses.message().await? {
        ledger.borrow_mut().hear(&response);
    }
    Ok(())
}

/// The watcher was told of every key of the ledger, in order, once.
pub(crate) async fn check_watcher(
    ledger: &RefCell<Ledger>,
    lines: &BTreeMap<Bytes, Line>,
) -> Result<(), Failure> {
    let mut expected: Vec<(i64, Bytes)> =
        lines.iter().map(|(key, line)| (line.mod_revision, key.clone())).collect();
    expected.sort_unstable();
    let deadline = Instant::now() + PATIENCE;
    while ledger.borrow().told.len() < expected.len() && ledger.borrow().wrong.is_none() {
        expired(deadline, "the watcher was not told of all changes")?;
        sleep(Duration::from_millis(10)).await;
    }
    let ledger = ledger.borrow();
    if let Some(wrong) = &ledger.wrong {
        return Err(Failure::new(wrong));
    }
    let mut pairs = ledger.told.iter().zip(&expected);
    if let Some((told, expected)) = pairs.find(|(told, expected)| told != expected) {
        return Err(Failure::new(format!(
            "the watcher was told of {told:?} instead of {expected:?}"
        )));
    }
    Ok(())
}

/// Lets the cluster forget what the watcher has already been told.
pub(crate) async fn compact(scene: &Scene, ledger: &RefCell<Ledger>) {
    let revision = ledger.borrow().last_revision();
    let mut kv = connect_to_any(scene, &mut 0).await;
    let request = pb::CompactionRequest { revision, physical: false };
    // Nothing depends on it: what is not compacted now is compacted next time.
    let _ = within_patience(kv.compact(request)).await;
}

/// All members have the same state at the latest revision.
pub(crate) async fn check_hashes(scene: &Scene) -> Result<u32, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut kv = connect_to_any(scene, &mut 0).await;
    let request = pb::RangeRequest {
        key: Bytes::from_static(REGISTER_PREFIX.as_bytes()),
        ..Default::default()
    };
    let latest = within_patience(kv.range(request)).await;
    let latest = latest.map_err(|status| {
        Failure::new(format!("the latest revision cannot be read: {}", describe(&status)))
    })?;
    let revision = latest.get_ref().header.map_or(0, |header| header.revision);
    loop {
        let mut hashes = Vec::new();
        let endpoints = scene.endpoints.borrow().clone();
        for endpoint in &endpoints {
            hashes.push(hash(endpoint, revision).await);
        }
        // A member that is behind has not compacted as far, or says that the
        // revision is yet to come: it is asked again.
        if let Some(Ok(first)) = hashes.first()
            && hashes.iter().all(|other| other.as_ref().is_ok_and(|other| other == first))
        {
            return Ok(first.0);
        }
        expired(deadline, &format!("members do not agree at revision {revision}: {hashes:?}"))?;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn hash(endpoint: &str, revision: i64) -> Result<(u32, i64), String> {
    let channel = connect(&endpoint.parse()?, PATIENCE).await?;
    let mut client = MaintenanceClient::new(channel);
    let answer = match timeout(PATIENCE, client.hash_kv(pb::HashKvRequest { revision })).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(describe(&status)),
        Err(_) => return Err("no answer".to_owned()),
    };
    Ok((answer.hash, answer.compact_revision))
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
