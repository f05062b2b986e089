//! What the kinds of calls make of values: how a stored one becomes an answer, and what of an answer is stored.
//!
//! A plan runs the user's `Clone`, so it is never asked under a lock.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::entry::{Entry, SharedError};
use crate::tier::memory::Found;

/// What a kind of call makes of values: how they become its answer, and what of its answer is stored.
pub(crate) trait Plan<V> {
    type Answer;
    /// The answer that a value of the cache stands for; `None` if it cannot be given.
    fn answer(&self, value: &V) -> Option<Self::Answer>;
    /// The answer that a failure stands for; `None` if it is of another type or none is wanted.
    fn answer_error(&self, _error: &SharedError) -> Option<Self::Answer> {
        None
    }
    /// What the loader's answer is to the cache.
    fn settle(&self, answer: &Self::Answer) -> Settled<V>;
}

/// What an answer is to the cache.
pub(crate) enum Settled<V> {
    /// A value to store and share.
    Value(V),
    /// A value that says the load failed (an `Err` of a memoized function); shared if it can be copied.
    Failure(Option<V>),
    /// An error, shared if it can be copied.
    Error(Option<SharedError>),
}

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Hit,
    Loaded,
    Waited,
    Stale,
}

/// The calls that cannot fail: `get_or_insert_with` and its kin.
pub(crate) struct Infallible;

impl<V: Clone> Plan<V> for Infallible {
    type Answer = V;

    fn answer(&self, value: &V) -> Option<V> {
        Some(value.clone())
    }

    fn settle(&self, answer: &V) -> Settled<V> {
        Settled::Value(answer.clone())
    }
}

/// The calls that can: `try_get_or_insert_with` and its kin. `copy` is how an error is shared, if it is.
pub(crate) struct Fallible<E> {
    sharing: Option<Sharing<E>>,
}

/// How an error becomes one that waiters of any error type may find, and back.
struct Sharing<E> {
    wrap: fn(&E) -> SharedError,
    unwrap: fn(&SharedError) -> Option<E>,
}

impl<E: Clone + Any + Send + Sync> Fallible<E> {
    pub(crate) fn new(shares: bool) -> Self {
        let sharing = Sharing {
            wrap: |error: &E| -> SharedError { Arc::new(error.clone()) },
            unwrap: |error| error.downcast_ref::<E>().cloned(),
        };
        Self {
            sharing: shares.then_some(sharing),
        }
    }
}

// `E: Any` is asked for above and not here: with it here, futures whose `E` has a lifetime, such as
// `&'static str`, are not `Send` (rust-lang/rust#110338).
impl<V: Clone, E> Plan<V> for Fallible<E> {
    type Answer = Result<V, E>;

    fn answer(&self, value: &V) -> Option<Self::Answer> {
        Some(Ok(value.clone()))
    }

    fn answer_error(&self, error: &SharedError) -> Option<Self::Answer> {
        let sharing = self.sharing.as_ref()?;
        (sharing.unwrap)(error).map(Err)
    }

    fn settle(&self, answer: &Self::Answer) -> Settled<V> {
        match answer {
            Ok(value) => Settled::Value(value.clone()),
            Err(error) => {
                Settled::Error(self.sharing.as_ref().map(|sharing| (sharing.wrap)(error)))
            }
        }
    }
}

/// The calls of `try_…_in_turn`, whose errors may be of any type because nobody else ever sees them.
pub(crate) struct InTurn<E>(pub(crate) PhantomData<fn() -> E>);

impl<V: Clone, E> Plan<V> for InTurn<E> {
    type Answer = Result<V, E>;

    fn answer(&self, value: &V) -> Option<Self::Answer> {
        Some(Ok(value.clone()))
    }

    fn settle(&self, answer: &Self::Answer) -> Settled<V> {
        match answer {
            Ok(value) => Settled::Value(value.clone()),
            Err(_) => Settled::Error(None),
        }
    }
}

/// The answer that an entry gives to a kind of call, if it gives one, beside the entry.
pub(super) fn answer_from<'g, K, V, P: Plan<V>>(
    entry: Option<Found<'g, K, V>>,
    plan: &P,
) -> Option<(Found<'g, K, V>, P::Answer)> {
    entry.and_then(|entry| Some((entry, answer(entry.entry, plan)?)))
}

#[inline]
pub(super) fn answer<K, V, P: Plan<V>>(entry: &Entry<K, V>, plan: &P) -> Option<P::Answer> {
    match entry.value() {
        Some(value) => plan.answer(value),
        None => answer_furnished(entry, plan),
    }
}

/// The answer of an entry that holds no value as such.
#[cold]
#[inline(never)]
fn answer_furnished<K, V, P: Plan<V>>(entry: &Entry<K, V>, plan: &P) -> Option<P::Answer> {
    match entry.failure() {
        Some(error) => plan.answer_error(error),
        None => plan.answer(&entry.upgraded()?),
    }
}
