//! A recursive function memoized by attribute, or by hand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use cached::Cached as _;
use scrubjay_bench::rounds::{Row, row};

const ARGUMENT: u64 = 90;
const ANSWER: u64 = 2_880_067_194_370_816_120;

mod by_scrubjay {
    #[scrubjay::memoize]
    pub fn fib(n: u64) -> u64 {
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }
}

mod by_cached {
    #[cached::macros::cached]
    pub fn fib(n: u64) -> u64 {
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }
}

mod by_memoize {
    #[memoize::memoize]
    pub fn fib(n: u64) -> u64 {
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }
}

mod by_memoize_shared {
    #[memoize::memoize(SharedCache)]
    pub fn fib(n: u64) -> u64 {
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }
}

mod by_quick_cache {
    use std::sync::LazyLock;

    pub static CACHE: LazyLock<quick_cache::sync::Cache<u64, u64>> =
        LazyLock::new(|| quick_cache::sync::Cache::new(1_000));

    pub fn fib(n: u64) -> u64 {
        let load = || if n < 2 { n } else { fib(n - 1) + fib(n - 2) };
        let Ok(value) = CACHE.get_or_insert_with(&n, || Ok::<_, std::convert::Infallible>(load()));
        value
    }
}

thread_local! {
    static MEMO: RefCell<HashMap<u64, u64>> = RefCell::default();
}

fn fib_by_hand(n: u64) -> u64 {
    if let Some(known) = MEMO.with_borrow(|memo| memo.get(&n).copied()) {
        return known;
    }
    let value = if n < 2 {
        n
    } else {
        fib_by_hand(n - 1) + fib_by_hand(n - 2)
    };
    MEMO.with_borrow_mut(|memo| memo.insert(n, value));
    value
}

/// A memoized function and what empties its cache.
struct Memoized {
    name: &'static str,
    fib: fn(u64) -> u64,
    clear: fn(),
}

const ALL: [Memoized; 6] = [
    Memoized {
        name: "`#[scrubjay::memoize]`",
        fib: by_scrubjay::fib,
        clear: by_scrubjay::fib::clear,
    },
    Memoized {
        name: "quick_cache, by hand",
        fib: by_quick_cache::fib,
        clear: || by_quick_cache::CACHE.clear(),
    },
    Memoized {
        name: "`#[cached]`",
        fib: by_cached::fib,
        clear: || by_cached::FIB.write().cache_clear(),
    },
    Memoized {
        name: "`#[memoize]` with `SharedCache`",
        fib: by_memoize_shared::fib,
        clear: by_memoize_shared::memoized_flush_fib,
    },
    Memoized {
        name: "`#[memoize]`, a cache for each thread",
        fib: by_memoize::fib,
        clear: by_memoize::memoized_flush_fib,
    },
    Memoized {
        name: "a `HashMap` for each thread, by hand",
        fib: fib_by_hand,
        clear: || MEMO.with_borrow_mut(HashMap::clear),
    },
];

/// Nanoseconds per argument: each of 0 to 90 is computed once, and asked for about twice.
pub fn cold() -> Vec<Row> {
    let turn = |memoized: &Memoized| {
        const REPEATS: u64 = 500;
        let mut nanos = 0;
        for _ in 0..REPEATS {
            (memoized.clear)();
            let start = Instant::now();
            let answer = (memoized.fib)(black_box(ARGUMENT));
            nanos += start.elapsed().as_nanos();
            assert_eq!(answer, ANSWER);
        }
        nanos as f64 / (REPEATS * (ARGUMENT + 1)) as f64
    };
    ALL.map(|memoized| row(memoized.name, move |_| turn(&memoized)))
        .into()
}

/// Nanoseconds per call of what is known.
pub fn warm() -> Vec<Row> {
    let turn = |memoized: &Memoized| {
        const REPEATS: u64 = 100_000;
        (memoized.fib)(ARGUMENT);
        let start = Instant::now();
        let right = (0..REPEATS).all(|_| (memoized.fib)(black_box(ARGUMENT)) == ANSWER);
        let elapsed = start.elapsed();
        assert!(right, "every answer is known");
        elapsed.as_nanos() as f64 / REPEATS as f64
    };
    ALL.map(|memoized| row(memoized.name, move |_| turn(&memoized)))
        .into()
}
