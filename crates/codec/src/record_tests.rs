//! Records there and back, and rubbish.

use super::*;
use bytes::Bytes;

const SALT: Salt = Salt(77);

fn stamp(segment: u64) -> Stamp {
    Stamp { segment, sequence: 12, synced_through: 10, previous: 0xabcd }
}

fn entry(term: u64, index: u64, kind: EntryKind, payload: &'static [u8]) -> Entry {
    let payload = Bytes::from_static(payload);
    Entry { position: Position::new(term, index), kind, payload }
}

fn entries() -> Vec<Entry> {
    vec![
        entry(3, 8, EntryKind::Noop, b""),
        entry(3, 9, EntryKind::Command, b"first"),
        entry(5, 10, EntryKind::Session, b"second payload"),
        entry(5, 11, EntryKind::Command, b""),
        entry(9, 12, EntryKind::Command, &[7; 1_000]),
    ]
}

fn state<'a>(entries: &'a [Entry], membership: &'a Membership) -> State<'a> {
    State {
        group: GroupId(6),
        truncate_from: Some(Index(8)),
        snapshot: Some((Position::new(2, 7), membership)),
        entries,
        hard_state: HardState {
            current_term: Term(9),
            voted_for: Some(NodeId(0)),
            commit_index: Index(7),
        },
    }
}

fn encoded(content: &Content<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let checksum = encode(&mut out, SALT, &stamp(4), content);
    assert_eq!((out.len(), out.len() % RECORD_ALIGNMENT), (encoded_len(content), 0));
    let head = Head::parse(&out, SALT, 4).unwrap();
    assert_eq!((head.checksum, head.head_len), (checksum, head_len(content)));
    assert_eq!((head.stamp, head.total_len()), (stamp(4), out.len()));
    out
}

#[test]
fn a_state_comes_back() {
    let (entries, membership) = (entries(), Membership::of([1, 2, 300].map(NodeId)));
    let expected = state(&entries, &membership);
    let bytes = encoded(&Content::State(expected));
    let head = Head::parse(&bytes, SALT, 4).unwrap();
    let HeadContent::State(found) = &head.content else { panic!("it was a state") };
    assert_eq!((found.group, found.truncate_from), (expected.group, expected.truncate_from));
    assert_eq!(found.hard_state, expected.hard_state);
    assert_eq!(found.snapshot, Some((Position::new(2, 7), membership.clone())));
    let runs: Vec<Run> = found.runs().collect();
    assert_eq!(runs, [Run::new(3, 8, 9), Run::new(5, 10, 11), Run::new(9, 12, 12)]);
    assert_eq!(found.entry_count(), entries.len());
    let body = &bytes[head.head_len..head.head_len + head.body_len];
    for (found, expected) in found.entries().zip(&entries) {
        let payload = &body[found.offset..found.offset + found.length];
        assert_eq!((found.position, found.kind), (expected.position, expected.kind));
        assert!(payload == expected.payload && found.verifies(payload));
    }
}

#[test]
fn an_empty_state_and_a_mark_come_back() {
    let membership = Membership::default();
    let empty = State {
        truncate_from: None,
        snapshot: None,
        hard_state: HardState::default(),
        ..state(&[], &membership)
    };
    let bytes = encoded(&Content::State(empty));
    let head = Head::parse(&bytes, SALT, 4).unwrap();
    let HeadContent::State(found) = head.content else { panic!("it was a state") };
    assert_eq!((found.hard_state, found.entry_count()), (HardState::default(), 0));
    assert!(found.truncate_from.is_none() && found.snapshot.is_none());

    let bytes = encoded(&Content::Mark { first_segment: 3 });
    assert_eq!(bytes.len(), MARK_BYTES);
    let head = Head::parse(&bytes, SALT, 4).unwrap();
    assert!(matches!(head.content, HeadContent::Mark { first_segment: 3 }));
}

#[test]
fn a_flipped_bit_costs_the_head_or_one_payload_and_nothing_else() {
    let (entries, membership) = (entries(), Membership::of([NodeId(1)]));
    let bytes = encoded(&Content::State(state(&entries, &membership)));
    let sound = Head::parse(&bytes, SALT, 4).unwrap();
    let (head_len, record_end) = (sound.head_len, sound.head_len + sound.body_len);
    for bit in 0..8 * record_end {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let head = Head::parse(&flipped, SALT, 4);
        if bit / 8 < head_len {
            assert!(head.is_err(), "bit {bit}");
            continue;
        }
        let HeadContent::State(state) = head.unwrap().content else { panic!("bit {bit}") };
        let bad = state.entries().filter(|entry| {
            let at = head_len + entry.offset;
            !entry.verifies(&flipped[at..at + entry.length])
        });
        assert_eq!(bad.count(), 1, "bit {bit}");
    }
}

#[test]
fn another_life_another_directory_or_a_piece_is_not_it() {
    let (entries, membership) = (entries(), Membership::of([NodeId(1)]));
    let bytes = encoded(&Content::State(state(&entries, &membership)));
    assert_eq!(Head::parse(&bytes, SALT, 5).unwrap_err(), HeadError::Absent);
    assert!(Head::parse(&bytes, Salt(78), 4).is_err());
    let head_len = Head::parse(&bytes, SALT, 4).unwrap().head_len;
    for length in 0..head_len {
        assert!(Head::parse(&bytes[..length], SALT, 4).is_err(), "{length} bytes");
    }
}

/// Tables that verify and still lie: a bug or malice wrote them. Whatever they
/// say, reading them does not panic, and what is believed adds up.
#[test]
fn tables_that_contradict_each_other_are_refused() {
    let (entries, membership) = (entries(), Membership::of([NodeId(1), NodeId(2)]));
    let bytes = encoded(&Content::State(state(&entries, &membership)));
    let head_len = Head::parse(&bytes, SALT, 4).unwrap().head_len;
    let mut refused = 0;
    for at in 8..head_len {
        for value in [0, 1, 0x7f, 0xff] {
            let mut forged = bytes.clone();
            forged[at] = value;
            let tables = crc32c::crc32c(&forged[HEAD_FIXED..head_len]);
            forged[104..108].copy_from_slice(&tables.to_le_bytes());
            let checksum = SALT.checksum(&forged[8..HEAD_FIXED]);
            forged[4..8].copy_from_slice(&checksum.to_le_bytes());
            match Head::parse(&forged, SALT, 4) {
                Err(_) => refused += 1,
                Ok(Head { content: HeadContent::Mark { .. }, .. }) => {}
                Ok(Head { content: HeadContent::State(state), body_len, .. }) => {
                    let lengths: usize = state.entries().map(|entry| entry.length).sum();
                    assert_eq!((lengths, state.entries().count()), (body_len, state.entry_count()));
                    assert!(state.runs().all(|run| run.first <= run.last));
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
