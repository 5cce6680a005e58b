//! Suite E, liveness: networks that are partitioned in part.
//!
//! Every shape that a network of three or five members can take is tried: for
//! each pair, whether the two hear each other; with three, each way by itself.
//! Where a majority can elect one of its own, there must be a leader after a
//! bounded time; it must stay, and stay on when the network is whole again. Time
//! is virtual, delays and timeouts are drawn from a seed.
//!
//! Which shapes those are: some member must hear a majority, itself included, in
//! which its log is as good as any. Wherever all of a majority hear each other
//! there is one: what is committed stands with one of them. Where only a hub hears
//! a majority and its log is behind, nobody can be elected: an old log may not win
//! (§5.4.1), and a newer one is not heard. That is Raft, and no fault of a rule.

use super::catalogue;
use super::scene::disk;
use super::world::name;
use crate::testing::Dice;
use crate::{
    Config, Effect, Effects, Input, Membership, Memberships, Message, Moment, NodeId, Raft,
    Restored, Role, Run, Term, Time,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const TIMEOUT_US: u64 = 1_000_000;
/// A leader must be found within so many election timeouts, and stay for as many.
const TIMEOUTS: u64 = 20;

/// Whose messages arrive where: for each pair a bit for either way.
#[derive(Clone, Copy, Debug)]
struct Shape {
    size: usize,
    up: u32,
    down: u32,
}

impl Shape {
    fn pairs(size: usize) -> u32 {
        1 << (size * (size - 1) / 2)
    }

    /// Every shape of a network of so many in which links work both ways.
    fn all(size: usize) -> impl Iterator<Item = Self> {
        (0..Self::pairs(size)).map(move |pairs| Self { size, up: pairs, down: pairs })
    }

    /// Every shape, with links that work one way.
    fn all_one_way(size: usize) -> impl Iterator<Item = Self> {
        let pairs = Self::pairs(size);
        (0..pairs).flat_map(move |up| (0..pairs).map(move |down| Self { size, up, down }))
    }

    fn arrives(self, from: usize, to: usize) -> bool {
        let (low, high) = (from.min(to), from.max(to));
        let pairs = if from < to { self.up } else { self.down };
        from == to || pairs >> (high * (high - 1) / 2 + low) & 1 == 1
    }

    fn hears(self, one: usize, other: usize) -> bool {
        self.arrives(one, other) && self.arrives(other, one)
    }

    /// Whether all of some majority hear each other.
    fn has_connected_majority(self) -> bool {
        (0..1_u32 << self.size).any(|set| {
            let within: Vec<usize> = (0..self.size).filter(|id| set >> id & 1 == 1).collect();
            within.len() > self.size / 2
                && within.iter().all(|&one| within.iter().all(|&other| self.hears(one, other)))
        })
    }

    /// Whether somebody hears a majority in which its log is as good as any.
    fn can_elect(self, disks: &[Restored]) -> bool {
        let last = |id: usize| disks[id].trail.last();
        (0..self.size).any(|id| {
            let votes = |other: &usize| self.hears(id, *other) && last(*other) <= last(id);
            (0..self.size).filter(votes).count() > self.size / 2
        })
    }
}

/// Members, and what is on its way between them.
struct Network {
    shape: Shape,
    members: Vec<Raft>,
    now: Time,
    /// By the time of their arrival, and in the order in which they were sent.
    under_way: BTreeMap<(Time, u64), (usize, NodeId, Message)>,
    sent: u64,
    dice: Dice,
}

impl Network {
    fn new(shape: Shape, disks: &[Restored], pre_vote: bool, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let now = Time(TIMEOUT_US);
        let member = |(id, disk): (usize, &Restored)| {
            let config = Config {
                pre_vote,
                election_timeout_us: TIMEOUT_US,
                election_jitter_us: TIMEOUT_US,
                heartbeat_interval_us: TIMEOUT_US / 3,
                ..Config::new(name(id))
            };
            let moment = Moment { now, random: dice.below(u64::MAX) };
            Raft::new(config, disk.clone(), moment).expect("a sound disk")
        };
        let members = disks.iter().enumerate().map(member).collect();
        Self { shape, members, now, under_way: BTreeMap::new(), sent: 0, dice }
    }

    /// Lets so much time go by.
    fn live(&mut self, micros: u64, mut look: impl FnMut(&Self)) {
        let end = self.now.after(micros);
        loop {
            let deadlines = self.members.iter().enumerate();
            let wake = deadlines.filter_map(|(id, raft)| Some((raft.deadline()?, id))).min();
            let arrival = self.under_way.keys().next().copied();
            let wakes = wake.filter(|(at, _)| arrival.is_none_or(|(arrives, _)| *at <= arrives));
            let (id, input) = match (wakes, arrival) {
                (Some((at, id)), _) if at <= end => {
                    self.now = self.now.max(at);
                    (id, Input::Wake)
                }
                (None, Some(key)) if key.0 <= end => {
                    self.now = self.now.max(key.0);
                    let (to, from, message) = self.under_way.remove(&key).expect("it is the next");
                    (to, Input::Receive { from, message })
                }
                _ => break,
            };
            self.step(id, input);
            look(self);
        }
        self.now = end;
    }

    fn step(&mut self, id: usize, input: Input) {
        let moment = Moment { now: self.now, random: self.dice.below(u64::MAX) };
        let mut effects = Effects::new();
        self.members[id].step(moment, input, &mut effects);
        for effect in effects.list {
            match effect {
                // Disks are quick here.
                Effect::Persist(persist) => {
                    self.step(id, Input::Persisted { ticket: persist.ticket });
                }
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::SendEntries { to, term, prev, last_max, leader_commit, round, .. } => {
                    let (prev_log, trail) = (prev, self.members[id].trail());
                    let runs = trail.runs_between(prev.index.next(), last_max);
                    let memberships = Memberships::NONE;
                    let message =
                        Message::Append { term, prev_log, runs, memberships, leader_commit, round };
                    self.send(id, to, message);
                    self.step(id, Input::Sent { to, term, last: last_max, bytes: 1 });
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let to = to.0 as usize - 1;
        if self.shape.arrives(from, to) {
            let at = self.now.after(1_000 + self.dice.below(20_000));
            self.sent += 1;
            self.under_way.insert((at, self.sent), (to, name(from), message));
        }
    }

    /// The leader that a majority follows.
    fn leader(&self) -> Option<(usize, Term)> {
        let leads = |id: &usize| {
            let raft = &self.members[*id];
            let follows =
                |other: &&Raft| other.leader() == Some(raft.id()) && other.term() == raft.term();
            raft.role() == Role::Leader
                && self.members.iter().filter(follows).count() > self.members.len() / 2
        };
        (0..self.members.len()).find(leads).map(|id| (id, self.members[id].term()))
    }
}

/// Why no leader was found, or did not stay.
fn fails(
    shape: Shape,
    disks: &[Restored],
    settled: bool,
    pre_vote: bool,
    seed: u64,
) -> Option<String> {
    let whole = Shape { up: u32::MAX, down: u32::MAX, ..shape };
    let mut network = Network::new(if settled { whole } else { shape }, disks, pre_vote, seed);
    if settled {
        // Somebody leads, and all is well, until links break.
        network.live(4 * TIMEOUT_US, |_| {});
        network.shape = shape;
    }
    network.live(TIMEOUTS * TIMEOUT_US, |_| {});
    let Some(leader) = network.leader() else { return Some(String::from("nobody leads")) };
    for (shape, when) in [(shape, "in the same shape"), (whole, "when links are back")] {
        network.shape = shape;
        let mut stays = true;
        network.live(TIMEOUTS * TIMEOUT_US, |network| stays &= network.leader() == Some(leader));
        if !stays {
            return Some(format!("a leader does not stay {when}"));
        }
        network.step(leader.0, Input::Propose { count: 1 });
        network.live(TIMEOUT_US, |_| {});
        let raft = &network.members[leader.0];
        if raft.commit_index() != raft.last().index {
            return Some(format!("nothing can be committed {when}"));
        }
    }
    None
}

/// Disks of so many in which the first led once; behind are those of which `lags`.
fn disks(size: usize, lags: impl Fn(usize) -> bool) -> Vec<Restored> {
    let membership = Membership::of((0..size).map(name));
    let log = |id: usize| Run::new(1, 1, if lags(id) { 1 } else { 3 });
    (0..size).map(|id| disk(&membership, 1, Some(1), &[log(id)])).collect()
}

/// Tries shapes; says in how many a majority was connected, and somebody could be
/// elected.
fn try_shapes(shapes: impl Iterator<Item = Shape>, seeds: u64) -> (usize, usize) {
    let (mut connected, mut electing) = (0, 0);
    for shape in shapes {
        // A minority is behind; with a leader when links broke, nobody is.
        let (size, behind) = (shape.size, disks(shape.size, |id| id > shape.size / 2));
        for (settled, start) in [(false, behind), (true, disks(size, |_| false))] {
            if !shape.can_elect(&start) {
                assert!(!shape.has_connected_majority(), "{shape:?}");
                continue;
            }
            electing += 1;
            connected += usize::from(shape.has_connected_majority());
            for seed in 0..seeds {
                let why = fails(shape, &start, settled, true, seed);
                assert_eq!(why, None, "{shape:?}, settled before: {settled}, seed {seed}");
            }
        }
    }
    (connected, electing)
}

#[test]
fn three_find_a_leader_that_stays_in_every_shape() {
    assert_eq!(try_shapes(Shape::all(3), 20), (14, 14));
}

#[test]
fn three_find_a_leader_that_stays_though_links_work_one_way() {
    assert_eq!(try_shapes(Shape::all_one_way(3), 5), (74, 74));
}

#[test]
fn five_find_a_leader_that_stays_in_every_shape() {
    assert_eq!(try_shapes(Shape::all(5), 1), (1272, 1950));
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_five_find_a_leader_that_stays_in_every_shape() {
    assert_eq!(try_shapes(Shape::all(5), 100), (1272, 1950));
}

/// A member that hears nobody raises its term again and again, and takes the
/// leader down when it is back.
#[test]
fn mutant_36_no_pre_vote() {
    let start = disks(3, |_| false);
    for (tried, shape) in Shape::all(3).filter(|it| it.has_connected_majority()).enumerate() {
        if let Some(why) = fails(shape, &start, true, false, 1) {
            assert_eq!(fails(shape, &start, true, true, 1), None, "with pre-vote");
            let (found, after) = (format!("liveness: {why}"), format!("{} of 8 shapes", tried + 1));
            let right = "every shape of 3 and of 5: a leader, and it stays";
            catalogue::line("36\tno pre-vote", &found, "shapes of 3 members", &after, right);
            return;
        }
    }
    panic!("the wrong variant is not caught");
}
