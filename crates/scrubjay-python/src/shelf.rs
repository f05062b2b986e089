//! The entries of a memory: values with their lives, weights and tags, and the flights of loads that run.
//!
//! Invariants, which hold whenever no method runs:
//! 1. The weight of all values is at most the capacity.
//! 2. An entry has a value, or a flight, or both; one without a value has no weight, no tags and no deadline.
//! 3. A flight in an entry is current: whatever makes the entry untrue takes the flight out, so a load that was
//!    overtaken finds its flight gone and stores nothing.
//! 4. `deadlines` and `tagged` name exactly the entries that have them.
//!
//! Nothing here runs Python code. What is replaced is handed to the caller, who drops it outside the section.

use crate::clock::{Moment, NEVER};
use crate::counters::Counters;
use crate::key::Key;
use crate::object::Obj;
use crate::table::{Entry, Holds, Place, Table};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) table: Table<Content>,
    pub(crate) counters: Arc<Counters>,
    capacity: Option<u64>,
    weight: u64,
    values: u64,
    deadlines: BTreeSet<(Moment, Place)>,
    tagged: HashMap<Box<str>, BTreeSet<Place>>,
    /// Tags that were invalidated while flights were open, with the turn in which.
    fences: HashMap<Box<str>, u64>,
    flights: usize,
    keeps_stale: bool,
    /// Counts flights, fences and whatever else makes something untrue: a load is overtaken by fences of later turns,
    /// and what was read elsewhere by any later turn.
    turn: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) value: Option<Value>,
    flight: Option<Flight>,
}

/// What a load came to, and for how long it is good.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) object: Obj,
    /// The object is an exception, to be raised.
    pub(crate) failed: bool,
    pub(crate) fresh_until: Moment,
    /// From `fresh_until` on it is stale: handed out only while somebody refreshes it.
    pub(crate) servable_until: Moment,
    pub(crate) weight: u64,
    pub(crate) tags: Vec<Box<str>>,
}

#[derive(Debug)]
struct Flight {
    object: Obj,
    begun: u64,
}

/// What a caller does that found nothing fresh at first.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Takes this value.
    Serve { object: Obj, failed: bool },
    /// Waits for this flight.
    Join(Obj),
    /// Loads; the flight it brought is in the entry now.
    Lead,
    /// Takes this stale value, and loads a new one; the flight it brought is in the entry now.
    Refresh(Obj),
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its load began before an invalidation of it, or another value was stored meanwhile.
    Overtaken,
    Stored,
    /// It is heavier than the capacity.
    Rejected,
}

/// What left the shelf, to be dropped outside the section.
#[derive(Debug, Default)]
pub(crate) struct Leavings(Vec<Entry<Content>>, Vec<Value>, Vec<Flight>);

impl Holds for Shelf {
    type Content = Content;
    #[inline(always)]
    fn table(&mut self) -> &mut Table<Content> {
        &mut self.table
    }
}

impl Shelf {
    pub(crate) fn new(capacity: Option<u64>, counters: Arc<Counters>) -> Self {
        Self {
            table: Table::default(),
            counters,
            capacity,
            weight: 0,
            values: 0,
            deadlines: BTreeSet::new(),
            tagged: HashMap::new(),
            fences: HashMap::new(),
            flights: 0,
            keeps_stale: false,
            turn: 0,
        }
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        self.capacity
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// What to do about an entry that had nothing fresh when it was looked at first.
    pub(crate) fn begin(
        &mut self,
        place: Option<Place>,
        key: &Key,
        flight: &Obj,
        now: Moment,
    ) -> Begun {
        let Some(place) = place else {
            let place = self.table.insert(key.clone(), Content::default());
            self.depart(place, flight);
            return Begun::Lead;
        };
        let content = &self.table.entry(place).content;
        match (&content.value, &content.flight) {
            (Some(value), _) if now < value.fresh_until => value.serve(),
            (Some(value), Some(_)) if now < value.servable_until => value.serve(),
            (_, Some(flight)) => Begun::Join(flight.object.clone()),
            (Some(value), None) if now < value.servable_until => {
                let stale = value.object.clone();
                self.depart(place, flight);
                Begun::Refresh(stale)
            }
            (_, None) => {
                self.depart(place, flight);
                Begun::Lead
            }
        }
    }

    fn depart(&mut self, place: Place, flight: &Obj) {
        self.turn += 1;
        self.flights += 1;
        let begun = self.turn;
        self.table.entry_mut(place).content.flight = Some(Flight {
            object: flight.clone(),
            begun,
        });
    }

    /// Stores what a flight brought, unless it was overtaken. What had to leave is returned too.
    pub(crate) fn settle(
        &mut self,
        place: Option<Place>,
        flight: &Obj,
        value: Value,
    ) -> (Settled, Leavings) {
        let mut leavings = Leavings::default();
        let Some(place) = place.filter(|place| self.is_current(*place, flight)) else {
            leavings.1.push(value);
            return (Settled::Overtaken, leavings);
        };
        let begun = self
            .table
            .entry(place)
            .content
            .flight
            .as_ref()
            .map_or(0, |flight| flight.begun);
        let overtaken = value
            .tags
            .iter()
            .any(|tag| self.fences.get(tag).is_some_and(|turn| *turn > begun));
        if !overtaken && !self.fits(&value) {
            // The flight stays until it lands: what it brought may be on its way to where the next caller looks.
            return (self.reject(place, value, &mut leavings), leavings);
        }
        self.land(place, &mut leavings);
        if overtaken {
            leavings.1.push(value);
            self.sweep(place, &mut leavings);
            return (Settled::Overtaken, leavings);
        }
        (self.put(place, value, &mut leavings), leavings)
    }

    /// Stores a value that the caller brought, over whatever is there and whatever is under way.
    pub(crate) fn insert(
        &mut self,
        place: Option<Place>,
        key: &Key,
        value: Value,
    ) -> (Settled, Leavings) {
        let mut leavings = Leavings::default();
        self.turn += 1;
        let place = place.unwrap_or_else(|| self.table.insert(key.clone(), Content::default()));
        self.land(place, &mut leavings);
        (self.put(place, value, &mut leavings), leavings)
    }

    /// Stores a value that was read elsewhere from this turn on, unless something was overtaken since, or is there: a
    /// fresh value that is there is returned.
    pub(crate) fn promote(
        &mut self,
        place: Option<Place>,
        key: &Key,
        turn: u64,
        value: Value,
        now: Moment,
    ) -> (Option<Obj>, Leavings) {
        let mut leavings = Leavings::default();
        let Some(place) = place else {
            if self.turn == turn {
                let place = self.table.insert(key.clone(), Content::default());
                self.put(place, value, &mut leavings);
            } else {
                leavings.1.push(value);
            }
            return (None, leavings);
        };
        leavings.1.push(value);
        (self.fresh_at(place, now), leavings)
    }

    /// The fresh value of an entry.
    fn fresh_at(&self, place: Place, now: Moment) -> Option<Obj> {
        let value = self.table.entry(place).content.value.as_ref();
        let fresh = value.filter(|value| now < value.fresh_until && !value.failed);
        fresh.map(|value| value.object.clone())
    }

    /// Ends a flight that brought nothing.
    pub(crate) fn abandon(&mut self, place: Option<Place>, flight: &Obj) -> Leavings {
        let mut leavings = Leavings::default();
        if let Some(place) = place.filter(|place| self.is_current(*place, flight)) {
            self.land(place, &mut leavings);
            self.sweep(place, &mut leavings);
        }
        leavings
    }

    /// Takes an entry out, with its flight. The entry's value, if it was fresh.
    pub(crate) fn remove(&mut self, place: Option<Place>, now: Moment) -> (Option<Obj>, Leavings) {
        let mut leavings = Leavings::default();
        self.turn += 1;
        let Some(place) = place else {
            return (None, leavings);
        };
        let fresh = self.fresh_at(place, now);
        self.discard(place, &mut leavings);
        (fresh, leavings)
    }

    /// Takes out every entry with a tag, and keeps loads that are under way from storing one. How many went.
    pub(crate) fn remove_tagged(&mut self, tag: &str) -> (usize, Leavings) {
        let mut leavings = Leavings::default();
        self.turn += 1;
        if self.flights > 0 {
            self.fences.insert(tag.into(), self.turn);
        }
        let places = self.tagged.get(tag).cloned().unwrap_or_default();
        for place in &places {
            self.discard(*place, &mut leavings);
        }
        (places.len(), leavings)
    }

    /// Takes everything out, flights included.
    pub(crate) fn clear(&mut self) -> Table<Content> {
        self.turn += 1;
        self.counters.entries.subtract(self.values);
        self.counters.weight.subtract(self.weight);
        (self.weight, self.values, self.flights) = (0, 0, 0);
        self.deadlines.clear();
        self.tagged.clear();
        self.fences.clear();
        self.table.take()
    }

    /// Drops values whose time is over.
    pub(crate) fn expire(&mut self, now: Moment) -> Leavings {
        let mut leavings = Leavings::default();
        while let Some((moment, place)) = self.deadlines.first().copied() {
            if now < moment {
                break;
            }
            self.counters.expirations.add(1);
            self.drop_value(place, &mut leavings);
            self.sweep(place, &mut leavings);
        }
        leavings
    }

    /// Makes room for a new capacity.
    pub(crate) fn set_capacity(&mut self, capacity: Option<u64>) -> Leavings {
        let mut leavings = Leavings::default();
        self.capacity = capacity;
        self.make_room(0, None, &mut leavings);
        leavings
    }

    /// The number of values that are fresh. Takes a walk over all entries if values were ever kept beyond their life.
    pub(crate) fn fresh(&self, now: Moment) -> usize {
        if !self.keeps_stale {
            return self.values as usize;
        }
        let values = self
            .table
            .entries()
            .filter_map(|entry| entry.content.value.as_ref());
        values.filter(|value| now < value.fresh_until).count()
    }

    fn is_current(&self, place: Place, flight: &Obj) -> bool {
        let current = self.table.entry(place).content.flight.as_ref();
        current.is_some_and(|current| current.object.as_ptr() == flight.as_ptr())
    }

    /// Takes the flight out of an entry.
    fn land(&mut self, place: Place, leavings: &mut Leavings) {
        if let Some(flight) = self.table.entry_mut(place).content.flight.take() {
            leavings.2.push(flight);
            self.flights -= 1;
            if self.flights == 0 {
                self.fences.clear();
            }
        }
    }

    /// Gives an entry without a flight a value, if there is room for it at all; otherwise the entry goes.
    fn put(&mut self, place: Place, value: Value, leavings: &mut Leavings) -> Settled {
        if !self.fits(&value) {
            return self.reject(place, value, leavings);
        }
        self.drop_value(place, leavings);
        self.make_room(value.weight, Some(place), leavings);
        self.weight += value.weight;
        self.values += 1;
        self.counters.weight.add(value.weight);
        self.counters.entries.add(1);
        if value.servable_until != NEVER {
            self.deadlines.insert((value.servable_until, place));
        }
        self.keeps_stale |= value.servable_until > value.fresh_until;
        for tag in &value.tags {
            self.tagged.entry(tag.clone()).or_default().insert(place);
        }
        self.table.entry_mut(place).content.value = Some(value);
        self.table.touch(place);
        Settled::Stored
    }

    fn fits(&self, value: &Value) -> bool {
        self.capacity
            .is_none_or(|capacity| value.weight <= capacity)
    }

    fn reject(&mut self, place: Place, value: Value, leavings: &mut Leavings) -> Settled {
        self.counters.rejections.add(1);
        self.drop_value(place, leavings);
        leavings.1.push(value);
        self.sweep(place, leavings);
        Settled::Rejected
    }

    /// Evicts the values used longest ago until `weight` fits beside what stays.
    fn make_room(&mut self, weight: u64, spared: Option<Place>, leavings: &mut Leavings) {
        let Some(capacity) = self.capacity else {
            return;
        };
        let mut candidate = self.table.oldest();
        while self.weight.saturating_add(weight) > capacity {
            let Some(place) = candidate else { return };
            candidate = self.table.newer(place);
            if Some(place) != spared && self.table.entry(place).content.value.is_some() {
                self.counters.evictions.add(1);
                self.drop_value(place, leavings);
                self.sweep(place, leavings);
            }
        }
    }

    /// Takes the value out of an entry, with its weight, deadline and tags.
    fn drop_value(&mut self, place: Place, leavings: &mut Leavings) {
        let Some(value) = self.table.entry_mut(place).content.value.take() else {
            return;
        };
        self.weight -= value.weight;
        self.values -= 1;
        self.counters.weight.subtract(value.weight);
        self.counters.entries.subtract(1);
        self.deadlines.remove(&(value.servable_until, place));
        for tag in &value.tags {
            if let Some(places) = self.tagged.get_mut(tag) {
                places.remove(&place);
                if places.is_empty() {
                    self.tagged.remove(tag);
                }
            }
        }
        leavings.1.push(value);
    }

    /// Takes an entry out that has neither value nor flight.
    fn sweep(&mut self, place: Place, leavings: &mut Leavings) {
        let content = &self.table.entry(place).content;
        if content.value.is_none() && content.flight.is_none() {
            leavings.0.push(self.table.remove(place));
        }
    }

    fn discard(&mut self, place: Place, leavings: &mut Leavings) {
        self.drop_value(place, leavings);
        self.land(place, leavings);
        self.sweep(place, leavings);
    }
}

impl Value {
    fn serve(&self) -> Begun {
        Begun::Serve {
            object: self.object.clone(),
            failed: self.failed,
        }
    }
}

impl Content {
    /// Every object that the content holds, for the collector.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Obj> {
        let value = self.value.iter().map(|value| &value.object);
        value.chain(self.flight.iter().map(|flight| &flight.object))
    }
}
