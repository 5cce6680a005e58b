//! What must hold: the paper's five safety properties (Figure 3), and some that
//! show a fault before it has done its harm.
//!
//! The ghost remembers what no member does: who led, what was committed, what
//! was said. It is part of the state.

use super::world::{Member, Met, World, number};
use crate::roles::RoleState;
use crate::{
    HardState, Index, Membership, Message, NodeId, Position, Raft, ReadId, Restored, Role, Term,
    Trail,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What happened so far.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Ghost {
    /// Who was elected in each term.
    leaders: BTreeMap<Term, NodeId>,
    /// The committed entries from index 1 on, and the term that committed each.
    committed: Vec<(Position, Term)>,
    /// The latest term in which each member promised something, and the vote
    /// that it gave there.
    promised: BTreeMap<NodeId, (Term, Option<NodeId>)>,
    /// The terms of the entries that were there in the beginning.
    begun: BTreeSet<Term>,
    /// The membership that the group began with, and those that were appended.
    memberships: BTreeMap<Position, Membership>,
    /// How much was committed when each read was asked for.
    reads: BTreeMap<ReadId, usize>,
    /// How many were asked for.
    reads_asked: u64,
    /// Who lost a disk.
    wiped: BTreeSet<NodeId>,
}

impl Ghost {
    pub(crate) fn begin(&mut self, id: NodeId, disk: &Restored) {
        let HardState { current_term, voted_for, .. } = disk.hard_state;
        self.promised.insert(id, (current_term, voted_for));
        self.begun.extend(disk.trail.runs().iter().map(|run| run.term));
        for entry in disk.trail.memberships() {
            let position = disk.trail.position_at(entry.index).expect("it stands");
            self.memberships.insert(position, entry.membership.clone());
        }
        if !disk.trail.membership_at(Index(0)).voters.is_empty() {
            let first = disk.trail.membership_at(Index(0)).clone();
            self.memberships.insert(Position::ZERO, first);
        }
    }

    pub(crate) fn first_membership(&self) -> Membership {
        self.memberships[&Position::ZERO].clone()
    }

    pub(crate) fn wiped(&mut self, id: NodeId) {
        self.wiped.insert(id);
        self.promised.remove(&id);
    }

    pub(crate) fn reads_asked(&self) -> u64 {
        self.reads_asked
    }

    /// A client asks to read.
    pub(crate) fn asked(&mut self, read: ReadId) {
        self.reads_asked += 1;
        self.reads.insert(read, self.committed.len());
    }

    /// A read answers a state at least as new as what was committed when it was
    /// asked for.
    pub(crate) fn served(&mut self, me: NodeId, read: ReadId, index: Index) -> Result<(), String> {
        let asked = self.reads.remove(&read);
        if asked.is_some_and(|committed| (index.0 as usize) < committed) {
            let committed = asked.unwrap_or_default();
            return Err(format!("stale read: {me} serves {index}, {committed} were committed"));
        }
        Ok(())
    }

    /// Memberships are to be written. What a leader says of one is remembered; a
    /// copy of it says the same.
    pub(crate) fn appended(&mut self, stand: &[(Position, Membership)]) -> Result<(), String> {
        for (position, membership) in stand {
            let known = self.memberships.entry(*position).or_insert_with(|| membership.clone());
            if known != membership {
                return Err(format!("log matching: two memberships at {position}"));
            }
        }
        Ok(())
    }

    /// What the newest membership entry in a log says.
    fn membership_of(&self, trail: &Trail) -> Option<&Membership> {
        let own = positions(trail).filter_map(|position| self.memberships.get(&position)).last();
        let covered = self.committed.iter().take(trail.base().index.0 as usize);
        let mut below = covered.rev().filter_map(|(position, _)| self.memberships.get(position));
        own.or_else(|| below.next()).or_else(|| self.memberships.get(&Position::ZERO))
    }

    /// The newest membership that is committed.
    fn committed_membership(&self) -> Option<&Membership> {
        let mut committed = self.committed.iter().rev();
        let newest = committed.find_map(|(at, _)| self.memberships.get(at));
        newest.or_else(|| self.memberships.get(&Position::ZERO))
    }

    /// The membership in force is what the log says, committed or not; and no log
    /// holds two that are not committed.
    fn membership_in_force(&self, raft: &Raft) -> Result<(), String> {
        let (trail, me) = (raft.trail(), raft.id());
        if trail.last() == Position::ZERO {
            return Ok(());
        }
        let is_new = raft.membership().voters.is_empty();
        if !is_new && self.membership_of(trail) != Some(raft.membership()) {
            return Err(format!("membership in force: {me} counts by another than its log's"));
        }
        let open = |position: &Position| {
            self.memberships.contains_key(position)
                && self.committed.get(position.index.0 as usize - 1).map(|(at, _)| at)
                    != Some(position)
        };
        let open = positions(trail).filter(open).count();
        if open > 1 {
            return Err(format!("one change at a time: {open} are open in the log of {me}"));
        }
        Ok(())
    }

    /// Election safety: at most one leader in a term. Leader completeness: it
    /// holds all that was committed in earlier terms.
    pub(crate) fn elected(&mut self, raft: &Raft) -> Result<(), String> {
        let (term, me) = (raft.term(), raft.id());
        if let Some(other) = self.leaders.insert(term, me) {
            return Err(format!("election safety: {other} and {me} lead term {term}"));
        }
        if raft.membership().is_witness(me) {
            return Err(format!("witnesses do not lead: {me} leads term {term}"));
        }
        // One leader a term creates its entries, each once.
        let own = raft.last();
        if self.begun.contains(&own.term) {
            return Err(format!("log matching: two leaders create entries of {}", own.term));
        }
        self.complete(raft)
    }

    fn complete(&self, leader: &Raft) -> Result<(), String> {
        for &(position, term) in &self.committed {
            if term < leader.term() && !holds(leader.trail(), position) {
                let (me, now) = (leader.id(), leader.term());
                return Err(format!(
                    "leader completeness: {me} leads {now} without {position}, committed in {term}"
                ));
            }
        }
        Ok(())
    }

    /// State machine safety: nobody takes another entry to be committed, nor
    /// covers another with a snapshot.
    pub(crate) fn committed(&mut self, raft: &Raft) -> Result<(), String> {
        let (me, base) = (raft.id(), raft.trail().base());
        let covered = base.index.0.checked_sub(1).map(|at| self.committed.get(at as usize));
        if let Some(known) = covered
            && known.is_none_or(|(position, _)| *position != base)
        {
            return Err(format!("snapshots cover what is committed: {me} has one up to {base}"));
        }
        let commit_index = raft.commit_index();
        for position in positions(raft.trail()).take_while(|at| at.index <= commit_index) {
            match self.committed.get(position.index.0 as usize - 1) {
                Some(&(known, _)) if known != position => {
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

    /// Whether it knows who led in a term before `until`.
    pub(crate) fn remembers_leaders_before(&self, until: Term) -> bool {
        self.leaders.first_key_value().is_some_and(|(term, _)| *term < until)
    }

    /// Nobody can be elected in these any more.
    pub(crate) fn forget_leaders_before(&mut self, until: Term) {
        self.leaders = self.leaders.split_off(&until);
    }

    /// A promise is made. A member gives one vote a term.
    pub(crate) fn said(&mut self, promise: &Promised) -> Result<(), String> {
        let Promised { me, term, vote } = *promise;
        let (promised, voted_for) = self.promised.entry(me).or_default();
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
    pub(crate) fn restarted(&self, id: NodeId, restored: Term) -> Result<(), String> {
        let (promised, _) = self.promised.get(&id).copied().unwrap_or_default();
        if restored < promised {
            return Err(format!(
                "promises are kept: term {promised} was promised, {restored} restored"
            ));
        }
        Ok(())
    }
}

/// A log that was let go has a snapshot that stands for it after a crash.
pub(crate) fn begins_again(member: &Member) -> Result<(), String> {
    let (base, stored) = (member.disk.trail.base(), member.stored);
    if base > stored {
        return Err(format!("a snapshot stands for what was let go: {base} is gone, not {stored}"));
    }
    Ok(())
}

/// A vote, a claim to a term, or an acknowledgement, as somebody says it.
#[derive(Clone, Debug)]
pub(crate) struct Promised {
    me: NodeId,
    term: Term,
    vote: Option<NodeId>,
}

/// What `me` promises by saying this.
pub(crate) fn promise(me: NodeId, to: NodeId, message: &Message) -> Option<Promised> {
    let (term, vote) = match *message {
        Message::RequestVote { term, .. } => (term, Some(me)),
        Message::VoteReply { term, vote_granted: true } => (term, Some(to)),
        Message::AppendStored { term, .. } => (term, None),
        _ => return None,
    };
    Some(Promised { me, term, vote })
}

impl Promised {
    /// Whether the disk remembers it, as a later term does, too.
    pub(crate) fn is_durable(&self, disk: &Restored) -> bool {
        let HardState { current_term, voted_for, .. } = disk.hard_state;
        let kept = self.vote.is_none() || self.vote == voted_for;
        current_term > self.term || current_term == self.term && kept
    }
}

/// Whether `position` stands in a log, or is covered by its snapshot.
pub(crate) fn holds(trail: &Trail, position: Position) -> bool {
    position.index <= trail.base().index || trail.contains(position)
}

/// Everything that stands in a log behind its snapshot, entry by entry.
fn positions(trail: &Trail) -> impl Iterator<Item = Position> + '_ {
    trail.runs().iter().flat_map(|run| {
        (run.first.0..=run.last.0).map(|index| Position { term: run.term, index: Index(index) })
    })
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

/// What a leader takes for committed, a quorum of *its* membership holds durably.
/// (Later another membership may count, so it must be looked at when it happens.)
pub(crate) fn counted<'a>(
    ghost: &Ghost,
    leader: &Member,
    before: Index,
    member: impl Fn(usize) -> &'a Member,
) -> Result<(), String> {
    let raft = &leader.raft;
    let committed = |at: &Position| before < at.index && at.index <= raft.commit_index();
    for position in positions(raft.trail()).filter(committed) {
        let held = |id: NodeId| {
            let disk = if id == raft.id() { &leader.disk } else { &member(number(id)).disk };
            holds(&disk.trail, position) || ghost.wiped.contains(&id)
        };
        if !raft.membership().is_quorum(held) {
            return Err(format!("committed is durable on a quorum: {position} is not"));
        }
    }
    Ok(())
}

/// What must hold in every state.
pub(crate) fn state(world: &World, met: &mut Met) -> Result<(), String> {
    let members: Vec<&Member> = world.members.iter().map(|member| &*member.value).collect();
    let ghost = &*world.ghost.value;
    for (at, one) in members.iter().enumerate() {
        for other in &members[at + 1..] {
            log_matching(&one.raft, &other.raft)?;
        }
        ghost.membership_in_force(&one.raft)?;
        if one.raft.role() == Role::Leader {
            ghost.complete(&one.raft)?;
        }
        acknowledged(one, &members, ghost)?;
    }
    if ghost.wiped.is_empty() {
        for &(position, _) in &ghost.committed {
            // Not a quorum that holds it, but none that lacks it: of a membership that was
            // counted by and then cut from the log, half of the one before may be left.
            let lacks = |id: NodeId| !holds(&members[number(id)].disk.trail, position);
            let in_force = members.iter().map(|member| member.raft.membership());
            let counting = in_force.chain(ghost.committed_membership());
            let mut counting = counting.filter(|membership| !membership.voters.is_empty());
            if !counting.any(|membership| !membership.is_quorum(lacks)) {
                return Err(format!("committed is durable on a quorum: {position} is not"));
            }
        }
    }
    if world.rules.witnessed {
        members.iter().try_for_each(|member| witnessed(member, &members))?;
    }
    if lease_holders(world, &members).count() > 1 {
        return Err(String::from("one lease: two members hold one"));
    }
    meet(world, &members, met);
    Ok(())
}

/// What a witness holds, another voter has on its disk: nobody could win any more
/// without it, and a witness does not lead.
fn witnessed(witness: &Member, members: &[&Member]) -> Result<(), String> {
    let (me, held) = (witness.raft.id(), witness.disk.trail.last());
    let in_force = witness.disk.trail.membership();
    let mut others = in_force.voters.iter().filter(|&&id| !in_force.is_witness(id));
    let has = |id: &NodeId| holds(&members[number(*id)].disk.trail, held);
    if in_force.is_witness(me) && !others.any(has) {
        return Err(format!(
            "witnesses hold nothing alone: {me} holds {held}, no other voter does"
        ));
    }
    Ok(())
}

fn lease_holders<'a>(world: &World, members: &'a [&Member]) -> impl Iterator<Item = &'a Member> {
    let now = world.rules.now();
    members.iter().copied().filter(move |member| match &member.raft.role {
        RoleState::Leader(leader) => member.raft.holds_lease(leader, now),
        _ => false,
    })
}

/// Log matching: logs that share an entry share all before it.
fn log_matching(one: &Raft, other: &Raft) -> Result<(), String> {
    let mut agree_below = false;
    let last = other.trail().last().index;
    let ours: Vec<Position> = positions(one.trail()).take_while(|at| at.index <= last).collect();
    for position in ours.into_iter().rev() {
        let shared = holds(other.trail(), position);
        if agree_below && !shared {
            let (one, other) = (one.id(), other.id());
            return Err(format!("log matching: {one} and {other} differ at {position}"));
        }
        agree_below |= shared;
    }
    Ok(())
}

/// What a leader takes to be durable at a follower of its term is.
fn acknowledged(leader: &Member, members: &[&Member], ghost: &Ghost) -> Result<(), String> {
    let RoleState::Leader(state) = &leader.raft.role else { return Ok(()) };
    for (id, known) in state.followers.iter() {
        let follower = members[number(id)];
        let later_term = follower.disk.hard_state.current_term > leader.raft.term();
        // A leader that was not told yet knows of the disk that was lost.
        let known_disk = leader.raft.membership().readmitted.get(&id);
        let lost = ghost.wiped.contains(&id) && known_disk != follower.disk.replacement.as_ref();
        if later_term || lost {
            continue;
        }
        let trail = leader.raft.trail();
        let stored = match trail.position_at(known.match_index) {
            Some(matched) => holds(&follower.disk.trail, matched),
            None => known.match_index <= follower.disk.trail.last().index,
        };
        if !stored {
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
    let ghost = &*world.ghost.value;
    let leaders = members.iter().filter(|member| member.raft.role() == Role::Leader);
    meet("two leaders, of two terms", leaders.clone().count() > 1);
    meet("an entry is committed", !ghost.committed.is_empty());
    meet(
        "an entry of an older term is committed",
        ghost.committed.iter().any(|(position, term)| position.term < *term),
    );
    meet(
        "a leader commits before its own copy is durable",
        leaders.clone().any(|member| member.raft.commit_index() > member.raft.durable_index()),
    );
    meet("two terms had a leader", leaders.clone().any(|leader| leader.raft.term() > Term(1)));
    let ranks = &world.rules.ranks;
    let ranked = leaders.clone().filter(|member| member.raft.term() > Term(1) && !ranks.is_empty());
    let ranked = ranked.map(|member| member.raft.config().election_rank);
    meet("the first in rank leads after another", ranked.clone().any(|rank| rank == 0));
    meet("one of a later rank leads after another", ranked.clone().any(|rank| rank > 0));
    let changed = |position: &Position| *position != Position::ZERO;
    let committed =
        |position: &&Position| ghost.committed.iter().any(|(committed, _)| committed == *position);
    let memberships = || ghost.memberships.iter().filter(|(position, _)| changed(position));
    meet("a change is committed", memberships().any(|(at, _)| committed(&at)));
    meet(
        "a joint membership is left",
        memberships().any(|(at, it)| it.is_joint() && committed(&at))
            && memberships().any(|(at, it)| !it.is_joint() && committed(&at)),
    );
    meet(
        "a leader is no voter",
        leaders.clone().any(|member| !member.raft.membership().is_voter(member.raft.id())),
    );
    meet("a lease is held", lease_holders(world, members).next().is_some());
    let rejoined = |id: &NodeId| {
        let raft = &members[number(*id)].raft;
        raft.may_vote() && raft.commit_index() >= raft.trail().membership_index()
    };
    meet("one that lost its disk votes again", ghost.wiped.iter().any(rejoined));
    meet(
        "a snapshot stands for the log",
        members.iter().any(|member| member.raft.trail().base().index > Index(0)),
    );
}
