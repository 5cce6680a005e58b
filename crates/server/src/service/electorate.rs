//! `--strict-reconfig-check`: the changes of members that etcd refuses lest a majority be
//! lost (`mayAddMember` and the like in its `server.go`).
//!
//! They go by what the member that is asked knows by itself: who has ever started, which is
//! when a member says its name; and to whom it has a link, and for how long. From 3.6.11 on
//! etcd adds members also while some are away, as long as a majority of all is not; here
//! it is as before, and as in 3.4 and most of 3.5.

use crate::pb;
use crate::status::Status;
use std::time::Duration;

/// etcd's `HealthInterval`: a link that is younger may not last.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// Who votes, to clients, and how they are.
pub(super) struct Electorate {
    voters: Vec<Voter>,
    learners: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Voter {
    id: u64,
    is_started: bool,
    is_reached: bool,
    is_healthy: bool,
}

impl Electorate {
    /// Of `members`, as `own` sees them.
    pub(super) fn of(
        members: &[pb::Member],
        own: u64,
        reached_for: impl Fn(u64) -> Option<Duration>,
    ) -> Self {
        let voter = |member: &pb::Member| {
            let reached_for = reached_for(member.id);
            let is_itself = member.id == own;
            // A witness does not say its name itself.
            let is_witness = member.role == pb::MemberRole::Witness as i32;
            let is_heard = !is_witness || is_itself || reached_for.is_some();
            Voter {
                id: member.id,
                is_started: !member.name.is_empty() && is_heard,
                is_reached: is_itself || reached_for.is_some(),
                is_healthy: is_itself || reached_for.is_some_and(|time| time > HEALTHY_AFTER),
            }
        };
        let (learners, voters): (Vec<_>, Vec<_>) =
            members.iter().partition(|member| member.is_learner);
        Self {
            voters: voters.into_iter().map(voter).collect(),
            learners: learners.iter().map(|member| member.id).collect(),
        }
    }

    /// Whether `id` is a learner; `None` if it is no member.
    pub(super) fn is_learner(&self, id: u64) -> Option<bool> {
        let votes = self.voters.iter().any(|voter| voter.id == id);
        let learns = self.learners.contains(&id);
        (votes || learns).then_some(learns)
    }

    /// Those that have started must be a majority with one more voter that has not, but a
    /// single member may always be joined by a second; and all must be healthy.
    pub(super) fn may_add(&self, is_learner: bool) -> Result<(), Status> {
        let (count, started) = (self.voters.len(), self.started());
        if !is_learner && (count, started) != (1, 1) && started <= count.div_ceil(2) {
            return Err(Status::NOT_ENOUGH_STARTED);
        }
        if self.healthy() < count {
            return Err(Status::UNHEALTHY);
        }
        Ok(())
    }

    /// Those that have started must be a majority without `id`; and without one that is
    /// up, so must the healthy ones.
    pub(super) fn may_remove(&self, id: u64) -> Result<(), Status> {
        if self.is_learner(id) == Some(true) {
            return Ok(());
        }
        let rest = self.voters.iter().filter(|voter| voter.id != id);
        let started = rest.clone().filter(|voter| voter.is_started).count();
        if started <= rest.count() / 2 {
            return Err(Status::NOT_ENOUGH_STARTED);
        }
        let is_up = self.voters.iter().any(|voter| voter.id == id && voter.is_reached);
        // As etcd counts: the one that goes is among the healthy, whether it is or not.
        let left = self.healthy().saturating_sub(1);
        let needed = 1 + (self.voters.len().saturating_sub(1)) / 2;
        if is_up && left < needed {
            return Err(Status::UNHEALTHY);
        }
        Ok(())
    }

    /// Those that have started must be a majority with one more that has.
    pub(super) fn may_promote(&self) -> Result<(), Status> {
        let is_ready = self.started() + 1 > self.voters.len().div_ceil(2);
        is_ready.then_some(()).ok_or(Status::NOT_ENOUGH_STARTED)
    }

    fn started(&self) -> usize {
        self.voters.iter().filter(|voter| voter.is_started).count()
    }

    fn healthy(&self) -> usize {
        self.voters.iter().filter(|voter| voter.is_healthy).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(3_600));
    const BRIEF: Option<Duration> = Some(Duration::from_secs(5));

    /// Voters from 0 on, of which the first have started, each reached for so long by
    /// member 0.
    fn electorate(started: u64, reached: &[Option<Duration>]) -> Electorate {
        let name = |id| if id < started { "started".to_owned() } else { String::new() };
        let member = |id| pb::Member { id, name: name(id), ..pb::Member::default() };
        let members: Vec<_> = (0..reached.len() as u64).map(member).collect();
        Electorate::of(&members, 0, |id| reached.get(id as usize).copied().flatten())
    }

    #[test]
    fn a_majority_of_those_that_started_is_left() {
        let no = Err(Status::NOT_ENOUGH_STARTED);
        // (started, not started) of the voters before.
        for (case, add, remove_started) in [
            ((1, 0), Ok(()), no.clone()),
            ((1, 1), no.clone(), no.clone()),
            ((2, 1), no.clone(), no.clone()),
            ((3, 0), Ok(()), Ok(())),
            ((3, 1), Ok(()), Ok(())),
            ((3, 2), no.clone(), no.clone()),
            ((4, 1), Ok(()), Ok(())),
        ] {
            let voters = electorate(case.0, &vec![LONG; (case.0 + case.1) as usize]);
            assert_eq!(voters.may_add(false), add, "one more than {case:?}");
            assert_eq!(voters.may_remove(0), remove_started, "one less than {case:?}");
        }
        let with_unstarted = electorate(2, &[LONG, LONG, None]);
        assert_eq!(with_unstarted.may_remove(2), Ok(()), "one that never started may go");
        assert_eq!(electorate(1, &[LONG]).may_promote(), Ok(()));
        assert_eq!(electorate(1, &[LONG, None, None]).may_promote(), no);
    }

    #[test]
    fn a_majority_of_those_that_are_up_is_left() {
        let no = Err(Status::UNHEALTHY);
        let three = |third| electorate(3, &[None, LONG, third]);
        assert_eq!(three(LONG).may_add(false), Ok(()));
        for third in [None, BRIEF] {
            assert_eq!(three(third).may_add(false), no, "{third:?}");
            assert_eq!(three(third).may_add(true), no, "{third:?}, a learner");
            assert_eq!(three(third).may_remove(0), no, "{third:?}, itself");
            assert_eq!(three(third).may_remove(1), no, "{third:?}, one that is up");
        }
        assert_eq!(three(None).may_remove(2), Ok(()), "it is not missed");
        assert_eq!(three(BRIEF).may_remove(2), no, "it may be");
        let five = electorate(5, &[None, LONG, LONG, LONG, None]);
        assert_eq!(five.may_remove(1), Ok(()));
        let five = electorate(5, &[None, LONG, LONG, None, None]);
        assert_eq!(five.may_remove(1), no);
        assert_eq!(electorate(2, &[None, LONG]).may_remove(1), Ok(()));
        assert_eq!(electorate(3, &[None, None, None]).may_remove(9), Ok(()), "nobody");
    }

    /// Others say its name when it is added: it has started when it is met.
    #[test]
    fn a_witness_has_started_when_it_is_met() {
        let role = pb::MemberRole::Witness as i32;
        let voter = |id| pb::Member { id, name: "said".to_owned(), ..pb::Member::default() };
        let members = [voter(0), voter(1), pb::Member { role, ..voter(2) }];
        let reached = |id: u64| [None, LONG, None][id as usize];
        let away = Electorate::of(&members, 0, reached);
        assert_eq!(away.may_remove(1), Err(Status::NOT_ENOUGH_STARTED));
        assert_eq!(away.may_remove(2), Ok(()));
        let met = Electorate::of(&members, 0, |_| LONG);
        assert_eq!(met.may_remove(1), Ok(()));
    }

    #[test]
    fn learners_do_not_count() {
        let named = |id, is_learner| pb::Member {
            id,
            is_learner,
            name: "started".to_owned(),
            ..pb::Member::default()
        };
        let members = [named(0, false), named(1, true)];
        let voters = Electorate::of(&members, 0, |_| None);
        assert_eq!((voters.may_add(false), voters.may_remove(1)), (Ok(()), Ok(())));
        assert_eq!([0, 1, 2].map(|id| voters.is_learner(id)), [Some(false), Some(true), None]);
    }
}
