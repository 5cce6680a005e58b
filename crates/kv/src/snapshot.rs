//! Snapshots: all that can be read of a state, as a stream of bytes.
//!
//! Format, version 1. A magic and the version; then blocks, each of them
//!
//! ```text
//! kind     1 byte    1 meta, 2 settled, 3 log, 4 end
//! length   8 bytes   of the payload, little-endian, as the next
//! crc32c   4 bytes   over the block's number, its kind, length and payload
//! payload
//! ```
//!
//! in this order: one *meta* (revision, compacted revision, what members said
//! about themselves, and which are meant to learn); *settled*
//! blocks with, in the order of keys, what the compacted revision sees of the
//! revisions before it; *log* blocks with everything from the compacted
//! revision on, in the order of revisions, for watchers need their events; one
//! *end* with the number of records. Blocks are cut by their contents alone: the
//! same state gives the same bytes on every member.
//!
//! To freeze a state is to pin its compacted revision: its history then stays,
//! and is read in steps under the read lock while applies go on.

use crate::command::MemberAttributes;
use crate::encoding::{Decoder, Encoder, get_varint, put_varint, unzigzag, zigzag};
use crate::machine::{Pin, Shared};
use crate::store::State;
use crate::store::arena::{Cursor, Kind, Record};
use crate::store::index::End;
use bytes::Bytes;
use driftless_machine::{RestoreError, Snapshot};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"DRIFTLKV";
const VERSION: u32 = 1;
/// Blocks are closed at this size; only a single record makes one larger.
const BLOCK_BYTES: usize = 64 << 10;
const BLOCK_HEAD_BYTES: usize = 13;
/// A step looks at so many keys.
const STEP_KEYS: usize = 512;
/// No state can have come so far; numbers beyond are damage.
const REVISION_MAX: i64 = i64::MAX / 2;

const META: u8 = 1;
const SETTLED: u8 = 2;
const LOG: u8 = 3;
const END: u8 = 4;

/// A state as it was when it was frozen.
pub(crate) struct FrozenState {
    shared: Arc<Shared>,
    pin: Pin,
    revision: i64,
    compact_revision: i64,
    members: Vec<MemberAttributes>,
    learners: BTreeSet<u64>,
    next: Next,
    /// Records of the block being filled.
    block: Vec<u8>,
    blocks: u64,
    records: u64,
    /// Bytes made but not read yet, from `ready_from` on.
    ready: Vec<u8>,
    ready_from: usize,
}

/// What comes next.
enum Next {
    Meta,
    Settled(Vec<u8>),
    SeekLog,
    Log(Cursor),
    End,
    Nothing,
}

impl FrozenState {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let state = shared.state.read();
        let pin = shared.pin(&state, state.compact_revision);
        let (revision, compact_revision) = (state.revision, state.compact_revision);
        let members = state.members.values().cloned().collect();
        let learners = state.learners.clone();
        drop(state);
        Self {
            shared,
            pin,
            revision,
            compact_revision,
            members,
            learners,
            next: Next::Meta,
            block: Vec::new(),
            blocks: 0,
            records: 0,
            ready: Vec::new(),
            ready_from: 0,
        }
    }

    /// Makes some more bytes ready.
    fn step(&mut self) -> io::Result<()> {
        self.next = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Meta => {
                self.ready.extend_from_slice(&MAGIC);
                self.ready.extend_from_slice(&VERSION.to_le_bytes());
                put_varint(&mut self.block, zigzag(self.revision));
                put_varint(&mut self.block, zigzag(self.compact_revision));
                let mut members = Encoder::with_capacity(64);
                members.count(self.members.len());
                for attributes in &self.members {
                    attributes.encode(&mut members);
                }
                members.count(self.learners.len());
                for learner in &self.learners {
                    members.i64(learner.cast_signed());
                }
                self.block.extend_from_slice(&members.finish());
                self.close_block(META);
                // Nothing was written before revision 2.
                if self.compact_revision > 2 { Next::Settled(Vec::new()) } else { Next::SeekLog }
            }
            Next::Settled(from) => self.settled(&from)?,
            Next::SeekLog => {
                let shared = Arc::clone(&self.shared);
                let state = shared.state.read();
                self.check_pin()?;
                Next::Log(state.versioned.arena.seek(self.compact_revision))
            }
            Next::Log(cursor) => self.log(cursor)?,
            Next::End => {
                put_varint(&mut self.block, self.records);
                self.close_block(END);
                Next::Nothing
            }
            Next::Nothing => Next::Nothing,
        };
        Ok(())
    }

    fn check_pin(&self) -> io::Result<()> {
        if self.pin.is_void() {
            return Err(io::Error::other(
                "the state was replaced by a restored snapshot while it was read: take a new one",
            ));
        }
        Ok(())
    }

    /// Some keys' versions from before the compacted revision.
    fn settled(&mut self, from: &[u8]) -> io::Result<Next> {
        let shared = Arc::clone(&self.shared);
        let state = shared.state.read();
        self.check_pin()?;
        let mut budget = STEP_KEYS;
        let mut stopped_at = None;
        state.index.visit(&state.versioned, from, End::Open, |entries| {
            for entry in entries {
                if budget == 0 || self.ready.len() >= BLOCK_BYTES {
                    stopped_at = Some(*entry);
                    return ControlFlow::Break(());
                }
                budget -= 1;
                let retained =
                    state.versioned.retained(*entry, self.compact_revision, self.revision);
                if retained.is_empty() {
                    continue;
                }
                let location = state.versioned.get(*entry, retained.start);
                let record = state.versioned.arena.record(location);
                if record.main < self.compact_revision {
                    self.push(SETTLED, &record);
                }
            }
            ControlFlow::Continue(())
        });
        if let Some(entry) = stopped_at {
            return Ok(Next::Settled(state.versioned.key(entry).to_vec()));
        }
        self.close_block(SETTLED);
        Ok(Next::SeekLog)
    }

    /// Some of the records from the compacted revision on.
    fn log(&mut self, mut cursor: Cursor) -> io::Result<Next> {
        let shared = Arc::clone(&self.shared);
        let state = shared.state.read();
        self.check_pin()?;
        while let Some((_, record, next)) = state.versioned.arena.log_record(cursor)
            && record.main <= self.revision
        {
            if self.ready.len() >= BLOCK_BYTES {
                return Ok(Next::Log(cursor));
            }
            self.push(LOG, &record);
            cursor = next;
        }
        self.close_block(LOG);
        Ok(Next::End)
    }

    fn push(&mut self, kind: u8, record: &Record<'_>) {
        record.encode(&mut self.block);
        self.records += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.close_block(kind);
        }
    }

    fn close_block(&mut self, kind: u8) {
        if self.block.is_empty() {
            return;
        }
        let length = (self.block.len() as u64).to_le_bytes();
        let checksum = checksum(self.blocks, kind, length, &self.block);
        self.ready.push(kind);
        self.ready.extend_from_slice(&length);
        self.ready.extend_from_slice(&checksum.to_le_bytes());
        self.ready.append(&mut self.block);
        self.blocks += 1;
    }
}

impl Snapshot for FrozenState {
    fn read_chunk(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let mut wanted = bytes_max.max(1);
        while wanted > 0 {
            if self.ready_from == self.ready.len() {
                self.ready.clear();
                self.ready_from = 0;
                if matches!(self.next, Next::Nothing) {
                    return Ok(());
                }
                self.step()?;
                continue;
            }
            let ready = &self.ready[self.ready_from..];
            let taken = ready.len().min(wanted);
            out.extend_from_slice(&ready[..taken]);
            self.ready_from += taken;
            wanted -= taken;
        }
        Ok(())
    }
}

fn checksum(number: u64, kind: u8, length: [u8; 8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &[kind]);
    let crc = crc32c::crc32c_append(crc, &length);
    crc32c::crc32c_append(crc, payload)
}

/// Builds the state of a snapshot, which is checked on the way.
pub(crate) fn restore(input: &mut dyn Read, segment_bytes: usize) -> Result<State, RestoreError> {
    let mut blocks = Blocks { input, offset: 0, number: 0, payload: Vec::new() };
    blocks.start()?;
    if blocks.next()? != META {
        return Err(blocks.damaged("it does not begin with its revision"));
    }
    let mut loading =
        Loading::begin(&blocks.payload, segment_bytes).map_err(|what| blocks.damaged(what))?;
    let mut last_kind = META;
    loop {
        let kind = blocks.next()?;
        if kind < last_kind {
            return Err(blocks.damaged("a block stands out of order"));
        }
        last_kind = kind;
        let loaded = match kind {
            SETTLED => loading.load(Kind::Settled, &blocks.payload),
            LOG => loading.load(Kind::Log, &blocks.payload),
            END => {
                let state = loading.end(&blocks.payload).map_err(|what| blocks.damaged(what))?;
                blocks.end()?;
                return Ok(state);
            }
            _ => Err("a block of an unknown kind"),
        };
        loaded.map_err(|what| blocks.damaged(what))?;
    }
}

/// The blocks of a snapshot being read.
struct Blocks<'a> {
    input: &'a mut dyn Read,
    offset: u64,
    number: u64,
    payload: Vec<u8>,
}

impl Blocks<'_> {
    fn damaged(&self, what: &'static str) -> RestoreError {
        RestoreError::Damaged { offset: self.offset, what }
    }

    fn start(&mut self) -> Result<(), RestoreError> {
        let mut magic = [0; 8];
        self.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(self.damaged("it is not a snapshot of this store"));
        }
        let mut version = [0; 4];
        self.read_exact(&mut version)?;
        match u32::from_le_bytes(version) {
            VERSION => Ok(()),
            0 => Err(self.damaged("there is no format 0")),
            found => Err(RestoreError::NewerVersion { found, known: VERSION }),
        }
    }

    /// Reads the next block and returns its kind.
    fn next(&mut self) -> Result<u8, RestoreError> {
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.read_exact(&mut head)?;
        let kind = head[0];
        let length: [u8; 8] = head[1..9].try_into().expect("eight bytes");
        let expected: [u8; 4] = head[9..].try_into().expect("four bytes");
        self.payload.clear();
        // Room is made for what comes, not for what the length promises.
        let limit = u64::from_le_bytes(length);
        let read = (&mut *self.input).take(limit).read_to_end(&mut self.payload)?;
        self.offset += read as u64;
        if read as u64 != limit {
            return Err(self.damaged("it ends too early"));
        }
        if checksum(self.number, kind, length, &self.payload) != u32::from_le_bytes(expected) {
            return Err(self.damaged("a block does not match its checksum"));
        }
        self.number += 1;
        Ok(kind)
    }

    fn end(&mut self) -> Result<(), RestoreError> {
        let mut byte = [0];
        match self.input.read(&mut byte)? {
            0 => Ok(()),
            _ => Err(self.damaged("something follows its end")),
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), RestoreError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => RestoreError::Io(error),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// A state being built.
struct Loading {
    state: State,
    records: u64,
    /// Revision and place of the last record of the log.
    last: (i64, i64),
}

impl Loading {
    fn begin(meta: &[u8], segment_bytes: usize) -> Result<Self, &'static str> {
        let mut at = 0;
        let revision = get_varint(meta, &mut at).map(unzigzag);
        let compact_revision = get_varint(meta, &mut at).map(unzigzag);
        let (Some(revision), Some(compact_revision)) = (revision, compact_revision) else {
            return Err("its revision cannot be read");
        };
        let rest = Bytes::copy_from_slice(&meta[at..]);
        let mut rest = Decoder::new(&rest);
        let (members, learners) = rest
            .list(MemberAttributes::decode)
            .and_then(|members| Ok((members, rest.list(Decoder::i64)?)))
            .and_then(|both| rest.end().map(|()| both))
            .map_err(|_| "its members cannot be read")?;
        if !(1..=REVISION_MAX).contains(&revision) || !(-1..=revision).contains(&compact_revision) {
            return Err("its revisions are impossible");
        }
        let mut state = State::new(segment_bytes);
        state.revision = revision;
        state.compact_revision = compact_revision;
        state.members = members.into_iter().map(|member| (member.id, member)).collect();
        state.learners = learners.into_iter().map(i64::cast_unsigned).collect();
        Ok(Self { state, records: 0, last: (1, 0) })
    }

    fn load(&mut self, kind: Kind, payload: &[u8]) -> Result<(), &'static str> {
        let mut rest = payload;
        while !rest.is_empty() {
            let (record, size) = Record::decode(rest).ok_or("a record cannot be read")?;
            rest = &rest[size..];
            self.check(kind, &record)?;
            if !self.state.load(kind, &record) {
                return Err("a record stands out of order");
            }
            self.records += 1;
        }
        Ok(())
    }

    fn check(&mut self, kind: Kind, record: &Record<'_>) -> Result<(), &'static str> {
        let compacted = self.state.compact_revision;
        let possible = record.value.is_none()
            || (1..=record.main).contains(&record.create_revision)
                && (1..=REVISION_MAX).contains(&record.version);
        if !(2..=self.state.revision).contains(&record.main)
            || !(0..=REVISION_MAX).contains(&record.sub)
            || !possible
        {
            return Err("a record is impossible");
        }
        match kind {
            Kind::Settled if record.main >= compacted || record.value.is_none() => {
                Err("a settled record is impossible")
            }
            Kind::Log if record.main < compacted || (record.main, record.sub) <= self.last => {
                Err("a record stands out of order")
            }
            Kind::Settled => Ok(()),
            Kind::Log => {
                self.last = (record.main, record.sub);
                Ok(())
            }
        }
    }

    fn end(self, payload: &[u8]) -> Result<State, &'static str> {
        let mut at = 0;
        if get_varint(payload, &mut at) != Some(self.records) || at != payload.len() {
            return Err("records are missing");
        }
        // Every revision from the compacted one on is there.
        if self.last.0 != self.state.revision {
            return Err("its last revision is missing");
        }
        Ok(self.state)
    }
}
