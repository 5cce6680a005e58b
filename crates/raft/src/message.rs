//! What members say to each other. Entries travel beside [`Message::Append`],
//! as bytes that the algorithm never sees.

use crate::input::SnapshotOutcome;
use crate::membership::Membership;
use crate::runs::{Memberships, Runs};
use crate::types::{Index, NodeId, Position, ReadId, Round, Term};
use alloc::boxed::Box;

/// One message between two members of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// "Would you vote for me in `term`?" Changes nothing (thesis §9.6).
    PreVote {
        /// The term that the asker would campaign in.
        term: Term,
        /// Where its log ends.
        last_log: Position,
    },
    /// The answer to `PreVote`. A grant echoes the asked term; a refusal bears
    /// the refuser's current term.
    PreVoteReply {
        /// See above.
        term: Term,
        /// Whether it would.
        granted: bool,
    },
    /// RequestVote RPC (Figure 2).
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// Where the candidate's log ends.
        last_log: Position,
        /// Whether the leader of the term before asked for this election, so that
        /// those who hear it need not refuse (thesis §4.2.3).
        transfer: bool,
    },
    /// The answer to `RequestVote`.
    VoteReply {
        /// The voter's current term.
        term: Term,
        /// Whether the candidate received the vote.
        vote_granted: bool,
    },
    /// AppendEntries RPC (Figure 2); without runs it is a heartbeat.
    Append {
        /// The leader's term.
        term: Term,
        /// The position just before the new entries.
        prev_log: Position,
        /// Which entries follow, contiguous from `prev_log.index + 1`.
        runs: Runs,
        /// Which of them are memberships.
        memberships: Memberships,
        /// The leader's commit index.
        leader_commit: Index,
        /// Which broadcast this belongs to.
        round: Round,
    },
    /// "You lead, and I heard broadcast `round`." Leaves at once: reads and
    /// check-quorum live on it.
    AppendHeard {
        /// The follower's current term.
        term: Term,
        /// The round of the append that it answers.
        round: Round,
    },
    /// "Everything up to `last` matches your log and is on my disk." Leaves
    /// when it is true: commit lives on it.
    AppendStored {
        /// The follower's current term.
        term: Term,
        /// `prev_log.index` + the number of entries of the append that it answers.
        last: Index,
    },
    /// "I do not hold `prev_log`", or "your term has passed".
    AppendRejected {
        /// The follower's current term.
        term: Term,
        /// The round of the append that it answers.
        round: Round,
        /// The `prev_log` that it refused.
        prev_log: Position,
        /// Where to try next: the last position of the follower's log that may
        /// match, at or below `prev_log` (§5.3, back-tracking by term).
        hint: Position,
    },
    /// InstallSnapshot RPC (Figure 13), at its end: the host has received every
    /// chunk and the snapshot is durable on this member.
    InstallSnapshot {
        /// The term of `leader`.
        term: Term,
        /// The leader: its sender, or on whose behalf its sender sent it.
        leader: NodeId,
        /// The last entry that the snapshot covers.
        last: Position,
        /// The membership as of `last`.
        membership: Box<Membership>,
    },
    /// "Send your newest snapshot to `to` in my place." (This and the next two:
    /// `rpc/delegate_snapshot.rs`.)
    DelegateSnapshot {
        /// The leader's term.
        term: Term,
        /// Who needs one.
        to: NodeId,
        /// What it must cover at least: the log goes on behind it.
        least: Index,
        /// Where an earlier attempt of the same member broke off, and zero if none
        /// did: which snapshot, and how many of its bytes the follower has.
        resume: (Position, u64),
    },
    /// "Stop sending to `to`."
    RecallSnapshot {
        /// The leader's term.
        term: Term,
        /// To whom.
        to: NodeId,
    },
    /// What has come of a `DelegateSnapshot`.
    DelegateReport {
        /// The term of the sender of the snapshot.
        term: Term,
        /// Who is sent one.
        to: NodeId,
        /// How far it has come.
        report: DelegateReport,
    },
    /// "Seek election at once": the leader hands over (thesis §3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// A follower asks the leader for a read index (thesis §6.4).
    Read {
        /// The asker's name for it.
        id: ReadId,
    },
    /// The leader's answer.
    ReadReply {
        /// The asker's name for it.
        id: ReadId,
        /// The index that the asker must have applied; `None` if this member
        /// does not lead or could not confirm that it does.
        index: Option<Index>,
    },
}

/// How far a member has come with a snapshot that it sends in the leader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DelegateReport {
    /// The follower has got, durably, so much of it.
    Progress {
        /// Which snapshot: the last entry that it covers.
        snapshot: Position,
        /// How many of its bytes.
        received: u64,
    },
    /// The sending has ended.
    Ended(SnapshotOutcome),
}
