//! Async calls on hits: each is awaited before the next one is made, and none ever waits.

use scrubjay_bench::rounds::{Round, Row, row, time_threads};
use scrubjay_bench::zipf;

use crate::hits::REQUESTS;

pub fn hits(n: usize) -> Vec<Row> {
    let requests: &[u64] = Vec::leak(zipf::keys(n, 0.99, REQUESTS));
    let ours = scrubjay::Cache::new();
    let quick_cache = quick_cache::sync::Cache::new(2 * n);
    let moka = moka::future::Cache::new(2 * n as u64);
    for key in 0..n as u64 {
        ours.insert(key, key);
        quick_cache.insert(key, key);
        pollster::block_on(moka.insert(key, key));
    }
    vec![
        row("scrubjay `get_or_insert_async`", move |round| {
            time(round, requests, async |key| {
                ours.get_or_insert_async(&key, async || absent()).await
            })
        }),
        row("quick_cache `get_or_insert_async`", move |round| {
            time(round, requests, async |key| {
                let load = async { Ok::<_, std::convert::Infallible>(absent()) };
                let Ok(value) = quick_cache.get_or_insert_async(&key, load).await;
                value
            })
        }),
        row("moka `get_with_by_ref`", move |round| {
            time(round, requests, async |key| {
                moka.get_with_by_ref(&key, async { absent() }).await
            })
        }),
    ]
}

fn absent() -> u64 {
    unreachable!("it is resident")
}

fn time(round: Round, requests: &[u64], ask: impl AsyncFn(u64) -> u64 + Sync) -> f64 {
    let elapsed = time_threads(round.threads, |thread| {
        pollster::block_on(async {
            let (before, after) = requests.split_at(thread * requests.len() / round.threads);
            for key in after.iter().chain(before) {
                assert_eq!(ask(*key).await, *key, "every answer is its key's");
            }
        });
    });
    elapsed.as_nanos() as f64 / (requests.len() * round.threads) as f64
}
