//! `Memory`: the entries of one function, of one instance's method, or of one `Cache`, as Python code sees them.
//!
//! Every method is a look-up and one section of [`Guarded::with`]; what leaves the shelf is dropped after it.

#![allow(unsafe_code, reason = "reads arguments where the caller put them")]

use crate::arrival::Arrival;
use crate::clock::{Clock, ManualClock, Moment, NEVER, nanoseconds};
use crate::counters::Counters;
use crate::key::{Call, Key};
use crate::object::{Guarded, Obj, Raised};
use crate::reader::Missed;
use crate::shelf::{Begun, Settled, Shelf, Value};
use crate::table::{Place, key_objects, lookup};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit, ffi};
use std::cell::Cell;
use std::sync::Arc;

pyo3::create_exception!(
    scrubjay._native,
    NoEntry,
    PyKeyError,
    "There is no fresh value for the key."
);

/// What a call is known by, owned: made on a miss, and by those who invalidate.
#[pyclass(frozen, name = "Key", module = "scrubjay._native")]
#[derive(Debug)]
pub(crate) struct PyKey(pub(crate) Key, pub(crate) Option<Missed>);

#[pymethods]
impl PyKey {
    /// The objects of which the key consists.
    #[getter]
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        parts_of(py, &self.0)
    }

    /// The names of the last parts, which came by keyword and are no parameters' own; None without any.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let names = self.0.names.as_ref();
        names.map(|names| names.clone().into_bound(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0
            .objects()
            .try_for_each(|held| visit.call(held.as_py()))
    }
}

#[pyclass(frozen, weakref, module = "scrubjay._native")]
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) shelf: Guarded<Shelf>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    /// The instance to whose method it belongs: a memory that got into another instance by copying is not that one's.
    owner: Option<Py<PyWeakrefReference>>,
}

/// States that `begin` returns with an object.
const SERVE: u8 = 0;
const FAILED: u8 = 1;
const JOIN: u8 = 2;
const LEAD: u8 = 3;
const REFRESH: u8 = 4;

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(signature = (capacity=None, clock=None))]
    fn new(capacity: Option<u64>, clock: Option<&Bound<'_, ManualClock>>) -> Self {
        Self::with_counters(capacity, Clock::of(clock), Arc::default(), None)
    }

    /// An empty memory with the same options, for the instance behind a weak reference. It counts with this one.
    fn child(&self, owner: Bound<'_, PyWeakrefReference>) -> Self {
        let capacity = self.shelf.with(|shelf| shelf.capacity());
        let counters = Arc::clone(&self.counters);
        Self::with_counters(capacity, self.clock.clone(), counters, Some(owner.unbind()))
    }

    /// Puts this memory into the dictionary of the instance that it was made for, unless another one that was made for
    /// it is there: returns the one that is in there then. A copy of an instance comes with the memory of that one.
    fn install<'py>(
        slf: &Bound<'py, Self>,
        attributes: &Bound<'py, PyDict>,
        attribute: &Bound<'py, PyAny>,
        instance: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arrival = Arrival::of(slf, attribute, instance);
        // Looked for after the arrival: who comes when those before have gone finds what they have put there.
        let found = attributes.get_item(attribute)?;
        if let Some(found) = found.as_ref().and_then(|found| found.cast::<Self>().ok())
            && found.get().belongs_to(slf.py(), instance.as_ptr())
        {
            return Ok(found.clone().into_any());
        }
        let chosen = arrival.memory().bind(slf.py());
        attributes.set_item(attribute, &chosen)?;
        Ok(chosen)
    }

    /// The key of a single object, compared as a dictionary does.
    #[staticmethod]
    fn key(object: &Bound<'_, PyAny>) -> PyResult<PyKey> {
        let object_pointer = object.as_ptr();
        // SAFETY: `object` is alive for as long as the call.
        let call = unsafe { Call::of_one(&object_pointer) };
        call.map(|call| PyKey(call.to_key(), None))
            .map_err(|Raised| PyErr::fetch(object.py()))
    }

    /// The fresh value of a key, counted as a hit or a miss; the default otherwise.
    fn get<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.find_fresh(object)?;
        if found.is_none() {
            self.counters.misses.add(1);
        }
        Ok(found.unwrap_or(default))
    }

    /// As `get`, for callers that count misses themselves.
    fn hit<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.find_fresh(object)?.unwrap_or(default))
    }

    /// The fresh value of a key, or the default. Counts nothing, and keeps the order of use.
    fn peek<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyKey>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.find_value(py, key, |value| value.object.clone())?;
        Ok(found.map_or(default, |object| object.into_bound(py)))
    }

    /// The seconds for which a key's value is fresh, or None for ever; NoEntry without one.
    fn ttl_left(&self, py: Python<'_>, key: &Bound<'_, PyKey>) -> PyResult<Option<f64>> {
        let fresh_until = self.find_value(py, key, |value| value.fresh_until)?;
        let fresh_until = fresh_until.ok_or_else(|| NoEntry::new_err("no such entry"))?;
        Ok(self.seconds_until(fresh_until))
    }

    /// Whether a key has a fresh value. Counts nothing.
    fn contains(&self, py: Python<'_>, key: &Bound<'_, PyKey>) -> PyResult<bool> {
        Ok(self.find_value(py, key, |_| ())?.is_some())
    }

    /// What to do on a miss: `(state, object)`. With `LEAD` and `REFRESH` the flight is in the key's entry now.
    pub(crate) fn begin<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyKey>,
        flight: &Bound<'py, PyAny>,
    ) -> PyResult<(u8, Option<Bound<'py, PyAny>>)> {
        let (flight, now) = (Obj::from_bound(flight), self.clock.now());
        let begun = self.find(py, key, |shelf, place| {
            shelf.begin(place, &key.get().0, &flight, now)
        })?;
        Ok(match begun {
            Begun::Serve { object, failed } => (
                if failed { FAILED } else { SERVE },
                Some(object.into_bound(py)),
            ),
            Begun::Join(flight) => (JOIN, Some(flight.into_bound(py))),
            Begun::Lead => (LEAD, None),
            Begun::Refresh(stale) => (REFRESH, Some(stale.into_bound(py))),
        })
    }

    /// Stores what a flight brought, unless it was overtaken. `fresh` and `stale` are seconds. `OVERTAKEN`, `STORED` or
    /// `REJECTED`.
    #[pyo3(signature = (key, flight, value, *, failed=false, fresh=None, stale=0.0, weight=1, tags=Vec::new()))]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are keywords, and an entry has as many properties"
    )]
    fn settle(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyKey>,
        flight: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        failed: bool,
        fresh: Option<f64>,
        stale: f64,
        weight: u64,
        tags: Vec<String>,
    ) -> PyResult<u8> {
        self.expire();
        let flight = Obj::from_bound(flight);
        let value = self.value(value, failed, fresh, stale, weight, tags);
        let settled = self.find_once(py, key, value, |shelf, place, value| {
            shelf.settle(place, &flight, value)
        })?;
        Ok(settled as u8)
    }

    /// Stores a value over whatever is there and whatever is under way. Whether there was room for it.
    #[pyo3(signature = (key, value, *, fresh=None, stale=0.0, weight=1, tags=Vec::new()))]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are keywords, and an entry has as many properties"
    )]
    fn insert(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyKey>,
        value: &Bound<'_, PyAny>,
        fresh: Option<f64>,
        stale: f64,
        weight: u64,
        tags: Vec<String>,
    ) -> PyResult<bool> {
        self.expire();
        let value = self.value(value, false, fresh, stale, weight, tags);
        let inserted = self.find_once(py, key, value, |shelf, place, value| {
            shelf.insert(place, &key.get().0, value)
        })?;
        Ok(inserted == Settled::Stored)
    }

    /// Ends a flight that brought nothing.
    pub(crate) fn abandon(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyKey>,
        flight: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let flight = Obj::from_bound(flight);
        self.find(py, key, |shelf, place| shelf.abandon(place, &flight))
            .map(drop)
    }

    /// Takes a key's entry out, and keeps a load of it that is under way from storing. Whether there was a fresh value.
    fn invalidate(&self, py: Python<'_>, key: &Bound<'_, PyKey>) -> PyResult<bool> {
        let now = self.clock.now();
        let (removed, _leavings) = self.find(py, key, |shelf, place| shelf.remove(place, now))?;
        Ok(removed.is_some())
    }

    /// Takes a key's entry out and returns its fresh value; NoEntry if there is none.
    fn pop<'py>(&self, py: Python<'py>, key: &Bound<'py, PyKey>) -> PyResult<Bound<'py, PyAny>> {
        let now = self.clock.now();
        let (removed, _leavings) = self.find(py, key, |shelf, place| shelf.remove(place, now))?;
        removed
            .map(|object| object.into_bound(py))
            .ok_or_else(|| NoEntry::new_err("no such entry"))
    }

    /// Takes out every entry with a tag, and keeps loads under way from storing one with it. How many went.
    fn invalidate_tag(&self, tag: &str) -> usize {
        let (count, _leavings) = self.shelf.with(|shelf| shelf.remove_tagged(tag));
        count
    }

    /// Takes everything out, and keeps loads under way from storing.
    pub(crate) fn clear(&self) {
        drop(self.shelf.with(Shelf::clear));
    }

    /// Counts from zero.
    fn reset(&self) {
        let counters = &self.counters;
        for counter in [
            &counters.hits,
            &counters.misses,
            &counters.evictions,
            &counters.expirations,
            &counters.rejections,
        ] {
            counter.reset();
        }
    }

    /// Counts a miss.
    fn count_miss(&self) {
        self.counters.misses.add(1);
    }

    /// The fresh entries as `(parts of the key, value, seconds left or None, tags)`, the one used longest ago first.
    fn entries<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let now = self.clock.now();
        let entries: Vec<_> = self.shelf.with(|shelf| {
            let ordered = shelf.table.oldest_first();
            let fresh = ordered.filter_map(|(_, entry)| {
                let value = entry.content.value.as_ref()?;
                let served = now < value.fresh_until && !value.failed;
                served.then(|| {
                    (
                        entry.key.clone(),
                        value.object.clone(),
                        value.fresh_until,
                        value.tags.clone(),
                    )
                })
            });
            fresh.collect()
        });
        let listed = entries.into_iter().map(|(key, value, fresh_until, tags)| {
            let parts = parts_of(py, &key)?;
            let left = self.seconds_until(fresh_until);
            let tags = tags.iter().map(AsRef::as_ref).collect::<Vec<&str>>();
            (parts, value.into_bound(py), left, tags).into_pyobject(py)
        });
        listed.collect()
    }

    /// Changes the capacity; what no longer fits is evicted.
    #[pyo3(signature = (capacity))]
    fn set_capacity(&self, capacity: Option<u64>) {
        drop(self.shelf.with(|shelf| shelf.set_capacity(capacity)));
    }

    /// The capacity, or None.
    #[getter]
    fn capacity(&self) -> Option<u64> {
        self.shelf.with(|shelf| shelf.capacity())
    }

    /// The weight of this memory's values.
    #[getter]
    fn weight(&self) -> u64 {
        self.expire();
        self.shelf.with(|shelf| shelf.weight())
    }

    /// Of all memories that count together: hits, misses, entries, weight, evictions, expirations, rejections.
    fn counts(&self) -> (u64, u64, u64, u64, u64, u64, u64) {
        self.expire();
        let counters = &self.counters;
        (
            counters.hits.get(),
            counters.misses.get(),
            counters.entries.get(),
            counters.weight.get(),
            counters.evictions.get(),
            counters.expirations.get(),
            counters.rejections.get(),
        )
    }

    fn __len__(&self) -> usize {
        self.expire();
        let now = self.clock.now();
        self.shelf.with(|shelf| shelf.fresh(now))
    }

    /// Copies and pickles are empty: results belong to the object that computed them.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (Option<u64>,)) {
        (slf.get_type().into_any(), (slf.get().capacity(),))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        // SAFETY: only the collector calls this.
        let shelf = unsafe { self.shelf.traversed() };
        key_objects(&shelf.table).try_for_each(|held| visit.call(held.as_py()))?;
        shelf
            .table
            .entries()
            .flat_map(|entry| entry.content.objects())
            .try_for_each(|held| visit.call(held.as_py()))
    }

    fn __clear__(&self) {
        self.clear();
    }
}

impl Memory {
    /// Whether a flight is in its entry after `begin` answered this.
    pub(crate) fn takes_off(state: u8) -> bool {
        state == LEAD || state == REFRESH
    }

    fn with_counters(
        capacity: Option<u64>,
        clock: Clock,
        counters: Arc<Counters>,
        owner: Option<Py<PyWeakrefReference>>,
    ) -> Self {
        let shelf = Guarded::new(Shelf::new(capacity, Arc::clone(&counters)));
        Self {
            shelf,
            counters,
            clock,
            owner,
        }
    }

    /// Whether this memory was made for the instance.
    pub(crate) fn belongs_to(&self, py: Python<'_>, instance: *mut ffi::PyObject) -> bool {
        let owner = self.owner.as_ref().map(|owner| owner.bind(py).upgrade());
        owner
            .flatten()
            .is_some_and(|owner| owner.as_ptr() == instance)
    }

    /// The fresh value for a call, counted and made the one used last.
    #[inline(always)]
    pub(crate) fn hit_for(&self, call: &Call<'_>) -> Result<Option<Obj>, Raised> {
        lookup(&self.shelf, call, |shelf, place| {
            let place = place?;
            let value = shelf.table.entry(place).content.value.as_ref()?;
            if value.failed || !self.clock.is_before(value.fresh_until) {
                return None;
            }
            let object = value.object.clone();
            shelf.table.touch(place);
            self.counters.hits.add(1);
            Some(object)
        })
    }

    /// The turn of the shelf, if it has nothing at all for a call.
    pub(crate) fn vacant_at(&self, call: &Call<'_>) -> Result<Option<u64>, Raised> {
        lookup(&self.shelf, call, |shelf, place| {
            place.is_none().then(|| shelf.turn())
        })
    }

    pub(crate) fn turn(&self) -> u64 {
        self.shelf.with(|shelf| shelf.turn())
    }

    /// Stores what was read below from a turn on, unless it was overtaken. What callers get: one object, as long as it
    /// is here.
    #[expect(clippy::too_many_arguments, reason = "as of `settle`")]
    pub(crate) fn promote(
        &self,
        py: Python<'_>,
        call: &Call<'_>,
        turn: u64,
        object: Obj,
        fresh: Option<f64>,
        stale: f64,
        tags: Vec<String>,
    ) -> Result<Obj, Raised> {
        let has_room = self.shelf.with(|shelf| shelf.capacity() != Some(0));
        if !has_room {
            self.counters.rejections.add(1);
            return Ok(object);
        }
        self.expire();
        let (key, now) = (call.to_key(), self.clock.now());
        let value = Cell::new(Some(self.value(
            &object.bind(py),
            false,
            fresh,
            stale,
            1,
            tags,
        )));
        lookup(&self.shelf, call, |shelf, place| {
            let value = value.take().expect("a look-up acts once");
            shelf.promote(place, &key, turn, value, now)
        })
        .map(|(there, _leavings)| there.unwrap_or(object))
    }

    /// Finds a key's entry and does something about it in the same section.
    fn find<R>(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyKey>,
        then: impl Fn(&mut Shelf, Option<Place>) -> R,
    ) -> PyResult<R> {
        lookup(&self.shelf, &key.get().0.as_call(), then).map_err(|Raised| PyErr::fetch(py))
    }

    /// As `find`, for something that takes a value; what it returns last is dropped here, outside the section.
    fn find_once<D>(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyKey>,
        value: Value,
        then: impl Fn(&mut Shelf, Option<Place>, Value) -> (Settled, D),
    ) -> PyResult<Settled> {
        let value = Cell::new(Some(value));
        self.find(py, key, |shelf, place| {
            let value = value.take().expect("a look-up acts once");
            then(shelf, place, value)
        })
        .map(|(settled, _leavings)| settled)
    }

    fn find_fresh<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, pointer) = (object.py(), object.as_ptr());
        // SAFETY: `object` is alive for as long as the call.
        let call = unsafe { Call::of_one(&pointer) };
        let found = call
            .and_then(|call| self.hit_for(&call))
            .map_err(|Raised| PyErr::fetch(py))?;
        Ok(found.map(|object| object.into_bound(py)))
    }

    /// Something of a key's fresh value.
    fn find_value<R>(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyKey>,
        read: impl Fn(&Value) -> R,
    ) -> PyResult<Option<R>> {
        let now = self.clock.now();
        self.find(py, key, |shelf, place| {
            let value = shelf.table.entry(place?).content.value.as_ref()?;
            (now < value.fresh_until && !value.failed).then(|| read(value))
        })
    }

    fn seconds_until(&self, moment: Moment) -> Option<f64> {
        (moment != NEVER).then(|| moment.saturating_sub(self.clock.now()) as f64 / 1e9)
    }

    fn value(
        &self,
        object: &Bound<'_, PyAny>,
        failed: bool,
        fresh: Option<f64>,
        stale: f64,
        weight: u64,
        tags: Vec<String>,
    ) -> Value {
        let now = self.clock.now();
        let fresh_until = fresh.map_or(NEVER, |fresh| now.saturating_add(nanoseconds(fresh)));
        let servable_until = fresh_until.saturating_add(nanoseconds(stale));
        let mut tags: Vec<Box<str>> = tags.into_iter().map(String::into_boxed_str).collect();
        tags.sort_unstable();
        tags.dedup();
        let object = Obj::from_bound(object);
        Value {
            object,
            failed,
            fresh_until,
            servable_until,
            weight,
            tags,
        }
    }

    /// Drops what expired.
    fn expire(&self) {
        let now = self.clock.now();
        drop(self.shelf.with(|shelf| shelf.expire(now)));
    }
}

fn parts_of<'py>(py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyTuple>> {
    let parts: Vec<_> = key.objects().map(|part| part.bind(py)).collect();
    PyTuple::new(py, parts)
}

impl Drop for Memory {
    fn drop(&mut self) {
        // What goes with this memory is no longer counted.
        self.clear();
    }
}
