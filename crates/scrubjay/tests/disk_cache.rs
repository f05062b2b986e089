//! A cache with a folder below its memory: what was loaded once is found after a restart, and never a wrong answer.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;

use std::sync::mpsc;
use std::time::Duration;

use folder::Folder;
use scrubjay::disk::{Function, Store};
use scrubjay::{Action, Cache, ManualClock, RemovalCause};

fn open(folder: &Folder, code: &str) -> Cache<String, u64> {
    let store = Store::open(&folder.0).unwrap();
    Cache::builder()
        .disk(store, Function::new("f", code))
        .build()
        .unwrap()
}

#[test]
fn a_value_is_loaded_once_and_found_after_a_restart() {
    let folder = Folder::new("cache-restart");
    let cache = open(&folder, "1");
    for n in 0..100 {
        assert_eq!(cache.get_or_insert_with(&n.to_string(), || n), n);
    }
    assert_eq!(cache.stats().disk_writes, 100);
    drop(cache);
    let cache = open(&folder, "1");
    for n in 0..100 {
        assert_eq!(
            cache.get_or_insert_with(&n.to_string(), || unreachable!()),
            n
        );
    }
    let stats = cache.stats();
    assert_eq!((stats.disk_hits, stats.loads, stats.entries), (100, 0, 100));
    assert_eq!(
        cache.get_or_insert_with("0", || unreachable!()),
        0,
        "it was promoted"
    );
    assert_eq!(cache.stats().disk_hits, 100);
}

#[test]
fn other_code_does_not_find_the_entry() {
    let folder = Folder::new("cache-code");
    assert_eq!(open(&folder, "1").get_or_insert_with("k", || 1), 1);
    assert_eq!(open(&folder, "2").get_or_insert_with("k", || 2), 2);
    assert_eq!(
        open(&folder, "1").get_or_insert_with("k", || unreachable!()),
        1
    );
}

#[test]
fn invalidations_reach_below() {
    let folder = Folder::new("cache-invalidate");
    let says: [fn(&Cache<String, u64>); 5] = [
        |cache| _ = cache.invalidate("k"),
        |cache| _ = cache.remove("k"),
        |cache| _ = cache.invalidate_if(|_, value| *value == 1),
        Cache::clear,
        |cache| _ = cache.entry("k", |_| Action::Remove),
    ];
    for (which, say) in says.into_iter().enumerate() {
        assert_eq!(
            open(&folder, "1").get_or_insert_with("k", || 1),
            1,
            "{which}"
        );
        // Not in this one's memory: only the folder has it.
        say(&open(&folder, "1"));
        assert_eq!(
            open(&folder, "1").get_or_insert_with("k", || 2),
            2,
            "{which}"
        );
        open(&folder, "1").clear();
    }
}

#[test]
fn an_insertion_takes_the_place_of_what_is_below() {
    let folder = Folder::new("cache-insert");
    open(&folder, "1").get_or_insert_with("k", || 1);
    open(&folder, "1").insert("k".into(), 2);
    assert_eq!(
        open(&folder, "1").get_or_insert_with("k", || unreachable!()),
        2
    );
    open(&folder, "1").entry("k", |_| Action::Replace(3));
    assert_eq!(
        open(&folder, "1").get_or_insert_with("k", || unreachable!()),
        3
    );
}

#[test]
fn a_load_that_an_invalidation_overtook_is_stored_nowhere() {
    let folder = Folder::new("cache-fence");
    let cache = open(&folder, "1");
    let overtaken = cache.get_or_insert_with("k", || {
        cache.invalidate("k");
        1
    });
    assert_eq!(overtaken, 1);
    drop(cache);
    assert_eq!(open(&folder, "1").get_or_insert_with("k", || 2), 2);
}

#[test]
fn an_entry_expires_below_at_exactly_its_time_to_live() {
    let folder = Folder::new("cache-life");
    let clock = ManualClock::new();
    let cache = || {
        let store = Store::open(&folder.0).unwrap();
        Cache::<u64, u64>::builder()
            .disk(store, Function::new("f", ""))
            .time_to_live(Duration::from_secs(10))
            .clock(clock.clone())
            .build()
            .unwrap()
    };
    cache().get_or_insert_with(&1, || 1);
    clock.advance(Duration::from_nanos(9_999_999_999));
    assert_eq!(cache().get_or_insert_with(&1, || unreachable!()), 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache().get_or_insert_with(&1, || 2), 2);
}

#[test]
fn a_tag_is_kept_below() {
    let folder = Folder::new("cache-tags");
    let cache = || {
        let store = Store::open(&folder.0).unwrap();
        Cache::<u64, u64>::builder()
            .disk(store, Function::new("f", ""))
            .tag_with(|key, _| [format!("odd:{}", key % 2)])
            .build()
            .unwrap()
    };
    for n in 0..4 {
        cache().get_or_insert_with(&n, || n);
    }
    cache().invalidate_tag("odd:1");
    let found = (0..4)
        .map(|n| cache().get_or_insert_with(&n, || 99))
        .collect::<Vec<_>>();
    assert_eq!(found, [0, 99, 2, 99]);
}

/// A value of another type than the one that was stored is a miss, and so is one of a damaged file.
#[test]
fn a_value_that_cannot_be_decoded_is_loaded_anew_and_counted() {
    let folder = Folder::new("cache-undecodable");
    open(&folder, "1").insert("k".into(), u64::MAX);
    let store = Store::open(&folder.0).unwrap();
    let texts: Cache<String, (String, String)> = Cache::builder()
        .disk(store, Function::new("f", "1"))
        .build()
        .unwrap();
    let value = texts.get_or_insert_with("k", || ("a".into(), "b".into()));
    assert_eq!(value, ("a".to_owned(), "b".to_owned()));
    assert!(texts.stats().disk_failures > 0);
}

#[test]
fn the_memory_of_a_cache_hears_what_others_of_its_process_say_and_not_itself() {
    let folder = Folder::new("cache-others");
    let store = Store::open(&folder.0).unwrap();
    let build = || {
        let cache = Cache::<u64, u64>::builder().tag_with(|_, _| ["t"]);
        cache.disk(store.clone(), Function::new("f", ""))
    };
    let (tell, told) = mpsc::channel();
    let cache = build()
        .on_removal(move |key, _, cause| tell.send((*key, cause)).unwrap_or_default())
        .build()
        .unwrap();
    let other = build().build().unwrap();
    let again = Store::open(&folder.0).unwrap();
    let says: [&dyn Fn(); 7] = [
        &|| {
            other.invalidate(&1);
        },
        &|| {
            other.invalidate_if(|key, _| *key == 1);
        },
        &|| other.clear(),
        &|| {
            again.clear().unwrap();
        },
        &|| {
            store.invalidate_function("f").unwrap();
        },
        &|| {
            other.invalidate_tag("t");
        },
        &|| other.insert(1, 101),
    ];
    for (round, say) in says.into_iter().enumerate() {
        cache.insert(1, round as u64);
        assert_eq!(cache.peek(&1), Some(round as u64));
        say();
        let removed = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(removed, (1, RemovalCause::Explicit), "round {round}");
    }
    assert_eq!(cache.get(&1), Some(101));
    // By the time that it hears of the one, it has heard of the other.
    cache.insert(2, 7);
    other.insert(1, 102);
    assert_eq!(told.recv().unwrap(), (1, RemovalCause::Explicit));
    assert_eq!(cache.peek(&2), Some(7));
}
