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

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

mod descent;
mod draft;
mod effects;
mod leader;
mod plan;

pub(crate) use descent::Renewal;
pub(crate) use draft::Own;
pub(crate) use effects::Change;
pub(crate) use leader::Leader;
pub(crate) use plan::{Fallible, InTurn, Infallible, Plan, Served, Settled};

use plan::{answer, answer_from};

use crate::builder::Options;
use crate::clock::Timestamp;
use crate::entry::{Entry, Tag};
use crate::expiration::Freshness;
use crate::flight::cycle;
use crate::flight::{self, Flight, Joined, Outcome, Waited};
use crate::key::Query;
use crate::stats::{Counters, Event};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::tier::below::Raised;
use crate::tier::memory::{Found, Memory, Pin};

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

/// How a call that found nothing servable goes on.
enum Begun<'a, K, V, A> {
    Serve(A, Served),
    Join(Joined<V>),
    Lead(Leader<&'a Core<K, V>, K, V>),
}

/// The tier below keeps counts of all processes; what was not told yet is told now.
impl<K, V> Drop for Core<K, V> {
    fn drop(&mut self) {
        self.tell_hits();
    }
}

impl<K, V> Core<K, V> {
    /// Tells the tier below how many hits there were in memory.
    pub(crate) fn tell_hits(&self) {
        if let Some(below) = &self.options.below {
            below.tell_hits(self.counters.snapshot().hits);
        }
    }
}

impl<K: Eq + 'static, V: 'static> Core<K, V> {
    pub(crate) fn new(options: Options<K, V>) -> Self {
        Self {
            memory: Memory::new(
                options.policy,
                options.capacity,
                options.lives,
                options.weigher.is_some(),
            ),
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

    /// Whether a lookup would find a value here: it is within its life, no failure, and not collected.
    pub(crate) fn is_present(&self, entry: &Entry<K, V>) -> bool {
        self.is_fresh(entry) && entry.with(|_| ()).is_some()
    }

    /// Whether an entry is within its life.
    #[inline]
    pub(crate) fn is_fresh(&self, entry: &Entry<K, V>) -> bool {
        matches!(self.freshness(entry), Freshness::Fresh | Freshness::Due)
    }

    /// Counts a hit and marks the entry for policy and time to idle.
    #[inline]
    pub(crate) fn note_hit(&self, entry: Found<'_, K, V>, pin: &Pin<'_>) {
        self.memory.mark(entry, pin);
        entry.touch(|| self.now());
        self.counters.count(pin.thread_id(), Event::Hit);
    }

    /// The same for an entry served as `freshness` allows: what is past its life stays so.
    fn note_served(&self, entry: Found<'_, K, V>, freshness: Freshness, pin: &Pin<'_>) -> Served {
        if matches!(freshness, Freshness::Fresh | Freshness::Due) {
            self.note_hit(entry, pin);
            return Served::Hit;
        }
        self.memory.mark(entry, pin);
        self.counters.count(pin.thread_id(), Event::Hit);
        self.counters.count(pin.thread_id(), Event::StaleServed);
        Served::Stale
    }

    /// The time, for those who must know it before they take a lock; any moment if no entry ever ends.
    pub(crate) fn now_if_timed(&self) -> Timestamp {
        // Relaxed: whoever misses the first timed entry sees it as it was written, which is fresh.
        if self.timed.load(Ordering::Relaxed) {
            self.now()
        } else {
            Timestamp::default()
        }
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
        if self.freshness(&entry) != Freshness::Fresh {
            return None;
        }
        let answer = answer(&entry, plan)?;
        self.note_hit(entry, pin);
        Some(answer)
    }

    /// Takes the straight line, or begins the longer one.
    #[inline(never)]
    fn start<P: Plan<V>>(
        self: &Arc<Self>,
        query: &impl Query<K>,
        plan: &P,
    ) -> Begun<'_, K, V, P::Answer> {
        let hash = self.hash_query(query);
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
        let now = self.now_if_timed();
        let mut locked = self.memory.lock(hash, pin);
        let entry = locked.find(hash, |key| query.matches(key));
        let lives = &self.options.lives;
        let freshness = entry.map_or(Freshness::Expired, |entry| entry.freshness(lives, || now));
        let servable = !matches!(freshness, Freshness::Fallback | Freshness::Expired);
        let needs_load = !matches!(freshness, Freshness::Fresh | Freshness::Resting);
        let other = (locked.state.flights).find(hash, |key| query.matches(key));
        // A refresh that waits for its turn is nothing to wait for: who must wait leads at once instead.
        let stands = other.is_some_and(|other| servable || !other.is_queued());
        let joined = other.filter(|_| stands).map(|other| other.join());
        if joined.is_none() && needs_load {
            let queued = locked
                .state
                .flights
                .overtake(hash, |key| query.matches(key));
            flight.set_queued(self.options.refresher.is_some() && servable);
            locked.state.flights.add(flight.clone());
            drop(locked);
            drop(queued);
            return self.lead(flight, entry, freshness, plan, pin);
        }
        drop(locked);
        // From here on no lock is held: answering is the user's `Clone`.
        if let Some((entry, answer)) = answer_from(entry.filter(|_| servable), plan) {
            return Begun::Serve(answer, self.note_served(entry, freshness, pin));
        }
        match joined {
            Some(joined) => self.count_begun(Begun::Join(joined), pin),
            None => self.count_begun(self.begin_over(flight, pin), pin),
        }
    }

    /// Goes on as the leader; with a loader for refreshes at hand, by serving what there is and having it
    /// refreshed in the background.
    fn lead<P: Plan<V>>(
        self: &Arc<Self>,
        flight: Arc<Flight<K, V>>,
        entry: Option<Found<'_, K, V>>,
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
                refresher(leader);
                return Begun::Serve(answer, self.note_served(entry, freshness, pin));
            }
            self.counters.count(thread, Event::Miss);
            let flight = leader.disarm();
            // No lock is held: somebody who sees the old word leads as well, and overtakes this flight.
            flight.set_queued(false);
            return Begun::Lead(Leader::new(&**self, flight, thread));
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
        let other = (locked.state.flights).find(flight.hash, |key| *key == flight.key);
        let other = other.filter(|other| !other.is_queued());
        if let Some(joined) = other.map(|other| other.join()) {
            return Begun::Join(joined);
        }
        let queued = (locked.state.flights).overtake(flight.hash, |key| *key == flight.key);
        locked.state.flights.add(flight.clone());
        drop(locked);
        drop(queued);
        Begun::Lead(Leader::new(&**self, flight, pin.thread_id()))
    }

    fn count_begun<'a, A>(&self, begun: Begun<'a, K, V, A>, pin: &Pin<'_>) -> Begun<'a, K, V, A> {
        self.counters.count(pin.thread_id(), Event::Miss);
        if matches!(begun, Begun::Join(_)) {
            self.counters.count(pin.thread_id(), Event::Wait);
        }
        begun
    }

    /// Leads the flight of a key whatever is stored for it, after any other flight of it has landed.
    pub(crate) fn lead_alone(self: &Arc<Self>, query: &impl Query<K>) -> Leader<&Core<K, V>, K, V> {
        let hash = self.hash_query(query);
        loop {
            let begun: Begun<'_, K, V, V> = {
                let pin = self.memory.pin();
                self.begin_over(self.new_flight(hash, query), &pin)
            };
            match begun {
                Begun::Lead(leader) => return leader,
                Begun::Join(joined) => {
                    let thread = self.memory.pin().thread_id();
                    self.counters.count(thread, Event::Wait);
                    self.wait(query, &joined);
                }
                Begun::Serve(..) => unreachable!("beginning over serves nothing"),
            }
        }
    }

    fn new_flight(&self, hash: u64, query: &impl Query<K>) -> Arc<Flight<K, V>> {
        let naming = self.options.naming.clone();
        Arc::new(Flight::new(hash, query.to_key(), naming))
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
        let begun = self.start(query, plan);
        match begun {
            Begun::Serve(answer, served) => (answer, served),
            _ => self.load_or_wait(begun, query, plan, tags, load),
        }
    }

    // Not inlined, as `start`: a level of recursion keeps this frame, and not that of the lookup before it.
    #[inline(never)]
    fn load_or_wait<'a, P: Plan<V>>(
        self: &'a Arc<Self>,
        mut begun: Begun<'a, K, V, P::Answer>,
        query: &impl Query<K>,
        plan: &P,
        tags: impl FnOnce() -> Vec<Tag>,
        load: impl FnOnce() -> P::Answer,
    ) -> (P::Answer, Served) {
        loop {
            // By reference: each move of a leader would take its own place on the stack.
            let joined = match begun {
                Begun::Serve(answer, served) => return (answer, served),
                Begun::Lead(ref mut leader) => return self.load(leader, plan, tags, load),
                Begun::Join(ref joined) => joined,
            };
            self.wait(query, joined);
            if let Some(answer) = Self::shared(plan, joined) {
                return (answer, Served::Waited);
            }
            begun = self.start(query, plan);
        }
    }

    /// Loads as the leader, unless a tier below memory has the value.
    #[inline]
    fn load<P: Plan<V>>(
        self: &Arc<Self>,
        leader: &mut Leader<&Core<K, V>, K, V>,
        plan: &P,
        tags: impl FnOnce() -> Vec<Tag>,
        load: impl FnOnce() -> P::Answer,
    ) -> (P::Answer, Served) {
        let entered = leader.enter();
        if self.options.below.is_some()
            && let Some(found) = self.answer_below(leader, plan)
        {
            return leader.raise(entered, found.0, found.1);
        }
        if leader.has_stand_in
            && let Some(answer) = self.stand_in_answer(leader, plan)
        {
            drop(entered);
            self.refresh_behind(leader);
            return (answer, Served::Stale);
        }
        let tags = tags();
        let answer = load();
        leader.finish(entered, answer, plan, tags)
    }

    /// The same for callers that must not block and loaders that are futures.
    pub(crate) async fn fetch_async<P: Plan<V>, F: Future<Output = P::Answer>>(
        self: &Arc<Self>,
        query: &impl Query<K>,
        plan: &P,
        tags: impl FnOnce() -> Vec<Tag>,
        load: impl FnOnce() -> F,
    ) -> (P::Answer, Served) {
        loop {
            let joined = match self.start(query, plan) {
                Begun::Serve(answer, served) => return (answer, served),
                Begun::Lead(mut leader) => {
                    if self.options.below.is_some()
                        && let Some(raised) = Box::pin(leader.descend_async(self)).await
                        && let Some(answer) = leader.within(|| plan.answer(&raised.value))
                    {
                        let entered = leader.enter();
                        return leader.raise(entered, answer, raised);
                    }
                    if leader.has_stand_in
                        && let Some(answer) = leader.within(|| self.stand_in_answer(&leader, plan))
                    {
                        self.refresh_behind(&mut leader);
                        return (answer, Served::Stale);
                    }
                    let tags = leader.within(tags);
                    let answer = leader.drive(load).await;
                    leader.move_to_this_thread();
                    let entered = leader.enter();
                    return leader.finish(entered, answer, plan, tags);
                }
                Begun::Join(joined) => joined,
            };
            let waited = {
                let _registered = self.register(&joined, query);
                joined.wait(self.deadline(), &*self.options.clock).await
            };
            if waited == Waited::TimedOut {
                self.take_over(query, joined.flight);
            }
            if let Some(answer) = Self::shared(plan, &joined) {
                return (answer, Served::Waited);
            }
        }
    }

    /// Blocks until a flight lands or its time is over; then the flight is given up on.
    #[inline(never)]
    fn wait(&self, query: &impl Query<K>, joined: &Joined<V>) {
        let _registered = self.register(joined, query);
        let waited = joined.wait(self.deadline(), &*self.options.clock).block();
        if waited == Waited::TimedOut {
            self.take_over(query, joined.flight);
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

    /// What a tier below memory has, and the answer that it is. Boxed, so that a load has little on the stack.
    #[cold]
    #[inline(never)]
    fn answer_below<P: Plan<V>>(
        self: &Arc<Self>,
        leader: &mut Leader<&Core<K, V>, K, V>,
        plan: &P,
    ) -> Option<Box<(P::Answer, Raised<V>)>> {
        let raised = leader.descend(self)?;
        let answer = plan.answer(&raised.value)?;
        Some(Box::new((answer, raised)))
    }

    /// The answer of what came from below past its life, if it may be served while it is refreshed in the background.
    #[cold]
    #[inline(never)]
    fn stand_in_answer<P: Plan<V>>(
        &self,
        leader: &Leader<&Core<K, V>, K, V>,
        plan: &P,
    ) -> Option<P::Answer> {
        self.options.refresher.as_ref()?;
        let (flight, pin) = (leader.flight(), self.memory.pin());
        let entry = (self.memory).find(flight.hash, &pin, |key| *key == flight.key)?;
        let is_stale = self.freshness(&entry) == Freshness::Stale;
        let answer = answer(&entry, plan).filter(|_| is_stale)?;
        self.note_served(entry, Freshness::Stale, &pin);
        Some(answer)
    }

    /// Hands the lead to the loader of refreshes.
    fn refresh_behind(self: &Arc<Self>, leader: &mut Leader<&Core<K, V>, K, V>) {
        let flight = leader.take_flight();
        // Whoever refreshes asks below once more, and leads among processes by itself.
        leader.ticket = None;
        // No lock is held: somebody who sees the old word waits for this flight, which lands.
        flight.set_queued(true);
        let thread = self.memory.pin().thread_id();
        if let Some(refresher) = &self.options.refresher {
            refresher(Leader::new(self.clone(), flight, thread));
        }
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
    fn take_over(&self, query: &impl Query<K>, flight: u64) {
        let hash = self.hash_query(query);
        let pin = self.memory.pin();
        let slow = {
            let mut locked = self.memory.lock(hash, &pin);
            locked.state.flights.overtake_id(hash, flight)
        };
        drop(slow);
    }
}
