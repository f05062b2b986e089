//! The recorder: where calls report to while a trace is live.
//!
//! A thread records into its *places*: pairs of a recorder and the call that is running there. There is one per trace
//! around it, so none (mostly), one, or several when traces nest. A call registers itself in all of them, and its
//! [`SpanScope`] makes it the running call of each.
//!
//! Calls and steps are only appended, and a parent comes before its children. A recorder's lock is a leaf: only
//! pushes and assignments happen under it, never user code. Labels arrive as finished strings.
//!
//! The primitives are std's even under the model checker: no protocol waits for a recorder, and `is_on`, which every
//! call asks, would be one more point to interleave at.

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::label::shorten;
use super::{Call, Outcome};

/// The most keys that a [`CacheState`] lists.
pub(crate) const KEYS_SHOWN: usize = 12;

/// The longest label that is kept. A trace holds every label it was given, and one argument may be a megabyte.
const LABEL_COLUMNS: usize = 1_000;

/// The number of traces that run now, on all threads.
static LIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// Tells whether any trace is live, on whatever thread.
#[inline]
pub(crate) fn is_on() -> bool {
    // Relaxed: nothing is published through the counter. A thread sees its own trace by program order, and work that
    // was handed to another thread arrives there with whatever synchronization handed it over.
    LIVE.load(Ordering::Relaxed) != 0
}

/// Begins a call. Returns `None` if this thread records nothing, because only others trace.
pub(crate) fn enter(function: &'static str, args: String) -> Option<Span> {
    let places = places();
    if places.is_empty() {
        return None;
    }
    let args = bounded(args);
    let calls: Vec<Place> = places
        .into_iter()
        .filter_map(|place| place.begin(function, args.clone()))
        .collect();
    (!calls.is_empty()).then_some(Span { calls })
}

/// Returns where this thread records now.
pub(super) fn places() -> Vec<Place> {
    // A thread that is being torn down has no places any more, and so records nothing.
    PLACES
        .try_with(|places| places.borrow().clone())
        .unwrap_or_default()
}

/// Makes this thread record into `places` until the returned guard is dropped.
///
/// Recorders that the thread has already and `places` does not name are kept: a trace sees all calls of its thread,
/// even those of a future that was made outside of it.
pub(super) fn install(mut places: Vec<Place>) -> SpanScope<'static> {
    let previous = PLACES.try_with(|current| {
        let mut current = current.borrow_mut();
        let named = places.len();
        for place in current.iter() {
            if !places[..named]
                .iter()
                .any(|named| named.shares_recorder(place))
            {
                places.push(place.clone());
            }
        }
        mem::replace(&mut *current, places)
    });
    SpanScope {
        previous: previous.unwrap_or_default(),
        bound_to: PhantomData,
    }
}

/// A call that has begun and not yet ended. Dropped without [`finish`](Span::finish), it is recorded as failed.
#[derive(Debug)]
pub(crate) struct Span {
    calls: Vec<Place>,
}

impl Span {
    /// Marks this call as the parent of calls made on this thread until the returned guard is dropped.
    ///
    /// That is the time of a load, or of one poll of an async load. The guard restores the previous parent, also when
    /// it is dropped by a panic.
    pub(crate) fn scope(&self) -> SpanScope<'_> {
        install(self.calls.clone())
    }

    /// Ends the call. `state` is the state of the function's cache after this step.
    pub(crate) fn finish(mut self, outcome: Outcome, result: Option<String>, state: CacheState) {
        let keys = state.keys.into_iter().map(bounded).collect();
        self.end(
            outcome,
            result.map(bounded),
            Some(CacheState { keys, ..state }),
        );
    }

    fn end(&mut self, outcome: Outcome, result: Option<String>, state: Option<CacheState>) {
        let now = Instant::now();
        for place in mem::take(&mut self.calls) {
            place.end(now, outcome, result.clone(), state.clone());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.end(Outcome::Failed, None, None);
    }
}

/// What a thread recorded into before, restored when this guard is dropped.
#[derive(Debug)]
#[must_use = "the call is a parent only while the guard lives"]
pub(crate) struct SpanScope<'a> {
    previous: Vec<Place>,
    /// The pointer keeps the guard on the thread whose places it restores.
    bound_to: PhantomData<(&'a Span, *const ())>,
}

impl Drop for SpanScope<'_> {
    fn drop(&mut self) {
        let previous = mem::take(&mut self.previous);
        // The replaced places leave the closure first and are dropped here, after the borrow has ended.
        let _replaced = PLACES.try_with(|places| places.replace(previous));
    }
}

/// The state of one function's cache after a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheState {
    /// The number of entries.
    pub entries: usize,
    /// Their total weight.
    pub weight: u64,
    /// The most weight that the cache may hold, if it is bounded.
    pub capacity: Option<u64>,
    /// Labels of at most [`KEYS_SHOWN`] keys, sorted.
    pub keys: Vec<String>,
    /// The number of keys that are not listed.
    pub more_keys: usize,
}

/// One live trace. Dropping it without [`end`](Session::end), as a panic does, turns it off as well.
#[derive(Debug)]
pub(super) struct Session {
    recorder: Arc<Recorder>,
}

impl Session {
    pub(super) fn start() -> Self {
        // Relaxed: see `is_on`.
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self {
            recorder: Arc::new(Recorder::new()),
        }
    }

    /// Makes this thread record into the trace, at its top level, until the returned guard is dropped.
    pub(super) fn scope(&self) -> SpanScope<'static> {
        install(vec![Place {
            recorder: Arc::clone(&self.recorder),
            call: None,
        }])
    }

    /// Ends the trace. What other threads report later is ignored.
    pub(super) fn end(self) -> Recording {
        self.recorder.close()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Relaxed: see `is_on`.
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A recorder and the call that is running there; without a call, the top level of its trace.
#[derive(Clone, Debug)]
pub(super) struct Place {
    recorder: Arc<Recorder>,
    call: Option<usize>,
}

impl Place {
    fn shares_recorder(&self, other: &Place) -> bool {
        Arc::ptr_eq(&self.recorder, &other.recorder)
    }

    /// Begins a call below this place. Returns its own place, or `None` if the trace has ended.
    fn begin(self, function: &'static str, args: String) -> Option<Place> {
        let call = self.recorder.begin(function, args, self.call)?;
        Some(Place {
            recorder: self.recorder,
            call: Some(call),
        })
    }

    fn end(
        self,
        now: Instant,
        outcome: Outcome,
        result: Option<String>,
        state: Option<CacheState>,
    ) {
        if let Some(call) = self.call {
            self.recorder.end(call, now, outcome, result, state);
        }
    }
}

/// Collects the calls of one trace, from any number of threads.
#[derive(Debug)]
struct Recorder {
    started: Instant,
    open: Mutex<Option<Open>>,
}

/// What a recorder holds until its trace ends.
#[derive(Debug)]
struct Open {
    recording: Recording,
    threads: HashMap<ThreadId, usize>,
}

impl Recorder {
    fn new() -> Self {
        let open = Open {
            recording: Recording::default(),
            threads: HashMap::from([(thread::current().id(), 0)]),
        };
        Self {
            started: Instant::now(),
            open: Mutex::new(Some(open)),
        }
    }

    fn begin(&self, function: &'static str, args: String, parent: Option<usize>) -> Option<usize> {
        let thread = thread::current().id();
        let started = self.started.elapsed();
        let mut open = self.lock();
        let Open { recording, threads } = open.as_mut()?;
        let next = threads.len();
        let call = Call {
            function,
            args,
            outcome: Outcome::Unfinished,
            result: None,
            parent,
            depth: parent.map_or(0, |parent| recording.calls[parent].depth + 1),
            thread: *threads.entry(thread).or_insert(next),
            started,
            took: Duration::ZERO,
        };
        recording.calls.push(call);
        Some(recording.calls.len() - 1)
    }

    fn end(
        &self,
        call: usize,
        now: Instant,
        outcome: Outcome,
        result: Option<String>,
        state: Option<CacheState>,
    ) {
        let now = now.saturating_duration_since(self.started);
        let mut open = self.lock();
        let Some(Open { recording, .. }) = open.as_mut() else {
            return;
        };
        let ended = &mut recording.calls[call];
        ended.took = now.saturating_sub(ended.started);
        ended.outcome = outcome;
        ended.result = result;
        recording.steps.push(Step { call, state });
    }

    fn close(&self) -> Recording {
        let took = self.started.elapsed();
        let open = self.lock().take();
        let mut recording = open.expect("a session ends once").recording;
        recording.took = took;
        for call in &mut recording.calls {
            if call.outcome == Outcome::Unfinished {
                call.took = took.saturating_sub(call.started);
            }
        }
        recording
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open
            .lock()
            .expect("nothing that panics runs under the recorder's lock")
    }
}

/// All that a trace has recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    /// In the order of their beginning.
    pub(super) calls: Vec<Call>,
    /// In the order in which the calls ended.
    pub(super) steps: Vec<Step>,
    /// The time from the start of the trace to its end.
    pub(super) took: Duration,
}

/// The end of a call.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The position of the call.
    pub(super) call: usize,
    /// The state of its function's cache, unless the call failed.
    pub(super) state: Option<CacheState>,
}

fn bounded(label: String) -> String {
    match shorten(&label, LABEL_COLUMNS) {
        std::borrow::Cow::Borrowed(_) => label,
        std::borrow::Cow::Owned(short) => short,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::trace::{Trace, inherit, trace, trace_async};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::task::{Context, Poll, Waker};

    /// A memoized call as the engine reports it: `load` runs as its load.
    pub(in crate::trace) fn miss<R>(
        function: &'static str,
        args: &str,
        result: &str,
        load: impl FnOnce() -> R,
    ) {
        let span = enter(function, args.to_owned()).unwrap();
        {
            let _scope = span.scope();
            load();
        }
        span.finish(
            Outcome::Miss,
            Some(result.to_owned()),
            CacheState::default(),
        );
    }

    /// A call that is served at once.
    pub(in crate::trace) fn hit(function: &'static str, args: &str, result: &str) {
        let span = enter(function, args.to_owned()).unwrap();
        span.finish(Outcome::Hit, Some(result.to_owned()), CacheState::default());
    }

    /// A chain of nested calls, recorded without a deep stack.
    pub(in crate::trace) fn chain(depth: usize) -> Trace {
        trace(|| {
            let mut spans: Vec<Span> = Vec::new();
            for level in 0..depth {
                let scope = spans.last().map(Span::scope);
                let span = enter("down", (depth - level).to_string()).unwrap();
                drop(scope);
                spans.push(span);
            }
            while let Some(span) = spans.pop() {
                span.finish(Outcome::Miss, Some("0".to_owned()), CacheState::default());
            }
        })
    }

    fn shown<R>(trace: &Trace<R>) -> Vec<(String, Option<usize>, usize)> {
        let labels = trace.calls().iter();
        labels
            .map(|call| {
                (
                    format!("{}({})", call.function, call.args),
                    call.parent,
                    call.thread,
                )
            })
            .collect()
    }

    fn row(label: &str, parent: Option<usize>, thread: usize) -> (String, Option<usize>, usize) {
        (label.to_owned(), parent, thread)
    }

    #[test]
    fn calls_are_recorded_under_the_load_that_made_them() {
        let trace = trace(|| {
            miss("f", "1", "x", || {
                hit("g", "2", "y");
                miss("g", "3", "y", || hit("h", "", "z"));
            });
            hit("f", "1", "x");
        });
        let expected = [
            row("f(1)", None, 0),
            row("g(2)", Some(0), 0),
            row("g(3)", Some(0), 0),
            row("h()", Some(2), 0),
            row("f(1)", None, 0),
        ];
        assert_eq!(shown(&trace), expected);
        assert_eq!(trace.calls()[3].depth, 2);
        let order: Vec<usize> = trace.recording.steps.iter().map(|step| step.call).collect();
        assert_eq!(order, [1, 3, 2, 0, 4]);
    }

    #[test]
    fn a_thread_without_a_trace_records_nothing() {
        assert!(enter("f", "1".to_owned()).is_none());
        let other = trace(|| {
            thread::spawn(|| enter("f", "1".to_owned()).is_none())
                .join()
                .unwrap()
        });
        assert!(other.result);
        assert!(other.calls().is_empty());
    }

    #[test]
    fn a_trace_is_on_while_it_runs() {
        assert!(trace(is_on).result);
    }

    #[test]
    fn an_inherited_closure_records_under_the_call_that_made_it() {
        let trace = trace(|| {
            miss("f", "1", "x", || {
                let child = inherit(|| miss("g", "2", "y", || hit("h", "3", "z")));
                thread::spawn(child).join().unwrap();
            });
        });
        let expected = [
            row("f(1)", None, 0),
            row("g(2)", Some(0), 1),
            row("h(3)", Some(1), 1),
        ];
        assert_eq!(shown(&trace), expected);
    }

    #[test]
    fn an_inherited_closure_may_outlive_its_trace() {
        let trace = trace(|| {
            inherit(|| {
                let late = enter("f", "late".to_owned()).is_none();
                (late, places().len())
            })
        });
        assert_eq!((trace.result)(), (true, 1));
        assert!(places().is_empty());
    }

    #[test]
    fn a_call_that_ends_after_its_trace_is_unfinished_there() {
        let trace = trace(|| enter("f", "1".to_owned()).unwrap());
        trace
            .result
            .finish(Outcome::Miss, None, CacheState::default());
        assert_eq!(trace.recording.calls[0].outcome, Outcome::Unfinished);
        assert!(trace.recording.steps.is_empty());
    }

    #[test]
    fn traces_of_two_threads_do_not_mix() {
        let both = Barrier::new(2);
        let run = |name: &'static str| {
            trace(|| {
                both.wait();
                miss(name, "1", "x", || {
                    both.wait();
                    hit(name, "2", "y");
                });
                both.wait();
            })
        };
        let (left, right) = thread::scope(|scope| {
            let left = scope.spawn(|| run("left"));
            let right = scope.spawn(|| run("right"));
            (left.join().unwrap(), right.join().unwrap())
        });
        assert_eq!(
            shown(&left),
            [row("left(1)", None, 0), row("left(2)", Some(0), 0)]
        );
        assert_eq!(
            shown(&right),
            [row("right(1)", None, 0), row("right(2)", Some(0), 0)]
        );
    }

    #[test]
    fn the_calls_of_an_inner_trace_are_also_in_the_outer_one() {
        let outer = trace(|| {
            let mut inner = None;
            miss("f", "1", "x", || {
                inner = Some(trace(|| miss("g", "2", "y", || hit("h", "3", "z"))))
            });
            hit("f", "1", "x");
            inner.unwrap()
        });
        assert_eq!(
            shown(&outer.result),
            [row("g(2)", None, 0), row("h(3)", Some(0), 0)]
        );
        let expected = [
            row("f(1)", None, 0),
            row("g(2)", Some(0), 0),
            row("h(3)", Some(1), 0),
            row("f(1)", None, 0),
        ];
        assert_eq!(shown(&outer), expected);
    }

    #[test]
    fn a_panic_passes_through_and_leaves_the_thread_without_a_trace() {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            trace(|| miss("f", "1", "x", || panic!("boom")))
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"boom"));
        assert!(places().is_empty());
    }

    #[test]
    fn a_panicking_load_is_a_failed_call_and_restores_the_parent() {
        let trace = trace(|| {
            miss("f", "1", "x", || {
                let load = || miss("g", "2", "y", || panic!("boom"));
                catch_unwind(AssertUnwindSafe(load)).unwrap_err();
                hit("h", "3", "z");
            });
        });
        assert_eq!(trace.calls()[1].outcome, Outcome::Failed);
        assert_eq!(trace.calls()[2].parent, Some(0));
        assert!(trace.recording.steps[0].state.is_none());
    }

    #[test]
    fn a_dropped_span_is_a_failed_call() {
        let trace = trace(|| drop(enter("f", "1".to_owned())));
        assert_eq!(trace.calls()[0].outcome, Outcome::Failed);
        assert_eq!(trace.calls()[0].result, None);
    }

    #[test]
    fn a_span_may_end_on_another_thread() {
        let trace = trace(|| {
            let span = enter("f", "1".to_owned()).unwrap();
            let end = move || span.finish(Outcome::Miss, None, CacheState::default());
            thread::spawn(end).join().unwrap();
        });
        assert_eq!(trace.calls()[0].outcome, Outcome::Miss);
        assert_eq!(trace.calls()[0].thread, 0);
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    async fn yield_once() {
        let mut yielded = false;
        std::future::poll_fn(|_| match mem::replace(&mut yielded, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    #[test]
    fn a_future_records_only_while_it_is_polled() {
        let mut future = Box::pin(trace_async(async {
            hit("f", "1", "x");
            yield_once().await;
            hit("f", "2", "x");
        }));
        assert!(poll(future.as_mut()).is_pending());
        assert!(enter("f", "between".to_owned()).is_none());
        // The second poll happens on another thread, which shows too that the future is `Send`.
        let Poll::Ready(trace) = thread::spawn(move || poll(future.as_mut())).join().unwrap()
        else {
            panic!("one yield, two polls");
        };
        assert_eq!(shown(&trace), [row("f(1)", None, 0), row("f(2)", None, 1)]);
    }

    #[test]
    fn a_load_made_outside_is_seen_by_the_trace_that_polls_it() {
        let mut seen = None;
        let outer = trace(|| {
            let span = enter("f", "1".to_owned()).unwrap();
            seen = Some(trace(|| {
                let _scope = span.scope();
                hit("g", "2", "y");
            }));
        });
        assert_eq!(
            shown(&outer),
            [row("f(1)", None, 0), row("g(2)", Some(0), 0)]
        );
        assert_eq!(shown(&seen.unwrap()), [row("g(2)", None, 0)]);
    }

    #[test]
    fn labels_of_any_length_are_kept_short() {
        let trace = trace(|| hit("f", &"ä".repeat(5_000), &"b".repeat(5_000)));
        assert_eq!(trace.calls()[0].args.chars().count(), LABEL_COLUMNS);
        assert_eq!(
            trace.calls()[0].result.as_ref().unwrap().chars().count(),
            LABEL_COLUMNS
        );
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_is_recorded_and_dropped() {
        let trace = chain(100_000);
        assert_eq!(trace.calls().last().unwrap().depth, 99_999);
        drop(trace.clone());
    }
}
