//! What the life of a call asks of the tiers below memory.
//!
//! Invariant: only the leader of a flight stores here or brings up what is here, and whatever fails here is a miss. An
//! entry is named by the bytes that its key's `Hash` feeds, so that every borrowed form of a key finds it; that it is
//! this key's is for the tier to decide, by comparing the key that it stored.

#![cfg_attr(
    not(feature = "disk"),
    allow(
        dead_code,
        reason = "without a tier below memory nobody makes or reads these"
    )
)]

use std::any::Any;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::call::Core;
use crate::entry::Tag;

/// The name of an entry below memory.
pub(crate) type Name = [u8; 32];

/// What came from below.
pub(crate) struct Raised<V> {
    pub(crate) value: V,
    /// What is left of its life; `None`: endless.
    pub(crate) left: Option<Duration>,
    /// How long its life has been over; `None` while it lasts.
    pub(crate) past: Option<Duration>,
    /// How long ago it was written.
    pub(crate) age: Duration,
    /// How long its load took.
    pub(crate) load_cost: Duration,
    pub(crate) tags: Vec<Tag>,
}

/// What a leader brings back from below.
pub(crate) enum Descent<K, V> {
    Found(Raised<V>),
    /// It is to be loaded; what is past its life may stand in meanwhile.
    Missing(Ticket, Option<(K, Raised<V>)>),
    /// Another process loads it. To be asked again after this time.
    Busy(Duration),
}

/// What a tier wants to know again when the load that follows a miss is over.
pub(crate) type Ticket = Box<dyn Any + Send + Sync>;

/// What is known of a value that is to be stored below.
pub(crate) struct Lowered {
    /// The calendar time, by the cache's clock.
    pub(crate) now: SystemTime,
    /// What is left of its life; `None`: endless.
    pub(crate) left: Option<Duration>,
    /// For how long it may stand in after that.
    pub(crate) stands_in: Duration,
    pub(crate) tags: Vec<Tag>,
}

/// How a leader asks for what is below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    /// The flight that it leads.
    pub(crate) flight: u64,
    /// What is this old is of no use.
    pub(crate) oldest: Option<Duration>,
    /// What is past its life for less than this may stand in while it is loaded, or if that fails.
    pub(crate) stands_in: Duration,
    /// How often it was told to come back.
    pub(crate) tries: u32,
    /// Whether it comes back if another process loads the key; otherwise it loads as well.
    pub(crate) waits: bool,
}

pub(crate) trait Below<K, V>: Send + Sync {
    fn name(&self, feed: &dyn Fn(&mut dyn Hasher)) -> Name;
    /// Looks for a key; if there is nothing, notes that its load begins.
    fn find(&self, core: &Arc<Core<K, V>>, key: &K, name: Name, visit: Visit) -> Descent<K, V>;
    /// Looks for the key of this name that `is` the one; notes nothing.
    fn look(
        &self,
        core: &Arc<Core<K, V>>,
        name: Name,
        is: &dyn Fn(&K) -> bool,
    ) -> Option<(K, Raised<V>)>;
    /// Counts what a caller that only looked found, or a miss.
    fn count(&self, found: Option<&Raised<V>>);
    /// Stores what a load brought.
    fn store(&self, ticket: Ticket, key: &K, value: &V, lowered: Lowered);
    /// Stores a value that makes all others of the key untrue.
    fn replace(&self, core: &Arc<Core<K, V>>, key: &K, value: &V, name: Name, lowered: Lowered);
    fn invalidate(&self, name: Name);
    fn invalidate_tag(&self, tag: &str);
    /// Discards what matches; a value that cannot be read matches.
    fn invalidate_if(&self, matches: &mut dyn FnMut(&K, &V) -> bool);
    fn clear(&self);
    /// Hears how many hits there were in memory, all together.
    fn tell_hits(&self, hits: u64);
    fn stats(&self) -> BelowStats;
}

/// What a tier below memory did for one cache.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BelowStats {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) writes: u64,
    pub(crate) failures: u64,
}
