//! The size of a store's folder: bounded at all times, log and files included, and given back when entries go.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/stored.rs"]
mod stored;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use folder::Folder;
use random::Random;
use scrubjay::disk::{Function, NewRecord, Store};
use stored::name;

const MIB: u64 = 1 << 20;

fn open(folder: &Folder, capacity: u64) -> Store {
    Store::builder()
        .capacity_bytes(capacity)
        .open(&folder.0)
        .unwrap()
}

fn record(n: u64) -> NewRecord {
    NewRecord::new(name(n), Function::new("f", ""))
}

/// Bytes that the files in a folder take on disk.
fn bytes_in(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_in(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

#[test]
fn the_folder_stays_within_its_bound_while_far_more_is_written() {
    for capacity in [2 * MIB, 8 * MIB] {
        let folder = Folder::new(&format!("size-bound-{capacity}"));
        let store = open(&folder, capacity);
        let bytes = Random::new(1).bytes(100 << 10);
        let (mut written, mut worst) = (0, 0);
        for n in 0.. {
            // Rows and value files of many sizes, in turn mostly the one and mostly the other.
            let most = if n / 300 % 2 == 0 { 9 } else { 11 };
            let size = (100 << (n * 7 % most)).min(bytes.len());
            store.put(record(n), &bytes[..size]).unwrap();
            written += size as u64;
            if n % 8 == 0 {
                worst = worst.max(bytes_in(&folder.0));
            }
            if written > 6 * capacity {
                break;
            }
        }
        store.flush(Duration::from_secs(60)).unwrap();
        assert!(
            worst * 10 <= capacity * 11,
            "{worst} of {capacity} at worst"
        );
        assert!(
            store.stats().unwrap().entries > 10,
            "it is used nevertheless"
        );
        drop(store);
        let rest = bytes_in(&folder.0);
        assert!(rest * 20 <= capacity * 21, "{rest} of {capacity} at rest");
    }
}

#[test]
fn a_reader_that_was_stopped_costs_entries_and_not_the_bound_and_no_invalidation() {
    let folder = Folder::new("stopped");
    let store = Store::builder().capacity_bytes(8 * MIB).write_through(true);
    let store = store.open(&folder.0).unwrap();
    let bytes = Random::new(7).bytes(1000);
    let put = |n| store.put(record(n).replaces(true), &bytes);
    put(0).unwrap();
    put(1).unwrap();
    store.flush(Duration::MAX).unwrap();
    let reader = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    let read = "BEGIN; SELECT count(*) FROM e";
    reader.execute_batch(read).unwrap();
    let refused = (2..500).find(|n| put(*n).is_err() || store.flush(Duration::MAX).is_err());
    assert!(bytes_in(&folder.0) < 8 * MIB, "{}", bytes_in(&folder.0));
    assert!(refused.is_some());
    // What was not stored takes with it what it was to replace.
    assert!(put(1).is_err() && store.get(&name(1)).is_none());
    assert_eq!(store.invalidate(&name(0)).unwrap(), 1);
    assert!(store.get(&name(0)).is_none());

    reader.execute_batch("ROLLBACK").unwrap();
    while put(1).is_err() {}
    assert!(store.get(&name(1)).is_some());
}

#[test]
fn the_folder_shrinks_by_itself_when_entries_are_gone() {
    let folder = Folder::new("size-shrinks");
    let store = open(&folder, 64 * MIB);
    let bytes = Random::new(1).bytes(2_000);
    for n in 0..8_000 {
        store.put(record(n), &bytes).unwrap();
    }
    store.flush(Duration::from_secs(60)).unwrap();
    assert!(bytes_in(&folder.0) > 12 * MIB);
    assert_eq!(store.clear().unwrap(), 8_000);
    let begun = Instant::now();
    while bytes_in(&folder.0) > 2 * MIB {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            bytes_in(&folder.0)
        );
        std::thread::yield_now();
    }
}

#[test]
fn an_entry_that_is_larger_than_the_store_pushes_nothing_out() {
    let folder = Folder::new("size-heavy");
    let store = open(&folder, 2 * MIB);
    let bytes = Random::new(1).bytes(3 << 20);
    store.put(record(1), b"small").unwrap();
    store.put(record(2), &bytes).unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    assert!(store.get(&name(1)).is_some());
    assert!(store.get(&name(2)).is_none());
    assert!(bytes_in(&folder.0) < MIB);
}
