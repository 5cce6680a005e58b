//! What a leader does about a change of membership, and what a change does to
//! whoever takes it on. Beyond Figure 2: §6 of the paper, thesis §4.

use crate::change::{Change, ChangeRefusal};
use crate::effect::{Effect, Source};
use crate::membership::Membership;
use crate::note::Note;
use crate::progress::{Flow, Progress};
use crate::raft::{Context, Raft};
use crate::roles::{Leader, RoleState};
use crate::trail::MembershipEntry;
use crate::types::{Config, NodeId, Position, Promotion, Round, Time};
use alloc::boxed::Box;

impl Raft {
    /// The operator wants other members.
    pub(crate) fn change_membership(
        &mut self,
        context: &mut Context<'_>,
        changes: &[Change],
        forced: bool,
    ) {
        match self.judge_change(context.now(), changes, forced) {
            Ok(membership) => {
                let at = self.append_membership(context, membership.clone());
                let membership = Box::new(membership);
                context.effect(Effect::AcceptChange { at, membership });
            }
            Err(reason) => {
                context.note(|| Note::ChangeRefused { reason });
                context.effect(Effect::RefuseChange { reason });
            }
        }
    }

    /// What the changes lead to, or why this is not the time for them.
    fn judge_change(
        &self,
        now: Time,
        changes: &[Change],
        forced: bool,
    ) -> Result<Membership, ChangeRefusal> {
        let RoleState::Leader(leader) = &self.role else {
            return Err(ChangeRefusal::NotLeader { leader: self.leader() });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ChangeRefusal::Transferring { to: transfer.to });
        }
        let commit_index = self.hard_state.commit_index;
        // Not before an entry of the leader's own term is committed: two leaders
        // could otherwise each change what the other does not know of, and their
        // majorities need not meet (the correction to thesis §4.1).
        if commit_index < leader.term_start {
            // Rule MC.3: an entry of the own term first.
            return Err(ChangeRefusal::TermNotCommitted);
        }
        // One change at a time: only neighbours' majorities are sure to meet.
        let (at, in_force) = (self.trail.membership_index(), self.trail.membership());
        // Rule MC.2: no change while another is open.
        if at > commit_index || in_force.is_joint() {
            return Err(ChangeRefusal::ChangeOpen { at });
        }
        let target = in_force.changed(changes)?;
        for change in changes {
            if let Change::Promote(id) = *change
                && !forced
                && !leader.is_ready(id, self, now)
            {
                return Err(ChangeRefusal::NotCaughtUp(id));
            }
        }
        let reachable = |id| id == self.config.id || leader.hears(id, &self.config, now);
        if !forced && !target.is_quorum(reachable) {
            return Err(ChangeRefusal::QuorumUnreachable);
        }
        Ok(target)
    }

    /// Appends a membership. It is in force at once, committed or not: a leader
    /// cannot know when others count by it.
    fn append_membership(&mut self, context: &mut Context<'_>, membership: Membership) -> Position {
        let at = self.append_own(1, Source::Membership);
        let entry = MembershipEntry { index: at.index, membership };
        let before = self.trail.membership().clone();
        // Rule MC.1: in force when appended, not when committed.
        self.trail.append_membership(entry.clone());
        self.outbox.write_membership(entry);
        if let RoleState::Leader(leader) = &mut self.role {
            let now = self.trail.membership();
            leader.meet_followers(self.config.id, &before, now, at, context.now());
        }
        self.membership_changed(context);
        at
    }

    /// Another membership is in force.
    pub(crate) fn membership_changed(&mut self, context: &mut Context<'_>) {
        let membership = self.trail.membership();
        let (at, is_joint) = (self.trail.membership_index(), membership.is_joint());
        context.note(|| Note::MembershipInForce { at, is_joint });
        context.effect(Effect::MembershipChanged { membership: Box::new(membership.clone()) });
    }

    /// What a leader owes once the membership in force is committed: a joint one
    /// is left, and one without the leader ends its office.
    #[inline]
    pub(crate) fn follow_up_membership(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &self.role else { return };
        let commit_index = self.hard_state.commit_index;
        let (at, in_force) = (self.trail.membership_index(), self.trail.membership());
        if commit_index < leader.term_start || commit_index < at {
            return;
        }
        if in_force.is_joint() {
            // Rule MC.7: leave a joint membership once it is committed.
            // Both sides have agreed to C_old,new; now C_new alone may decide (§6).
            let left = in_force.left();
            self.append_membership(context, left);
        } else if !in_force.voters.contains(&self.config.id) {
            // Rule MC.4: step down once the membership without oneself is committed.
            // "The leader steps down once it has committed the C_new entry" (§6).
            // Until then it leads a group of which it is no part, and does not
            // count itself.
            context.note(|| Note::LeaderRemoved { term: self.hard_state.current_term });
            self.take_leave(context);
        }
    }

    /// If so configured, makes voters of learners that have caught up.
    pub(crate) fn promote_learners(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &self.role else { return };
        let learners = &self.trail.membership().learners;
        if self.config.promotion == Promotion::ByHand || learners.is_empty() {
            return;
        }
        let now = context.now();
        let all = self.config.promotion == Promotion::All;
        let returning = &self.trail.membership().returning;
        let mut wanted = learners.iter().copied().filter(|id| all || returning.contains(id));
        let ready = wanted.find(|&id| leader.has_stored(id, self, now));
        if let Some(id) = ready
            && let Ok(membership) = self.judge_change(now, &[Change::Promote(id)], false)
        {
            self.append_membership(context, membership);
        }
    }

    /// Whether this member may seek election.
    pub(crate) fn may_seek_election(&self) -> bool {
        let me = self.config.id;
        self.is_needed_as(|membership| membership.may_lead(me))
            && !self.disk_stalled
            && self.may_vote()
    }

    /// Whether this member remembers all that it promised. One whose disk
    /// replaces a lost one does not: it may have voted, or stored entries that a
    /// leader counted. So it says nothing until the group, by an entry that names
    /// this very disk, has made it a learner, which commits without it, and then
    /// a voter again.
    pub(crate) fn may_vote(&self) -> bool {
        let me = self.config.id;
        // (Who is taken in again is so alone: an outgoing voter was a voter before.)
        self.replacement.is_none_or(|incarnation| {
            self.is_needed_as(|membership| {
                membership.is_voter(me) && membership.readmitted.get(&me) == Some(&incarnation)
            })
        })
    }

    /// Whether the membership in force says so of this member, or the one before it
    /// while that in force is not committed: perhaps nobody else has the entry, and
    /// without who is on its way out nobody could be elected (thesis §4.2.2).
    fn is_needed_as(&self, says_so: impl Fn(&Membership) -> bool) -> bool {
        let at = self.trail.membership_index();
        let open = at > self.hard_state.commit_index;
        says_so(self.trail.membership()) || open && says_so(self.trail.membership_at(at.previous()))
    }
}

impl Leader {
    /// Whether `id` answered within an election timeout.
    pub(crate) fn hears(&self, id: NodeId, config: &Config, now: Time) -> bool {
        self.followers.get(id).is_some_and(|known| {
            known.round_heard > Round(0) && now.since(known.heard_at) < config.election_timeout_us
        })
    }

    /// Whether a learner may be promoted by hand. One that lost its data is as good as
    /// down until it has stored it again: were it a voter before (its disk may be full),
    /// the next lost disk could leave a majority without data.
    fn is_ready(&self, id: NodeId, raft: &Raft, now: Time) -> bool {
        if raft.trail.membership().returning.contains(&id) {
            self.has_stored(id, raft, now)
        } else {
            self.has_caught_up(id, raft, now)
        }
    }

    /// Whether `id` is up and has been sent all that is committed, and so lacks
    /// no more than what fits into its window: then its vote costs no waiting.
    fn has_caught_up(&self, id: NodeId, raft: &Raft, now: Time) -> bool {
        let known = self.followers.get(id);
        self.hears(id, &raft.config, now)
            && known.is_some_and(|known| {
                matches!(known.flow, Flow::Replicate(_))
                    && known.next_index > raft.hard_state.commit_index
            })
    }

    /// Whether `id` is up and has stored all that is committed. Nobody waits for a
    /// learner that is promoted without being asked for: it costs nothing to wait until
    /// it is a voter like any other.
    fn has_stored(&self, id: NodeId, raft: &Raft, now: Time) -> bool {
        let known = self.followers.get(id);
        self.hears(id, &raft.config, now)
            && known.is_some_and(|known| {
                matches!(known.flow, Flow::Replicate(_))
                    && known.match_index >= raft.hard_state.commit_index
            })
    }

    /// Takes up with new members and forgets those that are gone. Of one that
    /// lost its disk nothing is known any more.
    fn meet_followers(
        &mut self,
        me: NodeId,
        before: &Membership,
        after: &Membership,
        at: Position,
        now: Time,
    ) {
        let same_disk = |id| before.readmitted.get(&id) == after.readmitted.get(&id);
        // The entry that names it is the first that it is told of.
        let last = at.index.previous();
        let others = after.iter().filter(|&id| id != me);
        self.followers.meet(others, same_disk, || Progress::new(last, now));
    }
}
