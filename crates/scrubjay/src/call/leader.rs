//! The one caller that loads, from the lead of a flight to its landing.
//!
//! Invariant: a flight that was begun lands, whatever the loader does, and its value is stored only if nothing newer
//! was said about its key since it began. Both are checked under the lock under which the value is stored.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::Core;
use super::draft::{Own, Prepared};
use super::effects::Change;
use super::plan::{Plan, Served, Settled, answer};
use crate::cache::Action;
use crate::clock::Timestamp;
use crate::entry::{Held, SharedError, Tag};
use crate::flight::cycle::{self, Entered};
use crate::flight::{Flight, Landable};
use crate::removal::RemovalCause;
use crate::stats::Event;
use crate::tier::below::{Raised, Ticket};
use crate::tier::memory::Locked;

use seize::Guard;

/// The one caller that loads. If it is dropped before it finishes, its waiters ask again.
pub(crate) struct Leader<C, K, V>
where
    C: Deref<Target = Core<K, V>>,
{
    pub(super) core: C,
    flight: Option<Arc<Flight<K, V>>>,
    started: Option<Timestamp>,
    /// The thread that leads, whose counters this load is counted on.
    thread: usize,
    /// What a tier below noted when it had nothing.
    pub(super) ticket: Option<Ticket>,
    /// Something came from below that is past its life, and is in memory to stand in.
    pub(super) has_stand_in: bool,
}

impl<C, K, V> Leader<C, K, V>
where
    C: Deref<Target = Core<K, V>>,
    K: Eq + 'static,
    V: 'static,
{
    pub(super) fn new(core: C, flight: Arc<Flight<K, V>>, thread: usize) -> Self {
        let started = core.counters.should_time(thread).then(|| core.now());
        Self {
            core,
            flight: Some(flight),
            started,
            thread,
            ticket: None,
            has_stand_in: false,
        }
    }

    /// Has the tiers below store what the load brought.
    fn lower(&mut self, value: &V, prepared: &Prepared) {
        if let (Some(below), Some(ticket)) = (&self.core.options.below, self.ticket.take()) {
            let options = &self.core.options;
            let lowered = prepared.lowered(&*options.clock, &options.lives);
            below.store(ticket, self.key(), value, lowered);
        }
    }

    pub(super) fn flight(&self) -> &Arc<Flight<K, V>> {
        self.flight
            .as_ref()
            .expect("a leader has its flight until it finishes")
    }

    /// Gives the flight back without landing it.
    pub(super) fn disarm(mut self) -> Arc<Flight<K, V>> {
        self.take_flight()
    }

    pub(super) fn take_flight(&mut self) -> Arc<Flight<K, V>> {
        let flight = self.flight.take();
        flight.expect("a leader has its flight until it finishes")
    }

    /// Begins a load that was queued; false if it was overtaken meanwhile and there is nothing left to do.
    pub(crate) fn start(&mut self) -> bool {
        let flight = self.flight().clone();
        let pin = self.core.memory.pin();
        let locked = self.core.memory.lock(flight.hash, &pin);
        let is_current = locked.state.flights.has(&flight);
        flight.set_queued(false);
        drop(locked);
        drop(pin);
        if is_current {
            self.move_to_this_thread();
        } else {
            self.flight = None;
            drop(Landable::untagged(&flight));
        }
        is_current
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

    /// Runs a part of the load that needs no waiting.
    pub(super) fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        work()
    }

    /// Runs an async loader, on the chain whenever it is polled.
    pub(super) async fn drive<F: Future>(&self, load: impl FnOnce() -> F) -> F::Output {
        let mut future = pin!(self.within(load));
        std::future::poll_fn(|context| -> Poll<F::Output> {
            self.within(|| future.as_mut().poll(context))
        })
        .await
    }

    /// Settles what the load brought: stores it unless it was overtaken, and wakes the waiters.
    ///
    /// The load stays on the chain until all of the user's functions have run that decide about its value, so that one
    /// of them that asks for the key is told of the cycle.
    #[inline(never)]
    pub(crate) fn finish<P: Plan<V>>(
        &mut self,
        entered: Entered,
        answer: P::Answer,
        plan: &P,
        tags: Vec<Tag>,
    ) -> (P::Answer, Served) {
        if let Some(started) = self.started.take() {
            let took = self.core.now().saturating_since(started);
            self.core.counters.time_load(self.thread, took);
        }
        let settled = plan.settle(&answer);
        if !matches!(settled, Settled::Value(_))
            && let Some((stand_in, value)) = self.core.stand_in(self.flight(), plan)
        {
            self.count(true);
            drop(entered);
            self.leave().land(|| Some(value));
            return (stand_in, Served::Stale);
        }
        match settled {
            Settled::Value(value) => self.finish_value(entered, value, &answer, plan, tags),
            Settled::Failure(value) => self.finish_failure(entered, value, &answer, plan, tags),
            Settled::Error(error) => self.finish_error(entered, error, tags),
        }
        (answer, Served::Loaded)
    }

    fn count(&self, failed: bool) {
        self.core.counters.count_load(self.thread, failed);
    }

    fn finish_value<P: Plan<V>>(
        &mut self,
        entered: Entered,
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
        if self.ticket.is_some()
            && let Some(prepared) = &prepared
        {
            self.lower(&value, prepared);
        }
        let hold = self.core.options.hold;
        drop(entered);
        let new = prepared.map(|prepared| (prepared, hold(value)));
        self.write(RemovalCause::Replaced, new, |landing, _| {
            landing.land(|| match plan.settle(answer) {
                Settled::Value(value) => Some(value),
                _ => None,
            });
        });
    }

    fn finish_failure<P: Plan<V>>(
        &mut self,
        entered: Entered,
        value: Option<V>,
        answer: &P::Answer,
        plan: &P,
        tags: Vec<Tag>,
    ) {
        self.count(true);
        let shares = self.core.options.share_errors;
        let prepared = self.core.failure_draft(self.flight().hash, tags);
        drop(entered);
        let share = || match plan.settle(answer) {
            Settled::Failure(value) if shares => value,
            _ => None,
        };
        match value.zip(prepared) {
            None => self.leave().land(share),
            Some((value, prepared)) => {
                let new = Some((prepared, Held::Value(value)));
                self.write(RemovalCause::Replaced, new, |landing, _| {
                    landing.land(share)
                });
            }
        }
    }

    fn finish_error(&mut self, entered: Entered, error: Option<SharedError>, tags: Vec<Tag>) {
        self.count(true);
        let shares = self.core.options.share_errors;
        let prepared = self.core.failure_draft(self.flight().hash, tags);
        drop(entered);
        let shared = error.clone().filter(|_| shares);
        match error.zip(prepared) {
            None => self.leave().land_error(shared),
            Some((error, prepared)) => {
                let new = Some((prepared, Held::Failure(error)));
                self.write(RemovalCause::Replaced, new, |landing, _| {
                    landing.land_error(shared);
                });
            }
        }
    }

    /// Puts an entry, or none, in the place of what the key has, unless the flight was overtaken or fenced, takes the
    /// flight out of its table, and has the waiters woken by `land`.
    ///
    /// They are woken before anything is reported, because a listener may ask for what a waiter is loading.
    pub(super) fn write(
        &mut self,
        cause: RemovalCause,
        new: Option<(Prepared, Held<V>)>,
        land: impl FnOnce(Landable<V>, Written),
    ) {
        let flight = self.take_flight();
        let core = &*self.core;
        let pin = core.memory.pin();
        let now = core.now_if_timed();
        let prepared = new.as_ref().map(|(prepared, _)| prepared);
        let reserved = core.make_ready(flight.hash, prepared, now, &pin);
        let mut locked = core.memory.lock(flight.hash, &pin);
        let is_current = locked.state.flights.remove(&flight);
        let landable = match &new {
            Some((prepared, _)) => Landable::of(&flight, prepared.tags()),
            None => Landable::untagged(&flight),
        };
        if !is_current || landable.is_fenced() {
            drop(locked);
            return land(landable, Written::Overtaken);
        }
        let old = locked.find(flight.hash, |key| *key == flight.key);
        let flight = Arc::into_inner(flight).expect("its table and its chain have let go of it");
        let change = Change {
            hash: flight.hash,
            key: flight.key,
            new,
            old,
            cause,
            now,
            reserved,
        };
        core.make(change, locked, &pin, |stored| match stored {
            true => land(landable, Written::Stored),
            false => land(landable, Written::NotStored),
        });
    }

    /// Puts what is past its life into memory, to stand in while this leader loads, or if it fails. The flight stays.
    pub(super) fn keep_stand_in(&mut self, key: K, raised: Raised<V>) {
        let own = Own {
            past: raised.past,
            tags: raised.tags,
            ..Own::default()
        };
        let (core, flight) = (&*self.core, self.flight());
        let Some(prepared) = core.draft(&key, &raised.value, flight.hash, own) else {
            return;
        };
        let held = (core.options.hold)(raised.value);
        let pin = core.memory.pin();
        let now = core.now_if_timed();
        let reserved = core.make_ready(flight.hash, Some(&prepared), now, &pin);
        let locked = core.memory.lock(flight.hash, &pin);
        if !locked.state.flights.has(flight) || flight.fenced_after(prepared.tags()).is_some() {
            return;
        }
        let old = locked.find(flight.hash, |key| *key == flight.key);
        let change = Change {
            hash: flight.hash,
            key,
            new: Some((prepared, held)),
            old,
            cause: RemovalCause::Replaced,
            now,
            reserved,
        };
        let mut stored = false;
        core.make(change, locked, &pin, |is_stored| stored = is_stored);
        drop(pin);
        self.has_stand_in = stored;
    }

    /// Ends without a load, which is none that failed; whoever waits begins again.
    pub(crate) fn give_up(mut self) {
        drop(self.leave());
    }

    /// Takes the flight out of its table without storing anything.
    fn leave(&mut self) -> Landable<V> {
        let flight = self.take_flight();
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
    pub(crate) fn carry_out(
        mut self,
        shared: &Arc<Core<K, V>>,
        entered: Entered,
        action: Action<V>,
    ) -> Result<Option<V>, Overtaken> {
        let value = match action {
            Action::Replace(value) => value,
            Action::Remove => {
                drop(entered);
                if let Some(below) = &self.core.options.below {
                    below.invalidate(self.name_below(&**below));
                }
                let mut outcome = Written::NotStored;
                self.write(RemovalCause::Explicit, None, |_, written| outcome = written);
                return outcome.of(None);
            }
            Action::Keep => {
                let kept = self.core.peek(self.flight());
                drop(entered);
                drop(self.leave());
                return Ok(kept);
            }
        };
        let flight = self.flight();
        let own = Own::default();
        let prepared = self.core.draft(&flight.key, &value, flight.hash, own);
        let held = (self.core.options.hold)(value.clone());
        if let (Some(below), Some(prepared)) = (&self.core.options.below, &prepared) {
            let options = &self.core.options;
            let lowered = prepared.lowered(&*options.clock, &options.lives);
            let name = self.name_below(&**below);
            below.replace(shared, self.key(), &value, name, lowered);
        }
        drop(entered);
        let new = prepared.map(|prepared| (prepared, held));
        let mut outcome = Written::NotStored;
        self.write(RemovalCause::Replaced, new, |landing, written| {
            outcome = written;
            if written == Written::Stored {
                landing.land(|| Some(value.clone()));
            }
        });
        outcome.of(Some(value))
    }
}

/// What became of something to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Stored,
    /// It was not to be stored, or too heavy.
    NotStored,
    /// Something newer was said about its key.
    Overtaken,
}

impl Written {
    /// The value that is in place after this, if it was `value` that was to be stored.
    fn of<V>(self, value: Option<V>) -> Result<Option<V>, Overtaken> {
        match self {
            Self::Stored => Ok(value),
            Self::NotStored => Ok(None),
            Self::Overtaken => Err(Overtaken),
        }
    }
}

/// Something newer was said about a key.
#[derive(Debug)]
pub(crate) struct Overtaken;

// Not inlined, here and in `raise`: what a load does not need must not take its stack, a level for each recursion.
#[inline(never)]
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

impl<K: Eq + 'static, V: 'static> Core<K, V> {
    /// What stands in for a failed load: the old value, while the window for that lasts.
    fn stand_in<P: Plan<V>>(&self, flight: &Flight<K, V>, plan: &P) -> Option<(P::Answer, V)> {
        let pin = self.memory.pin();
        let entry = self
            .memory
            .find(flight.hash, &pin, |key| *key == flight.key)?;
        let lives = &self.options.lives;
        let now = self.now();
        let usable =
            entry.failure().is_none() && now < entry.end().saturating_add(lives.stale_if_error);
        let answer = answer(entry.entry, plan).filter(|_| usable)?;
        let Settled::Value(value) = plan.settle(&answer) else {
            return None;
        };
        if now >= entry.end() {
            self.counters.count(pin.thread_id(), Event::StaleServed);
        }
        if let Some(pause) = lives.error_time_to_live {
            entry.rest_until(now.saturating_add(pause));
        }
        Some((answer, value))
    }
}

impl<K: Eq + 'static, V: Clone + 'static> Core<K, V> {
    fn peek(&self, flight: &Flight<K, V>) -> Option<V> {
        let pin = self.memory.pin();
        self.memory
            .find(flight.hash, &pin, |key| *key == flight.key)
            .filter(|entry| self.is_fresh(entry))?
            .with(V::clone)
    }
}
