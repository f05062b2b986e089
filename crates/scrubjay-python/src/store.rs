//! The disk tier for Python: [`disk::Store`] with its records, leads and heads.
//!
//! Invariant: the interpreter is let go before anything here touches the disk, and nothing that runs in a store needs
//! it, so a fork never waits for a thread that waits for the interpreter. What the records mean is decided in Python.

use std::cell::Cell;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::watch::Watch;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use scrubjay::ErrorKind;
use scrubjay::disk::{self, Codec, Digest, Durability, Function, Head, KeyEncoder, NewRecord};

/// A folder that many processes share. See the stub for what its methods do.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct Store {
    engine: disk::Store,
    /// An invalidation could not be written, so nothing that is stored may be believed.
    is_distrusted: AtomicBool,
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (directory, *, capacity_bytes=None, durability="process", write_through=false,
                        allow_network=false))]
    fn new(
        py: Python<'_>,
        directory: PathBuf,
        capacity_bytes: Option<u64>,
        durability: &str,
        write_through: bool,
        allow_network: bool,
    ) -> PyResult<Self> {
        let builder = disk::Store::builder()
            .durability(durability_of(durability)?)
            .write_through(write_through)
            .allow_network_file_system(allow_network);
        let builder = match capacity_bytes {
            Some(bytes) => builder.capacity_bytes(bytes),
            None => builder,
        };
        py.detach(|| builder.open(directory))
            .map(|engine| Self {
                engine,
                is_distrusted: AtomicBool::new(false),
            })
            .map_err(exception)
    }

    /// From now on nothing that is stored is believed.
    fn distrust(&self) {
        // SeqCst: see `is_distrusted`.
        self.is_distrusted.store(true, Ordering::SeqCst);
    }

    #[getter]
    pub(crate) fn is_distrusted(&self) -> bool {
        // SeqCst: pairs with `distrust`, which comes before the memories are told of the invalidation.
        self.is_distrusted.load(Ordering::SeqCst)
    }

    #[getter]
    fn directory(&self) -> PathBuf {
        self.engine.dir()
    }

    #[pyo3(signature = (digest, *, stale=false, expired=false))]
    fn get(
        &self,
        py: Python<'_>,
        digest: &[u8],
        stale: bool,
        expired: bool,
    ) -> PyResult<Option<Record>> {
        let digest = digest_of(digest)?;
        let found = py.detach(|| {
            let record = self.engine.get(&digest)?;
            let now = SystemTime::now();
            let counts = expired || record.head.is_fresh(now) || stale && record.head.is_stale(now);
            counts.then(|| Ok((record.head, record.payload.into_bytes()?)))
        });
        let found = found.transpose().map_err(exception)?;
        Ok(found.map(|(head, payload)| Record {
            head,
            payload: PyBytes::new(py, &payload).unbind(),
        }))
    }

    #[pyo3(signature = (digest, payload, *, function="", code="", codec=0, tags=vec![], expires=None, stale_until=None,
                        written=None, load_cost=0.0, description=None, failure=false, replaces=false, fence=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn put(
        &self,
        py: Python<'_>,
        digest: &[u8],
        payload: &[u8],
        function: &str,
        code: &str,
        codec: u8,
        tags: Vec<String>,
        expires: Option<f64>,
        stale_until: Option<f64>,
        written: Option<f64>,
        load_cost: f64,
        description: Option<Vec<u8>>,
        failure: bool,
        replaces: bool,
        fence: Option<PyRef<'_, Fence>>,
    ) -> PyResult<()> {
        let digest = digest_of(digest)?;
        let cost =
            Duration::try_from_secs_f64(load_cost).map_err(|_| wrong("load_cost", load_cost))?;
        let mut record = NewRecord::new(digest, Function::new(function, code))
            .codec(Codec(codec))
            .load_cost(cost)
            .failure(failure)
            .replaces(replaces)
            .description(description.unwrap_or_default());
        record = tags.into_iter().fold(record, NewRecord::tag);
        record = set(record, expires, NewRecord::expires)?;
        record = set(record, stale_until, NewRecord::stale_until)?;
        record = set(record, written, NewRecord::written)?;
        if let Some(fence) = fence {
            record = record.fence(fence.0);
        }
        py.detach(|| self.engine.put(record, payload))
            .map_err(exception)
    }

    fn fence(&self, py: Python<'_>) -> Fence {
        Fence(py.detach(|| self.engine.fence()))
    }

    fn try_lead(&self, py: Python<'_>, digest: &[u8]) -> PyResult<Option<StoreLead>> {
        let digest = digest_of(digest)?;
        let lead = py.detach(|| self.engine.try_lead(&digest));
        Ok(lead.map_err(exception)?.map(StoreLead::new))
    }

    #[pyo3(signature = (digest, timeout=None))]
    fn lead(
        &self,
        py: Python<'_>,
        digest: &[u8],
        timeout: Option<f64>,
    ) -> PyResult<Option<StoreLead>> {
        let digest = digest_of(digest)?;
        let end = timeout.map(|seconds| after(Instant::now(), seconds));
        loop {
            match py.detach(|| self.wait(&digest, end)).map_err(exception)? {
                Waited::Over => return Ok(None),
                Waited::Leads(lead) => return Ok(Some(StoreLead::new(lead))),
                // Ctrl-C must work however long others take.
                Waited::Not => py.check_signals()?,
            }
        }
    }

    fn watch(&self, py: Python<'_>, since: PyRef<'_, Fence>) -> Watch {
        let since = since.0;
        Watch::new(py.detach(|| self.engine.watch(since)))
    }

    fn count_load(&self, function: &str, load_cost: f64) {
        let took = Duration::try_from_secs_f64(load_cost).unwrap_or_default();
        self.engine.count(function, disk::Event::Load(took));
    }

    fn invalidate(&self, py: Python<'_>, digest: &[u8]) -> PyResult<u64> {
        let digest = digest_of(digest)?;
        py.detach(|| self.engine.invalidate(&digest))
            .map_err(exception)
    }

    fn invalidate_tag(&self, py: Python<'_>, tag: &str) -> PyResult<u64> {
        py.detach(|| self.engine.invalidate_tag(tag))
            .map_err(exception)
    }

    fn invalidate_function(&self, py: Python<'_>, name: &str) -> PyResult<u64> {
        py.detach(|| self.engine.invalidate_function(name))
            .map_err(exception)
    }

    fn clear(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.engine.clear()).map_err(exception)
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.engine.flush(Duration::MAX))
            .map_err(exception)
    }

    fn __iter__(&self, py: Python<'_>) -> Heads {
        Heads(Mutex::new(py.detach(|| self.engine.iter())))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.engine.stats()).map_err(exception)?;
        let dict = PyDict::new(py);
        for (name, number) in [
            ("entries", stats.entries),
            ("used_bytes", stats.used_bytes),
            ("log_bytes", stats.log_bytes),
            ("capacity_bytes", stats.capacity_bytes),
            ("hits", stats.hits),
            ("misses", stats.misses),
            ("written", stats.written),
            ("dropped", stats.dropped),
            ("failures", stats.failures),
        ] {
            dict.set_item(name, number)?;
        }
        let functions = stats.functions.into_iter();
        let functions =
            functions.map(|one| (one.function.name, one.function.code, one.entries, one.bytes));
        dict.set_item("functions", functions.collect::<Vec<_>>())?;
        Ok(dict)
    }

    #[pyo3(signature = (progress=None))]
    fn verify(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<Report> {
        let mut failed = None;
        let report = py.detach(|| {
            self.engine.verify(|at| {
                if let (Some(progress), None) = (&progress, &failed) {
                    failed = Python::attach(|py| progress.call1(py, (at.done, at.total)).err());
                }
            })
        });
        match failed {
            Some(error) => Err(error),
            None => report.map(Report).map_err(exception),
        }
    }

    fn __repr__(&self) -> String {
        format!("Store({:?})", self.engine.dir().display().to_string())
    }
}

/// How long one wait may keep signals out.
const SLICE: Duration = Duration::from_millis(50);

enum Waited {
    Leads(disk::Lead),
    /// There is an entry, or the time is over.
    Over,
    Not,
}

impl Store {
    pub(crate) fn engine(&self) -> &disk::Store {
        &self.engine
    }

    fn wait(&self, digest: &Digest, end: Option<Instant>) -> Result<Waited, scrubjay::Error> {
        let found = Cell::new(false);
        let slice = Instant::now() + SLICE;
        let until = end.map_or(slice, |end| end.min(slice));
        let lead = self.engine.lead_or_wait(digest, Some(until), |head| {
            found.set(head.is_fresh(SystemTime::now()));
            found.get()
        })?;
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        Ok(match lead {
            Some(lead) => Waited::Leads(lead),
            None if found.get() || is_over() => Waited::Over,
            None => Waited::Not,
        })
    }
}

/// A point in the history of a store, at which a load began.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct Fence(pub(crate) disk::Fence);

/// The right and duty to load a key among all threads and processes.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct StoreLead(Mutex<Option<disk::Lead>>);

impl StoreLead {
    fn new(lead: disk::Lead) -> Self {
        Self(Mutex::new(Some(lead)))
    }
}

#[pymethods]
impl StoreLead {
    fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.release();
    }
}

/// Gives two types the getters of a head.
macro_rules! heads {
    ($type:ident { $($own:item)* }) => {
        #[pymethods]
        impl $type {
            #[getter]
            fn digest(&self) -> &[u8] {
                self.head.digest.as_bytes()
            }

            #[getter]
            fn function(&self) -> &str {
                &self.head.function.name
            }

            #[getter]
            fn code(&self) -> &str {
                &self.head.function.code
            }

            #[getter]
            fn codec(&self) -> u8 {
                self.head.codec.0
            }

            #[getter]
            fn tags(&self) -> Vec<String> {
                self.head.tags.clone()
            }

            #[getter]
            fn written(&self) -> f64 {
                seconds(self.head.written)
            }

            #[getter]
            fn expires(&self) -> Option<f64> {
                self.head.expires.map(seconds)
            }

            #[getter]
            fn stale_until(&self) -> Option<f64> {
                self.head.stale_until.map(seconds)
            }

            #[getter]
            fn is_fresh(&self) -> bool {
                self.head.is_fresh(SystemTime::now())
            }

            #[getter]
            fn is_failure(&self) -> bool {
                self.head.is_failure
            }

            #[getter]
            fn load_cost(&self) -> f64 {
                self.head.load_cost.as_secs_f64()
            }

            #[getter]
            fn len(&self) -> u64 {
                self.head.len
            }

            #[getter]
            fn stored_bytes(&self) -> u64 {
                self.head.stored_bytes
            }

            #[getter]
            fn description(&self) -> &[u8] {
                &self.head.description
            }

            $($own)*
        }
    };
}

/// An entry: its head and its payload.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct Record {
    head: Head,
    payload: Py<PyBytes>,
}

heads!(Record {
    #[getter]
    fn payload(&self, py: Python<'_>) -> Py<PyBytes> {
        self.payload.clone_ref(py)
    }
});

/// Everything about an entry but its payload.
#[pyclass(frozen, module = "scrubjay._native", name = "Head")]
pub(crate) struct EntryHead {
    head: Head,
}

heads!(EntryHead {});

/// Goes through the heads of a store.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct Heads(Mutex<disk::Heads>);

#[pymethods]
impl Heads {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<EntryHead>> {
        let next = || self.0.lock().unwrap_or_else(PoisonError::into_inner).next();
        let head = py.detach(next).transpose().map_err(exception)?;
        Ok(head.map(|head| EntryHead { head }))
    }
}

/// What a look at every byte of a store found.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct Report(disk::Report);

#[pymethods]
impl Report {
    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    #[getter]
    fn expired(&self) -> u64 {
        self.0.expired
    }

    #[getter]
    fn damaged(&self) -> Vec<String> {
        self.0.damaged.iter().map(Digest::to_string).collect()
    }

    #[getter]
    fn index(&self) -> Vec<String> {
        self.0.index.clone()
    }

    #[getter]
    fn is_sound(&self) -> bool {
        self.0.is_sound()
    }
}

/// The digest of a key: its namespace, and the bytes that are all of it.
#[pyfunction]
pub(crate) fn key_digest<'py>(py: Python<'py>, namespace: &str, key: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(
        py,
        KeyEncoder::new(namespace).bytes(key).finish().as_bytes(),
    )
}

pub(crate) fn digest_of(bytes: &[u8]) -> PyResult<Digest> {
    let bytes = bytes.try_into();
    bytes
        .map(Digest::from_bytes)
        .map_err(|_| PyValueError::new_err("a digest has 32 bytes"))
}

fn durability_of(name: &str) -> PyResult<Durability> {
    match name {
        "process" => Ok(Durability::Process),
        "sync" => Ok(Durability::Sync),
        _ => Err(PyValueError::new_err(format!(
            "durability must be \"process\" or \"sync\", not {name:?}"
        ))),
    }
}

/// An instant so many seconds on; far away for numbers that no clock reaches.
pub(crate) fn after(now: Instant, seconds: f64) -> Instant {
    let wait = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    now.checked_add(wait)
        .unwrap_or(now + Duration::from_secs(1 << 30))
}

fn set(
    record: NewRecord,
    moment: Option<f64>,
    setter: impl Fn(NewRecord, SystemTime) -> NewRecord,
) -> PyResult<NewRecord> {
    let Some(seconds) = moment else {
        return Ok(record);
    };
    let since = Duration::try_from_secs_f64(seconds).ok();
    let moment = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    Ok(setter(
        record,
        moment.ok_or_else(|| wrong("a time", seconds))?,
    ))
}

pub(crate) fn seconds(moment: SystemTime) -> f64 {
    moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn wrong(what: &str, number: f64) -> PyErr {
    PyValueError::new_err(format!("{what} must be a number of seconds, not {number}"))
}

/// The exception for an error of the engine: `ValueError` for options, `OSError` for what the disk did.
pub(crate) fn exception(error: scrubjay::Error) -> PyErr {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let message = format!("{error}{cause}");
    match error.kind() {
        ErrorKind::Option => PyValueError::new_err(message),
        _ => PyOSError::new_err(message),
    }
}
