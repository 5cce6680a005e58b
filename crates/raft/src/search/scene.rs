//! Where a search begins, what may happen in it, and how much of that.

use super::check::Ghost;
use super::mutant::Mutant;
use super::story;
use super::world::{Action, Envelope, Member, Shared, World, name};
use crate::{
    Change, Config, Membership, Message, Moment, NodeId, Raft, Restored, Run, Term, Time, Trail,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Of something that may happen any number of times.
pub(crate) const ANY: u8 = u8::MAX;

/// How much may happen in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// Nobody campaigns beyond this term.
    pub(crate) term_max: u64,
    /// Nobody whose log is so long campaigns, or takes what clients bring; any
    /// length will do, if zero.
    pub(crate) log_max: u64,
    /// Elections that are started.
    pub(crate) campaigns: u8,
    /// Entries that clients bring.
    pub(crate) proposals: u8,
    /// Heartbeats.
    pub(crate) beats: u8,
    /// Crashes.
    pub(crate) crashes: u8,
    /// Messages delivered once more than they were sent.
    pub(crate) repeats: u8,
    /// Changes of membership that leaders are asked for.
    pub(crate) changes: u8,
    /// Snapshots that let a log go.
    pub(crate) compactions: u8,
    /// Reads that clients ask for.
    pub(crate) reads: u8,
    /// Transfers that are asked for.
    pub(crate) transfers: u8,
    /// Steps of the clocks.
    pub(crate) ticks: u8,
    /// Disks that are lost.
    pub(crate) wipes: u8,
}

impl Bounds {
    /// Nothing may happen.
    pub(crate) const NOTHING: Self = Self {
        term_max: 0,
        log_max: 0,
        campaigns: 0,
        proposals: 0,
        beats: 0,
        crashes: 0,
        repeats: 0,
        changes: 0,
        compactions: 0,
        reads: 0,
        transfers: 0,
        ticks: 0,
        wipes: 0,
    };

    /// As good as no bounds.
    pub(crate) const NONE: Self = Self {
        term_max: u64::MAX,
        log_max: 0,
        campaigns: ANY,
        proposals: ANY,
        beats: ANY,
        crashes: ANY,
        repeats: ANY,
        changes: ANY,
        compactions: ANY,
        reads: ANY,
        transfers: ANY,
        ticks: ANY,
        wipes: ANY,
    };
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "terms to {}", self.term_max)?;
        if self.log_max > 0 {
            write!(f, ", logs to {}", self.log_max)?;
        }
        for (times, one, many) in [
            (self.campaigns, "election", "elections"),
            (self.proposals, "proposal", "proposals"),
            (self.beats, "heartbeat", "heartbeats"),
            (self.crashes, "crash", "crashes"),
            (self.repeats, "message twice", "messages twice"),
            (self.changes, "change", "changes"),
            (self.compactions, "snapshot", "snapshots"),
            (self.reads, "read", "reads"),
            (self.transfers, "transfer", "transfers"),
            (self.ticks, "step of time", "steps of time"),
            (self.wipes, "lost disk", "lost disks"),
        ] {
            match times {
                0 => {}
                1 => write!(f, ", 1 {one}")?,
                ANY => write!(f, ", {many}")?,
                _ => write!(f, ", {times} {many}")?,
            }
        }
        Ok(())
    }
}

/// How far each member's clock goes on in one step of real time, and whose stood
/// still together with its process, if one's did.
pub(crate) type Tick = (Vec<u64>, Option<usize>);

/// What does not change in a search.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, on or off")]
pub(crate) struct Rules {
    /// As in [`Config`].
    pub(crate) pre_vote: bool,
    /// As in [`Config`].
    pub(crate) check_quorum: bool,
    /// Whether there are leases; clocks are off by half at most.
    pub(crate) lease: bool,
    /// As `snapshots_from_followers` in [`Config`].
    pub(crate) delegates: bool,
    /// Whether `AppendHeard` is delivered: where nothing rests on it, it is lost.
    pub(crate) hears: bool,
    /// Whether a message that was delivered may be delivered again, any number of
    /// times, instead of as often as the bounds say.
    pub(crate) stays: bool,
    /// Whether entries are sent later than they may be.
    pub(crate) sends: bool,
    /// Whether what is committed is applied later than it may be.
    pub(crate) applies: bool,
    /// Whether nobody campaigns before its time has come, by its own clock.
    pub(crate) waits: bool,
    /// Everybody's rank in elections; the same, if empty.
    pub(crate) ranks: Vec<u32>,
    /// Whether a witness must hold nothing that no other voter has on its disk. (With
    /// two others at most: among more, what one alone had may be cut.)
    pub(crate) witnessed: bool,
    /// What a leader may be asked to change.
    pub(crate) changes: Vec<Vec<Change>>,
    /// How clocks may go on.
    pub(crate) ticks: Vec<Tick>,
    /// Between whom messages arrive; everywhere, if empty.
    pub(crate) links: Vec<(usize, usize)>,
    /// The wrong variant that is searched, if one is.
    pub(crate) mutant: Option<Mutant>,
}

/// An election timeout, where clocks matter.
pub(crate) const TIMEOUT: u64 = 4;

impl Rules {
    fn drift(&self) -> Option<u32> {
        let without_bound = self.mutant == Some(Mutant::LeaseWithoutBound);
        self.lease.then_some(if without_bound { 0 } else { 500_000 })
    }

    pub(crate) fn has_clocks(&self) -> bool {
        self.lease || !self.ticks.is_empty()
    }

    /// The fixed present (see `rebase`).
    pub(crate) fn now(&self) -> Time {
        Time(if self.has_clocks() { 2 * TIMEOUT } else { 2_000_000 })
    }

    /// A member that begins, or begins again, with this disk.
    pub(crate) fn start(&self, id: usize, disk: &Restored) -> Raft {
        let mut config = Config {
            pre_vote: self.pre_vote,
            check_quorum: self.check_quorum,
            snapshots_from_followers: self.delegates,
            message_bytes_max: 1,
            ..Config::new(name(id))
        };
        if self.has_clocks() {
            config.election_timeout_us = TIMEOUT;
            config.heartbeat_interval_us = 1;
            config.election_jitter_us = 0;
        }
        config.election_rank = self.ranks.get(id).copied().unwrap_or_default();
        config.lease_drift_ppm = self.drift();
        let moment = Moment { now: self.now(), random: 0 };
        let mut raft = Raft::new(config, disk.clone(), moment).expect("a sound disk");
        if self.mutant == Some(Mutant::PromiseLostInRestart) {
            raft.lease_promise = None;
        }
        raft
    }
}

/// The disk of a member that has this term, vote and log, lawfully come about.
pub(crate) fn disk(membership: &Membership, term: u64, vote: Option<u64>, log: &[Run]) -> Restored {
    let mut disk = Restored::of(membership.clone());
    disk.hard_state.current_term = Term(term);
    disk.hard_state.voted_for = vote.map(NodeId);
    for &run in log {
        disk.trail.append(run);
    }
    disk
}

/// The disk of a member that is not one yet.
pub(crate) fn nobody() -> Restored {
    Restored { trail: Trail::of(Membership::default()), ..Restored::default() }
}

impl World {
    /// Members with these disks, nothing committed yet.
    pub(crate) fn new(disks: Vec<Restored>, bounds: Bounds, rules: Rules) -> Self {
        let mut ghost = Ghost::default();
        let mut members = Vec::new();
        let told = Rc::new(story::beginning(&disks, &rules));
        for (id, disk) in disks.into_iter().enumerate() {
            ghost.begin(name(id), &disk);
            let raft = rules.start(id, &disk);
            members.push(Shared::new(Member::new(raft, disk)));
        }
        let (network, ghost) = (Vec::new(), Shared::new(ghost));
        Self {
            members,
            network,
            ghost,
            left: bounds,
            rules: Arc::new(rules),
            memo: Rc::default(),
            told,
        }
    }

    /// `voters` members, and `others` that are none yet; member 1 leads term 1,
    /// and all voters know that its first entry is committed.
    pub(crate) fn led(voters: usize, others: usize, bounds: Bounds, rules: Rules) -> Self {
        Self::led_after(voters, others, bounds, rules, Self::settled)
    }

    /// The same, and all the others gave member 1 their votes: so they are alike.
    pub(crate) fn led_by_all(voters: usize, others: usize, bounds: Bounds, rules: Rules) -> Self {
        Self::led_after(voters, others, bounds, rules, |world| {
            // Its vote for itself is durable, and those of others are asked for.
            let mut world = world.after(Action::Sync(0));
            while let Some(at) = world
                .network
                .iter()
                .position(|envelope| matches!(envelope.value.message, Message::RequestVote { .. }))
            {
                world = world.after(Action::Deliver(at));
            }
            world.settled()
        })
    }

    fn led_after(
        voters: usize,
        others: usize,
        bounds: Bounds,
        rules: Rules,
        elected: impl FnOnce(Self) -> Self,
    ) -> Self {
        let membership = Membership::of((0..voters).map(name));
        let mut disks = vec![disk(&membership, 0, None, &[]); voters];
        disks.extend(vec![nobody(); others]);
        let beginning = Bounds { term_max: 1, campaigns: 1, beats: 1, ..Bounds::default() };
        let mutant = rules.mutant;
        let stays = rules.stays;
        let rules = Rules { mutant: None, stays: false, ..rules };
        let world = Self::new(disks, beginning, rules.clone());
        let world = elected(world.after(Action::Campaign(0)));
        let mut world = world.after(Action::Beat(0)).settled();
        world.left = bounds;
        world.ruled(Rules { stays, ..rules }).wrong(mutant)
    }

    /// The same state, from which on this wrong variant steps, or the right one.
    pub(crate) fn wrong(mut self, mutant: Option<Mutant>) -> Self {
        let rules = Rules { mutant, ..(*self.rules).clone() };
        for id in 0..self.members.len() {
            let drift = rules.drift();
            self.alter(id, |member| member.raft.config.lease_drift_ppm = drift);
        }
        self.ruled(rules)
    }

    /// The same state under other rules.
    pub(crate) fn ruled(mut self, rules: Rules) -> Self {
        if self.rules.links != rules.links {
            let told = story::links(self.members.len(), &rules.links);
            self = self.telling(told);
        }
        self.rules = Arc::new(rules);
        self.memo = Rc::default();
        self
    }

    /// The same state with other bounds.
    pub(crate) fn bounded(mut self, bounds: Bounds) -> Self {
        self.left = bounds;
        self
    }

    /// What comes of an action that can only go well.
    pub(crate) fn after(&self, action: Action) -> Self {
        let told = self.words(action).into_iter().map(|words| format!("quietly {words}"));
        let after = self.act(action, &mut BTreeMap::new()).expect("it breaks nothing");
        after.telling(told)
    }

    /// All that is under way is lost.
    pub(crate) fn lost(mut self) -> Self {
        let under_way = self.network.iter().map(|envelope| story::sent(&envelope.value));
        let told: Vec<String> = under_way.map(|sent| format!("quietly drop {sent}")).collect();
        self.network.clear();
        self.telling(told)
    }

    /// A message that was delivered before is under way once more.
    pub(crate) fn again(mut self, envelope: Shared<Envelope>) -> Self {
        let told = format!("again {}", story::sent(&envelope.value));
        self.network.push(envelope);
        self.network.sort_by_key(|envelope| envelope.hash);
        self.telling([told])
    }

    /// Adds to how it was set up.
    pub(crate) fn telling(mut self, told: impl IntoIterator<Item = String>) -> Self {
        Rc::make_mut(&mut self.told).extend(told);
        self
    }

    /// Things are delivered and written until this is so.
    pub(crate) fn settled_until(mut self, done: impl Fn(&Self) -> bool) -> Self {
        while !done(&self) {
            let next = self.next_of_itself();
            self = self.after(next.expect("something is under way"));
        }
        self
    }

    /// Everything is delivered and written, until nothing happens.
    pub(crate) fn settled(mut self) -> Self {
        while let Some(next) = self.next_of_itself() {
            self = self.after(next);
        }
        self
    }

    /// What a network and hosts that are well do next.
    fn next_of_itself(&self) -> Option<Action> {
        self.actions().into_iter().find(|action| {
            matches!(
                action,
                Action::Deliver(_) | Action::Sync(_) | Action::Send(..) | Action::Apply(_)
            )
        })
    }
}
