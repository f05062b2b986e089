//! A hash table that one writer at a time changes while any number of readers look on without a lock.
//!
//! [`Slots`] says by the hash where an entry is, [`Slab`] holds it, and both are read under a pin (seize; Nicholson
//! and Parkinson, "Crystalline: fast and memory efficient wait-free reclamation", 2021, and its predecessor
//! Hyaline). A writer holds the lock of the table's shard, which it shows by the lock's [`Room`].
//!
//! Invariants: a number in a slot is that of a live entry for every reader that was pinned when it read it; an
//! entry that was unlinked is handed to [`Table::free`] once, when no such reader is left.
//!
//! The atomics are std's even under a model checker: what is explored there are the protocols of locks.

#![allow(
    unsafe_code,
    reason = "lock-free readers: a hit takes no lock; see docs/benchmarks.md for what that brings"
)]

mod published;
mod slab;
mod slots;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use seize::LocalGuard;

use published::Published;
use slab::{Slab, Vacancies};
use slots::{Place, Slots, Tag};

/// The number of an entry among those of all tables of a cache.
pub(crate) type Number = u32;

/// What a table holds: anything that knows half of its own hash.
pub(crate) trait Tagged {
    fn tag(&self) -> Tag;
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
    slots: Published<Slots>,
    /// Odd while slots move towards their homes, and then another even number.
    version: AtomicU64,
    slab: Slab<E>,
    /// Which of the cache's tables this is: the lower `bits` of its entries' numbers.
    index: u32,
    bits: u32,
}

/// An entry of a table, and the number of its place.
pub(crate) struct Resident<'g, E> {
    pub(crate) number: Number,
    pub(crate) entry: &'g E,
}

impl<E> Clone for Resident<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Resident<'_, E> {}

impl<E> Deref for Resident<'_, E> {
    type Target = E;

    fn deref(&self) -> &E {
        self.entry
    }
}

impl<E: Tagged> Table<E> {
    /// The table `index` of `2^bits`, whose numbers do not collide.
    pub(crate) fn new(index: u32, bits: u32) -> Self {
        Self {
            slots: Published::new(Slots::for_entries(0)),
            version: AtomicU64::new(0),
            slab: Slab::new(),
            index,
            bits,
        }
    }

    /// Finds the entry with that half of a hash that `matches`. Runs `matches` under no lock of this table's.
    #[inline]
    pub(crate) fn find<'g>(
        &self,
        tag: Tag,
        guard: &'g LocalGuard<'_>,
        matches: impl Fn(&E) -> bool,
    ) -> Option<Resident<'g, E>> {
        let mut attempts = 0;
        loop {
            let version = self.version();
            let found = self.slots.get(guard).walk(tag, |_, place| {
                let resident = self.resident(place, guard);
                matches(resident.entry).then_some(resident)
            });
            if found.is_some() || self.is_still(version) {
                return found;
            }
            pause(&mut attempts);
        }
    }

    #[inline]
    fn version(&self) -> u64 {
        // Acquire: pairs with the Release store that ends a removal, whose slots are thereby seen.
        self.version.load(Ordering::Acquire)
    }

    /// Whether no slot was moved towards its home since the version was asked for.
    fn is_still(&self, version: u64) -> bool {
        // Acquire: pairs with the Release fence that begins a removal: whoever saw one of its moves, sees here that it
        // had begun.
        fence(Ordering::Acquire);
        // Relaxed: the fence orders it.
        version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version
    }

    #[inline]
    fn resident<'g>(&self, place: Place, guard: &'g LocalGuard<'_>) -> Resident<'g, E> {
        // SAFETY: this module calls it with what it read in a slot under `guard`: the entry was put in before its
        // place was told, and is freed only when the guards that could read it there have ended.
        let entry = unsafe { self.slab.get(place, guard) };
        let number = place << self.bits | self.index;
        Resident { number, entry }
    }

    fn place(&self, number: Number) -> Place {
        number >> self.bits
    }

    /// Shows the entry of a number.
    ///
    /// # Safety
    ///
    /// The entry was put in and was not unlinked before `guard` began.
    #[inline]
    pub(crate) unsafe fn get<'g>(
        &self,
        number: Number,
        guard: &'g LocalGuard<'_>,
    ) -> Resident<'g, E> {
        self.resident(self.place(number), guard)
    }

    /// Puts an entry in a place, where nobody finds it yet.
    pub(crate) fn put<'g>(
        &self,
        room: &mut Room,
        entry: E,
        guard: &'g LocalGuard<'_>,
    ) -> Resident<'g, E> {
        let place = self.slab.put(&mut room.vacancies, entry, guard);
        assert!(
            place < u32::MAX >> self.bits,
            "scrubjay: a cache holds fewer than 2^32 entries"
        );
        self.resident(place, guard)
    }

    /// Takes an entry out that [`put`](Self::put) put in.
    ///
    /// # Safety
    ///
    /// It was neither linked, nor was anybody told its number.
    pub(crate) unsafe fn take_back(
        &self,
        room: &mut Room,
        number: Number,
        guard: &LocalGuard<'_>,
    ) -> E {
        let place = self.place(number);
        // SAFETY: the caller's promise.
        unsafe { self.slab.take_back(&mut room.vacancies, place, guard) }
    }

    /// Lets an entry be found whose key is not in the table, and which was put in.
    pub(crate) fn link(&self, room: &mut Room, new: Resident<'_, E>, guard: &LocalGuard<'_>) {
        let (tag, place) = (new.entry.tag(), self.place(new.number));
        if self.slots.get(guard).is_full(room.entries) {
            let grown = room.entries + room.entries / 2 + 4;
            let expected = room.expected.max(room.entries + room.entries / 16);
            self.rebuild(grown.min(expected.max(room.entries + 1)), guard);
        }
        while !self.slots.get(guard).insert(tag, place) {
            // The last slots are taken: in a copy there are others behind them.
            self.rebuild(room.entries + 1, guard);
        }
        room.entries += 1;
    }

    fn rebuild(&self, entries: usize, guard: &LocalGuard<'_>) {
        let rebuilt = self.slots.get(guard).rebuilt(entries);
        self.slots.replace(rebuilt, guard);
    }

    /// Links an entry that was put in in the place of `old`, which has an equal key and is in the table.
    pub(crate) fn replace(
        &self,
        old: Resident<'_, E>,
        new: Resident<'_, E>,
        guard: &LocalGuard<'_>,
    ) {
        let index = self.index_of(old, guard);
        let index = index.expect("an entry found under the lock is in the table");
        (self.slots.get(guard)).replace(index, old.entry.tag(), self.place(new.number));
    }

    /// Takes `old` out; false if it is not in the table. It is shown to those who saw it until it is freed.
    pub(crate) fn unlink(
        &self,
        room: &mut Room,
        old: Resident<'_, E>,
        guard: &LocalGuard<'_>,
    ) -> bool {
        let Some(index) = self.index_of(old, guard) else {
            return false;
        };
        // Relaxed: the shard's lock orders writers.
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Release: pairs with the Acquire fence in `is_still`.
        fence(Ordering::Release);
        self.slots.get(guard).remove(index);
        // Release: pairs with the Acquire load in `version`.
        self.version.store(version + 2, Ordering::Release);
        room.entries -= 1;
        true
    }

    fn index_of(&self, resident: Resident<'_, E>, guard: &LocalGuard<'_>) -> Option<usize> {
        let tag = resident.entry.tag();
        let wanted = self.place(resident.number);
        (self.slots.get(guard)).walk(tag, |index, place| (place == wanted).then_some(index))
    }

    /// Takes every entry out.
    pub(crate) fn unlink_all<'g>(
        &self,
        room: &mut Room,
        guard: &'g LocalGuard<'_>,
    ) -> Vec<Resident<'g, E>>
    where
        E: 'g,
    {
        let entries = self.iter(guard).collect();
        room.entries = 0;
        self.slots.replace(Slots::for_entries(0), guard);
        entries
    }

    /// Visits the entries: each that is in the table from before the visit to after it, once, and perhaps others.
    pub(crate) fn iter<'s, 'g: 's>(
        &'s self,
        guard: &'g LocalGuard<'_>,
    ) -> impl Iterator<Item = Resident<'g, E>> + 's
    where
        E: 'g,
    {
        let mut next = Some(0);
        let some = std::iter::from_fn(move || {
            let from = next?;
            let mut attempts = 0;
            loop {
                let version = self.version();
                let (places, rest) = self.slots.get(guard).some_from(from);
                if self.is_still(version) {
                    next = rest;
                    return Some(places);
                }
                pause(&mut attempts);
            }
        });
        some.flatten().map(|place| self.resident(place, guard))
    }

    /// Where an entry lies, for [`free`](Self::free).
    pub(crate) fn address(&self, number: Number, guard: &LocalGuard<'_>) -> *mut E {
        self.slab.address(self.place(number), guard)
    }

    /// Drops an entry, and makes its place vacant.
    ///
    /// # Safety
    ///
    /// `entry` is the address of `number`, was unlinked, nobody who was pinned before that still is, and this is the
    /// only call for it.
    pub(crate) unsafe fn free(&self, number: Number, entry: *mut E) {
        // SAFETY: the caller's promise.
        unsafe { self.slab.free(self.place(number), entry) };
    }

    /// Drops an entry that was unlinked and is not to be freed by anybody else.
    pub(crate) fn drop_unlinked(&mut self, number: Number) {
        self.slab.drop_all([number >> self.bits]);
    }

    /// Checks the invariants that one look under the shard's lock can check.
    pub(crate) fn assert_consistent(&self, room: &Room, guard: &LocalGuard<'_>) {
        self.slots.get(guard).assert_consistent(room.entries);
        for resident in self.iter(guard) {
            let index = self.index_of(resident, guard);
            assert!(index.is_some(), "a slot has its entry's tag");
        }
    }
}

/// Lets a writer go on that moves slots, which takes it some nanoseconds unless it was interrupted.
#[cold]
fn pause(attempts: &mut u32) {
    if *attempts < 64 {
        *attempts += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

impl<E: Tagged> Drop for Table<E> {
    fn drop(&mut self) {
        let places: Vec<Place> = self.slots.get_mut().places().collect();
        self.slab.drop_all(places);
    }
}

impl<E: Tagged> fmt::Debug for Table<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}
