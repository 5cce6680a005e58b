//! Suite G: long random walks of five members, with everything that can happen.
//!
//! What five members can reach cannot be exhausted. A walk takes one action after
//! the other, drawn by weight from a seed: as in the other suites, and also disks
//! that stall, links that break, and snapshots that arrive in part or break off.
//! Every state on the way is checked like any other.

use super::check;
use super::scene::{Bounds, Rules, Tick};
use super::std::println;
use super::suite::{
    CHANGED, COMMITTED, COMMITTED_OLD, COMPACTED, DELEGATED, EARLY, HANDED_OVER, INSTALLED, LEASED,
    LEFT, LOST, PROPOSED, REJECTED, REJOINED, REMOVED, RIVALS, SERVED, TRUNCATED,
};
use super::world::{Action, Met, NEW_DISK, World, name, number};
use super::{Violation, attempt, story};
use crate::roles::RoleState;
use crate::testing::Dice;
use crate::{Change, Input, Message, SnapshotOutcome};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const MEMBERS: usize = 5;
/// Messages under way, at most: others are lost.
const NETWORK_MAX: usize = 40;

/// How likely each kind of action is beside the others.
const WEIGHTS: &[(&str, u64)] = &[
    ("deliver", 460),
    ("sync", 260),
    ("heartbeat", 60),
    ("propose", 50),
    ("campaign", 5),
    ("tick", 7),
    ("read", 30),
    ("ask the rest", 30),
    ("deliver twice", 20),
    ("change", 40),
    ("transfer", 5),
    ("snapshot", 10),
    ("store", 30),
    ("compact", 30),
    ("crash", 8),
    ("wipe", 4),
];

/// What happens besides actions, about once in so many.
const WHIM_EVERY: u64 = 25;

/// Everything that a leader may be asked to change.
fn changes() -> Vec<Vec<Change>> {
    let each = (0..MEMBERS).map(name);
    let single = each.clone().flat_map(|id| {
        [
            Change::AddVoter(id),
            Change::AddLearner(id),
            Change::AddWitness(id),
            Change::Promote(id),
            Change::Promote(id),
            Change::Demote(id),
            Change::Remove(id),
        ]
    });
    // What a lost disk needs is asked for more often.
    let readmitted = each.clone().flat_map(|id| {
        let readmit = Change::Readmit { id, incarnation: NEW_DISK };
        [
            readmit,
            readmit,
            readmit,
            readmit,
            readmit,
            readmit,
            Change::Promote(id),
            Change::Promote(id),
        ]
    });
    let single = single.chain(readmitted);
    let swaps = each.clone().flat_map(|one| {
        let others = each.clone().filter(move |other| *other != one);
        others.map(move |other| vec![Change::Remove(one), Change::AddVoter(other)])
    });
    single.map(|change| vec![change]).chain(swaps).collect()
}

/// Clocks off by half at most, and now and then somebody stood still.
fn ticks(dice: &mut Dice) -> Vec<Tick> {
    let mut ticks = Vec::new();
    for at in 0..12 {
        let mut steps: Vec<u64> = (0..MEMBERS).map(|_| 1 + dice.below(3)).collect();
        let paused = (at < 2).then(|| dice.below(MEMBERS as u64) as usize);
        if let Some(paused) = paused {
            steps[paused] = 0;
        }
        ticks.push((steps, paused));
    }
    ticks
}

/// Where a walk begins: five voters, or three and two that may come.
fn beginning(dice: &mut Dice) -> World {
    let lease = dice.below(2) == 0;
    let rules = Rules {
        pre_vote: dice.below(2) == 0,
        check_quorum: lease || dice.below(2) == 0,
        lease,
        hears: true,
        delegates: true,
        changes: changes(),
        ticks: ticks(dice),
        ..Rules::default()
    };
    let voters = if dice.below(2) == 0 { 5 } else { 3 };
    World::led(voters, MEMBERS - voters, Bounds::NONE, rules)
}

/// Takes so many steps; says what broke, and on which way.
fn walk(seed: u64, steps: usize, met: &mut Met) -> Result<(), Violation> {
    let mut dice = Dice::new(seed);
    let mut world = beginning(&mut dice);
    let mut way = Vec::new();
    for _ in 0..steps {
        world.left = Bounds::NONE;
        if dice.below(WHIM_EVERY) == 0 {
            let what = attempt(|| whim(&mut world, &mut dice, met));
            if let Err(what) = what {
                return Err(Violation { what, way });
            }
        }
        let action = draw(&world, &mut dice);
        let next = attempt(|| {
            let next = world.go(action, met)?;
            check::state(&next, met)?;
            Ok(next)
        });
        way.push((world, action));
        match next {
            Ok(next) => world = next,
            Err(what) => return Err(Violation { what, way }),
        }
        while world.network.len() > NETWORK_MAX {
            let at = dice.below(world.network.len() as u64) as usize;
            if let Err(what) = attempt(|| lose(&mut world, at, met)) {
                return Err(Violation { what, way });
            }
        }
    }
    Ok(())
}

fn draw(world: &World, dice: &mut Dice) -> Action {
    let mut actions = world.actions();
    // A disk is lost once a walk, and only where two others still have theirs.
    let lost = world.members.iter().filter(|it| it.value.disk.replacement.is_some()).count();
    actions.retain(|action| match action {
        Action::Wipe(id) => lost < 2 && world.members[*id].value.disk.replacement.is_none(),
        _ => true,
    });
    let is_there = |kind: &str| actions.iter().any(|action| action.kind() == kind);
    let there: Vec<_> = WEIGHTS.iter().filter(|(kind, _)| is_there(kind)).collect();
    let mut drawn = dice.below(there.iter().map(|(_, weight)| weight).sum());
    let kind = there.iter().find(|(_, weight)| {
        let found = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        found
    });
    let kind = kind.expect("it is below the sum").0;
    let alike: Vec<_> = actions.into_iter().filter(|action| action.kind() == kind).collect();
    alike[dice.below(alike.len() as u64) as usize]
}

/// A message is lost; of a snapshot, the sender learns that.
fn lose(world: &mut World, at: usize, met: &mut Met) -> Result<(), String> {
    let lost = world.network.remove(at);
    if let Message::InstallSnapshot { term, .. } = lost.value.message {
        let (to, outcome) = (lost.value.to, SnapshotOutcome::Failed);
        world.step(number(lost.value.from), Input::SnapshotSent { to, term, outcome }, met)?;
    }
    Ok(())
}

/// What hosts say besides.
fn whim(world: &mut World, dice: &mut Dice, met: &mut Met) -> Result<(), String> {
    let id = dice.below(MEMBERS as u64) as usize;
    let to = name(dice.below(MEMBERS as u64) as usize);
    let raft = &world.members[id].value.raft;
    let (term, base) = (raft.term(), raft.trail().base());
    let leads = matches!(raft.role, RoleState::Leader(_));
    let input = match dice.below(16) {
        0 => Input::DiskStalled,
        1..6 => Input::DiskRecovered,
        6..8 => Input::Wake,
        8..11 if leads => {
            Input::SnapshotProgress { to, term, snapshot: base, received: dice.below(9) }
        }
        _ if to != name(id) => Input::Disconnected { peer: to },
        _ => return Ok(()),
    };
    *met.entry("a host says something else").or_default() += 1;
    world.step(id, input, met)?;
    check::state(world, met)
}

/// Walks from these seeds, and demands that all of this is met.
fn walks(seeds: core::ops::Range<u64>, steps: usize) {
    let mut met = Met::new();
    for seed in seeds.clone() {
        if let Err(violation) = walk(seed, steps, &mut met) {
            if let Some((start, _)) = violation.way.first() {
                println!("{}", story::of(start, &violation));
            }
            panic!("seed {seed}: {} after {} actions", violation.what, violation.way.len());
        }
    }
    println!("{} walks of {steps} actions; met: {met:?}", seeds.end - seeds.start);
    for situation in [
        CHANGED,
        COMMITTED,
        COMMITTED_OLD,
        COMPACTED,
        DELEGATED,
        EARLY,
        HANDED_OVER,
        INSTALLED,
        LEASED,
        LEFT,
        LOST,
        PROPOSED,
        REJECTED,
        REJOINED,
        REMOVED,
        RIVALS,
        SERVED,
        TRUNCATED,
    ] {
        assert!(met.get(situation).is_some_and(|&times| times > 0), "never: {situation}");
    }
}

#[test]
fn five_members_walk() {
    walks(100..300, 1_500);
}

#[test]
#[ignore = "deep: cargo xtask check --deep"]
fn deep_five_members_walk() {
    walks(1_000..2_000, 4_000);
}

#[test]
fn the_same_seed_is_the_same_walk() {
    let met = |seed| {
        let mut met = Met::new();
        assert!(walk(seed, 300, &mut met).is_ok());
        format!("{met:?}")
    };
    assert_eq!(met(7), met(7));
    assert_ne!(met(7), met(8));
}
