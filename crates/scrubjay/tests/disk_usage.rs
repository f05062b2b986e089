//! What a folder remembers besides its entries: what was asked of each function, and its capacity; and what a closed
//! store leaves for the next.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/random.rs"]
mod random;

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use folder::Folder;
use random::Random;
use scrubjay::Cache;
use scrubjay::disk::{Event, Function, KeyEncoder, NewRecord, Store, Usage};

fn usage(folder: &Path) -> Vec<Usage> {
    Store::open(folder).unwrap().stats().unwrap().usage
}

fn put(store: &Store, number: u64, payload: &[u8]) {
    let digest = KeyEncoder::new("usage").u64(number).finish();
    let record = NewRecord::new(digest, Function::new("f", ""));
    store.put(record, payload).unwrap();
}

#[test]
fn counts_of_all_openings_add_up_and_survive_them() {
    let folder = Folder::new("usage-sum");
    for _ in 0..3 {
        let store = Store::open(&folder.0).unwrap();
        store.count("report", Event::Load(Duration::from_millis(40)));
        store.count("report", Event::Hit(Duration::from_millis(40)));
        store.count("report", Event::Wait);
        store.count("other", Event::Hit(Duration::from_micros(1)));
    }
    let usage = usage(&folder.0);
    let names: Vec<&str> = usage.iter().map(|usage| usage.function.as_str()).collect();
    assert_eq!(names, ["report", "other"], "what saved most comes first");
    let report = &usage[0];
    assert_eq!((report.hits, report.waits, report.loads), (3, 3, 3));
    assert_eq!(report.time_saved, Duration::from_millis(120));
    assert_eq!(report.time_loading, Duration::from_millis(120));
}

#[test]
fn no_count_of_many_threads_is_lost() {
    let folder = Folder::new("usage-threads");
    let store = Store::open(&folder.0).unwrap();
    let start = Arc::new(Barrier::new(8));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, start) = (store.clone(), start.clone());
            scope.spawn(move || {
                start.wait();
                for _ in 0..1_000 {
                    store.count(["a", "b"][thread % 2], Event::Wait);
                }
            });
        }
    });
    drop(store);
    let waits: Vec<u64> = usage(&folder.0).iter().map(|usage| usage.waits).collect();
    assert_eq!(waits, [4_000, 4_000]);
}

#[test]
fn a_file_of_counts_that_is_damaged_or_foreign_costs_the_counts_and_nothing_else() {
    let folder = Folder::new("usage-damaged");
    let count = || {
        let store = Store::open(&folder.0).unwrap();
        store.count("report", Event::Wait);
    };
    count();
    for content in [&b"somebody's notes"[..], b"", b"SJuse\0\0\x01 and no slot"] {
        std::fs::write(folder.0.join("usage"), content).unwrap();
        count();
        assert_eq!(usage(&folder.0)[0].waits, 1);
    }
}

#[test]
fn a_cache_counts_the_hits_of_its_disk_tier_and_what_they_saved() {
    let folder = Folder::new("usage-cache");
    let ask = || -> u64 {
        let store = Store::open(&folder.0).unwrap();
        let below = Cache::builder().disk(store, Function::new("square", ""));
        let cache: Cache<u64, u64> = below.build().unwrap();
        cache.get_or_insert_with(&7, || {
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            49
        })
    };
    for _ in 0..3 {
        assert_eq!(ask(), 49);
    }
    let usage = &usage(&folder.0)[0];
    assert_eq!((usage.hits, usage.loads), (2, 1));
    assert!(usage.time_saved >= Duration::from_millis(4));
}

#[test]
fn a_cache_counts_the_hits_in_its_memory_and_what_they_saved_when_it_goes() {
    let folder = Folder::new("usage-memory");
    for round in 1..=2_u64 {
        let store = Store::open(&folder.0).unwrap();
        let below = Cache::builder().disk(store, Function::new("square", ""));
        let cache: Cache<u64, u64> = below.build().unwrap();
        let load = || {
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            49
        };
        for _ in 0..11 {
            assert_eq!(cache.get_or_insert_with(&7, load), 49);
        }
        drop(cache);
        let usage = &usage(&folder.0)[0];
        // Of the second cache, what it found in the folder says what each hit saved.
        assert_eq!((usage.memory_hits, usage.loads), (10 * round, 1));
        assert!(usage.memory_time_saved >= Duration::from_millis(20 * round));
        assert_eq!(usage.hits, round - 1);
    }
}

#[test]
fn a_cache_that_stays_counts_the_hits_in_its_memory_now_and_then() {
    let folder = Folder::new("usage-memory-stays");
    let store = Store::open(&folder.0).unwrap();
    let below = Cache::builder().disk(store.clone(), Function::new("square", ""));
    let cache: Cache<u64, u64> = below.build().unwrap();
    for _ in 0..11 {
        cache.get_or_insert_with(&7, || 49);
    }
    // There is no event for it; the thread that counts does so once a second.
    while store.stats().unwrap().usage[0].memory_hits < 10 {
        std::thread::yield_now();
    }
}

#[test]
fn a_capacity_is_remembered_for_those_who_ask_for_none() {
    let folder = Folder::new("usage-capacity");
    let capacity = || {
        Store::open(&folder.0)
            .unwrap()
            .stats()
            .unwrap()
            .capacity_bytes
    };
    assert_eq!(capacity(), 1 << 30);
    let small = Store::builder()
        .capacity_bytes(2 << 20)
        .open(&folder.0)
        .unwrap();
    put(&small, 1, b"x");
    drop(small);
    assert_eq!(capacity(), 2 << 20);
    let large = Store::builder()
        .capacity_bytes(8 << 30)
        .open(&folder.0)
        .unwrap();
    assert_eq!(large.stats().unwrap().capacity_bytes, 8 << 30);
    put(&large, 2, b"x");
    drop(large);
    assert_eq!(capacity(), 8 << 30);
}

#[test]
fn a_closed_store_leaves_a_short_log_to_whoever_opens_it_next() {
    let folder = Folder::new("usage-log");
    let log = || std::fs::metadata(folder.0.join("store.db-wal")).map_or(0, |log| log.len());
    let store = Store::builder()
        .write_through(true)
        .open(&folder.0)
        .unwrap();
    let mut random = Random::new(7);
    for number in 0..200 {
        put(&store, number, &random.bytes(20_000));
    }
    store.flush(Duration::MAX).unwrap();
    assert!(log() > 1 << 20);
    drop(store);
    assert!(log() <= 512 << 10, "{} bytes", log());
    let store = Store::open(&folder.0).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
    assert_eq!(store.stats().unwrap().entries, 200);
}
