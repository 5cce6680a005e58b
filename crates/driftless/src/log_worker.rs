//! Who does a shard's log jobs: a thread that writes and syncs, or the shard
//! itself, where the log is in memory and done at once.

use crate::log_thread::LogThread;
use driftless_node::{LogDone, LogJob, MemoryLog};
use parking_lot::Mutex;
use std::sync::Arc;

/// See the module's text.
pub(crate) enum LogWorker {
    /// Its answers come through the inbox.
    Thread(LogThread),
    /// Shared with whoever may start the member again.
    Memory(Arc<Mutex<MemoryLog>>),
}

impl From<LogThread> for LogWorker {
    fn from(thread: LogThread) -> Self {
        Self::Thread(thread)
    }
}

impl LogWorker {
    /// Hands over `jobs`, in order. What is done at once is added to `done`.
    pub(crate) fn submit(&self, jobs: &mut Vec<LogJob>, done: &mut Vec<LogDone>) {
        match self {
            Self::Thread(thread) => thread.submit(jobs),
            Self::Memory(_) if jobs.is_empty() => {}
            Self::Memory(log) => {
                let mut log = log.lock();
                done.extend(jobs.drain(..).map(|job| log.run(job)));
            }
        }
    }

    /// Lets what was submitted be finished, and waits for the end.
    pub(crate) async fn finish(self) {
        if let Self::Thread(thread) = self {
            thread.finish().await;
        }
    }
}
