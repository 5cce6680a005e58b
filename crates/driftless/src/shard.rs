//! The shard: the one task that owns a node, its machine and its links.
//!
//! A turn: wait until something has come, let every task that is ready say its
//! part, take all of it, hand it to the node event by event, let the node act
//! on it as one batch, and carry out what it wants: the log and the peers get
//! their work first, and apply runs here while they work.

use crate::clock::{Clock, Reading};
use crate::host::Host;
use crate::inbox::{Inbox, Message};
use crate::links::{Dialler, PeerLink};
use crate::log_worker::LogWorker;
use crate::metrics::{Counters, add};
use crate::snapshot_thread::{SnapshotThread, SnapshotWork};
use crate::tell::{Teller, tell_leadership};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Moment, NodeId, Time};
use driftless_node::{
    Action, Answer, ClientRequest, Event, LinkId, LogDone, LogJob, Members, Report, RequestError,
    RequestToken, SnapshotDone, SnapshotJob, Status, StopReason,
};
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::time::Sleep;

/// A turn that applies for longer than this lets sockets and timers have their
/// say before it goes on.
const APPLY_FOR: Duration = Duration::from_millis(2);

/// Where the shard shows how things stand.
pub(crate) struct Shown {
    pub(crate) status: watch::Sender<Status>,
    pub(crate) members: watch::Sender<Members>,
    pub(crate) reached: watch::Sender<BTreeMap<NodeId, Time>>,
}

/// All that a shard owns.
pub(crate) struct Shard<H, M> {
    host: H,
    /// Away while it loads a snapshot on the other thread.
    machine: Option<M>,
    inbox: Arc<Inbox>,
    log: LogWorker,
    snapshots: SnapshotThread<M>,
    clock: Clock,
    random: fastrand::Rng,
    counters: Arc<Counters>,
    shown: Shown,
    alarm: NextWake,
    dialler: Dialler,

    links: BTreeMap<LinkId, PeerLink>,
    /// Links with frames queued in this turn.
    unwritten: Vec<LinkId>,
    /// Clients that wait, by their token.
    waiting: Slab<oneshot::Sender<Answer>>,
    /// Applies and snapshot work, in order, once the turn's writes are out.
    later: VecDeque<Action>,
    status_changed: bool,
    teller: Teller,

    // Buffers that turns reuse.
    batch: Vec<Message>,
    actions: Vec<Action>,
    log_jobs: Vec<LogJob>,
    log_done: Vec<LogDone>,
}

/// Why the shard's task ended.
pub(crate) type Ended = Result<(), StopReason>;

/// Whether a turn is the last.
enum Turn {
    Go,
    Stop(Ended),
}

impl<H: Host, M: StateMachine> Shard<H, M> {
    #[expect(clippy::too_many_arguments, reason = "one owner of everything, made in one place")]
    pub(crate) fn new(
        host: H,
        machine: M,
        inbox: Arc<Inbox>,
        log: impl Into<LogWorker>,
        snapshots: SnapshotThread<M>,
        clock: Clock,
        random: fastrand::Rng,
        counters: Arc<Counters>,
        shown: Shown,
        dialler: Dialler,
    ) -> Self {
        Self {
            host,
            machine: Some(machine),
            inbox,
            log: log.into(),
            snapshots,
            clock,
            random,
            counters,
            shown,
            alarm: NextWake::new(clock),
            dialler,
            links: BTreeMap::new(),
            unwritten: Vec::new(),
            waiting: Slab::new(),
            later: VecDeque::new(),
            status_changed: true,
            teller: Teller::default(),
            batch: Vec::new(),
            actions: Vec::new(),
            log_jobs: Vec::new(),
            log_done: Vec::new(),
        }
    }

    /// Drives the node until it is told to stop or stops by itself.
    pub(crate) async fn run(mut self) -> Ended {
        let closing = CloseInbox(self.inbox.clone());
        // A node may want something before anything happens: its snapshot loaded.
        let mut turn = self.settle();
        let ended = loop {
            match turn {
                Turn::Go => {}
                Turn::Stop(ended) => break ended,
            }
            self.something_to_do().await;
            others_first().await;
            turn = self.turn();
        };
        if let Err(reason) = &ended {
            let id = self.shown.status.borrow().node_id.0;
            match reason {
                StopReason::Removed => log::info!("member {id:x} stops: {reason}"),
                _ => log::error!("member {id:x} stops: {reason}"),
            }
        }
        drop(closing);
        for (_, answer) in std::mem::take(&mut self.waiting) {
            let _ = answer.send(Answer::Refused(RequestError::Stopped));
        }
        for link in self.links.values() {
            link.close();
        }
        let Self { log, snapshots, .. } = self;
        snapshots.finish().await;
        log.finish().await;
        ended
    }

    async fn something_to_do(&mut self) {
        if !self.later.is_empty() || !self.log_done.is_empty() {
            return;
        }
        let deadline = self.host.deadline();
        poll_fn(|context| {
            // Both are asked, so that both know whom to wake.
            let came = self.inbox.poll_waiting(context);
            let wake = self.alarm.poll(deadline, context);
            if came.is_ready() || wake.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn turn(&mut self) -> Turn {
        let mut batch = std::mem::take(&mut self.batch);
        self.inbox.take(&mut batch);
        if !batch.is_empty() {
            self.counters.messages_per_turn.add(batch.len() as u64);
        }
        // After all that is in the batch was said, or a lease that ran out meanwhile
        // would do for it.
        let now = self.clock.read();
        let mut stop = false;
        for message in batch.drain(..) {
            stop |= self.take_in(now, message);
        }
        self.batch = batch;
        if stop {
            return Turn::Stop(Ok(()));
        }
        let now = self.clock.now();
        if self.host.deadline().is_some_and(|deadline| deadline <= now) {
            self.tell(now, Event::Wake);
        }
        self.settle()
    }

    /// Hands one message to the node; says whether it asks to stop.
    fn take_in(&mut self, now: Reading, message: Message) -> bool {
        match message {
            Message::Event(event) => {
                match &*event {
                    Event::Closed { link } => {
                        self.links.remove(link);
                    }
                    Event::Snapshot(done) => {
                        if matches!(done, SnapshotDone::Loaded { .. }) {
                            self.machine = self.snapshots.take_machine();
                        }
                        self.counters.snapshot_done(done);
                    }
                    _ => {}
                }
                self.tell(now.time, *event);
            }
            Message::Opened(opened) => {
                let (link, event) = *opened;
                self.links.insert(link.id(), link);
                self.tell(now.time, event);
            }
            Message::Propose { command, deadline, answer } => {
                add(&self.counters.proposals, 1);
                let token = RequestToken(self.waiting.insert(answer) as u64);
                let deadline = now.at(deadline);
                let request = ClientRequest::Propose { token, command, deadline };
                self.tell(now.time, Event::Client(request));
            }
            Message::Read { deadline, answer } => {
                add(&self.counters.reads, 1);
                let token = RequestToken(self.waiting.insert(answer) as u64);
                let deadline = now.at(deadline);
                self.tell(now.time, Event::Client(ClientRequest::Read { token, deadline }));
            }
            Message::Ask { request, answer } => {
                let token = RequestToken(self.waiting.insert(answer) as u64);
                self.tell(now.time, Event::Client(request(token)));
            }
            Message::Stop => return true,
            Message::Panicked(thread) => panic!("{thread} panicked: this node cannot go on"),
        }
        false
    }

    fn tell(&mut self, now: Time, event: Event) {
        let moment = self.moment(now);
        self.host.handle(moment, event, &mut self.actions);
    }

    fn moment(&mut self, now: Time) -> Moment {
        Moment { now, random: self.random.u64(..) }
    }

    /// Lets the node act on all it was told, and carries that out.
    fn settle(&mut self) -> Turn {
        let began = Instant::now();
        let mut stop = None;
        loop {
            let now = self.clock.now();
            let mut done = std::mem::take(&mut self.log_done);
            for done in done.drain(..) {
                self.tell(now, Event::Log(done));
            }
            self.log_done = done;
            let moment = self.moment(now);
            self.host.flush(moment, &mut self.actions);
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain(..) {
                self.carry_out(action, &mut stop);
            }
            self.actions = actions;
            // Disk and peers first; what follows here runs beside them.
            self.log.submit(&mut self.log_jobs, &mut self.log_done);
            for link in self.unwritten.drain(..) {
                if let Some(link) = self.links.get(&link) {
                    link.flush();
                }
            }
            if stop.is_some() || began.elapsed() > APPLY_FOR {
                break;
            }
            if !self.log_done.is_empty() {
                continue;
            }
            let Some(action) = self.later.pop_front() else { break };
            self.work(action);
        }
        self.publish();
        stop.map_or(Turn::Go, |reason| Turn::Stop(Err(reason)))
    }

    fn carry_out(&mut self, action: Action, stop: &mut Option<StopReason>) {
        match action {
            Action::Log(job) => self.log_jobs.push(job),
            Action::Apply(_) | Action::Snapshot(_) => self.later.push_back(action),
            Action::Write { link, frame } => {
                if let Some(open) = self.links.get(&link) {
                    open.queue(frame);
                    if !self.unwritten.contains(&link) {
                        self.unwritten.push(link);
                    }
                }
            }
            Action::Close { link } => {
                if let Some(open) = self.links.get(&link) {
                    open.flush();
                    open.close();
                }
            }
            Action::Answer { token, answer } => {
                if matches!(answer, Answer::Refused(_)) {
                    add(&self.counters.refused, 1);
                }
                if let Some(client) = self.waiting.try_remove(token.0 as usize) {
                    // A client that gave up waiting is no error.
                    let _ = client.send(answer);
                }
            }
            Action::Dial { peer, address } => self.dialler.dial(peer, address),
            Action::HangUp { peer } => self.dialler.hang_up(peer),
            Action::StatusChanged => self.status_changed = true,
            Action::MembersChanged => {
                let members = self.host.members();
                self.shown.members.send_if_modified(|shown| {
                    let changed = *shown != members;
                    *shown = members;
                    changed
                });
            }
            Action::ReachedChanged => {
                self.shown.reached.send_replace(self.host.reached());
            }
            Action::Report(report) => {
                let id = self.host.status().node_id;
                let from = match &report {
                    Report::BadFrame { link, .. } => self.links.get(link),
                    _ => None,
                };
                self.counters.reported(&report);
                self.teller.report(id, &report, from.map(PeerLink::other_end).as_deref());
            }
            Action::Stop(reason) => *stop = Some(reason),
        }
    }

    /// Applies here, or sends snapshot work to its thread.
    fn work(&mut self, action: Action) {
        const HERE: &str = "the node wants nothing of a machine that loads a snapshot";
        match action {
            Action::Apply(job) => {
                let machine = self.machine.as_mut().expect(HERE);
                add(&self.counters.applied, job.commands.len() as u64);
                let applied = self.host.apply(machine, &job);
                let now = self.clock.now();
                self.tell(now, applied);
            }
            Action::Snapshot(job) => self.snapshots.submit(match job {
                SnapshotJob::Save { meta, sidecar, maker } => {
                    add(&self.counters.snapshots_begun, 1);
                    let frozen = self.machine.as_mut().expect(HERE).snapshot();
                    SnapshotWork::Save { meta, sidecar, maker, frozen }
                }
                SnapshotJob::Load { meta } => {
                    SnapshotWork::Load { meta, machine: self.machine.take().expect(HERE) }
                }
                job => SnapshotWork::Files(job),
            }),
            _ => unreachable!("only applies and snapshot work are put off"),
        }
    }

    /// Shows the status. Watchers are woken by what they watch for, changes of
    /// role, term and leader; the positions move silently.
    fn publish(&mut self) {
        let status = self.host.status();
        self.counters.reads_by_lease.store(self.host.reads_by_lease(), Relaxed);
        let changed = std::mem::take(&mut self.status_changed);
        self.shown.status.send_if_modified(|shown| {
            if changed {
                tell_leadership(shown, &status, &self.counters);
            }
            *shown = status;
            changed
        });
    }
}

/// Goes behind every task that is ready now, so that a burst becomes one batch.
/// (tokio's `yield_now` would also ask the kernel for more, at each turn.)
async fn others_first() {
    let mut gone_behind = false;
    poll_fn(|context| {
        if gone_behind {
            return Poll::Ready(());
        }
        gone_behind = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The timer behind the node's deadline. A deadline that moves away leaves the
/// timer alone: it fires early once and is set anew, which costs less than
/// moving it at every turn.
struct NextWake {
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
    set_for: Time,
}

impl NextWake {
    fn new(clock: Clock) -> Self {
        Self { clock, sleep: None, set_for: Time(0) }
    }

    fn poll(&mut self, deadline: Option<Time>, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            if deadline <= self.clock.now() {
                return Poll::Ready(());
            }
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    if deadline < self.set_for || sleep.is_elapsed() {
                        sleep.as_mut().reset(self.clock.instant(deadline).into());
                        self.set_for = deadline;
                    }
                    sleep
                }
                none => {
                    self.set_for = deadline;
                    let until = self.clock.instant(deadline).into();
                    none.insert(Box::pin(tokio::time::sleep_until(until)))
                }
            };
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Closes the inbox even if the node panics, so that nobody waits for ever.
struct CloseInbox(Arc<Inbox>);

impl Drop for CloseInbox {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
