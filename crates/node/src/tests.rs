//! Three nodes over links and disks that do at once what they are told: what
//! the node itself decides, without the noise of a world.

use crate::Node;
use crate::port::{
    Action, Answer, ClientRequest, Event, LinkId, LogDone, LogJob, NodeOptions, ReadFailure,
    Report, RequestError, RequestToken, SnapshotChunk, SnapshotDone, SnapshotJob, StopReason,
};
use bytes::Bytes;
use driftless_codec::Entry;
use driftless_log::{Identity, Recovered, SnapshotMeta};
use driftless_machine::Durable;
use driftless_raft::{
    GroupId, HardState, Index, Membership, Moment, NodeId, Position, Role, Time, Trail,
};
use std::collections::{BTreeMap, VecDeque};

/// A machine that remembers every command it saw and replies with their number.
#[derive(Clone, Default, Debug, PartialEq)]
struct Tally {
    seen: Vec<Bytes>,
}

/// A disk that never forgets and is never late.
#[derive(Clone, Default)]
struct Disk {
    hard_state: HardState,
    entries: Vec<Entry>,
    peers: BTreeMap<NodeId, u64>,
    snapshot: Option<(SnapshotMeta, Bytes, Tally)>,
    partial: Vec<u8>,
}

struct Member {
    node: Option<Node>,
    machine: Tally,
    disk: Disk,
    incarnation: u64,
    low_space: bool,
    answers: BTreeMap<u64, Answer>,
    stopped: Option<StopReason>,
    reports: Vec<Report>,
    loads: u32,
}

struct Cluster {
    now: u64,
    random: u64,
    members: BTreeMap<u64, Member>,
    /// Undelivered: for whom, what.
    queue: VecDeque<(u64, Event)>,
    /// A link's two ends.
    links: BTreeMap<u64, (u64, u64)>,
    next_link: u64,
    cut: Vec<u64>,
    options: fn(NodeId) -> NodeOptions,
}

fn options(id: NodeId) -> NodeOptions {
    NodeOptions { snapshot_every_entries: 1_000_000, ..NodeOptions::new(id) }
}

impl Cluster {
    fn new(size: u64, options: fn(NodeId) -> NodeOptions) -> Self {
        let mut cluster = Self {
            now: 1,
            random: 7,
            members: BTreeMap::new(),
            queue: VecDeque::new(),
            links: BTreeMap::new(),
            next_link: 0,
            cut: Vec::new(),
            options,
        };
        for id in 1..=size {
            let member = Member {
                node: None,
                machine: Tally::default(),
                disk: Disk::default(),
                incarnation: id * 100,
                low_space: false,
                answers: BTreeMap::new(),
                stopped: None,
                reports: Vec::new(),
                loads: 0,
            };
            cluster.members.insert(id, member);
        }
        for id in 1..=size {
            cluster.start(id);
        }
        cluster
    }

    fn moment(&mut self) -> Moment {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Moment { now: Time(self.now), random: self.random >> 16 }
    }

    fn start(&mut self, id: u64) {
        let moment = self.moment();
        let voters = self.members.keys().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let member = self.members.get_mut(&id).expect("a member");
        member.machine = Tally::default();
        member.stopped = None;
        let disk = &member.disk;
        let snapshot = disk.snapshot.as_ref().map(|(meta, ..)| meta.clone());
        let mut trail = Trail::default();
        if let Some(meta) = &snapshot {
            trail.reset(meta.last);
        }
        let base = trail.base().index;
        for entry in disk.entries.iter().filter(|entry| entry.position.index > base) {
            let (term, index) = (entry.position.term, entry.position.index);
            trail.append(driftless_raft::Run { term, first: index, last: index });
        }
        let recovered = Recovered {
            group: GroupId(1),
            hard_state: disk.hard_state,
            trail,
            membership: Membership::of(voters),
            snapshot,
            damaged: Vec::new(),
        };
        let identity =
            Identity { cluster_id: 9, node_id: NodeId(id), incarnation: member.incarnation };
        let options = (self.options)(NodeId(id));
        let peers = disk.peers.clone();
        let node = Node::new(options, identity, recovered, peers, &Durable::default(), moment);
        member.node = Some(node.expect("it starts"));
        let running: Vec<u64> =
            self.members.iter().filter(|(_, m)| m.node.is_some()).map(|(id, _)| *id).collect();
        for other in running.into_iter().filter(|other| *other != id) {
            self.connect(id, other);
            self.connect(other, id);
        }
        self.flush(id);
        self.settle();
    }

    fn connect(&mut self, from: u64, to: u64) {
        if self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link.0, (from, to));
        self.queue.push_back((to, Event::Accepted { link }));
        self.queue.push_back((from, Event::Connected { link, peer: NodeId(to) }));
    }

    /// SIGKILL: the machine and all links are gone, the disk stays.
    fn kill(&mut self, id: u64) {
        self.members.get_mut(&id).expect("a member").node = None;
        self.queue.retain(|(to, _)| *to != id);
        self.unlink(id);
        self.settle();
    }

    fn unlink(&mut self, id: u64) {
        let gone: Vec<(u64, (u64, u64))> = self
            .links
            .iter()
            .filter(|(_, (from, to))| *from == id || *to == id)
            .map(|(link, ends)| (*link, *ends))
            .collect();
        for (link, (from, to)) in gone {
            self.links.remove(&link);
            for end in [from, to] {
                self.queue.push_back((end, Event::Closed { link: LinkId(link) }));
            }
        }
    }

    fn flush(&mut self, id: u64) {
        let moment = self.moment();
        let mut actions = Vec::new();
        if let Some(node) = self.members.get_mut(&id).and_then(|member| member.node.as_mut()) {
            node.flush(moment, &mut actions);
        }
        self.carry_out(id, actions);
    }

    /// Delivers until nothing is under way.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some((id, event)) = self.queue.pop_front() else { return };
            let moment = self.moment();
            let mut actions = Vec::new();
            let Some(node) = self.members.get_mut(&id).and_then(|member| member.node.as_mut())
            else {
                continue;
            };
            node.handle(moment, event, &mut actions);
            node.flush(moment, &mut actions);
            self.carry_out(id, actions);
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, micros: u64) {
        let until = self.now + micros;
        for _ in 0..100_000 {
            let next = self
                .members
                .iter()
                .filter_map(|(id, member)| Some((member.node.as_ref()?.deadline()?.0, *id)))
                .min();
            match next {
                Some((at, id)) if at <= until => {
                    self.now = self.now.max(at);
                    self.queue.push_back((id, Event::Wake));
                    self.settle();
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("deadlines do not advance");
    }

    fn carry_out(&mut self, id: u64, actions: Vec<Action>) {
        for action in actions {
            let member = self.members.get_mut(&id).expect("a member");
            let event = match action {
                Action::Log(job) => Some(Event::Log(log_job(member, job))),
                Action::Apply(job) => {
                    let first = member.machine.seen.len();
                    member.machine.seen.extend(job.commands);
                    let numbers = first..member.machine.seen.len();
                    let reply = |number: usize| Bytes::from((number + 1).to_string());
                    Some(Event::Applied { replies: numbers.map(reply).collect() })
                }
                Action::Snapshot(job) => snapshot_job(member, job).map(Event::Snapshot),
                Action::Write { link, frame } => {
                    if let Some(&(from, to)) = self.links.get(&link.0) {
                        let other = if id == from { to } else { from };
                        let frame = Bytes::from(frame.parts.concat());
                        self.queue.push_back((other, Event::Frame { link, frame }));
                    }
                    None
                }
                Action::Close { link } => {
                    if let Some((from, to)) = self.links.remove(&link.0) {
                        let other = if id == from { to } else { from };
                        self.queue.push_back((other, Event::Closed { link }));
                    }
                    None
                }
                Action::Answer { token, answer } => {
                    let before = member.answers.insert(token.0, answer);
                    assert_eq!(before, None, "answered twice");
                    None
                }
                Action::Report(report) => {
                    member.reports.push(report);
                    None
                }
                Action::StatusChanged => None,
                Action::Stop(reason) => {
                    member.stopped = Some(reason);
                    None
                }
            };
            if let Some(event) = event {
                self.queue.push_back((id, event));
            }
        }
    }

    fn leader(&self) -> u64 {
        let leads = |member: &Member| {
            member.node.as_ref().is_some_and(|node| node.status().role == Role::Leader)
        };
        *self.members.iter().find(|(_, member)| leads(member)).expect("somebody leads").0
    }

    fn followers(&self) -> Vec<u64> {
        let leader = self.leader();
        self.members.keys().copied().filter(|id| *id != leader).collect()
    }

    fn ask(&mut self, id: u64, token: u64, command: &'static str) {
        let request = ClientRequest::Propose {
            token: RequestToken(token),
            command: Bytes::from_static(command.as_bytes()),
            deadline: Time(self.now + 5_000_000),
        };
        self.queue.push_back((id, Event::Client(request)));
        self.settle();
    }

    fn read(&mut self, id: u64, token: u64) {
        let deadline = Time(self.now + 5_000_000);
        let request = ClientRequest::Read { token: RequestToken(token), deadline };
        self.queue.push_back((id, Event::Client(request)));
        self.settle();
    }

    fn answer(&self, id: u64, token: u64) -> Option<&Answer> {
        self.members[&id].answers.get(&token)
    }

    #[track_caller]
    fn assert_applied(&self, id: u64, token: u64, expected: &str) {
        match self.answer(id, token) {
            Some(Answer::Applied { reply, .. }) => assert_eq!(reply, expected),
            other => panic!("request {token} at member {id}: {other:?}"),
        }
    }

    #[track_caller]
    fn assert_agree(&self) {
        let first = &self.members[&1].machine;
        for (id, member) in &self.members {
            assert_eq!(&member.machine, first, "member {id}");
        }
    }
}

fn log_job(member: &mut Member, job: LogJob) -> LogDone {
    let disk = &mut member.disk;
    match job {
        LogJob::Append { ticket, record } => {
            disk.hard_state = record.hard_state;
            if let Some(from) = record.truncate_from {
                disk.entries.retain(|entry| entry.position.index < from);
            }
            if let Some(meta) = record.snapshot {
                disk.entries.retain(|entry| entry.position.index > meta.last.index);
            }
            disk.entries.extend(record.entries);
            LogDone::Appended { ticket, low_space: member.low_space }
        }
        LogJob::Read { id, first, last, .. } => {
            let wanted = |entry: &&Entry| (first..=last).contains(&entry.position.index);
            let entries: Vec<Entry> = disk.entries.iter().filter(wanted).take(3).cloned().collect();
            let found = entries.first().is_some_and(|entry| entry.position.index == first);
            let entries = if found { Ok(entries) } else { Err(ReadFailure::Gone) };
            LogDone::Read { id, entries }
        }
        LogJob::Compact { through, .. } => {
            disk.entries.retain(|entry| entry.position.index > through.index);
            LogDone::Compacted
        }
        LogJob::RememberPeer { peer, incarnation } => {
            disk.peers.insert(peer, incarnation);
            LogDone::PeerRemembered { peer }
        }
    }
}

fn snapshot_job(member: &mut Member, job: SnapshotJob) -> Option<SnapshotDone> {
    let disk = &mut member.disk;
    Some(match job {
        SnapshotJob::RemoveOlder { .. } => return None,
        SnapshotJob::Save { meta, sidecar, .. } => {
            disk.snapshot = Some((meta.clone(), sidecar, member.machine.clone()));
            SnapshotDone::Saved { result: Ok(meta) }
        }
        SnapshotJob::Load { meta } => {
            let (newest, sidecar, machine) = disk.snapshot.as_ref().expect("there is one");
            assert_eq!(newest.last, meta.last);
            member.machine = machine.clone();
            member.loads += 1;
            SnapshotDone::Loaded { result: Ok(sidecar.clone()) }
        }
        SnapshotJob::ReadChunk { to, offset, bytes_max } => {
            let (meta, file) = encode_snapshot(disk);
            let end = file.len().min(offset as usize + bytes_max);
            let bytes = Bytes::copy_from_slice(&file[offset as usize..end]);
            let done = end == file.len();
            SnapshotDone::Chunk {
                to,
                result: Ok(SnapshotChunk { meta, maker: 1, offset, bytes, done }),
            }
        }
        SnapshotJob::WriteChunk { meta, offset, bytes, done, .. } => {
            if disk.partial.len() as u64 == offset {
                disk.partial.extend(&bytes);
            }
            let received = disk.partial.len() as u64;
            if done {
                let file = std::mem::take(&mut disk.partial);
                decode_snapshot(disk, meta.clone(), &file);
            }
            SnapshotDone::Written { meta, received, done }
        }
    })
}

fn encode_snapshot(disk: &Disk) -> (SnapshotMeta, Vec<u8>) {
    let (meta, sidecar, machine) = disk.snapshot.as_ref().expect("there is one");
    let mut file = (sidecar.len() as u32).to_le_bytes().to_vec();
    file.extend(sidecar);
    for command in &machine.seen {
        file.push(command.len() as u8);
        file.extend(command);
    }
    (meta.clone(), file)
}

fn decode_snapshot(disk: &mut Disk, meta: SnapshotMeta, file: &[u8]) {
    let (length, rest) = file.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    let (sidecar, mut rest) = rest.split_at(length);
    let mut seen = Vec::new();
    while let Some((length, tail)) = rest.split_first() {
        let (command, tail) = tail.split_at(*length as usize);
        seen.push(Bytes::copy_from_slice(command));
        rest = tail;
    }
    disk.snapshot = Some((meta, Bytes::copy_from_slice(sidecar), Tally { seen }));
}

fn elected(size: u64, options: fn(NodeId) -> NodeOptions) -> Cluster {
    let mut cluster = Cluster::new(size, options);
    cluster.pass(3_000_000);
    cluster.leader();
    cluster
}

#[test]
fn a_command_is_answered_where_it_was_asked_and_all_members_agree() {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.ask(leader, 1, "one");
    cluster.ask(followers[0], 2, "two");
    cluster.ask(followers[1], 3, "three");
    cluster.pass(200_000);
    cluster.assert_applied(leader, 1, "1");
    cluster.assert_applied(followers[0], 2, "2");
    cluster.assert_applied(followers[1], 3, "3");
    cluster.assert_agree();
}

#[test]
fn a_single_member_serves_at_once() {
    let mut cluster = Cluster::new(1, options);
    cluster.pass(1);
    cluster.ask(1, 1, "one");
    cluster.assert_applied(1, 1, "1");
    cluster.read(1, 2);
    assert_eq!(cluster.answer(1, 2), Some(&Answer::ReadReady));
}

#[test]
fn every_member_serves_reads_that_see_what_was_acknowledged() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    cluster.ask(leader, 1, "one");
    for id in 1..=3 {
        cluster.read(id, 10);
        assert_eq!(cluster.answer(id, 10), Some(&Answer::ReadReady), "member {id}");
        assert_eq!(cluster.members[&id].machine.seen.len(), 1, "member {id}");
    }
}

#[test]
fn a_restart_applies_the_log_again_and_goes_on() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    for token in 0..20 {
        cluster.ask(follower, token, "more");
    }
    cluster.kill(follower);
    cluster.start(follower);
    cluster.pass(500_000);
    assert_eq!(cluster.members[&follower].machine.seen.len(), 20);
    cluster.ask(follower, 100, "after");
    cluster.assert_applied(follower, 100, "21");
    cluster.assert_agree();
}

#[test]
fn a_command_caught_by_a_change_of_leader_is_sent_again_and_applied_once() {
    let mut cluster = elected(3, options);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    cluster.ask(follower, 1, "before");
    cluster.assert_applied(follower, 1, "1");
    // The leader dies with the command on its way.
    cluster.members.get_mut(&leader).expect("the leader").node = None;
    cluster.ask(follower, 2, "caught");
    assert_eq!(cluster.answer(follower, 2), None);
    cluster.kill(leader);
    cluster.pass(3_000_000);
    cluster.assert_applied(follower, 2, "2");
    cluster.start(leader);
    cluster.pass(1_000_000);
    assert_eq!(cluster.members[&leader].machine.seen, ["before", "caught"]);
}

#[test]
fn without_a_quorum_the_deadline_answers() {
    let mut cluster = elected(3, options);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.kill(followers[0]);
    cluster.kill(followers[1]);
    cluster.ask(leader, 1, "lost");
    cluster.read(leader, 2);
    cluster.pass(3_000_000);
    cluster.ask(leader, 3, "never sent");
    cluster.read(leader, 4);
    cluster.pass(6_000_000);
    let refused = |error| Some(Answer::Refused(error));
    assert_eq!(cluster.answer(leader, 1), refused(RequestError::TimedOut).as_ref());
    assert_eq!(cluster.answer(leader, 2), refused(RequestError::NoLeader).as_ref());
    assert_eq!(cluster.answer(leader, 3), refused(RequestError::NoLeader).as_ref());
    assert_eq!(cluster.answer(leader, 4), refused(RequestError::NoLeader).as_ref());
}

fn snapshots_often(id: NodeId) -> NodeOptions {
    NodeOptions {
        snapshot_every_entries: 10,
        retained_entries: 2,
        snapshot_chunk_bytes: 7,
        cache_bytes_max: 500,
        ..NodeOptions::new(id)
    }
}

#[test]
fn a_follower_behind_the_log_is_caught_up_by_a_snapshot_in_pieces() {
    let mut cluster = elected(3, snapshots_often);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    cluster.kill(follower);
    for token in 0..40 {
        cluster.ask(leader, token, "command");
    }
    let kept = cluster.members[&leader].disk.entries.len();
    assert!(kept < 20, "{kept} entries are kept behind a snapshot");
    cluster.start(follower);
    cluster.pass(2_000_000);
    assert_eq!(cluster.members[&follower].loads, 1, "one snapshot was loaded");
    assert_eq!(cluster.members[&follower].machine.seen.len(), 40);
    // Sessions came along: a retry of what the snapshot covers changes nothing.
    cluster.ask(follower, 50, "after");
    cluster.assert_applied(follower, 50, "41");
    cluster.pass(200_000);
    cluster.assert_agree();

    cluster.kill(leader);
    cluster.start(leader);
    cluster.pass(2_000_000);
    cluster.assert_agree();
}

#[test]
fn an_answer_that_a_snapshot_swallowed_is_found_in_its_sessions() {
    let mut cluster = elected(3, snapshots_often);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    let (follower, other) = (followers[0], followers[1]);
    cluster.ask(follower, 1, "first");
    // The command reaches the leader, then the follower is cut off.
    let request = ClientRequest::Propose {
        token: RequestToken(2),
        command: Bytes::from_static(b"swallowed"),
        deadline: Time(cluster.now + 60_000_000),
    };
    let moment = cluster.moment();
    let mut actions = Vec::new();
    let node = cluster.members.get_mut(&follower).and_then(|m| m.node.as_mut()).expect("it runs");
    node.handle(moment, Event::Client(request), &mut actions);
    node.flush(moment, &mut actions);
    cluster.carry_out(follower, actions);
    let forward = cluster.queue.pop_front().expect("the forwarded command");
    cluster.cut.push(follower);
    cluster.unlink(follower);
    cluster.queue.push_front(forward);
    cluster.settle();
    for token in 0..40 {
        cluster.ask(other, 100 + token, "more");
    }
    assert_eq!(cluster.answer(follower, 2), None);
    cluster.cut.clear();
    for id in [leader, other] {
        cluster.connect(follower, id);
        cluster.connect(id, follower);
    }
    cluster.settle();
    cluster.pass(10_000_000);
    assert_eq!(cluster.members[&follower].loads, 1);
    cluster.assert_applied(follower, 2, "2");
    cluster.assert_agree();
}

/// Found by the simulator: the newer snapshot's name was given to the older
/// one's state, and what followed the newer one was applied onto it.
#[test]
fn a_snapshot_that_comes_while_another_is_loaded_is_loaded_after_it() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    let moment = cluster.moment();
    let node = cluster.members.get_mut(&follower).and_then(|m| m.node.as_mut()).expect("it runs");
    let membership = node.raft().membership().clone();
    let meta =
        |index| SnapshotMeta { last: Position::new(1, index), membership: membership.clone() };
    let sidecar = node.sessions.encode();
    let loads = |actions: &mut Vec<Action>| -> Vec<u64> {
        let jobs = actions.drain(..).filter_map(|action| match action {
            Action::Snapshot(SnapshotJob::Load { meta }) => Some(meta.last.index.0),
            _ => None,
        });
        jobs.collect()
    };
    let mut actions = Vec::new();
    node.snapshots.to_load = Some(meta(100));
    node.pump(&mut actions);
    node.snapshots.to_load = Some(meta(200));
    node.pump(&mut actions);
    assert_eq!(loads(&mut actions), [100]);
    for (loaded, then) in [(100, vec![200]), (200, vec![])] {
        let done = SnapshotDone::Loaded { result: Ok(sidecar.clone()) };
        node.handle(moment, Event::Snapshot(done), &mut actions);
        assert_eq!(node.applied_position(), Position::new(1, loaded));
        assert_eq!(loads(&mut actions), then);
    }
}

#[test]
fn a_wiped_member_is_refused_and_stops_with_the_reason() {
    let mut cluster = elected(3, options);
    let follower = cluster.followers()[0];
    cluster.kill(follower);
    let member = cluster.members.get_mut(&follower).expect("a member");
    member.disk = Disk::default();
    member.incarnation += 1;
    cluster.start(follower);
    let stopped = cluster.members[&follower].stopped.clone();
    assert!(matches!(stopped, Some(StopReason::UnknownIncarnation { .. })), "{stopped:?}");
    cluster.ask(follower, 1, "no");
    assert_eq!(cluster.answer(follower, 1), Some(&Answer::Refused(RequestError::Stopped)));
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    cluster.ask(leader, 1, "one");
    for member in cluster.members.values_mut() {
        member.low_space = true;
    }
    // The next record tells.
    cluster.ask(leader, 2, "two");
    cluster.pass(200_000);
    let refused = Some(Answer::Refused(RequestError::DiskFull));
    for id in 1..=3 {
        cluster.ask(id, 3, "three");
        assert_eq!(cluster.answer(id, 3), refused.as_ref(), "member {id}");
        cluster.read(id, 4);
        assert_eq!(cluster.answer(id, 4), Some(&Answer::ReadReady), "member {id}");
    }
    cluster.pass(5_000_000);
    assert_eq!(cluster.leader(), leader, "nobody unseats it");
    for id in 1..=3 {
        cluster.members.get_mut(&id).expect("a member").low_space = false;
        cluster.queue.push_back((id, Event::Log(LogDone::Space { low_space: false })));
    }
    cluster.ask(leader, 5, "five");
    cluster.assert_applied(leader, 5, "3");
    cluster.pass(200_000);
    cluster.assert_agree();
}

#[test]
fn too_large_a_command_is_refused_with_the_limit() {
    fn small(id: NodeId) -> NodeOptions {
        NodeOptions { command_bytes_max: 3, ..NodeOptions::new(id) }
    }
    let mut cluster = elected(1, small);
    cluster.ask(1, 1, "four");
    let error = RequestError::TooLarge { bytes: 4, bytes_max: 3 };
    assert_eq!(cluster.answer(1, 1), Some(&Answer::Refused(error)));
    cluster.ask(1, 2, "two");
    cluster.assert_applied(1, 2, "1");
}

#[test]
fn a_frame_that_is_none_closes_its_link_and_harms_nobody() {
    let mut cluster = elected(3, options);
    let leader = cluster.leader();
    let (&link, &(from, to)) = cluster.links.iter().next().expect("a link");
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0; 64], &[255; 64]] {
        let frame = Bytes::copy_from_slice(bytes);
        cluster.queue.push_back((to, Event::Frame { link: LinkId(link), frame }));
        cluster.settle();
    }
    assert!(cluster.members[&to].reports.iter().any(|r| matches!(r, Report::BadFrame { .. })));
    cluster.connect(from, to);
    cluster.settle();
    cluster.ask(leader, 1, "one");
    cluster.assert_applied(leader, 1, "1");
    assert_eq!(
        cluster.members[&leader].node.as_ref().map(|n| n.applied_position().index > Index(0)),
        Some(true)
    );
    assert!(
        Position::ZERO
            < cluster.members[&leader].node.as_ref().expect("it runs").applied_position()
    );
}
