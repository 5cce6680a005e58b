//! The frame that carries entries: [`PeerFrame::Append`]. What is known of them
//! twice, by their runs of terms and one by one, is checked against each other.

use crate::entry::{Entry, EntryKind};
use crate::frame::{Parts, PeerFrame, SHARE_FROM_BYTES};
use crate::wire::{DecodeError, Reader, put_position};
use bytes::{BufMut, Bytes, BytesMut};
use driftless_raft::{GroupId, Index, Position, Round, Run, Runs, Term};

/// The kind of [`PeerFrame::Append`].
pub(crate) const APPEND_KIND: u8 = 4;
/// An append's body before its runs, their count and that of its entries included.
const APPEND_BYTES: usize = 48;
/// One run of an append.
const RUN_BYTES: usize = 24;
/// Kind and length of one of an append's entries.
pub(crate) const HEAD_BYTES: usize = 5;

/// Which runs of terms `entries`, contiguous after `prev_log`, make.
pub(crate) fn runs_of<'a>(prev_log: Position, entries: impl Iterator<Item = &'a Entry>) -> Runs {
    let mut runs = Runs::NONE;
    let first = prev_log.index.next();
    let mut open = Run { term: Term(0), first, last: prev_log.index };
    entries.for_each(|entry| {
        let index = open.last.next();
        if entry.position.term != open.term {
            if open.first <= open.last {
                runs.push(open);
            }
            open = Run { term: entry.position.term, first: index, last: index };
        }
        open.last = index;
    });
    if open.first <= open.last {
        runs.push(open);
    }
    runs
}

/// [`PeerFrame::Append`] to be encoded from entries that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendHead {
    /// The leader's term.
    pub term: Term,
    /// The position before the first entry.
    pub prev_log: Position,
    /// The leader's commit index.
    pub leader_commit: Index,
    /// The broadcast.
    pub round: Round,
}

impl AppendHead {
    /// Encodes the frame that carries `entries`, which are contiguous from
    /// `prev_log.index + 1`, as [`PeerFrame::encode`] does.
    pub fn encode<'a>(
        &self,
        group: GroupId,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Vec<Bytes> {
        let mut copied_bytes = 0;
        let mut count = 0;
        entries.clone().for_each(|entry| {
            let len = entry.payload.len();
            copied_bytes += if len < SHARE_FROM_BYTES { len } else { 0 };
            count += 1;
        });
        let runs = runs_of(self.prev_log, entries.clone());
        let mut parts =
            Parts::new(APPEND_BYTES + runs.len() * RUN_BYTES + count * HEAD_BYTES + copied_bytes);
        let out = &mut parts.open;
        out.put_u64_le(self.term.0);
        put_position(out, self.prev_log);
        out.put_u64_le(self.leader_commit.0);
        out.put_u64_le(self.round.0);
        put_runs(out, &runs);
        out.put_u32_le(count as u32);
        entries.clone().for_each(|entry| {
            let [a, b, c, d] = (entry.payload.len() as u32).to_le_bytes();
            out.put_slice(&[entry.kind as u8, a, b, c, d]);
        });
        entries.for_each(|entry| parts.payload(&entry.payload));
        parts.finish(APPEND_KIND, group)
    }
}

fn put_runs(out: &mut BytesMut, runs: &[Run]) {
    out.put_u32_le(runs.len() as u32);
    for run in runs {
        out.put_u64_le(run.term.0);
        out.put_u64_le(run.first.0);
        out.put_u64_le(run.last.0);
    }
}

/// Runs that follow `prev_log` without a gap, their terms rising from its term
/// on and none above the sender's.
fn runs(reader: &mut Reader, prev_log: Position, term: Term) -> Result<Runs, DecodeError> {
    let count = reader.count(RUN_BYTES, "the number of runs")?;
    let mut runs = Runs::NONE;
    let mut before = prev_log;
    for _ in 0..count {
        let run = Run {
            term: Term(reader.u64("a run's term")?),
            first: Index(reader.u64("a run's first index")?),
            last: Index(reader.u64("a run's last index")?),
        };
        let rises = match runs.last() {
            Some(last) => run.term > last.term,
            None => run.term >= before.term,
        };
        if !rises || run.term > term {
            return Err(DecodeError::Invalid { what: "a run's term", value: run.term.0 });
        }
        if before.index.0.checked_add(1) != Some(run.first.0) {
            return Err(DecodeError::Invalid { what: "a run's first index", value: run.first.0 });
        }
        if run.last < run.first || run.last.0 - run.first.0 > u64::from(u32::MAX) {
            return Err(DecodeError::Invalid { what: "a run's last index", value: run.last.0 });
        }
        before = Position { term: run.term, index: run.last };
        runs.push(run);
    }
    Ok(runs)
}

pub(crate) fn decode_append(reader: &mut Reader) -> Result<PeerFrame, DecodeError> {
    let term = Term(reader.u64("the term")?);
    let prev_log = reader.position("the previous entry")?;
    let leader_commit = Index(reader.u64("the commit index")?);
    let round = Round(reader.u64("the round")?);
    let runs = runs(reader, prev_log, term)?;
    let count = reader.count(HEAD_BYTES, "the number of entries")?;
    let claimed: u64 = runs.iter().map(|run| run.last.0 - run.first.0 + 1).sum();
    if claimed != count as u64 {
        return Err(DecodeError::Invalid { what: "the number of entries", value: count as u64 });
    }
    let heads = reader.take(count * HEAD_BYTES, "the entries' heads")?;
    let mut heads = heads.chunks_exact(HEAD_BYTES);
    let mut entries = Vec::with_capacity(count);
    for run in &runs {
        for index in run.first.0..=run.last.0 {
            let Some(&[kind, a, b, c, d]) = heads.next() else { break };
            let kind = kind_of(kind)?;
            let length = u32::from_le_bytes([a, b, c, d]) as usize;
            let position = Position { term: run.term, index: Index(index) };
            let entry = Entry { position, kind, payload: reader.take(length, "a payload")? };
            if kind == EntryKind::Membership && entry.membership().is_none() {
                return Err(DecodeError::Invalid {
                    what: "the membership at this index",
                    value: index,
                });
            }
            entries.push(entry);
        }
    }
    Ok(PeerFrame::Append { term, prev_log, leader_commit, round, entries })
}

pub(crate) fn kind_of(byte: u8) -> Result<EntryKind, DecodeError> {
    EntryKind::from_byte(byte)
        .ok_or(DecodeError::Invalid { what: "an entry's kind", value: u64::from(byte) })
}
