//! Saying that values are no longer true: by key, by predicate, by tag, or all of them.
//!
//! Each first overtakes or fences the loads in progress that it may concern and then removes what is stored. So a
//! load that ends between the two is found among the stored entries, and one that ends later is not stored: a
//! value whose load began before its invalidation does not outlive it.

use std::hash::Hash;
use std::sync::Arc;

use equivalent::Equivalent;

use crate::cache::Cache;
use crate::entry::{Entry, Tag};
use crate::removal::RemovalCause;
use crate::tier::memory::{Found, Pin};

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    /// Discards a key's value; says whether a fresh one was there. A load in progress is overtaken.
    ///
    /// Callers who wait for that load still get its value, because they asked before; whoever asks after this
    /// returned starts a new load.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert("k", 1);
    /// assert!(cache.invalidate("k"));
    /// assert!(!cache.invalidate("k"));
    /// ```
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.take_out(key, |entry| self.core.is_present(entry))
            .unwrap_or(false)
    }

    /// Removes a key's entry and looks at it, after the fact and outside every lock.
    pub(crate) fn take_out<Q, R>(&self, key: &Q, look: impl FnOnce(&Entry<K, V>) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let core = &*self.core;
        if let Some(below) = &core.options.below {
            below.invalidate(below.name(&|mut hasher| key.hash(&mut hasher)));
        }
        let hash = core.hash_of(key);
        let pin = core.memory.pin();
        let mut locked = core.memory.lock(hash, &pin);
        let entry = locked.find(hash, |other| key.equivalent(other));
        let overtaken = (locked.state.flights).overtake(hash, |other| key.equivalent(other));
        if let Some(entry) = entry {
            locked.remove(entry);
        }
        drop(locked);
        drop(overtaken);
        let entry = entry?;
        core.notify(entry, core.cause_of(&entry, RemovalCause::Explicit), &pin);
        Some(look(&entry))
    }

    /// Discards every entry that `matches`; returns how many. All loads in progress are overtaken, because what
    /// they bring cannot be asked yet.
    ///
    /// It looks at every entry, and `matches` runs outside every lock.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// for n in 0..10 { cache.insert(n, n * n); }
    /// assert_eq!(cache.invalidate_if(|key, value| key % 2 == 0 && *value > 10), 3);
    /// assert_eq!(cache.len(), 7);
    /// ```
    pub fn invalidate_if(&self, mut matches: impl FnMut(&K, &V) -> bool) -> usize {
        // Below first: what is raised meanwhile is found in memory or overtaken there.
        if let Some(below) = &self.core.options.below {
            below.invalidate_if(&mut matches);
        }
        self.forget_if(matches)
    }

    /// The same for the memory tier alone.
    pub(crate) fn forget_if(&self, mut matches: impl FnMut(&K, &V) -> bool) -> usize {
        let pin = self.core.memory.pin();
        self.core.memory.for_each_shard(&pin, |mut locked| {
            let overtaken = locked.state.flights.overtake_all();
            drop(locked);
            drop(overtaken);
        });
        let mut removed = 0;
        for entry in self.core.memory.iter(&pin) {
            let concerned = entry.with(|value| matches(entry.key(), value));
            if concerned == Some(true) && self.remove_entry(entry, &pin) {
                removed += 1;
            }
        }
        removed
    }

    /// Discards every entry that carries `tag`; returns how many.
    ///
    /// A load in progress goes on, and only if its value turns out to carry the tag is it handed to those
    /// who asked before this call, and not stored. Cost: in proportion to the entries that carry the tag.
    ///
    /// ```
    /// use scrubjay::Cache;
    ///
    /// let cache = Cache::builder().tag_with(|_: &u32, team: &&str| [format!("team:{team}")]).build()?;
    /// cache.insert(1, "red");
    /// cache.insert(2, "blue");
    /// assert_eq!(cache.invalidate_tag("team:red"), 1);
    /// assert_eq!(cache.len(), 1);
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn invalidate_tag(&self, tag: &str) -> usize {
        if let Some(below) = &self.core.options.below {
            below.invalidate_tag(tag);
        }
        self.forget_tag(tag)
    }

    /// The same for the memory tier alone.
    pub(crate) fn forget_tag(&self, tag: &str) -> usize {
        let pin = self.core.memory.pin();
        let shared: Tag = Arc::from(tag);
        let mut removed = Vec::new();
        self.core.memory.for_each_shard(&pin, |mut locked| {
            locked.state.flights.fence(&shared);
            removed.extend(locked.take_tagged(tag));
        });
        let reported = removed.into_iter().map(|entry| self.report(entry, &pin));
        reported.filter(|present| *present).count()
    }

    /// Discards everything; all loads in progress are overtaken.
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(1, 1);
    /// cache.clear();
    /// assert!(cache.is_empty());
    /// ```
    pub fn clear(&self) {
        if let Some(below) = &self.core.options.below {
            below.clear();
        }
        self.forget_all();
    }

    /// The same for the memory tier alone.
    pub(crate) fn forget_all(&self) {
        let pin = self.core.memory.pin();
        let mut removed = Vec::new();
        self.core.memory.for_each_shard(&pin, |mut locked| {
            let overtaken = locked.state.flights.overtake_all();
            removed.extend(locked.take_all());
            drop(locked);
            drop(overtaken);
        });
        for entry in removed {
            self.report(entry, &pin);
        }
    }

    /// Removes the very entry that was seen, unless it has left already; says whether it was fresh.
    fn remove_entry(&self, entry: Found<'_, K, V>, pin: &Pin<'_>) -> bool {
        self.core.memory.remove(entry, pin) && self.report(entry, pin)
    }

    /// Reports an entry that was removed; says whether it was fresh.
    fn report(&self, entry: Found<'_, K, V>, pin: &Pin<'_>) -> bool {
        let present = self.core.is_present(&entry);
        let cause = self.core.cause_of(&entry, RemovalCause::Explicit);
        self.core.notify(entry, cause, pin);
        present
    }
}
