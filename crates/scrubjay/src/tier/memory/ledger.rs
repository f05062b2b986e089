//! The accounts of the memory tier: what is resident, what it weighs, when it ends, which tags it has.
//!
//! One ledger for the whole cache, behind one lock that only writers take, so capacity is one number and not a
//! share per shard. What it knows of a single entry is written on the entry. Invariants: the total weight never exceeds
//! the capacity; an entry's account is open from before it is linked in its table until someone decides its removal;
//! whoever closes it, and nobody else, forgets the entry's number; no user code runs here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::EXPIRED_PER_WRITE;
use super::table::Number;
use super::{Found, Residents};
use crate::clock::Timestamp;
use crate::entry::{Account, Tag};
use crate::expiration::{Deadlines, Lives};
use crate::policy::{Curve, Policy, Rules, Signals};
use crate::removal::RemovalCause;

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type FastSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// An entry that must leave its table; its account is closed already.
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
    fn push(&mut self, victim: Victim<'g, K, V>) {
        match &mut self.first {
            None => self.first = Some(victim),
            Some(_) => self.rest.push(victim),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl<'g, K, V> IntoIterator for Victims<'g, K, V> {
    type Item = Victim<'g, K, V>;
    type IntoIter = std::iter::Chain<
        std::option::IntoIter<Victim<'g, K, V>>,
        std::vec::IntoIter<Victim<'g, K, V>>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    policy: Policy,
    signals: Arc<Signals>,
    /// `None` as long as nobody ever has to leave.
    rules: Option<Box<dyn Rules>>,
    lives: Lives,
    deadlines: Deadlines,
    /// The serial number of each entry that has a deadline. A deadline with another one is a left-over.
    timed: FastMap<Number, u64>,
    next_serial: u64,
    tags: FastMap<Tag, FastSet<Number>>,
    /// Victims that carry tags and may still be in their tables, where a tag must find them.
    leaving: FastMap<Number, Box<[Tag]>>,
    weight: u64,
    capacity: u64,
    /// How many accounts are open, and how many of them are of fresh entries.
    open: usize,
    fresh: usize,
}

impl Ledger {
    pub(crate) fn new(policy: Policy, capacity: u64, lives: Lives, signals: Arc<Signals>) -> Self {
        Self {
            policy,
            signals,
            rules: None,
            lives,
            deadlines: Deadlines::default(),
            timed: FastMap::default(),
            next_serial: 0,
            tags: FastMap::default(),
            leaving: FastMap::default(),
            weight: 0,
            capacity,
            open: 0,
            fresh: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// From now on the policy knows those who come in; those who are in are introduced to it one by one.
    pub(crate) fn start_rules(&mut self) {
        let signals = &self.signals;
        self.rules
            .get_or_insert_with(|| self.policy.rules(self.capacity, signals.clone()));
    }

    /// Opens the account of an entry that is in its place, and makes room for it; false if it is too heavy.
    pub(crate) fn admit<'g, K, V>(
        &mut self,
        newcomer: Found<'_, K, V>,
        account: Account,
        now: Timestamp,
        victims: &mut Victims<'g, K, V>,
        residents: &Residents<'g, K, V>,
    ) -> bool {
        let weight = newcomer.weight();
        if weight > self.capacity || self.capacity == 0 {
            return false;
        }
        let room = self.capacity - weight;
        if self.weight > room {
            // What has expired gives way before anything fresh does.
            if !self.timed.is_empty() {
                self.expire(now, EXPIRED_PER_WRITE, victims, residents);
            }
            self.shrink_to(room, victims, residents);
            if self.weight > room {
                return false;
            }
        }
        self.open(newcomer, account, weight, residents);
        true
    }

    fn open<K, V>(
        &mut self,
        newcomer: Found<'_, K, V>,
        account: Account,
        weight: u64,
        residents: &Residents<'_, K, V>,
    ) {
        newcomer.set_account(account);
        self.open += 1;
        self.fresh += usize::from(account == Account::Fresh);
        self.weight += weight;
        if !newcomer.is_plain() {
            self.open_furnished(newcomer);
        }
        if let Some(rules) = &mut self.rules
            && weight > 0
        {
            rules.insert(newcomer.number, weight, residents);
        }
    }

    /// What only some entries have in their accounts: tags and a deadline.
    fn open_furnished<K, V>(&mut self, newcomer: Found<'_, K, V>) {
        let number = newcomer.number;
        for tag in newcomer.tags() {
            self.tags.entry(tag.clone()).or_default().insert(number);
        }
        let end = newcomer.end();
        if end < Timestamp::NEVER {
            self.next_serial += 1;
            self.timed.insert(number, self.next_serial);
            self.deadlines.push(end, (number, self.next_serial));
            self.drop_left_over_deadlines();
        }
    }

    /// Lets the policy know an entry that came in before the rules were started, with an account or without.
    pub(crate) fn introduce<'g, K, V>(
        &mut self,
        found: Found<'g, K, V>,
        victims: &mut Victims<'g, K, V>,
        residents: &Residents<'g, K, V>,
    ) {
        let weight = found.weight();
        match found.account() {
            Account::None => {
                self.shrink_to(self.capacity.saturating_sub(weight), victims, residents);
                self.open(found, Account::Fresh, weight, residents);
            }
            Account::Closed => {}
            _ => {
                if let Some(rules) = &mut self.rules
                    && weight > 0
                    && !rules.knows(found.number)
                {
                    rules.insert(found.number, weight, residents);
                }
            }
        }
    }

    /// What other capacities would hit, if the policy knows.
    pub(crate) fn curve(&self) -> Option<Curve> {
        self.rules.as_ref().and_then(|rules| rules.curve())
    }

    /// An entry was hit whose tag is in the policy's sample.
    pub(crate) fn sampled(&mut self, tag: u32, weight: u64) {
        if let Some(rules) = &mut self.rules {
            rules.sampled(tag, weight);
        }
    }

    /// Closes the account of an entry without a weight, for which the policy has no use.
    pub(crate) fn evict<'g, K, V>(
        &mut self,
        found: Found<'g, K, V>,
        victims: &mut Victims<'g, K, V>,
    ) {
        if found.account() != Account::Closed {
            victims.push(self.condemn(found, RemovalCause::Evicted));
        }
    }

    /// Closes an entry's account, unless somebody else decided its removal before.
    pub(crate) fn remove<K, V>(&mut self, found: Found<'_, K, V>, residents: &Residents<'_, K, V>) {
        if found.account() != Account::Closed {
            self.forget(found, residents);
            self.close(found);
        }
    }

    /// Takes an entry away from the policy.
    fn forget<K, V>(&mut self, found: Found<'_, K, V>, residents: &Residents<'_, K, V>) {
        if let Some(rules) = &mut self.rules
            && found.weight() > 0
        {
            rules.remove(found.number, residents);
        }
    }

    /// Closes the account of an entry that has yet to leave its table.
    fn condemn<'g, K, V>(
        &mut self,
        found: Found<'g, K, V>,
        cause: RemovalCause,
    ) -> Victim<'g, K, V> {
        self.close(found);
        let tags = found.tags();
        if !tags.is_empty() {
            self.leaving.insert(found.number, tags.into());
        }
        Victim { found, cause }
    }

    /// A tagged victim has left its table.
    pub(crate) fn left(&mut self, number: Number) {
        self.leaving.remove(&number);
    }

    /// Closes an account but for the policy's part.
    fn close<K, V>(&mut self, found: Found<'_, K, V>) {
        self.open -= 1;
        self.fresh -= usize::from(found.account() == Account::Fresh);
        self.weight -= found.weight();
        found.set_account(Account::Closed);
        if !found.is_plain() {
            self.close_furnished(found);
        }
    }

    fn close_furnished<K, V>(&mut self, found: Found<'_, K, V>) {
        for tag in found.tags() {
            if let Some(numbers) = self.tags.get_mut(tag) {
                numbers.remove(&found.number);
                if numbers.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
        if found.end() < Timestamp::NEVER {
            self.timed.remove(&found.number);
        }
    }

    fn shrink_to<'g, K, V>(
        &mut self,
        weight: u64,
        victims: &mut Victims<'g, K, V>,
        residents: &Residents<'g, K, V>,
    ) {
        while self.weight > weight {
            let victim = self
                .rules
                .as_mut()
                .and_then(|rules| rules.victim(residents));
            // Nobody is known to the policy while its rules are being started.
            let Some(number) = victim else { break };
            victims.push(self.condemn(residents.of(number), RemovalCause::Evicted));
        }
    }

    pub(crate) fn set_capacity<'g, K, V>(
        &mut self,
        capacity: u64,
        victims: &mut Victims<'g, K, V>,
        residents: &Residents<'g, K, V>,
    ) {
        self.capacity = capacity;
        if let Some(rules) = &mut self.rules {
            rules.set_capacity(capacity);
        }
        self.shrink_to(capacity, victims, residents);
    }

    /// Closes the accounts of up to `most` entries whose time is over.
    pub(crate) fn expire<'g, K, V>(
        &mut self,
        now: Timestamp,
        most: usize,
        victims: &mut Victims<'g, K, V>,
        residents: &Residents<'g, K, V>,
    ) {
        for _ in 0..most {
            let Some((number, serial)) = self.deadlines.pop_due(now) else {
                break;
            };
            if self.timed.get(&number) == Some(&serial)
                && let Some(victim) = self.expire_one(residents.of(number), serial, now, residents)
            {
                victims.push(victim);
            }
        }
    }

    fn expire_one<'g, K, V>(
        &mut self,
        found: Found<'g, K, V>,
        serial: u64,
        now: Timestamp,
        residents: &Residents<'g, K, V>,
    ) -> Option<Victim<'g, K, V>> {
        let (end, account) = (found.end(), found.account());
        let kept_until = match account {
            Account::Failure => end,
            _ => self.lives.kept_until(end),
        };
        let again = if now < end { end } else { kept_until };
        if now < again {
            if now >= end && account == Account::Fresh {
                found.set_account(Account::Stale);
                self.fresh -= 1;
            }
            self.deadlines.push(again, (found.number, serial));
            return None;
        }
        self.forget(found, residents);
        Some(self.condemn(found, RemovalCause::Expired))
    }

    /// Forgets deadlines of entries that are gone once they are the larger part.
    fn drop_left_over_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.timed.len() + 64 {
            let timed = &self.timed;
            (self.deadlines).retain(|(number, serial)| timed.get(&number) == Some(&serial));
        }
    }

    /// The entries that carry a tag and may be in their tables.
    pub(crate) fn tagged(&self, tag: &str) -> Vec<Number> {
        let resident = self.tags.get(tag).into_iter().flatten();
        let leaving = self.leaving.iter();
        let leaving = leaving.filter(|(_, tags)| tags.iter().any(|other| **other == *tag));
        resident
            .chain(leaving.map(|(number, _)| number))
            .copied()
            .collect()
    }

    /// Forgets what policy and deadlines learnt, if nothing is left to know.
    pub(crate) fn forget_if_empty(&mut self) {
        if self.open == 0 {
            if let Some(rules) = &mut self.rules {
                rules.clear();
            }
            self.deadlines.clear();
        }
    }

    /// Panics unless all sums are right and `entries` are exactly those with open accounts.
    pub(crate) fn assert_consistent(&self, entries: &[(Number, u64, Account)]) {
        assert_eq!(
            self.open,
            entries.len(),
            "accounts and entries are the same"
        );
        let weights = entries.iter().map(|(_, weight, _)| weight);
        assert_eq!(self.weight, weights.sum());
        assert!(self.weight <= self.capacity);
        let fresh = entries.iter().filter(|entry| entry.2 == Account::Fresh);
        assert_eq!(fresh.count(), self.fresh);
        assert!(entries.iter().all(|entry| entry.2 != Account::Closed));
        if let Some(rules) = &self.rules {
            let weighty = entries.iter().filter(|(_, weight, _)| *weight > 0);
            let weighty: Vec<_> = weighty
                .map(|(number, weight, _)| (*number, *weight))
                .collect();
            rules.assert_consistent(&weighty);
        }
        assert!(self.leaving.is_empty(), "victims have left");
    }
}
