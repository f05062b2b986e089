//! The accounts of one shard: what is resident, what it weighs, when it ends, which tags it has.
//!
//! It is behind the shard's lock, and draws on the one budget of the cache, so capacity is one number and not a share
//! per shard. What it knows of a single entry is written on the entry. Invariants: an entry's account is open from
//! before it is linked in the table until it is unlinked, under one hold of the lock; no user code runs here.

use std::collections::{HashMap, HashSet};

use super::budget::Budget;
use super::table::Place;
use super::{Found, Residents};
use crate::clock::Timestamp;
use crate::entry::{Account, Tag};
use crate::expiration::{Deadlines, Lives};
use crate::policy::Rules;
use crate::removal::RemovalCause;

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type FastSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// An entry that left its table, and why.
pub(crate) struct Victim<'g, K, V> {
    pub(crate) found: Found<'g, K, V>,
    pub(crate) cause: RemovalCause,
}

/// Usually none or one, and then without an allocation.
pub(crate) struct Victims<'g, K, V> {
    first: Option<Victim<'g, K, V>>,
    rest: Vec<Victim<'g, K, V>>,
}

impl<K, V> Default for Victims<'_, K, V> {
    fn default() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
        }
    }
}

impl<'g, K, V> Victims<'g, K, V> {
    pub(super) fn push(&mut self, victim: Victim<'g, K, V>) {
        match &mut self.first {
            None => self.first = Some(victim),
            Some(_) => self.rest.push(victim),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Victim<'g, K, V>> {
        self.first.iter().chain(&self.rest)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// `None` as long as nobody ever has to leave.
    rules: Option<Rules>,
    deadlines: Deadlines,
    /// The serial number of each entry that has a deadline. A deadline with another one is a left-over.
    timed: FastMap<Place, u64>,
    next_serial: u64,
    tags: FastMap<Tag, FastSet<Place>>,
    weight: u64,
    /// How many accounts are open.
    open: usize,
    /// What the budget has yet to hear of: weight that is free, and how many entries became fresh.
    freed: u64,
    fresh: i64,
}

impl Ledger {
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// What hits leave on entries.
    pub(super) fn epoch(&self) -> u16 {
        self.rules.as_ref().map_or(0, Rules::epoch)
    }

    /// The first moment at which something may have to happen.
    pub(super) fn due(&self) -> Timestamp {
        self.deadlines.first()
    }

    /// From now on the policy knows those who come in; those who are in are introduced to it one by one.
    pub(super) fn start_rules(&mut self, rules: impl FnOnce() -> Rules) {
        self.rules.get_or_insert_with(rules);
    }

    pub(super) fn set_share(&mut self, share: u64) {
        if let Some(rules) = &mut self.rules {
            rules.set_capacity(share);
        }
    }

    /// Tells the budget what it has yet to hear of.
    pub(super) fn settle(&mut self, budget: &Budget) {
        budget.count_fresh(std::mem::take(&mut self.fresh));
        budget.give(std::mem::take(&mut self.freed));
    }

    /// Adds what was reserved for a newcomer to what this shard freed.
    pub(super) fn free(&mut self, weight: u64) {
        self.freed += weight;
    }

    /// Takes a weight for a newcomer: from what this shard freed, and from the budget.
    pub(super) fn take(&mut self, weight: u64, budget: &Budget) -> bool {
        let own = self.freed.min(weight);
        let is_taken = own == weight || budget.take(weight - own);
        self.freed -= if is_taken { own } else { 0 };
        is_taken
    }

    /// A newcomer with this tag will ask for an account.
    #[inline]
    pub(super) fn expect(&self, tag: u32) {
        if let Some(rules) = &self.rules {
            rules.expect(tag);
        }
    }

    /// Opens the account of an entry that is in its place and whose weight was taken.
    pub(super) fn open<K, V>(
        &mut self,
        newcomer: Found<'_, K, V>,
        account: Account,
        residents: &Residents<'_, K, V>,
    ) {
        let weight = newcomer.weight();
        newcomer.set_account(account);
        self.open += 1;
        self.fresh += i64::from(account == Account::Fresh);
        self.weight += weight;
        if !newcomer.is_plain() {
            self.open_furnished(newcomer);
        }
        if let Some(rules) = &mut self.rules
            && weight > 0
        {
            rules.insert(newcomer.place, weight, residents);
        }
    }

    /// What only some entries have in their accounts: tags and a deadline.
    fn open_furnished<K, V>(&mut self, newcomer: Found<'_, K, V>) {
        let place = newcomer.place;
        for tag in newcomer.tags() {
            self.tags.entry(tag.clone()).or_default().insert(place);
        }
        let end = newcomer.end();
        if end < Timestamp::NEVER {
            self.next_serial += 1;
            self.timed.insert(place, self.next_serial);
            self.deadlines.push(end, (place, self.next_serial));
            self.drop_left_over_deadlines();
        }
    }

    /// Lets the policy know an entry that came in before the rules were started, with an account or without.
    pub(super) fn introduce<K, V>(
        &mut self,
        found: Found<'_, K, V>,
        budget: &Budget,
        residents: &Residents<'_, K, V>,
    ) {
        if found.account() == Account::None {
            budget.take_anyway(found.weight());
            return self.open(found, Account::Fresh, residents);
        }
        let weight = found.weight();
        if let Some(rules) = &mut self.rules
            && weight > 0
            && !rules.knows(found.place)
        {
            rules.insert(found.place, weight, residents);
        }
    }

    /// Closes an entry's account.
    pub(super) fn close<K, V>(&mut self, found: Found<'_, K, V>, residents: &Residents<'_, K, V>) {
        if let Some(rules) = &mut self.rules
            && found.weight() > 0
        {
            rules.remove(found.place, residents);
        }
        self.forget(found);
    }

    /// Closes an account but for the policy's part.
    fn forget<K, V>(&mut self, found: Found<'_, K, V>) {
        let weight = found.weight();
        self.open -= 1;
        self.fresh -= i64::from(found.account() == Account::Fresh);
        self.weight -= weight;
        self.freed += weight;
        if !found.is_plain() {
            self.forget_furnished(found);
        }
    }

    fn forget_furnished<K, V>(&mut self, found: Found<'_, K, V>) {
        for tag in found.tags() {
            if let Some(places) = self.tags.get_mut(tag) {
                places.remove(&found.place);
                if places.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
        if found.end() < Timestamp::NEVER {
            self.timed.remove(&found.place);
        }
    }

    /// Closes the account of whom the policy chooses; `None` if it knows nobody.
    pub(super) fn evict<'g, K, V>(
        &mut self,
        residents: &Residents<'g, K, V>,
    ) -> Option<Victim<'g, K, V>> {
        let place = self.rules.as_mut()?.victim(residents)?;
        let found = residents.of(place);
        self.forget(found);
        let cause = RemovalCause::Evicted;
        Some(Victim { found, cause })
    }

    /// Closes the account of an entry whose time is over.
    pub(super) fn expire<'g, K, V>(
        &mut self,
        now: Timestamp,
        lives: &Lives,
        residents: &Residents<'g, K, V>,
    ) -> Option<Victim<'g, K, V>> {
        while let Some((place, serial)) = self.deadlines.pop_due(now) {
            if self.timed.get(&place) != Some(&serial) {
                continue;
            }
            let found = residents.of(place);
            if self.is_over(found, serial, now, lives) {
                self.close(found, residents);
                let cause = RemovalCause::Expired;
                return Some(Victim { found, cause });
            }
        }
        None
    }

    /// Whether an entry's time is over; if not, notes when to ask again.
    fn is_over<K, V>(
        &mut self,
        found: Found<'_, K, V>,
        serial: u64,
        now: Timestamp,
        lives: &Lives,
    ) -> bool {
        let (end, account) = (found.end(), found.account());
        let kept_until = match account {
            Account::Failure => end,
            _ => lives.kept_until(end),
        };
        let again = if now < end { end } else { kept_until };
        if now >= again {
            return true;
        }
        if now >= end && account == Account::Fresh {
            found.set_account(Account::Stale);
            self.fresh -= 1;
        }
        self.deadlines.push(again, (found.place, serial));
        false
    }

    /// Forgets deadlines of entries that are gone once they are the larger part.
    fn drop_left_over_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.timed.len() + 64 {
            let timed = &self.timed;
            (self.deadlines).retain(|(place, serial)| timed.get(&place) == Some(&serial));
        }
    }

    /// The entries that carry a tag.
    pub(super) fn tagged(&self, tag: &str) -> Vec<Place> {
        let places = self.tags.get(tag);
        places.into_iter().flatten().copied().collect()
    }

    /// Forgets what policy and deadlines learnt; nothing is left to know.
    pub(super) fn clear(&mut self) {
        if let Some(rules) = &mut self.rules {
            rules.clear();
        }
        self.deadlines.clear();
    }

    /// Panics unless all sums are right and `entries` are exactly those with open accounts. Returns how many are fresh.
    pub(super) fn assert_consistent(&self, entries: &[(Place, u64, Account)]) -> u64 {
        assert_eq!(
            self.open,
            entries.len(),
            "accounts and entries are the same"
        );
        let weights = entries.iter().map(|(_, weight, _)| weight);
        assert_eq!(self.weight, weights.sum());
        assert_eq!((self.freed, self.fresh), (0, 0), "the budget heard of all");
        if let Some(rules) = &self.rules {
            let weighty = entries.iter().filter(|(_, weight, _)| *weight > 0);
            let weighty: Vec<_> = weighty
                .map(|(place, weight, _)| (*place, *weight))
                .collect();
            rules.assert_consistent(&weighty);
        }
        let fresh = entries.iter().filter(|entry| entry.2 == Account::Fresh);
        fresh.count() as u64
    }
}
