//! What other capacities would bring: one miniature for each, in the mode that the cache is in.

use super::miniature::{Miniature, Sample};
use super::regions::Mode;
use crate::policy::{Curve, HALVES, spread};

/// The entries of the miniature that stands for the present capacity.
const ENTRIES: usize = 128;

/// Miniatures of one sample of keys and of one capacity after the other.
#[derive(Debug)]
pub(super) struct Ladder {
    below: u32,
    rungs: [Miniature; HALVES.len()],
    curve: Curve,
}

impl Ladder {
    pub(super) fn new(capacity: u64, residents: usize, mode: Mode) -> Self {
        let sample = Sample::new(ENTRIES, residents);
        Self {
            below: sample.below(),
            rungs: HALVES.map(|halves| Miniature::new(sample.of_capacity(capacity, halves), mode)),
            curve: Curve::default(),
        }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        for rung in &mut self.rungs {
            rung.set_mode(mode);
        }
    }

    /// Records a lookup if its key is in the sample; `counts` says whether its hits do.
    pub(super) fn look_up(&mut self, tag: u32, weight: u64, counts: bool) {
        if spread(tag) < self.below {
            for (rung, hits) in self.rungs.iter_mut().zip(&mut self.curve.hits) {
                *hits += u64::from(rung.look_up(tag, weight) && counts);
            }
            self.curve.lookups += u64::from(counts);
        }
    }

    pub(super) fn curve(&self) -> Curve {
        self.curve
    }
}
