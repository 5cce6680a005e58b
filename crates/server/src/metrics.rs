//! What the server counts, and Prometheus' text of it.
//!
//! Where a number means here what it means in etcd it bears etcd's name, so that
//! dashboards and alerts written for etcd work.

use crate::backend::Backend;
use crate::grpc::{METHODS, Method};
use crate::service::{ETCD_CLUSTER_VERSION, ETCD_VERSION, Services};
use crate::status::Code;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Upper bounds of the latency buckets, in microseconds.
const LATENCY_BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// Counters of the RPC edge and the services.
#[derive(Debug)]
pub struct Metrics {
    calls: Vec<CallMetrics>,
    /// When the process began to serve, in seconds since 1970.
    started: f64,
    pub(crate) watch_streams: AtomicI64,
    pub(crate) watchers: AtomicI64,
    pub(crate) slow_watchers: AtomicI64,
    pub(crate) events: AtomicU64,
}

#[derive(Debug, Default)]
struct CallMetrics {
    started: AtomicU64,
    handled: [AtomicU64; Code::COUNT],
    latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    latency_sum_us: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: METHODS.iter().map(|_| CallMetrics::default()).collect(),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
            watch_streams: AtomicI64::new(0),
            watchers: AtomicI64::new(0),
            slow_watchers: AtomicI64::new(0),
            events: AtomicU64::new(0),
        }
    }
}

/// Counts one call. A call that is dropped on the way was cancelled by its client.
pub(crate) struct CallTimer {
    metrics: Arc<Metrics>,
    method: Method,
    begun: Instant,
    code: Code,
}

impl CallTimer {
    pub(crate) fn begin(metrics: &Arc<Metrics>, method: Method) -> Self {
        let metrics = Arc::clone(metrics);
        metrics.calls[method as usize].started.fetch_add(1, Relaxed);
        Self { metrics, method, begun: Instant::now(), code: Code::Canceled }
    }

    /// How it ended.
    pub(crate) fn end(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        let call = &self.metrics.calls[self.method as usize];
        let took_us = self.begun.elapsed().as_micros() as u64;
        call.handled[self.code as usize].fetch_add(1, Relaxed);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us);
        call.latency[bucket].fetch_add(1, Relaxed);
        call.latency_sum_us.fetch_add(took_us, Relaxed);
    }
}

/// Counts one thing for as long as it lives.
#[derive(Debug)]
pub(crate) struct Count {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicI64,
}

impl Count {
    pub(crate) fn one(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicI64) -> Self {
        gauge(metrics).fetch_add(1, Relaxed);
        Self { metrics: Arc::clone(metrics), gauge }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Relaxed);
    }
}

/// Prometheus' text format, version 0.0.4.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "counter", help, value);
    }

    /// A histogram whose values were counted in microseconds by powers of two.
    fn seconds_by_powers(&mut self, name: &str, help: &str, histogram: &driftless::Histogram) {
        self.head(name, "histogram", help);
        let mut below = 0;
        for (power, count) in histogram.buckets.iter().enumerate() {
            below += count;
            // The last bucket has no upper bound.
            if power + 1 < histogram.buckets.len() {
                let bound = (1_u64 << power) as f64 / 1e6;
                let _ = writeln!(self.0, "{name}_bucket{{le=\"{bound}\"}} {below}");
            }
        }
        let _ = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {below}");
        let _ = writeln!(self.0, "{name}_sum {}", histogram.sum as f64 / 1e6);
        let _ = writeln!(self.0, "{name}_count {below}");
    }
}

/// The text of `/metrics`.
pub fn render<B: Backend>(services: &Services<B>) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    raft(&mut text, services);
    // A witness has none, and shall not look as if it had an empty one.
    if !services.is_witness() {
        store(&mut text, services);
    }
    calls(&mut text, services.metrics());
    process(&mut text, services.metrics());
    text.0
}

fn raft<B: Backend>(text: &mut Text, services: &Services<B>) {
    let status = services.backend().status();
    let node = services.backend().metrics();
    let leads = status.leader == Some(status.node_id);
    text.gauge(
        "etcd_server_has_leader",
        "Whether or not a leader exists. 1 is existence, 0 is not.",
        u8::from(status.leader.is_some()),
    );
    text.gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        u8::from(leads),
    );
    text.gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner.",
        u8::from(services.learns()),
    );
    text.counter(
        "etcd_server_leader_changes_seen_total",
        "The number of leader changes seen.",
        node.leader_changes,
    );
    text.gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        status.commit_index.0,
    );
    text.gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        status.applied_index.0,
    );
    text.counter(
        "etcd_server_proposals_failed_total",
        "The total number of failed proposals seen.",
        node.refused,
    );
    text.head("etcd_server_version", "gauge", "Which version is running. 1 for this version.");
    let _ = writeln!(text.0, "etcd_server_version{{server_version=\"{ETCD_VERSION}\"}} 1");
    text.head("etcd_cluster_version", "gauge", "Which version of the cluster is running.");
    let _ =
        writeln!(text.0, "etcd_cluster_version{{cluster_version=\"{ETCD_CLUSTER_VERSION}\"}} 1");
    text.head("etcd_server_id", "gauge", "Server or member ID in hexadecimal format. 1 for this.");
    let id = services.identity().member_id;
    let _ = writeln!(text.0, "etcd_server_id{{server_id=\"{id:x}\"}} 1");

    text.seconds_by_powers(
        "etcd_disk_wal_fsync_duration_seconds",
        "The latency distributions of fsync called by the log.",
        &node.fsync_us,
    );
    text.counter(
        "etcd_disk_wal_write_bytes_total",
        "Total number of bytes written to the log.",
        node.disk_bytes_written,
    );
    text.counter(
        "etcd_network_peer_sent_bytes_total",
        "The total number of bytes sent to peers.",
        node.bytes_out,
    );
    text.counter(
        "etcd_network_peer_received_bytes_total",
        "The total number of bytes received from peers.",
        node.bytes_in,
    );

    text.gauge(
        "driftless_is_witness",
        "Whether this member votes and holds no data. 1 if so, 0 otherwise.",
        u8::from(services.is_witness()),
    );
    text.gauge("driftless_raft_term", "The current term.", status.term.0);
    text.gauge(
        "driftless_raft_first_index",
        "The first entry that the log has not let go of.",
        status.first_index.0,
    );
    text.gauge("driftless_raft_last_index", "The last entry of the log.", status.last.index.0);
    text.gauge(
        "driftless_raft_durable_index",
        "The last entry that is durable on this member.",
        status.durable_index.0,
    );
    text.gauge(
        "driftless_snapshot_index",
        "The last entry that the newest snapshot covers.",
        status.snapshot.map_or(0, |last| last.index.0),
    );
    text.gauge(
        "driftless_snapshot_under_way",
        "Whether a snapshot is being written. 1 if so, 0 otherwise.",
        node.snapshots_begun.saturating_sub(node.snapshots_saved + node.snapshots_failed),
    );
    text.gauge(
        "driftless_low_space",
        "Whether the disk is nearly full and writes are refused.",
        u8::from(status.low_space),
    );
    for (name, help, value) in [
        (
            "driftless_proposals_total",
            "Commands taken from clients of this member.",
            node.proposals,
        ),
        ("driftless_reads_total", "Linearizable reads of clients of this member.", node.reads),
        (
            "driftless_reads_by_lease_total",
            "Those of them that it answered as leader by its lease, without asking anybody.",
            node.reads_by_lease,
        ),
        ("driftless_applied_total", "Commands applied.", node.applied),
        ("driftless_elections_won_total", "Elections won by this member.", node.elections_won),
        ("driftless_peer_frames_sent_total", "Frames sent to peers.", node.frames_out),
        ("driftless_peer_frames_received_total", "Frames received from peers.", node.frames_in),
        ("driftless_peer_writes_total", "System calls that wrote frames.", node.writes_out),
        ("driftless_peer_links_total", "Links to or from peers that came up.", node.links_opened),
        ("driftless_snapshots_saved_total", "Snapshots written.", node.snapshots_saved),
        (
            "driftless_snapshots_failed_total",
            "Snapshots that could not be written.",
            node.snapshots_failed,
        ),
        (
            "driftless_snapshots_loaded_total",
            "Snapshots loaded, at start or from a peer.",
            node.snapshots_loaded,
        ),
        (
            "driftless_snapshots_received_total",
            "Snapshots received from peers, whole.",
            node.snapshots_received,
        ),
        (
            "driftless_snapshot_chunks_received_total",
            "Pieces of snapshots received from peers.",
            node.snapshot_chunks_received,
        ),
        (
            "driftless_snapshots_sent_total",
            "Snapshots that peers have got from this member.",
            node.snapshots_sent,
        ),
        (
            "driftless_snapshots_sent_for_leader_total",
            "Snapshots that this member sent in the place of its leader.",
            node.snapshots_sent_for_leader,
        ),
        (
            "driftless_snapshot_chunks_sent_total",
            "Pieces of snapshots sent to peers.",
            node.snapshot_chunks_sent,
        ),
    ] {
        text.counter(name, help, value);
    }
}

fn store<B: Backend>(text: &mut Text, services: &Services<B>) {
    let reader = services.backend().reader();
    let metrics = services.metrics();
    let size = reader.size();
    text.gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the store in bytes.",
        size.total_bytes,
    );
    text.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Size of the store that is logically in use, in bytes.",
        size.in_use_bytes,
    );
    text.gauge(
        "etcd_server_quota_backend_bytes",
        "Current backend storage quota size in bytes.",
        services.limits().quota_bytes,
    );
    text.gauge(
        "etcd_debugging_mvcc_current_revision",
        "The current revision of store.",
        reader.revision(),
    );
    text.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        reader.compact_revision(),
    );
    text.gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.", reader.key_count());
    text.gauge(
        "etcd_debugging_mvcc_watch_stream_total",
        "Total number of watch streams.",
        metrics.watch_streams.load(Relaxed),
    );
    text.gauge(
        "etcd_debugging_mvcc_watcher_total",
        "Total number of watchers.",
        metrics.watchers.load(Relaxed),
    );
    text.gauge(
        "etcd_debugging_mvcc_slow_watcher_total",
        "Total number of unsynced slow watchers.",
        metrics.slow_watchers.load(Relaxed),
    );
    text.counter(
        "etcd_debugging_mvcc_events_total",
        "Total number of events sent by this member.",
        metrics.events.load(Relaxed),
    );
}

fn calls(text: &mut Text, metrics: &Metrics) {
    let used = || {
        METHODS
            .iter()
            .map(|method| (method, &metrics.calls[*method as usize]))
            .filter(|(_, call)| call.started.load(Relaxed) > 0)
    };
    let labels = |method: &Method| {
        format!(
            "grpc_type=\"{}\",grpc_service=\"{}\",grpc_method=\"{}\"",
            method.kind().name(),
            method.service(),
            method.name()
        )
    };
    let name = "grpc_server_started_total";
    text.head(name, "counter", "Total number of RPCs started on the server.");
    for (method, call) in used() {
        let _ = writeln!(text.0, "{name}{{{}}} {}", labels(method), call.started.load(Relaxed));
    }
    let name = "grpc_server_handled_total";
    text.head(name, "counter", "Total number of RPCs completed on the server.");
    for (method, call) in used() {
        for code in Code::all() {
            let count = call.handled[code as usize].load(Relaxed);
            if count > 0 || code == Code::Ok {
                let labels = labels(method);
                let _ =
                    writeln!(text.0, "{name}{{{labels},grpc_code=\"{}\"}} {count}", code.name());
            }
        }
    }
    let name = "grpc_server_handling_seconds";
    text.head(name, "histogram", "How long RPCs took on the server, in seconds.");
    for (method, call) in used() {
        let labels = labels(method);
        let mut below = 0;
        for (bound, count) in LATENCY_BOUNDS_US.iter().zip(&call.latency) {
            below += count.load(Relaxed);
            let bound = *bound as f64 / 1e6;
            let _ = writeln!(text.0, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        below += call.latency[LATENCY_BOUNDS_US.len()].load(Relaxed);
        let _ = writeln!(text.0, "{name}_bucket{{{labels},le=\"+Inf\"}} {below}");
        let sum = call.latency_sum_us.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(text.0, "{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(text.0, "{name}_count{{{labels}}} {below}");
    }
}

/// Clock ticks a second in `/proc/self/stat`: fixed by Linux' ABI.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page, as `/proc/self/stat` counts them on the machines we run on.
const PAGE_BYTES: u64 = 4096;

/// The process as its kernel sees it; left out where there is no `/proc`.
fn process(text: &mut Text, metrics: &Metrics) {
    text.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        metrics.started,
    );
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The second field is the name in parentheses, which may hold anything.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // proc(5) counts from 1, and two fields are cut off.
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        text.counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            (user + system) as f64 / TICKS_PER_SECOND,
        );
    }
    if let (Some(bytes), Some(pages)) = (field(23), field(24)) {
        text.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", bytes);
        text.gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            pages * PAGE_BYTES,
        );
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Number of open file descriptors.", open.count());
    }
    if let Some(limit) = std::fs::read_to_string("/proc/self/limits").ok().and_then(|limits| {
        let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
        line.split_ascii_whitespace().nth(3)?.parse::<u64>().ok()
    }) {
        text.gauge("process_max_fds", "Maximum number of open file descriptors.", limit);
    }
}
