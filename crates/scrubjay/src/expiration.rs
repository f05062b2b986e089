//! How long an entry lives, and which entries' time has come.
//!
//! A life is decided once, when the entry is written; only time to idle moves with hits. An entry is expired at
//! exactly its time to live, whether or not anyone cleaned up: every read compares with the clock, and the
//! queue of deadlines only frees memory and keeps `len` exact.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::clock::{Timestamp, nanos};

/// The lives that entries get; part of a cache's options.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lives {
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) error_time_to_live: Option<Duration>,
    pub(crate) refresh_after: Option<Duration>,
    pub(crate) stale_while_refresh: Duration,
    pub(crate) stale_if_error: Duration,
    /// The largest part of a life that chance takes away, from 0 to 1.
    pub(crate) jitter: f64,
}

/// When one entry is due for a refresh and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) expires_at: Timestamp,
    pub(crate) refresh_at: Timestamp,
    /// `Duration::MAX`: it may be idle for ever.
    pub(crate) idle: Duration,
}

impl Life {
    pub(crate) const ENDLESS: Self = Self {
        expires_at: Timestamp::NEVER,
        refresh_at: Timestamp::NEVER,
        idle: Duration::MAX,
    };

    /// The same for a value that was written before, and whose end of life says so already.
    pub(crate) fn aged(mut self, age: Duration) -> Self {
        if self.refresh_at < Timestamp::NEVER {
            let earlier = self.refresh_at.as_nanos().saturating_sub(nanos(age));
            self.refresh_at = Timestamp::from_nanos(earlier);
        }
        self
    }

    /// Of a value whose life was over at this moment, and that is a stand-in at most.
    pub(crate) fn over(end: Timestamp) -> Self {
        Self {
            expires_at: end,
            ..Self::ENDLESS
        }
    }

    /// The first moment at which an entry last used at `accessed` is expired.
    pub(crate) fn end(&self, accessed: Timestamp) -> Timestamp {
        self.expires_at.min(accessed.saturating_add(self.idle))
    }
}

/// What an entry is good for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Within its life.
    Fresh,
    /// Within its life, and old enough to be refreshed.
    Due,
    /// Past its life, and served because a load just failed and the cache was asked to remember that for a while.
    Resting,
    /// Past its life, and may be served while it is refreshed.
    Stale,
    /// Past that too, and may be served if the load fails.
    Fallback,
    /// Good for nothing.
    Expired,
}

impl Lives {
    /// Whether any entry of such a cache can have an end, so that its entries need a clock.
    pub(crate) fn need_clock(&self) -> bool {
        self.time_to_live.is_some()
            || self.time_to_idle.is_some()
            || self.refresh_after.is_some()
            || self.error_time_to_live.is_some()
    }

    /// The life of a value written at `now`; `own` is a time to live for this entry alone.
    pub(crate) fn of_value(&self, now: Timestamp, own: Option<Duration>, chance: u64) -> Life {
        Life {
            expires_at: self.end_of(now, own.or(self.time_to_live), chance),
            refresh_at: self.end_of(now, self.refresh_after, chance),
            idle: self.time_to_idle.unwrap_or(Duration::MAX),
        }
    }

    /// The life of a remembered failure.
    pub(crate) fn of_failure(&self, now: Timestamp, chance: u64) -> Life {
        Life {
            expires_at: self.end_of(now, self.error_time_to_live, chance),
            ..Life::ENDLESS
        }
    }

    fn end_of(&self, now: Timestamp, life: Option<Duration>, chance: u64) -> Timestamp {
        let Some(life) = life else {
            return Timestamp::NEVER;
        };
        let end = now.saturating_add(life);
        if self.jitter <= 0.0 || end == Timestamp::NEVER {
            return end;
        }
        // The upper 53 bits are what an f64 holds: a fraction in [0, 1).
        #[allow(clippy::cast_precision_loss, reason = "2^53 fits an f64 exactly")]
        let fraction = (mix(chance ^ now.as_nanos()) >> 11) as f64 / (1u64 << 53) as f64;
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a life need not be exact, and is neither negative nor longer than the life"
        )]
        let shorter = (nanos(life) as f64 * self.jitter * fraction) as u64;
        Timestamp::from_nanos(end.as_nanos() - shorter.min(nanos(life)))
    }

    /// For how long after its life an entry may stand in.
    pub(crate) fn stands_in(&self) -> Duration {
        self.stale_while_refresh.max(self.stale_if_error)
    }

    /// When an entry with this end of life must go even as a stand-in.
    pub(crate) fn kept_until(&self, end: Timestamp) -> Timestamp {
        end.saturating_add(self.stands_in())
    }

    pub(crate) fn freshness(&self, life: &Life, accessed: Timestamp, now: Timestamp) -> Freshness {
        let end = life.end(accessed);
        if now < end {
            return if now < life.refresh_at {
                Freshness::Fresh
            } else {
                Freshness::Due
            };
        }
        if now < end.saturating_add(self.stale_while_refresh) {
            Freshness::Stale
        } else if now < end.saturating_add(self.stale_if_error) {
            Freshness::Fallback
        } else {
            Freshness::Expired
        }
    }
}

/// Spreads the bits of a number (the finalizer of SplitMix64; Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// An entry's place, and the serial number of its deadlines.
pub(crate) type Timed = (u32, u64);

/// Entries by the earliest moment at which something may have to happen to them.
///
/// A deadline may be too early (the entry was used since) or belong to an entry that is gone; whoever pops it
/// asks the entry. It is never too late.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: BinaryHeap<Reverse<(Timestamp, Timed)>>,
}

impl Deadlines {
    pub(crate) fn push(&mut self, at: Timestamp, entry: Timed) {
        if at < Timestamp::NEVER {
            self.queue.push(Reverse((at, entry)));
        }
    }

    /// The first of them, or never.
    pub(crate) fn first(&self) -> Timestamp {
        let first = self.queue.peek();
        first.map_or(Timestamp::NEVER, |Reverse((at, _))| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timed> {
        let Reverse((at, entry)) = *self.queue.peek()?;
        if now < at {
            return None;
        }
        self.queue.pop();
        Some(entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Timed) -> bool) {
        self.queue.retain(|Reverse((_, entry))| keep(*entry));
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Deadlines, Freshness, Lives};
    use crate::clock::Timestamp;
    use std::time::Duration;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn an_entry_passes_through_every_freshness_at_the_exact_moment() {
        let nanos = Duration::from_nanos;
        let lives = Lives {
            time_to_live: Some(nanos(100)),
            refresh_after: Some(nanos(60)),
            stale_while_refresh: nanos(10),
            stale_if_error: nanos(50),
            ..Lives::default()
        };
        let life = lives.of_value(at(0), None, 0);
        let states =
            [59, 60, 99, 100, 109, 110, 149, 150].map(|now| lives.freshness(&life, at(0), at(now)));
        use Freshness::{Due, Expired, Fallback, Fresh, Stale};
        assert_eq!(
            states,
            [Fresh, Due, Due, Stale, Stale, Fallback, Fallback, Expired]
        );
        assert_eq!(lives.kept_until(life.end(at(0))), at(150));
    }

    #[test]
    fn jitter_only_ever_shortens_a_life_and_by_no_more_than_asked() {
        let lives = Lives {
            time_to_live: Some(Duration::from_nanos(1000)),
            jitter: 0.1,
            ..Lives::default()
        };
        let ends: Vec<u64> = (0..1000)
            .map(|chance| lives.of_value(at(0), None, chance).expires_at.as_nanos())
            .collect();
        assert!(ends.iter().all(|end| (900..=1000).contains(end)));
        assert!(ends.iter().max() > Some(&990) && ends.iter().min() < Some(&910));
    }

    #[test]
    fn a_life_that_overflows_never_ends() {
        let lives = Lives {
            time_to_live: Some(Duration::MAX),
            ..Lives::default()
        };
        assert_eq!(lives.of_value(at(5), None, 0).expires_at, Timestamp::NEVER);
    }

    #[test]
    fn deadlines_come_in_order_and_never_early() {
        let mut deadlines = Deadlines::default();
        deadlines.push(at(20), (2, 0));
        deadlines.push(at(10), (1, 0));
        deadlines.push(Timestamp::NEVER, (3, 0));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(20)), Some((1, 0)));
        assert_eq!(deadlines.pop_due(at(20)), Some((2, 0)));
        assert_eq!(
            (deadlines.pop_due(Timestamp::NEVER), deadlines.len()),
            (None, 0)
        );
    }
}
