//! Wishes about members as bytes, and what becomes of them: two kinds of frames.

use crate::wire::{DecodeError, Reader};
use bytes::{BufMut, BytesMut};
use driftless_raft::{Change, ChangeRefusal, Index, NodeId};

/// Kind, member and incarnation.
const CHANGE_BYTES: usize = 17;

pub(crate) fn put_changes(out: &mut BytesMut, changes: &[Change]) {
    out.put_u32_le(changes.len() as u32);
    for change in changes {
        let (kind, id, incarnation) = match *change {
            Change::AddVoter(id) => (1, id, 0),
            Change::AddLearner(id) => (2, id, 0),
            Change::AddWitness(id) => (3, id, 0),
            Change::Promote(id) => (4, id, 0),
            Change::Demote(id) => (5, id, 0),
            Change::Remove(id) => (6, id, 0),
            Change::Readmit { id, incarnation } => (7, id, incarnation),
            _ => unreachable!("all changes are named here"),
        };
        out.put_u8(kind);
        out.put_u64_le(id.0);
        out.put_u64_le(incarnation);
    }
}

pub(crate) fn changes(reader: &mut Reader) -> Result<Vec<Change>, DecodeError> {
    let count = reader.count(CHANGE_BYTES, "the number of changes")?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = reader.u8("a change's kind")?;
        let id = NodeId(reader.u64("a change's member")?);
        let incarnation = reader.u64("a change's incarnation")?;
        changes.push(match kind {
            1 => Change::AddVoter(id),
            2 => Change::AddLearner(id),
            3 => Change::AddWitness(id),
            4 => Change::Promote(id),
            5 => Change::Demote(id),
            6 => Change::Remove(id),
            7 => Change::Readmit { id, incarnation },
            _ => return Err(invalid("a change's kind", kind)),
        });
    }
    Ok(changes)
}

/// Where the entry of a change stands, or why there is none.
pub(crate) fn put_answer(out: &mut BytesMut, answer: Result<Index, ChangeRefusal>) {
    let (kind, about) = match answer {
        Ok(at) => (0, at.0),
        Err(ChangeRefusal::NotLeader { leader: None }) => (1, 0),
        Err(ChangeRefusal::NotLeader { leader: Some(leader) }) => (2, leader.0),
        Err(ChangeRefusal::Transferring { to }) => (3, to.0),
        Err(ChangeRefusal::TermNotCommitted) => (4, 0),
        Err(ChangeRefusal::ChangeOpen { at }) => (5, at.0),
        Err(ChangeRefusal::AlreadyMember(id)) => (6, id.0),
        Err(ChangeRefusal::NotMember(id)) => (7, id.0),
        Err(ChangeRefusal::NotLearner(id)) => (8, id.0),
        Err(ChangeRefusal::NotVoter(id)) => (9, id.0),
        Err(ChangeRefusal::NotCaughtUp(id)) => (10, id.0),
        Err(ChangeRefusal::NoVoters) => (11, 0),
        Err(ChangeRefusal::TooManyWitnesses) => (12, 0),
        Err(ChangeRefusal::ReadmitAlone(id)) => (13, id.0),
        Err(ChangeRefusal::NoChange) => (14, 0),
        Err(ChangeRefusal::QuorumUnreachable) => (15, 0),
        Err(_) => unreachable!("all refusals are named here"),
    };
    out.put_u8(kind);
    out.put_u64_le(about);
}

pub(crate) fn answer(reader: &mut Reader) -> Result<Result<Index, ChangeRefusal>, DecodeError> {
    let kind = reader.u8("the answer's kind")?;
    let about = reader.u64("what the answer is about")?;
    let (id, at) = (NodeId(about), Index(about));
    Ok(Err(match kind {
        0 => return Ok(Ok(at)),
        1 => ChangeRefusal::NotLeader { leader: None },
        2 => ChangeRefusal::NotLeader { leader: Some(id) },
        3 => ChangeRefusal::Transferring { to: id },
        4 => ChangeRefusal::TermNotCommitted,
        5 => ChangeRefusal::ChangeOpen { at },
        6 => ChangeRefusal::AlreadyMember(id),
        7 => ChangeRefusal::NotMember(id),
        8 => ChangeRefusal::NotLearner(id),
        9 => ChangeRefusal::NotVoter(id),
        10 => ChangeRefusal::NotCaughtUp(id),
        11 => ChangeRefusal::NoVoters,
        12 => ChangeRefusal::TooManyWitnesses,
        13 => ChangeRefusal::ReadmitAlone(id),
        14 => ChangeRefusal::NoChange,
        15 => ChangeRefusal::QuorumUnreachable,
        _ => return Err(invalid("the answer's kind", kind)),
    }))
}

fn invalid(what: &'static str, byte: u8) -> DecodeError {
    DecodeError::Invalid { what, value: u64::from(byte) }
}
