//! How long an answer is good: what the one who asks and the one who stored it say together.

use std::time::{Duration, SystemTime};

use scrubjay::disk::{Head, NewRecord};

use crate::args::Lives;

/// How good a stored answer is for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Fresh,
    Stale,
    IfError,
    None,
}

impl Lives {
    /// An answer is as old as both its writer and this caller allow.
    pub fn judge(&self, head: &Head, now: SystemTime) -> Use {
        let ttl = if head.is_failure {
            self.fail_ttl
        } else {
            self.ttl
        };
        if head.is_failure && ttl.is_none() {
            return Use::None;
        }
        let mine = ttl.and_then(|ttl| head.written.checked_add(ttl));
        let end = [head.expires, mine].into_iter().flatten().min();
        let Some(end) = end else { return Use::Fresh };
        let past = |more: Duration| end.checked_add(more).is_some_and(|end| now < end);
        if head.written > now {
            Use::None
        } else if now < end {
            Use::Fresh
        } else if head.is_failure {
            Use::None
        } else if past(self.stale.unwrap_or_default()) {
            Use::Stale
        } else if past(self.stale_if_error.unwrap_or_default()) {
            Use::IfError
        } else {
            Use::None
        }
    }

    /// Gives an answer that was computed just now its life, and the time for which it is worth keeping after it. A life
    /// that ends after all times has no end.
    pub fn give_to(&self, record: NewRecord, is_success: bool) -> NewRecord {
        let ttl = if is_success { self.ttl } else { self.fail_ttl };
        let Some(expires) = ttl.and_then(|ttl| SystemTime::now().checked_add(ttl)) else {
            return record;
        };
        let kept_stale = self.stale.max(self.stale_if_error).unwrap_or_default();
        let stale_until = expires.checked_add(kept_stale).filter(|_| is_success);
        let record = record.expires(expires);
        match stale_until.filter(|end| *end > expires) {
            Some(end) => record.stale_until(end),
            None => record,
        }
    }
}
