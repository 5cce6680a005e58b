//! Whom the member has met: which data directory each peer has, so that one that
//! lost its disk, or has an older copy of it, is noticed.

use crate::api::KnownPeer;
use crate::disk::Disk;
use crate::identity::{rewrite_peers, write_peers};
use crate::log::Log;
use driftless_raft::NodeId;
use std::collections::BTreeMap;
use std::io;

impl<D: Disk> Log<D> {
    /// Remembers what is known of a peer, durably. After an error what was known
    /// before still is. Other news of a peer that is known takes no room on the disk.
    pub fn remember_peer(&mut self, peer: NodeId, known: KnownPeer) -> io::Result<()> {
        if self.peers.get(&peer) == Some(&known) {
            return Ok(());
        }
        let mut peers = self.peers.clone();
        match peers.insert(peer, known) {
            Some(_) => rewrite_peers(&self.disk, &peers)?,
            None => write_peers(&self.disk, &peers)?,
        }
        self.peers = peers;
        Ok(())
    }

    /// All peers met so far.
    pub fn known_peers(&self) -> &BTreeMap<NodeId, KnownPeer> {
        &self.peers
    }
}
