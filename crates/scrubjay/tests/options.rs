//! Options: any set of them goes together and keeps its promises, or is refused with the reason.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fixtures::secs;
use scrubjay::{Action, Builder, Cache, ErrorKind, ManualClock, Policy};

/// One set of options out of all of them, by its number.
#[derive(Debug)]
struct Choice {
    policy: Policy,
    capacity: Option<u64>,
    weigher: bool,
    time_to_live: bool,
    time_to_idle: bool,
    expire_with: bool,
    jitter: bool,
    listener: bool,
    tags: bool,
    store_if: bool,
    /// 0: none; 1: by callers; 2: in the background.
    refresh: u64,
    /// 0: none; 1: while refreshing; 2: if the load fails.
    stale: u64,
    error_time_to_live: bool,
    share_errors: bool,
    load_timeout: bool,
}

const CHOICES: u64 = 3 * 4 * 3 * 3 * (1 << 11);

impl Choice {
    fn number(mut number: u64) -> Self {
        let mut of = |options: u64| {
            let choice = number % options;
            number /= options;
            choice
        };
        Self {
            policy: [Policy::Adaptive, Policy::Lru, Policy::Fifo][of(3) as usize],
            capacity: [None, Some(0), Some(1), Some(10)][of(4) as usize],
            refresh: of(3),
            stale: of(3),
            weigher: of(2) == 1,
            time_to_live: of(2) == 1,
            time_to_idle: of(2) == 1,
            expire_with: of(2) == 1,
            jitter: of(2) == 1,
            listener: of(2) == 1,
            tags: of(2) == 1,
            store_if: of(2) == 1,
            error_time_to_live: of(2) == 1,
            share_errors: of(2) == 1,
            load_timeout: of(2) == 1,
        }
    }

    /// Whether it makes sense: a stale window begins where a life ends.
    fn makes_sense(&self) -> bool {
        self.stale == 0 || self.time_to_live || self.time_to_idle || self.expire_with
    }

    fn builder(&self, clock: &ManualClock, told: &Arc<AtomicU64>) -> Builder<u32, u32> {
        let mut builder = Cache::builder()
            .policy(self.policy)
            .share_errors(self.share_errors)
            .clock(clock.clone());
        if let Some(capacity) = self.capacity {
            builder = builder.capacity(capacity);
        }
        if self.weigher {
            builder = builder.weigher(|_, value| u64::from(value % 4));
        }
        if self.time_to_live {
            builder = builder.time_to_live(secs(10));
        }
        if self.time_to_idle {
            builder = builder.time_to_idle(secs(9));
        }
        if self.expire_with {
            builder = builder.expire_with(|key, _| (key % 2 == 0).then(|| secs(8)));
        }
        if self.jitter {
            builder = builder.jitter(0.1);
        }
        if self.listener {
            let told = told.clone();
            builder = builder.on_removal(move |_, _, _| {
                told.fetch_add(1, Ordering::SeqCst);
            });
        }
        if self.tags {
            builder = builder.tag_with(|key, _| [format!("third:{}", key % 3)]);
        }
        if self.store_if {
            builder = builder.store_if(|_, value| value % 7 != 0);
        }
        if self.refresh > 0 {
            builder = builder.refresh_after(secs(5));
        }
        if self.refresh == 2 {
            builder = builder.refresh_with(|key| *key);
        }
        match self.stale {
            1 => builder = builder.stale_while_refresh(secs(100)),
            2 => builder = builder.stale_if_error(secs(100)),
            _ => {}
        }
        if self.error_time_to_live {
            builder = builder.error_time_to_live(secs(3));
        }
        if self.load_timeout {
            builder = builder.load_timeout(secs(5));
        }
        builder
    }
}

/// A cache and what was last said of each key.
struct Script {
    choice: Choice,
    cache: Cache<u32, u32>,
    clock: ManualClock,
    told: Arc<AtomicU64>,
    last: HashMap<u32, u32>,
    value: u32,
}

impl Script {
    fn new(choice: Choice) -> Self {
        let (clock, told) = (ManualClock::new(), Arc::default());
        Self {
            cache: choice.builder(&clock, &told).build().unwrap(),
            choice,
            clock,
            told,
            last: HashMap::new(),
            value: 0,
        }
    }

    fn check(&self) {
        self.cache.assert_consistent();
        assert!(self.cache.weight() <= self.cache.capacity());
        let entries: Vec<(u32, u32)> = self.cache.iter().collect();
        assert_eq!(self.cache.len(), entries.len());
        for (key, value) in entries {
            assert_eq!(self.last.get(&key), Some(&value), "the value of {key}");
            assert_eq!(self.cache.peek(&key), Some(value));
            assert!(!self.choice.store_if || value % 7 != 0);
        }
        if self.choice.capacity == Some(0) {
            assert!(self.cache.is_empty());
        }
    }

    fn next(&mut self) -> u32 {
        self.value += 1;
        self.value
    }

    fn insert(&mut self, key: u32) {
        let value = self.next();
        self.cache.insert(key, value);
        self.last.insert(key, value);
        self.check();
    }

    /// A load may be answered with what is there; what else it brings is new.
    fn load(&mut self, key: u32) {
        let value = self.next();
        let got = self.cache.get_or_insert_with(&key, || value);
        assert!(got == value || self.last.get(&key) == Some(&got));
        if got == value {
            self.last.insert(key, value);
        }
        self.check();
    }

    fn fail(&mut self, key: u32) {
        let there = self.cache.peek(&key);
        let got = self.cache.try_get_or_insert_with(&key, || Err("down"));
        match got {
            Ok(value) => assert_eq!(self.last.get(&key), Some(&value)),
            Err(error) => assert_eq!((there, error), (None, "down")),
        }
        self.check();
    }

    fn advance(&mut self, time: Duration) {
        self.clock.advance(time);
        self.check();
    }

    fn run(mut self) {
        for key in 1..6 {
            self.insert(key);
        }
        for key in [1, 4, 7, 8] {
            self.load(key);
        }
        for key in [20, 1, 20] {
            self.fail(key);
        }
        self.advance(secs(6));
        // A background refresh would go on while the script checks, so only callers refresh here.
        if self.choice.refresh < 2 {
            for key in [1, 2, 7] {
                self.load(key);
                self.fail(key);
            }
        }
        let value = self.next();
        self.cache.entry(&3, |_| Action::Replace(value));
        self.last.insert(3, value);
        self.check();
        self.cache.entry(&3, |_| Action::Remove);
        self.check();
        assert!(!self.cache.contains_key(&3));
        self.advance(secs(20));
        if self.choice.time_to_live || self.choice.time_to_idle {
            assert!(self.cache.is_empty());
        }
        if self.choice.refresh < 2 {
            for key in [1, 2, 3] {
                self.fail(key);
            }
        }
        self.empty();
    }

    fn empty(mut self) {
        for key in 1..6 {
            self.insert(key);
        }
        if self.choice.tags {
            self.cache.invalidate_tag("third:1");
            assert!(!self.cache.contains_key(&1) && !self.cache.contains_key(&4));
            self.check();
        }
        self.cache.invalidate_if(|key, _| *key == 5);
        assert!(!self.cache.contains_key(&5));
        self.check();
        self.cache.set_capacity(1);
        self.check();
        self.cache.clear();
        self.check();
        assert_eq!((self.cache.len(), self.cache.weight()), (0, 0));
        if self.choice.listener && !self.choice.error_time_to_live {
            let removals = self.cache.stats().removals();
            assert_eq!(self.told.load(Ordering::SeqCst), removals);
        }
    }
}

#[test]
fn every_set_of_options_builds_unless_it_makes_no_sense() {
    let (clock, told) = (ManualClock::new(), Arc::default());
    // A stride that has no factor in common with any number of choices meets every pair of them.
    for number in (0..CHOICES).step_by(11) {
        let choice = Choice::number(number);
        let built = choice.builder(&clock, &told).build();
        assert_eq!(built.is_ok(), choice.makes_sense(), "{choice:?}");
    }
}

#[test]
fn every_set_of_options_keeps_its_promises() {
    struct Running(u64);
    impl Drop for Running {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("set {}: {:?}", self.0, Choice::number(self.0));
            }
        }
    }
    for number in (0..CHOICES).step_by(53) {
        let _running = Running(number);
        let choice = Choice::number(number);
        if choice.makes_sense() {
            Script::new(choice).run();
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_one_sentence_that_names_them() {
    type Options = fn(Builder<u32, u32>) -> Builder<u32, u32>;
    let nonsense: [(&str, Options); 14] = [
        ("time_to_live", |builder| {
            builder.time_to_live(Duration::ZERO)
        }),
        ("time_to_idle", |builder| {
            builder.time_to_idle(Duration::ZERO)
        }),
        ("refresh_after", |builder| {
            builder.refresh_after(Duration::ZERO)
        }),
        ("error_time_to_live", |builder| {
            builder.error_time_to_live(Duration::ZERO)
        }),
        ("load_timeout", |builder| {
            builder.load_timeout(Duration::ZERO)
        }),
        ("jitter", |builder| builder.jitter(-0.1)),
        ("jitter", |builder| builder.jitter(1.1)),
        ("jitter", |builder| builder.jitter(f64::NAN)),
        ("jitter", |builder| builder.jitter(f64::INFINITY)),
        ("stale_while_refresh", |builder| {
            builder.stale_while_refresh(secs(1))
        }),
        ("stale_if_error", |builder| builder.stale_if_error(secs(1))),
        ("stale_if_error", |builder| {
            builder.error_time_to_live(secs(1)).stale_if_error(secs(1))
        }),
        ("refresh_after", |builder| {
            builder.time_to_live(secs(5)).refresh_after(secs(5))
        }),
        ("refresh_after", |builder| {
            builder.refresh_after(secs(6)).time_to_live(secs(5))
        }),
    ];
    for (name, options) in nonsense {
        let error = options(Cache::builder()).build().expect_err(name);
        let message = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Option);
        assert!(message.contains(name), "{name}: {message}");
        assert!(
            !message.contains(". ") && !message.ends_with('.'),
            "{message}"
        );
        assert!(
            message.starts_with(char::is_lowercase) && message.len() > 20,
            "{message}"
        );
    }
}

#[test]
fn a_window_of_zero_is_the_default_and_no_nonsense() {
    let cache: Result<Cache<u32, u32>, _> = Cache::builder()
        .stale_while_refresh(Duration::ZERO)
        .stale_if_error(Duration::ZERO)
        .jitter(0.0)
        .build();
    assert!(cache.is_ok());
}

#[test]
fn a_loader_for_refreshes_that_could_never_run_is_refused() {
    let cache: Result<Cache<u32, u32>, _> = Cache::builder().refresh_with(|key| *key).build();
    assert!(cache.is_err());
}

#[test]
fn the_name_of_a_cache_is_that_which_was_given_or_its_types() {
    assert_eq!(Cache::<u32, Vec<String>>::new().name(), "u32 → Vec<String>");
    let named = Cache::<u32, u32>::builder().name("users").build().unwrap();
    assert_eq!(named.name(), "users");
    assert!(format!("{named:?}").contains("users"));
    assert!(format!("{:?}", Cache::<u32, u32>::builder()).contains("Builder"));
}
