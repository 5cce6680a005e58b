//! What must hold after every step, checked against ghosts: facts that no
//! member has, because they span members, crashes and time.
//!
//! The paper's five safety properties (Figure 3) and those that a durable
//! implementation adds. Each check looks only at what the step may have
//! changed, so that a world of a hundred thousand steps stays quick.

use crate::durable::Durable;
use crate::memberships::Memberships;
use crate::property::{Breach, Check, Property, hold};
use crate::random::{Digest, hash_bytes};
use driftless_node::codec::{Entry, EntryKind};
use driftless_node::log::Record;
use driftless_node::raft::{Index, Membership, NodeId, Position, Raft, Role, Term, Trail};
use std::collections::{BTreeMap, BTreeSet};

/// What a process was seen to be after its last step.
#[derive(Clone, Copy, Debug)]
struct Seen {
    role: Role,
    term: Term,
    last: Position,
    commit: Index,
    membership_at: Index,
}

/// A committed entry.
#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// A term in which it was known committed; no lower than the term in which
    /// it was.
    known_in: Term,
    /// Its request was committed before: an entry that must not be applied.
    is_repeated: bool,
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    hash: u64,
    /// Names the request that a command came with, whatever retry this is.
    request: Option<u64>,
}

impl Content {
    fn of(entry: &Entry) -> Self {
        let mut digest = Digest::default();
        digest.word(entry.kind as u64);
        digest.bytes(&entry.payload);
        // The node's envelope begins with session and sequence number.
        let request = match entry.kind {
            EntryKind::Command => entry.payload.get(..16).map(hash_bytes),
            _ => None,
        };
        Self { hash: digest.value(), request }
    }
}

/// The ghosts.
#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    seen: BTreeMap<NodeId, Seen>,
    leaders: BTreeMap<Term, NodeId>,
    memberships: Memberships,
    /// The newest membership that is committed stands here.
    membership_at: Index,
    /// How often a log cut the membership in force.
    pub(crate) memberships_cut: u64,
    /// Where each term's entries begin, and the term of the entry before.
    term_starts: BTreeMap<Term, (Index, Term)>,
    /// Each entry's content.
    contents: BTreeMap<Position, Content>,
    committed: Vec<Committed>,
    /// Requests that are committed.
    requests: BTreeSet<u64>,
    /// The commands that machines saw, in order, as hashes.
    applied: Vec<u64>,
    /// How many commands had been applied through an index.
    applied_through: BTreeMap<Index, usize>,
    /// How often each command was asked for and applied.
    asked: BTreeMap<u64, u32>,
    done: BTreeMap<u64, u32>,
}

impl Ghosts {
    /// The last index known to be committed by anybody.
    pub(crate) fn commit_index(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// Whether a leader was seen in `term`.
    pub(crate) fn had_leader(&self, term: Term) -> bool {
        self.leaders.contains_key(&term)
    }

    /// Whether a leader was seen in a later term.
    pub(crate) fn had_leader_after(&self, term: Term) -> bool {
        self.leaders.keys().any(|known| *known > term)
    }

    /// How many committed entries of a stretch repeat an earlier request.
    pub(crate) fn repeated_between(&self, after: Index, through: Index) -> usize {
        let stretch = self.committed.get(after.0 as usize..through.0 as usize).unwrap_or_default();
        stretch.iter().filter(|entry| entry.is_repeated).count()
    }

    fn is_committed(&self, position: Position) -> bool {
        let committed = self.committed.get(position.index.previous().0 as usize);
        committed.is_some_and(|committed| committed.term == position.term)
    }

    /// Whether a log ends no earlier than all that is committed.
    pub(crate) fn holds_all_committed(&self, trail: &Trail) -> bool {
        let commit = self.commit_index();
        let newest = self.committed.last().map(|last| Position { term: last.term, index: commit });
        newest.is_none_or(|newest| trail.base().index >= commit || trail.contains(newest))
    }

    /// The newest committed membership.
    pub(crate) fn membership(&self, founding: &Membership) -> Membership {
        let committed =
            self.memberships.committed(self.commit_index(), |position| self.is_committed(position));
        committed.map_or(founding, |(_, membership)| membership).clone()
    }

    /// Where the newest committed membership stands, as far as it was asked for.
    pub(crate) fn membership_index(&self) -> Index {
        self.membership_at
    }

    /// The newest committed membership, and all that may be yet.
    pub(crate) fn memberships_possible(
        &self,
        founding: &Membership,
    ) -> impl Iterator<Item = Membership> {
        let behind = self.memberships.behind(self.commit_index()).cloned();
        [self.membership(founding)].into_iter().chain(behind)
    }

    /// The membership that became committed since this was last asked, if one did.
    pub(crate) fn newly_committed(&mut self) -> Option<Membership> {
        let is_committed = |position: Position| self.is_committed(position);
        let (at, membership) = self.memberships.committed(self.commit_index(), is_committed)?;
        let is_new = at > self.membership_at;
        let membership = is_new.then(|| membership.clone());
        self.membership_at = at;
        membership
    }

    /// A process begins with what it recovered.
    pub(crate) fn process_started(&mut self, member: NodeId, raft: &Raft) {
        let commit = raft.trail().base().index;
        self.seen.insert(
            member,
            Seen {
                role: raft.role(),
                term: raft.term(),
                last: raft.last(),
                commit,
                membership_at: raft.trail().membership_index(),
            },
        );
    }

    /// A client asks for `command`.
    pub(crate) fn asked(&mut self, command: &[u8]) {
        *self.asked.entry(hash_bytes(command)).or_default() += 1;
    }

    /// A member asks its log for a record.
    pub(crate) fn record_asked(
        &mut self,
        member: NodeId,
        before: &Durable,
        record: &Record,
    ) -> Check {
        let (old, new) = (before.asked_hard_state(), record.hard_state);
        hold!(
            new.current_term >= old.current_term,
            HardStateMonotonic,
            "member {member} goes back from term {} to {}",
            old.current_term,
            new.current_term
        );
        let same_term = new.current_term == old.current_term;
        hold!(
            !same_term || old.voted_for.is_none() || old.voted_for == new.voted_for,
            HardStateMonotonic,
            "member {member} changes its vote in term {} from {:?} to {:?}",
            new.current_term,
            old.voted_for,
            new.voted_for
        );
        hold!(
            new.commit_index >= old.commit_index,
            HardStateMonotonic,
            "member {member} goes back from commit index {} to {}",
            old.commit_index,
            new.commit_index
        );
        // What a snapshot covers is replaced, not lost.
        let covered = record.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index);
        if let Some(from) = record.truncate_from.map(|from| from.max(covered.next()))
            && let Some(committed) = self.committed.get(from.previous().0 as usize)
            && new.current_term > committed.known_in
        {
            let held = before.asked_term_at(from);
            hold!(
                held != Some(committed.term),
                LeaderCompleteness,
                "member {member} cuts the committed entry {from}^{}",
                committed.term
            );
        }
        // A witness holds the positions of entries, and not what is in them.
        for entry in record.entries.iter().filter(|entry| entry.kind != EntryKind::Bare) {
            let content = Content::of(entry);
            let known = *self.contents.entry(entry.position).or_insert(content);
            hold!(
                known == content,
                LogMatching,
                "member {member} stores another payload at {} than was stored elsewhere",
                entry.position
            );
        }
        Ok(())
    }

    /// `member` took a step. `copies` are the durable logs that count.
    /// Says whether a new leader was seen.
    pub(crate) fn stepped<'a>(
        &mut self,
        member: NodeId,
        raft: &Raft,
        founded: &Membership,
        copies: impl Fn(NodeId) -> Vec<&'a Trail>,
    ) -> Result<bool, Breach> {
        let now = Seen {
            role: raft.role(),
            term: raft.term(),
            last: raft.last(),
            commit: raft.commit_index(),
            membership_at: raft.trail().membership_index(),
        };
        let Some(before) = self.seen.insert(member, now) else { return Ok(false) };
        hold!(
            now.term >= before.term,
            HardStateMonotonic,
            "member {member} went back from term {} to {}",
            before.term,
            now.term
        );
        hold!(
            now.commit >= before.commit,
            HardStateMonotonic,
            "member {member} went back from commit index {} to {}",
            before.commit,
            now.commit
        );
        let mut elected = false;
        if now.role == Role::Leader {
            elected = self.leads(member, raft)?;
            hold!(
                elected || now.term != before.term || raft.trail().contains(before.last),
                LeaderAppendOnly,
                "leader {member} of term {} no longer holds {}",
                now.term,
                before.last
            );
        }
        if now.last != before.last {
            self.log_matches(member, raft.trail())?;
        }
        if now.commit > before.commit {
            self.commits(member, raft, (before.commit, before.last.index), copies)?;
        }
        self.memberships_cut += u64::from(now.membership_at < before.membership_at);
        if now.last != before.last {
            self.one_membership_open(member, raft.trail())?;
            self.memberships.note(member, raft.trail())?;
            self.memberships.check_in_force(member, raft.trail(), founded, |position| {
                self.is_committed(position)
            })?;
        }
        Ok(elected)
    }

    fn leads(&mut self, member: NodeId, raft: &Raft) -> Result<bool, Breach> {
        let term = raft.term();
        if let Some(leader) = self.leaders.get(&term) {
            hold!(
                *leader == member,
                ElectionSafety,
                "members {leader} and {member} both lead in term {term}"
            );
            return Ok(false);
        }
        self.leaders.insert(term, member);
        let trail = raft.trail();
        for (committed, index) in self.committed.iter().zip(1..).skip(trail.base().index.0 as usize)
        {
            if committed.known_in >= term {
                break;
            }
            let held = trail.term_at(Index(index));
            hold!(
                held == Some(committed.term),
                LeaderCompleteness,
                "leader {member} of term {term} lacks the committed entry {index}^{}, it has {held:?} there",
                committed.term
            );
        }
        Ok(true)
    }

    fn log_matches(&mut self, member: NodeId, trail: &Trail) -> Check {
        let mut before = trail.base();
        for run in trail.runs() {
            // A base inside the run hides where its term began.
            if before.term != run.term {
                let start = (run.first, before.term);
                let known = *self.term_starts.entry(run.term).or_insert(start);
                hold!(
                    known == start,
                    LogMatching,
                    "in the log of member {member} term {} begins at {} after term {}, elsewhere at {} after term {}",
                    run.term,
                    start.0,
                    start.1,
                    known.0,
                    known.1
                );
            }
            before = Position { term: run.term, index: run.last };
        }
        Ok(())
    }

    /// Whatever is uncommitted to all that anybody knows can be at most one
    /// membership: only then are the majorities before and after sure to meet.
    fn one_membership_open(&self, member: NodeId, trail: &Trail) -> Check {
        let behind = self.commit_index().next();
        let open = trail.memberships_between(behind, trail.last().index).len();
        hold!(
            open <= 1,
            OneMembershipOpen,
            "the log of member {member} holds {open} memberships behind the last committed entry, {}",
            self.commit_index()
        );
        Ok(())
    }

    /// `member` holds a lease in `term`: nobody can have been elected after it.
    pub(crate) fn holds_lease(&self, member: NodeId, term: Term) -> Check {
        let later = self.leaders.range(term.next()..).next();
        hold!(
            later.is_none(),
            OneLease,
            "member {member} holds a lease in term {term}; a later leader, and its term: {later:?}"
        );
        Ok(())
    }

    fn commits<'a>(
        &mut self,
        member: NodeId,
        raft: &Raft,
        (after, last_before): (Index, Index),
        copies: impl Fn(NodeId) -> Vec<&'a Trail>,
    ) -> Check {
        let (trail, term, commit) = (raft.trail(), raft.term(), raft.commit_index());
        let known = self.committed.len() as u64;
        for index in after.0 + 1..=commit.0 {
            let Some(held) = trail.term_at(Index(index)) else {
                hold!(
                    index <= trail.base().index.0,
                    StateMachineSafety,
                    "member {member} commits {index}, which it does not hold"
                );
                continue;
            };
            if let Some(committed) = self.committed.get(index as usize - 1) {
                hold!(
                    committed.term == held,
                    StateMachineSafety,
                    "member {member} commits {index}^{held}, elsewhere {index}^{} was committed",
                    committed.term
                );
                continue;
            }
            hold!(
                index as usize == self.committed.len() + 1,
                StateMachineSafety,
                "member {member} commits {index}, and nobody committed the one before"
            );
            let position = Position { term: held, index: Index(index) };
            let request = self.contents.get(&position).and_then(|content| content.request);
            let is_repeated = request.is_some_and(|request| !self.requests.insert(request));
            self.committed.push(Committed { term: held, known_in: term, is_repeated });
        }
        if commit.0 > known {
            let position =
                Position { term: self.committed[commit.0 as usize - 1].term, index: commit };
            let holds = |trail: &Trail| trail.base().index >= commit || trail.contains(position);
            // The membership in force is the newest in the log, committed or not; but
            // what this step appended may have come after what it committed.
            let membership = trail.membership_at(last_before.max(trail.base().index));
            let now = raft.membership();
            let stores = |id| copies(id).iter().any(|trail| holds(trail));
            hold!(
                membership.is_quorum(stores) || now.is_quorum(stores),
                CommittedIsDurable,
                "member {member} commits {position}, durable only on {:?} of {membership:?}",
                membership.iter().filter(|id| stores(*id)).collect::<Vec<_>>()
            );
        }
        Ok(())
    }

    /// The node of `member` lets its machine apply up to `through`.
    pub(crate) fn apply_asked(
        &self,
        member: NodeId,
        raft: &Raft,
        durable: &Trail,
        through: Position,
    ) -> Check {
        hold!(
            through.index <= raft.commit_index(),
            AppliedIsDurable,
            "member {member} applies {through}, but knows commit index {}",
            raft.commit_index()
        );
        hold!(
            durable.base().index >= through.index || durable.contains(through),
            AppliedIsDurable,
            "member {member} applies {through}, durable are only entries through {}",
            durable.last()
        );
        let committed = self.committed.get(through.index.previous().0 as usize);
        hold!(
            committed.is_some_and(|committed| committed.term == through.term),
            StateMachineSafety,
            "member {member} applies {through}, committed is {committed:?}"
        );
        Ok(())
    }

    /// The machine of `member`, which had seen `count` commands, applied these.
    pub(crate) fn applied(
        &mut self,
        member: NodeId,
        mut count: usize,
        commands: &[u64],
        through: Index,
    ) -> Result<usize, Breach> {
        for &command in commands {
            if let Some(known) = self.applied.get(count) {
                hold!(
                    *known == command,
                    StateMachineSafety,
                    "command {count} of member {member} is not the one that others applied there"
                );
            } else {
                self.applied.push(command);
                let done = self.done.entry(command).or_default();
                *done += 1;
                let asked = self.asked.get(&command).copied().unwrap_or(0);
                hold!(
                    *done <= asked,
                    AppliedAtMostOnce,
                    "a command that was asked for {asked} times was applied {done} times"
                );
            }
            count += 1;
        }
        let known = *self.applied_through.entry(through).or_insert(count);
        hold!(
            known == count,
            StateMachineSafety,
            "member {member} applied {count} commands through {through}, others {known}"
        );
        Ok(count)
    }

    /// The machine of `member` holds the snapshot at `index`: so it has seen
    /// this many commands.
    pub(crate) fn restored(&self, member: NodeId, index: Index) -> Result<usize, Breach> {
        match self.applied_through.get(&index) {
            Some(count) => Ok(*count),
            None => Err(Breach(
                Property::StateMachineSafety,
                format!("member {member} restored a snapshot at {index}, where nobody ever was"),
            )),
        }
    }

    /// A client is told that its command was applied at `position`.
    pub(crate) fn acknowledged(&self, member: NodeId, position: Position) -> Check {
        let committed = self.committed.get(position.index.previous().0 as usize);
        hold!(
            committed.is_some_and(|committed| committed.term == position.term),
            StateMachineSafety,
            "member {member} acknowledges {position}, committed is {committed:?}"
        );
        Ok(())
    }
}
