//! Single-flight: at most one load per key runs at a time.
//!
//! The first caller to miss becomes the leader and runs the loader; later callers wait and share its result. A
//! leader that panics or is dropped lands with nothing to share; its waiters are woken and ask again, so
//! exactly one of them leads next. There is no limit to how often that may happen.
//!
//! A flight stands in its shard's table, under the shard's lock, for as long as new callers may join it. An
//! invalidation or an insertion of its key overtakes it: it leaves the table at once, so later callers start
//! afresh, and its value is handed to those who already waited but never stored. An invalidated tag fences
//! it: it goes on, and only if its value turns out to carry that tag is it treated as overtaken.
//!
//! Nothing here touches entries: the leader stores the value itself, before it wakes anyone.

pub(crate) mod cycle;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use hashbrown::HashTable;

use crate::clock::{Clock, Timestamp};
use crate::entry::{SharedError, Tag};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, thread};

/// How a cache and its keys are called in messages, if somebody said so.
pub(crate) struct Naming<K> {
    pub(crate) name: Option<String>,
    pub(crate) describe: Option<Describe<K>>,
}

/// Says how a key is shown.
pub(crate) type Describe<K> = Box<dyn Fn(&K) -> String + Send + Sync>;

/// What a key of a cache of these types is called in messages.
pub(crate) fn label<K, V>(naming: Option<&Naming<K>>, key: &K) -> String {
    let name = name::<K, V>(naming);
    match naming.and_then(|naming| naming.describe.as_ref()) {
        Some(describe) => format!("{name}({})", describe(key)),
        None => name,
    }
}

/// What a cache of these types is called: as somebody said, or by its types.
pub(crate) fn name<K, V>(naming: Option<&Naming<K>>) -> String {
    naming
        .and_then(|naming| naming.name.clone())
        .unwrap_or_else(typed::<K, V>)
}

/// What a cache is called that nobody named.
fn typed<K, V>() -> String {
    format!("{} → {}", short::<K>(), short::<V>())
}

/// A type's name without the paths of its parts.
fn short<T>() -> String {
    std::any::type_name::<T>()
        .split_inclusive(['<', ',', ' ', '(', '[', '&'])
        .map(|part| part.rsplit("::").next().unwrap_or(part))
        .collect()
}

impl<K> fmt::Debug for Naming<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Naming").field(&self.name).finish()
    }
}

/// One load in progress.
pub(crate) struct Flight<K, V> {
    pub(crate) id: u64,
    pub(crate) hash: u64,
    pub(crate) key: K,
    naming: Option<Arc<Naming<K>>>,
    /// Tags that were invalidated meanwhile, in order.
    fences: Mutex<Vec<Tag>>,
    /// Whether it is a refresh whose turn has not come, so that nobody should wait for it. Written and read under the
    /// shard's lock.
    is_queued: AtomicBool,
    /// Whether there are any. Written and read under the shard's lock.
    is_fenced: AtomicBool,
    landing: OnceLock<Arc<Landing<V>>>,
}

impl<K, V> Flight<K, V> {
    pub(crate) fn new(hash: u64, key: K, naming: Option<Arc<Naming<K>>>) -> Self {
        Self {
            id: cycle::new_flight_id(),
            hash,
            key,
            naming,
            fences: Mutex::new(Vec::new()),
            is_queued: AtomicBool::new(false),
            is_fenced: AtomicBool::new(false),
            landing: OnceLock::new(),
        }
    }

    pub(crate) fn is_queued(&self) -> bool {
        // Relaxed: the shard's lock orders it.
        self.is_queued.load(Ordering::Relaxed)
    }

    pub(crate) fn set_queued(&self, is_queued: bool) {
        // Relaxed: the shard's lock orders it.
        self.is_queued.store(is_queued, Ordering::Relaxed);
    }

    /// How many of the fences were up before the first one that concerns a value with these tags.
    pub(crate) fn fenced_after(&self, tags: &[Tag]) -> Option<usize> {
        // Relaxed: the shard's lock orders it.
        if tags.is_empty() || !self.is_fenced.load(Ordering::Relaxed) {
            return None;
        }
        let fences = self.fences.lock();
        fences.iter().position(|fence| tags.contains(fence))
    }

    /// Whether it is called otherwise than by its types.
    fn is_named(&self) -> bool {
        self.naming.is_some()
    }

    pub(crate) fn label(&self) -> String {
        label::<K, V>(self.naming.as_deref(), &self.key)
    }
}

/// The flights of one shard.
pub(crate) struct Flights<K, V> {
    table: HashTable<Arc<Flight<K, V>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
        }
    }
}

impl<K, V> Flights<K, V> {
    pub(crate) fn find(
        &self,
        hash: u64,
        matches: impl Fn(&K) -> bool,
    ) -> Option<&Arc<Flight<K, V>>> {
        self.table
            .find(hash, |flight| flight.hash == hash && matches(&flight.key))
    }

    pub(crate) fn add(&mut self, flight: Arc<Flight<K, V>>) {
        self.table
            .insert_unique(flight.hash, flight, |flight| flight.hash);
    }

    /// Whether a flight may still be joined and stored.
    pub(crate) fn has(&self, flight: &Arc<Flight<K, V>>) -> bool {
        self.table
            .find(flight.hash, |other| Arc::ptr_eq(other, flight))
            .is_some()
    }

    /// Takes a flight out that landed; false if it was overtaken.
    pub(crate) fn remove(&mut self, flight: &Arc<Flight<K, V>>) -> bool {
        match self
            .table
            .find_entry(flight.hash, |other| Arc::ptr_eq(other, flight))
        {
            Ok(found) => {
                found.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// A newer truth about the key came: the flight in progress, if any, must not be joined or stored.
    ///
    /// The flight is returned so that it is dropped, if this was its last owner, outside the lock.
    pub(crate) fn overtake(
        &mut self,
        hash: u64,
        matches: impl Fn(&K) -> bool,
    ) -> Option<Arc<Flight<K, V>>> {
        let found = self
            .table
            .find_entry(hash, |flight| flight.hash == hash && matches(&flight.key))
            .ok()?;
        Some(found.remove().0)
    }

    /// The same for one flight only, if it is still the one in progress.
    pub(crate) fn overtake_id(&mut self, hash: u64, id: u64) -> Option<Arc<Flight<K, V>>> {
        let found = self.table.find_entry(hash, |flight| flight.id == id).ok()?;
        Some(found.remove().0)
    }

    pub(crate) fn overtake_all(&mut self) -> Vec<Arc<Flight<K, V>>> {
        self.table.drain().collect()
    }

    pub(crate) fn fence(&self, tag: &Tag) {
        for flight in &self.table {
            flight.fences.lock().push(tag.clone());
            // Relaxed: the shard's lock orders it.
            flight.is_fenced.store(true, Ordering::Relaxed);
        }
    }
}

/// What a flight came to.
pub(crate) enum Outcome<V> {
    /// Good for those who joined when at most `joined_by` fences were up; later ones ask again.
    Value { value: V, joined_by: usize },
    /// The load failed, and this is what failed it.
    Error(SharedError),
    /// Nothing to share: ask again.
    Again,
}

/// Where the waiters of one flight wait.
pub(crate) struct Landing<V> {
    outcome: OnceLock<Outcome<V>>,
    wakers: Mutex<Vec<(u64, Waker)>>,
    next: AtomicU64,
}

impl<V> Landing<V> {
    fn new() -> Self {
        Self {
            outcome: OnceLock::new(),
            wakers: Mutex::new(Vec::new()),
            next: AtomicU64::new(0),
        }
    }

    fn land(&self, outcome: Outcome<V>) {
        // Only the leader lands, and only once; were it not so, the first word would stand.
        let _ = self.outcome.set(outcome);
        let wakers = std::mem::take(&mut *self.wakers.lock());
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

impl<K, V> Flight<K, V> {
    /// Joins: from now on the leader has somebody to share with. Under the shard's lock.
    pub(crate) fn join(&self) -> Joined<V> {
        let landing = self.landing.get_or_init(|| Arc::new(Landing::new()));
        Joined {
            flight: self.id,
            landing: landing.clone(),
            fences: self.fences.lock().len(),
        }
    }
}

/// A flight that left its table and owes its waiters an outcome. Dropped without one, it tells them to ask again.
pub(crate) struct Landable<V> {
    landing: Option<Arc<Landing<V>>>,
    joined_by: Option<usize>,
}

impl<V> Landable<V> {
    /// For a flight whose value has these tags; nobody joins it any more.
    pub(crate) fn of<K>(flight: &Flight<K, V>, tags: &[Tag]) -> Self {
        Self {
            landing: flight.landing.get().cloned(),
            joined_by: flight.fenced_after(tags),
        }
    }

    /// For a flight whose value's tags were never asked: any fence may concern it.
    pub(crate) fn untagged<K>(flight: &Flight<K, V>) -> Self {
        // Relaxed: the shard's lock orders it.
        let is_fenced = flight.is_fenced.load(Ordering::Relaxed);
        Self {
            landing: flight.landing.get().cloned(),
            joined_by: is_fenced.then_some(0),
        }
    }

    /// Whether a tag of the value was invalidated while it was loaded.
    pub(crate) fn is_fenced(&self) -> bool {
        self.joined_by.is_some()
    }

    /// Shares a value with the waiters, if there are any.
    pub(crate) fn land(self, value: impl FnOnce() -> Option<V>) {
        if let Some(landing) = &self.landing
            && let Some(value) = value()
        {
            let joined_by = self.joined_by.unwrap_or(usize::MAX);
            landing.land(Outcome::Value { value, joined_by });
        }
    }

    pub(crate) fn land_error(self, error: Option<SharedError>) {
        if let (Some(landing), Some(error)) = (&self.landing, error) {
            landing.land(Outcome::Error(error));
        }
    }
}

impl<V> Drop for Landable<V> {
    fn drop(&mut self) {
        if let Some(landing) = &self.landing {
            landing.land(Outcome::Again);
        }
    }
}

/// A caller's place among the waiters of a flight.
pub(crate) struct Joined<V> {
    pub(crate) flight: u64,
    landing: Arc<Landing<V>>,
    fences: usize,
}

impl<V> Joined<V> {
    /// Waits for the outcome, or until `deadline`, on whatever drives the returned future.
    pub(crate) fn wait<'a>(
        &'a self,
        deadline: Option<Timestamp>,
        clock: &'a dyn Clock,
    ) -> Waiting<'a, V> {
        Waiting {
            joined: self,
            deadline,
            clock,
            // Relaxed: only uniqueness is asked of the number.
            number: self.landing.next.fetch_add(1, Ordering::Relaxed),
            alarm: None,
        }
    }

    /// The outcome, if it has come and is good for a caller who joined when this one did.
    pub(crate) fn outcome(&self) -> Option<&Outcome<V>> {
        self.landing.outcome.get().filter(|outcome| match outcome {
            Outcome::Value { joined_by, .. } => self.fences <= *joined_by,
            Outcome::Error(_) | Outcome::Again => true,
        })
    }
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Landed,
    TimedOut,
}

/// A wait in progress; gives its place up when dropped.
pub(crate) struct Waiting<'a, V> {
    joined: &'a Joined<V>,
    deadline: Option<Timestamp>,
    clock: &'a dyn Clock,
    number: u64,
    alarm: Option<Arc<Alarm>>,
}

/// What a clock wakes at a deadline. Knows whether it rang, because clocks may wake early.
struct Alarm {
    rang: AtomicBool,
    waker: Waker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::SeqCst);
        self.waker.wake_by_ref();
    }
}

impl Alarm {
    fn will_wake(&self, waker: &Waker) -> bool {
        !self.rang.load(Ordering::SeqCst) && self.waker.will_wake(waker)
    }
}

impl<V> Waiting<'_, V> {
    fn check(&mut self, waker: &Waker) -> Poll<Waited> {
        let landing = &self.joined.landing;
        // A waker's `Clone` and `Drop` are the executor's code: they run before and after the lock.
        let mut spare = waker.clone();
        {
            // The outcome is looked at under the lock under which the leader takes the wakers, so either it
            // is seen here or the waker is seen there.
            let mut wakers = landing.wakers.lock();
            if landing.outcome.get().is_some() {
                return Poll::Ready(Waited::Landed);
            }
            match wakers.iter_mut().find(|(number, _)| *number == self.number) {
                Some((_, known)) => std::mem::swap(known, &mut spare),
                None => wakers.push((self.number, spare)),
            }
        }
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        if self.clock.now() >= deadline {
            return Poll::Ready(Waited::TimedOut);
        }
        // Set again if it rang early, or if the future was moved to another task.
        if !(self.alarm.as_ref()).is_some_and(|alarm| alarm.will_wake(waker)) {
            let alarm = Arc::new(Alarm {
                rang: AtomicBool::new(false),
                waker: waker.clone(),
            });
            self.alarm = Some(alarm.clone());
            self.clock.wake_at(deadline, Waker::from(alarm));
        }
        Poll::Pending
    }

    /// Blocks the thread until the wait ends.
    pub(crate) fn block(mut self) -> Waited {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match self.check(&waker) {
                Poll::Ready(waited) => return waited,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<V> Future for Waiting<'_, V> {
    type Output = Waited;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Waited> {
        self.check(context.waker())
    }
}

impl<V> Drop for Waiting<'_, V> {
    fn drop(&mut self) {
        let mut wakers = self.joined.landing.wakers.lock();
        let place = wakers.iter().position(|(number, _)| *number == self.number);
        let waker = place.map(|place| wakers.swap_remove(place));
        // A waker's `Drop` is the executor's code: it runs after the lock is released.
        drop(wakers);
        drop(waker);
    }
}

/// Wakes a thread that waits.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<K, V> fmt::Debug for Flight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
