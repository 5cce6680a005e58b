//! For state-space search, beyond Figure 2: equal futures, equal states.
//!
//! Two members that differ only in *when* they are, and not in how far each of
//! their times lies from now, behave alike. Moving every time to an offset from
//! one fixed present makes them equal, and so lets a search recognise them.

use crate::progress::{Delivery, Flow};
use crate::raft::Raft;
use crate::roles::RoleState;
use crate::types::Time;

impl Raft {
    /// Shifts every time so that `now` becomes the returned, fixed present, and
    /// goes on from there. Times past by more than two election timeouts make no
    /// difference any more and are brought together.
    pub fn rebase(&mut self, now: Time) -> Time {
        let present = Time(2 * self.config.election_timeout_us);
        let shift = |time: &mut Time| {
            *time = if *time >= now {
                present.after(time.since(now))
            } else {
                Time(present.since(Time(now.since(*time))))
            };
        };
        if let Some(promise) = &mut self.lease_promise {
            shift(&mut promise.until);
        }
        match &mut self.role {
            RoleState::Follower(follower) => {
                shift(&mut follower.heard_at);
                shift(&mut follower.election_deadline);
                for read in &mut follower.reads {
                    shift(&mut read.give_up_at);
                }
            }
            RoleState::PreCandidate(candidacy) => shift(&mut candidacy.election_deadline),
            RoleState::Candidate(candidacy) => shift(&mut candidacy.election_deadline),
            RoleState::Leader(leader) => {
                for (_, known) in leader.followers.iter_mut() {
                    shift(&mut known.heard_at);
                    if let Flow::Snapshot(Delivery::UnderWay { moved_at, .. }) = &mut known.flow {
                        shift(moved_at);
                    }
                }
                for (_, sent_at) in &mut leader.heartbeats {
                    shift(sent_at);
                }
                shift(&mut leader.heartbeat_due);
                leader.reads.times().for_each(shift);
                if let Some(transfer) = &mut leader.transfer {
                    shift(&mut transfer.deadline);
                }
            }
        }
        present
    }
}
