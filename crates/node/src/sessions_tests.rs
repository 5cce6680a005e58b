//! Sessions: what is answered again, what is refused, and what is forgotten.

use super::*;

fn encode(sessions: &Sessions) -> Bytes {
    crate::sidecar::encode(sessions, &crate::roster::Roster::default())
}

fn decode(sidecar: &Bytes) -> Result<Sessions, DecodeError> {
    Ok(crate::sidecar::decode(sidecar)?.unwrap_or_default().0)
}

fn envelope(session: SessionId, sequence: u64, lowest: u64) -> Envelope {
    Envelope { session, sequence, lowest, command: Bytes::new() }
}

/// A table, and how a member's machine brings it forward: in batches.
#[derive(Default)]
struct Member {
    sessions: Sessions,
    batch: Vec<Judged>,
    replies: Vec<Bytes>,
}

impl Member {
    /// The log's next command. Whether the machine is to apply it.
    fn command(&mut self, envelope: &Envelope, reply: usize) -> bool {
        let judged = match self.sessions.admit(Position::ZERO, envelope) {
            Admission::Fresh(judged) => {
                self.replies.push(Bytes::from(vec![1; reply]));
                judged
            }
            Admission::Duplicate(judged) => judged,
            Admission::NoSession => return false,
        };
        self.batch.push(judged);
        judged.is_fresh
    }

    fn settle(&mut self) {
        self.sessions.settle(&std::mem::take(&mut self.batch), &std::mem::take(&mut self.replies));
    }

    fn settled(&mut self, envelope: &Envelope, reply: usize) -> bool {
        let is_fresh = self.command(envelope, reply);
        self.settle();
        is_fresh
    }
}

#[test]
fn a_command_is_fresh_once_and_its_reply_is_kept_until_answered() {
    let mut member = Member::default();
    let id = member.sessions.open(10, OpenSession { node: NodeId(1), boot: 7 });
    assert!(member.command(&envelope(id, 3, 0), 2));
    assert!(!member.command(&envelope(id, 3, 0), 2), "twice in a batch");
    assert_eq!(member.sessions.outcome(id, 3), Outcome::NotApplied);
    member.settle();
    assert!(!member.settled(&envelope(id, 3, 0), 2));
    assert_eq!(member.sessions.outcome(id, 3), Outcome::Reply(Bytes::from(vec![1; 2])));
    assert!(member.command(&envelope(id, 1, 0), 0), "out of order");
    assert!(!member.command(&envelope(id, 1, 0), 0), "and twice");
    member.settle();

    assert!(member.settled(&envelope(id, 9, 4), 0));
    assert!(!member.settled(&envelope(id, 3, 0), 0), "answered");
    assert!(!member.command(&envelope(id, 4 + WINDOW_MAX, 4), 0), "too far ahead");
    // Requests that never came here may have been given up in between.
    let far = u64::MAX - 10;
    assert!(member.settled(&envelope(id, far + 1, far), 0));
    assert!(!member.settled(&envelope(id, 5, 4), 0), "answered long ago");
}

#[test]
fn a_new_boot_ends_the_old_session_and_an_echo_of_it_does_nothing() {
    let mut member = Member::default();
    let first = OpenSession { node: NodeId(1), boot: 7 };
    let old = member.sessions.open(10, first);
    assert_eq!(member.sessions.open(11, first), old, "the same request, twice in the log");
    let other = member.sessions.open(12, OpenSession { node: NodeId(2), boot: 7 });
    let new = member.sessions.open(13, OpenSession { node: NodeId(1), boot: 8 });
    assert!(!member.settled(&envelope(old, 0, 0), 0));
    assert!(member.settled(&envelope(new, 0, 0), 0));
    assert!(member.settled(&envelope(other, 0, 0), 0));
}

#[test]
fn replies_are_bounded_and_nothing_is_applied_again_for_that() {
    let mut member = Member::default();
    let quiet = member.sessions.open(1, OpenSession { node: NodeId(1), boot: 1 });
    let busy = member.sessions.open(2, OpenSession { node: NodeId(2), boot: 1 });
    assert!(member.settled(&envelope(quiet, 0, 0), 1_000));
    // Its request 0 is never answered, so it holds on to all that follow.
    let size = REPLY_BYTES_MAX;
    let count = 2 * (REPLIES_BYTES_MAX / size) as u64;
    for sequence in 1..=count {
        assert!(member.settled(&envelope(busy, sequence, 0), size));
        assert!(member.sessions.reply_bytes <= REPLIES_BYTES_MAX);
    }
    assert_eq!(member.sessions.outcome(busy, 1), Outcome::ReplyLost, "the oldest");
    assert!(matches!(member.sessions.outcome(busy, count), Outcome::Reply(_)));
    assert!(matches!(member.sessions.outcome(quiet, 0), Outcome::Reply(_)), "not its fault");
    for sequence in 1..=count {
        assert!(!member.settled(&envelope(busy, sequence, 0), size), "{sequence} applied again");
    }
    assert!(member.settled(&envelope(busy, 0, 0), 1));
    assert!(member.settled(&envelope(busy, count + 1, count + 1), 5));
    assert_eq!(member.sessions.reply_bytes, 1_005);
}

/// Members apply the same log in different batches.
#[test]
fn the_table_is_the_same_however_entries_come_together() {
    let mut members: Vec<Member> = (0..3).map(|_| Member::default()).collect();
    let ids = [1, 2].map(|node| {
        let open = OpenSession { node: NodeId(node), boot: 1 };
        members.iter_mut().map(|member| member.sessions.open(node, open)).last().expect("three")
    });
    let mut random = 1u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut lowest = [0u64; 2];
    for step in 0..6_000u64 {
        let of = draw(2) as usize;
        if draw(200) == 0 {
            lowest[of] += draw(100);
        }
        let envelope = envelope(ids[of], lowest[of] + draw(3_000), lowest[of]);
        let reply = draw(REPLY_BYTES_MAX as u64 + 4_000) as usize;
        let fresh: Vec<bool> =
            members.iter_mut().map(|member| member.command(&envelope, reply)).collect();
        assert!(fresh.iter().all(|one| *one == fresh[0]), "{fresh:?} at {step}");
        members[0].settle();
        if step % 7 == 0 {
            members[1].settle();
        }
    }
    members.iter_mut().for_each(Member::settle);
    let first = encode(&members[0].sessions);
    let is_lost =
        |sequence: &u64| members[0].sessions.outcome(ids[0], *sequence) == Outcome::ReplyLost;
    let lost = (lowest[0]..lowest[0] + 3_000).filter(is_lost).count();
    assert!(lost > 500, "the bound had hardly an effect: {lost}");
    assert!(members.iter().all(|member| encode(&member.sessions) == first));
}

#[test]
fn the_table_travels_and_every_cut_or_changed_byte_is_an_error_or_a_table() {
    let mut member = Member::default();
    let id = member.sessions.open(10, OpenSession { node: NodeId(1), boot: 7 });
    for (sequence, size) in [(2, 3), (4, REPLY_BYTES_MAX + 1), (5, 0)] {
        assert!(member.settled(&envelope(id, sequence, 1), size));
    }
    let bytes = encode(&member.sessions);
    assert_eq!(decode(&bytes), Ok(member.sessions));
    for length in 1..bytes.len() {
        assert!(decode(&bytes.slice(..length)).is_err());
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 0xff;
        drop(decode(&Bytes::from(bad)));
    }
    assert_eq!(decode(&Bytes::new()), Ok(Sessions::default()));
}
