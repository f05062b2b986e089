//! Bad input: extreme numbers, and user code that panics or calls back. The cache stays whole and usable.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::LocalKey;
use std::time::Duration;

use fixtures::{cache, panic_of, secs, timed};
use scrubjay::{Action, Builder, Cache, EntryOptions, Policy};

// Extreme numbers.

#[test]
fn lives_that_overflow_are_endless() {
    type Step = fn(Builder<u32, u32>) -> Builder<u32, u32>;
    let endless: [Step; 5] = [
        |builder| builder.time_to_live(Duration::MAX),
        |builder| builder.time_to_idle(Duration::MAX),
        |builder| builder.expire_with(|_, _| Some(Duration::MAX)),
        |builder| {
            builder
                .time_to_live(secs(10))
                .expire_with(|_, _| Some(Duration::MAX))
        },
        |builder| {
            builder
                .time_to_live(Duration::MAX)
                .stale_if_error(Duration::MAX)
                .stale_while_refresh(Duration::MAX)
        },
    ];
    for options in endless {
        let (cache, clock) = timed(options);
        cache.insert(1, 10);
        clock.advance(secs(500 * 365 * 24 * 3600));
        assert_eq!((cache.get(&1), cache.len()), (Some(10), 1));
        cache.assert_consistent();
    }
    let (cache, clock) = timed(|builder| builder);
    cache.insert_with(1, 10, EntryOptions::new().time_to_live(Duration::MAX));
    clock.advance(secs(1_000_000_000));
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn an_endless_life_with_any_jitter_does_not_panic() {
    for jitter in [f64::MIN_POSITIVE, 1e-9, 0.5, 1.0] {
        let (cache, _clock) = timed(|builder| builder.time_to_live(Duration::MAX).jitter(jitter));
        for n in 0..100u32 {
            cache.insert(n, n);
            assert_eq!(cache.get(&n), Some(n));
        }
        cache.assert_consistent();
    }
}

#[test]
fn the_shortest_life_is_served_until_the_clock_moves() {
    let (cache, clock) = timed(|builder| builder.time_to_live(Duration::from_nanos(1)));
    cache.insert(1, 10);
    assert_eq!(cache.get(&1), Some(10));
    clock.advance(Duration::from_nanos(1));
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
}

#[test]
fn a_clock_at_its_end_makes_no_two_methods_disagree() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    clock.advance(Duration::MAX);
    cache.insert(1, 10);
    let there = cache.get(&1).is_some();
    assert_eq!(cache.len(), usize::from(there));
    assert_eq!(cache.iter().count(), usize::from(there));
    cache.assert_consistent();
}

#[test]
fn endless_windows_after_a_life_do_not_overflow() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(1))
            .stale_if_error(Duration::MAX)
            .load_timeout(Duration::MAX)
            .error_time_to_live(Duration::MAX)
    });
    cache.insert(1, 10);
    clock.advance(secs(1_000_000_000));
    assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Ok(10));
    assert_eq!(
        cache.try_get_or_insert_with(&2, || Err::<u32, _>("down")),
        Err("down")
    );
    cache.assert_consistent();
}

#[test]
fn two_entries_of_the_greatest_weight_do_not_overflow() {
    for policy in [Policy::Adaptive, Policy::Lru, Policy::Fifo] {
        let cache: Cache<u32, u32> =
            cache(|builder| builder.policy(policy).weigher(|_, _| u64::MAX));
        for n in 0..10 {
            cache.insert(n, n);
            assert_eq!((cache.len(), cache.weight()), (1, u64::MAX));
            assert_eq!(cache.get(&n), Some(n));
            cache.assert_consistent();
        }
        cache.insert_with(20, 20, EntryOptions::new().weight(1));
        assert_eq!((cache.get(&20), cache.weight()), (Some(20), 1));
        cache.assert_consistent();
    }
}

#[test]
fn heavy_ghosts_do_not_overflow() {
    let cache: Cache<u32, u64> =
        cache(|builder| builder.capacity(u64::MAX).weigher(|_, weight| *weight));
    let mut random = fixtures::Random::new(3);
    for _ in 0..2000 {
        let weight = u64::MAX >> random.below(4);
        cache.insert(random.below(10), weight);
        cache.get(&random.below(10));
        cache.assert_consistent();
    }
}

#[test]
fn a_weight_of_zero_is_admitted_wherever_anything_is() {
    let cache: Cache<u32, u32> = cache(|builder| builder.capacity(1).weigher(|_, _| 0));
    for n in 0..100 {
        cache.insert(n, n);
    }
    assert_eq!((cache.len(), cache.weight()), (100, 0));
    cache.set_capacity(0);
    assert!(cache.is_empty());
    cache.assert_consistent();
}

// Keys.

type Hook = RefCell<Option<Rc<dyn Fn()>>>;

thread_local! {
    static IN_EQ: Hook = const { RefCell::new(None) };
    static IN_HASH: Hook = const { RefCell::new(None) };
}

fn fire(hook: &'static LocalKey<Hook>) {
    // Taken while it runs, so that what it calls does not call it again.
    let taken = hook.with(|hook| hook.borrow_mut().take());
    if let Some(taken) = taken {
        taken();
        hook.with(|hook| *hook.borrow_mut() = Some(taken));
    }
}

/// Runs `work` with hooks in the `Eq` or `Hash` of this thread's keys.
fn hooked<R>(
    hook: &'static LocalKey<Hook>,
    with: impl Fn() + 'static,
    work: impl FnOnce() -> R,
) -> R {
    struct Unhook(&'static LocalKey<Hook>);
    impl Drop for Unhook {
        fn drop(&mut self) {
            self.0.with(|hook| *hook.borrow_mut() = None);
        }
    }
    hook.with(|hook| *hook.borrow_mut() = Some(Rc::new(with)));
    let _unhook = Unhook(hook);
    work()
}

#[derive(Debug, Clone, Copy)]
struct Key(u32);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        fire(&IN_EQ);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fire(&IN_HASH);
        self.0.hash(state);
    }
}

fn filled() -> Cache<Key, u32> {
    let cache = cache(|builder| builder.capacity(100));
    for n in 0..10 {
        cache.insert(Key(n), n);
    }
    cache
}

type Call = (&'static str, fn(&Cache<Key, u32>));

/// Everything that takes a key, on a key that is there.
const CALLS: [Call; 9] = [
    ("get", |cache| {
        cache.get(&Key(1));
    }),
    ("contains_key", |cache| {
        let _ = cache.contains_key(&Key(1));
    }),
    ("insert", |cache| cache.insert(Key(1), 1)),
    ("remove", |cache| {
        cache.remove(&Key(1));
    }),
    ("invalidate", |cache| {
        cache.invalidate(&Key(1));
    }),
    ("get_or_insert_with", |cache| {
        cache.get_or_insert_with(&Key(1), || 1);
    }),
    ("try_get_or_insert_with", |cache| {
        let _ = cache.try_get_or_insert_with(&Key(1), || Err(()));
    }),
    ("entry replace", |cache| {
        cache.entry(&Key(1), |_| Action::Replace(1));
    }),
    ("entry remove", |cache| {
        cache.entry(&Key(1), |_| Action::Remove);
    }),
];

fn assert_usable(cache: &Cache<Key, u32>, name: &str) {
    cache.assert_consistent();
    cache.insert(Key(1), 11);
    assert_eq!(cache.get(&Key(1)), Some(11), "{name}");
    assert_eq!(cache.get_or_insert_with(&Key(77), || 7), 7, "{name}");
    assert_eq!(cache.len(), 11, "{name}");
    cache.assert_consistent();
}

#[test]
fn a_panic_of_a_keys_hash_goes_to_the_caller_and_changes_nothing() {
    for (name, call) in CALLS {
        let cache = filled();
        let message = hooked(&IN_HASH, || panic!("no hash"), || panic_of(|| call(&cache)));
        assert_eq!(message, "no hash", "{name}");
        assert_eq!(cache.len(), 10, "{name}");
        assert_usable(&cache, name);
    }
}

#[test]
fn a_panic_of_a_keys_eq_goes_to_the_caller_and_changes_nothing() {
    for (name, call) in CALLS {
        let cache = filled();
        let message = hooked(
            &IN_EQ,
            || panic!("incomparable"),
            || panic_of(|| call(&cache)),
        );
        assert_eq!(message, "incomparable", "{name}");
        assert_eq!(cache.len(), 10, "{name}");
        assert_usable(&cache, name);
    }
}

/// The n-th comparison of a load panics, for every n: before, during and after the loader.
#[test]
fn a_panic_of_a_keys_eq_in_the_middle_of_a_load_leaves_no_flight_behind() {
    for panics_at in 1..10 {
        let cache = filled();
        cache.insert(Key(1), 1);
        let count = AtomicU32::new(0);
        let hook = move || {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(number != panics_at, "incomparable");
        };
        hooked(&IN_EQ, hook, || {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                cache.entry(&Key(1), |_| Action::Replace(2));
                cache.get_or_insert_with(&Key(50), || {
                    cache.insert(Key(50), 5);
                    6
                });
            }));
        });
        assert_eq!(cache.get_or_insert_with(&Key(51), || 7), 7);
        cache.remove(&Key(50));
        cache.remove(&Key(51));
        assert_usable(&cache, &format!("comparison {panics_at}"));
    }
}

#[test]
fn a_keys_hash_may_use_the_cache() {
    for (name, call) in CALLS {
        let cache = filled();
        let inner = cache.clone();
        let reenter = move || {
            inner.insert(Key(5), 5);
            inner.get_or_insert_with(&Key(6), || 6);
            inner.remove(&Key(7));
            inner.insert(Key(7), 7);
        };
        hooked(&IN_HASH, reenter, || call(&cache));
        assert_usable(&cache, name);
    }
}

#[test]
fn a_keys_eq_may_look_into_the_cache() {
    for (name, call) in CALLS {
        let cache = filled();
        let inner = cache.clone();
        let look = move || {
            assert_eq!(inner.get(&Key(5)), Some(5));
            assert!(inner.contains_key(&Key(6)));
            assert_eq!(inner.peek(&Key(7)), Some(7));
            assert_eq!(inner.iter().count(), inner.len());
        };
        hooked(&IN_EQ, look, || call(&cache));
        assert_usable(&cache, name);
    }
}

#[test]
fn a_keys_eq_that_changes_its_own_entry_panics_with_a_clear_text() {
    for (name, call) in &CALLS[2..5] {
        let cache = filled();
        let inner = cache.clone();
        let message = hooked(
            &IN_EQ,
            move || inner.insert(Key(1), 9),
            || panic_of(|| call(&cache)),
        );
        assert!(message.contains("`Eq` of a key"), "{name}: {message}");
        assert_usable(&cache, name);
    }
}

/// Were it allowed for some keys, two threads could wait for each other's locks for ever.
#[test]
fn a_keys_eq_that_changes_any_other_entry_panics_with_a_clear_text() {
    for other in 100..200 {
        let cache = filled();
        let inner = cache.clone();
        let message = hooked(
            &IN_EQ,
            move || inner.insert(Key(other), 9),
            || panic_of(|| cache.insert(Key(1), 2)),
        );
        assert!(message.contains("`Eq` of a key"), "{message}");
        cache.assert_consistent();
    }
}

#[test]
fn keys_that_all_have_one_hash_work_like_others() {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Same(u32);
    impl Hash for Same {
        fn hash<H: Hasher>(&self, _state: &mut H) {}
    }
    for policy in [Policy::Adaptive, Policy::Lru, Policy::Fifo] {
        let cache: Cache<Same, u32> = cache(|builder| builder.capacity(50).policy(policy));
        for n in 0..500 {
            assert_eq!(cache.get_or_insert_with(&Same(n), || n), n);
            assert_eq!(cache.get(&Same(n)), Some(n));
            assert_eq!(cache.get(&Same(n + 1)), None);
            assert!(cache.len() <= 50);
            if n % 7 == 0 {
                assert_eq!(cache.remove(&Same(n)), Some(n));
            }
            cache.assert_consistent();
        }
        let nested =
            cache.get_or_insert_with(&Same(1000), || cache.get_or_insert_with(&Same(1001), || 1));
        assert_eq!(nested, 1, "two keys of one hash are loaded at once");
    }
}

#[test]
fn keys_that_are_equal_to_nothing_are_bounded_and_break_nothing() {
    #[derive(Debug, Clone, Copy)]
    struct Never;
    impl PartialEq for Never {
        fn eq(&self, _: &Self) -> bool {
            false
        }
    }
    impl Eq for Never {}
    impl Hash for Never {
        fn hash<H: Hasher>(&self, _state: &mut H) {}
    }
    let cache: Cache<Never, u32> = cache(|builder| builder.capacity(10));
    for n in 0..100 {
        cache.insert(Never, n);
        assert_eq!(cache.get_or_insert_with(&Never, || n), n);
        assert_eq!(cache.get(&Never), None);
        assert!(cache.len() <= 10);
        cache.assert_consistent();
    }
}

// Options' functions.

/// A cache whose options' functions all panic for the value 13.
fn superstitious(which: u32) -> Cache<u32, u32> {
    let panics_at = move |number: u32, value: &u32| {
        assert!(number != which || *value != 13, "superstitious");
    };
    cache(|builder| {
        builder
            .weigher(move |_, value| {
                panics_at(0, value);
                1
            })
            .tag_with(move |_, value| {
                panics_at(1, value);
                ["t"]
            })
            .expire_with(move |_, value| {
                panics_at(2, value);
                None
            })
            .store_if(move |_, value| {
                panics_at(3, value);
                true
            })
    })
}

#[test]
fn a_panic_of_an_options_function_goes_to_the_caller_and_stores_nothing() {
    for which in 0..4 {
        let cache = superstitious(which);
        assert_eq!(panic_of(|| cache.insert(1, 13)), "superstitious");
        assert_eq!(
            panic_of(|| cache.get_or_insert_with(&1, || 13)),
            "superstitious"
        );
        assert_eq!(
            panic_of(|| cache.entry(&1, |_| Action::Replace(13))),
            "superstitious"
        );
        assert_eq!((cache.get(&1), cache.len()), (None, 0));
        cache.assert_consistent();
        assert_eq!(cache.get_or_insert_with(&1, || 12), 12);
        assert_eq!(cache.get(&1), Some(12));
    }
}

#[test]
fn a_waiter_loads_itself_if_an_options_function_panics_for_the_leader() {
    let cache = superstitious(0);
    let handle = cache.clone();
    let load = fixtures::Loading::begin(move |hold| {
        panic_of(|| {
            handle.get_or_insert_with(&1, || {
                hold();
                13
            })
        })
    });
    let waits = fixtures::waiter(&cache, 1, 12);
    assert_eq!(load.end(), "superstitious");
    assert_eq!(waits.join().unwrap(), 12);
    assert_eq!(cache.get(&1), Some(12));
}

type Handle = Arc<Mutex<Option<Cache<u32, u32>>>>;

/// Does everything to two other keys, at most once at a time.
///
/// No `entry`: that asks again when it is overtaken, and a function that always clears would always overtake it.
fn reenter(handle: &Handle, busy: &AtomicBool, key: u32) {
    let cache = handle.lock().unwrap().clone();
    let Some(cache) = cache else { return };
    if busy.swap(true, Ordering::SeqCst) {
        return;
    }
    cache.insert(key, 90);
    cache.get_or_insert_with(&(key + 1), || 91);
    cache.remove(&key);
    cache.clear();
    let _ = cache.len();
    busy.store(false, Ordering::SeqCst);
}

#[test]
fn options_functions_and_the_listener_may_do_anything_to_the_cache() {
    let handle = Handle::default();
    let calls = Arc::new(AtomicU32::new(0));
    let function = |key| {
        let (handle, busy, calls) = (handle.clone(), AtomicBool::new(false), calls.clone());
        move || {
            calls.fetch_add(1, Ordering::SeqCst);
            reenter(&handle, &busy, key);
        }
    };
    let functions = (
        function(100),
        function(110),
        function(120),
        function(130),
        function(140),
    );
    let cache = cache(|builder| {
        builder
            .capacity(5)
            .weigher(move |_, _| {
                functions.0();
                1
            })
            .tag_with(move |_, _| {
                functions.1();
                ["t"]
            })
            .expire_with(move |_, _| {
                functions.2();
                None
            })
            .store_if(move |_, _| {
                functions.3();
                true
            })
            .on_removal(move |_, _, _| functions.4())
    });
    *handle.lock().unwrap() = Some(cache.clone());
    for n in 0..5 {
        cache.insert(n, n);
        cache.assert_consistent();
        assert_eq!(cache.get_or_insert_with(&(n + 10), || n), n);
        cache.assert_consistent();
        cache.invalidate_tag("t");
        cache.assert_consistent();
    }
    *handle.lock().unwrap() = None;
    assert!(calls.load(Ordering::SeqCst) > 50);
    assert_eq!(cache.stats().listener_panics, 0);
    assert!(cache.weight() <= 5);
}

/// A function of an option that loads the key that is being written, as a part of its load.
#[test]
fn an_options_function_that_asks_for_the_key_being_loaded_panics_instead_of_waiting_for_itself() {
    type Option = fn(Builder<u32, u32>, Box<dyn Fn() + Send + Sync>) -> Builder<u32, u32>;
    let options: [(&str, Option); 4] = [
        ("weigher", |builder, ask| {
            builder.weigher(move |_, _| {
                ask();
                1
            })
        }),
        ("tag_with", |builder, ask| {
            builder.tag_with(move |_, _| {
                ask();
                ["t"]
            })
        }),
        ("expire_with", |builder, ask| {
            builder.expire_with(move |_, _| {
                ask();
                None
            })
        }),
        ("store_if", |builder, ask| {
            builder.store_if(move |_, _| {
                ask();
                true
            })
        }),
    ];
    for (name, option) in options {
        let message = fixtures::in_time(name, move || {
            let handle = Handle::default();
            let inner = handle.clone();
            let ask = move || {
                let cache = inner.lock().unwrap().clone();
                if let Some(cache) = cache {
                    cache.get_or_insert_with(&1, || 11);
                }
            };
            let cache = cache(|builder| option(builder.name("f"), Box::new(ask)));
            *handle.lock().unwrap() = Some(cache.clone());
            panic_of(|| cache.get_or_insert_with(&1, || 10))
        });
        assert!(message.contains("f → f"), "{name}: {message}");
    }
}

#[test]
fn a_loader_may_do_anything_to_the_cache_but_ask_for_its_own_key() {
    let cache: Cache<u32, u32> = cache(|builder| builder.capacity(5));
    let handle = Arc::new(Mutex::new(Some(cache.clone())));
    for n in 0..10 {
        let loaded = cache.get_or_insert_with(&n, || {
            cache.entry(&99, |_| Action::Replace(92));
            reenter(&handle, &AtomicBool::new(false), 100);
            n
        });
        assert_eq!(
            (loaded, cache.get(&n)),
            (n, None),
            "its `clear` came after the load began"
        );
        cache.assert_consistent();
    }
}

// Values.

/// A value that does something when it is dropped.
struct Loud(u32, Arc<dyn Fn() + Send + Sync>);

impl Drop for Loud {
    fn drop(&mut self) {
        self.1();
    }
}

#[test]
fn the_drop_of_a_value_may_do_anything_to_the_cache() {
    let handle = Arc::new(Mutex::new(None::<Cache<u32, Loud>>));
    let drops = Arc::new(AtomicU32::new(0));
    let quiet: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {});
    let (inner, count, busy) = (handle.clone(), drops.clone(), AtomicBool::new(false));
    let loud: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let cache = inner.lock().unwrap().clone();
        let Some(cache) = cache else { return };
        if busy.swap(true, Ordering::SeqCst) {
            return;
        }
        cache.insert(90, Loud(90, quiet.clone()));
        cache.insert(90, Loud(91, quiet.clone()));
        cache.invalidate(&90);
        cache.with(&1, |value| assert!(value.0 < 100));
        cache.clear();
        busy.store(false, Ordering::SeqCst);
    });
    let cache: Cache<u32, Loud> = cache(|builder| builder.capacity(3));
    *handle.lock().unwrap() = Some(cache.clone());
    for n in 0..50 {
        cache.insert(n % 7, Loud(n, loud.clone()));
        cache.insert(n % 7, Loud(n, loud.clone()));
        cache.invalidate(&((n + 3) % 7));
        if n % 10 == 0 {
            cache.clear();
        }
        cache.assert_consistent();
        assert!(cache.weight() <= 3);
    }
    cache.clear();
    *handle.lock().unwrap() = None;
    drop(cache);
    assert_eq!(
        drops.load(Ordering::SeqCst),
        100,
        "every value is dropped once"
    );
}

/// A value whose clone does something.
struct Copied(u32, Arc<dyn Fn() + Send + Sync>);

impl Clone for Copied {
    fn clone(&self) -> Self {
        (self.1)();
        Self(self.0, self.1.clone())
    }
}

#[test]
fn the_clone_of_a_value_may_do_anything_to_the_cache() {
    let handle = Arc::new(Mutex::new(None::<Cache<u32, Copied>>));
    let (inner, busy) = (handle.clone(), AtomicBool::new(false));
    let quiet: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {});
    let clones = Arc::new(AtomicU32::new(0));
    let count = clones.clone();
    let hook: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let cache = inner.lock().unwrap().clone();
        if let Some(cache) = cache
            && !busy.swap(true, Ordering::SeqCst)
        {
            cache.insert(90, Copied(90, quiet.clone()));
            cache.get_or_insert_with(&91, || Copied(91, quiet.clone()));
            cache.clear();
            busy.store(false, Ordering::SeqCst);
        }
    });
    let cache: Cache<u32, Copied> = Cache::new();
    *handle.lock().unwrap() = Some(cache.clone());
    for n in 0..20 {
        cache.insert(n, Copied(n, hook.clone()));
        assert_eq!(cache.get(&n).unwrap().0, n);
        let loaded = cache.get_or_insert_with(&(n + 100), || Copied(n, hook.clone()));
        assert_eq!(loaded.0, n);
        cache.insert(n, Copied(n, hook.clone()));
        assert_eq!(cache.remove(&n).unwrap().0, n);
        assert!(cache.iter().count() <= 3);
        cache.assert_consistent();
    }
    assert!(clones.load(Ordering::SeqCst) >= 60);
    *handle.lock().unwrap() = None;
}

#[test]
fn a_panic_of_a_values_clone_goes_to_the_caller_and_the_cache_goes_on() {
    let armed = Arc::new(AtomicBool::new(false));
    let arm = armed.clone();
    let hook: Arc<dyn Fn() + Send + Sync> =
        Arc::new(move || assert!(!arm.load(Ordering::SeqCst), "uncopyable"));
    let cache: Cache<u32, Copied> = Cache::new();
    cache.insert(1, Copied(10, hook.clone()));
    armed.store(true, Ordering::SeqCst);
    assert_eq!(panic_of(|| cache.get(&1).is_some()), "uncopyable");
    assert_eq!(panic_of(|| cache.iter().count()), "uncopyable");
    assert_eq!(
        panic_of(|| cache.get_or_insert_with(&2, || Copied(20, hook.clone())).0),
        "uncopyable"
    );
    assert_eq!(panic_of(|| cache.remove(&1).is_some()), "uncopyable");
    armed.store(false, Ordering::SeqCst);
    cache.assert_consistent();
    assert_eq!(
        cache.get_or_insert_with(&2, || Copied(21, hook.clone())).0,
        21
    );
    assert_eq!(
        cache.len(),
        1,
        "1 was removed, although its value could not be returned"
    );
    assert_eq!(cache.stats().removals(), 1);
}
