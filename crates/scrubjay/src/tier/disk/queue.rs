//! Writes on their way to the index.
//!
//! Whoever wants something written puts it into the queue; whoever comes first, the writer's thread or a caller that must
//! wait for its own write, applies all that is there as one batch. Invariants: operations are applied in the order
//! in which they were queued; a queued entry can be read; and whoever queues more than [`MOST_BYTES`] applies it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::digest::Digest;
use super::index::{Applied, Op};
use super::record::NewRecord;
use crate::error::{Error, ErrorKind};

/// So many bytes of payload may wait before whoever adds to them has to help.
const MOST_BYTES: usize = 8 << 20;
/// A batch is applied at once when it has this many operations.
const BATCH: usize = 512;
/// How long a batch waits for more.
const LINGER: Duration = Duration::from_millis(5);

/// An entry that waits to be written.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: NewRecord,
    pub(super) payload: Arc<Vec<u8>>,
    pub(super) born: u64,
    pub(super) written: std::time::SystemTime,
}

/// One thing to write.
#[derive(Debug)]
pub(super) enum Write {
    Entry(Arc<Pending>),
    Op(Op),
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Write>,
    pending: HashMap<Digest, Arc<Pending>>,
    bytes: usize,
    /// Why the last batch failed that did.
    failure: Option<String>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Held by whoever applies a batch.
    turn: Mutex<()>,
}

/// What the writer's thread is to do.
pub(super) enum Wake {
    Drain,
    End,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a write; true if there is so much now that the caller should see to its being applied.
    pub(super) fn push(&self, write: Write) -> bool {
        let mut state = self.state();
        state.bytes += size(&write);
        if let Write::Entry(entry) = &write {
            state.pending.insert(entry.record.digest, entry.clone());
        }
        state.waiting.push(write);
        if state.waiting.len() == 1 || state.waiting.len() >= BATCH {
            self.changed.notify_all();
        }
        state.bytes > MOST_BYTES
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Pending>> {
        let state = self.state();
        if state.pending.is_empty() {
            return None;
        }
        state.pending.get(digest).cloned()
    }

    /// Applies all that waits, and then `last`, as one batch.
    pub(super) fn drain(
        &self,
        last: Vec<Write>,
        apply: impl FnOnce(&[Write]) -> Result<Applied, Error>,
    ) -> Result<Applied, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = std::mem::take(&mut self.state().waiting);
        let waited = batch.len();
        batch.extend(last);
        if batch.is_empty() {
            return Ok(Applied::default());
        }
        let result = apply(&batch);
        let mut state = self.state();
        state.bytes -= batch[..waited].iter().map(size).sum::<usize>();
        for write in &batch[..waited] {
            if let Write::Entry(entry) = write
                && let Some(other) = state.pending.get(&entry.record.digest)
                && Arc::ptr_eq(other, entry)
            {
                state.pending.remove(&entry.record.digest);
            }
        }
        if let Err(error) = &result
            && waited > 0
        {
            state.failure = Some(error.to_string());
        }
        result
    }

    /// Says why a batch failed since this was last asked.
    pub(super) fn take_failure(&self) -> Result<(), Error> {
        let failure = self.state().failure.take();
        failure.map_or(Ok(()), |message| Err(Error::new(ErrorKind::Io, message)))
    }

    /// Waits for something to write, and then a little for more.
    pub(super) fn wait(&self) -> Wake {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return Wake::End;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let begun = Instant::now();
        while !state.closed && !state.waiting.is_empty() && state.waiting.len() < BATCH {
            let Some(left) = LINGER
                .checked_sub(begun.elapsed())
                .filter(|left| !left.is_zero())
            else {
                break;
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Wake::Drain
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}

fn size(write: &Write) -> usize {
    match write {
        Write::Entry(entry) => entry.payload.len() + 256,
        Write::Op(Op::Put(put)) => put.bytes.len() + 256,
        Write::Op(_) => 64,
    }
}
