//! Who the directory belongs to, and whom its member has met.

use crate::api::Identity;
use crate::disk::Disk;
use crate::error::{Damage, OpenError};
use crate::twin;
use driftless_raft::NodeId;
use std::collections::BTreeMap;
use std::io;

pub(crate) const IDENTITY: &str = "identity";
pub(crate) const PEERS: &str = "peers";

/// The file `identity` is the last step of creating a log: with it there is one.
pub(crate) fn exists<D: Disk>(disk: &D) -> io::Result<bool> {
    Ok(disk.list("")?.iter().any(|name| name == IDENTITY))
}

pub(crate) fn write_identity<D: Disk>(disk: &D, identity: &Identity) -> io::Result<()> {
    let mut content = Vec::with_capacity(24);
    content.extend_from_slice(&identity.cluster_id.to_le_bytes());
    content.extend_from_slice(&identity.node_id.0.to_le_bytes());
    content.extend_from_slice(&identity.incarnation.to_le_bytes());
    twin::replace(disk, IDENTITY, &content)
}

pub(crate) fn read_identity<D: Disk>(disk: &D) -> Result<Identity, OpenError> {
    let content = twin::read(disk, IDENTITY)?;
    let words = words(IDENTITY, &content)?;
    let &[cluster_id, node_id, incarnation] = words.as_slice() else {
        return Err(wrong_length(IDENTITY).into());
    };
    Ok(Identity { cluster_id, node_id: NodeId(node_id), incarnation })
}

pub(crate) fn write_peers<D: Disk>(disk: &D, peers: &BTreeMap<NodeId, u64>) -> io::Result<()> {
    let mut content = Vec::with_capacity(16 * peers.len());
    for (peer, incarnation) in peers {
        content.extend_from_slice(&peer.0.to_le_bytes());
        content.extend_from_slice(&incarnation.to_le_bytes());
    }
    twin::replace(disk, PEERS, &content)
}

pub(crate) fn read_peers<D: Disk>(disk: &D) -> Result<BTreeMap<NodeId, u64>, OpenError> {
    let content = match twin::read(disk, PEERS) {
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Damage { file: PEERS.to_owned(), offset: 0, what: "it is missing" }.into());
        }
        other => other?,
    };
    let words = words(PEERS, &content)?;
    if !words.len().is_multiple_of(2) {
        return Err(wrong_length(PEERS).into());
    }
    Ok(words.chunks_exact(2).map(|pair| (NodeId(pair[0]), pair[1])).collect())
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
