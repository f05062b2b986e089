//! `Cache<K, V>`: what users hold.
//!
//! Every method here is a few lines over the parts that do the work: `call` (loading), `invalidation`, `memory`
//! (entries) and `stats`. Invariant: no method holds a lock while it runs the user's code, so the user's code
//! may call any method of any cache.

use std::any::Any;
use std::fmt;
use std::hash::Hash;
use std::hint::black_box;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use equivalent::Equivalent;
use seize::Guard;

use crate::advice::Advice;
use crate::builder::{Builder, Options};
use crate::call::{Change, Core, Fallible, InTurn, Infallible, Own};
use crate::entry::Tag;
use crate::flight;
use crate::key::ByRef;
use crate::removal::RemovalCause;
use crate::stats::{Event, Stats};
use crate::tier::memory::{Found, Pin};

/// A concurrent cache that computes each value once, however many callers ask.
///
/// It is a handle: clones are cheap and share one cache. All methods take `&self` and may be called from any
/// thread, also from loaders, listeners, weighers and `Drop` of values. Keys may be asked for in any borrowed
/// form (`&str` for `String`). The `Eq` of a key runs under a lock of one shard of the cache and must not
/// change that cache; if it does, it gets a panic that says so.
///
/// # What concurrent callers see
///
/// Every method is one atomic step on its key: a `get` that begins after an `insert` returned sees that value
/// or a newer one. Calls that cover many keys (`iter`, `invalidate_if`, `clear`) take the keys one by one.
/// A value whose load began before an invalidation of it is never stored.
///
/// # Example
///
/// ```
/// use scrubjay::Cache;
///
/// let cache: Cache<String, usize> = Cache::new();
/// let length = cache.get_or_insert_with("four", || "four".len());
/// assert_eq!((length, cache.get("four")), (4, Some(4)));
/// ```
pub struct Cache<K, V> {
    pub(crate) core: Arc<Core<K, V>>,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
        }
    }
}

/// What one entry has of its own, for [`Cache::insert_with`]. Everything left out is the cache's.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, EntryOptions};
/// use std::time::Duration;
///
/// let cache: Cache<u32, u32> = Cache::new();
/// let options = EntryOptions::new().time_to_live(Duration::from_secs(5)).tag("team:7").weight(3);
/// cache.insert_with(1, 1, options);
/// assert_eq!(cache.weight(), 3);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until they are passed to `insert_with`"]
pub struct EntryOptions {
    time_to_live: Option<Duration>,
    weight: Option<u64>,
    tags: Vec<Tag>,
}

impl EntryOptions {
    /// Starts with nothing of the entry's own.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert_with(1, 1, scrubjay::EntryOptions::new());
    /// assert_eq!(cache.get(&1), Some(1));
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits this entry's life, counted from now. Zero stores nothing.
    ///
    /// ```
    /// use scrubjay::EntryOptions;
    /// use std::time::Duration;
    ///
    /// let cache = scrubjay::Cache::new();
    /// cache.insert_with(1, 1, EntryOptions::new().time_to_live(Duration::ZERO));
    /// assert_eq!(cache.get(&1), None);
    /// ```
    pub fn time_to_live(mut self, life: Duration) -> Self {
        self.time_to_live = Some(life);
        self
    }

    /// Sets this entry's weight, instead of asking the weigher.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert_with(1, 1, scrubjay::EntryOptions::new().weight(7));
    /// assert_eq!(cache.weight(), 7);
    /// ```
    pub fn weight(mut self, weight: u64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Adds a tag to those that the cache gives the entry.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert_with(1, 1, scrubjay::EntryOptions::new().tag("odd"));
    /// assert_eq!(cache.invalidate_tag("odd"), 1);
    /// ```
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

/// What to do with a key, decided by the closure of [`Cache::entry`].
///
/// # Example
///
/// ```
/// use scrubjay::{Action, Cache};
///
/// let counts: Cache<String, u32> = Cache::new();
/// for word in ["a", "b", "a"] {
///     counts.entry(word, |count| Action::Replace(count.map_or(1, |count| count + 1)));
/// }
/// assert_eq!(counts.get("a"), Some(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action<V> {
    /// Leave things as they are.
    Keep,
    /// Store this value.
    Replace(V),
    /// Remove the entry, if there is one.
    Remove,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    /// Makes an unbounded cache whose entries live until they are removed.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert("k", 1);
    /// assert_eq!(cache.len(), 1);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Builder::new()
            .build()
            .expect("the defaults of all options go together")
    }

    /// Starts to build a cache with options.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::builder().capacity(100).build()?;
    /// assert_eq!(cache.capacity(), 100);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }

    pub(crate) fn with_options(options: Options<K, V>) -> Self {
        Self {
            core: Arc::new(Core::new(options)),
        }
    }

    /// Returns the name of the cache, as used in messages.
    ///
    /// ```
    /// assert_eq!(scrubjay::Cache::<u32, String>::new().name(), "u32 → String");
    /// ```
    #[must_use]
    pub fn name(&self) -> String {
        flight::name::<K, V>(self.core.options.naming.as_deref())
    }

    /// Finds a fresh entry without counting or marking anything.
    #[inline]
    fn look<'g, Q>(&'g self, key: &Q, pin: &'g Pin<'_>) -> Option<Found<'g, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.core.hash_of(key);
        self.core
            .memory
            .find(hash, pin, |other| key.equivalent(other))
            .filter(|entry| self.core.is_fresh(entry))
    }

    /// Shows the value of a key to `use_it`, without cloning it; counts a hit or a miss.
    ///
    /// No lock is held, so `use_it` may take its time and may use the cache; the value it sees stays as it is
    /// even if it is removed meanwhile. With a folder below ([`Builder::disk`]), a key that memory does not have is
    /// looked for there, which costs some 10 µs; what is found is kept in memory from then on.
    ///
    /// ```
    /// let cache: scrubjay::Cache<String, Vec<u8>> = scrubjay::Cache::new();
    /// cache.insert("page".into(), vec![1, 2, 3]);
    /// assert_eq!(cache.with("page", |page| page.len()), Some(3));
    /// assert_eq!(cache.with("other", |page| page.len()), None);
    /// ```
    #[inline]
    pub fn with<Q, R>(&self, key: &Q, use_it: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = self.core.memory.pin();
        let entry = self.look(key, &pin);
        if let Some(entry) = entry
            && let Some(value) = entry.value()
        {
            self.core.note_hit(entry, &pin);
            return Some(use_it(value));
        }
        let value = self.not_at_hand(key, entry)?;
        Some(use_it(&value))
    }

    /// What the tiers below have of a key that memory does not have.
    fn below<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let below = &**self.core.options.below.as_ref()?;
        let name = below.name(&|mut hasher| key.hash(&mut hasher));
        let hash = self.core.hash_of(key);
        let is = |other: &K| key.equivalent(other);
        self.core.look_below(hash, below, name, &is)
    }

    /// The value of an entry that holds it weakly, or what the tiers below have; counts a hit or, without an entry, a
    /// miss.
    #[cold]
    #[inline(never)]
    fn not_at_hand<Q>(&self, key: &Q, entry: Option<Found<'_, K, V>>) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        // Nested in the caller's, which thereby stays in registers.
        let pin = &self.core.memory.pin();
        let value = entry.and_then(|entry| entry.upgraded());
        match entry.filter(|_| value.is_some()) {
            Some(entry) => self.core.note_hit(entry, pin),
            None => self.note_miss(entry, pin),
        }
        value.or_else(|| self.below(key))
    }

    fn note_miss(&self, entry: Option<Found<'_, K, V>>, pin: &Pin<'_>) {
        self.core.counters.count(pin.thread_id(), Event::Miss);
        if let Some(entry) = entry
            && entry.is_collected()
        {
            self.core.remove_collected(entry, pin);
        }
    }

    /// Says whether a key has a fresh entry. Counts nothing and does not prolong a time to idle.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// assert!(cache.contains_key(&1) && !cache.contains_key(&2));
    /// ```
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = self.core.memory.pin();
        self.look(key, &pin)
            .is_some_and(|entry| entry.with(|_| ()).is_some())
    }

    /// Stores a value for a key, in the place of any other.
    ///
    /// A load of the key that is in progress is overtaken: what it brings is handed to those who wait for it and
    /// not stored. The entry may be evicted at once if the policy says so; one heavier than the capacity is not
    /// stored, and the old value is gone all the same.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert("k", 1);
    /// cache.insert("k", 2);
    /// assert_eq!((cache.get("k"), cache.len()), (Some(2), 1));
    /// ```
    pub fn insert(&self, key: K, value: V) {
        self.write(key, value, Own::default());
    }

    /// Stores a value with a time to live, weight or tags of its own.
    ///
    /// ```
    /// use scrubjay::{Cache, EntryOptions};
    ///
    /// let cache: Cache<u32, &str> = Cache::new();
    /// cache.insert_with(1, "a", EntryOptions::new().tag("letters"));
    /// assert_eq!(cache.invalidate_tag("letters"), 1);
    /// ```
    pub fn insert_with(&self, key: K, value: V, options: EntryOptions) {
        let own = Own {
            time_to_live: options.time_to_live,
            weight: options.weight,
            tags: options.tags,
            ..Own::default()
        };
        self.write(key, value, own);
    }

    /// Says whether the value was stored.
    pub(crate) fn write(&self, key: K, value: V, own: Own) -> bool {
        let core = &*self.core;
        let hash = core.hash_of(&key);
        let prepared = core.draft(&key, &value, hash, own);
        if let Some(below) = &core.options.below {
            let name = below.name(&|mut hasher| key.hash(&mut hasher));
            match &prepared {
                Some(prepared) => {
                    let lowered = prepared.lowered(&*core.options.clock, &core.options.lives);
                    below.replace(&self.core, &key, &value, name, lowered);
                }
                None => below.invalidate(name),
            }
        }
        let held = (core.options.hold)(value);
        let pin = core.memory.pin();
        let now = core.now_if_timed();
        let reserved = core.make_ready(hash, prepared.as_ref(), now, &pin);
        let mut locked = core.memory.lock(hash, &pin);
        let old = locked.find(hash, |other| *other == key);
        let overtaken = locked.state.flights.overtake(hash, |other| *other == key);
        let change = Change {
            hash,
            key,
            // What must not be stored still says that the old value is no longer true.
            new: prepared.map(|prepared| (prepared, held)),
            old,
            cause: RemovalCause::Replaced,
            now,
            reserved,
        };
        let mut stored = false;
        core.make(change, locked, &pin, |is_stored| stored = is_stored);
        drop(overtaken);
        stored
    }

    /// Stores a pair unless its key has a fresh entry or something would have to leave; says whether it did.
    pub(crate) fn add_if_room(&self, key: K, value: V, weight: u64, own: Own) -> bool {
        let fits = self.weight().saturating_add(weight) <= self.capacity();
        fits && !self.contains_key(&key) && self.write(key, value, own)
    }

    /// Returns the number of fresh entries, exactly; expired ones are removed on the way.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// assert_eq!(cache.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.expire();
        self.core.memory.len()
    }

    /// Says whether there is no fresh entry.
    ///
    /// ```
    /// assert!(scrubjay::Cache::<u32, u32>::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the total weight of all that is held, stale entries and remembered failures included.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// assert_eq!(cache.weight(), 1);
    /// ```
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.expire();
        self.core.memory.weight()
    }

    /// Returns the most that `weight` may be; `u64::MAX` if the cache is unbounded.
    ///
    /// ```
    /// assert_eq!(scrubjay::Cache::<u32, u32>::new().capacity(), u64::MAX);
    /// ```
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.core.memory.capacity()
    }

    /// Changes the capacity. If it shrinks, the policy chooses who leaves before this returns.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// for n in 0..10 { cache.insert(n, n); }
    /// cache.set_capacity(3);
    /// assert_eq!(cache.len(), 3);
    /// ```
    pub fn set_capacity(&self, capacity: u64) {
        let pin = self.core.memory.pin();
        let now = self.core.now_if_timed();
        let victims = self.core.memory.set_capacity(capacity, now, &pin);
        self.core.report(&victims, &pin);
    }

    fn expire(&self) {
        let pin = self.core.memory.pin();
        self.core.expire(usize::MAX, &pin);
    }

    /// Calls `visit` for every fresh entry, in no order. Counts nothing and holds no lock.
    ///
    /// Entries that come or go meanwhile may or may not be visited.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 10);
    /// cache.insert(2, 20);
    /// let mut sum = 0;
    /// cache.for_each(|_, value| sum += value);
    /// assert_eq!(sum, 30);
    /// ```
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) {
        let pin = self.core.memory.pin();
        for entry in self.core.memory.iter(&pin) {
            if self.core.is_fresh(&entry) {
                entry.with(|value| visit(entry.key(), value));
            }
        }
    }

    /// Returns what the cache has done so far.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::new();
    /// cache.get(&1);
    /// assert_eq!(cache.stats().misses, 1);
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        // First, because it removes what has expired, which is then counted.
        let entries = self.len() as u64;
        let mut stats = self.core.counters.snapshot();
        stats.entries = entries;
        stats.weight = self.core.memory.weight();
        if let Some(below) = &self.core.options.below {
            let below = below.stats();
            stats.disk_hits = below.hits;
            stats.disk_misses = below.misses;
            stats.disk_writes = below.writes;
            stats.disk_failures = below.failures;
        }
        stats
    }

    /// Returns what the cache knows about its capacity and its worth: hit ratios at other capacities, estimated from a
    /// sample of the keys, and whether its hits save more time than its lookups cost.
    ///
    /// It looks up a few dozen entries some times over to learn what that takes, and counts and marks nothing by
    /// it. See [`Advice`] for what is measured and what is an estimate.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u64, u64> = scrubjay::Cache::builder().capacity(50).build()?;
    /// for n in 0..10_000_u64 {
    ///     cache.get_or_insert_with(&(n * n % 101), || n);
    /// }
    /// let advice = cache.advice();
    /// assert!(advice.sufficient_capacity() <= Some(51), "there are 51 keys");
    /// assert!(advice.to_string().contains("Worth: "));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn advice(&self) -> Advice {
        let memory = &self.core.memory;
        let stats = self.core.counters.snapshot();
        Advice::new(
            memory.capacity(),
            &stats,
            memory.curve(),
            self.time_lookups(),
        )
    }

    /// The time of one lookup of a key that is there: the median of some rounds over the first entries that come.
    fn time_lookups(&self) -> Option<Duration> {
        const ENTRIES: usize = 64;
        const ROUNDS: usize = 9;
        let pin = self.core.memory.pin();
        let fresh = self.core.memory.iter(&pin);
        let fresh = fresh.filter(|entry| self.core.is_fresh(entry));
        let some: Vec<_> = fresh.take(ENTRIES).collect();
        let time_round = |_| {
            let begun = Instant::now();
            for entry in &some {
                black_box(self.contains_key(entry.key()));
            }
            begun.elapsed()
        };
        let mut rounds: [Duration; ROUNDS] = std::array::from_fn(time_round);
        rounds.sort_unstable();
        rounds[ROUNDS / 2].checked_div(u32::try_from(some.len()).unwrap_or(u32::MAX))
    }

    /// Panics unless every internal invariant holds: tables, policy, weights, deadlines and tags agree.
    ///
    /// For tests; costs time in proportion to the number of entries. No other call may run meanwhile.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// cache.assert_consistent();
    /// assert_eq!(cache.len(), 1);
    /// ```
    pub fn assert_consistent(&self) {
        self.core.memory.assert_consistent();
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + 'static,
    V: Clone + 'static,
{
    /// Returns a clone of a key's value; counts a hit or a miss.
    ///
    /// It takes no lock and allocates nothing but what `Clone` does.
    ///
    /// ```
    /// let cache: scrubjay::Cache<String, u32> = scrubjay::Cache::new();
    /// cache.insert("k".into(), 1);
    /// assert_eq!((cache.get("k"), cache.get("other")), (Some(1), None));
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.with(key, V::clone)
    }

    /// Returns a clone of a key's value without counting, marking or prolonging anything.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// assert_eq!((cache.peek(&1), cache.stats().hits), (Some(1), 0));
    /// ```
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = self.core.memory.pin();
        self.look(key, &pin)?.with(V::clone)
    }

    /// Removes a key and returns its value; a load of it in progress is overtaken.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 10);
    /// assert_eq!((cache.remove(&1), cache.remove(&1)), (Some(10), None));
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.take_out(key, |entry| {
            let fresh = self.core.is_fresh(entry);
            entry.with(V::clone).filter(|_| fresh)
        })
        .flatten()
    }

    /// Returns a key's value, loading it if there is none. Callers of one key share one load.
    ///
    /// The key is given in the borrowed form whose owned form it is: `&str` for `String`, and `&"k"` for `&'static
    /// str`.
    ///
    /// The first caller to miss runs `load`; others wait for it and get clones. If `load` panics, the panic goes
    /// to its caller, and the next waiter runs its own loader. A loader may use the cache, also for other keys.
    ///
    /// # Panics
    ///
    /// If waiting would never end, because the load of this key (on this thread or, through other loads, on
    /// another) waits for this very call. The message names the cycle.
    ///
    /// ```
    /// let cache: scrubjay::Cache<String, usize> = scrubjay::Cache::new();
    /// assert_eq!(cache.get_or_insert_with("four", || 4), 4);
    /// assert_eq!(cache.get_or_insert_with("four", || unreachable!()), 4);
    /// ```
    #[inline]
    pub fn get_or_insert_with<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.core.fetch(&ByRef(key), &Infallible, Vec::new, load).0
    }

    /// Returns a key's value, loading it if there is none; an error is not stored unless
    /// [`error_time_to_live`](Builder::error_time_to_live) asks for it.
    ///
    /// Waiters of a failed load get a clone of its error, unless the cache was built with
    /// [`share_errors(false)`](Builder::share_errors): then they try in turn. A waiter with another error type
    /// than the leader's tries itself. For errors that are not `Clone` see
    /// [`try_get_or_insert_in_turn`](Self::try_get_or_insert_in_turn).
    ///
    /// # Errors
    ///
    /// The loader's own, or one that another caller's load or an earlier one left.
    ///
    /// # Panics
    ///
    /// As [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// ```
    /// let cache: scrubjay::Cache<String, u32> = scrubjay::Cache::new();
    /// assert_eq!(cache.try_get_or_insert_with("n", || "x".parse::<u32>().map_err(|_| "bad")), Err("bad"));
    /// assert_eq!(cache.try_get_or_insert_with("n", || "7".parse::<u32>().map_err(|_| "bad")), Ok(7));
    /// ```
    #[inline]
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Clone + Any + Send + Sync,
    {
        self.core
            .fetch(&ByRef(key), &self.fallible(), Vec::new, load)
            .0
    }

    fn fallible<E: Clone + Any + Send + Sync>(&self) -> Fallible<E> {
        let keeps = self.core.options.lives.error_time_to_live.is_some();
        Fallible::new(self.core.options.share_errors || keeps)
    }

    /// Returns a key's value, loading it if there is none; of several callers whose loads fail, each runs its own.
    ///
    /// The error may be of any type: it is given to the caller whose loader made it and to nobody else.
    ///
    /// # Errors
    ///
    /// The loader's own.
    ///
    /// # Panics
    ///
    /// As [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// ```
    /// let cache: scrubjay::Cache<String, String> = scrubjay::Cache::new();
    /// let missing = cache.try_get_or_insert_in_turn("none", || std::fs::read_to_string("/none"));
    /// assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn try_get_or_insert_in_turn<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.core
            .fetch(&ByRef(key), &InTurn(PhantomData), Vec::new, load)
            .0
    }

    /// Returns a key's value, loading it if there is none, without blocking the thread. Sync and async callers
    /// of one key share one load.
    ///
    /// It needs no runtime of its own and holds no lock while it waits. `load` is called only if there is
    /// something to load. If the future is dropped while it leads, the next waiter runs its own loader.
    ///
    /// # Panics
    ///
    /// As [`get_or_insert_with`](Self::get_or_insert_with), when polled.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let cache: scrubjay::Cache<String, usize> = scrubjay::Cache::new();
    /// let length = runtime.block_on(cache.get_or_insert_async("four", || async { 4 }));
    /// assert_eq!((length, cache.get("four")), (4, Some(4)));
    /// ```
    pub async fn get_or_insert_async<Q, F>(&self, key: &Q, load: impl FnOnce() -> F) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        F: Future<Output = V>,
    {
        let query = ByRef(key);
        let fetch = self.core.fetch_async(&query, &Infallible, Vec::new, load);
        fetch.await.0
    }

    /// Returns a key's value, loading it if there is none, as
    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with) without blocking the thread.
    ///
    /// # Errors
    ///
    /// The loader's own, or one that another caller's load or an earlier one left.
    ///
    /// # Panics
    ///
    /// As [`get_or_insert_with`](Self::get_or_insert_with), when polled.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let cache: scrubjay::Cache<String, usize> = scrubjay::Cache::new();
    /// let failed = runtime.block_on(cache.try_get_or_insert_async("n", || async { Err("down") }));
    /// assert_eq!(failed, Err("down"));
    /// ```
    pub async fn try_get_or_insert_async<Q, E, F>(
        &self,
        key: &Q,
        load: impl FnOnce() -> F,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Clone + Any + Send + Sync,
        F: Future<Output = Result<V, E>>,
    {
        let (query, plan) = (ByRef(key), self.fallible());
        let fetch = self.core.fetch_async(&query, &plan, Vec::new, load);
        fetch.await.0
    }

    /// Returns a key's value, loading it if there is none, as
    /// [`try_get_or_insert_in_turn`](Self::try_get_or_insert_in_turn) without blocking the thread.
    ///
    /// # Errors
    ///
    /// The loader's own.
    ///
    /// # Panics
    ///
    /// As [`get_or_insert_with`](Self::get_or_insert_with), when polled.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let cache: scrubjay::Cache<u32, String> = scrubjay::Cache::new();
    /// let read = async || std::fs::read_to_string("/none");
    /// assert!(runtime.block_on(cache.try_get_or_insert_async_in_turn(&1, read)).is_err());
    /// ```
    pub async fn try_get_or_insert_async_in_turn<Q, E, F>(
        &self,
        key: &Q,
        load: impl FnOnce() -> F,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        F: Future<Output = Result<V, E>>,
    {
        let (query, plan) = (ByRef(key), InTurn(PhantomData));
        let fetch = self.core.fetch_async(&query, &plan, Vec::new, load);
        fetch.await.0
    }

    /// Inspects a key and keeps, replaces or removes its value, as one atomic step. Returns the value that is
    /// in place afterwards.
    ///
    /// `decide` is given the fresh value, if there is one. It runs outside every lock, in the place of a load of
    /// the key: other `entry` and `get_or_insert…` calls of the key wait for it. If an insertion or invalidation of the
    /// key comes between, `decide` is asked again with what is there then, so it may run more than once; it must not
    /// itself change the key. Each time counts as one lookup.
    ///
    /// # Panics
    ///
    /// As [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// ```
    /// use scrubjay::{Action, Cache};
    ///
    /// let cache: Cache<String, u32> = Cache::new();
    /// cache.insert("n".into(), 1);
    /// let now = cache.entry("n", |value| match value {
    ///     Some(value) if *value < 10 => Action::Replace(value + 1),
    ///     Some(_) => Action::Remove,
    ///     None => Action::Keep,
    /// });
    /// assert_eq!((now, cache.get("n")), (Some(2), Some(2)));
    /// ```
    pub fn entry<Q>(&self, key: &Q, mut decide: impl FnMut(Option<&V>) -> Action<V>) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let query = ByRef(key);
        loop {
            let leader = self.core.lead_alone(&query);
            let entered = leader.enter();
            let action = self
                .with(key, |value| decide(Some(value)))
                .unwrap_or_else(|| decide(None));
            if let Ok(value) = leader.carry_out(&self.core, entered, action) {
                return value;
            }
        }
    }

    /// Returns clones of all fresh entries as they are now, in no order. Counts nothing.
    ///
    /// The clones are made at once, so the iterator sees nothing of later changes and holds nothing of the cache. For
    /// a visit without clones see [`for_each`](Self::for_each).
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 10);
    /// assert_eq!(cache.iter().collect::<Vec<_>>(), [(1, 10)]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<K, V>
    where
        K: Clone,
    {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.clone(), value.clone())));
        entries.into_iter()
    }

    /// Stores the pairs whose keys have no fresh entry and for which there is room; pushes nothing out. Returns
    /// how many it stored.
    ///
    /// ```
    /// let cache = scrubjay::Cache::builder().capacity(2).build()?;
    /// cache.insert(1, 10);
    /// assert_eq!(cache.warm([(1, 0), (2, 20), (3, 30)]), 1);
    /// assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(10), Some(20), None));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn warm(&self, pairs: impl IntoIterator<Item = (K, V)>) -> usize {
        let weigher = self.core.options.weigher.as_ref();
        let pairs = pairs.into_iter();
        let pairs = pairs.take_while(|_| self.weight() < self.capacity());
        let pairs = pairs.map(|(key, value)| {
            let weight = weigher.map_or(1, |weigher| weigher(&key, &value));
            let own = Own {
                weight: Some(weight),
                ..Own::default()
            };
            self.add_if_room(key, value, weight, own)
        });
        pairs.filter(|stored| *stored).count()
    }
}

impl<K, V> Default for Cache<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field(
                "name",
                &flight::name::<K, V>(self.core.options.naming.as_deref()),
            )
            .field("len", &self.core.memory.len())
            .field("weight", &self.core.memory.weight())
            .finish_non_exhaustive()
    }
}
