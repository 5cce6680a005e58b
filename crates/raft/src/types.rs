//! The small words of the algorithm: terms, indexes, positions, times.

use core::fmt;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

word!(
    /// A term, Raft's logical clock (§5.1). Zero is before the first election.
    Term
);
word!(
    /// The place of an entry in the log, counted from 1; 0 is before the first.
    Index
);
word!(
    /// A member's name: unique in its cluster and never reused.
    NodeId
);
word!(
    /// One of the Raft groups that a node hosts.
    GroupId
);
word!(
    /// Microseconds since an origin that the host chose. Only differences mean
    /// anything, and it never goes back.
    Time
);
word!(
    /// Names one [`Persist`](crate::Persist); rises by one each, never reused by a process.
    Ticket
);
word!(
    /// Counts a leader's broadcasts within its term, so that an answer says
    /// which broadcast it heard.
    Round
);
word!(
    /// Names a read, or a batch of them. The host never uses one twice, not
    /// even across restarts.
    ReadId
);

impl Index {
    /// The next place in the log.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before, or zero at the start.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Time {
    /// This time, `micros` later (saturating).
    #[must_use]
    pub fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What names an entry: the term it was created in and its place.
///
/// Term comes first, so the derived order *is* the paper's "at least as
/// up-to-date" (§5.4.1): later term wins, then longer log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl Position {
    /// Before the first entry: every log holds it.
    pub const ZERO: Self = Self { term: Term(0), index: Index(0) };

    /// The position at (`term`, `index`).
    pub fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: Index(index) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}^{}", self.index, self.term)
    }
}

/// When a step happens, and the one random number that it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    /// The host's monotonic clock.
    pub now: Time,
    /// A fresh random number; it spreads election timeouts.
    pub random: u64,
}

/// "Persistent state on all servers" (Figure 2), less the log itself, with the
/// commit index riding along so that a restart need not learn it anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term this member has seen.
    pub current_term: Term,
    /// Who received this member's vote in `current_term`.
    pub voted_for: Option<NodeId>,
    /// The highest index known to be committed when this was written. A lower
    /// bound: it never causes a write of its own.
    pub commit_index: Index,
}

/// What a member is told once, at start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This member.
    pub id: NodeId,
    /// A follower that hears nothing for this long (plus the jitter) seeks election.
    pub election_timeout_us: u64,
    /// Election timeouts are drawn from `election_timeout_us ..= + election_jitter_us`.
    pub election_jitter_us: u64,
    /// A leader with nothing to send says so this often.
    pub heartbeat_interval_us: u64,
    /// 0 goes first: members of a higher rank wait until those of a lower one have
    /// had their time to seek election. Every rank still does, so that some
    /// leader is found.
    pub election_rank: u32,
    /// Ask whether an election could be won before raising the term (thesis §9.6).
    pub pre_vote: bool,
    /// A leader that has not heard a quorum for an election timeout steps down
    /// (thesis §6.2), and a follower that hears its leader refuses votes (§4.2.3).
    pub check_quorum: bool,
    /// Leaders answer reads without asking anybody while they hold a lease, and
    /// this is by how many millionths any member's clock may run fast or slow
    /// (thesis §6.4.1). A member's clock must go on while the machine is suspended.
    /// Members that are told otherwise, or of a shorter election timeout, count for no
    /// lease, as long as their hosts say so ([`Input::Promises`](crate::Input::Promises)).
    /// `None`: no leases, and nothing rests on clocks.
    pub lease_drift_ppm: Option<u32>,
    /// Whom a leader makes a voter by itself.
    pub promotion: Promotion,
    /// A leader takes the sending of a snapshot for broken off if the follower
    /// got nothing more of it for so long.
    pub snapshot_stall_us: u64,
    /// A leader has snapshots sent by other members that hold what they cover,
    /// learners first, and sends itself only where nobody else can.
    pub snapshots_from_followers: bool,
    /// How far behind the end of the log a follower that answers may be and
    /// still have the log kept for it ([`Raft::log_needed_from`]).
    ///
    /// [`Raft::log_needed_from`]: crate::Raft::log_needed_from
    pub catch_up_entries_max: u64,
    /// Unacknowledged bytes a follower may have in flight.
    pub inflight_bytes_max: u64,
    /// Unacknowledged messages with entries a follower may have in flight.
    pub inflight_messages_max: usize,
    /// Bytes in one message with entries.
    pub message_bytes_max: u64,
}

/// Which learners become voters without being asked for, once they have stored all that
/// is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Promotion {
    /// None: whoever runs the group decides.
    #[default]
    ByHand,
    /// Those that were voters before they lost their disk.
    Readmitted,
    /// All.
    All,
}

impl Config {
    /// The ordinary settings for member `id`: 1 s election timeout with 300 ms of
    /// jitter, 100 ms heartbeats, pre-vote and check-quorum on.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            election_timeout_us: 1_000_000,
            election_jitter_us: 300_000,
            heartbeat_interval_us: 100_000,
            election_rank: 0,
            pre_vote: true,
            check_quorum: true,
            lease_drift_ppm: None,
            promotion: Promotion::ByHand,
            snapshot_stall_us: 5_000_000,
            snapshots_from_followers: true,
            catch_up_entries_max: 100_000,
            inflight_bytes_max: 16 << 20,
            inflight_messages_max: 256,
            message_bytes_max: 1 << 20,
        }
    }
}
