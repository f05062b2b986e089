//! Where the cache of a memoized function lives: in a static of that function.
//!
//! A function without type parameters has one cache. A generic function, and a method, whose `Self` a static
//! cannot name, has one per instance, in a chain that only grows: as many links as the program has instances.
//! Caches are built outside every lock and every cell, because building runs the user's expressions; if two
//! threads build at once, the first one's cache is kept.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::OnceLock;
use std::thread::LocalKey;

use crate::cache::Cache;

/// The place of the only cache of a function.
#[derive(Debug)]
pub struct Place<K: Send + Sync, V: Send + Sync>(OnceLock<Cache<K, V>>);

impl<K: Send + Sync, V: Send + Sync> Place<K, V> {
    /// Makes room for it.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "made by statics, which need a `const fn`"
    )]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

/// Returns the cache that is in its place, building it at the first call.
#[inline]
pub fn in_place<K: Send + Sync, V: Send + Sync>(
    place: &'static Place<K, V>,
    build: impl FnOnce() -> Cache<K, V>,
) -> &'static Cache<K, V> {
    match place.0.get() {
        Some(cache) => cache,
        None => first_in_place(place, build),
    }
}

#[cold]
#[inline(never)]
fn first_in_place<K: Send + Sync, V: Send + Sync>(
    place: &'static Place<K, V>,
    build: impl FnOnce() -> Cache<K, V>,
) -> &'static Cache<K, V> {
    let built = build();
    place.0.get_or_init(|| built)
}

/// Tells the instances of generic code apart: every instance has its own type of each closure in it.
#[inline]
pub fn instance_of<C: 'static>(_: &C) -> TypeId {
    TypeId::of::<C>()
}

/// The caches of a generic function, by instance.
pub struct Instances {
    first: OnceLock<Instance>,
}

struct Instance {
    id: TypeId,
    cache: Box<dyn Any + Send + Sync>,
    rest: OnceLock<Box<Instance>>,
}

impl Instances {
    /// Makes room for them.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "made by statics, which need a `const fn`"
    )]
    pub const fn new() -> Self {
        Self {
            first: OnceLock::new(),
        }
    }

    /// Returns the cache of an instance, building it at the first call.
    #[inline]
    pub fn get<K, V>(
        &'static self,
        id: TypeId,
        build: impl FnOnce() -> Cache<K, V>,
    ) -> &'static Cache<K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        match self.first.get() {
            Some(instance) if instance.id == id => concrete(&*instance.cache),
            _ => self.find(id, build),
        }
    }

    #[inline(never)]
    fn find<K, V>(
        &'static self,
        id: TypeId,
        build: impl FnOnce() -> Cache<K, V>,
    ) -> &'static Cache<K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let mut links =
            std::iter::successors(self.first.get(), |link| link.rest.get().map(|rest| &**rest));
        let instance = match links.find(|instance| instance.id == id) {
            Some(instance) => instance,
            None => self.add(Instance {
                id,
                cache: Box::new(build()),
                rest: OnceLock::new(),
            }),
        };
        concrete(&*instance.cache)
    }

    /// Adds an instance at the end of the chain, unless another thread was faster.
    fn add(&'static self, new: Instance) -> &'static Instance {
        let id = new.id;
        let mut refused = self.first.set(new).err().map(Box::new);
        let mut instance = self.first.get().expect(STAYS_SET);
        while let Some(new) = refused {
            if instance.id == id {
                break;
            }
            refused = instance.rest.set(new).err();
            instance = instance.rest.get().expect(STAYS_SET);
        }
        instance
    }
}

const STAYS_SET: &str = "a cell that was set stays set";

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances").finish_non_exhaustive()
    }
}

fn concrete<K: 'static, V: 'static>(cache: &(dyn Any + Send + Sync)) -> &Cache<K, V> {
    cache
        .downcast_ref()
        .expect("an instance has one type of key and one of value")
}

/// The caches of a `local` function on one thread, by instance.
#[derive(Debug, Default)]
pub struct LocalInstances(RefCell<Vec<(TypeId, Rc<dyn Any>)>>);

impl LocalInstances {
    /// Makes room for them.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    fn find<K: 'static, V: 'static>(&self, id: TypeId) -> Option<Cache<K, V>> {
        let instances = self.0.borrow();
        let (_, cache) = instances.iter().find(|(other, _)| *other == id)?;
        cache.downcast_ref::<Cache<K, V>>().cloned()
    }

    fn add<K: 'static, V: 'static>(&self, id: TypeId, cache: &Cache<K, V>) {
        self.0.borrow_mut().push((id, Rc::new(cache.clone())));
    }
}

/// Returns this thread's cache of a `local` function, building it at the first call.
pub fn on_this_thread<K: 'static, V: 'static>(
    instances: &'static LocalKey<LocalInstances>,
    id: TypeId,
    build: impl FnOnce() -> Cache<K, V>,
) -> Cache<K, V> {
    if let Some(cache) = instances.with(|instances| instances.find(id)) {
        return cache;
    }
    let built = build();
    instances.with(|instances| {
        // Whatever the building ran may have built the cache already; then that one stays in use.
        instances.find(id).unwrap_or_else(|| {
            instances.add(id, &built);
            built
        })
    })
}

/// Gives a cache whose key type was inferred in one place the type that was inferred in another.
///
/// # Panics
///
/// If the two differ, which they cannot: both are those of the same `key = …` expression.
#[inline]
pub fn reveal<Hidden: 'static, K: 'static, V: 'static>(
    cache: &Cache<Hidden, V>,
    _: PhantomData<K>,
) -> &Cache<K, V> {
    let cache: &dyn Any = erased(cache);
    cache.downcast_ref().expect("one expression has one type")
}

/// Discards the value of a key whose type was inferred.
///
/// # Panics
///
/// If `key` is of another type than the function's key.
pub fn invalidate<Hidden, K, V>(cache: &Cache<Hidden, V>, key: &K) -> bool
where
    Hidden: Hash + Eq + 'static,
    K: Hash + Eq + 'static,
    V: 'static,
{
    let cache: &dyn Any = erased(cache);
    match cache.downcast_ref::<Cache<K, V>>() {
        Some(cache) => cache.invalidate(key),
        None => wrong_key::<Hidden, K>(),
    }
}

fn erased<K: 'static, V: 'static>(cache: &Cache<K, V>) -> &dyn Any {
    cache
}

#[cold]
fn wrong_key<Expected, Got>() -> ! {
    panic!(
        "scrubjay: `invalidate` needs a key of the type that `key = …` has, which is `{}`, and was given `{}`",
        type_name::<Expected>(),
        type_name::<Got>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    static CACHES: Instances = Instances::new();

    fn cache_of<T: Send + Sync + 'static>() -> &'static Cache<u32, T> {
        CACHES.get(instance_of(&|| ()), Cache::new)
    }

    #[test]
    fn every_instance_has_one_cache() {
        cache_of::<u8>().insert(1, 1);
        cache_of::<u16>().insert(1, 2);
        cache_of::<u32>().insert(1, 3);
        assert_eq!(cache_of::<u8>().get(&1), Some(1));
        assert_eq!(cache_of::<u16>().get(&1), Some(2));
        assert_eq!(cache_of::<u32>().get(&1), Some(3));
    }

    #[test]
    fn threads_that_build_at_once_get_the_same_cache() {
        static CACHES: Instances = Instances::new();
        let both = std::sync::Barrier::new(2);
        let build = || {
            CACHES.get(TypeId::of::<u8>(), || {
                both.wait();
                Cache::<u8, u8>::new()
            })
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(build);
            let mine = build();
            assert!(std::ptr::eq(mine, other.join().expect("nothing panics")));
        });
    }
}
