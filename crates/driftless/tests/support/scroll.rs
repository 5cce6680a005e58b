//! A machine that keeps everything, and what tests ask of it.

use driftless::machine::{Batch, Durable, RestoreError, Snapshot, StateMachine};
use driftless::{Bytes, Handle};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Keeps every command, one behind the other; replies with how many there are.
#[derive(Default)]
pub(crate) struct Scroll {
    commands: Arc<Mutex<Vec<Bytes>>>,
}

impl StateMachine for Scroll {
    type Reader = Arc<Mutex<Vec<Bytes>>>;

    fn open(&mut self) -> Durable {
        Durable::default()
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Vec<Bytes> {
        let mut commands = self.commands.lock().unwrap();
        let mut keep = |command: &Bytes| {
            commands.push(command.clone());
            commands.len().to_string().into()
        };
        batch.commands.iter().map(&mut keep).collect()
    }

    fn reader(&self) -> Self::Reader {
        self.commands.clone()
    }

    fn snapshot(&mut self) -> Box<dyn Snapshot> {
        let mut all = Vec::new();
        for command in self.commands.lock().unwrap().iter() {
            all.extend_from_slice(&(command.len() as u32).to_le_bytes());
            all.extend_from_slice(command);
        }
        Box::new(io::Cursor::new(all))
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> Result<(), RestoreError> {
        let mut all = Vec::new();
        snapshot.read_to_end(&mut all)?;
        let mut all = Bytes::from(all);
        let mut commands = Vec::new();
        while !all.is_empty() {
            let len = all.split_to(4);
            let len = u32::from_le_bytes(len[..].try_into().expect("four bytes"));
            commands.push(all.split_to(len as usize));
        }
        *self.commands.lock().unwrap() = commands;
        Ok(())
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// What the machine of this member holds once it has all that was acknowledged.
pub(crate) async fn contents(handle: &Handle<Scroll>) -> Vec<Bytes> {
    handle.read_barrier(soon()).await.unwrap();
    handle.reader().lock().unwrap().clone()
}
