//! The one thing that the shard drives: a node, seen from the real world.

use driftless_node::machine::StateMachine;
use driftless_node::raft::{Moment, NodeId, Time};
use driftless_node::{Action, ApplyJob, Event, Members, Node, Status, apply_inline};
use std::collections::BTreeMap;

/// A node. The shard's own tests put a scripted one in its place.
pub(crate) trait Host: Send + 'static {
    /// One event.
    fn handle(&mut self, moment: Moment, event: Event, actions: &mut Vec<Action>);
    /// Everything that had queued was handled: act on it as one batch.
    fn flush(&mut self, moment: Moment, actions: &mut Vec<Action>);
    /// When to say [`Event::Wake`].
    fn deadline(&self) -> Option<Time>;
    /// How it sees itself.
    fn status(&self) -> Status;
    /// Who the members are, as it has applied it.
    fn members(&self) -> Members;
    /// Whom it has a link to, and since when.
    fn reached(&self) -> BTreeMap<NodeId, Time>;
    /// How many reads of clients it has answered by its lease.
    fn reads_by_lease(&self) -> u64;
    /// Lets the machine apply.
    fn apply<M: StateMachine>(&self, machine: &mut M, job: &ApplyJob) -> Event;
}

impl Host for Node {
    fn handle(&mut self, moment: Moment, event: Event, actions: &mut Vec<Action>) {
        Node::handle(self, moment, event, actions);
    }

    fn flush(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        Node::flush(self, moment, actions);
    }

    fn deadline(&self) -> Option<Time> {
        Node::deadline(self)
    }

    fn status(&self) -> Status {
        Node::status(self)
    }

    fn members(&self) -> Members {
        Node::members(self)
    }

    fn reached(&self) -> BTreeMap<NodeId, Time> {
        Node::reached(self).clone()
    }

    fn reads_by_lease(&self) -> u64 {
        Node::reads_by_lease(self)
    }

    fn apply<M: StateMachine>(&self, machine: &mut M, job: &ApplyJob) -> Event {
        apply_inline(self, machine, job)
    }
}
