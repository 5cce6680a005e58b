//! What a member keeps on its disk, and the work done there.

use crate::builder::ClusterId;
use crate::disk::RealDisk;
use crate::error::StartError;
use crate::log_thread::LogWork;
use crate::metered::Metered;
use crate::metrics::Counters;
use crate::snapshot_thread::{SnapshotFiles, SnapshotOutcome, SnapshotWork};
use driftless_node::log::{Disk, SnapshotStore};
use driftless_node::log::{Identity, KnownPeer, Log, OpenError, Opened, Options, Owner, Recovered};
use driftless_node::machine::StateMachine;
use driftless_node::raft::{GroupId, Membership, NodeId};
use driftless_node::{LogDone, LogJob, SnapshotDone, SnapshotJob, SnapshotPort, run_log_jobs};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;

/// The one group that a node hosts today.
pub(crate) const GROUP: GroupId = GroupId(1);

/// The real disk, counted.
pub(crate) type CountedDisk = Metered<RealDisk>;

/// An open data directory.
pub(crate) struct Storage {
    pub(crate) log: RealLog,
    pub(crate) identity: Identity,
    pub(crate) recovered: Recovered,
    pub(crate) known_peers: BTreeMap<NodeId, KnownPeer>,
    pub(crate) snapshots: Snapshots<CountedDisk>,
}

/// How a member with a new directory begins.
#[derive(Default)]
pub(crate) struct Beginning {
    /// Who the members are; nobody, where others are to say.
    pub(crate) membership: Membership,
    /// Whether the directory replaces one that was lost.
    pub(crate) replacement: bool,
}

/// Opens the directory; makes it, as `beginning` says, if there is no log in it. What the
/// member may promise from now on, `owed_us`, is known to its next life before it does.
pub(crate) fn open(
    directory: &Path,
    owner: Owner,
    beginning: &Beginning,
    options: Options,
    owed_us: u64,
    counters: &Arc<Counters>,
) -> Result<Storage, StartError> {
    let refused = |error| StartError::Data { directory: directory.to_owned(), error };
    let disk = RealDisk::open(directory).map_err(refused)?;
    let disk = Metered::new(disk, counters.clone());
    let snapshots = disk.clone();
    let exists = Log::exists(&disk).map_err(|error| refused(OpenError::Io(error)))?;
    let opened = if exists {
        Log::open(disk, Some(owner), options)
    } else {
        let incarnation = getrandom::u64().map_err(|error| StartError::System(error.into()))?;
        let Owner { cluster_id, node_id } = owner;
        let replacement = beginning.replacement;
        let identity = Identity { replacement, ..Identity::new(cluster_id, node_id, incarnation) };
        Log::create(disk, &identity, &[(GROUP, beginning.membership.clone())], options)
    };
    let Opened { mut log, identity, groups } = opened.map_err(refused)?;
    let owes_more = owed_us > identity.owed_us;
    if owes_more {
        log.owe(owed_us).map_err(|error| refused(error.into()))?;
    }
    let log = if owes_more { RealLog::new(log) } else { RealLog::owing(log, &identity, owed_us) };
    let known_peers = log.log.known_peers().clone();
    let recovered = groups.into_iter().find(|recovered| recovered.group == GROUP);
    let recovered = recovered.ok_or_else(|| refused(OpenError::NotFound))?;
    let snapshots = Snapshots::open(snapshots).map_err(|error| refused(error.into()))?;
    Ok(Storage { log, identity, recovered, known_peers, snapshots })
}

/// Whose data is in `directory`: of which cluster, and of which member of it;
/// `None` if no member has data there yet.
pub fn owner_of(directory: impl AsRef<Path>) -> Result<Option<(ClusterId, NodeId)>, OpenError> {
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Ok(None);
    }
    let owner = Log::owner(&RealDisk::open(directory)?)?;
    Ok(owner.map(|Owner { cluster_id, node_id }| (ClusterId(cluster_id), node_id)))
}

/// The log's side of its thread.
pub(crate) struct RealLog {
    log: Log<CountedDisk>,
    /// As the node was last told, in whatever answer.
    low_space: bool,
    /// When what an earlier life promised is kept, and what this one owes its next.
    kept_at: Option<(Instant, u64)>,
}

/// How long an idle log with nothing to prepare is left alone.
const REST: Duration = Duration::from_secs(1);

/// How soon jobs that a full disk refused are tried again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

impl RealLog {
    pub(crate) fn new(log: Log<CountedDisk>) -> Self {
        Self { log, low_space: false, kept_at: None }
    }

    /// A log whose member owes more from an earlier life than it promises in this one. A
    /// life that begins before that is kept owes as much.
    fn owing(log: Log<CountedDisk>, identity: &Identity, owed_us: u64) -> Self {
        let kept_at = Instant::now().checked_add(Duration::from_micros(identity.owed_us));
        let is_less = owed_us < identity.owed_us;
        Self { kept_at: kept_at.filter(|_| is_less).map(|at| (at, owed_us)), ..Self::new(log) }
    }

    /// The rest of an earlier promise is over: a next life need not know of it.
    fn settle(&mut self) -> io::Result<()> {
        match self.kept_at.take_if(|(at, _)| *at < Instant::now()) {
            Some((_, owed_us)) => self.log.owe(owed_us),
            None => Ok(()),
        }
    }

    fn note_told(&mut self, done: &[LogDone]) {
        for what in done {
            if let LogDone::Appended { room, .. } | LogDone::Room(room) = what {
                self.low_space = room.low_space;
            }
        }
    }
}

impl LogWork for RealLog {
    fn run(&mut self, jobs: &mut VecDeque<LogJob>, done: &mut Vec<LogDone>) -> Option<Duration> {
        let full = run_log_jobs(&mut self.log, GROUP, jobs, done);
        self.note_told(done);
        full.then_some(FULL_PAUSE)
    }

    fn idle(&mut self, done: &mut Vec<LogDone>) -> Duration {
        // The mark first, then a piece of the next segment; the rest of it when
        // still nothing has come.
        if let Err(error) = self.settle() {
            done.push(LogDone::Failed(error.to_string()));
            return Duration::MAX;
        }
        let more = self.log.idle().and_then(|()| self.log.prepare_spare());
        let room = self.log.room();
        if room.low_space != self.low_space {
            self.low_space = room.low_space;
            done.push(LogDone::Room(room));
        }
        match more {
            Ok(true) => Duration::ZERO,
            Ok(false) => REST,
            Err(error) => {
                done.push(LogDone::Failed(error.to_string()));
                Duration::MAX
            }
        }
    }
}

/// The snapshots' side of their thread.
pub(crate) struct Snapshots<D: Disk + Clone> {
    port: SnapshotPort<D>,
}

impl<D: Disk + Clone> Snapshots<D> {
    /// Those on `disk`.
    pub(crate) fn open(disk: D) -> io::Result<Self> {
        Ok(Self { port: SnapshotPort::new(SnapshotStore::open(disk)?, GROUP) })
    }
}

impl<D, M> SnapshotFiles<M> for Snapshots<D>
where
    D: Disk<File: Send> + Clone + Send + 'static,
    M: StateMachine,
{
    fn run(&mut self, work: SnapshotWork<M>) -> SnapshotOutcome<M> {
        let port = &mut self.port;
        let (done, machine) = match work {
            SnapshotWork::Save { meta, sidecar, maker, mut frozen } => {
                (Some(port.save(&meta, &sidecar, maker, frozen.as_mut())), None)
            }
            SnapshotWork::Load { meta, mut machine } => {
                (Some(port.load(&meta, &mut machine)), Some(machine))
            }
            SnapshotWork::Files(job) => (files(port, job), None),
        };
        SnapshotOutcome { done, machine }
    }
}

fn files<D: Disk + Clone>(port: &mut SnapshotPort<D>, job: SnapshotJob) -> Option<SnapshotDone> {
    match job {
        SnapshotJob::ReadChunk { to, snapshot, offset, bytes_max } => {
            Some(port.read_chunk(to, snapshot, offset, bytes_max))
        }
        SnapshotJob::WriteChunk { meta, maker, offset, bytes, done } => {
            Some(port.write_chunk(meta, maker, offset, &bytes, done))
        }
        SnapshotJob::RemoveOlder { keep } => {
            if let Err(error) = port.remove_older(keep) {
                log::warn!("snapshots before {keep} could not be removed: {error}");
            }
            None
        }
        SnapshotJob::Save { .. } | SnapshotJob::Load { .. } => {
            unreachable!("the shard adds the machine's part to these")
        }
    }
}
