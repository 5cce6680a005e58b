//! How a member begins, and begins again after a crash: from what is durable.

use crate::membership::Membership;
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::roles::{Follower, RoleState};
use crate::trail::Trail;
use crate::types::{Config, HardState, Index, Moment, Term};
use alloc::collections::BTreeSet;
use core::fmt;

/// What a member finds on its disk. All default on the very first start, but
/// for the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// Term, vote and a lower bound of the commit index.
    pub hard_state: HardState,
    /// The log, behind its newest snapshot, with the memberships in it.
    pub trail: Trail,
    /// The incarnation of this disk, if it replaces one that this member lost:
    /// the member does not vote before a membership names it with this disk.
    pub replacement: Option<u64>,
}

impl Restored {
    /// The disk of a member that begins in a group of this membership.
    pub fn of(membership: Membership) -> Self {
        Self { trail: Trail::of(membership), ..Self::default() }
    }
}

/// Why a member cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartError {
    /// The log bears a term that the hard state has not reached: term and vote
    /// were lost, and voting again could elect a second leader.
    TermLost {
        /// The restored term.
        current_term: Term,
        /// The term at the end of the log.
        last_log_term: Term,
    },
    /// The log ends before the commit index: committed entries were lost.
    CommittedLost {
        /// The restored commit index.
        commit_index: Index,
        /// The end of the log.
        last_index: Index,
    },
    /// Heartbeats are not more frequent than election timeouts, or are zero.
    Timing {
        /// As configured.
        heartbeat_interval_us: u64,
        /// As configured.
        election_timeout_us: u64,
    },
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TermLost { current_term, last_log_term } => write!(
                f,
                "the log reaches term {last_log_term} but the stored term is {current_term}: \
                 the vote is lost, this member must not vote again; remove it and add it anew"
            ),
            Self::CommittedLost { commit_index, last_index } => write!(
                f,
                "entries up to {commit_index} were committed but the log ends at {last_index}: \
                 this member lost data; remove it and add it anew"
            ),
            Self::Timing { heartbeat_interval_us, election_timeout_us } => write!(
                f,
                "the heartbeat interval ({heartbeat_interval_us} us) must be above zero and \
                 below the election timeout ({election_timeout_us} us)"
            ),
        }
    }
}

impl core::error::Error for RestartError {}

impl Raft {
    /// A member that begins with what `restored` says.
    ///
    /// The state machine is taken to stand at the base of the trail. Step it
    /// with [`Input::Wake`](crate::Input::Wake) at once: entries already known
    /// to be committed are handed out by the first step, whatever its input.
    pub fn new(config: Config, restored: Restored, moment: Moment) -> Result<Self, RestartError> {
        let Restored { mut hard_state, trail, replacement } = restored;
        let (base, last) = (trail.base(), trail.last());
        if last.term > hard_state.current_term {
            return Err(RestartError::TermLost {
                current_term: hard_state.current_term,
                last_log_term: last.term,
            });
        }
        if hard_state.commit_index > last.index {
            return Err(RestartError::CommittedLost {
                commit_index: hard_state.commit_index,
                last_index: last.index,
            });
        }
        if !(1..config.election_timeout_us).contains(&config.heartbeat_interval_us) {
            return Err(RestartError::Timing {
                heartbeat_interval_us: config.heartbeat_interval_us,
                election_timeout_us: config.election_timeout_us,
            });
        }
        // A snapshot holds committed entries only.
        hard_state.commit_index = hard_state.commit_index.max(base.index);
        // The only voter has nobody to wait for.
        let alone = trail.membership().is_quorum(|id| id == config.id);
        let election_deadline =
            if alone { moment.now } else { config.draw_election_deadline(moment) };
        Ok(Self {
            outbox: Outbox::new(last.index),
            last_applied: base.index,
            role: RoleState::Follower(Follower::of_nobody(election_deadline)),
            trail,
            hard_state,
            replacement,
            disk_stalled: false,
            owed_us: 0,
            unpromising: BTreeSet::new(),
            // Whoever never heard of a term never heard a leader, and the only
            // voter has promised nobody anything.
            lease_promise: if alone || hard_state.current_term == Term(0) {
                None
            } else {
                config.promise_after_boot(moment)
            },
            config,
        })
    }
}
