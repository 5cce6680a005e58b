//! Members that are reached elsewhere from some time on: the operator tells the group,
//! before or after, and as often as it takes.

use crate::fault::Who;
use crate::network::Place;
use crate::operator::Why;
use crate::random::Random;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, World};
use driftless_node::MemberChange;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{NodeId, Role};
use std::collections::BTreeMap;

/// How often the operator looks whether the group knows.
const LOOKS_EVERY_US: u64 = 300_000;

/// How a member moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Its process goes on, and is reached elsewhere once the group knows: it is not told
    /// itself but by the group.
    Announced,
    /// It was stopped and started again there, and knows where it is.
    Done,
}

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// Where all members are reached now.
    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, String> {
        let members = self.ghosts.membership(&self.founding);
        let place = |id| Some((id, self.members.get(&id)?.place.to_string()));
        members.iter().filter_map(place).collect()
    }

    /// The operator has a member move.
    pub(crate) fn operator_moves(&mut self, who: Who, random: &mut Random) {
        let id = self.find(who);
        let is_there = self.members[&id].running.is_some();
        if !is_there || !self.committed.contains(id) || self.moving.contains_key(&id) {
            self.tell(|| format!("member {id} does not move"));
            return;
        }
        if random.chance(1, 2) {
            self.moving.insert(id, Move::Announced);
        } else {
            self.end_process(id, false);
            self.moves(id);
            // Others may have moved as well, and the group not be able to say so.
            self.member(id).told = self.addresses();
            self.count(Situation::CameElsewhere);
            self.moving.insert(id, Move::Done);
            self.start_later(id, random.below(500_000));
        }
        let soon_us = random.below(LOOKS_EVERY_US);
        self.after(soon_us, Happening::Readdress(id));
    }

    fn moves(&mut self, id: NodeId) {
        let place = &mut self.member(id).place;
        place.moves += 1;
        let place = *place;
        self.tell(|| format!("member {id} is at {place} from now on"));
    }

    /// Sees whether the group knows where a member is, or is to be, and else says it
    /// again.
    pub(crate) fn readdress(&mut self, id: NodeId) {
        let Some(&how) = self.moving.get(&id) else { return };
        if !self.ghosts.membership(&self.founding).contains(id) {
            self.moving.remove(&id);
            return;
        }
        let Place { member, moves } = self.members[&id].place;
        let moves = if how == Move::Announced { moves + 1 } else { moves };
        let address = Place { member, moves }.to_string();
        if self.leader_knows(id, &address) {
            self.moving.remove(&id);
            if how == Move::Announced {
                self.moves(id);
                self.count(Situation::Moved);
                for link in self.network.find(|connection| connection.touches(id)) {
                    self.break_link(link);
                }
            }
            return;
        }
        let pick = self.random.draw();
        if let Some(asked) = self.somebody(pick, &[]) {
            let contacts = BTreeMap::from([(id, address)]);
            let change = MemberChange { contacts, ..MemberChange::default() };
            self.ask_change(asked, change, Why::Move, false, false);
        }
        self.after(LOOKS_EVERY_US, Happening::Readdress(id));
    }

    /// Whether whoever leads has applied that `id` is reached there.
    fn leader_knows(&self, id: NodeId, address: &str) -> bool {
        let leader = self.leader().and_then(|leader| self.members[&leader].running.as_ref());
        leader.is_some_and(|leader| {
            let known = leader.node.members().members.get(&id).cloned();
            leader.node.raft().role() == Role::Leader
                && known.is_some_and(|known| known.address.as_deref() == Some(address))
        })
    }
}
