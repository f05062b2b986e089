//! Advice: what another capacity would bring, and whether the cache pays at all.
//!
//! Hit ratios at other capacities are estimates, from miniatures that the policy runs over a sample of the keys. The
//! rest is measured. Invariant: what is not known is not guessed; it is left out, and the words say why.

use std::fmt;
use std::time::Duration;

use crate::policy::{Curve, HALVES};
use crate::stats::Stats;

/// Lookups of the sample from which a curve is drawn; with fewer it says nothing.
const LEAST_SAMPLE: u64 = 500;
/// Lookups of the cache from which it is said whether it pays.
const LEAST_LOOKUPS: u64 = 100;
/// The share of the attainable hits that [`Advice::sufficient_capacity`] is for.
const SUFFICIENT: f64 = 0.9;
/// The place of the present capacity on the curve.
const PRESENT: usize = 1;
/// The length of the bar of a hit ratio of 100 %.
const BAR: f64 = 40.0;

/// What a cache knows about its capacity and its worth. `Display` says it in a small table and two sentences.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, Worth};
///
/// let cache: Cache<u64, u64> = Cache::builder().capacity(100).build()?;
/// for n in 0..20_000 {
///     let key = n * n % 401;
///     cache.get_or_insert_with(&key, || { std::thread::yield_now(); key });
/// }
/// let advice = cache.advice();
/// assert_eq!(advice.estimates.len(), 5);
/// assert!(advice.estimates[4].hit_ratio > advice.estimates[0].hit_ratio);
/// assert!(advice.sufficient_capacity() > Some(100));
/// assert_ne!(advice.worth(), Worth::Unknown);
/// println!("{advice}");
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Advice {
    /// The capacity now; `u64::MAX` if the cache is unbounded.
    pub capacity: u64,
    /// Lookups that hit, since the cache was made.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Hit ratios at 1/2, 1, 2, 4 and 8 times the capacity. Empty if the cache is unbounded, if its policy is not
    /// [`Policy::Adaptive`](crate::Policy::Adaptive), or if too few lookups were sampled yet.
    ///
    /// They are estimates but for the one at the present capacity, which is measured. On the thirteen traces of the
    /// benchmarks they are off by 0.01 to 0.02 on average, more for single keys that make up a large part of all
    /// lookups. They say what the past lookups would have hit; expiration and invalidation are not simulated.
    pub estimates: Vec<Estimate>,
    /// The mean time of a load, by the cache's clock; `None` if none was timed.
    pub load_time: Option<Duration>,
    /// The time of a lookup that hits, measured while the advice was asked for: keys were looked up again
    /// whose entries were in the processor's caches. Cloning the value is not in it. `None` if the cache is empty.
    pub lookup_time: Option<Duration>,
}

/// A hit ratio at another capacity, as a part of [`Advice`].
///
/// # Example
///
/// ```
/// let cache: scrubjay::Cache<u64, u64> = scrubjay::Cache::builder().capacity(50).build()?;
/// for n in 0..10_000_u64 {
///     cache.get_or_insert_with(&(n * n % 101), || n);
/// }
/// let double = cache.advice().estimates[2];
/// assert_eq!((double.scale, double.capacity), (2.0, 100));
/// assert!(double.hit_ratio > 0.9, "51 keys fit into 100 places");
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// How many times the present capacity.
    pub scale: f64,
    /// The capacity that this is.
    pub capacity: u64,
    /// The estimated hit ratio, from 0 to 1.
    pub hit_ratio: f64,
}

/// Whether a cache pays: the time that its hits save against the time that its lookups cost.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, Worth};
///
/// assert_eq!(Cache::<u32, u32>::new().advice().worth(), Worth::Unknown);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Worth {
    /// Too few lookups, or no load was timed.
    Unknown,
    /// Hits save more time than all lookups cost.
    Pays,
    /// They do not: without the cache, all would be faster.
    DoesNotPay,
}

impl Advice {
    pub(crate) fn new(
        capacity: u64,
        stats: &Stats,
        curve: Option<Curve>,
        lookup_time: Option<Duration>,
    ) -> Self {
        let measured = stats.hit_ratio();
        let curve = curve.filter(|curve| curve.lookups >= LEAST_SAMPLE && capacity < u64::MAX);
        let estimates = match (curve, measured) {
            (Some(curve), Some(measured)) => estimates(capacity, &curve, measured),
            _ => Vec::new(),
        };
        Self {
            capacity,
            hits: stats.hits,
            misses: stats.misses,
            estimates,
            load_time: (stats.loads > 0).then_some(stats.mean_load_time),
            lookup_time,
        }
    }

    /// Returns the measured hit ratio, or `None` before the first lookup.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::new();
    /// assert_eq!(cache.advice().hit_ratio(), None);
    /// cache.get(&1);
    /// assert_eq!(cache.advice().hit_ratio(), Some(0.0));
    /// ```
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let lookups = self.hits.saturating_add(self.misses);
        (lookups > 0).then(|| self.hits as f64 / lookups as f64)
    }

    /// Estimates the capacity that brings 90 % of the attainable hits, which are those at eight times the present
    /// capacity. `None` if there are no estimates; half the present capacity if that is enough.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u64, u64> = scrubjay::Cache::builder().capacity(50).build()?;
    /// assert_eq!(cache.advice().sufficient_capacity(), None);
    /// for n in 0..10_000_u64 {
    ///     cache.get_or_insert_with(&(n * n % 401), || n);
    /// }
    /// let sufficient = cache.advice().sufficient_capacity().unwrap();
    /// assert!((150..=210).contains(&sufficient), "there are 201 keys: {sufficient}");
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn sufficient_capacity(&self) -> Option<u64> {
        let enough = self.estimates.last()?.hit_ratio * SUFFICIENT;
        let at = (self.estimates.iter()).position(|estimate| estimate.hit_ratio >= enough)?;
        let above = self.estimates[at];
        let Some(below) = at.checked_sub(1).map(|before| self.estimates[before]) else {
            return Some(above.capacity);
        };
        // Between two capacities the curve is taken for a straight line.
        let part = (enough - below.hit_ratio) / (above.hit_ratio - below.hit_ratio);
        let more = (above.capacity - below.capacity) as f64 * part;
        Some(below.capacity.saturating_add(more.round() as u64))
    }

    /// Says whether the cache pays: hits times load time against all lookups times lookup time.
    ///
    /// What a miss costs beyond its lookup, storing the value, is not counted.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock, Worth};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder().clock(clock.clone()).build()?;
    /// for n in 0..1000 {
    ///     cache.get_or_insert_with(&(n % 10), || { clock.advance(Duration::from_millis(5)); n });
    /// }
    /// assert_eq!(cache.advice().worth(), Worth::Pays);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn worth(&self) -> Worth {
        let lookups = self.hits.saturating_add(self.misses);
        let (Some(load), Some(lookup)) = (self.load_time, self.lookup_time) else {
            return Worth::Unknown;
        };
        if lookups < LEAST_LOOKUPS {
            return Worth::Unknown;
        }
        let saved = load.as_secs_f64() * self.hits as f64;
        let cost = lookup.as_secs_f64() * lookups as f64;
        match saved > cost {
            true => Worth::Pays,
            false => Worth::DoesNotPay,
        }
    }

    fn explain_capacity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.capacity == u64::MAX {
            return writeln!(f, "Capacity: unbounded, so there is nothing to choose.");
        }
        let Some(sufficient) = self.sufficient_capacity() else {
            return writeln!(
                f,
                "Capacity: not known yet what another would bring; too few lookups were sampled, or the policy does not \
                 sample."
            );
        };
        let least = self.estimates[0].capacity;
        let about = if sufficient <= least {
            "at most"
        } else {
            "about"
        };
        writeln!(
            f,
            "Capacity: {about} {sufficient} would bring 90 % of the hits that {} would (estimated).",
            self.estimates[HALVES.len() - 1].capacity
        )
    }

    fn explain_worth(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(load), Some(lookup)) = (self.load_time, self.lookup_time) else {
            return write!(
                f,
                "Worth: not known yet; no load was timed, or nothing is stored."
            );
        };
        match self.worth() {
            Worth::Unknown => write!(
                f,
                "Worth: not known yet; fewer than {LEAST_LOOKUPS} lookups."
            ),
            Worth::Pays => write!(
                f,
                "Worth: pays; each lookup costs about {lookup:.0?} and each hit saves {load:.1?}."
            ),
            Worth::DoesNotPay => write!(
                f,
                "Worth: does not pay; each lookup costs about {lookup:.0?} and {:.1} % of them save {load:.1?}: leave \
                 this function unmemoized.",
                self.hit_ratio().unwrap_or(0.0) * 100.0
            ),
        }
    }
}

/// Scales the miss ratios of the sample so that the one at the present capacity is the measured one.
///
/// That takes out most of the error that comes from which keys the sample happens to have.
fn estimates(capacity: u64, curve: &Curve, measured: f64) -> Vec<Estimate> {
    let missed = |hits: u64| 1.0 - hits as f64 / curve.lookups as f64;
    let factor = (1.0 - measured) / missed(curve.hits[PRESENT]).max(1e-6);
    let estimate = |(halves, hits): (u64, u64)| Estimate {
        scale: halves as f64 / 2.0,
        capacity: (capacity / 2)
            .saturating_mul(halves)
            .saturating_add(capacity % 2 * halves / 2),
        hit_ratio: match halves {
            2 => measured,
            _ => (1.0 - missed(hits) * factor).clamp(0.0, 1.0),
        },
    };
    HALVES.into_iter().zip(curve.hits).map(estimate).collect()
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hit_ratio() {
            None => writeln!(f, "hit ratio not known: no lookups yet")?,
            Some(ratio) if self.estimates.is_empty() => {
                writeln!(f, "hit ratio {:.1} %, measured", ratio * 100.0)?;
            }
            Some(_) => {}
        }
        for estimate in &self.estimates {
            let bar = "#".repeat((estimate.hit_ratio * BAR).round() as usize);
            let percent = estimate.hit_ratio * 100.0;
            let (scale, capacity) = (format!("{}x", estimate.scale), estimate.capacity);
            let now = if scale == "1x" { " now, measured" } else { "" };
            writeln!(f, "{scale:>4} {capacity:>12} {percent:>6.1} %  {bar}{now}")?;
        }
        self.explain_capacity(f)?;
        self.explain_worth(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Advice, Worth};
    use crate::policy::Curve;
    use crate::stats::Stats;
    use std::time::Duration;

    fn stats(hits: u64, misses: u64, load: Duration) -> Stats {
        Stats {
            hits,
            misses,
            loads: misses,
            mean_load_time: load,
            ..Stats::default()
        }
    }

    const CURVE: Curve = Curve {
        lookups: 1000,
        hits: [100, 200, 400, 600, 800],
    };
    const LOOKUP: Option<Duration> = Some(Duration::from_nanos(40));

    #[test]
    fn the_table_has_a_bar_for_every_capacity_and_two_sentences() {
        let stats = stats(2000, 8000, Duration::from_micros(1200));
        let advice = Advice::new(100, &stats, Some(CURVE), LOOKUP);
        let expected = "\
0.5x           50   10.0 %  ####
  1x          100   20.0 %  ######## now, measured
  2x          200   40.0 %  ################
  4x          400   60.0 %  ########################
  8x          800   80.0 %  ################################
Capacity: about 640 would bring 90 % of the hits that 800 would (estimated).
Worth: pays; each lookup costs about 40ns and each hit saves 1.2ms.";
        assert_eq!(advice.to_string(), expected);
    }

    #[test]
    fn estimates_are_scaled_to_what_was_measured() {
        let stats = stats(6000, 4000, Duration::ZERO);
        let advice = Advice::new(100, &stats, Some(CURVE), LOOKUP);
        let ratios: Vec<_> = (advice.estimates.iter())
            .map(|estimate| (estimate.hit_ratio * 100.0).round())
            .collect();
        assert_eq!(ratios, [55.0, 60.0, 70.0, 80.0, 90.0]);
    }

    #[test]
    fn a_cache_whose_loads_are_faster_than_its_lookups_does_not_pay() {
        let stats = stats(5000, 5000, Duration::from_nanos(10));
        let advice = Advice::new(u64::MAX, &stats, None, LOOKUP);
        assert_eq!(advice.worth(), Worth::DoesNotPay);
        let expected = "\
hit ratio 50.0 %, measured
Capacity: unbounded, so there is nothing to choose.
Worth: does not pay; each lookup costs about 40ns and 50.0 % of them save 10.0ns: leave this function unmemoized.";
        assert_eq!(advice.to_string(), expected);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let few = Curve {
            lookups: 10,
            ..CURVE
        };
        let advice = Advice::new(100, &Stats::default(), Some(few), None);
        assert_eq!(
            (advice.estimates.len(), advice.worth()),
            (0, Worth::Unknown)
        );
        let text = advice.to_string();
        assert!(text.starts_with("hit ratio not known: no lookups yet\nCapacity: not known yet"));
        assert!(text.ends_with("Worth: not known yet; no load was timed, or nothing is stored."));
    }

    #[test]
    fn a_capacity_near_the_largest_overflows_nothing() {
        let stats = stats(2000, 8000, Duration::ZERO);
        let advice = Advice::new(u64::MAX - 1, &stats, Some(CURVE), LOOKUP);
        assert!(advice.sufficient_capacity() > Some(u64::MAX / 2));
    }
}
