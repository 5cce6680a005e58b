//! A record of the durable log as bytes: the unit that stands whole or not at
//! all after a crash. `docs/log-format.md` draws it.
//!
//! A record is a *head* and a *body* of payloads. The head begins with a part of
//! fixed length, whose checksum is *the* checksum of the record: it covers the
//! checksum of the tables that follow, which cover the checksum of each payload.
//! The tables name every entry (term, index, kind, length), so a damaged payload
//! never costs the identity of its entry (Protocol-Aware Recovery, FAST'18). The
//! checksum of the record before is a *field*, not the seed: what lies beyond a
//! damaged record can still be verified.

use crate::entry::{Entry, EntryKind};
use crate::membership::{membership_words, read_membership};
use driftless_raft::{GroupId, HardState, Index, Membership, NodeId, Position, Run, Term};

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

/// Records begin at multiples of this.
pub const RECORD_ALIGNMENT: usize = 8;
/// No record is longer, head, body and padding together.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
/// The length of a [`Content::Mark`].
pub const MARK_BYTES: usize = HEAD_FIXED;

const MAGIC: u32 = u32::from_le_bytes(*b"DLr1");
const HEAD_FIXED: usize = 112;
const SEQUENCE_MAX: u64 = 1 << 62;
const SNAPSHOT_FIXED: usize = 16;
const RUN_BYTES: usize = 16;
const ENTRY_BYTES: usize = 12;

const KIND_MARK: u8 = 1;
const KIND_STATE: u8 = 2;
const HAS_VOTE: u8 = 1;
const HAS_TRUNCATE: u8 = 2;
const HAS_SNAPSHOT: u8 = 4;

/// A number that goes into every checksum of one data directory, so that bytes
/// which a client chose, or another directory's records, do not verify in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// The salt of the directory with this incarnation id.
    pub fn of(incarnation: u64) -> Self {
        Self(crc32c::crc32c(&incarnation.to_le_bytes()))
    }

    /// The checksum of `bytes` in this directory.
    pub fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// Where a record stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The segment's incarnation: a recycled segment has another one, and its
    /// former records do not verify.
    pub segment: u64,
    /// Rises by one with each record, across segments.
    pub sequence: u64,
    /// Every record up to this sequence was durable when this one was written.
    pub synced_through: u64,
    /// The checksum of the record before; 0 for the first of a log.
    pub previous: u32,
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Nothing but its stamp, and where the log begins.
    Mark {
        /// Segments before this one are no longer part of the log.
        first_segment: u64,
    },
    /// A change to one group.
    State(State<'a>),
}

/// A change to one group, applied in the order of the fields.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The group.
    pub group: GroupId,
    /// Entries from here on are cut.
    pub truncate_from: Option<Index>,
    /// A snapshot replaces what is at or before its position.
    pub snapshot: Option<(Position, &'a Membership)>,
    /// Entries added, contiguous.
    pub entries: &'a [Entry],
    /// Term, vote and commit index.
    pub hard_state: HardState,
}

/// The bytes that [`encode`] appends for `content`.
pub fn encoded_len(content: &Content<'_>) -> usize {
    let (head, body) = lengths(content);
    (head + body).next_multiple_of(RECORD_ALIGNMENT)
}

/// How much of [`encoded_len`] comes before the payloads.
pub fn head_len(content: &Content<'_>) -> usize {
    lengths(content).0
}

/// Appends the record to `out`, whose length must be a multiple of
/// [`RECORD_ALIGNMENT`], and returns its checksum: the `previous` of the next.
///
/// The entries must be contiguous with terms that do not fall, and the whole not
/// above [`RECORD_BYTES_MAX`].
pub fn encode(out: &mut Vec<u8>, salt: Salt, stamp: &Stamp, content: &Content<'_>) -> u32 {
    let (head_len, body_len) = lengths(content);
    let total = (head_len + body_len).next_multiple_of(RECORD_ALIGNMENT);
    assert!(total <= RECORD_BYTES_MAX, "a record of {total} bytes is above the bound");
    out.reserve(total);
    let start = out.len();

    let mut fixed = [0u8; HEAD_FIXED];
    put_u32(&mut fixed, 0, MAGIC);
    put_u32(&mut fixed, 8, head_len as u32);
    put_u32(&mut fixed, 12, body_len as u32);
    put_u64(&mut fixed, 16, stamp.segment);
    put_u64(&mut fixed, 24, stamp.sequence);
    put_u64(&mut fixed, 32, stamp.synced_through);
    put_u32(&mut fixed, 40, stamp.previous);
    match content {
        Content::Mark { first_segment } => {
            fixed[44] = KIND_MARK;
            put_u64(&mut fixed, 48, *first_segment);
            out.extend_from_slice(&fixed);
        }
        Content::State(state) => {
            fixed[44] = KIND_STATE;
            put_state(&mut fixed, state);
            out.extend_from_slice(&fixed);
            put_tables(out, state);
        }
    }
    let tables = crc32c::crc32c(&out[start + HEAD_FIXED..start + head_len]);
    out[start + 104..start + 108].copy_from_slice(&tables.to_le_bytes());
    let checksum = salt.checksum(&out[start + 8..start + HEAD_FIXED]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    if let Content::State(state) = content {
        for entry in state.entries {
            out.extend_from_slice(&entry.payload);
        }
    }
    out.resize(start + total, 0);
    checksum
}

fn lengths(content: &Content<'_>) -> (usize, usize) {
    let Content::State(state) = content else { return (HEAD_FIXED, 0) };
    let snapshot = state
        .snapshot
        .map_or(0, |(_, membership)| SNAPSHOT_FIXED + 8 * membership_words(membership).len());
    let body = state.entries.iter().map(|entry| entry.payload.len()).sum();
    let tables = RUN_BYTES * run_count(state.entries) + ENTRY_BYTES * state.entries.len();
    (HEAD_FIXED + snapshot + tables, body)
}

fn run_count(entries: &[Entry]) -> usize {
    let changes =
        entries.windows(2).filter(|pair| pair[0].position.term != pair[1].position.term).count();
    if entries.is_empty() { 0 } else { changes + 1 }
}

fn put_state(fixed: &mut [u8; HEAD_FIXED], state: &State<'_>) {
    let mut flags = 0;
    put_u64(fixed, 48, state.group.0);
    put_u64(fixed, 56, state.hard_state.current_term.0);
    if let Some(voted_for) = state.hard_state.voted_for {
        flags |= HAS_VOTE;
        put_u64(fixed, 64, voted_for.0);
    }
    put_u64(fixed, 72, state.hard_state.commit_index.0);
    if let Some(truncate_from) = state.truncate_from {
        flags |= HAS_TRUNCATE;
        put_u64(fixed, 80, truncate_from.0);
    }
    if state.snapshot.is_some() {
        flags |= HAS_SNAPSHOT;
    }
    put_u64(fixed, 88, state.entries.first().map_or(0, |entry| entry.position.index.0));
    put_u32(fixed, 96, run_count(state.entries) as u32);
    put_u32(fixed, 100, state.entries.len() as u32);
    fixed[45] = flags;
}

fn put_tables(out: &mut Vec<u8>, state: &State<'_>) {
    if let Some((last, membership)) = state.snapshot {
        out.extend_from_slice(&last.term.0.to_le_bytes());
        out.extend_from_slice(&last.index.0.to_le_bytes());
        for word in membership_words(membership) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    let same_term = |a: &Entry, b: &Entry| a.position.term == b.position.term;
    for run in state.entries.chunk_by(same_term) {
        out.extend_from_slice(&run[0].position.term.0.to_le_bytes());
        out.extend_from_slice(&(run.len() as u64).to_le_bytes());
    }
    for entry in state.entries {
        let mut row = [0u8; ENTRY_BYTES];
        row[0..4].copy_from_slice(&(entry.payload.len() as u32).to_le_bytes());
        row[4..8].copy_from_slice(&crc32c::crc32c(&entry.payload).to_le_bytes());
        row[8] = entry.kind as u8;
        out.extend_from_slice(&row);
    }
}

/// Why bytes are not the head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// No record begins here, or it belongs to another life of the segment.
    Absent,
    /// It looks like a record of this segment but does not verify.
    Damaged(&'static str),
}

/// The verified head of a record.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Where it stands.
    pub stamp: Stamp,
    /// Its checksum: the `previous` of the next.
    pub checksum: u32,
    /// Bytes before the body.
    pub head_len: usize,
    /// Bytes of payload.
    pub body_len: usize,
    /// What it says.
    pub content: HeadContent<'a>,
}

/// What the head of a record says.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made and taken apart in one place, per record")]
pub enum HeadContent<'a> {
    /// See [`Content::Mark`].
    Mark {
        /// Segments before this one are no longer part of the log.
        first_segment: u64,
    },
    /// See [`Content::State`].
    State(StateHead<'a>),
}

/// What a record says of its group, payloads aside.
#[derive(Clone, Debug)]
pub struct StateHead<'a> {
    /// The group.
    pub group: GroupId,
    /// Entries from here on are cut.
    pub truncate_from: Option<Index>,
    /// A snapshot replaces what is at or before its position.
    pub snapshot: Option<(Position, Membership)>,
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The first entry, if there are any.
    pub first: Index,
    runs: &'a [u8],
    entries: &'a [u8],
}

/// What the head says of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Its identity.
    pub position: Position,
    /// What it is for.
    pub kind: EntryKind,
    /// Where its payload begins in the body.
    pub offset: usize,
    /// The payload's length.
    pub length: usize,
    /// The payload's CRC32C.
    pub checksum: u32,
}

impl EntryHead {
    /// Whether `payload` is what was written.
    pub fn verifies(&self, payload: &[u8]) -> bool {
        payload.len() == self.length && crc32c::crc32c(payload) == self.checksum
    }
}

/// Whether a record of `segment` may begin here: cheap, and no proof.
pub fn may_begin_record(bytes: &[u8], segment: u64) -> bool {
    bytes.len() >= HEAD_FIXED && get_u32(bytes, 0) == MAGIC && get_u64(bytes, 16) == segment
}

/// The length of the head that may begin here, as it claims: what to read
/// before [`Head::parse`] where the record is not in memory.
pub fn head_len_claimed(bytes: &[u8]) -> Option<usize> {
    let head_len = if bytes.len() >= 12 { get_u32(bytes, 8) as usize } else { 0 };
    (HEAD_FIXED..=RECORD_BYTES_MAX).contains(&head_len).then_some(head_len)
}

impl<'a> Head<'a> {
    /// Verifies and reads the head at the start of `bytes`, a stretch of the
    /// segment `segment`. The body need not be in `bytes`.
    pub fn parse(bytes: &'a [u8], salt: Salt, segment: u64) -> Result<Self, HeadError> {
        if !may_begin_record(bytes, segment) {
            return Err(HeadError::Absent);
        }
        let checksum = get_u32(bytes, 4);
        if salt.checksum(&bytes[8..HEAD_FIXED]) != checksum {
            return Err(HeadError::Damaged("the checksum of a record's head does not match"));
        }
        let head_len = get_u32(bytes, 8) as usize;
        let body_len = get_u32(bytes, 12) as usize;
        if head_len < HEAD_FIXED || head_len > bytes.len() {
            return Err(HeadError::Damaged("the length of a record's head is impossible"));
        }
        if head_len + body_len > RECORD_BYTES_MAX || get_u64(bytes, 24) > SEQUENCE_MAX {
            return Err(HeadError::Damaged("a record's length or number is above the bound"));
        }
        if crc32c::crc32c(&bytes[HEAD_FIXED..head_len]) != get_u32(bytes, 104) {
            return Err(HeadError::Damaged("the checksum of a record's tables does not match"));
        }
        let stamp = Stamp {
            segment,
            sequence: get_u64(bytes, 24),
            synced_through: get_u64(bytes, 32),
            previous: get_u32(bytes, 40),
        };
        let content = match bytes[44] {
            KIND_MARK => HeadContent::Mark { first_segment: get_u64(bytes, 48) },
            KIND_STATE => HeadContent::State(StateHead::parse(&bytes[..head_len], body_len)?),
            _ => return Err(HeadError::Damaged("a record's kind is unknown to this version")),
        };
        Ok(Self { stamp, checksum, head_len, body_len, content })
    }

    /// Head, body and padding.
    pub fn total_len(&self) -> usize {
        (self.head_len + self.body_len).next_multiple_of(RECORD_ALIGNMENT)
    }
}

impl<'a> StateHead<'a> {
    fn parse(head: &'a [u8], body_len: usize) -> Result<Self, HeadError> {
        let flags = head[45];
        let mut rest = &head[HEAD_FIXED..];
        let snapshot = if flags & HAS_SNAPSHOT == 0 {
            None
        } else {
            let fixed = take(&mut rest, SNAPSHOT_FIXED)?;
            let last = Position::new(get_u64(fixed, 0), get_u64(fixed, 8));
            let membership =
                read_membership(|| take(&mut rest, 8).ok().map(|word| get_u64(word, 0)));
            Some((last, membership.ok_or(TABLES)?))
        };
        let run_bytes = (get_u32(head, 96) as usize).checked_mul(RUN_BYTES).ok_or(TABLES)?;
        let runs = take(&mut rest, run_bytes)?;
        let entry_bytes = (get_u32(head, 100) as usize).checked_mul(ENTRY_BYTES).ok_or(TABLES)?;
        let entries = take(&mut rest, entry_bytes)?;
        if !rest.is_empty() {
            return Err(TABLES);
        }
        let state = Self {
            group: GroupId(get_u64(head, 48)),
            truncate_from: (flags & HAS_TRUNCATE != 0).then(|| Index(get_u64(head, 80))),
            snapshot,
            hard_state: HardState {
                current_term: Term(get_u64(head, 56)),
                voted_for: (flags & HAS_VOTE != 0).then(|| NodeId(get_u64(head, 64))),
                commit_index: Index(get_u64(head, 72)),
            },
            first: Index(get_u64(head, 88)),
            runs,
            entries,
        };
        state.check(body_len)?;
        Ok(state)
    }

    /// What the iterators rely on: runs cover the entries, terms rise, kinds
    /// are known, lengths add up to the body.
    fn check(&self, body_len: usize) -> Result<(), HeadError> {
        let mut covered = 0u64;
        let mut term = 0;
        for run in self.runs.chunks_exact(RUN_BYTES) {
            let (run_term, count) = (get_u64(run, 0), get_u64(run, 8));
            if count == 0 || run_term <= term {
                return Err(TABLES);
            }
            term = run_term;
            covered = covered.checked_add(count).ok_or(TABLES)?;
        }
        let count = self.entry_count() as u64;
        let last = self.first.0.checked_add(count).ok_or(TABLES)?;
        if covered != count || last == u64::MAX || (count > 0 && self.first.0 == 0) {
            return Err(TABLES);
        }
        let mut body = 0usize;
        for row in self.entries.chunks_exact(ENTRY_BYTES) {
            body = body.checked_add(get_u32(row, 0) as usize).ok_or(TABLES)?;
            EntryKind::from_byte(row[8])
                .ok_or(HeadError::Damaged("an entry's kind is unknown to this version"))?;
        }
        if body == body_len { Ok(()) } else { Err(TABLES) }
    }

    /// How many entries the record adds.
    pub fn entry_count(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// The entries' terms, as runs.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        let mut first = self.first;
        self.runs.chunks_exact(RUN_BYTES).map(move |run| {
            let until = Index(first.0 + get_u64(run, 8));
            let run = Run { term: Term(get_u64(run, 0)), first, last: until.previous() };
            first = until;
            run
        })
    }

    /// The entries, payloads aside, in order.
    pub fn entries(&self) -> impl Iterator<Item = EntryHead> {
        let terms = self.runs().flat_map(|run| {
            (run.first.0..=run.last.0).map(move |index| Position::new(run.term.0, index))
        });
        let mut offset = 0;
        self.entries.chunks_exact(ENTRY_BYTES).zip(terms).map(move |(row, position)| {
            let length = get_u32(row, 0) as usize;
            let kind = EntryKind::from_byte(row[8]).expect("checked when the head was parsed");
            let head = EntryHead { position, kind, offset, length, checksum: get_u32(row, 4) };
            offset += length;
            head
        })
    }
}

const TABLES: HeadError = HeadError::Damaged("a record's tables contradict each other");

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], HeadError> {
    let (taken, left) = rest.split_at_checked(count).ok_or(TABLES)?;
    *rest = left;
    Ok(taken)
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
