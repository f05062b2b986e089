//! The life of a call: hit, or join the key's flight, or lead it; then settle what the load brought.
//!
//! ```text
//! fetch ─► hit ──────────────────────────────► answer
//!            │ nothing servable
//!            ▼
//!          begin ─► serve: stored meanwhile, or stale while somebody refreshes
//!            ├────► join:  wait, then share the outcome or begin again
//!            └────► lead:  load ─► finish: store unless overtaken, wake the waiters
//! ```
//! Sync and async callers differ only in how they wait and run the loader. What a call makes of values is its
//! [`Plan`]. Invariant: a flight that was begun lands, whatever the loader does; its value is stored only if
//! nothing newer was said about its key since it began.

use std::any::Any;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::builder::Options;
use crate::cache::Action;
use crate::clock::Timestamp;
use crate::entry::{Entry, Extra, Held, SharedError, Tag};
use crate::expiration::{Freshness, Life};
use crate::flight::cycle::{self, Entered};
use crate::flight::{self};
use crate::flight::{Flight, Joined, Landable, Outcome, Waited};
use crate::key::Query;
use crate::removal::{self, RemovalCause};
use crate::stats::{Counters, Event};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::tier::memory::ledger::Victims;
use crate::tier::memory::{Displaced, Draft, Locked, Memory, Pin};

use seize::Guard;

/// Everything that the handles of one cache share.
pub(crate) struct Core<K, V> {
    pub(crate) options: Options<K, V>,
    pub(crate) memory: Memory<K, V>,
    pub(crate) counters: Counters,
    hasher: foldhash::fast::RandomState,
    /// Whether any entry ever had an end, so that writers must look for expired ones.
    timed: AtomicBool,
}

/// How many expired entries a write removes at most, so that no write pays for many.
const EXPIRED_PER_WRITE: usize = 32;

/// What a kind of call makes of values: how they become its answer, and what of its answer is stored.
pub(crate) trait Plan<V> {
    type Answer;
    /// The answer that a value of the cache stands for; `None` if it cannot be given.
    fn answer(&self, value: &V) -> Option<Self::Answer>;
    /// The answer that a failure stands for; `None` if it is of another type or none is wanted.
    fn answer_error(&self, _error: &SharedError) -> Option<Self::Answer> {
        None
    }
    /// What the loader's answer is to the cache.
    fn settle(&self, answer: &Self::Answer) -> Settled<V>;
}

/// What an answer is to the cache.
pub(crate) enum Settled<V> {
    /// A value to store and share.
    Value(V),
    /// A value that says the load failed (an `Err` of a memoized function); shared if it can be copied.
    Failure(Option<V>),
    /// An error, shared if it can be copied.
    Error(Option<SharedError>),
}

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Hit,
    Loaded,
    Waited,
    Stale,
}

/// The calls that cannot fail: `get_or_insert_with` and its kin.
pub(crate) struct Infallible;

impl<V: Clone> Plan<V> for Infallible {
    type Answer = V;

    fn answer(&self, value: &V) -> Option<V> {
        Some(value.clone())
    }

    fn settle(&self, answer: &V) -> Settled<V> {
        Settled::Value(answer.clone())
    }
}

/// The calls that can: `try_get_or_insert_with` and its kin. `copy` is how an error is shared, if it is.
pub(crate) struct Fallible<E> {
    pub(crate) copy: Option<fn(&E) -> E>,
}

impl<V: Clone, E: Any + Send + Sync> Plan<V> for Fallible<E> {
    type Answer = Result<V, E>;

    fn answer(&self, value: &V) -> Option<Self::Answer> {
        Some(Ok(value.clone()))
    }

    fn answer_error(&self, error: &SharedError) -> Option<Self::Answer> {
        let copy = self.copy?;
        error.downcast_ref::<E>().map(|error| Err(copy(error)))
    }

    fn settle(&self, answer: &Self::Answer) -> Settled<V> {
        match answer {
            Ok(value) => Settled::Value(value.clone()),
            Err(error) => Settled::Error(
                self.copy
                    .map(|copy| -> SharedError { Arc::new(copy(error)) }),
            ),
        }
    }
}

/// The calls of `try_…_in_turn`, whose errors may be of any type because nobody else ever sees them.
pub(crate) struct InTurn<E>(pub(crate) std::marker::PhantomData<fn() -> E>);

impl<V: Clone, E> Plan<V> for InTurn<E> {
    type Answer = Result<V, E>;

    fn answer(&self, value: &V) -> Option<Self::Answer> {
        Some(Ok(value.clone()))
    }

    fn settle(&self, answer: &Self::Answer) -> Settled<V> {
        match answer {
            Ok(value) => Settled::Value(value.clone()),
            Err(_) => Settled::Error(None),
        }
    }
}

/// How a call that found nothing servable goes on.
enum Begun<'a, K, V, A> {
    Serve(A, Served),
    Join(Joined<V>),
    Lead(Leader<&'a Core<K, V>, K, V>),
}

impl<K: Eq + 'static, V: 'static> Core<K, V> {
    pub(crate) fn new(options: Options<K, V>) -> Self {
        Self {
            memory: Memory::new(options.policy, options.capacity, options.lives),
            counters: Counters::default(),
            hasher: foldhash::fast::RandomState::default(),
            timed: AtomicBool::new(false),
            options,
        }
    }

    #[inline]
    pub(crate) fn hash_of<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(crate) fn hash_query(&self, query: &impl Query<K>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        query.hash(&mut hasher);
        hasher.finish()
    }

    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    #[inline]
    fn freshness(&self, entry: &Entry<K, V>) -> Freshness {
        entry.freshness(&self.options.lives, || self.now())
    }

    /// Whether lookups may serve this entry: it is within its life.
    #[inline]
    pub(crate) fn is_fresh(&self, entry: &Entry<K, V>) -> bool {
        matches!(self.freshness(entry), Freshness::Fresh | Freshness::Due)
    }

    /// Counts a hit and marks the entry for policy and time to idle.
    #[inline]
    pub(crate) fn note_hit(&self, entry: &Entry<K, V>, pin: &Pin<'_>) {
        self.memory.mark(entry, pin);
        entry.touch(|| self.now());
        self.counters.count(pin.thread_id(), Event::Hit);
    }

    /// The straight line of a call: a fresh entry that needs no refresh, or nothing.
    #[inline]
    fn hit<P: Plan<V>>(
        &self,
        hash: u64,
        query: &impl Query<K>,
        plan: &P,
        pin: &Pin<'_>,
    ) -> Option<P::Answer> {
        let entry = self.memory.find(hash, pin, |key| query.matches(key))?;
        if self.freshness(entry) != Freshness::Fresh {
            return None;
        }
        let answer = answer(entry, plan)?;
        self.note_hit(entry, pin);
        Some(answer)
    }

    /// Takes the straight line, or begins the longer one.
    #[inline]
    fn start<P: Plan<V>>(
        self: &Arc<Self>,
        hash: u64,
        query: &impl Query<K>,
        plan: &P,
    ) -> Begun<'_, K, V, P::Answer> {
        let pin = self.memory.pin();
        match self.hit(hash, query, plan, &pin) {
            Some(answer) => Begun::Serve(answer, Served::Hit),
            None => self.begin(hash, query, plan, &pin),
        }
    }

    /// Decides how a call goes on that found nothing servable at first.
    #[inline(never)]
    fn begin<P: Plan<V>>(
        self: &Arc<Self>,
        hash: u64,
        query: &impl Query<K>,
        plan: &P,
        pin: &Pin<'_>,
    ) -> Begun<'_, K, V, P::Answer> {
        let flight = self.new_flight(hash, query);
        let mut locked = self.memory.lock(hash, pin);
        let joined = (locked.state.flights)
            .find(hash, |key| query.matches(key))
            .map(|flight| flight.join());
        let entry = locked.find(hash, pin, |key| query.matches(key));
        let freshness = entry.map_or(Freshness::Expired, |entry| self.freshness(entry));
        if joined.is_none() && freshness != Freshness::Fresh {
            locked.state.flights.add(flight.clone());
            drop(locked);
            return self.lead(flight, entry, freshness, plan, pin);
        }
        drop(locked);
        // From here on no lock is held: answering is the user's `Clone`.
        let servable = matches!(
            freshness,
            Freshness::Fresh | Freshness::Due | Freshness::Stale
        );
        if let Some((entry, answer)) = answer_from(entry.filter(|_| servable), plan) {
            self.note_hit(entry, pin);
            return Begun::Serve(answer, self.count_stale(freshness, pin));
        }
        match joined {
            Some(joined) => self.join(joined, pin),
            None => self.begin_over(flight, pin),
        }
    }

    /// Goes on as the leader; with a loader for refreshes at hand, by serving what there is and having it
    /// refreshed in the background.
    fn lead<P: Plan<V>>(
        self: &Arc<Self>,
        flight: Arc<Flight<K, V>>,
        entry: Option<&Entry<K, V>>,
        freshness: Freshness,
        plan: &P,
        pin: &Pin<'_>,
    ) -> Begun<'_, K, V, P::Answer> {
        let thread = pin.thread_id();
        if let Some(refresher) = &self.options.refresher
            && matches!(freshness, Freshness::Due | Freshness::Stale)
        {
            let leader = Leader::new(self.clone(), flight, thread);
            if let Some((entry, answer)) = answer_from(entry, plan) {
                self.note_hit(entry, pin);
                refresher(leader);
                return Begun::Serve(answer, self.count_stale(freshness, pin));
            }
            self.counters.count(thread, Event::Miss);
            return Begun::Lead(Leader::new(&**self, leader.disarm(), thread));
        }
        self.counters.count(thread, Event::Miss);
        Begun::Lead(Leader::new(&**self, flight, thread))
    }

    /// Begins although there is a fresh entry, because that cannot give this kind of answer: a failure of
    /// another type, or a value that was collected.
    fn begin_over<A>(
        self: &Arc<Self>,
        flight: Arc<Flight<K, V>>,
        pin: &Pin<'_>,
    ) -> Begun<'_, K, V, A> {
        let mut locked = self.memory.lock(flight.hash, pin);
        let other = locked
            .state
            .flights
            .find(flight.hash, |key| *key == flight.key);
        if let Some(joined) = other.map(|other| other.join()) {
            drop(locked);
            return self.join(joined, pin);
        }
        locked.state.flights.add(flight.clone());
        drop(locked);
        self.counters.count(pin.thread_id(), Event::Miss);
        Begun::Lead(Leader::new(&**self, flight, pin.thread_id()))
    }

    /// Leads the flight of a key whatever is stored for it, after any other flight of it has landed.
    pub(crate) fn lead_alone(
        self: &Arc<Self>,
        query: &impl Query<K>,
    ) -> Leader<&Core<K, V>, K, V> {
        let hash = self.hash_query(query);
        loop {
            let begun: Begun<'_, K, V, V> = {
                let pin = self.memory.pin();
                self.begin_over(self.new_flight(hash, query), &pin)
            };
            match begun {
                Begun::Lead(leader) => return leader,
                Begun::Join(joined) => self.wait(hash, query, &joined),
                Begun::Serve(..) => unreachable!("beginning over serves nothing"),
            }
        }
    }

    fn join<A>(&self, joined: Joined<V>, pin: &Pin<'_>) -> Begun<'_, K, V, A> {
        self.counters.count(pin.thread_id(), Event::Miss);
        self.counters.count(pin.thread_id(), Event::Wait);
        Begun::Join(joined)
    }

    fn new_flight(&self, hash: u64, query: &impl Query<K>) -> Arc<Flight<K, V>> {
        let naming = self.options.naming.clone();
        Arc::new(Flight::new(hash, query.to_key(), naming))
    }

    fn count_stale(&self, freshness: Freshness, pin: &Pin<'_>) -> Served {
        if freshness == Freshness::Stale {
            self.counters.count(pin.thread_id(), Event::StaleServed);
            return Served::Stale;
        }
        Served::Hit
    }

    /// Answers from the cache, or runs `load` as the only one for this key.
    #[inline]
    pub(crate) fn fetch<P: Plan<V>>(
        self: &Arc<Self>,
        query: &impl Query<K>,
        plan: &P,
        tags: impl FnOnce() -> Vec<Tag>,
        load: impl FnOnce() -> P::Answer,
    ) -> (P::Answer, Served) {
        let hash = self.hash_query(query);
        loop {
            let joined = match self.start(hash, query, plan) {
                Begun::Serve(answer, served) => return (answer, served),
                Begun::Lead(leader) => {
                    let tags = tags();
                    let answer = {
                        let _entered = leader.enter();
                        load()
                    };
                    return leader.finish(answer, plan, tags);
                }
                Begun::Join(joined) => joined,
            };
            self.wait(hash, query, &joined);
            if let Some(answer) = Self::shared(plan, &joined) {
                return (answer, Served::Waited);
            }
        }
    }

    /// The same for callers that must not block and loaders that are futures.
    pub(crate) async fn fetch_async<P: Plan<V>, F: Future<Output = P::Answer>>(
        self: &Arc<Self>,
        query: &impl Query<K>,
        plan: &P,
        tags: impl FnOnce() -> Vec<Tag>,
        load: impl FnOnce() -> F,
    ) -> (P::Answer, Served) {
        let hash = self.hash_query(query);
        loop {
            let joined = match self.start(hash, query, plan) {
                Begun::Serve(answer, served) => return (answer, served),
                Begun::Lead(mut leader) => {
                    let tags = tags();
                    let answer = leader.drive(load).await;
                    leader.move_to_this_thread();
                    return leader.finish(answer, plan, tags);
                }
                Begun::Join(joined) => joined,
            };
            let waited = {
                let _registered = self.register(&joined, query);
                joined.wait(self.deadline(), &*self.options.clock).await
            };
            if waited == Waited::TimedOut {
                self.take_over(hash, joined.flight);
            }
            if let Some(answer) = Self::shared(plan, &joined) {
                return (answer, Served::Waited);
            }
        }
    }

    /// Blocks until a flight lands or its time is over; then the flight is given up on.
    #[inline(never)]
    fn wait(&self, hash: u64, query: &impl Query<K>, joined: &Joined<V>) {
        let _registered = self.register(joined, query);
        let waited = joined.wait(self.deadline(), &*self.options.clock).block();
        if waited == Waited::TimedOut {
            self.take_over(hash, joined.flight);
        }
    }

    /// Says on whose behalf this thread is about to wait.
    ///
    /// # Panics
    ///
    /// If that wait would close a cycle; the message names it.
    fn register(&self, joined: &Joined<V>, query: &impl Query<K>) -> cycle::Registered {
        cycle::register(joined.flight, || {
            flight::label::<K, V>(self.options.naming.as_deref(), &query.to_key())
        })
            .unwrap_or_else(|message| panic!("{message}"))
    }

    fn deadline(&self) -> Option<Timestamp> {
        let limit = self.options.load_timeout?;
        Some(self.now().saturating_add(limit))
    }

    /// The answer that a flight brought to one who waited for it; `None` to begin again.
    fn shared<P: Plan<V>>(plan: &P, joined: &Joined<V>) -> Option<P::Answer> {
        match joined.outcome()? {
            Outcome::Value { value, .. } => plan.answer(value),
            Outcome::Error(error) => plan.answer_error(error),
            Outcome::Again => None,
        }
    }

    /// Gives up on a slow flight, so that whoever asks next leads a new one.
    fn take_over(&self, hash: u64, flight: u64) {
        let pin = self.memory.pin();
        let slow = {
            let mut locked = self.memory.lock(hash, &pin);
            locked.state.flights.overtake_id(hash, flight)
        };
        drop(slow);
    }

    /// Counts a removal and tells the listener.
    pub(crate) fn notify(&self, entry: &Entry<K, V>, cause: RemovalCause, pin: &Pin<'_>) {
        let at_once = cause == RemovalCause::Explicit;
        self.memory.unlinked(entry.weight(), at_once, pin);
        self.counters.count_removal(pin.thread_id(), cause);
        let Some(listener) = &self.options.listener else {
            return;
        };
        let told = entry
            .held
            .with(|value| removal::tell(listener, &entry.key, value, cause));
        if told == Some(false) {
            self.counters.count(pin.thread_id(), Event::ListenerPanic);
        }
    }

    /// Why an entry is leaving, if nobody did anything to it but look.
    pub(crate) fn cause_of(&self, entry: &Entry<K, V>, otherwise: RemovalCause) -> RemovalCause {
        if entry.held.is_collected() {
            RemovalCause::Collected
        } else if self.is_fresh(entry) {
            otherwise
        } else {
            RemovalCause::Expired
        }
    }

    /// Reports what a write pushed out and unlinks what is still in other shards.
    pub(crate) fn report(&self, displaced: Displaced<'_, K, V>, pin: &Pin<'_>) {
        if let Some(old) = displaced.replaced {
            self.notify(old, self.cause_of(old, RemovalCause::Replaced), pin);
        }
        if !displaced.victims.is_empty() {
            self.unlink(displaced.victims, pin);
        }
        // Relaxed: a writer that misses the first timed entry leaves it to the next one.
        if self.timed.load(Ordering::Relaxed) {
            self.expire(EXPIRED_PER_WRITE, pin);
        }
    }

    /// Puts an entry, or none, in the place of `old`, and reports what that pushed out.
    pub(crate) fn replace(
        &self,
        mut locked: Locked<'_, K, V>,
        hash: u64,
        key: K,
        new: Option<(Prepared, Held<V>)>,
        old: Option<&Entry<K, V>>,
        pin: &Pin<'_>,
    ) {
        if let Some((prepared, held)) = new {
            let displaced = locked.store(prepared.draft(hash, key, held), old, pin);
            drop(locked);
            return self.report(displaced, pin);
        }
        if let Some(old) = old {
            locked.remove(old, pin);
        }
        drop(locked);
        if let Some(old) = old {
            self.notify(old, self.cause_of(old, RemovalCause::Replaced), pin);
        }
    }

    pub(crate) fn unlink(&self, victims: Victims, pin: &Pin<'_>) {
        for victim in victims {
            if let Some(entry) = self.memory.unlink(victim, pin) {
                self.notify(entry, victim.cause, pin);
            }
        }
    }

    /// Removes up to `most` entries whose time is over.
    pub(crate) fn expire(&self, most: usize, pin: &Pin<'_>) {
        let victims = self.memory.expire(|| self.now(), most, pin);
        if !victims.is_empty() {
            self.unlink(victims, pin);
        }
    }

    /// Decides all that is decided about an entry when it is written; `None` if it must not be stored.
    ///
    /// Runs the user's functions; no lock is held.
    pub(crate) fn draft(&self, key: &K, value: &V, hash: u64, own: Own) -> Option<Prepared> {
        let options = &self.options;
        if options.is_plain && own.is_plain() {
            return Some(Prepared(None));
        }
        if let Some(test) = &options.store_if
            && !test(key, value)
        {
            return None;
        }
        let expire_with = options.expire_with.as_ref();
        let life = own
            .time_to_live
            .or_else(|| expire_with.and_then(|life| life(key, value)));
        let timed = options.lives.need_clock() || life.is_some();
        let now = if timed { self.now() } else { Timestamp::default() };
        let mut tags = own.tags;
        if let Some(tagger) = &options.tagger {
            tags.extend(tagger(key, value));
        }
        let weigher = options.weigher.as_ref();
        let weight = own
            .weight
            .unwrap_or_else(|| weigher.map_or(1, |weigher| weigher(key, value)));
        let life = options.lives.of_value(now, life, hash);
        self.prepare(weight, life, now, tags)
    }

    fn prepare(
        &self,
        weight: u64,
        life: Life,
        now: Timestamp,
        mut tags: Vec<Tag>,
    ) -> Option<Prepared> {
        tags.sort_unstable();
        tags.dedup();
        let end = life.end(now);
        if end < Timestamp::NEVER {
            // Relaxed: see `report`.
            self.timed.store(true, Ordering::Relaxed);
        }
        // A life of nothing at all: the value is handed out and never served again.
        (now < end).then(|| Prepared(Extra::of(weight, life, now, tags)))
    }

    /// What a remembered failure is as an entry; `None` if failures are not remembered.
    fn failure_draft(&self, hash: u64, tags: Vec<Tag>) -> Option<Prepared> {
        self.options.lives.error_time_to_live?;
        let now = self.now();
        let life = self.options.lives.of_failure(now, hash);
        self.prepare(1, life, now, tags)
    }

    /// What stands in for a failed load: the old value, while the window for that lasts.
    fn stand_in<P: Plan<V>>(&self, flight: &Flight<K, V>, plan: &P) -> Option<(P::Answer, V)> {
        let pin = self.memory.pin();
        let entry = self
            .memory
            .find(flight.hash, &pin, |key| *key == flight.key)?;
        let usable = match entry.held {
            Held::Failure(_) => false,
            _ => self.now() < entry.end().saturating_add(self.options.lives.stale_if_error),
        };
        let answer = answer(entry, plan).filter(|_| usable)?;
        let Settled::Value(value) = plan.settle(&answer) else {
            return None;
        };
        self.counters.count(pin.thread_id(), Event::StaleServed);
        Some((answer, value))
    }
}

impl<K: Eq + 'static, V: Clone + 'static> Core<K, V> {
    fn peek(&self, flight: &Flight<K, V>) -> Option<V> {
        let pin = self.memory.pin();
        self.memory
            .find(flight.hash, &pin, |key| *key == flight.key)
            .filter(|entry| self.is_fresh(entry))?
            .held
            .with(V::clone)
    }
}

/// What an entry has of its own, whatever the cache's options say.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) time_to_live: Option<std::time::Duration>,
    pub(crate) weight: Option<u64>,
    pub(crate) tags: Vec<Tag>,
}

impl Own {
    fn is_plain(&self) -> bool {
        self.time_to_live.is_none() && self.weight.is_none() && self.tags.is_empty()
    }
}

/// What is decided about an entry before its place is looked for.
#[derive(Debug)]
pub(crate) struct Prepared(Option<Box<Extra>>);

impl Prepared {
    fn tags(&self) -> &[Tag] {
        self.0.as_ref().map_or(&[], |extra| &extra.tags)
    }

    fn draft<K, V>(self, hash: u64, key: K, held: Held<V>) -> Draft<K, V> {
        Draft {
            hash,
            key,
            held,
            extra: self.0,
        }
    }
}

fn answer_from<'g, K, V, P: Plan<V>>(
    entry: Option<&'g Entry<K, V>>,
    plan: &P,
) -> Option<(&'g Entry<K, V>, P::Answer)> {
    entry.and_then(|entry| Some((entry, answer(entry, plan)?)))
}

fn answer<K, V, P: Plan<V>>(entry: &Entry<K, V>, plan: &P) -> Option<P::Answer> {
    match &entry.held {
        Held::Failure(error) => plan.answer_error(error),
        held => held.with(|value| plan.answer(value)).flatten(),
    }
}

/// The one caller that loads. If it is dropped before it finishes, its waiters ask again.
pub(crate) struct Leader<C, K, V>
where
    C: Deref<Target = Core<K, V>>,
{
    core: C,
    flight: Option<Arc<Flight<K, V>>>,
    started: Option<Timestamp>,
    /// The thread that leads, whose counters this load is counted on.
    thread: usize,
}

impl<C, K, V> Leader<C, K, V>
where
    C: Deref<Target = Core<K, V>>,
    K: Eq + 'static,
    V: 'static,
{
    fn new(core: C, flight: Arc<Flight<K, V>>, thread: usize) -> Self {
        let started = core.counters.should_time(thread).then(|| core.now());
        Self {
            core,
            flight: Some(flight),
            started,
            thread,
        }
    }

    fn flight(&self) -> &Arc<Flight<K, V>> {
        self.flight.as_ref().expect("a leader has its flight until it finishes")
    }

    /// Gives the flight back without landing it.
    fn disarm(mut self) -> Arc<Flight<K, V>> {
        self.flight.take().expect("a leader has its flight until it finishes")
    }

    /// To be called where another thread than the one that began may go on.
    pub(crate) fn move_to_this_thread(&mut self) {
        self.thread = self.core.memory.pin().thread_id();
    }

    pub(crate) fn key(&self) -> &K {
        &self.flight().key
    }

    /// Puts the load on this thread's chain.
    pub(crate) fn enter(&self) -> Entered {
        cycle::enter(self.flight())
    }

    /// Runs an async loader, on the chain whenever it is polled.
    async fn drive<F: Future>(&self, load: impl FnOnce() -> F) -> F::Output {
        let future = {
            let _entered = self.enter();
            load()
        };
        let mut future = pin!(future);
        std::future::poll_fn(|context| -> Poll<F::Output> {
            let _entered = self.enter();
            future.as_mut().poll(context)
        })
        .await
    }

    /// Settles what the load brought: stores it unless it was overtaken, and wakes the waiters.
    #[inline(never)]
    pub(crate) fn finish<P: Plan<V>>(
        mut self,
        answer: P::Answer,
        plan: &P,
        tags: Vec<Tag>,
    ) -> (P::Answer, Served) {
        if let Some(started) = self.started.take() {
            let took = self.core.now().saturating_since(started);
            self.core.counters.time_load(self.thread, took);
        }
        let settled = plan.settle(&answer);
        if !matches!(settled, Settled::Value(_)) {
            if let Some((stand_in, value)) = self.core.stand_in(self.flight(), plan) {
                self.count(true);
                self.leave().land(|| Some(value));
                return (stand_in, Served::Stale);
            }
        }
        match settled {
            Settled::Value(value) => self.finish_value(value, &answer, plan, tags),
            Settled::Failure(value) => self.finish_failure(value, &answer, plan, tags),
            Settled::Error(error) => self.finish_error(error, tags),
        }
        (answer, Served::Loaded)
    }

    fn count(&self, failed: bool) {
        self.core.counters.count_load(self.thread, failed);
    }

    fn finish_value<P: Plan<V>>(
        self,
        value: V,
        answer: &P::Answer,
        plan: &P,
        tags: Vec<Tag>,
    ) {
        let own = Own {
            tags,
            ..Own::default()
        };
        let flight = self.flight();
        let prepared = self.core.draft(&flight.key, &value, flight.hash, own);
        self.count(false);
        let hold = self.core.options.hold;
        let landing = self.store(prepared, hold(value));
        landing.land(|| match plan.settle(answer) {
            Settled::Value(value) => Some(value),
            _ => None,
        });
    }

    fn finish_failure<P: Plan<V>>(
        self,
        value: Option<V>,
        answer: &P::Answer,
        plan: &P,
        tags: Vec<Tag>,
    ) {
        self.count(true);
        let shares = self.core.options.share_errors;
        let prepared = self.core.failure_draft(self.flight().hash, tags);
        let landing = match (value, prepared) {
            (Some(value), Some(prepared)) => self.store(Some(prepared), Held::Value(value)),
            _ => self.leave(),
        };
        landing.land(|| match plan.settle(answer) {
            Settled::Failure(value) if shares => value,
            _ => None,
        });
    }

    fn finish_error(self, error: Option<SharedError>, tags: Vec<Tag>) {
        self.count(true);
        let shares = self.core.options.share_errors;
        let prepared = self.core.failure_draft(self.flight().hash, tags);
        let landing = match (&error, prepared) {
            (Some(error), Some(prepared)) => self.store(Some(prepared), Held::Failure(error.clone())),
            _ => self.leave(),
        };
        landing.land_error(error.filter(|_| shares));
    }

    /// Stores what was loaded, unless it was overtaken or fenced, and takes the flight out of its table.
    fn store(self, prepared: Option<Prepared>, held: Held<V>) -> Landable<V> {
        match prepared {
            Some(prepared) => self.write(Some((prepared, held))).0,
            None => self.leave(),
        }
    }

    /// Puts an entry, or none, in the place of what the key has, and takes the flight out of its table; says
    /// whether it did so, which it does unless it was overtaken or fenced.
    fn write(mut self, new: Option<(Prepared, Held<V>)>) -> (Landable<V>, bool) {
        let flight = self.flight.take().expect("a leader has its flight until it finishes");
        let core = &*self.core;
        let pin = core.memory.pin();
        let tags = new.as_ref().map_or(&[][..], |(prepared, _)| prepared.tags());
        let mut locked = core.memory.lock(flight.hash, &pin);
        let is_current = locked.state.flights.remove(&flight);
        let landable = Landable::of(&flight, tags);
        if !is_current || landable.is_fenced() {
            drop(locked);
            return (landable, false);
        }
        let old = locked.find(flight.hash, &pin, |key| *key == flight.key);
        let flight = Arc::into_inner(flight).expect("its table and its chain have let go of it");
        core.replace(locked, flight.hash, flight.key, new, old, &pin);
        (landable, true)
    }

    /// Takes the flight out of its table without storing anything.
    fn leave(mut self) -> Landable<V> {
        let flight = self.flight.take().expect("a leader has its flight until it finishes");
        leave(&self.core, &flight);
        Landable::untagged(&flight)
    }
}

impl<K, V> Leader<&Core<K, V>, K, V>
where
    K: Eq + 'static,
    V: Clone + 'static,
{
    /// Ends an `entry` call. `Err` if its key was overtaken meanwhile, so that it must decide again.
    pub(crate) fn carry_out(self, action: Action<V>) -> Result<Option<V>, Overtaken> {
        let value = match action {
            Action::Replace(value) => Some(value),
            Action::Remove => None,
            Action::Keep => {
                let kept = self.core.peek(self.flight());
                drop(self.leave());
                return Ok(kept);
            }
        };
        let flight = self.flight();
        let prepared = value.as_ref().and_then(|value| {
            let own = Own::default();
            self.core.draft(&flight.key, value, flight.hash, own)
        });
        let hold = self.core.options.hold;
        let new = prepared.zip(value.clone().map(hold));
        let stored = value.filter(|_| new.is_some());
        let (landable, is_current) = self.write(new);
        if !is_current {
            return Err(Overtaken);
        }
        landable.land(|| stored.clone());
        Ok(stored)
    }
}

/// Something newer was said about a key.
#[derive(Debug)]
pub(crate) struct Overtaken;

fn leave<K, V>(core: &Core<K, V>, flight: &Arc<Flight<K, V>>) {
    let pin = core.memory.pin();
    let mut locked: Locked<'_, K, V> = core.memory.lock(flight.hash, &pin);
    locked.state.flights.remove(flight);
}

impl<C, K, V> Drop for Leader<C, K, V>
where
    C: Deref<Target = Core<K, V>>,
{
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            let thread = self.core.memory.pin().thread_id();
            self.core.counters.count_load(thread, true);
            leave(&self.core, &flight);
            drop(Landable::untagged(&flight));
        }
    }
}
