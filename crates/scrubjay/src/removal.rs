//! Why entries leave, and who is told.
//!
//! Every entry that was in the cache leaves once, with one cause; the listener runs after the fact and outside
//! every lock. An entry that never came in (too heavy, overtaken by an invalidation) has no removal.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why an entry left the cache.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, RemovalCause};
/// use std::sync::{Arc, Mutex};
///
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let log = seen.clone();
/// let cache = Cache::builder()
///     .on_removal(move |key: &u32, _: &&str, cause| log.lock().unwrap().push((*key, cause)))
///     .build()?;
/// cache.insert(1, "old");
/// cache.insert(1, "new");
/// cache.invalidate(&1);
/// assert_eq!(*seen.lock().unwrap(), [(1, RemovalCause::Replaced), (1, RemovalCause::Explicit)]);
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RemovalCause {
    /// The policy chose it, because the capacity was exceeded.
    Evicted,
    /// Its time was over.
    Expired,
    /// It was removed, invalidated or cleared.
    Explicit,
    /// Another value was stored for its key.
    Replaced,
    /// It was held weakly and its last owner dropped it. The listener is not told: there is no value left.
    Collected,
}

impl RemovalCause {
    pub(crate) const ALL: [Self; 5] = [
        Self::Evicted,
        Self::Expired,
        Self::Explicit,
        Self::Replaced,
        Self::Collected,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Explicit => "explicit",
            Self::Replaced => "replaced",
            Self::Collected => "collected",
        })
    }
}

/// The user's removal listener.
pub(crate) type Listener<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;

/// Tells the listener; says whether it returned.
///
/// A panic stays here: the removal has happened, and the caller who happened to cause it has no part in it.
pub(crate) fn tell<K, V>(
    listener: &Listener<K, V>,
    key: &K,
    value: &V,
    cause: RemovalCause,
) -> bool {
    catch_unwind(AssertUnwindSafe(|| listener(key, value, cause))).is_ok()
}
