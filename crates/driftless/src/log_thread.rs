//! The log's own thread: takes everything that waits, lets the log carry it out
//! with one write and one sync, and reports back with one wake-up.
//!
//! The thread is the only owner of the log. What arrives while it syncs is its
//! next turn, so the batch grows by itself when the disk is what is slow.

use crate::inbox::{Alarm, Inbox};
use crate::metrics::Counters;
use driftless_node::{Event, LogDone, LogJob};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How the thread carries jobs out; in the real world the node's
/// `run_log_jobs` over an open log.
pub(crate) trait LogWork: Send + 'static {
    /// Carries out `jobs` and reports them in `done`. Where some are left they
    /// cannot be done yet: says when to try again, if nothing new comes before.
    fn run(&mut self, jobs: &mut VecDeque<LogJob>, done: &mut Vec<LogDone>) -> Option<Duration>;

    /// Called when no job has come for a while. Says when to be called again
    /// if still none has come.
    fn idle(&mut self, done: &mut Vec<LogDone>) -> Duration;
}

/// The shard's end of the log's thread. Dropping it ends the thread once what
/// was submitted is done.
pub(crate) struct LogThread {
    queue: Arc<Queue>,
    ended: Option<oneshot::Receiver<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<LogJob>,
    closed: bool,
}

/// How long the log waits for work before it is told that it is idle.
const IDLE_AFTER: Duration = Duration::from_millis(20);

impl LogThread {
    /// Starts the thread.
    pub(crate) fn start(
        name: String,
        work: impl LogWork,
        inbox: Arc<Inbox>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (ending, ended) = oneshot::channel();
        let waiting = queue.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            // Dropped last, after the log and its lock on the directory.
            let _ending = ending;
            let _alarm = Alarm { inbox: inbox.clone(), thread: "the log's thread" };
            run(work, &waiting, &inbox, &counters);
        })?;
        Ok(Self { queue, ended: Some(ended) })
    }

    /// Hands over `jobs`, in order.
    pub(crate) fn submit(&self, jobs: &mut Vec<LogJob>) {
        if jobs.is_empty() {
            return;
        }
        self.queue.waiting.lock().jobs.extend(jobs.drain(..));
        // Costs a system call only if the thread sleeps.
        self.queue.changed.notify_one();
    }

    /// Lets the thread finish what was submitted, and waits for its end.
    pub(crate) async fn finish(mut self) {
        self.queue.close();
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Queue {
    fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// Adds all that waits to `jobs`. False if nothing came in `patience`; `None`
    /// if nothing will come any more.
    fn take(&self, jobs: &mut VecDeque<LogJob>, patience: Duration) -> Option<bool> {
        let mut waiting = self.waiting.lock();
        loop {
            if !waiting.jobs.is_empty() {
                if jobs.is_empty() {
                    std::mem::swap(&mut waiting.jobs, jobs);
                } else {
                    jobs.append(&mut waiting.jobs);
                }
                return Some(true);
            }
            if waiting.closed {
                return None;
            }
            if self.changed.wait_for(&mut waiting, patience).timed_out()
                && waiting.jobs.is_empty()
                && !waiting.closed
            {
                return Some(false);
            }
        }
    }
}

fn run(mut work: impl LogWork, queue: &Queue, inbox: &Inbox, counters: &Counters) {
    let mut jobs = VecDeque::new();
    let mut done = Vec::new();
    let mut patience = IDLE_AFTER;
    while let Some(came) = queue.take(&mut jobs, patience) {
        patience = if came || !jobs.is_empty() {
            let records = jobs.iter().filter(|job| matches!(job, LogJob::Append { .. })).count();
            if records > 0 {
                counters.records_per_turn.add(records as u64);
            }
            work.run(&mut jobs, &mut done).unwrap_or(IDLE_AFTER)
        } else {
            work.idle(&mut done)
        };
        if !done.is_empty() {
            inbox.push_events(done.drain(..).map(Event::Log));
        }
    }
}
