//! Carrying out snapshot jobs: the same code on the real snapshot thread and in
//! the simulator. A file holds the sidecar (a length, then the bytes) and behind
//! it what the machine wrote.

use crate::port::{SnapshotChunk, SnapshotDone};
use bytes::Bytes;
use driftless_log::{
    Disk, SnapshotError, SnapshotMeta, SnapshotReader, SnapshotStore, SnapshotWriter,
};
use driftless_machine::{Snapshot, StateMachine};
use driftless_raft::{GroupId, NodeId, Position};
use std::collections::BTreeMap;
use std::io::{self, Read};

#[cfg(test)]
#[path = "snapshot_port_tests.rs"]
mod tests;

/// What is read from a machine, or from a file, at once.
const PIECE_BYTES: usize = 256 << 10;
/// A longer sidecar is not believed.
const SIDECAR_BYTES_MAX: u64 = 1 << 30;

/// The snapshot files of one group, and the transfers under way.
pub struct SnapshotPort<D: Disk + Clone> {
    store: SnapshotStore<D>,
    group: GroupId,
    sending: BTreeMap<NodeId, SnapshotReader<D::File>>,
    writing: Option<(u64, SnapshotWriter<D>)>,
}

impl<D: Disk + Clone> SnapshotPort<D> {
    /// The files of `group` in `store`.
    pub fn new(store: SnapshotStore<D>, group: GroupId) -> Self {
        Self { store, group, sending: BTreeMap::new(), writing: None }
    }

    /// Writes down a frozen machine.
    pub fn save(
        &mut self,
        meta: &SnapshotMeta,
        sidecar: &[u8],
        maker: u64,
        frozen: &mut dyn Snapshot,
    ) -> SnapshotDone {
        // Starting a file gives up one that is half received.
        self.writing = None;
        let result = self.try_save(meta, sidecar, maker, frozen);
        SnapshotDone::Saved {
            result: result.map(|()| meta.clone()).map_err(|error| error.to_string()),
        }
    }

    fn try_save(
        &self,
        meta: &SnapshotMeta,
        sidecar: &[u8],
        maker: u64,
        frozen: &mut dyn Snapshot,
    ) -> Result<(), SnapshotError> {
        let mut writer = self.store.begin(self.group, meta, maker)?;
        match write_state(&mut writer, sidecar, frozen) {
            Ok(()) => writer.finish(),
            Err(error) => {
                // On a full disk what was written would be in everybody's way.
                let _ = writer.abandon();
                Err(error)
            }
        }
    }

    /// Loads the snapshot at `meta.last` into the machine, once all of it was verified.
    pub fn load<M: StateMachine>(&self, meta: &SnapshotMeta, machine: &mut M) -> SnapshotDone {
        SnapshotDone::Loaded { result: self.try_load(meta, machine) }
    }

    fn try_load<M: StateMachine>(
        &self,
        meta: &SnapshotMeta,
        machine: &mut M,
    ) -> Result<Option<Bytes>, String> {
        let mut reader = match self.store.read(self.group, meta.last) {
            Err(SnapshotError::NotFound) => return Ok(None),
            opened => opened.map_err(|error| error.to_string())?,
        };
        reader.verify().map_err(|error| error.to_string())?;
        let mut file = FileRead { reader, offset: 0 };
        let sidecar = read_sidecar(&mut file).map_err(|error| error.to_string())?;
        machine.restore(&mut file).map_err(|error| error.to_string())?;
        Ok(Some(sidecar))
    }

    /// Reads a piece of a snapshot, for `to`. A transfer that begins anew takes the
    /// newest; one under way keeps to its file, come what may; one that broke off
    /// goes on with `snapshot`, if that is still there.
    pub fn read_chunk(
        &mut self,
        to: NodeId,
        snapshot: Position,
        offset: u64,
        bytes_max: usize,
    ) -> SnapshotDone {
        let result = self.try_read_chunk(to, snapshot, offset, bytes_max);
        if result.as_ref().map_or(true, |chunk| chunk.done) {
            self.sending.remove(&to);
        }
        SnapshotDone::Chunk { to, result }
    }

    fn try_read_chunk(
        &mut self,
        to: NodeId,
        snapshot: Position,
        mut offset: u64,
        bytes_max: usize,
    ) -> Result<SnapshotChunk, String> {
        let open = self.sending.get(&to).map(|reader| reader.meta().last);
        if offset == 0 || open != Some(snapshot) {
            let there = self.store.list(self.group).map_err(|error| error.to_string())?;
            let newest = *there.last().ok_or("there is no snapshot")?;
            let begins = offset == 0 || !there.contains(&snapshot);
            let which = if begins { newest } else { snapshot };
            offset = if begins { 0 } else { offset };
            let reader = self.store.read(self.group, which).map_err(|error| error.to_string())?;
            self.sending.insert(to, reader);
        }
        let reader = self.sending.get_mut(&to).expect("as above");
        let bytes = reader.read_chunk_at(offset, bytes_max).map_err(|error| error.to_string())?;
        let done = offset + bytes.len() as u64 >= reader.len();
        let (meta, maker) = (reader.meta().clone(), reader.maker());
        Ok(SnapshotChunk { meta, maker, offset, bytes: bytes.into(), done })
    }

    /// Writes a piece that a leader sent. One that does not begin where the file
    /// ends is left out, and the answer says where that is.
    pub fn write_chunk(
        &mut self,
        meta: SnapshotMeta,
        maker: u64,
        offset: u64,
        bytes: &[u8],
        done: bool,
    ) -> SnapshotDone {
        match self.try_write_chunk(&meta, maker, offset, bytes, done) {
            Ok((received, done)) => SnapshotDone::Written { meta, received, done },
            Err(error) => {
                self.writing = None;
                SnapshotDone::WriteFailed { meta, error: error.to_string() }
            }
        }
    }

    fn try_write_chunk(
        &mut self,
        meta: &SnapshotMeta,
        maker: u64,
        offset: u64,
        bytes: &[u8],
        done: bool,
    ) -> Result<(u64, bool), SnapshotError> {
        let same = matches!(&self.writing, Some((by, writer))
            if *by == maker && writer.last() == meta.last);
        // Rule IS.2: a first piece begins a new file (or goes on with the one of a
        // transfer that broke off).
        if !same {
            self.writing = None;
            let writer = match self.store.resume(self.group, meta, maker)? {
                Some(writer) => writer,
                None => self.store.begin(self.group, meta, maker)?,
            };
            self.writing = Some((maker, writer));
        }
        let (_, writer) = self.writing.as_mut().expect("as above");
        // Rule IS.3: write the data at the given offset.
        if writer.received() != offset {
            return Ok((writer.received(), false));
        }
        writer.write_chunk(bytes)?;
        let received = writer.received();
        // Rule IS.5: save the snapshot, discard any older one, partial or whole (the
        // latter when the log no longer needs it).
        if done && let Some((_, writer)) = self.writing.take() {
            writer.finish()?;
        }
        Ok((received, done))
    }

    /// Removes the snapshots before `keep`. What fails is tried again with the next.
    pub fn remove_older(&mut self, keep: Position) -> io::Result<()> {
        self.store.remove_older(self.group, keep)
    }
}

fn write_state<D: Disk>(
    writer: &mut SnapshotWriter<D>,
    sidecar: &[u8],
    frozen: &mut dyn Snapshot,
) -> Result<(), SnapshotError> {
    writer.write_chunk(&(sidecar.len() as u64).to_le_bytes())?;
    writer.write_chunk(sidecar)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        piece.clear();
        frozen.read_chunk(PIECE_BYTES, &mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        writer.write_chunk(&piece)?;
    }
}

/// A snapshot file as a stream.
struct FileRead<F> {
    reader: SnapshotReader<F>,
    offset: u64,
}

impl<F: driftless_log::DiskFile> Read for FileRead<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self
            .reader
            .read_chunk_at(self.offset, buffer.len().min(PIECE_BYTES))
            .map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}

fn read_sidecar(file: &mut impl Read) -> io::Result<Bytes> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut sidecar = Vec::new();
    file.take(length.min(SIDECAR_BYTES_MAX)).read_to_end(&mut sidecar)?;
    if sidecar.len() as u64 != length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends inside of the sidecar"));
    }
    Ok(sidecar.into())
}
