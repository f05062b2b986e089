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
pub(crate) mod table;

use std::fmt;
use std::sync::OnceLock;

use seize::{Collector, Guard, LocalGuard};

use crate::clock::Timestamp;
use crate::entry::{Entry, Extra, Held, UNACCOUNTED};
use crate::expiration::Lives;
use crate::flight::Flights;
use crate::policy::{Marking, Policy, Ticks};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, OwnLine, PerThread, add};
use ledger::{EntryId, Ledger, Newcomer, Residents, Victim, Victims};
use table::{Occupancy, Table};

/// A reader's or writer's presence: what it saw stays allocated until it is dropped.
pub(crate) type Pin<'a> = LocalGuard<'a>;

/// How many expired entries a write removes at most, so that no write pays for many.
pub(crate) const EXPIRED_PER_WRITE: usize = 32;

pub(crate) struct Memory<K, V> {
    shards: Box<[OwnLine<Shard<K, V>>]>,
    ledger: Mutex<Ledger>,
    ticks: Option<Ticks>,
    marking: Marking,
    /// Whether every entry needs a place in the ledger. Written before all shards are locked in turn.
    bounded: AtomicBool,
    /// By thread: whether it holds the lock of a shard.
    holds: PerThread<AtomicBool>,
    /// By thread: the weight of what was unlinked and may not be freed yet.
    unlinked: PerThread<std::sync::atomic::AtomicU64>,
    /// How much of that may gather: a hundredth of the capacity.
    slack: AtomicU64,
    collector: Collector,
}

struct Shard<K, V> {
    table: Table<Entry<K, V>>,
    state: Mutex<ShardState<K, V>>,
    /// How many entries the ledger does not know. Written under the lock.
    unaccounted: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct ShardState<K, V> {
    room: Occupancy,
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

impl<K, V> Draft<K, V> {
    fn entry(self, id: EntryId, tick: u64) -> Entry<K, V> {
        Entry::new(self.key, self.hash, id, tick, self.extra, self.held)
    }
}

/// What a write pushed out; references are good for as long as the pin.
pub(crate) struct Displaced<'g, K, V> {
    pub(crate) replaced: Option<&'g Entry<K, V>>,
    pub(crate) victims: Victims,
    /// Whether the draft came in.
    pub(crate) stored: bool,
    /// The draft, if it was too heavy to come in: dropped by the caller, outside the lock.
    pub(crate) refused: Option<Box<Draft<K, V>>>,
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

/// Four shards for each processor, so that two writers seldom meet.
fn shard_count() -> usize {
    // Asked once: the standard library reads files to find out.
    static THREADS: OnceLock<usize> = OnceLock::new();
    let threads =
        THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
    (threads * 4).next_power_of_two().clamp(8, 128)
}

impl<K, V> Memory<K, V> {
    pub(crate) fn new(policy: Policy, capacity: u64, lives: Lives) -> Self {
        let shards = shard_count();
        let marking = policy.marking();
        Self {
            shards: (0..shards).map(|_| OwnLine(Shard::new())).collect(),
            ledger: Mutex::new(Ledger::new(policy, capacity, lives)),
            ticks: (marking != Marking::Bit).then(Ticks::default),
            marking,
            bounded: AtomicBool::new(capacity < u64::MAX),
            holds: PerThread::default(),
            unlinked: PerThread::default(),
            slack: AtomicU64::new(capacity / 100),
            collector: Collector::new(),
        }
    }

    #[inline]
    pub(crate) fn pin(&self) -> Pin<'_> {
        self.collector.enter()
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard<K, V> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the result is below the shard count"
        )]
        let index = (hash >> 52) as usize & (self.shards.len() - 1);
        &self.shards[index].0
    }

    #[inline]
    pub(crate) fn find<'g>(
        &self,
        hash: u64,
        pin: &'g Pin<'_>,
        matches: impl Fn(&K) -> bool,
    ) -> Option<&'g Entry<K, V>> {
        self.shard(hash)
            .table
            .find(hash, pin, |entry| matches(&entry.key))
    }

    fn find_id<'g>(&self, hash: u64, id: EntryId, pin: &'g Pin<'_>) -> Option<&'g Entry<K, V>> {
        self.shard(hash)
            .table
            .find(hash, pin, |entry| entry.id() == id)
    }

    /// Leaves the policy's mark of a hit.
    #[inline]
    pub(crate) fn mark(&self, entry: &Entry<K, V>, pin: &Pin<'_>) {
        entry.mark(self.marking, || self.hit_tick(pin));
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
        self.lock_shard(self.shard(hash), pin)
    }

    fn lock_shard<'a>(&'a self, shard: &'a Shard<K, V>, pin: &Pin<'_>) -> Locked<'a, K, V> {
        let holds = self.holds.of(pin.thread_id());
        // Relaxed: only a thread's own flag matters to it. A model checker's threads share one.
        assert!(
            cfg!(shuttle) || !holds.load(Ordering::Relaxed),
            "scrubjay: the `Eq` of a key called a method that changes the cache it is compared in; \
             compare keys without using that cache"
        );
        let state = shard.state.lock();
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
        for shard in &self.shards {
            work(self.lock_shard(&shard.0, pin));
        }
    }

    /// Unlinks a victim of the ledger's; `None` if somebody else was faster.
    pub(crate) fn unlink<'g>(&self, victim: Victim, pin: &'g Pin<'_>) -> Option<&'g Entry<K, V>> {
        let mut locked = self.lock(victim.hash, pin);
        let entry = self.find_id(victim.hash, victim.id, pin);
        if let Some(entry) = entry {
            let state = &mut *locked.state;
            locked.shard.table.remove(&mut state.room, entry, pin);
        }
        if victim.is_tagged {
            self.ledger.lock().left(victim.id);
        }
        entry
    }

    /// Removes the entry of that id; `None` if it has left already.
    pub(crate) fn remove_id<'g>(
        &self,
        hash: u64,
        id: EntryId,
        pin: &'g Pin<'_>,
    ) -> Option<&'g Entry<K, V>> {
        self.remove_if(hash, pin, |entry| entry.id() == id)
    }

    /// Removes the very entry that was seen; `None` if it has left already.
    pub(crate) fn remove_same<'g>(
        &self,
        seen: &Entry<K, V>,
        pin: &'g Pin<'_>,
    ) -> Option<&'g Entry<K, V>> {
        self.remove_if(seen.hash, pin, |entry| std::ptr::eq(entry, seen))
    }

    fn remove_if<'g>(
        &self,
        hash: u64,
        pin: &'g Pin<'_>,
        is_it: impl Fn(&Entry<K, V>) -> bool,
    ) -> Option<&'g Entry<K, V>> {
        let mut locked = self.lock(hash, pin);
        let entry = locked.shard.table.find(hash, pin, is_it)?;
        locked.remove(entry, pin);
        Some(entry)
    }

    /// Visits the entries without a lock.
    pub(crate) fn iter<'g>(&self, pin: &'g Pin<'_>) -> impl Iterator<Item = &'g Entry<K, V>>
    where
        K: 'g,
        V: 'g,
    {
        self.shards
            .iter()
            .flat_map(move |shard| shard.0.table.iter(pin))
    }

    /// Closes the records of up to `most` entries whose time is over; the caller unlinks them.
    pub(crate) fn expire(&self, now: Timestamp, most: usize, pin: &Pin<'_>) -> Victims {
        let mut victims = Victims::default();
        let residents = InTables { memory: self, pin };
        (self.ledger.lock()).expire(now, most, &mut victims, &residents);
        victims
    }

    pub(crate) fn set_capacity(&self, capacity: u64, pin: &Pin<'_>) -> Victims {
        // Relaxed: an estimate that publishes nothing.
        self.slack.store(capacity / 100, Ordering::Relaxed);
        let mut victims = Victims::default();
        if capacity < u64::MAX {
            victims = self.account_for_all(pin);
        }
        let residents = InTables { memory: self, pin };
        (self.ledger.lock()).set_capacity(capacity, &mut victims, &residents);
        victims
    }

    /// Gives every entry a place in the ledger, now and from now on.
    pub(crate) fn account_for_all(&self, pin: &Pin<'_>) -> Victims {
        // SeqCst, and before the locks: whoever locks a shard after this did sees it.
        let mut victims = Victims::default();
        if self.bounded.swap(true, Ordering::SeqCst) {
            return victims;
        }
        let residents = InTables { memory: self, pin };
        self.for_each_shard(pin, |locked| {
            let mut ledger = self.ledger.lock();
            for entry in locked.shard.table.iter(pin) {
                if entry.id() == UNACCOUNTED {
                    let newcomer = Newcomer::plain(entry.hash, entry.tick());
                    entry.set_id(ledger.add(newcomer, &mut victims, &residents));
                }
            }
            // Relaxed: the shard's lock orders writers; `len` takes whatever it finds.
            locked.shard.unaccounted.store(0, Ordering::Relaxed);
        });
        victims
    }

    fn unaccounted(&self) -> usize {
        // Relaxed: as above.
        let counts = self.shards.iter().map(|shard| &shard.0.unaccounted);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn tagged(&self, tag: &str) -> Vec<(u64, EntryId)> {
        self.ledger.lock().tagged(tag)
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

    pub(crate) fn forget_if_empty(&self) {
        self.ledger.lock().forget_if_empty();
    }

    /// Notes that an entry was unlinked, and has what was unlinked freed once that is worth its cost.
    ///
    /// Freeing costs a system call, so unlinked entries gather until they weigh a hundredth of the capacity
    /// (or are 32); `at_once` is for removals that somebody asked for.
    pub(crate) fn unlinked(&self, weight: u64, at_once: bool, pin: &Pin<'_>) {
        let gathered = self.unlinked.of(pin.thread_id());
        // Relaxed: an estimate that publishes nothing.
        if add(gathered, weight) > self.slack.load(Ordering::Relaxed) || at_once {
            gathered.store(0, Ordering::Relaxed);
            pin.flush();
        }
    }

    /// Panics unless tables and ledger agree and every invariant of theirs holds. No other call may run.
    pub(crate) fn assert_consistent(&self) {
        let pin = self.pin();
        let (outside, entries): (Vec<_>, Vec<_>) = (self.iter(&pin))
            .map(|entry| (entry.id(), entry.weight()))
            .partition(|(id, _)| *id == UNACCOUNTED);
        assert_eq!(outside.len(), self.unaccounted());
        self.for_each_shard(&pin, |locked| {
            locked
                .shard
                .table
                .assert_consistent(&locked.state.room, &pin);
        });
        self.ledger.lock().assert_consistent(&entries);
    }
}

impl<K, V> Locked<'_, K, V> {
    pub(crate) fn find<'g>(
        &self,
        hash: u64,
        pin: &'g Pin<'_>,
        matches: impl Fn(&K) -> bool,
    ) -> Option<&'g Entry<K, V>> {
        self.shard
            .table
            .find(hash, pin, |entry| matches(&entry.key))
    }

    /// Stores a draft in the place of `old`, which is what the table has for its key.
    pub(crate) fn store<'g>(
        &mut self,
        draft: Draft<K, V>,
        old: Option<&'g Entry<K, V>>,
        now: Timestamp,
        pin: &'g Pin<'_>,
    ) -> Displaced<'g, K, V> {
        let tick = self.insertion_tick(pin);
        if old.is_none() && !self.needs_account(&draft) {
            self.count_unaccounted(1);
            let entry = draft.entry(UNACCOUNTED, tick);
            self.shard.table.insert(&mut self.state.room, entry, pin);
            return Displaced {
                stored: true,
                ..Displaced::default()
            };
        }
        self.store_accounted(draft, old, (tick, now), pin)
    }

    /// The longer way, for entries that the ledger knows or that take another one's place.
    #[inline(never)]
    fn store_accounted<'g>(
        &mut self,
        draft: Draft<K, V>,
        old: Option<&'g Entry<K, V>>,
        (tick, now): (u64, Timestamp),
        pin: &'g Pin<'_>,
    ) -> Displaced<'g, K, V> {
        let mut displaced = Displaced {
            replaced: old,
            ..Displaced::default()
        };
        if let Some(old) = old {
            self.release(old);
        }
        let Some(id) = self.account(&draft, (tick, now), &mut displaced.victims, pin) else {
            if let Some(old) = old {
                self.shard.table.remove(&mut self.state.room, old, pin);
            }
            displaced.refused = Some(Box::new(draft));
            return displaced;
        };
        let entry = draft.entry(id, tick);
        match old {
            Some(old) => self.shard.table.replace(old, entry, pin),
            None => self.shard.table.insert(&mut self.state.room, entry, pin),
        }
        displaced.stored = true;
        displaced
    }

    fn insertion_tick(&self, pin: &Pin<'_>) -> u64 {
        let ticks = self.memory.ticks.as_ref();
        ticks.map_or(0, |ticks| ticks.insertion(pin.thread_id()))
    }

    /// Whether anything can happen to an entry but that somebody removes it.
    fn needs_account(&self, draft: &Draft<K, V>) -> bool {
        // Relaxed: `account_for_all` wrote it before it took this shard's lock, or will find this entry.
        draft.extra.is_some()
            || draft.held.is_failure()
            || self.memory.bounded.load(Ordering::Relaxed)
    }

    /// Books a draft in; `None` if it is too heavy to come in.
    fn account(
        &self,
        draft: &Draft<K, V>,
        (tick, now): (u64, Timestamp),
        victims: &mut Victims,
        pin: &Pin<'_>,
    ) -> Option<EntryId> {
        if !self.needs_account(draft) {
            self.count_unaccounted(1);
            return Some(UNACCOUNTED);
        }
        let memory = self.memory;
        let newcomer = match &draft.extra {
            None => Newcomer::plain(draft.hash, tick),
            Some(extra) => Newcomer {
                hash: draft.hash,
                weight: extra.weight,
                tick,
                end: extra.end(),
                tags: extra.tags.clone(),
                is_failure: draft.held.is_failure(),
            },
        };
        let mut ledger = memory.ledger.lock();
        let residents = InTables { memory, pin };
        if !ledger.admits(newcomer.weight) {
            return None;
        }
        if !ledger.has_room(newcomer.weight) {
            // What has expired gives way before anything fresh does.
            ledger.expire(now, EXPIRED_PER_WRITE, victims, &residents);
        }
        Some(ledger.add(newcomer, victims, &residents))
    }

    fn count_unaccounted(&self, change: isize) {
        // Relaxed, and no read-modify-write: only the holder of the shard's lock writes it.
        let count = self.shard.unaccounted.load(Ordering::Relaxed);
        let count = count.wrapping_add_signed(change);
        self.shard.unaccounted.store(count, Ordering::Relaxed);
    }

    /// Closes the accounts of an entry of this shard.
    fn release(&self, entry: &Entry<K, V>) {
        if entry.id() == UNACCOUNTED {
            self.count_unaccounted(-1);
        } else {
            self.memory.ledger.lock().remove(entry.id());
        }
    }

    /// Unlinks an entry of this shard that was found under this lock.
    pub(crate) fn remove(&mut self, entry: &Entry<K, V>, pin: &Pin<'_>) {
        self.release(entry);
        self.shard.table.remove(&mut self.state.room, entry, pin);
    }

    /// Unlinks everything in this shard.
    pub(crate) fn take_all<'g>(&mut self, pin: &'g Pin<'_>) -> Vec<&'g Entry<K, V>> {
        let entries = self.shard.table.take_all(&mut self.state.room, pin);
        for entry in &entries {
            self.release(entry);
        }
        entries
    }
}

/// Answers the ledger's questions by looking into the tables.
struct InTables<'a, K, V> {
    memory: &'a Memory<K, V>,
    pin: &'a Pin<'a>,
}

impl<K, V> Residents for InTables<'_, K, V> {
    fn take_bit(&self, hash: u64, id: EntryId) -> bool {
        let entry = self.memory.find_id(hash, id, self.pin);
        entry.is_some_and(Entry::take_bit)
    }

    fn tick(&self, hash: u64, id: EntryId) -> u64 {
        let entry = self.memory.find_id(hash, id, self.pin);
        entry.map_or(0, Entry::tick)
    }

    fn end(&self, hash: u64, id: EntryId) -> Option<Timestamp> {
        let entry = self.memory.find_id(hash, id, self.pin);
        entry.map(Entry::end)
    }
}

impl<K, V> Shard<K, V> {
    fn new() -> Self {
        Self {
            table: Table::new(),
            state: Mutex::new(ShardState {
                room: Occupancy::default(),
                flights: Flights::default(),
            }),
            unaccounted: AtomicUsize::new(0),
        }
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}
