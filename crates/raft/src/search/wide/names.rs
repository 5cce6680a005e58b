//! Numbers for whatever a state consists of, and what it is called with them.

use super::super::check::Ghost;
use super::super::host::is_ignored;
use super::super::numbers::{of_row, pair};
use super::super::table::mix;
use super::super::world::{Action, Envelope, Member, Shared, number as number_of};
use super::{KINDS, MEMBERS_MAX, NOTHING, Name, Place, State, Traits, Wide};
use alloc::vec::Vec;

impl Wide<'_> {
    pub(super) fn number_member(&mut self, member: &Shared<Member>) -> u32 {
        let (number, is_new) = self.members.number(member, &mut self.symmetry, 1);
        if is_new {
            let rules = &self.start.rules;
            let id = number_of(member.value.raft.id());
            let mut own = rules.actions((id, self.size), &member.value, &self.start.left);
            own.retain(|&action| self.start.left.allows(action));
            self.own.push(own.into());
            let Member { mortal, .. } = *member.value;
            let electable_from = member.value.electable_from();
            self.traits.push(Traits { mortal, electable_from });
        }
        number
    }

    pub(super) fn number_message(&mut self, envelope: &Shared<Envelope>) -> u32 {
        let (number, is_new) = self.messages.number(envelope, &mut self.symmetry, 2);
        if is_new {
            let renamings = self.symmetry.size();
            for under in &self.messages.under[number as usize * renamings..] {
                let next = self.by_renamed.len() as u32;
                let renamed = *self.by_renamed.entry(*under).or_insert(next);
                self.renamed_messages.push(renamed);
            }
        }
        number
    }

    pub(super) fn number_ghost(&mut self, ghost: Ghost) -> u32 {
        self.ghosts.number(&Shared::new(ghost), &mut self.symmetry, 3).0
    }

    pub(super) fn left_after(&mut self, left: u32, action: Action) -> u32 {
        let mut after = self.left[left as usize];
        if !after.pay(action) {
            return left;
        }
        let known = self.left.iter().position(|known| *known == after);
        let number = known.unwrap_or_else(|| {
            self.left.push(after);
            self.left.len() - 1
        });
        number as u32
    }

    /// An inbox with one message more.
    pub(super) fn with(&mut self, inbox: u32, message: u32) -> u32 {
        let key = pair(inbox, message);
        if let Some(&inbox) = self.inbox_with.get(&key) {
            return inbox;
        }
        let mut set = self.inboxes.get(inbox).to_vec();
        let at = set.partition_point(|other| *other < message);
        if !self.start.rules.stays || set.get(at) != Some(&message) {
            set.insert(at, message);
        }
        let inbox = self.inboxes.number(set);
        self.inbox_with.insert(key, inbox);
        inbox
    }

    /// An inbox without one message.
    pub(super) fn without(&mut self, inbox: u32, message: u32) -> u32 {
        let key = pair(inbox, message);
        if let Some(&inbox) = self.inbox_less.get(&key) {
            return inbox;
        }
        let mut set = self.inboxes.get(inbox).to_vec();
        let at = set.partition_point(|other| *other < message);
        set.remove(at);
        let inbox = self.inboxes.number(set);
        self.inbox_less.insert(key, inbox);
        inbox
    }

    /// An inbox without what this member ignores for ever.
    pub(super) fn without_ignored(&mut self, inbox: u32, member: u32) -> u32 {
        let key = pair(inbox, member);
        if let Some(&inbox) = self.inbox_without.get(&key) {
            return inbox;
        }
        let mut set = self.inboxes.get(inbox).to_vec();
        set.retain(|&message| !self.is_ignored(message, member));
        let inbox = self.inboxes.number(set);
        self.inbox_without.insert(key, inbox);
        inbox
    }

    pub(super) fn is_ignored(&mut self, message: u32, member: u32) -> bool {
        let envelope = &self.messages.parts[message as usize].value;
        let receiver = &self.members.parts[member as usize].value;
        *self.ignored.entry(pair(message, member)).or_insert_with(|| is_ignored(envelope, receiver))
    }

    /// The least of a state's names under all renamings.
    pub(super) fn name(&mut self, state: &State) -> Name {
        let renamings = self.symmetry.size();
        let mut least = (u64::MAX, 0);
        let mut is_tie = false;
        for at in 0..renamings {
            let under = |pool: &[u64], part: u32| pool[part as usize * renamings + at];
            let mut sum = under(&self.ghosts.under, state.ghost);
            for &member in &state.members[..self.size] {
                sum = sum.wrapping_add(under(&self.members.under, member));
            }
            let sum = mix(sum);
            is_tie = sum == least.0 || is_tie && sum > least.0;
            least = least.min((sum, at));
        }
        let (fingerprint, at) = least;
        let mut net = self.net(state, at);
        if is_tie {
            // Members that are alike so far are told apart by what is under way.
            for at in at + 1..renamings {
                let under = |pool: &[u64], part: u32| pool[part as usize * renamings + at];
                let members = state.members[..self.size].iter();
                let sum = members
                    .map(|&member| under(&self.members.under, member))
                    .fold(under(&self.ghosts.under, state.ghost), u64::wrapping_add);
                if mix(sum) == fingerprint {
                    net = net.min(self.net(state, at));
                }
            }
        }
        let next = self.nets.len() as u32;
        let key = of_row(&net);
        let net = *self.net_numbers.entry(key).or_insert_with(|| {
            self.nets.push(net);
            let messages = net[..self.size].iter().flat_map(|&inbox| self.renamed.get(inbox));
            self.kinds.push(messages.fold(0, |kinds, message| kinds | 1 << (message % KINDS)));
            next
        });
        let place = Place::new(net, state.left, self.kinds[net as usize]);
        Name { fingerprint, place }
    }

    /// All that is under way, renamed.
    pub(super) fn net(&mut self, state: &State, renaming: usize) -> [u32; MEMBERS_MAX] {
        let mut net = [0; MEMBERS_MAX];
        for id in 0..self.size {
            let place = self.symmetry.renamings()[renaming][id];
            net[place] = self.renamed_inbox(state.inboxes[id], renaming);
        }
        net
    }

    pub(super) fn renamed_inbox(&mut self, inbox: u32, renaming: usize) -> u32 {
        let renamings = self.symmetry.size();
        let known = self.inboxes.sets.len() * renamings;
        if self.renamed_inboxes.len() < known {
            self.renamed_inboxes.resize(known, NOTHING);
        }
        let at = inbox as usize * renamings + renaming;
        if self.renamed_inboxes[at] == NOTHING {
            let messages = self.inboxes.get(inbox).iter();
            let renamed =
                |&message: &u32| self.renamed_messages[message as usize * renamings + renaming];
            let mut set: Vec<u32> = messages.map(renamed).collect();
            set.sort_unstable();
            self.renamed_inboxes[at] = self.renamed.number(set);
        }
        self.renamed_inboxes[at]
    }
}
