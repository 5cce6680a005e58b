//! Further wrong variants: of membership, reads, leases and snapshots.

use super::mutant::Mutant;
use crate::progress::Progress;
use crate::roles::RoleState;
use crate::{
    Effect, Effects, Index, Input, Membership, Message, Moment, NodeId, NodeSet, Raft, Run, Trail,
};
use alloc::vec::Vec;

/// Does the step and says so, if `mutant` is one of those here.
pub(crate) fn step(
    mutant: Mutant,
    raft: &mut Raft,
    moment: Moment,
    input: &Input,
    effects: &mut Effects,
) -> bool {
    let me = raft.id();
    match mutant {
        Mutant::JointOverUnion if raft.membership().is_joint() => {
            let union = Membership::of(raft.membership().every_voter());
            let joint = raft.trail.replace_in_force(union);
            raft.step(moment, input.clone(), effects);
            if raft.membership().outgoing.is_empty() && !effects.list.iter().any(changes) {
                raft.trail.replace_in_force(joint);
            }
        }
        Mutant::ChangesBeforeOwnTerm if matches!(input, Input::ChangeMembership { .. }) => {
            let RoleState::Leader(leader) = &mut raft.role else { return false };
            let term_start = core::mem::take(&mut leader.term_start);
            raft.step(moment, input.clone(), effects);
            if let RoleState::Leader(leader) = &mut raft.role {
                leader.term_start = term_start;
            }
        }
        Mutant::ChangesTwice if matches!(input, Input::ChangeMembership { .. }) => {
            let (commit_index, last_applied) = (raft.hard_state.commit_index, raft.last_applied);
            raft.hard_state.commit_index = raft.trail.last().index;
            raft.last_applied = raft.trail.last().index.next();
            raft.step(moment, input.clone(), effects);
            (raft.hard_state.commit_index, raft.last_applied) = (commit_index, last_applied);
            for effect in &mut effects.list {
                if let Effect::Persist(persist) = effect {
                    persist.hard_state.commit_index = commit_index;
                }
            }
        }
        Mutant::KeepsCutMembership => {
            let (in_force, at) = (raft.membership().clone(), raft.trail.membership_index());
            raft.step(moment, input.clone(), effects);
            if raft.trail.membership_index() < at {
                raft.trail.replace_in_force(in_force);
            }
        }
        Mutant::CountsLearners | Mutant::CountsRemovedLeader => {
            raft.step(moment, input.clone(), effects);
            let membership = raft.membership().clone();
            commit_by(raft, |id, held| {
                let learner = mutant == Mutant::CountsLearners && membership.learners.contains(&id);
                let leader = mutant == Mutant::CountsRemovedLeader && id == me;
                (membership.is_voter(id) || learner || leader).then_some(held)
            });
        }
        Mutant::MedianUnsorted => {
            raft.step(moment, input.clone(), effects);
            let mut first = true;
            // The leader comes first, the others as they come; the middle one is taken.
            commit_by(raft, |id, held| {
                let middle = id != me && core::mem::take(&mut first);
                middle.then_some(held)
            });
        }
        Mutant::ReadsAlone => {
            raft.step(moment, input.clone(), effects);
            if let (Input::Read { id, .. }, RoleState::Leader(leader)) = (input, &raft.role)
                && raft.hard_state.commit_index >= leader.term_start
            {
                effects.push(Effect::ReadReady { id: *id, index: raft.commit_index() });
            }
        }
        Mutant::ReadsBeforeOwnTerm => {
            let term_start = match &mut raft.role {
                RoleState::Leader(leader) => core::mem::take(&mut leader.term_start),
                _ => return false,
            };
            raft.step(moment, input.clone(), effects);
            if let RoleState::Leader(leader) = &mut raft.role {
                leader.term_start = term_start;
            }
        }
        Mutant::LeaseOverTransfer => {
            raft.step(moment, input.clone(), effects);
            if let RoleState::Leader(leader) = &mut raft.role {
                leader.lease_forfeited = false;
                if effects.list.iter().any(hands_over) {
                    leader.transfer = None;
                }
            }
        }
        Mutant::LeaseOverPause if matches!(input, Input::Paused) => {}
        Mutant::SnapshotOverNewer => {
            if let Input::Receive { message: Message::InstallSnapshot { last, .. }, .. } = input
                && last.index <= raft.hard_state.commit_index
            {
                let membership = raft.trail.membership_at(last.index).clone();
                raft.hard_state.commit_index = last.index.previous();
                raft.trail = Trail::of(membership);
                raft.trail.append(Run { term: last.term, first: Index(1), last: Index(1) });
            }
            raft.step(moment, input.clone(), effects);
        }
        Mutant::CompletesByIndex => {
            let lasts = raft.outbox.lasts();
            raft.step(moment, input.clone(), effects);
            raft.outbox.trust(&lasts, raft.trail.last().index);
        }
        Mutant::NeverProbesAgain => {
            let message =
                matches!(input, Input::Receive { message: Message::AppendRejected { .. }, .. });
            if !message {
                raft.step(moment, input.clone(), effects);
            }
        }
        // To be sent all of the log is to be sent what any other voter is.
        Mutant::WitnessGetsUnsynced => with_witnesses_as_others(raft, moment, input, effects),
        Mutant::WitnessGetsLeaving => {
            let leaves = !raft.membership().voters.contains(&me);
            let done = match input {
                Input::Persisted { ticket } => {
                    let lasts = raft.outbox.lasts().into_iter();
                    lasts.take_while(|(other, _)| other <= ticket).map(|(_, last)| last).last()
                }
                _ => None,
            };
            if !leaves || done.unwrap_or(raft.durable_index()) < raft.last().index {
                return false;
            }
            with_witnesses_as_others(raft, moment, input, effects);
        }
        Mutant::VotesWithoutMemory => {
            raft.replacement = None;
            raft.step(moment, input.clone(), effects);
        }
        _ => return false,
    }
    true
}

/// A step in which those that are witnesses are taken for ordinary voters.
fn with_witnesses_as_others(raft: &mut Raft, moment: Moment, input: &Input, effects: &mut Effects) {
    let (at, in_force) = (raft.trail.membership_index(), raft.membership().clone());
    let without = Membership { witnesses: NodeSet::NONE, ..in_force.clone() };
    raft.trail.replace_in_force(without);
    raft.step(moment, input.clone(), effects);
    if raft.trail.membership_index() == at {
        raft.trail.replace_in_force(in_force);
    }
}

/// Commits by a majority of those that `counts` says, of as many as there are voters.
fn commit_by(raft: &mut Raft, mut counts: impl FnMut(NodeId, Index) -> Option<Index>) {
    let RoleState::Leader(leader) = &raft.role else { return };
    let known = |id| leader.followers.get(id).map(Progress::match_index);
    let everybody = core::iter::once(raft.id()).chain(leader.followers.iter().map(|(id, _)| id));
    let mut held: Vec<Index> = everybody
        .filter_map(|id| counts(id, known(id).unwrap_or(raft.outbox.durable_index())))
        .collect();
    held.sort_unstable_by(|one, other| other.cmp(one));
    let needed = if held.len() == 1 { 1 } else { raft.membership().voters.len() / 2 + 1 };
    let Some(&index) = held.get(needed - 1) else { return };
    if raft.trail.term_at(index) == Some(raft.hard_state.current_term) {
        raft.hard_state.commit_index = raft.hard_state.commit_index.max(index);
    }
}

fn changes(effect: &Effect) -> bool {
    matches!(effect, Effect::MembershipChanged { .. })
}

fn hands_over(effect: &Effect) -> bool {
    matches!(effect, Effect::Send { message: Message::TimeoutNow { .. }, .. })
}
