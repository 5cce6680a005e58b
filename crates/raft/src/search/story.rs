//! A violation as a story: plain text in the words of the crate's stories
//! (`tests/stories/world.rs`), which replays here with every check, and there told
//! line by line.

use super::check;
use super::narrate;
use super::scene::{Bounds, Rules, disk, nobody};
use super::world::{Action, Envelope, Shared, World, name, number};
use super::{Violation, attempt};
use crate::{Change, Index, Input, Membership, MembershipEntry, NodeId, Restored, Run};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// The story of a violation that a search from `start` found: how the beginning
/// came about, and the shortest way from there.
pub(crate) fn of(start: &World, violation: &Violation) -> String {
    let way = violation.way.iter().flat_map(|(world, action)| world.words(*action));
    let told = start.told.iter().cloned().chain([String::from("show")]).chain(way);
    let mut lines = vec![format!("# {}", violation.what), String::new()];
    lines.extend(told.map(|words| format!("> {words}")));
    lines.join("\n") + "\n"
}

/// The words that found members with these disks.
pub(crate) fn beginning(disks: &[Restored], rules: &Rules) -> Vec<String> {
    let first = disks[0].trail.membership_at(Index(0)).voters.len();
    let mut flags = vec![String::from("small")];
    let mut flag = |is: bool, word: &str| flags.extend(is.then(|| String::from(word)));
    flag(!rules.pre_vote, "no-pre-vote");
    flag(!rules.check_quorum, "no-check-quorum");
    flag(rules.lease, "lease");
    flag(rules.delegates, "delegate");
    flag(rules.has_clocks(), "ticks");
    flag(!rules.ranks.is_empty(), "ranked");
    let mut told = vec![format!("members {first} {}", flags.join(" "))];
    for (id, disk) in disks.iter().enumerate() {
        let (who, hard) = (name(id), disk.hard_state);
        if disk.trail.membership_at(Index(0)).voters.is_empty() {
            told.push(format!("join S{who}"));
        } else if hard.current_term.0 > 0 {
            let vote = hard.voted_for.map_or(String::new(), |vote| format!(" vote S{vote}"));
            let runs = disk.trail.runs().iter();
            let terms = runs.flat_map(|run| (0..run.count()).map(|_| run.term.to_string()));
            let terms: Vec<String> = terms.collect();
            let term = hard.current_term;
            let mut parts = vec![format!("log S{who} term {term}{vote}: {}", terms.join(" "))];
            for entry in disk.trail.memberships() {
                let voters = entry.membership.voters.iter().map(|id| format!("S{id}"));
                let voters: Vec<String> = voters.collect();
                parts.push(format!("{} is {}", entry.index, voters.join(" ")));
            }
            told.push(parts.join(", "));
        }
    }
    told
}

/// The words for a network in which only these hear each other; all, if none.
pub(crate) fn links(members: usize, links: &[(usize, usize)]) -> Vec<String> {
    let mut told = vec![String::from("heal")];
    let linked = |one, other| links.contains(&(one, other)) || links.contains(&(other, one));
    for one in 0..members {
        let cut = (one + 1..members).filter(|&other| !links.is_empty() && !linked(one, other));
        told.extend(cut.map(|other| format!("quietly cut S{} S{}", name(one), name(other))));
    }
    told
}

impl World {
    /// An action in the words of a story.
    pub(crate) fn words(&self, action: Action) -> Vec<String> {
        let who = |id: usize| format!("S{}", name(id));
        let message = |at: usize| sent(&self.network[at].value);
        vec![match action {
            Action::Deliver(at) if !self.rules.stays => format!("deliver {}", message(at)),
            Action::Deliver(at) | Action::Repeat(at) => format!("repeat {}", message(at)),
            Action::Campaign(id) => format!("campaign {}", who(id)),
            Action::Beat(id) => format!("beat {}", who(id)),
            Action::AskRest(id) => format!("timeout {}", who(id)),
            Action::Propose(id) => format!("propose {} 1", who(id)),
            Action::Read(id) => format!("read {}", who(id)),
            Action::Send(id, to, at) => format!("send {} {} {at}", who(id), who(to)),
            Action::Apply(id) => format!("apply {} one", who(id)),
            Action::Sync(id) => format!("sync {} one", who(id)),
            Action::Snapshot(id) => format!("snapshot {}", who(id)),
            Action::Store(id) => format!("store {}", who(id)),
            Action::Wipe(id) => format!("wipe {} {}", who(id), super::world::NEW_DISK),
            Action::Transfer(id, to) => format!("transfer {} {} 1000000", who(id), who(to)),
            Action::Compact(id) => {
                let through = self.rules.purgeable(&self.members[id].value);
                let through = through.expect("it may go");
                format!("compact {} {}", who(id), through.index)
            }
            Action::Crash(id, done) => {
                return vec![format!("crash {} {done}", who(id)), format!("restart {}", who(id))];
            }
            Action::Change(id, which) => {
                let wishes = self.rules.changes[which].iter().map(wish).collect::<Vec<_>>();
                format!("change {} {} forced", who(id), wishes.join(" "))
            }
            Action::Tick(which) => {
                let (steps, paused) = &self.rules.ticks[which];
                let clocks = steps.iter().enumerate();
                let clocks = clocks.map(|(id, step)| format!("clock {} {step}", who(id)));
                return clocks.chain(paused.map(|id| format!("pause {}", who(id)))).collect();
            }
        }]
    }
}

fn wish(change: &Change) -> String {
    match change {
        Change::AddVoter(id) => format!("+S{id}"),
        Change::AddLearner(id) => format!("learner:S{id}"),
        Change::AddWitness(id) => format!("witness:S{id}"),
        Change::Promote(id) => format!("promote:S{id}"),
        Change::Demote(id) => format!("demote:S{id}"),
        Change::Remove(id) => format!("-S{id}"),
        Change::Readmit { id, incarnation } => format!("readmit:S{id}:{incarnation}"),
    }
}

/// How the reason begins why a story cannot go on.
pub(crate) const OTHERWISE: &str = "it does not come to that: ";

/// Replays a story with these rules, and every check; from `show` on, where what
/// was found begins, with their wrong variant. Says which check fails first, or
/// what cannot happen here.
pub(crate) fn replay(text: &str, rules: &Rules) -> Result<World, String> {
    let mut told = text.lines().filter_map(|line| line.strip_prefix("> "));
    let told = told.by_ref().map(|words| words.trim_start_matches("quietly "));
    let (setting, told): (Vec<&str>, Vec<&str>) = told.partition(|words| {
        ["members", "join", "log"].iter().any(|word| words.split(' ').next() == Some(word))
    });
    let mut world = set_up(&setting, rules);
    // All that was ever under way, in words.
    let mut past: BTreeMap<String, Shared<Envelope>> = BTreeMap::new();
    for words in told {
        past.extend(world.network.iter().map(|envelope| (sent(&envelope.value), envelope.clone())));
        if words == "show" {
            world = world.wrong(rules.mutant);
        }
        world = attempt(|| {
            let next = follow(&world, words, &past)?;
            check::state(&next, &mut BTreeMap::new())?;
            Ok(next)
        })?;
    }
    Ok(world)
}

fn set_up(setting: &[&str], rules: &Rules) -> World {
    let mut disks = Vec::new();
    let mut rules = Rules { hears: true, links: Vec::new(), mutant: None, ..rules.clone() };
    for words in setting {
        let all: Vec<&str> = words.split(' ').collect();
        match all[..] {
            ["members", size, ref flags @ ..] => {
                let size: usize = size.parse().expect("a number");
                rules.pre_vote = !flags.contains(&"no-pre-vote");
                rules.check_quorum = !flags.contains(&"no-check-quorum");
                rules.lease = flags.contains(&"lease");
                rules.delegates = flags.contains(&"delegate");
                disks = vec![Restored::of(Membership::of((0..size).map(name))); size];
            }
            ["join", _] => disks.push(nobody()),
            _ => {
                let (who, restored) = preset(words, disks[0].trail.membership_at(Index(0)));
                disks[who] = restored;
            }
        }
    }
    World::new(disks, Bounds::NONE, rules)
}

/// `log S1 term 3 vote S3: 1 1, 2 is S1 S2`
fn preset(words: &str, first: &Membership) -> (usize, Restored) {
    let (head, tail) = words.split_once(':').expect("a colon");
    let head: Vec<&str> = head.split(' ').collect();
    let term = head[3].parse().expect("a term");
    let vote = head.get(5).map(|vote| member(vote) as u64 + 1);
    let mut tail = tail.split(", ");
    let terms = tail.next().expect("terms").split_whitespace().zip(1..);
    let runs = terms.map(|(term, at)| Run::new(term.parse().expect("a term"), at, at));
    let mut restored = disk(first, term, vote, &runs.collect::<Vec<_>>());
    for entry in tail {
        let (index, voters) = entry.split_once(" is ").expect("a membership");
        let membership = Membership::of(voters.split(' ').map(|voter| name(member(voter))));
        let index = Index(index.parse().expect("an index"));
        restored.trail.append_membership(MembershipEntry { index, membership });
    }
    (member(head[1]), restored)
}

fn member(word: &str) -> usize {
    let id = word.strip_prefix('S').and_then(|id| id.parse().ok());
    number(NodeId(id.expect("a member")))
}

fn change(wish: &str) -> Change {
    let id = |who| name(member(who));
    match wish.split(':').collect::<Vec<_>>()[..] {
        ["learner", who] => Change::AddLearner(id(who)),
        ["witness", who] => Change::AddWitness(id(who)),
        ["promote", who] => Change::Promote(id(who)),
        ["demote", who] => Change::Demote(id(who)),
        ["readmit", who, incarnation] => {
            Change::Readmit { id: id(who), incarnation: incarnation.parse().expect("a number") }
        }
        [wish] if wish.starts_with('+') => Change::AddVoter(id(&wish[1..])),
        [wish] if wish.starts_with('-') => Change::Remove(id(&wish[1..])),
        _ => panic!("not a change: {wish:?}"),
    }
}

/// `S1 S2 Append …`
pub(crate) fn sent(Envelope { from, to, message }: &Envelope) -> String {
    format!("S{from} S{to} {}", narrate::message(message))
}

/// Where a message with these words is.
fn under_way(world: &World, words: &str) -> Result<usize, String> {
    let found = world.network.iter().position(|envelope| sent(&envelope.value) == words);
    found.ok_or_else(|| format!("{OTHERWISE}{words}"))
}

/// The same, but that a pair does not hear each other (or, if `None`, all do).
fn cut(world: &World, pair: Option<(usize, usize)>) -> World {
    let size = world.members.len();
    let every = (0..size).flat_map(|one| (one + 1..size).map(move |other| (one, other)));
    let old = &world.rules.links;
    let kept = every.filter(|link| (old.is_empty() || old.contains(link)) && Some(*link) != pair);
    let links = pair.map_or(Vec::new(), |_| kept.collect());
    let rules = Rules { links, ..(*world.rules).clone() };
    world.clone().ruled(rules)
}

/// What comes of one line.
fn follow(
    world: &World,
    words: &str,
    past: &BTreeMap<String, Shared<Envelope>>,
) -> Result<World, String> {
    let met = &mut BTreeMap::new();
    let rest = words.split_once(' ').map_or("", |(_, rest)| rest);
    let all: Vec<&str> = words.split(' ').collect();
    let action = match all[..] {
        ["show" | "restart", ..] => return Ok(world.clone()),
        ["heal"] => return Ok(cut(world, None)),
        ["cut", one, other] => {
            let (one, other) = (member(one), member(other));
            return Ok(cut(world, Some((one.min(other), one.max(other)))));
        }
        ["drop", ..] => {
            let mut next = world.clone();
            next.network.remove(under_way(world, rest)?);
            return Ok(next);
        }
        ["again", ..] => {
            let envelope = past.get(rest).ok_or_else(|| format!("{OTHERWISE}{words}"))?;
            return Ok(world.clone().again(envelope.clone()));
        }
        ["clock", who, step] => {
            let (mut next, now) = (world.clone(), world.rules.now());
            let step = step.parse().expect("a number");
            next.alter(member(who), |member| {
                member.raft.rebase(now.after(step));
            });
            return Ok(next);
        }
        ["pause", who] => {
            let mut next = world.clone();
            next.step(member(who), Input::Paused, met)?;
            return Ok(next);
        }
        ["change", who, ref wishes @ ..] => {
            let wishes = wishes.iter().filter(|&&wish| wish != "forced");
            let changes = vec![wishes.map(|wish| change(wish)).collect()];
            let rules = Rules { changes, ..(*world.rules).clone() };
            let mut next = world.clone();
            next.rules = rules.into();
            return next.go(Action::Change(member(who), 0), met);
        }
        ["deliver", ..] => Action::Deliver(under_way(world, rest)?),
        ["repeat", ..] => Action::Repeat(under_way(world, rest)?),
        ["campaign", who] => Action::Campaign(member(who)),
        ["beat", who] => Action::Beat(member(who)),
        ["timeout", who] => Action::AskRest(member(who)),
        ["propose", who, _] => Action::Propose(member(who)),
        ["read", who] => Action::Read(member(who)),
        ["send", who, to, at] => {
            Action::Send(member(who), member(to), at.parse().expect("a number"))
        }
        ["apply", who, "one"] => Action::Apply(member(who)),
        ["sync", who, "one"] => Action::Sync(member(who)),
        ["snapshot", who] => Action::Snapshot(member(who)),
        ["store", who] => Action::Store(member(who)),
        ["compact", who, _] => Action::Compact(member(who)),
        ["wipe", who, _] => Action::Wipe(member(who)),
        ["transfer", who, to, _] => Action::Transfer(member(who), member(to)),
        ["crash", who, done] => Action::Crash(member(who), done.parse().expect("a number")),
        _ => panic!("the search does not understand {words:?}"),
    };
    let can_be = match action {
        Action::Crash(id, done) => done <= world.members[id].value.writes.len(),
        Action::Beat(_) | Action::Propose(_) | Action::Transfer(..) | Action::Read(_) => true,
        _ => world.actions().contains(&action),
    };
    if !can_be {
        return Err(format!("{OTHERWISE}{words}"));
    }
    world.go(action, met)
}
