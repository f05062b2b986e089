//! Every option of a cache, beside its check.
//!
//! Options are orthogonal: any set of them builds, or `build` says in one sentence why it makes no sense.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::clock::{Clock, SystemClock};
use crate::entry::{Held, Tag};
use crate::error::{Error, ErrorKind};
use crate::expiration::Lives;
use crate::flight::{Describe, Naming};
use crate::policy::Policy;
use crate::refresh::{self, Refresher};
use crate::removal::{Listener, RemovalCause};
use crate::tier::below::Below;

type OfEntry<K, V, R> = Box<dyn Fn(&K, &V) -> R + Send + Sync>;

/// What a cache was built with.
pub(crate) struct Options<K, V> {
    pub(crate) capacity: u64,
    pub(crate) policy: Policy,
    pub(crate) lives: Lives,
    pub(crate) weigher: Option<OfEntry<K, V, u64>>,
    pub(crate) expire_with: Option<OfEntry<K, V, Option<Duration>>>,
    pub(crate) store_if: Option<OfEntry<K, V, bool>>,
    pub(crate) tagger: Option<OfEntry<K, V, Vec<Tag>>>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) refresher: Option<Refresher<K, V>>,
    pub(crate) hold: fn(V) -> Held<V>,
    pub(crate) share_errors: bool,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) naming: Option<Arc<Naming<K>>>,
    /// The tiers below memory.
    pub(crate) below: Option<Box<dyn Below<K, V>>>,
    /// Feeds a key's hash to any hasher.
    pub(crate) feed: fn(&K, &mut dyn Hasher),
    /// Whether nothing has to be decided about an entry when it is written.
    pub(crate) is_plain: bool,
}

/// Collects the options of a [`Cache`]; made by [`Cache::builder`].
///
/// # Example
///
/// ```
/// use scrubjay::Cache;
/// use std::time::Duration;
///
/// let cache: Cache<String, Vec<u8>> = Cache::builder()
///     .capacity(64 << 20)
///     .weigher(|key: &String, page: &Vec<u8>| (key.len() + page.len()) as u64)
///     .time_to_live(Duration::from_secs(60))
///     .jitter(0.1)
///     .build()?;
/// cache.insert("a".into(), vec![0; 1000]);
/// assert_eq!(cache.weight(), 1001);
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<K, V> {
    capacity: u64,
    policy: Policy,
    lives: Lives,
    weigher: Option<OfEntry<K, V, u64>>,
    expire_with: Option<OfEntry<K, V, Option<Duration>>>,
    store_if: Option<OfEntry<K, V, bool>>,
    tagger: Option<OfEntry<K, V, Vec<Tag>>>,
    listener: Option<Listener<K, V>>,
    refresher: Option<Refresher<K, V>>,
    hold: fn(V) -> Held<V>,
    share_errors: bool,
    load_timeout: Option<Duration>,
    clock: Option<Box<dyn Clock>>,
    name: Option<String>,
    describe: Option<Describe<K>>,
    pub(crate) below: Option<Box<dyn Below<K, V>>>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Builder<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    pub(crate) fn new() -> Self {
        Self {
            capacity: u64::MAX,
            policy: Policy::default(),
            lives: Lives::default(),
            weigher: None,
            expire_with: None,
            store_if: None,
            tagger: None,
            listener: None,
            refresher: None,
            hold: Held::Value,
            share_errors: true,
            load_timeout: None,
            clock: None,
            name: None,
            describe: None,
            below: None,
            types: PhantomData,
        }
    }

    /// Bounds the total weight of the entries. Default: unbounded.
    ///
    /// Every entry weighs 1 without a [`weigher`](Self::weigher), so this is then their number. It is one bound
    /// for the whole cache and holds after every call. Zero stores nothing, and callers of one key still share
    /// one load. Values that were pushed out are freed when no reader can see them, at the latest when a
    /// hundredth of the capacity waits for it on a thread.
    ///
    /// ```
    /// let cache = scrubjay::Cache::builder().capacity(2).build()?;
    /// for n in 0..10 { cache.insert(n, n); }
    /// assert_eq!(cache.len(), 2);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// Weighs entries, once, when they are written. Default: every entry weighs 1.
    ///
    /// It runs outside every lock; if it panics, nothing is stored and the caller sees the panic. An entry
    /// that weighs more than the capacity is not stored and pushes nothing out; one that weighs 0 is never
    /// evicted.
    ///
    /// ```
    /// let cache = scrubjay::Cache::builder()
    ///     .capacity(10)
    ///     .weigher(|_: &u32, text: &String| text.len() as u64)
    ///     .build()?;
    /// cache.insert(1, "12345".to_owned());
    /// cache.insert(2, "longer than ten".to_owned());
    /// assert_eq!((cache.len(), cache.weight()), (1, 5));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Chooses who leaves when the capacity is exceeded. Default: [`Policy::Adaptive`].
    ///
    /// ```
    /// use scrubjay::{Cache, Policy};
    ///
    /// let cache = Cache::builder().capacity(1).policy(Policy::Fifo).build()?;
    /// cache.insert("a", 1);
    /// cache.insert("b", 2);
    /// assert_eq!(cache.get("a"), None);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Limits the life of an entry, counted from when it was written. Default: endless.
    ///
    /// An entry is expired at exactly this age. A life that overflows the clock (584 years) is endless.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let life = Duration::from_secs(60);
    /// let cache = Cache::builder().time_to_live(life).clock(clock.clone()).build()?;
    /// cache.insert("k", 1);
    /// clock.advance(life);
    /// assert_eq!((cache.get("k"), cache.len()), (None, 0));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn time_to_live(mut self, life: Duration) -> Self {
        self.lives.time_to_live = Some(life);
        self
    }

    /// Limits the time an entry may go without a hit. Default: endless.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let idle = Duration::from_secs(10);
    /// let cache = Cache::builder().time_to_idle(idle).clock(clock.clone()).build()?;
    /// cache.insert("k", 1);
    /// clock.advance(idle / 2);
    /// assert_eq!(cache.get("k"), Some(1));
    /// clock.advance(idle);
    /// assert_eq!(cache.get("k"), None);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.lives.time_to_idle = Some(idle);
        self
    }

    /// Gives single entries a time to live of their own; `None` leaves an entry the cache's.
    ///
    /// It runs once, when the entry is written, outside every lock. `Some(Duration::ZERO)` means that the value
    /// is handed out and not stored.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .expire_with(|_: &&str, lease: &u64| Some(Duration::from_secs(*lease)))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("short", 1);
    /// cache.insert("long", 100);
    /// clock.advance(Duration::from_secs(1));
    /// assert!(!cache.contains_key("short") && cache.contains_key("long"));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn expire_with(
        mut self,
        life: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.expire_with = Some(Box::new(life));
        self
    }

    /// Shortens every life by a random part of up to this fraction, so that entries written together do not
    /// expire together. From 0 to 1; default 0. A life is never longer than asked.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .time_to_live(Duration::from_secs(100))
    ///     .jitter(0.5)
    ///     .clock(clock.clone())
    ///     .build()?;
    /// for n in 0..100 { cache.insert(n, n); }
    /// clock.advance(Duration::from_secs(75));
    /// assert!(cache.len() > 0 && cache.len() < 100);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.lives.jitter = fraction;
        self
    }

    /// Reloads entries of this age before they expire. Default: never.
    ///
    /// The first `get_or_insert…` call that finds the entry this old starts one reload; every other caller is
    /// served the value at hand. With [`refresh_with`](Self::refresh_with) the reload runs in the background
    /// and nobody waits; without it the call that starts it runs its own loader and returns the new value.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .time_to_live(Duration::from_secs(60))
    ///     .refresh_after(Duration::from_secs(30))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert(1, 10);
    /// clock.advance(Duration::from_secs(30));
    /// assert_eq!(cache.get(&1), Some(10));
    /// assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.lives.refresh_after = Some(age);
        self
    }

    /// Lets `get_or_insert…` serve an expired entry for this long while one caller refreshes it. Default: zero.
    ///
    /// `get` and `len` know nothing of stale entries; the memory they take counts until they are gone. A folder below
    /// keeps them as long, so that they are served after a restart for what is left of this time.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .time_to_live(Duration::from_secs(10))
    ///     .stale_while_refresh(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert(1, 10);
    /// clock.advance(Duration::from_secs(10));
    /// let refreshed = cache.get_or_insert_with(&1, || {
    ///     // Whoever asks meanwhile, on whatever thread, is not kept waiting.
    ///     let other = cache.clone();
    ///     let meanwhile = std::thread::spawn(move || other.get_or_insert_with(&1, || unreachable!()));
    ///     assert_eq!(meanwhile.join().unwrap(), 10);
    ///     11
    /// });
    /// assert_eq!(refreshed, 11);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn stale_while_refresh(mut self, window: Duration) -> Self {
        self.lives.stale_while_refresh = window;
        self
    }

    /// Serves an expired entry for this long if its load fails. Default: zero.
    ///
    /// Failing means an `Err` of a `try_…` call, or an `Err` or `None` of a memoized function.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .time_to_live(Duration::from_secs(10))
    ///     .stale_if_error(Duration::from_secs(3600))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert(1, 10);
    /// clock.advance(Duration::from_secs(10));
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Ok(10));
    /// clock.advance(Duration::from_secs(3600));
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Err("down"));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.lives.stale_if_error = window;
        self
    }

    /// Remembers a failed load for this long, and answers with its error meanwhile. Default: not at all.
    ///
    /// A remembered failure is an entry of weight 1 that only `try_…` calls of the same error type see.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .error_time_to_live(Duration::from_secs(5))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Err("down"));
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Ok(1)), Err("down"));
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Ok::<_, &str>(1)), Ok(1));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn error_time_to_live(mut self, life: Duration) -> Self {
        self.lives.error_time_to_live = Some(life);
        self
    }

    /// Says whether waiters of a failed load share its error (`true`, the default) or try in turn.
    ///
    /// A single caller can choose to try in turn with the `…_in_turn` methods.
    ///
    /// ```
    /// use scrubjay::Cache;
    ///
    /// let cache: Cache<u32, u32> = Cache::builder().share_errors(false).build()?;
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Err("down"));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn share_errors(mut self, share: bool) -> Self {
        self.share_errors = share;
        self
    }

    /// Limits how long a caller waits for another caller's load before it takes over. Default: no limit.
    ///
    /// Whoever takes over runs its own loader; the slow one still answers its own callers, but what it loads is
    /// not stored. Time-outs are driven by the cache's clock: with the system's, by one timer thread that the
    /// process starts at the first wait that has a limit.
    ///
    /// ```
    /// use scrubjay::Cache;
    /// use std::time::Duration;
    ///
    /// let cache: Cache<u32, u32> = Cache::builder().load_timeout(Duration::from_millis(1)).build()?;
    /// let slow = cache.get_or_insert_with(&1, || {
    ///     // While this load runs, another caller of the key loses its patience.
    ///     let other = cache.clone();
    ///     let taken_over = std::thread::spawn(move || other.get_or_insert_with(&1, || 2));
    ///     assert_eq!(taken_over.join().unwrap(), 2);
    ///     1
    /// });
    /// assert_eq!((slow, cache.get(&1)), (1, Some(2)));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.load_timeout = Some(limit);
        self
    }

    /// Stores only what passes this test; everything else is handed out and forgotten. Default: everything.
    ///
    /// ```
    /// use scrubjay::Cache;
    ///
    /// let cache: Cache<u32, u32> = Cache::builder().store_if(|_, value| value % 2 == 0).build()?;
    /// assert_eq!(cache.get_or_insert_with(&1, || 1), 1);
    /// assert_eq!(cache.get_or_insert_with(&2, || 2), 2);
    /// assert_eq!(cache.len(), 1);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn store_if(mut self, test: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.store_if = Some(Box::new(test));
        self
    }

    /// Labels entries, so that [`Cache::invalidate_tag`] finds them. It runs once, when an entry is written.
    ///
    /// ```
    /// use scrubjay::Cache;
    ///
    /// let cache = Cache::builder().tag_with(|user: &u32, _: &&str| [format!("user:{user}")]).build()?;
    /// cache.insert(7, "ann");
    /// cache.invalidate_tag("user:7");
    /// assert!(cache.is_empty());
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn tag_with<T>(mut self, tags: impl Fn(&K, &V) -> T + Send + Sync + 'static) -> Self
    where
        T: IntoIterator,
        T::Item: Into<Arc<str>>,
    {
        self.tagger = Some(Box::new(move |key, value| {
            tags(key, value).into_iter().map(Into::into).collect()
        }));
        self
    }

    /// Calls `listener` for every entry that leaves, with the cause.
    ///
    /// It runs on the thread that caused the removal, after it and outside every lock, so it may use the cache.
    /// If it panics, the removal stands, the panic is counted in [`Stats`](crate::Stats), and the call that caused it
    /// goes on. Entries that expire are reported by the next call that changes the cache or asks for its length.
    ///
    /// ```
    /// use scrubjay::Cache;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    ///
    /// let removed = Arc::new(AtomicU32::new(0));
    /// let count = removed.clone();
    /// let cache = Cache::builder()
    ///     .on_removal(move |_: &u32, _: &u32, _cause| { count.fetch_add(1, Ordering::Relaxed); })
    ///     .build()?;
    /// cache.insert(1, 1);
    /// cache.clear();
    /// assert_eq!(removed.load(Ordering::Relaxed), 1);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn on_removal(
        mut self,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Takes the time from `clock`. Default: [`SystemClock`].
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    ///
    /// let cache: Cache<u32, u32> = Cache::builder().clock(ManualClock::new()).build()?;
    /// assert!(cache.is_empty());
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Names the cache in messages. Default: its key and value types.
    ///
    /// ```
    /// let cache: scrubjay::Cache<u32, u32> = scrubjay::Cache::builder().name("users").build()?;
    /// assert_eq!(cache.name(), "users");
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says how keys are shown in messages and traces. Default: not at all.
    ///
    /// ```
    /// use scrubjay::Cache;
    /// use std::panic::{catch_unwind, AssertUnwindSafe};
    ///
    /// let cache: Cache<u32, u32> =
    ///     Cache::builder().name("twice").describe_keys(|key: &u32| key.to_string()).build()?;
    /// let recursion = || cache.get_or_insert_with(&1, || cache.get_or_insert_with(&1, || 2));
    /// let panic = catch_unwind(AssertUnwindSafe(recursion)).unwrap_err();
    /// assert!(panic.downcast_ref::<String>().unwrap().contains("twice(1) → twice(1)"));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn describe_keys(
        mut self,
        describe: impl Fn(&K) -> String + Send + Sync + 'static,
    ) -> Self {
        self.describe = Some(Box::new(describe));
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Option`] if an option makes no sense; the message says which and what to do.
    ///
    /// ```
    /// use scrubjay::Cache;
    ///
    /// assert!(Cache::<u32, u32>::builder().build().is_ok());
    /// assert!(Cache::<u32, u32>::builder().jitter(f64::NAN).build().is_err());
    /// ```
    pub fn build(self) -> Result<Cache<K, V>, Error> {
        self.check()
            .map_err(|message| Error::new(ErrorKind::Option, message))?;
        let is_named = self.name.is_some() || self.describe.is_some();
        let naming = is_named.then(|| {
            Arc::new(Naming {
                name: self.name,
                describe: self.describe,
            })
        });
        let is_plain = self.weigher.is_none()
            && self.expire_with.is_none()
            && self.store_if.is_none()
            && self.tagger.is_none()
            && !self.lives.need_clock();
        Ok(Cache::with_options(Options {
            is_plain,
            capacity: self.capacity,
            policy: self.policy,
            lives: self.lives,
            weigher: self.weigher,
            expire_with: self.expire_with,
            store_if: self.store_if,
            tagger: self.tagger,
            listener: self.listener,
            refresher: self.refresher,
            hold: self.hold,
            share_errors: self.share_errors,
            load_timeout: self.load_timeout,
            clock: self
                .clock
                .unwrap_or_else(|| Box::new(SystemClock::default())),
            naming,
            below: self.below,
            feed: |key, mut hasher| key.hash(&mut hasher),
        }))
    }

    fn check(&self) -> Result<(), String> {
        let lives = &self.lives;
        let limits = [
            ("time_to_live", lives.time_to_live),
            ("time_to_idle", lives.time_to_idle),
            ("refresh_after", lives.refresh_after),
            ("error_time_to_live", lives.error_time_to_live),
            ("load_timeout", self.load_timeout),
        ];
        if let Some((name, _)) = limits
            .iter()
            .find(|(_, life)| *life == Some(Duration::ZERO))
        {
            return Err(format!(
                "{name} is zero, so nothing would ever be served from the cache; leave it out or give it a time"
            ));
        }
        if !(0.0..=1.0).contains(&lives.jitter) {
            return Err(format!(
                "jitter is {}, and must be a part of a life, from 0.0 to 1.0",
                lives.jitter
            ));
        }
        self.check_windows()
    }

    /// Options that only mean something beside another one.
    fn check_windows(&self) -> Result<(), String> {
        let lives = &self.lives;
        let ends = lives.time_to_live.is_some()
            || lives.time_to_idle.is_some()
            || self.expire_with.is_some();
        let windows = [
            ("stale_while_refresh", lives.stale_while_refresh),
            ("stale_if_error", lives.stale_if_error),
        ];
        for (name, window) in windows {
            if !ends && window > Duration::ZERO {
                return Err(format!(
                    "{name} begins where an entry's life ends, and no life ends: add time_to_live, \
                     time_to_idle or expire_with"
                ));
            }
        }
        if self.refresher.is_some()
            && lives.refresh_after.is_none()
            && lives.stale_while_refresh == Duration::ZERO
        {
            return Err("refresh_with has nothing to refresh: say when entries are due, with refresh_after \
                        or stale_while_refresh"
                .to_owned());
        }
        match (lives.refresh_after, lives.time_to_live) {
            (Some(refresh), Some(life)) if refresh >= life => Err(format!(
                "refresh_after ({refresh:?}) is not shorter than time_to_live ({life:?}), so no entry would \
                 live to be refreshed; shorten it, or use stale_while_refresh"
            )),
            _ => Ok(()),
        }
    }
}

impl<K, V> Builder<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Gives the cache a loader for refreshes, which then run in the background. Default: none.
    ///
    /// Refreshes run one after the other on a thread that the cache starts when one is due and that ends when
    /// none is left. If a load panics, the entry stays as it is and the failure is counted.
    ///
    /// ```
    /// use scrubjay::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let (done, refreshed) = std::sync::mpsc::channel();
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .refresh_after(Duration::from_secs(30))
    ///     .refresh_with(move |key| { let _ = done.send(()); key + 1 })
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert(1, 1);
    /// clock.advance(Duration::from_secs(30));
    /// assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 1);
    /// refreshed.recv().unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn refresh_with(mut self, load: impl Fn(&K) -> V + Send + Sync + 'static) -> Self {
        self.refresher = Some(refresh::in_background(load));
        self
    }
}

#[cfg(feature = "disk")]
impl<K, V> Builder<K, V>
where
    K: Hash + Eq + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
    V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    /// Keeps values in a folder too, which many processes share and which survives them. Default: in memory only.
    ///
    /// Whoever leads a load looks there first, and what a load or a refresh brings is stored there. [`Cache::get`] and
    /// [`Cache::with`] look there too for what memory does not have, in some 10 µs; `peek`, `contains_key`, `remove`,
    /// `iter` and `len` know memory only. `function` says whose values they are: caches with equal functions share
    /// entries, and a changed code finds none of the old ones. Values and keys are encoded by serde.
    ///
    /// Whatever fails below is a miss that [`Stats`](crate::Stats) counts. Loads that take more than about a
    /// millisecond run once among all processes: the others wait, by blocking or, in the async methods, without; they
    /// take over within some 10 ms if the one that loads dies, and load as well after
    /// [`load_timeout`](Self::load_timeout). A load inside one that leads among processes does not wait, so that two
    /// processes never wait for each other. With [`refresh_after`](Self::refresh_after), one process refreshes and the
    /// others take what it stored. Invalidations and insertions are seen by the memory tiers of all processes within
    /// some 20 ms.
    ///
    /// This option starts two threads: one that writes, and one that hears of others' invalidations; a task that
    /// waits for another process starts the process's timer thread.
    ///
    /// ```
    /// use scrubjay::Cache;
    /// use scrubjay::disk::{Function, Store};
    ///
    /// let dir = std::env::temp_dir().join(format!("scrubjay-attach-{}", std::process::id()));
    /// let cache = || {
    ///     let lengths = Function::new("lengths", "version 1");
    ///     Cache::<String, usize>::builder().disk(Store::open(&dir)?, lengths).build()
    /// };
    /// assert_eq!(cache()?.get_or_insert_with("four", || 4), 4);
    /// // A restart, so to speak.
    /// assert_eq!(cache()?.get_or_insert_with("four", || unreachable!()), 4);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn disk(mut self, store: crate::disk::Store, function: crate::disk::Function) -> Self {
        use crate::disk::{Attached, Encoding};
        let attached = Attached::new(store, function, Encoding::whole(), Encoding::whole());
        self.below = Some(Box::new(attached));
        self
    }
}

impl<K, T> Builder<K, Arc<T>>
where
    K: Hash + Eq + 'static,
    T: Send + Sync + ?Sized + 'static,
{
    /// Holds values weakly: an entry lasts only while somebody else owns its value. Default: strongly.
    ///
    /// A lookup that finds the value gone is a miss. Such an entry counts in `len` until a lookup, an insertion
    /// of its key or the policy meets it.
    ///
    /// ```
    /// use scrubjay::Cache;
    /// use std::sync::Arc;
    ///
    /// let cache: Cache<u32, Arc<str>> = Cache::builder().weak_values().build()?;
    /// let owner: Arc<str> = Arc::from("text");
    /// cache.insert(1, owner.clone());
    /// assert!(cache.get(&1).is_some());
    /// drop(owner);
    /// assert!(cache.get(&1).is_none());
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn weak_values(mut self) -> Self {
        self.hold = |value| Held::Weak(Box::new(Arc::downgrade(&value)));
        self
    }
}

impl<K, V> fmt::Debug for Builder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("policy", &self.policy)
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}
