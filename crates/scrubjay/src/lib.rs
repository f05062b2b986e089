//! Remembers what functions returned, and computes each answer once, however many callers ask.
//!
//! ```
//! use scrubjay::{Cache, memoize};
//!
//! #[memoize]
//! fn fib(n: u64) -> u64 {
//!     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
//! }
//!
//! assert_eq!(fib(90), 2_880_067_194_370_816_120);
//! assert_eq!(fib::cache().len(), 91);
//!
//! let cache: Cache<String, usize> = Cache::builder().capacity(1_000).build()?;
//! assert_eq!(cache.get_or_insert_with("four", || 4), 4);
//! assert_eq!(cache.get("four"), Some(4));
//! # Ok::<(), scrubjay::Error>(())
//! ```
//!
//! # Where to begin
//!
//! | you have | you want |
//! |---|---|
//! | a function | [`#[memoize]`](macro@memoize), or [`memoize()`] for a closure |
//! | keys and values of your own | [`Cache`] and its [`Builder`] |
//! | a question about what the cache did | [`Cache::stats`], [`trace()`] |
//! | a question about its capacity, or whether it pays | [`Cache::advice`] |
//! | a test that depends on time | [`ManualClock`] |
//!
//! # What it promises
//!
//! - **The right answer.** Keys are compared, never only hashed; no two functions share an entry.
//! - **Once.** Concurrent callers of one key, threads and tasks alike, run the loader once and share its result.
//! - **No hang.** A load that would wait for itself, directly or through other keys, caches and threads, gets a
//!   panic that names the cycle. A leader that panics or is dropped hands over; there is no limit to retries.
//! - **Fenced.** A value whose load began before an invalidation of it is never stored.
//! - **Bounded.** The capacity is one number for the whole cache and holds after every call.
//! - **Fresh.** An entry is expired at exactly its time to live, without any maintenance call.
//! - **Nobody else's code under a lock**, but the `Eq` of keys, under the lock of one shard.
//!
//! # What a hit costs
//!
//! A hit takes no lock, allocates nothing, and asks the clock only if the entry can expire. Of memory that threads
//! share it writes at most to its own entry: a mark for the policy of a bounded cache, by default only when that
//! changes something, and the time of use if there is a time to idle. The value is cloned out, or shown in place by
//! [`Cache::with`].
//!
//! # Async
//!
//! The same cache serves sync and async callers, whose loads of one key are one. The `…_async` methods need no
//! runtime and hold no lock across an await.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `macros` | yes | `#[memoize]` |
//! | `snapshot` | yes | [`Cache::save`] and [`Cache::load`], through serde |
//! | `disk` | no | the module `disk`, `Builder::disk` and `#[memoize(disk = …)]`: a folder that many processes share |
//!
//! # What is not here yet
//!
//! A Redis tier. Without the feature `disk`, what was loaded lives as long as the process, or as a snapshot that you
//! save and load.
//!
//! # Limits
//!
//! - Values that were removed are dropped when no reader can still see them: at once for removals that were asked
//!   for, in batches of up to a hundredth of the capacity for evictions.
//! - A cycle of loads that passes through a lock or channel of your own, or through a thread whose closure was not
//!   wrapped in [`inherit`], is not seen; [`Builder::load_timeout`] bounds such waits.
//! - A cache must not be used from the destructor of a thread-local that outlives seize's own: the process aborts.
//! - A sync call blocks its thread. On a single-threaded executor, a task that blocks for a key which another task
//!   of the same thread is loading waits for ever: use the async methods there.

mod advice;
mod builder;
mod cache;
mod call;
mod clock;
mod entry;
mod error;
mod expiration;
mod flight;
mod invalidation;
mod key;
mod memo;
mod policy;
mod prefetch;
mod refresh;
mod removal;
#[cfg(feature = "snapshot")]
mod snapshot;
mod stats;
mod sync;
mod tier;
pub mod trace;

pub use advice::{Advice, Estimate, Worth};
pub use builder::Builder;
pub use cache::{Action, Cache, EntryOptions};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind};
pub use memo::{Bits, Memo, memoize, memoize_recursive};
pub use policy::Policy;
pub use removal::RemovalCause;
#[cfg(feature = "macros")]
pub use scrubjay_macros::memoize;
pub use stats::Stats;
#[cfg(feature = "disk")]
pub use tier::disk;
pub use trace::{Trace, inherit, trace, trace_async};

/// What `#[memoize]` expands to. No part of the interface: it may change in any release.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "disk")]
    pub use crate::memo::disk;
    pub use crate::memo::options::{
        build, builder, labels, method_name, never, on_removal, refresh_in_background, store_if,
        tag, tags, type_of_key, weigh,
    };
    pub use crate::memo::part::{Asked, Borrowed, Float};
    pub use crate::memo::probe;
    pub use crate::memo::site::{Site, bypass, bypass_async, call, call_async};
    pub use crate::memo::storage::{
        Instances, LocalInstances, Place, in_place, instance_of, invalidate, on_this_thread, reveal,
    };
    pub use equivalent::Equivalent;
}

/// The README's examples, compiled.
#[cfg(all(doctest, feature = "macros"))]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
