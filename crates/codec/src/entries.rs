//! Entries that go together: those of a record or of a message.

use crate::entry::Entry;
use core::ops::{Deref, DerefMut};
use core::{fmt, mem, slice};

/// Neighbouring entries. Where little is going on there is one at a time: that one
/// takes no allocation.
#[derive(Clone)]
pub struct Entries {
    few: Few,
}

#[derive(Clone)]
enum Few {
    One(Entry),
    More(Vec<Entry>),
}

impl Entries {
    /// No entries.
    pub const NONE: Self = Self { few: Few::More(Vec::new()) };

    /// Takes the entries away and leaves none.
    #[must_use]
    pub fn take(&mut self) -> Self {
        mem::replace(self, Self::NONE)
    }

    /// Leaves out the first `count`.
    pub fn skip(&mut self, count: usize) {
        match &mut self.few {
            _ if count == 0 => {}
            Few::One(_) => *self = Self::NONE,
            Few::More(more) => drop(more.drain(..count.min(more.len()))),
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

    fn deref(&self) -> &[Entry] {
        match &self.few {
            Few::One(entry) => slice::from_ref(entry),
            Few::More(entries) => entries,
        }
    }
}

impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut [Entry] {
        match &mut self.few {
            Few::One(entry) => slice::from_mut(entry),
            Few::More(entries) => entries,
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
    fn from(entry: Entry) -> Self {
        Self { few: Few::One(entry) }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(mut entries: Vec<Entry>) -> Self {
        match entries.pop() {
            // They may be kept for long, and a vector for more than it holds.
            Some(one) if entries.is_empty() => one.into(),
            Some(last) => {
                entries.push(last);
                Self { few: Few::More(entries) }
            }
            None => Self::NONE,
        }
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

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
