//! A miniature: a small cache of nothing but keys' tags, under the same rules as the real one.
//!
//! It is shown every lookup of a sample of the keys, and has the same share of the capacity. What it hits, a real
//! cache of its mode and of the capacity that it stands for would hit, by and large (Waldspurger, Saemundsson, Ahmad
//! and Park, "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017).

use std::cell::Cell;

use hashbrown::HashTable;

use super::regions::{Mode, Regions};
use crate::policy::{Marks, used};

#[derive(Debug)]
pub(super) struct Miniature {
    regions: Regions,
    residents: Residents,
    numbers: HashTable<u32>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Residents(Vec<Resident>);

#[derive(Debug)]
struct Resident {
    weight: u64,
    tag: u32,
    mark: Cell<u16>,
}

impl Miniature {
    pub(super) fn new(capacity: u64, mode: Mode) -> Self {
        Self {
            regions: Regions::new(capacity, mode),
            residents: Residents::default(),
            numbers: HashTable::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.regions.set_mode(mode);
    }

    /// Looks a key up, and stores it if it is not there; says whether it was.
    pub(super) fn look_up(&mut self, tag: u32, weight: u64) -> bool {
        let residents = &self.residents.0;
        let found = self
            .numbers
            .find(hash(tag), |number| residents[*number as usize].tag == tag);
        if let Some(number) = found {
            let mark = &residents[*number as usize].mark;
            mark.set(used(mark.get(), self.regions.epoch()));
            return true;
        }
        if weight <= self.regions.capacity() {
            self.make_room(weight);
            self.store(tag, weight);
        }
        false
    }

    fn make_room(&mut self, weight: u64) {
        while self.regions.weight() > self.regions.capacity() - weight
            && let Some(victim) = self.regions.victim(&self.residents)
        {
            let tag = self.residents.tag(victim);
            if let Ok(place) = self
                .numbers
                .find_entry(hash(tag), |number| *number == victim)
            {
                place.remove();
            }
            self.free.push(victim);
        }
    }

    fn store(&mut self, tag: u32, weight: u64) {
        let residents = &mut self.residents.0;
        let mark = Cell::new(0);
        let resident = Resident { weight, tag, mark };
        let number = match self.free.pop() {
            Some(number) => {
                residents[number as usize] = resident;
                number
            }
            None => {
                residents.push(resident);
                residents.len() as u32 - 1
            }
        };
        self.insert_number(tag, number);
        self.regions.insert(number, weight, &self.residents);
    }

    /// Makes a new table when this one has no place left, which may be because of what was removed: left to itself,
    /// it would then take twice the memory that its entries need.
    fn insert_number(&mut self, tag: u32, number: u32) {
        let residents = &self.residents.0;
        let hash_of = |number: &u32| hash(residents[*number as usize].tag);
        let len = self.numbers.len();
        if len == self.numbers.capacity() {
            let larger = HashTable::with_capacity(len + len / 8 + 1);
            for number in std::mem::replace(&mut self.numbers, larger) {
                self.numbers
                    .insert_unique(hash_of(&number), number, hash_of);
            }
        }
        self.numbers.insert_unique(hash(tag), number, hash_of);
    }
}

/// A tag is a part of a hash already; the table wants its upper bits too.
fn hash(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Marks for Residents {
    fn mark(&self, number: u32) -> u16 {
        self.0[number as usize].mark.get()
    }

    fn set_mark(&self, number: u32, mark: u16) {
        self.0[number as usize].mark.set(mark);
    }

    /// Asked only by policies that no miniature has.
    fn tick(&self, _number: u32) -> u64 {
        0
    }

    fn tag(&self, number: u32) -> u32 {
        self.0[number as usize].tag
    }

    fn weight(&self, number: u32) -> u64 {
        self.0[number as usize].weight
    }
}

/// The part of all lookups that a miniature of so many entries must be shown, when the cache has so many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    entries: u64,
    residents: u64,
}

impl Sample {
    pub(super) fn new(entries: usize, residents: usize) -> Self {
        let residents = residents.max(1) as u64;
        Self {
            entries: (entries as u64).min(residents),
            residents,
        }
    }

    /// The entries of a miniature.
    pub(super) fn entries(self) -> u64 {
        self.entries
    }

    /// The keys whose spread tags are below this are the sample.
    pub(super) fn below(self) -> u32 {
        let below = (u128::from(self.entries) << u32::BITS) / u128::from(self.residents);
        u32::try_from(below).unwrap_or(u32::MAX)
    }

    /// The capacity of a miniature that stands for `halves / 2` times a capacity.
    pub(super) fn of_capacity(self, capacity: u64, halves: u64) -> u64 {
        let capacity = u128::from(capacity) * u128::from(halves) * u128::from(self.entries);
        let residents = 2 * u128::from(self.residents);
        let share = capacity.saturating_add(residents / 2) / residents;
        u64::try_from(share).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::regions::MODES;
    use super::{Marks, Miniature, Sample};

    #[test]
    fn a_miniature_holds_what_its_capacity_allows() {
        for mode in MODES {
            let mut miniature = Miniature::new(50, mode);
            for n in 0..3000_u32 {
                let tag = n.wrapping_mul(n) % 97;
                miniature.look_up(tag, u64::from(tag % 60));
                assert!(miniature.regions.weight() <= 50);
                assert_eq!(miniature.regions.len(), miniature.numbers.len());
            }
            let numbers = miniature.numbers.iter();
            let entries = numbers.map(|n| (*n, miniature.residents.weight(*n)));
            miniature
                .regions
                .assert_consistent(&entries.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_sample_of_all_is_all() {
        let all = Sample::new(256, 100);
        assert_eq!((all.entries(), all.below()), (100, u32::MAX));
        assert_eq!(all.of_capacity(100, 1), 50);
        let tenth = Sample::new(256, 2560);
        assert_eq!(tenth.of_capacity(2560, 16), 2048);
        assert_eq!(tenth.below(), u32::MAX / 10);
        let endless = Sample::new(256, usize::MAX);
        assert_eq!(endless.below(), 0);
        assert!(endless.of_capacity(u64::MAX, 16) > 0);
    }
}
