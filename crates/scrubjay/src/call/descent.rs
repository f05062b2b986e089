//! The way of a leader to the tiers below memory, and back up with what it found there.
//!
//! Invariants: nobody but a leader changes the memory tier on behalf of what is below, so an invalidation overtakes a
//! promotion as it does a load; and a leader that another process is ahead of waits without a lock, and not at all if
//! it would keep others waiting that this other process may wait for.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::draft::Own;
use super::{Begun, Core, Leader, Served};
use crate::clock;
use crate::flight::Flight;
use crate::flight::cycle::Entered;
use crate::removal::RemovalCause;
use crate::tier::below::{Below, Descent, Name, Raised, Visit};

/// One leader's questions to what is below.
struct Way {
    name: Name,
    visit: Visit,
    /// When it stops to wait for other processes.
    deadline: Option<Instant>,
}

impl Way {
    /// Notes that the answer was to come back.
    fn again(&mut self) {
        self.visit.tries += 1;
        self.visit.waits = self.deadline.is_none_or(|end| Instant::now() < end);
    }
}

/// What the leader of a refresh finds below.
pub(crate) enum Renewal<V> {
    /// Another process refreshed it already.
    Newer(Raised<V>),
    /// Another process is about to.
    Elsewhere,
    Needed,
}

impl<C, K, V> Leader<C, K, V>
where
    C: Deref<Target = Core<K, V>>,
    K: Eq + 'static,
    V: 'static,
{
    pub(super) fn name_below(&self, below: &dyn Below<K, V>) -> Name {
        below.name(&|hasher| (self.core.options.feed)(self.key(), hasher))
    }

    fn way_down(&self, below: &dyn Below<K, V>) -> Way {
        let limit = self.core.options.load_timeout;
        Way {
            name: self.name_below(below),
            visit: Visit {
                flight: self.flight().id,
                oldest: self.oldest(),
                stands_in: self.stands_in(),
                tries: 0,
                waits: true,
            },
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
        }
    }

    /// What is below is of use to a load, and to a refresh only if it is newer than what is there.
    fn oldest(&self) -> Option<Duration> {
        let age = self.core.options.lives.refresh_after?;
        let (flight, pin) = (self.flight(), self.core.memory.pin());
        let entry = (self.core.memory).find(flight.hash, &pin, |key| *key == flight.key)?;
        self.core.is_present(&entry).then_some(age)
    }

    /// What is past its life is of use only if memory has nothing.
    fn stands_in(&self) -> Duration {
        let (flight, pin) = (self.flight(), self.core.memory.pin());
        let known = (self.core.memory).find(flight.hash, &pin, |key| *key == flight.key);
        match known {
            Some(_) => Duration::ZERO,
            None => self.core.options.lives.stands_in(),
        }
    }

    fn ask(&self, core: &Arc<Core<K, V>>, below: &dyn Below<K, V>, way: &Way) -> Descent<K, V> {
        self.within(|| below.find(core, self.key(), way.name, way.visit))
    }

    /// Looks for the key in the tiers below; waits on this thread as long as another process loads it.
    #[cold]
    #[inline(never)]
    pub(crate) fn descend(&mut self, core: &Arc<Core<K, V>>) -> Option<Raised<V>> {
        let below = &**core.options.below.as_ref()?;
        let mut way = self.way_down(below);
        loop {
            match self.ask(core, below, &way) {
                Descent::Busy(pause) => {
                    way.again();
                    std::thread::sleep(pause);
                }
                other => return self.arrive(other),
            }
        }
    }

    /// The same without blocking the thread.
    pub(crate) async fn descend_async(&mut self, core: &Arc<Core<K, V>>) -> Option<Raised<V>> {
        let below = &**core.options.below.as_ref()?;
        let mut way = self.way_down(below);
        loop {
            match self.ask(core, below, &way) {
                Descent::Busy(pause) => {
                    way.again();
                    clock::pause(pause).await;
                    self.move_to_this_thread();
                }
                other => return self.arrive(other),
            }
        }
    }

    fn arrive(&mut self, found: Descent<K, V>) -> Option<Raised<V>> {
        match found {
            Descent::Found(raised) => Some(raised),
            Descent::Missing(ticket, stale) => {
                self.ticket = Some(ticket);
                if let Some((key, raised)) = stale {
                    self.keep_stand_in(key, raised);
                }
                None
            }
            Descent::Busy(_) => None,
        }
    }

    /// Settles with what came from below: stores it in memory unless it was overtaken, and wakes the waiters.
    #[cold]
    #[inline(never)]
    pub(crate) fn raise<A>(
        &mut self,
        entered: Entered,
        answer: A,
        raised: Raised<V>,
    ) -> (A, Served) {
        let own = Own {
            time_to_live: raised.left,
            age: raised.age,
            tags: raised.tags,
            ..Own::default()
        };
        let flight = self.flight();
        let prepared = self
            .core
            .draft(&flight.key, &raised.value, flight.hash, own);
        let hold = self.core.options.hold;
        drop(entered);
        let new = prepared.map(|prepared| (prepared, hold(raised.value)));
        // Waiters begin again and find it in memory; who asked before an invalidation may look below once more.
        self.write(RemovalCause::Replaced, new, |landing, _| drop(landing));
        (answer, Served::Hit)
    }
}

impl<K: Eq + 'static, V: 'static> Leader<Arc<Core<K, V>>, K, V> {
    /// Looks for what another process refreshed, or is about to. Waits for nobody, because the caller was served.
    pub(crate) fn renew(&mut self) -> Renewal<V> {
        let core = self.core.clone();
        let Some(below) = core.options.below.as_deref() else {
            return Renewal::Needed;
        };
        let way = self.way_down(below);
        match self.ask(&core, below, &way) {
            Descent::Busy(_) => Renewal::Elsewhere,
            other => self.arrive(other).map_or(Renewal::Needed, Renewal::Newer),
        }
    }
}

impl<K: Eq + 'static, V: 'static> Core<K, V> {
    /// Looks below for a key that memory does not have, on behalf of a caller that would load nothing: waits for
    /// nobody. What is found goes up.
    #[cold]
    #[inline(never)]
    pub(crate) fn look_below(
        self: &Arc<Self>,
        hash: u64,
        below: &dyn Below<K, V>,
        name: Name,
        is: &dyn Fn(&K) -> bool,
    ) -> Option<V> {
        let found = below.look(self, name, is);
        below.count(found.as_ref().map(|(_, raised)| raised));
        let (key, raised) = found?;
        self.promote(hash, below, name, key);
        Some(raised.value)
    }

    /// Asks for the value once more, now as the leader whom an invalidation overtakes.
    fn promote(self: &Arc<Self>, hash: u64, below: &dyn Below<K, V>, name: Name, key: K) {
        let flight = Arc::new(Flight::new(hash, key, self.options.naming.clone()));
        let begun: Begun<'_, K, V, V> = {
            let pin = self.memory.pin();
            self.begin_over(flight, &pin)
        };
        let Begun::Lead(mut leader) = begun else {
            // Whoever leads it brings it up, or something newer.
            return;
        };
        let entered = leader.enter();
        match below.look(self, name, &|other| other == leader.key()) {
            Some((_, raised)) => drop(leader.raise(entered, (), raised)),
            None => {
                drop(entered);
                leader.give_up();
            }
        }
    }
}
