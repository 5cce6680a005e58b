//! Tests of `entries.rs`.

use super::*;
use crate::entry::EntryKind;
use bytes::Bytes;
use driftless_raft::Position;

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
fn the_first_are_skipped() {
    for count in 0..4_u64 {
        for skipped in 0..5_u64 {
            let mut entries: Entries = (1..=count).map(entry).collect();
            entries.skip(skipped as usize);
            assert_eq!(indexes(&entries), (1 + skipped..=count).collect::<Vec<_>>());
        }
    }
}

#[test]
fn they_are_changed_in_place_and_taken_away() {
    for count in 1..4 {
        let mut entries: Entries = (1..=count).map(entry).collect();
        for entry in &mut *entries {
            entry.position.index.0 += 10;
        }
        let taken = entries.take();
        assert_eq!(indexes(&taken), (11..=10 + count).collect::<Vec<_>>());
        assert!(entries.is_empty());
    }
}
