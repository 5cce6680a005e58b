//! What may go wrong, and what an operator may ask for meanwhile.

use std::fmt;

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// What.
    pub fault: Fault,
}

/// Whom a fault strikes; decided when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This member.
    Member(u64),
    /// Whoever leads; this member if nobody does.
    Leader(u64),
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; the page cache survives. It comes back later.
    Crash {
        /// Whose.
        who: Who,
        /// When it comes back.
        for_us: u64,
    },
    /// The machine loses power; what was not synced is torn or lost.
    PowerCut {
        /// Whose.
        who: Who,
        /// When it comes back.
        for_us: u64,
    },
    /// The machine loses power in the middle of the disk work that comes next.
    PowerCutInWrite {
        /// Whose.
        who: Who,
        /// After this many disk operations.
        operations: u64,
        /// When it comes back.
        for_us: u64,
    },
    /// Every machine loses power.
    PowerCutOfAll {
        /// When they come back, more or less.
        for_us: u64,
    },
    /// The process stands still (SIGSTOP); its kernel does not.
    Pause {
        /// Whose.
        who: Who,
        /// How long.
        for_us: u64,
    },
    /// The machine is suspended: nothing on it runs, its kernel neither. Its clock
    /// goes on, its timers do not.
    Suspend {
        /// Whose.
        who: Who,
        /// How long.
        for_us: u64,
    },
    /// The links between two members break, and with them what is in flight.
    BreakLinks {
        /// One.
        one: u64,
        /// The other.
        other: u64,
    },
    /// One member is cut off from all others.
    Isolate {
        /// Who.
        who: Who,
        /// How long.
        for_us: u64,
    },
    /// The members in `side` (one bit each) and the others do not meet.
    Partition {
        /// A bit for each member, member 1 lowest.
        side: u64,
        /// How long.
        for_us: u64,
    },
    /// Nothing passes from one member to another; the way back is open.
    OneWay {
        /// From whom.
        from: u64,
        /// To whom.
        to: u64,
        /// How long.
        for_us: u64,
    },
    /// Two members do not meet.
    PairCut {
        /// One.
        one: u64,
        /// The other.
        other: u64,
        /// How long.
        for_us: u64,
    },
    /// Frames take `factor` times as long, and links break now and then.
    SlowNetwork {
        /// How much slower.
        factor: u64,
        /// How long.
        for_us: u64,
    },
    /// A clock leaps ahead, which it does only where nothing rests on clocks.
    ClockLeap {
        /// Whose.
        who: Who,
        /// How far.
        by_us: u64,
    },
    /// A clock runs at another rate from now on.
    ClockRate {
        /// Whose.
        who: Who,
        /// Its microseconds in a million of the world's.
        rate_ppm: u64,
    },
    /// A disk finishes nothing for a while, and then goes on as if nothing had been.
    StallDisk {
        /// Whose.
        who: Who,
        /// How long.
        for_us: u64,
    },
    /// A disk takes `factor` times as long.
    SlowDisk {
        /// Whose.
        who: Who,
        /// How much slower.
        factor: u64,
        /// How long.
        for_us: u64,
    },
    /// A disk has hardly any room left.
    FullDisk {
        /// Whose.
        who: Who,
        /// How long.
        for_us: u64,
        /// Bytes that are left: with some, a snapshot fits.
        spare_bytes: u64,
    },
    /// All disks have hardly any room left, as if they were one.
    FullDiskOfAll {
        /// How long.
        for_us: u64,
        /// Bytes that are left on each.
        spare_bytes: u64,
    },
    /// The next sync of a disk fails, and what it was to keep is lost.
    FailSync {
        /// Whose.
        who: Who,
    },
    /// A byte of a file rots; the member is repaired by nobody in this version.
    Rot {
        /// On whose disk.
        who: Who,
        /// Which file, which byte, which bits: all follow from it.
        pick: u64,
    },
    /// The next write of a disk is reported as done and never happens.
    LoseWrite {
        /// Whose.
        who: Who,
    },
    /// A member loses its disk, and comes back with an empty one.
    WipeDisk {
        /// Whose.
        who: Who,
        /// Whether it is started as what it is: a replacement. If not, its peers
        /// refuse it, and it is started so then.
        told: bool,
    },
    /// A copy of a disk is taken, its member starts anew, and later the copy is put
    /// back: what the member promised in between is forgotten.
    OldDisk {
        /// Whose.
        who: Who,
    },
    /// All members lose power, and most of them their disks for good: one survivor is
    /// recovered, and the group grown again from it.
    LoseQuorum {
        /// Who survives, and who turns up again too late, follows from it.
        pick: u64,
    },
    /// The operator asks for other members. No fault, but as ill-timed as one.
    Change {
        /// What is wished for.
        wish: Wish,
        /// Who is meant, and who is asked, follow from it.
        pick: u64,
        /// The leader is asked, and cut off for so long as it takes it up; 0: it is not.
        cut_us: u64,
    },
    /// The operator asks for another leader.
    Transfer {
        /// Whom, and who is asked, follows from it.
        pick: u64,
        /// Whether the one who is to lead is cut off meanwhile.
        cut: bool,
    },
}

impl Fault {
    /// Whether a member may lose what it made durable by it.
    pub(crate) fn loses_disk(&self) -> bool {
        matches!(
            self,
            Self::WipeDisk { .. }
                | Self::OldDisk { .. }
                | Self::Rot { .. }
                | Self::LoseWrite { .. }
        )
    }
}

/// What an operator may wish for; whom it concerns is decided when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new learner.
    AddLearner,
    /// A new voter, that has nothing yet.
    AddVoter,
    /// A new witness.
    AddWitness,
    /// Some learner is to vote.
    Promote,
    /// A voter is to be a learner.
    Demote(Who),
    /// A member is to go.
    Remove(Who),
    /// Several voters come and go at once, through a joint membership.
    Several,
    /// A member is to be reached elsewhere.
    Move(Who),
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddLearner => write!(f, "a new learner"),
            Self::AddVoter => write!(f, "a new voter"),
            Self::AddWitness => write!(f, "a new witness"),
            Self::Promote => write!(f, "a learner to vote"),
            Self::Demote(who) => write!(f, "{who} to be a learner"),
            Self::Remove(who) => write!(f, "{who} to go"),
            Self::Several => write!(f, "several members to come and go"),
            Self::Move(who) => write!(f, "{who} to be elsewhere"),
        }
    }
}

/// Bugs planted in the world (not in the node), each of which a check must find.
///
/// The numbers are those of the mutations in `docs/verification.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Syncs do nothing: a power cut loses what was acknowledged.
    DropSyncs,
    /// A member that restarts has forgotten its vote.
    ForgetVote,
    /// A member that restarts has forgotten its term and vote.
    ForgetTerm,
    /// Reads are served without asking anybody.
    ReadWithoutBarrier,
    /// A command is now and then applied once more.
    ApplyTwice,
    /// A command is acknowledged that was never applied on one member.
    SkipApply,
    /// The log says "durable" before it has written.
    AcknowledgeEarly,
    /// A wiped member comes back under its old incarnation.
    HideWipe,
    /// An answer to a client is now and then forgotten.
    SwallowAnswer,
    /// The log is purged before the snapshot that takes its place is durable (24).
    PurgeEarly,
    /// A snapshot holds what the node keeps beside the machine, sessions and members,
    /// as it was at the first (25).
    SnapshotWithOldSidecar,
    /// A snapshot names the members that founded the group (25).
    SnapshotWithoutMembership,
    /// A completed write is taken for a later one that ends no further (26).
    CompleteByIndex,
    /// A write is taken for complete with the one before (27).
    CompleteAhead,
    /// Votes reach another member too than they were meant for (35).
    Misroute,
    /// A member that restarts goes by the membership that founded the group (16).
    ForgetMembership,
    /// Clocks stand still in suspend, and leases rely on them (22).
    StopClocks,
    /// A clock runs four times slower than the others, and leases rely on them all.
    HideDrift,
}
