//! What may happen to a folder: whatever it is, the answer is a miss or the value that was stored, and never a panic.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/stored.rs"]
mod stored;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use folder::Folder;
use scrubjay::disk::{Function, Store};
use scrubjay::{Cache, Clock, Timestamp};
use stored::{ENTRIES, check, files, filled, name, open, payload, record};

#[test]
fn a_store_of_a_newer_version_is_left_alone_and_one_beside_it_is_used() {
    let folder = Folder::new("newer");
    filled(&folder.store());
    let index = folder.store().join("store.db");
    let newer = rusqlite::Connection::open(&index).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = std::fs::read(&index).unwrap();
    let store = open(&folder.store());
    assert!(store.get(&name(0)).is_none());
    store.put(record(0), &payload(0)).unwrap();
    drop(store);
    assert_eq!(check(&folder.store()), 1);
    assert!(std::fs::read(&index).unwrap() == before);
}

#[test]
fn an_index_that_is_a_symbolic_link_is_not_followed() {
    let folder = Folder::new("link");
    filled(&folder.store());
    let elsewhere = folder.0.join("elsewhere.db");
    std::fs::rename(folder.store().join("store.db"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.store().join("store.db")).unwrap();
    assert!(Store::open(folder.store()).is_err());
}

#[test]
fn foreign_files_in_the_folder_are_left_alone() {
    let folder = Folder::new("foreign");
    filled(&folder.store());
    let foreign = [
        "notes.txt",
        "v/readme",
        "v/ab/readme",
        "v/ab/0123456789abcd.txt",
        "locks/readme",
    ];
    for file in foreign {
        let file = folder.store().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"foreign").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(86_400);
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let store = open(&folder.store());
    store.sweep().unwrap();
    store.clear().unwrap();
    store.put(record(0), &payload(0)).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
    for file in foreign {
        assert_eq!(
            std::fs::read(folder.store().join(file)).unwrap(),
            b"foreign",
            "{file}"
        );
    }
}

#[test]
fn a_value_file_that_is_a_link_to_another_one_is_not_taken_for_it() {
    let folder = Folder::new("linked-value");
    filled(&folder.store());
    let values = files(&folder.store().join("v"));
    std::fs::remove_file(&values[0]).unwrap();
    std::os::unix::fs::symlink(&values[1], &values[0]).unwrap();
    assert_eq!(check(&folder.store()), ENTRIES as usize - 1);
}

/// Time of day that a test sets, also back.
#[derive(Debug, Clone, Default)]
struct WallClock(Arc<AtomicU64>);

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn calendar(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn an_entry_from_the_future_is_loaded_anew_and_never_lives_longer_than_it_may() {
    let folder = Folder::new("backwards");
    let clock = WallClock::default();
    let cache = || {
        let cache = Cache::<u64, u64>::builder().clock(clock.clone());
        let cache = cache.time_to_live(Duration::from_secs(10));
        cache
            .disk(Store::open(folder.store()).unwrap(), Function::new("f", ""))
            .build()
            .unwrap()
    };
    let at = |seconds, value| {
        clock.0.store(seconds, Ordering::SeqCst);
        cache().get_or_insert_with(&1, || value)
    };
    assert_eq!(at(1_000, 1), 1);
    assert_eq!(at(1_009, 2), 1);
    assert_eq!(at(500, 3), 3, "its end is 510 seconds away");
    assert_eq!(at(509, 4), 3);
    assert_eq!(at(1_005, 5), 5);
    assert_eq!(at(1_014, 6), 5);
    // What was invalidated stays so, whatever the time.
    cache().invalidate(&1);
    assert_eq!(at(400, 7), 7);
}

#[test]
fn an_entry_of_a_format_that_is_not_known_is_a_miss_and_stays_until_it_is_replaced() {
    let folder = Folder::new("format");
    filled(&folder.store());
    let index = rusqlite::Connection::open(folder.store().join("store.db")).unwrap();
    let (id, mut bytes): (i64, Vec<u8>) = index
        .query_row("SELECT id, v FROM e ORDER BY id LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    bytes[2] = 9;
    index
        .execute(
            "UPDATE e SET v = ?2 WHERE id = ?1",
            rusqlite::params![id, bytes],
        )
        .unwrap();
    drop(index);
    let store = open(&folder.store());
    assert!(store.get(&name(0)).is_none());
    assert!(store.get(&name(1)).is_some());
    assert_eq!(store.stats().unwrap().failures, 1);
    store.put(record(0), &payload(0)).unwrap();
    drop(store);
    assert_eq!(check(&folder.store()), ENTRIES as usize);
}

#[test]
fn without_the_page_that_tells_of_changes_invalidations_are_still_kept() {
    let folder = Folder::new("gen");
    filled(&folder.store());
    for page in [&b""[..], b"a page of another program, which is longer"] {
        let store = open(&folder.store());
        let fence = store.fence();
        store.invalidate(&name(1)).unwrap();
        std::fs::write(folder.store().join("gen"), page).unwrap();
        store.put(record(1).fence(fence), b"outdated").unwrap();
        assert!(store.get(&name(1)).is_none());
        let fence = store.fence();
        store.put(record(1).fence(fence), &payload(1)).unwrap();
        drop(store);
        assert_eq!(check(&folder.store()), ENTRIES as usize);
    }
}

#[test]
fn a_folder_that_is_deleted_while_it_is_read_makes_misses_or_right_values() {
    let folder = Folder::new("deleted");
    filled(&folder.store());
    let store = open(&folder.store());
    assert!(store.get(&name(0)).is_some());
    std::fs::remove_dir_all(folder.store()).unwrap();
    for n in 0..ENTRIES {
        let bytes = store
            .get(&name(n))
            .and_then(|record| record.payload.into_bytes().ok());
        assert!(bytes.is_none_or(|bytes| bytes == payload(n)), "entry {n}");
    }
    store.put(record(0), &payload(0)).unwrap();
    assert!(store.get(&name(0)).is_some());
    assert!(
        store.get(&name(1)).is_none(),
        "the new folder has what came after"
    );
    assert!(store.invalidate(&name(0)).is_ok());
    assert!(store.try_lead(&name(0)).unwrap().is_some());
}
