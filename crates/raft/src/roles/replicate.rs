//! How a leader sends its log (Figure 2, Rules for Leaders), many messages at a
//! time (thesis §10.2), and what it makes of the answers.
//!
//! Heartbeats carry `prev_log` at `next_index - 1`. A follower that missed a
//! message refuses the next heartbeat, and one whose acknowledgement was lost
//! acknowledges again: no other timer is needed to mend a loss.

use crate::effect::Effect;
use crate::membership::Membership;
use crate::message::Message;
use crate::note::Note;
use crate::progress::{Flow, Permission};
use crate::raft::{Context, Raft};
use crate::roles::{Leader, RoleState};
use crate::runs::{Memberships, Runs};
use crate::types::{Index, NodeId, Position, Round, Term};

impl Raft {
    /// Sends each follower what is due: a snapshot, entries, or an empty append
    /// that carries a new round or a new commit index. At most one of them.
    #[inline]
    pub(crate) fn replicate(&mut self, context: &mut Context<'_>) {
        if let RoleState::Leader(leader) = &self.role {
            let (last, leader_commit) = (self.trail.last().index, self.hard_state.commit_index);
            if !leader.followers.iter().all(|(_, known)| known.has_all(last, leader_commit)) {
                self.send_what_is_due(context);
            }
        }
    }

    fn send_what_is_due(&mut self, context: &mut Context<'_>) {
        let Self { role: RoleState::Leader(leader), trail, config, hard_state, outbox, .. } = self
        else {
            return;
        };
        let (term, leader_commit) = (hard_state.current_term, hard_state.commit_index);
        // Rule PW.1: followers write while the own disk does.
        let (round, last) = (leader.round, trail.last().index);
        let own = (config.id, outbox.durable_index());
        let for_witnesses = leader.last_for_witnesses(own, trail.membership(), last);
        let mut snapshots_due = false;
        for (to, known) in leader.followers.iter_mut() {
            if known.has_all(last, leader_commit) {
                continue;
            }
            snapshots_due |= known.awaits_snapshot();
            let is_witness = for_witnesses < last && trail.membership().is_witness(to);
            let last = if is_witness { for_witnesses } else { last };
            // Rule SL.4: if the log reaches next_index, send from there on.
            let free = if last >= known.next_index {
                known.bytes_free(config.inflight_bytes_max, config.inflight_messages_max)
            } else {
                None
            };
            let news = known.commit_sent < leader_commit && known.next_index > last;
            if free.is_none() && !news && known.round_sent >= known.round_due {
                continue;
            }
            known.round_sent = round;
            known.commit_sent = leader_commit;
            // With a snapshot on its way, the log's start is all that is shared.
            let prev_log = match known.flow {
                Flow::Snapshot(_) => Position::ZERO,
                _ => trail
                    .position_at(known.next_index.previous())
                    .expect("a follower that needs what is compacted gets a snapshot"),
            };
            let Some(free) = free else {
                context.effect_with(|| {
                    let (runs, memberships) = (Runs::NONE, Memberships::NONE);
                    let message =
                        Message::Append { term, prev_log, runs, memberships, leader_commit, round };
                    Effect::Send { to, message }
                });
                continue;
            };
            known.permission = Permission::Standing;
            let bytes_max = free.min(config.message_bytes_max);
            let witness = trail.membership().is_witness(to);
            context.effect_with(|| Effect::SendEntries {
                to,
                term,
                prev: prev_log,
                last_max: last,
                bytes_max,
                leader_commit,
                round,
                witness,
            });
        }
        if snapshots_due {
            self.order_snapshots(context);
        }
    }

    /// A follower heard a broadcast of this term.
    pub(crate) fn on_append_heard(&mut self, from: NodeId, term: Term, round: Round) {
        if let RoleState::Leader(leader) = &mut self.role
            && term == self.hard_state.current_term
        {
            leader.heard(from, round);
        }
    }

    /// A follower's disk holds our log up to `last`.
    #[inline]
    pub(crate) fn on_append_stored(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        term: Term,
        last: Index,
    ) {
        let Self { role: RoleState::Leader(leader), trail, hard_state, .. } = self else { return };
        if term != hard_state.current_term || last > trail.last().index {
            return;
        }
        let Some(known) = leader.followers.get_mut(from) else { return };
        if matches!(known.flow, Flow::Snapshot(_)) && last >= trail.base().index {
            known.probe_from(last.next());
        }
        known.stored(last);
        self.advance_commit_index(context);
        self.promote_learners(context);
    }

    /// A follower does not hold what the append began from.
    pub(crate) fn on_append_rejected(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        (term, round): (Term, Round),
        prev_log: Position,
        hint: Position,
    ) {
        let Self { role: RoleState::Leader(leader), trail, hard_state, .. } = self else { return };
        if term != hard_state.current_term {
            return;
        }
        leader.heard(from, round);
        let Some(known) = leader.followers.get_mut(from) else { return };
        // What is acknowledged stays so. And a probe is answered once: later
        // refusals are of messages sent before it.
        let stale = prev_log.index <= known.match_index
            || match known.flow {
                Flow::Probe { .. } => prev_log.index.next() != known.next_index,
                Flow::Replicate(_) => prev_log.index >= known.next_index,
                Flow::Snapshot(_) => true,
            };
        if stale {
            return;
        }
        // Rule SL.6: if the append fails because the logs disagree, decrement
        // next_index and retry; by whole terms, as far as the hint allows (§5.3).
        let below = hint.index.min(prev_log.index.previous());
        let candidate = trail.last_at_most(hint.term, below).index.max(known.match_index);
        if below < trail.base().index && known.match_index < trail.base().index {
            known.need_snapshot(Round(0));
        } else {
            known.probe_from(candidate.next());
        }
        context.note(|| Note::BackTracked { follower: from, refused: prev_log, hint });
    }

    /// The host sent entries as permitted. Says whether there may be more to send.
    pub(crate) fn sent(&mut self, to: NodeId, term: Term, last: Index, bytes: u64) -> bool {
        let end = self.trail.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return false };
        if term != self.hard_state.current_term {
            return false;
        }
        let Some(known) = leader.followers.get_mut(to) else { return false };
        let standing = known.permission == Permission::Standing;
        known.permission = Permission::None;
        if !standing {
            return true;
        }
        if !(known.next_index..=end).contains(&last) {
            // A permission from before the member left and came back.
            known.pause();
            return true;
        }
        match &mut known.flow {
            Flow::Probe { sent } => *sent = true,
            Flow::Replicate(window) => {
                window.add(last, bytes);
                known.next_index = last.next();
            }
            Flow::Snapshot(_) => unreachable!("going over to a snapshot voids the permission"),
        }
        last < end || known.commit_sent < self.hard_state.commit_index
    }

    /// The host could not: the entries are compacted, or are about to be.
    pub(crate) fn unreadable(&mut self, to: NodeId, term: Term) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if term != self.hard_state.current_term {
            return;
        }
        let Some(known) = leader.followers.get_mut(to) else { return };
        let standing = known.permission == Permission::Standing;
        known.permission = Permission::None;
        if standing {
            known.pause();
        }
    }
}

impl Leader {
    /// How far witnesses are sent the log, which ends at `last`.
    ///
    /// A witness with the end of a log lets nobody win who lacks it, and cannot lead
    /// itself. So it is to hold nothing that no other voter has on its disk: not what
    /// the leader may lose in a crash, nor what a leader alone has that the membership
    /// in force goes on without.
    fn last_for_witnesses(
        &self,
        (me, durable): (NodeId, Index),
        membership: &Membership,
        last: Index,
    ) -> Index {
        if membership.witnesses.is_empty() {
            return last;
        }
        let stays = |id| membership.voters.contains(&id) && !membership.is_witness(id);
        let others = self.followers.iter().map(|(id, known)| (id, known.match_index));
        let holders = others.chain([(me, durable)]).filter(|&(id, _)| stays(id));
        holders.map(|(_, held)| held).max().unwrap_or_default()
    }
}
