//! What a cache has done so far.
//!
//! Every thread counts on lines of its own, so counting never makes two threads meet; a snapshot sums them. A
//! snapshot taken while others work is not one moment of all counters, but each counter only ever grows.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::nanos;
use crate::removal::RemovalCause;
use crate::sync::{PerThread, add};

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Hit,
    Miss,
    Load,
    LoadFailure,
    Wait,
    StaleServed,
    ListenerPanic,
}

const EVENTS: usize = 7;
const REMOVALS: usize = RemovalCause::ALL.len();

#[derive(Debug, Default)]
struct Tally {
    events: [AtomicU64; EVENTS],
    removals: [AtomicU64; REMOVALS],
    timed_loads: AtomicU64,
    load_nanos: AtomicU64,
}

/// The counters of one cache, by thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    tallies: PerThread<Tally>,
}

/// A load this short is timed only now and then once enough are known, because the clock would cost more.
const SHORT_LOAD_NANOS: u64 = 5_000;
const TIMED_AT_LEAST: u64 = 16;
const TIMED_EVERY: u64 = 16;

impl Counters {
    #[inline]
    pub(crate) fn count(&self, thread: usize, event: Event) {
        add(&self.tallies.of(thread).events[event as usize], 1);
    }

    pub(crate) fn count_load(&self, thread: usize, failed: bool) {
        self.count(thread, Event::Load);
        if failed {
            self.count(thread, Event::LoadFailure);
        }
    }

    pub(crate) fn count_removal(&self, thread: usize, cause: RemovalCause) {
        add(&self.tallies.of(thread).removals[cause.index()], 1);
    }

    /// Whether the load that begins now should be timed.
    pub(crate) fn should_time(&self, thread: usize) -> bool {
        let tally = self.tallies.of(thread);
        // Relaxed: a sample; any recent value does.
        let timed = tally.timed_loads.load(Ordering::Relaxed);
        let loads = tally.events[Event::Load as usize].load(Ordering::Relaxed);
        timed < TIMED_AT_LEAST
            || loads.is_multiple_of(TIMED_EVERY)
            || tally.load_nanos.load(Ordering::Relaxed) >= SHORT_LOAD_NANOS.saturating_mul(timed)
    }

    pub(crate) fn time_load(&self, thread: usize, took: Duration) {
        let tally = self.tallies.of(thread);
        add(&tally.timed_loads, 1);
        add(&tally.load_nanos, nanos(took));
    }

    fn sum(&self, counter: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        // Relaxed: see the module's first lines.
        let counters = self.tallies.iter().map(counter);
        counters
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let event = |event: Event| self.sum(|tally| &tally.events[event as usize]);
        let removal = |cause: RemovalCause| self.sum(|tally| &tally.removals[cause.index()]);
        let timed = self.sum(|tally| &tally.timed_loads);
        let mean = self.sum(|tally| &tally.load_nanos).checked_div(timed);
        let mean_load_time = Duration::from_nanos(mean.unwrap_or(0));
        let loads = event(Event::Load);
        Stats {
            hits: event(Event::Hit),
            misses: event(Event::Miss),
            loads,
            load_failures: event(Event::LoadFailure),
            waits: event(Event::Wait),
            stale_served: event(Event::StaleServed),
            evicted: removal(RemovalCause::Evicted),
            expired: removal(RemovalCause::Expired),
            explicit: removal(RemovalCause::Explicit),
            replaced: removal(RemovalCause::Replaced),
            collected: removal(RemovalCause::Collected),
            listener_panics: event(Event::ListenerPanic),
            load_time: times(mean_load_time, loads),
            mean_load_time,
            entries: 0,
            weight: 0,
            disk_hits: 0,
            disk_misses: 0,
            disk_writes: 0,
            disk_failures: 0,
        }
    }
}

fn times(duration: Duration, count: u64) -> Duration {
    let total = duration.as_nanos().saturating_mul(u128::from(count));
    Duration::from_nanos(u64::try_from(total).unwrap_or(u64::MAX))
}

/// A snapshot of a cache's counters. `Display` prints it as a small table.
///
/// # Example
///
/// ```
/// use scrubjay::Cache;
///
/// let cache: Cache<u32, u32> = Cache::new();
/// cache.get_or_insert_with(&7, || 49);
/// cache.get_or_insert_with(&7, || unreachable!());
/// let stats = cache.stats();
/// assert_eq!((stats.hits, stats.misses, stats.loads), (1, 1, 1));
/// assert_eq!(stats.hit_ratio(), Some(0.5));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Lookups that found a servable entry, stale ones included.
    pub hits: u64,
    /// Lookups that did not. `peek`, `contains_key` and iteration count as neither.
    pub misses: u64,
    /// Loads that ended, well or not.
    pub loads: u64,
    /// Loads that failed: an error, a `None` of a memoized function, a panic, a dropped future.
    pub load_failures: u64,
    /// Calls that waited for another caller's load of the same key.
    pub waits: u64,
    /// Calls that were answered with a stale value, during a refresh or after a failed load.
    pub stale_served: u64,
    /// Entries that the policy removed.
    pub evicted: u64,
    /// Entries removed because their time was over.
    pub expired: u64,
    /// Entries that a caller removed, invalidated or cleared.
    pub explicit: u64,
    /// Entries replaced by another value for their key.
    pub replaced: u64,
    /// Weakly held entries whose value's last owner dropped it.
    pub collected: u64,
    /// Removal listeners that panicked. The removal had happened; the panic went no further.
    pub listener_panics: u64,
    /// Time spent in loads: their number times their mean.
    pub load_time: Duration,
    /// Mean time of a load. Loads that prove to be short (under 5 µs on average) are timed one in sixteen.
    pub mean_load_time: Duration,
    /// Entries now, as by `len`.
    pub entries: u64,
    /// Their total weight now.
    pub weight: u64,
    /// Misses that the disk tier answered. 0 without one, as the three that follow.
    pub disk_hits: u64,
    /// Misses that the disk tier could not answer.
    pub disk_misses: u64,
    /// Values handed to the disk tier.
    pub disk_writes: u64,
    /// What failed there: each was a miss, or a value that was not stored.
    pub disk_failures: u64,
}

impl Stats {
    /// Returns hits ÷ lookups, from 0 to 1, or `None` before the first lookup.
    ///
    /// # Example
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::new();
    /// assert_eq!(cache.stats().hit_ratio(), None);
    /// cache.get(&1);
    /// assert_eq!(cache.stats().hit_ratio(), Some(0.0));
    /// ```
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn hit_ratio(&self) -> Option<f64> {
        let lookups = self.hits + self.misses;
        (lookups > 0).then(|| self.hits as f64 / lookups as f64)
    }

    /// Estimates the time that callers did not spend loading: hits and waits times the mean load time.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder().clock(clock.clone()).build()?;
    /// cache.get_or_insert_with(&1, || { clock.advance(Duration::from_secs(3)); 1 });
    /// cache.get(&1);
    /// assert_eq!(cache.stats().time_saved(), Duration::from_secs(3));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn time_saved(&self) -> Duration {
        times(self.mean_load_time, self.hits + self.waits)
    }

    /// Returns how many entries left, for whatever cause.
    ///
    /// # Example
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// cache.clear();
    /// assert_eq!(cache.stats().removals(), 1);
    /// ```
    #[must_use]
    pub fn removals(&self) -> u64 {
        self.evicted + self.expired + self.explicit + self.replaced + self.collected
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self
            .hit_ratio()
            .map_or("-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
        writeln!(
            f,
            "entries     {:>12}   weight      {:>12}",
            self.entries, self.weight
        )?;
        writeln!(
            f,
            "hits        {:>12}   misses      {:>12}",
            self.hits, self.misses
        )?;
        writeln!(
            f,
            "hit ratio   {:>12}   waits       {:>12}",
            ratio, self.waits
        )?;
        writeln!(
            f,
            "loads       {:>12}   failed      {:>12}",
            self.loads, self.load_failures
        )?;
        writeln!(
            f,
            "evicted     {:>12}   expired     {:>12}",
            self.evicted, self.expired
        )?;
        writeln!(
            f,
            "explicit    {:>12}   replaced    {:>12}",
            self.explicit, self.replaced
        )?;
        writeln!(
            f,
            "collected   {:>12}   served stale{:>12}",
            self.collected, self.stale_served
        )?;
        let mean = format!("{:.1?}", self.mean_load_time);
        let saved = format!("{:.1?}", self.time_saved());
        write!(f, "mean load   {mean:>12}   time saved  {saved:>12}")
    }
}
