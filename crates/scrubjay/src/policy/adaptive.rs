//! Clock with Adaptive Replacement (Bansal and Modha, FAST 2004), by weight instead of by count.
//!
//! Residents stand in two clocks: `RECENT`, seen once lately, and `FREQUENT`, seen again. What leaves either is
//! remembered for a while as a ghost, a hash without a value. A newcomer whose ghost is found in
//! `RECENT_GHOSTS` says that recent entries left too early, so their target grows; one found in
//! `FREQUENT_GHOSTS` says the opposite. The target is the only state that adapts, and a scan, which is seen once
//! and never returns, passes through `RECENT` without touching `FREQUENT`.
//!
//! A hit is one bit on the entry; the clock's hand reads it, clears it and gives the entry another round.
//! Invariants: recent residents and their ghosts weigh at most one capacity together, all ghosts and residents
//! at most two.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::list::Lists;
use super::{Marks, Rules, Signals};

const RECENT: u8 = 0;
const FREQUENT: u8 = 1;

#[derive(Debug)]
pub(super) struct Adaptive {
    capacity: u64,
    signals: Arc<Signals>,
    /// The weight that recent residents may have before they, not the frequent ones, must give way.
    target: u64,
    clocks: Lists<2>,
    residents: Vec<Resident>,
    weights: [u64; 2],
    ghosts: [Ghosts; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct Resident {
    hash: u64,
    weight: u64,
}

impl Adaptive {
    pub(super) fn new(capacity: u64, signals: Arc<Signals>) -> Self {
        Self {
            capacity,
            signals,
            target: 0,
            clocks: Lists::default(),
            residents: Vec::new(),
            weights: [0; 2],
            ghosts: [Ghosts::default(), Ghosts::default()],
        }
    }

    /// Moves the target by what a returning ghost teaches, in proportion to the other side's ghosts.
    fn learn(&mut self, clock: u8, weight: u64) {
        let own = self.ghosts[usize::from(clock)].weight.max(1);
        let other = self.ghosts[usize::from(1 - clock)].weight;
        let step = weight.max(1).saturating_mul((other / own).max(1));
        self.target = if clock == RECENT {
            self.target.saturating_add(step).min(self.capacity)
        } else {
            self.target.saturating_sub(step)
        };
    }

    fn forget(&mut self, number: u32) -> Option<(u8, Resident)> {
        let clock = self.clocks.remove(number)?;
        let resident = self.residents[number as usize];
        self.weights[usize::from(clock)] -= resident.weight;
        Some((clock, resident))
    }

    fn place(&mut self, clock: u8, number: u32) {
        self.clocks.push_back(clock, number);
        self.weights[usize::from(clock)] += self.residents[number as usize].weight;
    }

    /// Lets the oldest ghosts go until the invariants hold.
    fn trim_ghosts(&mut self) {
        let [recent, frequent] = &mut self.ghosts;
        recent.trim(self.capacity.saturating_sub(self.weights[0]));
        let room = self.capacity.saturating_mul(2);
        let residents = self.weights[0].saturating_add(self.weights[1]);
        frequent.trim(room.saturating_sub(residents.saturating_add(recent.weight)));
    }
}

impl Rules for Adaptive {
    fn insert(&mut self, number: u32, weight: u64, marks: &dyn Marks) {
        let hash = u64::from(marks.tag(number));
        if self.residents.len() <= number as usize {
            self.residents
                .resize(number as usize + 1, Resident::default());
        }
        self.residents[number as usize] = Resident { hash, weight };
        let returned = [RECENT, FREQUENT]
            .into_iter()
            .find(|clock| self.ghosts[usize::from(*clock)].knows(hash));
        match returned {
            None => self.place(RECENT, number),
            Some(clock) => {
                self.learn(clock, weight);
                self.ghosts[usize::from(clock)].take(hash);
                self.place(FREQUENT, number);
            }
        }
        self.trim_ghosts();
    }

    fn knows(&self, number: u32) -> bool {
        self.clocks.list_of(number).is_some()
    }

    fn remove(&mut self, number: u32, _marks: &dyn Marks) {
        self.forget(number);
    }

    fn victim(&mut self, marks: &dyn Marks) -> Option<u32> {
        loop {
            let recent_gives = self.clocks.len(RECENT) > 0
                && (self.weights[0] >= self.target.max(1) || self.clocks.len(FREQUENT) == 0);
            let clock = if recent_gives { RECENT } else { FREQUENT };
            let number = self.clocks.front(clock)?;
            let (_, resident) = self.forget(number)?;
            if marks.mark(number) > 0 {
                marks.set_mark(number, 0);
                self.place(FREQUENT, number);
            } else {
                self.ghosts[usize::from(clock)].push(resident);
                self.trim_ghosts();
                return Some(number);
            }
        }
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.target = self.target.min(capacity);
        self.trim_ghosts();
    }

    fn clear(&mut self) {
        *self = Self::new(self.capacity, self.signals.clone());
    }

    fn assert_consistent(&self, entries: &[(u32, u64)]) {
        let known: usize = [RECENT, FREQUENT]
            .map(|clock| self.clocks.len(clock))
            .iter()
            .sum();
        assert_eq!(known, entries.len());
        for (number, weight) in entries {
            assert!(self.clocks.list_of(*number).is_some());
            assert_eq!(self.residents[*number as usize].weight, *weight);
        }
        for clock in [RECENT, FREQUENT] {
            let sum: u64 = self
                .clocks
                .iter(clock)
                .map(|number| self.residents[number as usize].weight)
                .sum();
            assert_eq!(sum, self.weights[usize::from(clock)]);
            self.ghosts[usize::from(clock)].assert_consistent();
        }
        assert!(self.target <= self.capacity);
    }
}

/// Hashes of entries that left, oldest first.
#[derive(Debug, Default)]
struct Ghosts {
    queue: VecDeque<(u64, u64)>,
    /// The weight and the serial number of each hash; an older serial in the queue is a left-over.
    known: HashMap<u64, (u64, u64), foldhash::fast::RandomState>,
    next: u64,
    weight: u64,
}

impl Ghosts {
    fn knows(&self, hash: u64) -> bool {
        self.known.contains_key(&hash)
    }

    fn push(&mut self, resident: Resident) {
        self.take(resident.hash);
        self.next += 1;
        self.queue.push_back((resident.hash, self.next));
        self.known
            .insert(resident.hash, (resident.weight, self.next));
        self.weight += resident.weight;
        if self.queue.len() > 2 * self.known.len() + 16 {
            self.drop_left_overs();
        }
    }

    fn take(&mut self, hash: u64) {
        if let Some((weight, _)) = self.known.remove(&hash) {
            self.weight -= weight;
        }
    }

    fn trim(&mut self, room: u64) {
        while self.weight > room {
            let (hash, serial) = self.queue.pop_front().expect("every known ghost is queued");
            if self.known.get(&hash).is_some_and(|ghost| ghost.1 == serial) {
                self.take(hash);
            }
        }
    }

    fn drop_left_overs(&mut self) {
        let known = &self.known;
        self.queue
            .retain(|(hash, serial)| known.get(hash).is_some_and(|ghost| ghost.1 == *serial));
    }

    fn assert_consistent(&self) {
        let sum: u64 = self.known.values().map(|ghost| ghost.0).sum();
        assert_eq!(sum, self.weight);
        assert!(self.queue.len() >= self.known.len());
    }
}
