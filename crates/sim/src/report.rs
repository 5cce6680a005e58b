//! What a run has met: every fault and every situation, counted, so that no
//! check passes because what it checks never came up.

use std::fmt;

macro_rules! situations {
    ($($(#[$doc:meta])* $name:ident: $text:literal, $need:ident;)*) => {
        /// Something that a campaign must meet, or that is worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Situation {
            $($(#[$doc])* #[doc = $text] $name,)*
        }

        impl Situation {
            /// All of them, in the order of the report.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// In words.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether a campaign in which it never happened has failed.
            pub fn is_demanded(self) -> bool {
                match self { $(Self::$name => $need,)* }
            }
        }
    };
}

#[allow(non_upper_case_globals)]
const demanded: bool = true;
#[allow(non_upper_case_globals)]
const counted: bool = false;

situations! {
    Crash: "fault: a process was killed (its page cache survived)", demanded;
    PowerCut: "fault: a member lost power", demanded;
    CrashInWrite: "fault: a member died at a boundary of disk operations", demanded;
    PowerCutOfAll: "fault: all members lost power at once", demanded;
    Restart: "fault: a member came back", demanded;
    Pause: "fault: a process was paused", demanded;
    LongPause: "fault: a process was paused for longer than several elections take", demanded;
    Suspended: "fault: a machine was suspended, and its timers stood still", demanded;
    SuspendedWithLease: "fault: a leader's machine was suspended while it held a lease", demanded;
    WokeUpDeposed: "a leader's machine woke up in a later term", demanded;
    LinkBroken: "fault: a link broke with what was in flight", demanded;
    Partition: "fault: the network fell in two", demanded;
    LeaderIsolated: "fault: a leader was cut off", demanded;
    OneWayCut: "fault: one direction between two members was cut", demanded;
    PairCut: "fault: two members could not reach each other, all others could", demanded;
    SlowNetwork: "fault: the network was slow and broke links", demanded;
    ClockLeap: "fault: a clock leapt ahead", demanded;
    ClockRate: "fault: a clock ran fast or slow", demanded;
    SlowDisk: "fault: a disk was slow", demanded;
    StalledDisk: "fault: a disk finished nothing for a while", demanded;
    FullDisk: "fault: a disk was full", demanded;
    FullDiskOfAll: "fault: all disks were full at once", demanded;
    FailedSync: "fault: a sync failed", demanded;
    WipedDisk: "fault: a disk was wiped", demanded;
    Rot: "fault: a byte of a file rotted", demanded;
    LostWrite: "fault: a disk lost a write that it had reported", demanded;
    DamageNoticed: "a member noticed that its disk was damaged, and got another", demanded;
    TornWrite: "fault: a power cut tore or dropped what was not synced", demanded;
    LateFrame: "a frame of an old link arrived after a newer link was up", demanded;
    RepeatedFrame: "a frame of a dying link arrived twice", demanded;
    FrameLost: "a frame was lost with its link", demanded;
    Election: "a leader was elected", demanded;
    ElectionUnderLoad: "a leader was elected while requests were open", demanded;
    SplitTerm: "a term passed without a leader", demanded;
    FollowerTruncated: "a log cut entries that conflicted", demanded;
    SnapshotSaved: "a member saved a snapshot", demanded;
    SnapshotInstalled: "a follower behind the log installed a snapshot", demanded;
    SnapshotDelegated: "a follower sent a snapshot in the leader's place", demanded;
    DelegateFailed: "a follower failed to send one in the leader's place, and the leader did", demanded;
    SnapshotLoadedAtStart: "a member started from its snapshot", demanded;
    Compacted: "a log was compacted", demanded;
    RoomClaimed: "a node asked its log to claim room for what came", demanded;
    LogRead: "entries were read back from the log", demanded;
    CrashBetweenWriteAndSync: "a member died between a write and its sync", demanded;
    RecordSurvivedUnsynced: "a record that was never acknowledged survived a crash", demanded;
    RecordLost: "a record that was never acknowledged was lost in a crash", demanded;
    DuplicateSuppressed: "a command that came twice was applied once", demanded;
    LeaseRead: "a leader answered a read by its lease", demanded;
    OtherLeases: "a member was started with other leases than its group's", demanded;
    LeaseRanOut: "a read reached a leader whose lease had run out", demanded;
    FollowerRead: "a follower served a linearizable read", demanded;
    Forwarded: "a follower's client had its command applied", demanded;
    UnknownOutcome: "a client never learnt what became of its command", demanded;
    RefusedCleanly: "a request was refused with nothing done", demanded;
    RefusedBusy: "a request was refused because too much was in flight", counted;
    ElectedOnFullDisk: "a leader was elected whose disk was full", demanded;
    ReadOnFullDisk: "a member whose disk was full served a linearizable read", demanded;
    RoomMade: "compaction made room on a full disk", demanded;
    RefusedDiskFull: "a command was refused because the disk was full", demanded;
    Refused: "peers refused a member that had lost its disk, or brought back an older one", demanded;
    OldDisk: "fault: an older copy of a disk was put back", demanded;
    OldDiskRefused: "a caller was refused for its older disk", demanded;
    CallerRefused: "a caller was refused for another reason", counted;
    Replaced: "a member came back as the replacement of one that had lost its disk", demanded;
    Readmitted: "a member with a new disk was taken in again, as a learner", demanded;
    VotesAgain: "... and was made a voter again", demanded;
    Cared: "the operator had such a member taken in, or vote again", demanded;
    LearnerAdded: "a learner was added", demanded;
    VoterAdded: "a voter was added that had nothing yet", demanded;
    WitnessAdded: "a witness was added", demanded;
    Promoted: "a learner was promoted", demanded;
    Demoted: "a voter was demoted", demanded;
    Removed: "a member was removed", demanded;
    LeaderRemoved: "a member was removed that led when it was asked for", demanded;
    ManyChanged: "several members came and went in one change", demanded;
    Moved: "a member's address changed while it ran", demanded;
    CameElsewhere: "a member was started again at another address", demanded;
    Readdressed: "the group was told where a member is reached from now on", demanded;
    QuorumLost: "fault: a quorum was lost for good, and one survivor recovered", demanded;
    TurnedAway: "one who was left behind by that came again, and was turned away", demanded;
    GrownBack: "... and the group grew again from the survivor to three voters", demanded;
    Joint: "a joint membership was committed", demanded;
    MembershipCut: "a membership in force was cut from a log, and the one before was again", demanded;
    ChangedByFollower: "a change of members was asked of a follower, and done", demanded;
    ChangeRefused: "a change of members was refused", demanded;
    RefusedQuorum: "a change of members was refused, as too few voters of it were up", demanded;
    ChangeNotDone: "a change of members was not done, for want of a leader or of room", demanded;
    ChangeUnknown: "what became of a change of members was not known in time", demanded;
    Left: "a member learnt that it was removed, and stopped", demanded;
    RemovedRefused: "a caller was refused because it was removed", demanded;
    Transferred: "leadership was handed over as asked for", demanded;
    TransferFailed: "leadership was not handed over in time", demanded;
    TransferRefused: "leadership was not handed over, for a reason", demanded;
    LastWish: "after all faults, the members were changed once more", demanded;
    StoppedByLog: "a node stopped itself because its disk failed", demanded;
    Acknowledged: "a command was acknowledged", demanded;
    ReadServed: "a linearizable read was served", demanded;
    GroupCommit: "several records shared one sync", demanded;
    WholeClusterDown: "all members were down at once", counted;
}

/// How often each situation came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    counts: Vec<u64>,
    /// Worlds that were run.
    pub worlds: u64,
    /// Things that happened in them.
    pub events: u64,
    /// Virtual time that passed in them, in microseconds.
    pub virtual_us: u64,
    /// Operations of clients whose histories were checked.
    pub operations: u64,
}

impl Default for Report {
    fn default() -> Self {
        let counts = vec![0; Situation::ALL.len()];
        Self { counts, worlds: 0, events: 0, virtual_us: 0, operations: 0 }
    }
}

impl Report {
    /// Of a world that is about to begin.
    pub(crate) fn of_one_world() -> Self {
        Self { worlds: 1, ..Self::default() }
    }

    /// Counts one.
    pub fn count(&mut self, situation: Situation) {
        self.counts[situation as usize] += 1;
    }

    /// How often it came up.
    pub fn of(&self, situation: Situation) -> u64 {
        self.counts[situation as usize]
    }

    /// Adds what another run has met.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.worlds += other.worlds;
        self.events += other.events;
        self.virtual_us += other.virtual_us;
        self.operations += other.operations;
    }

    /// What was demanded and never happened.
    pub fn missing(&self) -> Vec<Situation> {
        let never = |situation: &Situation| situation.is_demanded() && self.of(*situation) == 0;
        Situation::ALL.iter().copied().filter(never).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told_all = !f.alternate();
        writeln!(
            f,
            "{} worlds, {} events, {} s of virtual time, {} client operations",
            self.worlds,
            self.events,
            self.virtual_us / 1_000_000,
            self.operations
        )?;
        // `{:#}` leaves out what did not happen.
        let told = |situation: &&Situation| told_all || self.of(**situation) > 0;
        for situation in Situation::ALL.iter().filter(told) {
            writeln!(f, "{:>12}  {}", self.of(*situation), situation.text())?;
        }
        Ok(())
    }
}
