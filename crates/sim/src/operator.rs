//! The operator: asks for other members and other leaders, of anybody and at the
//! worst of times, and gives members that lost their disks new ones.

use crate::clock::WorldTime;
use crate::fault::{Who, Wish};
use crate::lost_disks::survives_a_loss;
use crate::member::{Begins, Member};
use crate::network::{Place, Process};
use crate::property::{Breach, Property, hold};
use crate::random::Random;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, Lift, ToNode, World};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Change, ChangeRefusal, Membership, NodeId, Role};
use driftless_node::{
    Answer, ClientRequest, Event, MemberChange, MemberKind, Members, RequestError, RequestToken,
};

/// Nobody asks for more voters than this.
const VOTERS_MAX: usize = 7;
/// ... nor for more members in all the time.
const EVER_MAX: u64 = 14;

/// Something that the operator asked for.
#[derive(Debug)]
pub(crate) struct Wished {
    asked: Process,
    asked_at: WorldTime,
    what: What,
    /// It comes after all faults, and has to be done.
    must_be_done: bool,
}

#[derive(Debug)]
enum What {
    /// These changes, for this reason.
    Change { changes: Vec<Change>, why: Why, of_leader: bool, leader_goes: bool },
    /// This member as leader.
    Transfer { to: NodeId },
}

/// Why a change is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Wish(Wish),
    /// A disk was lost.
    Care,
    /// A member is elsewhere, or is to be.
    Move(Place),
}

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// The membership that the newest leader goes by, or whoever knows most.
    pub(crate) fn newest_membership(&self) -> Membership {
        let running = self.members.values().filter_map(|member| member.running.as_ref());
        let rafts = running.map(|running| running.node.raft());
        let newest = rafts.max_by_key(|raft| (raft.role() == Role::Leader, raft.term()));
        let newest = newest.map(|raft| raft.membership().clone()).unwrap_or_default();
        if newest.voters.is_empty() { self.founding.clone() } else { newest }
    }

    /// A member that runs and belongs to the group, none of `but`.
    pub(crate) fn somebody(&self, pick: u64, but: &[NodeId]) -> Option<Process> {
        let membership = self.newest_membership();
        let running = self.members.values().filter(|member| {
            !but.contains(&member.id) && !member.is_out && membership.contains(member.id)
        });
        let running: Vec<Process> = running.filter_map(Member::process).collect();
        Random::new(pick).pick(&running).copied()
    }

    /// The operator wishes for other members.
    pub(crate) fn operator_wishes(&mut self, wish: Wish, pick: u64, cut_us: u64) {
        let mut random = Random::new(pick);
        if let Wish::Move(who) = wish {
            return self.operator_moves(who, &mut random);
        }
        let membership = self.newest_membership();
        let Some(changes) = self.changes_for(wish, &membership, &mut random) else {
            self.tell(|| "nothing to be wished for".into());
            return;
        };
        let anybody = self.somebody(random.draw(), &[]);
        let leader = self.leader().and_then(|id| self.members[&id].process());
        let asked = if cut_us > 0 { leader.or(anybody) } else { anybody };
        let Some(asked) = asked else { return };
        if cut_us > 0 {
            // The leader has it in its log, and perhaps nobody else.
            let soon_us = random.below(self.plan.latency_us + 1_000);
            self.after(soon_us, Happening::Lift(Lift::CutOff(asked.member, cut_us)));
        }
        self.wish(asked, changes, Why::Wish(wish), false);
    }

    /// The wish that closes a run: all is well, so it has to be done. Says whether
    /// there was one.
    pub(crate) fn last_wish(&mut self) -> bool {
        let mut random = Random::new(self.plan.seed ^ 0x006c_6173_7400);
        let membership = self.newest_membership();
        let wishes =
            [Wish::AddVoter, Wish::Several, Wish::Remove(Who::Leader(1)), Wish::AddLearner];
        let wish = *random.pick(&wishes).expect("not empty");
        let changes = self.changes_for(wish, &membership, &mut random);
        let changes = changes.filter(|changes| membership.changed(changes).is_ok());
        let Some(changes) = changes else { return false };
        // Who goes stops, and may do so before it answers.
        let goes = |change: &Change| match change {
            Change::Remove(id) => Some(*id),
            _ => None,
        };
        let going: Vec<NodeId> = changes.iter().filter_map(goes).collect();
        let Some(asked) = self.somebody(random.draw(), &going) else { return false };
        self.wish(asked, changes, Why::Wish(wish), true);
        true
    }

    /// What a wish comes to, if it can be wished for.
    fn changes_for(
        &mut self,
        wish: Wish,
        membership: &Membership,
        random: &mut Random,
    ) -> Option<Vec<Change>> {
        let learners: Vec<NodeId> = membership.learners.iter().copied().collect();
        let is_lost = |id: &NodeId| self.members.get(id).is_some_and(|m| m.lost.is_some());
        let changes = match wish {
            Wish::AddLearner => vec![Change::AddLearner(self.newcomer(false)?)],
            Wish::AddVoter if membership.voters.len() >= VOTERS_MAX => return None,
            Wish::AddVoter => vec![Change::AddVoter(self.newcomer(false)?)],
            Wish::AddWitness => {
                let witnesses = membership.voters.intersection(&membership.witnesses).count();
                if (witnesses + 1) * 2 > membership.voters.len() + 1 {
                    return None;
                }
                vec![Change::AddWitness(self.newcomer(true)?)]
            }
            Wish::Promote => vec![Change::Promote(*random.pick(&learners)?)],
            Wish::Demote(who) => vec![Change::Demote(self.find(who))],
            Wish::Remove(who) => vec![Change::Remove(self.find(who))],
            Wish::Move(_) => return None,
            Wish::Several => {
                let voters: Vec<NodeId> =
                    membership.voters.iter().copied().filter(|id| !is_lost(id)).collect();
                let mut changes = vec![Change::Remove(*random.pick(&voters)?)];
                if random.chance(1, 2) {
                    changes.extend(
                        learners.iter().filter(|id| !is_lost(id)).map(|id| Change::Promote(*id)),
                    );
                }
                let more = random.between(1, 2);
                for _ in 0..more {
                    if membership.voters.len() + changes.len() <= VOTERS_MAX {
                        changes.push(Change::AddVoter(self.newcomer(false)?));
                    }
                }
                changes
            }
        };
        self.leaves_enough(membership, &changes).then_some(changes)
    }

    /// Whether enough voters are left, whatever came of what was asked for before.
    fn leaves_enough(&self, membership: &Membership, changes: &[Change]) -> bool {
        let Ok(after) = membership.changed(changes) else { return true };
        let witnesses = after.voters.intersection(&after.witnesses).count();
        let left = after.voters.len().saturating_sub(self.maybe_gone);
        !self.plan.loses_disks || survives_a_loss(left, witnesses)
    }

    /// A new member, that is started soon, whether it is wanted by then or not.
    pub(crate) fn newcomer(&mut self, is_witness: bool) -> Option<NodeId> {
        let id = NodeId(self.next_member);
        if id.0 > EVER_MAX {
            return None;
        }
        self.next_member += 1;
        let mut member = Member::new(id, &self.plan, Begins::Joining, self.random.split());
        member.told = self.addresses();
        self.members.insert(id, member);
        if is_witness {
            self.witnesses.insert(id);
        }
        let after_us = self.random.below(2_000_000);
        self.after(after_us, Happening::Lift(Lift::Start(id)));
        Some(id)
    }

    pub(crate) fn wish(
        &mut self,
        asked: Process,
        changes: Vec<Change>,
        why: Why,
        must_be_done: bool,
    ) {
        // Newcomers are not heard of before they are members: a group of one or two
        // takes none as voters unless it is made to. All of them do come up.
        let forced = must_be_done || why != Why::Care && self.random.chance(1, 4);
        let contacts = changes
            .iter()
            .filter_map(|change| match change {
                Change::AddLearner(id) | Change::AddVoter(id) | Change::AddWitness(id) => Some(*id),
                _ => None,
            })
            .map(|id| (id, self.members[&id].place.to_string()))
            .collect();
        let goes = |change: &&Change| matches!(change, Change::Remove(_) | Change::Demote(_));
        self.maybe_gone += changes.iter().filter(goes).count();
        let leader = self.leader();
        let leader_goes = changes
            .iter()
            .any(|change| matches!(change, Change::Remove(id) if Some(*id) == leader));
        let change = MemberChange { changes, contacts, forced };
        self.ask_change(asked, change, why, leader_goes, must_be_done);
    }

    /// Asks for a change of members, or of where they are.
    pub(crate) fn ask_change(
        &mut self,
        asked: Process,
        change: MemberChange,
        why: Why,
        leader_goes: bool,
        must_be_done: bool,
    ) {
        let of_leader = self.leader() == Some(asked.member);
        let what = What::Change { changes: change.changes.clone(), why, of_leader, leader_goes };
        self.ask_node(asked, what, must_be_done, |token, deadline| ClientRequest::Change {
            token,
            change,
            deadline,
        });
    }

    /// The operator wishes for another leader.
    pub(crate) fn operator_transfers(&mut self, pick: u64, cut: bool) {
        let mut random = Random::new(pick);
        let membership = self.newest_membership();
        let members: Vec<NodeId> = membership.iter().collect();
        let Some(&to) = random.pick(&members) else { return };
        let leader = self.leader().and_then(|id| self.members[&id].process());
        let anybody = self.somebody(random.draw(), &[]);
        let asked = if random.chance(7, 8) { leader } else { anybody };
        let Some(asked) = asked else { return };
        if cut && to != asked.member {
            let for_us = self.plan.patience_us * 3;
            self.part(for_us, |one, other| one == to || other == to);
        }
        self.ask_node(asked, What::Transfer { to }, false, |token, deadline| {
            ClientRequest::Transfer { token, to, deadline }
        });
    }

    fn ask_node(
        &mut self,
        asked: Process,
        what: What,
        must_be_done: bool,
        request: impl FnOnce(RequestToken, driftless_node::raft::Time) -> ClientRequest,
    ) {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        self.tell(|| format!("the operator asks member {}: {what:?}", asked.member));
        let patience_us = match what {
            _ if must_be_done => self.plan.patience_us * 10,
            What::Change { .. } => self.plan.patience_us * 2,
            What::Transfer { .. } => self.plan.patience_us / 2,
        };
        let clock = self.members[&asked.member].clock;
        let deadline = clock.at(self.now).after(patience_us);
        let asked_at = self.now;
        self.wishes.insert(token, Wished { asked, asked_at, what, must_be_done });
        let event = ToNode::Event(Event::Client(request(token, deadline)));
        let travel_us = self.random.between(20, 500);
        self.after(travel_us, Happening::Node(asked, event));
        // By the slowest clock there is, and then some.
        self.after(patience_us * 3 + 1_000_000, Happening::OperatorGivesUp(token));
    }

    /// A node answers the operator. Says no if it is not the operator who asked.
    pub(crate) fn operator_hears(
        &mut self,
        process: Process,
        token: RequestToken,
        answer: &Answer,
    ) -> Result<bool, Breach> {
        let Some(wished) = self.wishes.remove(&token) else { return Ok(false) };
        hold!(wished.asked == process, AnsweredOnce, "{wished:?} is answered by {process:?}");
        self.tell(|| format!("member {} answers the operator: {answer:?}", process.member));
        match (&wished.what, answer) {
            (What::Change { changes, why, of_leader, leader_goes }, Answer::Changed) => {
                let node = &self.members[&process.member].running.as_ref().expect("it runs").node;
                let members = node.members();
                // Who is removed itself may only have been told so.
                let leaves = changes.contains(&Change::Remove(process.member))
                    && !self.committed.contains(process.member);
                hold!(
                    leaves
                        || changes.is_empty()
                        || !members.joint
                            && changes.iter().all(|change| is_done(*change, &members)),
                    ChangeIsDone,
                    "member {} says that {changes:?} is done, with {members:?}",
                    process.member
                );
                let goes =
                    |change: &&Change| matches!(change, Change::Remove(_) | Change::Demote(_));
                self.settled(changes.iter().filter(goes).count());
                let situations = [
                    Some(situation_of(*why, changes)),
                    (!of_leader).then_some(Situation::ChangedByFollower),
                    leader_goes.then_some(Situation::LeaderRemoved),
                ];
                situations.into_iter().flatten().for_each(|situation| self.count(situation));
                if let Why::Move(place) = *why {
                    self.group_knows(place);
                }
            }
            (What::Transfer { to }, Answer::Transferred) => {
                let node = &self.members[&process.member].running.as_ref().expect("it runs").node;
                let leader = node.status().leader;
                hold!(
                    leader == Some(*to),
                    ChangeIsDone,
                    "member {} says that {to} leads, and follows {leader:?}",
                    process.member
                );
                self.count(Situation::Transferred);
            }
            (What::Change { .. }, Answer::Refused(error)) => {
                self.change_refused(&wished, *error)?;
            }
            (What::Transfer { .. }, Answer::Refused(error)) => self.count(match error {
                RequestError::TimedOut => Situation::TransferFailed,
                _ => Situation::TransferRefused,
            }),
            (what, answer) => {
                hold!(false, AnsweredOnce, "{what:?} is answered with {answer:?}");
            }
        }
        Ok(true)
    }

    /// So many wishes for somebody to go are done, or will not be. (A disaster forgets
    /// those before it, and some are answered after it.)
    fn settled(&mut self, gone: usize) {
        self.maybe_gone = self.maybe_gone.saturating_sub(gone);
    }

    fn change_refused(&mut self, wished: &Wished, error: RequestError) -> Result<(), Breach> {
        let What::Change { changes, .. } = &wished.what else { return Ok(()) };
        let is_unknown = matches!(error, RequestError::TimedOut | RequestError::Stopped);
        if !is_unknown {
            let goes = |change: &&Change| matches!(change, Change::Remove(_) | Change::Demote(_));
            self.settled(changes.iter().filter(goes).count());
        }
        self.count(match error {
            RequestError::Change(ChangeRefusal::QuorumUnreachable) => Situation::RefusedQuorum,
            RequestError::Change(_) | RequestError::IdRemoved(_) => Situation::ChangeRefused,
            _ if is_unknown => Situation::ChangeUnknown,
            _ => Situation::ChangeNotDone,
        });
        hold!(
            !wished.must_be_done,
            Liveness,
            "all faults are over and member {} does not do {changes:?}: {error}",
            wished.asked.member
        );
        Ok(())
    }

    /// Nobody answered the operator in time.
    pub(crate) fn operator_gives_up(&mut self, token: RequestToken) -> Result<(), Breach> {
        let Some(wished) = self.wishes.remove(&token) else { return Ok(()) };
        let listens_since = self.listens_since(wished.asked);
        hold!(
            !wished.must_be_done && listens_since.is_none_or(|since| since > wished.asked_at),
            AnsweredOnce,
            "member {} stood still at no time and let the deadline of {:?} pass without a word",
            wished.asked.member,
            wished.what
        );
        self.count(Situation::ChangeUnknown);
        Ok(())
    }

    /// The process is gone, and with it what it was asked for.
    pub(crate) fn operator_loses(&mut self, process: Process) {
        self.wishes.retain(|_, wished| wished.asked != process);
    }

    /// A member has learnt that it was removed: was it?
    pub(crate) fn leaves(&mut self, id: NodeId) -> Result<(), Breach> {
        let membership = self.ghosts.membership(&self.founding);
        let check = if membership.contains(id) {
            let text = format!("member {id} leaves, and is one of {membership:?}");
            Err(Breach(Property::ChangeIsDone, text))
        } else {
            Ok(())
        };
        self.heed(check, ())?;
        self.count(Situation::Left);
        if self.left_behind.remove(&id) {
            self.count(Situation::TurnedAway);
        }
        self.end_process(id, false);
        self.members.get_mut(&id).expect("a member of this world").is_out = true;
        Ok(())
    }
}

/// Whether a change shows in what a member has applied.
fn is_done(change: Change, members: &Members) -> bool {
    let kind = |id: NodeId| members.members.get(&id).map(|member| member.kind);
    match change {
        Change::AddVoter(id) | Change::Promote(id) => {
            matches!(kind(id), Some(MemberKind::Voter | MemberKind::Witness))
        }
        Change::AddWitness(id) => kind(id) == Some(MemberKind::Witness),
        Change::Demote(id) => {
            matches!(kind(id), Some(MemberKind::Learner | MemberKind::Witness))
        }
        Change::Remove(id) => kind(id).is_none(),
        // It may have been promoted since.
        Change::AddLearner(id) | Change::Readmit { id, .. } => kind(id).is_some(),
        _ => true,
    }
}

fn situation_of(why: Why, changes: &[Change]) -> Situation {
    match (why, changes) {
        (Why::Care, _) => Situation::Cared,
        (Why::Move(_) | Why::Wish(Wish::Move(_)), _) => Situation::Readdressed,
        (Why::Wish(Wish::AddLearner), _) => Situation::LearnerAdded,
        (Why::Wish(Wish::AddVoter), _) => Situation::VoterAdded,
        (Why::Wish(Wish::AddWitness), _) => Situation::WitnessAdded,
        (Why::Wish(Wish::Promote), _) => Situation::Promoted,
        (Why::Wish(Wish::Demote(_)), _) => Situation::Demoted,
        (Why::Wish(Wish::Remove(_)), _) => Situation::Removed,
        (Why::Wish(Wish::Several), _) => Situation::ManyChanged,
    }
}
