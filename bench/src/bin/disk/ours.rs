//! Scrubjay's side of each row: what one operation costs.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use scrubjay::Cache;
use scrubjay::disk::{Digest, Function, KeyEncoder, NewRecord, Store};

use crate::apart::Share;
use crate::cost::{Cost, Watch};
use crate::folder::bytes_in;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How the values of a benchmark come to the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// As what a load brought.
    Load,
    /// As an insertion, which takes the place of whatever any process holds for the key.
    Insert,
    /// By the store alone, without a cache above.
    Store,
}

/// Bytes that do not compress, the same in every run.
fn filler(size: u64) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

fn value(key: u64, filler: &[u8]) -> Bytes {
    let mut value = filler.to_vec();
    value[..8].copy_from_slice(&key.to_le_bytes());
    value.into()
}

fn function() -> Function {
    Function::new("bench", "1")
}

fn digest(key: u64) -> Digest {
    KeyEncoder::new("bench").u64(key).finish()
}

/// A cache with a folder and, with a capacity of 0, no memory.
fn cache(store: &Store, capacity: u64) -> Result<Cache<u64, Bytes>> {
    let builder = Cache::builder().capacity(capacity);
    Ok(builder.disk(store.clone(), function()).build()?)
}

/// The keys of a share, in an order without pattern.
fn shuffled(share: Share) -> Vec<u64> {
    let mut keys: Vec<u64> = (share.first..share.first + share.count).collect();
    let mut state = 7_u64;
    for place in (1..keys.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        keys.swap(place, (state >> 33) as usize % (place + 1));
    }
    keys
}

/// Hits of a warm folder through a cache whose memory is off.
pub fn get(dir: &Path, share: Share) -> Result<Cost> {
    let cache = cache(&Store::open(dir)?, 0)?;
    let keys = shuffled(share);
    let watch = Watch::start();
    for key in &keys {
        let value = cache.get_or_insert_with(key, || panic!("{key} is missing"));
        assert_eq!(value.len() as u64, share.size);
    }
    let cost = watch.stop(share.count);
    assert_eq!(cache.stats().disk_hits, share.count, "the memory is off");
    Ok(cost)
}

/// Writes, and waits until all is committed.
pub fn put(dir: &Path, share: Share, how: Put, write_through: bool) -> Result<Cost> {
    let filler = filler(share.size);
    let store = Store::builder().write_through(write_through).open(dir)?;
    let cache = cache(&store, 0)?;
    let watch = Watch::start();
    for key in share.first..share.first + share.count {
        let value = value(key, &filler);
        match how {
            Put::Load => drop(cache.get_or_insert_with(&key, || value)),
            Put::Insert => cache.insert(key, value),
            Put::Store => loop {
                // A full queue is how the store says that it is the slower one.
                if store
                    .put(NewRecord::new(digest(key), function()), &value)
                    .is_ok()
                {
                    break;
                }
                store.flush(Duration::MAX)?;
            },
        }
    }
    store.flush(Duration::MAX)?;
    let cost = watch.stop(share.count);
    drop(cache);
    assert_eq!(store.stats()?.dropped, 0, "nothing was lost");
    Ok(cost)
}

/// What one of several processes writes.
pub fn put_apart(dir: &Path, share: Share) -> Result<Cost> {
    put(dir, share, Put::Insert, false)
}

/// Opens a folder that is there.
pub fn open(dir: &Path, count: u64) -> Result<Cost> {
    let watch = Watch::start();
    for _ in 0..count {
        black_box(Store::open(dir)?);
    }
    Ok(watch.stop(count))
}

/// Hits in memory, with a folder below or without.
pub fn hit_in_memory(dir: Option<&Path>, count: u64) -> Result<Cost> {
    let keys = 1_000;
    let cache = match dir {
        Some(dir) => cache(&Store::open(dir)?, keys * 10)?,
        None => Cache::builder().capacity(keys * 10).build()?,
    };
    let filler = filler(64);
    for key in 0..keys {
        cache.get_or_insert_with(&key, || value(key, &filler));
    }
    let watch = Watch::start();
    for turn in 0..count {
        black_box(cache.with(&(turn % keys), |value| value[0]));
    }
    Ok(watch.stop(count))
}

/// The first hits of a process that finds a warm folder, opening included.
pub fn restart(dir: &Path, count: u64) -> Result<Cost> {
    let watch = Watch::start();
    let cache = cache(&Store::open(dir)?, count)?;
    for key in 0..count {
        black_box(cache.get_or_insert_with(&key, || panic!("{key} is missing")));
    }
    Ok(watch.stop(count))
}

/// What the same costs if each value takes a millisecond to compute.
pub fn recompute(count: u64) -> Result<Cost> {
    let cache: Cache<u64, Bytes> = Cache::builder().capacity(count).build()?;
    let filler = filler(1024);
    let watch = Watch::start();
    for key in 0..count {
        black_box(cache.get_or_insert_with(&key, || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            value(key, &filler)
        }));
    }
    Ok(watch.stop(count))
}

/// How large a folder became, as shares of its capacity.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The most at any look while it was written.
    pub worst: f64,
    /// Soon after.
    pub at_rest: f64,
    pub looks: u64,
}

/// Writes eight times what a folder may hold, 100 bytes to 100 KiB a value, while a thread looks at its size.
pub fn fill(dir: &Path, capacity: u64) -> Result<Sizes> {
    let store = Store::builder().capacity_bytes(capacity).open(dir)?;
    let bytes = filler(100 << 10);
    let done = AtomicBool::new(false);
    let (mut worst, mut looks) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Relaxed: one look more or less.
            while !done.load(Ordering::Relaxed) {
                worst = worst.max(bytes_in(dir));
                looks += 1;
            }
        });
        let (mut written, mut key) = (0, 0);
        while written < capacity * 8 {
            // Log-uniform: sizes from 100 bytes over ten doublings.
            let size = (100 << (key * 7 % 11)).min(bytes.len());
            let record = NewRecord::new(digest(key), function());
            if store.put(record, &bytes[..size]).is_ok() {
                (written, key) = (written + size as u64, key + 1);
            } else {
                // The queue is full.
                store.flush(Duration::MAX).expect("the disk takes it");
            }
        }
        store.flush(Duration::MAX).expect("the disk takes it");
        done.store(true, Ordering::Relaxed);
    });
    drop(store);
    let share = |bytes: u64| bytes as f64 / capacity as f64;
    Ok(Sizes {
        worst: share(worst),
        at_rest: share(bytes_in(dir)),
        looks,
    })
}
