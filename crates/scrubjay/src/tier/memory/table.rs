//! A hash table that one writer at a time changes while any number of readers look on without a lock.
//!
//! Open addressing with linear probing over pointers to entries. A reader loads the array of slots, walks
//! from the slot its hash names, and stops at the first empty one. A writer holds the lock of the table's
//! shard (it shows the lock's [`Occupancy`]), publishes an entry with one release store, and retires what it
//! unlinks: seize frees it when no reader that could still see it is pinned (Nicholson and Parkinson,
//! "Crystalline: fast and memory efficient wait-free reclamation", 2021, and its predecessor Hyaline).
//!
//! Invariants: at least a quarter of the slots is empty, so every walk ends; a pointer in a slot points to a
//! live entry for every reader that was pinned when it read it; an entry is retired exactly once, by the
//! writer that unlinked it.
//!
//! The array is never changed in place but by single slot writes; growth publishes a new array. A reader
//! still on the old array sees the table as it was when it began, which is a moment within its call.
//! The atomics are std's even under a model checker: what is explored there are the protocols of locks.

#![allow(
    unsafe_code,
    reason = "lock-free readers: a hit takes no lock; see docs/benchmarks.md for what that brings"
)]

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use seize::{Guard, LocalGuard, reclaim};

/// What a table holds: anything that knows its own hash.
pub(crate) trait Hashed {
    fn hash(&self) -> u64;
}

/// Alignment frees the low bits of an address for a tag of the hash, so most mismatches cost no dereference.
#[repr(align(16))]
struct Node<E>(E);

const TAG_BITS: usize = 0b1111;
const SMALLEST: usize = 4;

/// How full a table is. It lives inside the shard's lock: whoever can show it is the only writer.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    entries: usize,
    tombstones: usize,
}

pub(crate) struct Table<E> {
    slots: AtomicPtr<Slots<E>>,
    /// The table gives out `&E` on every thread and drops `E` on any, as `RwLock<E>` does.
    owns: PhantomData<RwLock<E>>,
}

struct Slots<E>(Box<[AtomicPtr<Node<E>>]>);

impl<E> Slots<E> {
    fn boxed(capacity: usize) -> *mut Self {
        let slots = (0..capacity).map(|_| AtomicPtr::default()).collect();
        Box::into_raw(Box::new(Self(slots)))
    }

    /// Walks the slots for `hash` in order until `visit` has what it wants.
    ///
    /// It ends because some slot is empty and every visitor wants an empty slot, at the latest.
    #[inline]
    fn walk<'a, R>(&'a self, hash: u64, visit: impl Fn(&'a AtomicPtr<Node<E>>) -> Option<R>) -> R {
        let mask = self.0.len() - 1;
        #[allow(clippy::cast_possible_truncation, reason = "only low bits are used")]
        let mut index = hash as usize & mask;
        loop {
            if let Some(found) = visit(&self.0[index]) {
                return found;
            }
            index = (index + 1) & mask;
        }
    }
}

/// A removed slot: not null, but no address either.
fn tombstone<E>() -> *mut Node<E> {
    ptr::without_provenance_mut(1)
}

fn is_tombstone<E>(slot: *mut Node<E>) -> bool {
    slot.addr() == 1
}

#[inline]
fn tag_of(hash: u64) -> usize {
    // The upper bits choose the shard and the lower ones the slot; these are left.
    (hash >> 48) as usize & TAG_BITS
}

#[inline]
fn untagged<E>(slot: *mut Node<E>) -> *mut Node<E> {
    slot.map_addr(|address| address & !TAG_BITS)
}

impl<E: Hashed> Table<E> {
    pub(crate) fn new() -> Self {
        Self {
            slots: AtomicPtr::new(Slots::boxed(SMALLEST)),
            owns: PhantomData,
        }
    }

    #[inline]
    fn slots<'g>(&self, guard: &'g LocalGuard<'_>) -> &'g Slots<E> {
        // Acquire: pairs with the Release store in `rebuild`, so the array's slots are seen filled.
        let slots = guard.protect(&self.slots, Ordering::Acquire);
        // SAFETY: `slots` is never null, and an array is retired only after another was published, so this
        // one lives at least as long as the guard that protected its load.
        unsafe { &*slots }
    }

    /// Finds the entry of `hash` that `matches`. Runs `matches` under no lock of this table's.
    #[inline]
    pub(crate) fn find<'g>(
        &self,
        hash: u64,
        guard: &'g LocalGuard<'_>,
        matches: impl Fn(&E) -> bool,
    ) -> Option<&'g E> {
        let tag = tag_of(hash);
        self.slots(guard).walk(hash, |slot| {
            // Acquire: pairs with the Release stores of `put` and `replace`, so the entry is seen whole.
            let found = guard.protect(slot, Ordering::Acquire);
            if found.is_null() {
                return Some(None);
            }
            if found.addr() & TAG_BITS != tag || is_tombstone(found) {
                return None;
            }
            // SAFETY: what is neither null nor a tombstone came from `Box::into_raw` in `put`, and the entry
            // is retired only after it left the slot, so the guard keeps it alive.
            let entry = unsafe { &(*untagged(found)).0 };
            (entry.hash() == hash && matches(entry)).then_some(Some(entry))
        })
    }

    /// Adds an entry whose key is not in the table.
    pub(crate) fn insert(&self, room: &mut Occupancy, entry: E, guard: &LocalGuard<'_>) {
        let capacity = self.slots(guard).0.len();
        if (room.entries + room.tombstones + 1) * 4 > capacity * 3 {
            self.rebuild(room, guard);
        }
        let hash = entry.hash();
        let node = Box::into_raw(Box::new(Node(entry)));
        room.entries += 1;
        room.tombstones -= usize::from(put(self.slots(guard), hash, node));
    }

    /// Puts `new` in the place of `old`, which has an equal key and is in the table.
    pub(crate) fn replace(&self, old: &E, new: E, guard: &LocalGuard<'_>) {
        let tag = tag_of(new.hash());
        let node = Box::into_raw(Box::new(Node(new))).map_addr(|address| address | tag);
        let slot = self.slot_of(old, guard);
        // Release: pairs with the Acquire load in `find`, which thereby sees the new entry whole.
        let removed = slot.swap(node, Ordering::Release);
        retire(untagged(removed), guard);
    }

    /// Takes `old` out, which is in the table. References to it stay good for as long as `guard`.
    pub(crate) fn remove(&self, room: &mut Occupancy, old: &E, guard: &LocalGuard<'_>) {
        let slot = self.slot_of(old, guard);
        // Relaxed: a slot that says "removed" publishes nothing.
        let removed = slot.swap(tombstone(), Ordering::Relaxed);
        room.entries -= 1;
        room.tombstones += 1;
        retire(untagged(removed), guard);
    }

    /// Takes every entry out; returns them, good for as long as `guard`.
    pub(crate) fn take_all<'g>(
        &self,
        room: &mut Occupancy,
        guard: &'g LocalGuard<'_>,
    ) -> Vec<&'g E> {
        let entries: Vec<&E> = self.iter(guard).collect();
        *room = Occupancy::default();
        self.publish(Slots::boxed(SMALLEST), guard);
        for entry in &entries {
            let node: *const E = *entry;
            // `Node` is its entry with a larger alignment: the addresses are the same.
            retire(node.cast_mut().cast::<Node<E>>(), guard);
        }
        entries
    }

    /// Visits the entries as they were when the visit began, less those unlinked since.
    pub(crate) fn iter<'g>(&self, guard: &'g LocalGuard<'_>) -> impl Iterator<Item = &'g E>
    where
        E: 'g,
    {
        self.slots(guard).0.iter().filter_map(move |slot| {
            // Acquire: as in `find`.
            let found = untagged(guard.protect(slot, Ordering::Acquire));
            // SAFETY: as in `find`.
            (!found.is_null()).then(|| unsafe { &(*found).0 })
        })
    }

    /// The slot that holds `entry`; only a writer asks, so nothing moves meanwhile.
    fn slot_of<'g>(&self, entry: &E, guard: &'g LocalGuard<'_>) -> &'g AtomicPtr<Node<E>> {
        self.slots(guard).walk(entry.hash(), |slot| {
            // Relaxed: only this writer changes slots, and only the address is looked at.
            let found = slot.load(Ordering::Relaxed);
            assert!(
                !found.is_null(),
                "an entry found under the lock is in the table"
            );
            ptr::eq(untagged(found).cast::<E>(), entry).then_some(slot)
        })
    }

    /// Moves everything to a new array: a larger one, or one of the same size without tombstones.
    fn rebuild(&self, room: &mut Occupancy, guard: &LocalGuard<'_>) {
        let capacity = ((room.entries + 1) * 2).next_power_of_two().max(SMALLEST);
        let fresh = Slots::boxed(capacity);
        for slot in &self.slots(guard).0 {
            // Relaxed: this thread holds the writer's lock, whose last holder published its stores.
            let node = slot.load(Ordering::Relaxed);
            if !untagged(node).is_null() {
                // SAFETY: the pointer came from `put`; writers are excluded, so the entry is not retired.
                let hash = unsafe { (*untagged(node)).0.hash() };
                // SAFETY: `fresh` was made above and is not shared yet.
                put(unsafe { &*fresh }, hash, untagged(node));
            }
        }
        room.tombstones = 0;
        self.publish(fresh, guard);
    }

    fn publish(&self, fresh: *mut Slots<E>, guard: &LocalGuard<'_>) {
        // Release: pairs with the Acquire load in `slots`.
        let old = self.slots.swap(fresh, Ordering::Release);
        // SAFETY: `old` came from `Slots::boxed` and was just unlinked by the only writer.
        unsafe { guard.defer_retire(old, reclaim::boxed) };
    }

    /// Checks the invariants that one look under the shard's lock can check.
    pub(crate) fn assert_consistent(&self, room: &Occupancy, guard: &LocalGuard<'_>) {
        let slots = self.slots(guard);
        let entries = self.iter(guard).count();
        let tombstones = slots
            .0
            .iter()
            .filter(|slot| is_tombstone(slot.load(Ordering::Relaxed)))
            .count();
        assert_eq!((entries, tombstones), (room.entries, room.tombstones));
        assert!((entries + tombstones) * 4 <= slots.0.len() * 3);
        for entry in self.iter(guard) {
            let found = self.find(entry.hash(), guard, |other| ptr::eq(other, entry));
            assert!(found.is_some(), "an entry lies on the walk of its hash");
        }
    }
}

/// Puts a node on the walk of `hash`; says whether that used up a tombstone.
fn put<E>(slots: &Slots<E>, hash: u64, node: *mut Node<E>) -> bool {
    let free = slots.walk(hash, |slot| {
        // Relaxed: only the one writer changes slots, and this is its thread.
        let found = slot.load(Ordering::Relaxed);
        (found.is_null() || is_tombstone(found)).then_some(slot)
    });
    // Relaxed: as above.
    let before = free.load(Ordering::Relaxed);
    // Release: pairs with the Acquire load in `find`, which thereby sees the entry whole.
    let tagged = node.map_addr(|address| address | tag_of(hash));
    free.store(tagged, Ordering::Release);
    is_tombstone(before)
}

/// Frees a node once no reader can see it.
fn retire<E>(node: *mut Node<E>, guard: &LocalGuard<'_>) {
    // SAFETY: the caller unlinked `node`, which came from `Box::into_raw`, and is the only one to do so
    // because it holds the writer's lock.
    unsafe { guard.defer_retire(node, reclaim::boxed) };
}

impl<E> Drop for Table<E> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: no reader or writer is left, and the array came from `Slots::boxed`.
        let slots = unsafe { Box::from_raw(*self.slots.get_mut()) };
        for slot in slots.0 {
            let node = untagged(slot.into_inner());
            if !node.is_null() {
                // SAFETY: it came from `Box::into_raw`, and entries still in a slot were never retired.
                drop(unsafe { Box::from_raw(node) });
            }
        }
    }
}

impl<E> fmt::Debug for Table<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}
