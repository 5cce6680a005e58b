//! From key to versions, in the order of keys.
//!
//! The lower level is ours: leaves of up to 64 entries of eight bytes each,
//! which hold no key but lead to a record that does. The upper level is the
//! standard library's tree, from the shortest key that separates a leaf from
//! the one before. So a key costs about eleven bytes here, whatever its length.
//!
//! An entry carries fifteen bits of its key's hash: looking a key up compares
//! them first, and goes to the records (a cache miss each) hardly ever in vain.

use super::arena::{Arena, LOCATION_BITS, Location, Record};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow, Range};

/// The most entries of a leaf.
const LEAF_MAX: usize = 64;
/// A leaf with fewer is joined to the one before it, if there is room.
const LEAF_LOW: usize = 16;
/// A leaf joined from two has at most so many, not to be split again at once.
const JOINED_MAX: usize = 48;
/// Leaves grow by so many entries.
const LEAF_STEP: usize = 8;

/// A key's place: its versions, whether the newest is a deletion, and some bits
/// of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

const MANY: u64 = 1 << 63;
const DELETED: u64 = 1 << 62;
const HASH_BITS: u32 = 15;
const HASH: u64 = ((1 << HASH_BITS) - 1) << LOCATION_BITS;
const PLACE: u64 = (1 << LOCATION_BITS) - 1;

/// Where a key's versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// There is one.
    One(Location),
    /// There are several, listed in a history.
    Many(usize),
}

impl Entry {
    pub(crate) fn new(key: &[u8], versions: Versions, deleted: bool) -> Self {
        Self(hash(key)).with(versions, deleted)
    }

    /// The same key with other versions.
    pub(crate) fn with(self, versions: Versions, deleted: bool) -> Self {
        let place = match versions {
            Versions::One(location) => location.bits(),
            Versions::Many(history) => MANY | history as u64,
        };
        Self(self.0 & HASH | place | if deleted { DELETED } else { 0 })
    }

    pub(crate) fn versions(self) -> Versions {
        let place = self.0 & PLACE;
        if self.0 & MANY == 0 {
            Versions::One(Location::from_bits(place))
        } else {
            Versions::Many(place as usize)
        }
    }

    /// Whether the newest version is a deletion.
    pub(crate) fn is_deleted(self) -> bool {
        self.0 & DELETED != 0
    }
}

/// Bits of a hash of the key, where an entry keeps them.
fn hash(key: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = key.len() as u64;
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(ODD).rotate_left(32);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(ODD);
    hash = (hash ^ hash >> 32).wrapping_mul(ODD);
    hash >> (64 - HASH_BITS) << LOCATION_BITS
}

/// All versions of all keys: the records, and the lists of those keys that have
/// several.
pub(crate) struct Versioned {
    pub(crate) arena: Arena,
    /// Locations, oldest first.
    histories: Vec<VecDeque<Location>>,
    /// Places in it that are empty, to be used again.
    free: BTreeSet<usize>,
}

impl Versioned {
    pub(crate) fn new(segment_bytes: usize) -> Self {
        Self { arena: Arena::new(segment_bytes), histories: Vec::new(), free: BTreeSet::new() }
    }

    /// The newest version of an entry's key.
    #[inline]
    pub(crate) fn newest(&self, entry: Entry) -> Location {
        match entry.versions() {
            Versions::One(location) => location,
            Versions::Many(history) => {
                *self.histories[history].back().expect("histories are never empty")
            }
        }
    }

    pub(crate) fn key(&self, entry: Entry) -> &[u8] {
        self.arena.record(self.newest(entry)).key
    }

    /// How many versions there are.
    pub(crate) fn len(&self, entry: Entry) -> usize {
        match entry.versions() {
            Versions::One(_) => 1,
            Versions::Many(history) => self.histories[history].len(),
        }
    }

    /// The n-th version, the oldest first.
    pub(crate) fn get(&self, entry: Entry, n: usize) -> Location {
        match entry.versions() {
            Versions::One(location) => location,
            Versions::Many(history) => self.histories[history][n],
        }
    }

    /// How many versions comply with a condition that holds up to some revision.
    pub(crate) fn partition_point(
        &self,
        entry: Entry,
        mut holds: impl FnMut(&Record<'_>) -> bool,
    ) -> usize {
        match entry.versions() {
            Versions::One(location) => usize::from(holds(&self.arena.record(location))),
            Versions::Many(history) => self.histories[history]
                .partition_point(|location| holds(&self.arena.record(*location))),
        }
    }

    /// Which versions of a key belong to the state with this compacted revision
    /// and this newest revision, whatever was swept physically.
    ///
    /// All from the compacted revision on, since their events may be watched,
    /// and one before them if the compacted revision still sees it.
    pub(crate) fn retained(
        &self,
        entry: Entry,
        compact_revision: i64,
        revision: i64,
    ) -> Range<usize> {
        let mut from = self.partition_point(entry, |r| r.main < compact_revision);
        let until = match revision {
            i64::MAX => self.len(entry),
            _ => self.partition_point(entry, |r| r.main <= revision),
        };
        if from > 0 {
            let at_compaction = from < self.len(entry) && {
                let next = self.get(entry, from);
                self.arena.record(next).main == compact_revision
            };
            let before = self.arena.record(self.get(entry, from - 1));
            if !at_compaction && before.value.is_some() {
                from -= 1;
            }
        }
        from..until.max(from)
    }

    /// The entry with one more version.
    pub(crate) fn push(&mut self, entry: Entry, location: Location, deleted: bool) -> Entry {
        match entry.versions() {
            Versions::One(first) => {
                let list = VecDeque::from([first, location]);
                let history = if let Some(history) = self.free.pop_first() {
                    self.histories[history] = list;
                    history
                } else {
                    self.histories.push(list);
                    self.histories.len() - 1
                };
                entry.with(Versions::Many(history), deleted)
            }
            Versions::Many(history) => {
                self.histories[history].push_back(location);
                entry.with(Versions::Many(history), deleted)
            }
        }
    }

    /// The entry without its `count` oldest versions, which are killed; `None`
    /// if nothing is left.
    pub(crate) fn drop_oldest(&mut self, entry: Entry, count: usize) -> Option<Entry> {
        match entry.versions() {
            Versions::One(location) => {
                if count == 0 {
                    return Some(entry);
                }
                self.arena.kill(location);
                None
            }
            Versions::Many(history) => {
                let list = &mut self.histories[history];
                for location in list.drain(..count) {
                    self.arena.kill(location);
                }
                if list.len() > 1 {
                    if list.capacity() > 32 && list.len() * 4 < list.capacity() {
                        list.shrink_to(list.len() * 2);
                    }
                    return Some(entry);
                }
                let last = std::mem::take(list).pop_front();
                self.free.insert(history);
                last.map(|last| entry.with(Versions::One(last), entry.is_deleted()))
            }
        }
    }

    /// The entry with its n-th version elsewhere.
    pub(crate) fn relocate(&mut self, entry: Entry, n: usize, location: Location) -> Entry {
        match entry.versions() {
            Versions::One(_) => entry.with(Versions::One(location), entry.is_deleted()),
            Versions::Many(history) => {
                self.histories[history][n] = location;
                entry
            }
        }
    }

    /// Gives back an empty list at the end of the lists, if that is worth it.
    /// Where a list in use stands at the end, returns its key, whose entry is
    /// to be updated with [`Versioned::move_history`].
    pub(crate) fn pack(&mut self) -> Packing {
        if self.free.len() * 2 <= self.histories.len() {
            return Packing::Done;
        }
        let last = self.histories.len() - 1;
        if !self.free.remove(&last) {
            let newest = *self.histories[last].back().expect("it is in use");
            return Packing::Move(self.arena.record(newest).key.to_vec());
        }
        self.histories.pop();
        if self.histories.len() * 4 < self.histories.capacity() {
            self.histories.shrink_to(self.histories.len() * 2);
        }
        Packing::Going
    }

    /// The entry with its list at an empty place nearer to the beginning.
    pub(crate) fn move_history(&mut self, entry: Entry) -> Entry {
        let Versions::Many(history) = entry.versions() else { return entry };
        let Some(to) = self.free.pop_first() else { return entry };
        self.histories.swap(history, to);
        self.free.insert(history);
        entry.with(Versions::Many(to), entry.is_deleted())
    }

    /// About how many bytes the lists take; and those in use.
    pub(crate) fn histories_bytes(&self) -> (usize, usize) {
        let used = self.histories.len() - self.free.len();
        let size = size_of::<VecDeque<Location>>() + 4 * size_of::<Location>();
        (self.histories.len() * size, used * size)
    }
}

/// How [`Versioned::pack`] went.
pub(crate) enum Packing {
    /// There is nothing more to do.
    Done,
    /// There may be.
    Going,
    /// The list of this key is in the way.
    Move(Vec<u8>),
}

/// Where a range of keys ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// It is the one key.
    Point,
    /// Before this key.
    Before(&'a [u8]),
    /// Nowhere.
    Open,
}

impl<'a> End<'a> {
    /// What etcd's `range_end` means.
    pub(crate) fn from_range_end(range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::Point,
            [0] => Self::Open,
            _ => Self::Before(range_end),
        }
    }
}

pub(crate) struct Index {
    /// By the shortest key that is above everything in the leaf before. The
    /// first leaf's is empty, and it is always there.
    leaves: BTreeMap<Separator, Leaf>,
    entries: usize,
}

#[derive(Default)]
pub(crate) struct Leaf(Vec<Entry>);

impl Index {
    pub(crate) fn new() -> Self {
        Self { leaves: BTreeMap::from([(Separator::new(&[]), Leaf::default())]), entries: 0 }
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.entries * 11 + self.leaves.len() * 64
    }

    pub(crate) fn get(&self, versioned: &Versioned, key: &[u8]) -> Option<Entry> {
        let (_, leaf) = self.leaves.range::<[u8], _>(up_to(key)).next_back()?;
        leaf.find(versioned, key).map(|at| leaf.0[at])
    }

    /// Changes a key's entry: `change` gets what is there, if anything, and
    /// says what is to be there.
    pub(crate) fn update<R>(
        &mut self,
        versioned: &mut Versioned,
        key: &[u8],
        change: impl FnOnce(&mut Versioned, Option<Entry>) -> (Option<Entry>, R),
    ) -> R {
        let (_, leaf) = self
            .leaves
            .range_mut::<[u8], _>(up_to(key))
            .next_back()
            .expect("the first leaf is below every key");
        if let Some(at) = leaf.find(versioned, key) {
            let (entry, result) = change(versioned, Some(leaf.0[at]));
            if let Some(entry) = entry {
                leaf.0[at] = entry;
            } else {
                leaf.0.remove(at);
                self.entries -= 1;
                if leaf.0.len() < LEAF_LOW {
                    self.join(key);
                }
            }
            return result;
        }
        let at = leaf.lower_bound(versioned, key);
        let (entry, result) = change(versioned, None);
        if let Some(entry) = entry {
            self.entries += 1;
            if leaf.0.len() < LEAF_MAX {
                leaf.insert(at, entry);
            } else {
                let (separator, right) = leaf.split(versioned, at, entry);
                self.leaves.insert(separator, right);
            }
        }
        result
    }

    /// Joins the leaf of `key` to the one before it if both are small.
    fn join(&mut self, key: &[u8]) {
        let mut below = self.leaves.range_mut::<[u8], _>(up_to(key));
        let (separator, small) = below.next_back().expect("the first leaf is below every key");
        if let Some((_, before)) = below.next_back()
            && before.0.len() + small.0.len() <= JOINED_MAX
        {
            before.0.reserve_exact(small.0.len());
            before.0.append(&mut small.0);
            let separator = separator.clone();
            self.leaves.remove(&separator);
            return;
        }
        small.0.shrink_to(small.0.len() + LEAF_STEP);
    }

    /// Visits the entries from `from` to `end` in order, a leaf's at a time.
    pub(crate) fn visit(
        &self,
        versioned: &Versioned,
        from: &[u8],
        end: End<'_>,
        mut visitor: impl FnMut(&[Entry]) -> ControlFlow<()>,
    ) {
        if end == End::Point {
            if let Some(entry) = self.get(versioned, from) {
                let _ = visitor(&[entry]);
            }
            return;
        }
        if matches!(end, End::Before(end) if end <= from) {
            return;
        }
        let (first, _) = self
            .leaves
            .range::<[u8], _>(up_to(from))
            .next_back()
            .expect("the first leaf is below every key");
        let bounds = (Bound::Included(first.bytes()), Bound::Unbounded);
        let mut leaves = self.leaves.range::<[u8], _>(bounds).peekable();
        let mut skip = true;
        while let Some((_, leaf)) = leaves.next() {
            let start = if skip { leaf.lower_bound(versioned, from) } else { 0 };
            skip = false;
            // A leaf that lies inside as a whole needs no look at its keys.
            let (until, last) = match (end, leaves.peek()) {
                (End::Before(end), Some((next, _))) if next.bytes() < end => (leaf.0.len(), false),
                (End::Before(end), _) => (leaf.lower_bound(versioned, end), true),
                (End::Open | End::Point, next) => (leaf.0.len(), next.is_none()),
            };
            let slice = &leaf.0[start..until.max(start)];
            if !slice.is_empty() && visitor(slice).is_break() || last {
                return;
            }
        }
    }
}

/// A key between leaves, in place if it is short: on the way down a dozen of
/// them are compared, and each detour would be a cache miss.
#[derive(Clone)]
enum Separator {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

const SHORT_MAX: usize = 30;

impl Separator {
    fn new(key: &[u8]) -> Self {
        if key.len() > SHORT_MAX {
            return Self::Long(key.into());
        }
        let mut bytes = [0; SHORT_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self::Short { length: key.len() as u8, bytes }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Separator {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Separator {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Separator {}

impl PartialOrd for Separator {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Separator {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

impl Leaf {
    fn find(&self, versioned: &Versioned, key: &[u8]) -> Option<usize> {
        let hash = hash(key);
        self.0
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.0 & HASH == hash)
            .find(|(_, entry)| versioned.key(**entry) == key)
            .map(|(at, _)| at)
    }

    /// How many keys are below `key`.
    fn lower_bound(&self, versioned: &Versioned, key: &[u8]) -> usize {
        // Keys often come in order.
        match self.0.last() {
            Some(last) if versioned.key(*last) < key => self.0.len(),
            _ => self.0.partition_point(|entry| versioned.key(*entry) < key),
        }
    }

    fn insert(&mut self, at: usize, entry: Entry) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(LEAF_STEP);
        }
        self.0.insert(at, entry);
    }

    /// Puts an entry into a full leaf: returns the new leaf on its right and
    /// what separates the two.
    fn split(&mut self, versioned: &Versioned, at: usize, entry: Entry) -> (Separator, Self) {
        let mut right = Self::default();
        if at == self.0.len() {
            // Keys that come in order leave full leaves behind.
            right.insert(0, entry);
        } else {
            let half = self.0.len() / 2;
            right.0.reserve_exact(half + LEAF_STEP);
            right.0.extend(self.0.drain(half..));
            self.0.shrink_to(half + LEAF_STEP);
            if at <= half {
                self.insert(at, entry);
            } else {
                right.insert(at - half, entry);
            }
        }
        let below = versioned.key(*self.0.last().expect("half of a full leaf"));
        let above = versioned.key(*right.0.first().expect("half of a full leaf"));
        let common = below.iter().zip(above).take_while(|(a, b)| a == b).count();
        (Separator::new(&above[..=common]), right)
    }
}
