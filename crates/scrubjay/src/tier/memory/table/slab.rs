//! Places for entries, by number: chunks that never move.
//!
//! A number's chunk and its place there follow from the number alone (its lower bits name the table). Chunks grow with the slab, by a sixteenth
//! of it, so little is unused and nothing is ever copied. Whoever holds the shard's lock puts entries in;
//! [`Slab::free`] takes them out when no reader can see them, on whatever thread finds that.
//!
//! Invariant: a place is written once between two times that it is vacant.

#![allow(
    unsafe_code,
    reason = "lock-free readers need entries in place while writers add others; see docs/benchmarks.md"
)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use seize::LocalGuard;

use super::published::Published;
use super::slots::Number;
use crate::sync::Mutex;

/// One entry's place.
struct Place<E>(UnsafeCell<MaybeUninit<E>>);

/// Where the chunks are, by their numbers; null behind the last one.
type Chunks<E> = Box<[AtomicPtr<Place<E>>]>;

pub(super) struct Slab<E> {
    /// Which of how many tables it serves (two to the power of `bits`): the lower bits of its numbers.
    index: u32,
    bits: u32,
    chunks: Published<Chunks<E>>,
    /// Numbers whose entries were freed since the writer last took them.
    freed: Mutex<Vec<Number>>,
}

// SAFETY: a place's entry is written by one writer before others are told its number, shown as `&E`, and dropped by
// one thread after all others let go of it: the terms of `RwLock<E>`. The chunks' pointers are owned by the slab.
unsafe impl<E: Send> Send for Slab<E> {}
// SAFETY: as above.
unsafe impl<E: Send + Sync> Sync for Slab<E> {}

/// The numbers that the writer may give out. Lives inside the shard's lock.
#[derive(Debug, Default)]
pub(super) struct Vacancies {
    vacant: Vec<Number>,
    /// All numbers from here on were never used.
    unused: Number,
}

/// The chunk of a number, and the place there: 32 chunks of 16 places, then 16 chunks for each doubling.
#[inline]
fn place_of(number: Number) -> (usize, usize) {
    let number = number as usize;
    let bits = (number | 256).ilog2() as usize - 4;
    (
        (number >> bits) + (bits - 4) * 16,
        number & ((1 << bits) - 1),
    )
}

fn chunk_size(chunk: usize) -> usize {
    16 << (chunk.saturating_sub(16) / 16)
}

fn new_chunk<E>(size: usize) -> *mut Place<E> {
    let mut places: Vec<Place<E>> = Vec::with_capacity(size);
    // SAFETY: the capacity is `size`, and a place may be uninitialized.
    unsafe { places.set_len(size) };
    Box::into_raw(places.into_boxed_slice()).cast()
}

impl<E> Slab<E> {
    /// For the table `index` of `2^bits`, whose numbers do not collide.
    pub(super) fn new(index: u32, bits: u32) -> Self {
        Self {
            index,
            bits,
            chunks: Published::new(Chunks::default()),
            freed: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    fn place(&self, number: Number, guard: &LocalGuard<'_>) -> *mut MaybeUninit<E> {
        let (chunk, place) = place_of(number >> self.bits);
        // Relaxed: whoever learnt the number, learnt of the chunk that was made before it.
        let chunk = self.chunks.get(guard)[chunk].load(Ordering::Relaxed);
        // SAFETY: numbers are given out only below the end of the last chunk, and chunks live as long as the slab.
        UnsafeCell::raw_get(unsafe { &raw const (*chunk.add(place)).0 })
    }

    /// Shows the entry of a number.
    ///
    /// # Safety
    ///
    /// The entry was put in, and [`free`](Self::free) may not be called before `guard` ends: it is in the table, or was
    /// unlinked after `guard` began.
    #[inline]
    pub(super) unsafe fn get<'g>(&self, number: Number, guard: &'g LocalGuard<'_>) -> &'g E {
        // SAFETY: the caller's promise: the entry is there and stays.
        unsafe { (*self.place(number, guard)).assume_init_ref() }
    }

    /// Puts an entry in a vacant place. Under the shard's lock, which `vacancies` shows.
    pub(super) fn put(
        &self,
        vacancies: &mut Vacancies,
        entry: E,
        guard: &LocalGuard<'_>,
    ) -> Number {
        let number = self.vacancy(vacancies, guard);
        // SAFETY: the place is vacant and this is the only writer: no other reference to it exists.
        unsafe { (*self.place(number, guard)).write(entry) };
        number
    }

    /// Takes back an entry that no table ever showed.
    ///
    /// # Safety
    ///
    /// The entry was put in by this caller, and nobody else knows its number.
    pub(super) unsafe fn take_back(
        &self,
        vacancies: &mut Vacancies,
        number: Number,
        guard: &LocalGuard<'_>,
    ) -> E {
        vacancies.vacant.push(number);
        // SAFETY: the caller's promise: the entry is there, and this is the only reference.
        unsafe { (*self.place(number, guard)).assume_init_read() }
    }

    fn vacancy(&self, vacancies: &mut Vacancies, guard: &LocalGuard<'_>) -> Number {
        if let Some(number) = vacancies.vacant.pop() {
            return number;
        }
        std::mem::swap(&mut vacancies.vacant, &mut *self.freed.lock());
        if let Some(number) = vacancies.vacant.pop() {
            return number;
        }
        let (chunk, place) = place_of(vacancies.unused);
        if place == 0 {
            self.add_chunk(chunk, guard);
        }
        let number = vacancies.unused << self.bits | self.index;
        assert!(
            vacancies.unused < u32::MAX >> self.bits,
            "scrubjay: a cache holds fewer than 2^32 entries"
        );
        vacancies.unused += 1;
        number
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
    pub(super) fn address(&self, number: Number, guard: &LocalGuard<'_>) -> *mut E {
        self.place(number, guard).cast()
    }

    /// Drops an entry that nobody can see any more, and makes its place vacant.
    ///
    /// # Safety
    ///
    /// `entry` is the address of `number`, the entry was put in and unlinked, every guard that began before it was
    /// unlinked has ended, and this is the only call for it.
    pub(super) unsafe fn free(&self, number: Number, entry: *mut E) {
        let vacate = OnDrop(|| self.freed.lock().push(number));
        // SAFETY: the caller's promise: the entry is there, and this is the only reference.
        unsafe { ptr::drop_in_place(entry) };
        drop(vacate);
    }

    /// Drops the entries of these numbers and leaves their places as they are.
    pub(super) fn drop_all(&mut self, numbers: impl IntoIterator<Item = Number>) {
        for number in numbers {
            let (chunk, place) = place_of(number >> self.bits);
            let chunk = *self.chunks.get_mut()[chunk].get_mut();
            // SAFETY: `&mut self`: nobody else has a reference, and the caller's numbers are of entries that are there.
            unsafe { (*(*chunk.add(place)).0.get()).assume_init_drop() };
        }
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
                // SAFETY: it came from `new_chunk` with this size, and places drop no entries.
                drop(unsafe { Box::from_raw(places) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{chunk_size, place_of};

    #[test]
    fn chunks_follow_each_other_without_a_gap() {
        let (mut chunk, mut place) = (0, 0);
        for number in 0..1 << 20 {
            assert_eq!(place_of(number), (chunk, place));
            place += 1;
            if place == chunk_size(chunk) {
                (chunk, place) = (chunk + 1, 0);
            }
        }
    }
}
