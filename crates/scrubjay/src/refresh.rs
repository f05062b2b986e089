//! Refreshes in the background: one thread for as long as there is something to refresh.
//!
//! A refresh is a flight like any other, led by this thread, so a key is never refreshed twice at once, and an
//! invalidation overtakes it. With a tier below memory, one process refreshes and the others take what it stored. The
//! thread starts with the first job and ends with the last; a cache that refreshes nothing has none.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::call::{Core, Infallible, Leader, Plan, Renewal};
use crate::entry::Tag;
use crate::sync::{Mutex, thread};

/// A refresh that was begun: the lead of its flight.
pub(crate) type Job<K, V> = Leader<Arc<Core<K, V>>, K, V>;

/// Takes jobs over from the callers that begin them.
pub(crate) type Refresher<K, V> = Box<dyn Fn(Job<K, V>) + Send + Sync>;

struct Queue<K, V> {
    jobs: VecDeque<Job<K, V>>,
    runs: bool,
}

/// Makes a refresher that runs `load` on a thread of its own.
pub(crate) fn in_background<K, V>(load: impl Fn(&K) -> V + Send + Sync + 'static) -> Refresher<K, V>
where
    K: Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    in_background_by(move |key| (load(key), Vec::new()), Infallible)
}

/// The same for a `load` that says which tags its value has, and whose plan says what that value is.
pub(crate) fn in_background_by<K, V, P>(
    load: impl Fn(&K) -> (V, Vec<Tag>) + Send + Sync + 'static,
    plan: P,
) -> Refresher<K, V>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Plan<V, Answer = V> + Send + Sync + 'static,
{
    let work = move |mut job: Job<K, V>| match job.renew() {
        Renewal::Newer(raised) => {
            let entered = job.enter();
            job.raise(entered, (), raised);
        }
        // Whoever hits next asks again.
        Renewal::Elsewhere => job.give_up(),
        Renewal::Needed => {
            let entered = job.enter();
            let (value, tags) = load(job.key());
            job.finish(entered, value, &plan, tags);
        }
    };
    let queue = Arc::new(Mutex::new(Queue {
        jobs: VecDeque::new(),
        runs: false,
    }));
    let work = Arc::new(work);
    Box::new(move |job| {
        let must_start = {
            let mut queue = queue.lock();
            queue.jobs.push_back(job);
            !std::mem::replace(&mut queue.runs, true)
        };
        if must_start {
            start(queue.clone(), work.clone());
        }
    })
}

fn start<K, V, W>(queue: Arc<Mutex<Queue<K, V>>>, work: Arc<W>)
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    W: Fn(Job<K, V>) + Send + Sync + 'static,
{
    let for_thread = queue.clone();
    let started = thread::Builder::new()
        .name("scrubjay-refresh".into())
        .spawn(move || run(&for_thread, &*work));
    if started.is_err() {
        // No thread to be had: the jobs are dropped, which lands their flights, and the old values stay.
        let mut queue = queue.lock();
        queue.runs = false;
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(jobs);
    }
}

fn run<K, V>(queue: &Mutex<Queue<K, V>>, work: &impl Fn(Job<K, V>))
where
    K: Eq + 'static,
    V: 'static,
{
    loop {
        let job = {
            let mut queue = queue.lock();
            let job = queue.jobs.pop_front();
            queue.runs = job.is_some();
            job
        };
        let Some(mut job) = job else {
            return;
        };
        if !job.start() {
            continue;
        }
        // A panic is counted as a failed load when the lead is dropped; the next job is not its concern.
        let _ = catch_unwind(AssertUnwindSafe(|| work(job)));
    }
}
