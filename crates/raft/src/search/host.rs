//! The host of a member: carries out what a step asks for, on its disk and on the
//! network, and looks at what the step says.
//!
//! Left out, as if they were lost: `AppendHeard` where nothing rests on it, and
//! messages that their receiver ignores, now and for ever, or could only refuse
//! because their term has passed (`is_ignored`).

use super::check::{self, Ghost, Promised, holds};
use super::mutant::{self, Mutant};
use super::std::hash::DefaultHasher;
use super::table::{ByFingerprint, both};
use super::world::{Action, Envelope, Member, Met, Permit, Shared, World, name, number};
use crate::progress::Flow;
use crate::roles::RoleState;
use crate::{
    Effect, Effects, Index, Input, Membership, MembershipEntry, Message, Moment, NodeId, Persist,
    Position, Raft, ReadId, Restored, Role, SnapshotOutcome, Source, Term, Ticket, Time,
};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::mem;

/// What a member is told, or does by itself.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Deed {
    Told(Input),
    /// An action of this member alone.
    Own(Action),
}

impl World {
    /// One step of the algorithm, and its effects.
    pub(crate) fn step(&mut self, id: usize, input: Input, met: &mut Met) -> Result<(), String> {
        self.perform(id, Deed::Told(input), met)
    }

    /// What a member does, with its effects. That depends on nothing but its own
    /// state and the deed, so it is worked out once.
    pub(crate) fn perform(&mut self, id: usize, deed: Deed, met: &mut Met) -> Result<(), String> {
        let mut hasher = DefaultHasher::new();
        deed.hash(&mut hasher);
        let key = both(self.members[id].hash, hasher.finish());
        let known = self.memo.borrow().steps.get(&key).cloned();
        let stepped = if let Some(stepped) = known {
            stepped
        } else {
            let stepped = Rc::new(self.work_out(id, deed)?);
            self.memo.borrow_mut().steps.insert(key, stepped.clone());
            stepped
        };
        for what in &stepped.met {
            *met.entry(what).or_default() += 1;
        }
        for seen in &stepped.seen {
            if let Witnessed::Counted { leader, before } = seen {
                let member = |id: usize| &*self.members[id].value;
                check::counted(&self.ghost.value, leader, *before, member)?;
            }
        }
        self.look_on(key, id, &stepped)?;
        for envelope in &stepped.sent {
            let at = self.network.partition_point(|other| other.hash < envelope.hash);
            let same = |other: &Shared<Envelope>| other.value == envelope.value;
            if !(self.rules.stays && self.network[at..].iter().any(same)) {
                self.network.insert(at, envelope.clone());
            }
        }
        self.members[id] = stepped.member.clone();
        Ok(())
    }

    /// The ghost sees the step.
    fn look_on(&mut self, key: u64, id: usize, stepped: &Stepped) -> Result<(), String> {
        let key = both(self.ghost.hash, key);
        if let Some(ghost) = self.memo.borrow().ghosts.get(&key) {
            self.ghost = ghost.clone();
            return Ok(());
        }
        let mut ghost = (*self.ghost.value).clone();
        stepped.show(id, &mut ghost)?;
        self.ghost = Shared::new(ghost);
        self.memo.borrow_mut().ghosts.insert(key, self.ghost.clone());
        Ok(())
    }

    /// What a member does.
    pub(crate) fn work_out(&self, id: usize, deed: Deed) -> Result<Stepped, String> {
        let mut member = (*self.members[id].value).clone();
        let mut now = Now::default();
        let input = match deed {
            Deed::Told(input) => {
                if let Input::Receive { message: Message::InstallSnapshot { last, .. }, .. } = input
                {
                    // Its pieces are durable before the algorithm is told of it.
                    member.stored = member.stored.max(last);
                }
                Some(input)
            }
            Deed::Own(action) => self.begin(id, &mut member, action, &mut now)?,
        };
        let mut inputs: VecDeque<Input> = input.into_iter().collect();
        let moment = Moment { now: self.rules.now(), random: 0 };
        while let Some(input) = inputs.pop_front() {
            let was_leader = member.raft.role() == Role::Leader;
            let committed = member.raft.commit_index();
            let mut effects = Effects::new();
            mutant::step(self.rules.mutant, &mut member.raft, moment, input, &mut effects);
            if !was_leader && member.raft.role() == Role::Leader {
                now.seen.push(Witnessed::Elected(Box::new(member.raft.clone())));
            }
            for effect in effects.list {
                self.carry_out(&mut member, effect, &mut now, &mut inputs)?;
            }
            if was_leader && member.raft.commit_index() > committed {
                let leader = Box::new(member.clone());
                now.seen.push(Witnessed::Counted { leader, before: committed });
            }
        }
        member.raft.rebase(moment.now);
        let term = member.raft.term();
        member.raft.outbox.forget_useless(term, self.rules.stays);
        renumber(&mut member);
        if !member.mortal {
            member.outlive();
        }
        let mut sent = Vec::new();
        for (to, message) in mem::take(&mut now.sent) {
            if let Some(promise) = check::promise(name(id), to, &message) {
                // What is durable when it is said is safe with the disk.
                if self.rules.mutant.is_some() {
                    now.seen.push(Witnessed::Said(promise));
                } else if !promise.is_durable(&member.disk) {
                    return Err(format!("promises are durable when they are made: {promise:?}"));
                }
            }
            self.post(id, to, message, &mut now.met, &mut sent);
        }
        Ok(Stepped { member: Shared::new(member), seen: now.seen, sent, met: now.met })
    }

    /// Puts a message on its way, if it can arrive.
    fn post(
        &self,
        id: usize,
        to: NodeId,
        message: Message,
        met: &mut Vec<&'static str>,
        sent: &mut Vec<Shared<Envelope>>,
    ) {
        let envelope = Envelope { from: name(id), to, message };
        let heard = matches!(envelope.message, Message::AppendHeard { .. });
        let links = &self.rules.links;
        let (one, other) = (id, number(to));
        let linked =
            links.is_empty() || links.contains(&(one, other)) || links.contains(&(other, one));
        if heard && !self.rules.hears || !linked {
            return;
        }
        if let Message::AppendRejected { .. } = envelope.message {
            met.push("an append is rejected");
        }
        sent.push(Shared::new(envelope));
    }

    /// What an action does to its member before the algorithm hears of it, and what
    /// that hears.
    fn begin(
        &self,
        id: usize,
        member: &mut Member,
        action: Action,
        done: &mut Now,
    ) -> Result<Option<Input>, String> {
        let now = self.rules.now();
        Ok(match action {
            Action::Campaign(_) => Some(Input::Campaign),
            Action::Propose(_) => Some(Input::Propose { count: 1 }),
            Action::Change(_, which) => {
                let changes = self.rules.changes[which].clone();
                Some(Input::ChangeMembership { changes, forced: true })
            }
            Action::Transfer(_, to) => {
                Some(Input::TransferLeadership { to: name(to), deadline: Time(u64::MAX) })
            }
            Action::Beat(_) => {
                if let RoleState::Leader(leader) = &mut member.raft.role {
                    leader.heartbeat_due = now;
                }
                Some(Input::Wake)
            }
            Action::AskRest(_) => {
                if let RoleState::Leader(leader) = &mut member.raft.role {
                    leader.reads.ask_rest_now(now);
                }
                Some(Input::Wake)
            }
            Action::Tick(which) => {
                let (steps, paused) = &self.rules.ticks[which];
                member.raft.rebase(now.after(steps[id]));
                (*paused == Some(id)).then_some(Input::Paused)
            }
            Action::Snapshot(_) => {
                member.storing = Some(member.applied(&self.rules).expect("it stands"));
                None
            }
            Action::Store(_) => {
                let covered = member.storing.take().expect("one is being written");
                member.stored = member.stored.max(covered);
                None
            }
            Action::Compact(_) => {
                let through = self.rules.purgeable(member).expect("it may go");
                member.disk.trail.compact(through);
                Some(Input::Compacted { through })
            }
            Action::Apply(_) => {
                member.applied = member.next_applied();
                None
            }
            Action::Send(_, to, at) => Some(use_permit(member, name(to), at, done)),
            Action::Sync(_) => {
                let ticket = match self.rules.overtaking(member) {
                    Some(ticket) => ticket,
                    None => write(member, &mut done.met)?,
                };
                Some(Input::Persisted { ticket })
            }
            Action::Crash(_, writes) => {
                for _ in 0..writes {
                    write(member, &mut done.met)?;
                }
                if !member.writes.is_empty() {
                    done.met.push("a crash loses a write");
                }
                let (disk, stored) = (member.disk.clone(), member.stored);
                *member = Member::new(self.rules.start(id, &disk), disk);
                member.stored = stored;
                check::begins_again(member)?;
                // Only where a promise can be made too early can it be forgotten.
                if self.rules.mutant.is_some() {
                    let restored = member.disk.hard_state.current_term;
                    done.seen.push(Witnessed::Restarted(restored));
                }
                None
            }
            _ => unreachable!("{action:?} is not of one member alone"),
        })
    }

    fn carry_out(
        &self,
        member: &mut Member,
        effect: Effect,
        now: &mut Now,
        inputs: &mut VecDeque<Input>,
    ) -> Result<(), String> {
        match effect {
            Effect::Persist(persist) => {
                let stands = |entry: &MembershipEntry| {
                    let position = member.raft.trail().position_at(entry.index);
                    (position.expect("it was appended"), entry.membership.clone())
                };
                if !persist.memberships.is_empty() {
                    now.seen.push(Witnessed::Appended(
                        persist.memberships.iter().map(stands).collect(),
                    ));
                }
                if self.rules.mutant == Some(Mutant::TermNotDurable)
                    && member.writes.is_empty()
                    && mutant::writes_only_a_term(&persist, &member.disk)
                {
                    inputs.push_back(Input::Persisted { ticket: persist.ticket });
                } else {
                    member.writes.push_back(without_origin(persist));
                }
            }
            Effect::Send { to, message } => now.sent.push((to, message)),
            Effect::SendEntries { to, term, prev, leader_commit, round, .. } => {
                let permits = member.permits.entry(to).or_default();
                permits.push(Permit { term, prev, leader_commit, round });
                if !self.rules.sends {
                    let newest = permits.len() - 1;
                    inputs.push_back(use_permit(member, to, newest, now));
                }
            }
            Effect::SendSnapshot { to, term, leader, least, .. } => {
                now.met.push("a snapshot is sent");
                if self.rules.mutant == Some(Mutant::NeverSendsSnapshot) {
                    return Ok(());
                }
                let last = member.disk.trail.base();
                if last.index < least || !holds(member.raft.trail(), last) {
                    let outcome = SnapshotOutcome::Failed;
                    inputs.push_back(Input::SnapshotSent { to, term, outcome });
                    return Ok(());
                }
                if leader != member.raft.id() {
                    now.met.push("a follower sends a snapshot");
                }
                let mut membership = member.raft.trail().membership_at(last.index).clone();
                if self.rules.mutant == Some(Mutant::SnapshotOldMembership) {
                    membership = self.ghost.value.first_membership();
                }
                let membership = Box::new(membership);
                let message = Message::InstallSnapshot { term, leader, last, membership };
                now.sent.push((to, message));
            }
            Effect::Accept { .. } => now.met.push("a proposal is accepted"),
            Effect::AcceptChange { membership, .. } => now.met.push(if membership.is_joint() {
                "a joint membership is entered"
            } else {
                "a change is accepted"
            }),
            Effect::RefuseChange { .. } => now.met.push("a change is refused"),
            Effect::RefuseTransfer { .. } => now.met.push("a transfer is refused"),
            Effect::TransferEnded { .. } => now.met.push("a transfer ends"),
            Effect::ReadReady { id, index } => {
                now.met.push("a read is served");
                now.seen.push(Witnessed::Served(id, index));
            }
            Effect::Apply { through } => {
                let applied = member.raft.trail().position_at(through);
                if applied.is_none_or(|applied| !check::holds(&member.disk.trail, applied)) {
                    return Err(format!("applied is durable: {through} is not"));
                }
                if self.rules.applies {
                    member.to_apply = through;
                }
            }
            Effect::Restore { snapshot } if self.rules.applies => {
                member.to_apply = member.to_apply.max(snapshot.index);
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a member did.
#[derive(Debug)]
pub(crate) struct Stepped {
    pub(crate) member: Shared<Member>,
    /// What the checks must hear of, in order.
    pub(crate) seen: Vec<Witnessed>,
    pub(crate) sent: Vec<Shared<Envelope>>,
    pub(crate) met: Vec<&'static str>,
}

impl Stepped {
    /// The ghost sees it.
    pub(crate) fn show(&self, id: usize, ghost: &mut Ghost) -> Result<(), String> {
        for seen in &self.seen {
            match seen {
                Witnessed::Appended(memberships) => ghost.appended(memberships)?,
                Witnessed::Elected(raft) => ghost.elected(raft)?,
                Witnessed::Served(read, index) => ghost.served(name(id), *read, *index)?,
                Witnessed::Said(promise) => ghost.said(promise)?,
                Witnessed::Restarted(term) => ghost.restarted(name(id), *term)?,
                Witnessed::Counted { .. } => {}
            }
        }
        ghost.committed(&self.member.value.raft)
    }

    /// Whether the ghost may be another once it has seen this done by `before`.
    pub(crate) fn is_news(&self, before: &Member) -> bool {
        let (old, new) = (&before.raft, &self.member.value.raft);
        !self.seen.is_empty()
            || old.commit_index() != new.commit_index()
            || old.trail() != new.trail()
    }
}

/// Something that the checks must hear of.
#[derive(Debug)]
pub(crate) enum Witnessed {
    Elected(Box<Raft>),
    Appended(Vec<(Position, Membership)>),
    Served(ReadId, Index),
    Said(Promised),
    Restarted(Term),
    Counted { leader: Box<Member>, before: Index },
}

/// What a step has done so far.
#[derive(Default)]
struct Now {
    seen: Vec<Witnessed>,
    sent: Vec<(NodeId, Message)>,
    met: Vec<&'static str>,
}

/// The member's oldest write becomes durable; nobody is told yet.
fn write(member: &mut Member, met: &mut Vec<&'static str>) -> Result<Ticket, String> {
    let persist = member.writes.pop_front().expect("a write in flight");
    let Restored { hard_state, trail, .. } = &mut member.disk;
    check::disk(*hard_state, persist.hard_state)?;
    *hard_state = persist.hard_state;
    if persist.truncate_from.is_some() {
        met.push("a truncation becomes durable");
    }
    match (persist.source, persist.truncate_from) {
        (Source::Snapshot { last, membership }, cut) => {
            met.push("a snapshot is installed");
            if cut.is_none() && trail.contains(last) {
                trail.compact(last);
            } else {
                trail.reset(last, *membership);
            }
        }
        (_, Some(from)) => trail.truncate_from(from),
        (_, None) => {}
    }
    for &run in &persist.runs {
        trail.append(run);
    }
    for entry in persist.memberships {
        trail.append_membership(entry);
    }
    Ok(persist.ticket)
}

/// Where the bytes of a record come from is the same to the algorithm.
fn without_origin(mut persist: Persist) -> Persist {
    if !matches!(persist.source, Source::Snapshot { .. }) {
        persist.source = Source::HardState;
    }
    persist
}

/// Sends what a permission is for, if that still stands in the log: one entry a
/// message, so that they can overtake each other.
fn use_permit(member: &mut Member, to: NodeId, at: usize, now: &mut Now) -> Input {
    let permits = member.permits.get_mut(&to).expect("it was given");
    let Permit { term, prev, leader_commit, round } = permits.remove(at);
    if permits.is_empty() {
        member.permits.remove(&to);
    }
    let (last, trail) = (prev.index.next(), member.raft.trail());
    if !trail.contains(prev) || trail.last().index < last {
        now.met.push("what was to be sent is gone");
        return Input::Unreadable { to, term };
    }
    let runs = trail.runs_between(last, last);
    let memberships = trail.memberships_between(last, last);
    let prev_log = prev;
    let message = Message::Append { term, prev_log, runs, memberships, leader_commit, round };
    now.sent.push((to, message));
    Input::Sent { to, term, last, bytes: 1 }
}

/// What was worked out before; all of it can be again.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    steps: ByFingerprint<Rc<Stepped>>,
    ghosts: ByFingerprint<Shared<Ghost>>,
}

impl Memo {
    /// Forgets all, if it is too much.
    pub(crate) fn forget_beyond(&mut self, parts_max: usize) {
        if self.steps.len() + self.ghosts.len() > parts_max {
            *self = Self::default();
        }
    }
}

/// Whether this message can change nothing at its receiver, now or ever, crash
/// or no crash (its disk has reached the message's term; if it will not crash any
/// more, it has itself), or can only be refused
/// there because its term has passed. Leaving it out is as if it were lost.
pub(crate) fn is_ignored(envelope: &Envelope, receiver: &Member) -> bool {
    let kept = &receiver.disk.hard_state;
    let durable = if receiver.mortal { kept } else { &receiver.raft.hard_state };
    let leading = match &receiver.raft.role {
        RoleState::Leader(leader) => leader.followers.get(envelope.from),
        _ => None,
    };
    let now = receiver.raft.term();
    match envelope.message {
        Message::RequestVote { term, .. } => {
            let taken = durable.voted_for.is_some_and(|voted_for| voted_for != envelope.from);
            term < durable.current_term || term == durable.current_term && taken
        }
        Message::Append { term, .. }
        | Message::InstallSnapshot { term, .. }
        | Message::DelegateSnapshot { term, .. }
        | Message::RecallSnapshot { term, .. }
        | Message::TimeoutNow { term } => term < durable.current_term,
        Message::DelegateReport { term, to, .. } => {
            let known = match &receiver.raft.role {
                RoleState::Leader(leader) if now == term => leader.followers.get(to),
                _ => None,
            };
            let news = known.is_some_and(|known| known.is_sent_by(envelope.from));
            term <= durable.current_term && !news
        }
        Message::PreVote { term, .. }
        | Message::PreVoteReply { term, .. }
        | Message::VoteReply { term, vote_granted: false } => term <= durable.current_term,
        Message::VoteReply { term, .. } => {
            let seeks = receiver.raft.role() == Role::Candidate && now == term;
            term <= durable.current_term && !seeks
        }
        Message::AppendHeard { term, round } => {
            let known = leading.filter(|_| now == term);
            term <= durable.current_term && known.is_none_or(|known| round <= known.round_heard)
        }
        Message::AppendStored { term, last } => {
            let known = leading.filter(|_| now == term);
            let news = known.is_some_and(|known| {
                last > known.match_index() || !matches!(known.flow(), Flow::Replicate(_))
            });
            term <= durable.current_term && !news
        }
        Message::AppendRejected { term, prev_log, .. } => {
            let known = leading.filter(|_| now == term);
            let news = known.is_some_and(|known| prev_log.index > known.match_index());
            term <= durable.current_term && !news
        }
        Message::Read { .. } | Message::ReadReply { .. } => false,
    }
}

/// Tickets are names: states that differ only in them are one.
fn renumber(member: &mut Member) {
    let in_flight = member.raft.outbox.renumber();
    // There are others only where a wrong variant said that they are done.
    let told = member.writes.len() - in_flight;
    for (at, persist) in member.writes.iter_mut().enumerate() {
        persist.ticket = Ticket((at + 1).saturating_sub(told) as u64);
    }
}
