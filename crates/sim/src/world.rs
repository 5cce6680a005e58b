//! A world: members, their disks, the network between them, clients, faults and
//! time, all of it driven by one list of things to come.
//!
//! Nothing here waits or runs beside anything else. The world takes the next
//! thing from the list, hands it to whom it concerns, carries out what that
//! one's node asks for, checks what must hold, and goes on.

use crate::clients::{Client, Open};
use crate::clock::WorldTime;
use crate::history::History;
use crate::invariants::Ghosts;
use crate::linearizable::Model;
use crate::member::{Begins, Member};
use crate::moves::Move;
use crate::network::{Call, ConnectionId, End, Network, Place, Process};
use crate::operator::Wished;
use crate::plan::{Plan, Sabotage};
use crate::property::{Breach, Failure, Property};
use crate::random::{Digest, Random};
use crate::report::{Report, Situation};
use crate::workload::Workload;
use bytes::Bytes;
use driftless_node::machine::StateMachine;
use driftless_node::raft::{Membership, NodeId};
use driftless_node::{Event, RequestToken};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Things that may happen in one world before it is taken for a loop.
const EVENTS_MAX: u64 = 20_000_000;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it met.
    pub report: Report,
    /// A hash of all that happened, in order: equal for equal runs.
    pub trace: u64,
    /// The promise that was broken, if one was.
    pub failure: Option<Failure>,
}

/// Something that is to happen.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are events, which are as large as that")]
pub(crate) enum Happening {
    /// For a member's node, or for the work that it asked for.
    Node(Process, ToNode),
    /// A member dials another.
    Dial(Call),
    /// A call arrives at whom it is for.
    Ring(Call),
    /// The next frames towards this end are due.
    Arrive(ConnectionId, End),
    /// This end learns that its link is gone.
    LinkEnds(ConnectionId, End),
    /// A link over a cut that lasts gives up.
    KeepAlive(ConnectionId),
    /// A client asks for something.
    ClientAsks(usize),
    /// An answer reaches its client.
    AnswerArrives(RequestToken),
    /// A client gives up waiting.
    ClientGivesUp(RequestToken),
    /// The operator gives up waiting.
    OperatorGivesUp(RequestToken),
    /// The operator looks after a member that lost its disk.
    Care(NodeId),
    /// The operator has the group that one survivor is left of grow.
    GrowBack,
    /// The operator sees to it that the group knows where a member is.
    Readdress(NodeId),
    /// The planned fault of this number strikes.
    Fault(usize),
    /// Something that a fault did is undone.
    Lift(Lift),
    /// Faults are over; from now on everything heals.
    Heal,
    /// Clients have asked enough.
    LastCall,
    /// Is the world whole again?
    Look,
}

/// What a process is told, or does for its node.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are events, which are as large as that")]
pub(crate) enum ToNode {
    /// An event for the node itself.
    Event(Event),
    /// Its deadline may have come.
    Wake,
    /// What queued up was handled: now the batch as a whole.
    Flush,
    /// The log has done its batch.
    LogWork,
    /// The log has nothing to do for a while.
    LogIdle,
    /// The machine has applied its batch.
    Apply,
    /// A piece of snapshot work is done.
    SnapshotWork,
}

/// The end of a fault.
#[derive(Debug)]
pub(crate) enum Lift {
    Mend(Vec<(NodeId, NodeId)>),
    Start(NodeId),
    Resume(Process),
    PutBack(NodeId),
    /// Not the end of one: the beginning of the next.
    CutOff(NodeId, u64),
    DiskSpeed(NodeId),
    Room(NodeId),
    NetworkSpeed,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults strike.
    Stormy,
    /// Faults are over, clients still ask.
    Calm,
    /// Clients have stopped; all must agree.
    Settling,
    /// The members are changed once more.
    Wishing,
    /// All members answer the last questions.
    Asking,
    /// Done.
    Over,
}

/// Where a run is narrated to.
pub type Narrator<'a> = Box<dyn FnMut(&str) + 'a>;

pub(crate) type ModelInput<M, W> = <<W as Workload<M>>::Model as Model>::Input;
pub(crate) type ModelOutput<M, W> = <<W as Workload<M>>::Model as Model>::Output;

type OpenRequests<M, W> = BTreeMap<RequestToken, Open<ModelInput<M, W>, ModelOutput<M, W>>>;

/// A simulated world for the machine `M` under the workload `W`.
pub struct World<'a, M: StateMachine, W: Workload<M>> {
    pub(crate) plan: Plan,
    pub(crate) workload: W,
    pub(crate) now: WorldTime,
    pub(crate) phase: Phase,
    pub(crate) random: Random,
    pub(crate) client_random: Random,
    pub(crate) members: BTreeMap<NodeId, Member<M>>,
    /// Those that founded the group.
    pub(crate) founding: Membership,
    /// The newest committed membership.
    pub(crate) committed: Membership,
    /// Members that store no payloads.
    pub(crate) witnesses: BTreeSet<NodeId>,
    /// The name of the next member to come: none is used twice.
    pub(crate) next_member: u64,
    /// Members whose addresses the group does not know yet, and how they move.
    pub(crate) moving: BTreeMap<NodeId, Move>,
    /// Whether a quorum was lost for good, which happens once; and who, left behind
    /// then, has not been told yet that it is out.
    pub(crate) was_recovered: bool,
    /// Until the survivor has shown of which group it is the only member now.
    pub(crate) is_recovering: bool,
    pub(crate) left_behind: BTreeSet<NodeId>,
    /// Voters that were asked to go, nobody knows with what outcome.
    pub(crate) maybe_gone: usize,
    /// What the operator asked for and waits for.
    pub(crate) wishes: BTreeMap<RequestToken, Wished>,
    pub(crate) next_call: u64,
    /// The first that was saved, for a planted bug to save again.
    pub(crate) first_sidecar: Option<Bytes>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) open: OpenRequests<M, W>,
    pub(crate) next_token: u64,
    /// Those whom a follower failed to send a snapshot in the leader's place.
    pub(crate) without_delegate: BTreeSet<NodeId>,
    /// Members that have not been asked the last questions.
    pub(crate) to_ask: Vec<NodeId>,
    pub(crate) history: History<ModelInput<M, W>, ModelOutput<M, W>>,
    pub(crate) ghosts: Ghosts,
    pub(crate) report: Report,
    pub(crate) digest: Digest,
    queue: BinaryHeap<Scheduled>,
    scheduled: u64,
    narrator: Option<Narrator<'a>>,
}

struct Scheduled {
    at: WorldTime,
    number: u64,
    what: Happening,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first; we want the earliest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl<'a, M: StateMachine, W: Workload<M>> World<'a, M, W> {
    /// The world of `plan`, before its first moment.
    pub fn new(mut plan: Plan, workload: W) -> Self {
        if plan.sabotage == Some(Sabotage::HideDrift) {
            // One runs far too slow for the others.
            plan.clock_rates_ppm.fill(1_600_000);
            if let Some(first) = plan.clock_rates_ppm.first_mut() {
                *first = 400_000;
            }
            plan.lease_drift_ppm = Some(200);
        }
        let mut random = Random::new(plan.seed ^ 0x776f_726c_6421);
        let ids = (1..=plan.members).map(NodeId);
        let client_random = random.split();
        let founding = Membership::of(ids.clone());
        let founder = |id| {
            let mut member = Member::new(id, &plan, Begins::Founding, random.split());
            let place = |member| (member, Place { member, moves: 0 }.to_string());
            member.told = founding.iter().map(place).collect();
            (id, member)
        };
        let members = ids.clone().map(founder).collect();
        Self {
            workload,
            now: 0,
            phase: Phase::Stormy,
            client_random,
            members,
            committed: founding.clone(),
            founding,
            witnesses: BTreeSet::new(),
            next_member: plan.members + 1,
            moving: BTreeMap::new(),
            was_recovered: false,
            is_recovering: false,
            left_behind: BTreeSet::new(),
            maybe_gone: 0,
            wishes: BTreeMap::new(),
            next_call: 0,
            first_sidecar: None,
            network: Network::new(),
            clients: (0..plan.clients).map(|number| Client::new(number, plan.members)).collect(),
            open: BTreeMap::new(),
            next_token: 1,
            without_delegate: BTreeSet::new(),
            to_ask: Vec::new(),
            history: History::new(),
            ghosts: Ghosts::default(),
            report: Report::of_one_world(),
            digest: Digest::default(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            narrator: None,
            random,
            plan,
        }
    }

    /// Tells what happens, line by line.
    #[must_use]
    pub fn narrated(mut self, narrator: Narrator<'a>) -> Self {
        self.narrator = Some(narrator);
        self
    }

    /// Lets the world run to its end.
    pub fn run(mut self) -> Outcome {
        let run = catch_unwind(AssertUnwindSafe(|| self.run_to_the_end()));
        let run = run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(Breach(Property::NoPanic, text.unwrap_or_default()))
        });
        let failure =
            run.err().map(|Breach(property, detail)| Failure { property, at_us: self.now, detail });
        if let Some(failure) = &failure {
            self.tell(|| format!("FAILED: {failure}"));
        }
        self.report.virtual_us = self.now;
        self.report.operations = self.history.operations().len() as u64;
        Outcome { report: self.report, trace: self.digest.value(), failure }
    }

    fn run_to_the_end(&mut self) -> Result<(), Breach> {
        self.begin()?;
        while self.phase != Phase::Over {
            let Some(Scheduled { at, what, .. }) = self.queue.pop() else {
                return Err(Breach(Property::Liveness, "nothing is left to happen".into()));
            };
            assert!(at >= self.now, "time went back");
            self.now = at;
            self.report.events += 1;
            self.digest.word(at);
            if self.report.events > EVENTS_MAX {
                return Err(Breach(Property::Liveness, "it does not come to an end".into()));
            }
            self.happen(what)?;
        }
        self.judge()
    }

    fn begin(&mut self) -> Result<(), Breach> {
        let plan = self.plan.to_string();
        self.tell(|| plan);
        for id in self.founding.voters.clone() {
            self.start(id)?;
        }
        for client in 0..self.clients.len() {
            let at = self.client_random.below(self.plan.election_timeout_us * 3);
            self.after(at, Happening::ClientAsks(client));
        }
        for (number, planned) in self.plan.faults.clone().into_iter().enumerate() {
            self.after(planned.at_us, Happening::Fault(number));
        }
        self.after(self.plan.active_us, Happening::Heal);
        Ok(())
    }

    fn happen(&mut self, what: Happening) -> Result<(), Breach> {
        match what {
            Happening::Node(process, what) => return self.deliver(process, what),
            Happening::Ring(call) => return self.ring(call),
            Happening::Arrive(connection, end) => return self.arrive(connection, end),
            Happening::LinkEnds(connection, end) => return self.link_ends(connection, end),
            Happening::OperatorGivesUp(token) => return self.operator_gives_up(token),
            Happening::ClientGivesUp(token) => return self.client_gives_up(token),
            Happening::Lift(lift) => return self.lift(lift),
            Happening::Fault(number) => return self.strike(self.plan.faults[number].fault),
            Happening::Heal => return self.heal(),
            Happening::Look => return self.look(),
            Happening::Dial(call) => self.dial(call),
            Happening::Care(id) => self.care(id),
            Happening::Readdress(id) => self.readdress(id),
            Happening::GrowBack => self.grow_back(),
            Happening::KeepAlive(connection) => self.keep_alive(connection),
            Happening::ClientAsks(client) => self.client_asks(client),
            Happening::AnswerArrives(token) => self.answer_arrives(token),
            Happening::LastCall => {
                self.phase = Phase::Settling;
                self.tell(|| "clients stop; all members must agree".into());
                self.after(0, Happening::Look);
            }
        }
        Ok(())
    }

    /// The outcome of a check, unless it is of a property that is not checked.
    pub(crate) fn heed<T>(&self, check: Result<T, Breach>, otherwise: T) -> Result<T, Breach> {
        match check {
            Err(Breach(property, _)) if self.plan.unchecked.contains(&property) => Ok(otherwise),
            check => check,
        }
    }

    /// Schedules `what`, `delay_us` from now.
    pub(crate) fn after(&mut self, delay_us: u64, what: Happening) {
        self.at(self.now + delay_us, what);
    }

    pub(crate) fn at(&mut self, at: WorldTime, what: Happening) {
        self.scheduled += 1;
        self.queue.push(Scheduled { at, number: self.scheduled, what });
    }

    pub(crate) fn count(&mut self, situation: Situation) {
        self.report.count(situation);
    }

    /// Tells the narrator, if there is one.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(narrator) = &mut self.narrator {
            let mut line = format!("{:>12.6} s  ", self.now as f64 / 1e6);
            line.write_str(&what()).expect("a string takes all");
            narrator(&line);
        }
    }

    pub(crate) fn is_narrated(&self) -> bool {
        self.narrator.is_some()
    }
}
