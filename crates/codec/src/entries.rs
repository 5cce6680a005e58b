//! Entries that go together: those of a record or of a message.

use crate::entry::Entry;
use core::ops::{Deref, Range};
use core::{fmt, mem, slice};
use driftless_raft::{Index, Position, Run};
use std::sync::Arc;

/// Neighbouring entries. Where little is going on there is one at a time: that one
/// takes no allocation. More of them are shared: to clone them, or a part of them,
/// costs the same however many they are.
#[derive(Clone)]
pub struct Entries {
    few: Few,
}

#[derive(Clone)]
enum Few {
    None,
    One(Entry),
    More(Part),
}

/// Those of `all` from `from` to before `until`.
#[derive(Clone)]
struct Part {
    all: Arc<Vec<Entry>>,
    from: usize,
    until: usize,
    payload_bytes: usize,
}

impl Entries {
    /// No entries.
    pub const NONE: Self = Self { few: Few::None };

    /// Takes the entries away and leaves none.
    #[must_use]
    #[inline]
    pub fn take(&mut self) -> Self {
        mem::replace(self, Self::NONE)
    }

    /// How long the payloads are, all together; it is known already.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        match &self.few {
            Few::None => 0,
            Few::One(entry) => entry.payload.len(),
            Few::More(part) => part.payload_bytes,
        }
    }

    /// Those at these places among them.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[must_use]
    pub fn part(&self, places: Range<usize>) -> Self {
        match (&self[places.clone()], &self.few) {
            ([], _) => Self::NONE,
            ([one], _) => one.clone().into(),
            (some, Few::More(Part { all, from, .. })) => {
                let (from, until) = (from + places.start, from + places.end);
                let part = Part { all: all.clone(), from, until, payload_bytes: length(some) };
                Self { few: Few::More(part) }
            }
            (some, _) => some.to_vec().into(),
        }
    }

    /// Gives them their places in the log. Those that are shared are copied first.
    ///
    /// # Panics
    ///
    /// If `runs` are not so many.
    pub fn place(&mut self, runs: &[Run]) {
        if let (Few::One(entry), &[run]) = (&mut self.few, runs)
            && run.first == run.last
        {
            entry.position = Position { term: run.term, index: run.first };
            return;
        }
        let count: u64 = runs.iter().map(Run::count).sum();
        assert_eq!(count, self.len() as u64, "as many places as entries");
        let entries = match &mut self.few {
            Few::None => &mut [],
            Few::One(entry) => slice::from_mut(entry),
            Few::More(part) => &mut Arc::make_mut(&mut part.all)[part.from..part.until],
        };
        let mut entries = entries.iter_mut();
        for run in runs {
            for (index, entry) in (run.first.0..=run.last.0).zip(&mut entries) {
                entry.position = Position { term: run.term, index: Index(index) };
            }
        }
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::NONE
    }
}

impl Deref for Entries {
    type Target = [Entry];

    #[inline]
    fn deref(&self) -> &[Entry] {
        match &self.few {
            Few::None => &[],
            Few::One(entry) => slice::from_ref(entry),
            Few::More(part) => &part.all[part.from..part.until],
        }
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Entry> for Entries {
    #[inline]
    fn from(entry: Entry) -> Self {
        Self { few: Few::One(entry) }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(mut entries: Vec<Entry>) -> Self {
        // They may be kept for long, and a vector for more than it holds.
        if entries.len() <= 1 {
            return entries.pop().map_or(Self::NONE, Self::from);
        }
        let (until, payload_bytes) = (entries.len(), length(&entries));
        let part = Part { all: Arc::new(entries), from: 0, until, payload_bytes };
        Self { few: Few::More(part) }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries = entries.into_iter();
        // What is known to be one is not asked for more.
        if entries.size_hint() == (1, Some(1)) {
            return entries.next().map_or(Self::NONE, Self::from);
        }
        entries.collect::<Vec<_>>().into()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

fn length(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.payload.len()).sum()
}

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
