//! Letting a machine apply inline: for worlds whose machine is not slow.

use crate::node::Node;
use crate::port::{ApplyJob, Event};
use driftless_machine::{AppliedPosition, Batch, StateMachine};
use driftless_raft::Position;

/// Applies the batch that `node` has just handed out, and makes the event that
/// tells it so.
pub fn apply_inline<M: StateMachine>(node: &Node, machine: &mut M, job: &ApplyJob) -> Event {
    let replies = machine.apply(&Batch {
        through: applied_position(job.through),
        commands: &job.commands,
        sidecar: &|replies| node.sidecar_after(replies),
    });
    Event::Applied { replies }
}

/// A position as machines count it.
pub fn applied_position(position: Position) -> AppliedPosition {
    AppliedPosition { term: position.term.0, index: position.index.0 }
}
