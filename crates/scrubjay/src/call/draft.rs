//! All that is decided about an entry before its place is looked for: whether it is stored, its weight, its life
//! and its tags.
//!
//! These are the user's functions, so no lock is held here.

use std::time::Duration;

use super::Core;
use crate::clock::{Clock, Timestamp};
use crate::entry::{Extra, Held, Tag};
use crate::expiration::{Life, Lives};
use crate::sync::atomic::Ordering;
use crate::tier::below::Lowered;
use crate::tier::memory::Draft;

/// What an entry has of its own, whatever the cache's options say.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) time_to_live: Option<Duration>,
    /// How long ago it was written, which counts towards its refresh.
    pub(crate) age: Duration,
    /// How long its life has been over, if it comes only to stand in.
    pub(crate) past: Option<Duration>,
    pub(crate) weight: Option<u64>,
    pub(crate) tags: Vec<Tag>,
}

impl Own {
    fn is_plain(&self) -> bool {
        self.time_to_live.is_none()
            && self.past.is_none()
            && self.weight.is_none()
            && self.tags.is_empty()
    }
}

/// What is decided about an entry before its place is looked for.
#[derive(Debug)]
pub(crate) struct Prepared(Option<Box<Extra>>);

/// Weights above this are summed by the ledger only, which makes room before a sum can overflow.
const VERY_HEAVY: u64 = u64::MAX >> 16;

impl Prepared {
    pub(super) fn is_very_heavy(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|extra| extra.weight > VERY_HEAVY)
    }

    pub(super) fn weight(&self) -> u64 {
        self.0.as_ref().map_or(1, |extra| extra.weight)
    }

    pub(super) fn tags(&self) -> &[Tag] {
        self.0.as_ref().map_or(&[], |extra| &extra.tags)
    }

    /// The same for the tiers below.
    pub(crate) fn lowered(&self, clock: &dyn Clock, lives: &Lives) -> Lowered {
        let end = (self.0.as_ref()).map_or(Timestamp::NEVER, |extra| extra.life.expires_at);
        Lowered {
            now: clock.calendar(),
            left: (end < Timestamp::NEVER).then(|| end.saturating_since(clock.now())),
            stands_in: lives.stands_in(),
            tags: self.tags().to_vec(),
        }
    }

    pub(super) fn draft<K, V>(self, hash: u64, key: K, held: Held<V>) -> Draft<K, V> {
        Draft {
            hash,
            key,
            held,
            extra: self.0,
        }
    }
}

impl<K: Eq + 'static, V: 'static> Core<K, V> {
    /// Decides all that is decided about an entry when it is written; `None` if it must not be stored.
    ///
    /// Runs the user's functions; no lock is held.
    pub(crate) fn draft(&self, key: &K, value: &V, hash: u64, own: Own) -> Option<Prepared> {
        let options = &self.options;
        if options.is_plain && own.is_plain() {
            return Some(Prepared(None));
        }
        if let Some(test) = &options.store_if
            && !test(key, value)
        {
            return None;
        }
        let expire_with = options.expire_with.as_ref();
        let life = own
            .time_to_live
            .or_else(|| expire_with.and_then(|life| life(key, value)));
        let timed = options.lives.need_clock() || life.is_some() || own.past.is_some();
        let now = if timed {
            self.now()
        } else {
            Timestamp::default()
        };
        let mut tags = own.tags;
        if let Some(tagger) = &options.tagger {
            tags.extend(tagger(key, value));
        }
        let weigher = options.weigher.as_ref();
        let weight = own
            .weight
            .unwrap_or_else(|| weigher.map_or(1, |weigher| weigher(key, value)));
        let life = match own.past {
            // A moment before the clock's origin cannot be said.
            Some(past) => Life::over(now.checked_sub(past)?),
            None => options.lives.of_value(now, life, hash).aged(own.age),
        };
        self.prepare(weight, life, now, tags, own.past.is_some())
    }

    fn prepare(
        &self,
        weight: u64,
        life: Life,
        now: Timestamp,
        mut tags: Vec<Tag>,
        is_stand_in: bool,
    ) -> Option<Prepared> {
        tags.sort_unstable();
        tags.dedup();
        let end = life.end(now);
        if end < Timestamp::NEVER || life.refresh_at < Timestamp::NEVER {
            // Relaxed: see `report`.
            self.timed.store(true, Ordering::Relaxed);
        }
        // A life of nothing at all: the value is handed out and never served again.
        (now < end || is_stand_in).then(|| Prepared(Extra::of(weight, life, now, tags)))
    }

    /// What a remembered failure is as an entry; `None` if failures are not remembered.
    pub(super) fn failure_draft(&self, hash: u64, tags: Vec<Tag>) -> Option<Prepared> {
        self.options.lives.error_time_to_live?;
        let now = self.now();
        let life = self.options.lives.of_failure(now, hash);
        self.prepare(1, life, now, tags, false)
    }
}
