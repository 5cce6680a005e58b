//! The same writes and the same watch requests to both: what is told of them,
//! field by field.
//!
//! Left out, beside what says who answers: which watcher of a stream is told
//! first of a revision, and whether two revisions that wait for a watcher come
//! in one response or in two. Neither server promises either.

use super::calls::{Call, compact, delete, forget, op, put};
use super::random::Random;
use super::{Pair, expect_same};
use crate::support::PATIENCE;
use etcd_client::proto::{PbTxnOpRequest, PbTxnRequest, PbWatchResponse};
use etcd_client::{Client, WatchFilterType, WatchOptions, WatchStream};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use tokio::time::timeout;

/// A stream to each.
struct Streams {
    ours: WatchStream,
    theirs: WatchStream,
}

impl Streams {
    /// Opens them with a first watcher, and takes the answer to that.
    async fn open(pair: &Pair, key: &str, options: WatchOptions) -> Self {
        let open = async |url: &str, options: WatchOptions| {
            let mut client = Client::connect([url], None).await.unwrap();
            client.watch(key, Some(options)).await.unwrap()
        };
        let ours = open(&pair.driftless.url, options.clone()).await;
        let theirs = open(&pair.etcd.url, options).await;
        let mut streams = Self { ours, theirs };
        streams.same(1, &"the first watcher").await;
        streams
    }

    async fn watch(&mut self, key: &str, options: &WatchOptions) {
        self.ours.watch(key, Some(options.clone())).await.unwrap();
        self.theirs.watch(key, Some(options.clone())).await.unwrap();
    }

    async fn cancel(&mut self, watch_id: i64) {
        self.ours.cancel(watch_id).await.unwrap();
        self.theirs.cancel(watch_id).await.unwrap();
    }

    async fn progress(&mut self) {
        self.ours.request_progress().await.unwrap();
        self.theirs.request_progress().await.unwrap();
    }

    /// The next responses of both, which must be the same.
    async fn same(&mut self, responses: usize, context: &dyn Debug) -> Vec<PbWatchResponse> {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..responses {
            ours.push(next(&mut self.ours, &(context, &ours, &theirs)).await);
            theirs.push(next(&mut self.theirs, &(context, &ours, &theirs)).await);
        }
        expect_same(&ours, &theirs, context);
        ours
    }
}

/// The next response of a stream, without what says who answers.
async fn next(stream: &mut WatchStream, context: &dyn Debug) -> PbWatchResponse {
    let Ok(message) = timeout(PATIENCE, stream.message()).await else {
        panic!("nothing came: {context:?}")
    };
    let mut response = message.unwrap().expect("the stream goes on").0;
    forget(response.header.as_mut());
    response
}

fn options() -> WatchOptions {
    WatchOptions::new()
}

#[tokio::test]
async fn watch_requests_are_answered_as_etcd_answers_them() {
    let Some(pair) = Pair::start().await else { return };
    let write = async |call: Call| pair.same(&call, &"a write").await;
    for value in ["2", "3", "4", "5"] {
        write(Call::Put(put("a", value))).await;
    }

    let mut streams = Streams::open(&pair, "a", options()).await;
    for (name, key, options) in [
        ("an id of its own", "b", options().with_watch_id(7)),
        ("the same id again", "c", options().with_watch_id(7)),
        ("a range that ends before it begins", "c", options().with_range("a")),
        ("a range that ends where it begins", "c", options().with_range("c")),
        ("the next id", "a", options().with_prev_key()),
        ("no puts", "a", options().with_filters([WatchFilterType::NoPut])),
        (
            "neither",
            "a",
            options().with_filters([WatchFilterType::NoPut, WatchFilterType::NoDelete]),
        ),
        ("all keys", "", options().with_all_keys()),
    ] {
        streams.watch(key, &options).await;
        streams.same(1, &name).await;
    }

    // Ids: 0 and 1 (with the key before it), 2 without puts, 3 with nothing, 4
    // all keys; those of one revision in any order.
    for (call, told) in [(Call::Put(put("a", "6")), 3), (Call::Delete(delete("a", "")), 4)] {
        write(call).await;
        let ours = sorted(&mut streams.ours, told).await;
        let theirs = sorted(&mut streams.theirs, told).await;
        expect_same(&ours, &theirs, &"one revision");
    }
    for watch_id in [1, 2, 99, 3, 4] {
        streams.cancel(watch_id).await;
    }
    let canceled = streams.same(4, &"cancelled, and nobody answers for 99").await;
    assert!(canceled.iter().all(|response| response.canceled));

    streams.cancel(7).await;
    streams.watch("c", &options().with_watch_id(7)).await;
    streams.same(2, &"an id given again").await;
    write(Call::Put(put("b", "not watched any more"))).await;
    write(Call::Put(put("c", "watched"))).await;
    let told = streams.same(1, &"its new watcher").await;
    assert_eq!((told[0].watch_id, told[0].events.len()), (7, 1));

    streams.progress().await;
    let progress = streams.same(1, &"progress").await;
    assert_eq!((progress[0].watch_id, progress[0].events.len()), (-1, 0));

    // The future.
    let revision = write(Call::Put(put("z", ""))).await.revision().unwrap();
    streams.watch("f", &options().with_start_revision(revision + 2)).await;
    streams.same(1, &"a watcher of the future").await;
    write(Call::Put(put("f", "too early"))).await;
    write(Call::Put(put("f", "in time"))).await;
    let told = streams.same(1, &"the future").await;
    assert_eq!(told[0].events[0].kv.as_ref().unwrap().value, b"in time");

    // The past, compacted and not.
    write(compact(4)).await;
    streams.watch("a", &options().with_start_revision(3)).await;
    let told = streams.same(2, &"a watcher of what is compacted").await;
    assert!(told[0].created && told[1].canceled && told[1].compact_revision == 4);
    for (from, events) in [(4, 4), (6, 2)] {
        streams.watch("a", &options().with_start_revision(from).with_prev_key()).await;
        let told = streams.same(2, &"a watcher of what is left").await;
        assert_eq!(told[1].events.len(), events);
    }
}

async fn sorted(stream: &mut WatchStream, count: usize) -> Vec<PbWatchResponse> {
    let mut responses = Vec::new();
    for _ in 0..count {
        responses.push(next(stream, &responses).await);
    }
    responses.sort_by_key(|response| response.watch_id);
    responses
}

/// A revision of more than a message holds, for a watcher that takes it in pieces.
#[tokio::test]
async fn large_revisions_are_told_as_etcd_tells_them() {
    let Some(pair) = Pair::start().await else { return };
    let large = |fill: &str| {
        let put = |n| op(PbTxnOpRequest::RequestPut(put(&format!("k{n}"), &fill.repeat(200_000))));
        Call::Txn(PbTxnRequest { success: (0..7).map(put).collect(), ..PbTxnRequest::default() })
    };
    pair.same(&large("a"), &"the values before").await;
    pair.same(&large("b"), &"the values after").await;
    let whole = options().with_prefix().with_prev_key().with_start_revision(3);
    let mut streams = Streams::open(&pair, "k", whole.clone().with_fragment()).await;
    let mut told = streams.same(1, &"the first piece").await;
    while told.last().is_some_and(|response| response.fragment) {
        told.extend(streams.same(1, &"another piece").await);
    }
    assert!(told.len() > 1);
    assert_eq!(told.iter().map(|response| response.events.len()).sum::<usize>(), 7);
    // In one piece for who did not ask for several.
    let mut streams = Streams::open(&pair, "k", whole).await;
    let told = streams.same(1, &"all of it").await;
    assert_eq!(told[0].events.len(), 7);
}

/// Writes after each of which a watcher of its own is told last.
const STEPS: u64 = 400;
const SENTINEL: &str = "~";
const SENTINEL_ID: i64 = 1_000;

/// Watchers whose events come as they happen.
const WATCHED: &[(&str, &str)] =
    &[("a", ""), ("b\0", ""), ("a", "b"), ("a", "ab"), ("ab", "z"), ("c", "\0"), ("\0", "\0")];

/// The ways to watch a range; the third sees no puts, the fourth no deletions.
fn ways(end: &str) -> [WatchOptions; WAYS as usize] {
    let range = || options().with_range(end);
    [
        range(),
        range().with_prev_key(),
        range().with_filters([WatchFilterType::NoPut]).with_prev_key(),
        range().with_filters([WatchFilterType::NoDelete]),
    ]
}

const WAYS: i64 = 4;

#[tokio::test]
async fn random_writes_are_told_as_etcd_tells_them() {
    let Some(pair) = Pair::start().await else { return };
    let mut random = Random { state: 7, latest: 1, compacted: 0 };
    let mut streams = Streams::open(&pair, SENTINEL, options().with_watch_id(SENTINEL_ID)).await;
    for (key, end) in WATCHED {
        for way in ways(end) {
            streams.watch(key, &way).await;
            streams.same(1, &key).await;
        }
    }
    let mut events = 0;
    for number in 0..STEPS {
        let write = random.write();
        let answer = pair.same(&write, &format_args!("step {number}")).await;
        let sentinel = pair.same(&Call::Put(put(SENTINEL, "")), &"the sentinel").await;
        random.latest = sentinel.revision().expect("the sentinel is written");
        let ours = until_sentinel(&mut streams.ours, random.latest).await;
        let theirs = until_sentinel(&mut streams.theirs, random.latest).await;
        expect_same(&ours, &theirs, &format_args!("step {number}: {write:?}: {answer:?}"));
        events += ours.values().map(|told| told.events.len()).sum::<usize>();
    }
    println!("{STEPS} writes, {events} events");
    assert!(events as u64 > 10 * STEPS, "only {events} events");
    the_same_history(&pair, &mut random).await;
}

/// What each watcher is told until all who watch the sentinel were told of it,
/// which comes last.
async fn until_sentinel(stream: &mut WatchStream, revision: i64) -> BTreeMap<i64, PbWatchResponse> {
    let mut told = BTreeMap::new();
    let mut missing: BTreeSet<i64> = watchers_of_sentinel();
    while !missing.is_empty() {
        let response = next(stream, &told).await;
        if last_revision(&response) == Some(revision) {
            missing.remove(&response.watch_id);
        }
        add(&mut told, response);
    }
    told
}

/// Its own, and those of [`WATCHED`] whose range reaches so far.
fn watchers_of_sentinel() -> BTreeSet<i64> {
    let mut all = BTreeSet::from([SENTINEL_ID]);
    for (range, (_, end)) in (0..).zip(WATCHED) {
        if *end == "\0" {
            all.extend([0, 1, 3].map(|way| range * WAYS + way));
        }
    }
    all
}

fn last_revision(response: &PbWatchResponse) -> Option<i64> {
    Some(response.events.last()?.kv.as_ref()?.mod_revision)
}

/// Adds a response to what its watcher was told before it.
fn add(told: &mut BTreeMap<i64, PbWatchResponse>, mut response: PbWatchResponse) {
    match told.get_mut(&response.watch_id) {
        None => {
            told.insert(response.watch_id, response);
        }
        Some(before) => {
            assert!(!response.created && !response.canceled && !response.events.is_empty());
            before.events.append(&mut response.events);
            before.header = response.header;
        }
    }
}

/// All of it again, from several revisions of the past on.
async fn the_same_history(pair: &Pair, random: &mut Random) {
    // What every watcher here sees the end of, whatever it holds back.
    pair.same(&Call::Put(put("bb", "last")), &"last").await;
    let last = pair.same(&Call::Delete(delete("bb", "")), &"last").await.revision().unwrap();
    for round in 0..12 {
        let from = 2 + random.below(last as u64 - 3) as i64;
        for (key, end) in [("a", "c"), ("bb", ""), ("ab", "z"), ("\0", "\0")] {
            let way = round % WAYS as usize;
            let options = ways(end)[way].clone().with_start_revision(from);
            let mut streams = Streams::open(pair, key, options).await;
            let end_revision = if way == 3 { last - 1 } else { last };
            let ours = until(&mut streams.ours, end_revision).await;
            let theirs = until(&mut streams.theirs, end_revision).await;
            let context = format!("history of {key:?} to {end:?} from {from}, way {way}");
            expect_same(&ours, &theirs, &context);
        }
    }
}

/// What a stream's only watcher is told until it reaches this revision.
async fn until(stream: &mut WatchStream, revision: i64) -> BTreeMap<i64, PbWatchResponse> {
    let mut told = BTreeMap::new();
    loop {
        let response = next(stream, &told).await;
        let reached = last_revision(&response) == Some(revision);
        add(&mut told, response);
        if reached {
            return told;
        }
    }
}
