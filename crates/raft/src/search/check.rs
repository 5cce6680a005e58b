//! What must hold: the paper's five safety properties (Figure 3), and some that
//! show a fault before it has done its harm.
//!
//! The ghost remembers what no member does: who led, what was committed, what
//! was said. It is part of the state.

use super::world::{Member, World, positions};
use crate::roles::RoleState;
use crate::{HardState, Message, NodeId, Position, Raft, Restored, Role, Term};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

type Met = BTreeMap<&'static str, u64>;

/// What happened so far.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Ghost {
    /// Who was elected in each term.
    leaders: BTreeMap<Term, NodeId>,
    /// The committed entries from index 1 on, and the term that committed each.
    committed: Vec<(Position, Term)>,
    /// The latest term in which each member promised something, and the vote
    /// that it gave there.
    promised: BTreeMap<usize, (Term, Option<NodeId>)>,
    /// The entries that leaders created.
    created: BTreeSet<Position>,
}

impl Ghost {
    pub(crate) fn begin(&mut self, id: usize, disk: &Restored) {
        let HardState { current_term, voted_for, .. } = disk.hard_state;
        self.promised.insert(id, (current_term, voted_for));
        self.created.extend(positions(&disk.trail));
    }

    /// Election safety: at most one leader in a term. Leader completeness: it
    /// holds all that was committed in earlier terms.
    pub(crate) fn elected(&mut self, id: usize, raft: &Raft) -> Result<(), String> {
        let (term, me) = (raft.term(), NodeId(id as u64 + 1));
        if let Some(other) = self.leaders.insert(term, me) {
            return Err(format!("election safety: {other} and {me} lead term {term}"));
        }
        let own = raft.last();
        if !self.created.insert(own) {
            return Err(format!("log matching: two entries at {own}"));
        }
        self.complete(raft)
    }

    fn complete(&self, leader: &Raft) -> Result<(), String> {
        for &(position, term) in &self.committed {
            if term < leader.term() && !leader.trail().contains(position) {
                let (me, now) = (leader.id(), leader.term());
                return Err(format!(
                    "leader completeness: {me} leads {now} without {position}, committed in {term}"
                ));
            }
        }
        Ok(())
    }

    /// State machine safety: nobody takes another entry to be committed.
    pub(crate) fn committed(&mut self, raft: &Raft) -> Result<(), String> {
        let commit_index = raft.commit_index().0 as usize;
        for (index, position) in positions(raft.trail()).enumerate().take(commit_index) {
            match self.committed.get(index) {
                Some(&(known, _)) if known != position => {
                    let me = raft.id();
                    return Err(format!(
                        "state machine safety: {me} commits {position}, but {known} was committed"
                    ));
                }
                Some(_) => {}
                None => self.committed.push((position, raft.term())),
            }
        }
        Ok(())
    }

    /// A promise: a vote, a claim to a term, or an acknowledgement. A member
    /// gives one vote a term.
    pub(crate) fn said(&mut self, id: usize, to: NodeId, message: &Message) -> Result<(), String> {
        let me = NodeId(id as u64 + 1);
        let (term, vote) = match *message {
            Message::RequestVote { term, .. } => (term, Some(me)),
            Message::VoteReply { term, vote_granted: true } => (term, Some(to)),
            Message::AppendStored { term, .. } => (term, None),
            _ => return Ok(()),
        };
        let (promised, voted_for) = self.promised.entry(id).or_default();
        if term > *promised {
            (*promised, *voted_for) = (term, vote);
        } else if term == *promised && vote.is_some() {
            if voted_for.is_some() && *voted_for != vote {
                return Err(format!("one vote a term: {me} votes twice in {term}"));
            }
            *voted_for = vote;
        }
        Ok(())
    }

    /// What was promised outlives a crash.
    pub(crate) fn restarted(&self, id: usize, member: &Member) -> Result<(), String> {
        let (promised, _) = self.promised.get(&id).copied().unwrap_or_default();
        if member.disk.hard_state.current_term < promised {
            let now = member.disk.hard_state.current_term;
            return Err(format!("promises are kept: term {promised} was promised, {now} restored"));
        }
        Ok(())
    }
}

/// What is persisted never goes back.
pub(crate) fn disk(before: HardState, after: HardState) -> Result<(), String> {
    let same_term = before.current_term == after.current_term;
    let revoted = before.voted_for.is_some() && before.voted_for != after.voted_for;
    if before.current_term > after.current_term
        || before.commit_index > after.commit_index
        || same_term && revoted
    {
        return Err(format!("persisted state goes back: {before:?} to {after:?}"));
    }
    Ok(())
}

/// What must hold in every state.
pub(crate) fn state(world: &World, met: &mut Met) -> Result<(), String> {
    let members: Vec<&Member> = world.members.iter().map(|member| &*member.value).collect();
    for (at, one) in members.iter().enumerate() {
        for other in &members[at + 1..] {
            log_matching(&one.raft, &other.raft)?;
        }
        world.ghost.complete_if_leading(&one.raft)?;
        acknowledged(one, &members)?;
    }
    for &(position, _) in &world.ghost.committed {
        let holders = members.iter().filter(|member| member.disk.trail.contains(position)).count();
        if holders <= members.len() / 2 {
            return Err(format!("committed is durable on a quorum: {position} is on {holders}"));
        }
    }
    meet(world, &members, met);
    Ok(())
}

impl Ghost {
    fn complete_if_leading(&self, raft: &Raft) -> Result<(), String> {
        if raft.role() == Role::Leader { self.complete(raft) } else { Ok(()) }
    }
}

/// Log matching: logs that share an entry share all before it.
fn log_matching(one: &Raft, other: &Raft) -> Result<(), String> {
    let mut agree_below = false;
    let mut ours: Vec<Position> = positions(one.trail()).collect();
    ours.truncate(other.trail().last().index.0 as usize);
    for position in ours.into_iter().rev() {
        let shared = other.trail().contains(position);
        if agree_below && !shared {
            let (one, other) = (one.id(), other.id());
            return Err(format!("log matching: {one} and {other} differ at {position}"));
        }
        agree_below |= shared;
    }
    Ok(())
}

/// What a leader takes to be durable at a follower of its term is.
fn acknowledged(leader: &Member, members: &[&Member]) -> Result<(), String> {
    let RoleState::Leader(state) = &leader.raft.role else { return Ok(()) };
    for (id, known) in &state.followers {
        let follower = members[id.0 as usize - 1];
        if follower.disk.hard_state.current_term > leader.raft.term() {
            continue;
        }
        let matched = leader.raft.trail().position_at(known.match_index);
        if matched.is_none_or(|matched| !follower.disk.trail.contains(matched)) {
            let (me, index) = (leader.raft.id(), known.match_index);
            return Err(format!(
                "acknowledgements are true: {me} takes {index} to be durable at {id}"
            ));
        }
    }
    Ok(())
}

/// Situations without which a search would have shown little.
fn meet(world: &World, members: &[&Member], met: &mut Met) {
    let mut meet = |what, holds: bool| *met.entry(what).or_default() += u64::from(holds);
    let leaders = members.iter().filter(|member| member.raft.role() == Role::Leader);
    meet("two leaders, of two terms", leaders.clone().count() > 1);
    meet("an entry is committed", !world.ghost.committed.is_empty());
    meet(
        "an entry of an older term is committed",
        world.ghost.committed.iter().any(|(position, term)| position.term < *term),
    );
    meet(
        "a leader commits before its own copy is durable",
        leaders.clone().any(|member| member.raft.commit_index() > member.raft.durable_index()),
    );
    meet("two terms had a leader", world.ghost.leaders.len() > 1);
}
