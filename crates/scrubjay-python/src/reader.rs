//! `DiskReader`: reads what a store has for the calls of one function.
//!
//! A call whose arguments are plain is named, looked up, decoded and answered here, without anybody leading: nothing is
//! loaded, so there is nothing to do once. Invariants: whatever is not a plain hit is left to the package's `_disk`,
//! which asks for the same record through the same [`DiskReader::look`]; and what is found is kept in memory only if
//! nothing was invalidated there since before the store was asked.

#![allow(unsafe_code, reason = "reads arguments where the caller put them")]

use crate::codec::{self, Encoder};
use crate::counters::Counter;
use crate::key::Call;
use crate::memory::{Memory, PyKey};
use crate::object::{Obj, Raised};
use crate::store::{Store, digest_of, exception, seconds};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};
use pyo3::{PyTraverseError, PyVisit, ffi};
use scrubjay::disk::{Digest, Event, Head, KeyEncoder};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// A record that is further ahead than this was written before the clock was set back: its age is not known.
const AHEAD: f64 = 1e-3;

#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct DiskReader {
    /// The name under which hits are counted.
    function: String,
    /// `(name, state)`: an object of the safe codec.
    restore: Py<PyAny>,
    /// `(codec, payload, digest)`: a value of any other codec.
    decode: Py<PyAny>,
    /// The seconds for which any record is fresh at most.
    longest: Option<f64>,
    /// The seconds after its life in which a value may be served while it is refreshed.
    stale: f64,
    /// Entries are pairs of key and value.
    pairs: bool,
    names: OnceLock<Names>,
    store: OnceLock<Py<Store>>,
    hits: Counter,
}

/// How the calls are named, where all names have the same head.
struct Names {
    namespace: String,
    head: Vec<u8>,
    /// The names of the parameters, encoded.
    parameters: Vec<Vec<u8>>,
}

/// What came of a call that nobody led.
pub(crate) enum Answer {
    Value(Obj),
    Missed(Missed),
    /// Only somebody who leads can tell.
    Unknown,
}

/// The disk had nothing for a call, which has this name there, since memory had nothing of it either, at this turn.
#[derive(Debug)]
pub(crate) struct Missed {
    digest: Digest,
    pub(crate) turn: u64,
}

/// What the disk has for a key.
#[pyclass(frozen, get_all, module = "scrubjay._native")]
pub(crate) struct Found {
    value: Py<PyAny>,
    /// Seconds; None is for ever, and 0.0 says that it is stale.
    fresh: Option<f64>,
    stale: f64,
    tags: Vec<String>,
    /// Seconds that its load took.
    load_cost: f64,
}

#[pymethods]
impl DiskReader {
    #[new]
    #[pyo3(signature = (*, function, restore, decode, longest, stale, pairs))]
    fn new(
        function: String,
        restore: Py<PyAny>,
        decode: Py<PyAny>,
        longest: Option<f64>,
        stale: f64,
        pairs: bool,
    ) -> Self {
        Self {
            function,
            restore,
            decode,
            longest,
            stale,
            pairs,
            names: OnceLock::new(),
            store: OnceLock::new(),
            hits: Counter::default(),
        }
    }

    /// Says how calls are named. Once only.
    fn begin_names(
        &self,
        py: Python<'_>,
        namespace: String,
        head: Vec<u8>,
        parameters: Vec<Bound<'_, PyString>>,
    ) -> PyResult<()> {
        let parameters = parameters.iter().map(|name| encoded(py, name));
        let parameters = parameters.collect::<PyResult<_>>()?;
        self.names.get_or_init(|| Names {
            namespace,
            head,
            parameters,
        });
        Ok(())
    }

    /// Says where records are. Once only.
    fn open(&self, store: Py<Store>) {
        self.store.get_or_init(|| store);
    }

    /// The digest of a call whose arguments are plain; None of any other.
    fn name<'py>(&self, py: Python<'py>, key: &PyKey) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let digest = match &key.1 {
            Some(missed) => Some(missed.digest),
            None => self.digest(py, &key.0.as_call())?,
        };
        Ok(digest.map(|digest| PyBytes::new(py, digest.as_bytes())))
    }

    /// What the store has for a digest, fresh or stale, at this time of the calendar. None unless it is open.
    fn look(&self, py: Python<'_>, digest: &[u8], now: f64) -> PyResult<Option<Found>> {
        match self.store.get() {
            Some(store) => self.found(py, store.get(), &digest_of(digest)?, now),
            None => Ok(None),
        }
    }

    /// Counts a hit.
    fn count(&self, load_cost: f64) {
        let saved = Duration::try_from_secs_f64(load_cost).unwrap_or_default();
        self.hits.add(1);
        if let Some(store) = self.store.get() {
            let event = Event::Hit(saved);
            store.get().engine().count(&self.function, event);
        }
    }

    #[getter]
    fn hits(&self) -> u64 {
        self.hits.get()
    }

    /// Counts from zero.
    fn reset(&self) {
        self.hits.reset();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.restore)?;
        visit.call(&self.decode)
    }
}

impl DiskReader {
    /// Asks the disk for a call that memory has nothing of. A value is counted, and kept in memory from now on.
    pub(crate) fn answer(
        &self,
        py: Python<'_>,
        memory: &Memory,
        call: &Call<'_>,
    ) -> PyResult<Answer> {
        let raised = |Raised| PyErr::fetch(py);
        let Some(store) = self.store.get() else {
            return Ok(Answer::Unknown);
        };
        let Some(digest) = self.digest(py, call)? else {
            return Ok(Answer::Unknown);
        };
        let Some(turn) = memory.vacant_at(call).map_err(raised)? else {
            return Ok(Answer::Unknown);
        };
        let (store, now) = (store.get(), seconds(SystemTime::now()));
        let found = match self.found(py, store, &digest, now) {
            Ok(None) => return Ok(Answer::Missed(Missed { digest, turn })),
            Ok(Some(found)) if found.fresh != Some(0.0) => found,
            // It is stale: whoever leads refreshes it.
            Ok(_) => return Ok(Answer::Unknown),
            // It is said and counted where it is asked for again.
            Err(error) if is_a_miss(py, &error) => return Ok(Answer::Unknown),
            Err(error) => return Err(error),
        };
        memory.counters.misses.add(1);
        self.count(found.load_cost);
        let value = Obj::from_bound(found.value.bind(py));
        let kept = memory.promote(py, call, turn, value, found.fresh, found.stale, found.tags);
        kept.map(Answer::Value).map_err(raised)
    }

    fn digest(&self, py: Python<'_>, call: &Call<'_>) -> PyResult<Option<Digest>> {
        match self.names.get() {
            Some(names) if call.names.is_null() => names.digest(py, call.parts),
            _ => Ok(None),
        }
    }

    fn found(
        &self,
        py: Python<'_>,
        store: &Store,
        digest: &Digest,
        now: f64,
    ) -> PyResult<Option<Found>> {
        let read = py.detach(|| {
            let record = store.engine().get(digest)?;
            Some((|| Ok((record.head, record.payload.into_bytes()?)))())
        });
        let Some((head, payload)) = read.transpose().map_err(exception)? else {
            return Ok(None);
        };
        // Asked after the record was read: one that an invalidation could not reach is not believed.
        if store.is_distrusted() {
            return Ok(None);
        }
        let Some((fresh, stale)) = self.lives(&head, now) else {
            return Ok(None);
        };
        let value = self.value(py, &head, &payload)?;
        let mut tags = head.tags;
        tags.push(mark(digest));
        Ok(Some(Found {
            value: value.unbind(),
            fresh,
            stale,
            tags,
            load_cost: head.load_cost.as_secs_f64(),
        }))
    }

    /// For how long a record is fresh, by what it says and by the function's time to live of today, and stale after
    /// that; `None` if it is neither.
    fn lives(&self, head: &Head, now: f64) -> Option<(Option<f64>, f64)> {
        let written = seconds(head.written);
        let longest = self.longest.map(|longest| written + longest);
        let ends = [head.expires.map(seconds), longest].into_iter().flatten();
        let Some(end) = ends.reduce(f64::min) else {
            return Some((None, self.stale));
        };
        if written > now + AHEAD {
            return None;
        }
        if end > now {
            return Some((Some(end - now), self.stale));
        }
        let stale = (head.stale_until.map_or(0.0, seconds) - now).min(self.stale);
        (stale > 0.0).then_some((Some(0.0), stale))
    }

    fn value<'py>(
        &self,
        py: Python<'py>,
        head: &Head,
        payload: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let entry = if head.codec.0 == codec::PYTHON {
            codec::decode(py, payload, self.restore.bind(py))?
        } else {
            let (payload, digest) = (
                PyBytes::new(py, payload),
                PyBytes::new(py, head.digest.as_bytes()),
            );
            self.decode
                .bind(py)
                .call1((head.codec.0, payload, digest))?
        };
        if !self.pairs {
            return Ok(entry);
        }
        let pair: (Bound<'py, PyAny>, Bound<'py, PyAny>) = entry
            .extract()
            .map_err(|_| PyValueError::new_err("a stored value has no key"))?;
        Ok(pair.1)
    }
}

impl Names {
    /// The digest of arguments that are plain.
    fn digest(&self, py: Python<'_>, parts: &[*mut ffi::PyObject]) -> PyResult<Option<Digest>> {
        if parts.len() != self.parameters.len() {
            return Ok(None);
        }
        let nothing = py.None().into_bound(py);
        let mut encoder = Encoder::new(self.head.clone(), &nothing);
        encoder.begin();
        encoder.list(2 * parts.len());
        for (name, part) in self.parameters.iter().zip(parts) {
            encoder.append(name);
            // SAFETY: the caller keeps the parts alive.
            let part = unsafe { Bound::from_borrowed_ptr(py, *part) };
            if !argument(&mut encoder, &part)? {
                return Ok(None);
            }
        }
        let key = KeyEncoder::new(&self.namespace).bytes(&encoder.into_bytes());
        Ok(Some(key.finish()))
    }
}

/// Adds an argument as the package's `_canonical.argument` names it. False, and nothing of use, if it is not plain.
fn argument<'py>(encoder: &mut Encoder<'_, 'py>, part: &Bound<'py, PyAny>) -> PyResult<bool> {
    let is_atom = part.is_none()
        || part.is_exact_instance_of::<PyInt>()
        || part.is_exact_instance_of::<PyString>()
        || part.is_exact_instance_of::<PyBytes>();
    if is_atom {
        encoder.value(part, 0)?;
    } else if let Ok(flag) = part.cast_exact::<PyBool>() {
        typed(encoder, "builtins:bool");
        encoder.small(i64::from(flag.is_true()));
    } else if let Ok(number) = part.cast_exact::<PyFloat>() {
        let Some((above, below)) = ratio(number.value()) else {
            return Ok(false);
        };
        typed(encoder, "builtins:float");
        if below != 1 {
            encoder.list(3);
            encoder.plain_text("ratio");
        }
        encoder.small(above);
        if below != 1 {
            encoder.small(below);
        }
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn typed(encoder: &mut Encoder<'_, '_>, class: &str) {
    encoder.list(3);
    encoder.plain_text("typed");
    encoder.plain_text(class);
}

/// The number as a fraction in lowest terms, if both parts are of 64 bits.
fn ratio(number: f64) -> Option<(i64, i64)> {
    let limit = 2f64.powi(62);
    (0..62)
        .map(|power| (number * 2f64.powi(power), 1 << power))
        .find(|(above, _)| above.fract() == 0.0)
        .filter(|(above, _)| above.abs() < limit)
        .map(|(above, below)| (above as i64, below))
}

fn encoded(py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    let nothing = py.None().into_bound(py);
    let mut encoder = Encoder::new(Vec::new(), &nothing);
    encoder.value(name, 0)?;
    Ok(encoder.into_bytes())
}

/// Whether the error is one for which the caller gets a computed answer.
fn is_a_miss(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyOSError>(py) || error.is_instance_of::<PyValueError>(py)
}

/// The tag that entries in memory have because of their entry on disk; no tag of a user's begins like this.
fn mark(digest: &Digest) -> String {
    let bytes = digest.as_bytes()[..8].try_into().expect("8 of 32 bytes");
    format!("\0{:016x}", u64::from_be_bytes(bytes))
}

/// The tag that entries in memory have because of the entry on disk with this digest.
#[pyfunction]
pub(crate) fn mark_of(digest: &[u8]) -> PyResult<String> {
    Ok(mark(&digest_of(digest)?))
}
