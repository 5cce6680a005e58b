//! How links come and go, and frames travel: the world's side of the network.

use crate::fault::Sabotage;
use crate::member::{Dialled, Member};
use crate::narration::told;
use crate::network::{Call, Connection, ConnectionId, End, Process, places};
use crate::property::{Breach, hold};
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, ToNode, World};
use bytes::{Bytes, BytesMut};
use driftless_node::codec::PeerFrame;
use driftless_node::codec::frame::{HEADER_BYTES, frame_len};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Message, NodeId};
use driftless_node::{Event, Frame, LinkId};

impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    /// How long a frame travels.
    pub(crate) fn travel_us(&mut self) -> u64 {
        let jitter_us = self.random.below(self.plan.latency_jitter_us + 1);
        // Most frames are quick, some are not.
        let jitter_us = if self.random.chance(3, 4) { jitter_us / 8 } else { jitter_us };
        (self.plan.latency_us + jitter_us) * self.network.slowness
    }

    /// A node wants to be linked with `peer`, who is reached at `address`.
    pub(crate) fn dials(&mut self, process: Process, peer: NodeId, address: &str) {
        let at = places(address);
        let number = self.next_call;
        let dials = &mut self.running(process).dials;
        if let Some(dialled) = dials.get_mut(&peer) {
            dialled.at = at;
            return;
        }
        dials.insert(peer, Dialled { at, number });
        self.next_call += 1;
        self.dial_later(Call { from: process, peer, number });
    }

    /// A node wants to be linked with `peer` no more.
    pub(crate) fn hangs_up(&mut self, process: Process, peer: NodeId) {
        let Some(dialled) = self.running(process).dials.remove(&peer) else { return };
        let call = Call { from: process, peer, number: dialled.number };
        for id in self.network.find(|connection| connection.call == call) {
            let Some(connection) = self.network.get(id) else { continue };
            let link = connection.link[End::Dialer as usize];
            self.close(process, link);
        }
    }

    /// Whether the node of a call still wants it.
    fn is_wanted(&self, call: Call) -> bool {
        let running = self.members[&call.from.member].running.as_ref();
        running.is_some_and(|running| {
            let dialled = running.dials.get(&call.peer);
            let is_the_last = dialled.is_some_and(|dialled| dialled.number == call.number);
            is_the_last && running.process == call.from
        })
    }

    /// Who answers a call.
    fn called(&self, call: Call) -> Option<Process> {
        let from = call.from.member;
        let running = self.members[&from].running.as_ref()?;
        let answers = |member: &Member<M>| {
            let cut = self.network.is_cut(from, member.id) || self.network.is_cut(member.id, from);
            member.process().filter(|_| !cut && member.id != from)
        };
        let at = running.dials.get(&call.peer)?.at.iter();
        let mut there =
            at.filter(|place| self.is_at(**place)).map(|place| &self.members[&place.member]);
        there.find_map(answers)
    }

    pub(crate) fn dial_later(&mut self, call: Call) {
        let is_eager = self.random.chance(1, 3);
        let delay_us = self.random.below(if is_eager { 1_000 } else { 100_000 });
        self.after(delay_us, Happening::Dial(call));
    }

    pub(crate) fn dial(&mut self, call: Call) {
        if self.is_wanted(call) {
            let travel_us = self.travel_us();
            self.after(travel_us, Happening::Ring(call));
        }
    }

    /// The call arrives: a link is made, if both ways are open.
    pub(crate) fn ring(&mut self, call: Call) -> Result<(), Breach> {
        if !self.is_wanted(call) {
            return Ok(());
        }
        let Some(called) = self.called(call) else {
            self.dial_later(call);
            return Ok(());
        };
        let from = call.from;
        let process = [from, called];
        let link = process.map(|process| self.new_link(process));
        let id = self.network.connect(call, process, link);
        for (process, link) in process.into_iter().zip(link) {
            self.running(process).links.insert(link, id);
        }
        let back_us = self.travel_us();
        let connected = Event::Connected { link: link[0], peer: call.peer };
        self.after(back_us, Happening::Node(from, ToNode::Event(connected)));
        if let Some(connection) = self.network.get_mut(id) {
            connection.towards[0].not_before(self.now + back_us + 1);
        }
        self.deliver(called, ToNode::Event(Event::Accepted { link: link[1] }))
    }

    fn new_link(&mut self, process: Process) -> LinkId {
        let running = self.running(process);
        running.next_link += 1;
        LinkId(running.next_link)
    }

    /// A node writes to a link.
    pub(crate) fn write(
        &mut self,
        process: Process,
        link: LinkId,
        frame: &Frame,
    ) -> Result<(), Breach> {
        let Some(&id) = self.running(process).links.get(&link) else { return Ok(()) };
        let mut joined = BytesMut::with_capacity(frame.len());
        for part in &frame.parts {
            joined.extend_from_slice(part);
        }
        let bytes = joined.freeze();
        let cut_at = bytes.get(..HEADER_BYTES).map(frame_len);
        hold!(
            cut_at == Some(Ok(bytes.len())),
            NoPanic,
            "member {} writes {} bytes that the other end cuts at {cut_at:?}",
            process.member,
            bytes.len()
        );
        let travel_us = self.travel_us();
        self.tell_frame(process, id, &bytes);
        self.plant_in_frames(process, id, &bytes);
        let now = self.now;
        let Some(connection) = self.network.get_mut(id) else { return Ok(()) };
        let Some(end) = connection.end_of(process) else { return Ok(()) };
        if connection.send(end.other(), bytes, now, travel_us) {
            self.expect_arrival(id, end.other());
        } else {
            self.count(Situation::FrameLost);
        }
        // A bad network breaks links now and then.
        if self.network.slowness > 1 && self.random.chance(1, 200) {
            self.break_link(id);
        }
        Ok(())
    }

    /// Sends votes astray as well, where such a bug is planted.
    fn plant_in_frames(&mut self, process: Process, id: ConnectionId, bytes: &Bytes) {
        if self.plan.sabotage != Some(Sabotage::Misroute) {
            return;
        }
        let Some(connection) = self.network.get(id) else { return };
        let to = connection.process[End::Acceptor as usize].member;
        let Ok((_, PeerFrame::Raft(Message::VoteReply { .. }))) = PeerFrame::decode(bytes) else {
            return;
        };
        let goes_elsewhere = |other: &Connection| {
            other.process[End::Dialer as usize] == process
                && other.process[End::Acceptor as usize].member != to
        };
        for astray in self.network.find(goes_elsewhere) {
            let (now, travel_us) = (self.now, self.travel_us());
            if let Some(connection) = self.network.get_mut(astray)
                && connection.send(End::Acceptor, bytes.clone(), now, travel_us)
            {
                self.expect_arrival(astray, End::Acceptor);
            }
        }
    }

    /// Puts the next arrival of a lane on the list, if there is one to come.
    fn expect_arrival(&mut self, id: ConnectionId, reader: End) {
        let now = self.now;
        let Some(connection) = self.network.get_mut(id) else { return };
        let lane = &mut connection.towards[reader as usize];
        if lane.scheduled {
            return;
        }
        let due = lane.next_due().or(lane.ends_at());
        if let Some(due) = due {
            lane.scheduled = true;
            self.at(due.max(now), Happening::Arrive(id, reader));
        }
    }

    pub(crate) fn arrive(&mut self, id: ConnectionId, reader: End) -> Result<(), Breach> {
        let Some(connection) = self.network.get_mut(id) else { return Ok(()) };
        connection.towards[reader as usize].scheduled = false;
        let process = connection.process[reader as usize];
        let writer = connection.process[reader.other() as usize];
        if self.network.is_cut(writer.member, process.member) {
            // It waits in the sender's kernel until the cut is mended.
            return Ok(());
        }
        loop {
            let now = self.now;
            let Some(connection) = self.network.get_mut(id) else { return Ok(()) };
            if !connection.open[reader as usize] {
                return Ok(());
            }
            let link = connection.link[reader as usize];
            let lane = &mut connection.towards[reader as usize];
            let Some(frame) = lane.take(now) else { break };
            if self.network.is_superseded(id, reader) {
                self.count(Situation::LateFrame);
            }
            self.digest.bytes(&frame);
            self.deliver(process, ToNode::Event(Event::Frame { link, frame }))?;
        }
        if let Some(connection) = self.network.get(id) {
            let lane = &connection.towards[reader as usize];
            if lane.next_due().is_none() && lane.ends_at().is_some_and(|at| at <= self.now) {
                return self.link_ends(id, reader);
            }
        }
        self.expect_arrival(id, reader);
        Ok(())
    }

    /// A node closes its end: what it wrote still arrives, then the stream ends.
    pub(crate) fn close(&mut self, process: Process, link: LinkId) {
        let Some(&id) = self.running(process).links.get(&link) else { return };
        let at = self.now + self.travel_us();
        let Some(connection) = self.network.get_mut(id) else { return };
        let Some(end) = connection.end_of(process) else { return };
        connection.towards[end.other() as usize].end(at);
        self.expect_arrival(id, end.other());
        self.after(0, Happening::LinkEnds(id, end));
    }

    /// This end learns that its link is gone, and dials anew if it had dialled.
    pub(crate) fn link_ends(&mut self, id: ConnectionId, end: End) -> Result<(), Breach> {
        let Some(connection) = self.network.get_mut(id) else { return Ok(()) };
        if !std::mem::replace(&mut connection.open[end as usize], false) {
            return Ok(());
        }
        let process = connection.process[end as usize];
        let call = connection.call;
        let link = connection.link[end as usize];
        // Nobody reads here any more: the other end's next write learns it.
        connection.broken = true;
        let learns_by_itself = connection.towards[end.other() as usize].ends_at().is_some();
        let other_is_open = connection.open[end.other() as usize] && !learns_by_itself;
        self.network.forget_if_dead(id);
        if other_is_open {
            let travel_us = self.travel_us();
            self.after(travel_us, Happening::LinkEnds(id, end.other()));
        }
        if !self.is_running(process) {
            return Ok(());
        }
        self.running(process).links.remove(&link);
        if end == End::Dialer && self.is_wanted(call) {
            self.dial_later(call);
        }
        self.deliver(process, ToNode::Event(Event::Closed { link }))
    }

    /// A link breaks under both ends; each learns of it in its own time.
    pub(crate) fn break_link(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.network.get_mut(id) else { return };
        if connection.broken {
            return;
        }
        let (lost, repeated) = connection.break_now(now, &mut self.random);
        for _ in 0..lost {
            self.count(Situation::FrameLost);
        }
        for _ in 0..repeated {
            self.count(Situation::RepeatedFrame);
        }
        for end in End::BOTH {
            self.expect_arrival(id, end);
            let notices_us = match self.random.below(3) {
                0 => self.random.below(1_000),
                1 => self.random.below(50_000),
                _ => self.random.below(1_500_000),
            };
            self.after(notices_us, Happening::LinkEnds(id, end));
        }
    }

    /// A link whose way is still cut gives up.
    pub(crate) fn keep_alive(&mut self, id: ConnectionId) {
        let Some(connection) = self.network.get(id) else { return };
        let [one, other] = connection.process.map(|process| process.member);
        if self.network.is_cut(one, other) || self.network.is_cut(other, one) {
            self.break_link(id);
        }
    }

    /// Cuts directions. Links over them stall, and some give up.
    pub(crate) fn cut(&mut self, ways: &[(NodeId, NodeId)]) {
        for &(from, to) in ways {
            self.network.cut(from, to);
            for id in self.network.find(|connection| connection.is_between(from, to)) {
                if self.random.chance(1, 2) {
                    let gives_up_us = self.random.between(200_000, 3_000_000);
                    self.after(gives_up_us, Happening::KeepAlive(id));
                }
            }
        }
    }

    /// Mends directions: what had stalled flows again.
    pub(crate) fn mend(&mut self, ways: &[(NodeId, NodeId)]) {
        for &(from, to) in ways {
            self.network.mend(from, to);
            for id in self.network.find(|connection| connection.is_between(from, to)) {
                for end in End::BOTH {
                    self.expect_arrival(id, end);
                }
            }
        }
    }

    /// Mends everything.
    pub(crate) fn mend_all(&mut self) {
        self.network.mend_all();
        for id in self.network.find(|_| true) {
            for end in End::BOTH {
                self.expect_arrival(id, end);
            }
        }
    }

    /// The process is gone, and its links with it.
    pub(crate) fn links_lose(&mut self, process: Process, in_silence: bool) {
        for id in self.network.find(|connection| connection.end_of(process).is_some()) {
            let Some(connection) = self.network.get_mut(id) else { continue };
            let Some(end) = connection.end_of(process) else { continue };
            connection.open[end as usize] = false;
            connection.broken = true;
            self.network.forget_if_dead(id);
            // A killed process's kernel says goodbye; one without power does not.
            let notices_us =
                if in_silence { self.random.between(1_000, 3_000_000) } else { self.travel_us() };
            self.after(notices_us, Happening::LinkEnds(id, end.other()));
        }
    }

    /// Narrates what decides elections; the rest would drown the reader.
    fn tell_frame(&mut self, from: Process, id: ConnectionId, bytes: &Bytes) {
        if !self.is_narrated() {
            return;
        }
        let Some(connection) = self.network.get(id) else { return };
        let Some(end) = connection.end_of(from) else { return };
        let to = connection.process[end.other() as usize].member;
        let Ok((_, PeerFrame::Raft(message))) = PeerFrame::decode(bytes) else { return };
        if let Some(text) = told(&message) {
            self.tell(|| format!("{} → {to}: {text}", from.member));
        }
    }
}
