//! A shard: its table, what is behind its lock, and what others may read of it without the lock.

use std::sync::Arc;

use super::Found;
use super::Pin;
use super::ledger::Ledger;
use super::limbo::Limbo;
use super::table::{Place, Room, Table, Tagged};
use crate::clock::Timestamp;
use crate::entry::{Account, Entry};
use crate::flight::Flights;
use crate::policy::Marks;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, OwnLine};

/// The shards, two to some power of them, shared with what is in limbo.
pub(super) struct Shards<K, V>(Arc<[OwnLine<Shard<K, V>>]>);

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(super) struct Shard<K, V> {
    pub(super) table: Table<Entry<K, V>>,
    pub(super) index: u32,
    /// On lines of its own, because readers of the table do not look at it.
    guarded: OwnLine<Guarded<K, V>>,
}

struct Guarded<K, V> {
    state: Mutex<State<K, V>>,
    /// How many entries the ledger does not know. Written under the lock, like the others here.
    unaccounted: AtomicUsize,
    weight: AtomicU64,
    due: AtomicU64,
}

/// What is behind a shard's lock.
pub(crate) struct State<K, V> {
    pub(super) room: Room,
    pub(super) ledger: Ledger,
    pub(super) limbo: Limbo,
    pub(crate) flights: Flights<K, V>,
}

impl<K, V> Shards<K, V> {
    pub(super) fn new(bits: u32) -> Self {
        let shards = (0..1 << bits).map(|index| OwnLine(Shard::new(index)));
        Self(shards.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bits(&self) -> u32 {
        self.0.len().ilog2()
    }

    /// The shard of a hash.
    #[inline]
    pub(super) fn of(&self, hash: u64) -> &Shard<K, V> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the result is below the shard count"
        )]
        let index = hash as usize & (self.0.len() - 1);
        &self.0[index].0
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> &Shard<K, V> {
        &self.0[index as usize].0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard<K, V>> {
        self.0.iter().map(|shard| &shard.0)
    }

    /// The others, beginning with the one after this.
    pub(super) fn after(&self, shard: &Shard<K, V>) -> impl Iterator<Item = &Shard<K, V>> {
        let len = self.0.len();
        (1..len).map(move |step| &self.0[(shard.index as usize + step) % len].0)
    }

    /// Drops what is in limbo; nobody uses the cache any more.
    pub(super) fn drop_unlinked(&mut self) {
        let shards = Arc::get_mut(&mut self.0).expect("batches were the only other owners");
        for OwnLine(shard) in shards {
            let places = shard.state().limbo.take_all();
            shard.table.drop_unlinked(places);
        }
    }
}

impl<K, V> Shard<K, V> {
    fn new(index: u32) -> Self {
        let state = State {
            room: Room::default(),
            ledger: Ledger::default(),
            limbo: Limbo::default(),
            flights: Flights::default(),
        };
        Self {
            table: Table::new(index),
            index,
            guarded: OwnLine(Guarded {
                state: Mutex::new(state),
                unaccounted: AtomicUsize::new(0),
                weight: AtomicU64::new(0),
                due: AtomicU64::new(u64::MAX),
            }),
        }
    }

    #[inline]
    pub(super) fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.guarded.0.state.lock()
    }

    /// The weight of its accounts.
    pub(super) fn weight(&self) -> u64 {
        // Relaxed, here and below: who does not hold the lock gets some recent value.
        self.guarded.0.weight.load(Ordering::Relaxed)
    }

    /// The first moment at which something may have to happen to an entry.
    pub(super) fn due(&self) -> Timestamp {
        Timestamp::from_nanos(self.guarded.0.due.load(Ordering::Relaxed))
    }

    pub(super) fn unaccounted(&self) -> usize {
        self.guarded.0.unaccounted.load(Ordering::Relaxed)
    }

    /// Under the lock.
    pub(super) fn set_unaccounted(&self, count: usize) {
        // Relaxed, here and below: there is one writer, the holder of the lock.
        self.guarded.0.unaccounted.store(count, Ordering::Relaxed);
    }

    /// Shows without the lock what the ledger is at. Under the lock.
    pub(super) fn publish(&self, ledger: &Ledger) {
        let shown = &self.guarded.0;
        shown.weight.store(ledger.weight(), Ordering::Relaxed);
        shown.due.store(ledger.due().as_nanos(), Ordering::Relaxed);
        self.table.set_epoch(ledger.epoch());
    }

    /// Panics unless table and ledger agree. Returns how many of its accounts are fresh. No other call may run.
    pub(super) fn assert_consistent(&self, pin: &Pin<'_>) -> u64 {
        let state = self.state();
        self.table.assert_consistent(&state.room, pin);
        let (outside, entries): (Vec<_>, Vec<_>) =
            (self.table.iter(pin)).partition(|found| found.account() == Account::None);
        assert_eq!(outside.len(), self.unaccounted());
        let entries: Vec<_> = (entries.iter())
            .map(|found| (found.place, found.weight(), found.account()))
            .collect();
        state.ledger.assert_consistent(&entries)
    }
}

/// Finds entries for those who know them by their places: ledger and policy, under the shard's lock.
pub(super) struct Residents<'g, K, V> {
    table: &'g Table<Entry<K, V>>,
    pin: &'g Pin<'g>,
}

impl<'g, K, V> Residents<'g, K, V> {
    pub(super) fn new(shard: &'g Shard<K, V>, pin: &'g Pin<'g>) -> Self {
        let table = &shard.table;
        Self { table, pin }
    }

    #[inline]
    #[allow(unsafe_code, reason = "ledger and policy name entries by their places")]
    pub(super) fn of(&self, place: Place) -> Found<'g, K, V> {
        // SAFETY: they ask, under the shard's lock, for entries that they have or are about to take: those are in
        // their places, and nobody retires one before the ledger has let go of it, later than this pin began.
        unsafe { self.table.get(place, self.pin) }
    }
}

impl<K, V> Marks for Residents<'_, K, V> {
    #[inline]
    fn mark(&self, place: u32) -> u16 {
        self.of(place).mark()
    }

    #[inline]
    fn set_mark(&self, place: u32, mark: u16) {
        self.of(place).set_mark(mark);
    }

    fn tick(&self, place: u32) -> u64 {
        self.of(place).tick()
    }

    #[inline]
    fn tag(&self, place: u32) -> u32 {
        self.of(place).hash_tag()
    }

    #[inline]
    fn weight(&self, place: u32) -> u64 {
        self.of(place).weight()
    }

    #[inline]
    fn prefetch(&self, place: u32) {
        self.table.prefetch(place, self.pin);
    }

    #[inline]
    fn prefetch_home(&self, tag: u32) {
        self.table.prefetch_home(tag, self.pin);
    }
}
