//! A store as the tier below the memory of one cache.
//!
//! A record's payload is the key and the value in postcard; a record is a hit only if its key is the very key that was asked
//! for. Invariants: a store that fails is a miss; a thread that leads a key among processes waits for no other key, so
//! no cycle of processes waits; and what other processes say of keys, tags and functions reaches the memory tier
//! within some 20 ms, by a thread that reads one page and asks the index only if that changed.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digest::{Digest, KeyEncoder};
use super::flight::Lead;
use super::index::Target;
use super::record::{Codec, Fence, Function, NewRecord, Record};
use super::store::Store;
use crate::cache::Cache;
use crate::call::Core;
use crate::clock::nanos;
use crate::error::{Error, ErrorKind};
use crate::tier::below::{Below, BelowStats, Descent, Lowered, Name, Patience, Raised, Ticket};

/// Loads that take less than this are not worth a lock among processes.
const WORTH_A_LOCK: Duration = Duration::from_millis(1);
/// How often the page is read that tells of other processes' invalidations.
const WATCH: Duration = Duration::from_millis(20);

thread_local! {
    /// How many keys this thread leads among processes.
    static LEADS: Cell<u32> = const { Cell::new(0) };
}

pub(crate) struct Attached {
    store: Store,
    function: Function,
    watched: Once,
    /// An invalidation could not be written, so nothing that is stored may be believed.
    distrusted: AtomicBool,
    /// The mean cost of loads, in nanoseconds; 0: not known.
    load_nanos: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
}

/// What is remembered from a miss to the end of its load.
struct Loading {
    name: Name,
    fence: Fence,
    begun: Instant,
    lead: Option<CountedLead>,
}

/// A lead, counted as its thread's unless it belongs to a task.
struct CountedLead {
    _lead: Lead,
    is_counted: bool,
}

impl Drop for CountedLead {
    fn drop(&mut self) {
        if self.is_counted {
            LEADS.set(LEADS.get().saturating_sub(1));
        }
    }
}

impl CountedLead {
    fn new(lead: Lead, is_counted: bool) -> Self {
        LEADS.set(LEADS.get() + u32::from(is_counted));
        Self {
            _lead: lead,
            is_counted,
        }
    }
}

fn add(counter: &AtomicU64) {
    // Relaxed: only the sum counts.
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Attached {
    pub(crate) fn new(store: Store, function: Function) -> Self {
        Self {
            store,
            function,
            watched: Once::new(),
            distrusted: AtomicBool::new(false),
            load_nanos: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    fn failed(&self, error: &Error) {
        add(&self.failures);
        self.store.note_failure(error);
    }

    fn digest(name: Name) -> Digest {
        Digest::from_bytes(name)
    }

    fn name_of(&self, feed: &dyn Fn(&mut dyn Hasher)) -> Name {
        let mut bytes = Bytes(Vec::with_capacity(64));
        feed(&mut bytes);
        let key = KeyEncoder::new("cache")
            .str(&self.function.name)
            .str(&self.function.code)
            .bytes(&bytes.0);
        *key.finish().as_bytes()
    }

    fn lookup<K, V>(&self, core: &Core<K, V>, key: &K, name: Name) -> Option<Raised<V>>
    where
        K: Serialize,
        V: DeserializeOwned,
    {
        // SeqCst: whoever failed to invalidate is believed at once.
        if self.distrusted.load(Ordering::SeqCst) {
            return None;
        }
        let record = self.store.get(&Self::digest(name))?;
        let now = core.options.clock.calendar();
        let is_ours = record.head.function == self.function && record.head.codec == Codec::POSTCARD;
        if !is_ours || !record.head.is_fresh(now) {
            return None;
        }
        let left = record.head.expires;
        let left = left.map(|end| end.duration_since(now).unwrap_or_default());
        let tags = record
            .head
            .tags
            .iter()
            .map(|tag| tag.as_str().into())
            .collect();
        match value_of(key, record) {
            Ok(value) => Some(Raised {
                value: value?,
                left,
                tags,
            }),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn is_worth_a_lock(&self) -> bool {
        // Relaxed: a hint.
        let mean = self.load_nanos.load(Ordering::Relaxed);
        mean == 0 || mean >= nanos(WORTH_A_LOCK)
    }

    fn learn_cost(&self, took: Duration) {
        // Relaxed, and a lost update is a benign race: a mean of recent loads.
        let mean = self.load_nanos.load(Ordering::Relaxed);
        let mean = if mean == 0 {
            nanos(took)
        } else {
            mean / 8 * 7 + nanos(took) / 8
        };
        self.load_nanos.store(mean.max(1), Ordering::Relaxed);
    }

    /// Becomes the leader of a key among processes, or waits until another one's value is there.
    fn lead(&self, name: Name, patience: Patience) -> Option<CountedLead> {
        if !self.is_worth_a_lock() {
            return None;
        }
        let digest = Self::digest(name);
        let lead = match patience {
            Patience::Until(deadline) if LEADS.get() == 0 => {
                self.store.lead_or_wait(&digest, deadline, |_| true)
            }
            _ => self.store.try_lead(&digest),
        };
        let lead = lead.inspect_err(|_| add(&self.failures)).ok()??;
        let is_counted = matches!(patience, Patience::Until(_));
        Some(CountedLead::new(lead, is_counted))
    }

    fn put<K: Serialize, V: Serialize>(
        &self,
        record: NewRecord,
        key: &K,
        value: &V,
        lowered: Lowered,
    ) -> bool {
        let encoded = postcard::to_stdvec(&(key, value)).map_err(|cause| {
            Error::new(ErrorKind::Codec, "disk tier: a value cannot be encoded").with_source(cause)
        });
        let now = lowered.now;
        let mut record = record.codec(Codec::POSTCARD).written(now);
        if let Some(left) = lowered.left {
            record = record.expires(now + left);
        }
        for tag in lowered.tags {
            record = record.tag(&*tag);
        }
        let written = encoded.and_then(|encoded| {
            if encoded.len() as u64 > super::LARGEST {
                return Err(Error::new(
                    ErrorKind::Codec,
                    "disk tier: a value is over 64 MiB",
                ));
            }
            self.store.put_bytes(record, encoded)
        });
        match &written {
            Ok(()) => add(&self.writes),
            Err(error) => self.failed(error),
        }
        written.is_ok()
    }

    /// Notes whether an invalidation was written.
    fn said(&self, result: Result<u64, Error>) {
        if result.is_err() {
            add(&self.failures);
            // SeqCst: see `lookup`.
            self.distrusted.store(true, Ordering::SeqCst);
        }
    }

    /// Starts the thread that hears of other processes' invalidations, at the first use.
    fn watch<K, V>(&self, core: &Arc<Core<K, V>>)
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        self.watched.call_once(|| {
            let watcher = Watcher {
                store: self.store.clone(),
                seen: self.store.fence().0,
                token: None,
            };
            let core = Arc::downgrade(core);
            let started = std::thread::Builder::new().name("scrubjay-watch".into());
            let started = started.spawn(move || watcher.run(&core));
            if let Err(cause) = started {
                let message = "disk tier: no thread to hear of other processes' invalidations";
                self.failed(&Error::new(ErrorKind::Io, message).with_source(cause));
            }
        });
    }
}

/// The value in a record, if it is this key's.
fn value_of<K: Serialize, V: DeserializeOwned>(
    key: &K,
    record: Record,
) -> Result<Option<V>, Error> {
    let undecodable = |cause| {
        Error::new(ErrorKind::Codec, "disk tier: a value cannot be decoded").with_source(cause)
    };
    let bytes = record.payload.into_bytes()?;
    let key = postcard::to_stdvec(key).map_err(undecodable)?;
    let Some(rest) = bytes.strip_prefix(&*key) else {
        return Ok(None);
    };
    let (value, rest) = postcard::take_from_bytes(rest).map_err(undecodable)?;
    Ok(rest.is_empty().then_some(value))
}

/// Collects what a `Hash` feeds.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl<K, V> Below<K, V> for Attached
where
    K: Hash + Eq + Serialize + DeserializeOwned + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    fn name(&self, feed: &dyn Fn(&mut dyn Hasher)) -> Name {
        self.name_of(feed)
    }

    fn find(&self, core: &Arc<Core<K, V>>, key: &K, name: Name, patience: Patience) -> Descent<V> {
        self.watch(core);
        let fence = self.store.fence();
        let mut found = self.lookup(core, key, name);
        let mut lead = None;
        if found.is_none() {
            lead = self.lead(name, patience);
            // Somebody may have stored it between the lookup and the lead.
            if self.is_worth_a_lock() {
                found = self.lookup(core, key, name);
            }
        }
        if let Some(found) = found {
            add(&self.hits);
            return Descent::Found(found);
        }
        add(&self.misses);
        let begun = Instant::now();
        Descent::Missing(Box::new(Loading {
            name,
            fence,
            begun,
            lead,
        }))
    }

    fn store(&self, ticket: Ticket, key: &K, value: &V, lowered: Lowered) {
        let Ok(loading) = ticket.downcast::<Loading>() else {
            return;
        };
        let took = loading.begun.elapsed();
        self.learn_cost(took);
        let record = NewRecord::new(Self::digest(loading.name), self.function.clone())
            .fence(loading.fence)
            .load_cost(took);
        let stored = self.put(record, key, value, lowered);
        // Whoever leads next must find it.
        if stored && loading.lead.is_some() && took >= WORTH_A_LOCK {
            let _ = self
                .store
                .flush(Duration::MAX)
                .inspect_err(|_| add(&self.failures));
        }
    }

    fn replace(&self, core: &Arc<Core<K, V>>, key: &K, value: &V, name: Name, lowered: Lowered) {
        self.watch(core);
        let record = NewRecord::new(Self::digest(name), self.function.clone()).replaces(true);
        if !self.put(record, key, value, lowered) {
            // The old value must not come back.
            Below::<K, V>::invalidate(self, name);
        }
    }

    fn invalidate(&self, name: Name) {
        self.said(self.store.invalidate(&Self::digest(name)));
    }

    fn invalidate_tag(&self, tag: &str) {
        self.said(self.store.invalidate_tag(tag));
    }

    fn invalidate_if(&self, matches: &mut dyn FnMut(&K, &V) -> bool) {
        let result = self.store.invalidate_if(|head| {
            if head.function != self.function {
                return false;
            }
            let record = self.store.get(&head.digest);
            let bytes = record.and_then(|record| record.payload.into_bytes().ok());
            let pair = bytes.and_then(|bytes| postcard::from_bytes::<(K, V)>(&bytes).ok());
            pair.is_none_or(|(key, value)| matches(&key, &value))
        });
        self.said(result);
    }

    fn clear(&self) {
        self.said(self.store.invalidate_function(&self.function.name));
    }

    fn stats(&self) -> BelowStats {
        // Relaxed: each counter only grows, and they are not one moment.
        BelowStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// Hears of the invalidations that other processes bring, and passes them to one cache's memory tier.
struct Watcher {
    store: Store,
    seen: u64,
    token: Option<u64>,
}

impl Watcher {
    fn run<K, V>(mut self, core: &Weak<Core<K, V>>)
    where
        K: Hash + Eq + 'static,
        V: 'static,
    {
        loop {
            std::thread::sleep(WATCH);
            let Some(core) = core.upgrade() else {
                return;
            };
            let token = self.store.token();
            if token.is_none() || token != self.token {
                self.token = token;
                self.pass_on(&Cache { core });
            }
        }
    }

    fn pass_on<K, V>(&mut self, cache: &Cache<K, V>)
    where
        K: Hash + Eq + 'static,
        V: 'static,
    {
        let Ok((news, gap, last)) = self.store.invalidations(self.seen) else {
            // Nothing is known, so nothing may be kept.
            return cache.forget_all();
        };
        self.seen = last;
        let below = cache.core.options.below.as_deref();
        let Some(below) = below else {
            return;
        };
        if gap {
            return cache.forget_all();
        }
        let mut names = HashSet::new();
        for invalidation in news {
            match invalidation.target {
                Target::Key(digest) => drop(names.insert(*digest.as_bytes())),
                Target::Tag(tag) => drop(cache.forget_tag(&tag)),
                Target::Loads => drop(cache.forget_if(|_, _| false)),
                // Of another function or not: what is dropped is found again below.
                Target::Function(_) | Target::All => cache.forget_all(),
            }
        }
        if !names.is_empty() {
            let is_named =
                |key: &K| names.contains(&below.name(&|mut hasher| key.hash(&mut hasher)));
            cache.forget_if(|key, _| is_named(key));
        }
    }
}
