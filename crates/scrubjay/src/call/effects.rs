//! What a write does beside storing: it unlinks what must leave, and reports what left.
//!
//! Everything here runs after the locks of the write were released, because listeners are the user's code.

use super::Core;
use super::draft::Prepared;
use crate::clock::Timestamp;
use crate::entry::{Entry, Held};
use crate::removal::{self, RemovalCause};
use crate::stats::Event;
use crate::sync::atomic::Ordering;
use crate::tier::memory::ledger::Victims;
use crate::tier::memory::{Displaced, EXPIRED_PER_WRITE, Found, Locked, Pin, Reserved};

use seize::Guard;

/// A change of what the cache has for a key.
pub(crate) struct Change<'g, K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    /// What takes the place, if anything does.
    pub(crate) new: Option<(Prepared, Held<V>)>,
    pub(crate) old: Option<Found<'g, K, V>>,
    /// Why the old one leaves.
    pub(crate) cause: RemovalCause,
    /// A moment not after this change, for the old entry and those that may have expired.
    pub(crate) now: Timestamp,
    pub(crate) reserved: Reserved<'g>,
}

/// What a write pushed out: it is reported when this is dropped.
struct Report<'a, 'g, K: Eq + 'static, V: 'static> {
    core: &'a Core<K, V>,
    displaced: Displaced<'g, K, V>,
    cause: RemovalCause,
    pin: &'a Pin<'a>,
}

impl<K: Eq + 'static, V: 'static> Drop for Report<'_, '_, K, V> {
    fn drop(&mut self) {
        let (core, pin) = (self.core, self.pin);
        if let Some(old) = self.displaced.replaced {
            core.notify(old, core.cause_of(old.entry, self.cause), pin);
        }
        core.report(&self.displaced.victims, pin);
        core.expire(EXPIRED_PER_WRITE, pin);
    }
}

impl<K: Eq + 'static, V: 'static> Core<K, V> {
    /// Makes a change, releases the lock, calls `then` with whether anything was stored, and reports what that pushed
    /// out, also if `then` panics.
    pub(crate) fn make<'g>(
        &self,
        mut change: Change<'g, K, V>,
        mut locked: Locked<'g, K, V>,
        pin: &Pin<'_>,
        then: impl FnOnce(bool),
    ) {
        let (cause, old) = (change.cause, change.old);
        let displaced = match change.new {
            Some((prepared, held)) => {
                let draft = prepared.draft(change.hash, change.key, held);
                locked.store(draft, old, &mut change.reserved, change.now)
            }
            None => {
                if let Some(old) = old {
                    locked.remove(old);
                }
                Displaced {
                    replaced: old,
                    ..Displaced::default()
                }
            }
        };
        drop(locked);
        let stored = displaced.stored;
        let _reported_at_the_end = Report {
            core: self,
            displaced,
            cause,
            pin,
        };
        then(stored);
    }

    /// To be called before the lock of a write: makes the room that its shard cannot make.
    ///
    /// From the first very heavy entry on, all entries are accounted for, so that their sum is known before it can
    /// overflow.
    pub(crate) fn make_ready<'a>(
        &'a self,
        hash: u64,
        prepared: Option<&Prepared>,
        now: Timestamp,
        pin: &'a Pin<'_>,
    ) -> Reserved<'a> {
        if prepared.is_some_and(Prepared::is_very_heavy) {
            self.memory.account_for_all(pin);
        }
        let weight = prepared.map_or(0, Prepared::weight);
        let mut victims = Victims::default();
        let reserved = self.memory.reserve(hash, weight, now, pin, &mut victims);
        self.report(&victims, pin);
        reserved
    }

    /// Counts a removal and tells the listener.
    pub(crate) fn notify(&self, entry: Found<'_, K, V>, cause: RemovalCause, pin: &Pin<'_>) {
        let at_once = cause == RemovalCause::Explicit;
        self.memory.retired(entry, at_once, pin);
        self.counters.count_removal(pin.thread_id(), cause);
        let Some(listener) = &self.options.listener else {
            return;
        };
        let told = entry.with(|value| removal::tell(listener, entry.key(), value, cause));
        if told == Some(false) {
            self.counters.count(pin.thread_id(), Event::ListenerPanic);
        }
    }

    /// Why an entry is leaving, if nobody did anything to it but look.
    pub(crate) fn cause_of(&self, entry: &Entry<K, V>, otherwise: RemovalCause) -> RemovalCause {
        if entry.is_collected() {
            RemovalCause::Collected
        } else if self.is_fresh(entry) {
            otherwise
        } else {
            RemovalCause::Expired
        }
    }

    /// Reports who had to leave.
    pub(crate) fn report(&self, victims: &Victims<'_, K, V>, pin: &Pin<'_>) {
        for victim in victims.iter() {
            let found = victim.found;
            self.notify(found, self.cause_of(found.entry, victim.cause), pin);
        }
    }

    /// Removes an entry whose value was collected.
    pub(crate) fn remove_collected(&self, seen: Found<'_, K, V>, pin: &Pin<'_>) {
        if self.memory.remove(seen, pin) {
            self.notify(seen, RemovalCause::Collected, pin);
        }
    }

    /// Removes up to `most` entries whose time is over.
    pub(crate) fn expire(&self, most: usize, pin: &Pin<'_>) {
        // Relaxed: a writer that misses the first timed entry leaves it to the next one.
        if !self.timed.load(Ordering::Relaxed) {
            return;
        }
        self.report(&self.memory.expire(self.now(), most, pin), pin);
    }
}
