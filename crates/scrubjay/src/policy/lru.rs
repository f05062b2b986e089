//! Least recently used, exactly, without touching anything but the entry on a hit.
//!
//! The order is kept by the ticks known when an entry last moved, which are never later than its true ones. So
//! the first entry whose known tick is still true is the least recently used of all; those before it were
//! hit since, and move to where their ticks belong. A victim costs O(log n), plus O(log n) for each entry
//! hit since it last moved; a hit costs one store.

use std::collections::BTreeSet;

use super::Marks;

#[derive(Debug, Default)]
pub(crate) struct Lru {
    /// Known tick and number, oldest first.
    order: BTreeSet<(u64, u32)>,
    /// Known tick by number.
    known: Vec<u64>,
}

impl Lru {
    fn place(&mut self, number: u32, tick: u64) {
        if self.known.len() <= number as usize {
            self.known.resize(number as usize + 1, 0);
        }
        self.known[number as usize] = tick;
        self.order.insert((tick, number));
    }

    pub(super) fn insert(&mut self, number: u32, marks: &impl Marks) {
        self.place(number, marks.tick(number));
    }

    pub(super) fn knows(&self, number: u32) -> bool {
        let known = self.known.get(number as usize).copied();
        known.is_some_and(|tick| self.order.contains(&(tick, number)))
    }

    pub(super) fn remove(&mut self, number: u32) {
        let known = self.known.get(number as usize).copied();
        if let Some(tick) = known {
            self.order.remove(&(tick, number));
        }
    }

    pub(super) fn victim(&mut self, marks: &impl Marks) -> Option<u32> {
        loop {
            let (known, number) = self.order.pop_first()?;
            let tick = marks.tick(number);
            if tick <= known {
                return Some(number);
            }
            self.place(number, tick);
        }
    }

    pub(super) fn assert_consistent(&self, entries: &[(u32, u64)]) {
        assert_eq!(self.order.len(), entries.len());
        for (number, _) in entries {
            let tick = self.known[*number as usize];
            assert!(self.order.contains(&(tick, *number)));
        }
    }
}
