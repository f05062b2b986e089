//! Where the entries of a table are, by the hash of their key: places in the order of their tags.
//!
//! A tag is half a hash. Its home is its share of the array, `tag × homes ÷ 2³²`, so homes grow with tags; and
//! slots lie in the order of their tags, as near behind their homes as they can (linear probing with ordered
//! keys: Amble and Knuth, "Ordered hash tables", 1974). So a walk from a tag's home ends at the first empty slot
//! or larger tag, and a larger array is filled from first to last without looking at any entry.
//!
//! Readers walk while one writer changes single slots. An insertion moves slots away from their homes, from
//! last to first, so a walk that goes the same way may see one twice but misses none. A removal moves slots
//! back, and a walk may miss one: so it counts in `version`, and a walk that found nothing asks there whether to
//! walk again. Invariants: the last slot is empty; between its home and a slot none is empty.

use std::sync::atomic::{AtomicU64, Ordering};

/// Half a hash: what a slot knows of its entry's key.
pub(crate) type Tag = u32;

/// Where an entry is among those of its table.
pub(super) type Place = u32;

/// One array of slots.
#[derive(Debug)]
pub(super) struct Slots {
    /// How many slots are the home of some tag. The rest, at the end, take what is moved out of the last homes.
    homes: u32,
    slots: Box<[AtomicU64]>,
}

/// Zero for an empty slot, because a place is stored as the number after it.
#[inline]
fn packed(tag: Tag, place: Place) -> u64 {
    (u64::from(tag) << 32) | (u64::from(place) + 1)
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half is the tag")]
fn tag(slot: u64) -> Tag {
    (slot >> 32) as Tag
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower half is the place, and one more"
)]
fn place(slot: u64) -> Place {
    (slot as u32).wrapping_sub(1)
}

impl Slots {
    /// Empty slots for `entries` at the load that lookups like.
    pub(super) fn for_entries(entries: usize) -> Self {
        Self::from_sorted(entries, std::iter::empty())
    }

    /// Slots for `entries` with these in them, which come in the order of their tags.
    fn from_sorted(entries: usize, sorted: impl Iterator<Item = u64>) -> Self {
        let homes = u32::try_from(entries * LOAD.1 / LOAD.0 + 1).expect("fewer than 2^32 entries");
        // More than is needed by all odds, because a vector that grows copies what it has.
        let mut slots = Vec::with_capacity(homes as usize + 32 * TAIL);
        for slot in sorted {
            let home = home(homes, tag(slot));
            // What lies before a slot's home and after the last slot is empty.
            while slots.len() < home {
                slots.push(AtomicU64::new(0));
            }
            slots.push(AtomicU64::new(slot));
        }
        let len = (homes as usize).max(slots.len()) + TAIL;
        slots.resize_with(len, AtomicU64::default);
        Self {
            homes,
            slots: slots.into(),
        }
    }

    /// A copy with room for `entries`.
    pub(super) fn rebuilt(&self, entries: usize) -> Self {
        // Relaxed: the caller is the only writer, and the copy is published as a whole.
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        Self::from_sorted(entries, slots.filter(|slot| *slot != 0))
    }

    /// Whether one more would make walks long.
    pub(super) fn is_full(&self, entries: usize) -> bool {
        entries * LOAD.1 >= self.homes as usize * LOAD.0
    }

    /// Visits the places under a tag in order, until `visit` has what it wants.
    ///
    /// The first slots are compared without a branch for each: how far one is from its home is chance, which no
    /// processor predicts.
    #[inline]
    pub(super) fn walk<R>(
        &self,
        wanted: Tag,
        mut visit: impl FnMut(usize, Place) -> Option<R>,
    ) -> Option<R> {
        let home = home(self.homes, wanted);
        let first = self.slots.get(home..)?.first_chunk::<FIRST>()?;
        // In this order, which is that of a walk.
        let first: [u64; FIRST] = std::array::from_fn(|lane| first[lane].load(PROTECTED));
        let (mut lane, mut slot) = (FIRST, 0);
        for other in (0..FIRST).rev() {
            if tag(first[other]) == wanted {
                (lane, slot) = (other, first[other]);
            }
        }
        if slot != 0
            && let Some(found) = visit(home + lane, place(slot))
        {
            return Some(found);
        }
        if lane == FIRST && first.iter().any(|slot| *slot == 0 || tag(*slot) > wanted) {
            return None;
        }
        self.walk_on(wanted, home, visit)
    }

    /// The same from `index` on, slot by slot.
    #[inline(never)]
    fn walk_on<R>(
        &self,
        wanted: Tag,
        mut index: usize,
        mut visit: impl FnMut(usize, Place) -> Option<R>,
    ) -> Option<R> {
        loop {
            let slot = self.slots.get(index)?.load(PROTECTED);
            if slot == 0 || tag(slot) > wanted {
                return None;
            }
            if tag(slot) == wanted
                && let Some(found) = visit(index, place(slot))
            {
                return Some(found);
            }
            index += 1;
        }
    }

    /// Puts a place behind the others of its tag; false if there is no empty slot to move the rest to.
    pub(super) fn insert(&self, new: Tag, place: Place) -> bool {
        let home = home(self.homes, new);
        let Some(index) = self.first_from(home, |slot| slot == 0 || tag(slot) > new) else {
            return false;
        };
        let Some(end) = self.first_from(index, |slot| slot == 0) else {
            return false;
        };
        if end + 1 == self.slots.len() {
            return false;
        }
        for moved in (index..end).rev() {
            self.store(moved + 1, self.load(moved));
        }
        self.store(index, packed(new, place));
        true
    }

    /// Puts another place where one is.
    pub(super) fn replace(&self, index: usize, tag: Tag, place: Place) {
        self.store(index, packed(tag, place));
    }

    /// Empties a slot, and moves those behind it towards their homes.
    pub(super) fn remove(&self, index: usize) {
        let mut hole = index;
        loop {
            let next = self.load(hole + 1);
            if next == 0 || home(self.homes, tag(next)) > hole {
                break;
            }
            self.store(hole, next);
            hole += 1;
        }
        self.store(hole, 0);
    }

    /// The places under the tags from `from` on, up to the end of some tag, and the tag after that.
    ///
    /// All of them were there at one moment if no removal came between.
    pub(super) fn some_from(&self, from: Tag) -> (Vec<Place>, Option<Tag>) {
        let mut places = Vec::new();
        let mut last = from;
        for slot in &self.slots[home(self.homes, from)..] {
            let slot = slot.load(PROTECTED);
            if slot == 0 || tag(slot) < from {
                continue;
            }
            if places.len() >= SOME && tag(slot) > last {
                return (places, Some(tag(slot)));
            }
            last = tag(slot);
            places.push(place(slot));
        }
        (places, None)
    }

    /// All places; nobody may be changing them.
    pub(super) fn places(&mut self) -> impl Iterator<Item = Place> {
        let slots = self.slots.iter_mut().map(|slot| *slot.get_mut());
        slots.filter(|slot| *slot != 0).map(place)
    }

    fn first_from(&self, index: usize, is_it: impl Fn(u64) -> bool) -> Option<usize> {
        (index..self.slots.len()).find(|index| is_it(self.load(*index)))
    }

    fn load(&self, index: usize) -> u64 {
        // Relaxed: only the one writer changes slots, and this is its thread.
        self.slots[index].load(Ordering::Relaxed)
    }

    fn store(&self, index: usize, slot: u64) {
        // Release: pairs with the loads of a walk, which thereby see the entry whole.
        self.slots[index].store(slot, Ordering::Release);
    }

    /// Panics unless every slot is where a walk finds it.
    pub(super) fn assert_consistent(&self, entries: usize) {
        let mut count = 0;
        let mut before = (0, true);
        for (index, slot) in self.slots.iter().enumerate() {
            let slot = slot.load(Ordering::Acquire);
            if slot != 0 {
                let home = home(self.homes, tag(slot));
                assert!(home <= index, "a slot is not before its home");
                assert!(home == index || !before.1, "no empty slot before it");
                assert!(before.0 <= tag(slot), "tags are in order");
                before.0 = tag(slot);
                count += 1;
            }
            before.1 = slot == 0;
        }
        assert!(before.1, "the last slot is empty");
        assert_eq!(count, entries);
    }
}

/// How a reader loads a slot that it may follow to an entry.
///
/// SeqCst, as seize asks of such loads (its `Guard::protect`): so a walk comes after the store by which its pin began, and
/// the collector, which looks at the pins behind a fence, does not miss a reader that saw a slot before it was emptied.
/// It also pairs with the Release stores of a writer, so the entry in the place is seen whole.
const PROTECTED: Ordering = Ordering::SeqCst;

/// How full an array may be, as a fraction: at this load a walk looks at three to four slots on average.
const LOAD: (usize, usize) = (5, 6);

/// How many places are looked at between two questions whether a removal came between.
const SOME: usize = 64;

/// How many slots are compared at once: more than most walks need.
const FIRST: usize = 4;

/// Slots after the last home: at least as many as are compared at once.
const TAIL: usize = 8;

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "it is less than `homes`")]
fn home(homes: u32, tag: Tag) -> usize {
    ((u64::from(tag) * u64::from(homes)) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::{Place, Slots, Tag};

    /// A few tags, so that many places share one, among them those whose homes are the first and the last.
    fn tags(number: u32) -> Tag {
        match number % 7 {
            0 => 0,
            1 => Tag::MAX,
            2 => Tag::MAX - 1,
            rest => rest.wrapping_mul(0x2545_F491).wrapping_mul(number % 3 + 1),
        }
    }

    fn index_of(slots: &Slots, tag: Tag, place: Place) -> Option<usize> {
        slots.walk(tag, |index, found| (found == place).then_some(index))
    }

    #[test]
    fn places_are_found_under_their_tags_whatever_comes_and_goes() {
        let mut slots = Slots::for_entries(0);
        let mut present: Vec<Place> = Vec::new();
        let mut state = 7_u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (state >> 16) % 100;
            match present.iter().position(|other| *other == place) {
                Some(position) => {
                    present.swap_remove(position);
                    let index = index_of(&slots, tags(place), place).expect("it is present");
                    slots.remove(index);
                }
                None => {
                    if slots.is_full(present.len()) || !slots.insert(tags(place), place) {
                        slots = slots.rebuilt(present.len() + 1);
                        assert!(slots.insert(tags(place), place), "a copy has room");
                    }
                    present.push(place);
                }
            }
            slots.assert_consistent(present.len());
            for place in 0..100 {
                let found = index_of(&slots, tags(place), place).is_some();
                assert_eq!(found, present.contains(&place));
            }
        }
    }

    #[test]
    fn all_places_come_in_parts_that_follow_each_other() {
        let mut slots = Slots::for_entries(1_000);
        for place in 0..1_000 {
            while !slots.insert(tags(place), place) {
                slots = slots.rebuilt(1_000);
            }
        }
        let (mut seen, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (places, rest) = slots.some_from(from);
            seen.extend(places);
            next = rest;
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..1_000));
    }
}
