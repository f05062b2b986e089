//! How a cache is asked for a key: by any borrowed form of it.
//!
//! Invariant, on the asker: a query hashes like the keys that it matches, as `Borrow` demands. Hashing and
//! making a key run outside every lock; matching may run under the lock of the one shard where the key lives.

use std::hash::{Hash, Hasher};

use equivalent::Equivalent;

/// A question for one key, which can become the key if it has to be stored.
pub trait Query<K> {
    /// Feeds the hash of the key that is asked for.
    fn hash<H: Hasher>(&self, state: &mut H);
    /// Says whether a stored key is the one asked for.
    fn matches(&self, key: &K) -> bool;
    /// Makes the key.
    fn to_key(&self) -> K;
}

/// A query by reference to a borrowed form of the key: `&str` for `String`, `&[T]` for `Vec<T>`.
#[derive(Debug)]
pub(crate) struct ByRef<'a, Q: ?Sized>(pub(crate) &'a Q);

impl<K, Q> Query<K> for ByRef<'_, Q>
where
    Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }

    fn matches(&self, key: &K) -> bool {
        self.0.equivalent(key)
    }

    fn to_key(&self) -> K {
        self.0.to_owned()
    }
}
