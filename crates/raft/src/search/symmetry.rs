//! Members that begin alike are alike: of states that differ only in who is who,
//! one is visited.
//!
//! Every part of a state (a member with its disk, a message, the ghost) gets a
//! fingerprint under each renaming of the members that leaves the beginning and
//! the rules as they are; a state's is the least of those of its renamings. A part
//! is fingerprinted by its `Debug` text with the names replaced, maps and sets
//! summed up entry by entry: so no field can be forgotten here. Each distinct
//! part is done once.

use super::scene::Rules;
use super::table::{ByFingerprint, mix};
use super::world::{Shared, World};
use crate::NodeId;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{Debug, Write as _};
use core::hash::Hash;

/// The renamings, and what is known of parts under each.
pub(crate) struct Symmetry {
    /// Who is who: `renaming[id]` takes the place of member `id`.
    renamings: Vec<Vec<usize>>,
    known: ByFingerprint<Vec<u64>>,
    text: String,
}

impl Symmetry {
    /// Every renaming that leaves the beginning of a search as it is.
    pub(crate) fn of(start: &World) -> Self {
        let all = permutations(start.members.len());
        let nothing = all[0].clone();
        let mut symmetry =
            Self { renamings: all, known: ByFingerprint::default(), text: String::new() };
        let under = symmetry.each(start);
        // Of voters that are alike, a leader asks the one of the lower name about a read.
        let chooses = start.left.reads > 0;
        let fits = |(renaming, fingerprint): &(Vec<usize>, u64)| {
            let is_nobodys = *renaming == nothing;
            *fingerprint == under[0] && keeps(&start.rules, renaming) && (is_nobodys || !chooses)
        };
        let renamings = symmetry.renamings.into_iter().zip(under.iter().copied());
        let renamings: Vec<_> = renamings.filter(fits).map(|(renaming, _)| renaming).collect();
        assert_eq!(renamings[0], nothing, "changing nothing comes first");
        Self { renamings, known: ByFingerprint::default(), text: String::new() }
    }

    /// How many states are one.
    pub(crate) fn size(&self) -> usize {
        self.renamings.len()
    }

    /// Who takes whose place under each of them; under the first, nobody.
    pub(crate) fn renamings(&self) -> &[Vec<usize>] {
        &self.renamings
    }

    /// The same for states whose members and ghost differ only in who is who.
    pub(crate) fn name(&mut self, world: &World) -> u64 {
        let mut sums = vec![0; self.renamings.len()];
        for member in &world.members {
            self.add(member, 1, &mut sums);
        }
        self.add(&world.ghost, 3, &mut sums);
        sums.into_iter().map(mix).min().expect("there is one renaming at least")
    }

    /// The fingerprint of a part of this kind under each renaming.
    pub(crate) fn under<T: Debug>(&mut self, part: &Shared<T>, kind: u64) -> Vec<u64> {
        let Self { renamings, text, .. } = self;
        text.clear();
        write!(text, "{:?}", part.value).expect("a string takes all");
        let under = |renaming: &Vec<usize>| Reader::new(text, renaming).read();
        renamings.iter().map(|renaming| mix(under(renaming) ^ kind)).collect()
    }

    /// The same for states that differ only in who is who.
    pub(crate) fn fingerprint(&mut self, world: &World) -> u64 {
        if self.renamings.len() == 1 {
            return world.fingerprint();
        }
        self.each(world).into_iter().min().expect("there is one renaming at least")
    }

    /// A state's fingerprint under each renaming.
    fn each(&mut self, world: &World) -> Vec<u64> {
        let mut sums = vec![world.left_fingerprint(); self.renamings.len()];
        for member in &world.members {
            self.add(member, 1, &mut sums);
        }
        for envelope in &world.network {
            self.add(envelope, 2, &mut sums);
        }
        self.add(&world.ghost, 3, &mut sums);
        sums
    }

    fn add<T: Debug + Hash>(&mut self, part: &Shared<T>, kind: u64, sums: &mut [u64]) {
        let Self { renamings, known, text } = self;
        let under = known.entry(part.hash ^ kind).or_insert_with(|| {
            text.clear();
            write!(text, "{:?}", part.value).expect("a string takes all");
            let under = |renaming: &Vec<usize>| Reader::new(text, renaming).read();
            renamings.iter().map(under).collect()
        });
        for (sum, fingerprint) in sums.iter_mut().zip(under) {
            *sum = sum.wrapping_add(mix(*fingerprint ^ kind));
        }
    }

    /// Forgets what is known, to be known again where it is needed.
    pub(crate) fn forget_beyond(&mut self, parts_max: usize) {
        if self.known.len() > parts_max {
            self.known = ByFingerprint::default();
        }
    }
}

/// Whether the rules are the same for everybody so renamed.
fn keeps(rules: &Rules, renaming: &[usize]) -> bool {
    let nobody: Vec<usize> = (0..renaming.len()).collect();
    let texts = |renaming: &[usize]| {
        let each = rules
            .changes
            .iter()
            .map(|changes| Reader::new(&format!("{changes:?}"), renaming).read());
        sorted(each.collect())
    };
    let links = |renaming: &[usize]| {
        let ends = rules.links.iter().map(|&(one, other)| (renaming[one], renaming[other]));
        sorted(ends.map(|(one, other)| (one.min(other), one.max(other))).collect())
    };
    let ticks = rules.ticks.iter().map(|(steps, paused)| {
        let mut renamed = steps.clone();
        for (id, step) in steps.iter().enumerate() {
            renamed[renaming[id]] = *step;
        }
        (renamed, paused.map(|id| renaming[id]))
    });
    texts(renaming) == texts(&nobody)
        && links(renaming) == links(&nobody)
        && sorted(ticks.collect()) == sorted(rules.ticks.clone())
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

/// All orders of `0..size`, that of the numbers first.
fn permutations(size: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..size {
        let longer = |shorter: Vec<usize>| {
            let free = (0..size).filter(|id| !shorter.contains(id)).collect::<Vec<_>>();
            free.into_iter().map(move |id| [&shorter[..], &[id]].concat())
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// Takes the fingerprint of a `Debug` text.
struct Reader<'a> {
    rest: &'a [u8],
    renaming: &'a [usize],
}

const NAME: &[u8] = b"NodeId(";
const PAIR: &[u8] = b"(NodeId(";
const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

impl<'a> Reader<'a> {
    fn new(text: &'a str, renaming: &'a [usize]) -> Self {
        Self { rest: text.as_bytes(), renaming }
    }

    fn read(mut self) -> u64 {
        self.group(false)
    }

    /// Up to the end of a group: in braces the order of entries means nothing.
    fn group(&mut self, unordered: bool) -> u64 {
        let (mut sum, mut entry) = (0_u64, EMPTY);
        while let Some((&byte, rest)) = self.rest.split_first() {
            if byte == b'N' && self.rest.starts_with(NAME) {
                self.rest = &self.rest[NAME.len()..];
                let name = NodeId(self.number());
                let id = (name.0 as usize).checked_sub(1).and_then(|id| self.renaming.get(id));
                let name = id.map_or(name.0, |id| *id as u64 + 1);
                entry = mix(entry ^ name);
                continue;
            }
            self.rest = rest;
            match byte {
                b'{' => entry = mix(entry ^ self.group(true)),
                // A row of pairs that begin with names is a map in another shape.
                b'[' => {
                    let is_map = self.rest.starts_with(PAIR);
                    entry = mix(entry ^ self.group(is_map));
                }
                b'(' => entry = mix(entry ^ self.group(false)),
                b'}' | b')' | b']' => break,
                b',' if unordered => {
                    sum = sum.wrapping_add(mix(entry));
                    entry = EMPTY;
                }
                b' ' => {}
                _ => {
                    entry = (entry ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    entry = entry.rotate_left(23);
                }
            }
        }
        mix(sum.wrapping_add(mix(entry)))
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            if !byte.is_ascii_digit() {
                break;
            }
            number = number * 10 + u64::from(byte - b'0');
        }
        number
    }
}

#[test]
fn names_are_replaced_and_the_order_in_sets_means_nothing() {
    let read = |text, renaming: &[usize]| Reader::new(text, renaming).read();
    let (same, swapped) = ([0, 1, 2], [1, 0, 2]);
    let text = "A { votes: {NodeId(1): [NodeId(2)], NodeId(2): []}, at: NodeId(3) }";
    let other = "A { votes: {NodeId(1): [], NodeId(2): [NodeId(1)]}, at: NodeId(3) }";
    assert_eq!(read(text, &swapped), read(other, &same));
    assert_ne!(read(text, &same), read(other, &same));
    assert_ne!(read("[NodeId(1), NodeId(2)]", &same), read("[NodeId(2), NodeId(1)]", &same));
    let (row, other) = ("[(NodeId(1), 7), (NodeId(2), 8)]", "[(NodeId(1), 8), (NodeId(2), 7)]");
    assert_eq!(read(row, &swapped), read(other, &same));
    assert_ne!(read(row, &same), read(other, &same));
    assert_ne!(read("{(1, 2)}", &same), read("{(2, 1)}", &same));
    assert_eq!(permutations(3).len(), 6);
}
