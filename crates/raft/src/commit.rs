//! What is committed, and what of it is applied (Figure 2, Rules for Servers).

use crate::effect::Effect;
use crate::note::Note;
use crate::raft::{Context, Raft};
use crate::roles::RoleState;
use crate::types::Index;

impl Raft {
    /// Moves `commit_index` forward when a quorum holds an entry of *this* term.
    ///
    /// Counting copies of older entries is not enough: Figure 8 shows one
    /// overwritten after a majority stored it. Older entries commit silently,
    /// behind the first entry of our own term.
    pub(crate) fn advance_commit_index(&mut self, context: &mut Context<'_>) {
        let RoleState::Leader(leader) = &self.role else { return };
        if self.hard_state.commit_index == self.trail.last().index {
            // Nothing is left to commit.
            self.follow_up_membership(context);
            return;
        }
        let held = self.trail.membership().quorum_index(|id| {
            // Rule PW.2: the own copy counts once it is durable, like any other.
            if id == self.config.id {
                self.outbox.durable_index()
            } else {
                leader.followers.get(id).map_or(Index(0), |known| known.match_index)
            }
        });
        // Rule SL.7: if a majority holds N > commit_index and the entry at N is
        // of the current term, N is committed.
        let ours = self.trail.term_at(held) == Some(self.hard_state.current_term);
        if held > self.hard_state.commit_index && ours {
            self.commit_through(context, held);
        }
        self.follow_up_membership(context);
    }

    /// Entries up to `index` are committed: a quorum holds them, or a leader
    /// said so.
    #[inline(always)]
    pub(crate) fn commit_through(&mut self, context: &mut Context<'_>, index: Index) {
        assert!(index >= self.hard_state.commit_index, "commit_index went back");
        assert!(index <= self.trail.last().index, "commit_index passed the end of the log");
        if index > self.hard_state.commit_index {
            self.hard_state.commit_index = index;
            context.note(|| Note::Committed { through: index });
        }
    }

    /// Hands out what is committed and durable here. A state machine with a
    /// disk of its own must never be ahead of this member's log after a crash.
    #[inline]
    pub(crate) fn apply_committed(&mut self, context: &mut Context<'_>) {
        let through = self.hard_state.commit_index.min(self.outbox.durable_index());
        // Rule SA.1: if commit_index > last_applied, apply what lies between.
        if through > self.last_applied {
            self.last_applied = through;
            context.effect_with(|| Effect::Apply { through });
        }
    }
}
