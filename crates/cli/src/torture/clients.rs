//! Clients that never stop asking, each one thing at a time.

use super::record::{Record, Register, RegisterAccess, RegisterSeen};
use bytes::Bytes;
use driftless_server::pb;
use driftless_server::pb::client::KvClient;
use driftless_server::pb::compare::TargetUnion;
use driftless_server::pb::request_op::Request as Operation;
use driftless_sim::random::Random;
use driftless_sim::register::{Access, Seen, Verb};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

/// What all clients share.
pub(crate) struct Scene {
    /// Where members are reached now.
    pub(crate) endpoints: RefCell<Vec<String>>,
    pub(crate) began: Instant,
    /// Which set of registers is in use.
    pub(crate) epoch: Cell<u32>,
    pub(crate) record: RefCell<Record>,
}

impl Scene {
    pub(crate) fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Some member's endpoint: another one with each turn.
    pub(crate) fn endpoint(&self, turn: usize) -> String {
        let endpoints = self.endpoints.borrow();
        endpoints[turn % endpoints.len()].clone()
    }
}

/// Registers of an epoch: few, so that clients meet at them.
const REGISTERS: u64 = 5;

/// A client gives up on a member that does not answer for so long.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The longest pause of a client between two requests.
const PAUSE_MAX_US: u64 = 6_000;

/// What stands before the name of each register, and of each key of the ledger.
pub(crate) const REGISTER_PREFIX: &str = "register/";
pub(crate) const LEDGER_PREFIX: &str = "ledger/";

/// Makes the ledger grow, so that logs are compacted and snapshots are sent.
const LEDGER_VALUE_BYTES: usize = 512;

/// Connects to one member after the other, until one answers.
pub(crate) async fn connect_to_any(scene: &Scene, turn: &mut usize) -> KvClient {
    loop {
        *turn += 1;
        let endpoint = scene.endpoint(*turn).parse().expect("made of an address and a port");
        match crate::client::connect(&endpoint, PATIENCE).await {
            Ok(channel) => {
                return KvClient::new(channel).max_decoding_message_size(usize::MAX);
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Asks until it is aborted.
pub(crate) async fn client(scene: Rc<Scene>, number: u32, mut random: Random) {
    let mut turn = number as usize;
    let mut connection = None;
    let mut written = 0;
    let mut noted = 0;
    // What this client last saw of a register, to compare with.
    let mut seen: BTreeMap<Register, Option<u64>> = BTreeMap::new();
    loop {
        let mut kv = match connection.take() {
            Some(kv) => kv,
            None => connect_to_any(&scene, &mut turn).await,
        };
        let answered = if random.chance(1, 4) {
            noted += 1;
            put_in_ledger(&scene, &mut kv, number, noted).await
        } else {
            written += 1;
            let fresh = u64::from(number) << 32 | written;
            let register = (scene.epoch.get(), random.below(REGISTERS) as u32);
            seen.retain(|(epoch, _), _| *epoch == register.0);
            let verb = match random.below(16) {
                0..7 => Verb::Read,
                7..11 => Verb::Write(Some(fresh)),
                11 => Verb::Write(None),
                12 | 13 => Verb::Swap(Some(fresh)),
                _ => {
                    let from = seen.get(&register).copied().flatten();
                    Verb::CompareAndSet { from, to: Some(fresh) }
                }
            };
            let access = Access { key: register, verb };
            let answer = use_register(&scene, &mut kv, number, access).await;
            if let Some(Seen::Value(value)) = &answer {
                seen.insert(register, *value);
            }
            answer.is_some()
        };
        if answered && !random.chance(1, 200) {
            connection = Some(kv);
        }
        sleep(Duration::from_micros(random.below(PAUSE_MAX_US))).await;
    }
}

/// `None` if there was no answer.
pub(crate) async fn use_register(
    scene: &Scene,
    kv: &mut KvClient,
    client: u32,
    access: RegisterAccess,
) -> Option<RegisterSeen> {
    let sent = scene.record.borrow_mut().invoke(client, access.clone(), scene.now_ns());
    let answer = within_patience(ask(kv, &access)).await;
    let seen = answer.as_ref().ok().cloned();
    scene.record.borrow_mut().returned(sent, answer, scene.now_ns());
    seen
}

async fn put_in_ledger(scene: &Scene, kv: &mut KvClient, client: u32, number: u32) -> bool {
    let invoked_ns = scene.now_ns();
    scene.record.borrow_mut().ledger_put(client, number);
    let request = pb::PutRequest {
        key: ledger_key(client, number),
        value: ledger_value(client, number),
        ..Default::default()
    };
    let answer = within_patience(kv.put(request)).await;
    let answer = answer.map(|answer| answer.get_ref().header.map_or(0, |header| header.revision));
    let answered = answer.is_ok();
    scene.record.borrow_mut().ledger_returned(client, number, invoked_ns, answer);
    answered
}

pub(crate) async fn within_patience<T>(
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("the client has waited long enough")),
    }
}

async fn ask(kv: &mut KvClient, access: &RegisterAccess) -> Result<RegisterSeen, Status> {
    let key = register_key(access.key);
    match &access.verb {
        Verb::Read => {
            let answer = kv.range(pb::RangeRequest { key, ..Default::default() }).await?;
            Ok(Seen::Value(answer.get_ref().kvs.first().map(value_of)))
        }
        Verb::Write(Some(value)) => {
            let value = value_bytes(*value);
            kv.put(pb::PutRequest { key, value, ..Default::default() }).await?;
            Ok(Seen::Written)
        }
        Verb::Write(None) => {
            kv.delete_range(pb::DeleteRangeRequest { key, ..Default::default() }).await?;
            Ok(Seen::Written)
        }
        Verb::Swap(value) => {
            let value = value.map_or_else(Bytes::new, value_bytes);
            let request = pb::PutRequest { key, value, prev_kv: true, ..Default::default() };
            let answer = kv.put(request).await?;
            Ok(Seen::Value(answer.get_ref().prev_kv.as_ref().map(value_of)))
        }
        Verb::CompareAndSet { from, to } => {
            let (target, union) = match from {
                None => (pb::CompareTarget::Version, TargetUnion::Version(0)),
                Some(value) => (pb::CompareTarget::Value, TargetUnion::Value(value_bytes(*value))),
            };
            let compare = pb::Compare {
                result: pb::CompareResult::Equal as i32,
                target: target as i32,
                key: key.clone(),
                target_union: Some(union),
                ..Default::default()
            };
            let value = to.map_or_else(Bytes::new, value_bytes);
            let put = pb::PutRequest { key, value, ..Default::default() };
            let put = pb::RequestOp { request: Some(Operation::RequestPut(put)) };
            let request =
                pb::TxnRequest { compare: vec![compare], success: vec![put], ..Default::default() };
            Ok(Seen::Compared(kv.txn(request).await?.get_ref().succeeded))
        }
    }
}

fn register_key((epoch, number): Register) -> Bytes {
    format!("{REGISTER_PREFIX}{epoch}/{number}").into_bytes().into()
}

fn value_bytes(value: u64) -> Bytes {
    value.to_string().into_bytes().into()
}

/// What no client ever wrote reads as a number that none writes, so that the
/// checker shows it.
fn value_of(kv: &pb::KeyValue) -> u64 {
    let text = std::str::from_utf8(&kv.value).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

pub(crate) fn ledger_key(client: u32, number: u32) -> Bytes {
    format!("{LEDGER_PREFIX}{client}/{number}").into_bytes().into()
}

pub(crate) fn ledger_value(client: u32, number: u32) -> Bytes {
    let mut value = format!("{client} wrote its {number}th here ").into_bytes();
    value.resize(LEDGER_VALUE_BYTES, b'.');
    value.into()
}

/// Registers that an epoch may have used.
pub(crate) fn registers(epoch: u32) -> impl Iterator<Item = Register> {
    (0..REGISTERS as u32).map(move |number| (epoch, number))
}
