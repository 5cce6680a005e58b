//! Links between members: streams that keep their order while they live, stall
//! while a direction is cut, and lose what is in flight when they break.
//!
//! Each end learns of a break in its own time. So a frame of an old link may
//! still arrive after a newer link is up, but never on the newer one.

use crate::clock::WorldTime;
use crate::random::Random;
use bytes::Bytes;
use driftless_node::LinkId;
use driftless_node::raft::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// One start of a member's process. What was meant for an earlier one is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) member: NodeId,
    pub(crate) run: u64,
}

/// Where a member is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) member: NodeId,
    /// How often it had moved when it was there.
    pub(crate) moves: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member-{}:{}", self.member, self.moves)
    }
}

/// The places that an address names.
pub(crate) fn places(address: &str) -> Vec<Place> {
    let place = |part: &str| {
        let (member, moves) = part.strip_prefix("member-")?.split_once(':')?;
        Some(Place { member: NodeId(member.parse().ok()?), moves: moves.parse().ok()? })
    };
    address.split(',').filter_map(place).collect()
}

/// A process wants to be linked with a peer, and keeps trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) from: Process,
    pub(crate) peer: NodeId,
    /// No other call of this world has the same.
    pub(crate) number: u64,
}

/// Names a connection, for both its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Dialer = 0,
    Acceptor = 1,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Dialer, Self::Acceptor];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// A stream in both directions.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What it came from.
    pub(crate) call: Call,
    pub(crate) process: [Process; 2],
    pub(crate) link: [LinkId; 2],
    /// Whether this end's process still holds it.
    pub(crate) open: [bool; 2],
    /// Nothing that is written from now on arrives.
    pub(crate) broken: bool,
    /// What travels towards each end.
    pub(crate) towards: [Lane; 2],
}

/// Frames on their way in one direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    in_flight: VecDeque<(WorldTime, Bytes)>,
    /// No frame arrives before the one written before it.
    latest: WorldTime,
    /// An arrival is on the world's list.
    pub(crate) scheduled: bool,
    /// The writer has closed: the reader's stream ends then, behind the last frame.
    ends_at: Option<WorldTime>,
    /// The last frame that arrived, for a dying link to repeat.
    last: Option<Bytes>,
}

impl Lane {
    pub(crate) fn next_due(&self) -> Option<WorldTime> {
        self.in_flight.front().map(|(due, _)| *due)
    }

    /// Lets nothing arrive before this.
    pub(crate) fn not_before(&mut self, at: WorldTime) {
        self.latest = self.latest.max(at);
    }

    /// The writer closes: the reader learns it then, behind the last frame.
    pub(crate) fn end(&mut self, at: WorldTime) {
        self.ends_at = self.ends_at.or(Some(at.max(self.latest)));
    }

    pub(crate) fn ends_at(&self) -> Option<WorldTime> {
        self.ends_at
    }

    /// The next frame, if it is due.
    pub(crate) fn take(&mut self, now: WorldTime) -> Option<Bytes> {
        let due = self.next_due().is_some_and(|due| due <= now);
        let frame = due.then(|| self.in_flight.pop_front())??.1;
        self.last = Some(frame.clone());
        Some(frame)
    }
}

/// All links, and who cannot reach whom.
#[derive(Debug, Default)]
pub(crate) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    /// How many faults cut this direction.
    cuts: BTreeMap<(NodeId, NodeId), u32>,
    pub(crate) slowness: u64,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { slowness: 1, ..Self::default() }
    }

    pub(crate) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    pub(crate) fn mend(&mut self, from: NodeId, to: NodeId) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn connect(
        &mut self,
        call: Call,
        process: [Process; 2],
        link: [LinkId; 2],
    ) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let towards = [Lane::default(), Lane::default()];
        let connection =
            Connection { call, process, link, open: [true; 2], broken: false, towards };
        self.connections.insert(id, connection);
        id
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// The connections that `wanted` says, oldest first.
    pub(crate) fn find(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<ConnectionId> {
        let found = self.connections.iter().filter(|(_, connection)| wanted(connection));
        found.map(|(id, _)| *id).collect()
    }

    /// Whether `reader`, an end of `id`, has a younger link from the same dialer.
    pub(crate) fn is_superseded(&self, id: ConnectionId, reader: End) -> bool {
        let Some(old) = self.get(id) else { return false };
        self.connections.range(ConnectionId(id.0 + 1)..).any(|(_, new)| {
            new.process[0].member == old.process[0].member
                && new.process[1] == old.process[1]
                && new.open[reader as usize]
        })
    }

    /// Forgets a connection that neither end holds any more.
    pub(crate) fn forget_if_dead(&mut self, id: ConnectionId) {
        if self.get(id).is_some_and(|connection| connection.open == [false; 2]) {
            self.connections.remove(&id);
        }
    }
}

impl Connection {
    pub(crate) fn is_between(&self, one: NodeId, other: NodeId) -> bool {
        let [dialer, acceptor] = self.process.map(|process| process.member);
        (dialer, acceptor) == (one, other) || (dialer, acceptor) == (other, one)
    }

    /// Whether `member` has one of its ends.
    pub(crate) fn touches(&self, member: NodeId) -> bool {
        self.process.iter().any(|process| process.member == member)
    }

    /// Which end `process` is.
    pub(crate) fn end_of(&self, process: Process) -> Option<End> {
        End::BOTH.into_iter().find(|end| self.process[*end as usize] == process)
    }

    /// Sends `frame` towards `reader`; says whether it went on its way.
    pub(crate) fn send(
        &mut self,
        reader: End,
        frame: Bytes,
        now: WorldTime,
        travel_us: u64,
    ) -> bool {
        let lane = &mut self.towards[reader as usize];
        if self.broken || !self.open[reader as usize] || lane.ends_at.is_some() {
            return false;
        }
        lane.latest = lane.latest.max(now + travel_us);
        lane.in_flight.push_back((lane.latest, frame));
        true
    }

    /// Breaks it. Some of what is in flight may still arrive, and the last
    /// frame may come again; says how many frames are lost and repeated.
    pub(crate) fn break_now(&mut self, now: WorldTime, random: &mut Random) -> (u64, u64) {
        self.broken = true;
        let (mut lost, mut repeated) = (0, 0);
        for lane in &mut self.towards {
            let kept = random.below(lane.in_flight.len() as u64 + 1) as usize;
            lost += (lane.in_flight.len() - kept) as u64;
            lane.in_flight.truncate(kept);
            // What was retransmitted may come long after the writer gave up.
            let most_us = *random.pick(&[0, 5_000, 50_000, 500_000]).expect("not empty");
            let mut late_us = 0;
            for (due, _) in &mut lane.in_flight {
                late_us += random.below(most_us + 1);
                *due += late_us;
            }
            lane.latest += late_us;
            if let Some(last) = &lane.last
                && random.chance(1, 4)
            {
                // Behind what is in flight, as a retransmission would come.
                let due = lane.latest.max(now) + random.below(20_000);
                lane.in_flight.push_back((due, last.clone()));
                repeated += 1;
            }
        }
        (lost, repeated)
    }
}
