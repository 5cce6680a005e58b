//! A membership as a row of 64-bit words: in frames, records, snapshot headers,
//! and as the payload of an entry of kind [`Membership`](crate::EntryKind).
//!
//! A membership of voters alone is their number and their ids, which rise. Any
//! other has the top bit set in that first word, and further rows behind it: the
//! outgoing voters, the learners, the witnesses, and the readmitted members,
//! each with the incarnation of its disk. With the bit below it, one more row follows:
//! the learners that are to vote again.

use driftless_raft::{Membership, NodeId, NodeSet};

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;

/// Members of one kind, at most.
const MEMBERS_MAX: u64 = 1 << 16;
const MORE_ROWS: u64 = 1 << 63;
const RETURNING_ROW: u64 = 1 << 62;

/// The words of `membership`.
pub fn membership_words(membership: &Membership) -> Vec<u64> {
    let Membership { voters, outgoing, learners, witnesses, readmitted, returning } = membership;
    let mut words = Vec::with_capacity(1 + voters.len());
    row(&mut words, voters);
    if *membership != Membership::of(voters.iter().copied()) {
        words[0] |= MORE_ROWS;
        row(&mut words, outgoing);
        row(&mut words, learners);
        row(&mut words, witnesses);
        words.push(readmitted.len() as u64);
        words.extend(readmitted.iter().flat_map(|(id, incarnation)| [id.0, *incarnation]));
        if !returning.is_empty() {
            words[0] |= RETURNING_ROW;
            row(&mut words, returning);
        }
    }
    words
}

fn row(words: &mut Vec<u64>, ids: &NodeSet) {
    words.push(ids.len() as u64);
    words.extend(ids.iter().map(|id| id.0));
}

/// Reads a membership off the words that `next` gives until there are none.
/// `None` if it is no membership: they end within it, ids do not rise, or it
/// speaks of somebody who is no member.
pub fn read_membership(mut next: impl FnMut() -> Option<u64>) -> Option<Membership> {
    let first = next()?;
    let voters = read_row(first & !(MORE_ROWS | RETURNING_ROW), &mut next)?;
    let mut membership = Membership { voters, ..Membership::default() };
    if first & MORE_ROWS != 0 {
        for set in [&mut membership.outgoing, &mut membership.learners, &mut membership.witnesses] {
            *set = read_row(next()?, &mut next)?;
        }
        let count = next()?;
        if count > MEMBERS_MAX {
            return None;
        }
        for _ in 0..count {
            let (id, incarnation) = (NodeId(next()?), next()?);
            let rises = membership.readmitted.keys().next_back().is_none_or(|last| *last < id);
            if !rises {
                return None;
            }
            membership.readmitted.insert(id, incarnation);
        }
    }
    if first & RETURNING_ROW != 0 {
        membership.returning = read_row(next()?, &mut next)?;
        // The row is there only for those who are in it, and behind the others.
        if first & MORE_ROWS == 0 || membership.returning.is_empty() {
            return None;
        }
    }
    let Membership { learners, witnesses, returning, .. } = &membership;
    let is_sound = witnesses.iter().all(|&id| membership.contains(id))
        && returning.iter().all(|id| learners.contains(id));
    is_sound.then_some(membership)
}

fn read_row(count: u64, next: &mut impl FnMut() -> Option<u64>) -> Option<NodeSet> {
    if count > MEMBERS_MAX {
        return None;
    }
    let mut ids = NodeSet::NONE;
    for _ in 0..count {
        let id = NodeId(next()?);
        if ids.last().is_some_and(|last| *last >= id) {
            return None;
        }
        ids.insert(id);
    }
    Some(ids)
}

/// The payload of a membership entry.
pub fn encode_membership(membership: &Membership) -> bytes::Bytes {
    membership_words(membership).into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The membership that is the payload of an entry; `None` if it is none.
pub fn decode_membership(payload: &[u8]) -> Option<Membership> {
    let mut words = payload.chunks_exact(8);
    let mut next = || {
        let word = words.next()?;
        Some(u64::from_le_bytes(word.try_into().expect("eight bytes")))
    };
    let membership = read_membership(&mut next)?;
    (next().is_none() && payload.len().is_multiple_of(8)).then_some(membership)
}
