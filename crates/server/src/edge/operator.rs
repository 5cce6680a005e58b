//! What operators and their tools ask in plain HTTP: health, version, metrics.

use super::Page;
use crate::backend::Backend;
use crate::metrics;
use crate::service::{ETCD_CLUSTER_VERSION, ETCD_VERSION, Services};
use bytes::Bytes;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::Instant;

const OK: u16 = 200;
const NOT_FOUND: u16 = 404;
const METHOD_NOT_ALLOWED: u16 = 405;
const SERVICE_UNAVAILABLE: u16 = 503;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers a request that is not gRPC; `is_read` says that it is a GET or a HEAD.
pub(super) async fn page<B: Backend>(
    services: &Services<B>,
    is_read: bool,
    path_and_query: &str,
) -> Page {
    if !is_read {
        let page = plain(METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n");
        return Page { allow: Some("GET"), ..page };
    }
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let query = Query(query);
    match path {
        "/health" => health(services, &query).await,
        "/livez" => checks(services, "livez", &LIVE, None, &query).await,
        "/readyz" => checks(services, "readyz", &READY, None, &query).await,
        "/version" => plain(
            OK,
            JSON,
            format!(
                "{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{ETCD_CLUSTER_VERSION}\"}}"
            ),
        ),
        "/metrics" => plain(OK, METRICS, metrics::render(services)),
        path => {
            if let Some(name) = path.strip_prefix("/livez/") {
                checks(services, "livez", &LIVE, Some(name), &query).await
            } else if let Some(name) = path.strip_prefix("/readyz/") {
                checks(services, "readyz", &READY, Some(name), &query).await
            } else {
                plain(NOT_FOUND, TEXT, "404 page not found\n")
            }
        }
    }
}

fn plain(status: u16, content_type: &'static str, text: impl Into<Bytes>) -> Page {
    Page { status, content_type, allow: None, text: text.into() }
}

/// A query string, looked into without being taken apart: the names and values
/// that matter here need no escaping.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(key, _)| key == name)
    }

    fn is_true(&self, name: &str) -> bool {
        self.pairs().any(|(key, value)| key == name && value == "true")
    }

    fn excludes(&self, check: &str) -> bool {
        self.pairs().any(|(key, value)| key == "exclude" && value == check)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

/// etcd's old check: a leader, and a read (linearizable unless told otherwise). A witness,
/// which cannot read, is as it should be if it knows a leader, and says what it is.
async fn health<B: Backend>(services: &Services<B>, query: &Query<'_>) -> Page {
    let reason = if services.backend().status().leader.is_none() {
        Some("RAFT NO LEADER".to_owned())
    } else if services.is_witness() {
        let text = "{\"health\":\"true\",\"reason\":\"witness: it votes, and holds no data\"}";
        return plain(OK, JSON, text);
    } else if query.is_true("serializable") {
        None
    } else {
        linearizable_read(services).await.err().map(|why| format!("RANGE ERROR:{why}"))
    };
    match reason {
        None => plain(OK, JSON, "{\"health\":\"true\",\"reason\":\"\"}"),
        Some(reason) => plain(
            SERVICE_UNAVAILABLE,
            JSON,
            // The reasons are ours: nothing in them needs escaping.
            format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}"),
        ),
    }
}

async fn linearizable_read<B: Backend>(services: &Services<B>) -> Result<(), String> {
    let deadline = Instant::now() + CHECK_TIMEOUT;
    services.backend().read_barrier(deadline).await.map_err(|error| error.to_string())
}

/// One thing that is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    SerializableRead,
    LinearizableRead,
    DataCorruption,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::DataCorruption => "data_corruption",
        }
    }

    async fn run<B: Backend>(self, services: &Services<B>) -> Result<(), String> {
        match self {
            // The store is in this process: it answers, or nobody does.
            Self::SerializableRead => {
                services.backend().reader().revision();
                Ok(())
            }
            Self::LinearizableRead => linearizable_read(services).await,
            // No alarm for it is ever raised so far.
            Self::DataCorruption => Ok(()),
        }
    }
}

const LIVE: [Check; 1] = [Check::SerializableRead];
const READY: [Check; 3] = [Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead];

/// etcd's new checks: all of them or the one that is named, in the form that
/// Kubernetes' components answer in.
async fn checks<B: Backend>(
    services: &Services<B>,
    kind: &str,
    all: &[Check],
    only: Option<&str>,
    query: &Query<'_>,
) -> Page {
    if let Some(name) = only
        && !all.iter().any(|check| check.name() == name)
    {
        return plain(NOT_FOUND, TEXT, "404 page not found\n");
    }
    let mut report = String::new();
    let mut failed = false;
    for check in all.iter().filter(|check| only.is_none_or(|name| check.name() == name)) {
        let name = check.name();
        if query.excludes(name) {
            let _ = writeln!(report, "[+]{name} excluded: ok");
            continue;
        }
        match check.run(services).await {
            Ok(()) => {
                let _ = writeln!(report, "[+]{name} ok");
            }
            Err(why) => {
                failed = true;
                let _ = writeln!(report, "[-]{name} failed: {why}");
            }
        }
    }
    if failed {
        let _ = writeln!(report, "{kind} check failed");
        plain(SERVICE_UNAVAILABLE, TEXT, report)
    } else if query.has("verbose") {
        let _ = writeln!(report, "{kind} check passed");
        plain(OK, TEXT, report)
    } else {
        plain(OK, TEXT, "ok\n")
    }
}
