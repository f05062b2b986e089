//! `#[memoize]` on async functions: the same promises, without blocking a thread.
#![cfg(feature = "macros")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod runs;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use runs::Runs;
use scrubjay::memoize;
use tokio::sync::Semaphore;

/// Polls on this thread until the future is done.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return output;
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match std::mem::replace(&mut yielded, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

#[test]
fn an_async_function_runs_once_per_argument_without_a_runtime() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    async fn length(text: &str, mut twice: Vec<u8>) -> usize {
        RUNS.count();
        yield_once().await;
        twice.push(0);
        text.len() + twice.len()
    }

    assert_eq!(block_on(length("abc", vec![1])), 5);
    assert_eq!(block_on(length("abc", vec![1])), 5);
    assert_eq!(RUNS.so_far(), 1);
    assert!(length::invalidate(&("abc".to_owned(), vec![1_u8])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_run_an_async_function_once() {
    static RUNS: Runs = Runs::new();
    static GATE: Semaphore = Semaphore::const_new(0);

    #[memoize(ignore(context))]
    async fn slow(context: Arc<str>, n: u32) -> Result<u32, String> {
        RUNS.count();
        let _permit = GATE.acquire().await.map_err(|error| error.to_string())?;
        Ok(n + context.len() as u32)
    }

    let tasks: Vec<_> = (0..64)
        .map(|_| tokio::spawn(slow("ab".into(), 1)))
        .collect();
    GATE.add_permits(1);
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(3));
    }
    assert_eq!(RUNS.so_far(), 1);
}

#[tokio::test]
async fn a_dropped_leader_hands_over() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    async fn endless_at_first(n: u32) -> u32 {
        if RUNS.count() == 1 {
            std::future::pending::<()>().await;
        }
        n
    }

    let mut leader = Box::pin(endless_at_first(1));
    assert!(
        leader
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let waiter = tokio::spawn(endless_at_first(1));
    tokio::task::yield_now().await;
    drop(leader);
    assert_eq!(waiter.await.unwrap(), 1);
}

#[test]
fn errors_of_async_functions_are_not_stored() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    async fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        RUNS.count();
        yield_once().await;
        if path.as_os_str().is_empty() {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let content = std::fs::read(path)?;
        Ok(content)
    }

    let missing = std::path::Path::new("/no/such/file");
    assert!(block_on(read(missing)).is_err() && block_on(read(missing)).is_err());
    assert!(block_on(read("".as_ref())).is_err());
    assert_eq!(RUNS.so_far(), 3);
}

#[test]
fn options_about_arguments_work_for_async_functions() {
    static RUNS: Runs = Runs::new();

    #[memoize(key = (user.0, page), when = page < 100, tags = [format!("user:{}", user.0)])]
    async fn pages(user: (u64, String), page: u32) -> String {
        RUNS.count();
        user.1
    }

    let user = || (7, "ann".to_owned());
    assert_eq!(block_on(pages(user(), 1)), "ann");
    assert_eq!(block_on(pages(user(), 1)), "ann");
    assert_eq!(block_on(pages(user(), 100)), "ann");
    assert_eq!(RUNS.so_far(), 2);
    assert_eq!(pages::invalidate_tag("user:7"), 1);
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Service(u32);

trait Fetch {
    async fn fetch(&self, key: &str) -> u32;
}

impl Service {
    #[memoize]
    async fn load(&self, key: &str) -> u32 {
        yield_once().await;
        self.0 + key.len() as u32
    }

    #[memoize]
    async fn consume(self) -> u32 {
        yield_once().await;
        self.0
    }

    #[memoize]
    async fn generic<T>(&self, thing: T) -> T
    where
        T: Clone + std::hash::Hash + Eq + Send + Sync + 'static,
    {
        yield_once().await;
        thing
    }
}

impl Fetch for Service {
    #[memoize(in_trait)]
    async fn fetch(&self, key: &str) -> u32 {
        self.load(key).await + 1
    }
}

#[test]
fn async_methods_can_be_memoized() {
    let service = Service(1);
    assert_eq!(
        (block_on(service.fetch("ab")), block_on(service.fetch("ab"))),
        (4, 4)
    );
    assert_eq!(block_on(service.generic("x")), "x");
    assert_eq!(block_on(service.clone().consume()), 1);
    assert_eq!(Service::load_cache().stats().hits, 0);
    assert_eq!(Service::load_cache().len(), 1);
}

#[test]
fn an_async_function_may_call_itself_in_a_box() {
    #[memoize]
    async fn fib(n: u64) -> u64 {
        yield_once().await;
        if n < 2 {
            return n;
        }
        Box::pin(fib(n - 1)).await + Box::pin(fib(n - 2)).await
    }

    assert_eq!(block_on(fib(50)), 12_586_269_025);
    assert_eq!(fib::cache().len(), 51);
}

#[test]
fn the_future_is_send_if_the_bodys_is() {
    fn is_send<T: Send>(_: &T) {}

    #[memoize(ignore(context))]
    async fn work(text: &str, context: &Service, list: Vec<String>) -> usize {
        yield_once().await;
        text.len() + list.len() + context.0 as usize
    }

    let service = Service(1);
    let future = work("a", &service, Vec::new());
    is_send(&future);
    assert_eq!(block_on(future), 2);
}

#[test]
fn a_trace_follows_async_functions() {
    #[memoize]
    async fn inner(n: u32) -> u32 {
        yield_once().await;
        n
    }

    #[memoize(when = n < 10)]
    async fn outer(n: u32) -> u32 {
        inner(n).await + inner(n).await
    }

    let trace = block_on(scrubjay::trace_async(async {
        (outer(1).await, outer(11).await)
    }));
    assert_eq!(trace.result, (2, 22));
    let calls: Vec<_> = trace
        .calls()
        .iter()
        .map(|call| (call.function, call.parent, call.outcome.to_string()))
        .collect();
    let expected = [
        ("outer", None, "miss"),
        ("inner", Some(0), "miss"),
        ("inner", Some(0), "hit"),
        ("outer", None, "bypass"),
        ("inner", Some(3), "miss"),
        ("inner", Some(3), "hit"),
    ];
    assert_eq!(
        calls,
        expected.map(|(function, parent, outcome)| (function, parent, outcome.to_owned()))
    );
}
