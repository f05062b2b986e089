//! Tracing: what memoized functions were called in a scope, and what became of each call.
//!
//! A trace changes no result and no outcome: calls report to it, it never asks them for anything.
//! While no trace is live anywhere, a call pays one relaxed load for it.
//!
//! This file is the public face. `recorder` collects, `shape` finds repeated subtrees, and `text`, `table`,
//! `json` and `html` render the flat list of calls. Every renderer iterates over it, so that a chain of a hundred
//! thousand nested calls needs no more stack than one call.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;

mod call;
mod html;
mod json;
mod label;
mod recorder;
mod shape;
mod summary;
mod table;
mod text;

pub use call::{Call, Outcome};
pub use summary::Summary;

pub(crate) use recorder::{CacheState, KEYS_SHOWN, Span, enter, is_on};

use recorder::{Recording, Session};

/// Runs `f` and records every call of a memoized function that it makes.
///
/// Calls on this thread are recorded, and those in closures wrapped by [`inherit`], on whatever thread they run.
/// Other threads are not. Calls that have not returned when `f` does are [`Outcome::Unfinished`].
///
/// Traces nest: the calls of an inner trace are also part of the outer one. Times include the cost of tracing,
/// mostly that of printing arguments and results with [`Debug`], and every call is kept until the [`Trace`] is dropped.
///
/// # Panics
///
/// Panics of `f` pass through; the recording is lost and tracing is off again.
///
/// # Example
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn fib(n: u64) -> u64 {
///     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
/// }
///
/// let trace = scrubjay::trace(|| fib(5));
/// assert_eq!(trace.result, 5);
///
/// // fib(5) = 5              miss   41.2 µs
/// // ├── fib(4) = 3          miss   33.0 µs
/// // │   ├── fib(3) = 2      miss   25.1 µs
/// // │   │   ├── fib(2) = 1  miss   16.9 µs
/// // …
/// println!("{trace}");
/// assert_eq!(trace.summary().misses, 6);
/// assert_eq!(trace.summary().hits, 3);
/// ```
pub fn trace<R>(f: impl FnOnce() -> R) -> Trace<R> {
    let session = Session::start();
    let result = {
        let _scope = session.scope();
        f()
    };
    Trace {
        result,
        recording: session.end(),
    }
}

/// Awaits `future` and records every call of a memoized function that it makes.
///
/// It is [`trace`] for futures: calls are recorded while the future is polled, on whatever thread that is.
/// Tasks that the future spawns are not part of it; closures wrapped by [`inherit`] are.
///
/// # Panics
///
/// Panics of the future pass through; the recording is lost and tracing is off again.
///
/// # Example
///
/// ```
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// let future = pin!(scrubjay::trace_async(async { square(3) + square(3) }));
/// # let Poll::Ready(trace) = future.poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
/// # /*
/// let trace = future.await;
/// # */
/// assert_eq!(trace.result, 18);
/// assert_eq!(trace.summary().hits, 1);
/// ```
pub async fn trace_async<F: Future>(future: F) -> Trace<F::Output> {
    let session = Session::start();
    let mut future = pin!(future);
    // The scope lives for one poll only: it belongs to a thread, and the next poll may come on another one.
    let result = poll_fn(|context| {
        let _scope = session.scope();
        future.as_mut().poll(context)
    })
    .await;
    Trace {
        result,
        recording: session.end(),
    }
}

/// Wraps a closure for another thread, so that its calls are recorded where this thread's calls are.
///
/// They appear under the call that is running here now, with their thread's number. Use it around what is given to
/// [`std::thread::spawn`], to scoped threads, to rayon, or to an async runtime's `spawn_blocking`.
/// With or without a trace, the closure's loads also count as part of the loads that run here, so that one that would
/// wait for itself through the other thread is refused. Once the trace has ended, its calls are not recorded.
///
/// # Example
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// let trace = scrubjay::trace(|| {
///     let worker = scrubjay::inherit(|| square(4));
///     std::thread::spawn(worker).join().unwrap()
/// });
/// assert_eq!(trace.result, 16);
/// assert_eq!(trace.calls()[0].thread, 1);
/// ```
pub fn inherit<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let places = recorder::places();
    let loads = crate::flight::cycle::hand_over();
    move || {
        let _scope = recorder::install(places);
        loads.run(f)
    }
}

/// What [`trace`] recorded, together with the result of the closure.
///
/// `Display` writes the calls as a tree and a line of totals below it. Identical neighbours are one line (`× 3`),
/// a subtree that was already printed is named again but not repeated (`… as above (7 calls)`), long labels are cut,
/// and only 12 levels and 500 lines are shown; what is left out is counted. A precision asks for other levels:
/// `{:.50}`.
///
/// # Example
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// let trace = scrubjay::trace(|| (square(2), square(2)));
/// assert_eq!(trace.result, (4, 4));
/// let text = trace.to_string();
/// assert!(text.starts_with("square(2) = 4  miss"));
/// assert!(text.contains("2 calls: 1 hit, 1 miss"));
/// ```
#[derive(Clone, Debug)]
pub struct Trace<R = ()> {
    /// What the closure or future returned.
    pub result: R,
    recording: Recording,
}

impl<R> Trace<R> {
    /// Returns the calls, in the order in which they began.
    ///
    /// A call comes after its [`parent`](Call::parent).
    ///
    /// # Example
    ///
    /// ```
    /// # use scrubjay::memoize;
    /// # #[memoize]
    /// # fn square(n: u64) -> u64 { n * n }
    /// let trace = scrubjay::trace(|| square(6));
    /// let call = &trace.calls()[0];
    /// assert_eq!((call.function, call.args.as_str()), ("square", "6"));
    /// assert_eq!(call.result.as_deref(), Some("36"));
    /// ```
    pub fn calls(&self) -> &[Call] {
        &self.recording.calls
    }

    /// Counts the calls by outcome and estimates the time that memoizing saved.
    ///
    /// # Example
    ///
    /// ```
    /// # use scrubjay::memoize;
    /// # #[memoize]
    /// # fn square(n: u64) -> u64 { n * n }
    /// let trace = scrubjay::trace(|| square(7) + square(7));
    /// assert_eq!((trace.summary().hits, trace.summary().misses), (1, 1));
    /// ```
    pub fn summary(&self) -> Summary {
        Summary::of(&self.recording)
    }

    /// Renders the state of the cache after each step as a table.
    ///
    /// A step is a call that returned, so nested calls come before the call that made them. Each row shows the cache of
    /// that row's function: its number of entries, its weight (if any weight differs from the number of entries), its
    /// capacity (if there is one) and its keys, the new ones as `+key` and those gone since that function's previous
    /// step as `−key`. Caches of more than 12 keys show some of them and mark only the changes that are certain.
    ///
    /// # Example
    ///
    /// ```
    /// # use scrubjay::memoize;
    /// # #[memoize]
    /// # fn square(n: u64) -> u64 { n * n }
    /// let trace = scrubjay::trace(|| square(2) + square(3));
    /// assert!(trace.to_table().contains("+3"));
    /// ```
    pub fn to_table(&self) -> String {
        table::render(&self.recording)
    }

    /// Renders the whole trace as JSON.
    ///
    /// Times are whole nanoseconds; those named `started_ns` count from the start of the trace. A reader of version 1
    /// may meet new fields and new outcomes, but no changed meaning. The text is ASCII-safe where it matters: it can be
    /// put into a `<script>` element, because `<`, U+2028, U+2029 and all control characters are escaped.
    ///
    /// ```json
    /// {
    ///   "version": 1,
    ///   "took_ns": 41200,
    ///   "summary": { "calls": 9, "hits": 3, "misses": 6, "waits": 0, "stale": 0, "bypassed": 0,
    ///                "failed": 0, "unfinished": 0, "saved_ns": 51000 },
    ///   "calls": [
    ///     { "function": "fib", "args": "5", "outcome": "miss", "result": "5", "parent": null, "depth": 0,
    ///       "thread": 0, "started_ns": 310, "took_ns": 40800 }
    ///   ],
    ///   "steps": [
    ///     { "call": 4, "state": { "entries": 1, "weight": 1, "capacity": null, "keys": ["1"], "more_keys": 0 } }
    ///   ]
    /// }
    /// ```
    ///
    /// `calls` is in the order of their beginning; `parent` and `call` are positions in it. `steps` is in the order of
    /// return. `result` is null if there is none to show, `state` is null if the call failed, and `more_keys` counts
    /// the keys that `keys` leaves out.
    ///
    /// # Example
    ///
    /// ```
    /// # use scrubjay::memoize;
    /// # #[memoize]
    /// # fn square(n: u64) -> u64 { n * n }
    /// let trace = scrubjay::trace(|| square(8));
    /// assert!(trace.to_json().starts_with(r#"{"version":1,"#));
    /// ```
    pub fn to_json(&self) -> String {
        json::render(&self.recording)
    }

    /// Renders the trace as one HTML page that needs no network: tree, timeline and the cache after each step.
    ///
    /// # Example
    ///
    /// ```
    /// # use scrubjay::memoize;
    /// # #[memoize]
    /// # fn square(n: u64) -> u64 { n * n }
    /// let page = scrubjay::trace(|| square(9)).to_html();
    /// std::fs::write(std::env::temp_dir().join("trace.html"), &page)?;
    /// assert!(page.starts_with("<!doctype html>"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_html(&self) -> String {
        html::render(&self.recording)
    }
}

impl<R> fmt::Display for Trace<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = out.precision().unwrap_or(text::LEVELS_SHOWN);
        out.write_str(&text::render(&self.recording, levels))
    }
}
