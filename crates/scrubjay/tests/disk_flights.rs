//! One load per key among all that share a folder, whether they block or are polled, load or refresh; and lookups that
//! load nothing.
//!
//! Caches of one process stand in for processes here: each has a memory and flights of its own.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/executor.rs"]
mod executor;
#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/watchdog.rs"]
mod watchdog;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use executor::{Executor, block_on};
use folder::Folder;
use scrubjay::disk::{Function, Store};
use scrubjay::{Builder, Cache, ManualClock};
use serde::{Deserialize, Serialize};
use watchdog::{until, watched};

fn cache(folder: &Folder) -> Cache<u64, u64> {
    built(folder, |builder| builder)
}

fn built(
    folder: &Folder,
    options: impl FnOnce(Builder<u64, u64>) -> Builder<u64, u64>,
) -> Cache<u64, u64> {
    let store = Store::open(folder.store()).unwrap();
    options(Cache::builder().disk(store, Function::new("f", "")))
        .build()
        .unwrap()
}

/// How often the folder was asked for an entry.
fn lookups(folder: &Folder) -> u64 {
    let stats = Store::open(folder.store()).unwrap().stats().unwrap();
    stats.hits + stats.misses
}

/// A load that is worth a lock: it works, rather than sleeps, for two milliseconds.
fn costly(value: u64) -> u64 {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    value
}

/// A cache that loads a key on a thread of its own, until it is told to end.
struct Elsewhere {
    end: mpsc::Sender<u64>,
    thread: std::thread::JoinHandle<u64>,
}

impl Elsewhere {
    fn loads(cache: Cache<u64, u64>, key: u64) -> Self {
        let (end, told) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            cache.get_or_insert_with(&key, || {
                begun.send(()).unwrap();
                told.recv().unwrap()
            })
        });
        begins.recv().unwrap();
        Self { end, thread }
    }

    /// Ends the load and waits until its value is stored.
    fn end(self, value: u64) {
        self.end.send(value).unwrap();
        assert_eq!(self.thread.join().unwrap(), value);
    }
}

#[test]
fn a_task_that_waits_for_another_process_keeps_no_other_task_from_running() {
    watched(|| {
        let folder = Folder::new("task");
        let (here, elsewhere) = (cache(&folder), Elsewhere::loads(cache(&folder), 1));
        let executor = Executor::default();
        let got = Rc::new(Cell::new(None));
        let waiting = executor.spawn({
            let (here, got) = (here.clone(), got.clone());
            async move {
                let load = async || unreachable!("the other one loads it");
                got.set(Some(here.get_or_insert_async(&1, load).await));
            }
        });
        let other = executor.spawn({
            let here = here.clone();
            async move {
                assert_eq!(here.get_or_insert_async(&2, async || 22).await, 22);
            }
        });
        executor.run_until_done(other);
        assert_eq!(got.get(), None, "it waits");
        // The loader is given its value while the task is waiting.
        let before = lookups(&folder);
        while lookups(&folder) < before + 2 {
            executor.run_until_stalled();
        }
        assert_eq!(got.get(), None, "it still waits");
        elsewhere.end(11);
        executor.run_until_done(waiting);
        assert_eq!(got.get(), Some(11));
        assert_eq!(here.stats().loads, 1, "only the other key was loaded here");
    });
}

#[test]
fn a_task_that_is_dropped_while_it_waits_for_another_process_hands_over() {
    watched(|| {
        let folder = Folder::new("dropped");
        let (here, elsewhere) = (cache(&folder), Elsewhere::loads(cache(&folder), 1));
        let executor = Executor::default();
        let got = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..2)
            .map(|task| {
                let (here, got) = (here.clone(), got.clone());
                executor.spawn(async move {
                    let value = here.get_or_insert_async(&1, async || 99).await;
                    got.borrow_mut().push((task, value));
                })
            })
            .collect();
        executor.run_until_stalled();
        executor.cancel(tasks[0]);
        elsewhere.end(11);
        executor.run_until_done(tasks[1]);
        assert_eq!(*got.borrow(), [(1, 11)]);
    });
}

#[test]
fn a_task_waits_for_another_process_no_longer_than_the_time_limit_of_loads() {
    watched(|| {
        let folder = Folder::new("limit");
        let elsewhere = Elsewhere::loads(cache(&folder), 1);
        let here = built(&folder, |builder| {
            builder.load_timeout(Duration::from_millis(20))
        });
        assert_eq!(block_on(here.get_or_insert_async(&1, async || 22)), 22);
        let blocking = built(&folder, |builder| {
            builder.load_timeout(Duration::from_millis(20))
        });
        let value = blocking.get_or_insert_with(&1, || unreachable!("it was stored meanwhile"));
        assert_eq!(value, 22);
        elsewhere.end(11);
    });
}

#[test]
fn two_loads_that_need_each_others_keys_do_not_wait_for_ever() {
    watched(|| {
        let folder = Folder::new("cycle");
        let both_lead = std::sync::Barrier::new(2);
        let ask = |mine: u64, other: u64| {
            let cache = cache(&folder);
            cache.get_or_insert_with(&mine, || {
                both_lead.wait();
                cache.get_or_insert_with(&other, || 1) + 1
            })
        };
        std::thread::scope(|scope| {
            let second = scope.spawn(|| ask(2, 1));
            let values = [ask(1, 2), second.join().unwrap()];
            // Who ended first may have been found by the other.
            assert!(
                values.iter().all(|value| [2, 3].contains(value)),
                "{values:?}"
            );
        });
    });
}

#[test]
fn two_tasks_that_need_each_others_keys_do_not_wait_for_ever() {
    watched(|| {
        let folder = Folder::new("task-cycle");
        let executor = Executor::default();
        let leading = Rc::new(Cell::new(0));
        let tasks = [(1, 2), (2, 1)].map(|(mine, other)| {
            let (cache, leading) = (cache(&folder), leading.clone());
            executor.spawn(async move {
                let inner = cache.clone();
                let load = async || {
                    leading.set(leading.get() + 1);
                    // Polled again and again until both lead.
                    std::future::poll_fn(|context| {
                        context.waker().wake_by_ref();
                        match leading.get() {
                            2 => std::task::Poll::Ready(()),
                            _ => std::task::Poll::Pending,
                        }
                    })
                    .await;
                    inner.get_or_insert_async(&other, async || 1).await + 1
                };
                let value = cache.get_or_insert_async(&mine, load).await;
                // Who ended first may have been found by the other.
                assert!([2, 3].contains(&value), "{value}");
            })
        });
        for task in tasks {
            executor.run_until_done(task);
        }
    });
}

/// The load that runs inside has nothing to do with the folder, and neither has its cache.
#[test]
fn a_load_inside_one_that_is_in_memory_only_waits_for_another_process() {
    watched(|| {
        let folder = Folder::new("inside");
        let (here, elsewhere) = (cache(&folder), Elsewhere::loads(cache(&folder), 1));
        let outer: Cache<u64, u64> = Cache::new();
        let before = lookups(&folder);
        let asker = std::thread::spawn(move || {
            let load = || here.get_or_insert_with(&1, || unreachable!("the other one loads it"));
            outer.get_or_insert_with(&7, load)
        });
        until(|| lookups(&folder) >= before + 2);
        elsewhere.end(11);
        assert_eq!(asker.join().unwrap(), 11);
    });
}

/// What is there but of no use must not be taken for what the other one brings.
#[test]
fn an_expired_entry_is_loaded_by_one_while_the_others_wait() {
    watched(|| {
        let folder = Folder::new("expired");
        let clock = ManualClock::new();
        let living = || {
            built(&folder, |builder| {
                builder
                    .time_to_live(Duration::from_secs(10))
                    .clock(clock.clone())
            })
        };
        living().get_or_insert_with(&1, || 1);
        clock.advance(Duration::from_secs(10));
        let (here, elsewhere) = (living(), Elsewhere::loads(living(), 1));
        let before = lookups(&folder);
        let asker = std::thread::spawn(move || {
            here.get_or_insert_with(&1, || unreachable!("the other one loads it"))
        });
        until(|| lookups(&folder) >= before + 2);
        elsewhere.end(11);
        assert_eq!(asker.join().unwrap(), 11);
    });
}

fn refreshed(folder: &Folder, clock: &ManualClock) -> Builder<u64, u64> {
    let store = Store::open(folder.store()).unwrap();
    Cache::builder()
        .disk(store, Function::new("f", ""))
        .refresh_after(Duration::from_secs(10))
        .time_to_live(Duration::from_secs(60))
        .clock(clock.clone())
}

#[test]
fn a_refresh_in_the_background_is_stored_in_the_folder() {
    watched(|| {
        let (folder, clock) = (Folder::new("refresh"), ManualClock::new());
        let cache = refreshed(&folder, &clock).refresh_with(|key| key + 1);
        let cache = cache.build().unwrap();
        assert_eq!(cache.get_or_insert_with(&1, || 1), 1);
        clock.advance(Duration::from_secs(10));
        assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 1);
        until(|| cache.peek(&1) == Some(2));
        let other = refreshed(&folder, &clock).build().unwrap();
        assert_eq!(other.get_or_insert_with(&1, || unreachable!()), 2);
    });
}

#[test]
fn what_one_process_refreshed_the_others_take_from_the_folder() {
    watched(|| {
        let (folder, clock) = (Folder::new("refresh-once"), ManualClock::new());
        let cache = |value| {
            let cache = refreshed(&folder, &clock).refresh_with(move |_| value);
            cache.build().unwrap()
        };
        let (first, second) = (cache(2), cache(3));
        assert_eq!(first.get_or_insert_with(&1, || 1), 1);
        assert_eq!(second.get_or_insert_with(&1, || unreachable!()), 1);
        clock.advance(Duration::from_secs(10));
        assert_eq!(first.get_or_insert_with(&1, || unreachable!()), 1);
        until(|| first.peek(&1) == Some(2));
        assert_eq!(second.get_or_insert_with(&1, || unreachable!()), 1);
        until(|| second.peek(&1) == Some(2));
        assert_eq!(second.stats().loads, 0);
    });
}

#[test]
fn a_refresh_that_another_process_is_about_to_finish_is_not_begun() {
    watched(|| {
        let (folder, clock) = (Folder::new("refresh-led"), ManualClock::new());
        let cache =
            refreshed(&folder, &clock).refresh_with(|_| unreachable!("it is led elsewhere"));
        let cache = cache.build().unwrap();
        assert_eq!(cache.get_or_insert_with(&1, || costly(1)), 1);
        let elsewhere = refreshed(&folder, &clock).build().unwrap();
        assert_eq!(elsewhere.get(&1), Some(1));
        clock.advance(Duration::from_secs(10));
        let elsewhere = Elsewhere::loads(elsewhere, 1);
        let before = lookups(&folder);
        assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 1);
        until(|| lookups(&folder) > before);
        elsewhere.end(11);
        until(|| {
            cache.get_or_insert_with(&1, || unreachable!());
            cache.peek(&1) == Some(11)
        });
        assert_eq!(cache.stats().load_failures, 0);
    });
}

#[test]
fn a_due_entry_is_loaded_anew_although_the_folder_still_has_it() {
    let (folder, clock) = (Folder::new("due"), ManualClock::new());
    let cache = || refreshed(&folder, &clock).build().unwrap();
    let first = cache();
    assert_eq!(first.get_or_insert_with(&1, || 1), 1);
    clock.advance(Duration::from_secs(6));
    let second = cache();
    assert_eq!(second.get_or_insert_with(&1, || unreachable!()), 1);
    clock.advance(Duration::from_secs(4));
    assert_eq!(first.get_or_insert_with(&1, || 2), 2);
    // It came up six seconds old, so it is due now; but somebody else has brought a newer one.
    assert_eq!(second.get_or_insert_with(&1, || unreachable!()), 2);
}

#[test]
fn a_lookup_finds_what_is_below_and_keeps_it_in_memory() {
    let folder = Folder::new("get");
    cache(&folder).get_or_insert_with(&1, || 11);
    let cache = cache(&folder);
    assert_eq!((cache.peek(&1), cache.contains_key(&1)), (None, false));
    assert_eq!(cache.get(&1), Some(11));
    let before = lookups(&folder);
    assert_eq!((cache.get(&1), cache.peek(&1)), (Some(11), Some(11)));
    assert_eq!(cache.with(&1, |value| value + 1), Some(12));
    assert_eq!(lookups(&folder), before, "memory has it now");
    assert_eq!(cache.get(&2), None);
    let stats = cache.stats();
    assert_eq!((stats.disk_hits, stats.disk_misses, stats.loads), (1, 1, 0));
    cache.assert_consistent();
}

#[test]
fn a_lookup_of_what_another_process_loads_waits_for_nobody() {
    let folder = Folder::new("get-led");
    let (here, elsewhere) = (cache(&folder), Elsewhere::loads(cache(&folder), 1));
    assert_eq!(here.get(&1), None);
    elsewhere.end(11);
    assert_eq!(here.get(&1), Some(11));
}

thread_local! {
    static WHILE_DECODING: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A key that lets a test do something in the middle of a lookup.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
struct Key(u64);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if let Some(work) = WHILE_DECODING.take() {
            work();
        }
        u64::deserialize(deserializer).map(Key)
    }
}

#[test]
fn a_lookup_that_an_invalidation_overtakes_leaves_nothing_in_memory() {
    let folder = Folder::new("get-overtaken");
    let cache = || {
        let store = Store::open(folder.store()).unwrap();
        let cache = Cache::<Key, u64>::builder().disk(store, Function::new("f", ""));
        cache.build().unwrap()
    };
    cache().get_or_insert_with(&Key(1), || 11);
    let cache = cache();
    let invalidating = cache.clone();
    WHILE_DECODING.set(Some(Box::new(move || {
        invalidating.invalidate(&Key(1));
    })));
    cache.get(&Key(1));
    assert!(WHILE_DECODING.take().is_none(), "it was decoded");
    assert!(!cache.contains_key(&Key(1)));
    assert_eq!(cache.get_or_insert_with(&Key(1), || 12), 12);
}
