//! Refreshes, in the background and by a caller.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use scrubjay::{Cache, ManualClock};

use crate::crew::{for_each_crew, gate, nobody_loads, until_waiting};
use crate::overtaking::SAYINGS;
use crate::watchdog::{until, watched};

struct Refreshed {
    cache: Cache<u32, u32>,
    clock: ManualClock,
    begun: Receiver<u32>,
    answers: Sender<Option<u32>>,
}

/// A cache with a background loader that says when it begins and waits for its answer; `None` panics.
fn refreshed(
    build: impl FnOnce(scrubjay::Builder<u32, u32>) -> scrubjay::Builder<u32, u32>,
) -> Refreshed {
    let clock = ManualClock::new();
    let (to_test, begun) = mpsc::channel();
    let (answers, from_test) = mpsc::channel();
    let from_test = Mutex::new(from_test);
    let builder = Cache::builder()
        .refresh_with(move |key| {
            to_test.send(*key).unwrap();
            match from_test
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .recv()
            {
                Ok(Some(value)) => value,
                _ => std::panic::resume_unwind(Box::new("the refresher's own")),
            }
        })
        .clock(clock.clone());
    let cache = build(builder).build().unwrap();
    Refreshed {
        cache,
        clock,
        begun,
        answers,
    }
}

fn refreshed_after_ten() -> Refreshed {
    refreshed(|builder| builder.refresh_after(Duration::from_secs(10)))
}

#[test]
fn one_caller_begins_a_background_refresh_and_nobody_waits() {
    for_each_crew(|first, second| {
        let Refreshed {
            cache,
            clock,
            begun,
            answers,
        } = refreshed_after_ten();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        for caller in [first, second, first, second] {
            assert_eq!(caller.get(&cache, 1, nobody_loads), 1);
        }
        assert_eq!(begun.recv(), Ok(1));
        assert_eq!(second.get(&cache, 1, nobody_loads), 1);
        answers.send(Some(2)).unwrap();
        until(|| cache.get(&1) == Some(2));
        assert!(begun.try_recv().is_err(), "one refresh for all");
        until(|| cache.stats().loads == 1);
        assert_eq!(cache.stats().waits, 0);
        cache.assert_consistent();
    });
}

#[test]
fn a_refresh_that_was_overtaken_is_not_stored() {
    for_each_crew(|caller, _| {
        for (name, say) in SAYINGS {
            let Refreshed {
                cache,
                clock,
                begun,
                answers,
            } = refreshed(|builder| {
                builder
                    .refresh_after(Duration::from_secs(10))
                    .tag_with(|_, _| ["odd"])
            });
            cache.insert(1, 1);
            clock.advance(Duration::from_secs(10));
            caller.get(&cache, 1, nobody_loads);
            begun.recv().unwrap();
            say(&cache);
            answers.send(Some(3)).unwrap();
            until(|| cache.stats().loads == 1);
            // A second refresh ends after the first has settled, because they share a thread.
            cache.insert(2, 2);
            clock.advance(Duration::from_secs(10));
            caller.get(&cache, 2, nobody_loads);
            begun.recv().unwrap();
            assert_ne!(cache.get(&1), Some(3), "{name}");
            answers.send(Some(4)).unwrap();
            until(|| cache.get(&2) == Some(4));
        }
    });
}

#[test]
fn a_refresher_that_panics_leaves_the_entry_and_is_asked_again() {
    for_each_crew(|caller, _| {
        let Refreshed {
            cache,
            clock,
            begun,
            answers,
        } = refreshed_after_ten();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        for failures in 1..=3 {
            assert_eq!(caller.get(&cache, 1, nobody_loads), 1);
            begun.recv().unwrap();
            answers.send(None).unwrap();
            until(|| cache.stats().load_failures == failures);
        }
        until(|| {
            caller.get(&cache, 1, nobody_loads);
            begun.try_recv().is_ok()
        });
        answers.send(Some(2)).unwrap();
        until(|| cache.get(&1) == Some(2));
    });
}

#[test]
fn a_stale_value_is_served_while_one_caller_refreshes_it() {
    for_each_crew(|leader, other| {
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .time_to_live(Duration::from_secs(10))
            .stale_while_refresh(Duration::from_secs(10))
            .clock(clock.clone())
            .build()
            .unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(leader.get(&cache, 1, || passage.pass(2)), 2));
            gate.wait_for_load();
            for _ in 0..4 {
                assert_eq!(other.get(&cache, 1, nobody_loads), 1);
            }
            assert_eq!(
                (cache.get(&1), cache.len()),
                (None, 0),
                "stale is not fresh"
            );
            // Past the window there is nothing to serve, so whoever asks waits.
            clock.advance(Duration::from_secs(10));
            let waiting = scope.spawn(|| other.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            gate.open();
            assert_eq!(waiting.join().unwrap(), 2);
        });
        assert_eq!(cache.stats().stale_served, 4);
        cache.assert_consistent();
    });
}

#[test]
fn a_refresh_that_needs_one_in_the_queue_behind_it_does_not_hang() {
    watched(|| {
        let handle: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let (begun, in_first) = mpsc::channel();
        let (go, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let inside = handle.clone();
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .time_to_live(Duration::from_secs(20))
            .refresh_after(Duration::from_secs(10))
            .refresh_with(move |key| {
                if *key == 2 {
                    return 20;
                }
                begun.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
                let cache = inside.lock().unwrap().clone().unwrap();
                cache.get_or_insert_with(&2, || 20) + 1
            })
            .clock(clock.clone())
            .build()
            .unwrap();
        *handle.lock().unwrap() = Some(cache.clone());
        cache.insert(1, 1);
        cache.insert(2, 2);
        clock.advance(Duration::from_secs(10));
        assert_eq!(cache.get_or_insert_with(&1, nobody_loads), 1);
        in_first.recv().unwrap();
        assert_eq!(
            cache.get_or_insert_with(&2, nobody_loads),
            2,
            "queued behind the first"
        );
        clock.advance(Duration::from_secs(10));
        go.send(()).unwrap();
        until(|| cache.get(&1) == Some(21));
        assert_eq!(cache.get_or_insert_with(&2, || 20), 20);
        handle.lock().unwrap().take();
    });
}
