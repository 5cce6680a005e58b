//! How a process that knows only addresses learns which cluster answers there,
//! and who it is in it itself.

use crate::address::hosts;
use crate::builder::ClusterId;
use crate::storage::GROUP;
use driftless_node::Members;
use driftless_node::codec::PeerFrame;
use driftless_node::codec::frame::{HEADER_BYTES, frame_len};
use driftless_node::raft::NodeId;
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Each address is given this long to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is believed.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Which cluster it is.
    pub cluster_id: ClusterId,
    /// The member that goes by the asker's own address, if any.
    pub member: Option<NodeId>,
    /// Its members, as whoever answered has applied it.
    pub members: Members,
}

/// Why no cluster was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum LookupError {
    /// No address was given.
    NoAddress,
    /// None of them answered; this is what the last of them did instead.
    NoAnswer {
        /// The last address.
        address: String,
        /// What happened there.
        error: io::Error,
    },
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("no peer address of a member of the cluster is given"),
            Self::NoAnswer { address, error } => write!(
                f,
                "no member of the cluster answers; at {address}: {error}; \
                 check the peer addresses and that the cluster runs"
            ),
        }
    }
}

impl std::error::Error for LookupError {}

/// Asks the members at `addresses` (each as for [`Builder::member`](crate::Builder))
/// who they are, until one answers, and which of them goes by the address `own`.
pub async fn lookup(addresses: &[String], own: &str) -> Result<Found, LookupError> {
    let mut refused = LookupError::NoAddress;
    for address in addresses.iter().flat_map(|address| hosts(address)) {
        let error = match timeout(PATIENCE, ask(address, own)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        refused = LookupError::NoAnswer { address: address.to_owned(), error };
    }
    Err(refused)
}

async fn ask(address: &str, own: &str) -> io::Result<Found> {
    let mut stream = TcpStream::connect(address).await?;
    let question = PeerFrame::Lookup { address: own.to_owned() };
    stream.write_all(&question.encode(GROUP).concat()).await?;
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let length = frame_len(&header).map_err(|error| invalid(error.to_string()))?;
    if length > ANSWER_BYTES_MAX {
        return Err(invalid(format!("an answer of {length} bytes is announced")));
    }
    let mut frame = vec![0; length];
    frame[..HEADER_BYTES].copy_from_slice(&header);
    stream.read_exact(&mut frame[HEADER_BYTES..]).await?;
    match PeerFrame::decode(&frame.into()) {
        Ok((_, PeerFrame::LookupReply { cluster_id, member, membership, addresses })) => {
            let address = |id| addresses.get(&id).cloned();
            let members = Members::of(&membership, address);
            Ok(Found { cluster_id: ClusterId(cluster_id), member, members })
        }
        Ok(_) => Err(invalid("what answers there is no member's peer port".into())),
        Err(error) => Err(invalid(error.to_string())),
    }
}
