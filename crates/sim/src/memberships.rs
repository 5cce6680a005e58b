//! What is known of all memberships that stand in any log: which is committed,
//! which might be, and whether each member goes by the right one.

use crate::property::{Check, hold};
use driftless_node::raft::{Index, Membership, NodeId, Position, Term, Trail};
use std::collections::BTreeMap;

/// The membership entries of all logs, by their places.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    entries: BTreeMap<Index, Vec<(Term, Membership)>>,
}

impl Memberships {
    /// Writes down what stands in a log. Two logs that hold the same entry hold
    /// the same membership.
    pub(crate) fn note(&mut self, member: NodeId, trail: &Trail) -> Check {
        for entry in trail.memberships().iter().rev() {
            let term = trail.term_at(entry.index).unwrap_or_default();
            let here = self.entries.entry(entry.index).or_default();
            match here.iter().find(|(known, _)| *known == term) {
                Some((_, membership)) => {
                    hold!(
                        *membership == entry.membership,
                        LogMatching,
                        "member {member} holds {:?} at {}^{term}, elsewhere it is {membership:?}",
                        entry.membership,
                        entry.index
                    );
                    // What lies before was written down when this was.
                    return Ok(());
                }
                None => here.push((term, entry.membership.clone())),
            }
        }
        Ok(())
    }

    /// The newest committed one, as far as `is_committed` says so of entries up to
    /// `commit`; `None` if it is the one that the group was founded with.
    pub(crate) fn committed(
        &self,
        commit: Index,
        is_committed: impl Fn(Position) -> bool,
    ) -> Option<(Index, &Membership)> {
        self.entries.range(..=commit).rev().find_map(|(&index, here)| {
            let stands =
                here.iter().find(|(term, _)| is_committed(Position { term: *term, index }));
            stands.map(|(_, membership)| (index, membership))
        })
    }

    /// All behind `commit`, each of which may be committed yet.
    pub(crate) fn behind(&self, commit: Index) -> impl Iterator<Item = &Membership> {
        self.entries.range(commit.next()..).flat_map(|(_, here)| here).map(|(_, it)| it)
    }

    /// The membership in force is the newest in the log, committed or not (§6):
    /// taken up when it is appended, given up when it is cut, carried by snapshots.
    pub(crate) fn check_in_force(
        &self,
        member: NodeId,
        trail: &Trail,
        founded: &Membership,
        is_committed: impl Fn(Position) -> bool,
    ) -> Check {
        let (base, last) = (trail.base().index, trail.last().index);
        let newest = self.entries.range(..=last).rev().find_map(|(&index, here)| {
            let stands = |term: Term| {
                let position = Position { term, index };
                // What a snapshot covers is committed.
                if index <= base { is_committed(position) } else { trail.contains(position) }
            };
            here.iter().find(|(term, _)| stands(*term)).map(|(_, membership)| membership)
        });
        let wanted = newest.unwrap_or(founded);
        // One that joined through a snapshot from before any change was founded so.
        hold!(
            trail.membership() == wanted || newest.is_none() && base > Index(0),
            MembershipInForce,
            "member {member}, whose log goes from {} to {}, goes by {:?} in place of {wanted:?}",
            trail.base(),
            trail.last(),
            trail.membership()
        );
        Ok(())
    }
}
