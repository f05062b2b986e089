//! Async callers share one load, with each other and with callers that block.
//!
//! The cache needs no runtime of its own; this example runs on tokio's.
//! Run it: `cargo run -p scrubjay --example asynchronous`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use scrubjay::{Cache, memoize};

static REQUESTS: AtomicU32 = AtomicU32::new(0);

/// Stands for a request over the network: others run while it is on its way.
async fn request(path: &str) -> String {
    // Relaxed: a number, which publishes nothing else.
    REQUESTS.fetch_add(1, Ordering::Relaxed);
    tokio::task::yield_now().await;
    format!("<h1>{path}</h1>")
}

#[memoize(capacity = 100)]
async fn page(path: &str) -> String {
    request(path).await
}

/// Starts ten tasks that want the same page.
#[tokio::main(flavor = "current_thread")]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let cache: Cache<String, String> = Cache::new();
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let cache = cache.clone();
        tasks.push(tokio::spawn(async move {
            cache
                .get_or_insert_async("/home", || request("/home"))
                .await
        }));
    }
    for task in tasks {
        assert_eq!(task.await?, "<h1>/home</h1>");
    }
    println!("{}", cache.stats());
    assert_eq!((cache.stats().loads, cache.stats().waits), (1, 9));

    // The attribute does the same for an `async fn`.
    let (first, second) = tokio::join!(page("/news"), page("/news"));
    assert_eq!(first, second);
    assert_eq!(REQUESTS.load(Ordering::Relaxed), 2);
    println!("12 callers, 2 requests");
    Ok(())
}
