//! Reading a snapshot: any part of it, verified block by block.

use super::format::{BLOCK, BLOCK_HEAD, END_BYTES, Header, parse_block_head};
use super::{FileName, SnapshotError};
use crate::api::SnapshotMeta;
use crate::disk::{Disk, DiskFile};
use crate::error::Damage;
use driftless_raft::GroupId;
use std::io;

/// The longest header: as many voters as any membership has.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// A whole snapshot, open for reading. As [`io::Read`] it is read from the start.
pub struct SnapshotReader<F> {
    file: F,
    name: FileName,
    header: Header,
    len: u64,
    /// The block that was read last, for reads in small pieces.
    block: Vec<u8>,
    block_number: Option<u64>,
    cursor: u64,
}

impl<F: DiskFile> SnapshotReader<F> {
    pub(crate) fn open<D: Disk<File = F>>(disk: &D, name: FileName) -> Result<Self, SnapshotError> {
        let file = disk.open(&name.name())?;
        let file_len = file.len()?;
        let mut beginning = vec![0; file_len.min(HEADER_BYTES_MAX) as usize];
        file.read_at(&mut beginning, 0)?;
        let header = Header::parse(&beginning, &name)?;
        let damage = |what| Damage { file: name.name(), offset: header.len as u64, what };
        let end_offset = file_len
            .checked_sub(END_BYTES as u64)
            .filter(|at| *at >= header.len as u64)
            .ok_or_else(|| damage("it is cut off"))?;
        let mut end = [0; END_BYTES];
        file.read_at(&mut end, end_offset)?;
        let len = header
            .parse_end(&end)
            .filter(|total| header.end_offset(*total) == Some(end_offset))
            .ok_or_else(|| damage("its end does not verify"))?;
        Ok(Self { file, name, header, len, block: Vec::new(), block_number: None, cursor: 0 })
    }

    /// What it is a snapshot of.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.header.meta
    }

    /// The group that it belongs to.
    pub fn group(&self) -> GroupId {
        self.header.group
    }

    /// Whose bytes they are; see [`SnapshotStore::begin`](super::SnapshotStore::begin).
    pub fn maker(&self) -> u64 {
        self.header.maker
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes from `offset` on, at most `bytes_max`; fewer only at the end.
    pub fn read_chunk_at(
        &mut self,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<u8>, SnapshotError> {
        let length = self.len.saturating_sub(offset).min(bytes_max as u64) as usize;
        let mut chunk = Vec::with_capacity(length);
        while chunk.len() < length {
            let at = offset + chunk.len() as u64;
            let block = self.block(at / BLOCK as u64)?;
            let rest = &block[(at % BLOCK as u64) as usize..];
            chunk.extend_from_slice(&rest[..rest.len().min(length - chunk.len())]);
        }
        Ok(chunk)
    }

    /// Reads all of it and says whether it verifies.
    pub fn verify(&mut self) -> Result<(), SnapshotError> {
        for number in 0..self.len.div_ceil(BLOCK as u64) {
            self.block(number)?;
        }
        Ok(())
    }

    /// The payload of block `number`, which must begin before the end.
    fn block(&mut self, number: u64) -> Result<&[u8], SnapshotError> {
        if self.block_number != Some(number) {
            self.block_number = None;
            let wanted = (self.len - number * BLOCK as u64).min(BLOCK as u64) as usize;
            self.block.resize(BLOCK_HEAD + wanted, 0);
            let offset = self.header.block_offset(number);
            self.file.read_at(&mut self.block, offset)?;
            let (head, payload) = self.block.split_at(BLOCK_HEAD);
            let (checksum, length) = parse_block_head(head.try_into().expect("a head"));
            if length != wanted || self.header.block_checksum(number, payload) != checksum {
                let what = "a block does not verify";
                return Err(Damage { file: self.name.name(), offset, what }.into());
            }
            self.block_number = Some(number);
        }
        Ok(&self.block[BLOCK_HEAD..])
    }
}

impl<F: DiskFile> io::Read for SnapshotReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.cursor >= self.len {
            return Ok(0);
        }
        let cursor = self.cursor;
        let block = self.block(cursor / BLOCK as u64).map_err(|error| match error {
            SnapshotError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })?;
        let rest = &block[(cursor % BLOCK as u64) as usize..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.cursor += count as u64;
        Ok(count)
    }
}
