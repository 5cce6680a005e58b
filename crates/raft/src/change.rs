//! Changes of membership, beyond Figure 2: §6 of the paper, thesis §4.
//!
//! One voter more or less needs no more than the new membership: any majority
//! of the one and any majority of the other share a member (thesis §4.1).
//! Everything else goes through a joint membership, in which both sets must
//! agree (§6, thesis §4.3), and which the leader leaves by itself.

use crate::membership::Membership;
use crate::node_set::NodeSet;
use crate::types::{Index, NodeId};
use core::fmt;

#[cfg(test)]
#[path = "change_test.rs"]
mod tests;

/// One wish about one member. Several together are one change: any set of
/// voters can become any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// A new voter that has none of the log yet. Better is a learner, promoted
    /// when it has caught up (thesis §4.2.1).
    AddVoter(NodeId),
    /// A new learner.
    AddLearner(NodeId),
    /// A new witness, which votes at once: it has no payloads to wait for.
    AddWitness(NodeId),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member goes.
    Remove(NodeId),
    /// A member that lost its disk comes back as a learner, with a disk of this
    /// incarnation. Promoted, it votes again: the entry that makes it a voter
    /// bears its incarnation, and so is not one from before the loss. Nothing
    /// else may go with it: a set that counts the member as a voter still must
    /// not be asked to agree, for what it would say rests on no memory.
    Readmit {
        /// The member.
        id: NodeId,
        /// The number that its new disk was given when it was created.
        incarnation: u64,
    },
}

/// Why a change of membership was refused. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeRefusal {
    /// This member does not lead; `leader` might.
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<NodeId>,
    },
    /// Leadership is on its way to another member.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// No entry of the leader's own term is committed yet; try again soon.
    TermNotCommitted,
    /// Another change is not finished; try again when it is.
    ChangeOpen {
        /// Where it stands in the log.
        at: Index,
    },
    /// It is a member already.
    AlreadyMember(NodeId),
    /// It is not a member.
    NotMember(NodeId),
    /// It is not a learner.
    NotLearner(NodeId),
    /// It is not a voter.
    NotVoter(NodeId),
    /// The learner lacks committed entries that were not even sent to it yet, or, if it
    /// lost its data, that it has not stored yet; or it does not answer. Try again later.
    NotCaughtUp(NodeId),
    /// Nobody would be left to vote.
    NoVoters,
    /// Some majority would hold no payloads.
    TooManyWitnesses,
    /// Another change was wished for together with a readmission.
    ReadmitAlone(NodeId),
    /// It would change nothing.
    NoChange,
    /// Those voters of the new membership that are known to be up are no quorum
    /// of it. It can be forced.
    QuorumUnreachable,
}

impl Membership {
    /// The membership that these changes lead to: joint, unless it takes no more
    /// than one voter more or less.
    ///
    /// Says nothing of whether this is the time for it; [`Raft`](crate::Raft) does.
    pub fn changed(&self, changes: &[Change]) -> Result<Self, ChangeRefusal> {
        let mut target = self.clone();
        for &change in changes {
            if let (Change::Readmit { id, .. }, 2..) = (change, changes.len()) {
                return Err(ChangeRefusal::ReadmitAlone(id));
            }
            // Nobody goes and comes again in one change: as what, would depend
            // on which side of a joint membership one asks.
            if let Change::AddVoter(id) | Change::AddLearner(id) | Change::AddWitness(id) = change
                && self.contains(id)
            {
                return Err(ChangeRefusal::AlreadyMember(id));
            }
            target.apply(change)?;
        }
        target.forget_strangers();
        if target == *self {
            return Err(ChangeRefusal::NoChange);
        }
        if target.voters.is_empty() {
            return Err(ChangeRefusal::NoVoters);
        }
        // Any majority must hold payloads, or what it commits could be lost.
        let witnesses = target.voters.intersection(&target.witnesses).count();
        if witnesses > target.voters.len() / 2 || witnesses == target.voters.len() {
            return Err(ChangeRefusal::TooManyWitnesses);
        }
        let leaving = self.voters.difference(&target.voters).count();
        let coming = target.voters.difference(&self.voters).count();
        if leaving + coming > 1 {
            target.outgoing = self.voters.clone();
            // What those on their way out are stays known until they are gone.
            let witnesses = self.witnesses.intersection(&self.voters);
            target.witnesses.extend(witnesses.copied());
        }
        Ok(target)
    }

    fn apply(&mut self, change: Change) -> Result<(), ChangeRefusal> {
        match change {
            Change::AddVoter(id) | Change::AddLearner(id) | Change::AddWitness(id) => {
                if self.contains(id) {
                    return Err(ChangeRefusal::AlreadyMember(id));
                }
                let is_learner = matches!(change, Change::AddLearner(_));
                let set = if is_learner { &mut self.learners } else { &mut self.voters };
                set.insert(id);
                if matches!(change, Change::AddWitness(_)) {
                    self.witnesses.insert(id);
                }
            }
            Change::Promote(id) => {
                if !self.learners.remove(&id) {
                    return Err(ChangeRefusal::NotLearner(id));
                }
                self.voters.insert(id);
            }
            Change::Demote(id) => {
                if !self.voters.remove(&id) {
                    return Err(ChangeRefusal::NotVoter(id));
                }
                self.learners.insert(id);
            }
            Change::Remove(id) => {
                if !self.voters.remove(&id) && !self.learners.remove(&id) {
                    return Err(ChangeRefusal::NotMember(id));
                }
            }
            Change::Readmit { id, incarnation } => {
                if self.voters.remove(&id) {
                    self.returning.insert(id);
                } else if !self.learners.contains(&id) {
                    return Err(ChangeRefusal::NotMember(id));
                }
                self.learners.insert(id);
                self.readmitted.insert(id, incarnation);
            }
        }
        Ok(())
    }

    /// The membership that follows a joint one: C_new alone.
    pub(crate) fn left(&self) -> Self {
        let mut left = self.clone();
        left.outgoing = NodeSet::NONE;
        left.forget_strangers();
        left
    }

    /// Drops what is known of those who are no members any more, but for whose
    /// disk was replaced, in case they come back with it; and who has come back is
    /// returning no more.
    fn forget_strangers(&mut self) {
        let Self { voters, learners, witnesses, returning, .. } = self;
        returning.retain(|id| learners.contains(id));
        witnesses.retain(|id| voters.contains(id) || learners.contains(id));
    }
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "I do not lead; ask member {leader}")
            }
            Self::NotLeader { leader: None } => write!(f, "I do not lead, and know of no leader"),
            Self::Transferring { to } => write!(f, "leadership is on its way to member {to}"),
            Self::TermNotCommitted => {
                write!(f, "no entry of my own term is committed yet; try again soon")
            }
            Self::ChangeOpen { at } => {
                write!(f, "the change at entry {at} is not finished; try again when it is")
            }
            Self::AlreadyMember(id) => write!(f, "{id} is a member already"),
            Self::NotMember(id) => write!(f, "{id} is not a member"),
            Self::NotLearner(id) => write!(f, "member {id} is not a learner"),
            Self::NotVoter(id) => write!(f, "member {id} is not a voter"),
            Self::NotCaughtUp(id) => write!(f, "learner {id} has not caught up; try again later"),
            Self::NoVoters => write!(f, "nobody would be left to vote"),
            Self::TooManyWitnesses => write!(f, "a majority could consist of witnesses"),
            Self::ReadmitAlone(id) => write!(f, "bring member {id} back first, and nothing else"),
            Self::NoChange => write!(f, "nothing would change"),
            Self::QuorumUnreachable => {
                write!(f, "too few of the voters that would be are known to be up")
            }
        }
    }
}

impl core::error::Error for ChangeRefusal {}
