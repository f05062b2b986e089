//! Between being unlinked and being dropped: entries that a reader may still see.
//!
//! Each thread gathers the numbers of what it unlinked, and hands them to the collector by the batch, because having
//! the collector look for readers costs a system call. Invariant: every unlinked entry is gathered once.

#![allow(
    unsafe_code,
    reason = "what readers may still see is dropped by the collector; see docs/benchmarks.md for what that brings"
)]

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use seize::{Collector, Guard};

use super::table::{Number, Resident};
use super::{Pin, Shards};
use crate::entry::Entry;
use crate::sync::{PerThread, add};

/// How many entries make a batch.
const BATCH: usize = 16;

/// What the threads of one cache unlinked and did not hand over yet.
#[derive(Debug, Default)]
pub(super) struct Limbo {
    by_thread: PerThread<Gathered>,
}

/// Written by one thread at a time, so that no read-modify-write is needed.
#[derive(Debug, Default)]
struct Gathered {
    numbers: [AtomicU32; BATCH],
    len: AtomicUsize,
    /// Of everything since the collector last looked for readers.
    weight: AtomicU64,
}

/// Entries on their way through the collector.
struct Batch<K, V> {
    shards: Shards<K, V>,
    entries: Vec<(Number, *mut Entry<K, V>)>,
}

impl Limbo {
    /// Gathers an entry that was unlinked; returns how much has gathered since the last [`flush`](Self::flush).
    pub(super) fn gather<K, V>(
        &self,
        shards: &Shards<K, V>,
        resident: Resident<'_, Entry<K, V>>,
        pin: &Pin<'_>,
    ) -> u64 {
        let gathered = self.by_thread.of(pin.thread_id());
        // Relaxed, here and below: one thread at a time writes and reads; what hands its number on to another thread
        // (seize's registry of threads) orders them.
        let len = gathered.len.load(Ordering::Relaxed);
        gathered.numbers[len].store(resident.number, Ordering::Relaxed);
        gathered.len.store(len + 1, Ordering::Relaxed);
        if len + 1 == BATCH {
            gathered.hand_over(shards, pin);
        }
        add(&gathered.weight, resident.entry.weight())
    }

    /// Has the collector look for readers, and drop what nobody can see any more.
    pub(super) fn flush<K, V>(&self, shards: &Shards<K, V>, pin: &Pin<'_>) {
        let gathered = self.by_thread.of(pin.thread_id());
        gathered.hand_over(shards, pin);
        gathered.weight.store(0, Ordering::Relaxed);
        pin.flush();
    }

    /// What was gathered and not handed over; nobody uses the cache any more.
    pub(super) fn take_all(&mut self) -> Vec<Number> {
        let gathered = self.by_thread.iter().flat_map(|gathered| {
            let len = gathered.len.swap(0, Ordering::Relaxed);
            gathered.numbers[..len].iter()
        });
        gathered
            .map(|number| number.load(Ordering::Relaxed))
            .collect()
    }
}

impl Gathered {
    fn hand_over<K, V>(&self, shards: &Shards<K, V>, pin: &Pin<'_>) {
        let len = self.len.swap(0, Ordering::Relaxed);
        if len == 0 {
            return;
        }
        let numbers = self.numbers[..len].iter();
        let entries = numbers
            .map(|number| number.load(Ordering::Relaxed))
            .map(|number| (number, shards.of(number).table.address(number, pin)))
            .collect();
        let batch = Box::into_raw(Box::new(Batch {
            shards: shards.clone(),
            entries,
        }));
        // SAFETY: the batch came from `Box::into_raw` and is retired once. Its entries were unlinked before now.
        unsafe { pin.defer_retire(batch, drop_batch) };
    }
}

/// # Safety
///
/// `batch` came from `Box::into_raw` in `hand_over`, and the collector calls this once, when all who were pinned then
/// have unpinned.
unsafe fn drop_batch<K, V>(batch: *mut Batch<K, V>, _: &Collector) {
    // SAFETY: the caller's promise.
    let batch = unsafe { Box::from_raw(batch) };
    for (number, entry) in batch.entries {
        // SAFETY: the entry was unlinked and gathered once, before the batch was retired; nobody sees it any more.
        unsafe { batch.shards.of(number).table.free(number, entry) };
    }
}
