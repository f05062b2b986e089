//! Hits: everything that is asked for is resident.

use std::hint::black_box;
use std::sync::{Arc, Mutex};

use scrubjay_bench::peer::{ConcurrentMap, Foldhash, Key, LockedMap, Peer, Value};
use scrubjay_bench::rounds::{Row, row, time_threads};
use scrubjay_bench::zipf;

/// How often each thread asks in a turn.
pub const REQUESTS: usize = 400_000;

pub fn of_numbers(n: usize) -> Vec<Row> {
    let requests = zipf::keys(n, 0.99, REQUESTS);
    rows(
        n,
        &Task::new(|number| number, |number| number, |value| *value, &requests),
    )
}

pub fn of_one_number() -> Vec<Row> {
    let requests = vec![7; REQUESTS];
    rows(
        1_000,
        &Task::new(|number| number, |number| number, |value| *value, &requests),
    )
}

pub fn of_strings(n: usize) -> Vec<Row> {
    let requests = zipf::keys(n, 0.99, REQUESTS);
    rows(n, &Task::new(name, Arc::new, |value| **value, &requests))
}

/// The number as text, as long as a usual key.
pub fn name(number: u64) -> String {
    format!("user:{number:012}")
}

/// What is stored and asked for.
struct Task<K: 'static, V> {
    key: fn(u64) -> K,
    value: fn(u64) -> V,
    number: fn(&V) -> u64,
    requests: &'static [K],
    /// The sum of the numbers of the requests, by which the answers are checked.
    sum: u64,
}

impl<K, V> Task<K, V> {
    fn new(
        key: fn(u64) -> K,
        value: fn(u64) -> V,
        number: fn(&V) -> u64,
        requests: &[u64],
    ) -> Self {
        Self {
            key,
            value,
            number,
            requests: Vec::leak(requests.iter().map(|number| key(*number)).collect()),
            sum: requests.iter().sum(),
        }
    }
}

fn rows<K: Key, V: Value>(n: usize, task: &Task<K, V>) -> Vec<Row> {
    // Room for twice as many, so that nothing leaves a cache whose capacity is divided among shards.
    let room = 2 * n;
    let ours: scrubjay::Cache<K, V> = scrubjay::Cache::builder()
        .capacity(room as u64)
        .build()
        .expect("the options go together");
    let foyer: foyer::Cache<K, V> = foyer::CacheBuilder::new(room).build();
    let limit = room.try_into().expect("there is room");
    let lru = lru::LruCache::with_hasher(limit, Foldhash::default());
    vec![
        resident("scrubjay", n, ours, task),
        resident("quick_cache", n, quick_cache::sync::Cache::new(room), task),
        resident("moka", n, moka::sync::Cache::new(room as u64), task),
        resident(
            "mini-moka",
            n,
            mini_moka::sync::Cache::new(room as u64),
            task,
        ),
        resident("foyer", n, foyer, task),
        resident("TinyUFO", n, tinyufo::TinyUfo::new(room, room), task),
        resident(
            "cached, sharded LRU",
            n,
            cached::ShardedLruCache::new(room),
            task,
        ),
        resident("`Mutex<lru>`", n, Mutex::new(lru), task),
        resident("papaya's map", n, ConcurrentMap::default(), task),
        resident("`RwLock<hashbrown>`", n, LockedMap::default(), task),
    ]
}

/// Fills a peer and makes its row.
fn resident<K: Key, V: Value>(
    name: &str,
    n: usize,
    peer: impl Peer<K, V> + Sync + 'static,
    task: &Task<K, V>,
) -> Row {
    for number in 0..n as u64 {
        peer.insert((task.key)(number), (task.value)(number));
    }
    peer.settle();
    let Task {
        number,
        requests,
        sum,
        ..
    } = *task;
    row(name, move |round| {
        let elapsed = time_threads(round.threads, |thread| {
            // Threads start at different places of the same requests.
            let (before, after) = requests.split_at(thread * requests.len() / round.threads);
            let answers = after.iter().chain(before);
            let answers = answers.map(|key| number(&peer.get(key).expect("it is resident")));
            assert_eq!(
                black_box(answers.sum::<u64>()),
                sum,
                "every answer is its key's"
            );
        });
        elapsed.as_nanos() as f64 / (requests.len() * round.threads) as f64
    })
}
