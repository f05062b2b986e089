//! Leaders whose time is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use scrubjay::{Cache, ManualClock};

use crate::crew::{for_each_crew, gate, nobody_loads, until_waiting};
use crate::watchdog::until;

fn impatient(clock: &ManualClock) -> Cache<u32, u32> {
    Cache::builder()
        .load_timeout(Duration::from_secs(10))
        .clock(clock.clone())
        .build()
        .unwrap()
}

#[test]
fn a_waiter_takes_over_when_its_time_is_over() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        thread::scope(|scope| {
            let slow = scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, || 2));
            until_waiting(&cache, 1);
            until(|| {
                clock.advance(Duration::from_secs(10));
                waiting.is_finished()
            });
            assert_eq!((waiting.join().unwrap(), cache.get(&1)), (2, Some(2)));
            gate.open();
            assert_eq!(slow.join().unwrap(), 1);
        });
        assert_eq!(cache.get(&1), Some(2), "the slow load is not stored");
        cache.assert_consistent();
    });
}

#[test]
fn waiters_whose_time_is_over_together_share_one_new_load() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        let loads = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        waiter.get(&cache, 1, || {
                            loads.fetch_add(1, Ordering::SeqCst);
                            2
                        })
                    })
                })
                .collect();
            until_waiting(&cache, 8);
            // Once: time that goes on would be over for the new load, too.
            clock.advance(Duration::from_secs(10));
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), 2);
            }
            gate.open();
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_load_within_its_time_is_not_taken_over() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 1));
            until_waiting(&cache, 1);
            clock.advance(Duration::from_nanos(9_999_999_999));
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(1));
    });
}

#[test]
fn the_systems_clock_ends_a_wait_too() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder()
            .load_timeout(Duration::from_millis(1))
            .build()
            .unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            assert_eq!(waiter.get(&cache, 1, || 2), 2);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(2));
    });
}

/// A clock that wakes sleepers long before their time, as its contract allows.
#[derive(Debug)]
struct Hasty(ManualClock);

impl scrubjay::Clock for Hasty {
    fn now(&self) -> scrubjay::Timestamp {
        self.0.now()
    }

    fn wake_at(&self, deadline: scrubjay::Timestamp, waker: std::task::Waker) {
        let half = deadline.saturating_since(self.now()) / 2;
        self.0.wake_at(self.now().saturating_add(half), waker);
    }
}

#[test]
fn a_waiter_that_is_woken_early_waits_on() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .load_timeout(Duration::from_secs(1 << 20))
            .clock(Hasty(clock.clone()))
            .build()
            .unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, || 2));
            until_waiting(&cache, 1);
            until(|| {
                clock.advance(Duration::from_secs(1 << 10));
                waiting.is_finished()
            });
            assert_eq!(waiting.join().unwrap(), 2);
            gate.open();
        });
    });
}
