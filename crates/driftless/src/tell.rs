//! What people are told in the log, and how often.

use crate::LEADERSHIP_LOG_TARGET;
use crate::metrics::{Counters, add};
use driftless_node::raft::{NodeId, Role};
use driftless_node::{Report, Status};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What was said is not said again for so long: a peer that is refused comes
/// back twice a second.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// So many different things are remembered as said.
const SAID_MAX: usize = 64;

/// Tells what a node reports.
#[derive(Default)]
pub(crate) struct Teller {
    said: VecDeque<(String, Instant)>,
}

impl Teller {
    /// Logs a report of this member; of what came over a link, with its other end.
    pub(crate) fn report(&mut self, id: NodeId, report: &Report, from: Option<&str>) {
        let text = report.to_string();
        let level = match level(report) {
            log::Level::Warn if self.is_repeated(&text, Instant::now()) => log::Level::Debug,
            level => level,
        };
        let from = from.map_or_else(String::new, |from| format!(" (from {from})"));
        log::log!(level, "member {:x}: {text}{from}", id.0);
    }

    fn is_repeated(&mut self, text: &str, now: Instant) -> bool {
        self.said.retain(|(_, when)| now.duration_since(*when) < REPEAT_AFTER);
        if self.said.iter().any(|(said, _)| said == text) {
            return true;
        }
        if self.said.len() == SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back((text.to_owned(), now));
        false
    }
}

fn level(report: &Report) -> log::Level {
    match report {
        Report::PeerReached { .. }
        | Report::PeerLost { .. }
        | Report::SnapshotSaved { .. }
        | Report::SnapshotInstalled { .. }
        | Report::SnapshotSent { .. }
        | Report::Members(_) => log::Level::Info,
        _ => log::Level::Warn,
    }
}

/// Logs and counts a change of role, term or leader.
pub(crate) fn tell_leadership(before: &Status, now: &Status, counters: &Counters) {
    let id = now.node_id.0;
    if now.role == Role::Leader && (before.role, before.term) != (now.role, now.term) {
        add(&counters.elections_won, 1);
    }
    if now.leader.is_some() && (before.leader, before.term) != (now.leader, now.term) {
        add(&counters.leader_changes, 1);
    }
    if (before.role, before.term, before.leader) == (now.role, now.term, now.leader) {
        return;
    }
    let what = match now.leader {
        Some(leader) if leader == now.node_id => "leads".to_owned(),
        Some(leader) => format!("follows member {:x}", leader.0),
        None => format!("knows no leader and is {}", role(now.role)),
    };
    log::info!(target: LEADERSHIP_LOG_TARGET, "member {id:x} {what}, in term {}", now.term);
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "a follower",
        Role::PreCandidate => "asking whether it could win",
        Role::Candidate => "a candidate",
        Role::Leader => "the leader",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_once_a_minute() {
        let (mut teller, now) = (Teller::default(), Instant::now());
        assert!(!teller.is_repeated("a", now));
        assert!(!teller.is_repeated("b", now));
        assert!(teller.is_repeated("a", now + REPEAT_AFTER / 2));
        assert!(!teller.is_repeated("a", now + REPEAT_AFTER));
        for n in 0..10 * SAID_MAX {
            assert!(!teller.is_repeated(&format!("{n}"), now + REPEAT_AFTER));
        }
        assert_eq!(teller.said.len(), SAID_MAX);
    }
}
