//! Between being unlinked and being dropped: entries that a reader may still see.
//!
//! Each shard gathers the places of what left it, and hands them to the collector by the batch, because each batch
//! costs an allocation and each look for readers a system call. Invariant: every unlinked entry is gathered once.

#![allow(
    unsafe_code,
    reason = "what readers may still see is dropped by the collector; see docs/benchmarks.md for what that brings"
)]

use seize::{Collector, Guard};

use super::table::Place;
use super::{Pin, Shard, Shards};
use crate::entry::Entry;

/// What left one shard and was not handed over yet. Behind the shard's lock.
#[derive(Debug, Default)]
pub(super) struct Limbo {
    places: Vec<Place>,
    /// Whether the drop of any of them does something.
    drops: bool,
}

/// Entries of one shard on their way through the collector.
struct Batch<K, V> {
    shards: Shards<K, V>,
    shard: u32,
    drops: bool,
    entries: Vec<(Place, *mut Entry<K, V>)>,
}

impl Limbo {
    /// Gathers an entry that was unlinked, whose drop does something or not; returns how many there are.
    pub(super) fn gather(&mut self, place: Place, drops: bool) -> usize {
        self.places.push(place);
        self.drops |= drops;
        self.places.len()
    }

    /// Hands over what left `shard`. No entry is dropped before `pin` ends, so the shard's lock may be held.
    pub(super) fn hand_over<K, V>(
        &mut self,
        shards: &Shards<K, V>,
        shard: &Shard<K, V>,
        pin: &Pin<'_>,
    ) {
        if self.places.is_empty() {
            return;
        }
        let places = self.places.drain(..);
        let entries = places.map(|place| (place, shard.table.address(place, pin)));
        let batch = Box::into_raw(Box::new(Batch {
            shards: shards.clone(),
            shard: shard.index,
            drops: std::mem::take(&mut self.drops),
            entries: entries.collect(),
        }));
        // SAFETY: the batch came from `Box::into_raw` and is retired once. Its entries were unlinked before now.
        unsafe { pin.defer_retire(batch, drop_batch) };
    }

    /// What was not handed over; nobody uses the cache any more.
    pub(super) fn take_all(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.places)
    }
}

/// # Safety
///
/// `batch` came from `Box::into_raw` in `hand_over`, and the collector calls this once, when all who were pinned then
/// have unpinned.
unsafe fn drop_batch<K, V>(batch: *mut Batch<K, V>, _: &Collector) {
    // SAFETY: the caller's promise.
    let batch = unsafe { Box::from_raw(batch) };
    let table = &batch.shards.at(batch.shard).table;
    // SAFETY: the entries were unlinked and gathered once, before the batch was retired; nobody sees them any more.
    unsafe { table.free(&batch.entries, batch.drops) };
}
