//! The caches that are compared, each behind the same few calls to its public crate.
//!
//! `speed` is compiled for each of them; the other programs, which do not time hits, choose at run time.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

use mini_moka::sync::ConcurrentCacheExt as _;

/// The hasher of the bare maps, which is Scrubjay's and quick_cache's too: so maps are compared, not hashers.
pub type Foldhash = foldhash::fast::RandomState;

/// A bare map behind a lock, with Scrubjay's hasher.
pub type LockedMap<K, V> = RwLock<hashbrown::HashMap<K, V, Foldhash>>;

/// A bare concurrent map, with Scrubjay's hasher.
pub type ConcurrentMap<K, V> = papaya::HashMap<K, V, Foldhash>;

/// An exact LRU behind a lock.
pub type LockedLru<K, V> = Mutex<lru::LruCache<K, V, Foldhash>>;

/// What can be a key of every cache here.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}
impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

/// What can be a value of every cache here.
pub trait Value: Clone + Send + Sync + 'static {}
impl<V: Clone + Send + Sync + 'static> Value for V {}

/// A cache, or a map that is compared with caches.
pub trait Peer<K, V> {
    /// Looks a key up, as a hit of its users would.
    fn get(&self, key: &K) -> Option<V>;

    /// Stores a key that is not there.
    fn insert(&self, key: K, value: V);

    /// Does now what the cache would do later.
    fn settle(&self) {}

    /// How many entries it holds, as of the last `settle`; `None` if it does not tell.
    fn resident(&self) -> Option<u64>;
}

/// What joins look-up, load and insertion in one call.
pub trait Loading<K, V> {
    /// Returns the value of a key, loading it on a miss.
    fn get_or_insert(&self, key: &K, load: impl FnOnce() -> V) -> V;
}

impl<K: Key, V: Value> Peer<K, V> for scrubjay::Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }
    fn insert(&self, key: K, value: V) {
        self.insert(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}

impl<K: Key, V: Value> Loading<K, V> for scrubjay::Cache<K, V> {
    fn get_or_insert(&self, key: &K, load: impl FnOnce() -> V) -> V {
        self.get_or_insert_with(key, load)
    }
}

impl<K: Key, V: Value> Peer<K, V> for quick_cache::sync::Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }
    fn insert(&self, key: K, value: V) {
        self.insert(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}

impl<K: Key, V: Value> Loading<K, V> for quick_cache::sync::Cache<K, V> {
    fn get_or_insert(&self, key: &K, load: impl FnOnce() -> V) -> V {
        let load = || Ok::<_, std::convert::Infallible>(load());
        let Ok(value) = self.get_or_insert_with(key, load);
        value
    }
}

impl<K: Key, V: Value> Peer<K, V> for moka::sync::Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }
    fn insert(&self, key: K, value: V) {
        self.insert(key, value);
    }
    fn settle(&self) {
        self.run_pending_tasks();
    }
    fn resident(&self) -> Option<u64> {
        Some(self.entry_count())
    }
}

impl<K: Key, V: Value> Loading<K, V> for moka::sync::Cache<K, V> {
    fn get_or_insert(&self, key: &K, load: impl FnOnce() -> V) -> V {
        self.get_with_by_ref(key, load)
    }
}

impl<K: Key, V: Value> Peer<K, V> for mini_moka::sync::Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }
    fn insert(&self, key: K, value: V) {
        self.insert(key, value);
    }
    fn settle(&self) {
        self.sync();
    }
    fn resident(&self) -> Option<u64> {
        Some(self.entry_count())
    }
}

impl<K: Key, V: Value> Peer<K, V> for foyer::Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key).map(|entry| entry.value().clone())
    }
    fn insert(&self, key: K, value: V) {
        self.insert(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.entries() as u64)
    }
}

impl<K: Key, V: Value> Peer<K, V> for tinyufo::TinyUfo<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }
    fn insert(&self, key: K, value: V) {
        self.put(key, value, 1);
    }
    fn resident(&self) -> Option<u64> {
        None
    }
}

/// TinyUFO does not tell its length, but hands out what it evicts: counted here.
pub struct CountedTinyUfo<K, V> {
    cache: tinyufo::TinyUfo<K, V>,
    resident: AtomicU64,
}

impl<K: Key, V: Value> CountedTinyUfo<K, V> {
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            cache: tinyufo::TinyUfo::new(capacity, capacity),
            resident: AtomicU64::new(0),
        }
    }
}

impl<K: Key, V: Value> Peer<K, V> for CountedTinyUfo<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.cache.get(key)
    }
    fn insert(&self, key: K, value: V) {
        let evicted = self.cache.put(key, value, 1).len() as u64;
        // Relaxed: read by the thread that counts.
        self.resident.fetch_add(1, Ordering::Relaxed);
        self.resident.fetch_sub(evicted, Ordering::Relaxed);
    }
    fn resident(&self) -> Option<u64> {
        // Relaxed: as above.
        Some(self.resident.load(Ordering::Relaxed))
    }
}

const NO_PANIC: &str = "nobody panics under this lock";

impl<K: Key, V: Value> Peer<K, V> for LockedLru<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.lock().expect(NO_PANIC).get(key).cloned()
    }
    fn insert(&self, key: K, value: V) {
        self.lock().expect(NO_PANIC).put(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.lock().expect(NO_PANIC).len() as u64)
    }
}

impl<K: Key, V: Value> Peer<K, V> for Mutex<schnellru::LruMap<K, V>> {
    fn get(&self, key: &K) -> Option<V> {
        self.lock().expect(NO_PANIC).get(key).cloned()
    }
    fn insert(&self, key: K, value: V) {
        self.lock().expect(NO_PANIC).insert(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.lock().expect(NO_PANIC).len() as u64)
    }
}

impl<K: Key, V: Value> Peer<K, V> for cached::ShardedLruCache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }
    fn insert(&self, key: K, value: V) {
        self.set(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}

impl<K: Key, V: Value> Peer<K, V> for LockedMap<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.read().expect(NO_PANIC).get(key).cloned()
    }
    fn insert(&self, key: K, value: V) {
        self.write().expect(NO_PANIC).insert(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.read().expect(NO_PANIC).len() as u64)
    }
}

impl<K: Key, V: Value> Peer<K, V> for ConcurrentMap<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.pin().get(key).cloned()
    }
    fn insert(&self, key: K, value: V) {
        self.pin().insert(key, value);
    }
    fn resident(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}
