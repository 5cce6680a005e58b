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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
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
    ending: Arc<AtomicBool>,
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
        let (end, ended) = oneshot::channel();
        let returned = Arc::new(Mutex::new(None));
        let back = returned.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            let _end: oneshot::Sender<()> = end;
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
        Ok(Self { work, ending: Arc::default(), returned, ended })
    }

    /// Hands over one piece of work.
    pub(crate) fn submit(&self, work: SnapshotWork<M>) {
        let work = match work {
            SnapshotWork::Save { meta, sidecar, maker, frozen } => {
                let frozen = Box::new(Paced::new(frozen, self.ending.clone()));
                SnapshotWork::Save { meta, sidecar, maker, frozen }
            }
            other => other,
        };
        // Fails only if the thread panicked; its alarm is in the inbox then.
        let _ = self.work.send(work);
    }

    /// The machine that came back with a [`SnapshotDone::Loaded`].
    pub(crate) fn take_machine(&self) -> Option<M> {
        self.returned.lock().take()
    }

    /// Lets the thread finish its work, except for a snapshot that it is writing:
    /// that is given up. Waits for its end.
    pub(crate) async fn finish(self) {
        let Self { work, ending, returned, ended } = self;
        ending.store(true, Ordering::Relaxed);
        drop(work);
        let _ = ended.await;
        drop(returned);
    }
}

/// A frozen state that is written with as much rest as work: nobody waits for a
/// snapshot, and everybody for the disk and the processor that it takes. It ends
/// early when the node does.
struct Paced {
    frozen: Box<dyn Snapshot>,
    ending: Arc<AtomicBool>,
    /// When the piece was begun that is being written.
    began: Option<Instant>,
}

/// The longest rest between two pieces, which are a quarter of a MiB or so.
const REST_MAX: Duration = Duration::from_millis(20);

impl Paced {
    fn new(frozen: Box<dyn Snapshot>, ending: Arc<AtomicBool>) -> Self {
        Self { frozen, ending, began: None }
    }
}

impl Snapshot for Paced {
    fn read_chunk(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> io::Result<()> {
        if self.ending.load(Ordering::Relaxed) {
            return Err(io::Error::other("the node stops: it is taken another time"));
        }
        if let Some(began) = self.began {
            std::thread::sleep(began.elapsed().min(REST_MAX));
        }
        self.began = Some(Instant::now());
        self.frozen.read_chunk(bytes_max, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_given_up_when_the_node_ends() {
        let ending = Arc::new(AtomicBool::new(false));
        let frozen = Box::new(io::Cursor::new(vec![7; 10]));
        let mut paced = Paced::new(frozen, ending.clone());
        let mut out = Vec::new();
        paced.read_chunk(4, &mut out).unwrap();
        assert_eq!(out, [7; 4]);
        ending.store(true, Ordering::Relaxed);
        assert!(paced.read_chunk(4, &mut out).is_err());
        assert_eq!(out.len(), 4);
    }
}
