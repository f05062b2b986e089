//! How fast: hits and misses of Scrubjay beside its peers, in one process, in alternating rounds.
//!
//! ```text
//! hit/…       resident keys 0..n, asked for in a Zipf-like order made beforehand; every answer is checked
//! scorching/… all threads ask for one key
//! miss/…      keys 0..n once each into an empty cache: look up, load, store
//! ```
//! A row's figure is the median over the rounds of nanoseconds per operation; its ratio is the median of the
//! ratios to the first row of its group, round by round, because these machines are noisy. Output: Markdown.

#![allow(
    clippy::map_entry,
    reason = "a look-up and then an insertion is what is compared"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Barrier, RwLock};
use std::time::Instant;

type Fold = foldhash::fast::RandomState;

/// One contestant in one group: runs once, returns nanoseconds per operation.
struct Row {
    name: &'static str,
    run: Box<dyn Fn() -> f64>,
}

fn row(name: &'static str, run: impl Fn() -> f64 + 'static) -> Row {
    Row {
        name,
        run: Box::new(run),
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs a group's rows in turn, round by round, and prints its table.
fn compare(title: &str, rounds: usize, rows: &[Row]) {
    let mut figures = vec![Vec::new(); rows.len()];
    for round in 0..=rounds {
        for (row, figures) in rows.iter().zip(&mut figures) {
            let figure = (row.run)();
            // The first round warms caches and allocators up.
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    println!("\n### {title}\n");
    println!("| | ns per operation | times the first row |");
    println!("|---|---:|---:|");
    for (row, own) in rows.iter().zip(&figures) {
        let ratios = own.iter().zip(&figures[0]).map(|(own, first)| own / first);
        println!(
            "| {} | {:.1} | {:.2} |",
            row.name,
            median(own.clone()),
            median(ratios.collect())
        );
    }
}

/// Keys below `n`, skewed: an approximation of Zipf 0.99 by inversion, from a fixed seed.
fn skewed_keys(n: u64, count: usize) -> Vec<u64> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
            let rank = ((n as f64).powf(uniform) - 1.0) as u64;
            // Ranks are spread over the keys, so that neighbours in rank are not neighbours in memory.
            rank.wrapping_mul(0x9E37_79B9_7F4A_7C15) % n
        })
        .collect()
}

/// Nanoseconds per operation of `threads` threads that each run `work` over all of `keys`.
fn time_hits(threads: usize, keys: &[u64], work: impl Fn(u64) -> u64 + Sync) -> f64 {
    let barrier = Barrier::new(threads + 1);
    let work = &work;
    std::thread::scope(|scope| {
        let barrier = &barrier;
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let start = thread * keys.len() / threads;
                scope.spawn(move || {
                    barrier.wait();
                    let (before, after) = keys.split_at(start);
                    let sum = after
                        .iter()
                        .chain(before)
                        .map(|key| work(*key) - key)
                        .sum::<u64>();
                    assert_eq!(black_box(sum), 0, "every answer is its key");
                })
            })
            .collect();
        barrier.wait();
        let started = Instant::now();
        for worker in workers {
            worker.join().expect("a worker's answers were right");
        }
        started.elapsed().as_nanos() as f64 / (keys.len() * threads) as f64
    })
}

fn hits(n: u64, threads: usize, keys: &'static [u64]) -> Vec<Row> {
    let quick = quick_cache::sync::Cache::<u64, u64>::new(2 * n as usize);
    let ours: scrubjay::Cache<u64, u64> = scrubjay::Cache::builder()
        .capacity(2 * n)
        .build()
        .expect("the options go together");
    let moka = moka::sync::Cache::<u64, u64>::new(2 * n);
    let map: RwLock<HashMap<u64, u64, Fold>> = RwLock::default();
    for key in 0..n {
        quick.insert(key, key);
        ours.insert(key, key);
        moka.insert(key, key);
        map.write().expect("nobody panicked").insert(key, key);
    }
    let with = ours.clone();
    let known = "resident";
    vec![
        row("scrubjay `get`", move || {
            time_hits(threads, keys, |key| ours.get(&key).expect(known))
        }),
        row("scrubjay `get_or_insert_with`", move || {
            time_hits(threads, keys, |key| {
                with.get_or_insert_with(&key, || unreachable!())
            })
        }),
        row("quick_cache `get`", move || {
            time_hits(threads, keys, |key| quick.get(&key).expect(known))
        }),
        row("moka `get`", move || {
            time_hits(threads, keys, |key| moka.get(&key).expect(known))
        }),
        row("`RwLock<HashMap>` with foldhash", move || {
            time_hits(threads, keys, |key| {
                *map.read().expect("nobody panicked").get(&key).expect(known)
            })
        }),
    ]
}

/// Nanoseconds per key of a run over keys `0..n`, each looked up, loaded and stored; small runs are repeated.
fn time_misses<T>(n: u64, run: impl Fn(u64) -> T) -> f64 {
    let repeats = (100_000 / n).max(1);
    let mut nanos = 0;
    for _ in 0..repeats {
        let started = Instant::now();
        let filled = run(n);
        nanos += started.elapsed().as_nanos();
        drop(black_box(filled));
    }
    nanos as f64 / (n * repeats) as f64
}

fn misses(n: u64) -> Vec<Row> {
    vec![
        row("bare std `HashMap`", move || {
            time_misses(n, |n| {
                let mut map = HashMap::new();
                for key in 0..n {
                    if !map.contains_key(&key) {
                        map.insert(key, black_box(key));
                    }
                }
                map
            })
        }),
        row("scrubjay `get_or_insert_with`", move || {
            time_misses(n, |n| {
                let cache: scrubjay::Cache<u64, u64> = scrubjay::Cache::new();
                for key in 0..n {
                    cache.get_or_insert_with(&key, || black_box(key));
                }
                cache
            })
        }),
        row("quick_cache `get_or_insert_with`", move || {
            time_misses(n, |n| {
                let cache = quick_cache::sync::Cache::<u64, u64>::new(2 * n as usize);
                for key in 0..n {
                    let _ = cache.get_or_insert_with(&key, || Ok::<_, ()>(black_box(key)));
                }
                cache
            })
        }),
        row("moka `get_with`", move || {
            time_misses(n, |n| {
                let cache = moka::sync::Cache::<u64, u64>::new(2 * n);
                for key in 0..n {
                    cache.get_with(key, || black_box(key));
                }
                cache
            })
        }),
    ]
}

fn string_misses(n: u64) -> Vec<Row> {
    let key = |key: u64| format!("user:{key:012}");
    vec![
        row("bare std `HashMap`", move || {
            time_misses(n, |n| {
                let mut map: HashMap<String, u64> = HashMap::new();
                for number in 0..n {
                    let key = key(number);
                    if !map.contains_key(key.as_str()) {
                        map.insert(key.as_str().to_owned(), black_box(number));
                    }
                }
                map
            })
        }),
        row("scrubjay `get_or_insert_with`", move || {
            time_misses(n, |n| {
                let cache: scrubjay::Cache<String, u64> = scrubjay::Cache::new();
                for number in 0..n {
                    cache.get_or_insert_with(key(number).as_str(), || black_box(number));
                }
                cache
            })
        }),
        row("quick_cache `get_or_insert_with`", move || {
            time_misses(n, |n| {
                let cache = quick_cache::sync::Cache::<String, u64>::new(2 * n as usize);
                for number in 0..n {
                    let load = || Ok::<_, ()>(black_box(number));
                    let _ = cache.get_or_insert_with(key(number).as_str(), load);
                }
                cache
            })
        }),
    ]
}

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    groups: String,
}

impl Wanted {
    fn from_args() -> Self {
        let mut args = std::env::args().skip(1);
        let rounds = args.next().unwrap_or_else(|| "9".to_owned());
        let Ok(rounds) = rounds.parse() else {
            eprintln!(
                "usage: speed [ROUNDS [GROUP]]   e.g. `speed 9 miss`: only groups named like that"
            );
            std::process::exit(2);
        };
        Self {
            rounds,
            groups: args.next().unwrap_or_default(),
        }
    }

    fn compare(&self, title: &str, rows: impl FnOnce() -> Vec<Row>) {
        if title.contains(&self.groups) {
            compare(title, self.rounds, &rows());
        }
    }
}

fn main() {
    let wanted = Wanted::from_args();
    for n in [1_000, 100_000, 1_000_000] {
        let keys: &'static [u64] = Vec::leak(skewed_keys(n, 1_000_000));
        for threads in [1, 2] {
            let title = format!("hit, {n} resident, skewed, {threads} thread(s)");
            wanted.compare(&title, || hits(n, threads, keys));
        }
    }
    let one: &'static [u64] = Vec::leak(vec![7; 1_000_000]);
    for threads in [1, 2] {
        let title = format!("hit, one scorching key, {threads} thread(s)");
        wanted.compare(&title, || hits(1_000, threads, one));
    }
    for n in [1_000, 100_000, 1_000_000] {
        wanted.compare(&format!("miss, {n} `u64` keys"), || misses(n));
    }
    wanted.compare("miss, 100000 `String` keys", || string_misses(100_000));
}
