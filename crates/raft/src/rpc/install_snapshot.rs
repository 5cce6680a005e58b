//! InstallSnapshot RPC (Figure 13). Chunks are the host's: it receives them,
//! makes the snapshot durable beside the log, and then hands over the message.
//! What remains is one record in which log, membership and term change at once.

use crate::effect::Source;
use crate::membership::Membership;
use crate::message::Message;
use crate::note::Note;
use crate::outbox::Promise;
use crate::raft::{Context, Raft};
use crate::types::{Index, NodeId, Position, Round, Term};
use alloc::boxed::Box;

impl Raft {
    /// Receiver implementation. A later term has been adopted already.
    ///
    /// `from` may have sent it in the leader's place. Then it is no sign of the leader,
    /// which may be long gone: it puts off no election, refreshes no promise that a
    /// lease rests on, and makes nobody the leader. To install it is safe whoever sent
    /// it, as it covers only what is committed. And the leader's log holds all of that,
    /// so it may be told that this much of its log is stored here: `from` was in this
    /// term when it sent it, and what is committed in this term or an earlier one
    /// stands in the log of this term's leader (leader completeness).
    pub(crate) fn on_install_snapshot(
        &mut self,
        context: &mut Context<'_>,
        (from, leader): (NodeId, NodeId),
        (term, last): (Term, Position),
        membership: &Membership,
    ) {
        // Rule IS.1: reply immediately if term < current_term.
        if term < self.hard_state.current_term {
            self.reject_append(context, from, Round(0), last, Position::ZERO);
            return;
        }
        let is_welcome = if from == leader {
            self.follow(context, leader)
        } else {
            self.may_be_led_by(context, leader)
        };
        if !is_welcome {
            return;
        }
        // Rules of the host: IS.2 and IS.3 (write chunks at their offsets), IS.4
        // (ask for more until done), IS.5 (keep the newest snapshot only).
        let commit_index = self.hard_state.commit_index;
        // Rule SN.3: a snapshot of what is committed here is old news.
        if last.index <= commit_index {
            // Nothing to learn. Going back to it would lose what came since.
            context.note(|| Note::SnapshotCovered { last, commit_index });
            self.promise_stored(leader, commit_index);
            return;
        }
        let mut is_news = false;
        let discarded_from = if self.trail.contains(last) {
            // Rule IS.6: if the log holds the snapshot's last entry, retain what
            // follows it.
            self.trail.compact(last);
            None
        } else {
            // Rule IS.7: discard the entire log.
            let first = self.trail.first_index();
            is_news = self.trail.membership() != membership;
            let discarded_from = (!self.trail.is_empty()).then_some(first);
            self.trail.reset(last, membership.clone());
            discarded_from
        };
        context.note(|| Note::SnapshotInstalled { last, retained: discarded_from.is_none() });
        let source = Source::Snapshot { last, membership: Box::new(membership.clone()) };
        self.outbox.write_snapshot(source, discarded_from, commit_index);
        if is_news {
            self.membership_changed(context);
        }
        self.commit_through(context, last.index);
        // Rule IS.8: reset the state machine with the snapshot's contents, once
        // the log that begins behind it is durable.
        self.outbox.promise(term, Promise::Restore { snapshot: last });
        self.last_applied = last.index;
        self.promise_stored(leader, last.index);
    }

    fn promise_stored(&mut self, leader: NodeId, last: Index) {
        let term = self.hard_state.current_term;
        let message = Message::AppendStored { term, last };
        self.outbox.promise(term, Promise::Message { to: leader, message });
    }
}
