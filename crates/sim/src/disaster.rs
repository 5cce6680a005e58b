//! A quorum that is lost for good, and what comes after: recovery from one survivor by the
//! product's own function, members left behind that are turned away, and a group that
//! grows again.
//!
//! Recovery gives up what Raft promises; but one whose log holds all that was committed
//! loses nothing. So such a survivor is chosen, as the documents tell people to, and then
//! every check holds on.

use crate::member::{Begins, Member, open};
use crate::operator::Why;
use crate::plan::Wish;
use crate::property::{Breach, Property};
use crate::random::Random;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, Phase, World};
use driftless_node::log::Opened;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Change, Membership, NodeId};
use driftless_node::recovery;

/// How often the operator looks whether there are enough members again.
const LOOKS_EVERY_US: u64 = 400_000;
/// As many voters are wanted again.
pub(crate) const VOTERS_AGAIN: usize = 3;

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// All members lose power, a quorum of them for good, and one of the others is
    /// recovered.
    pub(crate) fn lose_quorum(&mut self, pick: u64) -> Result<(), Breach> {
        let mut random = Random::new(pick);
        let membership = self.ghosts.membership(&self.founding);
        let survivors: Vec<NodeId> =
            membership.iter().filter(|id| self.may_go_on_alone(*id, &membership)).collect();
        let Some(&survivor) = random.pick(&survivors).filter(|_| !self.was_recovered) else {
            self.tell(|| "nobody could go on alone".into());
            return Ok(());
        };
        for id in membership.iter() {
            self.end_process(id, true);
        }
        self.recover_alone(survivor)?;
        (self.was_recovered, self.is_recovering) = (true, true);
        self.maybe_gone = 0;
        self.count(Situation::QuorumLost);
        let others: Vec<NodeId> = membership.iter().filter(|id| *id != survivor).collect();
        // One may turn up again: with more, what was could go on as well.
        let late = random.pick(&others).copied().filter(|_| random.chance(2, 3));
        for id in others {
            let member = self.member(id);
            (member.copy, member.lost) = (None, None);
            if Some(id) == late {
                self.left_behind.insert(id);
                self.start_later(id, random.between(500_000, 3_000_000));
            } else {
                member.is_out = true;
                self.tell(|| format!("member {id} is lost for good"));
            }
        }
        self.start_later(survivor, random.below(500_000));
        self.after(LOOKS_EVERY_US, Happening::GrowBack);
        Ok(())
    }

    /// Whether nothing is lost if `id` goes on alone: it holds all that is committed, and
    /// is in no earlier term than anybody else.
    /// Nor is there a membership that could yet be.
    fn may_go_on_alone(&self, id: NodeId, membership: &Membership) -> bool {
        let newest_term = |member: &Member<M>| member.durable.asked_hard_state().current_term;
        let newest = self.members.values().map(newest_term).max();
        let member = &self.members[&id];
        let Some(running) = &member.running else { return false };
        self.losses() == 0
            && membership.voters.len() > 1
            && !membership.is_joint()
            && !membership.is_witness(id)
            && running.node.raft().membership() == membership
            && self.ghosts.memberships_possible(&self.founding).count() == 1
            && !member.disk_is_full
            && Some(member.durable.hard_state().current_term) == newest
            && self.ghosts.holds_all_committed(member.durable.trail())
    }

    /// What `driftless recover` does with a directory.
    fn recover_alone(&mut self, id: NodeId) -> Result<(), Breach> {
        let cannot = |why: &dyn std::fmt::Display| {
            Breach(Property::Starts, format!("member {id} cannot be recovered: {why}"))
        };
        let member = self.members.get_mut(&id).expect("a member of this world");
        // Whoever does this sees to it that the disk works.
        let disk = &member.disk.memory;
        disk.fail_syncs(0);
        disk.power_cut_after(u64::MAX);
        let opened = open(member, &self.plan, &self.founding);
        let Opened { mut log, identity, mut groups } = opened.map_err(|why| cannot(&why))?;
        member.boots = identity.boots;
        let found = groups.pop().expect("every world has one group");
        let checked = member.durable.recover(id, &found);
        self.heed(checked, (0, 0))?;
        let (record, recovered) = recovery(&identity, &found).map_err(|why| cannot(&why))?;
        log.append(std::slice::from_ref(&record)).map_err(|why| cannot(&why))?;
        let member = self.members.get_mut(&id).expect("a member of this world");
        member.durable.written(&record);
        self.tell(|| format!("member {id} is recovered: {recovered:?}"));
        Ok(())
    }

    /// Has a new voter added, until there are enough.
    pub(crate) fn grow_back(&mut self) {
        if self.phase > Phase::Calm {
            return;
        }
        self.after(LOOKS_EVERY_US, Happening::GrowBack);
        let membership = self.newest_membership();
        if membership.voters.len() >= VOTERS_AGAIN || !self.wishes.is_empty() {
            return;
        }
        let waits = |member: &&Member<M>| {
            member.begins == Begins::Joining
                && !member.is_out
                && !self.left_behind.contains(&member.id)
                && !self.witnesses.contains(&member.id)
                && !membership.contains(member.id)
        };
        let waiting = self.members.values().find(waits).map(|member| member.id);
        let Some(id) = waiting.or_else(|| self.newcomer(false)) else { return };
        let pick = self.random.draw();
        if let Some(asked) = self.somebody(pick, &[]) {
            self.wish(asked, vec![Change::AddVoter(id)], Why::Wish(Wish::AddVoter), false);
        }
    }
}
