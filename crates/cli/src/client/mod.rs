//! A client for people and scripts: `get`, `put`, `del`, `watch`, `status`,
//! `members`, `member`, `move-leader`.

mod cluster;
mod inspect;
mod keys;
mod members;
mod watch;

pub(crate) use cluster::{Endpoint, connect, describe, root_cause};
pub(crate) use keys::range_end_of_prefix;

use crate::failure::{Context, Failure};
use clap::{Args, Subcommand};
use cluster::Cluster;
use std::time::Duration;

/// The commands of the client.
#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    Get(keys::GetArguments),
    Put(keys::PutArguments),
    Del(keys::DelArguments),
    Watch(watch::WatchArguments),
    Status(inspect::StatusArguments),
    Members(inspect::MembersArguments),
    #[command(subcommand)]
    Member(members::MemberCommand),
    MoveLeader(members::MoveLeaderArguments),
}

/// Where the cluster is, and how to print what it says.
#[derive(Args)]
struct Connection {
    /// Members to talk to, HOST:PORT, several with commas; each is tried in turn
    ///
    /// The environment variable ETCDCTL_ENDPOINTS is read too, where neither the
    /// flag nor DRIFTLESS_ENDPOINTS is given.
    #[arg(
        long,
        env = "DRIFTLESS_ENDPOINTS",
        value_delimiter = ',',
        value_name = "ENDPOINTS",
        help_heading = "Connection"
    )]
    endpoints: Vec<Endpoint>,

    /// Give up on a member that has not answered for this many seconds
    #[arg(
        long,
        default_value = "5",
        value_name = "SECONDS",
        value_parser = seconds,
        help_heading = "Connection"
    )]
    timeout: Duration,

    /// Print JSON, one object a line
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Connection {
    fn cluster(&self) -> Result<Cluster, Failure> {
        let mut endpoints = self.endpoints.clone();
        if endpoints.is_empty()
            && let Ok(list) = std::env::var("ETCDCTL_ENDPOINTS")
        {
            for endpoint in list.split(',').filter(|endpoint| !endpoint.trim().is_empty()) {
                endpoints.push(endpoint.parse().context("ETCDCTL_ENDPOINTS")?);
            }
        }
        if endpoints.is_empty() {
            endpoints.push(Endpoint::default());
        }
        Ok(Cluster::new(endpoints, self.timeout))
    }
}

/// Parses a positive number of seconds, with a fraction if need be.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than 0 seconds".to_owned()),
    }
}

/// Runs one of them.
pub(crate) fn run(command: ClientCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        match command {
            ClientCommand::Get(arguments) => keys::get(&arguments).await,
            ClientCommand::Put(arguments) => keys::put(arguments).await,
            ClientCommand::Del(arguments) => keys::del(&arguments).await,
            ClientCommand::Watch(arguments) => watch::watch(&arguments).await,
            ClientCommand::Status(arguments) => inspect::status(&arguments).await,
            ClientCommand::Members(arguments) => inspect::members(&arguments).await,
            ClientCommand::Member(command) => members::run(command).await,
            ClientCommand::MoveLeader(arguments) => members::move_leader(&arguments).await,
        }
    })
}
