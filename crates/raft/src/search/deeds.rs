//! What members do by themselves, or what happens to one alone.

use super::mutant::Mutant;
use super::scene::{ANY, Bounds, Rules};
use super::world::{Action, Envelope, Member, name, number};
use crate::roles::RoleState;
use crate::{Change, Position, Role, Ticket};
use alloc::vec::Vec;

impl Rules {
    /// What this member may do, or suffer, as long as there is enough left of it.
    pub(crate) fn actions(
        &self,
        (id, size): (usize, usize),
        member: &Member,
        bounds: &Bounds,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Member { raft, disk, writes, stored, storing, .. } = member;
        let leads = raft.role() == Role::Leader;
        let has_room = bounds.log_max == 0 || raft.last().index.0 < bounds.log_max;
        let in_time = !self.waits || raft.deadline().is_some_and(|due| due <= self.now());
        let may_campaign = raft.term().0 < bounds.term_max && raft.may_seek_election();
        if !leads && may_campaign && has_room && in_time {
            actions.push(Action::Campaign(id));
        }
        if leads {
            actions.push(Action::Beat(id));
        }
        if let RoleState::Leader(leader) = &raft.role
            && leader.reads.ask_rest_at().is_some()
            && leader.heartbeat_due > self.now()
        {
            actions.push(Action::AskRest(id));
        }
        if leads && has_room {
            actions.push(Action::Propose(id));
        }
        if leads {
            actions.extend((0..self.changes.len()).map(|which| Action::Change(id, which)));
            let others = (0..size).filter(|&to| to != id);
            actions.extend(others.map(|to| Action::Transfer(id, to)));
        }
        if raft.leader().is_some() {
            actions.push(Action::Read(id));
        }
        let covers_more = member
            .applied(self)
            .is_some_and(|covered| covered > *stored && disk.trail.contains(covered));
        if storing.is_none() && covers_more {
            actions.push(Action::Snapshot(id));
        }
        if storing.is_some() {
            actions.push(Action::Store(id));
        }
        if self.purgeable(member).is_some() {
            actions.push(Action::Compact(id));
        }
        for (to, permits) in &member.permits {
            actions.extend((0..permits.len()).map(|at| Action::Send(id, number(*to), at)));
        }
        if self.applies && member.next_applied() <= member.to_apply {
            actions.push(Action::Apply(id));
        }
        if !writes.is_empty() {
            actions.push(Action::Sync(id));
        }
        actions.extend((0..=writes.len()).map(|done| Action::Crash(id, done)));
        actions.push(Action::Wipe(id));
        actions
    }

    /// Whether nobody will crash any more. (What that makes useless is so by the
    /// right rules only.)
    pub(crate) fn lives_on(&self, left: &Bounds) -> bool {
        left.crashes == 0 && left.wipes == 0 && self.mutant.is_none()
    }

    /// Nobody can ask for a disk before there is one.
    pub(crate) fn names_disks_that_are<'a>(
        &self,
        which: usize,
        member: impl Fn(usize) -> &'a Member,
    ) -> bool {
        self.changes[which].iter().all(|change| match change {
            Change::Readmit { id, incarnation } => {
                member(number(*id)).disk.replacement == Some(*incarnation)
            }
            _ => true,
        })
    }

    /// Whether both ends take each other for members with the disks that they have.
    pub(crate) fn let_in<'a>(
        &self,
        envelope: &Envelope,
        member: impl Fn(usize) -> &'a Member,
    ) -> bool {
        if let Some(Mutant::VotesWithoutMemory) = self.mutant {
            return true;
        }
        let (from, to) = (number(envelope.from), number(envelope.to));
        let knows = |knower: usize, other: usize| {
            let disk = member(other).disk.replacement;
            let known = member(knower).raft.membership().readmitted.get(&name(other));
            disk.is_none() || known == disk.as_ref()
        };
        // The one with the new disk learns from the other that it is let in.
        let linked = member(to).disk.replacement.is_some() || knows(to, from);
        linked && (member(from).disk.replacement.is_some() || knows(from, to))
    }

    /// Whether a read is asked for under the name of an earlier one: wrong variant 21.
    pub(crate) fn reuses_reads(&self) -> bool {
        self.mutant == Some(Mutant::ReusesReadId)
    }

    /// Up to where a member's log may go: what a durable snapshot covers.
    pub(crate) fn purgeable(&self, member: &Member) -> Option<Position> {
        let Member { raft, disk, stored, storing, .. } = member;
        let early = storing.filter(|_| self.mutant == Some(Mutant::PurgesEarly));
        let covered = early.unwrap_or(*stored);
        let is_new = covered > disk.trail.base() && disk.trail.contains(covered);
        (is_new && covered.index <= raft.last_applied()).then_some(covered)
    }

    /// With the wrong variant 27: the ticket of a member's newest write, which is
    /// said to be done though older ones are not.
    pub(crate) fn overtaking(&self, member: &Member) -> Option<Ticket> {
        let Member { raft, writes, .. } = member;
        let overtakes = self.mutant == Some(Mutant::CompletesOutOfOrder)
            && writes.len() > 1
            && !raft.is_durable();
        writes.back().filter(|_| overtakes).map(|newest| newest.ticket)
    }
}

impl Bounds {
    /// Whether there is enough left for this.
    pub(crate) fn allows(&self, action: Action) -> bool {
        let mut left = *self;
        left.price(action).is_none_or(|left| *left > 0)
    }

    /// Takes what this costs; says whether it costs anything.
    pub(crate) fn pay(&mut self, action: Action) -> bool {
        match self.price(action) {
            Some(left) if *left != ANY => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether there is no more left of anything than here.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let each = |it: &Self| {
            [
                it.campaigns,
                it.proposals,
                it.beats,
                it.crashes,
                it.repeats,
                it.changes,
                it.compactions,
                it.reads,
                it.transfers,
                it.ticks,
                it.wipes,
            ]
        };
        each(self).iter().zip(each(other)).all(|(ours, theirs)| *ours <= theirs)
    }

    fn price(&mut self, action: Action) -> Option<&mut u8> {
        Some(match action {
            Action::Campaign(_) => &mut self.campaigns,
            Action::Propose(_) => &mut self.proposals,
            Action::Beat(_) => &mut self.beats,
            Action::Crash(..) => &mut self.crashes,
            Action::Repeat(_) => &mut self.repeats,
            Action::Change(..) => &mut self.changes,
            Action::Snapshot(_) => &mut self.compactions,
            Action::Read(_) => &mut self.reads,
            Action::Transfer(..) => &mut self.transfers,
            Action::Tick(_) => &mut self.ticks,
            Action::Wipe(_) => &mut self.wipes,
            Action::AskRest(_)
            | Action::Store(_)
            | Action::Compact(_)
            | Action::Send(..)
            | Action::Apply(_)
            | Action::Sync(_)
            | Action::Deliver(_) => return None,
        })
    }
}
