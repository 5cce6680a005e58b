//! Whom this member calls, and where: it follows the membership in force, and
//! what is known of addresses.

use crate::port::{Action, NodeOptions};
use crate::roster::Roster;
use driftless_codec::ADDRESS_BYTES_MAX;
use driftless_raft::{Index, Membership, NodeId, Position, Raft, Role, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Who is who, as far as links are concerned.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) me: NodeId,
    pub(crate) in_force: &'a Membership,
    /// Which entry says so.
    pub(crate) in_force_at: Position,
    /// The membership as of what is known to be committed, and how far that is.
    pub(crate) committed: (&'a Membership, Position),
    pub(crate) roster: &'a Roster,
    /// As named at start.
    pub(crate) named: &'a BTreeMap<NodeId, String>,
    /// Whether this member leads.
    pub(crate) leads: bool,
}

impl<'a> Who<'a> {
    pub(crate) fn of(raft: &'a Raft, roster: &'a Roster, options: &'a NodeOptions) -> Self {
        let trail = raft.trail();
        let at = |index: Index| trail.position_at(index).unwrap_or(trail.base());
        let commit_index = raft.commit_index();
        Self {
            me: raft.id(),
            in_force: trail.membership(),
            in_force_at: at(trail.membership_index()),
            committed: (trail.membership_at(commit_index), at(commit_index)),
            roster,
            named: &options.addresses,
            leads: raft.role() == Role::Leader,
        }
    }

    /// Where `id` is reached: as the group says, else as was said at start.
    pub(crate) fn address(&self, id: NodeId) -> Option<&'a str> {
        self.roster.address(id).or_else(|| self.named.get(&id).map(String::as_str))
    }

    /// Where this member is reached, for those whom it calls: as it was told at its
    /// start, and as the group says. Either may be the newer.
    pub(crate) fn own_address(&self) -> String {
        let named = self.named.get(&self.me).map(String::as_str);
        let both = joined([named, self.roster.address(self.me)]);
        if both.len() <= ADDRESS_BYTES_MAX {
            return both;
        }
        self.address(self.me).unwrap_or_default().to_owned()
    }

    /// Whether `id` is a member, or was until an entry that may not stay.
    fn is_around(&self, id: NodeId) -> bool {
        self.in_force.contains(id) || self.roster.membership().contains(id)
    }

    /// Whether `id` is out for good.
    pub(crate) fn is_gone(&self, id: NodeId) -> bool {
        self.roster.is_removed(id) && !self.in_force.contains(id)
    }
}

/// All that these addresses name, each once, with commas between them.
fn joined<const COUNT: usize>(addresses: [Option<&str>; COUNT]) -> String {
    let parts = addresses.into_iter().flatten().flat_map(|address| address.split(','));
    let mut all: Vec<&str> = Vec::new();
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        if !all.contains(&part) {
            all.push(part);
        }
    }
    all.join(",")
}

/// The links that the world was told to keep. A peer is dialled wherever it may be: where
/// the group says, where this member was told at its start, and where the peer itself said.
/// Several may have moved at once, and then only the last two help.
#[derive(Debug, Default)]
pub(crate) struct Dialling {
    dialled: BTreeMap<NodeId, String>,
    /// Where callers say that they are reached. One that has moved, or of whom nothing
    /// is known yet, can be answered so before the log says where it is: who lags behind
    /// could not catch up otherwise.
    returns: BTreeMap<NodeId, String>,
    /// Removed members that are linked still, so that they hear the last of it,
    /// and until when.
    leaving: BTreeMap<NodeId, Time>,
}

impl Dialling {
    /// A caller says where it is reached.
    pub(crate) fn return_address(&mut self, caller: NodeId, address: &str) {
        if !address.is_empty() {
            self.returns.insert(caller, address.to_owned());
        }
    }

    /// Whether time is to bring something.
    pub(crate) fn is_idle(&self) -> bool {
        self.leaving.is_empty()
    }

    /// Brings the links up to date with who is who. `callers` are those who have
    /// called. Says who was hung up on: links with them are to be closed.
    pub(crate) fn update(
        &mut self,
        now: Time,
        grace_us: u64,
        who: Who<'_>,
        callers: &BTreeSet<NodeId>,
        actions: &mut Vec<Action>,
    ) -> Vec<NodeId> {
        let mut wanted: BTreeSet<NodeId> = who.in_force.iter().collect();
        wanted.extend(who.roster.membership().iter());
        if wanted.is_empty() {
            // Nobody has told us anything yet: perhaps those named will.
            wanted.extend(who.named.keys());
        }
        if !who.leads {
            // Whoever calls may lead a group that we do not know of yet, and is to have
            // an answer. Who leads knows better.
            wanted.extend(callers);
        }
        wanted.retain(|id| *id != who.me && !who.is_gone(*id));
        // Also of callers whom a leader does not call back: it may lead no more when it
        // wants to, and a caller says once only where it is reached.
        self.returns.retain(|id, _| wanted.contains(id) || callers.contains(id));
        for &peer in &wanted {
            let returns = self.returns.get(&peer).map(String::as_str);
            let named = who.named.get(&peer).map(String::as_str);
            let address = joined([who.roster.address(peer), named, returns]);
            if !address.is_empty() && self.dialled.get(&peer) != Some(&address) {
                self.dialled.insert(peer, address.clone());
                actions.push(Action::Dial { peer, address });
            }
        }
        self.leaving.retain(|id, _| who.is_gone(*id));
        for &id in self.dialled.keys().chain(callers).filter(|id| who.is_gone(**id)) {
            self.leaving.entry(id).or_insert(now.after(grace_us));
        }
        let leaving = &self.leaving;
        let mut over: Vec<NodeId> =
            leaving.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        let unwanted = |id: &&NodeId| {
            !wanted.contains(id) && !leaving.contains_key(id) && !who.is_around(**id)
        };
        over.extend(self.dialled.keys().filter(unwanted));
        for &peer in &over {
            self.leaving.remove(&peer);
            if self.dialled.remove(&peer).is_some() {
                actions.push(Action::HangUp { peer });
            }
        }
        over
    }
}
