//! One watch stream: its watchers, and whose turn it is to send what.

use super::event::{Range, SharedRevision, response, response_bytes};
use super::hub::{CHUNK_BYTES, CHUNK_REVISIONS, Delivery, Filters, HubStream, Lagging};
use crate::backend::Backend;
use crate::grpc::{MESSAGE_BYTES_MAX, encode};
use crate::metrics::Count;
use crate::pb::{self, watch_request::RequestUnion};
use crate::service::{Requests, Responses, Services, decode, stopped};
use crate::status::{Code, Status};
use bytes::Bytes;
use driftless::Status as NodeStatus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// etcd's id for "no watcher" and "the whole stream".
const NO_WATCHER: i64 = -1;

/// The most watchers on one stream.
const WATCHERS_MAX: usize = 100_000;

const CANCELED: Status = Status::new(Code::Canceled, "etcdserver: watch canceled");

pub(super) struct WatchStream<'a, B> {
    services: &'a Services<B>,
    responses: Responses,
    hub: HubStream,
    wake: Arc<Notify>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
    /// The client asked how far the stream has come and was not answered yet.
    progress_wanted: bool,
    stopping: watch::Receiver<bool>,
    _streams: Count,
}

#[expect(clippy::struct_excessive_bools, reason = "three are the client's independent wishes")]
struct Watcher {
    range: Range,
    filters: Filters,
    prev_kv: bool,
    fragment: bool,
    progress_notify: bool,
    /// What the client asked for; 0 is the present.
    start_revision: i64,
    /// Nothing was sent to it since the last round of progress.
    quiet: bool,
    /// Reads history by itself, from this revision on; otherwise the hub feeds it.
    behind: Option<Lagging>,
    _watchers: Count,
}

impl<'a, B: Backend> WatchStream<'a, B> {
    pub(super) fn new(services: &'a Services<B>, responses: Responses) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            responses,
            hub: services.inner.watches.open(Arc::clone(&wake)),
            wake,
            watchers: BTreeMap::new(),
            next_id: 0,
            progress_wanted: false,
            stopping: services.inner.stopping.subscribe(),
            _streams: Count::one(services.metrics(), |metrics| &metrics.watch_streams),
            services,
        }
    }

    /// Serves the stream until the client or the server goes.
    pub(super) async fn run(
        mut self,
        mut requests: impl Requests,
        require_leader: bool,
    ) -> Result<(), Status> {
        let limits = self.services.limits();
        let leader_lost =
            leader_lost(self.services.backend().watch_status(), limits.leader_patience);
        tokio::pin!(leader_lost);
        let mut stopping = self.stopping.clone();
        let responses = self.responses.clone();
        let wake = Arc::clone(&self.wake);
        // Spread, so that streams opened together do not all speak together.
        let jitter = limits.progress_interval.mul_f64((self.hub.number() % 16) as f64 / 160.0);
        let interval = limits.progress_interval + jitter;
        let mut progress_round = interval_at(Instant::now() + interval, interval);
        progress_round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Half-closing keeps the stream open.
        let mut half_closed = false;
        loop {
            self.deliver_mail().await?;
            let behind = self.catch_up().await?;
            if self.progress_wanted && !behind {
                self.answer_progress().await?;
            }
            tokio::select! {
                request = requests.next(), if !half_closed => match request? {
                    Some(message) => self.handle(decode(message)?).await?,
                    None => half_closed = true,
                },
                () = wake.notified() => {}
                () = tokio::task::yield_now(), if behind => {}
                _ = progress_round.tick() => self.notify_progress().await?,
                () = responses.closed() => return Err(CANCELED),
                () = stopped(&mut stopping) => return Err(Status::STOPPED),
                () = &mut leader_lost, if require_leader => return Err(Status::NO_LEADER),
            }
        }
    }

    async fn handle(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_wanted = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), Status> {
        let revision = self.hub.reader().revision();
        if create.start_revision < 0 {
            return self.refuse(revision, &Status::COMPACTED.message).await;
        }
        let Some(range) = Range::new(create.key, create.range_end) else {
            return self.refuse(revision, "mvcc: watcher range is empty").await;
        };
        if self.watchers.len() >= WATCHERS_MAX {
            return self.refuse(revision, "driftless: too many watchers on this stream").await;
        }
        let watch_id = if create.watch_id == 0 {
            while self.watchers.contains_key(&self.next_id) {
                self.next_id += 1;
            }
            self.next_id += 1;
            self.next_id - 1
        } else if self.watchers.contains_key(&create.watch_id) {
            let reason = "mvcc: duplicate watch ID provided on the WatchStream";
            return self.refuse(revision, reason).await;
        } else {
            create.watch_id
        };
        let filters = Filters {
            no_put: create.filters.contains(&(pb::FilterType::Noput as i32)),
            no_delete: create.filters.contains(&(pb::FilterType::Nodelete as i32)),
        };
        let next = if create.start_revision == 0 { revision + 1 } else { create.start_revision };
        let joined = self.hub.join(watch_id, &range, filters, create.prev_kv, next);
        let metrics = self.services.metrics();
        let watcher = Watcher {
            range,
            filters,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            start_revision: create.start_revision,
            quiet: true,
            behind: (!joined).then(|| Lagging::new(watch_id, next, metrics)),
            _watchers: Count::one(metrics, |metrics| &metrics.watchers),
        };
        self.watchers.insert(watch_id, watcher);
        self.send(&pb::WatchResponse {
            header: Some(self.services.header(revision)),
            watch_id,
            created: true,
            ..pb::WatchResponse::default()
        })
        .await
    }

    /// Created and cancelled at once.
    async fn refuse(&self, revision: i64, reason: &str) -> Result<(), Status> {
        self.send(&pb::WatchResponse {
            header: Some(self.services.header(revision)),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..pb::WatchResponse::default()
        })
        .await
    }

    async fn cancel(&mut self, watch_id: i64) -> Result<(), Status> {
        if self.watchers.remove(&watch_id).is_none() {
            return Ok(());
        }
        self.hub.leave(watch_id);
        self.send(&pb::WatchResponse {
            header: Some(self.services.header(self.hub.reader().revision())),
            watch_id,
            canceled: true,
            ..pb::WatchResponse::default()
        })
        .await
    }

    /// Sends what the hub has for this stream.
    async fn deliver_mail(&mut self) -> Result<(), Status> {
        let mail = self.hub.take();
        for lagging in mail.lagging {
            if let Some(watcher) = self.watchers.get_mut(&lagging.watch_id) {
                watcher.behind = Some(lagging);
            }
        }
        // What waited for the same watcher goes in one response.
        let mut waiting: BTreeMap<i64, Vec<Delivery>> = BTreeMap::new();
        for delivery in mail.deliveries {
            waiting.entry(delivery.watch_id).or_default().push(delivery);
        }
        for (watch_id, deliveries) in waiting {
            let mut batch = Batch::default();
            for delivery in deliveries {
                delivery.events.into_iter().for_each(|event| batch.push(event));
                batch.revision = delivery.revision;
                if batch.bytes >= CHUNK_BYTES {
                    self.send_events(watch_id, std::mem::take(&mut batch)).await?;
                }
            }
            self.send_events(watch_id, batch).await?;
        }
        Ok(())
    }

    /// Reads a piece of history for the watchers that stand furthest behind;
    /// whether any is still behind.
    async fn catch_up(&mut self) -> Result<bool, Status> {
        let furthest = self.watchers.values().filter_map(|w| Some(w.behind.as_ref()?.next)).min();
        let Some(from) = furthest else { return Ok(false) };
        let events = match self.hub.reader().events(from, CHUNK_REVISIONS, CHUNK_BYTES) {
            Ok(events) => events,
            Err(compacted) => {
                self.cancel_compacted(compacted.compact_revision).await?;
                return Ok(self.watchers.values().any(|watcher| watcher.behind.is_some()));
            }
        };
        let revisions: Vec<SharedRevision> =
            events.revisions.iter().map(|revision| SharedRevision::new(revision)).collect();
        let ids: Vec<i64> = self
            .watchers
            .iter()
            .filter(|(_, w)| w.behind.as_ref().is_some_and(|b| b.next < events.next_revision))
            .map(|(id, _)| *id)
            .collect();
        for watch_id in ids {
            let watcher = self.watchers.get_mut(&watch_id).expect("it was just listed");
            let Some(behind) = &mut watcher.behind else { continue };
            let mut batch = Batch { revision: events.next_revision - 1, ..Batch::default() };
            let unseen = revisions.iter().filter(|revision| revision.revision >= behind.next);
            for event in unseen.flat_map(|revision| &revision.events) {
                if watcher.range.contains(event.key()) && watcher.filters.let_pass(event.kind()) {
                    batch.push(event.field(watcher.prev_kv.then_some(self.hub.reader())).clone());
                }
            }
            behind.next = events.next_revision;
            self.send_events(watch_id, batch).await?;
        }
        let mut behind_still = false;
        for (watch_id, watcher) in &mut self.watchers {
            if let Some(behind) = &watcher.behind {
                let Watcher { range, filters, prev_kv, .. } = &*watcher;
                if self.hub.join(*watch_id, range, *filters, *prev_kv, behind.next) {
                    watcher.behind = None;
                } else {
                    behind_still = true;
                }
            }
        }
        Ok(behind_still)
    }

    /// Ends the watchers whose next events are gone.
    async fn cancel_compacted(&mut self, compact_revision: i64) -> Result<(), Status> {
        let gone: Vec<i64> = self
            .watchers
            .iter()
            .filter(|(_, w)| w.behind.as_ref().is_some_and(|b| b.next < compact_revision))
            .map(|(id, _)| *id)
            .collect();
        for watch_id in gone {
            self.watchers.remove(&watch_id);
            self.send(&pb::WatchResponse {
                // etcd gives no revision here.
                header: Some(self.services.header(0)),
                watch_id,
                canceled: true,
                compact_revision,
                ..pb::WatchResponse::default()
            })
            .await?;
        }
        Ok(())
    }

    /// How far all watchers of the stream have come, once, if none is behind.
    async fn answer_progress(&mut self) -> Result<(), Status> {
        self.hub.dispatch_now();
        self.deliver_mail().await?;
        let Some(revision) = self.progress() else { return Ok(()) };
        self.progress_wanted = false;
        if self.watchers.is_empty() {
            return Ok(());
        }
        self.send(&pb::WatchResponse {
            header: Some(self.services.header(revision)),
            watch_id: NO_WATCHER,
            ..pb::WatchResponse::default()
        })
        .await
    }

    /// The revision up to which every watcher has been sent everything; `None`
    /// if one is behind or waits for a revision that is not there yet.
    fn progress(&self) -> Option<i64> {
        let revision = self.hub.sent_through()?;
        self.watchers.values().all(|watcher| watcher.is_through(revision)).then_some(revision)
    }

    /// The periodic round: who asked for it and heard nothing since the last one
    /// is told how far it has come.
    async fn notify_progress(&mut self) -> Result<(), Status> {
        self.hub.dispatch_now();
        self.deliver_mail().await?;
        let Some(revision) = self.hub.sent_through() else { return Ok(()) };
        let mut quiet = Vec::new();
        for (watch_id, watcher) in &mut self.watchers {
            if watcher.progress_notify && watcher.quiet && watcher.is_through(revision) {
                quiet.push(*watch_id);
            }
            watcher.quiet = true;
        }
        for watch_id in quiet {
            self.send(&pb::WatchResponse {
                header: Some(self.services.header(revision)),
                watch_id,
                ..pb::WatchResponse::default()
            })
            .await?;
        }
        Ok(())
    }

    /// Sends a watcher's events; nothing if there are none.
    async fn send_events(&mut self, watch_id: i64, batch: Batch) -> Result<(), Status> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let Some(watcher) = self.watchers.get_mut(&watch_id) else { return Ok(()) };
        watcher.quiet = false;
        let fragment = watcher.fragment;
        self.services.metrics().events.fetch_add(batch.events.len() as u64, Relaxed);
        let mut head = pb::WatchResponse {
            header: Some(self.services.header(batch.revision)),
            watch_id,
            ..pb::WatchResponse::default()
        };
        if !fragment || response_bytes(&head, &batch.events) < MESSAGE_BYTES_MAX {
            return self.send_frame(response(&head, &batch.events)).await;
        }
        let mut rest = &batch.events[..];
        while !rest.is_empty() {
            let mut bytes = response_bytes(&head, &[]);
            let fitting = rest
                .iter()
                .take_while(|event| {
                    bytes += event.len();
                    bytes < MESSAGE_BYTES_MAX
                })
                .count();
            let (piece, after) = rest.split_at(fitting.max(1));
            head.fragment = !after.is_empty();
            self.send_frame(response(&head, piece)).await?;
            rest = after;
        }
        Ok(())
    }

    async fn send(&self, message: &pb::WatchResponse) -> Result<(), Status> {
        self.send_frame(encode(message)).await
    }

    async fn send_frame(&self, frame: Bytes) -> Result<(), Status> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            sent = self.responses.send(frame) => sent.map_err(|_| CANCELED),
            () = stopped(&mut stopping) => Err(Status::STOPPED),
        }
    }
}

impl Watcher {
    /// Whether it was sent everything up to this revision, where all of the
    /// hub's mail for its stream was sent. Who waits for the future is not told
    /// of a revision before it.
    fn is_through(&self, revision: i64) -> bool {
        self.behind.is_none() && self.start_revision <= revision
    }
}

/// Events of whole revisions for one watcher.
#[derive(Default)]
struct Batch {
    events: Vec<Bytes>,
    bytes: usize,
    /// What the response's header says.
    revision: i64,
}

impl Batch {
    fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push(event);
    }
}

/// Returns once there was no leader for as long as our patience lasts.
async fn leader_lost(mut status: watch::Receiver<NodeStatus>, patience: Duration) {
    loop {
        if status.wait_for(|status| status.leader.is_none()).await.is_err() {
            return;
        }
        let found = status.wait_for(|status| status.leader.is_some());
        if timeout(patience, found).await.is_err() {
            return;
        }
    }
}
