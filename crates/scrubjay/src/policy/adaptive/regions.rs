//! The regions of a cache, window and main, and the rules by which entries change from one to the other or leave.
//!
//! Invariants: every resident is in the list of its region; a region's weight is the sum of its residents'. These rules
//! know nothing of the cache around them but what `Marks` tells, so that a miniature runs the same ones.

use super::ghosts::{self, Ghosts};
use crate::policy::list::Lists;
use crate::policy::{HITS, HITS_BITS, Marks, unused};

/// What is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    /// The share of the capacity that newcomers pass through, in percent. With 100 the cache is one clock.
    window: u8,
    /// A ghost earns a place in main for so many turns (eighths of a capacity) after it left.
    reach: u16,
}

/// A reach beyond what a ghost can tell.
const LONG: u16 = 64;
/// Half a capacity.
const SHORT: u16 = 4;

/// What a cache may be tuned to; it begins with the first.
pub(super) const MODES: [Mode; 6] = [
    mode(10, LONG),
    mode(1, LONG),
    mode(30, LONG),
    mode(60, LONG),
    mode(100, 0),
    mode(1, SHORT),
];

const fn mode(window: u8, reach: u16) -> Mode {
    Mode { window, reach }
}

/// Hits in the window that make an entry worth a place in main.
const PROMOTED_BY: u16 = 2;
/// Epochs that pass while one capacity's worth of weight is inserted.
const EPOCHS: u16 = 32;
const EPOCHS_PER_TURN: u16 = EPOCHS / ghosts::TURNS;
/// Used entries that one search for a victim passes over at most, so that it ends: in the window and in main.
const PASSED_IN_WINDOW: usize = 8;
const PASSED_IN_MAIN: usize = 16;

const WINDOW: u8 = 0;
const MAIN: u8 = 1;

/// The place of an entry that is being replaced by one with another value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    region: u8,
    mark: u16,
}

#[derive(Debug)]
pub(super) struct Regions {
    capacity: u64,
    mode: Mode,
    /// The weight that the mode gives to the window.
    window: u64,
    /// By region; the front has been there longest.
    lists: Lists<2>,
    weights: [u64; 2],
    ghosts: Ghosts,
    /// [`EPOCHS`] times the weight that was inserted since the epoch began.
    inserted: u64,
    epoch: u16,
    /// Whether somebody had to leave since the last insertion.
    is_full: bool,
}

impl Regions {
    pub(super) fn new(capacity: u64, mode: Mode) -> Self {
        let mut regions = Self {
            capacity: capacity.max(1),
            mode,
            window: 0,
            lists: Lists::default(),
            weights: [0; 2],
            ghosts: Ghosts::default(),
            inserted: 0,
            epoch: 0,
            is_full: false,
        };
        regions.resize_window();
        regions
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn weight(&self) -> u64 {
        self.weights[0] + self.weights[1]
    }

    pub(super) fn len(&self) -> usize {
        self.lists.len(WINDOW) + self.lists.len(MAIN)
    }

    /// What hits leave on entries.
    #[inline]
    pub(super) fn epoch(&self) -> u16 {
        self.epoch
    }

    pub(super) fn knows(&self, number: u32) -> bool {
        self.lists.list_of(number).is_some()
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.resize_window();
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity.max(1);
        self.inserted = 0;
        self.resize_window();
    }

    fn resize_window(&mut self) {
        let window = u128::from(self.capacity) * u128::from(self.mode.window) / 100;
        self.window = window as u64;
    }

    /// Has what is known of a newcomer with this tag brought near.
    #[inline]
    pub(super) fn expect(&self, tag: u32) {
        self.ghosts.prefetch(tag);
    }

    /// Takes in a newcomer, for which there is room.
    pub(super) fn insert(&mut self, number: u32, weight: u64, marks: &impl Marks) {
        self.pass_time(weight);
        marks.set_mark(number, unused(self.epoch));
        let region = match self.has_earned_main(number, marks) {
            true => MAIN,
            false => WINDOW,
        };
        self.push(region, number, weight);
        // While nobody has to leave, those who come out of the window find their places in main free.
        if !std::mem::take(&mut self.is_full) {
            self.shrink_window(marks);
        }
    }

    /// Takes in the successor of an entry that was in this place.
    pub(super) fn put_back(&mut self, number: u32, weight: u64, place: Place, marks: &impl Marks) {
        marks.set_mark(number, place.mark);
        self.push(place.region, number, weight);
    }

    /// Forgets an entry that goes away for a reason of its own.
    pub(super) fn remove(&mut self, number: u32, marks: &impl Marks) -> Option<Place> {
        let region = self.unlink(number, marks)?;
        let mark = marks.mark(number);
        Some(Place { region, mark })
    }

    /// Chooses an entry to leave and forgets it.
    pub(super) fn victim(&mut self, marks: &impl Marks) -> Option<u32> {
        let residents = self.len();
        self.shrink_window(marks);
        let victim = self.choose(marks)?;
        let region = self.unlink(victim, marks)?;
        if region == WINDOW {
            self.ghosts.fit(residents);
            self.ghosts.put(marks.tag(victim));
        }
        self.is_full = true;
        self.look_ahead(region, marks);
        Some(victim)
    }

    /// Has brought near what the next victims of a region will need: the entry of the second, and of the first, which
    /// was brought near before, the places that its tag leads to.
    fn look_ahead(&self, region: u8, marks: &impl Marks) {
        let mut next = self.lists.iter(region);
        if let Some(first) = next.next() {
            let tag = marks.tag(first);
            self.ghosts.prefetch(tag);
            marks.prefetch_home(tag);
        }
        if let Some(second) = next.next() {
            marks.prefetch(second);
        }
    }

    /// Lets one entry out of a window that has been larger, into the place in main that this leaves free.
    fn shrink_window(&mut self, marks: &impl Marks) {
        if self.weights[usize::from(WINDOW)] > self.window
            && self.lists.len(WINDOW) > 1
            && let Some(oldest) = self.lists.front(WINDOW)
        {
            self.relocate(oldest, MAIN, marks);
        }
    }

    /// Time is what comes in: without newcomers nobody grows old.
    fn pass_time(&mut self, weight: u64) {
        let weight = weight.saturating_mul(u64::from(EPOCHS));
        self.inserted = self.inserted.saturating_add(weight);
        if self.inserted >= self.capacity {
            let epochs = self.inserted / self.capacity;
            self.inserted %= self.capacity;
            self.epoch = self.epoch.wrapping_add(epochs as u16);
            self.ghosts.set_now(self.epoch / EPOCHS_PER_TURN);
        }
    }

    /// Whether a newcomer was away for a shorter time than main's next victim has been without a hit.
    fn has_earned_main(&mut self, number: u32, marks: &impl Marks) -> bool {
        let Some(away) = self.ghosts.take(marks.tag(number)) else {
            return false;
        };
        away < self.mode.reach
            && self.next_of(MAIN, marks).is_none_or(|rival| {
                epochs_since(marks.mark(rival), self.epoch) > away * EPOCHS_PER_TURN
            })
    }

    fn choose(&mut self, marks: &impl Marks) -> Option<u32> {
        if self.mode.window == 100 {
            let main = self.next_of(MAIN, marks);
            return main.or_else(|| self.next_of(WINDOW, marks));
        }
        for _ in 0..PASSED_IN_WINDOW {
            let oldest = match self.lists.front(WINDOW) {
                Some(oldest) if self.window_gives() => oldest,
                _ => return self.next_of(MAIN, marks),
            };
            if marks.mark(oldest) & HITS < PROMOTED_BY {
                return Some(oldest);
            }
            self.promote(oldest, marks);
        }
        let oldest = self.lists.front(WINDOW);
        oldest.or_else(|| self.lists.front(MAIN))
    }

    /// Whether the window is so full that the next newcomer would be too much for it, or has to give for want of
    /// others.
    fn window_gives(&self) -> bool {
        self.weights[usize::from(WINDOW)] >= self.window || self.lists.front(MAIN).is_none()
    }

    /// An entry was used in the window: it changes places with main's next victim, unless that was used just now.
    fn promote(&mut self, number: u32, marks: &impl Marks) {
        let rival = self.next_of(MAIN, marks);
        set_hits(number, 0, marks);
        match rival {
            Some(rival) if epochs_since(marks.mark(rival), self.epoch) == 0 => {
                self.relocate(number, WINDOW, marks);
            }
            Some(rival) => {
                self.relocate(number, MAIN, marks);
                self.relocate(rival, WINDOW, marks);
            }
            None => self.relocate(number, MAIN, marks),
        }
    }

    /// Who leaves a region next: the clock's hand gives an entry of main one more round for every hit that its mark
    /// has, and one of the window a single one.
    fn next_of(&mut self, region: u8, marks: &impl Marks) -> Option<u32> {
        for _ in 0..PASSED_IN_MAIN {
            let oldest = self.lists.front(region)?;
            match marks.mark(oldest) & HITS {
                0 => return Some(oldest),
                hits if region == MAIN => set_hits(oldest, hits - 1, marks),
                _ => set_hits(oldest, 0, marks),
            }
            self.relocate(oldest, region, marks);
        }
        self.lists.front(region)
    }

    fn push(&mut self, region: u8, number: u32, weight: u64) {
        self.lists.push_back(region, number);
        self.weights[usize::from(region)] += weight;
    }

    fn unlink(&mut self, number: u32, marks: &impl Marks) -> Option<u8> {
        let region = self.lists.remove(number)?;
        self.weights[usize::from(region)] -= marks.weight(number);
        Some(region)
    }

    /// Makes an entry the newest of a region.
    fn relocate(&mut self, number: u32, region: u8, marks: &impl Marks) {
        let before = self.lists.remove(number);
        self.lists.push_back(region, number);
        if let Some(before) = before
            && before != region
        {
            let weight = marks.weight(number);
            self.weights[usize::from(before)] -= weight;
            self.weights[usize::from(region)] += weight;
        }
    }

    pub(super) fn assert_consistent(&self, entries: &[(u32, u64)]) {
        assert_eq!(self.len(), entries.len());
        for region in [WINDOW, MAIN] {
            let own = entries.iter();
            let own = own.filter(|(number, _)| self.lists.list_of(*number) == Some(region));
            let (count, weight) =
                own.fold((0, 0), |(count, sum), entry| (count + 1, sum + entry.1));
            assert_eq!(count, self.lists.len(region));
            assert_eq!(count, self.lists.iter(region).count());
            assert_eq!(weight, self.weights[usize::from(region)]);
        }
        assert!(self.window <= self.capacity && self.inserted < self.capacity);
        self.ghosts.assert_consistent();
    }
}

fn set_hits(number: u32, hits: u16, marks: &impl Marks) {
    marks.set_mark(number, marks.mark(number) & !HITS | hits);
}

/// Epochs since the hit, or the insertion, that left a mark.
fn epochs_since(mark: u16, epoch: u16) -> u16 {
    epoch.wrapping_sub(mark >> HITS_BITS) & (u16::MAX >> HITS_BITS)
}
