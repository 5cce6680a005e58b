//! The counter itself: all that the application has to say about its state.

use driftless::Bytes;
use driftless::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Every command adds one; the reply is the count after it.
#[derive(Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl StateMachine for Counter {
    type Reader = Arc<AtomicU64>;

    fn open(&mut self) -> Durable {
        Durable::default() // Nothing on a disk of its own: the log and snapshots bring it back.
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        let add_one = |_| (self.0.fetch_add(1, SeqCst) + 1).to_string().into();
        batch.commands.iter().map(add_one).collect()
    }

    fn reader(&self) -> Arc<AtomicU64> {
        self.0.clone()
    }

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        Box::new(Cursor::new(self.0.load(SeqCst).to_le_bytes().to_vec()))
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> Result<(), RestoreError> {
        let mut count = [0; 8];
        snapshot.read_exact(&mut count)?;
        self.0.store(u64::from_le_bytes(count), SeqCst);
        Ok(())
    }
}
