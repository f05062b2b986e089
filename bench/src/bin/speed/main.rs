//! How long an operation takes: Scrubjay beside its peers, in one process, in alternating rounds.
//!
//! ```text
//! hits       n keys are resident and asked for by Zipf's law with exponent 0.99, in an order made beforehand
//! one key    all threads ask for the same key, all the time
//! mixed      1,000,000 keys, room for 100,000: look up, on a miss insert
//! inserts    every key is new to a full cache of 100,000, so each insertion evicts
//! calls      look-up, load and insertion joined in one call: on hits, and on misses into an empty cache
//! recursion  a recursive function memoized by attribute: fib(90) from an empty cache, and again from a full one
//! async      calls on hits, awaited one after the other
//! ```
//! A figure is the median over the rounds of nanoseconds per operation, all threads' operations counted: of two threads
//! that do not hinder each other it is half that of one. "× ours" is that time divided by Scrubjay's in the same round,
//! its median: above 1, Scrubjay is that many times faster. "Scaling" is how many times one thread's rate two threads
//! reach. Every timed run checks its answers. Output: Markdown.

mod asynchronous;
mod calls;
mod hits;
mod inserts;
mod recursion;

use scrubjay_bench::rounds::{Group, Row};

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    groups: String,
}

impl Wanted {
    fn from_args() -> Option<Self> {
        let mut args = std::env::args().skip(1);
        let rounds = args.next().map_or(Some(9), |rounds| rounds.parse().ok())?;
        let groups = args.next().unwrap_or_default();
        (rounds > 0 && args.next().is_none()).then_some(Self { rounds, groups })
    }

    /// Runs one group, if it is wanted; its caches live only meanwhile.
    fn group(&self, title: &str, threads: &'static [usize], rows: impl FnOnce() -> Vec<Row>) {
        if title.contains(&self.groups) {
            let rows = rows();
            Group {
                title: title.to_owned(),
                threads,
                rows,
            }
            .compete(self.rounds);
        }
    }
}

fn main() {
    let Some(wanted) = Wanted::from_args() else {
        eprintln!(
            "usage: speed [ROUNDS [GROUP]]   e.g. `speed 9 hits`: only groups named like that"
        );
        std::process::exit(2);
    };
    let (alone, alone_and_together): (&[usize], &[usize]) = (&[1], &[1, 2]);
    let both = alone_and_together;

    wanted.group("hits, 100,000 resident", both, || hits::of_numbers(100_000));
    wanted.group("hits, 1,000,000 resident", both, || {
        hits::of_numbers(1_000_000)
    });
    wanted.group("hits, one key", both, hits::of_one_number);
    wanted.group(
        "hits, 100,000 resident, `String` keys, `Arc` values",
        both,
        || hits::of_strings(100_000),
    );
    wanted.group("mixed, Zipf 0.99", both, || inserts::mixed(0.99));
    wanted.group("mixed, Zipf 0.7", both, || inserts::mixed(0.7));
    wanted.group("mixed, Zipf 0.99, in one call", both, || {
        inserts::mixed_calls(0.99)
    });
    wanted.group("mixed, Zipf 0.7, in one call", both, || {
        inserts::mixed_calls(0.7)
    });
    wanted.group("inserts that evict", both, inserts::evicting);
    wanted.group("calls, hits, 100,000 resident", alone, || {
        calls::hits(100_000)
    });
    for n in [1_000, 100_000, 1_000_000] {
        let title = format!("calls, misses, {n} keys");
        wanted.group(&title, alone, || calls::misses(n, |number| number));
    }
    wanted.group("calls, misses, 100000 `String` keys", alone, || {
        calls::misses(100_000, hits::name)
    });
    wanted.group("recursion, from an empty cache", alone, recursion::cold);
    wanted.group("recursion, from a full cache", alone, recursion::warm);
    wanted.group("async calls, hits, 100,000 resident", both, || {
        asynchronous::hits(100_000)
    });
}
