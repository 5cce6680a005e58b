//! Why a node does not start, and why it ended: for people, with the remedy.

use driftless_node::StopReason;
use driftless_node::log::OpenError;
use driftless_node::raft::NodeId;
use std::path::PathBuf;
use std::{fmt, io};

/// Why a node was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// This member is not among those named.
    NotAMember {
        /// The member.
        node_id: NodeId,
    },
    /// The peer port cannot be listened on.
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The data directory cannot be made or entered.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What is in the data directory cannot be used.
    Data {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// The node refuses what it was given.
    Node(driftless_node::StartError),
    /// The system gives no thread or no randomness.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAMember { node_id } => write!(
                f,
                "member {:x} is not among the members named: add it with its own peer address",
                node_id.0
            ),
            Self::Listen { address, error } => match error.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "the peer address {address} is in use: \
                     stop the program that listens there, or choose another port"
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "the peer address {address} is not one of this machine: \
                     listen on one that is, or on 0.0.0.0"
                ),
                io::ErrorKind::InvalidInput => {
                    write!(f, "the peer address {address} is none: write it as host:port")
                }
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "listening on the peer address {address} is not permitted: \
                     choose a port above 1023"
                ),
                _ => write!(f, "cannot listen on the peer address {address}: {error}"),
            },
            Self::Directory { directory, error } => write!(
                f,
                "the data directory {} cannot be used: {error}; \
                 check the path, its owner and its permissions",
                directory.display()
            ),
            Self::Data { directory, error } => write!(f, "{}: {error}", directory.display()),
            Self::Node(error) => error.fmt(f),
            Self::System(error) => write!(f, "the system refuses what a node needs: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { error, .. } | Self::Directory { error, .. } | Self::System(error) => {
                Some(error)
            }
            Self::Data { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a node ended although nobody asked it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeFailure {
    /// It stopped by itself: going on could have broken a promise.
    Stopped(StopReason),
    /// It, or the state machine, panicked.
    Panicked,
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(reason) => reason.fmt(f),
            Self::Panicked => f.write_str(
                "the node panicked, which is a defect in it or in the state machine: \
                 the message on standard error says where",
            ),
        }
    }
}

impl std::error::Error for NodeFailure {}
