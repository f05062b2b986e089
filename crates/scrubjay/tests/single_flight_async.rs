//! Single-flight for futures: on tokio, with several threads and with one, and on an executor of forty lines.
//!
//! Where a test is about a moment (a future dropped between two polls) it polls by hand, or lets the small
//! executor run until nothing is woken.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

#[path = "fixtures/executor.rs"]
mod executor;
#[path = "fixtures/watchdog.rs"]
mod watchdog;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use executor::Executor;
use scrubjay::{Cache, ManualClock};
use tokio::sync::{Barrier, oneshot};
use watchdog::{until, watched};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where the tasks of a scenario run.
#[derive(Clone)]
enum Spawner {
    Tokio,
    Own(Executor),
}

/// A task whose end can be awaited, and that can be dropped before.
struct Task<T> {
    end: oneshot::Receiver<thread::Result<T>>,
    abort: Box<dyn FnOnce()>,
}

impl Spawner {
    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Task<T> {
        let (ended, end) = oneshot::channel();
        let reported = async move {
            let _ = ended.send(Caught(Box::pin(task)).await);
        };
        let abort: Box<dyn FnOnce()> = match self {
            Self::Tokio => {
                let handle = tokio::spawn(reported);
                Box::new(move || handle.abort())
            }
            Self::Own(executor) => {
                let number = executor.spawn(reported);
                let executor = executor.clone();
                Box::new(move || executor.cancel(number))
            }
        };
        Task { end, abort }
    }
}

impl<T> Task<T> {
    async fn join(self) -> T {
        match self.end.await.expect("the task was not aborted") {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    async fn panic(self) -> String {
        match self.end.await.expect("the task was not aborted") {
            Ok(_) => panic!("expected a panic"),
            Err(panic) => *panic.downcast::<String>().unwrap(),
        }
    }

    /// Drops the task and waits until it is gone.
    async fn abort(self) {
        (self.abort)();
        assert!(
            self.end.await.is_err(),
            "the task ended before it was aborted"
        );
    }
}

/// A future whose panics are its output.
struct Caught<T>(BoxFuture<T>);

impl<T> Future for Caught<T> {
    type Output = thread::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// Runs a scenario on each kind of executor.
fn everywhere<F: Future<Output = ()> + 'static>(scenario: impl Fn(Spawner) -> F + Send + 'static) {
    watched(move || {
        let several = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .build();
        several.unwrap().block_on(scenario(Spawner::Tokio));
        let one = tokio::runtime::Builder::new_current_thread().build();
        one.unwrap().block_on(scenario(Spawner::Tokio));
        let own = Executor::default();
        let root = own.spawn(scenario(Spawner::Own(own.clone())));
        own.run_until_done(root);
    });
}

/// Lets other tasks go on until `condition` holds.
async fn until_async(condition: impl Fn() -> bool) {
    while !condition() {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

async fn until_waiting(cache: &Cache<u32, u32>, callers: u64) {
    until_async(|| cache.stats().waits >= callers).await;
}

/// A loader that says when it begins and waits to be let go, and the test's side of that.
struct Gate {
    begun: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

struct Passage {
    begun: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

fn gate() -> (Gate, Passage) {
    let (to_test, begun) = oneshot::channel();
    let (go, from_test) = oneshot::channel();
    let passage = Passage {
        begun: to_test,
        go: from_test,
    };
    (Gate { begun, go }, passage)
}

impl Passage {
    async fn pass<T>(self, value: T) -> T {
        self.begun.send(()).unwrap();
        self.go.await.unwrap();
        value
    }
}

async fn nobody_loads() -> u32 {
    panic!("this loader must not run")
}

fn named(name: &str) -> Cache<u32, u32> {
    Cache::builder()
        .name(name)
        .describe_keys(|key: &u32| key.to_string())
        .build()
        .unwrap()
}

fn get<F: Future<Output = u32> + Send + 'static>(
    cache: &Cache<u32, u32>,
    key: u32,
    load: impl FnOnce() -> F + Send + 'static,
) -> BoxFuture<u32> {
    let cache = cache.clone();
    Box::pin(async move { cache.get_or_insert_async(&key, load).await })
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_once<T>(future: &mut Pin<impl std::ops::DerefMut<Target: Future<Output = T>>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

// The compiler's part.

#[test]
fn futures_are_send() {
    fn assert_send(_: impl Send) {}
    let cache: Cache<u32, u32> = Cache::new();
    let key = 1;
    assert_send(cache.get_or_insert_async(&key, async || 1));
    assert_send(cache.try_get_or_insert_async(&key, async || Ok::<_, String>(1)));
    assert_send(
        cache.try_get_or_insert_async_in_turn(&key, async || {
            Err::<u32, _>(std::io::Error::other("-"))
        }),
    );
    let texts: Cache<String, Arc<str>> = Cache::new();
    assert_send(texts.get_or_insert_async("k", async || Arc::from("v")));
}

// One load.

#[test]
fn tasks_that_ask_for_one_key_share_one_load() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let loads = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let (loads, waiting) = (loads.clone(), cache.clone());
                spawner.spawn(get(&cache, 1, move || async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    until_waiting(&waiting, 31).await;
                    7
                }))
            })
            .collect();
        for task in tasks {
            assert_eq!(task.join().await, 7);
        }
        assert_eq!((loads.load(Ordering::SeqCst), cache.stats().waits), (1, 31));
        cache.assert_consistent();
    });
}

#[test]
fn a_hit_needs_no_second_poll_and_no_loader() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 7);
    let mut hit = pin!(cache.get_or_insert_async(&1, nobody_loads));
    assert_eq!(poll_once(&mut hit), Poll::Ready(7));
}

#[test]
fn a_future_that_was_never_polled_leads_nothing() {
    let cache: Cache<u32, u32> = Cache::new();
    drop(cache.get_or_insert_async(&1, nobody_loads));
    assert_eq!(cache.get_or_insert_with(&1, || 7), 7);
    assert_eq!((cache.stats().waits, cache.stats().loads), (0, 1));
}

#[test]
fn a_blocking_caller_waits_for_a_task() {
    watched(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let leading = runtime.spawn(get(&cache, 1, || passage.pass(7)));
        gate.begun.blocking_recv().unwrap();
        let blocked = cache.clone();
        let waiting = thread::spawn(move || blocked.get_or_insert_with(&1, || unreachable!()));
        until(|| cache.stats().waits == 1);
        gate.go.send(()).unwrap();
        assert_eq!(
            (waiting.join().unwrap(), runtime.block_on(leading).unwrap()),
            (7, 7)
        );
    });
}

#[test]
fn a_task_waits_for_a_blocking_caller() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let (begun, loading) = oneshot::channel();
        let (go, released) = std::sync::mpsc::channel();
        let blocked = cache.clone();
        let leading = thread::spawn(move || {
            blocked.get_or_insert_with(&1, || {
                begun.send(()).unwrap();
                released.recv().unwrap()
            })
        });
        loading.await.unwrap();
        let waiting = spawner.spawn(get(&cache, 1, nobody_loads));
        until_waiting(&cache, 1).await;
        go.send(7).unwrap();
        assert_eq!(waiting.join().await, 7);
        assert_eq!(leading.join().unwrap(), 7);
    });
}

#[test]
fn a_cache_of_no_capacity_still_shares_loads() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::builder().capacity(0).build().unwrap();
        let (gate, passage) = gate();
        let leading = spawner.spawn(get(&cache, 1, || passage.pass(7)));
        gate.begun.await.unwrap();
        let waiting = spawner.spawn(get(&cache, 1, nobody_loads));
        until_waiting(&cache, 1).await;
        gate.go.send(()).unwrap();
        assert_eq!(
            (leading.join().await, waiting.join().await, cache.len()),
            (7, 7, 0)
        );
    });
}

// Futures that are dropped.

#[test]
fn a_waiter_takes_over_when_the_leading_task_is_aborted() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let leading = spawner.spawn(get(&cache, 1, || passage.pass(1)));
        gate.begun.await.unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|_| spawner.spawn(get(&cache, 1, || async { 2 })))
            .collect();
        until_waiting(&cache, 4).await;
        leading.abort().await;
        for waiting in waiting {
            assert_eq!(waiting.join().await, 2);
        }
        assert_eq!((cache.get(&1), cache.stats().load_failures), (Some(2), 1));
        cache.assert_consistent();
    });
}

#[test]
fn a_blocking_waiter_takes_over_from_a_task_that_is_aborted() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let leading = spawner.spawn(get(&cache, 1, || passage.pass(1)));
        gate.begun.await.unwrap();
        let blocked = cache.clone();
        let waiting = thread::spawn(move || blocked.get_or_insert_with(&1, || 2));
        until_waiting(&cache, 1).await;
        leading.abort().await;
        assert_eq!(waiting.join().unwrap(), 2);
    });
}

#[test]
fn a_waiter_that_was_notified_and_then_dropped_takes_nobodys_turn() {
    let cache: Cache<u32, u32> = Cache::new();
    let mut leading = get(&cache, 1, std::future::pending);
    let mut first = get(&cache, 1, || async { 2 });
    let mut second = get(&cache, 1, || async { 3 });
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(poll_once(&mut leading).is_pending());
    for waiter in [&mut first, &mut second] {
        assert!(
            waiter
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    drop(leading);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2, "both are told");
    drop(first);
    assert_eq!(poll_once(&mut second), Poll::Ready(3));
}

#[test]
fn a_waiter_that_took_over_and_is_dropped_hands_over_again() {
    let cache: Cache<u32, u32> = Cache::new();
    let mut leading = get(&cache, 1, std::future::pending);
    let mut successors: Vec<_> = (0..300)
        .map(|_| get(&cache, 1, std::future::pending))
        .collect();
    let mut last = get(&cache, 1, || async { 7 });
    assert!(poll_once(&mut leading).is_pending());
    for waiter in &mut successors {
        assert!(poll_once(waiter).is_pending());
    }
    assert!(poll_once(&mut last).is_pending());
    drop(leading);
    for mut successor in successors {
        assert!(poll_once(&mut successor).is_pending(), "it leads now");
        drop(successor);
    }
    assert_eq!(poll_once(&mut last), Poll::Ready(7));
    assert_eq!(cache.stats().load_failures, 301);
}

#[test]
fn a_dropped_waiter_leaves_no_waker_behind() {
    let cache: Cache<u32, u32> = Cache::new();
    let mut leading = get(&cache, 1, std::future::pending);
    assert!(poll_once(&mut leading).is_pending());
    let woken = Arc::new(Woken::default());
    for _ in 0..100 {
        let waker = Waker::from(woken.clone());
        let mut waiter = get(&cache, 1, nobody_loads);
        assert!(
            waiter
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert!(
            waiter
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    assert_eq!(Arc::strong_count(&woken), 1);
    drop(leading);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
}

#[test]
fn a_waiter_is_woken_where_it_was_polled_last() {
    let cache: Cache<u32, u32> = Cache::new();
    let (gate, passage) = gate();
    let mut leading = get(&cache, 1, || passage.pass(7));
    let mut waiter = get(&cache, 1, nobody_loads);
    assert!(poll_once(&mut leading).is_pending());
    let (first, last) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    for woken in [&first, &last] {
        let waker = Waker::from(woken.clone());
        assert!(
            waiter
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    gate.go.send(()).unwrap();
    assert_eq!(poll_once(&mut leading), Poll::Ready(7));
    assert_eq!(
        (
            first.0.load(Ordering::SeqCst),
            last.0.load(Ordering::SeqCst)
        ),
        (0, 1)
    );
    assert_eq!(poll_once(&mut waiter), Poll::Ready(7));
}

thread_local! {
    static TASK: RefCell<Option<BoxFuture<u32>>> = const { RefCell::new(None) };
}

/// The waker of an executor that drops a task together with its last waker.
struct LastWaker;

impl Wake for LastWaker {
    fn wake(self: Arc<Self>) {}
}

impl Drop for LastWaker {
    fn drop(&mut self) {
        drop(TASK.take());
    }
}

#[test]
fn a_task_may_be_dropped_while_the_cache_drops_its_waker() {
    watched(|| {
        let cache: Cache<u32, u32> = Cache::new();
        let mut leading = get(&cache, 1, std::future::pending);
        let mut dropped = get(&cache, 1, nobody_loads);
        let mut moved = get(&cache, 1, || async { 2 });
        assert!(poll_once(&mut leading).is_pending());
        assert!(poll_once(&mut dropped).is_pending());
        TASK.set(Some(dropped));
        let waker = Waker::from(Arc::new(LastWaker));
        let mut context = Context::from_waker(&waker);
        assert!(moved.as_mut().poll(&mut context).is_pending());
        drop(waker);
        // The cache has the last waker, and lets go of it here.
        assert!(poll_once(&mut moved).is_pending());
        assert!(TASK.take().is_none());
        drop(leading);
        assert_eq!(poll_once(&mut moved), Poll::Ready(2));
    });
}

#[test]
fn the_small_executor_hands_over_without_threads() {
    watched(|| {
        let executor = Executor::default();
        let cache: Cache<u32, u32> = Cache::new();
        let leading = {
            let cache = cache.clone();
            executor.spawn(async move {
                cache.get_or_insert_async(&1, std::future::pending).await;
            })
        };
        let got = Rc::new(RefCell::new(Vec::new()));
        executor.run_until_stalled();
        for value in [2, 3, 4] {
            let (cache, got) = (cache.clone(), got.clone());
            executor.spawn(async move {
                let value = cache.get_or_insert_async(&1, || async move { value }).await;
                got.borrow_mut().push(value);
            });
        }
        executor.run_until_stalled();
        assert!(got.borrow().is_empty());
        executor.cancel(leading);
        executor.run_until_stalled();
        assert_eq!((*got.borrow()).clone(), [2, 2, 2]);
    });
}

// Loads that fail.

#[test]
fn a_waiter_takes_over_from_a_load_that_panics() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let leading = spawner.spawn(get(&cache, 1, || async {
            passage.pass(()).await;
            std::panic::resume_unwind(Box::new("the loader's own".to_owned()))
        }));
        gate.begun.await.unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|_| spawner.spawn(get(&cache, 1, || async { 2 })))
            .collect();
        until_waiting(&cache, 4).await;
        gate.go.send(()).unwrap();
        assert_eq!(leading.panic().await, "the loader's own");
        for waiting in waiting {
            assert_eq!(waiting.join().await, 2);
        }
        assert_eq!((cache.stats().loads, cache.stats().load_failures), (2, 1));
    });
}

#[test]
fn errors_are_shared_or_not_as_asked() {
    everywhere(|spawner| async move {
        for (shares, failures) in [(true, 1), (false, 5)] {
            let cache: Cache<u32, u32> = Cache::builder().share_errors(shares).build().unwrap();
            let (gate, passage) = gate();
            let leader = cache.clone();
            let leading = spawner.spawn(async move {
                leader
                    .try_get_or_insert_async(&1, || passage.pass(Err('l')))
                    .await
            });
            gate.begun.await.unwrap();
            let waiting: Vec<_> = (0..4)
                .map(|_| {
                    let waiter = cache.clone();
                    spawner.spawn(async move {
                        waiter
                            .try_get_or_insert_async(&1, || async { Err('o') })
                            .await
                    })
                })
                .collect();
            until_waiting(&cache, 4).await;
            gate.go.send(()).unwrap();
            assert_eq!(leading.join().await, Err('l'));
            for waiting in waiting {
                let expected = if shares { 'l' } else { 'o' };
                assert_eq!(waiting.join().await, Err(expected));
            }
            assert_eq!(cache.stats().load_failures, failures);
        }
    });
}

#[test]
fn waiters_with_other_error_types_and_in_turn_try_themselves() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let (leader, typed, in_turn) = (cache.clone(), cache.clone(), cache.clone());
        let leading = spawner.spawn(async move {
            leader
                .try_get_or_insert_async(&1, || passage.pass(Err('t')))
                .await
        });
        gate.begun.await.unwrap();
        let typed = spawner.spawn(async move {
            typed
                .try_get_or_insert_async(&1, || async { Err(404) })
                .await
        });
        let in_turn = spawner.spawn(async move {
            let load = || async { Err(std::io::Error::other("own")) };
            in_turn.try_get_or_insert_async_in_turn(&1, load).await
        });
        until_waiting(&cache, 2).await;
        gate.go.send(()).unwrap();
        assert_eq!(leading.join().await, Err('t'));
        assert_eq!(typed.join().await, Err(404));
        assert_eq!(in_turn.join().await.unwrap_err().to_string(), "own");
        assert_eq!(cache.stats().load_failures, 3);
    });
}

// Time.

fn impatient(clock: &ManualClock) -> Cache<u32, u32> {
    Cache::builder()
        .load_timeout(Duration::from_secs(10))
        .clock(clock.clone())
        .build()
        .unwrap()
}

#[test]
fn a_task_takes_over_when_its_time_is_over() {
    everywhere(|spawner| async move {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        let slow = spawner.spawn(get(&cache, 1, || passage.pass(1)));
        gate.begun.await.unwrap();
        let waiting = spawner.spawn(get(&cache, 1, || async { 2 }));
        until_waiting(&cache, 1).await;
        until_async(|| {
            clock.advance(Duration::from_secs(10));
            cache.get(&1) == Some(2)
        })
        .await;
        assert_eq!(waiting.join().await, 2);
        gate.go.send(()).unwrap();
        assert_eq!((slow.join().await, cache.get(&1)), (1, Some(2)));
        cache.assert_consistent();
    });
}

#[test]
fn the_deadline_follows_a_future_to_another_task() {
    let clock = ManualClock::new();
    let cache = impatient(&clock);
    let mut slow = get(&cache, 1, std::future::pending);
    let mut waiting = get(&cache, 1, || async { 2 });
    assert!(poll_once(&mut slow).is_pending());
    assert!(poll_once(&mut waiting).is_pending());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    clock.advance(Duration::from_nanos(9_999_999_999));
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(
        woken.0.load(Ordering::SeqCst),
        1,
        "woken at exactly the deadline"
    );
    assert_eq!(poll_once(&mut waiting), Poll::Ready(2));
}

// Cycles.

#[test]
fn a_future_that_asks_for_its_own_key_is_refused() {
    everywhere(|spawner| async move {
        let cache = named("own");
        let inner = cache.clone();
        let recursive = spawner.spawn(get(&cache, 1, || async move {
            inner.get_or_insert_async(&1, nobody_loads).await
        }));
        let message = recursive.panic().await;
        assert!(message.contains("own(1) → own(1)"), "{message}");
        assert_eq!(get(&cache, 1, || async { 7 }).await, 7);
    });
}

#[test]
fn tasks_that_need_each_other_are_told() {
    everywhere(|spawner| async move {
        for members in [2, 3, 5] {
            let cache = named("f");
            let all_lead = Arc::new(Barrier::new(members as usize));
            let tasks: Vec<_> = (0..members)
                .map(|key| {
                    let (inner, all_lead) = (cache.clone(), all_lead.clone());
                    spawner.spawn(Caught(get(&cache, key, move || async move {
                        all_lead.wait().await;
                        let next = (key + 1) % members;
                        inner.get_or_insert_async(&next, || async { 100 }).await
                    })))
                })
                .collect();
            let mut told = 0;
            for task in tasks {
                if let Err(panic) = task.join().await {
                    let message = panic.downcast::<String>().unwrap();
                    for key in 0..members {
                        assert!(message.contains(&format!("f({key})")), "{message}");
                    }
                    told += 1;
                }
            }
            assert!(told > 0, "somebody is told");
            cache.clear();
            assert_eq!(get(&cache, 1, || async { 7 }).await, 7);
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_task_and_a_thread_that_need_each_other_are_told() {
    everywhere(|spawner| async move {
        let cache = named("f");
        let (begun, loading) = oneshot::channel();
        let (go, released) = std::sync::mpsc::channel();
        let blocked = cache.clone();
        let thread = thread::spawn(move || {
            blocked.get_or_insert_with(&1, || {
                begun.send(()).unwrap();
                released.recv().unwrap();
                blocked.get_or_insert_with(&2, || 100)
            })
        });
        loading.await.unwrap();
        let inner = cache.clone();
        let task = spawner.spawn(Caught(get(&cache, 2, || async move {
            go.send(()).unwrap();
            inner.get_or_insert_async(&1, || async { 100 }).await
        })));
        let ended = task.join().await;
        let other = thread.join();
        let mut panics = [ended.err(), other.err()].into_iter().flatten().peekable();
        assert!(panics.peek().is_some(), "somebody is told");
        for panic in panics {
            let message = panic.downcast::<String>().unwrap();
            assert!(
                message.contains("f(1)") && message.contains("f(2)"),
                "{message}"
            );
        }
    });
}

#[test]
fn asking_twice_for_one_key_within_one_load_is_no_cycle() {
    everywhere(|_| async {
        let cache = named("f");
        let inner = cache.clone();
        let both = get(&cache, 1, || async move {
            let (begin, passage) = gate();
            let open = async {
                begin.begun.await.unwrap();
                until_waiting(&inner, 1).await;
                begin.go.send(()).unwrap();
            };
            let first = inner.get_or_insert_async(&2, || passage.pass(2));
            let second = inner.get_or_insert_async(&2, nobody_loads);
            let (first, second, ()) = tokio::join!(first, second, open);
            first + second
        });
        assert_eq!(both.await, 4);
        assert_eq!((cache.len(), cache.stats().waits), (2, 1));
        cache.assert_consistent();
    });
}

#[test]
fn a_diamond_of_futures_is_no_cycle() {
    everywhere(|spawner| async move {
        let cache = named("f");
        let (inner, elsewhere) = (cache.clone(), cache.clone());
        let down = |cache: Cache<u32, u32>, key| {
            get(&cache.clone(), key, move || async move {
                let yielding = || async {
                    until_async(|| true).await;
                    4
                };
                cache.get_or_insert_async(&4, yielding).await + key
            })
        };
        let top = spawner.spawn(get(&cache, 1, move || async move {
            let (left, right) = tokio::join!(down(inner.clone(), 2), down(inner.clone(), 3));
            left + right
        }));
        let beside = spawner.spawn(async move {
            let (left, right) =
                tokio::join!(down(elsewhere.clone(), 3), down(elsewhere.clone(), 2));
            left + right
        });
        assert_eq!((top.join().await, beside.join().await), (13, 13));
        assert_eq!(cache.stats().loads, 4);
    });
}

#[test]
fn futures_may_nest_a_thousand_deep() {
    everywhere(|_| async {
        fn down(cache: Cache<u32, u32>, n: u32) -> BoxFuture<u32> {
            get(&cache.clone(), n, move || async move {
                until_async(|| true).await;
                if n == 0 {
                    0
                } else {
                    down(cache, n - 1).await + 1
                }
            })
        }
        let cache = named("down");
        assert_eq!(down(cache.clone(), 1_000).await, 1_000);
        assert_eq!(cache.len(), 1_001);
    });
}

// Overtaking.

#[test]
fn a_future_that_was_overtaken_is_not_stored() {
    everywhere(|spawner| async move {
        let sayings: [fn(&Cache<u32, u32>); 4] = [
            |cache| assert!(!cache.invalidate(&1)),
            |cache| assert_eq!(cache.invalidate_if(|_, _| false), 0),
            |cache| assert_eq!(cache.invalidate_tag("all"), 0),
            Cache::clear,
        ];
        for say in sayings {
            let cache: Cache<u32, u32> = Cache::builder().tag_with(|_, _| ["all"]).build().unwrap();
            let (gate, passage) = gate();
            let leading = spawner.spawn(get(&cache, 1, || passage.pass(1)));
            gate.begun.await.unwrap();
            let before = spawner.spawn(get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1).await;
            say(&cache);
            let after = spawner.spawn(get(&cache, 1, || async { 3 }));
            until_async(|| cache.stats().waits == 2 || cache.get(&1) == Some(3)).await;
            gate.go.send(()).unwrap();
            assert_eq!((leading.join().await, before.join().await), (1, 1));
            assert_eq!((after.join().await, cache.get(&1)), (3, Some(3)));
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_slow_future_does_not_overwrite_a_newer_insertion() {
    everywhere(|spawner| async move {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let slow = spawner.spawn(get(&cache, 1, || passage.pass(1)));
        gate.begun.await.unwrap();
        cache.insert(1, 9);
        assert_eq!(get(&cache, 1, nobody_loads).await, 9);
        gate.go.send(()).unwrap();
        assert_eq!((slow.join().await, cache.get(&1)), (1, Some(9)));
    });
}

#[test]
fn a_stale_value_is_served_while_a_task_refreshes_it() {
    everywhere(|spawner| async move {
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .time_to_live(Duration::from_secs(10))
            .stale_while_refresh(Duration::from_secs(10))
            .clock(clock.clone())
            .build()
            .unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        let (gate, passage) = gate();
        let refreshing = spawner.spawn(get(&cache, 1, || passage.pass(2)));
        gate.begun.await.unwrap();
        for _ in 0..4 {
            assert_eq!(get(&cache, 1, nobody_loads).await, 1);
        }
        gate.go.send(()).unwrap();
        assert_eq!((refreshing.join().await, cache.get(&1)), (2, Some(2)));
    });
}
