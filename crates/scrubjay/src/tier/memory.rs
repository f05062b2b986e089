//! The memory tier: shards, each with a table of entries that readers walk without a lock and a ledger of accounts.
//!
//! A reader pins itself (a store to memory of its own thread), walks a table and leaves a mark. A writer takes
//! the lock of the key's shard, and never two shards' at once: who must leave leaves the shard that the newcomer
//! enters, under the same hold of its lock. What all shards share is the budget, on which they draw for what they
//! cannot free themselves. Entries to which nothing can happen but that somebody removes them (no capacity, no end, no
//! tags) are not in a ledger at all, so that unbounded memoization writes to one shard only.
//!
//! Invariants: whoever unlinks an entry from its table, and nobody else, reports its removal; pins outlast
//! locks, so that what a pin frees (the user's `Drop`) never runs under a lock; the only user code under a
//! shard's lock is the `Eq` of keys, and an `Eq` that calls back is refused with a panic.

mod budget;
pub(crate) mod ledger;
mod limbo;
mod locked;
mod shard;
pub(crate) mod table;

use std::fmt;
use std::sync::{Arc, OnceLock};

use seize::{Collector, Guard, LocalGuard};

use crate::clock::Timestamp;
use crate::entry::{Entry, Extra, Held};
use crate::expiration::Lives;
use crate::policy::{Curve, Marking, Policy, Ticks, Tuner};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{PerThread, add};
use budget::Budget;
use ledger::Victims;
pub(crate) use locked::Locked;
use shard::{Residents, Shard, Shards};
use table::{Resident, Tagged, tag_of};

/// A reader's or writer's presence: what it saw stays allocated until it is dropped.
pub(crate) type Pin<'a> = LocalGuard<'a>;

/// An entry as a reader finds it.
pub(crate) type Found<'g, K, V> = Resident<'g, Entry<K, V>>;

/// How many expired entries a write removes at most, so that no write pays for many.
pub(crate) const EXPIRED_PER_WRITE: usize = 32;

pub(crate) struct Memory<K, V> {
    shards: Shards<K, V>,
    budget: Budget,
    policy: Policy,
    tuner: Arc<Tuner>,
    lives: Lives,
    ticks: Option<Ticks>,
    marking: Marking,
    /// Whether every entry needs an account. Written before all shards are locked in turn.
    bounded: AtomicBool,
    /// By thread: whether it holds the lock of a shard.
    holds: PerThread<AtomicBool>,
    /// By thread: the weight of what it unlinked since it last had the collector look for readers.
    retired: PerThread<std::sync::atomic::AtomicU64>,
    /// How much may gather in limbo: see `slack_of`.
    slack: AtomicU64,
    collector: Collector,
}

/// An entry before it has a place.
pub(crate) struct Draft<K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) held: Held<V>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What a write pushed out; references are good for as long as the pin.
pub(crate) struct Displaced<'g, K, V> {
    pub(crate) replaced: Option<Found<'g, K, V>>,
    pub(crate) victims: Victims<'g, K, V>,
    /// Whether the draft came in.
    pub(crate) stored: bool,
    /// The entry, if it was too heavy to come in: dropped by the caller, outside the lock.
    pub(crate) refused: Option<Box<Entry<K, V>>>,
}

impl<K, V> Default for Displaced<'_, K, V> {
    fn default() -> Self {
        Self {
            replaced: None,
            victims: Victims::default(),
            stored: false,
            refused: None,
        }
    }
}

/// Room that was made for a newcomer before its shard was locked; what is not used is given back.
pub(crate) struct Reserved<'a> {
    budget: &'a Budget,
    weight: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.give(self.weight);
    }
}

/// The weight that a shard's share should have before there is another shard: fewer entries would not be evicted in an
/// order that says much.
const LEAST_SHARE: u64 = 4096;

/// Four shards for each processor, so that two writers seldom meet, and so many that no array of one is large; one,
/// where the order among all entries must be one, and where an entry may weigh as much as a shard.
fn shard_bits(policy: Policy, capacity: u64, is_weighed: bool) -> u32 {
    // Asked once: the standard library reads files to find out.
    static THREADS: OnceLock<usize> = OnceLock::new();
    let threads =
        THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
    let most = (threads * 4).next_power_of_two().ilog2().clamp(5, 7);
    let may_divide = !policy.is_exact() && (capacity == u64::MAX || !is_weighed);
    match (capacity / LEAST_SHARE).checked_ilog2() {
        Some(bits) if may_divide => bits.min(most),
        _ => 0,
    }
}

impl<K, V> Memory<K, V> {
    /// `is_weighed` says that entries may have weights of their own.
    pub(crate) fn new(policy: Policy, capacity: u64, lives: Lives, is_weighed: bool) -> Self {
        let marking = policy.marking();
        // The exact policies keep the order of all entries from the first one on.
        let bounded = capacity < u64::MAX || policy.is_exact();
        let shards = Shards::new(shard_bits(policy, capacity, is_weighed));
        let memory = Self {
            budget: Budget::new(capacity),
            policy,
            tuner: Arc::new(Tuner::new(shards.len())),
            lives,
            ticks: (marking == Marking::Tick).then(Ticks::default),
            marking,
            bounded: AtomicBool::new(bounded),
            holds: PerThread::default(),
            retired: PerThread::default(),
            slack: AtomicU64::new(Self::slack_of(capacity)),
            collector: Collector::new(),
            shards,
        };
        for shard in memory.shards.iter() {
            let state = &mut *shard.state();
            if bounded {
                state.ledger.start_rules(|| memory.rules());
            }
            state.room.expect(memory.entries_of_share());
        }
        memory
    }

    /// Whether anybody could notice when an entry is dropped.
    const HOLDS_SOMETHING: bool = std::mem::needs_drop::<K>() || std::mem::needs_drop::<V>();

    /// How much may gather in limbo: a hundredth of the capacity, or some entries whose drop does nothing.
    const fn slack_of(capacity: u64) -> u64 {
        let slack = capacity / 100;
        if Self::HOLDS_SOMETHING || slack > 256 {
            slack
        } else {
            256
        }
    }

    /// How many entries of one shard make a batch for the collector.
    fn batch(&self) -> usize {
        const MOST: u64 = 64;
        let least = if Self::HOLDS_SOMETHING { 1 } else { 16 };
        // Relaxed: an estimate that publishes nothing.
        let share = self.slack.load(Ordering::Relaxed) >> self.shards.bits();
        share.clamp(least, MOST) as usize
    }

    /// A shard's share of the capacity.
    fn share(&self) -> u64 {
        self.capacity().div_ceil(self.shards.len() as u64)
    }

    /// How many entries a shard of a cache of plain entries comes to hold at most, by all odds.
    fn entries_of_share(&self) -> usize {
        let share = usize::try_from(self.share()).unwrap_or(usize::MAX);
        share.saturating_add(share / 64 + 16)
    }

    fn rules(&self) -> crate::policy::Rules {
        self.policy.rules(self.share(), &self.tuner)
    }

    #[inline]
    pub(crate) fn pin(&self) -> Pin<'_> {
        self.collector.enter()
    }

    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        hash: u64,
        pin: &'g Pin<'_>,
        matches: impl Fn(&K) -> bool,
    ) -> Option<Found<'g, K, V>> {
        let table = &self.shards.of(hash).table;
        table.find(tag_of(hash), pin, |entry| matches(entry.key()))
    }

    /// Leaves the policy's mark of a hit.
    #[inline]
    pub(crate) fn mark(&self, found: Found<'_, K, V>, pin: &Pin<'_>) {
        found.mark_hit(self.marking, || found.epoch(), || self.hit_tick(pin));
        if self.tuner.wants(found.hash_tag()) {
            self.tuner.hit(found.hash_tag(), found.weight());
        }
    }

    #[cold]
    fn hit_tick(&self, pin: &Pin<'_>) -> u64 {
        self.ticks
            .as_ref()
            .map_or(0, |ticks| ticks.hit(pin.thread_id()))
    }

    /// Locks the shard of a hash.
    ///
    /// # Panics
    ///
    /// If this thread holds a shard's lock already, which only a key's `Eq` can bring about.
    pub(crate) fn lock<'g>(&'g self, hash: u64, pin: &'g Pin<'_>) -> Locked<'g, K, V> {
        Locked::new(self, self.shards.of(hash), pin)
    }

    /// Locks every shard in turn, one at a time.
    pub(crate) fn for_each_shard<'g>(
        &'g self,
        pin: &'g Pin<'_>,
        mut work: impl FnMut(Locked<'g, K, V>),
    ) {
        for shard in self.shards.iter() {
            work(Locked::new(self, shard, pin));
        }
    }

    /// Removes an entry that was seen under `pin`; false if it has left already.
    pub(crate) fn remove(&self, found: Found<'_, K, V>, pin: &Pin<'_>) -> bool {
        Locked::new(self, self.shards.at(found.table()), pin).remove(found)
    }

    /// Visits the entries without a lock: each that is there from before the visit to after it, once, and perhaps
    /// others.
    pub(crate) fn iter<'g>(&'g self, pin: &'g Pin<'_>) -> impl Iterator<Item = Found<'g, K, V>>
    where
        K: 'g,
        V: 'g,
    {
        (self.shards.iter()).flat_map(move |shard| shard.table.iter(pin))
    }

    /// Makes room for a newcomer of this hash that its shard cannot make by itself, at the cost of other shards.
    ///
    /// It is taken, so that nobody else has it meanwhile. Usually there is nothing to do.
    pub(crate) fn reserve<'g>(
        &'g self,
        hash: u64,
        weight: u64,
        now: Timestamp,
        pin: &'g Pin<'_>,
        victims: &mut Victims<'g, K, V>,
    ) -> Reserved<'g> {
        let budget = &self.budget;
        let own = self.shards.of(hash);
        let need = weight.saturating_sub(own.weight());
        let mut reserved = Reserved { budget, weight: 0 };
        let sum = || budget.weight().checked_add(weight);
        let has_room = || sum().is_some_and(|sum| sum <= budget.capacity());
        if need > 0 && self.shards.len() > 1 && weight <= self.capacity() && !has_room() {
            let others = self.shards.after(own);
            if self.make_way_until(|| budget.take(need), others, now, pin, victims) {
                reserved.weight = need;
            }
        }
        reserved
    }

    /// Lets entries of these shards go until there is enough; says whether there is.
    fn make_way_until<'g>(
        &'g self,
        is_enough: impl Fn() -> bool,
        shards: impl Iterator<Item = &'g Shard<K, V>>,
        now: Timestamp,
        pin: &'g Pin<'_>,
        victims: &mut Victims<'g, K, V>,
    ) -> bool {
        for shard in shards {
            loop {
                if is_enough() {
                    return true;
                }
                // Unlocked after each, because only then the budget hears of it.
                let Some(victim) = Locked::new(self, shard, pin).make_way(now) else {
                    break;
                };
                victims.push(victim);
            }
        }
        is_enough()
    }

    /// Removes up to `most` entries whose time is over.
    pub(crate) fn expire<'g>(
        &'g self,
        now: Timestamp,
        most: usize,
        pin: &'g Pin<'_>,
    ) -> Victims<'g, K, V> {
        let mut victims = Victims::default();
        for shard in self.shards.iter().filter(|shard| shard.due() <= now) {
            Locked::new(self, shard, pin).expire(now, most, &mut victims);
        }
        victims
    }

    pub(crate) fn set_capacity<'g>(
        &'g self,
        capacity: u64,
        now: Timestamp,
        pin: &'g Pin<'_>,
    ) -> Victims<'g, K, V> {
        // Relaxed: an estimate that publishes nothing.
        self.slack
            .store(Self::slack_of(capacity), Ordering::Relaxed);
        if capacity < u64::MAX {
            self.account_for_all(pin);
        }
        self.budget.set_capacity(capacity);
        let (share, entries) = (self.share(), self.entries_of_share());
        let mut victims = Victims::default();
        for shard in self.shards.iter() {
            {
                let mut locked = Locked::new(self, shard, pin);
                locked.set_share(share, entries);
            }
            let is_enough = || !self.budget.is_exceeded() || shard.weight() <= share;
            self.make_way_until(is_enough, std::iter::once(shard), now, pin, &mut victims);
        }
        let shards = self.shards.iter();
        self.make_way_until(
            || !self.budget.is_exceeded(),
            shards,
            now,
            pin,
            &mut victims,
        );
        if capacity == 0 {
            self.for_each_shard(pin, |mut locked| locked.evict_all(&mut victims));
        }
        victims
    }

    /// Gives every entry an account, now and from now on, and lets the policy know them.
    pub(crate) fn account_for_all<'g>(&'g self, pin: &'g Pin<'_>) {
        // SeqCst, and before the locks: whoever locks a shard after this did sees it.
        if !self.bounded.swap(true, Ordering::SeqCst) {
            self.for_each_shard(pin, |mut locked| locked.account_for_all());
        }
    }

    fn unaccounted(&self) -> usize {
        self.shards.iter().map(Shard::unaccounted).sum()
    }

    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.budget.fresh()).unwrap_or(usize::MAX) + self.unaccounted()
    }

    pub(crate) fn weight(&self) -> u64 {
        let unaccounted = self.unaccounted() as u64;
        self.budget.weight().saturating_add(unaccounted)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.budget.capacity()
    }

    pub(crate) fn curve(&self) -> Option<Curve> {
        self.tuner.curve()
    }

    /// Counts an entry that was unlinked, and now and then has the collector look for readers.
    ///
    /// Finding that out costs a system call, so unlinked entries gather until they weigh a hundredth of the capacity;
    /// `at_once` is for removals that somebody asked for.
    pub(crate) fn retired(&self, found: Found<'_, K, V>, at_once: bool, pin: &Pin<'_>) {
        let retired = self.retired.of(pin.thread_id());
        let gathered = add(retired, found.weight());
        // Relaxed, here and below: an estimate that publishes nothing.
        if (at_once && Self::HOLDS_SOMETHING) || gathered > self.slack.load(Ordering::Relaxed) {
            retired.store(0, Ordering::Relaxed);
            let shard = self.shards.at(found.table());
            shard.state().limbo.hand_over(&self.shards, shard, pin);
            pin.flush();
        }
    }

    /// Panics unless tables, ledgers and budget agree and every invariant of theirs holds. No other call may run.
    pub(crate) fn assert_consistent(&self) {
        let pin = self.pin();
        let mut fresh = 0;
        let mut weight = 0;
        for shard in self.shards.iter() {
            fresh += shard.assert_consistent(&pin);
            weight += shard.weight();
        }
        assert_eq!(fresh, self.budget.fresh());
        assert_eq!(weight, self.budget.weight());
        assert!(weight <= self.capacity());
    }
}

impl<K, V> Drop for Memory<K, V> {
    fn drop(&mut self) {
        // Drops the batches that the collector has, and their references to the shards.
        drop(std::mem::replace(&mut self.collector, Collector::new()));
        self.shards.drop_unlinked();
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}
