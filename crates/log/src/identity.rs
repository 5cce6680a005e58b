//! Who the directory belongs to, and whom its member has met.

use crate::api::{Identity, KnownPeer};
use crate::disk::Disk;
use crate::error::{Damage, OpenError};
use crate::log::Log;
use crate::twin;
use driftless_raft::NodeId;
use std::collections::BTreeMap;
use std::io;

pub(crate) const IDENTITY: &str = "identity";
pub(crate) const PEERS: &str = "peers";
pub(crate) const BOOTS: &str = "boots";

impl<D: Disk> Log<D> {
    /// Writes down, durably and before it happens, for how long this life of the member
    /// may promise to help nobody into office. It takes no room on the disk.
    pub fn owe(&mut self, owed_us: u64) -> io::Result<()> {
        let identity = Identity { owed_us, ..self.identity.clone() };
        if identity != self.identity {
            write_boots(&self.disk, &identity)?;
            self.identity = identity;
        }
        Ok(())
    }
}

/// The file `identity` is the last step of creating a log: with it there is one.
pub(crate) fn exists<D: Disk>(disk: &D) -> io::Result<bool> {
    Ok(disk.list("")?.iter().any(|name| name == IDENTITY))
}

pub(crate) fn write_identity<D: Disk>(disk: &D, identity: &Identity) -> io::Result<()> {
    let Identity { cluster_id, node_id, incarnation, boots: _, replacement, owed_us: _ } = identity;
    let content = [*cluster_id, node_id.0, *incarnation, u64::from(*replacement)];
    twin::replace(disk, IDENTITY, &bytes(content))
}

/// Reads all of it, with what [`write_boots`] wrote last.
pub(crate) fn read_identity<D: Disk>(disk: &D) -> Result<Identity, OpenError> {
    let content = twin::read(disk, IDENTITY)?;
    let words_here = words(IDENTITY, &content)?;
    let &[cluster_id, node_id, incarnation, replacement] = words_here.as_slice() else {
        return Err(wrong_length(IDENTITY).into());
    };
    let content = read_present(disk, BOOTS)?;
    let (boots, owed_us) = match *words(BOOTS, &content)?.as_slice() {
        // As it was before there were leases.
        [boots] => (boots, 0),
        [boots, owed_us] => (boots, owed_us),
        _ => return Err(wrong_length(BOOTS).into()),
    };
    let (node_id, replacement) = (NodeId(node_id), replacement != 0);
    Ok(Identity { cluster_id, node_id, incarnation, boots, replacement, owed_us })
}

/// Makes the file, before there is an identity.
pub(crate) fn create_boots<D: Disk>(disk: &D, identity: &Identity) -> io::Result<()> {
    twin::replace(disk, BOOTS, &bytes([identity.boots, identity.owed_us]))
}

/// Counts a start, or says what is owed, also on a disk that is full: it is a page,
/// whatever is in it.
pub(crate) fn write_boots<D: Disk>(disk: &D, identity: &Identity) -> io::Result<()> {
    twin::rewrite(disk, BOOTS, &bytes([identity.boots, identity.owed_us]))
}

pub(crate) fn write_peers<D: Disk>(
    disk: &D,
    peers: &BTreeMap<NodeId, KnownPeer>,
) -> io::Result<()> {
    twin::replace(disk, PEERS, &peer_rows(peers))
}

/// The same with as many peers as there are in the file: also on a full disk.
pub(crate) fn rewrite_peers<D: Disk>(
    disk: &D,
    peers: &BTreeMap<NodeId, KnownPeer>,
) -> io::Result<()> {
    twin::rewrite(disk, PEERS, &peer_rows(peers))
}

fn peer_rows(peers: &BTreeMap<NodeId, KnownPeer>) -> Vec<u8> {
    let row = |(id, peer): (&NodeId, &KnownPeer)| [id.0, peer.incarnation, peer.boots, peer.nonce];
    bytes(peers.iter().flat_map(row))
}

pub(crate) fn read_peers<D: Disk>(disk: &D) -> Result<BTreeMap<NodeId, KnownPeer>, OpenError> {
    let content = read_present(disk, PEERS)?;
    let words = words(PEERS, &content)?;
    if !words.len().is_multiple_of(4) {
        return Err(wrong_length(PEERS).into());
    }
    let peer = |row: &[u64]| {
        (NodeId(row[0]), KnownPeer { incarnation: row[1], boots: row[2], nonce: row[3] })
    };
    Ok(words.chunks_exact(4).map(peer).collect())
}

/// A file that was there before the identity was.
fn read_present<D: Disk>(disk: &D, name: &str) -> Result<Vec<u8>, OpenError> {
    match twin::read(disk, name) {
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(Damage { file: name.to_owned(), offset: 0, what: "it is missing" }.into())
        }
        other => other,
    }
}

fn bytes(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn words(file: &str, content: &[u8]) -> Result<Vec<u64>, Damage> {
    if !content.len().is_multiple_of(8) {
        return Err(wrong_length(file));
    }
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    Ok(content.chunks_exact(8).map(word).collect())
}

fn wrong_length(file: &str) -> Damage {
    Damage { file: file.to_owned(), offset: 0, what: "its length is impossible" }
}
