//! Damaged bytes are an error or mean something; they never panic.

use crate::random::Random;
use crate::support::{apply, do_compact, do_put, snapshot};
use crate::twin::Twin;
use bytes::Bytes;
use driftless_kv::{ApplyError, Command, DecodeError, Reply, Store, TXN_DEPTH_MAX};
use driftless_machine::{AppliedPosition, Batch, RestoreError, StateMachine};

/// Decodes every prefix of the bytes, and the bytes with every one of them
/// changed in several ways. Returns how many of them decoded.
fn damage<T: PartialEq + std::fmt::Debug>(
    whole: &Bytes,
    decode: impl Fn(&Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Bytes,
) -> usize {
    let mut decoded = 0;
    let mut check = |bytes: Bytes| {
        if let Ok(value) = decode(&bytes) {
            // Whatever it means, it means it again.
            assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value));
            decoded += 1;
        }
    };
    for until in 0..whole.len() {
        let prefix = whole.slice(..until);
        assert!(decode(&prefix).is_err(), "a prefix is never whole");
    }
    for at in 0..whole.len() {
        for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= flip;
            check(bytes.into());
        }
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(decode(&longer.into()).is_err(), "nothing may follow");
    decoded
}

#[test]
fn damaged_commands_and_replies_never_panic() {
    let mut random = Random(1);
    let mut twin = Twin::new();
    let (mut commands, mut replies) = (0, 0);
    for _ in 0..400 {
        let command = random.command(twin.revision);
        let encoded = command.encode();
        assert_eq!(Command::decode(&encoded).as_ref(), Ok(&command));
        commands += damage(&encoded, Command::decode, Command::encode);
        let reply = Reply(twin.apply(&command));
        let encoded = reply.encode();
        assert_eq!(Reply::decode(&encoded).as_ref(), Ok(&reply));
        replies += damage(&encoded, Reply::decode, Reply::encode);
    }
    assert!(commands > 1_000 && replies > 1_000, "some damage goes unseen: {commands}, {replies}");
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(2);
    for _ in 0..100_000 {
        let length = random.below(40) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        // Mostly get past the first checks.
        if length > 2 && !random.one_in(4) {
            bytes[0] = 1;
            bytes[1] = 1 + random.below(5) as u8;
        }
        let bytes = Bytes::from(bytes);
        let _ = Command::decode(&bytes);
        let _ = Reply::decode(&bytes);
    }
}

#[test]
fn whatever_decodes_can_be_applied() {
    let mut random = Random(3);
    for seed in 0..100 {
        let mut store = Store::with_segment_bytes(256);
        for _ in 0..50 {
            let mut bytes = random.command(20).encode().to_vec();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            let bytes = Bytes::from(bytes);
            let replies = store.apply(&Batch {
                through: AppliedPosition::default(),
                commands: std::slice::from_ref(&bytes),
                sidecar: &|_| Bytes::new(),
            });
            let reply = Reply::decode(&replies[0]).expect("our own reply");
            let malformed = reply.0 == Err(ApplyError::Malformed);
            assert_eq!(malformed, Command::decode(&bytes).is_err(), "seed {seed}");
        }
        let bytes = snapshot(&mut store, 1 << 16);
        let mut restored = Store::new();
        restored.restore(&mut &bytes[..]).expect("our own snapshot");
        assert_eq!(restored.reader().hash(0), store.reader().hash(0), "seed {seed}");
    }
}

#[test]
fn nesting_is_bounded() {
    // Version, then transactions of no condition and one operation: another.
    let nest = |levels: usize| {
        let mut bytes = vec![1];
        for _ in 0..levels {
            bytes.extend_from_slice(&[3, 0, 1]);
        }
        bytes
    };
    let error = Command::decode(&nest(TXN_DEPTH_MAX + 1).into()).unwrap_err();
    assert!(matches!(error, DecodeError::TooDeep { .. }), "{error}");
    let error = Command::decode(&nest(1_000_000).into()).unwrap_err();
    assert!(matches!(error, DecodeError::TooDeep { .. }), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let bytes = Bytes::from_static(&[2, 1, 0]);
    let newer = DecodeError::NewerVersion { found: 2, known: 1 };
    assert_eq!(Command::decode(&bytes), Err(newer));
    assert_eq!(Reply::decode(&bytes), Err(newer));
}

#[test]
fn a_reply_to_a_put_is_a_few_bytes() {
    let mut store = Store::new();
    let put = Command::Put(crate::support::put("key", &"v".repeat(256)));
    let reply = Reply(apply(&mut store, put)).encode();
    assert!(reply.len() <= 4, "{} bytes", reply.len());
}

/// A small state with some of everything.
fn small_store() -> Store {
    let mut random = Random(4);
    let mut store = Store::with_segment_bytes(256);
    for _ in 0..60 {
        let _ = apply(&mut store, random.command(15));
    }
    let revision = store.reader().revision();
    let _ = do_compact(&mut store, revision - 10);
    store
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_snapshot_is_refused() {
    let whole = snapshot(&mut small_store(), 1 << 16);
    assert!(whole.len() > 300, "{} bytes", whole.len());
    let mut store = Store::new();
    for until in 0..whole.len() {
        let error = store.restore(&mut &whole[..until]).unwrap_err();
        let RestoreError::Damaged { offset, .. } = error else { panic!("{error}") };
        assert!(offset <= until as u64);
    }
    for at in 0..whole.len() {
        for flip in [1, 16, 128, 255] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            assert!(store.restore(&mut &bytes[..]).is_err(), "byte {at} ^ {flip}");
        }
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(store.restore(&mut &longer[..]).is_err());
    store.restore(&mut &whole[..]).expect("the whole is whole");
}

/// Damage that the checksum does not show, as a faulty writer would make it.
#[test]
fn a_wrong_snapshot_with_right_checksums_never_panics() {
    let whole = snapshot(&mut small_store(), 1 << 16);
    let mut random = Random(5);
    let mut restored = 0;
    for at in 12..whole.len() {
        for flip in [1, 2, 4, 64, 128, 255] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            correct_checksums(&mut bytes);
            let mut store = Store::new();
            if store.restore(&mut &bytes[..]).is_ok() {
                restored += 1;
                for _ in 0..5 {
                    let _ = apply(&mut store, random.command(20));
                }
                let _ = store.reader().hash(0);
                let _ = snapshot(&mut store, 1 << 16);
            }
        }
    }
    assert!(restored > 100, "{restored} meant something");
}

#[test]
fn a_snapshot_that_claims_a_revision_it_does_not_hold_is_refused() {
    let mut store = Store::new();
    do_put(&mut store, "a", "");
    assert_eq!(do_put(&mut store, "a", ""), 3);
    let mut bytes = snapshot(&mut store, 1 << 16);
    // Magic, version and the head of a block stand before it, in zigzag.
    assert_eq!(bytes[25], 6);
    bytes[25] = 8;
    correct_checksums(&mut bytes);
    let error = Store::new().restore(&mut &bytes[..]).unwrap_err();
    assert!(error.to_string().ends_with("its last revision is missing"), "{error}");
}

fn correct_checksums(bytes: &mut [u8]) {
    let mut at = 12;
    let mut number = 0_u64;
    while at + 13 <= bytes.len() {
        let length = u64::from_le_bytes(bytes[at + 1..at + 9].try_into().expect("eight bytes"));
        let Some(until) =
            usize::try_from(length).ok().and_then(|length| length.checked_add(at + 13))
        else {
            return;
        };
        let Some(payload) = bytes.get(at + 13..until) else { return };
        let crc = crc32c::crc32c(&number.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &bytes[at..at + 9]);
        let crc = crc32c::crc32c_append(crc, payload);
        bytes[at + 9..at + 13].copy_from_slice(&crc.to_le_bytes());
        number += 1;
        at = until;
    }
}
