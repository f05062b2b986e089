//! A disk without room: a counted failure, and nothing untrue is served.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/mount.rs"]
mod mount;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/stored.rs"]
mod stored;

use std::path::Path;
use std::time::Duration;

use folder::Folder;
use mount::Mounted;
use random::Random;
use scrubjay::disk::Store;
use stored::{computes, name, open, payload, record};

/// Bytes that take as much room as they are long.
fn incompressible(seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(28_000)
}

/// Leaves no room on a disk, not even for something small.
fn take_all_room(disk: &Path) {
    let rest = std::fs::File::create(disk.join("rest")).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut &rest).unwrap_err();
}

/// A store of 200 entries on a disk without room for more.
fn filled(disk: &Path) -> Store {
    let store = Store::open(disk).unwrap();
    (0..200).for_each(|n| store.put(record(n), &payload(1)).unwrap());
    store.flush(Duration::MAX).unwrap();
    take_all_room(disk);
    store
}

/// Whether an entry is there; then it is the new one.
fn is_replaced(store: &Store, n: u64, new: &[u8]) -> bool {
    let found = store.get(&name(n));
    let bytes = found.map(|record| record.payload.into_bytes().unwrap());
    let is_new = bytes.as_ref().is_none_or(|bytes| bytes == new);
    assert!(is_new, "entry {n} is the one of before");
    bytes.is_some()
}

#[test]
fn a_full_disk_is_a_counted_failure_and_what_was_stored_is_still_right() {
    let folder = Folder::new("full");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "2m") else {
        return;
    };
    let store = open(&disk);
    let failed = (0..1_000).find(|n| store.put(record(*n), &payload(*n)).is_err());
    let failed = failed.expect("2 MiB are less than what was written");
    for n in 0..failed {
        let found = store
            .get(&name(n))
            .map(|record| record.payload.into_bytes().unwrap());
        assert!(found == Some(payload(n)), "entry {n}");
    }
    assert!(store.stats().unwrap().failures > 0);
    take_all_room(&disk);
    // The log has room of its own, until that is full too.
    let full = (10_000..20_000).find(|n| store.put(record(*n), b"small").is_err());
    full.expect("the log has no more room than the disk");
    computes(store);
}

#[test]
fn an_entry_is_said_to_be_untrue_although_the_disk_is_full() {
    let folder = Folder::new("full-invalidation");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "4m") else {
        return;
    };
    let store = open(&disk);
    store.put(record(0), &payload(0)).unwrap();
    let failed = (1..4_000).find(|n| store.put(record(*n), &payload(*n)).is_err());
    failed.expect("4 MiB are less than what was written");
    take_all_room(&disk);
    assert!(store.get(&name(0)).is_some());
    store.invalidate(&name(0)).unwrap();
    assert!(store.get(&name(0)).is_none());
    drop(store);
    assert!(open(&disk).get(&name(0)).is_none());
}

/// Of many entries, more than the ballast has room to remove at once.
#[test]
fn everything_can_be_cleared_and_purged_although_the_disk_is_full() {
    let clear: [fn(&Store) -> u64; 3] = [
        |store| store.clear().unwrap(),
        |store| store.invalidate_if(|_| true).unwrap(),
        |store| store.invalidate_tag("t").unwrap(),
    ];
    for (which, clear) in clear.into_iter().enumerate() {
        let folder = Folder::new("full-clear");
        let disk = folder.0.join("disk");
        let Some(_mounted) = Mounted::in_memory(&disk, "16m") else {
            return;
        };
        let store = Store::builder().capacity_bytes(32 << 20);
        let store = store.write_through(true).open(&disk).unwrap();
        // Bytes that are not compressed, and no value files, whose removal would make room.
        let bytes = |n: u64| {
            (0..2_000)
                .map(|i| (n * 31 + i * i) as u8)
                .collect::<Vec<_>>()
        };
        let failed = (0..20_000).find(|n| store.put(record(*n), &bytes(*n)).is_err());
        let stored = failed.expect("16 MiB are less than what was written");
        take_all_room(&disk);
        let more = (stored..20_000).find(|n| store.put(record(*n), b"small").is_err());
        let stored = more.expect("the log has no more room than the disk");
        assert!(stored > 2_000, "{stored} entries");
        assert_eq!(clear(&store), stored, "way {which}");
        assert_eq!(store.iter().count(), 0);
        drop(store);
        let store = open(&disk);
        assert!((0..stored).all(|n| store.get(&name(n)).is_none()));
        assert!(store.verify(|_| ()).unwrap().is_sound());
        std::fs::remove_file(disk.join("rest")).unwrap();
        store.put(record(0), b"again").unwrap();
    }
}

#[test]
fn nothing_waits_in_a_journal_while_the_disk_may_have_no_room_for_it_in_the_index() {
    let folder = Folder::new("nearly-full");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "12m") else {
        return;
    };
    let store = open(&disk);
    (0..9).for_each(|n| store.put(record(n), &payload(n)).unwrap());
    assert!(!disk.join("journals").exists());
}

#[test]
fn what_an_entry_was_to_replace_is_gone_although_the_disk_had_no_room_for_that() {
    let folder = Folder::new("full-replace");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "4m") else {
        return;
    };
    let store = filled(&disk);
    // Together more than the log has room for, though the first of them may be committed alone.
    let replaced = 0..20;
    // Nothing is committed before all of them are queued, so that they are a batch or two.
    let other = rusqlite::Connection::open(disk.join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in replaced.clone() {
        let record = record(n).replaces(true);
        store.put(record, &incompressible(n)).unwrap();
    }
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert!(store.flush(Duration::MAX).is_err(), "the disk is full");
    let is_kept = |n: &u64| is_replaced(&store, *n, &incompressible(*n));
    let kept = replaced.clone().filter(is_kept).count();
    assert!(kept < replaced.count(), "something is lost");
    assert!(store.get(&name(20)).is_some());
}

#[test]
fn nothing_that_was_to_be_replaced_is_served_however_often_the_full_disk_is_written_to() {
    let folder = Folder::new("full-again");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "4m") else {
        return;
    };
    let store = filled(&disk);
    for n in 0..100 {
        let replacing = record(n).replaces(true);
        store.put(replacing, &incompressible(n)).unwrap();
        // It may fail, or find room.
        let _ = store.flush(Duration::MAX);
        is_replaced(&store, n, &incompressible(n));
    }
}

/// In a small folder, whose log is emptied before the disk is full.
#[test]
fn the_one_entry_of_a_folder_is_replaced_or_gone_although_the_disk_is_full() {
    let folder = Folder::new("full-one");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "4m") else {
        return;
    };
    drop(open(&disk));
    let log = rusqlite::Connection::open(disk.join("store.db")).unwrap();
    let store = Store::open(&disk).unwrap();
    store.put(record(0), b"old").unwrap();
    store.flush(Duration::MAX).unwrap();
    log.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    take_all_room(&disk);
    for turn in 0..5 {
        let new = incompressible(turn);
        store.put(record(0).replaces(true), &new).unwrap();
        // It may fail, or find room.
        let _ = store.flush(Duration::MAX);
        is_replaced(&store, 0, &new);
    }
}

#[test]
fn every_invalidation_finds_room_on_a_full_disk_however_many_there_are() {
    let folder = Folder::new("full-for-ever");
    let disk = folder.0.join("disk");
    let Some(_mounted) = Mounted::in_memory(&disk, "4m") else {
        return;
    };
    for capacity in [1 << 20, 2 << 20, 1 << 30] {
        let store = Store::builder().capacity_bytes(capacity);
        let store = store.write_through(true).open(disk.join("store")).unwrap();
        let stored = (0..4_000).take_while(|n| store.put(record(*n), &payload(1)).is_ok());
        let stored = stored.count() as u64;
        take_all_room(&disk);
        for n in stored.saturating_sub(100)..stored {
            store.invalidate(&name(n)).unwrap();
            assert!(store.get(&name(n)).is_none());
            // It may fail, or find room.
            let _ = store.put(record(10_000 + n), &payload(1));
        }
        drop(store);
        std::fs::remove_dir_all(disk.join("store")).unwrap();
        std::fs::remove_file(disk.join("rest")).unwrap();
    }
}
