//! Writes on their way to the index.
//!
//! Whoever wants something written puts it into the queue; whoever comes first, the writer's thread or a caller that
//! must wait for its own write, applies what is there in batches, for all others too. Invariants: operations are
//! applied in the order in which they were queued; a queued entry can be read; and whoever queues more than
//! [`MOST_BYTES`] applies it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::digest::Digest;
use super::index::{Applied, Op, Put, Speaker};
use super::record::NewRecord;
use crate::error::{Error, ErrorKind};

/// So many bytes of payload may wait before whoever adds to them has to help.
const MOST_BYTES: u64 = 8 << 20;
/// A batch has no more operations than this.
const BATCH: usize = 512;
/// How long a batch waits for more.
const LINGER: Duration = Duration::from_millis(5);
/// How many failed batches are remembered for those who wait for theirs.
const FAILURES: usize = 64;

/// An entry that waits to be written.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) record: NewRecord,
    pub(super) by: Speaker,
    pub(super) payload: Arc<Vec<u8>>,
    pub(super) born: u64,
    pub(super) written: std::time::SystemTime,
    /// Its row, if that was made already.
    pub(super) row: Option<Put>,
}

/// One thing to write.
#[derive(Debug)]
pub(super) enum Write {
    Entry(Arc<Pending>),
    Op(Op),
}

impl Write {
    /// The same in an index that stands in for a deleted one, whose numbers and rows are others; `None` if it is about
    /// rows.
    pub(super) fn elsewhere(&self) -> Option<Self> {
        match self {
            Self::Entry(entry) => Some(Self::Entry(Arc::new(Pending {
                born: 0,
                row: None,
                ..Pending::clone(entry)
            }))),
            Self::Op(Op::Put(put)) => Some(Self::Op(Op::Put(Box::new(Put {
                born: 0,
                noted: None,
                ..Put::clone(put)
            })))),
            Self::Op(op @ (Op::Invalidate(..) | Op::Clear(_))) => Some(Self::Op(op.clone())),
            Self::Op(_) => None,
        }
    }
}

/// A batch that failed: the number of its first write, that of its last, and why.
#[derive(Debug)]
struct Failed(u64, u64, String);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Write>,
    pending: HashMap<Digest, Arc<Pending>>,
    bytes: u64,
    /// How many writes were ever queued, and how many of them were applied or failed.
    queued: u64,
    done: u64,
    failed: VecDeque<Failed>,
    /// Why a batch failed since somebody last asked.
    failure: Option<String>,
    /// Somebody waits for what is queued, so it does not wait for more.
    is_urgent: bool,
    /// The thread has something to look after.
    is_called: bool,
    closed: bool,
    /// How many wait for `changed` and for `applied`: to wake nobody costs a call of the kernel.
    idle: u32,
    waiters: u32,
}

#[derive(Debug)]
pub(super) struct Queue {
    /// A batch has no more bytes than this, but for a single write.
    batch_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
    applied: Condvar,
    /// Held by whoever applies batches.
    turn: Mutex<()>,
}

/// What the writer's thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Drain,
    /// Its time has come, or somebody called it.
    Look,
    End,
}

impl Queue {
    pub(super) fn new(batch_bytes: u64) -> Self {
        Self {
            batch_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
            applied: Condvar::new(),
            turn: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a write. Returns its number, and whether there is so much now that the caller should apply it.
    pub(super) fn push(&self, write: Write) -> (u64, bool) {
        let mut state = self.state();
        state.bytes += size(&write);
        if let Write::Entry(entry) = &write {
            state.pending.insert(entry.record.digest, entry.clone());
        }
        state.waiting.push_back(write);
        state.queued += 1;
        if state.idle > 0 && (state.waiting.len() == 1 || state.waiting.len() >= BATCH) {
            self.changed.notify_all();
        }
        (state.queued, state.bytes > MOST_BYTES)
    }

    /// Queues what may as well be lost, unless much waits: where nothing can be written, nobody applies it.
    pub(super) fn offer(&self, write: Write) {
        if self.state().waiting.len() < BATCH {
            self.push(write);
        }
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Pending>> {
        let state = self.state();
        if state.pending.is_empty() {
            return None;
        }
        state.pending.get(digest).cloned()
    }

    /// The number of the last write that was queued; `None` if all are applied.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let state = self.state();
        (state.done < state.queued).then_some(state.queued)
    }

    /// How many writes were applied or failed.
    pub(super) fn done(&self) -> u64 {
        self.state().done
    }

    /// Applies all that was queued up to a number, unless others do, and says how it went.
    pub(super) fn apply_up_to(
        &self,
        number: u64,
        mut apply: impl FnMut(&[Write]) -> Result<Applied, Error>,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_turn(number, &mut apply);
        let state = self.state();
        let failed = state.failed.iter();
        let mut failed = failed.filter(|Failed(first, last, _)| (first..=last).contains(&&number));
        let why = failed.next().map(|Failed(_, _, why)| why.clone());
        why.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Io, why)))
    }

    /// Applies all that waits, and then `last` as a batch of its own, whose outcome is returned.
    pub(super) fn drain(
        &self,
        last: &[Write],
        mut apply: impl FnMut(&[Write]) -> Result<Applied, Error>,
    ) -> Result<Applied, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = self.state().queued;
        self.take_turn(queued, &mut apply);
        if last.is_empty() {
            return Ok(Applied::default());
        }
        apply(last)
    }

    fn take_turn(&self, number: u64, apply: &mut dyn FnMut(&[Write]) -> Result<Applied, Error>) {
        while self.state().done < number {
            let batch = self.take_batch();
            let result = apply(&batch);
            self.finish(&batch, result.err());
        }
    }

    fn take_batch(&self) -> Vec<Write> {
        let mut state = self.state();
        let (mut count, mut bytes) = (0, 0);
        for write in state.waiting.iter().take(BATCH) {
            bytes += size(write);
            if count > 0 && bytes > self.batch_bytes {
                break;
            }
            count += 1;
        }
        state.waiting.drain(..count).collect()
    }

    fn finish(&self, batch: &[Write], error: Option<Error>) {
        let mut state = self.state();
        state.bytes -= batch.iter().map(size).sum::<u64>();
        for write in batch {
            if let Write::Entry(entry) = write
                && let Some(other) = state.pending.get(&entry.record.digest)
                && Arc::ptr_eq(other, entry)
            {
                state.pending.remove(&entry.record.digest);
            }
        }
        let first = state.done + 1;
        state.done += batch.len() as u64;
        if let Some(error) = error {
            let failed = Failed(first, state.done, error.to_string());
            state.failed.push_back(failed);
            if state.failed.len() > FAILURES {
                state.failed.pop_front();
            }
            state.failure = Some(error.to_string());
        }
        if state.waiters > 0 {
            self.applied.notify_all();
        }
    }

    /// Waits until what was queued up to a number is applied by somebody; false if that takes longer.
    pub(super) fn wait_for(&self, number: u64, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        state.is_urgent = true;
        self.changed.notify_all();
        while state.done < number {
            let Some(left) = left_until(deadline) else {
                return false;
            };
            state.waiters += 1;
            let waited = self.applied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiters -= 1;
        }
        true
    }

    /// Says why a batch failed since this was last asked.
    pub(super) fn take_failure(&self) -> Result<(), Error> {
        let failure = self.state().failure.take();
        failure.map_or(Ok(()), |message| Err(Error::new(ErrorKind::Io, message)))
    }

    /// Has the thread look after what it looks after.
    pub(super) fn call(&self) {
        self.state().is_called = true;
        self.changed.notify_all();
    }

    /// Waits for something to write, and then a little for more; or until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Wake {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return Wake::End;
            }
            let left = left_until(deadline);
            if std::mem::take(&mut state.is_called) || left.is_none() {
                return Wake::Look;
            }
            state = self.idle(state, left.unwrap_or(LINGER));
        }
        let more = Instant::now() + LINGER;
        while !state.closed && !state.is_urgent && (1..BATCH).contains(&state.waiting.len()) {
            let Some(left) = left_until(Some(more)) else {
                break;
            };
            state = self.idle(state, left);
        }
        state.is_urgent = false;
        Wake::Drain
    }

    fn idle<'a>(&self, mut state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        state.idle += 1;
        let waited = self.changed.wait_timeout(state, most);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.idle -= 1;
        state
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}

/// What is left until a deadline, or a long time if there is none; `None` if it is over.
fn left_until(deadline: Option<Instant>) -> Option<Duration> {
    let Some(deadline) = deadline else {
        return Some(Duration::from_secs(3600));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

fn size(write: &Write) -> u64 {
    let bytes = match write {
        Write::Entry(entry) => entry.payload.len() + 256,
        Write::Op(Op::Put(put)) => put.bytes.len() + 256,
        Write::Op(_) => 64,
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_lost_does_not_pile_up_where_nobody_applies_it() {
        let queue = Queue::new(1 << 20);
        for id in 0..10 * BATCH as i64 {
            queue.offer(Write::Op(Op::Touch { id, bucket: 0 }));
        }
        assert_eq!(queue.unfinished(), Some(BATCH as u64));
    }
}
