//! What a member wants done about it.

use crate::change::ChangeRefusal;
use crate::membership::Membership;
use crate::message::Message;
use crate::note::Note;
use crate::runs::{Memberships, Runs};
use crate::types::{HardState, Index, NodeId, Position, ReadId, Round, Term, Ticket};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// What one step asks of the host, in order.
///
/// A buffer that the host owns: steps push at its end, nobody allocates anew. A host
/// that can answer an effect at once may step again before it goes on to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects {
    /// In the order in which they are to be carried out.
    pub list: Vec<Effect>,
    /// Why, if anybody wants to know; costs nothing if not.
    pub notes: Option<Vec<Note>>,
}

impl Effects {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer that also records decisions.
    pub fn with_notes() -> Self {
        Self { list: Vec::new(), notes: Some(Vec::new()) }
    }

    /// Adds one.
    #[inline]
    pub fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }
}

/// One thing that the host must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Make this durable, in ticket order, then say `Persisted`. Nothing that
    /// rests on it has been promised: it waits inside the algorithm.
    Persist(Persist),
    /// Send this message. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A permission to send the entries after `prev` up to `last_max`, at most
    /// `bytes_max` of them (but at least one entry), as one [`Message::Append`]
    /// with these headers. The host answers `Sent` or `Unreadable`. At most one
    /// permission a follower is unanswered.
    SendEntries {
        /// The follower.
        to: NodeId,
        /// The leader's term.
        term: Term,
        /// The position before the first entry to send.
        prev: Position,
        /// The last entry that may be sent.
        last_max: Index,
        /// The bytes that may be sent.
        bytes_max: u64,
        /// The leader's commit index.
        leader_commit: Index,
        /// The broadcast that this belongs to.
        round: Round,
        /// Whether the follower is a witness: it gets the entries without their
        /// payloads, memberships aside.
        witness: bool,
    },
    /// The follower needs entries that are gone: send it the newest snapshot, if
    /// that covers enough, then say `SnapshotSent`. A follower is asked for this
    /// in the leader's place.
    SendSnapshot {
        /// The follower.
        to: NodeId,
        /// The leader's term.
        term: Term,
        /// The leader: this member, or on whose behalf it sends.
        leader: NodeId,
        /// What the snapshot must cover at least, to be of use: the leader's log goes
        /// on behind it.
        least: Index,
        /// Where an earlier attempt broke off: which snapshot, and how many of its
        /// bytes the follower has. Go on from there if that one is still to be
        /// had, even if there is a newer one.
        resume: Option<(Position, u64)>,
        /// Whether the follower is a witness: `InstallSnapshot` is all it needs.
        witness: bool,
    },
    /// Stop sending a snapshot, and say nothing more of it.
    StopSnapshot {
        /// The follower.
        to: NodeId,
        /// The term of the order.
        term: Term,
    },
    /// The proposal is taken: its entries stand at `first`, `first + 1`, …,
    /// all in `first.term`. A `Persist` with the same run follows in this step.
    Accept {
        /// Where the first entry stands.
        first: Position,
        /// How many.
        count: u64,
    },
    /// The proposal is refused, and was not appended.
    Refuse {
        /// Why.
        reason: Refusal,
    },
    /// The change is taken: its entry stands at `at`, and `membership` is in force
    /// from now on. A `Persist` with the entry follows in this step.
    AcceptChange {
        /// Where the entry stands.
        at: Position,
        /// What it says: joint, if more than one voter comes or goes.
        membership: Box<Membership>,
    },
    /// The change is refused, and was not appended.
    RefuseChange {
        /// Why.
        reason: ChangeRefusal,
    },
    /// Another membership is in force, appended, reverted or installed: links to
    /// its members may be opened, and those to others closed.
    MembershipChanged {
        /// What is in force now.
        membership: Box<Membership>,
    },
    /// Leadership is not handed over, and nothing was begun.
    RefuseTransfer {
        /// Why.
        reason: TransferRefusal,
    },
    /// A transfer that was begun has ended; also one that nobody asked for, when
    /// the disk stalled.
    TransferEnded {
        /// Who was to lead.
        to: NodeId,
        /// What came of it.
        outcome: TransferOutcome,
    },
    /// Entries up to here are committed and durable here: apply them, in order.
    Apply {
        /// The last entry to apply, inclusive.
        through: Index,
    },
    /// The snapshot at `snapshot` has replaced the log (durably): load it into
    /// the state machine before applying anything more.
    Restore {
        /// The last entry that it covers.
        snapshot: Position,
    },
    /// The read may be served once `index` is applied.
    ReadReady {
        /// The read.
        id: ReadId,
        /// What must be applied first.
        index: Index,
    },
    /// The read was not confirmed; trying again may help.
    ReadRefused {
        /// The read.
        id: ReadId,
        /// Why.
        reason: ReadRefusal,
    },
    /// Role, term or known leader changed.
    RoleChanged {
        /// The role now.
        role: Role,
        /// The term now.
        term: Term,
        /// The leader of this term, if known.
        leader: Option<NodeId>,
    },
}

/// One atomic record: after a crash either all of it stands or none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Names it in [`Input::Persisted`](crate::Input::Persisted).
    pub ticket: Ticket,
    /// Term, vote and commit index as of this record.
    pub hard_state: HardState,
    /// Entries from here on are cut first.
    pub truncate_from: Option<Index>,
    /// Entries added, whatever terms they bear.
    pub runs: Runs,
    /// Which of them are memberships, and what they say.
    pub memberships: Memberships,
    /// Where the entries' bytes come from.
    pub source: Source,
}

/// Where the bytes behind a [`Persist`] come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// There are none: only term or vote changed.
    HardState,
    /// The proposal accepted in this step.
    Proposal,
    /// The entry that a new leader appends to commit its term (§8): no payload.
    Noop,
    /// The membership entry in `memberships`: its bytes are its encoding.
    Membership,
    /// The append received in this step, from this leader.
    Append {
        /// Its sender.
        from: NodeId,
    },
    /// The snapshot whose arrival this step was told of; it replaces the log up
    /// to `last`, and all of it where `truncate_from` says so.
    Snapshot {
        /// The last entry that it covers: the trail's new base.
        last: Position,
        /// The membership as of `last`.
        membership: Box<Membership>,
    },
}

/// What a member is (Figure 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Answers leaders and candidates.
    Follower,
    /// Asks whether it could win (thesis §9.6).
    PreCandidate,
    /// Seeks votes.
    Candidate,
    /// Takes every command.
    Leader,
}

/// Why a proposal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// This member does not lead; `leader` might.
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<NodeId>,
    },
    /// Leadership is on its way to another member: try there, or soon again.
    Transferring {
        /// To whom.
        to: NodeId,
    },
}

/// Why leadership is not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransferRefusal {
    /// This member does not lead; `leader` might.
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<NodeId>,
    },
    /// It is on its way to another member already.
    InProgress {
        /// To whom.
        to: NodeId,
    },
    /// That one is the leader itself, no voter, or a witness.
    CannotLead(NodeId),
    /// That one did not answer within an election timeout.
    Unreachable(NodeId),
}

impl fmt::Display for TransferRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "I do not lead; ask member {leader}")
            }
            Self::NotLeader { leader: None } => write!(f, "I do not lead, and know of no leader"),
            Self::InProgress { to } => write!(f, "it is on its way to member {to} already"),
            Self::CannotLead(id) => write!(f, "member {id} cannot take over"),
            Self::Unreachable(id) => write!(f, "member {id} does not answer"),
        }
    }
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferOutcome {
    /// This member leads no more. Who does, `RoleChanged` says when it is known.
    SteppedDown,
    /// The deadline passed, and this member leads on.
    TimedOut,
}

/// Why a read was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadRefusal {
    /// No leader is known; or the leader said no.
    NoLeader,
    /// The caller's deadline passed first.
    TimedOut,
    /// This member stopped leading before a quorum confirmed it.
    LeadershipLost,
}
