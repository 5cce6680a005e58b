//! What `serve` is told, in etcd's own words: flags, then `ETCD_*` in the
//! environment, or a configuration file alone.

mod cluster;
mod file;
mod flags;
mod url;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use cluster::member_id;
pub use cluster::{InitialCluster, InitialMember};
pub use url::Url;

use flags::{Given, Meaning};
use log::LevelFilter;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use values::{duration, is_set, millis, number, within};

/// How a member is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option, and has nothing to do with another"
)]
pub struct ServeConfig {
    /// Its name, by which it finds itself in `initial_cluster`.
    pub name: String,
    /// Where it keeps its log and snapshots.
    pub data_dir: PathBuf,
    /// Where it listens for clients.
    pub listen_client_urls: Vec<Url>,
    /// Where clients are told to reach it.
    pub advertise_client_urls: Vec<Url>,
    /// Where it listens for its peers.
    pub listen_peer_url: Url,
    /// Where it serves health and metrics without anything else.
    pub listen_metrics_urls: Vec<Url>,
    /// The members in the beginning, itself included.
    pub initial_cluster: InitialCluster,
    /// Whether the cluster exists already: a new member asks the others who it is.
    pub existing: bool,
    /// Refuse changes of members that could leave no majority of started ones.
    pub strict_reconfig_check: bool,
    /// How many members may be learners at a time.
    pub max_learners: usize,
    /// While this member leads: let those that lost their disk come back.
    pub readmit_lost_disks: bool,
    /// A new data directory takes the place of one that this member lost.
    pub replace_lost_disk: bool,
    /// How often a leader makes itself heard.
    pub heartbeat_interval: Duration,
    /// How long a follower bears not to hear it.
    pub election_timeout: Duration,
    /// Reads by lease, if any: by how many millionths no member's clock is faster or slower
    /// than true time.
    pub read_lease_drift_ppm: Option<u32>,
    /// Whose turn it is to seek election: 0 is first, the others wait for those before.
    pub election_rank: u32,
    /// How far the store may grow, in bytes; `None` is without bound.
    pub quota_backend_bytes: Option<u64>,
    /// A snapshot is written after so many entries; `None` leaves it to the node.
    pub snapshot_count: Option<u64>,
    /// So many entries behind a snapshot are kept for members that lag a
    /// little; `None` leaves it to the node.
    pub snapshot_catchup_entries: Option<u64>,
    /// The largest request, in bytes.
    pub max_request_bytes: usize,
    /// The most operations at a level of a transaction.
    pub max_txn_ops: usize,
    /// The most calls at a time on a connection.
    pub max_concurrent_streams: u32,
    /// How often a watcher that wants to be told is told how far it has come.
    pub progress_notify_interval: Duration,
    /// How often a silent client's connection is asked whether it is there.
    pub keepalive_interval: Duration,
    /// How soon it must answer.
    pub keepalive_timeout: Duration,
    /// Ask before an election whether it could be won.
    pub pre_vote: bool,
    /// What is logged.
    pub log_level: LevelFilter,
    /// End when standard input does: for members that another process started.
    pub until_stdin_closes: bool,
    /// What was given and means nothing, in words.
    pub warnings: Vec<String>,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// To serve.
    Serve(Box<ServeConfig>),
    /// The version.
    Version,
    /// Help.
    Help,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// An argument without a dash.
    NotAFlag {
        /// The argument.
        argument: String,
    },
    /// An option that does not exist.
    UnknownFlag {
        /// What was given.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// An option at the end of the line whose value is missing.
    NoValue {
        /// The option.
        name: &'static str,
    },
    /// A value that the option cannot have.
    BadValue {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A URL that cannot be used.
    BadUrl {
        /// The option.
        name: &'static str,
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An option that cannot be heeded and must not be ignored.
    NotSupported {
        /// The option.
        name: &'static str,
        /// What is not there.
        why: &'static str,
    },
    /// Options that contradict each other.
    Contradiction(String),
    /// A configuration file that cannot be read or understood.
    BadFile {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// A key of a configuration file that is no option.
    UnknownKey {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// What a configuration file says is refused.
    InFile {
        /// The file.
        path: String,
        /// Why.
        error: Box<ConfigError>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFlag { argument } => {
                write!(f, "`{argument}` is not an option: options begin with --")
            }
            Self::UnknownFlag { name, nearest: Some(nearest) } => {
                write!(f, "there is no option --{name}; did you mean --{nearest}?")
            }
            Self::UnknownFlag { name, nearest: None } => {
                write!(f, "there is no option --{name}; `serve --help` lists those that there are")
            }
            Self::NoValue { name } => write!(f, "--{name} needs a value"),
            Self::BadValue { name, value, expected } => {
                write!(f, "--{name} cannot be `{value}`: it must be {expected}")
            }
            Self::BadUrl { name, url, why } => write!(f, "--{name}: the URL `{url}`: {why}"),
            Self::NotSupported { name, why } => {
                write!(
                    f,
                    "--{name} cannot be heeded: {why}; leave it out only if you can do without"
                )
            }
            Self::Contradiction(what) => f.write_str(what),
            Self::BadFile { path, why } => {
                write!(f, "the configuration file {path} cannot be used: {why}")
            }
            Self::UnknownKey { path, key, nearest } => {
                write!(f, "the configuration file {path}: there is no option `{key}`; ")?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean `{nearest}`?"),
                    None => f.write_str(
                        "they are those that `serve --help` lists, without the dashes in front",
                    ),
                }
            }
            Self::InFile { path, error } => write!(f, "the configuration file {path}: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Invocation {
    /// Reads a command line (without the program's name) and an environment.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut given = flags::from_arguments(arguments)?;
        if is_set(&given, "help")? {
            return Ok(Self::Help);
        }
        if is_set(&given, "version")? {
            return Ok(Self::Version);
        }
        let until_stdin_closes = given.remove("until-stdin-closes");
        let mut warnings = Vec::new();
        let from_flags = !given.is_empty();
        flags::add_environment(&mut given, environment);
        let file = given.get("config-file").cloned();
        if let Some(path) = &file {
            if from_flags && given.len() > 1 {
                warnings.push(format!(
                    "options beside --config-file are not looked at: {path} counts alone"
                ));
            }
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::BadFile {
                path: path.clone(),
                why: error.to_string(),
            })?;
            given = file::parse(path, &text)?;
        }
        if let Some(value) = until_stdin_closes {
            given.insert("until-stdin-closes", value);
        }
        match (ServeConfig::from_given(&given, warnings), file) {
            (Ok(config), _) => Ok(Self::Serve(Box::new(config))),
            (Err(error), Some(path)) => Err(ConfigError::InFile { path, error: Box::new(error) }),
            (Err(error), None) => Err(error),
        }
    }
}

/// The options that mean something here.
#[cfg(test)]
pub(crate) fn used_options() -> impl Iterator<Item = &'static str> {
    flags::FLAGS.iter().filter(|flag| flag.meaning == Meaning::Used).map(|flag| flag.name)
}

const DEFAULT_CLIENT_URL: &str = "http://localhost:2379";
const DEFAULT_PEER_URL: &str = "http://localhost:2380";
/// No clock is exact, and one that is off by a tenth is broken.
const DRIFT_PPM_MAX: u32 = 100_000;
const DRIFT: &str = "a number of millionths from 1 to 100000, by which a clock may be fast or slow; \
                     leave it out to do without leases";
/// Who waits for so many others is as good as never elected.
const RANK_MAX: u32 = 15;
const RANK: &str = "a number from 0 (seeks election first) to 15";

impl ServeConfig {
    fn from_given(given: &Given, mut warnings: Vec<String>) -> Result<Self, ConfigError> {
        for (name, value) in given {
            let flag = flags::find(name).expect("only known options are taken");
            match flag.meaning {
                Meaning::Used => {}
                Meaning::Nothing(why) => {
                    warnings.push(format!("--{name} is accepted and means nothing here: it {why}"));
                }
                Meaning::Refused(unless, why) => {
                    if value != unless && !value.is_empty() {
                        return Err(ConfigError::NotSupported { name: flag.name, why });
                    }
                }
            }
        }
        let text = |name: &str| given.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let name = text("name").unwrap_or("default").to_owned();
        let data_dir =
            text("data-dir").map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from);
        let urls = |name: &'static str, default: &str| {
            Url::parse_list(name, text(name).unwrap_or(default))
        };

        let mut listen_client_urls = urls("listen-client-urls", DEFAULT_CLIENT_URL)?;
        if let Some(more) = text("listen-client-http-urls") {
            listen_client_urls.extend(Url::parse_list("listen-client-http-urls", more)?);
        }
        let advertised = text("listen-client-urls").unwrap_or(DEFAULT_CLIENT_URL);
        let advertise_client_urls = urls("advertise-client-urls", advertised)?;
        let mut listen_peer_urls = urls("listen-peer-urls", DEFAULT_PEER_URL)?;
        if listen_peer_urls.len() > 1 {
            return Err(ConfigError::BadValue {
                name: "listen-peer-urls",
                value: text("listen-peer-urls").unwrap_or_default().to_owned(),
                expected: "one URL so far; 0.0.0.0 listens on all of a machine's addresses",
            });
        }
        let listen_peer_url = listen_peer_urls.remove(0);
        let listen_metrics_urls = match text("listen-metrics-urls") {
            Some(urls) => Url::parse_list("listen-metrics-urls", urls)?,
            None => Vec::new(),
        };

        let peer_urls = text("initial-advertise-peer-urls").unwrap_or(DEFAULT_PEER_URL);
        let token = text("initial-cluster-token").unwrap_or("etcd-cluster");
        let initial_cluster = if let Some(members) = text("initial-cluster") {
            InitialCluster::parse(members, token)?
        } else {
            let urls = Url::parse_list("initial-advertise-peer-urls", peer_urls)?;
            InitialCluster::of_one(&name, urls, token)
        };
        initial_cluster.check_self(&name, text("initial-advertise-peer-urls"))?;
        let existing = match text("initial-cluster-state") {
            None | Some("new") => false,
            Some("existing") => true,
            Some(value) => {
                return Err(ConfigError::BadValue {
                    name: "initial-cluster-state",
                    value: value.to_owned(),
                    expected: "`new` or `existing`",
                });
            }
        };

        let heartbeat_interval = millis(given, "heartbeat-interval", 100)?;
        let election_timeout = millis(given, "election-timeout", 1000)?;
        if heartbeat_interval.is_zero() || election_timeout < heartbeat_interval * 5 {
            return Err(ConfigError::Contradiction(format!(
                "--election-timeout ({} ms) should be at least 5 times --heartbeat-interval ({} ms), \
                 which must not be 0",
                election_timeout.as_millis(),
                heartbeat_interval.as_millis()
            )));
        }
        if election_timeout > Duration::from_secs(50) {
            return Err(ConfigError::BadValue {
                name: "election-timeout",
                value: election_timeout.as_millis().to_string(),
                expected: "50000 (ms) at most",
            });
        }
        let read_lease_drift_ppm = within(given, "read-lease-drift-ppm", 1..=DRIFT_PPM_MAX, DRIFT)?;
        let election_rank = within(given, "election-rank", 0..=RANK_MAX, RANK)?.unwrap_or(0);
        let quota_backend_bytes =
            match number::<i64>(given, "quota-backend-bytes", 0, "a number of bytes")? {
                0 => Some(2 << 30),
                quota => u64::try_from(quota).ok(),
            };
        // As in etcd, 0 means that it is not said.
        let entries = |name| {
            let count = number::<u64>(given, name, 0, "a number of entries")?;
            Ok((count > 0).then_some(count))
        };
        let snapshot_count = entries("snapshot-count")?;
        let snapshot_catchup_entries = entries("snapshot-catchup-entries")?;
        let log_level = match text("log-level").unwrap_or("info") {
            "debug" => LevelFilter::Debug,
            "info" => LevelFilter::Info,
            "warn" => LevelFilter::Warn,
            "error" | "dpanic" | "panic" | "fatal" => LevelFilter::Error,
            value => {
                return Err(ConfigError::BadValue {
                    name: "log-level",
                    value: value.to_owned(),
                    expected: "debug, info, warn, error, panic or fatal",
                });
            }
        };
        let max_request_bytes = number(
            given,
            "max-request-bytes",
            crate::service::REQUEST_BYTES_MAX,
            "a number of bytes",
        )?;
        // A message holds a request and a little more.
        if max_request_bytes > crate::grpc::MESSAGE_BYTES_MAX {
            return Err(ConfigError::BadValue {
                name: "max-request-bytes",
                value: max_request_bytes.to_string(),
                expected: "2097152 (2 MiB) at most",
            });
        }
        Ok(Self {
            name,
            data_dir,
            listen_client_urls,
            advertise_client_urls,
            listen_peer_url,
            listen_metrics_urls,
            initial_cluster,
            existing,
            strict_reconfig_check: !given.contains_key("strict-reconfig-check")
                || is_set(given, "strict-reconfig-check")?,
            max_learners: number(given, "max-learners", 1, "a number of members")?,
            readmit_lost_disks: is_set(given, "readmit-lost-disks")?,
            replace_lost_disk: is_set(given, "replace-lost-disk")?,
            heartbeat_interval,
            election_timeout,
            read_lease_drift_ppm,
            election_rank,
            quota_backend_bytes,
            snapshot_count,
            snapshot_catchup_entries,
            max_request_bytes,
            max_txn_ops: number(given, "max-txn-ops", crate::convert::TXN_OPS_MAX, "a number")?,
            // etcd's default is four milliards; a bound that bounds is better.
            max_concurrent_streams: number(given, "max-concurrent-streams", 4096, "a number")?,
            progress_notify_interval: duration(
                given,
                "watch-progress-notify-interval",
                Duration::from_secs(600),
            )?
            .max(Duration::from_millis(100)),
            keepalive_interval: duration(
                given,
                "grpc-keepalive-interval",
                Duration::from_secs(7200),
            )?,
            keepalive_timeout: duration(given, "grpc-keepalive-timeout", Duration::from_secs(20))?,
            pre_vote: !given.contains_key("pre-vote") || is_set(given, "pre-vote")?,
            log_level,
            until_stdin_closes: is_set(given, "until-stdin-closes")?,
            warnings,
        })
    }
}
