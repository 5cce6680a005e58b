//! States that wait to be gone on from, as numbers of their parts: four bytes for
//! each member, each message and the ghost. Each distinct part is kept once.

use super::check::Ghost;
use super::scene::Bounds;
use super::table::ByFingerprint;
use super::world::{Envelope, Member, Shared, World};
use alloc::vec::Vec;

/// The distinct parts of one kind.
struct Pool<T> {
    parts: Vec<Shared<T>>,
    numbers: ByFingerprint<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), numbers: ByFingerprint::default() }
    }
}

impl<T: Clone> Pool<T> {
    fn number(&mut self, part: &Shared<T>) -> u32 {
        *self.numbers.entry(part.hash).or_insert_with(|| {
            self.parts.push(part.clone());
            self.parts.len() as u32 - 1
        })
    }
}

/// A level of a search.
#[derive(Default)]
pub(crate) struct Frontier {
    members: Pool<Member>,
    network: Pool<Envelope>,
    ghosts: Pool<Ghost>,
    bounds: Vec<Bounds>,
    words: Vec<u32>,
    states: usize,
}

impl Frontier {
    pub(crate) fn is_empty(&self) -> bool {
        self.states == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.states
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * size_of::<u32>()
    }

    /// Adds the state numbered `number`.
    pub(crate) fn push(&mut self, number: u32, world: &World) {
        let bounds = self.bounds.iter().rposition(|bounds| *bounds == world.left);
        let bounds = bounds.unwrap_or_else(|| {
            self.bounds.push(world.left);
            self.bounds.len() - 1
        });
        let ghost = self.ghosts.number(&world.ghost);
        let length = world.network.len() as u32;
        self.words.extend([number, bounds as u32, ghost, length]);
        for member in &world.members {
            let part = self.members.number(member);
            self.words.push(part);
        }
        for envelope in &world.network {
            let part = self.network.number(envelope);
            self.words.push(part);
        }
        self.states += 1;
    }

    /// The state that begins at `at`, and where the next one does. `like` has what
    /// is the same in all of them.
    pub(crate) fn unpack(&self, at: usize, like: &World) -> Option<(u32, World, usize)> {
        let (head, rest) = self.words.get(at..)?.split_at_checked(4)?;
        let (members, rest) = rest.split_at(like.members.len());
        let network = &rest[..head[3] as usize];
        let world = World {
            members: members
                .iter()
                .map(|&part| self.members.parts[part as usize].clone())
                .collect(),
            network: network
                .iter()
                .map(|&part| self.network.parts[part as usize].clone())
                .collect(),
            ghost: self.ghosts.parts[head[2] as usize].clone(),
            left: self.bounds[head[1] as usize],
            rules: like.rules.clone(),
            memo: like.memo.clone(),
            told: like.told.clone(),
        };
        Some((head[0], world, at + head.len() + members.len() + network.len()))
    }
}
