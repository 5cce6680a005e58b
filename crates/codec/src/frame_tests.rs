//! Frames: what goes in comes out, and bytes that are no frame are refused.

use super::*;
use driftless_raft::{DelegateReport, Memberships, ReadId, Runs, SnapshotOutcome};

fn entry(term: u64, index: u64, size: usize) -> Entry {
    Entry {
        position: Position::new(term, index),
        kind: EntryKind::Command,
        payload: Bytes::from(vec![index as u8; size]),
    }
}

fn report(report: DelegateReport) -> Message {
    Message::DelegateReport { term: Term(4), to: NodeId(9), report }
}

fn one_of_each() -> Vec<PeerFrame> {
    let last = Position::new(3, 7);
    let membership = Membership::of([NodeId(1), NodeId(2), NodeId(9)]);
    let standing = Standing::Readmitted { as_of: last };
    let disk = DiskId { incarnation: 77, boots: 3, nonce: 9, standing };
    let mut frames = vec![
        PeerFrame::Hello(Hello {
            cluster_id: 5,
            node_id: NodeId(1),
            disk,
            to: NodeId(2),
            address: "10.0.0.1:7000".into(),
            promise_us: 1_000_000,
        }),
        PeerFrame::HelloReply(HelloReply {
            cluster_id: 5,
            node_id: NodeId(2),
            disk: DiskId { standing: Standing::First, ..disk },
            refusal: Some(HelloRefusal::Incarnation),
        }),
        PeerFrame::Append {
            term: Term(4),
            prev_log: last,
            leader_commit: Index(6),
            round: Round(11),
            entries: vec![entry(3, 8, 10), entry(4, 9, 5000), entry(4, 10, 0), entry(4, 11, 9000)],
        },
        PeerFrame::Forward {
            entries: vec![
                (EntryKind::Command, Bytes::from_static(b"put")),
                (EntryKind::Session, Bytes::from(vec![1; 6000])),
            ],
        },
        PeerFrame::ForwardRefused { refusal: ForwardRefusal::Busy, sequences: vec![4, 5, 9] },
        PeerFrame::SnapshotChunk {
            term: Term(4),
            leader: NodeId(2),
            last,
            membership: membership.clone(),
            maker: 77,
            offset: 4096,
            done: true,
            bytes: Bytes::from_static(b"piece"),
        },
        PeerFrame::SnapshotAck { term: Term(4), last, received: 9, done: false },
    ];
    let messages = [
        Message::PreVote { term: Term(4), last_log: last },
        Message::PreVoteReply { term: Term(4), granted: true },
        Message::RequestVote { term: Term(4), last_log: last, transfer: true },
        Message::TimeoutNow { term: Term(4) },
        Message::VoteReply { term: Term(4), vote_granted: false },
        Message::Append {
            term: Term(4),
            prev_log: last,
            runs: Runs::NONE,
            memberships: Memberships::NONE,
            leader_commit: Index(6),
            round: Round(2),
        },
        Message::AppendHeard { term: Term(4), round: Round(2) },
        Message::AppendStored { term: Term(4), last: Index(9) },
        Message::AppendRejected {
            term: Term(4),
            round: Round(2),
            prev_log: last,
            hint: Position::new(2, 5),
        },
        Message::InstallSnapshot {
            term: Term(4),
            leader: NodeId(2),
            last,
            membership: Box::new(membership),
        },
        Message::DelegateSnapshot {
            term: Term(4),
            to: NodeId(9),
            least: Index(5),
            resume: (last, 4096),
        },
        Message::RecallSnapshot { term: Term(4), to: NodeId(9) },
        report(DelegateReport::Progress { snapshot: last, received: 4096 }),
        report(DelegateReport::Ended(SnapshotOutcome::Delivered)),
        report(DelegateReport::Ended(SnapshotOutcome::Failed)),
        Message::Read { id: ReadId(8) },
        Message::ReadReply { id: ReadId(8), index: Some(Index(7)) },
        Message::ReadReply { id: ReadId(8), index: None },
    ];
    frames.extend(messages.into_iter().map(PeerFrame::Raft));
    frames.extend(about_members());
    frames
}

/// With every change and every answer.
fn about_members() -> Vec<PeerFrame> {
    let id = NodeId(4);
    let changes = vec![
        Change::AddVoter(id),
        Change::AddLearner(id),
        Change::AddWitness(id),
        Change::Promote(id),
        Change::Demote(id),
        Change::Remove(id),
        Change::Readmit { id, incarnation: 5 },
    ];
    let answers = [
        Ok(Index(8)),
        Err(ChangeRefusal::NotLeader { leader: None }),
        Err(ChangeRefusal::NotLeader { leader: Some(id) }),
        Err(ChangeRefusal::Transferring { to: id }),
        Err(ChangeRefusal::TermNotCommitted),
        Err(ChangeRefusal::ChangeOpen { at: Index(3) }),
        Err(ChangeRefusal::AlreadyMember(id)),
        Err(ChangeRefusal::NotMember(id)),
        Err(ChangeRefusal::NotLearner(id)),
        Err(ChangeRefusal::NotVoter(id)),
        Err(ChangeRefusal::NotCaughtUp(id)),
        Err(ChangeRefusal::NoVoters),
        Err(ChangeRefusal::TooManyWitnesses),
        Err(ChangeRefusal::ReadmitAlone(id)),
        Err(ChangeRefusal::NoChange),
        Err(ChangeRefusal::QuorumUnreachable),
    ];
    let addresses = BTreeMap::from([(NodeId(1), "a:1".to_owned()), (id, "b:2,c:3".to_owned())]);
    let membership = Membership::of([NodeId(1), id]);
    let mut frames = vec![
        PeerFrame::AskChange { request: 7, changes, forced: true },
        PeerFrame::Lookup { address: "a:1".into() },
        PeerFrame::LookupReply { cluster_id: 5, member: Some(id), membership, addresses },
        PeerFrame::LookupReply {
            cluster_id: 5,
            member: None,
            membership: Membership::default(),
            addresses: BTreeMap::new(),
        },
    ];
    frames.extend(answers.map(|answer| PeerFrame::ChangeAnswer { request: 7, answer }));
    frames
}

fn joined(frame: &PeerFrame) -> Vec<u8> {
    frame.encode(GroupId(3)).concat()
}

#[test]
fn every_frame_comes_back_as_it_went() {
    for frame in one_of_each() {
        let bytes = Bytes::from(joined(&frame));
        assert_eq!(frame_len(&bytes), Ok(bytes.len()));
        assert_eq!(PeerFrame::decode(&bytes), Ok((GroupId(3), frame)));
    }
}

#[test]
fn large_payloads_are_shared_not_copied() {
    let payload = Bytes::from(vec![7; 8192]);
    let frame = PeerFrame::Forward { entries: vec![(EntryKind::Command, payload.clone())] };
    assert!(frame.encode(GroupId(1)).iter().any(|part| part.as_ptr() == payload.as_ptr()));
}

#[test]
fn every_prefix_and_every_flipped_byte_is_refused() {
    for frame in one_of_each() {
        let good = joined(&frame);
        for length in 0..good.len() {
            assert!(PeerFrame::decode(&Bytes::copy_from_slice(&good[..length])).is_err());
        }
        // The two reserved bytes are covered by the checksum as well.
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert!(PeerFrame::decode(&Bytes::from(bad)).is_err(), "byte {at} of {frame:?}");
        }
    }
}

/// With the checksum made right again, every body is judged by its own rules.
#[test]
fn a_body_that_lies_is_refused_or_harmless_and_never_panics() {
    for frame in one_of_each() {
        let good = joined(&frame);
        for at in HEADER_BYTES - 12..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let checksum = crc32c::crc32c(&bad[8..]);
                bad[4..8].copy_from_slice(&checksum.to_le_bytes());
                if let Ok((group, frame)) = PeerFrame::decode(&Bytes::from(bad)) {
                    assert!(PeerFrame::decode(&frame.encode(group).concat().into()).is_ok());
                }
            }
        }
    }
}

#[test]
fn runs_must_follow_without_gap_and_rise() {
    let append = |entries: Vec<Entry>| {
        let frame = PeerFrame::Append {
            term: Term(4),
            prev_log: Position::new(3, 7),
            leader_commit: Index(0),
            round: Round(0),
            entries,
        };
        PeerFrame::decode(&joined(&frame).into())
    };
    assert!(append(vec![entry(3, 8, 1), entry(4, 9, 1)]).is_ok());
    assert!(append(vec![entry(2, 8, 1)]).is_err(), "below prev_log's term");
    assert!(append(vec![entry(5, 8, 1)]).is_err(), "above the sender's term");
    assert!(append(vec![entry(4, 8, 1), entry(3, 9, 1)]).is_err(), "terms fall");
}

#[test]
fn a_strangers_bytes_are_named() {
    let error = frame_len(b"GET / HTTP/1.1\r\n\r\n....").expect_err("not a frame");
    assert!(error.to_string().contains("is this a peer's port?"), "{error}");
}
