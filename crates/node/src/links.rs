//! Who is at the other end of each link: the peer handshake.
//!
//! Each member dials every other and sends on the link it dialled; the other
//! end only reads from it. The first frame is a hello, the only frame back its
//! answer. Both ends hold the other to the incarnation that they first knew it
//! with, and remember that durably before a word is believed.

use crate::port::{Action, Frame, FrameFault, LinkId, LogJob, Report, StopReason};
use driftless_codec::PeerFrame;
use driftless_codec::frame::{DiskId, Hello, HelloRefusal, HelloReply, Standing};
use driftless_log::{Identity, KnownPeer};
use driftless_raft::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// How far a link's handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Dialled by them: their hello is due.
    HelloDue,
    /// Dialled by us: the answer to our hello is due.
    ReplyDue { peer: NodeId },
    /// The peer's incarnation is being written down.
    Remembering { peer: NodeId, inbound: bool },
    /// We read from it.
    Inbound { peer: NodeId },
    /// We write to it.
    Outbound { peer: NodeId },
}

#[derive(Debug)]
pub(crate) struct Links {
    identity: Identity,
    group: GroupId,
    members: Vec<NodeId>,
    /// The incarnation that each peer was first met with: whoever comes with
    /// another is refused, also while it is still being written down.
    known: BTreeMap<NodeId, KnownPeer>,
    /// Those of them that are not on disk yet.
    unwritten: BTreeSet<NodeId>,
    stages: BTreeMap<LinkId, Stage>,
    outbound: BTreeMap<NodeId, LinkId>,
    inbound: BTreeMap<NodeId, LinkId>,
}

/// What a change of links means to the rest of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Frames to this peer will be sent from now on.
    Reached(NodeId),
    /// A link with this peer is gone.
    Lost(NodeId),
}

impl Links {
    pub(crate) fn new(
        identity: Identity,
        group: GroupId,
        members: Vec<NodeId>,
        known: BTreeMap<NodeId, KnownPeer>,
    ) -> Self {
        Self {
            identity,
            group,
            members,
            known,
            unwritten: BTreeSet::new(),
            stages: BTreeMap::new(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
        }
    }

    pub(crate) fn accepted(&mut self, link: LinkId) {
        self.stages.insert(link, Stage::HelloDue);
    }

    pub(crate) fn connected(&mut self, link: LinkId, peer: NodeId, actions: &mut Vec<Action>) {
        self.stages.insert(link, Stage::ReplyDue { peer });
        let hello = PeerFrame::Hello(Hello {
            cluster_id: self.identity.cluster_id,
            node_id: self.identity.node_id,
            disk: self.disk(),
            to: peer,
            address: String::new(),
        });
        self.write(link, &hello, actions);
    }

    fn disk(&self) -> DiskId {
        let Identity { incarnation, boots, .. } = self.identity;
        DiskId { incarnation, boots, nonce: 0, standing: Standing::First }
    }

    /// The peer whose frames this link brings, once its handshake is done.
    pub(crate) fn sender(&self, link: LinkId) -> Option<NodeId> {
        match self.stages.get(&link) {
            Some(Stage::Inbound { peer }) => Some(*peer),
            _ => None,
        }
    }

    /// Whether this node still has anything to do with `link`.
    pub(crate) fn is_open(&self, link: LinkId) -> bool {
        self.stages.contains_key(&link)
    }

    pub(crate) fn reaches(&self, peer: NodeId) -> bool {
        self.outbound.contains_key(&peer)
    }

    /// Sends, if there is a link; a frame may always be lost.
    pub(crate) fn send(&self, peer: NodeId, frame: &PeerFrame, actions: &mut Vec<Action>) {
        if let Some(link) = self.outbound.get(&peer) {
            self.write(*link, frame, actions);
        }
    }

    /// The same with a frame that is encoded already.
    pub(crate) fn send_frame(&self, peer: NodeId, frame: Frame, actions: &mut Vec<Action>) {
        if let Some(&link) = self.outbound.get(&peer) {
            actions.push(Action::Write { link, frame });
        }
    }

    fn write(&self, link: LinkId, frame: &PeerFrame, actions: &mut Vec<Action>) {
        actions.push(Action::Write { link, frame: Frame { parts: frame.encode(self.group) } });
    }

    /// A frame on a link whose handshake is not done.
    pub(crate) fn shake(
        &mut self,
        link: LinkId,
        frame: &PeerFrame,
        actions: &mut Vec<Action>,
    ) -> Change {
        match (self.stages.get(&link), frame) {
            (Some(Stage::HelloDue), PeerFrame::Hello(hello)) => self.on_hello(link, hello, actions),
            (Some(Stage::ReplyDue { peer }), PeerFrame::HelloReply(reply)) => {
                let peer = *peer;
                self.on_reply(link, peer, reply, actions)
            }
            _ => self.close(link, FrameFault::OutOfTurn, actions),
        }
    }

    fn on_hello(&mut self, link: LinkId, hello: &Hello, actions: &mut Vec<Action>) -> Change {
        let known = self.known.get(&hello.node_id).copied();
        let refusal = if hello.cluster_id != self.identity.cluster_id {
            Some(HelloRefusal::Cluster)
        } else if hello.to != self.identity.node_id {
            Some(HelloRefusal::NotMe)
        } else if !self.members.contains(&hello.node_id) || hello.node_id == self.identity.node_id {
            Some(HelloRefusal::NotAMember)
        } else if known.is_some_and(|known| known.incarnation != hello.disk.incarnation) {
            Some(HelloRefusal::Incarnation)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            actions.push(Action::Report(Report::CallerRefused { caller: hello.node_id, refusal }));
            self.reply(link, Some(refusal), actions);
            actions.push(Action::Close { link });
            self.stages.remove(&link);
            return Change::None;
        }
        self.know(link, hello.node_id, hello.disk, true, actions)
    }

    fn on_reply(
        &mut self,
        link: LinkId,
        peer: NodeId,
        reply: &HelloReply,
        actions: &mut Vec<Action>,
    ) -> Change {
        if let Some(refusal) = reply.refusal {
            actions.push(Action::Report(Report::RefusedBy { peer, refusal }));
            actions.push(Action::Close { link });
            self.stages.remove(&link);
            // Only a member of our own cluster can know what we were.
            if refusal == HelloRefusal::Incarnation && reply.cluster_id == self.identity.cluster_id
            {
                actions.push(Action::Stop(StopReason::UnknownIncarnation { peer }));
            }
            return Change::None;
        }
        let right = reply.node_id == peer && reply.cluster_id == self.identity.cluster_id;
        let known =
            self.known.get(&peer).is_none_or(|known| known.incarnation == reply.disk.incarnation);
        if !right || !known {
            actions.push(Action::Report(if right {
                Report::PeerLostItsDisk { peer }
            } else {
                Report::WrongPeer { peer, answered: reply.node_id, cluster_id: reply.cluster_id }
            }));
            actions.push(Action::Close { link });
            self.stages.remove(&link);
            return Change::None;
        }
        self.know(link, peer, reply.disk, false, actions)
    }

    /// Goes on at once with a known peer; else its incarnation is written down first.
    fn know(
        &mut self,
        link: LinkId,
        peer: NodeId,
        disk: DiskId,
        inbound: bool,
        actions: &mut Vec<Action>,
    ) -> Change {
        let DiskId { incarnation, boots, nonce, .. } = disk;
        let known = KnownPeer { incarnation, boots, nonce };
        if self.known.insert(peer, known).is_none() {
            self.unwritten.insert(peer);
            actions.push(Action::Log(LogJob::RememberPeer { peer, known }));
        }
        if self.unwritten.contains(&peer) {
            self.stages.insert(link, Stage::Remembering { peer, inbound });
            return Change::None;
        }
        self.open(link, peer, inbound, actions)
    }

    /// The peer's incarnation is on disk: its links may go on.
    pub(crate) fn remembered(&mut self, peer: NodeId, actions: &mut Vec<Action>) -> Vec<Change> {
        self.unwritten.remove(&peer);
        let waiting: Vec<(LinkId, bool)> = self
            .stages
            .iter()
            .filter_map(|(link, stage)| match stage {
                Stage::Remembering { peer: p, inbound } if *p == peer => Some((*link, *inbound)),
                _ => None,
            })
            .collect();
        let open = |(link, inbound)| self.open(link, peer, inbound, actions);
        waiting.into_iter().map(open).collect()
    }

    fn open(
        &mut self,
        link: LinkId,
        peer: NodeId,
        inbound: bool,
        actions: &mut Vec<Action>,
    ) -> Change {
        let stage = if inbound { Stage::Inbound { peer } } else { Stage::Outbound { peer } };
        self.stages.insert(link, stage);
        let current = if inbound { &mut self.inbound } else { &mut self.outbound };
        if let Some(older) = current.insert(peer, link) {
            // The newer link is the one that lives; what the older one still
            // brings could be older than what the newer one brought.
            self.stages.remove(&older);
            actions.push(Action::Close { link: older });
        }
        if inbound {
            self.reply(link, None, actions);
            return Change::None;
        }
        actions.push(Action::Report(Report::PeerReached { peer }));
        Change::Reached(peer)
    }

    fn reply(&self, link: LinkId, refusal: Option<HelloRefusal>, actions: &mut Vec<Action>) {
        let reply = PeerFrame::HelloReply(HelloReply {
            cluster_id: self.identity.cluster_id,
            node_id: self.identity.node_id,
            disk: self.disk(),
            refusal,
        });
        self.write(link, &reply, actions);
    }

    /// Closes a link over what came over it.
    pub(crate) fn close(
        &mut self,
        link: LinkId,
        error: FrameFault,
        actions: &mut Vec<Action>,
    ) -> Change {
        actions.push(Action::Report(Report::BadFrame { link, peer: self.peer(link), error }));
        actions.push(Action::Close { link });
        self.closed(link, actions)
    }

    fn peer(&self, link: LinkId) -> Option<NodeId> {
        match self.stages.get(&link)? {
            Stage::HelloDue => None,
            Stage::ReplyDue { peer }
            | Stage::Remembering { peer, .. }
            | Stage::Inbound { peer }
            | Stage::Outbound { peer } => Some(*peer),
        }
    }

    /// A link is gone.
    pub(crate) fn closed(&mut self, link: LinkId, actions: &mut Vec<Action>) -> Change {
        match self.stages.remove(&link) {
            Some(Stage::Inbound { peer }) => {
                self.inbound.remove(&peer);
                Change::Lost(peer)
            }
            // Only this one was reported when it came up.
            Some(Stage::Outbound { peer }) => {
                self.outbound.remove(&peer);
                actions.push(Action::Report(Report::PeerLost { peer }));
                Change::Lost(peer)
            }
            _ => Change::None,
        }
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
