//! The algorithm's messages as bytes: the body of one kind of frame.

use crate::wire::{DecodeError, Reader, put_membership, put_position};
use bytes::{BufMut, BytesMut};
use driftless_raft::{
    DelegateReport, Index, Memberships, Message, NodeId, ReadId, Round, Runs, SnapshotOutcome, Term,
};

pub(crate) fn encode_message(message: &Message, out: &mut BytesMut) {
    match message {
        Message::PreVote { term, last_log } => {
            out.put_u8(1);
            out.put_u64_le(term.0);
            put_position(out, *last_log);
        }
        Message::PreVoteReply { term, granted } => {
            out.put_u8(2);
            out.put_u64_le(term.0);
            out.put_u8(u8::from(*granted));
        }
        Message::RequestVote { term, last_log, transfer } => {
            out.put_u8(3);
            out.put_u64_le(term.0);
            put_position(out, *last_log);
            out.put_u8(u8::from(*transfer));
        }
        Message::VoteReply { term, vote_granted } => {
            out.put_u8(4);
            out.put_u64_le(term.0);
            out.put_u8(u8::from(*vote_granted));
        }
        Message::Append { term, prev_log, runs, leader_commit, round, .. } => {
            out.put_u8(5);
            out.put_u64_le(term.0);
            put_position(out, *prev_log);
            // Entries travel in frames of their own kind, beside their bytes.
            assert!(runs.is_empty(), "an append with entries is a frame of its own");
            out.put_u64_le(leader_commit.0);
            out.put_u64_le(round.0);
        }
        Message::AppendHeard { term, round } => {
            out.put_u8(6);
            out.put_u64_le(term.0);
            out.put_u64_le(round.0);
        }
        Message::AppendStored { term, last } => {
            out.put_u8(7);
            out.put_u64_le(term.0);
            out.put_u64_le(last.0);
        }
        Message::AppendRejected { term, round, prev_log, hint } => {
            out.put_u8(8);
            out.put_u64_le(term.0);
            out.put_u64_le(round.0);
            put_position(out, *prev_log);
            put_position(out, *hint);
        }
        Message::InstallSnapshot { term, leader, last, membership } => {
            out.put_u8(9);
            out.put_u64_le(term.0);
            out.put_u64_le(leader.0);
            put_position(out, *last);
            put_membership(out, membership);
        }
        Message::TimeoutNow { term } => {
            out.put_u8(12);
            out.put_u64_le(term.0);
        }
        Message::DelegateSnapshot { term, to, least, resume } => {
            out.put_u8(13);
            out.put_u64_le(term.0);
            out.put_u64_le(to.0);
            out.put_u64_le(least.0);
            put_position(out, resume.0);
            out.put_u64_le(resume.1);
        }
        Message::RecallSnapshot { term, to } => {
            out.put_u8(14);
            out.put_u64_le(term.0);
            out.put_u64_le(to.0);
        }
        Message::DelegateReport { term, to, report } => {
            out.put_u8(15);
            out.put_u64_le(term.0);
            out.put_u64_le(to.0);
            match report {
                DelegateReport::Progress { snapshot, received } => {
                    out.put_u8(0);
                    put_position(out, *snapshot);
                    out.put_u64_le(*received);
                }
                DelegateReport::Ended(SnapshotOutcome::Delivered) => out.put_u8(1),
                DelegateReport::Ended(SnapshotOutcome::Failed) => out.put_u8(2),
            }
        }
        Message::Read { id } => {
            out.put_u8(10);
            out.put_u64_le(id.0);
        }
        Message::ReadReply { id, index } => {
            out.put_u8(11);
            out.put_u64_le(id.0);
            match index {
                Some(index) => {
                    out.put_u8(1);
                    out.put_u64_le(index.0);
                }
                None => out.put_u8(0),
            }
        }
    }
}

pub(crate) fn decode_message(reader: &mut Reader) -> Result<Message, DecodeError> {
    let kind = reader.u8("the message's kind")?;
    if kind == 10 {
        return Ok(Message::Read { id: ReadId(reader.u64("the read")?) });
    }
    if kind == 11 {
        let id = ReadId(reader.u64("the read")?);
        let answered = reader.bool("the read's answer")?;
        let index = if answered { Some(Index(reader.u64("the read index")?)) } else { None };
        return Ok(Message::ReadReply { id, index });
    }
    let term = Term(reader.u64("the term")?);
    Ok(match kind {
        1 => Message::PreVote { term, last_log: reader.position("the last entry")? },
        2 => Message::PreVoteReply { term, granted: reader.bool("the grant")? },
        3 => Message::RequestVote {
            term,
            last_log: reader.position("the last entry")?,
            transfer: reader.bool("the leader's leave")?,
        },
        4 => Message::VoteReply { term, vote_granted: reader.bool("the grant")? },
        5 => {
            let prev_log = reader.position("the previous entry")?;
            Message::Append {
                term,
                prev_log,
                runs: Runs::NONE,
                memberships: Memberships::NONE,
                leader_commit: Index(reader.u64("the commit index")?),
                round: Round(reader.u64("the round")?),
            }
        }
        6 => Message::AppendHeard { term, round: Round(reader.u64("the round")?) },
        7 => Message::AppendStored { term, last: Index(reader.u64("the last index")?) },
        8 => Message::AppendRejected {
            term,
            round: Round(reader.u64("the round")?),
            prev_log: reader.position("the previous entry")?,
            hint: reader.position("the hint")?,
        },
        9 => Message::InstallSnapshot {
            term,
            leader: NodeId(reader.u64("the leader")?),
            last: reader.position("the snapshot's last entry")?,
            membership: Box::new(reader.membership("the membership")?),
        },
        12 => Message::TimeoutNow { term },
        13 => Message::DelegateSnapshot {
            term,
            to: NodeId(reader.u64("the receiver")?),
            least: Index(reader.u64("what it must cover")?),
            resume: (reader.position("the snapshot begun")?, reader.u64("the bytes received")?),
        },
        14 => Message::RecallSnapshot { term, to: NodeId(reader.u64("the receiver")?) },
        15 => {
            let to = NodeId(reader.u64("the receiver")?);
            Message::DelegateReport { term, to, report: decode_report(reader)? }
        }
        other => {
            return Err(DecodeError::Invalid {
                what: "the message's kind",
                value: u64::from(other),
            });
        }
    })
}

fn decode_report(reader: &mut Reader) -> Result<DelegateReport, DecodeError> {
    Ok(match reader.u8("what has come of it")? {
        0 => DelegateReport::Progress {
            snapshot: reader.position("the snapshot's last entry")?,
            received: reader.u64("the bytes received")?,
        },
        1 => DelegateReport::Ended(SnapshotOutcome::Delivered),
        2 => DelegateReport::Ended(SnapshotOutcome::Failed),
        other => {
            let value = u64::from(other);
            return Err(DecodeError::Invalid { what: "what has come of it", value });
        }
    })
}
