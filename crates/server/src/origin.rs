//! Who a member is, and how it begins: from its options, from its data directory,
//! or from the members of the cluster that it joins.

use crate::config::{InitialMember, ServeConfig, Url};
use crate::pb;
use crate::serve::ServeError;
use crate::service::{Identity, urls_of};
use driftless::{ClusterId, Found, LookupError, MemberKind, NodeId, lookup, owner_of};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What a member with a new data directory begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// A member of the cluster that `--initial-cluster` describes.
    Founding,
    /// One that was added to a running cluster.
    Joining,
    /// One that lost its disk.
    Replacing,
}

/// Who this member is.
pub(crate) struct Origin {
    pub(crate) identity: Identity,
    pub(crate) begins: Begins,
    /// Whether the others know it as a witness, as far as they were asked.
    pub(crate) is_witness: bool,
    /// Where members are reached, itself included, as far as the options say.
    pub(crate) addresses: BTreeMap<NodeId, String>,
}

/// Why nobody can say who this member is.
#[derive(Debug)]
#[non_exhaustive]
pub enum OriginError {
    /// None of the other members named answers.
    NoAnswer {
        /// What the last one did instead.
        error: LookupError,
    },
    /// They answer, and know no member with this one's URLs.
    NotAdded {
        /// This member's name.
        name: String,
        /// Its peer URLs.
        peer_urls: String,
        /// Their cluster.
        cluster_id: u64,
    },
    /// The data directory is of another member than the one with these URLs.
    AnotherMember {
        /// The directory.
        directory: PathBuf,
        /// This member's peer URLs.
        peer_urls: String,
        /// Whose it is.
        found: u64,
        /// Whose the URLs are.
        expected: u64,
    },
    /// The data directory is of another cluster than that of the members named.
    AnotherCluster {
        /// The directory.
        directory: PathBuf,
        /// Of which it is.
        found: u64,
        /// Which of them answers.
        expected: u64,
    },
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { error: LookupError::NoAddress } => f.write_str(
                "--initial-cluster-state is existing, but --initial-cluster names no member \
                 besides this one: name those that run, or leave the state out to begin a new \
                 cluster",
            ),
            Self::NoAnswer { error } => write!(
                f,
                "this member is to join an existing cluster (--initial-cluster-state), and none \
                 of the others in --initial-cluster answers: {error}"
            ),
            Self::NotAdded { name, peer_urls, cluster_id } => write!(
                f,
                "the cluster {cluster_id:x} knows no member with the peer URL {peer_urls}: first \
                 say there `driftless member add {name} --peer-urls {peer_urls}` (or the same to \
                 etcdctl), then start this member again"
            ),
            Self::AnotherMember { directory, peer_urls, found, expected } => write!(
                f,
                "the data directory {} belongs to member {found:x}, but the member with the peer \
                 URL {peer_urls} is {expected:x}: start this member with its own --data-dir, or \
                 with an empty one if it was added anew",
                directory.display()
            ),
            Self::AnotherCluster { directory, found, expected } => write!(
                f,
                "the data directory {} belongs to another cluster: to {found:x}, and the members \
                 in --initial-cluster are of {expected:x}. Choose another --data-dir to join \
                 theirs",
                directory.display()
            ),
        }
    }
}

impl std::error::Error for OriginError {}

/// Finds out who this member is.
pub(crate) async fn origin(config: &ServeConfig) -> Result<Origin, ServeError> {
    if !config.existing {
        let begins = if config.replace_lost_disk { Begins::Replacing } else { Begins::Founding };
        return Ok(founding(config, begins));
    }
    let owner = owner_of(&config.data_dir).map_err(|error| {
        let directory = config.data_dir.clone();
        ServeError::Start(driftless::StartError::Data { directory, error })
    })?;
    match owner {
        Some((cluster_id, node_id)) => going_on(config, cluster_id, node_id).await,
        None => joining(config).await,
    }
}

/// A member as `--initial-cluster` describes it.
fn founding(config: &ServeConfig, begins: Begins) -> Origin {
    let cluster = &config.initial_cluster;
    let own = cluster.member(&config.name).expect("checked when the configuration was read");
    let members = cluster.members.iter().map(|member| pb::Member {
        id: member.id,
        name: member.name.clone(),
        peer_urls: strings(&member.peer_urls),
        client_urls: if member.id == own.id {
            strings(&config.advertise_client_urls)
        } else {
            Vec::new()
        },
        ..pb::Member::default()
    });
    let members: Vec<_> = members.collect();
    let address = |member: &pb::Member| (NodeId(member.id), member.peer_urls.join(","));
    let addresses = members.iter().map(address).collect();
    let identity = Identity { cluster_id: cluster.id, member_id: own.id, members };
    Origin { identity, begins, is_witness: false, addresses }
}

/// A member that its data directory knows. The others are asked only to notice
/// mistakes, and not for long: perhaps all of them start at this moment.
async fn going_on(
    config: &ServeConfig,
    cluster_id: ClusterId,
    node_id: NodeId,
) -> Result<Origin, ServeError> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let found = timeout(PATIENCE, ask(config)).await;
    let mut is_witness = false;
    if let Ok(Ok(found)) = found {
        is_witness = knows_as_witness(&found, node_id);
        let directory = config.data_dir.clone();
        if found.cluster_id != cluster_id {
            let (found, expected) = (cluster_id.0, found.cluster_id.0);
            return Err(OriginError::AnotherCluster { directory, found, expected }.into());
        }
        if let Some(expected) = found.member.filter(|expected| *expected != node_id) {
            let (found, expected) = (node_id.0, expected.0);
            let peer_urls = own_urls(config).join(",");
            return Err(OriginError::AnotherMember { directory, peer_urls, found, expected }.into());
        }
    }
    let mut origin = founding(config, Begins::Joining);
    // What the options say of ids holds for those who founded the cluster.
    origin.addresses.insert(node_id, own_urls(config).join(","));
    origin.identity.cluster_id = cluster_id.0;
    origin.identity.member_id = node_id.0;
    origin.is_witness = is_witness;
    Ok(origin)
}

/// A new member of a cluster that runs.
async fn joining(config: &ServeConfig) -> Result<Origin, ServeError> {
    // Whoever answers may not have heard yet that this member was added.
    const ATTEMPTS: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(300);
    let mut attempt = 0;
    let (found, node_id) = loop {
        attempt += 1;
        let found = ask(config).await.map_err(|error| OriginError::NoAnswer { error })?;
        if let Some(node_id) = found.member {
            break (found, node_id);
        }
        if attempt == ATTEMPTS {
            return Err(OriginError::NotAdded {
                name: config.name.clone(),
                peer_urls: own_urls(config).join(","),
                cluster_id: found.cluster_id.0,
            }
            .into());
        }
        sleep(PAUSE).await;
    };
    let address = |(id, member): (&NodeId, &driftless::Member)| {
        member.address.clone().map(|address| (*id, address))
    };
    let mut addresses: BTreeMap<_, _> = found.members.members.iter().filter_map(address).collect();
    addresses.insert(node_id, own_urls(config).join(","));
    let member = |id: &NodeId| {
        let urls = addresses.get(id).map(|address| urls_of(address));
        let own = *id == node_id;
        let urls = urls.unwrap_or_default();
        pb::Member {
            id: id.0,
            name: if own { config.name.clone() } else { name_of(config, &urls) },
            peer_urls: urls,
            client_urls: if own { strings(&config.advertise_client_urls) } else { Vec::new() },
            ..pb::Member::default()
        }
    };
    let mut ids: Vec<_> = found.members.members.keys().copied().collect();
    ids.push(node_id);
    ids.sort_unstable();
    ids.dedup();
    let members = ids.iter().map(member).collect();
    let cluster_id = found.cluster_id.0;
    let begins = if config.replace_lost_disk { Begins::Replacing } else { Begins::Joining };
    let identity = Identity { cluster_id, member_id: node_id.0, members };
    let is_witness = knows_as_witness(&found, node_id);
    Ok(Origin { identity, begins, is_witness, addresses })
}

/// What `--initial-cluster` calls the member with one of these URLs, if it names it.
fn name_of(config: &ServeConfig, urls: &[String]) -> String {
    let is_it =
        |named: &&InitialMember| strings(&named.peer_urls).iter().any(|url| urls.contains(url));
    let named = config.initial_cluster.members.iter().find(is_it);
    named.map(|named| named.name.clone()).unwrap_or_default()
}

fn knows_as_witness(found: &Found, node_id: NodeId) -> bool {
    let known = found.members.members.get(&node_id);
    known.is_some_and(|member| member.kind == MemberKind::Witness)
}

/// Asks the other members who this one is; one that knows counts before one that
/// does not.
async fn ask(config: &ServeConfig) -> Result<Found, LookupError> {
    let own = own_urls(config).join(",");
    let others = config.initial_cluster.members.iter().filter(|other| other.name != config.name);
    let mut best = Err(LookupError::NoAddress);
    for other in others {
        match lookup(&[strings(&other.peer_urls).join(",")], &own).await {
            Ok(found) if found.member.is_some() => return Ok(found),
            Ok(found) => best = Ok(found),
            Err(error) if best.is_err() => best = Err(error),
            Err(_) => {}
        }
    }
    best
}

/// This member's peer URLs, as it advertises them.
fn own_urls(config: &ServeConfig) -> Vec<String> {
    let own = config.initial_cluster.member(&config.name);
    let mut urls = strings(&own.expect("checked when the configuration was read").peer_urls);
    urls.sort();
    urls
}

fn strings(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}
