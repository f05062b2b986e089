//! Places for entries: chunks of cells that never move.
//!
//! A place's chunk and its cell there follow from its number alone. Chunks are added one at a time, so little is unused
//! and nothing is ever copied. Whoever holds the shard's lock puts entries in; [`Slab::free`] takes
//! them out when no reader can see them, on whatever thread finds that.
//!
//! Invariant: a cell is written once between two times that its place is vacant.

#![allow(
    unsafe_code,
    reason = "lock-free readers need entries in place while writers add others; see docs/benchmarks.md"
)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use seize::LocalGuard;

use super::buckets::Place;
use super::published::Published;
use crate::prefetch::prefetch;
use crate::sync::Mutex;

/// The memory of one place.
struct Cell<E>(UnsafeCell<MaybeUninit<E>>);

/// Where the chunks are, by their numbers; null behind the last one.
type Chunks<E> = Box<[AtomicPtr<Cell<E>>]>;

pub(super) struct Slab<E> {
    chunks: Published<Chunks<E>>,
    /// Places whose entries were freed since the writer last took them.
    freed: Mutex<Vec<Place>>,
}

// SAFETY: a cell's entry is written by one writer before others are told its place, shown as `&E`, and dropped by
// one thread after all others let go of it: the terms of `RwLock<E>`. The chunks' pointers are owned by the slab.
unsafe impl<E: Send> Send for Slab<E> {}
// SAFETY: as above.
unsafe impl<E: Send + Sync> Sync for Slab<E> {}

/// The places that the writer may fill. Lives inside the shard's lock.
#[derive(Debug, Default)]
pub(super) struct Vacancies {
    vacant: Vec<Place>,
    /// All places from here on were never used.
    unused: Place,
}

/// The size of a chunk in bytes, by and large: so much that the pointers to the chunks of a large cache stay in the
/// processor's cache.
const CHUNK: usize = 16384;

impl<E> Slab<E> {
    /// Cells of a chunk: a power of two, so that a place's chunk is found by a shift.
    const CELLS: usize = {
        let size = if size_of::<E>() == 0 {
            1
        } else {
            size_of::<E>()
        };
        let most = if size < CHUNK / 8 { CHUNK / size } else { 8 };
        1 << most.ilog2()
    };

    /// Cells that the first chunk really has, so that a small cache is small; the places of its others are left out.
    const FIRST_CELLS: usize = Self::CELLS / 8;

    const fn chunk_size(chunk: usize) -> usize {
        if chunk == 0 {
            Self::FIRST_CELLS
        } else {
            Self::CELLS
        }
    }

    /// The chunk of a place, and the cell there.
    #[inline]
    const fn cell_of(place: Place) -> (usize, usize) {
        let place = place as usize;
        (place / Self::CELLS, place % Self::CELLS)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the places before it are in use"
    )]
    const fn first_of(chunk: usize) -> Place {
        (chunk * Self::CELLS) as Place
    }

    fn new_chunk(size: usize) -> *mut Cell<E> {
        Box::into_raw(Box::<[Cell<E>]>::new_uninit_slice(size)).cast()
    }

    pub(super) fn new() -> Self {
        Self {
            chunks: Published::new(Chunks::default()),
            freed: Mutex::new(Vec::new()),
        }
    }

    /// Where an entry lies or will lie.
    ///
    /// # Safety
    ///
    /// The place was given out.
    #[inline]
    unsafe fn cell(&self, place: Place, guard: &LocalGuard<'_>) -> *mut MaybeUninit<E> {
        let (chunk, cell) = Self::cell_of(place);
        let chunks = self.chunks.get(guard);
        debug_assert!(chunk < chunks.len(), "the place was given out");
        // Relaxed: whoever learnt the place, learnt of the chunk that was made before it.
        // SAFETY: places are given out only below the end of the last chunk, and chunks live as long as the slab.
        let cell = unsafe {
            let chunk = chunks.get_unchecked(chunk).load(Ordering::Relaxed);
            &raw const (*chunk.add(cell)).0
        };
        UnsafeCell::raw_get(cell)
    }

    /// Shows the entry of a place.
    ///
    /// # Safety
    ///
    /// The entry was put in, and [`free`](Self::free) may not be called before `guard` ends: it is in the table, or was
    /// unlinked after `guard` began.
    #[inline]
    pub(super) unsafe fn get<'g>(&self, place: Place, guard: &'g LocalGuard<'_>) -> &'g E {
        // SAFETY: the caller's promise: the entry is there and stays.
        unsafe { (*self.cell(place, guard)).assume_init_ref() }
    }

    /// Puts an entry in a vacant place. Under the shard's lock, which `vacancies` shows.
    pub(super) fn put(&self, vacancies: &mut Vacancies, entry: E, guard: &LocalGuard<'_>) -> Place {
        let place = self.vacancy(vacancies, guard);
        // SAFETY: the place was given out, it is vacant and this is the only writer: no other reference to it exists.
        unsafe { (*self.cell(place, guard)).write(entry) };
        place
    }

    /// Takes back an entry that no table ever showed.
    ///
    /// # Safety
    ///
    /// The entry was put in by this caller, and nobody else knows its place.
    pub(super) unsafe fn take_back(
        &self,
        vacancies: &mut Vacancies,
        place: Place,
        guard: &LocalGuard<'_>,
    ) -> E {
        vacancies.vacant.push(place);
        // SAFETY: the caller's promise: the entry is there, and this is the only reference.
        unsafe { (*self.cell(place, guard)).assume_init_read() }
    }

    fn vacancy(&self, vacancies: &mut Vacancies, guard: &LocalGuard<'_>) -> Place {
        if let Some(place) = vacancies.vacant.pop() {
            // For whoever comes next.
            if let Some(next) = vacancies.vacant.last() {
                prefetch(self.address(*next, guard));
            }
            return place;
        }
        std::mem::swap(&mut vacancies.vacant, &mut *self.freed.lock());
        if let Some(place) = vacancies.vacant.pop() {
            return place;
        }
        let (mut chunk, mut cell) = Self::cell_of(vacancies.unused);
        if cell == Self::chunk_size(chunk) {
            (chunk, cell) = (chunk + 1, 0);
            vacancies.unused = Self::first_of(chunk);
        }
        if cell == 0 {
            self.add_chunk(chunk, guard);
        }
        assert!(
            vacancies.unused < Place::MAX,
            "scrubjay: a shard holds fewer than 2^32 entries"
        );
        vacancies.unused += 1;
        vacancies.unused - 1
    }

    fn add_chunk(&self, number: usize, guard: &LocalGuard<'_>) {
        let chunk = Self::new_chunk(Self::chunk_size(number));
        let chunks = self.chunks.get(guard);
        if let Some(slot) = chunks.get(number) {
            // Relaxed: see `cell`.
            return slot.store(chunk, Ordering::Relaxed);
        }
        let mut longer: Vec<_> = chunks
            .iter()
            // Relaxed: this is the only writer.
            .map(|chunk| AtomicPtr::new(chunk.load(Ordering::Relaxed)))
            .collect();
        longer.push(AtomicPtr::new(chunk));
        longer.resize_with((2 * longer.len()).max(4), AtomicPtr::default);
        self.chunks.replace(longer.into(), guard);
    }

    /// Where an entry lies, for [`free`](Self::free).
    pub(super) fn address(&self, place: Place, guard: &LocalGuard<'_>) -> *mut E {
        let (chunk, cell) = Self::cell_of(place);
        // Relaxed: see `cell`.
        let chunk = self.chunks.get(guard)[chunk].load(Ordering::Relaxed);
        chunk.wrapping_add(cell).cast()
    }

    /// Drops entries that nobody can see any more, if that does something, and makes their places vacant.
    ///
    /// # Safety
    ///
    /// Each address is that of its place, the entry was put in and unlinked, every guard that began before it was
    /// unlinked has ended, and this is the only call for it.
    pub(super) unsafe fn free(&self, entries: &[(Place, *mut E)], drops: bool) {
        let places = || entries.iter().map(|(place, _)| *place);
        let _vacated_at_the_end = OnDrop(|| self.freed.lock().extend(places()));
        if drops {
            // SAFETY: the caller's promise: the entries are there, and these are the only references.
            unsafe { drop_each(entries) };
        }
    }

    /// Drops the entries of these places and leaves the places as they are.
    pub(super) fn drop_all(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            let (chunk, cell) = Self::cell_of(place);
            let chunk = *self.chunks.get_mut()[chunk].get_mut();
            // SAFETY: `&mut self`: nobody else has a reference, and the caller's places have entries that are there.
            unsafe { (*(*chunk.add(cell)).0.get()).assume_init_drop() };
        }
    }
}

/// Drops all of them, also if the drop of one panics.
///
/// # Safety
///
/// As for [`Slab::free`].
unsafe fn drop_each<E>(entries: &[(Place, *mut E)]) {
    if let [(_, entry), rest @ ..] = entries {
        let _dropped_at_the_end = OnDrop(|| {
            // SAFETY: the caller's promise.
            unsafe { drop_each(rest) }
        });
        // SAFETY: the caller's promise.
        unsafe { ptr::drop_in_place(*entry) };
    }
}

/// Does something at the end of a scope, whatever happens in it.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl<E> Drop for Slab<E> {
    fn drop(&mut self) {
        for (number, chunk) in self.chunks.get_mut().iter_mut().enumerate() {
            let chunk = *chunk.get_mut();
            if !chunk.is_null() {
                let places = ptr::slice_from_raw_parts_mut(chunk, Self::chunk_size(number));
                // SAFETY: it came from `new_chunk` with this size; a cell may be uninitialized, and drops no entry.
                drop(unsafe { Box::from_raw(places) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Slab, Vacancies};

    #[test]
    fn a_chunk_is_of_bounded_size_and_holds_a_power_of_two_of_cells() {
        assert_eq!(Slab::<u8>::CELLS, CHUNK);
        assert_eq!(Slab::<[u64; 3]>::CELLS, 512);
        assert_eq!(Slab::<[u8; 10_000]>::CELLS, 8);
        assert_eq!(Slab::<()>::CELLS, CHUNK);
    }

    #[test]
    fn each_place_that_is_given_out_has_a_cell_of_its_own() {
        let collector = seize::Collector::new();
        let guard = collector.enter();
        let slab = Slab::<[u64; 3]>::new();
        let mut vacancies = Vacancies::default();
        let mut addresses: Vec<_> = (0..2_000)
            .map(|number| {
                let place = slab.put(&mut vacancies, [number; 3], &guard);
                // SAFETY: it was put in just now.
                assert_eq!(unsafe { slab.get(place, &guard) }, &[number; 3]);
                slab.address(place, &guard).addr()
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 2_000);
    }
}
