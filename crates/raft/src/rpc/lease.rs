//! Leases, beyond Figure 2: thesis §6.4.1. A leader that was heard by a quorum
//! need not ask again for a while, since none of them helps to elect another
//! meanwhile. It answers reads without a message.
//!
//! This alone in the crate rests on clocks, and on nothing but how fast they
//! run. The operator declares by how much, and both sides allow for it: a
//! leader's lease ends early by that much, a voter's promise late. Four more
//! things keep it true. The promise is not part of a role, since a later term
//! does not end it. It is not on disk either, so a voter that comes back
//! promises anew to whoever it may have been. And whatever lets somebody be
//! elected in spite of the promise (a transfer) ends the lease for the rest of
//! the term. And nobody is taken to promise what it has not said: members may be
//! set up differently, or be set up anew one by one, so each says to each how long
//! it holds to a leader, and whoever holds for less than an election timeout of the
//! leader's, or not at all, counts for no lease of its.

use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::roles::{Leader, RoleState};
use crate::types::{Config, Moment, NodeId, Round, Term, Time};

/// A voter's promise to help nobody else into office for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LeasePromise {
    /// Whom it was made to; after a restart nobody knows.
    pub(crate) to: Option<NodeId>,
    /// When it ends, by the clock here.
    pub(crate) until: Time,
}

impl Config {
    /// How long after a round went out it may still be relied on; `None`
    /// without leases. By whatever clock within the bound this is measured, no
    /// more than an election timeout passes meanwhile.
    pub(crate) fn lease_us(&self) -> Option<u64> {
        // Rule RI.3: a lease ends early by what clocks may be off.
        self.lease_drift_ppm.map(|_| self.election_timeout_us.saturating_sub(self.drift_us()))
    }

    /// How long a voter that heard a leader helps nobody else: an election
    /// timeout at least, by whatever clock within the bound.
    #[inline]
    pub(crate) fn abstention_us(&self) -> u64 {
        // Rule RI.4: a promise ends late by what clocks may be off.
        self.election_timeout_us.saturating_add(self.drift_us())
    }

    /// For how long, in true time, this member helps nobody else when it has heard a
    /// leader: what its peers are told, and go by ([`Input::Promises`]). Zero without
    /// leases.
    ///
    /// [`Input::Promises`]: crate::Input::Promises
    pub fn promise_us(&self) -> u64 {
        self.lease_drift_ppm.map_or(0, |_| self.election_timeout_us)
    }

    /// The same by this member's own clock, with what that may be off: what a later
    /// life of it is to remember ([`Raft::owe`]).
    pub fn owed_us(&self) -> u64 {
        self.lease_drift_ppm.map_or(0, |_| self.abstention_us())
    }

    /// How far a clock may be off after an election timeout.
    fn drift_us(&self) -> u64 {
        self.lease_drift_ppm.map_or(0, |ppm| drift_after(self.election_timeout_us, ppm))
    }

    /// What a voter owes that comes back: it may have promised something to
    /// somebody just before it went away.
    pub(crate) fn promise_after_boot(&self, moment: Moment) -> Option<LeasePromise> {
        let until = moment.now.after(self.abstention_us());
        self.lease_drift_ppm.map(|_| LeasePromise { to: None, until })
    }
}

/// How far a clock that may be off by so many millionths may be after `span_us`.
#[inline(never)]
fn drift_after(span_us: u64, ppm: u32) -> u64 {
    let drift = (u128::from(span_us) * u128::from(ppm)).div_ceil(1_000_000);
    u64::try_from(drift).unwrap_or(u64::MAX)
}

impl Raft {
    /// An earlier life of this member may have promised as much as `owed_us` (by
    /// [`Config::owed_us`] of then) just before it ended, whatever it is told today:
    /// the promise is kept. To be called before the first step.
    pub fn owe(&mut self, owed_us: u64, now: Time) {
        let alone = self.trail.membership().is_quorum(|id| id == self.config.id);
        if owed_us == 0 || alone || self.hard_state.current_term == Term(0) {
            return;
        }
        self.owed_us = owed_us;
        let until = now.after(owed_us);
        let made = self.lease_promise.map_or(until, |promise| promise.until.max(until));
        self.lease_promise = Some(LeasePromise { to: None, until: made });
    }

    /// `peer` says for how long it helps nobody else when it hears this leader.
    pub(crate) fn promised_by(&mut self, peer: NodeId, promise_us: u64) {
        if promise_us < self.config.election_timeout_us {
            self.unpromising.insert(peer);
        } else {
            self.unpromising.remove(&peer);
        }
    }

    /// `leader` is heard: nobody else gets help from here for a while.
    #[inline]
    pub(crate) fn promise_lease(&mut self, leader: NodeId, now: Time) {
        if self.config.lease_drift_ppm.is_some() {
            let mut until = now.after(self.config.abstention_us());
            // One of an earlier life may be longer, and have been made to this leader.
            if let Some(made) = self.lease_promise
                && made.to.is_none_or(|to| to == leader)
            {
                until = until.max(made.until);
            }
            self.lease_promise = Some(LeasePromise { to: Some(leader), until });
        }
    }

    /// Until when this member may not help `candidate`, if so. The one whom it
    /// promised leads no more if it asks for votes itself.
    pub(crate) fn abstains_until(&self, candidate: NodeId, now: Time) -> Option<Time> {
        let promise = self.lease_promise?;
        (promise.to != Some(candidate) && now < promise.until).then_some(promise.until)
    }

    /// Whether this leader may answer reads without asking anybody.
    pub(crate) fn holds_lease(&self, leader: &Leader, now: Time) -> bool {
        let Some(lease_us) = self.config.lease_us() else { return false };
        let heard = |id| {
            leader.followers.get(id).is_some_and(|known| {
                // Rule RI.5: only those count who keep to the leader as long.
                !self.unpromising.contains(&id)
                    && known.round_heard > Round(0)
                    && known.round_heard >= leader.lease_from
                    && now.since(known.heard_at) < lease_us
            })
        };
        !leader.lease_forfeited
            && leader.transfer.is_none()
            && self.trail.membership().is_quorum(|id| id == self.config.id || heard(id))
    }

    /// Whether this member leads and may, at `now` by its own clock, answer reads
    /// without asking anybody. For checks: to read, step it with
    /// [`Input::Read`](crate::Input::Read).
    pub fn has_lease(&self, now: Time) -> bool {
        match &self.role {
            RoleState::Leader(leader) => self.holds_lease(leader, now),
            _ => false,
        }
    }

    /// This process did not run for a while, and nobody knows what its clock did
    /// meanwhile. It may have stood still: what was heard before counts for no
    /// lease. It may have leapt ahead: what was promised before is promised anew.
    pub(crate) fn paused(&mut self, context: &mut Context<'_>) {
        if let Some(promise) = &mut self.lease_promise {
            promise.until = context.now().after(self.config.abstention_us().max(self.owed_us));
            context.note(|| Note::LeasePromiseRenewed);
        }
        if let RoleState::Leader(leader) = &mut self.role {
            leader.lease_from = Round(leader.round.0 + 1);
            leader.heartbeat_due = context.now();
            context.note(|| Note::LeaseDropped);
        }
    }
}
