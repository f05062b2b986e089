//! A function run through a cache: what `#[memoize]` expands to, and `memoize` for closures.
//!
//! Invariant: a memoized function returns what the function itself would or did return for equal arguments, and
//! what makes it cheaper is here; what makes it correct (flights, fences, expiration) is the cache's.

pub(crate) mod bits;
#[cfg(feature = "disk")]
pub mod disk;
pub(crate) mod options;
pub(crate) mod part;
pub mod probe;
pub(crate) mod site;
pub(crate) mod storage;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

pub use bits::Bits;

use crate::cache::Cache;
use part::{Asked, Borrowed};
use site::Site;

/// Memoizes a closure: computed once per argument, for any number of threads.
///
/// Several arguments are one tuple. Clones of the memoized closure share one cache, which is unbounded; for
/// another one, for a bound or for its statistics, see [`Memo`]. Whatever the closure returns is stored, an
/// `Err` too: what it may return is known here only by name.
///
/// # Panics
///
/// When called, if the closure calls its memoized self with the same argument. The message names the cycle.
///
/// # Example
///
/// ```
/// use scrubjay::memoize;
///
/// let square = memoize(|n: u64| n * n);
/// assert_eq!(square(4), 16);
///
/// let area = memoize(|(width, height): (u32, u32)| width * height);
/// assert_eq!(area((2, 3)), 6);
/// ```
pub fn memoize<A, R, F>(function: F) -> impl Fn(A) -> R + Clone
where
    A: Hash + Eq + Clone + 'static,
    R: Clone + 'static,
    F: Fn(A) -> R,
{
    let memo = Memo::new(function);
    move |argument| memo.call(argument)
}

/// Memoizes a closure that calls itself: it is given its memoized self as first argument.
///
/// # Panics
///
/// When called, if a call needs its own result. The message names the cycle.
///
/// # Example
///
/// ```
/// use scrubjay::memoize_recursive;
///
/// let fib = memoize_recursive(|fib, n: u64| if n < 2 { n } else { fib(n - 1) + fib(n - 2) });
/// assert_eq!(fib(90), 2_880_067_194_370_816_120);
/// ```
pub fn memoize_recursive<A, R, F>(function: F) -> impl Fn(A) -> R + Clone
where
    A: Hash + Eq + Clone + 'static,
    R: Clone + 'static,
    F: Fn(&dyn Fn(A) -> R, A) -> R,
{
    let memo = Memo::new(function);
    move |argument| recur(&memo, argument)
}

fn recur<A, R, F>(memo: &Memo<A, R, F>, argument: A) -> R
where
    A: Hash + Eq + Clone + 'static,
    R: Clone + 'static,
    F: Fn(&dyn Fn(A) -> R, A) -> R,
{
    memo.run(argument, |function, argument| {
        function(&|argument| recur(memo, argument), argument)
    })
}

/// A memoized closure whose cache is at hand. Clones share it.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, Memo};
///
/// let square = Memo::with_cache(Cache::builder().capacity(100).build()?, |n: u64| n * n);
/// assert_eq!((square.call(4), square.call(4)), (16, 16));
/// assert_eq!(square.cache().stats().hits, 1);
/// # Ok::<(), scrubjay::Error>(())
/// ```
pub struct Memo<A, R, F> {
    cache: Cache<A, R>,
    function: Arc<F>,
}

impl<A, R, F> Memo<A, R, F>
where
    A: Hash + Eq + Clone + 'static,
    R: Clone + 'static,
{
    /// Memoizes `function` with an unbounded cache of its own.
    ///
    /// # Example
    ///
    /// ```
    /// let length = scrubjay::Memo::new(|text: &'static str| text.len());
    /// assert_eq!(length.call("four"), 4);
    /// ```
    #[must_use]
    pub fn new(function: F) -> Self {
        Self::with_cache(Cache::new(), function)
    }

    /// Memoizes `function` with this cache.
    ///
    /// # Example
    ///
    /// ```
    /// let cache = scrubjay::Cache::new();
    /// cache.insert(4, 17);
    /// let square = scrubjay::Memo::with_cache(cache, |n: u64| n * n);
    /// assert_eq!((square.call(4), square.call(5)), (17, 25));
    /// ```
    #[must_use]
    pub fn with_cache(cache: Cache<A, R>, function: F) -> Self {
        Self {
            cache,
            function: Arc::new(function),
        }
    }

    /// Calls the closure, unless its result for this argument is known.
    ///
    /// # Panics
    ///
    /// If the closure calls its memoized self with the same argument. The message names the cycle.
    ///
    /// # Example
    ///
    /// ```
    /// let square = scrubjay::Memo::new(|n: u64| n * n);
    /// assert_eq!(square.call(4), 16);
    /// ```
    pub fn call(&self, argument: A) -> R
    where
        F: Fn(A) -> R,
    {
        self.run(argument, |function, argument| function(argument))
    }

    /// Returns the cache.
    ///
    /// # Example
    ///
    /// ```
    /// let square = scrubjay::Memo::new(|n: u64| n * n);
    /// square.call(4);
    /// assert!(square.cache().contains_key(&4));
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache<A, R> {
        &self.cache
    }

    fn run(&self, argument: A, load: impl FnOnce(&F, A) -> R) -> R {
        let site = Site {
            name: || "closure",
            copy: |value: &R| Some(value.clone()),
            failed: |_: &R| false,
            show: |_: &R| None,
        };
        let asked = Asked(Borrowed(&argument));
        site::call(&self.cache, &asked, &site, Vec::new, || {
            load(&self.function, argument.clone())
        })
    }
}

impl<A, R, F> Clone for Memo<A, R, F> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            function: self.function.clone(),
        }
    }
}

impl<A, R, F> fmt::Debug for Memo<A, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
