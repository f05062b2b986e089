//! Where the entries of a table are, by the hash of their key: buckets of twelve lanes, each bucket one cache line.
//!
//! ```text
//! bucket   64 bytes:  twelve tags of 8 bits | how many passed by, 32 bits | twelve places of 32 bits
//! ```
//! A tag is half a hash: its upper bits say which bucket is its home, its lowest eight stand in the lane, so that one
//! comparison of words finds the few lanes worth following. What finds its home full goes to the next bucket that is
//! not, and every bucket that it passes by counts it; a lookup ends at the first bucket that nobody passed by, or where
//! it began. (F14: Bronson and Shi, "Open-sourcing F14 for faster, more memory-efficient hash tables", Meta 2019.)
//!
//! Readers look on while one writer changes single lanes. Invariants: an entry stays in its lane for as long as it is
//! in the table, so a reader that passes misses none that was there all the time; a lane's place is written before its
//! tag, and a bucket counts an entry that passes by before that entry has a lane and until it has none.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::prefetch::prefetch;

/// Half a hash: what is known of an entry's key without asking it.
pub(crate) type Tag = u32;

/// Where an entry is among those of its table.
pub(crate) type Place = u32;

/// Where an entry's place is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane {
    bucket: usize,
    lane: usize,
}

#[derive(Debug)]
pub(super) struct Buckets(Box<[Bucket]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// The tags by lane, a byte each, 0 if the lane is vacant; in the upper half of the second word, how many passed
    /// by.
    words: [AtomicU64; 2],
    places: [AtomicU32; LANES],
}

const LANES: usize = 12;

/// How full buckets may be, as a fraction: at this load one lookup in twenty goes on to a second bucket.
const LOAD: (usize, usize) = (5, 6);

/// How a reader loads what it may follow to an entry.
///
/// SeqCst, as seize asks of such loads (its `Guard::protect`): so they come after the store by which its pin began, and
/// the collector, which looks at the pins behind a fence, does not miss a reader that saw a lane before it was vacated.
/// It also pairs with the Release stores of a writer, so the entry in the place is seen whole.
const PROTECTED: Ordering = Ordering::SeqCst;

const ALL_LANES: u32 = (1 << LANES) - 1;
/// What one entry that passes by adds to the second word.
const ONE_PASSED: u64 = 1 << 32;

/// The byte by which a lane is compared: never 0.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the lowest byte")]
fn byte(tag: Tag) -> u8 {
    (tag as u8).max(1)
}

/// The lanes, as bits, whose bytes are this one.
#[inline]
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "a tenth of a hit's instructions; see docs/benchmarks.md"
)]
fn lanes_with(byte: u8, words: [u64; 2]) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let [first, second] = words.map(u64::cast_signed);
    // SAFETY: every x86-64 processor has SSE2, and these touch no memory.
    let equal = unsafe {
        let wanted = _mm_set1_epi8(byte.cast_signed());
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(second, first), wanted))
    };
    equal.cast_unsigned() & ALL_LANES
}

/// The lanes, as bits, whose bytes are this one.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
fn lanes_with(byte: u8, words: [u64; 2]) -> u32 {
    lanes_by_word(byte, words)
}

/// The same without wide registers: Warren, "Hacker's Delight", 6-1, gives the sign bits of the bytes that are 0, and
/// of no others; a multiplication then gathers them.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[allow(clippy::cast_possible_truncation, reason = "eight bits are left")]
fn lanes_by_word(byte: u8, words: [u64; 2]) -> u32 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const SIGNS: u64 = ONES << 7;
    let [first, second] = words.map(|word| {
        let word = word ^ (u64::from(byte) * ONES);
        let zeros = !(((word & !SIGNS) + !SIGNS) | word) & SIGNS;
        ((zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    });
    (first | second << 8) & ALL_LANES
}

impl Bucket {
    #[inline]
    fn words(&self) -> [u64; 2] {
        [0, 1].map(|word: usize| self.words[word].load(PROTECTED))
    }

    /// The lanes that may have this tag, and whether anybody passed by.
    #[inline]
    fn look(&self, tag: Tag) -> (u32, bool) {
        let words = self.words();
        (lanes_with(byte(tag), words), words[1] >= ONE_PASSED)
    }

    fn vacant(&self) -> u32 {
        lanes_with(0, self.words())
    }

    fn taken(&self) -> u32 {
        !self.vacant() & ALL_LANES
    }

    fn set(&self, lane: usize, byte: u8) {
        let (word, shift) = (&self.words[lane / 8], lane % 8 * 8);
        // Relaxed: only the one writer changes words, and this is its thread.
        let others = word.load(Ordering::Relaxed) & !(0xFF << shift);
        // Release: pairs with the loads of a reader, which thereby sees the lane's place.
        word.store(others | u64::from(byte) << shift, Ordering::Release);
    }

    fn count_passed(&self, change: impl FnOnce(u64) -> u64) {
        let word = &self.words[1];
        // Relaxed and Release: as above.
        word.store(change(word.load(Ordering::Relaxed)), Ordering::Release);
    }

    /// The places of the lanes that are taken.
    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        each(self.taken()).map(|lane| self.places[lane].load(PROTECTED))
    }
}

/// The lanes of a set.
fn each(mut lanes: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = (lanes != 0).then(|| lanes.trailing_zeros() as usize);
        lanes &= lanes.wrapping_sub(1);
        lane
    })
}

impl Buckets {
    /// Empty buckets with room for so many entries.
    pub(super) fn for_entries(entries: usize) -> Self {
        let lanes = entries.saturating_mul(LOAD.1) / LOAD.0 + 1;
        let buckets = (0..lanes.div_ceil(LANES)).map(|_| Bucket::default());
        Self(buckets.collect())
    }

    /// A copy with room for `entries`; `tag_of` says the tag of the entry in a place, for which `prefetch` asks early.
    pub(super) fn rebuilt(
        &self,
        entries: usize,
        tag_of: impl Fn(Place) -> Tag,
        prefetch: impl Fn(Place),
    ) -> Self {
        let copy = Self::for_entries(entries);
        let mut ahead = self.0.iter();
        ahead
            .by_ref()
            .take(1)
            .for_each(|first| first.places().for_each(&prefetch));
        for bucket in &self.0 {
            ahead
                .next()
                .into_iter()
                .flat_map(Bucket::places)
                .for_each(&prefetch);
            for place in bucket.places() {
                copy.insert(tag_of(place), place);
            }
        }
        copy
    }

    /// Whether there is no room for more than these.
    pub(super) fn is_full(&self, entries: usize) -> bool {
        entries * LOAD.1 >= self.0.len() * LANES * LOAD.0
    }

    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "below the number of buckets"
    )]
    fn home(&self, tag: Tag) -> usize {
        ((u64::from(tag) * self.0.len() as u64) >> 32) as usize
    }

    /// Has the home of a tag brought near.
    #[inline]
    pub(super) fn prefetch(&self, tag: Tag) {
        if let Some(bucket) = self.0.get(self.home(tag)) {
            prefetch(bucket);
        }
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        let next = bucket + 1;
        if next < self.0.len() { next } else { 0 }
    }

    /// Visits the places that may be those of a tag, until `visit` has what it wants.
    #[inline]
    pub(super) fn find<R>(
        &self,
        tag: Tag,
        mut visit: impl FnMut(Lane, Place) -> Option<R>,
    ) -> Option<R> {
        let home = self.home(tag);
        let mut bucket = home;
        loop {
            let here = self.0.get(bucket)?;
            let (mut lanes, passed) = here.look(tag);
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                let place = here.places[lane].load(PROTECTED);
                if let Some(found) = visit(Lane { bucket, lane }, place) {
                    return Some(found);
                }
                lanes &= lanes - 1;
            }
            bucket = self.next(bucket);
            if !passed || bucket == home {
                return None;
            }
        }
    }

    /// Notes a place in the first bucket from its home on that has a vacant lane. There must be room.
    pub(super) fn insert(&self, tag: Tag, place: Place) {
        let mut bucket = self.home(tag);
        loop {
            let here = &self.0[bucket];
            if let Some(lane) = each(here.vacant()).next() {
                // Release: pairs with the load of a reader that saw an older tag in this lane.
                here.places[lane].store(place, Ordering::Release);
                return here.set(lane, byte(tag));
            }
            here.count_passed(|word| word + ONE_PASSED);
            bucket = self.next(bucket);
        }
    }

    /// Notes another place where one is.
    pub(super) fn replace(&self, lane: Lane, place: Place) {
        // Release: pairs with the load of a reader, which thereby sees the entry whole.
        self.0[lane.bucket].places[lane.lane].store(place, Ordering::Release);
    }

    /// Vacates the lane of an entry with this tag.
    pub(super) fn remove(&self, lane: Lane, tag: Tag) {
        self.0[lane.bucket].set(lane.lane, 0);
        let mut bucket = self.home(tag);
        while bucket != lane.bucket {
            self.0[bucket].count_passed(|word| word - ONE_PASSED);
            bucket = self.next(bucket);
        }
    }

    /// Visits the places: each that is there from before the visit to after it, once, and perhaps others.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.0.iter().flat_map(Bucket::places)
    }

    /// Panics unless these are as many entries, and each is counted where it passed by.
    pub(super) fn assert_consistent(&self, entries: usize, tag_of: impl Fn(Place) -> Tag) {
        let mut passed = vec![0; self.0.len()];
        let mut count = 0;
        for (bucket, here) in self.0.iter().enumerate() {
            for lane in each(here.taken()) {
                let tag = tag_of(here.places[lane].load(PROTECTED));
                assert!(here.look(tag).0 & 1 << lane != 0, "a lane has its tag");
                let mut passing = self.home(tag);
                while passing != bucket {
                    passed[passing] += 1;
                    passing = self.next(passing);
                }
                count += 1;
            }
        }
        assert_eq!(count, entries);
        let counted = (self.0.iter()).map(|bucket| bucket.words[1].load(PROTECTED) >> 32);
        assert!(counted.eq(passed), "who passed by is counted");
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Buckets, Lane, Place, Tag, lanes_by_word, lanes_with};

    /// A few tags, so that many places share one, among them those whose homes are the first and the last.
    fn tags(place: u32) -> Tag {
        match place % 7 {
            0 => 0,
            1 => Tag::MAX,
            2 => Tag::MAX - 1,
            rest => rest.wrapping_mul(0x2545_F491).wrapping_mul(place % 3 + 1),
        }
    }

    fn lane_of(buckets: &Buckets, tag: Tag, place: Place) -> Option<Lane> {
        buckets.find(tag, |lane, found| (found == place).then_some(lane))
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn wide_registers_and_words_find_the_same_lanes() {
        let mut state = 1_u64;
        for byte in 0..=u8::MAX {
            let words = [0, 1].map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let others = state & 0x0101_0101_0101_0101;
                (u64::from(byte) * 0x0101_0101_0101_0101) ^ others
            });
            assert_eq!(lanes_with(byte, words), lanes_by_word(byte, words));
        }
    }

    #[test]
    fn places_are_found_under_their_tags_whatever_comes_and_goes() {
        let mut buckets = Buckets::for_entries(0);
        let mut present: Vec<Place> = Vec::new();
        let mut state = 7_u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (state >> 16) % 100;
            match present.iter().position(|other| *other == place) {
                Some(position) => {
                    present.swap_remove(position);
                    let lane = lane_of(&buckets, tags(place), place).expect("it is present");
                    buckets.remove(lane, tags(place));
                }
                None => {
                    if buckets.is_full(present.len()) {
                        buckets = buckets.rebuilt(present.len() + 1, tags, drop);
                    }
                    buckets.insert(tags(place), place);
                    present.push(place);
                }
            }
            buckets.assert_consistent(present.len(), tags);
            for place in 0..100 {
                let found = lane_of(&buckets, tags(place), place).is_some();
                assert_eq!(found, present.contains(&place));
            }
        }
    }

    #[test]
    fn a_lookup_ends_though_every_bucket_was_passed_by() {
        let buckets = Buckets::for_entries(19);
        (0..13).for_each(|place| buckets.insert(0, place));
        (13..24).for_each(|place| buckets.insert(Tag::MAX, place));
        let first = lane_of(&buckets, 0, 0).expect("it is present");
        buckets.remove(first, 0);
        buckets.insert(Tag::MAX, 24);
        assert!(buckets.0.iter().all(|bucket| bucket.look(0).1));
        assert_eq!(lane_of(&buckets, 7, 99), None);
    }

    #[test]
    fn all_places_are_visited() {
        let mut buckets = Buckets::for_entries(3);
        for place in 0..1_000 {
            if buckets.is_full(place as usize) {
                buckets = buckets.rebuilt(2 * place as usize, tags, drop);
            }
            buckets.insert(tags(place), place);
        }
        let mut seen: Vec<_> = buckets.places().collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..1_000));
    }
}
