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
use crate::clock::Timestamp;
use crate::entry::{Account, Tag};
use crate::expiration::{Deadlines, Lives};
use crate::policy::{Marks, Policy, Rules, Signals};
use crate::removal::RemovalCause;

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type FastSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// What the ledger asks of the entries themselves, and notes on them. It asks only about those it has, or takes.
pub(crate) trait Residents: Marks {
    fn account(&self, number: Number) -> Account;
    fn set_account(&self, number: Number, account: Account);
    /// The end of life, as moved by hits.
    fn end(&self, number: Number) -> Timestamp;
    fn tags(&self, number: Number) -> &[Tag];
}

/// An entry that must leave its table; its account is closed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) number: Number,
    pub(crate) cause: RemovalCause,
    /// Whether the ledger must be told when it has left its table.
    pub(crate) is_tagged: bool,
}

/// Usually none or one, and then without an allocation.
#[derive(Debug, Default)]
pub(crate) struct Victims {
    first: Option<Victim>,
    rest: Vec<Victim>,
}

impl Victims {
    fn push(&mut self, victim: Victim) {
        match &mut self.first {
            None => self.first = Some(victim),
            Some(_) => self.rest.push(victim),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl IntoIterator for Victims {
    type Item = Victim;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Victim>, std::vec::IntoIter<Victim>>;

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
    pub(crate) fn admit(
        &mut self,
        number: Number,
        account: Account,
        now: Timestamp,
        victims: &mut Victims,
        residents: &impl Residents,
    ) -> bool {
        let weight = residents.weight(number);
        if weight > self.capacity || self.capacity == 0 {
            return false;
        }
        if self.weight > self.capacity - weight {
            // What has expired gives way before anything fresh does.
            self.expire(now, EXPIRED_PER_WRITE, victims, residents);
            self.shrink_to(self.capacity - weight, victims, residents);
        }
        if self.weight > self.capacity - weight {
            return false;
        }
        self.open(number, account, weight, residents);
        true
    }

    fn open(&mut self, number: Number, account: Account, weight: u64, residents: &impl Residents) {
        residents.set_account(number, account);
        self.open += 1;
        self.fresh += usize::from(account == Account::Fresh);
        self.weight += weight;
        for tag in residents.tags(number) {
            self.tags.entry(tag.clone()).or_default().insert(number);
        }
        let end = residents.end(number);
        if end < Timestamp::NEVER {
            self.next_serial += 1;
            self.timed.insert(number, self.next_serial);
            self.deadlines.push(end, (number, self.next_serial));
            self.drop_left_over_deadlines();
        }
        if let Some(rules) = &mut self.rules
            && weight > 0
        {
            rules.insert(number, weight, residents);
        }
    }

    /// Lets the policy know an entry that came in before the rules were started, with an account or without.
    pub(crate) fn introduce(
        &mut self,
        number: Number,
        victims: &mut Victims,
        residents: &impl Residents,
    ) {
        let weight = residents.weight(number);
        match residents.account(number) {
            Account::None => {
                self.shrink_to(self.capacity.saturating_sub(weight), victims, residents);
                self.open(number, Account::Fresh, weight, residents);
            }
            Account::Closed => {}
            _ => {
                if let Some(rules) = &mut self.rules
                    && weight > 0
                    && !rules.knows(number)
                {
                    rules.insert(number, weight, residents);
                }
            }
        }
    }

    /// Closes the account of an entry without a weight, for which the policy has no use.
    pub(crate) fn evict(
        &mut self,
        number: Number,
        victims: &mut Victims,
        residents: &impl Residents,
    ) {
        if residents.account(number) != Account::Closed {
            victims.push(self.condemn(number, RemovalCause::Evicted, residents));
        }
    }

    /// An entry was hit whose tag is in the policy's sample.
    pub(crate) fn sampled(&mut self, tag: u32, weight: u64) {
        if let Some(rules) = &mut self.rules {
            rules.sampled(tag, weight);
        }
    }

    /// Closes an entry's account; false if somebody else decided its removal before.
    pub(crate) fn remove(&mut self, number: Number, residents: &impl Residents) -> bool {
        if residents.account(number) == Account::Closed {
            return false;
        }
        if let Some(rules) = &mut self.rules
            && residents.weight(number) > 0
        {
            rules.remove(number, residents);
        }
        self.close(number, residents);
        true
    }

    /// Closes the account of an entry that has yet to leave its table.
    fn condemn(
        &mut self,
        number: Number,
        cause: RemovalCause,
        residents: &impl Residents,
    ) -> Victim {
        self.close(number, residents);
        let tags = residents.tags(number);
        if !tags.is_empty() {
            self.leaving.insert(number, tags.into());
        }
        Victim {
            number,
            cause,
            is_tagged: !tags.is_empty(),
        }
    }

    /// A tagged victim has left its table.
    pub(crate) fn left(&mut self, number: Number) {
        self.leaving.remove(&number);
    }

    /// Closes an account but for the policy's part.
    fn close(&mut self, number: Number, residents: &impl Residents) {
        self.open -= 1;
        self.fresh -= usize::from(residents.account(number) == Account::Fresh);
        self.weight -= residents.weight(number);
        residents.set_account(number, Account::Closed);
        for tag in residents.tags(number) {
            if let Some(numbers) = self.tags.get_mut(tag) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
        if residents.end(number) < Timestamp::NEVER {
            self.timed.remove(&number);
        }
    }

    fn shrink_to(&mut self, weight: u64, victims: &mut Victims, residents: &impl Residents) {
        while self.weight > weight {
            let victim = self
                .rules
                .as_mut()
                .and_then(|rules| rules.victim(residents));
            // Nobody is known to the policy while its rules are being started.
            let Some(number) = victim else { break };
            victims.push(self.condemn(number, RemovalCause::Evicted, residents));
        }
    }

    pub(crate) fn set_capacity(
        &mut self,
        capacity: u64,
        victims: &mut Victims,
        residents: &impl Residents,
    ) {
        self.capacity = capacity;
        if let Some(rules) = &mut self.rules {
            rules.set_capacity(capacity);
        }
        self.shrink_to(capacity, victims, residents);
    }

    /// Closes the accounts of up to `most` entries whose time is over.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        most: usize,
        victims: &mut Victims,
        residents: &impl Residents,
    ) {
        for _ in 0..most {
            let Some((number, serial)) = self.deadlines.pop_due(now) else {
                break;
            };
            if self.timed.get(&number) == Some(&serial)
                && let Some(victim) = self.expire_one(number, serial, now, residents)
            {
                victims.push(victim);
            }
        }
    }

    fn expire_one(
        &mut self,
        number: Number,
        serial: u64,
        now: Timestamp,
        residents: &impl Residents,
    ) -> Option<Victim> {
        let end = residents.end(number);
        let account = residents.account(number);
        let kept_until = match account {
            Account::Failure => end,
            _ => self.lives.kept_until(end),
        };
        let again = if now < end { end } else { kept_until };
        if now < again {
            if now >= end && account == Account::Fresh {
                residents.set_account(number, Account::Stale);
                self.fresh -= 1;
            }
            self.deadlines.push(again, (number, serial));
            return None;
        }
        if let Some(rules) = &mut self.rules
            && residents.weight(number) > 0
        {
            rules.remove(number, residents);
        }
        Some(self.condemn(number, RemovalCause::Expired, residents))
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
