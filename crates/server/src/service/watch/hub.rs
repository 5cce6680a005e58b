//! The watchers that are up to date, of all streams together.
//!
//! The store says that its revision moved; the hub reads the new events once
//! and puts them into the queues of the streams whose watchers they match. A
//! stream whose queue is full loses nothing: its watcher is taken out of the
//! hub and told the revision from which it must read history by itself, which
//! it does at its own pace (`stream.rs`).

use super::event::{Range, SharedRevision};
use super::index::Index;
use crate::backend::Backend;
use crate::metrics::{Count, Metrics};
use bytes::Bytes;
use driftless_kv::{EventKind, Follower, Reader};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// What may wait in a stream's queue before its watchers must catch up by themselves.
const QUEUE_EVENTS_MAX: usize = 4096;
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Events are read in pieces of about this size.
pub(super) const CHUNK_REVISIONS: usize = 1024;
pub(super) const CHUNK_BYTES: usize = 512 << 10;

/// A watcher: a stream and an id on it.
type WatcherKey = (u64, i64);

/// Which events a watcher does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters {
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
}

impl Filters {
    pub(super) fn let_pass(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// Events of one revision for one watcher.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) watch_id: i64,
    pub(super) revision: i64,
    /// Fields of a response. As such, since the events as they were read share
    /// memory with all that was read beside them, and this may wait for long.
    pub(super) events: Vec<Bytes>,
}

/// What the hub has for a stream.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) lagging: Vec<Lagging>,
}

/// A watcher that is no more in the hub.
#[derive(Debug)]
pub(super) struct Lagging {
    pub(super) watch_id: i64,
    /// The revision of the first event that it was not given.
    pub(super) next: i64,
    _slow: Count,
}

#[derive(Clone)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    reader: Reader,
    metrics: Arc<Metrics>,
    news: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    /// Reads what is to be handed out: a compaction shall not cancel watchers
    /// that are up to date but for us.
    follower: Follower,
    next_stream: u64,
    streams: BTreeMap<u64, Stream>,
    index: Index<WatcherKey>,
    watchers: BTreeMap<WatcherKey, Watcher>,
}

struct Stream {
    wake: Arc<Notify>,
    deliveries: VecDeque<Delivery>,
    lagging: Vec<Lagging>,
    queued_events: usize,
    queued_bytes: usize,
}

struct Watcher {
    range: Range,
    filters: Filters,
    prev_kv: bool,
    /// Wants nothing older.
    from: i64,
}

impl Hub {
    /// A hub over a member's store. It does its work in a task of the runtime
    /// on which this is called, until the last of its clones is gone.
    pub(crate) fn new<B: Backend>(backend: &B, metrics: &Arc<Metrics>) -> Self {
        let reader = backend.reader().clone();
        let news = Arc::new(Notify::new());
        let hook = Arc::clone(&news);
        reader.on_revision(Box::new(move |_| hook.notify_one()));
        let state = State {
            follower: reader.follow(),
            next_stream: 0,
            streams: BTreeMap::new(),
            index: Index::new(),
            watchers: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            reader,
            metrics: Arc::clone(metrics),
            news,
            state: Mutex::new(state),
        });
        tokio::spawn(dispatch_forever(Arc::downgrade(&shared), Arc::clone(&shared.news)));
        Self { shared }
    }

    /// Opens a stream. `wake` is notified whenever there is mail.
    pub(super) fn open(&self, wake: Arc<Notify>) -> HubStream {
        let mut state = self.shared.state.lock();
        let id = state.next_stream;
        state.next_stream += 1;
        let stream = Stream {
            wake,
            deliveries: VecDeque::new(),
            lagging: Vec::new(),
            queued_events: 0,
            queued_bytes: 0,
        };
        state.streams.insert(id, stream);
        HubStream { shared: Arc::clone(&self.shared), id }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Lets the dispatching task see that there is nothing left to do.
        self.news.notify_one();
    }
}

/// A stream's side of the hub. Dropping it removes the stream and its watchers.
pub(super) struct HubStream {
    shared: Arc<Shared>,
    id: u64,
}

impl HubStream {
    pub(super) fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// A number of its own, to spread what streams do from time to time.
    pub(super) fn number(&self) -> u64 {
        self.id
    }

    /// Takes a watcher that has seen everything before `next` into the hub, if
    /// the hub has not gone past that; else it must read on by itself.
    pub(super) fn join(
        &self,
        watch_id: i64,
        range: &Range,
        filters: Filters,
        prev_kv: bool,
        next: i64,
    ) -> bool {
        let mut state = self.shared.state.lock();
        if state.watchers.is_empty() {
            // Nobody was listening: there was nothing to hand out.
            state.follower.skip();
        }
        if next < state.follower.next_revision() {
            return false;
        }
        let key = (self.id, watch_id);
        state.index.insert(key, range);
        let watcher = Watcher { range: range.clone(), filters, prev_kv, from: next };
        state.watchers.insert(key, watcher);
        true
    }

    /// Takes a watcher out of the hub, if it is there, with what waits for it.
    pub(super) fn leave(&self, watch_id: i64) {
        let mut state = self.shared.state.lock();
        state.remove((self.id, watch_id));
        if let Some(stream) = state.streams.get_mut(&self.id) {
            stream.lagging.retain(|lagging| lagging.watch_id != watch_id);
            stream.deliveries.retain(|delivery| delivery.watch_id != watch_id);
            stream.recount();
        }
    }

    /// Takes what the hub has for this stream.
    pub(super) fn take(&self) -> Mail {
        let mut state = self.shared.state.lock();
        let Some(stream) = state.streams.get_mut(&self.id) else { return Mail::default() };
        stream.queued_events = 0;
        stream.queued_bytes = 0;
        Mail {
            deliveries: std::mem::take(&mut stream.deliveries),
            lagging: std::mem::take(&mut stream.lagging),
        }
    }

    /// Hands out now what is there, rather than when the hub comes to it.
    pub(super) fn dispatch_now(&self) {
        let revision = self.shared.reader.revision();
        while self.shared.dispatch_some() <= revision {}
    }

    /// Up to where this stream's watchers in the hub have been given everything,
    /// if nothing of it waits here any more.
    pub(super) fn sent_through(&self) -> Option<i64> {
        let state = self.shared.state.lock();
        let stream = state.streams.get(&self.id)?;
        let nothing_waits = stream.deliveries.is_empty() && stream.lagging.is_empty();
        nothing_waits.then(|| state.follower.next_revision() - 1)
    }
}

impl Drop for HubStream {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let keys: Vec<WatcherKey> =
            state.watchers.range((self.id, i64::MIN)..=(self.id, i64::MAX)).map(|w| *w.0).collect();
        for key in keys {
            state.remove(key);
        }
        state.streams.remove(&self.id);
    }
}

impl Lagging {
    pub(super) fn new(watch_id: i64, next: i64, metrics: &Arc<Metrics>) -> Self {
        Self { watch_id, next, _slow: Count::one(metrics, |metrics| &metrics.slow_watchers) }
    }
}

impl Stream {
    fn has_room(&self) -> bool {
        self.queued_events < QUEUE_EVENTS_MAX && self.queued_bytes < QUEUE_BYTES_MAX
    }

    fn recount(&mut self) {
        self.queued_events = self.deliveries.iter().map(|d| d.events.len()).sum();
        self.queued_bytes = self.deliveries.iter().map(Delivery::bytes).sum();
    }
}

impl Delivery {
    fn bytes(&self) -> usize {
        self.events.iter().map(Bytes::len).sum()
    }
}

impl State {
    fn remove(&mut self, key: WatcherKey) {
        if let Some(watcher) = self.watchers.remove(&key) {
            self.index.remove(key, &watcher.range);
        }
    }

    /// Hands one revision to all whom it concerns.
    fn dispatch(&mut self, revision: &SharedRevision, reader: &Reader, metrics: &Arc<Metrics>) {
        let mut matched: BTreeMap<WatcherKey, Vec<usize>> = BTreeMap::new();
        for (number, event) in revision.events.iter().enumerate() {
            self.index.visit(event.key(), |key| {
                let watcher = &self.watchers[&key];
                if revision.revision >= watcher.from && watcher.filters.let_pass(event.kind()) {
                    matched.entry(key).or_default().push(number);
                }
            });
        }
        for (key, numbers) in matched {
            let stream = self.streams.get_mut(&key.0).expect("watchers go with their stream");
            if stream.has_room() {
                let previous = self.watchers[&key].prev_kv.then_some(reader);
                let fields = numbers.iter().map(|n| revision.events[*n].field(previous).clone());
                let delivery = Delivery {
                    watch_id: key.1,
                    revision: revision.revision,
                    events: fields.collect(),
                };
                stream.queued_events += delivery.events.len();
                stream.queued_bytes += delivery.bytes();
                stream.deliveries.push_back(delivery);
            } else {
                stream.lagging.push(Lagging::new(key.1, revision.revision, metrics));
                self.remove(key);
            }
            // A permit is kept where nobody waits yet, so this is cheap to repeat.
            self.streams[&key.0].wake.notify_one();
        }
    }

    /// The history that the hub should hand out is gone: each watcher finds out
    /// by itself.
    fn expel_all(&mut self, next: i64, metrics: &Arc<Metrics>) {
        let keys: Vec<WatcherKey> = self.watchers.keys().copied().collect();
        for key in keys {
            let from = self.watchers[&key].from.max(next);
            self.remove(key);
            if let Some(stream) = self.streams.get_mut(&key.0) {
                stream.lagging.push(Lagging::new(key.1, from, metrics));
                stream.wake.notify_one();
            }
        }
    }
}

async fn dispatch_forever(hub: std::sync::Weak<Shared>, news: Arc<Notify>) {
    loop {
        news.notified().await;
        loop {
            let Some(hub) = hub.upgrade() else { return };
            if hub.dispatch_some() > hub.reader.revision() {
                break;
            }
            drop(hub);
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    /// Hands out some of what is new, and returns the first revision that it
    /// did not come to.
    fn dispatch_some(&self) -> i64 {
        let mut state = self.state.lock();
        let next = state.follower.next_revision();
        if state.watchers.is_empty() {
            state.follower.skip();
        } else if let Ok(events) = state.follower.read(CHUNK_REVISIONS, CHUNK_BYTES) {
            for revision in &events.revisions {
                state.dispatch(&SharedRevision::new(revision), &self.reader, &self.metrics);
            }
        } else {
            // A snapshot was restored that does not have it.
            state.expel_all(next, &self.metrics);
        }
        state.follower.next_revision()
    }
}
