//! An entry as the memory tier holds it: key, value and what is known about them.
//!
//! Most entries are a key and a value and nothing else, and take 8 bytes more than those: half of the hash, the
//! policy's mark and the ledger's word. What some entries have besides (an end, a weight, tags, a value that is no
//! plain one) is behind one pointer. An entry never changes once it is in the table but for atomics that hits or the
//! ledger store and nothing waits for.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::clock::{Timestamp, nanos};
use crate::expiration::{Freshness, Life, Lives};
use crate::policy::{Marking, used};
use crate::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use crate::tier::memory::table::Tagged;

/// A label that many entries carry, so that they can be invalidated together.
pub(crate) type Tag = Arc<str>;

/// An error of a load, as waiters of any error type may find it.
pub(crate) type SharedError = Arc<dyn Any + Send + Sync>;

// The small fields stand in each variant, and not in a struct of their own, so that they share a word with the
// variant's number.
pub(crate) enum Entry<K, V> {
    Plain {
        hash_tag: u32,
        mark: AtomicU16,
        account: AtomicU8,
        key: K,
        value: V,
    },
    Furnished {
        hash_tag: u32,
        mark: AtomicU16,
        account: AtomicU8,
        key: K,
        rest: Box<Furnished<V>>,
    },
}

/// The rest of an entry that is no plain one.
pub(crate) struct Furnished<V> {
    held: Held<V>,
    extra: Extra,
}

/// What the ledger knows of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Account {
    /// Nothing.
    None,
    /// Counted by `len`.
    Fresh,
    /// Expired, but kept as a stand-in while it is refreshed or if the load fails.
    Stale,
    /// A remembered failure.
    Failure,
}

/// What an entry holds for its key.
pub(crate) enum Held<V> {
    Value(V),
    Weak(Box<dyn WeakRef<V>>),
    /// The load failed, and the cache was asked to remember that for a while.
    Failure(SharedError),
}

/// A value that does not keep itself alive.
pub(crate) trait WeakRef<V>: Send + Sync {
    fn upgrade(&self) -> Option<V>;
}

impl<T: Send + Sync + ?Sized> WeakRef<Arc<T>> for Weak<T> {
    fn upgrade(&self) -> Option<Arc<T>> {
        Weak::upgrade(self)
    }
}

/// What only some entries have.
#[derive(Debug)]
pub(crate) struct Extra {
    pub(crate) weight: u64,
    pub(crate) life: Life,
    accessed: AtomicU64,
    /// Until when a failed load is not tried again.
    rests_until: AtomicU64,
    /// The moment of the last hit, for policies that ask for ticks.
    tick: AtomicU64,
    pub(crate) tags: Box<[Tag]>,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            weight: 1,
            life: Life::ENDLESS,
            accessed: AtomicU64::new(0),
            rests_until: AtomicU64::new(0),
            tick: AtomicU64::new(0),
            tags: Box::default(),
        }
    }
}

impl Extra {
    /// `None` for what is assumed of an entry without it.
    pub(crate) fn of(weight: u64, life: Life, now: Timestamp, tags: Vec<Tag>) -> Option<Box<Self>> {
        (weight != 1 || life != Life::ENDLESS || !tags.is_empty()).then(|| {
            Box::new(Self {
                weight,
                life,
                accessed: AtomicU64::new(now.as_nanos()),
                tags: tags.into(),
                ..Self::default()
            })
        })
    }

    pub(crate) fn end(&self) -> Timestamp {
        self.life.end(self.accessed())
    }
}

impl<K, V> Entry<K, V> {
    /// An entry that nothing is known of yet. `tick` is for policies that ask for ticks.
    pub(crate) fn new(
        key: K,
        hash_tag: u32,
        held: Held<V>,
        extra: Option<Box<Extra>>,
        tick: Option<u64>,
    ) -> Self {
        let mark = AtomicU16::new(0);
        let account = AtomicU8::new(Account::None as u8);
        let held = match (held, &extra, tick) {
            (Held::Value(value), None, None) => {
                return Self::Plain {
                    hash_tag,
                    mark,
                    account,
                    key,
                    value,
                };
            }
            (held, ..) => held,
        };
        let mut extra = extra.map_or_else(Extra::default, |extra| *extra);
        extra.tick = AtomicU64::new(tick.unwrap_or(0));
        Self::Furnished {
            hash_tag,
            mark,
            account,
            key,
            rest: Box::new(Furnished { held, extra }),
        }
    }

    /// Whether it has neither an end, nor a weight, nor tags, and holds a value.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain { .. })
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        match self {
            Self::Plain { key, .. } | Self::Furnished { key, .. } => key,
        }
    }

    #[inline]
    fn extra(&self) -> Option<&Extra> {
        match self {
            Self::Plain { .. } => None,
            Self::Furnished { rest, .. } => Some(&rest.extra),
        }
    }

    /// Hands the value to `use_it`: directly, or for as long as it takes if it is held weakly.
    #[inline]
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&V) -> R) -> Option<R> {
        match self.value() {
            Some(value) => Some(use_it(value)),
            None => self.upgraded().map(|value| use_it(&value)),
        }
    }

    /// The value, if it is held as such.
    #[inline]
    pub(crate) fn value(&self) -> Option<&V> {
        match self {
            Self::Plain { value, .. } => Some(value),
            Self::Furnished { rest, .. } => match &rest.held {
                Held::Value(value) => Some(value),
                Held::Weak(_) | Held::Failure(_) => None,
            },
        }
    }

    /// The value, if it is held weakly and somebody owns it.
    #[cold]
    #[inline(never)]
    pub(crate) fn upgraded(&self) -> Option<V> {
        match self {
            Self::Furnished { rest, .. } => match &rest.held {
                Held::Weak(weak) => weak.upgrade(),
                Held::Value(_) | Held::Failure(_) => None,
            },
            Self::Plain { .. } => None,
        }
    }

    /// The failure that is remembered, if it is one.
    #[inline]
    pub(crate) fn failure(&self) -> Option<&SharedError> {
        match self {
            Self::Furnished { rest, .. } => match &rest.held {
                Held::Failure(error) => Some(error),
                _ => None,
            },
            Self::Plain { .. } => None,
        }
    }

    /// Whether it was held weakly and its last owner dropped it.
    pub(crate) fn is_collected(&self) -> bool {
        match self {
            Self::Plain { .. } => false,
            Self::Furnished { rest, .. } => {
                matches!(&rest.held, Held::Weak(weak) if weak.upgrade().is_none())
            }
        }
    }

    pub(crate) fn account(&self) -> Account {
        let (Self::Plain { account, .. } | Self::Furnished { account, .. }) = self;
        // Relaxed: the shard's lock orders it.
        match account.load(Ordering::Relaxed) {
            0 => Account::None,
            1 => Account::Fresh,
            2 => Account::Stale,
            _ => Account::Failure,
        }
    }

    /// Under the shard's lock.
    pub(crate) fn set_account(&self, known: Account) {
        let (Self::Plain { account, .. } | Self::Furnished { account, .. }) = self;
        // Relaxed: see `account`.
        account.store(known as u8, Ordering::Relaxed);
    }

    pub(crate) fn weight(&self) -> u64 {
        self.extra().map_or(1, |extra| extra.weight)
    }

    pub(crate) fn tags(&self) -> &[Tag] {
        self.extra().map_or(&[], |extra| &extra.tags)
    }

    /// The first moment at which this entry is expired, as far as is known now.
    pub(crate) fn end(&self) -> Timestamp {
        self.extra().map_or(Timestamp::NEVER, Extra::end)
    }

    /// Asks the clock only if the entry has a life.
    #[inline]
    pub(crate) fn freshness(&self, lives: &Lives, now: impl FnOnce() -> Timestamp) -> Freshness {
        match self.extra() {
            None => Freshness::Fresh,
            Some(extra) if extra.life == Life::ENDLESS => Freshness::Fresh,
            Some(extra) => {
                let now = now();
                match lives.freshness(&extra.life, extra.accessed(), now) {
                    // Relaxed: a hint; who misses it tries the load once more.
                    Freshness::Stale | Freshness::Fallback
                        if now.as_nanos() < extra.rests_until.load(Ordering::Relaxed) =>
                    {
                        Freshness::Resting
                    }
                    freshness => freshness,
                }
            }
        }
    }

    /// Notes that a load of this key just failed and should not be tried again for a while.
    pub(crate) fn rest_until(&self, moment: Timestamp) {
        if let Some(extra) = self.extra() {
            // Relaxed: see `freshness`.
            extra
                .rests_until
                .store(moment.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Notes a use for the time to idle, if the entry has one.
    #[inline]
    pub(crate) fn touch(&self, now: impl FnOnce() -> Timestamp) {
        if let Some(extra) = self.extra()
            && nanos(extra.life.idle) < u64::MAX
        {
            // Relaxed: nothing is published with it; a slightly older time is a benign race.
            extra.accessed.store(now().as_nanos(), Ordering::Relaxed);
        }
    }

    #[inline]
    fn mark_word(&self) -> &AtomicU16 {
        match self {
            Self::Plain { mark, .. } | Self::Furnished { mark, .. } => mark,
        }
    }

    /// Leaves the policy's mark of a hit.
    #[inline]
    pub(crate) fn mark_hit(
        &self,
        marking: Marking,
        epoch: impl FnOnce() -> u16,
        tick: impl FnOnce() -> u64,
    ) {
        // Relaxed throughout: the mark is a hint to the policy, and a lost one is a benign race.
        match marking {
            Marking::Nothing => {}
            Marking::Use => {
                let word = self.mark_word();
                let mark = word.load(Ordering::Relaxed);
                let used = used(mark, epoch());
                // A store only when it changes something leaves the cache line shared.
                if used != mark {
                    word.store(used, Ordering::Relaxed);
                }
            }
            Marking::Tick => {
                if let Some(extra) = self.extra() {
                    extra.tick.store(tick(), Ordering::Relaxed);
                }
            }
        }
    }

    pub(crate) fn mark(&self) -> u16 {
        // Relaxed: see `mark_hit`.
        self.mark_word().load(Ordering::Relaxed)
    }

    pub(crate) fn set_mark(&self, mark: u16) {
        // Relaxed: see `mark_hit`.
        self.mark_word().store(mark, Ordering::Relaxed);
    }

    pub(crate) fn tick(&self) -> u64 {
        // Relaxed: see `mark_hit`.
        self.extra()
            .map_or(0, |extra| extra.tick.load(Ordering::Relaxed))
    }
}

impl Extra {
    fn accessed(&self) -> Timestamp {
        // Relaxed: see `touch`.
        Timestamp::from_nanos(self.accessed.load(Ordering::Relaxed))
    }
}

impl<K, V> Tagged for Entry<K, V> {
    #[inline]
    fn hash_tag(&self) -> u32 {
        match self {
            Self::Plain { hash_tag, .. } | Self::Furnished { hash_tag, .. } => *hash_tag,
        }
    }
}

impl<V> Held<V> {
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failure(_))
    }
}

impl<K, V> fmt::Debug for Entry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("hash_tag", &self.hash_tag())
            .field("extra", &self.extra())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;

    #[test]
    fn a_plain_entry_takes_eight_bytes_more_than_its_key_and_value() {
        assert_eq!(size_of::<Entry<u64, u64>>(), 24);
        assert_eq!(size_of::<Entry<String, String>>(), 56);
    }
}
