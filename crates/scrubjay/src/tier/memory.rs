//! The memory tier: tables of entries that readers walk without a lock, and one ledger of accounts.
//!
//! A reader pins itself (a store to memory of its own thread), walks a table and leaves a mark. A writer takes
//! the lock of the key's shard and, inside it, for a moment, the ledger's; never two shards' at once. What an
//! insertion pushes out of other shards it removes after its own shard is unlocked. Entries to which nothing can
//! happen but that somebody removes them (no capacity, no end, no tags) are not in the ledger at all, so that
//! unbounded memoization writes to one shard only.
//!
//! Invariants: whoever unlinks an entry from its table, and nobody else, reports its removal; pins outlast
//! locks, so that what a pin frees (the user's `Drop`) never runs under a lock; the only user code under a
//! shard's lock is the `Eq` of keys, and an `Eq` that calls back is refused with a panic.

pub(crate) mod ledger;
mod limbo;
pub(crate) mod table;

use std::fmt;
use std::sync::{Arc, OnceLock};

use seize::{Collector, Guard, LocalGuard};

use crate::clock::Timestamp;
use crate::entry::{Account, Entry, Extra, Held};
use crate::expiration::Lives;
use crate::flight::Flights;
use crate::policy::{Curve, Marking, Marks, Policy, Signals, Ticks, spread};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, OwnLine, PerThread};
use ledger::{Ledger, Victims};
use limbo::Limbo;
use table::{Number, Resident, Room, Table, Tagged, tag_of};

/// A reader's or writer's presence: what it saw stays allocated until it is dropped.
pub(crate) type Pin<'a> = LocalGuard<'a>;

/// An entry as a reader finds it.
pub(crate) type Found<'g, K, V> = Resident<'g, Entry<K, V>>;

/// How many expired entries a write removes at most, so that no write pays for many.
pub(crate) const EXPIRED_PER_WRITE: usize = 32;

pub(crate) struct Memory<K, V> {
    shards: Shards<K, V>,
    ledger: Mutex<Ledger>,
    ticks: Option<Ticks>,
    marking: Marking,
    signals: Arc<Signals>,
    /// Whether every entry needs a place in the ledger. Written before all shards are locked in turn.
    bounded: AtomicBool,
    /// By thread: whether it holds the lock of a shard.
    holds: PerThread<AtomicBool>,
    limbo: Limbo,
    /// How much may gather in limbo: see `slack_of`.
    slack: AtomicU64,
    collector: Collector,
}

/// The shards, two to some power of them, shared with what is in limbo.
pub(crate) struct Shards<K, V>(Arc<[OwnLine<Shard<K, V>>]>);

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) struct Shard<K, V> {
    table: Table<Entry<K, V>>,
    /// On lines of its own, because readers of the table do not look at it.
    state: OwnLine<Mutex<ShardState<K, V>>>,
    /// How many entries the ledger does not know. Written under the lock.
    unaccounted: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct ShardState<K, V> {
    room: Room,
    pub(crate) flights: Flights<K, V>,
}

/// A shard whose lock is held.
pub(crate) struct Locked<'a, K, V> {
    memory: &'a Memory<K, V>,
    shard: &'a Shard<K, V>,
    /// Whether this thread holds a lock of this cache.
    holds: &'a AtomicBool,
    pub(crate) state: MutexGuard<'a, ShardState<K, V>>,
}

impl<K, V> Drop for Locked<'_, K, V> {
    fn drop(&mut self) {
        // Relaxed: only this thread ever asks for its own.
        self.holds.store(false, Ordering::Relaxed);
    }
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

/// Four shards for each processor, so that two writers seldom meet, and so many that no array of one is large.
fn shard_bits() -> u32 {
    // Asked once: the standard library reads files to find out.
    static THREADS: OnceLock<usize> = OnceLock::new();
    let threads =
        THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
    (threads * 4).next_power_of_two().ilog2().clamp(5, 7)
}

impl<K, V> Shards<K, V> {
    fn new() -> Self {
        let bits = shard_bits();
        let shards = (0..1 << bits).map(|index| OwnLine(Shard::new(index, bits)));
        Self(shards.collect())
    }

    /// The shard of a hash, or of a number.
    #[inline]
    fn of(&self, hash: impl Into<u64>) -> &Shard<K, V> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the result is below the shard count"
        )]
        let index = hash.into() as usize & (self.0.len() - 1);
        &self.0[index].0
    }

    fn iter(&self) -> impl Iterator<Item = &Shard<K, V>> {
        self.0.iter().map(|shard| &shard.0)
    }
}

impl<K, V> Memory<K, V> {
    pub(crate) fn new(policy: Policy, capacity: u64, lives: Lives) -> Self {
        let marking = policy.marking();
        // The exact policies keep the order of all entries from the first one on.
        let bounded = capacity < u64::MAX || policy != Policy::Adaptive;
        let signals = Arc::<Signals>::default();
        let memory = Self {
            shards: Shards::new(),
            ledger: Mutex::new(Ledger::new(policy, capacity, lives, signals.clone())),
            ticks: (marking == Marking::Tick).then(Ticks::default),
            marking,
            signals,
            bounded: AtomicBool::new(bounded),
            holds: PerThread::default(),
            limbo: Limbo::default(),
            slack: AtomicU64::new(Self::slack_of(capacity)),
            collector: Collector::new(),
        };
        if bounded {
            memory.ledger.lock().start_rules();
        }
        for shard in memory.shards.iter() {
            shard.state.0.lock().room.expect(memory.share_of(capacity));
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

    /// How many entries a shard of a cache of plain entries comes to hold at most, by all odds.
    fn share_of(&self, capacity: u64) -> usize {
        let share = capacity / self.shards.0.len() as u64;
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        share.saturating_add(share / 64 + 16)
    }

    #[inline]
    pub(crate) fn pin(&self) -> Pin<'_> {
        self.collector.enter()
    }

    #[inline]
    pub(crate) fn find<'g>(
        &self,
        hash: u64,
        pin: &'g Pin<'_>,
        matches: impl Fn(&K) -> bool,
    ) -> Option<Found<'g, K, V>> {
        let table = &self.shards.of(hash).table;
        table.find(tag_of(hash), pin, |entry| matches(entry.key()))
    }

    /// Leaves the policy's mark of a hit.
    #[inline]
    pub(crate) fn mark(&self, entry: &Entry<K, V>, pin: &Pin<'_>) {
        entry.mark_hit(self.marking, &self.signals, || self.hit_tick(pin));
        // Relaxed: who misses the beginning or the end of a sample is a part of the noise in it.
        let sample_below = self.signals.sample_below.load(Ordering::Relaxed);
        if spread(entry.tag()) < sample_below {
            self.tell_policy(entry);
        }
    }

    /// Tells the policy of a hit in its sample, unless it is busy.
    #[cold]
    #[inline(never)]
    fn tell_policy(&self, entry: &Entry<K, V>) {
        if let Some(mut ledger) = self.ledger.try_lock() {
            ledger.sampled(entry.tag(), entry.weight());
        }
    }

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
    pub(crate) fn lock(&self, hash: u64, pin: &Pin<'_>) -> Locked<'_, K, V> {
        self.lock_shard(self.shards.of(hash), pin)
    }

    fn lock_shard<'a>(&'a self, shard: &'a Shard<K, V>, pin: &Pin<'_>) -> Locked<'a, K, V> {
        let holds = self.holds.of(pin.thread_id());
        // Relaxed: only a thread's own flag matters to it. A model checker's threads share one.
        assert!(
            cfg!(shuttle) || !holds.load(Ordering::Relaxed),
            "scrubjay: the `Eq` of a key called a method that changes the cache it is compared in; \
             compare keys without using that cache"
        );
        let state = shard.state.0.lock();
        holds.store(true, Ordering::Relaxed);
        Locked {
            memory: self,
            shard,
            holds,
            state,
        }
    }

    /// Locks every shard in turn, one at a time.
    pub(crate) fn for_each_shard(&self, pin: &Pin<'_>, mut work: impl FnMut(Locked<'_, K, V>)) {
        for shard in self.shards.iter() {
            work(self.lock_shard(shard, pin));
        }
    }

    /// Unlinks a victim of the ledger's; false if somebody else was faster.
    pub(crate) fn unlink(&self, victim: Found<'_, K, V>, pin: &Pin<'_>) -> bool {
        let shard = self.shards.of(victim.number);
        let mut locked = self.lock_shard(shard, pin);
        let was_there = shard.table.unlink(&mut locked.state.room, victim, pin);
        if !victim.tags().is_empty() {
            self.ledger.lock().left(victim.number);
        }
        was_there
    }

    /// Removes an entry that was seen under `pin`; false if it has left already.
    pub(crate) fn remove(&self, found: Found<'_, K, V>, pin: &Pin<'_>) -> bool {
        let mut locked = self.lock_shard(self.shards.of(found.number), pin);
        locked.remove(found, pin)
    }

    /// Visits the entries without a lock: each that is there from before the visit to after it, once, and perhaps others.
    pub(crate) fn iter<'g>(&'g self, pin: &'g Pin<'_>) -> impl Iterator<Item = Found<'g, K, V>>
    where
        K: 'g,
        V: 'g,
    {
        (self.shards.iter()).flat_map(move |shard| shard.table.iter(pin))
    }

    /// Closes the accounts of up to `most` entries whose time is over; the caller unlinks them.
    pub(crate) fn expire<'g>(
        &'g self,
        now: Timestamp,
        most: usize,
        pin: &'g Pin<'_>,
    ) -> Victims<'g, K, V> {
        let mut victims = Victims::default();
        let residents = self.residents(pin);
        (self.ledger.lock()).expire(now, most, &mut victims, &residents);
        victims
    }

    pub(crate) fn set_capacity<'g>(&'g self, capacity: u64, pin: &'g Pin<'_>) -> Victims<'g, K, V> {
        // Relaxed: an estimate that publishes nothing.
        self.slack
            .store(Self::slack_of(capacity), Ordering::Relaxed);
        let share = self.share_of(capacity);
        self.for_each_shard(pin, |mut locked| locked.state.room.expect(share));
        let mut victims = Victims::default();
        if capacity < u64::MAX {
            victims = self.account_for_all(pin);
        }
        let residents = self.residents(pin);
        (self.ledger.lock()).set_capacity(capacity, &mut victims, &residents);
        if capacity == 0 {
            for weightless in self.iter(pin) {
                self.ledger.lock().evict(weightless, &mut victims);
            }
        }
        victims
    }

    /// Gives every entry an account, now and from now on, and lets the policy know them.
    pub(crate) fn account_for_all<'g>(&'g self, pin: &'g Pin<'_>) -> Victims<'g, K, V> {
        let mut victims = Victims::default();
        // SeqCst, and before the locks: whoever locks a shard after this did sees it.
        if self.bounded.swap(true, Ordering::SeqCst) {
            return victims;
        }
        let residents = self.residents(pin);
        self.ledger.lock().start_rules();
        self.for_each_shard(pin, |locked| {
            let mut ledger = self.ledger.lock();
            for found in locked.shard.table.iter(pin) {
                ledger.introduce(found, &mut victims, &residents);
            }
            // Relaxed: the shard's lock orders writers; `len` takes whatever it finds.
            locked.shard.unaccounted.store(0, Ordering::Relaxed);
        });
        victims
    }

    fn residents<'g>(&'g self, pin: &'g Pin<'_>) -> Residents<'g, K, V> {
        let shards = &self.shards;
        Residents { shards, pin }
    }

    fn unaccounted(&self) -> usize {
        // Relaxed: as above.
        let counts = self.shards.iter().map(|shard| &shard.unaccounted);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The entries that carry a tag and may still be found. `pin` is older than the answer, so they stay.
    #[allow(unsafe_code, reason = "the ledger names entries by number")]
    pub(crate) fn tagged<'g>(&self, tag: &str, pin: &'g Pin<'_>) -> Vec<Found<'g, K, V>> {
        let numbers = self.ledger.lock().tagged(tag);
        let tables = numbers.iter().map(|number| &self.shards.of(*number).table);
        // SAFETY: whoever unlinks a tagged entry tells the ledger before the entry can be freed, and the ledger said
        // after `pin` began that nobody had.
        (numbers.iter().zip(tables))
            .map(|(number, table)| unsafe { table.get(*number, pin) })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.ledger.lock().len() + self.unaccounted()
    }

    pub(crate) fn weight(&self) -> u64 {
        let unaccounted = self.unaccounted() as u64;
        self.ledger.lock().weight().saturating_add(unaccounted)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.ledger.lock().capacity()
    }

    pub(crate) fn curve(&self) -> Option<Curve> {
        self.ledger.lock().curve()
    }

    pub(crate) fn forget_if_empty(&self) {
        self.ledger.lock().forget_if_empty();
    }

    /// Has an entry that was unlinked dropped when nobody can see it any more.
    ///
    /// Finding that out costs a system call, so unlinked entries gather until they weigh a hundredth of the capacity;
    /// `at_once` is for removals that somebody asked for.
    pub(crate) fn retire(&self, found: Found<'_, K, V>, at_once: bool, pin: &Pin<'_>) {
        let gathered = self.limbo.gather(&self.shards, found, pin);
        // Relaxed: an estimate that publishes nothing.
        if (at_once && Self::HOLDS_SOMETHING) || gathered > self.slack.load(Ordering::Relaxed) {
            self.limbo.flush(&self.shards, pin);
        }
    }

    /// Panics unless tables and ledger agree and every invariant of theirs holds. No other call may run.
    pub(crate) fn assert_consistent(&self) {
        let pin = self.pin();
        let (outside, entries): (Vec<_>, Vec<_>) =
            (self.iter(&pin)).partition(|found| found.account() == Account::None);
        assert_eq!(outside.len(), self.unaccounted());
        self.for_each_shard(&pin, |locked| {
            (locked.shard.table).assert_consistent(&locked.state.room, &pin);
        });
        let entries: Vec<_> = (entries.iter())
            .map(|found| (found.number, found.weight(), found.account()))
            .collect();
        self.ledger.lock().assert_consistent(&entries);
    }
}

impl<K, V> Drop for Memory<K, V> {
    fn drop(&mut self) {
        // Drops the batches that the collector has, and their references to the shards.
        drop(std::mem::replace(&mut self.collector, Collector::new()));
        let shards = Arc::get_mut(&mut self.shards.0).expect("batches were the only other owners");
        for number in self.limbo.take_all() {
            let index = number as usize & (shards.len() - 1);
            shards[index].0.table.drop_unlinked(number);
        }
    }
}

impl<'a, K, V> Locked<'a, K, V> {
    pub(crate) fn find<'g>(
        &self,
        hash: u64,
        pin: &'g Pin<'_>,
        matches: impl Fn(&K) -> bool,
    ) -> Option<Found<'g, K, V>> {
        (self.shard.table).find(tag_of(hash), pin, |entry| matches(entry.key()))
    }

    /// Stores a draft in the place of `old`, which is what the table has for its key.
    #[allow(
        unsafe_code,
        reason = "an entry is in its place before the ledger admits it"
    )]
    pub(crate) fn store<'g>(
        &mut self,
        draft: Draft<K, V>,
        old: Option<Found<'g, K, V>>,
        now: Timestamp,
        pin: &'g Pin<'_>,
    ) -> Displaced<'g, K, V>
    where
        'a: 'g,
    {
        let mut displaced = Displaced {
            replaced: old,
            ..Displaced::default()
        };
        let needs_account = self.needs_account(&draft);
        let is_failure = draft.held.is_failure();
        let tick = (self.memory.ticks.as_ref()).map(|ticks| ticks.insertion(pin.thread_id()));
        let tag = tag_of(draft.hash);
        let entry = Entry::new(draft.key, tag, draft.held, draft.extra, tick);
        let table = &self.shard.table;
        let new = table.put(&mut self.state.room, entry, pin);
        if let Some(old) = old {
            self.close_account(old, pin);
        }
        if !needs_account {
            self.count_unaccounted(1);
        } else if !self.account(new, is_failure, now, &mut displaced.victims, pin) {
            let room = &mut self.state.room;
            // SAFETY: it was put in above, the ledger did not take its number, and `new` is not used any more.
            let entry = unsafe { table.take_back(room, new.number, pin) };
            displaced.refused = Some(Box::new(entry));
            if let Some(old) = old {
                table.unlink(room, old, pin);
            }
            return displaced;
        }
        match old {
            Some(old) => table.replace(old, new, pin),
            None => table.link(&mut self.state.room, new, pin),
        }
        displaced.stored = true;
        displaced
    }

    /// Whether anything can happen to an entry but that somebody removes it.
    fn needs_account(&self, draft: &Draft<K, V>) -> bool {
        // Relaxed: `account_for_all` wrote it before it took this shard's lock, or will find this entry.
        draft.extra.is_some()
            || draft.held.is_failure()
            || self.memory.bounded.load(Ordering::Relaxed)
    }

    /// Opens the account of an entry that is in its place; false if it is too heavy to come in.
    fn account<'g>(
        &self,
        new: Found<'_, K, V>,
        is_failure: bool,
        now: Timestamp,
        victims: &mut Victims<'g, K, V>,
        pin: &'g Pin<'_>,
    ) -> bool
    where
        'a: 'g,
    {
        let memory = self.memory;
        let residents = memory.residents(pin);
        let account = match is_failure {
            true => Account::Failure,
            false => Account::Fresh,
        };
        (memory.ledger.lock()).admit(new, account, now, victims, &residents)
    }

    fn count_unaccounted(&self, change: isize) {
        // Relaxed, and no read-modify-write: only the holder of the shard's lock writes it.
        let count = self.shard.unaccounted.load(Ordering::Relaxed);
        let count = count.wrapping_add_signed(change);
        self.shard.unaccounted.store(count, Ordering::Relaxed);
    }

    fn close_account(&self, found: Found<'_, K, V>, pin: &Pin<'_>) {
        if found.account() == Account::None {
            self.count_unaccounted(-1);
        } else {
            let residents = self.memory.residents(pin);
            self.memory.ledger.lock().remove(found, &residents);
        }
    }

    /// Unlinks an entry of this shard; false if it has left already.
    pub(crate) fn remove(&mut self, found: Found<'_, K, V>, pin: &Pin<'_>) -> bool {
        let was_there = (self.shard.table).unlink(&mut self.state.room, found, pin);
        if was_there {
            self.close_account(found, pin);
        }
        was_there
    }

    /// Unlinks everything in this shard.
    pub(crate) fn take_all<'g>(&mut self, pin: &'g Pin<'_>) -> Vec<Found<'g, K, V>> {
        let entries = (self.shard.table).unlink_all(&mut self.state.room, pin);
        for found in &entries {
            self.close_account(*found, pin);
        }
        entries
    }
}

/// Finds entries for those who know them by number: the ledger and the policy, under the ledger's lock.
pub(crate) struct Residents<'g, K, V> {
    shards: &'g Shards<K, V>,
    pin: &'g Pin<'g>,
}

impl<'g, K, V> Residents<'g, K, V> {
    #[inline]
    #[allow(unsafe_code, reason = "ledger and policy name entries by number")]
    fn of(&self, number: Number) -> Found<'g, K, V> {
        let table = &self.shards.of(number).table;
        // SAFETY: they ask, under the ledger's lock, for entries that they have or are about to take: those are in
        // their places, and nobody retires one before the ledger has let go of it, later than this pin began.
        unsafe { table.get(number, self.pin) }
    }
}

impl<K, V> Marks for Residents<'_, K, V> {
    fn mark(&self, number: Number) -> u16 {
        self.of(number).mark()
    }

    fn set_mark(&self, number: Number, mark: u16) {
        self.of(number).set_mark(mark);
    }

    fn tick(&self, number: Number) -> u64 {
        self.of(number).tick()
    }

    fn tag(&self, number: Number) -> u32 {
        self.of(number).tag()
    }

    fn weight(&self, number: Number) -> u64 {
        self.of(number).weight()
    }
}

impl<K, V> Shard<K, V> {
    fn new(index: u32, bits: u32) -> Self {
        let state = ShardState {
            room: Room::default(),
            flights: Flights::default(),
        };
        Self {
            table: Table::new(index, bits),
            state: OwnLine(Mutex::new(state)),
            unaccounted: AtomicUsize::new(0),
        }
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("shards", &self.shards.0.len())
            .finish_non_exhaustive()
    }
}
