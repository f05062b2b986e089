//! What is past its life, after a restart: it stands in under the rules of memory, for the rest of its window, and is
//! never returned as fresh.
//!
//! A restart is a new cache on the folder, and in one test a new process. The clock is set by hand.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/executor.rs"]
#[allow(dead_code, reason = "nothing is cancelled here")]
mod executor;
#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/watchdog.rs"]
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use executor::block_on;
use folder::Folder;
use scrubjay::disk::{Function, Store};
use scrubjay::{Builder, Cache, ManualClock};
use watchdog::{until, watched};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Entries live for 10 s.
fn builder(store: &Path, clock: &ManualClock) -> Builder<u64, u64> {
    let store = Store::open(store).unwrap();
    let builder = Cache::builder().disk(store, Function::new("f", ""));
    builder.time_to_live(secs(10)).clock(clock.clone())
}

/// They stand in for another 30 s if a load fails.
fn forgiving(store: &Path, clock: &ManualClock) -> Cache<u64, u64> {
    let builder = builder(store, clock).stale_if_error(secs(30));
    builder.build().unwrap()
}

/// They stand in for another 30 s while they are refreshed.
fn refreshing(folder: &Folder, clock: &ManualClock) -> Builder<u64, u64> {
    builder(&folder.store(), clock).stale_while_refresh(secs(30))
}

fn failing(cache: &Cache<u64, u64>) -> Result<u64, &'static str> {
    cache.try_get_or_insert_with(&1, || Err("down"))
}

#[test]
fn what_is_past_its_life_is_found_by_no_lookup_and_counted_nowhere() {
    let (folder, clock) = (Folder::new("stale-lookup"), ManualClock::new());
    forgiving(&folder.store(), &clock).get_or_insert_with(&1, || 1);
    clock.advance(secs(10));
    let cache = forgiving(&folder.store(), &clock);
    assert_eq!((cache.get(&1), cache.contains_key(&1)), (None, false));
    assert_eq!(failing(&cache), Ok(1));
    assert_eq!(
        (cache.get(&1), cache.peek(&1), cache.len()),
        (None, None, 0)
    );
    assert_eq!(cache.iter().count(), 0);
    assert_eq!(cache.get_or_insert_with(&1, || 2), 2);
    cache.assert_consistent();
}

#[test]
fn a_stand_in_for_a_failed_load_is_used_until_the_end_of_its_window_and_not_longer() {
    let (folder, clock) = (Folder::new("stale-error"), ManualClock::new());
    forgiving(&folder.store(), &clock).get_or_insert_with(&1, || 1);
    for (step, expected) in [(10, Ok(1)), (20, Ok(1)), (9, Ok(1)), (1, Err("down"))] {
        clock.advance(secs(step));
        let cache = forgiving(&folder.store(), &clock);
        assert_eq!(failing(&cache), expected);
        assert_eq!(failing(&cache), expected, "now from memory");
        cache.assert_consistent();
    }
}

#[test]
fn a_window_that_began_before_the_restart_ends_when_it_would_have_ended() {
    let (folder, clock) = (Folder::new("stale-window"), ManualClock::new());
    forgiving(&folder.store(), &clock).get_or_insert_with(&1, || 1);
    clock.advance(secs(39));
    let cache = forgiving(&folder.store(), &clock);
    assert_eq!(failing(&cache), Ok(1));
    clock.advance(secs(1));
    assert_eq!(failing(&cache), Err("down"));
}

#[test]
fn a_stale_value_is_served_at_once_while_it_is_refreshed_in_the_background() {
    watched(|| {
        for is_async in [false, true] {
            let (folder, clock) = (Folder::new("stale-refresh"), ManualClock::new());
            refreshing(&folder, &clock)
                .build()
                .unwrap()
                .get_or_insert_with(&1, || 1);
            clock.advance(secs(10));
            let cache = refreshing(&folder, &clock).refresh_with(|key| key + 1);
            let cache = cache.build().unwrap();
            let value = match is_async {
                false => cache.get_or_insert_with(&1, || unreachable!()),
                true => block_on(cache.get_or_insert_async(&1, async || unreachable!())),
            };
            assert_eq!((value, cache.stats().stale_served), (1, 1));
            until(|| cache.peek(&1) == Some(2));
            let other = refreshing(&folder, &clock).build().unwrap();
            assert_eq!(other.get_or_insert_with(&1, || unreachable!()), 2);
        }
    });
}

#[test]
fn after_the_window_callers_wait_for_the_load_although_the_folder_still_has_the_value() {
    let (folder, clock) = (Folder::new("stale-over"), ManualClock::new());
    refreshing(&folder, &clock)
        .build()
        .unwrap()
        .get_or_insert_with(&1, || 1);
    clock.advance(secs(40));
    let cache = refreshing(&folder, &clock).refresh_with(|_| unreachable!());
    let cache = cache.build().unwrap();
    assert_eq!(cache.get_or_insert_with(&1, || 2), 2);
}

#[test]
fn without_a_loader_for_refreshes_one_caller_loads_and_the_others_are_served() {
    watched(|| {
        let (folder, clock) = (Folder::new("stale-load"), ManualClock::new());
        refreshing(&folder, &clock)
            .build()
            .unwrap()
            .get_or_insert_with(&1, || 1);
        clock.advance(secs(10));
        let cache = refreshing(&folder, &clock).build().unwrap();
        let (begun, begins) = mpsc::channel();
        let (end, told) = mpsc::channel::<u64>();
        std::thread::scope(|scope| {
            // Dropped here if anything fails, so that the load ends.
            let end = end;
            let loading = cache.clone();
            let loader = scope.spawn(move || {
                loading.get_or_insert_with(&1, || {
                    begun.send(()).unwrap();
                    told.recv().unwrap()
                })
            });
            begins.recv().unwrap();
            assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 1);
            assert_eq!(cache.get(&1), None);
            end.send(2).unwrap();
            assert_eq!(loader.join().unwrap(), 2);
        });
        assert_eq!(cache.get(&1), Some(2));
        cache.assert_consistent();
    });
}

#[test]
fn what_was_invalidated_stands_in_for_nothing() {
    let (folder, clock) = (Folder::new("stale-untrue"), ManualClock::new());
    forgiving(&folder.store(), &clock).get_or_insert_with(&1, || 1);
    clock.advance(secs(10));
    forgiving(&folder.store(), &clock).invalidate(&1);
    assert_eq!(failing(&forgiving(&folder.store(), &clock)), Err("down"));
}

#[test]
fn a_cache_without_windows_gets_nothing_that_is_past_its_life() {
    let (folder, clock) = (Folder::new("stale-none"), ManualClock::new());
    forgiving(&folder.store(), &clock).get_or_insert_with(&1, || 1);
    clock.advance(secs(10));
    let cache = builder(&folder.store(), &clock).build().unwrap();
    assert_eq!(failing(&cache), Err("down"));
}

const ROLE: &str = "SCRUBJAY_STALE_ROLE";

/// Runs this program anew in a role, which must end well.
fn run(folder: &Folder, role: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_in_its_role"]);
    let command = command
        .env(ROLE, role)
        .env("SCRUBJAY_STALE_STORE", folder.store());
    assert!(command.status().unwrap().success(), "{role}");
}

#[test]
fn a_process_in_its_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let store = PathBuf::from(std::env::var_os("SCRUBJAY_STALE_STORE").unwrap());
    let clock = ManualClock::new();
    if role == "loads" {
        assert_eq!(forgiving(&store, &clock).get_or_insert_with(&1, || 1), 1);
        return;
    }
    clock.advance(secs(25));
    let cache = forgiving(&store, &clock);
    assert_eq!(cache.get(&1), None);
    assert_eq!(failing(&cache), Ok(1));
    clock.advance(secs(15));
    assert_eq!(failing(&cache), Err("down"));
}

#[test]
fn another_process_is_served_for_the_rest_of_the_window() {
    let folder = Folder::new("stale-process");
    run(&folder, "loads");
    run(&folder, "is served");
}

/// Of the clock that everybody uses, which began after the entry's life was over.
#[test]
fn the_clock_of_the_system_knows_what_was_over_before_it_began() {
    let folder = Folder::new("stale-system");
    let store = Store::open(folder.store()).unwrap();
    let cache = |life, window| {
        let cache = Cache::<u64, u64>::builder().disk(store.clone(), Function::new("f", ""));
        let cache = cache.time_to_live(life).stale_if_error(window);
        cache.build().unwrap()
    };
    cache(Duration::from_nanos(1), secs(3_600)).get_or_insert_with(&1, || 1);
    assert_eq!(failing(&cache(secs(1), secs(3_600))), Ok(1));
}
