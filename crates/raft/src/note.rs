//! Why a member did what it did: typed, so that logs, tests and the visualiser
//! all render the same decision. Recorded only if [`Effects::notes`] is there.
//!
//! [`Effects::notes`]: crate::Effects

use crate::change::ChangeRefusal;
use crate::effect::TransferRefusal;
use crate::types::{Index, NodeId, Position, Term};
use core::fmt;

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Note {
    /// A message of a later term was seen.
    TermAdopted {
        /// The term before.
        from: Term,
        /// The term now.
        to: Term,
    },
    /// It asks whether it could win.
    PreVoteStarted {
        /// The term that it would campaign in.
        term: Term,
        /// Where its log ends.
        last_log: Position,
    },
    /// It would vote for the candidate.
    PreVoteGranted {
        /// Who asked.
        candidate: NodeId,
        /// For which term.
        term: Term,
    },
    /// It would not vote for the candidate.
    PreVoteRefused {
        /// Who asked.
        candidate: NodeId,
        /// Why not.
        reason: VoteRefusal,
    },
    /// It seeks votes.
    ElectionStarted {
        /// In which term.
        term: Term,
        /// Where its log ends.
        last_log: Position,
    },
    /// It votes for the candidate, once that is durable.
    VoteGranted {
        /// Who asked.
        candidate: NodeId,
        /// In which term.
        term: Term,
    },
    /// It does not vote for the candidate.
    VoteRefused {
        /// Who asked.
        candidate: NodeId,
        /// Why not.
        reason: VoteRefusal,
    },
    /// A quorum voted for it.
    Elected {
        /// The term that it leads.
        term: Term,
    },
    /// It found the leader of its term.
    Following {
        /// Who that is.
        leader: NodeId,
        /// Of which term.
        term: Term,
    },
    /// The link to its leader broke.
    LeaderLost {
        /// Who led.
        leader: NodeId,
    },
    /// No quorum answered for an election timeout, so it leads no more.
    QuorumLost {
        /// The term that it led.
        term: Term,
    },
    /// A leader whose term has passed wants to append.
    StaleLeader {
        /// Who.
        from: NodeId,
        /// The sender's term.
        theirs: Term,
        /// The term here.
        mine: Term,
    },
    /// The log does not hold what an append begins from.
    AppendRejected {
        /// Who sent it.
        leader: NodeId,
        /// What it begins from.
        prev_log: Position,
        /// Where the leader may try next.
        hint: Position,
    },
    /// Entries in conflict with the leader's are cut.
    Truncated {
        /// The first that is cut.
        from: Index,
        /// The last that is cut.
        last: Position,
    },
    /// The leader tries further down.
    BackTracked {
        /// With which follower.
        follower: NodeId,
        /// What that one does not hold.
        refused: Position,
        /// What it proposed instead.
        hint: Position,
    },
    /// The commit index moved.
    Committed {
        /// Where to.
        through: Index,
    },
    /// A snapshot takes the place of the log up to it.
    SnapshotInstalled {
        /// The last entry that it covers.
        last: Position,
        /// Whether entries after it were kept.
        retained: bool,
    },
    /// A snapshot brings nothing new.
    SnapshotCovered {
        /// The last entry that it covers.
        last: Position,
        /// What is committed here.
        commit_index: Index,
    },
    /// Another membership is in force, from its entry on and at once.
    MembershipInForce {
        /// Where it stands in the log.
        at: Index,
        /// Whether two sets must agree.
        is_joint: bool,
    },
    /// A change of membership is refused.
    ChangeRefused {
        /// Why.
        reason: ChangeRefusal,
    },
    /// Leadership is to go to another member, who must catch up first.
    TransferStarted {
        /// To whom.
        to: NodeId,
    },
    /// Leadership does not go to another member.
    TransferRefused {
        /// Why.
        reason: TransferRefusal,
    },
    /// The other member holds all of the log, and is told to seek election.
    TransferHandedOver {
        /// Who.
        to: NodeId,
    },
    /// The other member did not take over in time.
    TransferFailed {
        /// Who.
        to: NodeId,
    },
    /// The leader wants this member to take over.
    TransferTaken {
        /// Who led.
        from: NodeId,
    },
    /// The disk does not answer, so leadership is to go to another member.
    DiskStalled {
        /// To whom.
        heir: NodeId,
    },
    /// It leads, or seeks to lead, no more.
    Resigned {
        /// In which term.
        term: Term,
    },
    /// A follower got nothing more of its snapshot for too long.
    SnapshotStalled {
        /// Who.
        follower: NodeId,
    },
    /// Another member is to send a follower its snapshot.
    SnapshotDelegated {
        /// Who needs it.
        follower: NodeId,
        /// Who sends it.
        sender: NodeId,
    },
    /// It sends no snapshot in the place of whoever asked.
    DelegationDeclined {
        /// Who asked.
        leader: NodeId,
        /// Who was to be sent one.
        follower: NodeId,
    },
    /// What was heard so far counts for no lease any more.
    LeaseDropped,
    /// What it promised a leader holds for as long again as when it was promised.
    LeasePromiseRenewed,
    /// It would seek election, but may have promised a leader not to, for now.
    ElectionPostponed,
    /// The membership without it is committed, so it leads no more.
    LeaderRemoved {
        /// The term that it led.
        term: Term,
    },
    /// Somebody claims to lead a term that has another leader.
    SecondLeader {
        /// Which term.
        term: Term,
        /// Who claims it.
        from: NodeId,
    },
    /// A message that no member of the same make can have sent.
    Malformed {
        /// Its sender.
        from: NodeId,
    },
}

/// Why a vote or a pre-vote is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VoteRefusal {
    /// The asked term has passed.
    StaleTerm {
        /// The asked term.
        theirs: Term,
    },
    /// This term's vote was given to another.
    VoteTaken {
        /// To whom.
        by: NodeId,
    },
    /// The candidate's log is less up-to-date.
    LogBehind {
        /// Where the log here ends.
        mine: Position,
        /// Where the candidate's ends.
        theirs: Position,
    },
    /// This member lost its disk, and with it what it promised.
    DiskReplaced,
    /// A leader may be relying on this member for its lease.
    LeasePromised {
        /// Which; `None` right after a restart, when nobody knows.
        to: Option<NodeId>,
    },
    /// A leader was heard within the minimum election timeout.
    LeaderHeard {
        /// Which; `None` if it is this member itself.
        leader: Option<NodeId>,
    },
}

impl Note {
    /// The rule of Figure 2 or 13 that it follows from, or the section of the
    /// paper (`§`) or of the thesis (`thesis §`).
    pub fn rule(&self) -> Option<&'static str> {
        Some(match self {
            Self::TermAdopted { .. } => "SA.2",
            Self::ElectionStarted { .. } => "SC.1",
            Self::VoteGranted { .. } => "RV.2",
            Self::VoteRefused { reason, .. } => match reason {
                VoteRefusal::StaleTerm { .. } => "RV.1",
                VoteRefusal::VoteTaken { .. } | VoteRefusal::LogBehind { .. } => "RV.2",
                VoteRefusal::DiskReplaced => return None,
                VoteRefusal::LeaderHeard { .. } => "thesis §4.2.3",
                VoteRefusal::LeasePromised { .. } => "thesis §6.4.1",
            },
            Self::Elected { .. } => "SC.5",
            Self::StaleLeader { .. } => "AE.1",
            Self::AppendRejected { .. } => "AE.2",
            Self::Truncated { .. } => "AE.3",
            Self::BackTracked { .. } => "SL.6",
            Self::SnapshotInstalled { retained: true, .. } => "IS.6",
            Self::SnapshotInstalled { retained: false, .. } => "IS.7",
            Self::MembershipInForce { is_joint: true, .. } | Self::LeaderRemoved { .. } => "§6",
            Self::MembershipInForce { is_joint: false, .. } => "thesis §4.1",
            Self::TransferHandedOver { .. } | Self::TransferTaken { .. } => "thesis §3.10",
            Self::QuorumLost { .. } => "thesis §6.2",
            _ => return None,
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TermAdopted { from, to } => {
                write!(f, "a later term was seen -> term {from} becomes {to}")
            }
            Self::PreVoteStarted { term, last_log } => {
                write!(f, "could I win term {term} with a log up to {last_log}?")
            }
            Self::PreVoteGranted { candidate, term } => {
                write!(f, "member {candidate} could have my vote in term {term}")
            }
            Self::PreVoteRefused { candidate, reason } => {
                write!(f, "{reason} -> member {candidate} could not have my vote")
            }
            Self::ElectionStarted { term, last_log } => {
                write!(f, "seek votes for term {term} with a log up to {last_log}")
            }
            Self::VoteGranted { candidate, term } => {
                write!(f, "vote for member {candidate} in term {term}")
            }
            Self::VoteRefused { candidate, reason } => {
                write!(f, "{reason} -> no vote for member {candidate}")
            }
            Self::Elected { term } => write!(f, "a quorum voted for me -> lead term {term}"),
            Self::Following { leader, term } => write!(f, "member {leader} leads term {term}"),
            Self::LeaderLost { leader } => {
                write!(f, "the link to member {leader}, the leader, broke")
            }
            Self::QuorumLost { term } => {
                write!(f, "no quorum answers -> no longer lead term {term}")
            }
            Self::StaleLeader { from, theirs, mine } => {
                write!(f, "member {from} leads term {theirs}, but this is term {mine} -> reject")
            }
            Self::AppendRejected { prev_log, hint, .. } => {
                write!(f, "no {prev_log} in my log -> reject, try {hint}")
            }
            Self::Truncated { from, last } => {
                write!(f, "conflict with the leader -> cut {from} to {}", last.index)
            }
            Self::BackTracked { follower, refused, hint } => {
                write!(f, "member {follower} has no {refused} -> go back, at most to {hint}")
            }
            Self::Committed { through } => write!(f, "committed up to {through}"),
            Self::SnapshotInstalled { last, retained: true } => {
                write!(f, "snapshot up to {last} -> keep the log after it")
            }
            Self::SnapshotInstalled { last, retained: false } => {
                write!(f, "snapshot up to {last} -> discard the log")
            }
            Self::SnapshotCovered { last, commit_index } => {
                write!(f, "snapshot up to {last}, but {commit_index} is committed here -> ignore")
            }
            Self::MembershipInForce { at, is_joint: true } => {
                write!(f, "the joint membership at {at} is in force")
            }
            Self::MembershipInForce { at, is_joint: false } => {
                write!(f, "the membership at {at} is in force")
            }
            Self::ChangeRefused { reason } => write!(f, "no change of membership: {reason}"),
            Self::TransferStarted { to } => write!(f, "member {to} is to take over"),
            Self::TransferRefused { reason } => write!(f, "no transfer: {reason}"),
            Self::TransferHandedOver { to } => {
                write!(f, "member {to} holds all of my log -> it may take over")
            }
            Self::TransferFailed { to } => {
                write!(f, "member {to} did not take over in time -> lead on")
            }
            Self::TransferTaken { from } => write!(f, "member {from} wants me to take over"),
            Self::DiskStalled { heir } => {
                write!(f, "my disk does not answer -> member {heir} is to take over")
            }
            Self::Resigned { term } => write!(f, "seek and hold no leadership in term {term}"),
            Self::SnapshotStalled { follower } => {
                write!(f, "member {follower} gets no further with its snapshot -> begin again")
            }
            Self::SnapshotDelegated { follower, sender } => {
                write!(f, "member {sender} has what member {follower} lacks -> let it send")
            }
            Self::DelegationDeclined { leader, follower } => {
                write!(f, "member {leader} wants member {follower} sent a snapshot -> decline")
            }
            Self::LeaseDropped => write!(f, "I was paused -> hold no lease until heard again"),
            Self::LeasePromiseRenewed => {
                write!(f, "I was paused -> what I promised holds as if I had done so now")
            }
            Self::ElectionPostponed => {
                write!(f, "a leader may hold a lease by my promise -> wait with the election")
            }
            Self::LeaderRemoved { term } => {
                write!(f, "committed a membership without me -> no longer lead term {term}")
            }
            Self::SecondLeader { term, from } => {
                write!(f, "member {from} claims to lead term {term}, which has a leader -> ignore")
            }
            Self::Malformed { from } => write!(f, "malformed message from member {from} -> ignore"),
        }
    }
}

impl fmt::Display for VoteRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleTerm { theirs } => write!(f, "term {theirs} has passed"),
            Self::VoteTaken { by } => write!(f, "I voted for member {by} in this term"),
            Self::LogBehind { mine, theirs } => {
                write!(f, "my log reaches {mine}, theirs only {theirs}")
            }
            Self::DiskReplaced => write!(f, "I do not know what the disk that I lost promised"),
            Self::LeasePromised { to: Some(leader) } => {
                write!(f, "member {leader} may hold a lease by my promise")
            }
            Self::LeasePromised { to: None } => {
                write!(f, "before my restart I may have promised somebody a lease")
            }
            Self::LeaderHeard { leader: Some(leader) } => write!(f, "I hear member {leader} lead"),
            Self::LeaderHeard { leader: None } => write!(f, "I lead"),
        }
    }
}
