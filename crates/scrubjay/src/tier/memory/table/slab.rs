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

/// Cells in the first chunks, so that a small cache is small, and in each of the others.
const FEW: usize = 64;
const MANY: usize = 1024;
/// The first chunks are as many as hold what one of the others does.
const FIRST_CHUNKS: usize = MANY / FEW;

/// The chunk of a place, and the cell there.
#[inline]
fn cell_of(place: Place) -> (usize, usize) {
    let place = place as usize;
    if place < MANY {
        (place / FEW, place % FEW)
    } else {
        (place / MANY + FIRST_CHUNKS - 1, place % MANY)
    }
}

fn chunk_size(chunk: usize) -> usize {
    if chunk < FIRST_CHUNKS { FEW } else { MANY }
}

fn new_chunk<E>(size: usize) -> *mut Cell<E> {
    Box::into_raw(Box::<[Cell<E>]>::new_uninit_slice(size)).cast()
}

impl<E> Slab<E> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Published::new(Chunks::default()),
            freed: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    fn cell(&self, place: Place, guard: &LocalGuard<'_>) -> *mut MaybeUninit<E> {
        let (chunk, cell) = cell_of(place);
        // Relaxed: whoever learnt the place, learnt of the chunk that was made before it.
        let chunk = self.chunks.get(guard)[chunk].load(Ordering::Relaxed);
        // SAFETY: places are given out only below the end of the last chunk, and chunks live as long as the slab.
        UnsafeCell::raw_get(unsafe { &raw const (*chunk.add(cell)).0 })
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
        // SAFETY: the place is vacant and this is the only writer: no other reference to it exists.
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
            return place;
        }
        std::mem::swap(&mut vacancies.vacant, &mut *self.freed.lock());
        if let Some(place) = vacancies.vacant.pop() {
            return place;
        }
        let (chunk, cell) = cell_of(vacancies.unused);
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
        let chunk = new_chunk(chunk_size(number));
        let chunks = self.chunks.get(guard);
        if let Some(slot) = chunks.get(number) {
            // Relaxed: see `place`.
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
        self.cell(place, guard).cast()
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
            let (chunk, cell) = cell_of(place);
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
                let places = ptr::slice_from_raw_parts_mut(chunk, chunk_size(number));
                // SAFETY: it came from `new_chunk` with this size; a cell may be uninitialized, and drops no entry.
                drop(unsafe { Box::from_raw(places) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{cell_of, chunk_size};

    #[test]
    fn chunks_follow_each_other_without_a_gap() {
        let (mut chunk, mut cell) = (0, 0);
        for place in 0..1 << 20 {
            assert_eq!(cell_of(place), (chunk, cell));
            cell += 1;
            if cell == chunk_size(chunk) {
                (chunk, cell) = (chunk + 1, 0);
            }
        }
    }
}
