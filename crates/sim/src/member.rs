//! A member: its disk and clock, which outlive its processes, and the process
//! that runs on them, if one does.

use crate::clock::{Clock, WorldTime};
use crate::disk::SimDisk;
use crate::durable::Durable;
use crate::narration::started;
use crate::network::{ConnectionId, Place, Process};
use crate::plan::{Plan, Sabotage};
use crate::property::{Breach, Property};
use crate::random::Random;
use crate::report::Situation;
use crate::workload::Workload;
use crate::world::{Happening, Lift, ToNode, World};
use bytes::Bytes;
use driftless_node::log::{
    Identity, KnownPeer, Log, OpenError, Opened, Options, Owner, SnapshotMeta, SnapshotStore,
};
use driftless_node::machine::{Snapshot, StateMachine};
use driftless_node::raft::{
    Config, GroupId, Index, Membership, Moment, NodeId, Promotion, Time, Trail,
};
use driftless_node::{
    ApplyJob, LinkId, LogJob, Node, NodeOptions, SnapshotJob, SnapshotPort, StartError,
};
use std::collections::{BTreeMap, VecDeque};
use std::io;

pub(crate) const CLUSTER_ID: u64 = 0x0064_7269_6674;
pub(crate) const GROUP: GroupId = GroupId(1);

/// A member of the world.
pub(crate) struct Member<M: StateMachine> {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    pub(crate) incarnation: u64,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// How much slower its disk is than usual.
    pub(crate) disk_slowness: u64,
    /// It finishes nothing before this.
    pub(crate) disk_stalled_until: WorldTime,
    /// Something else has taken all room on its disk, or nearly.
    pub(crate) disk_is_full: bool,
    /// What its disk must hold.
    pub(crate) durable: Durable,
    /// What disks that were wiped held, by their incarnations: it counted when it was
    /// promised.
    pub(crate) wiped: Vec<(u64, Trail)>,
    /// Where it is reached by its peers.
    pub(crate) place: Place,
    /// The addresses of others that it is told at each start.
    pub(crate) told: BTreeMap<NodeId, String>,
    /// With what a process begins that finds an empty disk.
    pub(crate) begins: Begins,
    /// How often the disk was opened.
    pub(crate) boots: u64,
    /// What peers know of it, durably.
    pub(crate) known_by: BTreeMap<NodeId, KnownPeer>,
    /// A copy of the disk, to be put back.
    pub(crate) copy: Option<Copied>,
    /// Its disk has lied: what it says of damage is true.
    pub(crate) is_suspect: bool,
    /// What it made durable is not all there, and it has not been made what it was.
    pub(crate) lost: Option<Lost>,
    /// Removed from the group, and it knows: it does not come back.
    pub(crate) is_out: bool,
    runs: u64,
    pub(crate) running: Option<Running<M>>,
}

/// As what a member with an empty disk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// One of those that found the group.
    Founding,
    /// Nobody yet: it waits to be taken in.
    Joining,
    /// One that lost its disk.
    Replacing,
}

/// How a member's memory was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whether it voted: it is whole again when it does.
    pub(crate) was_voter: bool,
}

/// A copy of a disk, and what it must hold.
pub(crate) struct Copied {
    pub(crate) disk: SimDisk,
    pub(crate) durable: Durable,
    pub(crate) incarnation: u64,
    pub(crate) boots: u64,
}

/// A process of a member.
pub(crate) struct Running<M: StateMachine> {
    pub(crate) process: Process,
    pub(crate) node: Node,
    pub(crate) log: Log<SimDisk>,
    pub(crate) machine: M,
    pub(crate) snapshots: SnapshotPort<SimDisk>,
    /// Commands that the machine has seen.
    pub(crate) applied: usize,
    /// The last entry that it applied.
    pub(crate) applied_through: Index,
    pub(crate) paused: bool,
    /// What its machine knew of the time when it was suspended, if it is.
    pub(crate) suspended: Option<Suspended>,
    /// When it was started, or last went on after a pause.
    pub(crate) listens_since: WorldTime,
    /// What came while it was paused.
    pub(crate) held: VecDeque<ToNode>,
    pub(crate) flush_scheduled: bool,
    pub(crate) wake_at: Option<WorldTime>,
    pub(crate) log_queue: VecDeque<LogJob>,
    /// What the log is at; done when its time is over.
    pub(crate) log_batch: VecDeque<LogJob>,
    pub(crate) apply: Option<ApplyJob>,
    pub(crate) snapshot_queue: VecDeque<SnapshotWork>,
    pub(crate) snapshot_busy: bool,
    pub(crate) links: BTreeMap<LinkId, ConnectionId>,
    pub(crate) next_link: u64,
    /// Whom the node wants to be linked with, and where.
    pub(crate) dials: BTreeMap<NodeId, Dialled>,
}

/// What a suspended machine knew of the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspended {
    /// What its clock showed.
    pub(crate) clock: Time,
    /// How far ahead the timer was set.
    pub(crate) timer_us: Option<u64>,
}

/// Where somebody is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialled {
    /// The first of these where somebody answers.
    pub(crate) at: Vec<Place>,
    /// Which call this is: one that was hung up is not made again.
    pub(crate) number: u64,
}

/// Snapshot work, the machine frozen when it was asked for.
pub(crate) enum SnapshotWork {
    Save { meta: SnapshotMeta, sidecar: Bytes, maker: u64, frozen: Box<dyn Snapshot> },
    Other(SnapshotJob),
}

impl<M: StateMachine> Member<M> {
    pub(crate) fn new(id: NodeId, plan: &Plan, begins: Begins, mut random: Random) -> Self {
        let rate_ppm = plan.clock_rates_ppm.get(id.0 as usize - 1).copied();
        let clock = Clock::new(random.below(1 << 40), rate_ppm.unwrap_or(1_000_000));
        Self {
            id,
            disk: SimDisk::new(plan.sabotage == Some(Sabotage::DropSyncs)),
            incarnation: random.draw(),
            clock,
            random,
            disk_slowness: 1,
            disk_stalled_until: 0,
            disk_is_full: false,
            durable: Durable::default(),
            wiped: Vec::new(),
            place: Place { member: id, moves: 0 },
            told: BTreeMap::new(),
            begins,
            boots: 0,
            known_by: BTreeMap::new(),
            copy: None,
            is_suspect: false,
            lost: None,
            is_out: false,
            runs: 0,
            running: None,
        }
    }

    /// The process that listens, if one does.
    pub(crate) fn process(&self) -> Option<Process> {
        self.running.as_ref().map(|running| running.process)
    }

    pub(crate) fn moment(&mut self, now: WorldTime) -> Moment {
        Moment { now: self.clock.at(now), random: self.random.draw() }
    }

    /// All logs of this member that count as durable in `membership`: what was on a
    /// lost disk counts until the group has taken the member in again.
    pub(crate) fn copies(&self, membership: &Membership) -> Vec<&Trail> {
        let taken_in = membership.readmitted.get(&self.id);
        let present = (self.incarnation, self.durable.trail());
        let wiped = self.wiped.iter().map(|(incarnation, trail)| (*incarnation, trail));
        let counts = |of: u64| taken_in.is_none_or(|taken_in| *taken_in == of);
        wiped.chain([present]).filter(|(of, _)| counts(*of)).map(|(_, trail)| trail).collect()
    }

    /// What it is told at its start of where others are, and itself.
    fn addresses_told(&self) -> BTreeMap<NodeId, String> {
        let mut told = self.told.clone();
        told.insert(self.id, self.place.to_string());
        told
    }

    /// The membership of a log that it began.
    pub(crate) fn founded(&self, founding: &Membership) -> Membership {
        match self.begins {
            Begins::Founding => founding.clone(),
            Begins::Joining | Begins::Replacing => Membership::default(),
        }
    }
}

/// Starting and ending processes.
impl<M: StateMachine, W: Workload<M>> World<'_, M, W> {
    pub(crate) fn is_running(&self, process: Process) -> bool {
        self.members[&process.member].process() == Some(process)
    }

    /// A process that is known to run.
    pub(crate) fn running(&mut self, process: Process) -> &mut Running<M> {
        let member = self.members.get_mut(&process.member).expect("a member of this world");
        member.running.as_mut().expect("asked only of one that runs")
    }

    /// Starts a process of `id` on what its disk holds, unless one runs.
    pub(crate) fn start(&mut self, id: NodeId) -> Result<(), Breach> {
        let member = self.members.get_mut(&id).expect("a member of this world");
        if member.running.is_some() || member.is_out {
            return Ok(());
        }
        member.runs += 1;
        let process = Process { member: id, run: member.runs };
        let failed_before = member.disk.memory.counters().failed_syncs;
        let opened = open(member, &self.plan, &self.founding);
        let opened = opened.and_then(|opened| {
            let store = SnapshotStore::open(member.disk.clone()).map_err(OpenError::Io)?;
            Ok((opened, store))
        });
        let (opened, store) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let sync_failed = member.disk.memory.counters().failed_syncs > failed_before;
                return self.start_fails(id, &error, sync_failed);
            }
        };
        let Opened { mut log, identity, mut groups } = opened;
        member.boots = identity.boots;
        let mut options = options(id, &self.plan);
        let differs = draw_other_leases(&mut options.raft, &mut member.random);
        // What it may promise from now on is known to its next life before it does.
        let owed_us = options.raft.owed_us().max(identity.owed_us);
        if let Err(error) = log.owe(owed_us) {
            let sync_failed = member.disk.memory.counters().failed_syncs > failed_before;
            return self.start_fails(id, &OpenError::Io(error), sync_failed);
        }
        let mut recovered = groups.pop().expect("every world has one group");
        let lacks_the_last = member.durable.lacks_only_the_last(&recovered);
        let check = member.durable.recover(id, &recovered);
        if check.is_err() && member.is_suspect && lacks_the_last {
            self.gets_another_disk(id, "its disk never made the last write that it reported");
            return Ok(());
        }
        let (survived, lost) = self.heed(check, (0, 0))?;
        let member = self.members.get_mut(&id).expect("a member of this world");
        let mut machine = self.workload.machine(id);
        let durable = machine.open();
        let applied_through = Index(durable.position.index);
        let applied = match applied_through {
            Index(0) => 0,
            through => self.ghosts.restored(id, through)?,
        };
        match self.plan.sabotage {
            Some(Sabotage::ForgetVote) => recovered.hard_state.voted_for = None,
            Some(Sabotage::ForgetTerm) => {
                recovered.hard_state.current_term = recovered.trail.last().term;
                recovered.hard_state.voted_for = None;
            }
            Some(Sabotage::ForgetMembership) => {
                let founded = member.founded(&self.founding);
                recovered.trail = without_memberships(&recovered.trail, founded);
            }
            _ => {}
        }
        let text = started(id, &recovered);
        let has_snapshot = recovered.snapshot.as_ref().is_some_and(|meta| meta.last.index.0 > 0);
        let known = log.known_peers().clone();
        let moment = member.moment(self.now);
        options.addresses = member.addresses_told();
        // Half of them learn it from others alone.
        options.witness = self.witnesses.contains(&id) && id.0.is_multiple_of(2);
        let is_suspect = member.is_suspect;
        let node = match Node::new(options, identity, recovered, known, &durable, moment) {
            Ok(node) => node,
            Err(error @ StartError::EntryDamaged(_)) if is_suspect => {
                self.gets_another_disk(id, &error.to_string());
                return Ok(());
            }
            Err(error) => {
                return Err(Breach(Property::Starts, format!("member {id}: {error}")));
            }
        };
        let member = self.members.get_mut(&id).expect("a member of this world");
        self.ghosts.process_started(id, node.raft());
        member.running = Some(Running {
            process,
            node,
            log,
            machine,
            snapshots: SnapshotPort::new(store, GROUP),
            applied,
            applied_through,
            paused: false,
            suspended: None,
            listens_since: self.now,
            held: VecDeque::new(),
            flush_scheduled: false,
            wake_at: None,
            log_queue: VecDeque::new(),
            log_batch: VecDeque::new(),
            apply: None,
            snapshot_queue: VecDeque::new(),
            snapshot_busy: false,
            links: BTreeMap::new(),
            next_link: 0,
            dials: BTreeMap::new(),
        });
        let is_restart = process.run > 1;
        for (situation, times) in [
            (Situation::Restart, usize::from(is_restart)),
            (Situation::OtherLeases, usize::from(differs)),
            (Situation::SnapshotLoadedAtStart, usize::from(has_snapshot)),
            (Situation::RecordSurvivedUnsynced, survived),
            (Situation::RecordLost, lost),
        ] {
            for _ in 0..times {
                self.count(situation);
            }
        }
        self.tell(|| text);
        self.deliver(process, ToNode::Flush)
    }

    /// A start may fail for want of power or room; anything else is a bug.
    fn start_fails(
        &mut self,
        id: NodeId,
        error: &OpenError,
        sync_failed: bool,
    ) -> Result<(), Breach> {
        let member = self.members.get_mut(&id).expect("a member of this world");
        let seed = member.random.draw();
        let again_us = member.random.between(1_000, 500_000);
        if member.disk.memory.is_off() {
            member.disk.power_cut(seed);
            self.count(Situation::CrashInWrite);
            self.tell(|| format!("member {id} loses power while it starts"));
        } else if sync_failed {
            if member.random.chance(1, 2) {
                member.disk.power_cut(seed);
            }
            self.count(Situation::StoppedByLog);
            self.tell(|| format!("member {id} cannot start: a sync failed"));
        } else if matches!(error, OpenError::Io(e) if e.kind() == io::ErrorKind::StorageFull) {
            self.tell(|| format!("member {id} cannot start: its disk is full"));
        } else if member.is_suspect && matches!(error, OpenError::Damaged(_)) {
            self.gets_another_disk(id, &error.to_string());
        } else {
            return Err(Breach(Property::Starts, format!("member {id} cannot start: {error}")));
        }
        self.after(again_us, Happening::Lift(Lift::Start(id)));
        Ok(())
    }

    /// The process of `id` ends here and now.
    pub(crate) fn end_process(&mut self, id: NodeId, power_goes: bool) {
        let member = self.members.get_mut(&id).expect("a member of this world");
        let Some(mut running) = member.running.take() else { return };
        let disk = member.disk.clone();
        // Some of what the disk was at was done, some was not.
        if !disk.memory.is_off() && (power_goes || member.random.chance(1, 2)) {
            if power_goes {
                disk.memory.power_cut_after(member.random.below(10));
            }
            running.log_works(&mut Vec::new());
            running.snapshot_works();
        }
        let in_between = disk.is_between_write_and_sync();
        let process = running.process;
        drop(running);
        if in_between {
            self.count(Situation::CrashBetweenWriteAndSync);
        }
        if power_goes {
            self.cut_power(id);
        }
        self.links_lose(process, power_goes);
        self.clients_lose(process);
    }

    fn cut_power(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).expect("a member of this world");
        let before = member.disk.memory.counters().power_cuts;
        let seed = member.random.draw();
        member.disk.power_cut(seed);
        if member.disk.memory.counters().power_cuts > before {
            self.count(Situation::TornWrite);
        }
    }
}

/// The same positions, and none of the memberships in them.
fn without_memberships(trail: &Trail, founded: Membership) -> Trail {
    let mut without = Trail::new(trail.base(), founded);
    trail.runs().iter().for_each(|run| without.append(*run));
    without
}

pub(crate) fn open<M: StateMachine>(
    member: &Member<M>,
    plan: &Plan,
    membership: &Membership,
) -> Result<Opened<SimDisk>, OpenError> {
    let disk = member.disk.clone();
    let options =
        Options { reserve_bytes: plan.reserve_bytes, ..Options::small(plan.segment_bytes) };
    let node_id = member.id;
    if Log::exists(&disk).map_err(OpenError::Io)? {
        let owner = Owner { cluster_id: CLUSTER_ID, node_id };
        Log::open(disk, Some(owner), options)
    } else {
        let identity = Identity {
            boots: member.boots + 1,
            replacement: member.begins == Begins::Replacing,
            ..Identity::new(CLUSTER_ID, node_id, member.incarnation)
        };
        Log::create(disk, &identity, &[(GROUP, member.founded(membership))], options)
    }
}

/// Members need not be set up alike, nor as in their last life: where others have leases,
/// one at times has none, or holds to a leader for longer. Whether this one does.
fn draw_other_leases(raft: &mut Config, random: &mut Random) -> bool {
    if raft.lease_drift_ppm.is_none() || !random.chance(1, 5) {
        return false;
    }
    if random.chance(1, 2) {
        raft.lease_drift_ppm = None;
    } else {
        raft.election_timeout_us *= 2;
    }
    true
}

fn options(id: NodeId, plan: &Plan) -> NodeOptions {
    NodeOptions {
        raft: Config {
            election_timeout_us: plan.election_timeout_us,
            election_jitter_us: plan.election_timeout_us,
            heartbeat_interval_us: plan.heartbeat_interval_us,
            pre_vote: plan.pre_vote,
            check_quorum: plan.check_quorum,
            lease_drift_ppm: plan.lease_drift_ppm,
            promotion: if plan.readmits { Promotion::Readmitted } else { Promotion::ByHand },
            inflight_bytes_max: plan.inflight_bytes_max,
            inflight_messages_max: plan.inflight_messages_max,
            message_bytes_max: plan.message_bytes_max,
            catch_up_entries_max: plan.retained_entries,
            ..Config::new(id)
        },
        readmit_lost_disks: plan.readmits,
        pending_bytes_max: plan.pending_bytes_max,
        cache_bytes_max: plan.cache_bytes_max,
        snapshot_every_entries: plan.snapshot_every_entries,
        retained_entries: plan.retained_entries,
        snapshot_chunk_bytes: plan.snapshot_chunk_bytes,
        ..NodeOptions::new(id)
    }
}
