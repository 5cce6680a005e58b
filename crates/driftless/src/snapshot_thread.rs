//! The thread for snapshot files: long reads and writes that must hold up
//! neither the shard nor the log.
//!
//! A machine that loads a snapshot moves to this thread and comes back with the
//! result; the node applies nothing meanwhile, and the shard goes on answering
//! its peers.

use crate::inbox::{Alarm, Inbox};
use bytes::Bytes;
use driftless_node::log::SnapshotMeta;
use driftless_node::machine::Snapshot;
use driftless_node::{Event, SnapshotDone, SnapshotJob};
use parking_lot::Mutex;
use std::io;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// One piece of work: a job, and what it needs of the machine.
pub(crate) enum SnapshotWork<M> {
    /// Write this frozen state.
    Save { meta: SnapshotMeta, sidecar: Bytes, maker: u64, frozen: Box<dyn Snapshot> },
    /// Load a snapshot into the machine.
    Load { meta: SnapshotMeta, machine: M },
    /// Any other job; it needs nothing of the machine.
    Files(SnapshotJob),
}

/// What came of it.
pub(crate) struct SnapshotOutcome<M> {
    /// What the node is to hear, if anything.
    pub(crate) done: Option<SnapshotDone>,
    /// The machine that loaded, whatever came of it.
    pub(crate) machine: Option<M>,
}

/// How the thread carries it out; in the real world the node's `SnapshotPort`.
pub(crate) trait SnapshotFiles<M>: Send + 'static {
    /// Carries out one piece of work.
    fn run(&mut self, work: SnapshotWork<M>) -> SnapshotOutcome<M>;
}

/// The shard's end of the thread. Dropping it ends the thread.
pub(crate) struct SnapshotThread<M> {
    work: mpsc::Sender<SnapshotWork<M>>,
    returned: Arc<Mutex<Option<M>>>,
    ended: oneshot::Receiver<()>,
}

impl<M: Send + 'static> SnapshotThread<M> {
    /// Starts the thread.
    pub(crate) fn start(
        name: String,
        mut files: impl SnapshotFiles<M>,
        inbox: Arc<Inbox>,
    ) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel();
        let (ending, ended) = oneshot::channel();
        let returned = Arc::new(Mutex::new(None));
        let back = returned.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            let _ending: oneshot::Sender<()> = ending;
            let _alarm = Alarm { inbox: inbox.clone(), thread: "the snapshots' thread" };
            for work in waiting {
                let SnapshotOutcome { done, machine } = files.run(work);
                if machine.is_some() {
                    // Before its event, which lets the shard fetch it.
                    *back.lock() = machine;
                }
                inbox.push_events(done.into_iter().map(Event::Snapshot));
            }
        })?;
        Ok(Self { work, returned, ended })
    }

    /// Hands over one piece of work.
    pub(crate) fn submit(&self, work: SnapshotWork<M>) {
        // Fails only if the thread panicked; its alarm is in the inbox then.
        let _ = self.work.send(work);
    }

    /// The machine that came back with a [`SnapshotDone::Loaded`].
    pub(crate) fn take_machine(&self) -> Option<M> {
        self.returned.lock().take()
    }

    /// Lets the thread finish its work, and waits for its end.
    pub(crate) async fn finish(self) {
        let Self { work, returned, ended } = self;
        drop(work);
        let _ = ended.await;
        drop(returned);
    }
}
