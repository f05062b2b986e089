//! The store of the disk tier: what is put is found, by every handle and process, until it is invalidated.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/stored.rs"]
mod stored;

use std::time::{Duration, SystemTime};

use folder::Folder;
use scrubjay::ErrorKind;
use scrubjay::disk::{Codec, Durability, Fence, Function, Invalidation, LARGE, NewRecord, Store};
use stored::{name, open};

fn record(n: u64) -> NewRecord {
    NewRecord::new(name(n), Function::new("f", "1"))
}

fn value(store: &Store, n: u64) -> Option<Vec<u8>> {
    store
        .get(&name(n))
        .map(|record| record.payload.into_bytes().unwrap())
}

#[test]
fn values_of_every_size_survive_a_restart() {
    let folder = Folder::new("sizes");
    let sizes = [
        0,
        1,
        1000,
        4096,
        LARGE as usize - 1,
        LARGE as usize,
        65_536,
        65_537,
        1 << 20,
    ];
    let of = |size: usize| (0..size).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>();
    let store = open(&folder.store());
    for (n, size) in sizes.into_iter().enumerate() {
        store.put(record(n as u64), &of(size)).unwrap();
    }
    drop(store);
    let store = open(&folder.store());
    for (n, size) in sizes.into_iter().enumerate() {
        assert_eq!(value(&store, n as u64), Some(of(size)), "size {size}");
    }
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn a_head_is_read_as_it_was_written() {
    let folder = Folder::new("head");
    let store = open(&folder.store());
    let now = SystemTime::now();
    let (end, stale) = (now + Duration::from_secs(60), now + Duration::from_secs(90));
    let record = record(1)
        .expires(end)
        .stale_until(stale)
        .written(now)
        .load_cost(Duration::from_millis(80))
        .tag("a")
        .tag("b")
        .codec(Codec(7))
        .failure(true)
        .description("[1]");
    store.put(record, b"value").unwrap();
    let head = store.get(&name(1)).unwrap().head;
    assert_eq!(
        (head.expires, head.stale_until, head.written),
        (Some(end), Some(stale), now)
    );
    assert_eq!(
        (head.load_cost, head.codec, head.is_failure),
        (Duration::from_millis(80), Codec(7), true)
    );
    assert_eq!(
        (head.tags, head.description),
        (vec!["a".to_owned(), "b".to_owned()], b"[1]".to_vec())
    );
    assert_eq!(
        (head.function, head.len),
        (Function::new("f", "1").into(), 5)
    );
}

#[test]
fn another_value_takes_the_place_of_the_first() {
    let folder = Folder::new("replace");
    let store = open(&folder.store());
    store.put(record(1), &vec![1; 100_000]).unwrap();
    store.put(record(1), b"two").unwrap();
    assert_eq!(value(&store, 1), Some(b"two".to_vec()));
    assert_eq!(store.iter().count(), 1);
    let files = std::fs::read_dir(folder.store().join("v"))
        .unwrap()
        .flatten();
    let left: usize = files
        .map(|file| std::fs::read_dir(file.path()).unwrap().count())
        .sum();
    assert_eq!(left, 0, "the file of the first value is gone");
}

#[test]
fn invalidations_remove_what_they_name_and_say_how_many() {
    let folder = Folder::new("invalidate");
    let store = open(&folder.store());
    for n in 0..10 {
        let tag = if n % 2 == 0 { "even" } else { "odd" };
        store.put(record(n).tag(tag), b"v").unwrap();
    }
    assert_eq!(store.invalidate(&name(0)).unwrap(), 1);
    assert_eq!(store.invalidate(&name(0)).unwrap(), 0);
    assert_eq!(store.invalidate_tag("even").unwrap(), 4);
    assert_eq!(
        store.invalidate_if(|head| head.digest == name(1)).unwrap(),
        1
    );
    assert_eq!(store.iter().count(), 4);
    assert_eq!(store.invalidate_function("other").unwrap(), 0);
    assert_eq!(store.invalidate_function("f").unwrap(), 4);
    store.put(record(1), b"v").unwrap();
    assert_eq!(store.clear().unwrap(), 1);
    assert_eq!(store.iter().count(), 0);
}

#[test]
fn a_value_whose_load_began_before_an_invalidation_of_it_is_not_stored() {
    let folder = Folder::new("fence");
    let store = open(&folder.store());
    let says: [fn(&Store) -> u64; 5] = [
        |store| store.invalidate(&name(1)).unwrap(),
        |store| store.invalidate_tag("a").unwrap(),
        |store| store.invalidate_function("f").unwrap(),
        |store| store.invalidate_if(|_| false).unwrap(),
        |store| store.clear().unwrap(),
    ];
    for (which, say) in says.into_iter().enumerate() {
        let fence = store.fence();
        say(&store);
        store
            .put(record(1).tag("a").fence(fence), b"outdated")
            .unwrap();
        assert_eq!(value(&store, 1), None, "invalidation {which}");
    }
    let fence = store.fence();
    store.invalidate(&name(2)).unwrap();
    store
        .put(record(1).tag("a").fence(fence), b"current")
        .unwrap();
    assert!(
        value(&store, 1).is_some(),
        "another key's invalidation does not concern it"
    );
}

#[test]
fn an_entry_that_waits_to_be_written_is_found() {
    let folder = Folder::new("pending");
    let store = Store::open(folder.store()).unwrap();
    for n in 0..2_000 {
        store.put(record(n), &n.to_le_bytes()).unwrap();
        assert_eq!(value(&store, n), Some(n.to_le_bytes().to_vec()));
    }
    store.flush(Duration::from_secs(5)).unwrap();
    assert_eq!(store.stats().unwrap().entries, 2_000);
}

#[test]
fn what_was_queued_is_written_when_the_last_handle_goes() {
    let folder = Folder::new("drop");
    let store = Store::open(folder.store()).unwrap();
    store.put(record(1), b"v").unwrap();
    drop(store);
    assert!(value(&open(&folder.store()), 1).is_some());
}

#[test]
fn two_openings_of_one_folder_are_one_store() {
    let folder = Folder::new("twice");
    let store = Store::open(folder.store()).unwrap();
    let link = folder.0.join("link");
    std::os::unix::fs::symlink(folder.store(), &link).unwrap();
    let other = Store::open(&link).unwrap();
    store.put(record(1), b"not committed yet").unwrap();
    assert!(value(&other, 1).is_some());
    assert_eq!(store.dir(), other.dir());
}

#[test]
fn the_folder_stays_within_its_capacity() {
    let folder = Folder::new("capacity");
    let capacity = 8 << 20;
    let store = Store::builder()
        .capacity_bytes(capacity)
        .open(folder.store())
        .unwrap();
    let payload: Vec<u8> = (0..50_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for n in 0..3_000 {
        let size = [1_000, 5_000, 40_000][n as usize % 3];
        // A queue that is full is a write that is not done, and no failure of the bound.
        while store.put(record(n), &payload[..size]).is_err() {
            store.flush(Duration::MAX).unwrap();
        }
        if n % 100 == 0 {
            let size = size_of(&folder.store());
            assert!(
                size <= capacity + capacity / 10,
                "{size} bytes at entry {n}"
            );
        }
    }
    store.flush(Duration::MAX).unwrap();
    let size = size_of(&folder.store());
    assert!(size <= capacity, "{size} bytes at rest");
    assert!(store.stats().unwrap().entries > 100);
    assert!(value(&store, 2_999).is_some(), "the last one is there");
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

fn size_of(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[test]
fn a_foreign_database_is_refused_and_left_alone() {
    let folder = Folder::new("foreign");
    std::fs::create_dir_all(folder.store()).unwrap();
    std::fs::write(folder.store().join("store.db"), b"").unwrap();
    assert_eq!(
        Store::open(folder.store()).unwrap_err().kind(),
        ErrorKind::Version
    );
    assert!(folder.store().join("store.db").exists());
}

#[test]
fn a_damaged_index_is_moved_aside_and_a_new_one_begins() {
    let folder = Folder::new("damaged");
    std::fs::create_dir_all(folder.store()).unwrap();
    std::fs::write(folder.store().join("store.db"), vec![7; 10_000]).unwrap();
    let store = open(&folder.store());
    store.put(record(1), b"v").unwrap();
    assert!(value(&store, 1).is_some());
    let names = std::fs::read_dir(folder.store()).unwrap().flatten();
    let aside = names.filter(|entry| entry.file_name().to_string_lossy().starts_with("corrupt-"));
    assert_eq!(aside.count(), 1);
}

#[test]
fn a_folder_that_is_deleted_meanwhile_is_made_anew() {
    let folder = Folder::new("deleted");
    let store = open(&folder.store());
    store.put(record(1), b"v").unwrap();
    store.put(record(3), b"v").unwrap();
    std::fs::remove_dir_all(folder.store()).unwrap();
    store.put(record(2), b"v").unwrap();
    assert!(value(&store, 2).is_some());
    assert!(folder.store().join("store.db").exists());
}

#[test]
fn a_folder_that_others_made_anew_is_opened_anew_while_somebody_holds_the_old_one() {
    let folder = Folder::new("remade");
    let (place, other) = (folder.store(), folder.0.join("other"));
    let old = open(&place);
    old.put(record(1), b"old").unwrap();
    open(&other).put(record(2), b"new").unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&other, &place).unwrap();
    let new = open(&place);
    assert_eq!(value(&new, 1), None);
    assert_eq!(value(&new, 2).as_deref(), Some(&b"new"[..]));
    drop(old);
}

fn say_much(store: &Store) {
    for n in 0..100 {
        store.invalidate(&name(n)).unwrap();
    }
}

/// A store in whose folder much was said before that was deleted, and what it knew of then.
fn outdated(folder: &Folder) -> (Store, Fence) {
    let store = open(&folder.store());
    say_much(&store);
    let fence = store.fence();
    std::fs::remove_dir_all(folder.store()).unwrap();
    (store, fence)
}

#[test]
fn a_load_from_before_its_folder_was_deleted_can_be_invalidated_in_the_new_one() {
    let folder = Folder::new("deleted-load");
    let (store, fence) = outdated(&folder);
    store.put(record(1).fence(fence), b"loaded").unwrap();
    assert!(value(&store, 1).is_some());
    store.invalidate(&name(1)).unwrap();
    assert_eq!(value(&store, 1), None);
}

#[test]
fn a_load_from_before_its_folder_was_deleted_is_overtaken_by_what_is_said_in_the_new_one() {
    let folder = Folder::new("deleted-fence");
    let (store, fence) = outdated(&folder);
    store.invalidate(&name(1)).unwrap();
    store.put(record(1).fence(fence), b"loaded").unwrap();
    assert_eq!(value(&store, 1), None);
}

#[test]
fn whoever_watches_a_folder_that_was_deleted_believes_nothing_from_before() {
    let folder = Folder::new("deleted-watch");
    let (store, fence) = outdated(&folder);
    let mut watch = store.watch(fence);
    store.put(record(1), b"v").unwrap();
    open(&folder.store()).invalidate(&name(1)).unwrap();
    assert_eq!(watch.news(), [Invalidation::All]);
    assert_eq!(watch.news(), []);
}

#[test]
fn a_page_that_tells_of_what_a_loss_of_power_undid_lets_no_load_be_newer_than_an_invalidation() {
    let (folder, after) = (Folder::new("page"), Folder::new("page-after"));
    drop(open(&folder.store()));
    let index = std::fs::read(folder.store().join("store.db")).unwrap();
    say_much(&open(&folder.store()));
    std::fs::create_dir(after.store()).unwrap();
    std::fs::write(after.store().join("store.db"), index).unwrap();
    std::fs::copy(folder.store().join("gen"), after.store().join("gen")).unwrap();

    let store = open(&after.store());
    let fence = store.fence();
    store.invalidate(&name(1)).unwrap();
    store.put(record(1).fence(fence), b"outdated").unwrap();
    assert_eq!(value(&store, 1), None);
}

#[test]
fn an_entry_is_found_at_every_moment_from_its_put_on() {
    for write_through in [false, true] {
        let folder = Folder::new("every-moment");
        let builder = Store::builder().write_through(write_through);
        let store = builder.open(folder.store()).unwrap();
        for n in 0..3_000 {
            store.put(record(n), b"v").unwrap();
            // The thread commits some of them while they are looked for.
            for looked in n.saturating_sub(40)..=n {
                assert!(value(&store, looked).is_some(), "entry {looked} after {n}");
            }
        }
    }
}

/// How often this thread has read a file so far.
#[cfg(target_os = "linux")]
fn reads_of_this_thread() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let reads = counts.lines().find_map(|line| line.strip_prefix("syscr: "));
    reads.unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_lookup_in_a_folder_that_nobody_changes_reads_no_file() {
    let folder = Folder::new("quiet");
    let store = open(&folder.store());
    (0..100).for_each(|n| store.put(record(n), b"value").unwrap());
    drop(store);
    let store = open(&folder.store());
    let look_up = || (0..100).for_each(|n| assert!(value(&store, n).is_some()));
    look_up();
    let before = reads_of_this_thread();
    (0..10).for_each(|_| look_up());
    let reads = reads_of_this_thread() - before;
    assert!(reads < 100, "{reads} for 1,000 lookups");
}

#[test]
fn leads_of_different_keys_do_not_meet_and_one_of_the_same_key_is_refused() {
    let folder = Folder::new("leads");
    let store = open(&folder.store());
    let leads: Vec<_> = (0..200)
        .map(|n| store.try_lead(&name(n)).unwrap().unwrap())
        .collect();
    assert!((0..200).all(|n| store.try_lead(&name(n)).unwrap().is_none()));
    drop(leads);
    assert!(store.try_lead(&name(0)).unwrap().is_some());
}

/// A connection of our own to the index, as a process beside the store would have.
fn index_of(folder: &Folder) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.store().join("store.db")).unwrap()
}

#[test]
fn flush_gives_up_at_its_deadline_and_loses_nothing() {
    let folder = Folder::new("deadline");
    let store = Store::open(folder.store()).unwrap();
    store.put(record(1), b"first").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    let other = index_of(&folder);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.put(record(2), b"second").unwrap();
    let begun = std::time::Instant::now();
    assert!(store.flush(Duration::from_millis(20)).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
    other.execute_batch("ROLLBACK").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    drop(store);
    assert_eq!(value(&open(&folder.store()), 2).unwrap(), b"second");
}

#[test]
fn the_later_of_two_insertions_of_a_key_stays() {
    let folder = Folder::new("later");
    let store = Store::open(folder.store()).unwrap();
    store.put(record(1).replaces(true), b"first").unwrap();
    store.put(record(1).replaces(true), b"second").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    store.put(record(1).replaces(true), b"third").unwrap();
    drop(store);
    assert_eq!(value(&open(&folder.store()), 1).unwrap(), b"third");
}

#[test]
fn a_load_that_an_insertion_overtook_is_not_stored() {
    let folder = Folder::new("overtaken");
    let store = Store::open(folder.store()).unwrap();
    let fence = store.fence();
    store.put(record(1).replaces(true), b"inserted").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    store.put(record(1).fence(fence), b"outdated").unwrap();
    store.put(record(2).fence(fence), b"another key").unwrap();
    drop(store);
    let store = open(&folder.store());
    assert_eq!(value(&store, 1).unwrap(), b"inserted");
    assert_eq!(value(&store, 2).unwrap(), b"another key");
}

#[test]
fn a_tag_of_many_entries_is_invalidated_whole_and_fences_loads() {
    let folder = Folder::new("many");
    let store = open(&folder.store());
    for n in 0..2_000 {
        let tag = if n % 4 == 0 { "other" } else { "many" };
        store.put(record(n).tag(tag), b"value").unwrap();
    }
    let fence = store.fence();
    assert_eq!(store.invalidate_tag("many").unwrap(), 1_500);
    store
        .put(record(1).tag("many").fence(fence), b"outdated")
        .unwrap();
    store.put(record(2).tag("many"), b"newer").unwrap();
    assert_eq!(store.iter().count(), 501);
    assert_eq!(store.clear().unwrap(), 501);
}

#[test]
fn verify_finds_what_the_index_says_wrongly_of_an_entry() {
    let folder = Folder::new("guides");
    let store = open(&folder.store());
    store.put(record(1).tag("a"), b"value").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
    for (wrong, right) in [
        ("x = 5", "x = NULL"),
        ("n = n + 1", "n = n - 1"),
        ("g = 3", "g = 1"),
        ("a = a + 1000", "a = a - 1000"),
    ] {
        let other = index_of(&folder);
        other.execute(&format!("UPDATE e SET {wrong}"), []).unwrap();
        let report = store.verify(|_| ()).unwrap();
        assert_eq!(report.index.len(), 1, "{wrong}: {:?}", report.index);
        other.execute(&format!("UPDATE e SET {right}"), []).unwrap();
    }
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn going_through_an_index_that_fails_ends_with_the_error() {
    let folder = Folder::new("heads");
    let store = open(&folder.store());
    store.put(record(1), b"value").unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    index_of(&folder).execute_batch("DROP TABLE e").unwrap();
    let mut heads = store.iter();
    assert!(heads.next().unwrap().is_err());
    assert!(heads.next().is_none());
}

#[test]
fn what_is_written_is_read_at_every_level_of_durability() {
    for durability in [
        Durability::Process,
        Durability::Flush(Duration::from_millis(1)),
        Durability::Flush(Duration::from_secs(3600)),
        Durability::Sync,
    ] {
        for write_through in [false, true] {
            let folder = Folder::new("durability");
            let builder = Store::builder().durability(durability);
            let store = builder
                .write_through(write_through)
                .open(folder.store())
                .unwrap();
            store.put(record(1), b"value").unwrap();
            store.put(record(2), &[7; 50_000]).unwrap();
            store.flush(Duration::from_secs(60)).unwrap();
            drop(store);
            let store = open(&folder.store());
            assert_eq!(value(&store, 1).unwrap(), b"value");
            assert_eq!(value(&store, 2).unwrap(), [7; 50_000]);
        }
    }
}
