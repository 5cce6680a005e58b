//! The end of a run: is the world whole again, and was all well?

use crate::linearizable::{Verdict, check};
use crate::member::Member;
use crate::property::{Breach, Property, hold};
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, Phase, World};
use driftless_node::log::{Log, verify};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{NodeId, Role};
use std::fmt::Write as _;

/// How often the world is looked at.
const LOOK_US: u64 = 50_000;

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// Is everybody there and of one mind?
    pub(crate) fn look(&mut self) -> Result<(), Breach> {
        let whole = self.is_whole();
        match self.phase {
            Phase::Settling if whole => {
                self.tell(|| "all members agree; the last wish".into());
                self.phase = Phase::Wishing;
                if self.last_wish() {
                    self.count(Situation::LastWish);
                }
            }
            Phase::Wishing if whole => {
                self.tell(|| "all members agree; the last questions".into());
                self.phase = Phase::Asking;
                let answers = |id: &NodeId| !self.witnesses.contains(id);
                self.to_ask = self.committed.iter().filter(answers).collect();
            }
            Phase::Asking if whole => {
                // One after the other, so that nobody is too busy to answer.
                let Some(id) = self.to_ask.pop() else {
                    self.phase = Phase::Over;
                    return Ok(());
                };
                self.ask_the_last(id);
            }
            _ => {}
        }
        let healed_us = self.now - self.plan.active_us;
        hold!(
            healed_us < self.plan.settle_us,
            Liveness,
            "{} s after the last fault: {}",
            healed_us / 1_000_000,
            self.describe()
        );
        self.after(LOOK_US, Happening::Look);
        Ok(())
    }

    /// Whether all members that may be there are, agree on one leader, one log and
    /// one membership, have applied all of it, and have nothing left to do. Those
    /// that were removed, or never taken in, may be there, but lead nobody.
    fn is_whole(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(head) = &self.members[&leader].running else { return false };
        let (membership, head) = (head.node.raft().membership(), head.node.status());
        let is_member = |member: &&Member<M>| membership.contains(member.id);
        let leads = |member: &Member<M>| {
            let running = member.running.as_ref();
            running.is_some_and(|running| running.node.status().role == Role::Leader)
        };
        self.open.is_empty()
            && self.wishes.is_empty()
            && self.moving.is_empty()
            && *membership == self.committed
            && !membership.is_joint()
            && self.members.values().filter(|member| !is_member(member)).all(|other| !leads(other))
            && membership.iter().all(|id| self.members.contains_key(&id))
            && self.members.values().filter(is_member).all(|member| {
                let is_witness = membership.is_witness(member.id);
                member.running.as_ref().is_some_and(|running| {
                    let status = running.node.status();
                    let leads = status.role == Role::Leader;
                    running.node.raft().membership() == membership
                        && status.term == head.term
                        && status.leader == Some(leader)
                        && (leads == (status.node_id == leader))
                        && status.last == head.last
                        && status.commit_index == head.last.index
                        && (is_witness || status.applied_index == head.last.index)
                        && running.snapshot_queue.is_empty()
                        && running.log_queue.is_empty()
                        && running.log_batch.is_empty()
                })
            })
    }

    /// How each member stands, for a report.
    fn describe(&self) -> String {
        let mut text = String::new();
        for (id, member) in &self.members {
            let told = match &member.running {
                None if member.is_out => write!(text, "member {id} is out for good; "),
                Some(_) if !self.committed.contains(*id) => {
                    write!(text, "member {id} does not belong; ")
                }
                None => write!(text, "member {id} is down; "),
                Some(running) => {
                    let status = running.node.status();
                    write!(
                        text,
                        "member {id} is {:?} in term {} (leader {:?}), log to {}, committed {}, \
                         durable {}, applied {}{}; ",
                        status.role,
                        status.term,
                        status.leader.map(|leader| leader.0),
                        status.last,
                        status.commit_index,
                        status.durable_index,
                        status.applied_index,
                        if status.low_space { ", low on space" } else { "" },
                    )
                }
            };
            told.expect("a string takes all");
        }
        write!(text, "{:?}; {} requests open, ", self.committed, self.open.len())
            .expect("a string takes all");
        write!(text, "wishes {:?}", self.wishes).expect("a string takes all");
        text
    }

    /// The whole run lies behind us: what came of it?
    pub(crate) fn judge(&mut self) -> Result<(), Breach> {
        let same = self.same_state();
        self.heed(same, ())?;
        for (id, member) in &mut self.members {
            // Its process ends first: the directory is read as an operator would.
            member.running = None;
            if member.disk.memory.is_off() {
                // It went just as the member left for good; nobody reads without it.
                member.disk.power_cut(0);
            }
            // One that was to join may not have come to anything.
            if !Log::exists(&member.disk).unwrap_or(true) {
                continue;
            }
            let report = verify(&member.disk);
            hold!(
                member.is_suspect || report.is_whole(),
                LogVerifies,
                "the data directory of member {id}: {:?}",
                report.problems
            );
        }
        if let Err(why) = self.workload.examine_history(&self.history) {
            return Err(Breach(Property::Machine, why));
        }
        match check(&self.workload.model(), &self.history) {
            Verdict::Linearizable => Ok(()),
            Verdict::Violation(violation) => {
                Err(Breach(Property::Linearizable, violation.to_string()))
            }
            Verdict::Undecided { key, configurations } => Err(Breach(
                Property::Linearizable,
                format!(
                    "the history of {key:?} is too entangled to be checked \
                     ({configurations} configurations): let requests meet less often"
                ),
            )),
        }
    }

    fn same_state(&mut self) -> Result<(), Breach> {
        let mut states = Vec::new();
        for (id, member) in &mut self.members {
            if !self.committed.contains(*id) || self.witnesses.contains(id) {
                continue;
            }
            let Some(running) = &mut member.running else { continue };
            states.push((*id, self.workload.digest(&mut running.machine)));
            if let Err(why) = self.workload.examine(&running.machine.reader()) {
                return Err(Breach(Property::Machine, format!("member {id}: {why}")));
            }
        }
        let first = states.first().map(|(_, state)| *state);
        hold!(
            states.iter().all(|(_, state)| Some(*state) == first),
            SameState,
            "members end in different states: {states:x?}"
        );
        if let Some(state) = first {
            self.digest.word(state);
            self.tell(|| format!("all members end in state {state:016x}"));
        }
        Ok(())
    }
}
