//! Look-up, load and insertion in one call, beside a memo that is a bare map: without threads, bounds or shared loads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::Instant;

use scrubjay_bench::peer::{Foldhash, Key, Loading};
use scrubjay_bench::rounds::{Row, row};
use scrubjay_bench::zipf;

use crate::hits::REQUESTS;

/// A bare map as a memo, as one would write it by hand.
struct Memo<K, S>(RefCell<HashMap<K, u64, S>>);

impl<K, S: Default> Memo<K, S> {
    fn empty() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Key, S: BuildHasher> Loading<K, u64> for Memo<K, S> {
    fn get_or_insert(&self, key: &K, load: impl FnOnce() -> u64) -> u64 {
        if let Some(value) = self.0.borrow().get(key) {
            return *value;
        }
        let value = load();
        self.0.borrow_mut().insert(key.clone(), value);
        value
    }
}

type Ours<K> = scrubjay::Cache<K, u64>;
type QuickCache<K> = quick_cache::sync::Cache<K, u64>;
type Moka<K> = moka::sync::Cache<K, u64>;
type StdMemo<K> = Memo<K, RandomState>;
type FoldMemo<K> = Memo<K, Foldhash>;

pub fn hits(n: usize) -> Vec<Row> {
    let requests: &[u64] = Vec::leak(zipf::keys(n, 0.99, REQUESTS));
    vec![
        resident("scrubjay", n, requests, Ours::new()),
        resident("quick_cache", n, requests, QuickCache::new(2 * n)),
        resident("moka", n, requests, Moka::new(2 * n as u64)),
        resident("bare std `HashMap`", n, requests, StdMemo::empty()),
        resident(
            "bare std `HashMap`, foldhash",
            n,
            requests,
            FoldMemo::empty(),
        ),
    ]
}

fn resident(
    name: &str,
    n: usize,
    requests: &'static [u64],
    cache: impl Loading<u64, u64> + 'static,
) -> Row {
    for key in 0..n as u64 {
        cache.get_or_insert(&key, || key);
    }
    row(name, move |_| {
        let start = Instant::now();
        let ask = |key: &u64| cache.get_or_insert(key, || unreachable!("it is resident"));
        let right = requests.iter().all(|key| ask(key) == *key);
        let elapsed = start.elapsed();
        assert!(right, "every answer is its key's");
        elapsed.as_nanos() as f64 / requests.len() as f64
    })
}

/// Keys `0..n` once each, into an empty cache.
pub fn misses<K: Key>(n: usize, key: fn(u64) -> K) -> Vec<Row> {
    vec![
        empty("scrubjay", n, key, Ours::new),
        empty("quick_cache", n, key, move || QuickCache::new(2 * n)),
        empty("moka", n, key, move || Moka::new(2 * n as u64)),
        empty("bare std `HashMap`", n, key, StdMemo::empty),
        empty("bare std `HashMap`, foldhash", n, key, FoldMemo::empty),
    ]
}

/// Small runs are repeated; making a cache counts, dropping it does not.
fn empty<K: Key, C: Loading<K, u64>>(
    name: &str,
    n: usize,
    key: fn(u64) -> K,
    make: impl Fn() -> C + 'static,
) -> Row {
    let repeats = (100_000 / n).max(1);
    row(name, move |_| {
        let mut nanos = 0;
        for _ in 0..repeats {
            let start = Instant::now();
            let cache = make();
            let ask = |number: u64| cache.get_or_insert(&key(number), || black_box(number));
            let right = (0..n as u64).all(|number| ask(number) == number);
            nanos += start.elapsed().as_nanos();
            assert!(right, "every answer is its key's");
            drop(black_box(cache));
        }
        nanos as f64 / (n * repeats) as f64
    })
}
