//! How the stories put messages, records and logs into words. An entry is
//! `index^term`.

use driftless_raft::{
    DelegateReport, Membership, Message, NodeId, NodeSet, Persist, Position, Run, Source, Trail,
};
use std::fmt::Write as _;

fn runs(runs: &[Run]) -> String {
    let words = runs.iter().map(|run| match run.count() {
        1 => format!("{}^{}", run.first, run.term),
        _ => format!("{}..{}^{}", run.first, run.last, run.term),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn position(at: Position) -> String {
    if at == Position::ZERO { "the start".to_owned() } else { at.to_string() }
}

pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::PreVote { term, last_log } => {
            format!("PreVote term {term}, log up to {}", position(*last_log))
        }
        Message::PreVoteReply { term, granted } => {
            format!("PreVoteReply term {term}, {}", if *granted { "yes" } else { "no" })
        }
        Message::RequestVote { term, last_log, transfer } => {
            let leave = if *transfer { ", with the leader's leave" } else { "" };
            format!("RequestVote term {term}, log up to {}{leave}", position(*last_log))
        }
        Message::VoteReply { term, vote_granted } => {
            format!("VoteReply term {term}, {}", if *vote_granted { "yes" } else { "no" })
        }
        Message::Append { term, prev_log, runs: entries, memberships, leader_commit, round } => {
            let mut text = format!("Append term {term}, after {}", position(*prev_log));
            if !entries.is_empty() {
                write!(text, ": {}", runs(entries)).unwrap();
            }
            for entry in memberships {
                write!(text, ", {} is {}", entry.index, membership(&entry.membership)).unwrap();
            }
            write!(text, ", commit {leader_commit}, round {round}").unwrap();
            text
        }
        Message::AppendHeard { term, round } => format!("AppendHeard term {term}, round {round}"),
        Message::AppendStored { term, last } => format!("AppendStored term {term}, up to {last}"),
        Message::AppendRejected { term, prev_log, hint, .. } => format!(
            "AppendRejected term {term}, no {}, try {}",
            position(*prev_log),
            position(*hint)
        ),
        Message::InstallSnapshot { term, last, .. } => {
            format!("InstallSnapshot term {term}, up to {last}")
        }
        Message::DelegateSnapshot { term, to, least, resume } => {
            let mut text = format!("DelegateSnapshot term {term}: one up to {least} for S{to}");
            if resume.1 > 0 {
                write!(text, ", from byte {} of that up to {}", resume.1, resume.0).unwrap();
            }
            text
        }
        Message::RecallSnapshot { term, to } => format!("RecallSnapshot term {term}, for S{to}"),
        Message::DelegateReport { term, to, report } => match report {
            DelegateReport::Progress { snapshot, received } => {
                format!("DelegateReport term {term}: S{to} has {received} bytes up to {snapshot}")
            }
            DelegateReport::Ended(outcome) => {
                format!("DelegateReport term {term}: {outcome:?} to S{to}")
            }
        },
        Message::TimeoutNow { term } => format!("TimeoutNow term {term}"),
        Message::Read { id } => format!("Read {id}"),
        Message::ReadReply { id, index: Some(index) } => format!("ReadReply {id}: see {index}"),
        Message::ReadReply { id, index: None } => format!("ReadReply {id}: no"),
    }
}

pub(crate) fn vote(voted_for: Option<NodeId>) -> String {
    voted_for.map_or("nobody".to_owned(), |id| format!("S{id}"))
}

pub(crate) fn record(persist: &Persist) -> String {
    let hard = persist.hard_state;
    let mut text = format!("term {}, vote for {}", hard.current_term, vote(hard.voted_for));
    if let Some(from) = persist.truncate_from {
        write!(text, ", cut from {from}").unwrap();
    }
    if let Source::Snapshot { last, .. } = persist.source {
        write!(text, ", snapshot up to {last}").unwrap();
    }
    if !persist.runs.is_empty() {
        write!(text, ", add {}", runs(&persist.runs)).unwrap();
    }
    for entry in &persist.memberships {
        write!(text, ", {} is {}", entry.index, membership(&entry.membership)).unwrap();
    }
    text
}

/// `{1 2 3}`, with `+` learners, `joint with` the outgoing voters; `w` is a witness.
pub(crate) fn membership(membership: &Membership) -> String {
    let set = |ids: &NodeSet| {
        let word = |id: &NodeId| {
            if membership.is_witness(*id) { format!("S{id}w") } else { format!("S{id}") }
        };
        ids.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("{{{}}}", set(&membership.voters));
    if !membership.learners.is_empty() {
        write!(text, " + {{{}}}", set(&membership.learners)).unwrap();
    }
    if membership.is_joint() {
        write!(text, " joint with {{{}}}", set(&membership.outgoing)).unwrap();
    }
    text
}

pub(crate) fn log(trail: &Trail) -> String {
    let mut words = Vec::new();
    if trail.base() != Position::ZERO {
        words.push(format!("[snapshot up to {}]", trail.base()));
    }
    if !trail.is_empty() {
        words.push(runs(trail.runs()));
    }
    if words.is_empty() { "(empty)".to_owned() } else { words.join(" ") }
}
