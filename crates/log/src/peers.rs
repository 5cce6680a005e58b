//! Whom the member has met: each peer's incarnation, so that one that lost its
//! disk is noticed.

use crate::disk::Disk;
use crate::identity::write_peers;
use crate::log::Log;
use driftless_raft::NodeId;
use std::collections::BTreeMap;
use std::io;

impl<D: Disk> Log<D> {
    /// Remembers the incarnation of a peer's data directory, durably. After an
    /// error what was known before still is.
    pub fn remember_peer(&mut self, peer: NodeId, incarnation: u64) -> io::Result<()> {
        if self.peers.get(&peer) == Some(&incarnation) {
            return Ok(());
        }
        let mut peers = self.peers.clone();
        peers.insert(peer, incarnation);
        write_peers(&self.disk, &peers)?;
        self.peers = peers;
        Ok(())
    }

    /// The incarnations of all peers met so far.
    pub fn known_peers(&self) -> &BTreeMap<NodeId, u64> {
        &self.peers
    }
}
