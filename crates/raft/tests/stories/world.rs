//! The world of the stories: members, links between them, a clock and disks, all
//! of which move only when the story says so.
//!
//! | words | what happens |
//! |---|---|
//! | `members 3` | three members, S1 to S3, with empty disks |
//! | `members 3 no-pre-vote no-check-quorum small` | the same, otherwise configured; `small`: an entry a message; `chunks`: snapshots go by pieces; `delegate`: and other members send them; `readmit`: who lost its disk and caught up becomes a voter; `lease`: with leases, clocks within 10 %; `ranked`: S3 goes first, then S2 |
//! | `members 3 ticks` | an election timeout is 4 µs and a heartbeat 1, without jitter, and leases allow for clocks off by half: for stories that a search found |
//! | `log S1 term 6: 1 1 4` | S1 starts over with this term and these entries; `log S1 term 6 vote S2: 1 1, 2 is S1 S2`: and with this vote, and that membership at 2 |
//! | `campaign S1` | S1 seeks election |
//! | `timeout S1` | time goes on to S1's deadline, and S1 wakes |
//! | `beat S1` | 100 ms pass, and S1 wakes: a leader's heartbeat |
//! | `sleep 500` | milliseconds pass |
//! | `propose S1 2` | a client brings two entries |
//! | `join S4` | S4 starts with an empty disk, and knows of nobody |
//! | `change S1 +S4 -S2` | S1 is asked to add S4 and to remove S2; also `learner:S4`, `witness:S4`, `promote:S4`, `demote:S4`, `readmit:S4:77` (with disk 77), and `forced` |
//! | `transfer S1 S2 500` | S1 is asked to hand over to S2 within milliseconds |
//! | `stall S1`, `recover S1` | S1 learns that its disk does not answer, or does again |
//! | `pause S1` | S1 learns that it stood still |
//! | `read S1` | a client wants to read |
//! | `sync S1`, `sync S1 one` | its writes (the oldest one) become durable |
//! | `slow S1`, `fast S1` | from now on `run` does not (does) sync S1 |
//! | `deliver S1 S2`, `deliver S1 S2 one` | what S1 sent to S2 arrives |
//! | `drop S1 S2`, `drop S1 S2 one` | what S1 sent to S2 is lost |
//! | `repeat S1 S2` | the oldest message from S1 to S2 arrives, and stays |
//! | `deliver S1 S2 VoteReply term 1, yes` | the oldest that reads so; likewise `drop`, `repeat` |
//! | `again S1 S2 Append …` | one that arrived before is under way once more |
//! | `cut S1`, `cut S1 S2` | from now on messages from and to S1 (between both) are lost |
//! | `heal` | no more of that |
//! | `live 1500` | milliseconds pass, and everything goes its way |
//! | `run` | everything is delivered and synced until nothing happens |
//! | `break S1 S2` | S1 learns that its link to S2 broke |
//! | `crash S1`, `restart S1` | what is not durable is lost |
//! | `crash S1 2` | the same, with two of its writes done |
//! | `clock S1 3` | S1's clock, and no other, goes on by microseconds |
//! | `wipe S1 77` | S1 loses its disk and starts with another, of this incarnation |
//! | `chunk S1 S2 5 900`, `fail S1 S2` | S2 has so many bytes of S1's snapshot up to 5; sending it broke off |
//! | `compact S1 5` | a snapshot of S1 covers entries up to 5 |
//! | `snapshot S1`, `store S1` | one is begun, and is durable: nothing that the algorithm is told |
//! | `show` | terms, roles, logs |
//! | `quietly …` | the same, without telling |

use crate::narrate;
use driftless_raft::{
    Change, Config, Effect, Effects, HardState, Index, Input, Membership, MembershipEntry, Message,
    Moment, NodeId, Persist, Promotion, Raft, ReadId, Restored, Role, Run, SnapshotOutcome, Source,
    Term, Ticket, Time, Trail,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Default)]
pub(crate) struct World {
    pub(crate) answers: Vec<String>,
    now: Time,
    flags: Vec<String>,
    members: BTreeMap<NodeId, Member>,
    links: BTreeMap<(NodeId, NodeId), VecDeque<Message>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// What arrived so far.
    past: Vec<(NodeId, NodeId, Message)>,
    reads: u64,
}

struct Member {
    /// `None` while it is down.
    raft: Option<Raft>,
    disk: Restored,
    writes: VecDeque<Persist>,
    slow: bool,
    /// By how much its clock is ahead.
    ahead: u64,
}

impl World {
    pub(crate) fn tell(&mut self, command: &str) {
        if let Some(rest) = command.strip_prefix("quietly ") {
            self.tell(rest);
            self.answers.clear();
            return;
        }
        if let Some(rest) = command.strip_prefix("log ") {
            return self.preset(rest);
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["members", size, ref flags @ ..] => self.found(size.parse().unwrap(), flags),
            ["join", who] => self.found_one(id(who), &Membership::default()),
            ["change", who, ref wishes @ ..] => {
                let forced = wishes.contains(&"forced");
                let wishes = wishes.iter().filter(|&&wish| wish != "forced");
                let changes = wishes.map(|wish| change(wish)).collect();
                self.step(id(who), Input::ChangeMembership { changes, forced });
            }
            ["transfer", who, to, millis] => {
                let deadline = self.now.after(1_000 * millis.parse::<u64>().unwrap());
                self.step(id(who), Input::TransferLeadership { to: id(to), deadline });
            }
            ["stall", who] => self.step(id(who), Input::DiskStalled),
            ["pause", who] => self.step(id(who), Input::Paused),
            ["recover", who] => self.step(id(who), Input::DiskRecovered),
            ["campaign", who] => self.step(id(who), Input::Campaign),
            ["timeout", who] => {
                let deadline = self.raft(id(who)).deadline().expect("a deadline");
                self.now = self.now.max(deadline);
                self.step(id(who), Input::Wake);
            }
            ["beat", who] => {
                self.now = self.now.after(if self.flag("ticks") { 1 } else { 100_000 });
                self.step(id(who), Input::Wake);
            }
            ["clock", who, micros] => self.member(id(who)).ahead += micros.parse::<u64>().unwrap(),
            ["snapshot" | "store", _] => {}
            ["sleep", millis] => self.now = self.now.after(1_000 * millis.parse::<u64>().unwrap()),
            ["propose", who, count] => {
                self.step(id(who), Input::Propose { count: count.parse().unwrap() });
            }
            ["read", who] => {
                self.reads += 1;
                let deadline = self.now.after(5_000_000);
                self.step(id(who), Input::Read { id: ReadId(self.reads), deadline });
            }
            ["sync", who] => while self.sync_one(id(who)) {},
            ["sync", who, "one"] => {
                if !self.sync_one(id(who)) {
                    self.say(id(who), "has nothing to write");
                }
            }
            ["slow", who] => self.member(id(who)).slow = true,
            ["fast", who] => self.member(id(who)).slow = false,
            ["deliver", from, to] => while self.deliver_one(id(from), id(to)) {},
            ["deliver", from, to, "one"] => {
                assert!(self.deliver_one(id(from), id(to)), "nothing to deliver");
            }
            ["drop", from, to] => while self.drop_one(id(from), id(to)) {},
            ["drop", from, to, "one"] => {
                assert!(self.drop_one(id(from), id(to)), "nothing to drop");
            }
            ["repeat", from, to] => {
                let link = self.links.get_mut(&(id(from), id(to))).expect("a message");
                let message = link.front().expect("a message").clone();
                link.push_front(message);
                self.deliver_one(id(from), id(to));
            }
            [verb @ ("deliver" | "drop" | "repeat" | "again"), from, to, ..] => {
                let text = command.splitn(4, ' ').nth(3).unwrap();
                self.pick(verb, id(from), id(to), text);
            }
            ["cut", who] => {
                let others: Vec<NodeId> = self.members.keys().copied().collect();
                for other in others {
                    self.cut.extend([(id(who), other), (other, id(who))]);
                }
            }
            ["cut", one, other] => {
                self.cut.extend([(id(one), id(other)), (id(other), id(one))]);
            }
            ["heal"] => self.cut.clear(),
            ["run"] => self.run(),
            ["live", millis] => self.live(1_000 * millis.parse::<u64>().unwrap()),
            ["break", who, peer] => self.step(id(who), Input::Disconnected { peer: id(peer) }),
            ["wipe", who, incarnation] => self.wipe(id(who), incarnation.parse().unwrap()),
            ["chunk", who, to, index, received] => {
                let term = self.raft(id(who)).term();
                let (to, received) = (id(to), received.parse().unwrap());
                let index = Index(index.parse().unwrap());
                let snapshot = self.raft(id(who)).trail().position_at(index).unwrap();
                self.step(id(who), Input::SnapshotProgress { to, term, snapshot, received });
            }
            ["fail", who, to] => {
                let (term, outcome) = (self.raft(id(who)).term(), SnapshotOutcome::Failed);
                self.step(id(who), Input::SnapshotSent { to: id(to), term, outcome });
            }
            ["crash", who] => self.crash(id(who)),
            ["crash", who, done] => {
                for _ in 0..done.parse().unwrap() {
                    self.write_one(id(who));
                }
                self.crash(id(who));
            }
            ["restart", who] => self.restart(id(who)),
            ["compact", who, index] => {
                let index = Index(index.parse().unwrap());
                let through = self.raft(id(who)).trail().position_at(index).unwrap();
                self.member(id(who)).disk.trail.compact(through);
                self.step(id(who), Input::Compacted { through });
            }
            ["show"] => self.show(),
            _ => panic!("the world does not understand {command:?}"),
        }
    }

    fn found(&mut self, size: u64, flags: &[&str]) {
        let flags = flags.iter().map(ToString::to_string).collect();
        *self = Self { flags, ..Self::default() };
        let membership = Membership::of((1..=size).map(NodeId));
        for id in membership.iter() {
            self.found_one(id, &membership);
        }
    }

    fn found_one(&mut self, id: NodeId, membership: &Membership) {
        let disk = Restored::of(membership.clone());
        let writes = VecDeque::new();
        self.members.insert(id, Member { raft: None, disk, writes, slow: false, ahead: 0 });
        self.start(id);
    }

    /// `S1 term 6: 1 1 1 4 4`, `S1 term 6 vote S2: 1 1, 2 is S1 S2`
    fn preset(&mut self, words: &str) {
        let (head, tail) = words.split_once(':').unwrap();
        let (who, term) = head.split_once(" term ").unwrap();
        let (term, vote) =
            term.split_once(" vote ").map_or((term, None), |(term, vote)| (term, Some(id(vote))));
        let mut tail = tail.split(", ");
        let terms = tail.next().unwrap();
        let mut trail = Trail::of(self.raft(id(who)).membership().clone());
        for (term, index) in terms.split_whitespace().zip(1..) {
            trail.append(Run::new(term.parse().unwrap(), index, index));
        }
        for entry in tail {
            let (index, voters) = entry.split_once(" is ").unwrap();
            let membership = Membership::of(voters.split(' ').map(id));
            let index = Index(index.parse().unwrap());
            trail.append_membership(MembershipEntry { index, membership });
        }
        let current_term = Term(term.parse().unwrap());
        let disk = &mut self.member(id(who)).disk;
        disk.hard_state = HardState { current_term, voted_for: vote, ..HardState::default() };
        disk.trail = trail;
        self.start(id(who));
    }

    fn start(&mut self, id: NodeId) {
        let flag = |name: &str| self.flag(name);
        let mut config = Config::new(id);
        config.pre_vote = !flag("no-pre-vote");
        config.check_quorum = !flag("no-check-quorum");
        if flag("readmit") {
            config.promotion = Promotion::Readmitted;
        }
        config.snapshots_from_followers = flag("delegate");
        if flag("lease") {
            config.lease_drift_ppm = Some(100_000);
        }
        if flag("ranked") {
            config.election_rank = 3 - u32::try_from(id.0).unwrap().min(3);
        }
        if flag("ticks") {
            config.election_timeout_us = 4;
            config.heartbeat_interval_us = 1;
            config.election_jitter_us = 0;
            config.lease_drift_ppm = config.lease_drift_ppm.map(|_| 500_000);
        }
        if flag("small") {
            config.message_bytes_max = 1 << 10;
        }
        let now = self.now.after(self.member(id).ahead);
        let moment = Moment { now, random: random(id) };
        let member = self.member(id);
        member.raft = Some(Raft::new(config, member.disk.clone(), moment).unwrap());
    }

    fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// The disk is lost, and with it the links, which know each other's disks.
    fn wipe(&mut self, id: NodeId, incarnation: u64) {
        self.links.retain(|(from, to), _| *from != id && *to != id);
        let member = self.member(id);
        member.writes.clear();
        member.disk = Restored { replacement: Some(incarnation), ..Restored::default() };
        self.start(id);
        self.say(id, &format!("lost its disk, and has a new one, {incarnation}"));
    }

    fn restart(&mut self, id: NodeId) {
        self.start(id);
        let trail = narrate::log(self.raft(id).trail());
        let term = self.raft(id).term();
        self.say(id, &format!("restarts in term {term} with {trail}"));
        self.step(id, Input::Wake);
    }

    fn crash(&mut self, id: NodeId) {
        let member = self.member(id);
        member.raft = None;
        let lost = member.writes.len();
        member.writes.clear();
        self.say(id, &format!("crashes, {lost} of its writes are lost"));
    }

    fn run(&mut self) {
        let everybody: Vec<NodeId> = self.members.keys().copied().collect();
        loop {
            let mut quiet = true;
            for &from in &everybody {
                for &to in &everybody {
                    while self.deliver_one(from, to) {
                        quiet = false;
                    }
                }
                while !self.members[&from].slow && self.sync_one(from) {
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn live(&mut self, micros: u64) {
        let end = self.now.after(micros);
        loop {
            self.run();
            let up =
                self.members.iter().filter_map(|(&id, member)| Some((id, member.raft.as_ref()?)));
            let next = up.filter_map(|(id, raft)| Some((raft.deadline()?, id))).min();
            match next {
                Some((at, id)) if at <= end => {
                    self.now = self.now.max(at);
                    self.step(id, Input::Wake);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn sync_one(&mut self, id: NodeId) -> bool {
        let Some(ticket) = self.write_one(id) else { return false };
        self.say(id, &format!("write {ticket} is durable"));
        self.step(id, Input::Persisted { ticket });
        true
    }

    /// The oldest write is done, and nobody is told.
    fn write_one(&mut self, id: NodeId) -> Option<Ticket> {
        let persist = self.member(id).writes.pop_front()?;
        let disk = &mut self.member(id).disk;
        disk.hard_state = persist.hard_state;
        if let Some(from) = persist.truncate_from {
            disk.trail.truncate_from(from);
        }
        if let Source::Snapshot { last, membership } = persist.source {
            if disk.trail.contains(last) {
                disk.trail.compact(last);
            } else {
                disk.trail.reset(last, *membership);
            }
        }
        for &run in &persist.runs {
            disk.trail.append(run);
        }
        for entry in persist.memberships {
            disk.trail.append_membership(entry);
        }
        Some(persist.ticket)
    }

    /// Finds a message by its words, and moves it to the front.
    fn pick(&mut self, verb: &str, from: NodeId, to: NodeId, text: &str) {
        let reads_so = |message: &Message| narrate::message(message) == text;
        let link = self.links.entry((from, to)).or_default();
        if verb == "again" {
            let past = self
                .past
                .iter()
                .find(|(one, other, message)| (*one, *other) == (from, to) && reads_so(message));
            link.extend(past.map(|(_, _, message)| message.clone()));
            return;
        }
        let found = link.iter().position(reads_so);
        let Some(message) = found.and_then(|at| link.remove(at)) else {
            return self.say(from, &format!("never said that to S{to}"));
        };
        if verb == "repeat" {
            link.push_back(message.clone());
        }
        link.push_front(message);
        match verb {
            "drop" => self.drop_one(from, to),
            _ => self.deliver_one(from, to),
        };
    }

    fn deliver_one(&mut self, from: NodeId, to: NodeId) -> bool {
        let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        if self.members.get(&to).is_none_or(|member| member.raft.is_none()) {
            self.lose(from, to, &message);
            return true;
        }
        self.say(to, &format!("<- S{from}  {}", narrate::message(&message)));
        self.past.push((from, to, message.clone()));
        let delivered = match message {
            Message::InstallSnapshot { term, .. } => Some(term),
            _ => None,
        };
        self.step(to, Input::Receive { from, message });
        if let Some(term) = delivered {
            let outcome = SnapshotOutcome::Delivered;
            self.step(from, Input::SnapshotSent { to, term, outcome });
        }
        true
    }

    fn drop_one(&mut self, from: NodeId, to: NodeId) -> bool {
        let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.lose(from, to, &message);
        true
    }

    fn lose(&mut self, from: NodeId, to: NodeId, message: &Message) {
        self.say(from, &format!("-> S{to}  {} (lost)", narrate::message(message)));
        if let Message::InstallSnapshot { term, .. } = *message {
            let outcome = SnapshotOutcome::Failed;
            self.step(from, Input::SnapshotSent { to, term, outcome });
        }
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let now = self.now.after(self.member(id).ahead);
        let moment = Moment { now, random: random(id) };
        let Some(raft) = &mut self.members.get_mut(&id).unwrap().raft else { return };
        let mut effects = Effects::with_notes();
        raft.step(moment, input, &mut effects);
        for note in effects.notes.unwrap() {
            let text = match note.rule() {
                Some(rule) => format!("{note} ({rule})"),
                None => note.to_string(),
            };
            self.say(id, &text);
        }
        for effect in effects.list {
            self.carry_out(id, effect);
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Persist(persist) => {
                let text = narrate::record(&persist);
                self.say(id, &format!("writes {}: {text}", persist.ticket));
                self.member(id).writes.push_back(persist);
            }
            Effect::Send { to, message } => self.send(id, to, message),
            Effect::SendEntries {
                to,
                term,
                prev,
                last_max,
                bytes_max,
                leader_commit,
                round,
                ..
            } => {
                // An entry is a kilobyte.
                let last = last_max.min(Index(prev.index.0 + (bytes_max >> 10).max(1)));
                let (prev_log, first) = (prev, prev.index.next());
                let trail = self.raft(id).trail();
                let runs = trail.runs_between(first, last);
                let memberships = trail.memberships_between(first, last);
                let message =
                    Message::Append { term, prev_log, runs, memberships, leader_commit, round };
                self.send(id, to, message);
                let bytes = (last.0 - prev.index.0) << 10;
                self.step(id, Input::Sent { to, term, last, bytes });
            }
            Effect::StopSnapshot { to, .. } => {
                self.say(id, &format!("stops the snapshot for S{to}"));
            }
            Effect::SendSnapshot { to, term, least, .. }
                if self.raft(id).trail().base().index < least =>
            {
                self.say(id, &format!("has no snapshot up to {least} for S{to}"));
                let outcome = SnapshotOutcome::Failed;
                self.step(id, Input::SnapshotSent { to, term, outcome });
            }
            Effect::SendSnapshot { to, resume, .. } if self.flag("chunks") => {
                let from = match resume {
                    Some((snapshot, bytes)) => format!("byte {bytes} of that up to {snapshot}"),
                    None => "the beginning".to_owned(),
                };
                self.say(id, &format!("sends S{to} a snapshot, from {from}"));
            }
            Effect::SendSnapshot { to, term, leader, .. } => {
                let last = self.raft(id).trail().base();
                let membership = self.raft(id).trail().membership_at(last.index).clone();
                let membership = Box::new(membership);
                self.send(id, to, Message::InstallSnapshot { term, leader, last, membership });
            }
            Effect::Accept { first, count } => {
                self.say(id, &format!("accepts {count} from {first} on"));
            }
            Effect::AcceptChange { at, .. } => self.say(id, &format!("accepts the change at {at}")),
            Effect::RefuseChange { .. } | Effect::RefuseTransfer { .. } => {}
            Effect::TransferEnded { to, outcome } => {
                self.say(id, &format!("ends the transfer to S{to}: {outcome:?}"));
            }
            Effect::MembershipChanged { membership } => {
                let text = narrate::membership(&membership);
                self.say(id, &format!("counts by {text}"));
            }
            Effect::Refuse { reason } => self.say(id, &format!("refuses: {reason:?}")),
            Effect::Apply { through } => self.say(id, &format!("applies up to {through}")),
            Effect::Restore { snapshot } => {
                self.say(id, &format!("loads the snapshot up to {snapshot}"));
            }
            Effect::ReadReady { id: read, index } => {
                self.say(id, &format!("read {read} may be served at {index}"));
            }
            Effect::ReadRefused { id: read, reason } => {
                self.say(id, &format!("read {read} is refused: {reason:?}"));
            }
            Effect::RoleChanged { role, term, leader } => {
                let role = match (role, leader) {
                    (Role::Follower, Some(leader)) => format!("follower of S{leader}"),
                    (Role::Follower, None) => "follower of nobody".to_owned(),
                    (Role::PreCandidate, _) => "pre-candidate".to_owned(),
                    (Role::Candidate, _) => "candidate".to_owned(),
                    (Role::Leader, _) => "LEADER".to_owned(),
                };
                self.say(id, &format!("is {role} in term {term}"));
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cut.contains(&(from, to)) {
            self.lose(from, to, &message);
        } else {
            self.say(from, &format!("-> S{to}  {}", narrate::message(&message)));
            self.links.entry((from, to)).or_default().push_back(message);
        }
    }

    fn show(&mut self) {
        let lines: Vec<_> = self
            .members
            .iter()
            .map(|(&id, member)| {
                let Some(raft) = &member.raft else { return (id, "down".to_owned()) };
                let text = format!(
                    "term {}, {:?}, commit {}, durable {}: {}",
                    raft.term(),
                    raft.role(),
                    raft.commit_index(),
                    raft.durable_index(),
                    narrate::log(raft.trail())
                );
                (id, text)
            })
            .collect();
        for (id, text) in lines {
            self.say(id, &text);
        }
    }

    fn say(&mut self, id: NodeId, text: &str) {
        self.answers.push(format!("S{id} {text}"));
    }

    fn member(&mut self, id: NodeId) -> &mut Member {
        self.members.get_mut(&id).unwrap()
    }

    fn raft(&self, id: NodeId) -> &Raft {
        self.members[&id].raft.as_ref().expect("a member that is up")
    }
}

fn change(wish: &str) -> Change {
    match wish.split_once(':') {
        Some(("learner", who)) => Change::AddLearner(id(who)),
        Some(("witness", who)) => Change::AddWitness(id(who)),
        Some(("promote", who)) => Change::Promote(id(who)),
        Some(("readmit", who)) => {
            let (who, incarnation) = who.split_once(':').unwrap();
            Change::Readmit { id: id(who), incarnation: incarnation.parse().unwrap() }
        }
        Some(("demote", who)) => Change::Demote(id(who)),
        None if wish.starts_with('+') => Change::AddVoter(id(&wish[1..])),
        None if wish.starts_with('-') => Change::Remove(id(&wish[1..])),
        _ => panic!("not a change: {wish:?}"),
    }
}

fn id(word: &str) -> NodeId {
    NodeId(word.strip_prefix('S').expect("a member").parse().unwrap())
}

/// Spreads the members' timeouts, S1 first.
fn random(id: NodeId) -> u64 {
    id.0 * 10_000
}
