//! A hash table that one writer at a time changes while any number of readers look on without a lock.
//!
//! [`Buckets`] say by the hash where an entry is, [`Slab`] holds it, and both are read under a pin (seize; Nicholson
//! and Parkinson, "Crystalline: fast and memory efficient wait-free reclamation", 2021, and its predecessor
//! Hyaline). A writer holds the lock of the table's shard, which it shows by the lock's [`Room`].
//!
//! Invariants: a place in a lane is that of a live entry for every reader that was pinned when it read it; an
//! entry that was unlinked is handed to [`Table::free`] once, when no such reader is left.
//!
//! The atomics are std's even under a model checker: what is explored there are the protocols of locks.

#![allow(
    unsafe_code,
    reason = "lock-free readers: a hit takes no lock; see docs/benchmarks.md for what that brings"
)]

mod buckets;
mod published;
mod slab;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU16, Ordering};

use seize::LocalGuard;

use crate::prefetch::prefetch;
pub(crate) use buckets::Place;
use buckets::{Buckets, Lane, Tag};
use published::Published;
use slab::{Slab, Vacancies};

/// What a table holds: anything that knows half of its own hash.
pub(crate) trait Tagged {
    fn hash_tag(&self) -> Tag;
}

/// The half of a hash by which a table orders its entries; the other half is left to choose the table.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half")]
pub(crate) fn tag_of(hash: u64) -> Tag {
    (hash >> 32) as Tag
}

/// What only the writer knows of a table. It lives inside the shard's lock: whoever can show it is the only writer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    entries: usize,
    /// How many entries are expected at most.
    expected: usize,
    vacancies: Vacancies,
}

impl Room {
    pub(crate) fn expect(&mut self, entries: usize) {
        self.expected = entries;
    }
}

pub(crate) struct Table<E: Tagged> {
    buckets: Published<Buckets>,
    slab: Slab<E>,
    /// Which of the cache's tables this is.
    index: u32,
    /// What whoever finds an entry may note on it. Written under the shard's lock.
    epoch: AtomicU16,
}

/// An entry of a table, and its place there.
pub(crate) struct Resident<'g, E: Tagged> {
    table: &'g Table<E>,
    pub(crate) place: Place,
    pub(crate) entry: &'g E,
}

impl<E: Tagged> Clone for Resident<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Tagged> Copy for Resident<'_, E> {}

impl<E: Tagged> Resident<'_, E> {
    /// Which of the cache's tables it is in.
    pub(crate) fn table(&self) -> u32 {
        self.table.index
    }

    /// The epoch of its table.
    #[inline]
    pub(crate) fn epoch(&self) -> u16 {
        self.table.epoch()
    }
}

impl<E: Tagged> Deref for Resident<'_, E> {
    type Target = E;

    fn deref(&self) -> &E {
        self.entry
    }
}

impl<E: Tagged> Table<E> {
    pub(crate) fn new(index: u32) -> Self {
        Self {
            buckets: Published::new(Buckets::for_entries(0)),
            slab: Slab::new(),
            index,
            epoch: AtomicU16::new(0),
        }
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u16 {
        // Relaxed: a hint; who reads an older one leaves an older mark.
        self.epoch.load(Ordering::Relaxed)
    }

    /// Under the shard's lock. Every hit reads it, so it is written only when it changes.
    pub(crate) fn set_epoch(&self, epoch: u16) {
        if self.epoch() != epoch {
            // Relaxed: see `epoch`.
            self.epoch.store(epoch, Ordering::Relaxed);
        }
    }

    /// Finds the entry with that half of a hash that `matches`. Runs `matches` under no lock of this table's.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        tag: Tag,
        guard: &'g LocalGuard<'_>,
        matches: impl Fn(&E) -> bool,
    ) -> Option<Resident<'g, E>> {
        self.buckets.get(guard).find(tag, |_, place| {
            let resident = self.resident(place, guard);
            matches(resident.entry).then_some(resident)
        })
    }

    #[inline]
    fn resident<'g>(&'g self, place: Place, guard: &'g LocalGuard<'_>) -> Resident<'g, E> {
        // SAFETY: this module calls it with what it read in a lane under `guard`: the entry was put in before its
        // place was told, and is freed only when the guards that could read it there have ended.
        let entry = unsafe { self.slab.get(place, guard) };
        Resident {
            table: self,
            place,
            entry,
        }
    }

    /// Shows the entry of a place.
    ///
    /// # Safety
    ///
    /// The entry was put in and was not unlinked before `guard` began.
    #[inline]
    pub(crate) unsafe fn get<'g>(
        &'g self,
        place: Place,
        guard: &'g LocalGuard<'_>,
    ) -> Resident<'g, E> {
        self.resident(place, guard)
    }

    /// Puts an entry in a place, where nobody finds it yet.
    pub(crate) fn put<'g>(
        &'g self,
        room: &mut Room,
        entry: E,
        guard: &'g LocalGuard<'_>,
    ) -> Resident<'g, E> {
        let place = self.slab.put(&mut room.vacancies, entry, guard);
        self.resident(place, guard)
    }

    /// Takes an entry out that [`put`](Self::put) put in.
    ///
    /// # Safety
    ///
    /// It was neither linked, nor was anybody told its place.
    pub(crate) unsafe fn take_back(
        &self,
        room: &mut Room,
        place: Place,
        guard: &LocalGuard<'_>,
    ) -> E {
        // SAFETY: the caller's promise.
        unsafe { self.slab.take_back(&mut room.vacancies, place, guard) }
    }

    /// Lets an entry be found whose key is not in the table, and which was put in.
    pub(crate) fn link(&self, room: &mut Room, new: Resident<'_, E>, guard: &LocalGuard<'_>) {
        if self.buckets.get(guard).is_full(room.entries) {
            self.grow(room, guard);
        }
        (self.buckets.get(guard)).insert(new.entry.hash_tag(), new.place);
        room.entries += 1;
    }

    fn grow(&self, room: &Room, guard: &LocalGuard<'_>) {
        let grown = room.entries + room.entries / 2 + 4;
        let expected = room.expected.max(room.entries + room.entries / 16);
        let entries = grown.min(expected.max(room.entries + 1));
        let tag_of = |place| self.tag_of(place, guard);
        let ahead = |place| self.prefetch(place, guard);
        let rebuilt = self.buckets.get(guard).rebuilt(entries, tag_of, ahead);
        self.buckets.replace(rebuilt, guard);
    }

    fn tag_of(&self, place: Place, guard: &LocalGuard<'_>) -> Tag {
        self.resident(place, guard).entry.hash_tag()
    }

    /// Links an entry that was put in in the place of `old`, which has an equal key and is in the table.
    pub(crate) fn replace(
        &self,
        old: Resident<'_, E>,
        new: Resident<'_, E>,
        guard: &LocalGuard<'_>,
    ) {
        let lane = self.lane_of(old, guard);
        let lane = lane.expect("an entry found under the lock is in the table");
        self.buckets.get(guard).replace(lane, new.place);
    }

    /// Takes `old` out; false if it is not in the table. It is shown to those who saw it until it is freed.
    pub(crate) fn unlink(
        &self,
        room: &mut Room,
        old: Resident<'_, E>,
        guard: &LocalGuard<'_>,
    ) -> bool {
        let Some(lane) = self.lane_of(old, guard) else {
            return false;
        };
        (self.buckets.get(guard)).remove(lane, old.entry.hash_tag());
        room.entries -= 1;
        true
    }

    fn lane_of(&self, resident: Resident<'_, E>, guard: &LocalGuard<'_>) -> Option<Lane> {
        let is_its = |lane, place| (place == resident.place).then_some(lane);
        (self.buckets.get(guard)).find(resident.entry.hash_tag(), is_its)
    }

    /// Takes every entry out.
    pub(crate) fn unlink_all<'g>(
        &'g self,
        room: &mut Room,
        guard: &'g LocalGuard<'_>,
    ) -> Vec<Resident<'g, E>>
    where
        E: 'g,
    {
        let entries = self.iter(guard).collect();
        room.entries = 0;
        self.buckets.replace(Buckets::for_entries(0), guard);
        entries
    }

    /// Visits the entries: each that is in the table from before the visit to after it, once, and perhaps others.
    pub(crate) fn iter<'g>(
        &'g self,
        guard: &'g LocalGuard<'_>,
    ) -> impl Iterator<Item = Resident<'g, E>>
    where
        E: 'g,
    {
        let places = self.buckets.get(guard).places();
        places.map(|place| self.resident(place, guard))
    }

    /// Has the entry of a place brought near.
    #[inline]
    pub(crate) fn prefetch(&self, place: Place, guard: &LocalGuard<'_>) {
        prefetch(self.slab.address(place, guard));
    }

    /// Has what is known of a tag brought near.
    #[inline]
    pub(crate) fn prefetch_home(&self, tag: Tag, guard: &LocalGuard<'_>) {
        self.buckets.get(guard).prefetch(tag);
    }

    /// Where an entry lies, for [`free`](Self::free).
    pub(crate) fn address(&self, place: Place, guard: &LocalGuard<'_>) -> *mut E {
        self.slab.address(place, guard)
    }

    /// Drops entries, if that does something, and makes their places vacant.
    ///
    /// # Safety
    ///
    /// Each address is that of its place; each entry was unlinked, nobody who was pinned before that still is, and this
    /// is the only call for it.
    pub(crate) unsafe fn free(&self, entries: &[(Place, *mut E)], drops: bool) {
        // SAFETY: the caller's promise.
        unsafe { self.slab.free(entries, drops) };
    }

    /// Drops entries that were unlinked and are not to be freed by anybody else.
    pub(crate) fn drop_unlinked(&mut self, places: impl IntoIterator<Item = Place>) {
        self.slab.drop_all(places);
    }

    /// Checks the invariants that one look under the shard's lock can check.
    pub(crate) fn assert_consistent(&self, room: &Room, guard: &LocalGuard<'_>) {
        let tag_of = |place| self.tag_of(place, guard);
        (self.buckets.get(guard)).assert_consistent(room.entries, tag_of);
    }
}

impl<E: Tagged> Drop for Table<E> {
    fn drop(&mut self) {
        let places: Vec<Place> = self.buckets.get_mut().places().collect();
        self.slab.drop_all(places);
    }
}

impl<E: Tagged> fmt::Debug for Table<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}
