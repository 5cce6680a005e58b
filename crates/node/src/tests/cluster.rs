//! A cluster whose links and disks do at once what they are told.

use crate::Node;
use crate::port::{
    Action, Answer, ClientRequest, Event, LinkId, LogDone, LogJob, NodeOptions, ReadFailure,
    Report, RequestToken, SnapshotChunk, SnapshotDone, SnapshotJob, StopReason,
};
use bytes::Bytes;
use driftless_codec::Entry;
use driftless_log::{Identity, KnownPeer, Recovered, Room, SnapshotMeta};
use driftless_machine::Durable;
use driftless_raft::{
    GroupId, HardState, Index, Membership, Moment, NodeId, Position, Role, Time, Trail,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A machine that remembers every command it saw and replies with their number.
#[derive(Clone, Default, Debug, PartialEq)]
pub(super) struct Tally {
    pub(super) seen: Vec<Bytes>,
}

/// A disk that never forgets and is never late.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<Entry>,
    pub(super) peers: BTreeMap<NodeId, KnownPeer>,
    pub(super) snapshot: Option<(SnapshotMeta, Bytes, Tally)>,
    /// What has arrived of another, by which maker and up to where.
    pub(super) partial: Vec<u8>,
    partial_of: (u64, Position),
    /// Whose bytes the snapshot's are.
    maker: u64,
    /// The snapshot that the log builds on; a witness has no file of it.
    pub(super) base: Option<SnapshotMeta>,
    /// How often it was opened.
    pub(super) boots: u64,
    /// It took the place of a lost one.
    pub(super) replacement: bool,
}

pub(super) const AMPLE: Room = Room { claimed_bytes: 1 << 40, low_space: false };

pub(super) struct Member {
    pub(super) node: Option<Node>,
    pub(super) machine: Tally,
    pub(super) disk: Disk,
    pub(super) incarnation: u64,
    /// It was not there at the beginning.
    pub(super) joined: bool,
    /// Whom it wants to be linked with.
    pub(super) dials: BTreeSet<u64>,
    /// What its log says that it has room for.
    pub(super) room: Room,
    /// This entry does not verify any more on its disk.
    pub(super) damaged: Option<Index>,
    /// Its snapshot does not verify any more.
    pub(super) snapshot_rots: bool,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) stopped: Option<StopReason>,
    pub(super) reports: Vec<Report>,
    pub(super) loads: u32,
    /// Where the pieces of snapshots began that arrived.
    pub(super) pieces: Vec<u64>,
    /// That a snapshot is saved is said later, by the test.
    pub(super) snapshots_wait: bool,
    pub(super) waiting: Vec<SnapshotDone>,
    /// Bytes of frames that it wrote.
    pub(super) written_bytes: usize,
}

pub(super) struct Cluster {
    pub(super) now: u64,
    pub(super) random: u64,
    pub(super) members: BTreeMap<u64, Member>,
    /// Undelivered: for whom, what.
    pub(super) queue: VecDeque<(u64, Event)>,
    /// A link's two ends.
    pub(super) links: BTreeMap<u64, (u64, u64)>,
    pub(super) next_link: u64,
    pub(super) cut: Vec<u64>,
    pub(super) options: fn(NodeId) -> NodeOptions,
}

pub(super) fn options(id: NodeId) -> NodeOptions {
    NodeOptions { snapshot_every_entries: 1_000_000, ..NodeOptions::new(id) }
}

impl Member {
    fn new(id: u64, joined: bool) -> Self {
        Self {
            node: None,
            machine: Tally::default(),
            disk: Disk::default(),
            incarnation: id * 100,
            joined,
            dials: BTreeSet::new(),
            room: AMPLE,
            damaged: None,
            snapshot_rots: false,
            answers: BTreeMap::new(),
            stopped: None,
            reports: Vec::new(),
            loads: 0,
            pieces: Vec::new(),
            snapshots_wait: false,
            waiting: Vec::new(),
            written_bytes: 0,
        }
    }
}

impl Cluster {
    pub(super) fn new(size: u64, options: fn(NodeId) -> NodeOptions) -> Self {
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
            cluster.members.insert(id, Member::new(id, false));
        }
        for id in 1..=size {
            cluster.start(id);
        }
        cluster
    }

    /// Starts somebody who waits to be taken in.
    pub(super) fn join(&mut self, id: u64) {
        self.members.insert(id, Member::new(id, true));
        self.start(id);
    }

    pub(super) fn moment(&mut self) -> Moment {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Moment { now: Time(self.now), random: self.random >> 16 }
    }

    pub(super) fn start(&mut self, id: u64) {
        let moment = self.moment();
        let founders = self.members.iter().filter(|(_, member)| !member.joined);
        let founders = Membership::of(founders.map(|(id, _)| NodeId(*id)));
        let member = self.members.get_mut(&id).expect("a member");
        member.machine = Tally::default();
        member.stopped = None;
        member.dials.clear();
        let disk = &mut member.disk;
        disk.boots += 1;
        let in_file = disk.snapshot.as_ref().map(|(meta, ..)| meta.clone());
        let snapshot = in_file.or_else(|| disk.base.clone());
        let nobody_yet = member.joined || disk.replacement;
        let at_start = if nobody_yet { Membership::default() } else { founders };
        let at_base = snapshot.as_ref().map_or(at_start, |meta| meta.membership.clone());
        let base = snapshot.as_ref().map_or(Position::ZERO, |meta| meta.last);
        let mut trail = Trail::new(base, at_base);
        for entry in disk.entries.iter().filter(|entry| entry.position.index > base.index) {
            let (term, index) = (entry.position.term, entry.position.index);
            trail.append(driftless_raft::Run { term, first: index, last: index });
            if let Some(membership) = entry.membership() {
                trail.append_membership(membership);
            }
        }
        let recovered = Recovered {
            group: GroupId(1),
            hard_state: disk.hard_state,
            membership: trail.membership().clone(),
            trail,
            snapshot,
            damaged: Vec::new(),
        };
        let (boots, replacement) = (disk.boots, disk.replacement);
        let identity =
            Identity { boots, replacement, ..Identity::new(9, NodeId(id), member.incarnation) };
        let options = (self.options)(NodeId(id));
        let peers = disk.peers.clone();
        let node = Node::new(options, identity, recovered, peers, &Durable::default(), moment);
        member.node = Some(node.expect("it starts"));
        let running: Vec<u64> =
            self.members.iter().filter(|(_, m)| m.node.is_some()).map(|(id, _)| *id).collect();
        for other in running.into_iter().filter(|other| *other != id) {
            if !self.members[&id].joined && !self.members[&other].joined {
                self.connect(id, other);
                self.connect(other, id);
            } else if self.members[&other].dials.contains(&id) {
                self.connect(other, id);
            }
        }
        self.flush(id);
        self.settle();
    }

    pub(super) fn connect(&mut self, from: u64, to: u64) {
        if self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link.0, (from, to));
        self.queue.push_back((to, Event::Accepted { link }));
        self.queue.push_back((from, Event::Connected { link, peer: NodeId(to) }));
    }

    /// Makes the links that members want and do not have.
    fn redial(&mut self) {
        self.call();
        self.settle();
    }

    /// The same, and nothing is delivered yet.
    fn call(&mut self) {
        let wants = |(id, member): (&u64, &Member)| {
            let node = member.node.as_ref().filter(|_| member.stopped.is_none());
            let dials = member.dials.iter().filter(|_| node.is_some());
            dials.map(|peer| (*id, *peer)).collect::<Vec<_>>()
        };
        let wanted: Vec<(u64, u64)> = self.members.iter().flat_map(wants).collect();
        for (from, to) in wanted {
            let runs = self
                .members
                .get(&to)
                .is_some_and(|peer| peer.node.is_some() && peer.stopped.is_none());
            if runs && !self.links.values().any(|ends| *ends == (from, to)) {
                self.connect(from, to);
            }
        }
    }

    /// SIGKILL: the machine and all links are gone, the disk stays.
    pub(super) fn kill(&mut self, id: u64) {
        self.crash(id);
        self.settle();
    }

    /// The same, and nobody has heard of it yet.
    pub(super) fn crash(&mut self, id: u64) {
        self.members.get_mut(&id).expect("a member").node = None;
        self.queue.retain(|(to, _)| *to != id);
        self.unlink(id);
    }

    pub(super) fn unlink(&mut self, id: u64) {
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

    pub(super) fn flush(&mut self, id: u64) {
        let moment = self.moment();
        let mut actions = Vec::new();
        if let Some(node) = self.members.get_mut(&id).and_then(|member| member.node.as_mut()) {
            node.flush(moment, &mut actions);
        }
        self.carry_out(id, actions);
    }

    /// Delivers until nothing is under way.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.queue.is_empty() {
                return;
            }
            self.deliver_one();
        }
        panic!("the cluster does not come to rest");
    }

    pub(super) fn deliver_one(&mut self) {
        let Some((id, event)) = self.queue.pop_front() else { return };
        let moment = self.moment();
        let mut actions = Vec::new();
        if let Some(node) = self.members.get_mut(&id).and_then(|member| member.node.as_mut()) {
            node.handle(moment, event, &mut actions);
            node.flush(moment, &mut actions);
            self.carry_out(id, actions);
        }
    }

    /// Goes on, one event at a time, until something holds.
    #[track_caller]
    pub(super) fn go_on_until(&mut self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if holds(self) {
                return;
            }
            if self.queue.is_empty() {
                let wants = |(id, member): (&u64, &Member)| {
                    Some((member.node.as_ref()?.deadline()?.0, *id))
                };
                let next = self.members.iter().filter_map(wants).min();
                let (at, id) = next.expect("somebody wants to be woken");
                self.now = self.now.max(at);
                self.queue.push_back((id, Event::Wake));
                self.call();
            }
            self.deliver_one();
        }
        panic!("it does not come about");
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn pass(&mut self, micros: u64) {
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
                    self.redial();
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("deadlines do not advance");
    }

    pub(super) fn carry_out(&mut self, id: u64, actions: Vec<Action>) {
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
                    member.written_bytes += frame.len();
                    let cut = self.cut.contains(&id);
                    if let Some(&(from, to)) = self.links.get(&link.0).filter(|_| !cut) {
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
                Action::Dial { peer, address } => {
                    assert_eq!(address, peer.0.to_string(), "addresses are names here");
                    member.dials.insert(peer.0);
                    let runs = self.members.get(&peer.0).is_some_and(|peer| peer.node.is_some());
                    if runs && !self.links.values().any(|ends| *ends == (id, peer.0)) {
                        self.connect(id, peer.0);
                    }
                    None
                }
                Action::HangUp { peer } => {
                    member.dials.remove(&peer.0);
                    None
                }
                Action::StatusChanged | Action::MembersChanged | Action::ReachedChanged => None,
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

    pub(super) fn leader(&self) -> u64 {
        let leads = |member: &Member| {
            member.node.as_ref().is_some_and(|node| node.status().role == Role::Leader)
        };
        *self.members.iter().find(|(_, member)| leads(member)).expect("somebody leads").0
    }

    pub(super) fn followers(&self) -> Vec<u64> {
        let leader = self.leader();
        self.members.keys().copied().filter(|id| *id != leader).collect()
    }

    pub(super) fn ask(&mut self, id: u64, token: u64, command: &'static str) {
        self.ask_later(id, token, command);
        self.settle();
    }

    /// Asks, but lets others ask too before anything happens.
    pub(super) fn ask_later(&mut self, id: u64, token: u64, command: &'static str) {
        let request = ClientRequest::Propose {
            token: RequestToken(token),
            command: Bytes::from_static(command.as_bytes()),
            deadline: Time(self.now + 5_000_000),
        };
        self.queue.push_back((id, Event::Client(request)));
    }

    pub(super) fn read(&mut self, id: u64, token: u64) {
        let deadline = Time(self.now + 5_000_000);
        let request = ClientRequest::Read { token: RequestToken(token), deadline };
        self.queue.push_back((id, Event::Client(request)));
        self.settle();
    }

    pub(super) fn answer(&self, id: u64, token: u64) -> Option<&Answer> {
        self.members[&id].answers.get(&token)
    }

    #[track_caller]
    pub(super) fn assert_applied(&self, id: u64, token: u64, expected: &str) {
        match self.answer(id, token) {
            Some(Answer::Applied { reply, .. }) => assert_eq!(reply, expected),
            other => panic!("request {token} at member {id}: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn assert_agree(&self) {
        let first = &self.members[&1].machine;
        for (id, member) in &self.members {
            assert_eq!(&member.machine, first, "member {id}");
        }
    }
}

pub(super) fn log_job(member: &mut Member, job: LogJob) -> LogDone {
    let disk = &mut member.disk;
    match job {
        LogJob::Append { ticket, record } => {
            let payloads: usize = record.entries.iter().map(|entry| entry.payload.len()).sum();
            let fits = payloads == 0 || payloads as u64 + 100 <= member.room.claimed_bytes;
            assert!(fits, "{payloads} bytes, and room for {:?}", member.room);
            disk.hard_state = record.hard_state;
            if let Some(from) = record.truncate_from {
                disk.entries.retain(|entry| entry.position.index < from);
            }
            if let Some(meta) = &record.snapshot {
                disk.entries.retain(|entry| entry.position.index > meta.last.index);
                disk.base = Some(meta.as_ref().clone());
            }
            disk.entries.extend(record.entries.iter().cloned());
            LogDone::Appended { ticket, room: member.room }
        }
        LogJob::Read { id, first, last, .. } => {
            let wanted = |entry: &&Entry| (first..=last).contains(&entry.position.index);
            let entries: Vec<Entry> = disk.entries.iter().filter(wanted).take(3).cloned().collect();
            let entries = match entries.first().map(|entry| entry.position) {
                Some(position) if member.damaged == Some(first) => {
                    Err(ReadFailure::Damaged(position))
                }
                Some(position) if position.index == first => Ok(entries),
                _ => Err(ReadFailure::Gone),
            };
            LogDone::Read { id, entries }
        }
        LogJob::Compact { snapshot, through } => {
            disk.entries.retain(|entry| entry.position.index > through.index);
            disk.base = Some(snapshot.clone());
            LogDone::Compacted { snapshot: snapshot.last }
        }
        LogJob::Claim { .. } => LogDone::Room(member.room),
        LogJob::RememberPeer { peer, known } => {
            disk.peers.insert(peer, known);
            LogDone::PeerRemembered { peer, known }
        }
    }
}

pub(super) fn snapshot_job(member: &mut Member, job: SnapshotJob) -> Option<SnapshotDone> {
    let disk = &mut member.disk;
    Some(match job {
        SnapshotJob::RemoveOlder { .. } => return None,
        SnapshotJob::Save { meta, sidecar, maker } => {
            disk.maker = maker;
            disk.snapshot = Some((meta.clone(), sidecar, member.machine.clone()));
            member.snapshot_rots = false;
            let done = SnapshotDone::Saved { result: Ok(meta) };
            if member.snapshots_wait {
                member.waiting.push(done);
                return None;
            }
            done
        }
        SnapshotJob::Load { meta } => {
            let Some((newest, sidecar, machine)) = disk.snapshot.as_ref() else {
                return Some(SnapshotDone::Loaded { result: Ok(None) });
            };
            assert_eq!(newest.last, meta.last);
            member.machine = machine.clone();
            member.loads += 1;
            SnapshotDone::Loaded { result: Ok(Some(sidecar.clone())) }
        }
        SnapshotJob::ReadChunk { to, .. } if member.snapshot_rots => {
            SnapshotDone::Chunk { to, result: Err("it does not verify".into()) }
        }
        SnapshotJob::ReadChunk { to, snapshot, offset, bytes_max } => {
            let (meta, file) = encode_snapshot(disk);
            let offset = if meta.last == snapshot { offset } else { 0 };
            let end = file.len().min(offset as usize + bytes_max);
            let bytes = Bytes::copy_from_slice(&file[offset as usize..end]);
            let done = end == file.len();
            SnapshotDone::Chunk {
                to,
                result: Ok(SnapshotChunk { meta, maker: disk.maker, offset, bytes, done }),
            }
        }
        SnapshotJob::WriteChunk { meta, maker, offset, bytes, done } => {
            member.pieces.push(offset);
            if disk.partial_of != (maker, meta.last) {
                disk.partial_of = (maker, meta.last);
                disk.partial.clear();
            }
            let done = done && disk.partial.len() as u64 == offset;
            if disk.partial.len() as u64 == offset {
                disk.partial.extend(&bytes);
            }
            let received = disk.partial.len() as u64;
            if done {
                let file = std::mem::take(&mut disk.partial);
                disk.maker = maker;
                decode_snapshot(disk, meta.clone(), &file);
            }
            SnapshotDone::Written { meta, received, done }
        }
    })
}

pub(super) fn encode_snapshot(disk: &Disk) -> (SnapshotMeta, Vec<u8>) {
    let (meta, sidecar, machine) = disk.snapshot.as_ref().expect("there is one");
    let mut file = (sidecar.len() as u32).to_le_bytes().to_vec();
    file.extend(sidecar);
    for command in &machine.seen {
        file.push(command.len() as u8);
        file.extend(command);
    }
    (meta.clone(), file)
}

pub(super) fn decode_snapshot(disk: &mut Disk, meta: SnapshotMeta, file: &[u8]) {
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

pub(super) fn elected(size: u64, options: fn(NodeId) -> NodeOptions) -> Cluster {
    let mut cluster = Cluster::new(size, options);
    cluster.pass(3_000_000);
    cluster.leader();
    cluster
}
