//! One call of a memoized function, through its cache and, if there is one, into the trace.
//!
//! What the macro knows about a function is a [`Site`] of closures without captures, so it costs nothing to pass.
//! Invariant: a recorded call does what an unrecorded one does; only the recording runs `Debug` and clones keys.

use std::cmp::Ordering;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;

use crate::cache::Cache;
use crate::call::{Plan, Served, Settled};
use crate::entry::Tag;
use crate::key::Query;
use crate::trace::{self, CacheState, KEYS_SHOWN, Outcome, Span};

use super::part::{Asked, Part};

/// What is known about a function where it is memoized.
#[derive(Debug)]
pub struct Site<N, C, F, S> {
    /// The name that traces show.
    pub name: N,
    /// Copies what the function returned, if that is possible.
    pub copy: C,
    /// Whether what it returned says that it failed.
    pub failed: F,
    /// Shows what it returned, if that is possible.
    pub show: S,
}

impl<N, C, F, S, V> Plan<V> for Site<N, C, F, S>
where
    C: Fn(&V) -> Option<V>,
    F: Fn(&V) -> bool,
{
    type Answer = V;

    #[inline]
    fn answer(&self, value: &V) -> Option<V> {
        (self.copy)(value)
    }

    fn settle(&self, answer: &V) -> Settled<V> {
        match (self.copy)(answer) {
            Some(copy) if !(self.failed)(answer) => Settled::Value(copy),
            copy => Settled::Failure(copy),
        }
    }
}

/// Answers a call from the cache, or runs the function as the only caller with these arguments.
#[inline]
pub fn call<V, P, N, C, F, S>(
    cache: &Cache<P::Owned, V>,
    asked: &Asked<P>,
    site: &Site<N, C, F, S>,
    tags: impl FnOnce() -> Vec<Tag>,
    load: impl FnOnce() -> V,
) -> V
where
    V: 'static,
    P: Part,
    N: Fn() -> &'static str,
    C: Fn(&V) -> Option<V>,
    F: Fn(&V) -> bool,
    S: Fn(&V) -> Option<String>,
{
    if trace::is_on() {
        return traced(cache, asked, site, tags, load);
    }
    cache.core.fetch(asked, site, tags, load).0
}

#[cold]
#[inline(never)]
fn traced<V, P, N, C, F, S>(
    cache: &Cache<P::Owned, V>,
    asked: &Asked<P>,
    site: &Site<N, C, F, S>,
    tags: impl FnOnce() -> Vec<Tag>,
    load: impl FnOnce() -> V,
) -> V
where
    V: 'static,
    P: Part,
    N: Fn() -> &'static str,
    C: Fn(&V) -> Option<V>,
    F: Fn(&V) -> bool,
    S: Fn(&V) -> Option<String>,
{
    let span = enter(&site.name, || label(cache, &asked.to_key()));
    let (answer, served) = {
        // Also around the lookup, which makes no calls: so the function is compiled into one caller only.
        let _scope = span.as_ref().map(Span::scope);
        cache.core.fetch(asked, site, tags, load)
    };
    finish(span, outcome(served), cache, || (site.show)(&answer));
    answer
}

/// The same for an async function.
#[inline]
pub async fn call_async<V, P, N, C, F, S, L>(
    cache: &Cache<P::Owned, V>,
    asked: &Asked<P>,
    site: &Site<N, C, F, S>,
    tags: impl FnOnce() -> Vec<Tag>,
    load: impl FnOnce() -> L,
) -> V
where
    V: 'static,
    P: Part,
    N: Fn() -> &'static str,
    C: Fn(&V) -> Option<V>,
    F: Fn(&V) -> bool,
    S: Fn(&V) -> Option<String>,
    L: Future<Output = V>,
{
    if trace::is_on() {
        // Boxed, so that it does not count in the size of the future.
        return Box::pin(traced_async(cache, asked, site, tags, load)).await;
    }
    cache.core.fetch_async(asked, site, tags, load).await.0
}

async fn traced_async<V, P, N, C, F, S, L>(
    cache: &Cache<P::Owned, V>,
    asked: &Asked<P>,
    site: &Site<N, C, F, S>,
    tags: impl FnOnce() -> Vec<Tag>,
    load: impl FnOnce() -> L,
) -> V
where
    V: 'static,
    P: Part,
    N: Fn() -> &'static str,
    C: Fn(&V) -> Option<V>,
    F: Fn(&V) -> bool,
    S: Fn(&V) -> Option<String>,
    L: Future<Output = V>,
{
    let span = enter(&site.name, || label(cache, &asked.to_key()));
    let fetch = cache.core.fetch_async(asked, site, tags, load);
    let (answer, served) = within(span.as_ref(), fetch).await;
    finish(span, outcome(served), cache, || (site.show)(&answer));
    answer
}

/// Runs the function without its cache, because `when` says so. Its key may not exist, so it is not shown.
#[inline]
pub fn bypass<K, V, N, C, F, S>(
    cache: &Cache<K, V>,
    site: &Site<N, C, F, S>,
    load: impl FnOnce() -> V,
) -> V
where
    K: Hash + Eq + 'static,
    V: 'static,
    N: Fn() -> &'static str,
    S: Fn(&V) -> Option<String>,
{
    if !trace::is_on() {
        return load();
    }
    let span = enter(&site.name, || UNKNOWN.to_owned());
    let answer = {
        let _scope = span.as_ref().map(Span::scope);
        load()
    };
    finish(span, Outcome::Bypass, cache, || (site.show)(&answer));
    answer
}

/// The same for an async function.
#[inline]
pub async fn bypass_async<K, V, N, C, F, S, L>(
    cache: &Cache<K, V>,
    site: &Site<N, C, F, S>,
    load: impl FnOnce() -> L,
) -> V
where
    K: Hash + Eq + 'static,
    V: 'static,
    N: Fn() -> &'static str,
    S: Fn(&V) -> Option<String>,
    L: Future<Output = V>,
{
    if !trace::is_on() {
        return load().await;
    }
    let span = enter(&site.name, || UNKNOWN.to_owned());
    let answer = within(span.as_ref(), load()).await;
    finish(span, Outcome::Bypass, cache, || (site.show)(&answer));
    answer
}

/// Polls a future as what happens inside a span.
async fn within<T>(span: Option<&Span>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _scope = span.map(Span::scope);
        future.as_mut().poll(context)
    })
    .await
}

const UNKNOWN: &str = "…";

fn enter(name: impl Fn() -> &'static str, args: impl FnOnce() -> String) -> Option<Span> {
    trace::enter(name(), args())
}

fn finish<K, V>(
    span: Option<Span>,
    outcome: Outcome,
    cache: &Cache<K, V>,
    result: impl FnOnce() -> Option<String>,
) where
    K: Hash + Eq + 'static,
    V: 'static,
{
    if let Some(span) = span {
        span.finish(outcome, result(), state(cache));
    }
}

fn outcome(served: Served) -> Outcome {
    match served {
        Served::Hit => Outcome::Hit,
        Served::Loaded => Outcome::Miss,
        Served::Waited => Outcome::Wait,
        Served::Stale => Outcome::Stale,
    }
}

fn label<K, V>(cache: &Cache<K, V>, key: &K) -> String {
    let naming = cache.core.options.naming.as_deref();
    match naming.and_then(|naming| naming.describe.as_ref()) {
        Some(describe) => describe(key),
        None => UNKNOWN.to_owned(),
    }
}

fn state<K, V>(cache: &Cache<K, V>) -> CacheState
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    let entries = cache.len();
    let pin = cache.core.memory.pin();
    let mut keys: Vec<String> = (cache.core.memory.iter(&pin))
        .filter(|entry| cache.core.is_fresh(entry))
        .take(KEYS_SHOWN)
        .map(|entry| label(cache, entry.key()))
        .collect();
    keys.sort_by(|a, b| in_order(a, b));
    CacheState {
        entries,
        weight: cache.weight(),
        capacity: Some(cache.capacity()).filter(|capacity| *capacity < u64::MAX),
        more_keys: entries.saturating_sub(keys.len()),
        keys,
    }
}

/// Numbers by value, everything else as text.
fn in_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}
