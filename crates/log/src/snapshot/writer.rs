//! Writing a snapshot: block by block, whole only at the end.

use super::format::{BLOCK, BLOCK_HEAD, Header, parse_block_head};
use super::{DIRECTORY, FileName, SnapshotError};
use crate::api::SnapshotMeta;
use crate::disk::{Disk, DiskFile};
use driftless_raft::Position;
use std::io;

/// Blocks between syncs: 1 MiB. One sync at the end would be as good for the
/// snapshot and bad for everybody else: the disk takes a gigabyte at once, and the
/// log's next sync waits behind it for half a second.
const BLOCKS_PER_SYNC: u64 = (1 << 20) / BLOCK as u64;

/// A snapshot on its way to disk. Dropped unfinished it stays, to be resumed or
/// replaced; nobody ever takes it for a snapshot.
pub struct SnapshotWriter<D: Disk> {
    disk: D,
    file: D::File,
    name: FileName,
    header: Header,
    /// Whole blocks written.
    blocks: u64,
    /// The block that is being filled, head included.
    block: Vec<u8>,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(super) fn begin(
        disk: D,
        name: FileName,
        meta: &SnapshotMeta,
        maker: u64,
    ) -> Result<Self, SnapshotError> {
        let mut file = disk.create(&name.name())?;
        let (header, bytes) = Header::encode(name.group, meta, maker);
        file.write_at(&bytes, 0)?;
        Ok(Self { disk, file, name, header, blocks: 0, block: empty_block() })
    }

    pub(super) fn resume(
        disk: D,
        name: FileName,
        meta: &SnapshotMeta,
        maker: u64,
    ) -> Result<Option<Self>, SnapshotError> {
        let file = match disk.open(&name.name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let (header, bytes) = Header::encode(name.group, meta, maker);
        let mut found = vec![0; bytes.len()];
        match file.read_at(&mut found, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        if found != bytes {
            return Ok(None);
        }
        let mut writer = Self { disk, file, name, header, blocks: 0, block: empty_block() };
        while writer.holds_whole_block()? {
            writer.blocks += 1;
        }
        writer.block = empty_block();
        Ok(Some(writer))
    }

    fn holds_whole_block(&mut self) -> io::Result<bool> {
        self.block.resize(BLOCK_HEAD + BLOCK, 0);
        match self.file.read_at(&mut self.block, self.header.block_offset(self.blocks)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        let (head, payload) = self.block.split_at(BLOCK_HEAD);
        let (checksum, length) = parse_block_head(head.try_into().expect("a head"));
        Ok(length == BLOCK && self.header.block_checksum(self.blocks, payload) == checksum)
    }

    /// What it will be a snapshot of.
    pub fn last(&self) -> Position {
        self.header.meta.last
    }

    /// Bytes held so far: the next chunk begins there.
    pub fn received(&self) -> u64 {
        self.blocks * BLOCK as u64 + (self.block.len() - BLOCK_HEAD) as u64
    }

    /// Adds the next bytes, however many. After an error the writer is of no more
    /// use; what stands on disk may be resumed, if it is still there.
    pub fn write_chunk(&mut self, mut chunk: &[u8]) -> Result<(), SnapshotError> {
        while !chunk.is_empty() {
            let room = BLOCK_HEAD + BLOCK - self.block.len();
            let (now, later) = chunk.split_at(room.min(chunk.len()));
            self.block.extend_from_slice(now);
            chunk = later;
            if self.block.len() == BLOCK_HEAD + BLOCK {
                self.write_block()?;
                self.blocks += 1;
                self.block.truncate(BLOCK_HEAD);
                if self.blocks.is_multiple_of(BLOCKS_PER_SYNC) {
                    self.sync()?;
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync().inspect_err(|_| {
            // Its kernel takes the pages for clean: a transfer that went on with
            // this file would make durable what is not on the disk.
            let _ = self.disk.remove(&self.name.name());
        })
    }

    /// Makes it durable, then gives it its name: from here on it is a snapshot.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        let total = self.received();
        if self.block.len() > BLOCK_HEAD {
            self.write_block()?;
        }
        let end = self.header.end_offset(total).expect("it has just been written");
        self.file.write_at(&self.header.encode_end(total), end)?;
        // A former, longer attempt may reach beyond.
        self.file.set_len(end + super::format::END_BYTES as u64)?;
        self.sync()?;
        let whole = FileName { is_part: false, ..self.name };
        self.disk.rename(&self.name.name(), &whole.name())?;
        Ok(self.disk.sync_directory(DIRECTORY)?)
    }

    /// Removes what was written.
    pub fn abandon(self) -> Result<(), SnapshotError> {
        drop(self.file);
        Ok(self.disk.remove(&self.name.name())?)
    }

    fn write_block(&mut self) -> io::Result<()> {
        let payload = &self.block[BLOCK_HEAD..];
        let checksum = self.header.block_checksum(self.blocks, payload);
        let length = payload.len() as u32;
        self.block[..4].copy_from_slice(&checksum.to_le_bytes());
        self.block[4..BLOCK_HEAD].copy_from_slice(&length.to_le_bytes());
        self.file.write_at(&self.block, self.header.block_offset(self.blocks))
    }
}

fn empty_block() -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_HEAD + BLOCK);
    block.resize(BLOCK_HEAD, 0);
    block
}
