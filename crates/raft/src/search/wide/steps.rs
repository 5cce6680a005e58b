//! What comes of steps: worked out once by the world's own code, and looked up.

use super::super::attempt;
use super::super::check;
use super::super::host::{Deed, Witnessed};
use super::super::numbers::pair;
use super::super::world::{Action, Envelope, Shared, number};
use super::{DELIVER, MEMBERS_MAX, NOTHING, OWN, Outcome, READ, State, Step, TICK, Wide};
use crate::{Input, ReadId, Time};
use alloc::rc::Rc;
use alloc::string::String;

impl Wide<'_> {
    /// One member takes a step; says whether anything comes of it.
    pub(super) fn follow(
        &mut self,
        reached: &mut State,
        step: Step,
        sent: &mut Vec<u32>,
    ) -> Result<bool, String> {
        let id = step.id();
        let Outcome { member, sent: (from, until), news, met } = self.outcome(reached, step)?;
        if news != NOTHING {
            self.look_on(reached, id, news)?;
        }
        let mut rest = met;
        while rest != 0 {
            let situation = self.situations[rest.trailing_zeros() as usize];
            *self.report.met.entry(situation).or_default() += 1;
            rest &= rest - 1;
        }
        sent.extend(&self.sent[from as usize..until as usize]);
        let is_same = reached.members[id] == member;
        reached.members[id] = member;
        Ok(!is_same || from != until || news != NOTHING)
    }

    /// The ghost sees what a member did.
    fn look_on(&mut self, reached: &mut State, id: usize, news: u32) -> Result<(), String> {
        let stepped = self.news[news as usize].clone();
        for seen in &stepped.seen {
            if let Witnessed::Counted { leader, before } = seen {
                let ghost = &self.ghosts.parts[reached.ghost as usize].value;
                let member = |id: usize| &*self.members.parts[reached.members[id] as usize].value;
                check::counted(ghost, leader, *before, member)?;
            }
        }
        let key = pair(reached.ghost, news);
        if let Some(&ghost) = self.ghost_after.get(&key) {
            reached.ghost = ghost;
            return Ok(());
        }
        let mut ghost = (*self.ghosts.parts[reached.ghost as usize].value).clone();
        stepped.show(id, &mut ghost)?;
        reached.ghost = self.number_ghost(ghost);
        self.ghost_after.insert(key, reached.ghost);
        Ok(())
    }

    pub(super) fn asked(&mut self, ghost: u32, read: u32) -> u32 {
        let mut ghost = (*self.ghosts.parts[ghost as usize].value).clone();
        ghost.asked(ReadId(u64::from(read)));
        self.number_ghost(ghost)
    }

    /// The ghost forgets who led where nobody can be elected any more.
    pub(super) fn ghost_forgets(&mut self, reached: &mut State) {
        let members = reached.members[..self.size].iter();
        let electable = members.map(|&member| self.traits[member as usize].electable_from);
        let until = electable.min().expect("there are members");
        let ghost = &self.ghosts.parts[reached.ghost as usize].value;
        if ghost.remembers_leaders_before(until) {
            let key = pair(reached.ghost, !(until.0 as u32));
            if let Some(&ghost) = self.ghost_after.get(&key) {
                reached.ghost = ghost;
                return;
            }
            let mut ghost = (**ghost).clone();
            ghost.forget_leaders_before(until);
            reached.ghost = self.number_ghost(ghost);
            self.ghost_after.insert(key, reached.ghost);
        }
    }

    /// What comes of a step for its member, worked out once.
    pub(super) fn outcome(&mut self, state: &State, step: Step) -> Result<Outcome, String> {
        let before = state.members[step.id()];
        let key = pair(before, step.0);
        if let Some(&outcome) = self.steps.get(&key) {
            return Ok(self.outcomes[outcome as usize]);
        }
        let world = self.without_messages(state);
        let deed = self.deed(before, step);
        let stepped = attempt(|| world.work_out(step.id(), deed))?;
        let from = self.sent.len() as u32;
        for envelope in &stepped.sent {
            let message = self.number_message(envelope);
            self.sent.push(message);
        }
        let member = self.number_member(&stepped.member);
        let mut met = 0;
        for what in &stepped.met {
            let known = self.situations.iter().position(|known| known == what);
            met |= 1
                << known.unwrap_or_else(|| {
                    self.situations.push(what);
                    self.situations.len() - 1
                });
        }
        let mut news = NOTHING;
        if stepped.is_news(&self.members.parts[before as usize].value) {
            news = self.news.len() as u32;
            self.news.push(Rc::new(stepped));
        }
        let outcome = Outcome { member, sent: (from, self.sent.len() as u32), news, met };
        self.steps.insert(key, self.outcomes.len() as u32);
        self.outcomes.push(outcome);
        Ok(outcome)
    }

    fn deed(&self, member: u32, step: Step) -> Deed {
        let message = || (*self.messages.parts[step.which()].value).clone();
        match step.kind() {
            DELIVER => {
                let Envelope { from, message, .. } = message();
                Deed::Told(Input::Receive { from, message })
            }
            OWN => Deed::Own(self.own[member as usize][step.which()]),
            TICK => Deed::Own(Action::Tick(step.which())),
            READ => {
                let id = ReadId(step.which() as u64);
                Deed::Told(Input::Read { id, deadline: Time(u64::MAX) })
            }
            _ => Deed::Told(message().answer().expect("it has one")),
        }
    }

    /// A member that will not crash any more.
    pub(super) fn outliving(&mut self, member: u32) -> u32 {
        if !self.traits[member as usize].mortal {
            return member;
        }
        let key = pair(member, NOTHING);
        if let Some(&member) = self.steps.get(&key) {
            return member;
        }
        let mut outliving = (*self.members.parts[member as usize].value).clone();
        outliving.outlive();
        let outliving = self.number_member(&Shared::new(outliving));
        self.steps.insert(key, outliving);
        outliving
    }

    /// By way of the world itself, for what is rare.
    pub(super) fn reach_slowly(
        &mut self,
        state: &State,
        left: u32,
        action: Action,
    ) -> Result<State, String> {
        let world = self.world(state);
        let met = &mut self.report.met;
        let after = attempt(|| world.go(action, met))?;
        let mut reached = State { inboxes: [0; MEMBERS_MAX], left, ..*state };
        for (id, member) in after.members.iter().enumerate() {
            reached.members[id] = self.number_member(member);
        }
        for envelope in &after.network {
            let message = self.number_message(envelope);
            let to = number(envelope.value.to);
            reached.inboxes[to] = self.with(reached.inboxes[to], message);
        }
        reached.ghost = self.ghosts.number(&after.ghost, &mut self.symmetry, 3).0;
        Ok(reached)
    }
}
