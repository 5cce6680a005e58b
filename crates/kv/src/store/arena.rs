//! Where versions live: records packed into large segments, found by location.
//!
//! There are two kinds of segment. The *log* holds records in the order of
//! their revisions, all of them from the swept horizon on: it is what watchers
//! and snapshots walk, and it needs no index of its own. *Settled* segments
//! hold what is older and still readable, in no order. A log segment becomes
//! settled once the sweep has passed it; a settled segment that is mostly
//! garbage is evacuated (its records move to another) and freed.
//!
//! A record is a byte of flags, the revision and whatever the flags announce as
//! LEB128, the lengths of key and value, key, value: seven bytes more than its
//! key and value in the usual case.

use crate::encoding::{get_varint, put_varint, unzigzag, zigzag};
use std::collections::VecDeque;

/// Bits of a [`Location`] that say where in its segment a record begins.
const OFFSET_BITS: u32 = 20;
/// Bits that say which segment.
const SEGMENT_BITS: u32 = 27;
/// Bits of a location.
pub(crate) const LOCATION_BITS: u32 = OFFSET_BITS + SEGMENT_BITS;

/// The usual size of a segment: a little under what allocators round up from.
pub(crate) const SEGMENT_BYTES: usize = (1 << OFFSET_BITS) - 64;

/// So far apart are the marks by which a revision is found in a segment.
const MARK_BYTES: usize = 8 << 10;

/// Where a record begins. Good for as long as the state is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location(u64);

impl Location {
    fn new(segment: u32, offset: usize) -> Self {
        assert!(offset < 1 << OFFSET_BITS, "records begin within the first MiB of a segment");
        assert!(segment < 1 << SEGMENT_BITS, "segments are numbered in 27 bits (128 TiB)");
        Self(u64::from(segment) << OFFSET_BITS | offset as u64)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn segment(self) -> u32 {
        (self.0 >> OFFSET_BITS) as u32
    }

    fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }
}

/// One version of a key, or its deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The revision that made it.
    pub(crate) main: i64,
    /// Its place among the writes of that revision, from 0.
    pub(crate) sub: i64,
    pub(crate) create_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) key: &'a [u8],
    /// `None`: the key was deleted.
    pub(crate) value: Option<&'a [u8]>,
}

const DELETED: u8 = 1;
const HAS_SUB: u8 = 1 << 1;
/// It is not the key's first version: create revision and version follow.
const NOT_FIRST: u8 = 1 << 2;
const HAS_LEASE: u8 = 1 << 3;
const KNOWN_FLAGS: u8 = DELETED | HAS_SUB | NOT_FIRST | HAS_LEASE;

impl<'a> Record<'a> {
    /// A deletion.
    pub(crate) fn tombstone(main: i64, sub: i64, key: &'a [u8]) -> Self {
        Self { main, sub, create_revision: 0, version: 0, lease: 0, key, value: None }
    }

    /// Key and value together.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.key.len() + self.value.map_or(0, <[u8]>::len)
    }

    /// Writes everything that comes before the key.
    fn encode_head(&self, out: &mut Vec<u8>) {
        let first = self.version == 1 && self.create_revision == self.main;
        let mut flags = 0;
        if self.value.is_none() {
            flags |= DELETED;
        } else if !first {
            flags |= NOT_FIRST;
        }
        if self.sub != 0 {
            flags |= HAS_SUB;
        }
        if self.lease != 0 {
            flags |= HAS_LEASE;
        }
        out.push(flags);
        put_varint(out, self.main as u64);
        if flags & HAS_SUB != 0 {
            put_varint(out, self.sub as u64);
        }
        if flags & NOT_FIRST != 0 {
            put_varint(out, self.create_revision as u64);
            put_varint(out, self.version as u64);
        }
        if flags & HAS_LEASE != 0 {
            put_varint(out, zigzag(self.lease));
        }
        put_varint(out, self.key.len() as u64);
        if let Some(value) = self.value {
            put_varint(out, value.len() as u64);
        }
    }

    /// Appends the record to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value.unwrap_or_default());
    }

    /// The record at the start of `bytes`, and its length. `None` if there is
    /// no such thing: snapshots come from outside.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let flags = *bytes.first()?;
        if flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let mut at = 1;
        let main = get_varint(bytes, &mut at)? as i64;
        let sub = if flags & HAS_SUB == 0 { 0 } else { get_varint(bytes, &mut at)? as i64 };
        let (create_revision, version) = if flags & NOT_FIRST != 0 {
            (get_varint(bytes, &mut at)? as i64, get_varint(bytes, &mut at)? as i64)
        } else if flags & DELETED != 0 {
            (0, 0)
        } else {
            (main, 1)
        };
        let lease = if flags & HAS_LEASE == 0 { 0 } else { unzigzag(get_varint(bytes, &mut at)?) };
        let key_bytes = usize::try_from(get_varint(bytes, &mut at)?).ok()?;
        let value_bytes = if flags & DELETED == 0 {
            usize::try_from(get_varint(bytes, &mut at)?).ok()?
        } else {
            0
        };
        let key_until = at.checked_add(key_bytes)?;
        let until = key_until.checked_add(value_bytes)?;
        let key = bytes.get(at..key_until)?;
        let value = bytes.get(key_until..until)?;
        let value = if flags & DELETED == 0 { Some(value) } else { None };
        Some((Self { main, sub, create_revision, version, lease, key, value }, until))
    }
}

/// Which kind of segment a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Settled,
}

struct Segment {
    bytes: Vec<u8>,
    kind: Kind,
    /// Bytes of records that are still readable.
    live: usize,
    /// The revision of its last record (the largest, in the log).
    last: i64,
    /// In the log: here and there the revision and offset of a record.
    marks: Vec<(i64, u32)>,
    /// Whether it was handed out for evacuation.
    doomed: bool,
}

/// A place in the log. Stays good while the records behind it are pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The how-manieth segment of the log since the beginning.
    sequence: u64,
    offset: usize,
}

pub(crate) struct Arena {
    segments: Vec<Option<Segment>>,
    /// Numbers free to be used again.
    free: Vec<u32>,
    /// The log's segments, oldest first.
    log: VecDeque<u32>,
    /// The sequence number of the first of them.
    log_from: u64,
    /// Where records of each kind are appended.
    open_log: Option<u32>,
    open_settled: Option<u32>,
    /// Settled segments worth evacuating, in the order in which it showed.
    sparse: VecDeque<u32>,
    segment_bytes: usize,
    /// What the segments hold, garbage included.
    held: usize,
    live: usize,
    head: Vec<u8>,
}

impl Arena {
    pub(crate) fn new(segment_bytes: usize) -> Self {
        assert!(segment_bytes <= SEGMENT_BYTES, "offsets are 20 bits");
        Self {
            segments: Vec::new(),
            free: Vec::new(),
            log: VecDeque::new(),
            log_from: 0,
            open_log: None,
            open_settled: None,
            sparse: VecDeque::new(),
            segment_bytes,
            held: 0,
            live: 0,
            head: Vec::new(),
        }
    }

    /// Bytes of all records, garbage included; and of the readable ones.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.held, self.live)
    }

    fn segment(&self, segment: u32) -> &Segment {
        self.segments[segment as usize].as_ref().expect("locations lead to segments in use")
    }

    fn segment_mut(&mut self, segment: u32) -> &mut Segment {
        self.segments[segment as usize].as_mut().expect("locations lead to segments in use")
    }

    /// The record at a location.
    #[inline]
    pub(crate) fn record(&self, location: Location) -> Record<'_> {
        self.record_and_bytes(location).0
    }

    #[inline]
    fn record_and_bytes(&self, location: Location) -> (Record<'_>, usize) {
        Record::decode(&self.segment(location.segment()).bytes[location.offset()..])
            .expect("records are written whole")
    }

    /// Stores a record. The log takes them in the order of their revisions.
    pub(crate) fn append(&mut self, kind: Kind, record: &Record<'_>) -> Location {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        record.encode_head(&mut head);
        let size = head.len() + record.payload_bytes();
        let number = self.room(kind, size);
        let segment = self.segment_mut(number);
        let offset = segment.bytes.len();
        segment.bytes.extend_from_slice(&head);
        segment.bytes.extend_from_slice(record.key);
        segment.bytes.extend_from_slice(record.value.unwrap_or_default());
        segment.live += size;
        if kind == Kind::Log {
            assert!(segment.last <= record.main, "the log goes forward");
            let marked = segment.marks.last().map_or(0, |mark| mark.1 as usize);
            if offset >= marked + MARK_BYTES {
                segment.marks.push((record.main, offset as u32));
            }
        }
        segment.last = segment.last.max(record.main);
        self.head = head;
        self.held += size;
        self.live += size;
        Location::new(number, offset)
    }

    /// A segment with room for `size` more bytes.
    fn room(&mut self, kind: Kind, size: usize) -> u32 {
        let open = match kind {
            Kind::Log => self.open_log,
            Kind::Settled => self.open_settled,
        };
        if let Some(number) = open {
            let segment = self.segment(number);
            if segment.bytes.len() + size <= self.segment_bytes {
                return number;
            }
            self.close(number);
        }
        // A large record gets a segment of its own size, which is full at once.
        let capacity = self.segment_bytes.max(size);
        let capacity = if size > self.segment_bytes / 16 { size } else { capacity };
        let segment = Segment {
            bytes: Vec::with_capacity(capacity),
            kind,
            live: 0,
            last: i64::MIN,
            marks: Vec::new(),
            doomed: false,
        };
        let number = if let Some(number) = self.free.pop() {
            self.segments[number as usize] = Some(segment);
            number
        } else {
            self.segments.push(Some(segment));
            self.segments.len() as u32 - 1
        };
        let open = if capacity == self.segment_bytes { Some(number) } else { None };
        match kind {
            Kind::Log => {
                self.log.push_back(number);
                self.open_log = open;
            }
            Kind::Settled => self.open_settled = open,
        }
        number
    }

    /// Nothing more goes into this segment.
    fn close(&mut self, number: u32) {
        self.segment_mut(number).bytes.shrink_to_fit();
        if self.open_log == Some(number) {
            self.open_log = None;
        }
        if self.open_settled == Some(number) {
            self.open_settled = None;
        }
        self.consider(number);
    }

    /// A record is readable no more.
    pub(crate) fn kill(&mut self, location: Location) {
        let (_, size) = self.record_and_bytes(location);
        self.segment_mut(location.segment()).live -= size;
        self.live -= size;
        self.consider(location.segment());
    }

    /// Has a segment evacuated if that gives back at least half of it.
    fn consider(&mut self, number: u32) {
        let open = self.open_settled == Some(number);
        let segment = self.segment_mut(number);
        let sparse = segment.live * 2 <= segment.bytes.len();
        if segment.kind == Kind::Settled && sparse && !segment.doomed && !open {
            segment.doomed = true;
            self.sparse.push_back(number);
        }
    }

    /// The next segment worth evacuating. Its records are to be moved, then it
    /// is to be freed.
    pub(crate) fn next_sparse(&mut self) -> Option<u32> {
        self.sparse.pop_front()
    }

    /// Whether nothing in it is readable.
    pub(crate) fn is_garbage(&self, number: u32) -> bool {
        self.segment(number).live == 0
    }

    /// The record at `offset` in a segment, and where the next begins.
    pub(crate) fn record_at(
        &self,
        number: u32,
        offset: usize,
    ) -> Option<(Location, Record<'_>, usize)> {
        if offset >= self.segment(number).bytes.len() {
            return None;
        }
        let location = Location::new(number, offset);
        let (record, size) = self.record_and_bytes(location);
        Some((location, record, offset + size))
    }

    /// Gives a segment's memory back.
    pub(crate) fn free(&mut self, number: u32) {
        let segment = self.segments[number as usize].take().expect("freed once");
        assert_eq!(segment.live, 0, "only garbage is freed");
        self.held -= segment.bytes.len();
        self.free.push(number);
    }

    /// The place of the first record of the log at or after `revision`.
    pub(crate) fn seek(&self, revision: i64) -> Cursor {
        let before = self.log.partition_point(|number| self.segment(*number).last < revision);
        let mut cursor = Cursor { sequence: self.log_from + before as u64, offset: 0 };
        if let Some(number) = self.log.get(before) {
            let marks = &self.segment(*number).marks;
            if let Some(mark) = marks[..marks.partition_point(|mark| mark.0 < revision)].last() {
                cursor.offset = mark.1 as usize;
            }
        }
        while let Some((_, record, next)) = self.log_record(cursor)
            && record.main < revision
        {
            cursor = next;
        }
        cursor
    }

    /// The record of the log at a place, and the next place.
    pub(crate) fn log_record(&self, mut cursor: Cursor) -> Option<(Location, Record<'_>, Cursor)> {
        loop {
            let number = *self.log.get((cursor.sequence - self.log_from) as usize)?;
            if let Some((location, record, offset)) = self.record_at(number, cursor.offset) {
                return Some((location, record, Cursor { offset, ..cursor }));
            }
            // The last one may still grow.
            if self.open_log == Some(number) {
                return None;
            }
            cursor = Cursor { sequence: cursor.sequence + 1, offset: 0 };
        }
    }

    /// Takes leave of the log's first segments, as far as they lie wholly
    /// before `horizon` and before `cursor`.
    pub(crate) fn settle(&mut self, horizon: i64, cursor: Cursor) {
        while let Some(&number) = self.log.front() {
            let passed = self.log_from < cursor.sequence
                || self.log_from == cursor.sequence
                    && cursor.offset == self.segment(number).bytes.len();
            if !passed || self.segment(number).last >= horizon || self.open_log == Some(number) {
                return;
            }
            self.log.pop_front();
            self.log_from += 1;
            let segment = self.segment_mut(number);
            segment.kind = Kind::Settled;
            segment.marks = Vec::new();
            self.consider(number);
        }
    }

    /// A cursor that does not stand before the log's beginning.
    pub(crate) fn clamp(&self, cursor: Cursor) -> Cursor {
        if cursor.sequence < self.log_from {
            Cursor { sequence: self.log_from, offset: 0 }
        } else {
            cursor
        }
    }
}
