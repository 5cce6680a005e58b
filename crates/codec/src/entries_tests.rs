//! Tests of `entries.rs`.

use super::*;
use crate::entry::EntryKind;
use bytes::Bytes;
use driftless_raft::{Index, Position, Run};

fn entry(index: u64) -> Entry {
    let payload = Bytes::from(vec![index as u8; 3]);
    Entry { position: Position::new(1, index), kind: EntryKind::Command, payload }
}

fn indexes(entries: &Entries) -> Vec<u64> {
    entries.iter().map(|entry| entry.position.index.0).collect()
}

#[test]
fn however_they_come_they_are_the_same() {
    for count in 0..4 {
        let vector: Vec<Entry> = (1..=count).map(entry).collect();
        // A filter cannot tell beforehand how many it lets pass.
        let filtered: Entries = vector.iter().filter(|_| true).cloned().collect();
        let collected: Entries = vector.iter().cloned().collect();
        assert_eq!(&collected[..], &vector[..]);
        assert_eq!(filtered, collected);
        assert_eq!(Entries::from(vector), collected);
    }
    assert_eq!(indexes(&Entries::from(entry(7))), [7]);
    assert_eq!(Entries::default(), Entries::NONE);
}

#[test]
fn a_part_is_a_part_whatever_it_is_part_of() {
    for count in 0..6_u64 {
        let all: Entries = (1..=count).map(entry).collect();
        for until in 0..=all.len() {
            for from in 0..=until {
                let part = all.part(from..until);
                let expected: Vec<u64> = (from as u64 + 1..=until as u64).collect();
                assert_eq!(indexes(&part), expected);
                assert_eq!(part.payload_bytes(), 3 * part.len());
                for end in 0..=part.len() {
                    assert_eq!(indexes(&part.part(0..end)), expected[..end]);
                    assert_eq!(indexes(&part.part(end..part.len())), expected[end..]);
                }
            }
        }
    }
}

#[test]
fn they_get_their_places_and_what_is_shared_is_not_changed_for_others() {
    for count in 1..4 {
        let all: Entries = (1..=count).map(entry).collect();
        let mut placed = all.clone();
        placed.place(
            &[Run::new(3, 7, 7), Run::new(4, 8, 10)]
                .map(|run| Run { last: run.last.min(Index(6 + count)), ..run })
                [..1.max(count.min(2) as usize)],
        );
        let terms: Vec<u64> = placed.iter().map(|entry| entry.position.term.0).collect();
        assert_eq!(terms, [3, 4, 4][..count as usize]);
        assert_eq!(indexes(&placed), (7..7 + count).collect::<Vec<_>>());
        assert_eq!(indexes(&all), (1..=count).collect::<Vec<_>>());
    }
}

#[test]
#[should_panic(expected = "as many places as entries")]
fn every_entry_gets_a_place() {
    let mut entries: Entries = (1..=3).map(entry).collect();
    entries.place(&[Run::new(1, 1, 2)]);
}

#[test]
fn they_are_taken_away() {
    for count in 0..4 {
        let mut entries: Entries = (1..=count).map(entry).collect();
        let taken = entries.take();
        assert_eq!(indexes(&taken), (1..=count).collect::<Vec<_>>());
        assert!(entries.is_empty());
    }
}
