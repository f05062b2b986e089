//! The accounts of the memory tier: what is resident, what it weighs, when it ends, which tags it has.
//!
//! One ledger for the whole cache, behind one lock that only writers take, so capacity is one number and not a
//! share per shard. Invariants: the total weight never exceeds the capacity; every entry in a table has a
//! record from before it was published until someone decided its removal; no user code runs here.

use std::collections::{HashMap, HashSet};

use crate::clock::Timestamp;
use crate::entry::Tag;
use crate::expiration::{Deadlines, Lives};
use crate::policy::{Marks, Policy, Rules};
use crate::removal::RemovalCause;

/// Number (low half) and generation (high half) of a record.
pub(crate) type EntryId = u64;

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type FastSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// What the ledger asks of the entries themselves. The answers come from the tables, without a lock.
pub(crate) trait Residents {
    fn take_bit(&self, hash: u64, id: EntryId) -> bool;
    fn tick(&self, hash: u64, id: EntryId) -> u64;
    /// The end of life as moved by hits, or `None` if the entry is not in a table (yet, or any more).
    fn end(&self, hash: u64, id: EntryId) -> Option<Timestamp>;
}

/// An entry that wants to come in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) hash: u64,
    pub(crate) weight: u64,
    pub(crate) tick: u64,
    pub(crate) end: Timestamp,
    pub(crate) tags: Box<[Tag]>,
    pub(crate) is_failure: bool,
}

impl Newcomer {
    /// One of weight 1, without an end or tags.
    pub(crate) fn plain(hash: u64, tick: u64) -> Self {
        Self {
            hash,
            weight: 1,
            tick,
            end: Timestamp::NEVER,
            tags: Box::default(),
            is_failure: false,
        }
    }
}

/// An entry that must leave its table; its record is gone already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) hash: u64,
    pub(crate) id: EntryId,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Vacant,
    /// Counted by `len`.
    Fresh,
    /// Expired, but kept as a stand-in while it is refreshed or if the load fails.
    Stale,
    Failure,
}

#[derive(Debug)]
struct Record {
    state: State,
    generation: u32,
    hash: u64,
    weight: u64,
    tags: Box<[Tag]>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    records: Vec<Record>,
    vacant: Vec<u32>,
    policy: Policy,
    /// `None` as long as the capacity has no end and nobody had to leave.
    rules: Option<Box<dyn Rules>>,
    lives: Lives,
    deadlines: Deadlines,
    tags: FastMap<Tag, FastSet<EntryId>>,
    /// Victims that carry tags and may still be in their tables, where a tag must find them.
    leaving: FastMap<EntryId, (u64, Box<[Tag]>)>,
    weight: u64,
    capacity: u64,
    fresh: usize,
}

/// The policy's view of the residents: numbers instead of ids.
struct Marked<'a> {
    records: &'a [Record],
    residents: &'a dyn Residents,
}

impl Marks for Marked<'_> {
    fn take_bit(&self, number: u32) -> bool {
        let record = &self.records[number as usize];
        self.residents.take_bit(record.hash, id_of(number, record))
    }

    fn tick(&self, number: u32) -> u64 {
        let record = &self.records[number as usize];
        self.residents.tick(record.hash, id_of(number, record))
    }
}

fn id_of(number: u32, record: &Record) -> EntryId {
    u64::from(record.generation) << 32 | u64::from(number)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is the number"
)]
fn number_of(id: EntryId) -> u32 {
    id as u32
}

impl Ledger {
    pub(crate) fn new(policy: Policy, capacity: u64, lives: Lives) -> Self {
        Self {
            records: Vec::new(),
            vacant: Vec::new(),
            policy,
            rules: (capacity < u64::MAX).then(|| policy.rules(capacity)),
            lives,
            deadlines: Deadlines::default(),
            tags: FastMap::default(),
            leaving: FastMap::default(),
            weight: 0,
            capacity,
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

    /// Whether an entry of this weight could come in at all.
    pub(crate) fn admits(&self, weight: u64) -> bool {
        weight <= self.capacity && self.capacity > 0
    }

    /// Whether such an entry could come in without anybody leaving.
    pub(crate) fn has_room(&self, weight: u64) -> bool {
        self.weight <= self.capacity - weight
    }

    /// Makes room for an entry that is admitted, and opens its record.
    pub(crate) fn add(
        &mut self,
        newcomer: Newcomer,
        victims: &mut Victims,
        residents: &dyn Residents,
    ) -> EntryId {
        self.shrink_to(self.capacity - newcomer.weight, victims, residents);
        let number = self.vacant.pop().unwrap_or_else(|| self.grow());
        let record = &mut self.records[number as usize];
        record.state = if newcomer.is_failure {
            State::Failure
        } else {
            State::Fresh
        };
        record.hash = newcomer.hash;
        record.weight = newcomer.weight;
        record.tags = newcomer.tags;
        let id = id_of(number, record);
        for tag in &record.tags {
            self.tags.entry(tag.clone()).or_default().insert(id);
        }
        self.fresh += usize::from(!newcomer.is_failure);
        self.weight += newcomer.weight;
        self.deadlines.push(newcomer.end, id);
        self.drop_left_over_deadlines();
        if let Some(rules) = &mut self.rules
            && newcomer.weight > 0
        {
            rules.insert(number, newcomer.hash, newcomer.weight, newcomer.tick);
        }
        id
    }

    fn grow(&mut self) -> u32 {
        let number = u32::try_from(self.records.len()).expect("fewer than 2^32 entries");
        self.records.push(Record {
            state: State::Vacant,
            generation: 0,
            hash: 0,
            weight: 0,
            tags: Box::default(),
        });
        number
    }

    /// Closes an entry's record; false if somebody else decided its removal before.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        if self.close(id).is_none() {
            return false;
        }
        if let Some(rules) = &mut self.rules {
            rules.remove(number_of(id));
        }
        true
    }

    /// Closes the record of an entry that has yet to leave its table.
    fn condemn(&mut self, id: EntryId, cause: RemovalCause) -> Victim {
        let (hash, tags) = self.close(id).expect("only open records are condemned");
        let is_tagged = !tags.is_empty();
        if is_tagged {
            self.leaving.insert(id, (hash, tags));
        }
        Victim {
            hash,
            id,
            cause,
            is_tagged,
        }
    }

    /// A tagged victim has left its table.
    pub(crate) fn left(&mut self, id: EntryId) {
        self.leaving.remove(&id);
    }

    /// Closes a record on all accounts but the policy's.
    fn close(&mut self, id: EntryId) -> Option<(u64, Box<[Tag]>)> {
        let record = self.records.get_mut(number_of(id) as usize)?;
        if record.state == State::Vacant || id_of(number_of(id), record) != id {
            return None;
        }
        self.fresh -= usize::from(record.state == State::Fresh);
        self.weight -= record.weight;
        record.state = State::Vacant;
        // A number whose generations are used up is retired, so an id never comes back.
        if let Some(generation) = record.generation.checked_add(1) {
            record.generation = generation;
            self.vacant.push(number_of(id));
        }
        let hash = record.hash;
        let tags = std::mem::take(&mut record.tags);
        for tag in &tags {
            if let Some(ids) = self.tags.get_mut(tag) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
        Some((hash, tags))
    }

    fn shrink_to(&mut self, weight: u64, victims: &mut Victims, residents: &dyn Residents) {
        if self.weight <= weight {
            return;
        }
        self.start_rules(residents);
        while self.weight > weight {
            let marks = Marked {
                records: &self.records,
                residents,
            };
            let number = (self.rules.as_mut())
                .and_then(|rules| rules.victim(&marks))
                .expect("entries with a weight are known to the policy");
            let id = id_of(number, &self.records[number as usize]);
            victims.push(self.condemn(id, RemovalCause::Evicted));
        }
    }

    pub(crate) fn set_capacity(
        &mut self,
        capacity: u64,
        victims: &mut Victims,
        residents: &dyn Residents,
    ) {
        self.capacity = capacity;
        if capacity < u64::MAX {
            self.start_rules(residents);
        }
        if let Some(rules) = &mut self.rules {
            rules.set_capacity(capacity);
        }
        self.shrink_to(capacity, victims, residents);
        if capacity == 0 {
            let weightless: Vec<EntryId> = self.ids().collect();
            for id in weightless {
                victims.push(self.condemn(id, RemovalCause::Evicted));
            }
        }
    }

    /// From the first time that somebody may have to leave, a policy keeps the entries in order.
    fn start_rules(&mut self, residents: &dyn Residents) {
        if self.rules.is_some() {
            return;
        }
        let mut rules = self.policy.rules(self.capacity);
        let mut by_age: Vec<(u64, u32)> = self
            .ids()
            .map(|id| (id, &self.records[number_of(id) as usize]))
            .filter(|(_, record)| record.weight > 0)
            .map(|(id, record)| (residents.tick(record.hash, id), number_of(id)))
            .collect();
        by_age.sort_unstable();
        for (tick, number) in by_age {
            let record = &self.records[number as usize];
            rules.insert(number, record.hash, record.weight, tick);
        }
        self.rules = Some(rules);
    }

    fn ids(&self) -> impl Iterator<Item = EntryId> {
        (0u32..)
            .zip(&self.records)
            .filter(|(_, record)| record.state != State::Vacant)
            .map(|(number, record)| id_of(number, record))
    }

    /// Closes the records of up to `most` entries whose time is over.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        most: usize,
        victims: &mut Victims,
        residents: &dyn Residents,
    ) {
        for _ in 0..most {
            let Some(id) = self.deadlines.pop_due(now) else {
                break;
            };
            if let Some(victim) = self.expire_one(id, now, residents) {
                victims.push(victim);
            }
        }
    }

    fn expire_one(
        &mut self,
        id: EntryId,
        now: Timestamp,
        residents: &dyn Residents,
    ) -> Option<Victim> {
        let record = self.records.get_mut(number_of(id) as usize)?;
        if record.state == State::Vacant || id_of(number_of(id), record) != id {
            return None;
        }
        // An entry that is not in its table yet was due when it was written.
        let end = residents.end(record.hash, id).unwrap_or(now);
        let kept_until = match record.state {
            State::Failure => end,
            _ => self.lives.kept_until(end),
        };
        let again = if now < end { end } else { kept_until };
        if now < again {
            if now >= end && record.state == State::Fresh {
                record.state = State::Stale;
                self.fresh -= 1;
            }
            self.deadlines.push(again, id);
            return None;
        }
        if let Some(rules) = &mut self.rules {
            rules.remove(number_of(id));
        }
        Some(self.condemn(id, RemovalCause::Expired))
    }

    /// Forgets deadlines of entries that are gone once they are the larger part.
    fn drop_left_over_deadlines(&mut self) {
        let open = self.records.len() - self.vacant.len();
        if self.deadlines.len() > 2 * open + 64 {
            let records = &self.records;
            self.deadlines.retain(|id| {
                let record = &records[number_of(id) as usize];
                record.state != State::Vacant && id_of(number_of(id), record) == id
            });
        }
    }

    /// The entries that carry a tag and may be in their tables.
    pub(crate) fn tagged(&self, tag: &str) -> Vec<(u64, EntryId)> {
        let ids = self.tags.get(tag).into_iter().flatten();
        let resident = ids.map(|id| (self.records[number_of(*id) as usize].hash, *id));
        let leaving = self.leaving.iter();
        let leaving = leaving.filter(|(_, (_, tags))| tags.iter().any(|other| **other == *tag));
        resident
            .chain(leaving.map(|(id, (hash, _))| (*hash, *id)))
            .collect()
    }

    /// Forgets what policy and deadlines learnt, if nothing is left to know.
    pub(crate) fn forget_if_empty(&mut self) {
        if self.ids().next().is_none() {
            if let Some(rules) = &mut self.rules {
                rules.clear();
            }
            self.deadlines.clear();
        }
    }

    /// Panics unless all sums are right and `entries` (id and weight) are exactly the open records.
    pub(crate) fn assert_consistent(&self, entries: &[(EntryId, u64)]) {
        let mut open: Vec<EntryId> = self.ids().collect();
        let mut found: Vec<EntryId> = entries.iter().map(|(id, _)| *id).collect();
        open.sort_unstable();
        found.sort_unstable();
        assert_eq!(open, found, "records and entries are the same");
        assert_eq!(self.weight, entries.iter().map(|(_, weight)| weight).sum());
        assert!(self.weight <= self.capacity);
        let fresh = self.records.iter().filter(|r| r.state == State::Fresh);
        assert_eq!(fresh.count(), self.fresh);
        let weighty: Vec<(u32, u64)> = entries
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(id, weight)| (number_of(*id), *weight))
            .collect();
        if let Some(rules) = &self.rules {
            rules.assert_consistent(&weighty);
        }
        assert!(self.leaving.is_empty(), "victims have left");
        let tagged: usize = self.tags.values().map(HashSet::len).sum();
        assert_eq!(tagged, self.records.iter().map(|r| r.tags.len()).sum());
    }
}
