//! etcd's options by name, and how they come in: flags, environment, or a file.

use super::ConfigError;
use std::collections::BTreeMap;

/// What an option means to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is heeded.
    Used,
    /// There is nothing here that it could govern: accepted, with a warning if
    /// it is given. The text says why, after "it".
    Nothing(&'static str),
    /// Serving without heeding it would not be what its user relies on: refused
    /// unless it is given as this value. The text says what is not there.
    Refused(&'static str, &'static str),
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    /// Given without a value it means `true`.
    pub(super) is_switch: bool,
    pub(super) meaning: Meaning,
}

const fn value(name: &'static str) -> Flag {
    Flag { name, is_switch: false, meaning: Meaning::Used }
}

const fn switch(name: &'static str) -> Flag {
    Flag { name, is_switch: true, meaning: Meaning::Used }
}

const fn nothing(name: &'static str, why: &'static str) -> Flag {
    Flag { name, is_switch: false, meaning: Meaning::Nothing(why) }
}

const fn nothing_switch(name: &'static str, why: &'static str) -> Flag {
    Flag { name, is_switch: true, meaning: Meaning::Nothing(why) }
}

const fn refused(name: &'static str, unless: &'static str, what: &'static str) -> Flag {
    Flag { name, is_switch: false, meaning: Meaning::Refused(unless, what) }
}

const fn refused_switch(name: &'static str, what: &'static str) -> Flag {
    Flag { name, is_switch: true, meaning: Meaning::Refused("false", what) }
}

const NO_TLS: &str = "TLS is not supported yet";
const NO_DISCOVERY: &str = "discovery is not supported: name the members with --initial-cluster";
const NO_BBOLT: &str = "is about etcd's storage engine";
const NO_TUNING: &str = "tunes what works otherwise here";
const NO_V2: &str = "is about etcd's old v2 API";
const NO_TRACING: &str = "is about traces, which are not emitted";
const NO_LOGGING: &str = "is about log files: the log goes to standard error";
const NO_CORRUPTION_CHECK: &str = "is about checks between members that are not there yet";
const NO_GATEWAY: &str = "is about the JSON gateway, which is not there yet";

/// Our own options, and all of etcd 3.4 to 3.6, less those that are given with the prefix
/// `experimental-` and mean the same without it.
pub(super) const FLAGS: &[Flag] = &[
    value("name"),
    value("data-dir"),
    value("listen-client-urls"),
    value("listen-client-http-urls"),
    value("advertise-client-urls"),
    value("listen-peer-urls"),
    value("initial-advertise-peer-urls"),
    value("listen-metrics-urls"),
    value("initial-cluster"),
    value("initial-cluster-state"),
    value("initial-cluster-token"),
    value("heartbeat-interval"),
    value("election-timeout"),
    value("quota-backend-bytes"),
    value("snapshot-count"),
    value("snapshot-catchup-entries"),
    value("max-request-bytes"),
    value("max-txn-ops"),
    value("max-concurrent-streams"),
    value("watch-progress-notify-interval"),
    value("grpc-keepalive-interval"),
    value("grpc-keepalive-timeout"),
    value("log-level"),
    value("config-file"),
    value("max-learners"),
    value("read-lease-drift-ppm"),
    value("election-rank"),
    switch("strict-reconfig-check"),
    switch("readmit-lost-disks"),
    switch("replace-lost-disk"),
    switch("pre-vote"),
    switch("until-stdin-closes"),
    switch("version"),
    switch("help"),
    refused("cert-file", "", NO_TLS),
    refused("key-file", "", NO_TLS),
    refused("client-cert-file", "", NO_TLS),
    refused("client-key-file", "", NO_TLS),
    refused("trusted-ca-file", "", NO_TLS),
    refused("client-crl-file", "", NO_TLS),
    refused("client-cert-allowed-hostname", "", NO_TLS),
    refused("allowed-cn", "", NO_TLS),
    refused("peer-cert-file", "", NO_TLS),
    refused("peer-key-file", "", NO_TLS),
    refused("peer-client-cert-file", "", NO_TLS),
    refused("peer-client-key-file", "", NO_TLS),
    refused("peer-trusted-ca-file", "", NO_TLS),
    refused("peer-crl-file", "", NO_TLS),
    refused("peer-cert-allowed-cn", "", NO_TLS),
    refused("peer-cert-allowed-hostname", "", NO_TLS),
    refused_switch("client-cert-auth", NO_TLS),
    refused_switch("auto-tls", NO_TLS),
    refused_switch("peer-client-cert-auth", NO_TLS),
    refused_switch("peer-auto-tls", NO_TLS),
    refused("auth-token", "simple", "only tokens of the type `simple` exist here"),
    refused_switch(
        "force-new-cluster",
        "a cluster is made anew from one member by `driftless recover DIR`, once and explicitly",
    ),
    refused("discovery", "", NO_DISCOVERY),
    refused("discovery-srv", "", NO_DISCOVERY),
    refused("discovery-endpoints", "", NO_DISCOVERY),
    refused("discovery-token", "", NO_DISCOVERY),
    refused("proxy", "off", "there is no proxy mode"),
    nothing("wal-dir", "is about a second directory: the log is kept in the data directory"),
    nothing("max-wals", NO_TUNING),
    nothing("max-snapshots", NO_TUNING),
    nothing("auto-compaction-mode", "is about automatic compaction, which is not there yet"),
    nothing("auto-compaction-retention", "is about automatic compaction, which is not there yet"),
    nothing("auth-token-ttl", "is about authentication, which is not there yet"),
    nothing("bcrypt-cost", "is about authentication, which is not there yet"),
    nothing("cipher-suites", "is about TLS, which is not there yet"),
    nothing("tls-min-version", "is about TLS, which is not there yet"),
    nothing("tls-max-version", "is about TLS, which is not there yet"),
    nothing("self-signed-cert-validity", "is about TLS, which is not there yet"),
    nothing_switch("peer-skip-client-san-verification", "is about TLS, which is not there yet"),
    nothing_switch("initial-election-tick-advance", NO_TUNING),
    nothing("grpc-keepalive-min-time", "polices pings of clients, which are all welcome"),
    nothing_switch("socket-reuse-port", NO_TUNING),
    nothing_switch("socket-reuse-address", NO_TUNING),
    nothing("raft-read-timeout", NO_TUNING),
    nothing("raft-write-timeout", NO_TUNING),
    nothing("backend-batch-interval", NO_BBOLT),
    nothing("backend-batch-limit", NO_BBOLT),
    nothing("backend-bbolt-freelist-type", NO_BBOLT),
    nothing("bootstrap-defrag-threshold-megabytes", NO_BBOLT),
    nothing("compaction-batch-limit", NO_BBOLT),
    nothing("compaction-sleep-interval", NO_BBOLT),
    nothing_switch("memory-mlock", NO_BBOLT),
    nothing_switch("unsafe-no-fsync", "would forgo durability: every write is synced here"),
    nothing("feature-gates", "is about features of etcd"),
    nothing("discovery-srv-name", NO_DISCOVERY),
    nothing("discovery-fallback", NO_DISCOVERY),
    nothing("discovery-proxy", NO_DISCOVERY),
    nothing("discovery-dial-timeout", NO_DISCOVERY),
    nothing("discovery-request-timeout", NO_DISCOVERY),
    nothing("discovery-keepalive-time", NO_DISCOVERY),
    nothing("discovery-keepalive-timeout", NO_DISCOVERY),
    nothing_switch("discovery-insecure-transport", NO_DISCOVERY),
    nothing_switch("discovery-insecure-skip-tls-verify", NO_DISCOVERY),
    nothing("discovery-cert", NO_DISCOVERY),
    nothing("discovery-key", NO_DISCOVERY),
    nothing("discovery-cacert", NO_DISCOVERY),
    nothing("discovery-user", NO_DISCOVERY),
    nothing("discovery-password", NO_DISCOVERY),
    nothing("proxy-dial-timeout", "is about a proxy mode"),
    nothing("proxy-failure-wait", "is about a proxy mode"),
    nothing("proxy-read-timeout", "is about a proxy mode"),
    nothing("proxy-refresh-interval", "is about a proxy mode"),
    nothing("proxy-write-timeout", "is about a proxy mode"),
    nothing("cors", NO_GATEWAY),
    nothing("host-whitelist", NO_GATEWAY),
    nothing_switch("enable-grpc-gateway", NO_GATEWAY),
    nothing_switch("enable-v2", NO_V2),
    nothing("enable-v2v3", NO_V2),
    nothing("v2-deprecation", NO_V2),
    nothing_switch("enable-pprof", "is about profiles of Go programs"),
    nothing("metrics", "chooses between sets of metrics: there is one here"),
    nothing_switch("enable-distributed-tracing", NO_TRACING),
    nothing("distributed-tracing-address", NO_TRACING),
    nothing("distributed-tracing-service-name", NO_TRACING),
    nothing("distributed-tracing-instance-id", NO_TRACING),
    nothing("distributed-tracing-sampling-rate", NO_TRACING),
    nothing("logger", NO_LOGGING),
    nothing("log-outputs", NO_LOGGING),
    nothing("log-format", NO_LOGGING),
    nothing("log-package-levels", NO_LOGGING),
    nothing_switch("enable-log-rotation", NO_LOGGING),
    nothing("log-rotation-config-json", NO_LOGGING),
    nothing_switch("debug", NO_LOGGING),
    nothing_switch("initial-corrupt-check", NO_CORRUPTION_CHECK),
    nothing("corrupt-check-time", NO_CORRUPTION_CHECK),
    nothing_switch("compact-hash-check-enabled", NO_CORRUPTION_CHECK),
    nothing("compact-hash-check-time", NO_CORRUPTION_CHECK),
    nothing_switch("enable-lease-checkpoint", "is about leases, which are not there yet"),
    nothing_switch("enable-lease-checkpoint-persist", "is about leases, which are not there yet"),
    nothing_switch("txn-mode-write-with-shared-buffer", NO_TUNING),
    nothing_switch("stop-grpc-service-on-defrag", "is about defragmentation, not needed here"),
    nothing("downgrade-check-time", "is about downgrades"),
    nothing("warning-apply-duration", NO_TUNING),
    nothing("warning-unary-request-duration", NO_TUNING),
];

/// The option of this name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    let name = name.strip_prefix("experimental-").unwrap_or(name);
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Options as they were given: flags before the environment, or the file alone.
pub(super) type Given = BTreeMap<&'static str, String>;

/// Reads a command line as Go programs do: one dash or two, the value behind
/// `=` or in the next argument, a switch without one.
pub(super) fn from_arguments(
    arguments: impl IntoIterator<Item = String>,
) -> Result<Given, ConfigError> {
    let mut given = Given::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            return Err(ConfigError::NotAFlag { argument });
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        let flag = find(name).ok_or_else(|| ConfigError::UnknownFlag {
            name: name.to_owned(),
            nearest: nearest(name),
        })?;
        let value = match value {
            Some(value) => value,
            None if flag.is_switch => "true".to_owned(),
            None => arguments.next().ok_or(ConfigError::NoValue { name: flag.name })?,
        };
        given.insert(flag.name, value);
    }
    Ok(given)
}

/// Adds what the environment says of options that no flag gave. Variables that
/// name no option are somebody else's.
pub(super) fn add_environment(
    given: &mut Given,
    environment: impl IntoIterator<Item = (String, String)>,
) {
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix("ETCD_") else { continue };
        let name = name.to_ascii_lowercase().replace('_', "-");
        if let Some(flag) = find(&name)
            && !value.is_empty()
        {
            given.entry(flag.name).or_insert(value);
        }
    }
}

/// The known option that is spelt most like this, if one is spelt like it at all.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    FLAGS
        .iter()
        .map(|flag| (distance(name, flag.name), flag.name))
        .min()
        .filter(|(distance, flag)| *distance <= (flag.len() / 3).max(2) && *distance < name.len())
        .map(|(_, flag)| flag)
}

/// Levenshtein's: insertions, deletions and exchanges from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
