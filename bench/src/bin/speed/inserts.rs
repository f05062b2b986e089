//! Insertions into full caches: mixed with hits, and alone.

use std::sync::{Arc, Mutex};

use scrubjay_bench::peer::{Foldhash, Loading, Peer};
use scrubjay_bench::rounds::{Round, Row, row, time_threads};
use scrubjay_bench::zipf;

const KEYS: usize = 1_000_000;
const CAPACITY: usize = KEYS / 10;
/// How often each thread asks in a turn.
const REQUESTS: usize = 200_000;
/// How many different stretches of requests there are; turns go through them.
const STRETCHES: usize = 10;

type Ours = scrubjay::Cache<u64, u64>;
type QuickCache = quick_cache::sync::Cache<u64, u64>;
type Moka = moka::sync::Cache<u64, u64>;

fn ours() -> Ours {
    let builder = Ours::builder().capacity(CAPACITY as u64);
    builder.build().expect("the options go together")
}

/// One kind of work, to be done through any cache.
trait Work: Clone + 'static {
    fn turn(&self, peer: &(impl Peer<u64, u64> + Sync), round: Round) -> f64;

    fn row(&self, name: &str, peer: impl Peer<u64, u64> + Sync + 'static) -> Row {
        let work = self.clone();
        row(name, move |round| work.turn(&peer, round))
    }

    fn rows(&self) -> Vec<Row> {
        let foyer: foyer::Cache<u64, u64> = foyer::CacheBuilder::new(CAPACITY).build();
        let limit = CAPACITY.try_into().expect("there is room");
        let lru = lru::LruCache::with_hasher(limit, Foldhash::default());
        vec![
            self.row("scrubjay", ours()),
            self.row("quick_cache", QuickCache::new(CAPACITY)),
            self.row("moka", Moka::new(CAPACITY as u64)),
            self.row("mini-moka", mini_moka::sync::Cache::new(CAPACITY as u64)),
            self.row("foyer", foyer),
            self.row("TinyUFO", tinyufo::TinyUfo::new(CAPACITY, CAPACITY)),
            self.row(
                "cached, sharded LRU",
                cached::ShardedLruCache::new(CAPACITY),
            ),
            self.row("`Mutex<lru>`", Mutex::new(lru)),
        ]
    }
}

pub fn mixed(exponent: f64) -> Vec<Row> {
    Mixed::new(exponent).rows()
}

pub fn mixed_calls(exponent: f64) -> Vec<Row> {
    let mixed = Mixed::new(exponent);
    vec![
        mixed.calls("scrubjay `get_or_insert_with`", ours()),
        mixed.calls(
            "quick_cache `get_or_insert_with`",
            QuickCache::new(CAPACITY),
        ),
        mixed.calls("moka `get_with_by_ref`", Moka::new(CAPACITY as u64)),
    ]
}

pub fn evicting() -> Vec<Row> {
    Evicting.rows()
}

/// Look up, and on a miss insert. The caches stay from turn to turn, the requests change.
#[derive(Clone)]
struct Mixed {
    requests: Arc<[u64]>,
}

impl Mixed {
    fn new(exponent: f64) -> Self {
        Self {
            requests: zipf::keys(KEYS, exponent, STRETCHES * REQUESTS).into(),
        }
    }

    /// Times `ask(key)`, which returns the key's value, over the requests of a turn.
    fn time(&self, round: Round, ask: impl Fn(u64) -> u64 + Sync) -> f64 {
        let elapsed = time_threads(round.threads, |thread| {
            let stretch = (round.turn * round.threads + thread) % STRETCHES;
            let requests = &self.requests[stretch * REQUESTS..][..REQUESTS];
            let right = requests.iter().all(|key| ask(*key) == *key);
            assert!(right, "every answer is its key's");
        });
        elapsed.as_nanos() as f64 / (REQUESTS * round.threads) as f64
    }

    fn calls(&self, name: &str, peer: impl Loading<u64, u64> + Sync + 'static) -> Row {
        let work = self.clone();
        row(name, move |round| {
            work.time(round, |key| peer.get_or_insert(&key, || key))
        })
    }
}

impl Work for Mixed {
    fn turn(&self, peer: &(impl Peer<u64, u64> + Sync), round: Round) -> f64 {
        self.time(round, |key| {
            peer.get(&key).unwrap_or_else(|| {
                peer.insert(key, key);
                key
            })
        })
    }
}

/// Insert a key that was never seen; the first turn, which does not count, fills the cache.
#[derive(Clone)]
struct Evicting;

impl Work for Evicting {
    fn turn(&self, peer: &(impl Peer<u64, u64> + Sync), round: Round) -> f64 {
        let elapsed = time_threads(round.threads, |thread| {
            let stretch = (2 * round.turn + thread) * REQUESTS;
            (stretch..stretch + REQUESTS).for_each(|key| peer.insert(key as u64, key as u64));
        });
        elapsed.as_nanos() as f64 / (REQUESTS * round.threads) as f64
    }
}
