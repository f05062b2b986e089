//! The options of a memoized function, given to the builder of its cache.
//!
//! The closures among them are given what is in `Ok` or `Some`: a failure is not weighed, tested or reported.

use std::any::type_name;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::builder::Builder;
use crate::cache::Cache;
use crate::entry::Tag;
use crate::refresh;
use crate::removal::RemovalCause;

use super::probe::View;
use super::site::Site;

/// Starts the builder of a function's cache.
pub fn builder<K, V>(name: String, _key: PhantomData<K>, _value: PhantomData<V>) -> Builder<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    Cache::builder().name(name)
}

/// Builds a function's cache.
///
/// # Panics
///
/// If an option makes no sense; the message says which and why, and names the function.
pub fn build<K, V>(builder: Builder<K, V>, function: &str) -> Cache<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    builder
        .build()
        .unwrap_or_else(|error| panic!("scrubjay: the cache of `{function}`: {error}"))
}

/// Names the method of a type.
#[must_use]
pub fn method_name<T: ?Sized>(method: &str) -> String {
    let name = type_name::<T>();
    let head = name.split('<').next().unwrap_or(name);
    let short = head.rsplit("::").next().unwrap_or(head);
    format!("{short}::{method}")
}

/// Makes one label of those of a key's parts.
#[must_use]
pub fn labels<const N: usize>(parts: [Option<String>; N]) -> String {
    parts
        .map(|part| part.unwrap_or_else(|| "…".to_owned()))
        .join(", ")
}

/// `weigh = …`.
pub fn weigh<K, V, T>(
    builder: Builder<K, V>,
    view: View<V, T>,
    weigher: impl Fn(&K, &T) -> u64 + Send + Sync + 'static,
) -> Builder<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
    T: 'static,
{
    builder.weigher(move |key, value| view(value).map_or(1, |value| weigher(key, value)))
}

/// `store_if = …`.
pub fn store_if<K, V, T>(
    builder: Builder<K, V>,
    view: View<V, T>,
    test: impl Fn(&K, &T) -> bool + Send + Sync + 'static,
) -> Builder<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
    T: 'static,
{
    builder.store_if(move |key, value| view(value).is_some_and(|value| test(key, value)))
}

/// `on_removal = …`.
pub fn on_removal<K, V, T>(
    builder: Builder<K, V>,
    view: View<V, T>,
    listener: impl Fn(&K, &T, RemovalCause) + Send + Sync + 'static,
) -> Builder<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
    T: 'static,
{
    builder.on_removal(move |key, value, cause| {
        if let Some(value) = view(value) {
            listener(key, value, cause);
        }
    })
}

/// Lets a cache refresh its entries in the background, by running the function with the arguments in the key.
pub fn refresh_in_background<K, V, N, C, F, S>(
    mut cache: Cache<K, V>,
    site: Site<N, C, F, S>,
    load: impl Fn(&K) -> (V, Vec<Tag>) + Send + Sync + 'static,
) -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: Send + Sync + 'static,
    C: Fn(&V) -> Option<V> + Send + Sync + 'static,
    F: Fn(&V) -> bool + Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    let core = Arc::get_mut(&mut cache.core).expect("a cache that was just built has one handle");
    core.options.refresher = Some(refresh::in_background_by(load, site));
    cache
}

/// Makes one tag of whatever can be one.
pub fn tag(tag: impl Into<Tag>) -> Tag {
    tag.into()
}

/// Makes tags of whatever can be several.
pub fn tags<T: Into<Tag>>(tags: impl IntoIterator<Item = T>) -> Vec<Tag> {
    tags.into_iter().map(Into::into).collect()
}

/// Infers the type of a key from a closure that is never called.
pub fn type_of_key<K>(_: impl Fn() -> PhantomData<K>) -> PhantomData<K> {
    PhantomData
}

/// Stands for a value of any type in code that only its types are wanted of.
///
/// # Panics
///
/// Always.
pub fn never<T>() -> T {
    unreachable!("code that only its types are wanted of is never run")
}
