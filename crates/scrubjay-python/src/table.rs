//! Entries by key, and the order in which they were used.
//!
//! The table itself never runs Python code: [`Table`]'s methods are called inside [`Guarded::with`], and what an entry
//! held is handed to the caller, who drops it outside. Keys that only the user's `__eq__` can tell apart are compared
//! outside too, by [`lookup`], which then looks whether the entry is still the one it compared with: every entry has a
//! stamp that no other entry of the table ever has.

use crate::key::{Call, Key, Likeness};
use crate::object::{Guarded, Obj, Raised};
use hashbrown::HashTable;

/// Where an entry is. Valid until the table changes.
pub(crate) type Place = u32;

const NOWHERE: Place = Place::MAX;

/// A key, what is kept for it, and its neighbours in the order of use.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub(crate) key: Key,
    pub(crate) content: V,
    /// Unlike any other entry's.
    pub(crate) stamp: u64,
    older: Place,
    newer: Place,
}

#[derive(Debug)]
enum Slot<V> {
    Vacant,
    Taken(Entry<V>),
}

/// Entries by key, in the order of their last use as far as [`Table::touch`] was called.
#[derive(Debug)]
pub(crate) struct Table<V> {
    index: HashTable<Place>,
    slots: Vec<Slot<V>>,
    vacant: Vec<Place>,
    oldest: Place,
    newest: Place,
    /// Grows with every entry that comes or goes.
    version: u64,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            oldest: NOWHERE,
            newest: NOWHERE,
            version: 0,
        }
    }
}

/// What a table can say of a call without running Python code.
enum Probe {
    At(Place),
    Absent,
    /// The entry's key may equal the call's.
    Ask(Place),
}

impl<V> Table<V> {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    #[inline(always)]
    pub(crate) fn entry(&self, place: Place) -> &Entry<V> {
        match &self.slots[place as usize] {
            Slot::Taken(entry) => entry,
            Slot::Vacant => unreachable!("a place that the index or the order names is taken"),
        }
    }

    #[inline(always)]
    pub(crate) fn entry_mut(&mut self, place: Place) -> &mut Entry<V> {
        match &mut self.slots[place as usize] {
            Slot::Taken(entry) => entry,
            Slot::Vacant => unreachable!("a place that the index or the order names is taken"),
        }
    }

    /// The entry that was used next after this one.
    pub(crate) fn newer(&self, place: Place) -> Option<Place> {
        let newer = self.entry(place).newer;
        (newer != NOWHERE).then_some(newer)
    }

    /// All entries, from the one used longest ago.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = (Place, &Entry<V>)> {
        let places = std::iter::successors(self.oldest(), |place| self.newer(*place));
        places.map(|place| (place, self.entry(place)))
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry<V>> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Taken(entry) => Some(entry),
            Slot::Vacant => None,
        })
    }

    /// Makes the entry the one used last.
    #[inline(always)]
    pub(crate) fn touch(&mut self, place: Place) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    /// Adds an entry for a key that has none.
    pub(crate) fn insert(&mut self, key: Key, content: V) -> Place {
        self.version += 1;
        let hash = key.hash;
        let entry = Entry {
            key,
            content,
            stamp: self.version,
            older: NOWHERE,
            newer: NOWHERE,
        };
        let place = self.settle(entry);
        self.link(place);
        let slots = &self.slots;
        self.index
            .insert_unique(hash, place, |other| match &slots[*other as usize] {
                Slot::Taken(entry) => entry.key.hash,
                Slot::Vacant => unreachable!("the index names taken places"),
            });
        place
    }

    /// Takes an entry out. The caller drops it outside the section.
    pub(crate) fn remove(&mut self, place: Place) -> Entry<V> {
        self.version += 1;
        let hash = self.entry(place).key.hash;
        if let Ok(found) = self.index.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        self.unlink(place);
        self.vacant.push(place);
        match std::mem::replace(&mut self.slots[place as usize], Slot::Vacant) {
            Slot::Taken(entry) => entry,
            Slot::Vacant => unreachable!("a place that the index names is taken"),
        }
    }

    /// Takes everything out; the caller drops it outside the section.
    pub(crate) fn take(&mut self) -> Self {
        let version = self.version + 1;
        std::mem::replace(
            self,
            Self {
                version,
                ..Self::default()
            },
        )
    }

    /// The entry used longest ago.
    pub(crate) fn oldest(&self) -> Option<Place> {
        (self.oldest != NOWHERE).then_some(self.oldest)
    }

    fn settle(&mut self, entry: Entry<V>) -> Place {
        match self.vacant.pop() {
            Some(place) => {
                self.slots[place as usize] = Slot::Taken(entry);
                place
            }
            None => {
                let place = Place::try_from(self.slots.len())
                    .expect("a table holds fewer than 2^32 entries");
                self.slots.push(Slot::Taken(entry));
                place
            }
        }
    }

    #[inline(always)]
    fn link(&mut self, place: Place) {
        let older = std::mem::replace(&mut self.newest, place);
        let entry = self.entry_mut(place);
        entry.older = older;
        entry.newer = NOWHERE;
        match older {
            NOWHERE => self.oldest = place,
            _ => self.entry_mut(older).newer = place,
        }
    }

    #[inline(always)]
    fn unlink(&mut self, place: Place) {
        let entry = self.entry(place);
        let (older, newer) = (entry.older, entry.newer);
        match older {
            NOWHERE => self.oldest = newer,
            _ => self.entry_mut(older).newer = newer,
        }
        match newer {
            NOWHERE => self.newest = older,
            _ => self.entry_mut(newer).older = older,
        }
    }

    /// Looks for the call's entry among those that were not yet found to differ.
    #[inline(always)]
    fn probe(&self, call: &Call<'_>, different: &[u64]) -> Probe {
        let mut ask = None;
        let found = self.index.find(call.hash, |place| {
            let entry = self.entry(*place);
            match call.resembles(&entry.key) {
                Likeness::Same => true,
                Likeness::Different => false,
                Likeness::Unknown => {
                    if !different.contains(&entry.stamp) {
                        ask = Some(*place);
                    }
                    false
                }
            }
        });
        match (found, ask) {
            (Some(place), _) => Probe::At(*place),
            (None, Some(place)) => Probe::Ask(place),
            (None, None) => Probe::Absent,
        }
    }
}

/// Finds the call's entry and runs `then` on it, in the same section; on `None` when there is no entry.
///
/// `then` runs once, unless comparing raised. It runs no Python code; what it returns is dropped outside.
#[inline(always)]
pub(crate) fn lookup<T, R>(
    guarded: &Guarded<T>,
    call: &Call<'_>,
    then: impl Fn(&mut T, Option<Place>) -> R,
) -> Result<R, Raised>
where
    T: Holds,
{
    let step = guarded.with(|holder| step(holder, call, &[], &then));
    match step {
        Step::Done(result) => Ok(result),
        Step::Ask(stamp, key) => lookup_by_asking(guarded, call, stamp, key, &then),
    }
}

/// Something with a table, of which more than the table may change in a section.
pub(crate) trait Holds {
    type Content;
    fn table(&mut self) -> &mut Table<Self::Content>;
}

enum Step<R> {
    Done(R),
    Ask(u64, Key),
}

#[inline(always)]
fn step<T: Holds, R>(
    holder: &mut T,
    call: &Call<'_>,
    different: &[u64],
    then: &impl Fn(&mut T, Option<Place>) -> R,
) -> Step<R> {
    match holder.table().probe(call, different) {
        Probe::At(place) => Step::Done(then(holder, Some(place))),
        Probe::Absent => Step::Done(then(holder, None)),
        Probe::Ask(place) => {
            let entry = holder.table().entry(place);
            Step::Ask(entry.stamp, entry.key.clone())
        }
    }
}

/// Asks the keys' own `__eq__`, and looks again after each answer, because anything may have changed meanwhile.
#[cold]
#[inline(never)]
fn lookup_by_asking<T: Holds, R>(
    guarded: &Guarded<T>,
    call: &Call<'_>,
    mut stamp: u64,
    mut key: Key,
    then: &impl Fn(&mut T, Option<Place>) -> R,
) -> Result<R, Raised> {
    let mut different = Vec::new();
    loop {
        let equal = call.equals(&key)?;
        let step = guarded.with(|holder| {
            if equal {
                let table = holder.table();
                if let Some(place) = table.place_of(call.hash, stamp) {
                    return Step::Done(then(holder, Some(place)));
                }
            } else {
                different.push(stamp);
            }
            step(holder, call, &different, then)
        });
        match step {
            Step::Done(result) => return Ok(result),
            Step::Ask(next, owned) => (stamp, key) = (next, owned),
        }
    }
}

impl<V> Table<V> {
    /// Where the entry with this hash and stamp is, if it is still here.
    fn place_of(&self, hash: u64, stamp: u64) -> Option<Place> {
        self.index
            .find(hash, |place| self.entry(*place).stamp == stamp)
            .copied()
    }
}

/// Every object that the entries' keys hold, for the collector.
pub(crate) fn key_objects<V>(table: &Table<V>) -> impl Iterator<Item = &Obj> {
    table.entries().flat_map(|entry| entry.key.objects())
}
