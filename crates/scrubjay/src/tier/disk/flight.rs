//! One load per key among the processes of a machine: a lock on one byte of a file, for every key another byte.
//!
//! Invariants: the kernel frees a lock when its holder dies; two keys never share one, as far as 62 bits of digest
//! differ; and nobody blocks in the kernel, so two holders that wait for each other's keys can both give up.
//!
//! A load that leads a key is noted here for as long as it does, so that what runs inside it keeps nobody waiting.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::digest::Digest;
use super::directory::Directory;
use super::fork::{self, OwnFile};
use super::os;
use crate::flight::cycle;

/// The right and duty to load a key, among all threads and processes on a store. Dropping it hands over.
///
/// # Example
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("scrubjay-lead-{}", std::process::id()));
/// # let store = scrubjay::disk::Store::open(&dir)?;
/// # let digest = scrubjay::disk::KeyEncoder::new("example").u64(1).finish();
/// let lead = store.try_lead(&digest)?.expect("nobody else leads");
/// assert!(store.try_lead(&digest)?.is_none());
/// drop(lead);
/// assert!(store.try_lead(&digest)?.is_some());
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a lead hands it over"]
pub struct Lead {
    _locked: OwnFile,
}

fn open(directory: &Directory, digest: &Digest) -> io::Result<File> {
    let path = directory
        .locks()
        .join(format!("{:02x}", digest.as_bytes()[31] & 0x3F));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(&path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            directory.make(&directory.locks())?;
            options.open(&path)
        }
        _ => Err(error),
    })
}

fn offset(digest: &Digest) -> i64 {
    digest.head() & (i64::MAX >> 1)
}

/// To be called inside the store.
pub(super) fn try_lead(directory: &Directory, digest: &Digest) -> io::Result<Option<Lead>> {
    let file = open(directory, digest)?;
    let locked = os::try_lock_byte(&file, offset(digest))?;
    Ok(locked.then(|| Lead {
        _locked: OwnFile::new(file),
    }))
}

/// Whether somebody leads a key; takes nothing that outlasts the question.
pub(super) fn is_led(directory: &Directory, digest: &Digest) -> io::Result<bool> {
    os::is_byte_locked(&open(directory, digest)?, offset(digest))
}

/// How long to wait before asking again, after this many times: from 0.2 to 10 ms, growing by half, with chance so that
/// waiters spread.
pub(crate) fn pause(tries: u32) -> Duration {
    let longest = Duration::from_millis(10);
    let grown = (0..tries.min(10)).fold(Duration::from_micros(200), |pause, _| pause * 3 / 2);
    let pause = grown.min(longest);
    let chance = super::values::new_id().cast_unsigned() % 256;
    pause - pause * u32::try_from(chance).unwrap_or(0) / 1024
}

/// The flights that lead a key among processes.
static LEADING: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// The lead of a key among processes, and the flight that has it.
pub(super) struct FlightsLead {
    _lead: Lead,
    flight: u64,
}

impl FlightsLead {
    pub(super) fn new(lead: Lead, flight: u64) -> Self {
        let _inside = fork::enter();
        leading().push(flight);
        Self {
            _lead: lead,
            flight,
        }
    }
}

impl Drop for FlightsLead {
    fn drop(&mut self) {
        let _inside = fork::enter();
        leading().retain(|other| *other != self.flight);
    }
}

fn leading() -> MutexGuard<'static, Vec<u64>> {
    LEADING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this thread is inside a load that leads a key among processes, for which another process may wait.
pub(super) fn keeps_others_waiting() -> bool {
    let _inside = fork::enter();
    let leading = leading();
    cycle::is_inside(|flight| leading.contains(&flight))
}
