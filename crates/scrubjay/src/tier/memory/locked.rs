//! A shard whose lock is held: all that changes entries.
//!
//! Invariants: an account is opened before its entry is linked, and closed when it is unlinked, under one hold of the
//! lock; when the lock is released, the budget knows what the ledger did.

use super::ledger::{Victim, Victims};
use super::shard::{Residents, Shard, State};
use super::table::tag_of;
use super::{Displaced, Draft, Found, Memory, Pin, Reserved};
use crate::clock::Timestamp;
use crate::entry::{Account, Entry, Extra};
use crate::removal::RemovalCause;
use crate::sync::MutexGuard;
use crate::sync::atomic::{AtomicBool, Ordering};

use seize::Guard;

pub(crate) struct Locked<'a, K, V> {
    memory: &'a Memory<K, V>,
    shard: &'a Shard<K, V>,
    pin: &'a Pin<'a>,
    /// Whether this thread holds a lock of this cache.
    holds: &'a AtomicBool,
    /// Whether the ledger has something to tell.
    is_changed: bool,
    pub(crate) state: MutexGuard<'a, State<K, V>>,
}

impl<K, V> Drop for Locked<'_, K, V> {
    fn drop(&mut self) {
        if self.is_changed {
            self.state.ledger.settle(&self.memory.budget);
            self.shard.publish(&self.state.ledger);
        }
        // Relaxed: only this thread ever asks for its own.
        self.holds.store(false, Ordering::Relaxed);
    }
}

impl<'a, K, V> Locked<'a, K, V> {
    /// # Panics
    ///
    /// If this thread holds a shard's lock already, which only a key's `Eq` can bring about.
    pub(super) fn new(memory: &'a Memory<K, V>, shard: &'a Shard<K, V>, pin: &'a Pin<'_>) -> Self {
        let holds = memory.holds.of(pin.thread_id());
        // Relaxed: only a thread's own flag matters to it. A model checker's threads share one.
        assert!(
            cfg!(shuttle) || !holds.load(Ordering::Relaxed),
            "scrubjay: the `Eq` of a key called a method that changes the cache it is compared in; \
             compare keys without using that cache"
        );
        let state = shard.state();
        holds.store(true, Ordering::Relaxed);
        Self {
            memory,
            shard,
            pin,
            holds,
            is_changed: false,
            state,
        }
    }

    fn residents(&self) -> Residents<'a, K, V> {
        Residents::new(self.shard, self.pin)
    }

    pub(crate) fn find(&self, hash: u64, matches: impl Fn(&K) -> bool) -> Option<Found<'a, K, V>> {
        (self.shard.table).find(tag_of(hash), self.pin, |entry| matches(entry.key()))
    }

    /// Stores a draft in the place of `old`, which is what the table has for its key. `reserved` is for it.
    #[allow(
        unsafe_code,
        reason = "an entry is in its place before the ledger admits it"
    )]
    pub(crate) fn store(
        &mut self,
        draft: Draft<K, V>,
        old: Option<Found<'a, K, V>>,
        reserved: &mut Reserved<'_>,
        now: Timestamp,
    ) -> Displaced<'a, K, V> {
        let mut displaced = Displaced {
            replaced: old,
            ..Displaced::default()
        };
        let needs_account = self.needs_account(&draft);
        let is_over = |extra: &Extra| extra.end() <= now;
        let account = match draft.held.is_failure() {
            true => Account::Failure,
            false if draft.extra.as_deref().is_some_and(is_over) => Account::Stale,
            false => Account::Fresh,
        };
        let (pin, table) = (self.pin, &self.shard.table);
        self.state.ledger.expect(tag_of(draft.hash));
        let tick = (self.memory.ticks.as_ref()).map(|ticks| ticks.insertion(pin.thread_id()));
        let tag = tag_of(draft.hash);
        let entry = Entry::new(draft.key, tag, draft.held, draft.extra, tick);
        let new = table.put(&mut self.state.room, entry, pin);
        if let Some(old) = old {
            self.close_account(old);
        }
        self.state.ledger.free(std::mem::take(&mut reserved.weight));
        if !needs_account {
            self.count_unaccounted(1);
        } else if !self.admit(new, account, now, &mut displaced.victims) {
            // SAFETY: it was put in above, the ledger did not take its place, and `new` is not used any more.
            let entry = unsafe { table.take_back(&mut self.state.room, new.place, pin) };
            displaced.refused = Some(Box::new(entry));
            if let Some(old) = old {
                table.unlink(&mut self.state.room, old, pin);
                self.leave(old, false);
            }
            return displaced;
        }
        match old {
            Some(old) => {
                table.replace(old, new, pin);
                self.leave(old, false);
            }
            None => table.link(&mut self.state.room, new, pin),
        }
        displaced.stored = true;
        displaced
    }

    /// Whether anything can happen to an entry but that somebody removes it.
    fn needs_account(&self, draft: &Draft<K, V>) -> bool {
        // Relaxed: `account_for_all` wrote it before it took this shard's lock, or will find this entry.
        draft.extra.is_some()
            || draft.held.is_failure()
            || self.memory.bounded.load(Ordering::Relaxed)
    }

    /// Makes room for an entry that is in its place and opens its account; false if there is no room for it.
    fn admit(
        &mut self,
        new: Found<'_, K, V>,
        account: Account,
        now: Timestamp,
        victims: &mut Victims<'a, K, V>,
    ) -> bool {
        let (budget, weight) = (&self.memory.budget, new.weight());
        let capacity = budget.capacity();
        self.is_changed = true;
        if weight > capacity || capacity == 0 {
            return false;
        }
        while !self.state.ledger.take(weight, budget) {
            let Some(victim) = self.make_way(now) else {
                return false;
            };
            victims.push(victim);
        }
        let residents = self.residents();
        self.state.ledger.open(new, account, &residents);
        true
    }

    /// Lets an entry go: what has expired gives way before anything fresh does.
    pub(super) fn make_way(&mut self, now: Timestamp) -> Option<Victim<'a, K, V>> {
        self.expire_one(now).or_else(|| self.evict())
    }

    /// Evicts whom the policy chooses.
    fn evict(&mut self) -> Option<Victim<'a, K, V>> {
        let residents = self.residents();
        let victim = self.state.ledger.evict(&residents)?;
        self.unlink(victim.found, false);
        Some(victim)
    }

    fn expire_one(&mut self, now: Timestamp) -> Option<Victim<'a, K, V>> {
        if now < self.state.ledger.due() {
            return None;
        }
        let residents = self.residents();
        let lives = &self.memory.lives;
        self.is_changed = true;
        let victim = self.state.ledger.expire(now, lives, &residents)?;
        self.unlink(victim.found, false);
        Some(victim)
    }

    /// Removes up to `most` entries whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp, most: usize, victims: &mut Victims<'a, K, V>) {
        for _ in 0..most {
            match self.expire_one(now) {
                Some(victim) => victims.push(victim),
                None => break,
            }
        }
    }

    fn count_unaccounted(&self, change: isize) {
        let count = self.shard.unaccounted().wrapping_add_signed(change);
        self.shard.set_unaccounted(count);
    }

    fn close_account(&mut self, found: Found<'_, K, V>) {
        if found.account() == Account::None {
            self.count_unaccounted(-1);
        } else {
            let residents = self.residents();
            self.state.ledger.close(found, &residents);
            self.is_changed = true;
        }
    }

    /// Unlinks an entry whose account is closed; false if it has left already.
    fn unlink(&mut self, found: Found<'_, K, V>, at_once: bool) -> bool {
        self.is_changed = true;
        let was_there = (self.shard.table).unlink(&mut self.state.room, found, self.pin);
        if was_there {
            self.leave(found, at_once);
        }
        was_there
    }

    /// Puts an entry that was unlinked in limbo.
    fn leave(&mut self, found: Found<'_, K, V>, at_once: bool) {
        let limbo = &mut self.state.limbo;
        let drops = Memory::<K, V>::HOLDS_SOMETHING || !found.is_plain();
        if limbo.gather(found.place, drops) >= self.memory.batch() || at_once {
            limbo.hand_over(&self.memory.shards, self.shard, self.pin);
        }
    }

    /// Unlinks an entry of this shard; false if it has left already.
    pub(crate) fn remove(&mut self, found: Found<'_, K, V>) -> bool {
        let was_there = self.unlink(found, Memory::<K, V>::HOLDS_SOMETHING);
        if was_there {
            self.close_account(found);
        }
        was_there
    }

    /// Unlinks everything in this shard.
    pub(crate) fn take_all(&mut self) -> Vec<Found<'a, K, V>> {
        let entries = (self.shard.table).unlink_all(&mut self.state.room, self.pin);
        for found in &entries {
            self.close_account(*found);
            self.leave(*found, false);
        }
        if self.state.ledger.is_empty() {
            self.state.ledger.clear();
        }
        entries
    }

    /// Unlinks every entry that carries a tag.
    pub(crate) fn take_tagged(&mut self, tag: &str) -> Vec<Found<'a, K, V>> {
        let residents = self.residents();
        let places = self.state.ledger.tagged(tag).into_iter();
        let entries: Vec<_> = places.map(|place| residents.of(place)).collect();
        for found in &entries {
            self.remove(*found);
        }
        entries
    }

    /// Evicts what is left, which weighs nothing, so that the policy does not know it.
    pub(super) fn evict_all(&mut self, victims: &mut Victims<'a, K, V>) {
        for found in self.take_all() {
            let cause = RemovalCause::Evicted;
            victims.push(Victim { found, cause });
        }
    }

    pub(super) fn set_share(&mut self, share: u64, entries: usize) {
        self.state.room.expect(entries);
        self.state.ledger.set_share(share);
    }

    /// Gives every entry an account and lets the policy know them.
    pub(super) fn account_for_all(&mut self) {
        let (residents, memory) = (self.residents(), self.memory);
        let ledger = &mut self.state.ledger;
        ledger.start_rules(|| memory.rules());
        for found in self.shard.table.iter(self.pin) {
            ledger.introduce(found, &memory.budget, &residents);
        }
        self.shard.set_unaccounted(0);
        self.is_changed = true;
    }
}
