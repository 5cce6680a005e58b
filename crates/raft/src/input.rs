//! What happens to a member.

use crate::change::Change;
use crate::message::Message;
use crate::types::{Index, NodeId, Position, ReadId, Term, Ticket, Time};
use alloc::vec::Vec;

/// One thing that happened. The host feeds them one by one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// [`Raft::deadline`](crate) has come. Early or stray calls do no harm.
    Wake,
    /// A message arrived.
    Receive {
        /// Its sender, as the link's handshake established it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// Clients want `count` entries appended, at least one. Answered within the
    /// step by `Accept` or `Refuse`.
    Propose {
        /// How many entries.
        count: u64,
    },
    /// The operator wants other members. Answered within the step by
    /// `AcceptChange` or `RefuseChange`; done when the last entry of it is
    /// committed, which for a joint membership is the one that follows it.
    ChangeMembership {
        /// What is wanted, taken as one.
        changes: Vec<Change>,
        /// Do it even if the new voters that are known to be up are no quorum.
        forced: bool,
    },
    /// The operator wants `to` to lead. Answered by `RefuseTransfer` in this step
    /// or by `TransferEnded` later; commands are refused meanwhile.
    TransferLeadership {
        /// Who is to lead.
        to: NodeId,
        /// When to give up.
        deadline: Time,
    },
    /// The disk has not finished a write for longer than the host tolerates. A
    /// leader hands over to whoever can take over; others do not seek election.
    DiskStalled,
    /// The disk answers again.
    DiskRecovered,
    /// The process stood still, or its clock did, for longer than the bound on
    /// clock drift allows for; or its clock leapt, which looks the same from within.
    /// Tell it before anything else that came meanwhile.
    Paused,
    /// `peer` has said for how long it helps nobody else into office when it hears a
    /// leader ([`Config::promise_us`](crate::Config::promise_us)). With leases, tell it
    /// before anything else that the peer says over the same link: it counts for a lease
    /// only if that is an election timeout of this member's at least.
    Promises {
        /// The other end.
        peer: NodeId,
        /// In microseconds of true time; zero for no promise at all.
        promise_us: u64,
    },
    /// A linearizable read (or a batch of them) wants to know which index it
    /// must see. Answered later by `ReadReady` or `ReadRefused`.
    Read {
        /// Names it in the answer.
        id: ReadId,
        /// When the caller stops waiting.
        deadline: Time,
    },
    /// Everything up to and including this ticket is durable.
    Persisted {
        /// The ticket of a `Persist` effect.
        ticket: Ticket,
    },
    /// A `SendEntries` permission was used.
    Sent {
        /// The follower.
        to: NodeId,
        /// The term of the permission; one of an older term is ignored.
        term: Term,
        /// The last entry that was sent.
        last: Index,
        /// How many bytes were sent.
        bytes: u64,
    },
    /// A `SendEntries` permission could not be used: that stretch of the log no
    /// longer stands (truncated or compacted).
    Unreadable {
        /// The follower.
        to: NodeId,
        /// The term of the permission; one of an older term is ignored.
        term: Term,
    },
    /// A follower has got, durably, so much of a snapshot that this member sends it.
    SnapshotProgress {
        /// The follower.
        to: NodeId,
        /// The term of the order; one of an older term is ignored.
        term: Term,
        /// Which snapshot: the last entry that it covers.
        snapshot: Position,
        /// How many of its bytes the follower has.
        received: u64,
    },
    /// A `SendSnapshot` ended. (That it was *installed* is what `AppendStored` says.)
    SnapshotSent {
        /// The follower.
        to: NodeId,
        /// The term of the order; one of an older term is ignored.
        term: Term,
        /// How it ended.
        outcome: SnapshotOutcome,
    },
    /// A snapshot up to `through` is durable here and the log before it may go;
    /// followers that need older entries get the snapshot.
    Compacted {
        /// The last entry that the snapshot covers.
        through: Position,
    },
    /// The link to `peer` broke. A hint for speed only: a follower that loses
    /// its leader's link need not wait out the election timeout, and a leader
    /// probes the follower anew.
    Disconnected {
        /// The other end.
        peer: NodeId,
    },
    /// Seek election now, as if the timeout had passed.
    Campaign,
}

/// How sending a snapshot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotOutcome {
    /// The follower has every chunk, durably.
    Delivered,
    /// It broke off; the algorithm decides when to try again.
    Failed,
}
