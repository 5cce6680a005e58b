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
use driftless_node::raft::NodeId;
use std::collections::BTreeMap;

/// How often the operator says it again until it is answered.
const TELLS_EVERY_US: u64 = 300_000;

/// How a member moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Its process goes on, and is reached elsewhere as well until the group knows and it
    /// has learnt so from the log itself: it tells those whom it calls. From then on it is
    /// reached only there.
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
        let soon_us = random.below(TELLS_EVERY_US);
        self.after(soon_us, Happening::Readdress(id));
    }

    fn moves(&mut self, id: NodeId) {
        let place = &mut self.member(id).place;
        place.moves += 1;
        let place = *place;
        self.tell(|| format!("member {id} is at {place} from now on"));
    }

    /// Says again where a member is, or is to be, until somebody has answered that the
    /// group knows. A list of members would not do: where the log says nothing of a
    /// member, it shows what whoever is asked was told at its start.
    pub(crate) fn readdress(&mut self, id: NodeId) {
        let Some(&how) = self.moving.get(&id) else { return };
        if !self.ghosts.membership(&self.founding).contains(id) {
            self.moving.remove(&id);
            return;
        }
        let place = self.place_to_tell(id, how);
        let pick = self.random.draw();
        let asked = match how {
            Move::Announced => self.members[&id].process(),
            Move::Done => self.somebody(pick, &[]),
        };
        if let Some(asked) = asked {
            let contacts = BTreeMap::from([(id, place.to_string())]);
            let change = MemberChange { contacts, ..MemberChange::default() };
            self.ask_change(asked, change, Why::Move(place), false, false);
        }
        self.after(TELLS_EVERY_US, Happening::Readdress(id));
    }

    /// Whether a member is reached at `place`.
    pub(crate) fn is_at(&self, place: Place) -> bool {
        let Some(member) = self.members.get(&place.member) else { return false };
        let moving = self.moving.get(&place.member);
        member.place == place
            || moving.is_some_and(|&how| self.place_to_tell(place.member, how) == place)
    }

    /// Where a member is, or where it is reached once the group knows.
    fn place_to_tell(&self, id: NodeId, how: Move) -> Place {
        let Place { member, moves } = self.members[&id].place;
        let moves = if how == Move::Announced { moves + 1 } else { moves };
        Place { member, moves }
    }

    /// The operator was answered that a member's place stands in the log, and by that
    /// member if it is there only from now on.
    pub(crate) fn group_knows(&mut self, place: Place) {
        let id = place.member;
        // An earlier question may be answered late.
        let Some(&how) = self.moving.get(&id) else { return };
        if self.place_to_tell(id, how) != place {
            return;
        }
        // It would go where those do not look who are not found themselves, and it does
        // not know where they are.
        if how == Move::Announced && self.moving.values().any(|other| *other == Move::Done) {
            return;
        }
        self.moving.remove(&id);
        if how == Move::Announced {
            self.moves(id);
            self.count(Situation::Moved);
            for link in self.network.find(|connection| connection.touches(id)) {
                self.break_link(link);
            }
        }
    }
}
