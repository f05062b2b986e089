//! Ghosts: what is remembered of entries that were evicted, so that one that comes back soon is recognized.
//!
//! A ghost is 16 bits, a fingerprint of ten and a time of six, in one of the four slots of its bucket; there are two
//! slots for every resident. Nothing is exact: a stranger is taken for a ghost about four times in a thousand, the
//! oldest of a full bucket is forgotten, and times are in eighths of a capacity and turn over after eight capacities.
//! An error costs one entry a place that it did not earn, or the reverse.

use crate::prefetch::prefetch;

const WAYS: usize = 4;
const SLOTS_PER_RESIDENT: usize = 2;
const FINGERPRINT_BITS: u32 = 10;
const FINGERPRINT: u16 = (1 << FINGERPRINT_BITS) - 1;
const EMPTY: u16 = 0;

/// Turns of the ghosts' clock while one capacity's worth of weight is inserted.
pub(super) const TURNS: u16 = 8;
/// A time that a ghost can tell from now.
const TIMES: u16 = u16::MAX >> FINGERPRINT_BITS;

#[derive(Debug, Default)]
pub(super) struct Ghosts {
    slots: Vec<u16>,
    residents: usize,
    now: u16,
}

impl Ghosts {
    /// Makes room for the ghosts of so many residents; forgets all if that number has changed much.
    pub(super) fn fit(&mut self, residents: usize) {
        if is_another_size(self.residents, residents) {
            let slots = SLOTS_PER_RESIDENT * residents;
            self.slots = vec![EMPTY; slots.next_multiple_of(WAYS)];
            self.residents = residents;
        }
    }

    pub(super) fn set_now(&mut self, now: u16) {
        self.now = now & TIMES;
    }

    /// Has the bucket of a tag brought near.
    #[inline]
    pub(super) fn prefetch(&self, tag: u32) {
        if let Some(slot) = self.place(tag).and_then(|(first, _)| self.slots.get(first)) {
            prefetch(slot);
        }
    }

    /// Forgets the ghost of an entry and returns how many turns ago it left.
    pub(super) fn take(&mut self, tag: u32) -> Option<u16> {
        let (first, fingerprint) = self.place(tag)?;
        let bucket = &mut self.slots[first..first + WAYS];
        let slot = bucket.iter_mut().find(|slot| is_of(**slot, fingerprint))?;
        let ghost = std::mem::replace(slot, EMPTY);
        Some(turns_since(ghost, self.now))
    }

    pub(super) fn put(&mut self, tag: u32) {
        let Some((first, fingerprint)) = self.place(tag) else {
            return;
        };
        let now = self.now;
        let bucket = self.slots[first..first + WAYS].iter_mut();
        let slot = bucket.max_by_key(|slot| match **slot {
            slot if is_of(slot, fingerprint) => TIMES + 2,
            EMPTY => TIMES + 1,
            slot => turns_since(slot, now),
        });
        if let Some(slot) = slot {
            *slot = now << FINGERPRINT_BITS | fingerprint;
        }
    }

    /// The first slot of a tag's bucket, and its fingerprint, which is never 0. `None` before the first `fit`.
    fn place(&self, tag: u32) -> Option<(usize, u16)> {
        // The lower bits of the product depend on the lower bits of the tag only, the bucket on all of them.
        let mixed = tag.wrapping_mul(0x9E37_79B1);
        let buckets = (self.slots.len() / WAYS) as u64;
        let bucket = (u64::from(mixed) * buckets) >> u32::BITS;
        let fingerprint = (mixed as u16 & FINGERPRINT).max(1);
        (buckets > 0).then_some((bucket as usize * WAYS, fingerprint))
    }

    pub(super) fn assert_consistent(&self) {
        assert!(self.slots.len() >= SLOTS_PER_RESIDENT * self.residents);
        assert!(self.slots.len().is_multiple_of(WAYS) && self.now <= TIMES);
    }
}

fn is_of(slot: u16, fingerprint: u16) -> bool {
    slot & FINGERPRINT == fingerprint
}

fn turns_since(slot: u16, now: u16) -> u16 {
    now.wrapping_sub(slot >> FINGERPRINT_BITS) & TIMES
}

/// Whether what was made for so many residents does for so many no longer.
pub(super) fn is_another_size(made_for: usize, residents: usize) -> bool {
    residents > made_for.saturating_add(made_for / 2) || residents < made_for / 3
}

#[cfg(test)]
mod tests {
    use super::Ghosts;

    #[test]
    fn a_ghost_tells_how_long_ago_it_left_once() {
        let mut ghosts = Ghosts::default();
        assert_eq!(ghosts.take(7), None);
        ghosts.fit(100);
        ghosts.set_now(60);
        ghosts.put(7);
        ghosts.set_now(67);
        assert_eq!(ghosts.take(7), Some(7));
        assert_eq!(ghosts.take(7), None);
        ghosts.assert_consistent();
    }

    #[test]
    fn few_strangers_are_taken_for_ghosts_and_most_ghosts_are_known() {
        let mut ghosts = Ghosts::default();
        ghosts.fit(10_000);
        let tag = |n: u32| n.wrapping_mul(0x85EB_CA6B).rotate_left(11);
        (0..10_000).for_each(|n| ghosts.put(tag(n)));
        let strangers = (10_000..20_000).filter(|n| ghosts.take(tag(*n)).is_some());
        assert!(strangers.count() < 60);
        let known = (0..10_000).filter(|n| ghosts.take(tag(*n)).is_some());
        assert!(known.count() > 9_500);
    }
}
