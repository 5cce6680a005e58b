//! Who is at the other end of each link: the peer handshake.
//!
//! Each member dials every other and sends on the link it dialled; the other
//! end only reads from it. The first frame is a hello, the only frame back its
//! answer. Both ends hold the other to the incarnation that they first knew it
//! with, and remember that durably before a word is believed.

use crate::acquaintance::Acquaintance;
use crate::dialling::{Dialling, Who};
use crate::port::{Action, Frame, FrameFault, LinkId, LogJob, Report, StopReason};
use driftless_codec::PeerFrame;
use driftless_codec::frame::{DiskId, Hello, HelloRefusal, HelloReply, Standing};
use driftless_log::{Identity, KnownPeer};
use driftless_raft::{GroupId, NodeId, Time};
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
    /// Tells this process from others on the same data directory.
    nonce: u64,
    /// What this member promises a leader that it hears; callees are told.
    promise_us: u64,
    /// What callers have said of theirs.
    promises: BTreeMap<NodeId, u64>,
    group: GroupId,
    pub(crate) acquaintance: Acquaintance,
    dialling: Dialling,
    /// Where callees are told that this member is reached.
    own_address: String,
    /// Links over which they were told another, earlier.
    outdated: BTreeSet<LinkId>,
    stages: BTreeMap<LinkId, Stage>,
    outbound: BTreeMap<NodeId, LinkId>,
    inbound: BTreeMap<NodeId, LinkId>,
    /// Who has refused our data directory, and has not talked to us since.
    refused_by: BTreeSet<NodeId>,
}

/// What a change of links means to the rest of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// A peer has called, and will be heard: it may have to be called back.
    Called(NodeId),
    /// Frames to this peer will be sent from now on.
    Reached(NodeId),
    /// A link with this peer is gone.
    Lost(NodeId),
}

impl Links {
    pub(crate) fn new(
        identity: Identity,
        (nonce, promise_us): (u64, u64),
        group: GroupId,
        known: BTreeMap<NodeId, KnownPeer>,
    ) -> Self {
        Self {
            identity,
            nonce,
            promise_us,
            promises: BTreeMap::new(),
            group,
            acquaintance: Acquaintance::new(known),
            dialling: Dialling::default(),
            own_address: String::new(),
            outdated: BTreeSet::new(),
            stages: BTreeMap::new(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            refused_by: BTreeSet::new(),
        }
    }

    pub(crate) fn accepted(&mut self, link: LinkId) {
        self.stages.insert(link, Stage::HelloDue);
    }

    pub(crate) fn connected(
        &mut self,
        link: LinkId,
        peer: NodeId,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) {
        self.stages.insert(link, Stage::ReplyDue { peer });
        let hello = PeerFrame::Hello(Hello {
            cluster_id: self.identity.cluster_id,
            node_id: self.identity.node_id,
            disk: self.disk(who),
            to: peer,
            address: who.own_address(),
            promise_us: self.promise_us,
        });
        self.write(link, &hello, actions);
    }

    /// What is behind our own name.
    fn disk(&self, who: Who<'_>) -> DiskId {
        let Identity { incarnation, boots, replacement, .. } = self.identity;
        let (membership, as_of) = who.committed;
        let standing = match (replacement, membership.readmitted.get(&who.me)) {
            (false, _) => Standing::First,
            (true, Some(taken_in)) if *taken_in == incarnation => Standing::Readmitted { as_of },
            (true, _) => Standing::Replacement,
        };
        DiskId { incarnation, boots, nonce: self.nonce, standing }
    }

    /// Dials and hangs up as the membership and the addresses want it. The changes
    /// are of links that were closed for it.
    pub(crate) fn follow(
        &mut self,
        now: Time,
        grace_us: u64,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Vec<Change> {
        // Also those of whom it is yet to be written down who they are.
        let caller = |stage: &Stage| match stage {
            Stage::Inbound { peer } | Stage::Remembering { peer, inbound: true } => Some(*peer),
            _ => None,
        };
        let callers = self.stages.values().filter_map(caller).collect();
        let gone = self.dialling.update(now, grace_us, who, &callers, actions);
        let links_with = |peer| [self.inbound.get(&peer), self.outbound.get(&peer)];
        let mut over: Vec<LinkId> =
            gone.into_iter().flat_map(links_with).flatten().copied().collect();
        over.extend(self.told_in_vain(who.own_address()));
        let close = |link| {
            actions.push(Action::Close { link });
            self.closed(link, actions)
        };
        over.into_iter().map(close).collect()
    }

    /// Links to peers that do not call this member and were told that it is reached where
    /// it may be no more: they may have no way to answer, and are to be called again.
    fn told_in_vain(&mut self, own_address: String) -> Vec<LinkId> {
        if own_address != self.own_address {
            self.own_address = own_address;
            let dialled = |stage: &Stage| match stage {
                Stage::ReplyDue { .. } | Stage::Outbound { .. } => true,
                Stage::Remembering { inbound, .. } => !inbound,
                Stage::HelloDue | Stage::Inbound { .. } => false,
            };
            let links = self.stages.iter().filter(|(_, stage)| dialled(stage));
            self.outdated.extend(links.map(|(link, _)| *link));
        }
        self.outdated.retain(|link| self.stages.contains_key(link));
        let in_vain = |link: &&LinkId| match self.stages.get(link) {
            Some(Stage::Outbound { peer }) => !self.inbound.contains_key(peer),
            _ => false,
        };
        self.outdated.iter().filter(in_vain).copied().collect()
    }

    /// Whether time is to bring something to links.
    pub(crate) fn is_idle(&self) -> bool {
        self.dialling.is_idle()
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

    /// What a peer said, when it called last, that its hearing a leader is worth.
    pub(crate) fn promise_of(&self, peer: NodeId) -> u64 {
        self.promises.get(&peer).copied().unwrap_or(0)
    }

    pub(crate) fn reaches(&self, peer: NodeId) -> bool {
        self.outbound.contains_key(&peer)
    }

    /// Whether frames can go to this peer and come from it.
    pub(crate) fn converses_with(&self, peer: NodeId) -> bool {
        self.outbound.contains_key(&peer) && self.inbound.contains_key(&peer)
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
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        match (self.stages.get(&link), frame) {
            (Some(Stage::HelloDue), PeerFrame::Hello(hello)) => {
                self.on_hello(link, hello, who, actions)
            }
            (Some(Stage::HelloDue), PeerFrame::Lookup { address }) => {
                self.on_lookup(link, address, who, actions);
                Change::None
            }
            (Some(Stage::ReplyDue { peer }), PeerFrame::HelloReply(reply)) => {
                let peer = *peer;
                self.on_reply(link, peer, reply, who, actions)
            }
            _ => self.close(link, FrameFault::OutOfTurn, actions),
        }
    }

    fn on_hello(
        &mut self,
        link: LinkId,
        hello: &Hello,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        let caller = hello.node_id;
        let refusal = if hello.cluster_id != self.identity.cluster_id {
            Some(HelloRefusal::Cluster)
        } else if hello.to != who.me {
            Some(HelloRefusal::NotMe)
        } else if caller == who.me {
            Some(HelloRefusal::NotAMember)
        } else if who.is_gone(caller) {
            Some(HelloRefusal::Removed)
        } else {
            // Others may be members of a membership that we do not have yet (§6: a
            // server takes entries of a leader that it does not know).
            self.acquaintance.judge(caller, hello.disk, (who.in_force, who.in_force_at))
        };
        if let Some(refusal) = refusal {
            actions.push(Action::Report(Report::CallerRefused { caller, refusal }));
            self.reply(link, Some(refusal), who, actions);
            actions.push(Action::Close { link });
            self.stages.remove(&link);
            return Change::None;
        }
        self.dialling.return_address(caller, &hello.address);
        self.promises.insert(caller, hello.promise_us);
        self.know(link, caller, hello.disk, true, who, actions)
    }

    fn on_reply(
        &mut self,
        link: LinkId,
        peer: NodeId,
        reply: &HelloReply,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        if let Some(refusal) = reply.refusal {
            return self.refused(link, (peer, reply.cluster_id), refusal, who, actions);
        }
        let same_cluster = reply.cluster_id == self.identity.cluster_id;
        let right = reply.node_id == peer && same_cluster;
        let fault = right
            .then(|| self.acquaintance.judge(peer, reply.disk, (who.in_force, who.in_force_at)));
        if fault != Some(None) {
            actions.push(Action::Report(match fault {
                Some(Some(HelloRefusal::OlderDisk)) => Report::PeerHasAnOlderDisk { peer },
                Some(_) => Report::PeerLostItsDisk { peer },
                None => Report::WrongPeer {
                    peer,
                    answered: reply.node_id,
                    cluster_id: reply.cluster_id,
                },
            }));
            // It may be that nobody whom it calls itself can tell it.
            if let Some(refusal) = fault.flatten() {
                self.reply(link, Some(refusal), who, actions);
            }
            actions.push(Action::Close { link });
            self.stages.remove(&link);
            return Change::None;
        }
        self.know(link, peer, reply.disk, false, who, actions)
    }

    /// A peer takes us for somebody else than we were, whichever of us called.
    fn refused(
        &mut self,
        link: LinkId,
        (peer, cluster_id): (NodeId, u64),
        refusal: HelloRefusal,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        actions.push(Action::Report(Report::RefusedBy { peer, refusal }));
        actions.push(Action::Close { link });
        let change = self.closed(link, actions);
        // Only a member of our own cluster can know what we were.
        let stop = match refusal {
            _ if cluster_id != self.identity.cluster_id => None,
            HelloRefusal::Removed => Some(StopReason::Removed),
            HelloRefusal::OlderDisk => Some(StopReason::OlderDisk { peer }),
            HelloRefusal::Incarnation => {
                self.refused_by.insert(peer);
                let is_unknown = match self.disk(who).standing {
                    Standing::First => true,
                    // One that is to be brought back waits for that.
                    Standing::Replacement => false,
                    // Who refuses one that was taken back may only not have heard of that
                    // yet; but a quorum has.
                    Standing::Readmitted { .. } => {
                        !who.in_force.is_quorum(|id| !self.refused_by.contains(&id))
                    }
                };
                is_unknown.then_some(StopReason::UnknownIncarnation { peer })
            }
            _ => None,
        };
        actions.extend(stop.map(Action::Stop));
        change
    }

    /// A member that called us refuses us, now that it knows who answered. It is heard
    /// if it is a member as far as we know; or if we know nothing (`is_blank`), for then
    /// our own idea of who is a member may be that of the very beginning.
    pub(crate) fn refused_by_caller(
        &mut self,
        link: LinkId,
        reply: &HelloReply,
        is_blank: bool,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        let of_disk =
            |it: &HelloRefusal| matches!(it, HelloRefusal::Incarnation | HelloRefusal::OlderDisk);
        match (self.sender(link), reply.refusal.filter(of_disk)) {
            (Some(peer), Some(refusal))
                if peer == reply.node_id && (is_blank || who.in_force.contains(peer)) =>
            {
                self.refused(link, (peer, reply.cluster_id), refusal, who, actions)
            }
            _ => self.close(link, FrameFault::OutOfTurn, actions),
        }
    }

    /// Somebody who knows an address only wants to know the rest.
    fn on_lookup(&mut self, link: LinkId, own: &str, who: Who<'_>, actions: &mut Vec<Action>) {
        let membership = who.roster.membership().clone();
        let addresses: BTreeMap<NodeId, String> =
            membership.iter().filter_map(|id| Some((id, who.address(id)?.to_owned()))).collect();
        let parts = |addresses: &str| {
            let parts = addresses.split(',').map(|part| part.trim().trim_end_matches('/'));
            parts.filter(|part| !part.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let own = parts(own);
        let goes_by = |(_, address): &(&NodeId, &String)| !own.is_disjoint(&parts(address));
        let member = addresses.iter().find(goes_by).map(|(id, _)| *id);
        let cluster_id = self.identity.cluster_id;
        let reply = PeerFrame::LookupReply { cluster_id, member, membership, addresses };
        self.write(link, &reply, actions);
        actions.push(Action::Close { link });
        self.stages.remove(&link);
    }

    /// Goes on at once with a peer that is as we know it; else it is written down
    /// first what it is now.
    fn know(
        &mut self,
        link: LinkId,
        peer: NodeId,
        disk: DiskId,
        inbound: bool,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        if let Some(known) = self.acquaintance.meet(peer, disk) {
            actions.push(Action::Log(LogJob::RememberPeer { peer, known }));
        }
        if self.acquaintance.is_unwritten(peer) {
            self.stages.insert(link, Stage::Remembering { peer, inbound });
            return Change::None;
        }
        self.open(link, peer, inbound, who, actions)
    }

    /// What is known of the peer is on disk: its links may go on.
    pub(crate) fn remembered(
        &mut self,
        peer: NodeId,
        known: KnownPeer,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Vec<Change> {
        if !self.acquaintance.written(peer, known) {
            return Vec::new();
        }
        let waiting: Vec<(LinkId, bool)> = self
            .stages
            .iter()
            .filter_map(|(link, stage)| match stage {
                Stage::Remembering { peer: p, inbound } if *p == peer => Some((*link, *inbound)),
                _ => None,
            })
            .collect();
        let open = |(link, inbound)| self.open(link, peer, inbound, who, actions);
        waiting.into_iter().map(open).collect()
    }

    fn open(
        &mut self,
        link: LinkId,
        peer: NodeId,
        inbound: bool,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) -> Change {
        let stage = if inbound { Stage::Inbound { peer } } else { Stage::Outbound { peer } };
        self.stages.insert(link, stage);
        self.refused_by.remove(&peer);
        let current = if inbound { &mut self.inbound } else { &mut self.outbound };
        if let Some(older) = current.insert(peer, link) {
            // The newer link is the one that lives; what the older one still
            // brings could be older than what the newer one brought.
            self.stages.remove(&older);
            actions.push(Action::Close { link: older });
        }
        if inbound {
            self.reply(link, None, who, actions);
            return Change::Called(peer);
        }
        actions.push(Action::Report(Report::PeerReached { peer }));
        Change::Reached(peer)
    }

    fn reply(
        &self,
        link: LinkId,
        refusal: Option<HelloRefusal>,
        who: Who<'_>,
        actions: &mut Vec<Action>,
    ) {
        let reply = PeerFrame::HelloReply(HelloReply {
            cluster_id: self.identity.cluster_id,
            node_id: self.identity.node_id,
            disk: self.disk(who),
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
