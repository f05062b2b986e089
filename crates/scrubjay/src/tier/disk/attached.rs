//! A store as the tier below the memory of one cache.
//!
//! A record's payload is the key and the value in postcard; a record is a hit only if its key is the very key that was
//! asked for. Invariants: a store that fails is a miss; a load that leads a key among processes, and whatever runs
//! inside it, waits for no other key of another process, so no cycle of processes waits; and what others say of keys,
//! tags and functions reaches the memory tier within some 20 ms, by a thread that reads one page and asks the index
//! only if that changed.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::digest::{Digest, KeyEncoder};
use super::encoding::Encoding;
use super::flight::{self, FlightsLead};
use super::record::{Codec, Fence, Function, Head, NewRecord, Record};
use super::store::Store;
use super::usage::Event;
use super::watch::{Invalidation, Watch};
use crate::cache::Cache;
use crate::call::Core;
use crate::clock::nanos;
use crate::error::{Error, ErrorKind};
use crate::tier::below::{Below, BelowStats, Descent, Lowered, Name, Raised, Ticket, Visit};

/// Loads that take less than this are not worth a lock among processes.
const WORTH_A_LOCK: Duration = Duration::from_millis(1);
/// How often the page is read that tells of others' invalidations.
const WATCH: Duration = Duration::from_millis(20);
/// After how many of these pauses the hits in memory are counted in the store.
const TELL: u32 = 50;

pub(crate) struct Attached<K, V> {
    store: Store,
    function: Arc<Function>,
    /// The part of a digest that says whose the entry is.
    names: KeyEncoder,
    keys: Encoding<K>,
    values: Encoding<V>,
    watched: Once,
    /// An invalidation could not be written, so nothing that is stored may be believed.
    distrusted: AtomicBool,
    /// What a load may cost, in nanoseconds, see [`expect`].
    load_nanos: AtomicU64,
    /// The mean cost of what memory was given, in nanoseconds; 0: not known.
    value_nanos: AtomicU64,
    /// Hits in memory that were counted in the store.
    told_hits: AtomicU64,
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
    lead: Option<FlightsLead>,
}

/// Who leads a key among processes.
enum Led {
    Here(FlightsLead),
    Elsewhere,
    /// Nobody can be kept from loading, or it is not worth it.
    Anybody,
}

/// Learns of one more in what is to be expected: at once if it is more, so that a dear load is not taken for a cheap one
/// among many, and of cheap ones only after some ten of them.
fn expect(most: &AtomicU64, cost: Duration) {
    learn(most, cost);
    // Relaxed: as in `learn`.
    most.fetch_max(nanos(cost), Ordering::Relaxed);
}

/// Learns of one more in a mean of recent ones.
fn learn(mean: &AtomicU64, cost: Duration) {
    // Relaxed, and a lost update is a benign race: nobody acts on one of them.
    let known = mean.load(Ordering::Relaxed);
    let now = match known {
        0 => nanos(cost),
        _ => known / 8 * 7 + nanos(cost) / 8,
    };
    mean.store(now.max(1), Ordering::Relaxed);
}

fn add(counter: &AtomicU64) {
    // Relaxed: only the sum counts.
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<K, V> Attached<K, V> {
    pub(crate) fn new(
        store: Store,
        function: impl Into<Arc<Function>>,
        keys: Encoding<K>,
        values: Encoding<V>,
    ) -> Self {
        let function = function.into();
        let names = KeyEncoder::new("cache")
            .str(&function.name)
            .str(&function.code);
        Self {
            store: store.apart(),
            function,
            names,
            keys,
            values,
            watched: Once::new(),
            distrusted: AtomicBool::new(false),
            load_nanos: AtomicU64::new(nanos(4 * WORTH_A_LOCK)),
            value_nanos: AtomicU64::new(0),
            told_hits: AtomicU64::new(0),
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

    /// Looks for the record of a name whose key `is` the one, and that is `Wanted`.
    fn lookup(
        &self,
        core: &Core<K, V>,
        name: Name,
        is: impl FnOnce(&K) -> bool,
        wanted: Wanted,
    ) -> Option<(K, Raised<V>)> {
        let record = self.store.get(&digest_of(name))?;
        // SeqCst: whoever failed to invalidate is believed at once.
        if self.distrusted.load(Ordering::SeqCst) {
            return None;
        }
        self.raised(core, record, is, wanted)
    }

    /// What a record brings, if it is one that may be served.
    fn raised(
        &self,
        core: &Core<K, V>,
        record: Record,
        is: impl FnOnce(&K) -> bool,
        wanted: Wanted,
    ) -> Option<(K, Raised<V>)> {
        let now = core.options.clock.calendar();
        let head = &record.head;
        let is_ours = head.function == self.function && head.codec == Codec::POSTCARD;
        let age = now.duration_since(head.written).unwrap_or_default();
        if !is_ours || wanted.oldest.is_some_and(|oldest| age >= oldest) {
            return None;
        }
        let past = match head.is_fresh(now) {
            true => None,
            false => Some(past(head, now).filter(|past| *past < wanted.stands_in)?),
        };
        let (load_cost, left) = (head.load_cost, head.expires);
        let left = left.map(|end| end.duration_since(now).unwrap_or_default());
        let tags = head.tags.iter().map(|tag| tag.as_str().into()).collect();
        if !load_cost.is_zero() {
            learn(&self.value_nanos, load_cost);
        }
        let found = self
            .pair_of(record, is)
            .inspect_err(|error| self.failed(error));
        let (key, value) = found.ok()??;
        let raised = Raised {
            value,
            left,
            past,
            age,
            load_cost,
            tags,
        };
        Some((key, raised))
    }

    /// The key and the value in a record, if the key `is` the one that was asked for.
    fn pair_of(
        &self,
        record: Record,
        is: impl FnOnce(&K) -> bool,
    ) -> Result<Option<(K, V)>, Error> {
        let undecodable = |cause| {
            Error::new(ErrorKind::Codec, "disk tier: a value cannot be decoded").with_source(cause)
        };
        let bytes = record.payload.into_bytes()?;
        let (key, rest) = self.keys.decode(&bytes).map_err(undecodable)?;
        if !is(&key) {
            return Ok(None);
        }
        let (value, rest) = self.values.decode(rest).map_err(undecodable)?;
        Ok(rest.is_empty().then_some((key, value)))
    }

    fn is_worth_a_lock(&self) -> bool {
        // Relaxed: a hint.
        self.load_nanos.load(Ordering::Relaxed) >= nanos(WORTH_A_LOCK)
    }

    /// Tries to become the leader of a key among processes.
    fn lead(&self, name: Name, visit: Visit) -> Led {
        // Who was told to come back goes on waiting, whatever other keys cost meanwhile.
        if visit.tries == 0 && !self.is_worth_a_lock() {
            return Led::Anybody;
        }
        let lead = self.store.try_lead(&digest_of(name));
        match lead.inspect_err(|_| add(&self.failures)) {
            Ok(Some(lead)) => Led::Here(FlightsLead::new(lead, visit.flight)),
            Ok(None) => Led::Elsewhere,
            Err(_) => Led::Anybody,
        }
    }

    fn put(&self, record: NewRecord, key: &K, value: &V, lowered: Lowered) -> bool {
        let encoded = self.keys.encode(key, Vec::new());
        let encoded = encoded.and_then(|bytes| self.values.encode(value, bytes));
        let encoded = encoded.map_err(|cause| {
            Error::new(ErrorKind::Codec, "disk tier: a value cannot be encoded").with_source(cause)
        });
        let now = lowered.now;
        let mut record = record.codec(Codec::POSTCARD).written(now);
        if let Some(left) = lowered.left {
            record = record.expires(now + left);
            if let Some(end) = (now + left).checked_add(lowered.stands_in)
                && !lowered.stands_in.is_zero()
            {
                record = record.stale_until(end);
            }
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

    /// Starts the thread that hears of others' invalidations, at the first use.
    fn watch(&self, core: &Arc<Core<K, V>>)
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        self.watched.call_once(|| {
            let watch = self.store.watch(self.store.fence());
            let core = Arc::downgrade(core);
            let started = std::thread::Builder::new().name("scrubjay-watch".into());
            let started = started.spawn(move || pass_on_for_ever(watch, &core));
            if let Err(cause) = started {
                let message = "disk tier: no thread to hear of others' invalidations";
                self.failed(&Error::new(ErrorKind::Io, message).with_source(cause));
            }
        });
    }
}

/// Which records are of use.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    /// None that is this old.
    oldest: Option<Duration>,
    /// Those that are past their life for less than this, too.
    stands_in: Duration,
}

/// How long the life of an entry has been over; `None` if its writer does not let it stand in.
fn past(head: &Head, now: SystemTime) -> Option<Duration> {
    let is_stale = head.is_stale(now);
    let past = now.duration_since(head.expires?).ok();
    past.filter(|_| is_stale)
}

fn digest_of(name: Name) -> Digest {
    Digest::from_bytes(name)
}

impl<K, V> Below<K, V> for Attached<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn name(&self, feed: &dyn Fn(&mut dyn Hasher)) -> Name {
        *self.names.clone().fed(feed).finish().as_bytes()
    }

    fn find(&self, core: &Arc<Core<K, V>>, key: &K, name: Name, visit: Visit) -> Descent<K, V> {
        self.watch(core);
        let wanted = Wanted {
            oldest: visit.oldest,
            stands_in: visit.stands_in,
        };
        let look = || self.lookup(core, name, |other| other == key, wanted);
        let is_fresh = |(_, raised): &(K, Raised<V>)| raised.past.is_none();
        let mut found = look();
        let (mut lead, mut fence) = (None, None);
        if !found.as_ref().is_some_and(is_fresh) {
            match self.lead(name, visit) {
                Led::Here(taken) => {
                    lead = Some(taken);
                    // Before the last look: what comes after it is newer than what will be loaded.
                    fence = Some(self.store.fence());
                    // Somebody may have stored it between the lookup and the lead.
                    found = look();
                }
                Led::Elsewhere if visit.waits && !flight::keeps_others_waiting() => {
                    return Descent::Busy(flight::pause(visit.tries));
                }
                Led::Elsewhere | Led::Anybody => {}
            }
        }
        let stale = found.take_if(|found| !is_fresh(found));
        let found = found.map(|(_, raised)| raised);
        self.count(found.as_ref());
        if let Some(found) = found {
            return Descent::Found(found);
        }
        let loading = Loading {
            name,
            fence: fence.unwrap_or_else(|| self.store.fence()),
            begun: Instant::now(),
            lead,
        };
        Descent::Missing(Box::new(loading), stale)
    }

    fn look(
        &self,
        core: &Arc<Core<K, V>>,
        name: Name,
        is: &dyn Fn(&K) -> bool,
    ) -> Option<(K, Raised<V>)> {
        self.watch(core);
        self.lookup(core, name, is, Wanted::default())
    }

    fn count(&self, found: Option<&Raised<V>>) {
        match found {
            Some(raised) => {
                add(&self.hits);
                let hit = Event::Hit(raised.load_cost);
                self.store.count(&self.function.name, hit);
            }
            None => add(&self.misses),
        }
    }

    fn store(&self, ticket: Ticket, key: &K, value: &V, lowered: Lowered) {
        let Ok(loading) = ticket.downcast::<Loading>() else {
            return;
        };
        let took = loading.begun.elapsed();
        expect(&self.load_nanos, took);
        learn(&self.value_nanos, took);
        self.store.count(&self.function.name, Event::Load(took));
        let record = NewRecord::new(digest_of(loading.name), self.function.clone())
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
        let record = NewRecord::new(digest_of(name), self.function.clone()).replaces(true);
        if !self.put(record, key, value, lowered) {
            // The old value must not come back.
            self.invalidate(name);
        }
    }

    fn invalidate(&self, name: Name) {
        self.said(self.store.invalidate(&digest_of(name)));
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
            let pair = record.and_then(|record| self.pair_of(record, |_| true).ok().flatten());
            pair.is_none_or(|(key, value)| matches(&key, &value))
        });
        self.said(result);
    }

    fn clear(&self) {
        self.said(self.store.invalidate_function(&self.function.name));
    }

    fn tell_hits(&self, hits: u64) {
        // Relaxed: whoever is told of the same hits by two threads at once counts them for one.
        let told = self.told_hits.fetch_max(hits, Ordering::Relaxed);
        let new = hits.saturating_sub(told);
        if new > 0 {
            // Relaxed: a mean.
            let mean = self.value_nanos.load(Ordering::Relaxed);
            let saved = Duration::from_nanos(mean.saturating_mul(new));
            let event = Event::MemoryHits(new, saved);
            self.store.count(&self.function.name, event);
        }
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

/// Passes what others say to one cache's memory tier, for as long as there is that cache.
fn pass_on_for_ever<K, V>(mut watch: Watch, core: &Weak<Core<K, V>>)
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    for round in 1_u32.. {
        std::thread::sleep(WATCH);
        let Some(core) = core.upgrade() else {
            return;
        };
        if round.is_multiple_of(TELL) {
            core.tell_hits();
        }
        let news = watch.news();
        if !news.is_empty() {
            pass_on(news, &Cache { core });
        }
    }
}

fn pass_on<K, V>(news: Vec<Invalidation>, cache: &Cache<K, V>)
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    let below = cache.core.options.below.as_deref();
    let Some(below) = below else {
        return;
    };
    let mut names = HashSet::new();
    for said in news {
        match said {
            Invalidation::Key(digest) => drop(names.insert(*digest.as_bytes())),
            Invalidation::Tag(tag) => drop(cache.forget_tag(&tag)),
            Invalidation::Loads => drop(cache.forget_if(|_, _| false)),
            // Of another function or not: what is dropped is found again below.
            Invalidation::Function(_) | Invalidation::All => cache.forget_all(),
        }
    }
    if !names.is_empty() {
        let is_named = |key: &K| names.contains(&below.name(&|mut hasher| key.hash(&mut hasher)));
        cache.forget_if(|key, _| is_named(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_taken_for_cheap_after_several_cheap_ones_and_for_dear_after_a_dear_one() {
        let most = AtomicU64::new(nanos(4 * WORTH_A_LOCK));
        let is_dear_after = |cost| {
            expect(&most, cost);
            most.load(Ordering::Relaxed) >= nanos(WORTH_A_LOCK)
        };
        assert!((0..8).all(|_| is_dear_after(Duration::ZERO)));
        assert!(!(0..8).all(|_| is_dear_after(Duration::ZERO)));
        assert!(is_dear_after(WORTH_A_LOCK));
    }
}
