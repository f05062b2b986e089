//! Shadows: one miniature for each mode. The mode whose miniature hits most is the one to be in.
//!
//! Miniatures cost time, so they run in bursts, which misses pay for: a cache that hits is tuned well enough, and pays
//! nothing. What the first burst costs is granted, because the first mode is a guess. While nothing misses there is
//! nothing to learn, and a burst pauses.

use super::curve::Ladder;
use super::ghosts::is_another_size;
use super::miniature::{Miniature, Sample};
use super::regions::MODES;
use crate::policy::{Curve, spread};

/// The entries of a miniature: at least so many, a part of the residents of a large cache, at most so many.
const ENTRIES: usize = 256;
const RESIDENTS_PER_ENTRY: usize = 512;
const MOST_ENTRIES: usize = 16 * ENTRIES;
/// Misses of the cache that pay for one lookup in the miniatures.
const MISSES_PER_LOOKUP: i64 = 64;
/// Lookups in the miniatures before the first miss has paid for any.
const GRANTED: i64 = 32_768;
/// A burst begins when so many lookups are paid for, for each entry of a miniature. A third of them pass before hits
/// count, while the miniatures forget what they have from the last burst.
const BURST: i64 = 8;
/// So many sampled hits without any miss of the cache pause a burst until the next one.
const HITS_WITHOUT_MISS: u32 = 256;
/// What becomes of a score from one choice to the next.
const DECAY: f64 = 0.99;
/// The lead that is worth a change, in standard deviations of the better score.
const LEAD: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Shadows {
    capacity: u64,
    residents: usize,
    sample: Sample,
    miniatures: [Miniature; MODES.len()],
    ladder: Ladder,
    chosen: usize,
    is_running: bool,
    /// Lookups since the last miss of the cache.
    since_miss: u32,
    /// In misses.
    credit: i64,
    /// Lookups until hits count.
    unscored: i64,
    /// Lookups that counted since the last choice.
    scored: u64,
    hits: [u32; MODES.len()],
    scores: [f64; MODES.len()],
}

impl Shadows {
    /// For a cache that holds about so many residents when it is full.
    pub(super) fn new(capacity: u64, residents: usize) -> Self {
        Self::in_mode(0, capacity, residents)
    }

    fn in_mode(chosen: usize, capacity: u64, residents: usize) -> Self {
        let entries = (residents / RESIDENTS_PER_ENTRY).clamp(ENTRIES, MOST_ENTRIES);
        let sample = Sample::new(entries, residents);
        let share = sample.of_capacity(capacity, 2);
        Self {
            capacity,
            residents,
            sample,
            miniatures: MODES.map(|mode| Miniature::new(share, mode)),
            ladder: Ladder::new(capacity, residents, MODES[chosen]),
            chosen,
            is_running: true,
            since_miss: 0,
            credit: GRANTED * MISSES_PER_LOOKUP,
            unscored: 0,
            scored: 0,
            hits: [0; MODES.len()],
            scores: [0.0; MODES.len()],
        }
    }

    /// Begins anew, in the same mode and with the same credit, if capacity or residents are now others.
    pub(super) fn fit(&mut self, capacity: u64, residents: usize) {
        if self.capacity != capacity || is_another_size(self.residents, residents) {
            let credit = self.credit;
            *self = Self::in_mode(self.chosen, capacity, residents);
            self.credit = credit;
        }
    }

    /// The best mode, by its position in [`MODES`].
    pub(super) fn chosen(&self) -> usize {
        self.chosen
    }

    /// Lookups of keys whose spread tags are below this are to be recorded.
    pub(super) fn sample_below(&self) -> u32 {
        if self.is_running && self.since_miss <= HITS_WITHOUT_MISS {
            self.sample.below()
        } else {
            0
        }
    }

    /// Misses of the cache, of whatever keys.
    pub(super) fn pay(&mut self, misses: u32) {
        self.credit += i64::from(misses);
        self.since_miss = 0;
        if !self.is_running {
            let entries = self.sample.entries() as i64;
            self.is_running = self.credit >= BURST * entries * MISSES_PER_LOOKUP;
            self.unscored = BURST * entries / 3;
        }
    }

    /// Records a lookup, hit or miss, if its key is in the sample.
    pub(super) fn look_up(&mut self, tag: u32, weight: u64) {
        if spread(tag) >= self.sample_below() {
            return;
        }
        self.credit -= MISSES_PER_LOOKUP;
        self.since_miss += 1;
        let counts = self.unscored <= 0;
        self.unscored -= 1;
        for (miniature, hits) in self.miniatures.iter_mut().zip(&mut self.hits) {
            *hits += u32::from(miniature.look_up(tag, weight) && counts);
        }
        self.ladder.look_up(tag, weight, counts);
        self.scored += u64::from(counts);
        let is_due = self.scored >= (self.sample.entries() / 2).max(64);
        if is_due {
            self.choose();
        }
    }

    fn choose(&mut self) {
        self.scored = 0;
        self.is_running = self.credit > 0;
        for (score, hits) in self.scores.iter_mut().zip(&mut self.hits) {
            *score = *score * DECAY + f64::from(std::mem::take(hits));
        }
        let scores = self.scores;
        // Of equals the first.
        let better = |best, other| {
            if scores[other] > scores[best] {
                other
            } else {
                best
            }
        };
        let best = (0..MODES.len()).fold(0, better);
        let lead = scores[best] - scores[self.chosen];
        if lead > LEAD * scores[best].max(1.0).sqrt() {
            self.chosen = best;
            self.ladder.set_mode(MODES[best]);
        }
    }

    pub(super) fn curve(&self) -> Curve {
        self.ladder.curve()
    }
}
